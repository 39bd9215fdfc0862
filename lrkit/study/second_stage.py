"""The dearer model of the cascade: the same base, trained on 10,000 labels.

Its adapter is too long to train in a notebook, so the one of the recorded study is
shipped (`models/more-labels`). It is no large model: it stands where one would stand.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lrkit.answer.classifier import OneTokenClassifier
from lrkit.paths import root
from lrkit.profiles import Profile, load_profile
from lrkit.quiet import hush
from lrkit.study.answer_arms import trained
from lrkit.study.shipping import ship

ARM = "10,000 labels"


def folder() -> Path:
    """Where the shipped adapter lies."""
    return root() / "models" / "more-labels"


def second_stage(profile: Profile) -> OneTokenClassifier:
    """The shipped classifier where it fits the profile's base, else one trained now.

    Raises:
        ValueError: when the embedded base was made anew and the adapter was not.
    """
    if profile.answer.base == "talk" and folder().is_dir():
        return OneTokenClassifier.load(folder())
    return trained(profile, ARM, 0)


CARD = """# `more-labels`: an adapter for `talk`

LoRA on the 4-bit base [`talk`](../talk/README.md), trained by `make study` on the
{rows:,} rows of `data/extra_labels.csv` (labels only, random seed {seed}). Notebook 04
serves it behind an HTTP endpoint, as the second stage of a cascade. How well it does
stands in `results/answer_arms.csv`, arm "{arm}". Made again by
`python -m lrkit.study.second_stage`.

It loads with the weights `{base_weights}` of the base and refuses others. Licence: MIT,
as the repository.
"""


def main() -> None:
    """Ship the adapter; trains it where `make study` has not."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    hush()
    ship(trained(load_profile("study"), ARM, 0), folder(), CARD)


if __name__ == "__main__":
    main()
