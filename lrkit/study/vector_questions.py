"""The questions whose vectors are looked at, what they are, and a probe by question.

No question was read in training: probes learn on validation and are scored on test,
and of each chain one question is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from lrkit.data.problem_sets import evaluation_problems
from lrkit.data.problems import STEP, Problem
from lrkit.profiles import LatentSettings
from lrkit.study.latent_vectors import question_labels
from lrkit.study.probes import linear_probe

NUMBERS = ("number 1", "number 2", "number 3")
RESULTS = ("result 1", "result 2", "result 3")


def different(problems: Sequence[Problem]) -> list[Problem]:
    """The first problem of each chain: another wording is no new case."""
    first: dict[tuple[str, ...], Problem] = {}
    for p in problems:
        first.setdefault(p.steps, p)
    return list(first.values())


def questions_of(settings: LatentSettings, split: str, n: int) -> list[Problem]:
    """Different problems among the first n of a split."""
    return different(evaluation_problems(replace(settings, eval_rows=n), split))


def labels_of(problems: Sequence[Problem]) -> pd.DataFrame:
    """`lrkit.study.latent_vectors.question_labels`, and of the first steps `NUMBERS`,
    what the question says, and `RESULTS`, what they come to; missing where a problem
    has no such step."""
    steps = []
    for p in problems:
        numbers = [str(k) for _, k in p.made_from["operations"]]
        results = [STEP.fullmatch(step)[2] for step in p.steps]
        steps.append(
            dict(zip(NUMBERS, numbers, strict=False))
            | dict(zip(RESULTS, results, strict=False))
        )
    more = pd.DataFrame(steps, columns=[*NUMBERS, *RESULTS])
    return question_labels(problems).join(more)


def probe_rows(
    vectors: tuple[np.ndarray, np.ndarray],
    labels: tuple[pd.DataFrame, pd.DataFrame],
    prop: str,
    seed: int = 0,
) -> pd.DataFrame:
    """One linear probe, question by question.

    Args:
        vectors: [train, width] and [test, width].
        labels: of both, with `prop` and `surface`; questions without the property are
            left out.
        prop: column that is read.
        seed: random seed of the control task.

    Returns:
        By the test labels' index: `property`, `correct` and `control`, 0 or 1.
    """
    kept = [part[prop].notna().to_numpy() for part in labels]
    (x, x_test), (y, y_test) = (
        [part[which] for part, which in zip(parts, kept, strict=True)]
        for parts in (vectors, labels)
    )
    found = linear_probe(
        x, y[prop], x_test, y_test[prop], y["surface"], y_test["surface"], seed
    )
    return pd.DataFrame(
        {"property": prop, "correct": found.correct * 1, "control": found.control * 1},
        index=y_test.index,
    )
