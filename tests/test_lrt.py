"""Laws of Latent Reasoning Tuning: what is read, what is written, what never moves."""

from dataclasses import replace

import pytest
import torch
from latent_models import problem
from transformers import (
    DynamicCache,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from lrkit.latent.adapted import load_adapted, save_adapted
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.layout import SlotRow, collate
from lrkit.latent.lrt import GivenConfig, LrtModel, SoftPromptModel
from lrkit.latent.lrt_methods import (
    LrtSettings,
    answered,
    lora_no_cot,
    lrt,
    lrt_model,
    no_thinking,
    rank_for,
    soft_prompt,
    thinking,
    trainable,
    with_lora,
)
from lrkit.latent.methods import MethodSettings, Training
from lrkit.latent.reasoning_network import ReasoningNetwork, small_body
from lrkit.latent.slots import SLOT
from lrkit.latent.solvers import SlotSolver
from lrkit.latent.training import RunSettings
from lrkit.models import load_model, load_tokenizer
from lrkit.study.latent_controls import changed, diversity, of_another, zeroed

VOCAB, WIDTH, T = 60, 32, 5
PROBLEMS = [problem(k, question=f"Question {k}, what is it?" + " Well?" * k)
            for k in (1, 2, 3, 4)]  # fmt: skip
QUESTIONS = [p.question for p in PROBLEMS]


def llama(vocab=VOCAB):
    """With grouped-query attention."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab, hidden_size=WIDTH, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
            max_position_embeddings=256,
        )
    )  # fmt: skip


def gpt2(vocab=VOCAB, dropout=0.0):
    """With learned positions and a tied output layer."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocab, n_embd=WIDTH, n_layer=2, n_head=4, n_positions=256,
            resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout,
            bos_token_id=None, eos_token_id=None,
        )
    )  # fmt: skip


BASES = {"llama": llama, "gpt2": gpt2}
BODIES = {
    "llama": lambda: small_body(24, 2, 4),
    "gpt2": lambda: GPT2Config(
        vocab_size=1, n_embd=24, n_layer=2, n_head=4, n_positions=64, resid_pdrop=0,
        embd_pdrop=0, attn_pdrop=0,
    ),
}  # fmt: skip


def loud(model, times=8):
    """Weights so large that every mistake shows."""
    for weight in model.parameters():
        if weight.ndim == 2:
            weight.data *= times
    return model


def wrapped(base="llama", body="llama", kind=LrtModel, **config):
    torch.manual_seed(0)
    if kind is LrtModel:
        config["body"] = BODIES[body]()
    model = kind.wrap(loud(BASES[base]()), n_latents=T, **config)
    if kind is LrtModel:
        loud(model.network.body, 6)
    return model.eval()


def some_rows(n_slots=(5, 5, 3, 0)):
    torch.manual_seed(1)
    rows = []
    for k, n in enumerate(n_slots):
        before = torch.randint(1, VOCAB, (3 + 2 * k,)).tolist()
        rest = torch.randint(1, VOCAB, (2 + k % 3,)).tolist()
        rows.append(SlotRow(before, n, rest, supervised=len(rest) - 1))
    return rows


def batch(model, rows):
    return collate(rows, model.id_of(SLOT))


def rest_logits(out, rows):
    begin = out.logits.shape[1] - max(len(r.rest) for r in rows)
    return [out.logits[i, begin : begin + len(r.rest)] for i, r in enumerate(rows)]


def weights(module):
    return {name: weight.detach().clone() for name, weight in module.named_parameters()}


def same(before, module):
    return [n for n, w in module.named_parameters() if torch.equal(before[n], w)]


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


# --- what is trained ------------------------------------------------------------------
@pytest.mark.parametrize("kind", [LrtModel, SoftPromptModel])
def test_gradient_reaches_all_that_is_beside_the_base_and_nothing_of_it(kind):
    model = wrapped(kind=kind).train()
    model(**batch(model, some_rows((5, 5)))).loss.backward()
    for name, weight in model.named_parameters():
        beside = name.startswith(("network.", "prompt"))
        assert weight.requires_grad == beside, name
        assert (weight.grad is not None and weight.grad.abs().sum() > 0) == beside, name


def test_the_frozen_base_has_no_dropout_in_training_either():
    torch.manual_seed(0)
    model = LrtModel.wrap(gpt2(dropout=0.5), n_latents=T).train()
    x = batch(model, some_rows((5, 5)))
    assert torch.equal(model(**x).logits, model(**x).logits)
    assert model.training and model.network.training and not model.base.training


@torch.no_grad()
@pytest.mark.parametrize("kind", [LrtModel, SoftPromptModel])
def test_saved_and_loaded_it_says_the_same_bit_for_bit_and_is_frozen(kind, tmp_path):
    model = wrapped("gpt2", kind=kind)
    x = batch(model, some_rows((5, 5)))
    model.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path).eval()
    assert torch.equal(again(**x).logits, model(**x).logits)
    assert trainable(again) == trainable(model)
    assert not any(w.requires_grad for w in again.base.parameters())


@torch.no_grad()
def test_what_is_beside_the_base_can_be_saved_without_it(tiny_llama, tmp_path):
    torch.manual_seed(0)
    model = LrtModel.wrap(load_model(tiny_llama), n_latents=3).eval()
    rows = ChainRows.of(model, load_tokenizer(tiny_llama))
    x = collate([rows.latent(PROBLEMS[0], 3)], model.id_of(SLOT))
    save_adapted(model, tmp_path, tiny_llama)
    again = load_adapted(LrtModel, tmp_path).eval()
    assert torch.equal(again(**x).logits, model(**x).logits)
    saved = sum(f.stat().st_size for f in tmp_path.rglob("*.safetensors"))
    assert saved < 4.2 * (trainable(model) + model.rows.weight.numel()) + 10_000


# --- methods --------------------------------------------------------------------------
@pytest.fixture
def training(chatml, tmp_path):
    settings = MethodSettings(
        RunSettings(4, 4, warmup=0, save_steps=0, learning_rate=3e-3), context=256
    )

    def load_base():
        torch.manual_seed(0)
        return llama(len(chatml))

    return Training(load_base, chatml, PROBLEMS, settings, tmp_path)


SETTINGS = LrtSettings(3)
METHODS = {
    "lrt": lambda t: lrt(t, SETTINGS),
    "lrt, pooled": lambda t: lrt(t, LrtSettings(3, "pooled", "bidirectional")),
    "soft prompt": lambda t: soft_prompt(t, SETTINGS),
    "LoRA": lambda t: lora_no_cot(t, SETTINGS),
}


@pytest.mark.parametrize("name", METHODS)
def test_no_weight_of_the_base_moves_and_all_that_is_beside_it_does(name, training):
    solver = METHODS[name](training)
    fresh = training.load_base().state_dict()
    state = {
        n.removeprefix("base_model.model.").replace("base_layer.", ""): w
        for n, w in solver.model.base.state_dict().items()
        if "lora_" not in n
    }
    assert state.keys() == fresh.keys()
    assert all(torch.equal(fresh[n], w) for n, w in state.items())
    torch.manual_seed(0)
    kind = {"lrt": LrtModel, "soft prompt": SoftPromptModel}.get(name)
    if kind is not None:
        begun = training.wrapped(kind, n_latents=3)
        assert same(weights(begun), solver.model) == [
            n for n, w in solver.model.named_parameters() if not w.requires_grad
        ]
    if name == "LoRA":
        moved = [w.abs().max() > 0 for n, w in solver.model.named_parameters()
                 if "lora_B" in n]  # fmt: skip
        assert moved and all(moved), "lora_B begins at zero"


def test_the_chain_is_not_looked_at(training, chatml, tmp_path):
    without = [replace(p, steps=()) for p in PROBLEMS]
    other = replace(training, problems=without, folder=tmp_path / "other")
    a, b = (weights(lrt(t, SETTINGS).model.network) for t in (training, other))
    assert all(torch.equal(a[n], b[n]) for n in a)


def test_answer_and_end_alone_carry_loss(training, chatml):
    rows = training.rows(lrt_model(training, SETTINGS))
    for p in PROBLEMS:
        for row in (rows.latent(p, 3), rows.chain(p, ())):
            made = answered(rows, p, row)
            *said, end = made.rest[len(made.rest) - made.supervised :]
            assert chatml.decode(said).strip() == p.answer
            assert end == chatml.eos_token_id
            assert replace(made, supervised=row.supervised) == row


def test_a_lora_has_about_as_many_weights_as_the_network(training):
    n = trainable(lrt_model(training, SETTINGS))
    rank = rank_for(training.load_base, n)
    sizes = [trainable(with_lora(training.load_base(), r))
             for r in (rank - 1, rank, rank + 1)]  # fmt: skip
    assert abs(sizes[1] - n) <= min(abs(sizes[0] - n), abs(sizes[2] - n))
    assert trainable(lora_no_cot(training, SETTINGS).model) == sizes[1]
    assert rank_for(training.load_base, 1) == 1


def test_the_two_modes_of_the_base_train_nothing(training):
    solvers = {f: f(training) for f in (no_thinking, thinking)}
    fresh = training.load_base().state_dict()
    for solver in solvers.values():
        after = solver.model.base.state_dict()
        assert all(torch.equal(fresh[n], w) for n, w in after.items())
    assert solvers[thinking].writes_chain and not solvers[no_thinking].writes_chain


# --- solver and controls --------------------------------------------------------------
@pytest.fixture
def solver(chatml):
    torch.manual_seed(0)
    model = LrtModel.wrap(loud(llama(len(chatml))), n_latents=3).eval()
    loud(model.network, 4)
    return SlotSolver(model, ChainRows.of(model, chatml), 3, max_new_tokens=5)


def test_an_answer_is_that_of_the_whole_sequence_computed_again(solver):
    model = solver.model
    for question, found in zip(QUESTIONS, solver.solve(QUESTIONS), strict=True):
        row = solver.rows.asked(question, 3)
        written = []
        for _ in range(found.text_tokens):
            whole = SlotRow(row.before, 3, [*row.rest, *written])
            with torch.no_grad():
                out = model(**collate([whole], model.id_of(SLOT)), use_cache=False)
            written.append(int(out.logits[0, -1].argmax()))
        said = solver.rows.tokenizer.decode(written, skip_special_tokens=True)
        assert said == found.text


def test_latents_can_be_zeroed_and_swapped_as_of_any_method(solver, monkeypatch):
    seen = []
    forward = LrtModel.forward

    def recording(self, *args, **kwargs):
        out = forward(self, *args, **kwargs)
        if out.latents is not None:
            seen.append(out.latents.clone())
        return out

    monkeypatch.setattr(LrtModel, "forward", recording)
    for change in (zeroed, of_another):
        seen.clear()
        changed(solver, change).solve(QUESTIONS)
        plain, replaced = seen
        assert torch.equal(replaced, change(plain))
        assert not torch.equal(replaced, plain)


def test_latents_depend_on_the_question_and_constants_do_not(solver, chatml):
    table = diversity(solver, PROBLEMS)
    assert (table["cosine_questions"] < 0.999).all()
    assert "entropy" not in table, "no latent is read from a position of its own"
    torch.manual_seed(0)
    model = SoftPromptModel.wrap(llama(len(chatml)), n_latents=3).eval()
    constant = SlotSolver(model, ChainRows.of(model, chatml), 3, max_new_tokens=5)
    table = diversity(constant, PROBLEMS)
    assert table["cosine_questions"].to_numpy() == pytest.approx(1, abs=1e-5)
    swapped = changed(constant, of_another).solve(QUESTIONS)
    assert [s.text for s in swapped] == [s.text for s in constant.solve(QUESTIONS)]


def test_passes_and_flops_count_the_network(solver):
    model, seen = solver.model, []
    for module in (model.base, model.network):
        module.register_forward_hook(lambda *_: seen.append(1))
    (solution,) = solver.solve(QUESTIONS[:1])
    assert solution.passes == len(seen) and solution.latent_steps == 3
    row = solver.rows.asked(QUESTIONS[0], 3)
    network = model.network
    size = lambda m: sum(p.numel() for p in m.parameters())  # noqa: E731
    columns = len(row.before)
    expected = 2 * (
        columns * size(network.f_in)
        + (columns + 3) * size(network.body)
        + 3 * size(network.f_out)
    )
    assert model.flops_beside(row) == expected
    assert model.flops_beside(SlotRow(row.before)) == 0
    blank = SoftPromptModel.wrap(model.base, n_latents=3).eval()
    constant = SlotSolver(blank, solver.rows, 3, max_new_tokens=1).solve(QUESTIONS[:1])
    once = SlotSolver(model, solver.rows, 3, max_new_tokens=1).solve(QUESTIONS[:1])
    assert once[0].flops - constant[0].flops == expected


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
