"""Labels that begin with the same token: refused, or read whole, step by step."""

import numpy as np
import pytest
import torch
from classifier_models import MESSAGES, settings_of

from lrkit.answer.classifier import OneTokenClassifier


@pytest.fixture(scope="module")
def collide(tiny_llama):
    """Labels that begin with the same token, read as whole strings."""
    labels = ("card arrival", "card linking", "top up")
    with pytest.warns(UserWarning, match="card arrival.*Whole labels are scored"):
        return OneTokenClassifier.from_base(
            settings_of(tiny_llama), labels=labels, collisions="whole"
        )


def test_whole_labels_are_scored_as_step_by_step(collide):
    """Against the product of conditional probabilities, one forward pass a token."""
    reader = collide.label_ids_
    for message in MESSAGES[:3]:
        (prompt,) = collide.prompts([message])
        expected = []
        for label in collide.classes_:
            ids, total = list(prompt), 0.0
            for token in [*reader.ids[label], None]:
                with torch.inference_mode():
                    out = collide.model_(input_ids=torch.tensor([ids])).logits[0, -1]
                logprobs = out.double().log_softmax(-1)
                ends = reader.ends if token is None else [token]
                total += float(logprobs[ends].logsumexp(-1))
                ids.append(token)
            expected.append(total)
        mass = reader.score(collide.engine_, [prompt])[0].numpy()
        np.testing.assert_allclose(mass, expected, atol=1e-3)
        proba = collide.predict_proba([message])[0]
        np.testing.assert_allclose(
            proba, np.exp(expected) / np.exp(expected).sum(), atol=1e-3
        )


def test_colliding_labels_are_refused_unless_asked_for(tiny_llama, tmp_path):
    labels = ("card arrival", "card linking")
    for change in ({}, {"collisions": "guess"}):
        with pytest.raises(ValueError, match=r"card arrival|or 'whole'"):
            OneTokenClassifier.from_base(
                settings_of(tiny_llama), labels=labels, **change
            )


def test_a_classifier_of_colliding_labels_is_trained_saved_and_loaded(
    tiny_llama, tmp_path
):
    settings = settings_of(tiny_llama, max_steps=1, batch_size=2)
    model = OneTokenClassifier(
        settings, ("card arrival", "card linking"), folder=tmp_path / "whole",
        collisions="whole",
    )  # fmt: skip
    with pytest.warns(UserWarning, match="Whole labels"):
        model.fit(MESSAGES, ["card arrival", "card linking"] * 3)
        again = OneTokenClassifier.load(tmp_path / "whole")
    np.testing.assert_allclose(
        again.predict_proba(MESSAGES), model.predict_proba(MESSAGES), atol=1e-4
    )
    assert "card" in model.explain(MESSAGES[0], max_new_tokens=3)["label"]
