"""The solver and its controls: answers, latents, passes and FLOPs as computed again."""

import pytest
import torch
from lrt_models import PROBLEMS, QUESTIONS, llama, loud

from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.layout import SlotRow, collate
from lrkit.latent.lrt import LrtModel, SoftPromptModel
from lrkit.latent.slots import SLOT
from lrkit.latent.solvers import SlotSolver
from lrkit.study.latent_controls import changed, diversity, of_another, zeroed


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
