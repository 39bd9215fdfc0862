"""The bill of two stages: cost, latency and gain, by hand and by a loop."""

import dataclasses

import numpy as np
import pytest
from routing_rows import PRICES, simulated

from lrkit.answer.routing import cost_curve


def test_the_bill_is_what_a_hand_computes():
    # A machine-second costs 0.0002 and does 20 rows: 1e-5 a row, 10 a million.
    # A routed row reads 600 tokens, 0.0015, and writes 4, 0.00004: 1540 a million.
    confidence, correct = [0.9, 0.8, 0.7, 0.6], [True, False, True, False]
    curve = cost_curve(confidence, correct, [False, True, True, True], PRICES, [0.75])
    row = curve.iloc[0]
    assert row["routed"] == 0.5 and row["accuracy"] == 0.75
    assert row["cost_per_million"] == pytest.approx(10 + 0.5 * 1540)
    assert row["latency_mean_s"] == pytest.approx(0.05 + 0.5 * 0.8)
    assert row["latency_p95_s"] == pytest.approx(0.85)


def two_stages(n=400, seed=0):
    confidence, correct = simulated(n, seed)
    return confidence, correct, np.random.default_rng(seed + 1).random(n) < 0.97


def test_at_the_ends_there_is_one_stage_only():
    confidence, correct, second = two_stages()
    curve = cost_curve(confidence, correct, second, PRICES, [0, np.inf])
    none, everything = curve.to_dict("records")
    assert none["routed"] == 0 and none["accuracy"] == correct.mean()
    assert none["cost_per_million"] == pytest.approx(10)
    assert none["latency_mean_s"] == none["latency_p95_s"] == 0.05
    assert everything["routed"] == 1 and everything["accuracy"] == second.mean()
    assert everything["cost_per_million"] == pytest.approx(
        1550
    )  # the first is paid too
    assert everything["latency_mean_s"] == pytest.approx(0.85)
    assert everything["latency_p95_s"] == pytest.approx(0.85)


def test_a_gain_is_the_paired_difference_to_the_first_stage_alone():
    confidence, correct, second = two_stages()
    curve = cost_curve(confidence, correct, second, PRICES, [0, 0.5, np.inf])
    assert curve["gain"].tolist() == pytest.approx(curve["accuracy"] - correct.mean())
    nothing, some, _ = curve.to_dict("records")
    assert nothing["gain_low"] == nothing["gain"] == nothing["gain_high"] == 0
    assert some["gain_low"] < some["gain"] < some["gain_high"]
    width = some["accuracy_high"] - some["accuracy_low"]
    assert some["gain_high"] - some["gain_low"] < 2 * width
    same = cost_curve(confidence, correct, correct, PRICES, [np.inf]).iloc[0]
    assert same["gain"] == same["gain_low"] == same["gain_high"] == 0


def test_each_row_of_the_bill_is_what_a_loop_counts():
    confidence, correct, second = two_stages(150)
    thresholds = [0.9, 0.03, 0.5, 0.5, 1.0]
    curve = cost_curve(confidence, correct, second, PRICES, thresholds, 10)
    assert curve["threshold"].tolist() == thresholds
    for row in curve.itertuples():
        right, cost, waits = [], 0.0, []
        for c, first_ok, second_ok in zip(confidence, correct, second, strict=True):
            routed = c < row.threshold
            right.append(second_ok if routed else first_ok)
            cost += 0.72 / 3600 / 20 + routed * (600 * 2.5 + 4 * 10) / 1e6
            waits.append(0.05 + 0.8 * routed)
        assert row.accuracy == pytest.approx(np.mean(right))
        assert row.cost_per_million == pytest.approx(cost / 150 * 1e6)
        assert row.latency_mean_s == pytest.approx(np.mean(waits))
        p95 = np.quantile(waits, 0.95, method="inverted_cdf")
        assert row.latency_p95_s == pytest.approx(p95)


def test_a_higher_threshold_routes_and_costs_no_less():
    curve = cost_curve(*two_stages(), PRICES, np.linspace(0, 1, 21), 10)
    for column in ("routed", "cost_per_million", "latency_mean_s", "latency_p95_s"):
        assert curve[column].is_monotonic_increasing


def test_a_machine_of_ones_own_is_not_free_and_a_slow_one_is_dear():
    costs = [
        cost_curve(
            [0.5],
            [True],
            [True],
            dataclasses.replace(PRICES, rows_per_second=speed),
            [0],
        )["cost_per_million"][0]
        for speed in (20, 10, 1)
    ]
    assert costs == pytest.approx([10, 20, 200])


def test_the_interval_holds_the_accuracy_as_often_as_it_says():
    """At 0.5 the truth: 0.97 of the routed half, 1 - 0.3 / 4 of the other."""
    truth, held = 0.5 * 0.97 + 0.5 * (1 - 0.3 / 4), []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        confidence = rng.random(300)
        correct = rng.random(300) >= 0.3 * (1 - confidence)
        second = rng.random(300) < 0.97
        row = cost_curve(confidence, correct, second, PRICES, [0.5], 200, seed).iloc[0]
        assert row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
        held.append(row["accuracy_low"] <= truth <= row["accuracy_high"])
    assert 0.88 < np.mean(held) <= 1


def test_groups_widen_the_interval_of_rows_that_repeat():
    confidence, correct, second = (np.repeat(a, 3) for a in two_stages(150))
    args = (confidence, correct, second, PRICES, [0.5])
    blind, grouped = (
        cost_curve(*args, groups=groups).iloc[0]
        for groups in (None, np.repeat(np.arange(150), 3))
    )
    ratio = (grouped["accuracy_high"] - grouped["accuracy_low"]) / (
        blind["accuracy_high"] - blind["accuracy_low"]
    )
    assert ratio == pytest.approx(np.sqrt(3), rel=0.2)


@pytest.mark.parametrize(
    "field, value",
    [("rows_per_second", 0), ("machine_per_hour", -1), ("tokens_in", float("nan"))],
)
def test_prices_that_are_none_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(PRICES, **{field: value})


def test_thresholds_and_second_answers_must_fit():
    for thresholds in ([], [float("nan")], 0.5):
        with pytest.raises(ValueError, match="list of numbers"):
            cost_curve([0.5], [True], [True], PRICES, thresholds)
    with pytest.raises(ValueError, match="'second_correct': 2"):
        cost_curve([0.5], [True], [True, False], PRICES, [0.5])
