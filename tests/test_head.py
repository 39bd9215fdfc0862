"""Laws of the classification head that is compared with the one-token answer."""

import numpy as np
import pytest

from lrkit.answer.head import HeadClassifier, base_with_head
from lrkit.profiles import load_profile

LABELS = ("late", "paid", "lost")
ROWS = [(f"Customer: number {i} is {LABELS[i % 3]}.", LABELS[i % 3]) for i in range(36)]
TEXTS, TRUTH = map(list, zip(*ROWS, strict=True))


@pytest.fixture(scope="module")
def settings(tiny_llama):
    return load_profile(
        "smoke", base=tiny_llama, lora_r=8, batch_size=12, max_steps=60,
        learning_rate=2e-3, scheduler="constant",
    ).answer  # fmt: skip


@pytest.fixture(scope="module")
def fitted(settings):
    return HeadClassifier(settings, LABELS, "Which?").fit(TEXTS, TRUTH)


def test_it_learns_a_word_that_decides(fitted):
    assert (fitted.predict(TEXTS) == TRUTH).mean() > 0.9
    assert fitted.log_[-1]["step"] == 60


def test_probabilities_belong_to_sorted_classes_and_sum_to_one(fitted):
    proba = fitted.predict_proba(TEXTS[:7])
    assert fitted.classes_.tolist() == sorted(LABELS) and proba.shape == (7, 3)
    assert np.allclose(proba.sum(1), 1, atol=1e-5)


def test_a_row_does_not_depend_on_its_batch(fitted):
    texts = [*TEXTS[:3], TEXTS[3] * 9]
    together = fitted.predict_proba(texts)
    for text, row in zip(texts, together, strict=True):
        assert np.allclose(fitted.predict_proba([text])[0], row, atol=1e-4)


def test_head_and_adapter_are_trained_and_the_base_is_not(settings, chatml):
    model = base_with_head(settings, 3, chatml.pad_token_id)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in n or "score" in n for n in trained)
    assert any("score" in n for n in trained)
    head = next(p for n, p in model.named_parameters() if "score" in n)
    assert head.dtype.is_floating_point and head.shape == (3, 64), "not in 4 bits"


def test_the_seed_decides_the_result(settings):
    few = settings.__class__(**{**vars(settings), "max_steps": 3})
    runs = [
        HeadClassifier(few, LABELS, "Which?", seed=s).fit(TEXTS, TRUTH)
        for s in (0, 0, 1)
    ]
    first, again, other = (run.predict_proba(TEXTS[:4]) for run in runs)
    assert np.allclose(first, again) and not np.allclose(first, other, atol=1e-3)


def test_an_unknown_label_is_refused_before_anything_is_loaded(settings):
    with pytest.raises(ValueError, match=r"'gone'.* none of"):
        HeadClassifier(settings, LABELS, "Which?").fit(["Customer: x"], ["gone"])
