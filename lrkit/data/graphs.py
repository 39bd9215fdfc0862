"""Graph problems in the manner of ProsQA: which of two concepts does a person lead to?

"Every banpus is a dolpus. Ida is a banpus. Leo is a gekpus. Is Ida a gekpus or dolpus?"
is a graph without cycles, told edge by edge in any order. From the root, a person, one
of two leaves can be reached; the other only from somebody else. Most edges lead to
neither, so that one has to search.

Here are the row type, what can be asked of its graph, and the generator.
`lrkit.data.dags` grows the graphs, `lrkit.data.prosqa` reads the public rows. The names
of the concepts are ours.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice, product
from typing import Any

from lrkit.data.dags import Options, children_of, distances_from, draw
from lrkit.data.problems import Question
from lrkit.data.word_problems import NAMES

SPLITS = ("train", "validation", "test")
# An edge in words, as `sentence` writes it: from, to.
EDGE = re.compile(r"(?:Every )?(\w+) is an? (\w+)\.")
# As many as `lrkit.data.dags` has nodes at most.
ONSETS = ("b", "d", "fl", "g", "k", "m", "n", "pl", "tr", "z")
CONCEPTS = tuple(f"{a}{b}pus" for a, b in product(ONSETS, ("an", "ek", "ol", "iv")))


@dataclass(frozen=True)
class GraphProblem(Question):
    """A question about a graph: every edge as a sentence, then "Is Ida a gekpus or
    dolpus?".

    Steps are the edges from the root to the target, as the question says them; the
    answer is "Ida is a dolpus."; `task` is "graphs" if generated, "prosqa" if read.
    `made_from` has "nodes", their names, those of persons with a capital; "edges", a
    list of [from, to]; "root", "target" and "neg_target", the leaf that cannot be
    reached. Nodes are counted from 0.

    Whether text and graph agree is checked where rows come from outside, by
    `lrkit.data.prosqa.check`.
    """


def sentence(nodes: Sequence[str], edge: Sequence[int]) -> str:
    """An edge in words: "Ida is a banpus." or "Every banpus is a dolpus."."""
    start, end = (nodes[i] for i in edge)
    return f"{start if start[:1].isupper() else f'Every {start}'} is a {end}."


def short_answer(problem: GraphProblem) -> GraphProblem:
    """The same problem with its answer in one word, "dolpus" for "Ida is a dolpus.".

    The rest of the sentence is in the question. Where a method looks at the token that
    decides, this is the first one of the answer.
    """
    made = problem.made_from
    return replace(problem, answer=made["nodes"][made["target"]])


def distances(problem: GraphProblem, node: str) -> dict[str, int]:
    """The fewest edges from a node to every node that it leads to, itself at 0.

    Raises:
        ValueError: for a name that the graph does not have.
    """
    nodes = problem.made_from["nodes"]
    if node not in nodes:
        raise ValueError(f"problem {problem.id!r} has no node {node!r}.")
    away = distances_from(children_of(problem.made_from), nodes.index(node))
    return {nodes[i]: n for i, n in away.items()}


def reachable(problem: GraphProblem, node: str) -> set[str]:
    """The names of all nodes that a node leads to, without itself.

    Raises:
        ValueError: for a name that the graph does not have.
    """
    return set(distances(problem, node)) - {node}


def candidates(problem: GraphProblem, depth: int, at_most: bool = False) -> set[str]:
    """The frontier of a breadth-first search from the root (COCONUT, section 5).

    Args:
        problem: generated or read.
        depth: edges from the root on the shortest way; 1 or more.
        at_most: also what is nearer, without the root itself.

    Returns:
        Names; the empty set where nothing is as deep.

    Raises:
        ValueError: for a depth below 1.
    """
    if depth < 1:
        raise ValueError(f"depth must be 1 or more, got {depth}.")
    root = problem.made_from["nodes"][problem.made_from["root"]]
    wanted = range(1, depth + 1) if at_most else (depth,)
    return {name for name, n in distances(problem, root).items() if n in wanted}


def height(problem: GraphProblem, node: str) -> int:
    """The shortest distance from a node to any leaf, in edges; 0 for a leaf.

    This is COCONUT's definition (section 5), not the distance to the farthest leaf.

    Raises:
        ValueError: for a name that the graph does not have.
    """
    made = problem.made_from
    leaves = {n for n, c in zip(made["nodes"], children_of(made), strict=True) if not c}
    return min(n for name, n in distances(problem, node).items() if name in leaves)


def _names(rng: random.Random, graph: Mapping[str, Any]) -> list[str]:
    """A name for every node; who has no parents is a person."""
    ends = {end for _, end in graph["edges"]}
    concepts = iter(rng.sample(CONCEPTS, len(ends)))
    persons = iter(rng.sample(NAMES, len(graph["nodes"]) - len(ends)))
    return [
        next(concepts if node in ends else persons)
        for node in range(len(graph["nodes"]))
    ]


def _path(rng: random.Random, graph: Mapping[str, Any]) -> list[list[int]]:
    """The edges of a shortest way from root to target; by chance if there are more."""
    away = distances_from(children_of(graph), graph["root"])
    path, node = [], graph["target"]
    while node != graph["root"]:
        known = [edge for edge in graph["edges"] if edge[1] == node and edge[0] in away]
        edge = rng.choice([e for e in known if away[e[0]] == away[node] - 1])
        path.insert(0, edge)
        node = edge[0]
    return path


def _problems(split: str, seed: int, options: Options) -> Iterator[GraphProblem]:
    """Problems without end; the arguments are known to be good."""
    rng = random.Random(f"graphs/{split}/{seed}")
    for number in count(1):
        graph = draw(rng, split, options)
        nodes = _names(rng, graph)
        root, *ends = (nodes[graph[name]] for name in ("root", "target", "neg_target"))
        facts = [sentence(nodes, edge) for edge in graph["edges"]]
        first, second = rng.sample(ends, 2)
        asked = f"Is {root} a {first} or {second}?"
        yield GraphProblem(
            id=f"graphs-{split}-{seed}-{number:05d}",
            question=" ".join([*rng.sample(facts, len(facts)), asked]),
            steps=tuple(sentence(nodes, edge) for edge in _path(rng, graph)),
            answer=f"{root} is a {ends[0]}.",
            task="graphs",
            split=split,
            made_from=graph | {"nodes": nodes},
        )


def graph_stream(
    split: str, seed: int = 0, options: Options | None = None
) -> Iterator[GraphProblem]:
    """Problems without end, for training; `graph_problems` gives the first of them.

    Raises:
        ValueError: at once for an unknown split; later, where no graph is found.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}: there are {', '.join(SPLITS)}.")
    return _problems(split, seed, options or Options())


def graph_problems(
    split: str, n: int, seed: int = 0, options: Options | None = None
) -> list[GraphProblem]:
    """The first `n` generated problems of a split.

    Args:
        split: "train", "validation" or "test"; no graph is in two of them, however its
            nodes are named and whatever is asked of it.
        n: how many; more of them begin with the same.
        seed: another seed, other problems; the graphs of a split stay its own.
        options: None for rows that resemble ProsQA's; see `Options.small`, too.

    Returns:
        Problems; `steps` is a shortest way. A small graph can be among them twice.

    Raises:
        ValueError: for an unknown split, n below 1, or options that no graph meets.
    """
    endless = graph_stream(split, seed, options)
    if n < 1:
        raise ValueError(f"n must be 1 or more, got {n}.")
    return list(islice(endless, n))
