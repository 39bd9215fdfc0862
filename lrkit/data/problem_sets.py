"""The problems of a profile's settings: generated, or read from a public set.

Answers to problems on graphs are one word here: see `lrkit.data.graphs.short_answer`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from lrkit.data import gsm
from lrkit.data.dags import Options
from lrkit.data.graphs import graph_stream, short_answer
from lrkit.data.problems import TASKS, Question, stream
from lrkit.data.prosqa import prosqa
from lrkit.profiles import LatentSettings


def _prosqa(source: str, split: str, revision: str | None) -> list[Question]:
    """ProsQA lies in files; there is no hub id to pin."""
    if revision:
        raise ValueError(
            f"prosqa is read from a file or a folder, not from {source!r}."
        )
    return [short_answer(p) for p in prosqa(source, split)]


PUBLIC = {
    "gsm8k": gsm.gsm8k,
    "gsm8k_aug": gsm.gsm8k_aug,
    "svamp": gsm.svamp,
    "prosqa": _prosqa,
}
GRAPHS = {"graphs": Options(), "small graphs": Options.small()}
SPLITS = ("validation", "test", "longer", "templates", "larger")
TRAIN_SEED, EVAL_SEED = 1000, 0


def splits_of(settings: LatentSettings) -> tuple[str, ...]:
    """The splits that are evaluated; only equations have some out of distribution."""
    if settings.task in TASKS:
        return SPLITS
    return SPLITS[:2] if settings.task in (*GRAPHS, "prosqa") else ("test",)


def endless(task: str, split: str, seed: int) -> Iterator[Question]:
    """Generated problems of a task without end.

    Raises:
        ValueError: for an unknown split, or a task that is not generated.
    """
    if task in GRAPHS:
        return map(short_answer, graph_stream(split, seed, GRAPHS[task]))
    return stream(task, split, seed)


def _public(settings: LatentSettings, split: str, n: int) -> list[Question]:
    """The first rows of a public set."""
    if settings.task not in PUBLIC:
        known = ", ".join([*TASKS, *GRAPHS, *PUBLIC])
        raise ValueError(f"there is no task {settings.task!r}: choose one of {known}.")
    if not settings.source:
        raise ValueError(
            f"{settings.task} is no part of the workbook: set its source to a folder, "
            'a file, or "hub id@commit", see lrkit.data.gsm.'
        )
    name, _, revision = settings.source.partition("@")
    return PUBLIC[settings.task](name, split, revision or None)[:n]


def training_problems(settings: LatentSettings, seed: int) -> list[Question]:
    """What a method is trained on; of a generated task others for another seed.

    Raises:
        ValueError: for an unknown task, or a public set without its source.
    """
    if settings.task in TASKS or settings.task in GRAPHS:
        made = endless(settings.task, "train", TRAIN_SEED + seed)
        return list(islice(made, settings.train_rows))
    return _public(settings, "train", settings.train_rows)


def evaluation_problems(settings: LatentSettings, split: str) -> list[Question]:
    """The problems of one split, the same for every method and random seed."""
    if settings.task in TASKS or settings.task in GRAPHS:
        made = endless(settings.task, split, EVAL_SEED)
        return list(islice(made, settings.eval_rows))
    return _public(settings, split, settings.eval_rows)
