"""When two graphs have the same shape, and which options there are."""

import random
from itertools import combinations, permutations

import pytest

from lrkit.data.dags import Options, shape


def test_graphs_have_the_same_shape_exactly_if_a_renumbering_makes_them_equal():
    def least(edges):
        """The smallest of all renumberings: what isomorphic graphs share."""
        return min(
            tuple(sorted((p[a], p[b]) for a, b in edges))
            for p in permutations(range(5))
        )

    rng = random.Random(0)
    every = list(combinations(range(5), 2))
    least_of = {}
    for _ in range(120):
        edges = rng.sample(every, rng.randint(2, 6))
        number = rng.sample(range(5), 5)
        edges = [[number[a], number[b]] for a, b in edges]
        found = shape({"nodes": [None] * 5, "edges": rng.sample(edges, len(edges))})
        least_of.setdefault(found, set()).add(least(edges))
    assert len(least_of) > 50 and all(len(same) == 1 for same in least_of.values())
    assert len(set().union(*least_of.values())) == len(least_of)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"n_drawn": 41}, "n_drawn must be from 4 to 40, got 41"),
        ({"own": 0.6}, "own must be from 0 to 0.5"),
        ({"min_steps": 7}, "min_steps must be from 1 to 6"),
        ({"min_nodes": 29}, "min_nodes must be from 1 to 28"),
        ({"even": True}, "max_steps must be from 1 to 4, got 6"),
    ],
)
def test_options_out_of_range_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Options(**wrong)
