"""A classifier for a table of rows: trained once, found again by what it was made of.

Notebooks that ask for the same rows, settings and seed get the same adapter; a change
of any of them, of the base's weights or of the code gives another.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from filelock import FileLock
from transformers import TrainerCallback

from lrkit.answer.arms import ARMS
from lrkit.answer.classifier import OneTokenClassifier
from lrkit.answer.prompts import QUESTION
from lrkit.answer.run_folder import run_identity
from lrkit.answer.sft import train
from lrkit.cache import fingerprint, run_folder
from lrkit.models import model_path
from lrkit.profiles import AnswerSettings

# The code that a trained adapter depends on; what only scores it is not among it.
MODULES = (
    "lrkit.answer.arms",
    "lrkit.answer.label_ids",
    "lrkit.answer.prompts",
    "lrkit.answer.run_folder",
    "lrkit.answer.sft",
    "lrkit.models",
)


def base_files(settings: AnswerSettings) -> list[Path]:
    """The base's weights, where they are a local file."""
    file = Path(model_path(settings.base)) / "model.safetensors"
    return [file] if file.is_file() else []


def run_key(
    rows: pd.DataFrame,
    settings: AnswerSettings,
    labels: Sequence[str] = ("yes", "no"),
    question: str = QUESTION,
    arm_name: str = "label + reason",
    seed: int = 0,
    whole_labels: bool = False,
) -> str:
    """Fingerprint of one training run: code, rows, base weights, parameters."""
    identity = run_identity(rows, settings, ARMS[arm_name], labels, question, seed)
    params = {"identity": identity, "whole_labels": whole_labels}
    return fingerprint(params, MODULES, base_files(settings))


def fitted(
    rows: pd.DataFrame,
    settings: AnswerSettings,
    labels: Sequence[str] = ("yes", "no"),
    question: str = QUESTION,
    arm_name: str = "label + reason",
    seed: int = 0,
    whole_labels: bool = False,
    callbacks: Sequence[TrainerCallback] = (),
) -> OneTokenClassifier:
    """The classifier of these rows, trained now or found; see `lrkit.answer.sft.train`.

    Args:
        rows: `id`, `running_message`, `label` and, unless the arm has none, `reason`.
    """
    asked = (rows, settings, labels, question, arm_name, seed, whole_labels)
    folder = run_folder("answer", run_key(*asked))
    with FileLock(f"{folder}.lock"):  # two notebooks may ask at the same time
        train(
            rows, settings, folder, ARMS[arm_name], labels, question, seed, callbacks,
            whole_labels,
        )  # fmt: skip
    return OneTokenClassifier.load(folder)
