"""The repair of calibration: what it keeps, what it mends, and what it refuses."""

import numpy as np
import pandas as pd
import pytest
from calibration_rows import simulated_proba
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss

from lrkit.answer.calibration import (
    calibration_summary,
    expected_calibration_error,
    recalibrated,
)
from lrkit.answer.classifier import OneTokenClassifier
from lrkit.paths import data_dir
from lrkit.profiles import load_profile


# The estimator that most tests repair is a stand-in that reads its probability off a
# string, so that every confidence is known.
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
