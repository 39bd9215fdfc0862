"""Directed graphs without cycles, as plain data, and how random ones are grown.

A graph is {"nodes": one entry per node, "edges": a list of [from, to]}; nodes are
counted from 0. What it is called in words, and what is asked of it, is the matter of
`lrkit.data.graphs`.

Graphs grow as in COCONUT's appendix A.2 (arXiv:2412.06769, algorithm 1). What the paper
leaves open (how many nodes, which of two persons is the root, which leaves are asked
for) was fitted to the 800 public rows of validation and test, as were two details in
which these differ from it: `Options.own`, and that a node without parents is itself a
parent only of nodes that may have any.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from lrkit.data.problems import part_of

MOST_NODES = 40
ATTEMPTS = 20_000  # graphs that are grown for one problem before giving up


@dataclass(frozen=True)
class Options:
    """What can be chosen; the defaults resemble ProsQA.

    Attributes:
        n_drawn: nodes that are added one by one, 4 to 40; those that stay without an
            edge, about one in five, are dropped.
        parents: mean of the Poisson distribution of a node's number of parents, 1 to 4.
            A node without any is one more person, if something follows from it.
        own: share of the nodes whose parents all follow from the first person alone,
            and of those of the second, 0 to 0.5 each. The others have any parents.
        deeper: a parent is drawn with the weight 1 + deeper * its depth; 0 or more.
        min_steps, max_steps: edges from root to target.
        min_nodes, max_nodes: nodes that are left.
        even: whether neg_target is as far from its own person as the target is from the
            root, and has as many parents; all numbers of steps are then equally
            frequent, and can be 4 at most, as other graphs are rare. Without it, as in
            ProsQA, neg_target is nearer and in more sentences: who takes the one that
            is in fewer is right two times of three.

    Raises:
        ValueError: for what is out of range.
    """

    n_drawn: int = 28
    parents: float = 1.5
    own: float = 0.38  # the paper says 0.35
    deeper: float = 1.5
    min_steps: int = 3
    max_steps: int = 6
    min_nodes: int = 14
    max_nodes: int = 28
    even: bool = False

    def __post_init__(self) -> None:
        for name, low, high in (
            ("n_drawn", 4, MOST_NODES),
            ("parents", 1, 4),
            ("own", 0, 0.5),
            ("deeper", 0, math.inf),
            ("max_steps", 1, 4 if self.even else math.inf),
            ("min_steps", 1, self.max_steps),
            ("min_nodes", 1, self.max_nodes),
        ):
            if not low <= getattr(self, name) <= high:
                raise ValueError(
                    f"{name} must be from {low} to {high}, got {getattr(self, name)}."
                )

    @classmethod
    def small(cls, **more: Any) -> Options:
        """8 to 12 nodes, 2 or 3 steps, `even`: for models of a million parameters."""
        nodes = {"n_drawn": 13, "own": 0.46, "deeper": 6, "min_nodes": 8}
        steps = {"min_steps": 2, "max_steps": 3, "even": True}
        return cls(**nodes | {"max_nodes": 12} | steps | more)


def children_of(graph: Mapping[str, Any]) -> list[list[int]]:
    """For every node the nodes that its edges lead to."""
    found: list[list[int]] = [[] for _ in graph["nodes"]]
    for start, end in graph["edges"]:
        found[start].append(end)
    return found


def distances_from(children: Sequence[Sequence[int]], start: int) -> dict[int, int]:
    """The fewest edges to every node that can be reached, `start` itself at 0."""
    away, queue = {start: 0}, [start]
    for node in queue:
        for child in children[node]:
            if child not in away:
                away[child] = away[node] + 1
                queue.append(child)
    return away


def shape(graph: Mapping[str, Any]) -> str:
    """A text that stays the same when nodes are named or numbered differently.

    Nodes are coloured by the colours of their children and parents until that tells no
    more of them apart (colour refinement; Weisfeiler and Leman 1968). Two graphs of
    different shape are different; the same shape can, rarely, mean two graphs.
    """
    children = children_of(graph)
    parents = children_of({**graph, "edges": [edge[::-1] for edge in graph["edges"]]})
    colours = [0] * len(children)
    while True:
        around = [
            [tuple(sorted(colours[i] for i in near)) for near in side]
            for side in (children, parents)
        ]
        seen = list(zip(colours, *around, strict=True))
        rank = {known: n for n, known in enumerate(sorted(set(seen)))}
        finer = [rank[one] for one in seen]
        if len(rank) == len(set(colours)):
            pairs = sorted((finer[start], finer[end]) for start, end in graph["edges"])
            return f"{sorted(finer)} {pairs}"
        colours = finer


def _poisson(rng: random.Random, mean: float) -> int:
    """Drawn by multiplying uniform numbers (Knuth)."""
    n, left = 0, rng.random()
    while left > math.exp(-mean):
        n, left = n + 1, left * rng.random()
    return n


def _grow(rng: random.Random, options: Options) -> dict[str, Any]:
    """A graph; its nodes 0 and 1 are the two persons that may be asked about."""
    edges, depths, owners = [], [0, 0], [{0}, {1}]
    for node in range(2, options.n_drawn):
        shares = (options.own, options.own, 1 - 2 * options.own)
        owner = rng.choices(({0}, {1}, None), shares)[0]
        known = [i for i in range(node) if owner in (None, owners[i])]
        # The largest of random ** (1 / weight) are draws by weight, none of them twice.
        luck = {
            i: rng.random() ** (1 / (1 + options.deeper * depths[i])) for i in known
        }
        parents = heapq.nlargest(_poisson(rng, options.parents), known, key=luck.get)
        owners.append(set().union(*(owners[i] for i in parents)))
        depths.append(min((depths[i] + 1 for i in parents), default=0))
        edges += [[i, node] for i in parents]
    left = sorted({0, 1}.union(*edges))
    place = {i: n for n, i in enumerate(left)}
    return {"nodes": left, "edges": [[place[a], place[b]] for a, b in edges]}


def _ends(
    rng: random.Random, graph: Mapping[str, Any], n_steps: int | None, options: Options
) -> dict[str, int] | None:
    """Root, target and neg_target, or None where the graph has none that will do."""
    children = children_of(graph)
    away = [distances_from(children, person) for person in (0, 1)]
    own = [
        [i for i in away[p] if i > 1 and not children[i] and i not in away[1 - p]]
        for p in (0, 1)
    ]
    if n_steps is None:
        deepest = [max((away[p][i] for i in own[p]), default=0) for p in (0, 1)]
        root, n_steps = int(deepest[1] >= deepest[0]), max(deepest)
    else:
        root = rng.randrange(2)
    n_parents = Counter(end for _, end in graph["edges"])
    pairs = [
        {"root": root, "target": target, "neg_target": other}
        for target, other in product(own[root], own[1 - root])
        if away[root][target] == n_steps
        and not (
            options.even
            and (n_steps, n_parents[target])
            != (away[1 - root][other], n_parents[other])
        )
    ]
    in_range = options.min_steps <= n_steps <= options.max_steps
    return rng.choice(pairs) if pairs and in_range else None


def draw(rng: random.Random, split: str, options: Options) -> dict[str, Any]:
    """A graph of a split and what to ask of it; "nodes" has no names yet.

    Args:
        rng: where chance comes from.
        split: "train", "validation" or "test". The `shape` alone decides, so that no
            graph is in two of them, whatever is asked of it.
        options: see `Options`.

    Returns:
        "nodes", "edges", "root", "target" and "neg_target". Both targets are leaves
        that one of the two persons leads to and the other does not.

    Raises:
        ValueError: if 20,000 graphs had not what is asked for.
    """
    sizes = range(options.min_nodes, options.max_nodes + 1)
    steps = range(options.min_steps, options.max_steps + 1)
    n_steps = rng.choice(steps) if options.even else None
    for _ in range(ATTEMPTS):
        graph = _grow(rng, options)
        if len(graph["nodes"]) in sizes:
            ends = _ends(rng, graph, n_steps, options)
            # Dealt as the operations of the other problems are.
            if ends and part_of({"start": shape(graph), "operations": []}) == split:
                return graph | ends
    raise ValueError(
        f"none of {ATTEMPTS} graphs for the split {split!r} has what {options} asks "
        "for; ask for other steps or nodes."
    )
