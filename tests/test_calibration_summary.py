"""The summary of calibration: as scikit-learn has it, intervals, what has no rank."""

import numpy as np
import pandas as pd
import pytest
from calibration_rows import simulated, simulated_proba
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from lrkit.answer.calibration import (
    calibration_summary,
    expected_calibration_error,
    resamples,
)


@pytest.mark.parametrize("k", [2, 3])
def test_the_values_are_those_of_scikit_learn(k):
    proba, truth = simulated_proba(200, k)
    found = calibration_summary(truth, proba, range(k), n_boot=2)["value"]
    confidence, correct = proba.max(1), proba.argmax(1) == truth
    assert found.to_dict() == pytest.approx(
        {
            "accuracy": correct.mean(),
            "ece_width": expected_calibration_error(confidence, correct),
            "ece_mass": expected_calibration_error(confidence, correct, by="mass"),
            "brier": brier_score_loss(truth, proba, labels=range(k)),
            "log_loss": log_loss(truth, proba, labels=range(k)),
            "auroc_of_confidence": roc_auc_score(correct, confidence),
        }
    )


def test_intervals_are_those_of_rows_drawn_one_by_one():
    proba, truth = simulated_proba(120)
    found = calibration_summary(truth, proba, range(3), n_boot=60, seed=5)
    again = pd.DataFrame(
        {"value": calibration_summary(truth[i], proba[i], range(3), 1)["value"]}[
            "value"
        ]
        for i in (np.repeat(np.arange(120), t) for t in resamples(120, 60, 5))
    )
    # The bins of equal mass alone are cut anew where rows are copied out.
    for metric in ("accuracy", "ece_width", "brier", "log_loss", "auroc_of_confidence"):
        low, high = np.quantile(again[metric], [0.025, 0.975])
        if metric == "ece_width":
            value = found.loc[metric, "value"]
            low, high = max(0, 2 * value - high), 2 * value - low
        assert found.loc[metric, ["low", "high"]].tolist() == pytest.approx([low, high])


def test_the_interval_of_the_error_is_not_shifted_by_its_noise():
    """Percentiles would never hold the truth of a calibrated model, which is 0."""
    lows = []
    for seed in range(16):
        confidence, correct = simulated(200, seed)
        proba = np.stack([confidence, 1 - confidence], 1)
        table = calibration_summary(~correct, proba, [False, True], 80)
        lows.append(table.loc["ece_width", "low"])
    assert np.mean(np.array(lows) == 0) > 0.5


def test_the_order_of_columns_and_the_names_of_labels_do_not_matter():
    proba, truth = simulated_proba(100)
    words = np.array(["technical", "billing", "general"])
    plain = calibration_summary(truth, proba, range(3), 50)
    named = calibration_summary(words[truth], proba, words, 50)
    turned = calibration_summary(
        words[truth], proba[:, [2, 0, 1]], words[[2, 0, 1]], 50
    )
    pd.testing.assert_frame_equal(plain, named)
    pd.testing.assert_frame_equal(plain, turned)


def test_the_ranking_is_blind_to_monotone_maps_of_confidence():
    confidence, correct = simulated(300)
    maps = [
        lambda c: c,
        lambda c: c**3,
        lambda c: 0.5 + c / 4,
        lambda c: c / (3 - 2 * c),
    ]
    found = []
    for f in maps:
        mapped = 0.5 + f(confidence) / 2.0001  # above one half: the answers stay
        proba = np.stack([mapped, 1 - mapped], 1)
        found.append(calibration_summary(~correct, proba, [False, True], 20))
    for table in found[1:]:
        pd.testing.assert_series_equal(
            table.loc["auroc_of_confidence"], found[0].loc["auroc_of_confidence"]
        )
        assert table.loc["log_loss", "value"] != found[0].loc["log_loss", "value"]


@pytest.mark.parametrize("said, labels", [("right", "ab"), ("wrong", "ba")])
def test_where_nothing_can_be_ranked_a_sentence_says_so(said, labels):
    proba = np.array([[0.9, 0.1], [0.2, 0.8]])
    table = calibration_summary(list(labels), proba, ["a", "b"], 20)
    row = table.loc["auroc_of_confidence"]
    assert row[["value", "low", "high"]].isna().all()
    assert row["note"] == f"every row is {said}: nothing to rank."
    assert (table["note"].drop("auroc_of_confidence") == "").all()
    assert table["value"].drop("auroc_of_confidence").notna().all()


def test_a_zero_for_the_truth_costs_much_but_not_everything():
    table = calibration_summary(["a", "b"], [[0.0, 1.0], [0.3, 0.7]], ["a", "b"], 5)
    assert 15 < table.loc["log_loss", "value"] < 40


@pytest.mark.parametrize(
    "y, proba, classes, sentence",
    [
        (["a"], [[0.5, 0.5]], ["a", "b", "c"], "a column for each"),
        (["a"], [[1.0]], ["a"], "two or more classes"),
        (["a"], [[0.5, 0.5]], ["a", "a"], "two or more classes"),
        (["a"], [0.5, 0.5], ["a", "b"], r"shape \(2,\)"),
        (["a", "b"], [[0.5, 0.5]], ["a", "b"], "same rows"),
        (["c"], [[0.5, 0.5]], ["a", "b"], "'c', which is none of"),
        (["a"], [[0.5, 0.4]], ["a", "b"], "row 0 of proba does not sum to 1"),
        (["a"], [[0.5, float("nan")]], ["a", "b"], "nan"),
        ([], np.empty((0, 2)), ["a", "b"], "at least one row"),
    ],
)
def test_probabilities_that_are_none_are_refused(y, proba, classes, sentence):
    with pytest.raises(ValueError, match=sentence):
        calibration_summary(y, proba, classes, 2)
