"""What the base and its reasoning network compute, and what they cannot."""

import pytest
import torch
from lrt_models import BASES, BODIES, VOCAB, WIDTH, T, batch, llama, some_rows, wrapped
from transformers import DynamicCache

from lrkit.latent.layout import SlotRow
from lrkit.latent.lrt import GivenConfig, LrtModel, SoftPromptModel
from lrkit.latent.reasoning_network import ReasoningNetwork, small_body


def rest_logits(out, rows):
    begin = out.logits.shape[1] - max(len(r.rest) for r in rows)
    return [out.logits[i, begin : begin + len(r.rest)] for i, r in enumerate(rows)]


# --- what is computed -----------------------------------------------------------------


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
@pytest.mark.parametrize("reading", ["appended", "pooled"])
@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch(base, body, attention, reading):
    model = wrapped(base, body, attention=attention, reading=reading)
    rows = some_rows()
    together = model(**batch(model, rows))
    for i, row in enumerate(rows):
        alone = model(**batch(model, [row]))
        found = rest_logits(together, rows)[i]
        assert torch.allclose(found, rest_logits(alone, [row])[0], atol=2e-4)
        if row.n_slots:
            kept = together.latents[i, : row.n_slots]
            assert torch.allclose(kept, alone.latents[0], atol=2e-5)


@pytest.mark.parametrize("base", BASES)
@torch.no_grad()
def test_the_base_reads_question_latents_and_answer_and_nothing_else(base):
    """The paper's P(. | [E_X, z]) by hand: no cache, no slots, no mask."""
    model = wrapped(base)
    row = some_rows()[1]
    question = model.embed(torch.tensor([row.before]))
    states = model.base(inputs_embeds=question, output_hidden_states=True)
    h = states.hidden_states[-1]
    network = model.network
    vectors = torch.cat([network.f_in(h), network.queries[None]], 1)
    z = network.f_out(network.body(inputs_embeds=vectors).last_hidden_state[:, -T:])
    rest = model.embed(torch.tensor([row.rest]))
    whole = model.base(inputs_embeds=torch.cat([question, z, rest], 1)).logits
    found = model(**batch(model, [row]))
    assert torch.allclose(found.latents, z, atol=1e-5)
    assert torch.allclose(found.logits, whole[:, -found.logits.shape[1] :], atol=2e-4)


@torch.no_grad()
def test_pooled_latents_are_the_last_state_times_each_query():
    model = wrapped(reading="pooled")
    row = some_rows()[0]
    question = model.embed(torch.tensor([row.before]))
    h = model.base(inputs_embeds=question, output_hidden_states=True).hidden_states[-1]
    network = model.network
    vectors = network.f_in(h[:, -1:]) * network.queries[None]
    z = network.f_out(network.body(inputs_embeds=vectors).last_hidden_state)
    assert torch.allclose(model(**batch(model, [row])).latents, z, atol=1e-5)


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
@pytest.mark.parametrize("body", BODIES)
@torch.no_grad()
def test_a_latent_sees_the_later_ones_only_where_attention_is_bidirectional(
    attention, body
):
    network = wrapped(body=body, attention=attention).network
    states, mask = torch.randn(2, 4, WIDTH), torch.ones(2, 4)
    active = torch.ones(2, T, dtype=torch.bool)
    before = network(states, mask, active)
    network.queries[3] += torch.randn(network.queries.shape[1])
    moved = (network(states, mask, active) - before).abs().amax((0, 2)) > 1e-6
    causal = [False] * 3 + [True] * 2
    assert moved.tolist() == (causal if attention == "causal" else [True] * T)


@pytest.mark.parametrize("reading", ["appended", "pooled"])
def test_every_state_of_the_question_counts_or_the_last_alone(reading):
    network = wrapped(reading=reading).network
    states = torch.randn(1, 4, WIDTH, requires_grad=True)
    network(
        states, torch.ones(1, 4), torch.ones(1, T, dtype=torch.bool)
    ).sum().backward()
    read = states.grad.abs().sum(-1)[0] > 0
    assert read.tolist() == (
        [True] * 4 if reading == "appended" else [False] * 3 + [True]
    )


@torch.no_grad()
def test_without_slots_the_model_is_its_base_bit_for_bit():
    model = wrapped()
    ids = torch.randint(1, VOCAB, (3, 9))
    mask = torch.ones_like(ids)
    mask[1, :4] = 0
    at = (mask.cumsum(1) - 1).clamp(min=0)
    plain = model.base(ids, attention_mask=mask, position_ids=at).logits
    assert torch.equal(model(ids, attention_mask=mask).logits, plain)


@torch.no_grad()
def test_latents_begin_as_long_as_the_embeddings_of_the_base():
    for scale in (0.1, 10.0):
        torch.manual_seed(0)
        base = llama()
        base.get_input_embeddings().weight.data *= scale
        model = LrtModel.wrap(base, n_latents=T).eval()
        length = model(**batch(model, some_rows((5, 5)))).latents.std().item()
        table = base.get_input_embeddings().weight
        assert length == pytest.approx(table.std().item(), rel=0.3)


@torch.no_grad()
def test_given_latents_take_the_place_of_its_own():
    model, rows = wrapped(), some_rows((5, 5))
    given = torch.randn(2, T, WIDTH)
    out = model(**batch(model, rows), latents=given)
    assert torch.equal(out.latents, given) and out.hidden_states is None
    shown = model(**batch(model, rows), output_hidden_states=True)
    width = batch(model, rows)["input_ids"].shape[1]
    assert shown.hidden_states[-1].shape == (2, width, WIDTH)


# --- what cannot be -------------------------------------------------------------------


def test_what_cannot_be_is_refused():
    model = wrapped()
    with pytest.raises(ValueError, match="7 slots cannot be filled by 5 queries"):
        model(**batch(model, [SlotRow([1, 2], 7, [3])]))
    with pytest.raises(ValueError, match="7 slots are more than 5 constants"):
        constant = wrapped(kind=SoftPromptModel)
        constant(**batch(constant, [SlotRow([1, 2], 7, [3])]))
    short = wrapped(body="gpt2")
    with pytest.raises(ValueError, match="75 columns are more than the 64"):
        short(**batch(short, [SlotRow([1] * 70, 5, [3])]))
    cache = DynamicCache(config=model.base.config)
    with torch.no_grad():
        model(torch.tensor([[1, 2]]), past_key_values=cache)
        x = batch(model, [SlotRow([3], 5, [3])])
        del x["attention_mask"]
        with pytest.raises(ValueError, match="pass question and slots together"):
            model(**x, past_key_values=cache)
    with pytest.raises(ValueError, match="no reading 'added': choose one of appended"):
        wrapped(reading="added")
    with pytest.raises(ValueError, match="no attention 'full'"):
        wrapped(attention="full")
    with pytest.raises(ValueError, match="0 latents cannot be"):
        GivenConfig(n_latents=0)
    with pytest.raises(ValueError, match="0 latents cannot be"):
        ReasoningNetwork(WIDTH, 0, small_body(24).to_dict())
    with pytest.raises(ValueError, match="given all at once here"):
        GivenConfig(order="sequential")
