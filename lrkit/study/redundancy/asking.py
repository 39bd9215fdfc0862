"""What is asked behind a chain: the question itself, or a question that says nothing.

A model that is shown the question may work out again what was removed from its chain.
Where the question is hidden it can only read.
"""

from __future__ import annotations

from dataclasses import replace

from lrkit.data.problems import Question

SHOWN, HIDDEN = "question shown", "question hidden"
ASKS = (SHOWN, HIDDEN)
IN_PLACE = "which hour is it?"


def asked(problem: Question, ask: str) -> Question:
    """The problem as it is asked.

    Args:
        problem: of the clock task.
        ask: one of `ASKS`.

    Raises:
        ValueError: for another ask.
    """
    if ask not in ASKS:
        raise ValueError(f"nothing is asked by {ask!r}: choose one of {ASKS}.")
    return problem if ask == SHOWN else replace(problem, question=IN_PLACE)
