"""Laws of reading one token: no row depends on another, and the source's way agrees.

Models are random, of 2 layers, in 32 bits unless a test trains one: what they answer
means nothing, how they answer means everything.
"""

import dataclasses
import gc
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.base import clone
from sklearn.calibration import CalibrationDisplay
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from transformers import AutoModelForCausalLM

from lrkit.answer.classifier import OneTokenClassifier
from lrkit.answer.engine import batches_by_length, left_pad
from lrkit.answer.last_position import last_position
from lrkit.answer.prompts import PromptTooLong
from lrkit.profiles import load_profile

MESSAGES = [
    "Customer: It works now, thank you!",
    "Customer: no",
    "Support Agent: Is it on?\nCustomer: It is.\nSupport Agent: And now?\nCustomer: ok",
    "x",
    "Customer: " + "still nothing, and again nothing; " * 12,
    "Customer: thanks 👍",
]


def settings_of(base, **changes):
    return load_profile(
        "smoke", **{"base": base, "load_in_4bit": False, "lora_r": 4} | changes
    ).answer


@pytest.fixture(scope="module")
def llama(tiny_llama):
    return OneTokenClassifier.from_base(settings_of(tiny_llama))


@pytest.fixture(scope="module")
def gpt(tiny_gpt2):
    return OneTokenClassifier.from_base(settings_of(tiny_gpt2))


@pytest.fixture(scope="module")
def llama_4bit(tiny_llama):
    settings = settings_of(tiny_llama, load_in_4bit=True)
    return OneTokenClassifier.from_base(settings)


@pytest.fixture(params=["llama", "gpt", "llama_4bit"])
def model(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def fitted(tiny_llama, tmp_path_factory):
    """Trained for two steps, in 4 bits, on labels and reasons."""
    settings = settings_of(tiny_llama, load_in_4bit=True, max_steps=2, batch_size=2)
    folder = tmp_path_factory.mktemp("fitted")
    classifier = OneTokenClassifier(settings, folder=folder, seed=3)
    return classifier.fit(MESSAGES, ["yes", "no"] * 3, ["it says so"] * 6)


def logits_of(model, prompts, batch_tokens=4096):
    pad = model.tokenizer_.pad_token_id
    return last_position(model.model_, prompts, pad, batch_tokens)[0]


def generated_scores(model, prompt):
    """The source's way: generate one token of one row and look at its scores."""
    ids = torch.tensor([prompt])
    out = model.model_.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=1,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
        pad_token_id=model.tokenizer_.pad_token_id,
    )
    return out.scores[0][0]


# --- one row at a time, or all at once ------------------------------------------------


def test_a_row_does_not_depend_on_its_batch(model):
    prompts = model.prompts(MESSAGES)
    alone = torch.cat([logits_of(model, [p]) for p in prompts])
    assert alone.std() > 0.5 and (alone[0] - alone[1]).abs().max() > 0.1
    for batch_tokens in (1, 200, 600, 10**6):
        together = logits_of(model, prompts, batch_tokens)
        torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-4)
    proba = model.predict_proba(MESSAGES)
    for i, message in enumerate(MESSAGES):
        np.testing.assert_allclose(
            model.predict_proba([message])[0], proba[i], atol=1e-5
        )


def test_what_stands_under_the_padding_does_not_matter(model):
    prompts = model.prompts(MESSAGES)
    results = [last_position(model.model_, prompts, pad)[0] for pad in (0, 7, 500)]
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(results[0], results[2])


def test_it_equals_generating_one_token_row_by_row(model):
    prompts = model.prompts(MESSAGES)
    ours = logits_of(model, prompts)
    for row, prompt in zip(ours, prompts, strict=True):
        scores = generated_scores(model, prompt)
        torch.testing.assert_close(row, scores, rtol=1e-5, atol=1e-4)
        assert (row.softmax(-1) - scores.softmax(-1)).abs().max() < 1e-4


def test_results_come_in_the_order_of_the_input(model):
    forward = model.score_rows(MESSAGES)
    backward = model.score_rows(MESSAGES[::-1])[::-1].reset_index(drop=True)
    pd.testing.assert_frame_equal(forward, backward, rtol=1e-4, atol=1e-5)
    assert forward["p_yes"].nunique() == len(MESSAGES)


def test_left_padding_keeps_ids_masks_and_positions_together():
    batch = left_pad([[5, 6, 7], [8]], 9, torch.device("cpu"))
    assert batch["input_ids"].tolist() == [[5, 6, 7], [9, 9, 8]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert batch["position_ids"].tolist() == [[0, 1, 2], [0, 0, 0]]


@pytest.mark.parametrize("limit", [1, 10, 37, 1000])
def test_batches_hold_every_row_once_within_the_limit(limit):
    rows = [[0] * n for n in (3, 17, 1, 8, 8, 30, 2, 5)]
    batches = list(batches_by_length(rows, limit))
    assert sorted(i for batch in batches for i in batch) == list(range(len(rows)))
    for batch in batches:
        padded = len(batch) * max(len(rows[i]) for i in batch)
        assert padded <= limit or len(batch) == 1
    if limit == 1000:
        assert len(batches) == 1


def test_hidden_states_are_those_of_the_last_position(model):
    prompts = model.prompts(MESSAGES)
    for layer in (-1, 0, 1):
        states = model.hidden(MESSAGES, layer)
        assert states.shape == (len(MESSAGES), 64)
        for state, prompt in zip(states, prompts, strict=True):
            with torch.inference_mode():
                out = model.model_(torch.tensor([prompt]), output_hidden_states=True)
            expected = out.hidden_states[layer][0, -1].numpy()
            np.testing.assert_allclose(state, expected, rtol=1e-4, atol=1e-4)


# --- probabilities --------------------------------------------------------------------


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


# --- what is refused ------------------------------------------------------------------


def test_one_string_in_place_of_a_list_is_refused(llama, tmp_path):
    for ask in (llama.predict, llama.predict_proba, llama.hidden):
        with pytest.raises(TypeError, match="one string"):
            ask(MESSAGES[0])
    with pytest.raises(TypeError, match="one string"):
        OneTokenClassifier(folder=tmp_path).fit(MESSAGES[0], ["yes"])


def test_no_conversation_at_all_is_refused(llama):
    with pytest.raises(ValueError, match="at least one conversation"):
        llama.predict([])


def test_a_row_beyond_the_context_is_named(llama):
    with pytest.raises(PromptTooLong, match=r"row 1 \(\d+ tokens\)"):
        llama.predict([MESSAGES[0], "on and on " * 600, MESSAGES[1]])


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


def test_reasons_are_given_only_for_labels_there_are(llama):
    with pytest.raises(ValueError, match="'maybe': choose one of no, yes"):
        llama.explain(MESSAGES[0], "maybe")


# --- a scikit-learn estimator ---------------------------------------------------------


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


def test_a_column_of_a_table_is_as_good_as_a_list(llama):
    column = pd.Series(MESSAGES, index=range(10, 16))
    np.testing.assert_array_equal(
        llama.predict_proba(column), llama.predict_proba(MESSAGES)
    )


def test_without_reasons_it_learns_labels_only(tiny_llama, tmp_path):
    settings = settings_of(tiny_llama, max_steps=1, batch_size=2)
    model = OneTokenClassifier(settings, folder=tmp_path).fit(
        MESSAGES, ["yes", "no"] * 3
    )
    assert model.card_["order"] == "label" and len(model.log_) >= 1


# --- saving and loading ---------------------------------------------------------------


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


# --- afterwards, the reason -----------------------------------------------------------


@pytest.mark.parametrize("label", [None, "yes", "no"])
def test_the_reason_from_the_cache_is_the_reason_from_scratch(model, label):
    message = MESSAGES[2]
    told = model.explain(message, label, max_new_tokens=12)
    row = model.score_rows([message]).iloc[0]
    assert told["label"] == (label or row["label"])
    assert told["confidence"] == pytest.approx(row[f"p_{told['label']}"], abs=1e-5)
    assert told["label_mass"] == pytest.approx(row["label_mass"], rel=1e-3)
    (prompt,) = model.prompts([message])
    ids = prompt + model.builder_.completion(told["label"])[:-1]
    for _ in range(12):  # no cache: the whole text again for every token
        with torch.inference_mode():
            logits = model.model_(torch.tensor([ids]), use_cache=False).logits
        ids.append(int(logits[0, -1].argmax()))
        if ids[-1] == model.tokenizer_.eos_token_id:
            break
    answer = len(prompt) + len(model.builder_.completion(told["label"])) - 1
    text = model.tokenizer_.decode(ids[answer:], skip_special_tokens=True)
    assert told["reason"] == text.removeprefix(",").strip()
    assert told["reason"]


def test_the_prompt_is_computed_once_for_a_reason(monkeypatch, llama):
    lengths = []
    hook = llama.model_.get_input_embeddings().register_forward_hook(
        lambda _module, args, _out: lengths.append(args[0].shape[1])
    )
    llama.explain(MESSAGES[2], "yes", max_new_tokens=5)
    hook.remove()
    (prompt,) = llama.prompts([MESSAGES[2]])
    assert lengths[0] == len(prompt) and max(lengths[1:]) <= 3


def test_the_card_says_how_to_load_and_repeat(fitted):
    card = json.loads((fitted.folder / "answer.json").read_text())
    settings = dataclasses.asdict(fitted.settings)
    for key in ("base", "load_in_4bit", "prompt", "max_tokens"):
        assert card[key] == settings[key]
    assert card["labels"] == ["yes", "no"] and card["arm"] == "label + reason"
    assert card["seed"] == 3 and card["rows"] == len(MESSAGES)
    assert set(card["versions"]) == {"torch", "transformers", "peft", "trl"}


# --- merged, streamed, labels that collide ------------------------------------------


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


def test_an_iterator_gives_what_a_list_gives(model):
    listed = model.score_rows(MESSAGES)
    streamed = model.score_rows(m for m in MESSAGES)
    pd.testing.assert_frame_equal(listed, streamed, rtol=1e-5)


def test_an_empty_iterator_and_a_long_row_in_one_are_refused(llama):
    with pytest.raises(ValueError, match="at least one conversation"):
        llama.score_rows(iter([]))
    limit = llama.builder_.max_tokens
    with pytest.raises(PromptTooLong, match="row 1"):
        llama.score_rows(m for m in ["Customer: ok", "word " * limit])


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
