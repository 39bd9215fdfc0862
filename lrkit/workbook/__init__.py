"""The workbook as a whole: run its notebooks in order, once each, and keep them clean.

This file sees notebooks as files: which code they hold, whether a run of them still
counts, what it cost, what may be committed. It knows nothing of what they teach.

- A *key* is a hash of all that a run depends on: code cells, parameters, the package,
  data, recorded results, weights. Prose, stored outputs and budgets are not part of it.
- A notebook is *finished* in a profile when `build/<profile>/<name>.done.json` holds
  the present key. That file is written last, so a killed run never looks finished.
- A *defect* is a sentence that says why a notebook must not be committed as it is.

    python -m lrkit.workbook run --profile cpu [NAME ...]   execute what is not finished
    python -m lrkit.workbook smoke      execute on smoke, compare the tagged outputs
    python -m lrkit.workbook store      copy the outputs of the cpu run into notebooks/
    python -m lrkit.workbook budget     write what that run cost into notebooks/
    python -m lrkit.workbook clean      strip the metadata that a run leaves behind
    python -m lrkit.workbook check      list the defects of the committed notebooks
"""
