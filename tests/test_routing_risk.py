"""Risk and coverage: the curve and its area by brute force, and the rows refused."""

import numpy as np
import pandas as pd
import pytest
from routing_rows import PRICES, simulated

from lrkit.answer.routing import (
    area_under_risk_coverage,
    cost_curve,
    guaranteed_threshold,
    risk_coverage,
)


def test_each_row_of_the_curve_is_what_a_loop_counts():
    confidence, correct = simulated(200, 0)
    curve = risk_coverage(confidence, correct)
    assert curve["threshold"].tolist() == sorted(set(confidence), reverse=True)
    for row in curve.itertuples():
        accepted = [ok for c, ok in zip(confidence, correct, strict=True)
                    if c >= row.threshold]  # fmt: skip
        assert row.n == len(accepted) and row.coverage == len(accepted) / 200
        assert row.risk == pytest.approx(1 - np.mean(accepted))
    assert curve["coverage"].iloc[-1] == 1
    assert curve["risk"].iloc[-1] == pytest.approx(1 - correct.mean())


def test_the_area_is_the_mean_risk_over_coverages():
    confidence, correct = simulated(80, 1, digits=9)
    ranked = ~correct[np.argsort(-confidence)]
    risks = [ranked[:k].mean() for k in range(1, 81)]
    assert area_under_risk_coverage(confidence, correct) == pytest.approx(
        np.mean(risks)
    )


def test_a_good_ranking_has_less_area_than_none_and_none_less_than_a_bad_one():
    correct = np.array([True] * 70 + [False] * 30)
    falling = np.linspace(1, 0, 100)
    areas = [
        area_under_risk_coverage(confidence, correct)
        for confidence in (falling, np.full(100, 0.5), falling[::-1])
    ]
    assert areas[0] < areas[1] == pytest.approx(0.3) and areas[1] < areas[2]
    assert area_under_risk_coverage(falling, np.ones(100)) == 0
    assert area_under_risk_coverage(falling, np.zeros(100)) == pytest.approx(1)


def test_neither_the_order_of_rows_nor_a_monotone_map_changes_risks():
    confidence, correct = simulated(150, 2)
    order = np.random.default_rng(0).permutation(150)
    curve = risk_coverage(confidence, correct)
    shuffled = risk_coverage(confidence[order], correct[order])
    pd.testing.assert_frame_equal(shuffled, curve)
    mapped = risk_coverage(confidence**3 / 2, correct)
    columns = ["coverage", "risk", "n"]
    pd.testing.assert_frame_equal(mapped[columns], curve[columns])


@pytest.mark.parametrize(
    "confidence, correct, sentence",
    [
        ([], [], "at least one row"),
        ([0.5, 0.6], [True], "same rows"),
        ([0.5, float("nan")], [True, True], "confidence of row 1 is nan"),
        ([1.01], [True], "row 0 is 1.01"),
        ([0.5], [2], "correct of row 0"),
    ],
)
def test_rows_that_are_none_are_refused_by_number(confidence, correct, sentence):
    for call in (
        lambda: risk_coverage(confidence, correct),
        lambda: area_under_risk_coverage(confidence, correct),
        lambda: guaranteed_threshold(confidence, correct, 0.1),
        lambda: cost_curve(confidence, correct, correct, PRICES, [0.5]),
    ):
        with pytest.raises(ValueError, match=sentence):
            call()
