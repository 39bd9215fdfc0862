"""Afterwards, the reason: from the cache as from scratch, for labels there are."""

import pytest
import torch
from classifier_models import MESSAGES


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


def test_reasons_are_given_only_for_labels_there_are(llama):
    with pytest.raises(ValueError, match="'maybe': choose one of no, yes"):
        llama.explain(MESSAGES[0], "maybe")
