"""Laws of `lrkit.workbook`, on tiny notebooks made for each test.

Each notebook adds a line to a file when it runs, so that runs can be counted.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from lrkit.workbook import committed, pages
from lrkit.workbook.__main__ import main
from lrkit.workbook.pages import Page

REPOSITORY = Path(__file__).resolve().parent.parent
COUNT = "with open('runs.txt', 'a') as f:\n    f.write(f'{NAME} {PROFILE}\\n')"


def add_notebook(root: Path, name: str, *sources: str, tagged: str = "") -> Path:
    """A notebook with a bootstrap, parameters, a counter, `sources`, a tagged cell."""
    cells = [
        new_markdown_cell(f"# {name}"),
        new_code_cell("import sys"),
        new_code_cell('PROFILE = "cpu"\nN = 1', metadata={"tags": ["parameters"]}),
        new_code_cell(f"NAME = '{name}'\n{COUNT}"),
        *map(new_code_cell, sources),
    ]
    if tagged:
        cell = new_code_cell(tagged, metadata={"tags": ["nbval-check-output"]})
        cells.append(cell)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    path = root / "notebooks" / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


def runs(root: Path) -> list[str]:
    record = root / "notebooks" / "runs.txt"
    return record.read_text().splitlines() if record.exists() else []


def edit(path: Path, change) -> None:
    """Apply `change(notebook)` to the file."""
    notebook = pages.read(path)
    change(notebook)
    path.write_text(json.dumps(notebook), "utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("notebooks", "params", "lrkit", "data"):
        (tmp_path / folder).mkdir()
    for profile in ("cpu", "smoke"):
        (tmp_path / "params" / f"{profile}.yaml").write_text(f"PROFILE: {profile}\n")
    (tmp_path / "lrkit" / "methods.py").write_text("answer = 1\n")
    (tmp_path / "data" / "rows.csv").write_text("a,b\n1,2\n")
    return tmp_path


def workbook_main(root: Path, *arguments: str) -> int:
    return main(["--root", str(root), *arguments])


@pytest.mark.slow
def test_a_finished_notebook_runs_again_only_when_what_it_depends_on_changes(root):
    path = add_notebook(root, "01_one")
    page = Page(root, path, "cpu")
    assert workbook_main(root, "run") == 0
    assert workbook_main(root, "run") == 0
    assert runs(root) == ["01_one cpu"]
    record = page.record()
    assert record["seconds"] > 0 and record["peak_bytes"] > 1e7

    def put_prose(notebook):
        notebook["cells"][0]["source"] = "# Another title"
        notebook["cells"][1]["outputs"] = [new_output("stream", text="stored")]
        notebook["metadata"]["lrkit"] = {"budget": {"cpu": record}}

    edit(path, put_prose)
    assert page.finished() == record

    file_changes = {
        root / "params" / "cpu.yaml": "PROFILE: cpu\nN: 2\n",
        root / "lrkit" / "methods.py": "answer = 2\n",
        root / "data" / "rows.csv": "a,b\n1,3\n",
    }
    for file, content in file_changes.items():
        before = file.read_text()
        file.write_text(content)
        assert page.finished() == {}, f"{file.name} is not part of the key"
        file.write_text(before)
    assert page.finished() == record

    edit(path, lambda notebook: notebook["cells"][1].update(source="import os"))
    assert page.finished() == {}
    assert workbook_main(root, "run") == 0
    assert runs(root) == ["01_one cpu"] * 2


def test_the_key_sees_weights_by_their_size_and_results_by_their_content(root):
    page = Page(root, add_notebook(root, "01_one"), "cpu")
    keys = {page.key()}
    (root / "models" / "talk").mkdir(parents=True)
    weights = root / "models" / "talk" / "model.safetensors"
    weights.write_bytes(b"12")
    keys.add(page.key())
    weights.write_bytes(b"123")
    keys.add(page.key())
    (root / "results").mkdir()
    (root / "results" / "arms.json").write_text("[1]")
    keys.add(page.key())
    (root / "results" / "arms.json").write_text("[2]")
    keys.add(page.key())
    assert len(keys) == 5


@pytest.mark.slow
def test_a_failing_cell_is_named_and_what_finished_before_is_kept(root, capsys):
    add_notebook(root, "01_good")
    bad = add_notebook(root, "02_bad", "fine = 1", "raise ValueError('too warm')")
    add_notebook(root, "03_never")
    assert workbook_main(root, "run") == 1
    told = capsys.readouterr()
    assert "[1/3] 01_good  running  (expected unknown)" in told.out
    assert "[2/3] 02_bad  FAILED in cell In [5]: ValueError: too warm" in told.err
    assert "| raise ValueError('too warm')" in told.err
    assert runs(root) == ["01_good cpu", "02_bad cpu"]

    edit(bad, lambda notebook: notebook["cells"].pop())
    assert workbook_main(root, "run") == 0
    assert runs(root) == ["01_good cpu", "02_bad cpu", "02_bad cpu", "03_never cpu"]


@pytest.mark.slow
def test_a_kernel_that_dies_is_reported_with_the_cell_that_killed_it(root, capsys):
    add_notebook(root, "01_hungry", "import os", "os._exit(9)", "never = 1")
    assert workbook_main(root, "run") == 1
    told = capsys.readouterr().err
    assert "[1/1] 01_hungry  FAILED in code cell 5: The kernel died" in told
    assert "| os._exit(9)" in told and "TCP" not in told


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_stopped_goes_on_where_it_was(root, stop):
    wait = "import os, time\nwhile os.path.exists('wait'):\n    time.sleep(0.1)"
    add_notebook(root, "01_short")
    page = Page(root, add_notebook(root, "02_long", wait), "cpu")
    (root / "notebooks" / "wait").touch()
    command = [sys.executable, "-m", "lrkit.workbook", "--root", str(root), "run"]
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stderr=subprocess.PIPE,
        text=True,
        # As at a terminal, whatever a test runner in the background ignores.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while len(runs(root)) < 2 and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(stop)
    _, told = process.communicate(timeout=300)
    if stop != signal.SIGKILL:
        assert process.returncode == 130
        assert "the same command goes on" in told and "Traceback" not in told
    assert page.record() == {}

    (root / "notebooks" / "wait").unlink()
    assert workbook_main(root, "run") == 0
    assert runs(root) == ["01_short cpu", "02_long cpu", "02_long cpu"]


def test_a_misspelt_parameter_is_refused_before_anything_runs(root, capsys):
    add_notebook(root, "01_one")
    (root / "params" / "cpu.yaml").write_text("PROFIL: cpu\n")
    assert workbook_main(root, "run") == 1
    assert "has no parameter 'PROFIL'" in capsys.readouterr().err
    assert runs(root) == []


def test_only_parameters_that_differ_from_the_defaults_are_injected(root):
    path = add_notebook(root, "01_one")
    assert Page(root, path, "cpu").injected() == {}
    assert Page(root, path, "smoke").injected() == {"PROFILE": "smoke"}


def test_an_unknown_profile_or_notebook_is_refused_with_those_there_are(root, capsys):
    add_notebook(root, "01_one")
    assert workbook_main(root, "run", "--profile", "huge") == 1
    assert "params/ has cpu, smoke" in capsys.readouterr().err
    assert workbook_main(root, "run", "07") == 1
    assert "there are 01_one" in capsys.readouterr().err


@pytest.mark.slow
def test_stored_outputs_and_budget_are_clean_and_leave_the_run_finished(root, capsys):
    path = add_notebook(root, "01_one", "print(6 * 7)", tagged="len('labels')")
    assert workbook_main(root, "store") == 1  # nothing has run yet
    assert "no finished run" in capsys.readouterr().err
    assert workbook_main(root, "run") == 0
    for _ in range(2):
        for command in ("store", "budget", "clean", "check"):
            assert workbook_main(root, command) == 0
        kept, stored = path.read_bytes(), pages.read(path)
    assert path.read_bytes() == kept
    record = Page(root, path, "cpu").finished()
    assert record == stored["metadata"]["lrkit"]["budget"]["cpu"]
    assert "papermill" not in json.dumps(stored)
    shown = [committed._shown(cell) for cell in pages.code_cells(stored)]
    assert "42" in shown[3] and shown[4].endswith("6")
    card = pages.text(stored["cells"][1]["source"])
    assert stored["cells"][1]["metadata"]["tags"] == ["budget-card"]
    for part in ("| `cpu` |", "random seed 0", record["key"][:12], "torch "):
        assert part in card


def test_stored_figures_are_smaller_and_look_the_same(root):
    draw = (
        "import matplotlib.pyplot as plt\nfig, ax = plt.subplots(dpi=110)\n"
        "ax.plot([1, 3, 2])\nax.set_title('x')"
    )
    path = add_notebook(root, "01_figure", draw)
    assert workbook_main(root, "run") == 0
    assert workbook_main(root, "store") == 0

    def picture(file):
        cells = pages.code_cells(pages.read(file))
        data = [o["data"] for c in cells for o in c["outputs"] if "data" in o]
        (png,) = [b64decode(d["image/png"]) for d in data if "image/png" in d]
        return len(png), np.asarray(Image.open(BytesIO(png)).convert("RGB"), float)

    before, drawn = picture(Page(root, path, "cpu").output)
    after, kept = picture(path)
    assert after < before / 2
    assert drawn.shape == kept.shape and np.abs(drawn - kept).mean() < 1


@pytest.mark.slow
def test_smoke_runs_all_and_fails_when_a_tagged_output_changed(
    root, capsys, monkeypatch
):
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    (root / "tests").mkdir()
    shutil.copy(REPOSITORY / "tests" / "nbval.cfg", root / "tests")
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    add_notebook(root, "01_plain")
    path = add_notebook(root, "02_tagged", tagged="print(N + 1)")

    def put_output(value: str):
        output = new_output("stream", text=f"{value}\n")
        result = {"outputs": [output], "execution_count": 4}
        edit(path, lambda notebook: notebook["cells"][-1].update(result))

    put_output("2")
    assert workbook_main(root, "smoke") == 0
    # nbval ran the second one again, in its own folder; the first had nothing to check
    assert sorted(runs(root)) == ["01_plain smoke", "02_tagged smoke"]
    compared = [p.name for p in (root / "build" / "nbval").glob("*.ipynb")]
    assert compared == ["02_tagged.ipynb"]

    put_output("3")
    assert workbook_main(root, "smoke") == 1
    assert "nbval" in capsys.readouterr().err
    assert sorted(runs(root)) == ["01_plain smoke", "02_tagged smoke"]


def clean_notebook(root: Path) -> Path:
    """A notebook as it may be committed: executed, with one checked output."""
    path = add_notebook(root, "01_one", tagged="1 + 1")

    def execute(notebook):
        for number, cell in enumerate(pages.code_cells(notebook), start=1):
            cell["execution_count"] = number
        result = new_output("execute_result", {"text/plain": "2"}, execution_count=4)
        notebook["cells"][-1]["outputs"] = [result]

    edit(path, execute)
    return path


def code_cell(change: dict):
    return lambda notebook: notebook["cells"][1].update(change)


def shows(output_text: str):
    return code_cell({"outputs": [new_output("stream", text=output_text)]})


WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}}
MANY = [new_code_cell("pass", execution_count=n + 5) for n in range(31)]
DEFECTS = {
    "execution count 7": code_cell({"execution_count": 7}),
    "execution count None": code_cell({"execution_count": None}),
    "stores an error": code_cell({"outputs": [new_output("error")]}),
    "stores a widget": code_cell({"outputs": [new_output("display_data", WIDGET)]}),
    "widget state": lambda notebook: notebook["metadata"].update(widgets={}),
    "absolute path (/home": shows("saved to /home/ann/x"),
    "absolute path (/root": code_cell({"source": "open('/root/x')"}),
    "absolute path (/tmp": lambda n: n["cells"][0].update(source="See `/tmp/x`."),
    "absolute path (C:": shows("saved to C:\\Users\\ann"),
    "bytes (fewer": shows("x" * 400_000),
    "the kernel 'conda'": lambda n: n["metadata"].update(kernelspec={"name": "conda"}),
    "format 4.5": lambda notebook: notebook.update(nbformat_minor=4),
    "without ids": lambda notebook: notebook["cells"][0].pop("id"),
    "0 code cells tagged": lambda n: n["cells"][2]["metadata"].update(tags=[]),
    "computes": lambda n: n["cells"][2].update(source="N = 2 * 2"),
    "line of 89": code_cell({"source": "x = " + "1" * 85}),
    "35 code cells": lambda notebook: notebook["cells"].extend(MANY),
    "stores no output": lambda notebook: notebook["cells"][-1].update(outputs=[]),
}


@pytest.mark.parametrize("sentence", DEFECTS)
def test_check_finds_each_defect(root, sentence):
    path = clean_notebook(root)
    assert committed.defects(path) == []
    edit(path, DEFECTS[sentence])
    found = committed.defects(path)
    assert len(found) == 1 and sentence in found[0]


def test_check_finds_the_path_of_the_checkout_itself_but_no_web_address(root):
    path = clean_notebook(root)
    edit(path, shows("https://example.org/home/page and https://x.org/tmp/y"))
    assert committed.defects(path) == []
    edit(path, shows(f"wrote {root.resolve() / 'build'}"))
    assert len(committed.defects(path)) == 1


def test_check_finds_a_bootstrap_cell_that_is_not_that_of_the_others(root, capsys):
    clean_notebook(root)
    other = clean_notebook(root).rename(root / "notebooks" / "02_two.ipynb")
    clean_notebook(root)
    assert workbook_main(root, "check") == 0
    edit(other, code_cell({"source": "import sys "}))
    assert workbook_main(root, "check") == 1
    assert "02_two.ipynb: its bootstrap" in capsys.readouterr().err
