"""Laws of the controls: what is written is what was asked for, and nothing else."""

import pytest
import torch
from latent_models import lively, problem, rows_for, tiny_llama

from lrkit.latent.sim_cot import SimCotModel, read_steps
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import SlotSolver
from lrkit.study.latent_controls import (
    CHANGES,
    averaged,
    changed,
    controls,
    diversity,
    latents_of,
    nearest_words,
    of_another,
    readings,
    reversed_order,
    zeroed,
)

PROBLEMS = [problem(k, question=f"Question {k}, what is it?") for k in (1, 2, 3, 4)]
QUESTIONS = [p.question for p in PROBLEMS]


@pytest.fixture(scope="module")
def solver(chatml):
    model = lively(chatml)
    return SlotSolver(model, rows_for(model, chatml), 3, max_new_tokens=4)


@pytest.fixture
def written(solver, monkeypatch):
    """The latents of every forward pass with slots, as they were run over."""
    seen = []
    forward = SlotModel.forward

    def recording(self, *args, **kwargs):
        out = forward(self, *args, **kwargs)
        if out.latents is not None:
            seen.append(out.latents.detach().clone())
        return out

    monkeypatch.setattr(SlotModel, "forward", recording)
    return seen


def test_latents_are_replaced_all_at_once_by_those_of_the_first_run(solver, written):
    for change in (zeroed, reversed_order, of_another, averaged):
        written.clear()
        changed(solver, change).solve(QUESTIONS)
        plain, replaced = written
        assert torch.equal(replaced, change(plain)), change.__name__
        assert not torch.equal(replaced, plain)


def test_no_change_leaves_every_answer_as_it_was(solver):
    same = changed(solver, lambda latents: latents)
    assert [s.text for s in same.solve(QUESTIONS)] == [
        s.text for s in solver.solve(QUESTIONS)
    ]


def test_after_a_control_the_model_writes_its_own_latents_again(solver):
    before = [s.text for s in solver.solve(QUESTIONS)]
    changed(solver, zeroed).solve(QUESTIONS)
    assert [s.text for s in solver.solve(QUESTIONS)] == before


def test_what_each_change_gives():
    latents = torch.arange(12.0).view(2, 3, 2)
    assert not zeroed(latents).any()
    assert torch.equal(reversed_order(latents)[0], latents[0, [2, 1, 0]])
    assert torch.equal(of_another(latents), latents[[1, 0]])
    assert torch.equal(averaged(latents)[1], latents.mean(0))
    with pytest.raises(ValueError, match="no other question's latents"):
        of_another(latents[:1])


def test_methods_without_latents_have_none_to_change(solver):
    model, rows = solver.model, solver.rows
    for none in (
        SlotSolver(model, rows),
        SlotSolver(model, rows, 0),
        SlotSolver(model, rows, 3, pause=True),
    ):
        with pytest.raises(ValueError, match="no latents to change"):
            changed(none, zeroed)


def test_other_numbers_of_latents_are_tried_but_not_the_trained_one(solver):
    found = controls(solver, others=(0, 3, 5))
    assert list(found) == [*CHANGES, "0 latents", "5 latents"]
    assert found["5 latents"].solve(QUESTIONS[:1])[0].latent_steps == 5
    paused = SlotSolver(solver.model, solver.rows, 3, pause=True)
    assert list(controls(paused, (2,))) == ["2 latents"]


def test_latents_of_a_question_do_not_depend_on_its_batch(solver):
    together, read = latents_of(solver, QUESTIONS)
    alone = torch.cat([latents_of(solver, [q])[0] for q in QUESTIONS])
    assert together.shape == read.shape == (4, 3, 32)
    assert torch.allclose(together, alone, atol=1e-5)


def test_diversity_is_that_of_the_definition(solver):
    table = diversity(solver, PROBLEMS)
    latents, read = latents_of(solver, QUESTIONS)
    unit = torch.nn.functional.normalize(latents, dim=-1)
    slots = [unit[:, 0] @ unit[:, k].T for k in (1, 2)]
    expected = torch.stack([s.diagonal() for s in slots]).mean()
    assert table.loc[0, "cosine_slots"] == pytest.approx(expected.item(), abs=1e-5)
    pairs = [
        (unit[i, 1] @ unit[j, 1]).item() for i in range(4) for j in range(4) if i != j
    ]
    assert table.loc[1, "cosine_questions"] == pytest.approx(
        sum(pairs) / len(pairs), abs=1e-5
    )
    p = nearest_words(solver.model, read)[:, 2]
    entropy = -(p * p.clamp(min=1e-30).log()).sum(-1).mean()
    assert table.loc[2, "entropy"] == pytest.approx(entropy.item(), rel=1e-4)
    assert table.loc[2, "top1"] == pytest.approx(p.max(-1).values.mean().item())
    assert p.sum(-1).numpy() == pytest.approx(1, abs=1e-5)


def test_readings_are_what_the_step_decoder_writes_beside_the_steps(chatml):
    torch.manual_seed(0)
    model = SimCotModel.wrap(tiny_llama(len(chatml)), step_text="result").eval()
    with_decoder = SlotSolver(model, rows_for(model, chatml), 3, max_new_tokens=4)
    found = readings(with_decoder, PROBLEMS)
    assert found.groupby("id")["step"].max().tolist() == [1, 2, 3, 3], "3 latents"
    assert found["wanted"].tolist() == [str(k + 1) for n in (1, 2, 3, 3) for k in
                                        range(1, n + 1)]  # fmt: skip
    written, _ = latents_of(with_decoder, QUESTIONS)
    said = read_steps(model, written, with_decoder.rows)
    for (name, part), texts in zip(found.groupby("id"), said, strict=True):
        assert part["read"].tolist() == texts[: len(part)], name
    assert (found["correct"] == (found["wanted"] == found["read"])).all()


def test_without_a_step_decoder_nothing_is_read(solver):
    with pytest.raises(ValueError, match="no step decoder"):
        readings(solver, PROBLEMS)
