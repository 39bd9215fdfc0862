"""Problems whose steps may be taken in any order: one question, several right chains.

"A clock of 10 hours shows 7, forward 5, back 3, which hour is it?" is solved by
<<7+5=2>> <<2-3=9>> and by <<7-3=4>> <<4+5=9>>. So it can be asked whether a thought
follows one of the chains or several at once (`lrkit.study.parallelism`).

They are the clock problems (`lrkit.data.clock`) whose operations are plus and minus
alone, from the same splits. A split owns its operations in the order in which they are
told: another order of them may be told in another split, as another question.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations

from lrkit.data import clock
from lrkit.data.problems import Problem, stream

ANY_ORDER = ("+", "-")


def chains(problem: Problem) -> list[tuple[str, ...]]:
    """All chains of steps that solve a problem, each once, its own first.

    Args:
        problem: of the clock, with at most 8 steps.

    Returns:
        At most n! chains of n steps; fewer where operations are alike. All of them end
        at the problem's answer.

    Raises:
        ValueError: for a problem whose operations do not commute.
    """
    if not commutes(problem):
        raise ValueError(
            f"the steps of problem {problem.id!r} have one order: give a clock problem "
            "of plus and minus alone, as any_order_stream does."
        )
    made = problem.made_from
    orders = sorted(set(permutations(tuple(op) for op in made["operations"])))
    others = {clock.steps({**made, "operations": order}) for order in orders}
    return [problem.steps, *sorted(others - {problem.steps})]


def commutes(problem: Problem) -> bool:
    """Whether it is a clock problem of plus and minus alone."""
    done = problem.made_from.get("operations", ())
    return problem.task == "clock" and all(op in ANY_ORDER for op, _ in done)


def any_order_stream(split: str, seed: int = 0, least: int = 2) -> Iterator[Problem]:
    """Clock problems of a split that have several chains, without end.

    Args:
        split: see `lrkit.data.problems.problems`.
        seed: another seed, other problems.
        least: chains that each of them has at least, from 1 to 120: without limit a
            search for more would not end.

    Raises:
        ValueError: at once, for an unknown split or a number out of range.
    """
    if not 1 <= least <= 120:
        raise ValueError(f"a problem has 1 to 120 chains here, not {least} or more.")
    every = stream("clock", split, seed)
    return (p for p in every if commutes(p) and len(chains(p)) >= least)


def in_some_order(problem: Problem, rng: random.Random) -> Problem:
    """The same question with one of its chains, all alike probable.

    Args:
        problem: see `chains`.
        rng: source of randomness.
    """
    return replace(problem, steps=rng.choice(chains(problem)))
