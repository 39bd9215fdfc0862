"""Laws of reading from a model and writing into it."""

import pytest
import torch
from transformers import (
    DynamicCache,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from lrkit.latent.layout import SlotRow, collate
from lrkit.latent.slots import SLOT, SlotConfig, SlotModel

VOCAB, WIDTH = 60, 32


def llama():
    """With grouped-query attention."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=3,
            num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
            max_position_embeddings=128,
        )
    )  # fmt: skip


def gpt2():
    """With learned positions and a tied output layer."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCAB, n_embd=WIDTH, n_layer=3, n_head=4, n_positions=128,
            resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
        )
    )  # fmt: skip


def qwen():
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=2, head_dim=8,
            num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
        )
    )  # fmt: skip


def mistral():
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
            sliding_window=None,
        )
    )  # fmt: skip


BASES = {"llama": llama, "gpt2": gpt2}
FAMILIES = BASES | {"qwen": qwen, "mistral": mistral}
MAP = {"kind": "mlp", "inner": 24}


def wrapped(make, **config) -> SlotModel:
    """A wrapped random base whose weights are large, so that every mistake shows."""
    torch.manual_seed(0)
    base = make()
    for weight in base.parameters():
        if weight.ndim == 2:
            weight.data *= 8
    return SlotModel.wrap(base, **{"map": MAP, **config}).eval()


@pytest.fixture(scope="module", params=BASES)
def make(request):
    return BASES[request.param]


@pytest.fixture(scope="module")
def model(make):
    return wrapped(make)


def rows(n_slots=(3, 0, 2, 5)):
    """Rows of different beginnings, slots and rests."""
    torch.manual_seed(1)
    made = []
    for k, n in enumerate(n_slots):
        before = torch.randint(1, VOCAB, (3 + 2 * k,)).tolist()
        rest = torch.randint(1, VOCAB, (2 + k % 3,)).tolist()
        made.append(SlotRow(before, n, rest, supervised=len(rest) - 1))
    return made


def batch(model, some):
    return collate(some, model.id_of(SLOT))


def last_logits(out, some):
    """Logits of each row over the columns of its rest."""
    width = max(len(r.rest) for r in some)
    begin = out.logits.shape[1] - width
    return [out.logits[i, begin : begin + len(r.rest)] for i, r in enumerate(some)]


def by_hand(model, row, order, n_rounds=0):
    """Logits over the rest of one row: no cache, no mask, everything computed again."""
    base = model.base
    ids = torch.tensor([list(row.before)])
    vectors = model.embed(ids)

    def hidden(v):
        return base(inputs_embeds=v, output_hidden_states=True).hidden_states[-1]

    if order == "sequential":
        for _ in range(row.n_slots):
            vectors = torch.cat([vectors, model.map(hidden(vectors)[:, -1:])], 1)
    else:
        slot = model.embed(torch.full((1, row.n_slots), model.id_of(SLOT)))
        for _ in range(n_rounds):
            states = hidden(torch.cat([vectors, slot], 1))
            slot = model.map(states[:, ids.shape[1] - 1 : -1])
        vectors = torch.cat([vectors, slot], 1)
    vectors = torch.cat([vectors, model.embed(torch.tensor([list(row.rest)]))], 1)
    return base(inputs_embeds=vectors).logits[0, -len(row.rest) :]


# --- the orders -----------------------------------------------------------------------
@torch.no_grad()
def test_the_cache_gives_what_computing_everything_again_gives(model):
    some = rows()
    out = model(**batch(model, some) | {"labels": None})
    for row, logits in zip(some, last_logits(out, some), strict=True):
        assert torch.allclose(logits, by_hand(model, row, "sequential"), atol=2e-4)


@torch.no_grad()
@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_does_not_depend_on_its_batch(family):
    model, some = wrapped(FAMILIES[family]), rows()
    together = last_logits(model(**batch(model, some) | {"labels": None}), some)
    for row, logits in zip(some, together, strict=True):
        alone = model(**batch(model, [row]) | {"labels": None})
        assert torch.allclose(last_logits(alone, [row])[0], logits, atol=2e-4)
    assert together[0].std() > 0.1, "a model that says nothing proves nothing"


@torch.no_grad()
def test_rounds_are_computed_as_they_are_defined(make):
    model = wrapped(make, order="rounds", rounds=2)
    some = rows((4, 4))
    out = model(**batch(model, some) | {"labels": None})
    for row, logits in zip(some, last_logits(out, some), strict=True):
        assert torch.allclose(logits, by_hand(model, row, "rounds", 2), atol=2e-4)


@torch.no_grad()
def test_as_many_rounds_as_slots_are_the_sequence(model, make):
    some = rows((4, 1, 3))
    inputs = batch(model, some)
    expected = model(**inputs).logits
    twin = wrapped(make, order="rounds", rounds=4)
    twin.load_state_dict(model.state_dict())
    assert torch.allclose(twin(**inputs).logits, expected, atol=2e-4)
    few = wrapped(make, order="rounds", rounds=1)
    few.load_state_dict(model.state_dict())
    assert not torch.allclose(few(**inputs).logits, expected, atol=1e-2)


@torch.no_grad()
def test_given_vectors_that_were_written_before_give_the_same(model, make):
    some = rows()
    inputs = batch(model, some)
    first = model(**inputs)
    twin = wrapped(make, order="given")
    twin.load_state_dict(model.state_dict())
    again = twin(**inputs, latents=first.latents)
    assert torch.allclose(again.logits, first.logits, atol=2e-4)
    with pytest.raises(ValueError, match=r"latents must be of shape \[4, 5, 32\], got"):
        twin(**inputs)


@torch.no_grad()
def test_without_slots_it_is_the_plain_model(model):
    some = rows((0, 0))
    inputs = batch(model, some)
    out = model(**inputs | {"labels": None})
    plain = model.base(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        position_ids=(inputs["attention_mask"].cumsum(1) - 1).clamp(min=0),
    )
    assert torch.allclose(out.logits, plain.logits, atol=1e-5)
    assert out.latents is None and out.read is None


# --- gradient -------------------------------------------------------------------------
def test_gradient_reaches_map_rows_and_base_through_the_whole_chain(make):
    model = wrapped(make).train()
    row = SlotRow([model.id_of("<bot>")], 3, [4, 5], supervised=1)
    model(**batch(model, [row])).loss.backward()
    grads = model.rows.weight.grad.abs().sum(1)
    bot, slot, eot = (grads[model.config.specials.index(s)] for s in
                      ("<bot>", SLOT, "<eot>"))  # fmt: skip
    assert bot > 0, "it is read only through the latents"
    assert slot == 0 and eot == 0
    assert all(p.grad.abs().sum() > 0 for p in model.map.parameters())


def test_the_gradient_is_that_of_computing_everything_again(model):
    row = rows((3,))[0]
    for weight in model.parameters():
        weight.grad = None
    out = model(**batch(model, [row]))
    out.loss.backward()
    ours = [p.grad.clone() for p in model.map.parameters()]
    model.zero_grad()
    logits = by_hand(model, row, "sequential")
    targets = torch.tensor(list(row.rest))[1:]
    torch.nn.functional.cross_entropy(logits[:-1], targets).backward()
    for a, p in zip(ours, model.map.parameters(), strict=True):
        assert torch.allclose(a, p.grad, rtol=1e-3, atol=1e-5)
    model.zero_grad()


# --- writing, generating --------------------------------------------------------------
@torch.no_grad()
def test_what_is_written_can_be_changed_and_is_used(model):
    some = rows((3, 3))
    inputs = batch(model, some)
    plain = model(**inputs)
    with model.writing(lambda z, which: z):
        assert torch.equal(model(**inputs).logits, plain.logits)
    with model.writing(lambda z, which: torch.zeros_like(z)):
        zeroed = model(**inputs)
    assert (zeroed.latents == 0).all()
    assert not torch.allclose(zeroed.logits, plain.logits, atol=1e-2)
    seen = []
    with model.writing(lambda z, which: (seen.append(which), z)[1]):
        model(**inputs)
    assert seen == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert torch.equal(model(**inputs).logits, plain.logits), "the change has ended"


@torch.no_grad()
def test_generate_goes_on_as_the_rest_was_scored(model):
    some = [SlotRow(r.before, r.n_slots, r.rest[:2]) for r in rows()]
    inputs = batch(model, some)
    del inputs["labels"]
    new = model.generate(**inputs, max_new_tokens=5, do_sample=False, pad_token_id=0,
                         eos_token_id=None)  # fmt: skip
    new = new[:, inputs["input_ids"].shape[1] :]
    for row, tokens in zip(some, new.tolist(), strict=True):
        rest = list(row.rest)
        for token in tokens:
            scored = by_hand(
                model, SlotRow(row.before, row.n_slots, rest), "sequential"
            )
            assert scored[-1].argmax().item() == token
            rest.append(token)


@torch.no_grad()
def test_a_cache_goes_on_where_it_was(model):
    row = rows((3,))[0]
    inputs = batch(model, [row])
    whole = model(**inputs | {"labels": None}).logits[:, -1]
    cut = {k: v[:, :-1] for k, v in inputs.items() if k != "labels"}
    cache = model(**cut, past_key_values=DynamicCache()).past_key_values
    last = model(
        input_ids=inputs["input_ids"][:, -1:],
        attention_mask=inputs["attention_mask"],
        past_key_values=cache,
    )
    assert torch.allclose(last.logits[:, -1], whole, atol=2e-4)


@torch.no_grad()
def test_hidden_states_are_those_of_all_columns(model):
    inputs = batch(model, rows())
    out = model(**inputs, output_hidden_states=True)
    assert len(out.hidden_states) == model.base.config.num_hidden_layers + 1
    shape = (*inputs["input_ids"].shape, WIDTH)
    assert all(layer.shape == shape for layer in out.hidden_states)
    begin = inputs["input_ids"].eq(model.id_of(SLOT)).any(0).nonzero()[0].item()
    assert torch.equal(out.read[:, 0], out.hidden_states[-1][:, begin - 1])


@torch.no_grad()
def test_a_row_of_n_slots_has_the_states_of_n_plus_one_places(model, make):
    bot, some = model.id_of("<bot>"), rows((3, 0, 2, 5))
    some = [SlotRow([*row.before, bot], row.n_slots, row.rest) for row in some]
    together = model(**batch(model, some) | {"labels": None})
    states = torch.cat([together.read, together.after[:, None]], 1)
    for row, found in zip(some, states, strict=True):
        inputs = batch(model, [row]) | {"labels": None}
        alone = model(**inputs, output_hidden_states=True)
        begin, n = len(row.before) - 1, row.n_slots
        expected = alone.hidden_states[-1][0, begin : begin + n + 1]
        assert torch.allclose(found[: n + 1], expected, atol=2e-4)
        assert torch.allclose(alone.after[0], expected[-1], atol=2e-4)
        assert torch.equal(found[n:], found[-1:].expand(6 - n, -1)), "it is repeated"
    assert model(**batch(model, rows((0, 0)))).after is None, "there is no <bot>"
    for order in ({"order": "given"}, {"order": "rounds", "rounds": 2}):
        twin, latents = wrapped(make, **order), {}
        if order["order"] == "given":
            latents = {"latents": torch.zeros(4, 5, WIDTH)}
        assert twin(**batch(twin, some), **latents).after is None


# --- the loss -------------------------------------------------------------------------
@torch.no_grad()
def test_the_loss_is_the_mean_over_supervised_tokens(model):
    some = rows()
    loss = model(**batch(model, some)).loss
    said = []
    for row in some:
        logits = by_hand(model, row, "sequential")[:-1].log_softmax(-1)
        targets = list(row.rest)[1:]
        said += [-logits[i, t] for i, t in enumerate(targets)]
    assert torch.allclose(loss, torch.stack(said).mean(), atol=1e-4)
    doubled = model(
        **batch(model, some), num_items_in_batch=torch.tensor(2 * len(said))
    )
    assert torch.allclose(doubled.loss, loss / 2, atol=1e-5)


# --- saving ---------------------------------------------------------------------------
@torch.no_grad()
def test_saving_and_loading_gives_the_same_logits_bit_for_bit(model, tmp_path):
    inputs = batch(model, rows())
    model.save_pretrained(tmp_path)
    again = SlotModel.from_pretrained(tmp_path).eval()
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)
    assert again.config.map == MAP and again.config.order == "sequential"
    assert (tmp_path / "model.safetensors").is_file()
    model.base.config._name_or_path = str(tmp_path)
    said = SlotConfig(model.base.config).to_json_string()
    assert str(tmp_path) not in said, "no path of the machine it was made on"


# --- bad input ------------------------------------------------------------------------
def test_bad_configurations_and_rows_are_refused_with_a_sentence(model):
    config = model.base.config
    with pytest.raises(ValueError, match="choose one of given, sequential, rounds"):
        SlotConfig(config, order="parallel")
    with pytest.raises(ValueError, match="needs 1 or more rounds"):
        SlotConfig(config, order="rounds")
    with pytest.raises(ValueError, match="must be among"):
        SlotConfig(config, specials=("<bot>",))
    with pytest.raises(ValueError, match="no map 'magic': choose one of identity, mlp"):
        SlotModel.wrap(model.base, map={"kind": "magic"})
    with pytest.raises(ValueError, match="no special token '<x>'"):
        model.id_of("<x>")
    with pytest.raises(ValueError, match="cannot have -1 slots"):
        SlotRow([1], -1)
    with pytest.raises(ValueError, match="begin with at least one token"):
        SlotRow([], 2)


def test_slots_that_cannot_be_filled_are_refused(model):
    slot = model.id_of(SLOT)
    with pytest.raises(ValueError, match="a token must stand right before"):
        model(input_ids=torch.tensor([[slot, 1]]))
    with pytest.raises(ValueError, match="same columns"):
        model(input_ids=torch.tensor([[1, slot, 2, 3], [1, 2, slot, 3]]))
    mask = torch.tensor([[1, 1, 1], [1, 0, 1]])
    with pytest.raises(ValueError, match="a token must stand right before"):
        model(input_ids=torch.tensor([[1, 2, slot], [1, 2, slot]]), attention_mask=mask)


def test_gradient_checkpointing_is_refused(make):
    model = wrapped(make).train()
    model.base.gradient_checkpointing_enable()
    with pytest.raises(ValueError, match="gradient checkpointing empties the cache"):
        model(**batch(model, rows()))
