"""A scikit-learn estimator: fitted, cloned, scored, saved, loaded and merged."""

import dataclasses
import gc
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from classifier_models import MESSAGES, settings_of
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.calibration import CalibrationDisplay
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from transformers import AutoModelForCausalLM

from lrkit.answer.classifier import OneTokenClassifier


@pytest.fixture(scope="module")
def fitted(tiny_llama, tmp_path_factory):
    """Trained for two steps, in 4 bits, on labels and reasons."""
    settings = settings_of(tiny_llama, load_in_4bit=True, max_steps=2, batch_size=2)
    folder = tmp_path_factory.mktemp("fitted")
    classifier = OneTokenClassifier(settings, folder=folder, seed=3)
    return classifier.fit(MESSAGES, ["yes", "no"] * 3, ["it says so"] * 6)


def test_reading_comes_after_fitting():
    with pytest.raises(NotFittedError):
        OneTokenClassifier().predict(MESSAGES)
    with pytest.raises(NotFittedError):
        OneTokenClassifier().save("anywhere")


def test_it_works_inside_cross_validation_and_the_calibration_display(tiny_llama):
    settings = settings_of(tiny_llama, max_steps=1, batch_size=2)
    texts, truth = MESSAGES * 2, ["yes", "no"] * 6
    scores = cross_val_score(OneTokenClassifier(settings), texts, truth, cv=3)
    assert scores.shape == (3,) and ((scores >= 0) & (scores <= 1)).all()
    classifier = OneTokenClassifier(settings).fit(texts, truth)
    display = CalibrationDisplay.from_estimator(
        classifier, texts, truth, pos_label="yes", n_bins=2
    )
    yes = classifier.predict_proba(texts)[:, list(classifier.classes_).index("yes")]
    assert np.allclose(display.y_prob, yes, atol=1e-6)


def test_without_a_folder_the_adapter_lies_in_a_temporary_one_and_can_be_saved(
    tiny_llama, tmp_path
):
    settings = settings_of(tiny_llama, max_steps=1, batch_size=2)
    classifier = OneTokenClassifier(settings).fit(MESSAGES, ["yes", "no"] * 3)
    loaded = OneTokenClassifier.load(classifier.save(tmp_path / "kept"))
    expected = classifier.predict_proba(MESSAGES)
    assert np.allclose(loaded.predict_proba(MESSAGES), expected, atol=1e-5)
    folder = classifier.folder_
    assert folder.is_dir() and classifier.get_params()["folder"] is None
    del classifier
    gc.collect()
    assert not folder.is_dir()


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no finished adapter"):
        OneTokenClassifier.load(tmp_path)


def test_parameters_are_read_set_and_cloned_as_scikit_learn_does(fitted):
    params = fitted.get_params()
    twin = clone(fitted)
    assert twin.get_params() == params and twin is not fitted
    assert not hasattr(twin, "model_")
    twin.set_params(seed=9, labels=("no", "yes"))
    assert twin.seed == 9 and fitted.seed == 3
    assert OneTokenClassifier(**params).get_params() == params


def test_the_score_is_the_accuracy(fitted):
    truth = ["yes", "no"] * 3
    expected = np.mean(fitted.predict(MESSAGES) == np.array(truth))
    assert fitted.score(MESSAGES, truth) == expected


def test_without_reasons_it_learns_labels_only(tiny_llama, tmp_path):
    settings = settings_of(tiny_llama, max_steps=1, batch_size=2)
    model = OneTokenClassifier(settings, folder=tmp_path).fit(
        MESSAGES, ["yes", "no"] * 3
    )
    assert model.card_["order"] == "label" and len(model.log_) >= 1


def test_a_copy_of_the_folder_is_the_same_classifier(fitted, tmp_path):
    copy = OneTokenClassifier.load(fitted.save(tmp_path / "copy"))
    assert not (tmp_path / "copy" / "checkpoints").exists()
    assert copy.classes_.tolist() == ["no", "yes"]
    assert (copy.arm, copy.seed, copy.question) == (
        fitted.arm, fitted.seed, fitted.question,
    )  # fmt: skip
    pd.testing.assert_frame_equal(
        copy.score_rows(MESSAGES), fitted.score_rows(MESSAGES), rtol=1e-5
    )


def test_an_adapter_of_another_base_is_refused(fitted, tmp_path):
    folder = fitted.save(tmp_path / "copy")
    card = json.loads((folder / "answer.json").read_text())
    base = shutil.copytree(card["base"], tmp_path / "base")
    card["base"] = str(base)
    (folder / "answer.json").write_text(json.dumps(card))
    OneTokenClassifier.load(folder)  # equal weights at another place will do
    state = load_file(base / "model.safetensors")
    state["lm_head.weight"] = state["lm_head.weight"] + 1
    save_file(state, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="trained on another"):
        OneTokenClassifier.load(folder)


def test_weights_are_saved_as_safetensors_only(fitted, tmp_path):
    folder = fitted.save(tmp_path / "copy")
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert ".safetensors" in suffixes
    assert not suffixes & {".bin", ".pt", ".pth", ".pkl"}


def test_a_tied_head_is_adapted_and_the_embedding_is_not(tiny_gpt2, tmp_path):
    """GPT-2 shares one matrix between both ends: the adapter must stay beside it."""
    targets = ("c_attn", "c_proj", "c_fc", "lm_head")
    settings = settings_of(tiny_gpt2, max_steps=3, batch_size=2, lora_targets=targets)
    trained = OneTokenClassifier(settings, folder=tmp_path).fit(
        MESSAGES, ["yes", "no"] * 3
    )
    base = AutoModelForCausalLM.from_pretrained(tiny_gpt2)
    embedding = trained.model_.get_input_embeddings().weight
    assert torch.equal(embedding, base.get_input_embeddings().weight)
    states = dict(trained.model_.named_parameters())
    head_b = [p for n, p in states.items() if "lm_head.lora_B" in n]
    assert len(head_b) == 1 and head_b[0].abs().sum() > 0
    untrained = OneTokenClassifier.from_base(settings)
    change = trained.predict_proba(MESSAGES) - untrained.predict_proba(MESSAGES)
    assert np.abs(change).max() > 1e-5


def test_the_card_says_how_to_load_and_repeat(fitted):
    card = json.loads((fitted.folder / "answer.json").read_text())
    settings = dataclasses.asdict(fitted.settings)
    for key in ("base", "load_in_4bit", "prompt", "max_tokens"):
        assert card[key] == settings[key]
    assert card["labels"] == ["yes", "no"] and card["arm"] == "label + reason"
    assert card["seed"] == 3 and card["rows"] == len(MESSAGES)
    assert set(card["versions"]) == {"torch", "transformers", "peft", "trl"}


def test_merging_changes_no_answer_and_leaves_no_adapter(fitted):
    plain = fitted.merged()
    ours, theirs = fitted.predict_proba(MESSAGES), plain.predict_proba(MESSAGES)
    np.testing.assert_allclose(theirs, ours, atol=1e-4)
    names = [name for name, _ in plain.model_.named_parameters()]
    assert not [name for name in names if "lora" in name]
    assert all(p.dtype == torch.float32 for p in plain.model_.parameters())


def test_merging_an_adapted_tied_head_is_refused(tiny_gpt2, tmp_path):
    targets = ("c_attn", "lm_head")
    settings = settings_of(tiny_gpt2, max_steps=1, batch_size=2, lora_targets=targets)
    model = OneTokenClassifier(settings, folder=tmp_path / "tied")
    model.fit(MESSAGES, ["yes", "no"] * 3)
    with pytest.raises(ValueError, match="Keep the adapter"):
        model.merged()
