"""The scoreboard: every method on the same problems, one row per question.

All tables, intervals and comparisons of the latent half are made from the rows of
`evaluate`. A solver is anything with the protocol of `lrkit.latent.solvers.Solver`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

import numpy as np
import pandas as pd

from lrkit.data.problems import Question
from lrkit.latent.solvers import Solver
from lrkit.study.stats import (
    Estimate,
    mean_estimate,
    paired_difference,
    questions_needed,
)

COSTS = ("text_tokens", "latent_steps", "passes", "positions", "flops", "seconds")


def same_answer(found: str, wanted: str) -> bool:
    """Whether two answers are the same number, or the same text.

    "007", "7.0" and "7" are one number, and so are "1,000" and "1000".
    """
    found, wanted = (
        text.strip().rstrip(".").replace(",", "") for text in (found, wanted)
    )
    try:
        return Decimal(found) == Decimal(wanted)
    except InvalidOperation:
        return found.casefold() == wanted.casefold()


def evaluate(solver: Solver, problems: Sequence[Question]) -> pd.DataFrame:
    """A row per question: `id`, `task`, `split`, `n_steps`, `wanted`, `answer`,
    `correct`, and what it cost (`COSTS`, see `lrkit.latent.solvers.Solution`).

    Raises:
        ValueError: for no problems, or a solver that does not answer each of them.
    """
    if not problems:
        raise ValueError("there are no problems to evaluate on.")
    solutions = solver.solve([p.question for p in problems])
    if len(solutions) != len(problems):
        raise ValueError(
            f"the solver gave {len(solutions)} answers to {len(problems)} questions."
        )
    return pd.DataFrame(
        {
            "id": p.id,
            "task": p.task,
            "split": p.split,
            "n_steps": p.n_steps,
            "wanted": p.answer,
            "answer": s.answer,
            "correct": same_answer(s.answer, p.answer),
        }
        | {cost: getattr(s, cost) for cost in COSTS}
        for p, s in zip(problems, solutions, strict=True)
    )


def matrix(rows: pd.DataFrame, column: str = "correct") -> np.ndarray:
    """[random seeds, questions] of one method, questions by id.

    Raises:
        ValueError: when the runs did not answer the same questions.
    """
    rows = rows.assign(seed=rows.get("seed", 0))
    table = rows.pivot(index="seed", columns="id", values=column)
    if table.isna().any(axis=None):
        raise ValueError("the random seeds of a method answered different questions.")
    return table.to_numpy(float)


def scoreboard(methods: Mapping[str, pd.DataFrame], reference: str) -> pd.DataFrame:
    """One row per method: accuracy with its interval, and mean costs.

    Args:
        methods: name -> rows of `evaluate`, with a column `seed` for several runs.
        reference: the method, usually CoT, that `compression` is measured against:
            its written tokens over the method's written tokens and latents.

    Raises:
        ValueError: when the reference is no method of the table.
    """
    if reference not in methods:
        known = ", ".join(methods)
        raise ValueError(f"{reference!r} is no method of the table: {known}.")
    table = {}
    for name, rows in methods.items():
        scored = matrix(rows)
        accuracy = mean_estimate(scored)
        table[name] = {
            "runs": len(scored),
            "n": accuracy.n,
            "accuracy": accuracy.value,
            "low": accuracy.low,
            "high": accuracy.high,
        } | {cost: rows[cost].mean() for cost in COSTS}
    board = pd.DataFrame(table).T.astype({"runs": int, "n": int})
    thought = board["text_tokens"] + board["latent_steps"]
    board["compression"] = thought[reference] / thought
    return board


def differences(
    methods: Mapping[str, pd.DataFrame], minus: Sequence[str]
) -> pd.DataFrame:
    """Paired differences in accuracy of every method minus some of them.

    Returns:
        By (method, minus): `difference`, `low`, `high`, and `questions_for_2_points`,
        how many questions it would take to see a difference of 2 points.
    """
    found = {}
    for name, rows in methods.items():
        for other in minus:
            if other == name:
                continue
            a, b = matrix(rows), matrix(methods[other])
            gain: Estimate = paired_difference(a, b)
            disagreement = float(np.abs(a.mean(0) - b.mean(0)).mean())
            found[name, other] = {
                "difference": gain.value,
                "low": gain.low,
                "high": gain.high,
                "questions_for_2_points": questions_needed(0.02, disagreement),
            }
    table = pd.DataFrame(found).T
    table.index.names = ["method", "minus"]
    return table
