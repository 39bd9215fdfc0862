"""The problems of a profile's settings: generated, or read from a public set."""

from __future__ import annotations

from itertools import islice

from lrkit.data import gsm
from lrkit.data.problems import TASKS, Problem, problems, stream
from lrkit.profiles import LatentSettings

PUBLIC = {"gsm8k": gsm.gsm8k, "gsm8k_aug": gsm.gsm8k_aug, "svamp": gsm.svamp}
SPLITS = ("validation", "test", "longer", "templates", "larger")
TRAIN_SEED, EVAL_SEED = 1000, 0


def splits_of(settings: LatentSettings) -> tuple[str, ...]:
    """The splits that are evaluated; a public set has none out of distribution."""
    return SPLITS if settings.task in TASKS else ("test",)


def _public(settings: LatentSettings, split: str, n: int) -> list[Problem]:
    """The first rows of a public set."""
    if settings.task not in PUBLIC:
        known = ", ".join([*TASKS, *PUBLIC])
        raise ValueError(f"there is no task {settings.task!r}: choose one of {known}.")
    if not settings.source:
        raise ValueError(
            f"{settings.task} is no part of the workbook: set its source to a folder, "
            'a file, or "hub id@commit", see lrkit.data.gsm.'
        )
    name, _, revision = settings.source.partition("@")
    return PUBLIC[settings.task](name, split, revision or None)[:n]


def training_problems(settings: LatentSettings, seed: int) -> list[Problem]:
    """What a method is trained on; of a generated task others for another seed.

    Raises:
        ValueError: for an unknown task, or a public set without its source.
    """
    if settings.task in TASKS:
        endless = stream(settings.task, "train", TRAIN_SEED + seed)
        return list(islice(endless, settings.train_rows))
    return _public(settings, "train", settings.train_rows)


def evaluation_problems(settings: LatentSettings, split: str) -> list[Problem]:
    """The problems of one split, the same for every method and random seed."""
    if settings.task in TASKS:
        return problems(settings.task, split, settings.eval_rows, EVAL_SEED)
    return _public(settings, split, settings.eval_rows)
