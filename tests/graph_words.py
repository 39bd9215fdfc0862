"""Graphs read out of the text of a question, and asked by brute force."""

import re
from collections import Counter
from functools import cache

from lrkit.data.dags import Options
from lrkit.data.graphs import graph_problems

OPTIONS = {"default": Options(), "small": Options.small()}


FACT = re.compile(r"(Every [a-z]+pus|[A-Z][a-z]+) is a ([a-z]+pus)\.")


ASKED = re.compile(r"Is ([A-Z][a-z]+) a ([a-z]+pus) or ([a-z]+pus)\?")


@cache
def drawn(which, split="train", n=120):
    return graph_problems(split, n, options=OPTIONS[which])


def edge(sentence):
    """What a sentence says: (from, to)."""
    start, end = FACT.fullmatch(sentence).groups()
    return start.removeprefix("Every "), end


def told(question):
    """The edges in the order of the question, who is asked about, the two ends."""
    *facts, asked = re.findall(r"[^.?]+[.?]", question)
    root, *ends = ASKED.fullmatch(asked.strip()).groups()
    return [edge(fact.strip()) for fact in facts], root, ends


def walks(edges, start):
    """By number of edges, where all walks from a node end; () follow in the end."""
    ends, found = {start}, []
    while ends:
        found.append(ends)
        ends = {b for a, b in edges if a in ends}
    return found


def distance(edges, start, end):
    """On the shortest of all walks; None if there is none."""
    return next((n for n, ends in enumerate(walks(edges, start)) if end in ends), None)


def cue(problem):
    """How often counting sentences is right: 1 or 0, 0.5 if the ends are in as many."""
    ends = Counter(end for _, end in problem.made_from["edges"])
    target, other = (ends[problem.made_from[n]] for n in ("target", "neg_target"))
    return (target < other) + 0.5 * (target == other)
