"""Laws of thinking until the model says the end: alone, in a batch, and as trained."""

import pytest
import torch
from latent_sft_models import BASES, QUESTIONS, begin, undecided

from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.latent_sft_rows import ThoughtRows
from lrkit.latent.latent_sft_solver import (
    ColdStop,
    SuperpositionSolver,
    given_thoughts,
    soft_thinking,
    think,
)
from lrkit.latent.layout import SlotRow, collate
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import SlotSolver

N_MAX = 6


def thoughts(model, rows, questions=QUESTIONS, **options):
    options = {"end": rows.end, "n_max": N_MAX} | options
    return think(model, **begin(model, rows, questions), **options)


@pytest.fixture(scope="module")
def rows(chatml):
    return ThoughtRows.of(chatml, 2, 256)


@pytest.fixture(scope="module", params=BASES)
def model(request, chatml, rows):
    return undecided(request.param, chatml, rows, N_MAX)


# --- thinking -------------------------------------------------------------------------
def test_a_row_thinks_alone_as_it_does_in_a_batch(model, rows):
    together = thoughts(model, rows)
    for i, question in enumerate(QUESTIONS):
        alone = thoughts(model, rows, [question])
        n = together.n_latents[i]
        assert alone.n_latents == [n]
        assert torch.allclose(together.read[i, :n], alone.read[0, :n], atol=2e-4)
        assert torch.allclose(together.written[i, :n], alone.written[0, :n], atol=2e-4)
        assert not together.read[i, n:].any() and not together.written[i, n:].any()


@torch.no_grad()
def test_a_thought_is_what_forward_computes_for_as_many_slots(model, rows):
    found = thoughts(model, rows)
    rest = [rows.end, *rows.rows.cue()]
    together = model(**found.then(rest)).logits
    for i, question in enumerate(QUESTIONS):
        n = found.n_latents[i]
        row = SlotRow(rows.asked(question).before, n, rest)
        inputs = collate([row], model.id_of("<slot>")) | {"labels": None}
        alone = model(**inputs, logits_to_keep=len(rest))
        assert torch.allclose(together[i], alone.logits[0], atol=2e-3)
        if n:
            assert torch.allclose(found.written[i, :n], alone.latents[0], atol=2e-4)


@torch.no_grad()
def test_a_thought_that_is_given_is_read_as_if_it_had_been_thought(model, rows):
    own = thoughts(model, rows)
    latents = [part[:n] for part, n in zip(own.written, own.n_latents, strict=True)]
    given = given_thoughts(model, **begin(model, rows), latents=latents)
    assert given.n_latents == own.n_latents and torch.equal(given.mask, own.mask)
    assert torch.equal(given.written, own.written) and given.read is None
    rest = [rows.end, *rows.rows.cue()]
    ours, theirs = (model(**t.then(rest)).logits for t in (given, own))
    assert torch.allclose(ours, theirs, atol=2e-3)


@torch.no_grad()
def test_a_thought_ends_where_the_end_is_likeliest_and_nowhere_else(model, rows):
    found = thoughts(model, rows)
    head = model.base.get_output_embeddings()
    for i, n in enumerate(found.n_latents):
        said = head(found.read[i, :n]).argmax(-1)
        assert (said != rows.end).all()
    for i, question in enumerate(QUESTIONS):
        n = found.n_latents[i]
        if n == N_MAX:
            continue
        row = SlotRow(rows.asked(question).before, n)
        inputs = collate([row], model.id_of("<slot>")) | {"labels": None}
        assert model(**inputs, logits_to_keep=1).logits[0, -1].argmax() == rows.end


def test_what_is_computed_is_what_rows_need_and_no_more(model, rows):
    seen = []
    hook = model.base.register_forward_hook(
        lambda _, args, kwargs, out: seen.append(kwargs["inputs_embeds"].shape[:2]),
        with_kwargs=True,
    )
    lengths = thoughts(model, rows).n_latents
    hook.remove()
    wanted = [(sum(n > k for n in lengths), 1) for k in range(max(lengths))]
    assert [tuple(shape) for shape in seen[1:]] == wanted


def test_zero_latents_are_a_thought(model, rows):
    found = thoughts(model, rows, n_max=0)
    assert found.n_latents == [0] * len(QUESTIONS)
    assert found.read.shape == found.written.shape == (len(QUESTIONS), 0, 32)
    out = SuperpositionSolver(model, rows, 0, max_new_tokens=3).solve(QUESTIONS[:2])
    assert all(s.latent_steps == 0 for s in out)
    with pytest.raises(ValueError, match="has 0 latents or more, not up to -1"):
        thoughts(model, rows, n_max=-1)


def test_a_change_of_what_is_written_is_read_by_what_comes_after(model, rows):
    plain = thoughts(model, rows)
    with model.writing(lambda vectors, which: 0 * vectors):
        zeroed = thoughts(model, rows)
    assert not zeroed.written.any()
    assert torch.equal(plain.read[:, 0], zeroed.read[:, 0])
    assert not torch.allclose(plain.read[:, 1], zeroed.read[:, 1], atol=1e-2)


def test_a_cold_stop_ends_a_thought_after_so_many_sure_steps(model, rows):
    plain = thoughts(model, rows).n_latents
    for steps in (1, 2, 4):
        found = thoughts(model, rows, cold_stop=ColdStop(1e9, steps)).n_latents
        assert found == [min(n, steps - 1) for n in plain], "always sure"
    assert thoughts(model, rows, cold_stop=ColdStop(-1.0, 1)).n_latents == plain
    with pytest.raises(ValueError, match="after 1 sure step or more"):
        ColdStop(0.1, 0)


# --- answering ------------------------------------------------------------------------
def test_one_question_is_answered_as_among_many(model, rows):
    solver = SuperpositionSolver(model, rows, N_MAX, max_new_tokens=5)
    together = solver.solve(QUESTIONS)
    assert len({s.latent_steps for s in together}) >= 4
    for question, solution in zip(QUESTIONS, together, strict=True):
        (alone,) = solver.solve([question])
        assert (alone.text, alone.latent_steps) == (
            solution.text,
            solution.latent_steps,
        )


def test_a_thought_costs_its_own_passes_and_positions(model, rows):
    solver = SuperpositionSolver(model, rows, N_MAX, max_new_tokens=5)
    for question in QUESTIONS[:6]:
        seen = []
        hook = model.base.register_forward_hook(
            lambda _, args, kwargs, out, seen=seen: seen.append(
                kwargs["inputs_embeds"].shape[1]
            ),
            with_kwargs=True,
        )
        (solution,) = solver.solve([question])
        hook.remove()
        assert (solution.passes, solution.positions) == (len(seen), sum(seen))


# --- Soft Thinking --------------------------------------------------------------------
@pytest.fixture(scope="module")
def writer(model, rows):
    """The same weights as a model that writes chains as words."""
    slots = SlotModel.wrap(model.base).eval()
    pieces = ChainRows.of(slots, rows.rows.tokenizer, 256)
    return SlotSolver(slots, pieces, writes_chain=True, max_new_tokens=5)


def test_soft_thinking_with_one_token_is_greedy_decoding(model, rows, writer):
    soft = soft_thinking(writer, k=1, temperature=1.0, n_max=N_MAX)
    found = thoughts(soft.model.eval(), rows)
    table = model.get_input_embeddings().weight
    for i, question in enumerate(QUESTIONS):
        ids = torch.tensor([rows.asked(question).before])
        written = model.base.generate(
            ids, max_new_tokens=N_MAX, do_sample=False, eos_token_id=rows.end,
            pad_token_id=rows.end,
        )[0, ids.shape[1] :].tolist()  # fmt: skip
        written = written[: written.index(rows.end)] if rows.end in written else written
        assert found.n_latents[i] == len(written)
        assert torch.equal(found.written[i, : len(written)], table[written])


def test_soft_thinking_feeds_mixtures_of_the_same_weights(model, writer, rows):
    soft = soft_thinking(writer, 5, 0.8, N_MAX, ColdStop(0.01, 3))
    assert soft.model.base is model.base and soft.cold_stop.steps == 3
    found = thoughts(soft.model.eval(), rows)
    head, table = model.base.get_output_embeddings(), model.get_input_embeddings()
    top, ids = head(found.read[0, 0]).topk(5)
    wanted = (top / 0.8).softmax(-1) @ table(ids)
    n = found.n_latents[0]
    assert not n or torch.allclose(found.written[0, 0], wanted, atol=1e-4)
    with pytest.raises(ValueError, match="needs a method that writes its chain"):
        soft_thinking(SlotSolver(writer.model, writer.rows, 3), 5, 1.0, N_MAX)
