"""Laws of mixtures of the vocabulary."""

from itertools import pairwise

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lrkit.latent.maps import build_map
from lrkit.latent.superposition import (
    NOISE_RANGE,
    Mixture,
    mixture,
    mixture_of_states,
    one_hot,
    scores_by,
)

VOCAB, WIDTH = 50, 16


@pytest.fixture
def table():
    torch.manual_seed(0)
    return torch.nn.Embedding(VOCAB, WIDTH)


@pytest.fixture
def logits():
    torch.manual_seed(1)
    return 3 * torch.randn(4, 5, VOCAB)


def test_one_token_is_its_own_embedding(table):
    ids = torch.randint(VOCAB, (3, 2))
    assert torch.equal(one_hot(ids).embed(table), table(ids))
    sure = torch.full((2, VOCAB), -1e4)
    sure[0, 7] = sure[1, 31] = 1e4
    for k in (0, 1, 10):
        found = mixture(sure, k, 1.0).embed(table)
        assert torch.equal(found, table(torch.tensor([7, 31])))


def test_the_whole_vocabulary_is_the_full_softmax(table, logits):
    wanted = (logits / 0.7).softmax(-1)
    for k in (0, VOCAB, VOCAB + 5):
        found = mixture(logits, k, 0.7)
        assert torch.allclose(found.dense(VOCAB), wanted, atol=1e-6)
        assert torch.allclose(found.embed(table), wanted @ table.weight, atol=1e-5)


def test_a_mixture_is_the_weighted_sum_of_the_likeliest(table, logits):
    for scores in logits.flatten(0, 1):
        best = sorted(range(VOCAB), key=lambda v: -scores[v])[:6]
        shares = (scores[best] / 1.5).softmax(0)
        found = mixture(scores, 6, 1.5)
        assert found.ids.tolist() == best
        assert torch.allclose(found.weights, shares)
        wanted = sum(s * table.weight[v] for s, v in zip(shares, best, strict=True))
        assert torch.allclose(found.embed(table), wanted, atol=1e-6)


def test_a_mixture_lies_in_the_convex_hull_of_its_tokens(table, logits):
    found = mixture(logits, 8, 1.0)
    assert (found.weights >= 0).all()
    assert torch.allclose(found.weights.sum(-1), torch.ones(4, 5))
    longest = table(found.ids).norm(dim=-1).max(-1).values
    assert (found.embed(table).norm(dim=-1) <= longest + 1e-6).all()
    rows = table(found.ids)
    vectors = found.embed(table)
    assert (vectors <= rows.max(-2).values + 1e-6).all()
    assert (vectors >= rows.min(-2).values - 1e-6).all()


def test_a_colder_mixture_is_surer_and_a_hot_one_even(logits):
    top = [mixture(logits, 8, t).weights.max(-1).values for t in (0.1, 0.5, 1, 4, 1e6)]
    for colder, hotter in pairwise(top):
        assert (colder > hotter).all()
    assert torch.allclose(top[-1], torch.full((4, 5), 1 / 8), atol=1e-4)


def test_an_excluded_token_is_left_out_and_the_rest_is_as_if_it_were_not_there(logits):
    end = int(logits[0, 0].argmax())
    others = [v for v in range(VOCAB) if v != end]
    for k in (0, 3, VOCAB):
        found = mixture(logits, k, 1.0, excluded=end)
        assert not (found.ids == end).any()
        without = mixture(logits[..., others], k, 1.0)
        assert torch.allclose(found.dense(VOCAB)[..., others], without.dense(VOCAB - 1))


def test_gradient_flows_through_the_weights_and_never_to_the_rows(table):
    states = torch.randn(3, WIDTH, requires_grad=True)
    head = torch.nn.Linear(WIDTH, VOCAB)
    mixture_of_states(states, head, 4, 1.0).embed(table).square().sum().backward()
    assert states.grad.abs().sum() > 0 and head.weight.grad.abs().sum() > 0
    assert table.weight.grad is None
    states.grad = None
    by_table = mixture_of_states(states, scores_by(table.weight), 4, 1.0)
    by_table.embed(table).square().sum().backward()
    assert states.grad.abs().sum() > 0 and table.weight.grad is None


def tied():
    """Both tables are one."""
    return GPT2LMHeadModel(GPT2Config(
        vocab_size=VOCAB, n_embd=WIDTH, n_layer=1, n_head=2, n_positions=32
    ))  # fmt: skip


def untied():
    """With grouped-query attention."""
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=1, intermediate_size=24,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
    ))  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(("make", "same"), [(tied, True), (untied, False)])
def test_input_and_output_tables_are_kept_apart(make, same):
    torch.manual_seed(0)
    model = make()
    states = torch.randn(6, WIDTH)
    entry, head = model.get_input_embeddings(), model.get_output_embeddings()
    by_output = mixture_of_states(states, head, 5, 1.0)
    by_input = mixture_of_states(states, scores_by(entry.weight), 5, 1.0)
    assert torch.equal(by_output.ids, by_input.ids) == same
    map_ = build_map({"kind": "superposition", "k": 5}, WIDTH)
    map_.bind(model)
    assert torch.equal(map_(states), by_output.embed(entry)), "the map uses the output"


def test_noise_of_scale_nothing_changes_nothing(logits):
    plain = mixture(logits, 8, 1.0)
    same = plain.noised(0.0, 1.0)
    assert torch.equal(same.ids, plain.ids)
    assert torch.allclose(same.weights, plain.weights)


def test_noise_is_gumbels_within_its_range(table):
    """At temperature 1 the likeliest of two even tokens is either, and the logarithm of
    their odds is the difference of two draws: it stays within the range."""
    even = Mixture(torch.full((20_000, 2), 0.5), torch.tensor([[3, 4]] * 20_000))
    generator = torch.Generator().manual_seed(0)
    found = even.noised(1.0, 1.0, generator).weights
    odds = (found[:, 0] / found[:, 1]).log()
    low, high = NOISE_RANGE
    assert odds.abs().max() <= high - low + 1e-4
    assert abs(odds.mean()) < 0.05
    # The difference of two whole Gumbel draws is logistic, of variance pi ** 2 / 3.
    assert 2.0 < odds.var() < torch.pi**2 / 3
    again = even.noised(1.0, 1.0, torch.Generator().manual_seed(0)).weights
    assert torch.equal(found, again)
    assert torch.allclose(found.sum(-1), torch.ones(20_000))


def test_noise_wakes_no_token_of_weight_nothing():
    one = Mixture(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[5, 6, 7]]))
    assert one.noised(5.0, 2.0).weights.tolist() == [[1.0, 0.0, 0.0]]


def test_what_cannot_be_is_refused(logits):
    for k, temperature in ((-1, 1.0), (5, 0.0), (5, -2.0)):
        with pytest.raises(ValueError, match="k must be 0 or more and the temperature"):
            mixture(logits, k, temperature)
    for scale, temperature in ((-1.0, 1.0), (1.0, 0.0)):
        with pytest.raises(ValueError, match="noise needs a scale of 0 or more"):
            mixture(logits, 3, 1.0).noised(scale, temperature)
