"""The three topics again, from ten thousand generated chats: what it takes.

420 chats are too few for the embedded base to find out what a customer wants (notebook
05, section 1). More of them, from the same lines of the training split and with labels
alone, take longer than a notebook may: the adapter is shipped (`models/more-topics`).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd

from lrkit.answer.classifier import OneTokenClassifier
from lrkit.answer.fitted import fitted
from lrkit.data import topics
from lrkit.paths import root
from lrkit.profiles import Profile, load_profile
from lrkit.quiet import hush
from lrkit.study.shipping import ship

ROWS, EPOCHS = 10_000, 3.0


def folder() -> Path:
    """Where the shipped adapter lies."""
    return root() / "models" / "more-topics"


def training_rows(profile: Profile) -> pd.DataFrame:
    """The chats it is trained on, as many as the profile allows."""
    return pd.DataFrame(topics.more(profile.answer.max_extra_rows or ROWS))


def trained(profile: Profile) -> OneTokenClassifier:
    """The classifier of these rows, trained now or found."""
    settings = replace(profile.answer, epochs=EPOCHS)
    return fitted(
        training_rows(profile), settings, topics.TOPICS, topics.QUESTION, "label only"
    )


def more_topics(profile: Profile) -> OneTokenClassifier:
    """The shipped classifier where it fits the profile's base, else one trained now.

    Raises:
        ValueError: when the embedded base was made anew and the adapter was not.
    """
    if profile.answer.base == "talk" and folder().is_dir():
        return OneTokenClassifier.load(folder())
    return trained(profile)


CARD = """# `more-topics`: an adapter for `talk`

LoRA on the 4-bit base [`talk`](../talk/README.md), trained on {rows:,} generated chats
(`lrkit.data.topics.more`), labels only, random seed {seed}: does the customer want help
with billing, technical, or general? Notebook 05 compares it with words counted. Made
again by `python -m lrkit.study.more_topics`.

It loads with the weights `{base_weights}` of the base and refuses others. Licence: MIT,
as the repository.
"""


def main() -> None:
    """Train the adapter, or find it trained, and ship it."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    hush()
    ship(trained(load_profile("study")), folder(), CARD)


if __name__ == "__main__":
    main()
