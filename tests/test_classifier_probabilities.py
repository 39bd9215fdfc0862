"""Probabilities: shares of the softmax, in the order of classes, never NaN."""

import numpy as np
import pytest
import torch
from classifier_models import MESSAGES, logits_of, settings_of

from lrkit.answer.classifier import OneTokenClassifier


def test_probability_and_mass_are_shares_of_the_softmax(model):
    logits = logits_of(model, model.prompts(MESSAGES)).double().softmax(-1)
    rows = model.score_rows(MESSAGES)
    sums = {
        c: logits[:, model.label_ids_.ids[c]].sum(1).numpy() for c in model.classes_
    }
    mass = sums["yes"] + sums["no"]
    np.testing.assert_allclose(rows["label_mass"], mass, rtol=1e-3)
    np.testing.assert_allclose(rows["p_yes"], sums["yes"] / mass, rtol=1e-3)
    np.testing.assert_allclose(rows["p_yes"] + rows["p_no"], 1, rtol=1e-5)
    np.testing.assert_allclose(rows["confidence"], rows[["p_yes", "p_no"]].max(axis=1))
    assert (rows["label"] == np.where(rows["p_yes"] > 0.5, "yes", "no")).all()


@pytest.mark.parametrize(
    "labels", [("yes", "no"), ("no", "yes"), ("technical", "billing", "general")]
)
def test_columns_stand_in_the_order_of_classes(tiny_llama, labels):
    model = OneTokenClassifier.from_base(settings_of(tiny_llama), labels)
    assert model.classes_.tolist() == sorted(labels)
    proba = model.predict_proba(MESSAGES)
    assert proba.shape == (len(MESSAGES), len(labels))
    rows = model.score_rows(MESSAGES)
    for column, label in enumerate(model.classes_):
        assert (proba[:, column] == rows[f"p_{label}"]).all()
    assert (model.predict(MESSAGES) == model.classes_[proba.argmax(1)]).all()


def test_the_order_in_which_labels_are_given_changes_no_probability(llama, tiny_llama):
    swapped = OneTokenClassifier.from_base(settings_of(tiny_llama), ("no", "yes"))
    np.testing.assert_array_equal(
        swapped.predict_proba(MESSAGES), llama.predict_proba(MESSAGES)
    )


def test_a_model_that_breaks_down_is_reported_not_read(tiny_llama):
    model = OneTokenClassifier.from_base(settings_of(tiny_llama))
    with torch.no_grad():
        model.model_.get_input_embeddings().weight[50:] = float("nan")
    for ask in (model.predict, model.predict_proba, lambda m: model.explain(m[0])):
        with pytest.raises(FloatingPointError, match="returned NaN"):
            ask(MESSAGES)


def test_expected_values_need_labels_that_are_numbers(tiny_llama, llama):
    digits = OneTokenClassifier.from_base(
        settings_of(tiny_llama), labels=tuple("0123456789")
    )
    values = digits.expected_value(MESSAGES)
    proba = digits.predict_proba(MESSAGES)
    np.testing.assert_allclose(values, proba @ np.arange(10), rtol=1e-6)
    assert ((values > 0) & (values < 9)).all()
    with pytest.raises(ValueError, match="needs numbers, not no, yes"):
        llama.expected_value(MESSAGES)
