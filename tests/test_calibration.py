"""Laws of calibration: by hand, by brute force, in the limit; what a repair keeps.

The estimator that most tests repair is a stand-in that reads its probability off a
string, so that every confidence is known.
"""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from lrkit.answer.calibration import (
    calibration_summary,
    expected_calibration_error,
    recalibrated,
    reliability_band,
    reliability_table,
    resamples,
)
from lrkit.answer.classifier import OneTokenClassifier
from lrkit.paths import data_dir
from lrkit.profiles import load_profile

BY = pytest.mark.parametrize("by", ["width", "mass"])


def simulated(n, seed=0, overconfidence=0.0):
    """Confidences, and labels that are right with that probability less a part."""
    rng = np.random.default_rng(seed)
    confidence = 0.5 + 0.5 * rng.beta(2, 1, n)
    truth = confidence - overconfidence * (confidence - 0.5)
    return confidence, rng.random(n) < truth


def simulated_proba(n, k=3, seed=0):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.ones(k), n)
    truth = np.array(
        [rng.choice(k, p=p) for p in proba**0.5 / (proba**0.5).sum(1)[:, None]]
    )
    return proba, truth


# --- reliability ----------------------------------------------------------------------


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


# --- resampling -----------------------------------------------------------------------


def test_rows_of_one_name_are_drawn_together_and_nameless_rows_alone():
    groups = ["a", "", "b", "a", None, "b", float("nan"), "a", ""]
    draws = np.array(list(resamples(9, 500, 0, groups)))
    assert (draws[:, 0] == draws[:, 3]).all() and (draws[:, 0] == draws[:, 7]).all()
    assert (draws[:, 2] == draws[:, 5]).all()
    singles = draws[:, [0, 1, 2, 4, 6, 8]]  # six groups
    assert (singles.sum(1) == 6).all()
    together = np.corrcoef(singles.T)[np.triu_indices(6, 1)]
    assert together.max() < 0.2, "different names are not drawn together"
    assert draws.mean() == pytest.approx(1, abs=0.05)


def test_doubled_rows_in_groups_widen_nothing_and_narrow_nothing():
    proba, truth = simulated_proba(150)
    names = [str(i) for i in range(150)]
    once = calibration_summary(truth, proba, range(3), 250)
    twice_args = np.repeat(truth, 2), np.repeat(proba, 2, axis=0), range(3), 250
    twice = calibration_summary(*twice_args, groups=np.repeat(names, 2))
    blind = calibration_summary(*twice_args)
    width = [(t["high"] - t["low"])["log_loss"] for t in (once, twice, blind)]
    assert twice["value"]["log_loss"] == pytest.approx(once["value"]["log_loss"])
    assert width[1] == pytest.approx(width[0], rel=0.15)
    assert width[2] < 0.85 * width[1]


# --- the summary ----------------------------------------------------------------------


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


# --- repair ---------------------------------------------------------------------------


class Spoken(ClassifierMixin, BaseEstimator):
    """Reads "0.2 0.3 0.5" as the probabilities of its classes."""

    def __init__(self, labels=("no", "yes")):
        self.labels = labels

    def fit(self, X, y=None):
        self.classes_, self.calls_ = np.array(self.labels), []
        return self

    def predict_proba(self, X):
        self.calls_.append(len(X))
        return np.array([[float(p) for p in text.split()] for text in X])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(1)]


THREE = ("billing", "general", "technical")


def overconfident(labels, n=400, seed=0):
    """A fitted stand-in, messages and labels; it is far too sure."""
    proba, truth = simulated_proba(n, len(labels), seed)
    proba = proba**2.5 / (proba**2.5).sum(1, keepdims=True)
    messages = [" ".join(f"{p:.9f}" for p in row) for row in proba]
    return Spoken(labels).fit(None), messages, np.array(labels)[truth]


@pytest.mark.parametrize("labels", [("no", "yes"), THREE], ids=["two", "three"])
def test_temperature_keeps_answers_and_cannot_worsen_the_loss_it_is_fitted_on(labels):
    model, messages, truth = overconfident(labels)
    before = model.predict_proba(messages)
    after_model = recalibrated(model, messages, truth)
    after = after_model.predict_proba(messages)
    assert (after.argmax(1) == before.argmax(1)).all()
    assert (after_model.predict(messages) == model.classes_[before.argmax(1)]).all()
    assert after_model.classes_.tolist() == list(labels)
    losses = [log_loss(truth, p, labels=labels) for p in (before, after)]
    assert losses[1] < losses[0]
    # One temperature for all rows: log-ratios shrink by one factor, found by a search.
    ratio = np.log(after[:, 0] / after[:, 1]) / np.log(before[:, 0] / before[:, 1])
    beta = np.median(ratio)
    np.testing.assert_allclose(ratio, beta, rtol=1e-3)
    powers = [
        before**b / (before**b).sum(1, keepdims=True)
        for b in (0.98 * beta, 1.02 * beta)
    ]
    assert all(log_loss(truth, p, labels=labels) > losses[1] for p in powers)


def test_temperature_repairs_what_it_has_not_seen():
    model, messages, truth = overconfident(THREE, 3000)
    repaired = recalibrated(model, messages[:1500], truth[:1500])
    rows, labels = messages[1500:], truth[1500:]
    before = calibration_summary(labels, model.predict_proba(rows), THREE, 50)["value"]
    after = calibration_summary(labels, repaired.predict_proba(rows), THREE, 50)[
        "value"
    ]
    assert after["ece_width"] < before["ece_width"] / 3
    assert after["log_loss"] < before["log_loss"]
    assert after["accuracy"] == before["accuracy"]


@pytest.mark.parametrize("method", ["temperature", "isotonic", "sigmoid"])
@pytest.mark.parametrize("labels", [("no", "yes"), THREE], ids=["two", "three"])
def test_every_method_gives_calibrated_rows_and_leaves_the_model_alone(labels, method):
    model, messages, truth = overconfident(labels, 2000)
    before = model.predict_proba(messages)
    repaired = recalibrated(model, pd.Series(messages, range(7, 2007)), truth, method)
    assert model.calls_ == [2000, 2000], "the calibration rows are scored once"
    after = repaired.predict_proba(messages)
    np.testing.assert_allclose(after.sum(1), 1)
    errors = [
        expected_calibration_error(p.max(1), np.array(labels)[p.argmax(1)] == truth)
        for p in (before, after)
    ]
    assert errors[1] < errors[0] / 2
    np.testing.assert_array_equal(model.predict_proba(messages), before)
    assert repaired.calibrated_classifiers_[0].estimator.estimator is model


def test_a_class_with_a_single_row_is_enough():
    model = Spoken().fit(None)
    repaired = recalibrated(
        model, ["0.8 0.2", "0.6 0.4", "0.3 0.7"], ["no", "no", "yes"]
    )
    assert repaired.predict(["0.9 0.1"]).tolist() == ["no"]


def test_a_one_token_classifier_can_be_recalibrated():
    rows = pd.read_csv(data_dir() / "gold_standard.csv").groupby("label").head(6)
    model = OneTokenClassifier.from_base(load_profile("smoke").answer)
    before = model.predict_proba(list(rows["running_message"])).astype(float)
    before /= before.sum(1, keepdims=True)  # the model answers in 32 bits
    repaired = recalibrated(model, rows["running_message"], rows["label"])
    after = repaired.predict_proba(list(rows["running_message"]))
    assert repaired.classes_.tolist() == ["no", "yes"]
    assert (after.argmax(1) == before.argmax(1)).all()
    assert not np.allclose(after, before)
    losses = [log_loss(rows["label"], p, labels=["no", "yes"]) for p in (before, after)]
    assert losses[1] <= losses[0] + 1e-6


# --- what is refused ------------------------------------------------------------------


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


def test_groups_need_a_name_for_every_row():
    with pytest.raises(ValueError, match="2 rows need as many group names, got 1"):
        reliability_band([0.5, 0.6], [True, False], groups=["a"])


def test_a_calibration_split_must_be_the_models_own():
    model = Spoken().fit(None)
    for labels in (["no", "no"], ["no", "perhaps"], [0, 1]):
        with pytest.raises(ValueError, match="each shown at least once"):
            recalibrated(model, ["0.8 0.2", "0.3 0.7"], labels)
    with pytest.raises(ValueError, match="same rows"):
        recalibrated(model, ["0.8 0.2"], ["no", "yes"])
    with pytest.raises(ValueError, match="method"):
        recalibrated(model, ["0.8 0.2", "0.3 0.7"], ["no", "yes"], "prayer")
    with pytest.raises(NotFittedError):
        recalibrated(Spoken(), ["0.8 0.2", "0.3 0.7"], ["no", "yes"])
