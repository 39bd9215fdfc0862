"""Intervals: limits, coverage, clusters, and the arithmetic of what could be seen."""

from __future__ import annotations

import numpy as np
import pytest

from lrkit.study.stats import (
    Estimate,
    detectable_difference,
    mean_estimate,
    paired_difference,
    proportion,
    questions_needed,
)


def test_equal_scores_differ_by_exactly_zero():
    a = np.random.default_rng(0).integers(0, 2, 50)
    d = paired_difference(a, a)
    assert (d.value, d.low, d.high) == (0.0, 0.0, 0.0)


def test_a_difference_changes_sign_with_its_order():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 2, (2, 80))
    assert paired_difference(a, b).value == pytest.approx(
        -paired_difference(b, a).value
    )


def test_pairing_narrows_the_interval_of_correlated_scores():
    rng = np.random.default_rng(2)
    hard = rng.random(300)
    a, b = (hard < 0.7).astype(float), (hard < 0.6).astype(float)
    paired = paired_difference(a, b)
    unpaired = paired_difference(a, rng.permutation(b))
    assert paired.high - paired.low < unpaired.high - unpaired.low


def test_doubling_every_question_as_a_cluster_leaves_the_interval_alone():
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, 2, (2, 120)).astype(float)
    names = [str(i) for i in range(120)]
    once = paired_difference(a, b, names)
    twice = paired_difference(
        np.repeat(a, 2), np.repeat(b, 2), np.repeat(names, 2).tolist()
    )
    assert twice.value == pytest.approx(once.value)
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=0.1)
    blind = paired_difference(np.repeat(a, 2), np.repeat(b, 2))
    assert blind.high - blind.low < 0.85 * (twice.high - twice.low)


@pytest.mark.parametrize("nobody", ["", None, float("nan")])
def test_questions_without_a_cluster_stand_alone(nobody):
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 2, (2, 90)).astype(float)
    assert paired_difference(a, b, [nobody] * 90) == paired_difference(a, b)


def test_random_seeds_of_different_quality_widen_the_interval():
    rng = np.random.default_rng(4)
    draw = rng.random(200)
    same = np.stack([draw < 0.5] * 3).astype(float)
    apart = np.stack([draw < 0.3, draw < 0.5, draw < 0.7]).astype(float)
    narrow, wide = mean_estimate(same), mean_estimate(apart)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_the_interval_covers_the_truth_about_95_times_in_100():
    rng = np.random.default_rng(5)
    hits = 0
    for k in range(120):
        a, b = (rng.random((2, 100)) < [[0.7], [0.6]]).astype(float)
        d = paired_difference(a, b, seed=k, n_boot=400)
        hits += d.low <= 0.1 <= d.high
    assert 0.88 <= hits / 120 <= 1.0


def test_wilson_stays_inside_zero_and_one():
    everything = proportion([True] * 20)
    assert everything.value == 1.0 and everything.high <= 1.0 and everything.low < 0.9
    with pytest.raises(ValueError, match="no questions"):
        proportion([])


def test_questions_needed_inverts_the_detectable_difference():
    n = questions_needed(0.02, 0.2)
    assert detectable_difference(n, 0.2) == pytest.approx(0.02, rel=0.01)
    assert n == 3925  # 0.2 * (2.8016 / 0.02) ** 2


def test_unpaired_questions_are_refused():
    with pytest.raises(ValueError, match="same questions"):
        paired_difference(np.ones(3), np.ones(4))


def test_a_verdict_is_given_only_where_zero_is_excluded():
    said = {
        (0.1, 0.3): "yes",
        (-0.3, -0.1): "no, the reverse",
        (-0.1, 0.3): "not shown",
    }
    for (low, high), verdict in said.items():
        assert Estimate((low + high) / 2, low, high, 9).verdict() == verdict
    assert Estimate(0.1, 0.0, 0.2, 9).verdict() == "not shown", "zero is in it"
