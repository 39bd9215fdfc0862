"""Laws of distances and ranks between samples of vectors."""

import numpy as np
import pytest

from lrkit.study.embedding_geometry import (
    compare,
    effective_rank,
    frechet_distance,
    mmd2,
)


def normal(n, width=6, seed=0, shift=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(shift, scale, (n, width))


def test_the_effective_rank_counts_even_directions():
    for n in (1, 3, 6):
        assert effective_rank(np.eye(6)[:n]) == pytest.approx(n)
        assert effective_rank(7 * np.eye(6)[:n]) == pytest.approx(n)
    line = np.outer(np.arange(1, 9), np.arange(1, 5))
    assert effective_rank(line) == pytest.approx(1)
    lopsided = np.diag([10.0, 1, 1])
    assert 1 < effective_rank(lopsided) < 3
    with pytest.raises(ValueError, match="have no rank"):
        effective_rank(np.zeros((4, 3)))


def test_the_frechet_distance_of_gaussians_is_known():
    x = normal(500)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(x, x + 3) == pytest.approx(6 * 9)
    # Same directions, another length: tr(C + 4C - 2 * 2C) = tr C, and the means.
    wanted = np.trace(np.cov(x, rowvar=False)) + (x.mean(0) ** 2).sum()
    assert frechet_distance(x, 2 * x) == pytest.approx(wanted)
    turn, _ = np.linalg.qr(normal(6, seed=5))
    y = normal(400, seed=1, shift=0.5, scale=2)
    assert frechet_distance(x @ turn, y @ turn) == pytest.approx(frechet_distance(x, y))
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x))
    assert frechet_distance([[0.0], [2.0]], [[1.0], [3.0]]) == pytest.approx(1)


def test_the_discrepancy_is_nothing_on_average_between_samples_of_one_kind():
    values = [mmd2(normal(40, seed=s), normal(50, seed=100 + s)) for s in range(40)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(40) + 1e-4
    assert min(values) < 0 < max(values), "it is unbiased"


def test_the_discrepancy_grows_with_distance_up_to_its_bound():
    x = normal(60)
    found = [mmd2(x, normal(60, seed=1, shift=s)) for s in (0.5, 1, 2, 20)]
    assert found == sorted(found) and found[0] > 0
    assert found[-1] < 2


def test_the_discrepancy_of_four_points_is_as_computed_by_hand():
    a, b = [[0.0], [1.0]], [[2.0], [3.0]]
    median = np.median([1, 4, 9, 1, 4, 1])  # of the squares of all distances
    k = {d: np.exp(-d * d / (2 * median)) for d in (1, 2, 3)}
    cross = (k[2] + k[3] + k[1] + k[2]) / 4
    assert mmd2(a, b) == pytest.approx(k[1] + k[1] - 2 * cross)


def test_two_halves_of_the_embeddings_are_what_no_difference_looks_like():
    table = normal(800, seed=3)
    rows = compare(
        {"alike": normal(400, seed=4), "far": normal(300, 6, 5, 2, 9)}, table
    )
    assert list(rows.index) == ["alike", "far", "embeddings"]
    assert (rows["n"] == [400, 300, 400]).all()
    null = rows.loc["embeddings"]
    for metric in ("frechet", "mmd2", "frechet_unit", "mmd2_unit"):
        assert abs(rows.loc["alike", metric] - null[metric]) < 0.1
        assert rows.loc["far", metric] > null[metric]
    assert rows.loc["far", "length"] > 5 * null["length"]


def test_only_the_length_differs_between_vectors_and_their_multiples():
    table = normal(600, seed=6)
    rows = compare({"long": 20 * normal(300, seed=7)}, table)
    null = rows.loc["embeddings"]
    assert rows.loc["long", "frechet"] > 100 * null["frechet"]
    assert rows.loc["long", "frechet_unit"] < 2 * null["frechet_unit"]


def test_large_samples_are_drawn_from_and_the_seed_decides():
    table, kind = normal(300, seed=8), {"kind": normal(500, seed=9)}
    one, same, other = (compare(kind, table, 100, seed) for seed in (0, 0, 1))
    assert (one["n"] == 100).all() and one.equals(same) and not one.equals(other)
