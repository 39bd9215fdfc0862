"""The embedded base: its text, its tokenizer, its recipe, and the weights we ship."""

from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from lrkit import pretrain
from lrkit.data.pretraining import documents
from lrkit.models import load_model, load_tokenizer, model_path
from lrkit.paths import root


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("talk")


@pytest.fixture(scope="module")
def text(tokenizer):
    return pretrain.corpus(tokenizer, 60_000, seed=5, echoes=0.5)


def test_every_document_is_in_exactly_one_batch_and_whole(text):
    batches = pretrain.LengthBatches(text, pad_id=3)
    members = np.concatenate(batches.batches)
    assert sorted(members) == list(range(len(text.ends)))
    lengths = np.diff(text.ends, prepend=0)
    for k, batch in enumerate(batches.batches):
        item = batches[k]
        for row, document in enumerate(batch):
            kept = item["input_ids"][row, : lengths[document]].tolist()
            end = text.ends[document]
            assert kept == text.ids[end - lengths[document] : end].tolist()
            assert (item["labels"][row, lengths[document] :] == -100).all()


def test_padding_is_small(text):
    batches = pretrain.LengthBatches(text, pad_id=3)
    cells = sum(batches[k]["input_ids"].numel() for k in range(len(batches)))
    assert len(text.ids) / cells > 0.8


def test_the_prompt_of_an_echo_is_not_learned_and_a_chat_is_learned_whole(tokenizer):
    for share, expected in ((0.0, False), (1.0, True)):
        text = pretrain.corpus(tokenizer, 20_000, seed=6, echoes=share)
        assert (text.skipped > 0).all() == expected
        assert (text.skipped > 0).any() == expected
    ends = np.concatenate([[0], text.ends])
    first = tokenizer.decode(text.ids[ends[0] + text.skipped[0] : ends[1]])
    asked = next(documents(6, 1.0))
    assert first.strip() == asked[1]["content"] + "<|im_end|>"


def test_echoes_repeat_what_stands_in_the_chat():
    for doc in islice(documents(8, 1.0), 200):
        assert doc[1]["content"] in doc[0]["content"]


def test_the_question_of_the_workbook_is_never_asked_in_pretraining():
    for doc in islice(documents(9, 0.1), 300):
        assert "resolved?" not in doc[0]["content"].split("```")[0]
        assert not doc[1]["content"].lower().startswith(("yes,", "no,"))


@pytest.mark.parametrize("string", ["naïve ☃ 🙂\n\tтест", "yes", "a  b", "<|im_end|>"])
def test_any_text_comes_back_from_its_bytes(tokenizer, string):
    ids = tokenizer(string, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == string
    assert tokenizer.unk_token_id is None or tokenizer.unk_token_id not in ids


@pytest.mark.parametrize("word", ["yes", "no", "Yes", "No", *"0123456789"])
def test_label_words_are_single_tokens(tokenizer, word):
    assert len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1


def test_the_recipe_runs_resumes_and_leaves_a_model_that_loads(tmp_path, monkeypatch):
    small = {"VOCAB": 700, "WIDTH": 32, "LAYERS": 2, "HEADS": 2, "MLP": 64}
    for name, value in small.items():
        monkeypatch.setattr(pretrain, name, value)
    full = pretrain.train_tokenizer
    monkeypatch.setattr(pretrain, "train_tokenizer", lambda: full(150))
    true_corpus = pretrain.corpus
    monkeypatch.setattr(
        pretrain,
        "corpus",
        lambda tok, n, *mix: true_corpus(tok, 15_000, *mix),
    )
    stages = (
        pretrain.Stage("a", 0.0, 15_000, 1e-3),
        pretrain.Stage("b", 1.0, 15_000, 1e-3),
    )
    facts = pretrain.pretrain(tmp_path / "out", tmp_path / "work", stages, max_steps=2)
    assert [f["stage"] for f in facts] == ["a", "b"]
    model = LlamaForCausalLM.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16
    first = (tmp_path / "work" / "a" / "facts.json").stat().st_mtime_ns
    again = pretrain.pretrain(tmp_path / "out", tmp_path / "work", stages, max_steps=2)
    assert (tmp_path / "work" / "a" / "facts.json").stat().st_mtime_ns == first
    assert again == facts
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"{model.num_parameters():,} parameters" in card


def test_resumed_seconds_add_up(tmp_path):
    log = tmp_path / "log.jsonl"
    rows = [(1, 10.0, 3.0), (2, 20.0, 2.0), (2, 5.0, 2.0), (3, 15.0, 1.0)]
    log.write_text(
        "\n".join(json.dumps({"step": a, "seconds": b, "loss": c}) for a, b, c in rows)
    )
    assert pretrain.training_seconds(log) == 35.0
    assert pretrain.loss_curve(log) == [(1, 3.0), (2, 2.0), (3, 1.0)]


def test_all_weights_of_the_repository_stay_under_40_mb():
    files = [p for p in (root() / "models").rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) < 40e6
    assert not [p for p in files if p.suffix in (".bin", ".pt", ".pth", ".pickle")]


def test_the_shipped_base_has_learned_its_text(tokenizer):
    """Held-out chats cost it far less than a uniform guess."""
    model = load_model("talk").eval()
    text = pretrain.corpus(tokenizer, 12_000, seed=77)
    batches = pretrain.LengthBatches(text, tokenizer.pad_token_id)
    with torch.inference_mode():
        losses = [model(**batches[k]).loss.item() for k in range(len(batches))]
    assert np.mean(losses) < 1.2  # nats per token; a uniform guess costs 8.0


def test_the_shipped_base_copies_from_its_context(tokenizer):
    """Nonsense cannot be known by heart: what is repeated was read."""
    model = load_model("talk").eval()
    right = []
    for doc in islice(documents(78, 1.0), 24):
        prompt = tokenizer.apply_chat_template(
            doc[:1], tokenize=False, add_generation_prompt=True
        )
        both = tokenizer(
            [prompt, prompt + doc[1]["content"]], add_special_tokens=False
        )["input_ids"]
        n = len(both[0])
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([both[1]])).logits[0, n - 1 : -1]
        right += (logits.argmax(-1) == torch.tensor(both[1][n:])).tolist()
    assert np.mean(right) > 0.8


def test_the_card_says_what_the_record_says():
    folder = root() / "models" / "talk"
    record = json.loads((folder / "pretraining.json").read_text())
    assert pretrain.card(record) == (folder / "README.md").read_text()
    total = sum(stage["tokens"] for stage in record["stages"])
    assert f"{total:,} generated tokens" in pretrain.card(record)
    assert model_path("talk") == str(folder)
