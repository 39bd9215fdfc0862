"""Redundant chains in the words of an embedded base, so that a small model reads them.

The sentences of `lrkit.data.chains.verbose` are English. A base of a million parameters
that was pretrained on clocks has no words for them, only letters, and a chain of
letters is longer than any row it has seen. Here the same is said in what it knows: a
step is its equation; it is restated as a result in brackets, checked by writing it
again, and hedged by asking "is it?".
"""

from __future__ import annotations

import re
from dataclasses import replace

from lrkit.data.chains import Sentence, step_value
from lrkit.data.chains import verbose as in_english
from lrkit.data.problems import Problem
from lrkit.study.redundancy.splitting import Steps

HEDGE = "is it?"
PIECE = re.compile(rf"<<[^<>]+>>|\( \S+ \)|{re.escape(HEDGE)}")


def compact(problem: Problem, redundancy: float, seed: int = 0) -> list[Sentence]:
    """The sentences of `lrkit.data.chains.verbose`, each said in the base's words.

    Args:
        problem: of the clock task.
        redundancy: share of redundant sentences among all, as there.
        seed: random seed of what is said where.

    Raises:
        ValueError: for a share out of range.
    """
    said = []
    for sentence in in_english(problem, redundancy, seed):
        step = problem.steps[sentence.step]
        text = {"restates": f"( {step_value(step)} )", "hedges": HEDGE}
        said.append(replace(sentence, text=text.get(sentence.kind, step)))
    return said


def split_compact(text: str) -> Steps:
    """Equations, results in brackets and hedges; whatever else there is lies between.

    A text that holds none of them is one step.
    """
    spans = [found.span() for found in PIECE.finditer(text)]
    if not spans:
        whole = text.strip()
        gaps = tuple(text.partition(whole)[::2]) if whole else (text,)
        return Steps((whole,) if whole else (), gaps)
    edges = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), len(text)]
    gaps = tuple(text[a:b] for a, b in zip(edges, starts, strict=True))
    return Steps(tuple(text[a:b] for a, b in spans), gaps)
