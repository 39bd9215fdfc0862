"""Laws of routing: risk by brute force, promises kept in simulation, bills by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lrkit.answer.routing import (
    Prices,
    area_under_risk_coverage,
    cost_curve,
    fewest_rows,
    guaranteed_threshold,
    risk_coverage,
)


def simulated(n, seed, digits=2, slope=0.3):
    """Rows whose risk is `slope` * (1 - confidence); few digits make ties."""
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.random(n), digits)
    return confidence, rng.random(n) >= slope * (1 - confidence)


# --- risk and coverage ----------------------------------------------------------------


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


# --- the guarantee --------------------------------------------------------------------


def true_risk(threshold, digits, slope=0.3):
    """Risk of what `simulated` draws at or above a threshold, exactly."""
    if digits > 6:
        return slope * (1 - threshold) / 2
    grid = np.linspace(0, 1, 10**digits + 1)
    mass = np.ones(grid.size)
    mass[[0, -1]] = 0.5  # half as much is rounded to either end
    accepted = grid >= threshold - 1e-9
    return np.average(slope * (1 - grid[accepted]), weights=mass[accepted])


@pytest.mark.parametrize("digits", [1, 2, 9])
@pytest.mark.parametrize("delta", [0.05, 0.2])
def test_the_promise_is_broken_no_more_often_than_agreed(digits, delta):
    draws, max_risk = 400, 0.1
    found = [
        guaranteed_threshold(*simulated(500, seed, digits), max_risk, delta)
        for seed in range(draws)
    ]
    given = [f for f in found if f.n_accepted]
    broken = sum(true_risk(f.threshold, digits) > max_risk for f in given)
    assert broken <= stats.binom.ppf(0.999, draws, delta)
    # Not vacuous: two thirds of all rows could be accepted at this risk.
    assert len(given) > 0.8 * draws
    assert np.mean([f.coverage for f in found]) > 0.3


@pytest.mark.parametrize("delta", [0.05, 0.2])
def test_a_risk_just_above_the_limit_is_promised_as_often_as_agreed(delta):
    """The worst case: confidence says nothing, all thresholds are a bit too risky."""
    rng = np.random.default_rng(0)
    draws, max_risk = 400, 0.1
    found = [
        guaranteed_threshold(rng.random(300), rng.random(300) > 0.1001, max_risk, delta)
        for _ in range(draws)
    ]
    broken = sum(f.n_accepted > 0 for f in found)
    assert broken <= stats.binom.ppf(0.999, draws, delta)
    assert broken >= stats.binom.ppf(0.001, draws, delta / 3), "and it is not timid"


def lowest_that_passes(confidence, correct, max_risk, delta):
    """The tempting way: test every threshold, keep the lowest that passes."""
    curve = risk_coverage(confidence, correct)
    wrong = (curve["risk"] * curve["n"]).round()
    passed = curve[stats.binom.cdf(wrong, curve["n"], max_risk) <= delta]
    return passed["n"].max() if len(passed) else 0


def test_the_tempting_way_breaks_the_same_promise():
    """So that the simulation above is known to notice."""
    rng = np.random.default_rng(0)
    broken = sum(
        lowest_that_passes(rng.random(300), rng.random(300) > 0.1001, 0.1, 0.05) > 0
        for _ in range(200)
    )
    assert broken > stats.binom.ppf(0.999, 200, 0.05)


def by_hand(confidence, correct, max_risk, delta, start):
    """The sequence of tests, one scipy test at a time."""
    best = (np.inf, 0)
    for threshold in sorted(set(confidence), reverse=True):
        accepted = confidence >= threshold
        n, wrong = int(accepted.sum()), int((~correct[accepted]).sum())
        if n < start:
            continue
        test = stats.binomtest(wrong, n, max_risk, alternative="less")
        if test.proportion_ci(1 - delta, "exact").high > max_risk:
            break
        assert test.pvalue <= delta + 1e-9, "the bound and the test are one"
        best = (threshold, n)
    return best


@pytest.mark.parametrize("seed", range(12))
def test_the_search_is_the_sequence_of_exact_tests(seed):
    confidence, correct = simulated(300, seed)
    for max_risk, start in [(0.1, 40), (0.15, 1), (0.2, 60), (0.05, 100)]:
        found = guaranteed_threshold(confidence, correct, max_risk, 0.1, start)
        expected = by_hand(confidence, correct, max_risk, 0.1, start)
        assert (found.threshold, found.n_accepted) == expected
        if found.n_accepted:
            accepted = confidence >= found.threshold
            assert found.coverage == accepted.mean()
            assert found.risk == pytest.approx(1 - correct[accepted].mean())
            assert found.risk < found.bound <= max_risk


def test_rows_that_tie_are_accepted_together_or_not_at_all():
    confidence = np.array([0.9] * 100 + [0.8] * 100)
    correct = np.array([True] * 180 + [False] * 20)
    found = guaranteed_threshold(confidence, correct, 0.05, min_accepted=60)
    assert (found.threshold, found.n_accepted, found.risk) == (0.9, 100, 0)
    order = np.random.default_rng(0).permutation(200)
    args = confidence[order], correct[order], 0.05
    assert guaranteed_threshold(*args, min_accepted=60) == found
    # A start in the middle of a tie is a start behind it, where the risk is too high.
    assert guaranteed_threshold(*args, min_accepted=101).n_accepted == 0


def test_nothing_behind_the_first_failure_is_looked_at():
    """Ten wrong rows after sixty right ones: later rows are never asked."""
    correct = np.array([True] * 60 + [False] * 10 + [True] * 900)
    confidence = np.linspace(1, 0, correct.size)
    found = guaranteed_threshold(confidence, correct, 0.1, min_accepted=50)
    assert 60 <= found.n_accepted < 70
    assert "most confident rows" in found.note
    assert lowest_that_passes(confidence, correct, 0.1, 0.05) == correct.size


def test_the_whole_split_is_accepted_where_nothing_is_wrong():
    found = guaranteed_threshold(np.linspace(0.2, 0.9, 200), np.ones(200), 0.05)
    assert found.coverage == 1 and found.threshold == pytest.approx(0.2)
    assert found.bound == pytest.approx(1 - 0.05 ** (1 / 200))
    assert found.note == "every row can be accepted."


@pytest.mark.parametrize(
    "n, right, said",
    [
        (50, True, "50 rows are too few: the first test takes 124"),
        (500, False, "of the 124 most confident rows 124 are wrong"),
    ],
)
def test_where_nothing_can_be_promised_a_sentence_says_so(n, right, said):
    found = guaranteed_threshold(np.linspace(1, 0, n), np.full(n, right), 0.05)
    assert found.threshold == np.inf and found.coverage == found.n_accepted == 0
    assert np.isnan(found.risk) and np.isnan(found.bound)
    assert said in found.note


def test_more_rows_more_risk_and_more_doubt_accept_more():
    confidence, correct = simulated(2000, 3)
    base = guaranteed_threshold(confidence, correct, 0.1, min_accepted=80)
    for args in ({"max_risk": 0.12}, {"max_risk": 0.1, "delta": 0.2}):
        more = guaranteed_threshold(confidence, correct, min_accepted=80, **args)
        assert more.coverage > base.coverage
    coverages = [
        np.mean(
            [guaranteed_threshold(*simulated(n, s), 0.1).coverage for s in range(20)]
        )
        for n in (200, 800, 3200)
    ]
    assert coverages == sorted(coverages) and coverages[2] < 2 / 3 + 0.02


@pytest.mark.parametrize("max_risk", [0.02, 0.05, 0.2])
@pytest.mark.parametrize("wrong", [0, 2])
def test_the_fewest_rows_are_the_fewest_that_pass(max_risk, wrong):
    n = fewest_rows(max_risk, 0.05, wrong)
    highs = [
        stats.binomtest(wrong, m, alternative="less").proportion_ci(0.95, "exact").high
        for m in (n - 1, n)
    ]
    assert highs[1] <= max_risk < highs[0]
    if wrong == 0:
        assert n == np.ceil(np.log(0.05) / np.log(1 - max_risk))


@pytest.mark.parametrize(
    "args, sentence",
    [
        ({"max_risk": 0.0}, "max_risk must lie between 0 and 1, got 0.0"),
        ({"max_risk": 5}, "max_risk must lie"),
        ({"max_risk": 0.1, "delta": 1.0}, "delta must lie"),
        ({"max_risk": 0.1, "delta": float("nan")}, "delta must lie"),
        ({"max_risk": 0.1, "min_accepted": 0}, "min_accepted must be 1 or more"),
    ],
)
def test_promises_that_are_none_are_refused(args, sentence):
    with pytest.raises(ValueError, match=sentence):
        guaranteed_threshold([0.5, 0.6], [True, False], **args)


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


# --- the bill -------------------------------------------------------------------------

PRICES = Prices(
    machine_per_hour=0.72,
    rows_per_second=20,
    second_in_per_million=2.5,
    second_out_per_million=10,
    tokens_in=600,
    tokens_out=4,
    latency_first_s=0.05,
    latency_second_s=0.8,
)


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
