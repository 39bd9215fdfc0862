"""Laws of the engine: whatever is shared, batched or split, a row's logits stay."""

import itertools

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from lrkit.answer.engine import (
    Engine,
    batches_by_length,
    common_prefix,
    fork,
    left_pad,
)
from lrkit.models import load_model

HEAD = list(range(20, 40))
TAILS = [[7], [9, 8, 7], [5] * 30, [9, 8, 7], [200, 201], list(range(60, 75))]
PROMPTS = [HEAD + tail for tail in TAILS]


@pytest.fixture(scope="module", params=["llama", "gpt2", "4bit"])
def model(request, tiny_llama, tiny_gpt2):
    if request.param == "4bit":
        return load_model(tiny_llama, load_in_4bit=True).eval()
    name = tiny_llama if request.param == "llama" else tiny_gpt2
    return AutoModelForCausalLM.from_pretrained(name).float().eval()


@torch.inference_mode()
def one_by_one(model, prompts):
    rows = [model(input_ids=torch.tensor([p])).logits[0, -1].float() for p in prompts]
    return torch.stack(rows)


def assert_same(ours, expected):
    assert expected.std() > 0.1 and not torch.equal(expected[0], expected[1])
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("batch_tokens", [1, 40, 10**6])
def test_logits_are_those_of_each_row_alone(model, share, batch_tokens):
    engine = Engine(model, 0, batch_tokens, share_prefix=share)
    assert_same(engine.score(PROMPTS), one_by_one(model, PROMPTS))
    assert bool(engine._prefix) == share


def test_an_iterator_is_read_in_chunks_and_answered_in_order(model):
    pulled = []

    def prompts():
        for p in PROMPTS * 3:
            pulled.append(p)
            yield p

    engine = Engine(model, 0, chunk=4)
    stream = engine.stream(prompts())
    first = next(stream)
    assert len(pulled) == 4
    assert_same(torch.stack([first, *stream]), one_by_one(model, PROMPTS * 3))


def test_rows_that_share_nothing_are_scored_as_well(model):
    prompts = [[k, *tail] for k, tail in enumerate(TAILS)]
    engine = Engine(model, 0)
    assert_same(engine.score(prompts), one_by_one(model, prompts))
    assert engine._prefix == []


def test_a_prompt_that_begins_another_keeps_a_token_of_its_own(model):
    prompts = [HEAD, [*HEAD, 7], [*HEAD, 7, 8]]
    assert common_prefix(prompts) == HEAD[:-1]
    assert_same(Engine(model, 0).score(prompts), one_by_one(model, prompts))


def test_only_what_read_gives_is_kept(model):
    engine = Engine(model, 0, batch_tokens=60)
    best = engine.score(PROMPTS, read=lambda logits: logits.argmax(-1))
    assert best.tolist() == one_by_one(model, PROMPTS).argmax(-1).tolist()


def test_the_prefix_is_encoded_once(model, monkeypatch):
    encoded = []
    true = Engine._encode
    monkeypatch.setattr(
        Engine, "_encode", lambda self, p: encoded.append(p) or true(self, p)
    )
    engine = Engine(model, 0, batch_tokens=40, chunk=3)
    engine.score(PROMPTS * 4)
    engine.score(PROMPTS[:2])
    assert_same(
        torch.cat([engine.score([p]) for p in PROMPTS]), one_by_one(model, PROMPTS)
    )
    assert encoded == [HEAD]


def test_growing_a_fork_leaves_the_original(model):
    with torch.inference_mode():
        cache = model(input_ids=torch.tensor([HEAD]), use_cache=True).past_key_values
        before = [layer.keys.clone() for layer in cache.layers]
        twin = fork(cache, 3)
        model(input_ids=torch.tensor([[5, 6]] * 3), past_key_values=twin)
    assert twin.get_seq_length() == len(HEAD) + 2
    assert cache.get_seq_length() == len(HEAD)
    for layer, keys in zip(cache.layers, before, strict=True):
        assert torch.equal(layer.keys, keys)


@pytest.mark.parametrize("said", ["CUDA", "DefaultCPUAllocator: not enough memory"])
def test_half_the_batch_is_tried_when_memory_ends(model, monkeypatch, said):
    true, sizes = Engine._forward, []

    def forward(self, rows):
        sizes.append(len(rows))
        if len(rows) > 2:
            kind = torch.OutOfMemoryError if said == "CUDA" else RuntimeError
            raise kind(said)
        return true(self, rows)

    monkeypatch.setattr(Engine, "_forward", forward)
    engine = Engine(model, 0, batch_tokens=10**6)
    assert_same(engine.score(PROMPTS), one_by_one(model, PROMPTS))
    assert sizes[0] == len(PROMPTS) and max(sizes[-2:]) <= 2


def test_a_row_that_never_fits_is_named(model, monkeypatch):
    def forward(self, rows):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(Engine, "_forward", forward)
    with pytest.raises(MemoryError, match=r"single row of \d+ tokens"):
        Engine(model, 0).score(PROMPTS)


def test_other_errors_are_not_taken_for_memory(model, monkeypatch):
    def forward(self, rows):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Engine, "_forward", forward)
    with pytest.raises(RuntimeError, match="shapes"):
        Engine(model, 0).score(PROMPTS)


def test_rows_longer_than_a_sliding_window_are_right():
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        sliding_window=24,
    )  # fmt: skip
    model = MistralForCausalLM(config).eval()
    for prompts in (PROMPTS, PROMPTS[:2]):  # longer than the window, and within it
        expected = one_by_one(model, prompts)
        ours = Engine(model, 0).score(prompts)
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-4)


def test_no_rows_give_no_results_and_an_empty_prompt_is_refused(model):
    assert Engine(model, 0).score([]).shape == (0, 0)
    with pytest.raises(ValueError, match="without tokens"):
        Engine(model, 0).score([[1], []])


def test_padding_stands_between_the_cached_tokens_and_the_row(model):
    engine = Engine(model, 9)
    engine.score(PROMPTS)
    batch = left_pad([[5, 6, 7], [8]], 9, model.device)
    behind = engine._after_prefix(batch)
    n = len(HEAD)
    assert behind["input_ids"].tolist() == [[5, 6, 7], [9, 9, 8]]
    mask = [[1] * n + [1, 1, 1], [1] * n + [0, 0, 1]]
    assert behind["attention_mask"].tolist() == mask
    positions = [[n, n + 1, n + 2], [n, n, n]]
    assert behind["position_ids"].tolist() == positions


def test_the_common_prefix_is_what_brute_force_finds():
    for prompts in itertools.combinations([[1, 2, 3], [1, 2], [1, 5], [4, 4, 4, 4]], 2):
        n = 0
        while n < min(map(len, prompts)) - 1 and len({p[n] for p in prompts}) == 1:
            n += 1
        assert common_prefix(prompts) == prompts[0][:n]


def test_batches_cover_every_row_once():
    batches = list(batches_by_length(PROMPTS, 60))
    assert sorted(itertools.chain(*batches)) == list(range(len(PROMPTS)))
