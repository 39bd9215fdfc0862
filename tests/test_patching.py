"""Laws of patches: what is written where, what follows, and a case that was planted."""

from dataclasses import replace

import pytest
import torch
from latent_models import lively, problem, tiny_llama
from lgr_models import QUESTIONS, WIDE, K, solver, thinker

from lrkit.data.problems import TASKS, Problem, problems
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.lgr_executor import ExecutorCollator, ExecutorModel, ExecutorRow
from lrkit.latent.lgr_guidance import thinker_digest
from lrkit.latent.lgr_solver import LgrSolver, with_guidance
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import SlotSolver
from lrkit.study.guidance_controls import changed_guidance
from lrkit.study.latent_controls import of_another, zeroed
from lrkit.study.microscope import microscope
from lrkit.study.patching import patch_table, patched, swapped_answer, written_of


@pytest.fixture(scope="module")
def sequential(chatml):
    model = lively(chatml)
    return SlotSolver(
        model, ChainRows.of(model, chatml, 256), 4, batch_size=3, max_new_tokens=4
    )


def seen_by(solver, monkeypatch, do):
    """[questions, slots, width]: what was in the slots while answers were written."""
    seen, forward = [], type(solver.model).forward

    def recording(self, *args, **kwargs):
        out = forward(self, *args, **kwargs)
        if out.latents is not None:
            seen.append(out.latents.clone())
        return out

    with monkeypatch.context() as patch:
        patch.setattr(type(solver.model), "forward", recording)
        do()
    return seen


@pytest.mark.parametrize("later", ["recomputed", "kept"])
@torch.no_grad()
def test_what_stands_in_the_slots_of_a_patched_question(sequential, monkeypatch, later):
    questions = QUESTIONS[:3]
    own = written_of(sequential, questions)
    given = 3 * torch.randn(3, 1, own.shape[-1], generator=torch.manual_seed(0))
    *_, seen = seen_by(
        sequential,
        monkeypatch,
        lambda: patched(sequential, questions, given, [1], later),
    )
    assert torch.allclose(seen[:, 0], own[:, 0], atol=1e-5)
    assert torch.equal(seen[:, 1], given[:, 0])
    if later == "kept":
        assert torch.equal(seen[:, 2:], own[:, 2:])
        return
    assert ((seen[:, 2:] - own[:, 2:]).abs().amax(-1) > 1e-3).all()
    model = sequential.model
    for i, question in enumerate(questions):  # the third latent, from what stands there
        before = torch.tensor([sequential.asked(question).before])
        vectors = torch.cat([model.embed(before), seen[i : i + 1, :2]], 1)
        out = model.base(inputs_embeds=vectors, output_hidden_states=True)
        state = out.hidden_states[-1][:, -1]
        assert torch.allclose(model.map(state)[0], seen[i, 2], atol=1e-4)


def test_a_patch_with_the_own_latents_changes_nothing(sequential):
    own = written_of(sequential, QUESTIONS)
    plain = [s.text for s in sequential.solve(QUESTIONS)]
    for later in ("recomputed", "kept"):
        for slots in ([0], [2, 3], range(4)):
            found = patched(sequential, QUESTIONS, own[:, list(slots)], slots, later)
            assert [s.text for s in found] == plain
    assert len(set(plain)) > 1


def test_given_latents_have_no_later_ones_to_recompute(chatml):
    both = solver(chatml)
    theirs = written_of(both, QUESTIONS[::-1])
    a, b = (
        [s.text for s in patched(both, QUESTIONS, theirs[:, [0]], [0], later)]
        for later in ("recomputed", "kept")
    )
    assert a == b
    whole = patched(both, QUESTIONS, theirs, range(K))
    swapped = with_guidance(both, QUESTIONS, both.guidance(QUESTIONS[::-1]))
    assert [s.text for s in whole] == [s.text for s in swapped.solve(QUESTIONS)]


def test_what_cannot_be_patched_is_refused(sequential, chatml):
    own = written_of(sequential, QUESTIONS[:1])
    with pytest.raises(ValueError, match="recomputed or kept, not 'both'"):
        patched(sequential, QUESTIONS[:1], own[:, :1], [0], "both")
    with pytest.raises(ValueError, match=r"slots \[4\] are not all among 4"):
        patched(sequential, QUESTIONS[:1], own[:, :1], [4])
    model, rows = thinker(chatml)
    for bad in (replace(sequential, n_latents=0), SlotSolver(model, rows, K)):
        with pytest.raises(ValueError, match="writes no latents"):
            written_of(bad, QUESTIONS)
    with pytest.raises(TypeError, match="slots of a object cannot be patched"):
        written_of(object(), QUESTIONS)
    with pytest.raises(ValueError, match="no pairs"):
        patch_table(sequential, [], [0])


# --- a planted case -------------------------------------------------------------------
DIGITS = 8


def told(digit, noise):
    """Guidance of a question: the first vector is the digit, the others are nothing."""
    vectors = torch.randn(K, WIDE, generator=noise)
    vectors[0] = 0
    vectors[0, digit] = 4.0
    return vectors


def case(digit, number=0):
    p = problem(1, str(digit), f"What was said in case {number}?")
    return replace(p, steps=())


@pytest.fixture(scope="module")
def planted(chatml):
    """(a solver whose answer is told by slot 0 alone, problems with their digits)."""
    model, rows = thinker(chatml)
    torch.manual_seed(0)
    small = ExecutorModel.wrap(
        tiny_llama(len(chatml), 32), thinker_width=WIDE, n_latents=K, inner=64,
        dropout=0.0, thinker=thinker_digest(model, rows),
    )  # fmt: skip
    small_rows, noise = ChainRows.of(small, chatml, 256), torch.manual_seed(1)
    collate = ExecutorCollator.of(small)
    optimizer = torch.optim.AdamW(small.parameters(), 1e-2, weight_decay=0.0)
    for step in range(80):
        made = [
            ExecutorRow(small_rows.latent(case(d, step), K), told(d, noise))
            for d in (*range(DIGITS), *range(DIGITS))
        ]
        loss = small.train()(**collate(made)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    both = LgrSolver(model, rows, small.eval(), small_rows, max_new_tokens=8)
    some = [case(k % DIGITS, 100 + k) for k in range(2 * DIGITS)]
    some = [replace(p, id=f"case {k}") for k, p in enumerate(some)]
    vectors = torch.stack([told(int(p.answer), noise) for p in some])
    return with_guidance(both, [p.question for p in some], vectors), some


def test_the_answer_follows_the_slot_that_tells_it_and_no_other(planted):
    both, some = planted
    said = both.solve([p.question for p in some])
    assert [s.answer for s in said] == [p.answer for p in some]
    pairs = list(zip(some, [*some[3:], *some[:3]], strict=True))
    table = patch_table(both, pairs, range(K), expected=None)
    by = table.groupby(["patch", "slot"])
    follows, stays = by["follows"].mean(), by["stays"].mean()
    assert follows["donor", 0] == 1 and stays["donor", 0] == 0
    assert (follows["donor"][1:] == 0).all() and (stays["donor"][1:] == 1).all()
    assert follows["random", 0] < 0.4
    assert table["moves"].isna().all() and set(table["later"]) == {"recomputed"}


def test_changed_guidance_is_that_of_the_list_and_not_of_the_batch(planted):
    both, some = planted
    questions = [p.question for p in some]
    other = changed_guidance(both, questions, of_another)
    wanted = [some[-1].answer, *(p.answer for p in some[:-1])]
    for size in (1, 5, 128):
        found = replace(other, batch_size=size).solve(questions)
        assert [s.answer for s in found] == wanted
    nothing = changed_guidance(both, questions, zeroed).solve(questions)
    right = [s.answer == p.answer for s, p in zip(nothing, some, strict=True)]
    assert sum(right) < len(some) / 2


def test_the_microscope_patches_what_it_shows(planted, sequential):
    both, some = planted
    a, b = some[1], some[2]
    look = microscope(both, a.question, b.question, slot=0, top=2)
    assert look.before.answer == a.answer and look.after.answer == b.answer
    kept = microscope(both, a.question, b.question, slot=1)
    assert kept.after.answer == a.answer
    whole = microscope(both, a.question, b.question)
    assert whole.after.answer == b.answer and "all latents" in whole.patch
    assert len(look.slots) == K and (look.slots["says"] != "").all()
    assert f"answer: {a.answer}" in str(look) and "latent 0 of the other" in str(look)
    plain = microscope(sequential, QUESTIONS[0])
    assert plain.after is None and len(plain.slots) == 4 and str(plain)


def test_the_microscope_reads_what_was_put_there(chatml):
    """A slot that holds the embedding of a word is nearest to that word."""
    model = SlotModel.wrap(tiny_llama(len(chatml))).eval()
    rows = ChainRows.of(model, chatml, 256)
    solver = SlotSolver(model, rows, 2, max_new_tokens=2)
    table = model.get_input_embeddings().weight
    ids = [rows.encode(" answer")[0], rows.encode(" is")[0]]
    with model.writing(lambda _, which: 3 * table[ids][None, which].detach()):
        look = microscope(solver, QUESTIONS[0], top=1)
    assert [said.split()[0] for said in look.slots["near"]] == ["answer", "is"]
    assert look.slots["near"].str.endswith("1.00").all()
    wanted = 3 * table[ids].detach().norm(dim=-1)
    assert torch.allclose(torch.tensor(look.slots["length"]), wanted, rtol=1e-4)


# --- what a patched step should come to -----------------------------------------------
def made(task, start, *operations):
    about = {"n_hours": 10, "start": start, "operations": list(operations)}
    return Problem("p", "?", TASKS[task].steps(about), "0", task, "test", about)


def test_the_answer_of_a_patched_step_by_hand():
    a = made("clock", 1, ["+", 2], ["*", 3], ["-", 4])  # 3, 9, 5
    b = made("clock", 7, ["+", 1], ["*", 7])  # 8, 6
    assert swapped_answer(a, b, 0) == "0"  # 8 * 3 - 4 = 20
    assert swapped_answer(a, b, 1) == "2"  # 6 - 4
    assert swapped_answer(b, a, 1) == "9", "it is the last step"
    assert swapped_answer(a, b, 2) is None, "the donor has no third step"
    c = made("words", 20, ["-", 8], ["/", 3])  # 12, 4
    d = made("words", 5, ["*", 3], ["+", 1])  # 15, 16
    assert swapped_answer(c, d, 0) == "5"
    assert swapped_answer(c, made("words", 5, ["+", 2]), 0) is None, "7 / 3"
    e = made("words", 9, ["+", 1], ["-", 9])  # 10, 1
    assert swapped_answer(e, made("words", 9, ["-", 3]), 0) is None, "6 - 9"


@pytest.mark.parametrize("task", ["clock", "words"])
def test_a_step_of_its_own_comes_to_its_own_answer(task):
    for p in problems(task, "validation", 40):
        for k in range(p.n_steps):
            assert swapped_answer(p, p, k) == p.answer
