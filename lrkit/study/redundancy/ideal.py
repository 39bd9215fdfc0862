"""The ideal reader: what could be known at best from what is left of a chain.

It reads without error and computes nothing: it knows the result of a step if, and only
if, one of the step's sentences that say so is left. A model that stays above it has
worked something out again from the question; one that stays below it misses what it
could have read.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lrkit.data.chains import Sentence, step_value
from lrkit.study.redundancy.mentions import states


def copies(chain: Sequence[Sentence], steps: Sequence[str]) -> list[int]:
    """How often each step's result is said by the step's own sentences.

    By the construction of `lrkit.data.chains.verbose`: its necessary sentence, and
    those redundant ones behind it that name its value. That the next step computes with
    the value is not counted: whoever reads only that has not read the step.

    Args:
        chain: its sentences.
        steps: the problem's.
    """
    found = [0] * len(steps)
    for sentence in chain:
        found[sentence.step] += states(sentence.text, step_value(steps[sentence.step]))
    return found


def survival(copies: npt.ArrayLike, p: npt.ArrayLike) -> np.ndarray:
    """Probability that of every fact a copy is left: the product of 1 - p^copies.

    Args:
        copies: [..., facts], in how many steps each fact stands, in each alone.
        p: probability that a step goes; broadcast against [...].

    Returns:
        [...]. 1 without facts; 0 where a fact has no copy.
    """
    copies, p = np.asarray(copies, float), np.asarray(p, float)
    return (1 - p[..., None] ** copies).prod(-1)


def ideal_accuracy(
    all_copies: Sequence[Sequence[int]], ps: Sequence[float], last: bool = False
) -> np.ndarray:
    """[p]: mean over questions of the ideal reader's accuracy, steps dropped with p.

    Args:
        all_copies: of each question, see `copies`.
        ps: probabilities.
        last: only the last fact is needed, which is the answer: the ideal reader of a
            leak.
    """
    needed = [list(one)[-1:] if last else list(one) for one in all_copies]
    return np.array([np.mean([survival(one, p) for one in needed]) for p in ps])
