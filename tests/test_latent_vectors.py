"""Laws of the door to all latents, of their labels, and of controls on guidance."""

import functools

import numpy as np
import pytest
import torch
from latent_models import lively
from latent_sft_models import QUESTIONS as THOUGHTS
from latent_sft_models import undecided
from lgr_models import PROBLEMS, QUESTIONS, WIDE, K, solver, thinker

from lrkit.data.problems import problems
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.latent_sft_rows import ThoughtRows
from lrkit.latent.latent_sft_solver import SuperpositionSolver
from lrkit.latent.solvers import SlotSolver
from lrkit.study.guidance_controls import (
    GUIDANCE_CHANGES,
    SLOTS_ZEROED,
    changed_guidance,
    guidance_answers,
    random_of_the_same_norm,
    shuffled,
    slots_zeroed,
)
from lrkit.study.latent_controls import latents_of, of_another
from lrkit.study.latent_vectors import (
    Latents,
    latents_of_any,
    question_labels,
    question_states,
)


def test_latents_in_slots_are_those_of_the_controls(chatml):
    model = lively(chatml)
    codi = SlotSolver(model, ChainRows.of(model, chatml), 2, batch_size=2)
    found = latents_of_any(codi, QUESTIONS)
    written, read = latents_of(codi, QUESTIONS)
    assert np.allclose(found.vectors, written) and found.mask.all()
    assert torch.equal(found.states, read) and found.reader[0] is model


def test_guidance_is_looked_at_before_its_projection(chatml):
    both = solver(chatml)
    found = latents_of_any(both, QUESTIONS)
    alone = SlotSolver(both.thinker, both.thinker_rows, K)
    assert found.vectors.shape == (len(QUESTIONS), K, WIDE)
    other = latents_of_any(alone, QUESTIONS).vectors
    assert np.allclose(found.vectors, other, atol=1e-4)
    assert found.written.shape[-1] == 24 and found.writer[0] is both.model
    assert torch.allclose(found.written, both.model.projector(found.states), atol=1e-5)


def test_thoughts_of_unlike_lengths_have_a_mask(chatml):
    rows = ThoughtRows.of(chatml, 2, 256)
    model = undecided("llama", chatml, rows, 4)
    thinking = SuperpositionSolver(model, rows, 4, batch_size=5)
    found = latents_of_any(thinking, THOUGHTS)
    lengths = found.mask.sum(1)
    assert {0, 4} <= set(lengths.tolist())
    for i, question in enumerate(THOUGHTS):
        alone = latents_of_any(thinking, [question])
        own = alone.vectors[0][alone.mask[0]]
        assert np.allclose(found.vectors[i][found.mask[i]], own, atol=1e-4)
        mean = own.mean(0) if len(own) else 0
        assert np.allclose(found.mean()[i], mean, atol=1e-4)
    assert (found.slot(3)[lengths < 4] == 0).all()


def test_ways_to_one_vector_a_question():
    values = np.arange(12.0).reshape(2, 3, 2)
    mask = np.array([[True, True, True], [True, False, False]])
    found = Latents(values, mask)
    assert found.mean().tolist() == [[2, 3], [6, 7]]
    assert found.joined()[1].tolist() == [6, 7, 0, 0, 0, 0]
    assert found.slot(1).tolist() == [[2, 3], [0, 0]] and len(found) == 2


def test_what_has_no_latents_is_refused(chatml):
    model = lively(chatml)
    with pytest.raises(ValueError, match="no latents to look at"):
        latents_of_any(SlotSolver(model, ChainRows.of(model, chatml)), QUESTIONS)
    with pytest.raises(TypeError, match="latents of a str: register it"):
        latents_of_any("CODI", QUESTIONS)


@torch.no_grad()
def test_the_questions_own_state_is_its_last_and_knows_no_batch(chatml):
    model, rows = thinker(chatml)
    found = question_states(model, rows, QUESTIONS, batch_size=3).vectors
    for question, state in zip(QUESTIONS, found, strict=True):
        ids = torch.tensor([rows.question(question)])
        out = model.base(ids, output_hidden_states=True).hidden_states[-1][:, -1]
        assert np.allclose(state, out, atol=1e-4)


def test_labels_say_what_a_problem_is():
    words = problems("words", "test", 30)
    table = question_labels(words)
    assert set(table["strategy"]) <= {"owns", "inside", "people", "days"}
    for p, row in zip(words, table.to_dict("records"), strict=True):
        done = p.made_from["operations"]
        assert row["n_steps"] == str(len(done)) and row["answer"] == p.answer
        assert row["first"] == done[0][0] and row["last"] == done[-1][0]
        assert row["operators"] == "".join(sorted({op for op, _ in done}))
        assert row["surface"] == f"{p.made_from['start']}{done[0][0]}"
    clock = question_labels(problems("clock", "test", 9))
    assert (clock["strategy"] == clock["operators"]).all()


# --- controls -------------------------------------------------------------------------
def test_changes_of_guidance_do_what_they_say():
    guidance = torch.randn(40, 5, 6, generator=torch.manual_seed(7))
    mixed = shuffled(guidance)
    kept = (mixed == guidance).all(-1).all(-1)
    assert not kept.any(), "no question has its own order"
    assert torch.equal(mixed.sort(1).values, guidance.sort(1).values)
    noise = random_of_the_same_norm(guidance)
    assert torch.allclose(noise.norm(dim=-1), guidance.norm(dim=-1), rtol=1e-5)
    cosines = torch.nn.functional.cosine_similarity(noise, guidance, dim=-1)
    assert cosines.mean().abs() < 0.1 and cosines.abs().max() < 1
    for change in (shuffled, random_of_the_same_norm):
        assert torch.equal(change(guidance), change(guidance))
        assert not torch.equal(change(guidance), change(guidance, seed=1))
    assert torch.equal(shuffled(guidance[:, :1]), guidance[:, :1])
    for change in GUIDANCE_CHANGES.values():
        assert change(guidance).shape == guidance.shape


def test_every_control_answers_and_the_own_guidance_is_the_solvers(chatml):
    both = solver(chatml)
    rows = guidance_answers(both, PROBLEMS)
    assert set(rows["control"]) == {"own", SLOTS_ZEROED, *GUIDANCE_CHANGES}
    assert rows["control"].value_counts().eq(len(PROBLEMS)).all()
    own = rows[rows["control"] == "own"]["answer"].tolist()
    assert own == [s.answer for s in both.solve(QUESTIONS)]
    other = changed_guidance(both, [*QUESTIONS, QUESTIONS[0]], of_another)
    assert torch.equal(other.guidance(QUESTIONS[1:2])[0], both.guidance(QUESTIONS)[0])


def test_zeroed_slots_hold_zeros_and_zeroed_guidance_a_constant(chatml, monkeypatch):
    both, seen = solver(chatml), []
    forward = type(both.model).forward

    @functools.wraps(forward)  # `generate` looks at the signature
    def recording(self, *args, **kwargs):
        out = forward(self, *args, **kwargs)
        if out.latents is not None:
            seen.append(out.latents)
        return out

    monkeypatch.setattr(type(both.model), "forward", recording)
    slots_zeroed(both).solve(QUESTIONS[:2])
    assert not seen[-1].any()
    changed_guidance(both, QUESTIONS, torch.zeros_like).solve(QUESTIONS[:2])
    assert torch.allclose(seen[-1], seen[-1][:1, :1]) and seen[-1].any()
