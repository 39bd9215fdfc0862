"""Training on damaged chains: a control, so that what is damaged is no surprise.

A model that has only ever seen whole chains may fail on a damaged one because it looks
odd, not because something needed is missing. One that was trained to answer behind
chains damaged at random fails for what is missing alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from lrkit.data.problems import Question
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.layout import SlotRow
from lrkit.latent.methods import Training
from lrkit.latent.solvers import SlotSolver
from lrkit.study.redundancy.dropping import dropped

Say = Callable[[Question], Sequence[str]]
UNITS = ("steps", "tokens")


def as_written(problem: Question) -> Sequence[str]:
    """A problem's steps as they are: a terse chain."""
    return problem.steps


def damaged_row(
    rows: ChainRows,
    problem: Question,
    rng: random.Random,
    p: float,
    say: Say,
    unit: str = "steps",
) -> SlotRow:
    """Question, what is left of the chain, answer; the answer alone carries loss.

    Nobody is to learn to write damaged chains, only to read them.

    Args:
        rows: makes it.
        problem: with steps.
        rng: source of randomness.
        p: probability that a step or token goes.
        say: the steps of a problem as they are said.
        unit: what goes, one of `UNITS`.

    Raises:
        ValueError: for another unit.
    """
    if unit not in UNITS:
        raise ValueError(f"{unit!r} cannot be dropped: choose one of {UNITS}.")
    said = say(problem)
    row = rows.chain(problem, dropped(said, p, rng) if unit == "steps" else said)
    n = len(rows.answer(problem.answer).ids)
    chain, answer = row.rest[:-n], row.rest[-n:]
    left = dropped(chain, p, rng) if unit == "tokens" else chain
    return replace(row, rest=[*left, *answer], supervised=n)


def damaged_chains(
    training: Training, largest_p: float = 1.0, say: Say = as_written
) -> SlotSolver:
    """A reader of chains of every degree of damage; half of its rows are whole.

    Args:
        training: what every method is given.
        largest_p: of the damaged rows, where p is uniform from 0 to this.
        say: the steps of a problem as they are said.

    Returns:
        A solver that still writes whole chains: those rows carry loss on the chain.
    """
    model = training.wrapped()
    rows = training.rows(model)

    def make(problem: Question, rng: random.Random) -> SlotRow:
        if rng.random() < 0.5:
            return rows.chain(problem, say(problem))
        return damaged_row(rows, problem, rng, rng.uniform(0, largest_p), say)

    training.train(model, make, training.settings.run, "damaged-chains")
    return SlotSolver(model, rows, writes_chain=True)
