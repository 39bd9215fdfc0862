"""Reliability: table, error and band, by hand, by brute force and in the limit."""

import numpy as np
import pandas as pd
import pytest
from calibration_rows import simulated

from lrkit.answer.calibration import (
    expected_calibration_error,
    reliability_band,
    reliability_table,
)

BY = pytest.mark.parametrize("by", ["width", "mass"])


def test_the_error_is_what_a_hand_computes():
    confidence = [0.55, 0.6, 0.95, 0.95, 1.0]
    correct = [True, False, True, True, False]
    # (0.5, 0.6]: mean 0.575, half right; (0.9, 1]: mean 0.9667, two thirds right.
    by_hand = 2 / 5 * 0.075 + 3 / 5 * 0.3
    assert expected_calibration_error(confidence, correct) == pytest.approx(by_hand)
    one_bin = abs(np.mean(confidence) - 0.6)
    assert expected_calibration_error(confidence, correct, 1) == pytest.approx(one_bin)


@BY
@pytest.mark.parametrize("bins", [1, 3, 10, 40])
def test_the_table_and_the_error_are_those_of_a_loop_over_rows(by, bins):
    confidence, correct = simulated(157)
    confidence = np.round(confidence, 2)  # with ties
    table = reliability_table(confidence, correct, bins, by)
    assert len(table) == bins and table["count"].sum() == 157
    assert table["low"].iloc[0] == 0 and table["high"].iloc[-1] == 1
    assert (table["low"].to_numpy()[1:] == table["high"].to_numpy()[:-1]).all()
    error = 0.0
    for k, row in table.iterrows():
        inside = [
            i for i, c in enumerate(confidence)
            if row["low"] < c <= row["high"] or (k == 0 and c == 0)
        ]  # fmt: skip
        assert row["count"] == len(inside)
        if not inside:
            assert row[["confidence", "accuracy"]].isna().all()
            continue
        assert row["confidence"] == pytest.approx(confidence[inside].mean())
        assert row["accuracy"] == pytest.approx(correct[inside].mean())
        error += len(inside) / 157 * abs(row["confidence"] - row["accuracy"])
    found = expected_calibration_error(confidence, correct, bins, by)
    assert found == pytest.approx(error)


def test_both_ends_of_the_scale_lie_in_a_bin():
    table = reliability_table([0.0, 1.0, 1.0], [False, True, True], bins=4)
    assert table["count"].tolist() == [1, 0, 0, 2]


@BY
def test_perfect_calibration_has_no_error_in_the_limit(by):
    errors = [
        np.mean([expected_calibration_error(*simulated(n, s), by=by) for s in range(8)])
        for n in (100, 1_000, 10_000, 100_000)
    ]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.004
    # The noise falls with the root of n, so 1000 times the rows make a 30th of it.
    assert errors[0] / errors[-1] > 20


@BY
def test_overconfidence_is_measured_not_averaged_away(by):
    confidence, correct = simulated(200_000, overconfidence=0.4)
    expected = 0.4 * (confidence - 0.5).mean()
    found = expected_calibration_error(confidence, correct, by=by)
    assert found == pytest.approx(expected, abs=0.004)


@BY
def test_the_order_of_rows_changes_nothing(by):
    confidence, correct = simulated(300)
    confidence = np.round(confidence, 2)
    order = np.random.default_rng(1).permutation(300)
    pd.testing.assert_frame_equal(
        reliability_table(confidence[order], correct[order], by=by),
        reliability_table(confidence, correct, by=by),
    )
    there = expected_calibration_error(confidence[order], correct[order], by=by)
    assert there == pytest.approx(
        expected_calibration_error(confidence, correct, by=by)
    )


@pytest.mark.parametrize("n", [3, 10, 99, 100, 101, 109])
def test_bins_of_equal_mass_differ_by_at_most_one_row(n):
    counts = reliability_table(*simulated(n), by="mass")["count"]
    assert counts.sum() == n and counts.max() - counts.min() <= 1


def test_ties_stay_together_and_leave_empty_bins():
    confidence = np.array([0.6] * 7 + [0.8] + [1.0] * 12)
    table = reliability_table(confidence, [True] * 20, bins=5, by="mass")
    assert sorted(table["count"]) == [0, 0, 1, 7, 12]
    assert set(table["confidence"].dropna().round(9)) == {0.6, 0.8, 1.0}


@BY
def test_the_band_holds_the_table_and_covers_the_truth(by):
    covered = []
    for seed in range(40):
        rows = simulated(600, seed)
        band = reliability_band(*rows, 5, by, n_boot=200)
        table = reliability_table(*rows, 5, by)
        pd.testing.assert_frame_equal(band[table.columns], table)
        full = band[band["count"] > 30]
        assert (full["accuracy_low"] <= full["accuracy"]).all()
        assert (full["accuracy"] <= full["accuracy_high"]).all()
        # Calibrated: the true accuracy of a bin is its mean confidence.
        covered += list(
            full["confidence"].between(full["accuracy_low"], full["accuracy_high"])
        )
    assert np.mean(covered) > 0.88


def test_the_band_of_an_empty_bin_is_empty_and_of_a_sure_one_has_no_width():
    band = reliability_band(
        [0.95] * 5 + [0.15] * 5, [True] * 5 + [True, False] * 2 + [True]
    )
    assert band.loc[9, ["accuracy_low", "accuracy_high"]].tolist() == [1, 1]
    assert band.loc[1, "accuracy_low"] < 0.6 < band.loc[1, "accuracy_high"]
    assert band.loc[[0, 2, 5], ["accuracy_low", "accuracy_high"]].isna().all(axis=None)


@pytest.mark.parametrize(
    "confidence, correct, sentence",
    [
        ([], [], "at least one row"),
        ([[0.5]], [True], "one value per row"),
        ([0.5, 0.6], [True], "same rows .*'confidence': 2, 'correct': 1"),
        ([0.5, float("nan")], [True, True], "confidence of row 1 is nan"),
        ([0.5, 1.5], [True, True], "row 1 is 1.5: it must be a number between 0 and 1"),
        ([-0.1], [True], "row 0 is -0.1"),
        (["high"], [True], "every row of confidence must be a number"),
        ([0.5], [0.5], "correct of row 0 is 0.5: it must be true or false"),
        ([0.5, 0.5], [True, None], "correct of row 1 is nan"),
        ([0.5], ["yes"], "every row of correct must be true or false"),
    ],
)
def test_rows_that_are_none_are_refused_by_number(confidence, correct, sentence):
    for function in (reliability_table, reliability_band, expected_calibration_error):
        with pytest.raises(ValueError, match=sentence):
            function(confidence, correct)


@pytest.mark.parametrize("bins, by", [(0, "width"), (10, "size")])
def test_bins_that_are_none_are_refused(bins, by):
    with pytest.raises(ValueError, match="by 'width' or 'mass'"):
        reliability_table([0.5], [True], bins, by)
