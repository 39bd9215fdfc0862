"""Laws of the controls of thoughts of unlike lengths."""

import pytest
import torch
from latent_sft_models import QUESTIONS, undecided

from lrkit.latent import latent_sft_solver
from lrkit.latent.latent_sft_rows import ThoughtRows
from lrkit.latent.latent_sft_solver import SuperpositionSolver
from lrkit.study import thought_controls
from lrkit.study.thought_controls import (
    THOUGHT_CHANGES,
    averaged,
    changed,
    of_another,
    reversed_order,
    zeroed,
)

N_MAX = 5
LENGTHS = (3, 0, 1, 5)


def some():
    """Thoughts that tell who thought them and where."""
    return [
        torch.tensor([[10.0 * i + k] for k in range(n)]).reshape(n, 1)
        for i, n in enumerate(LENGTHS)
    ]


def values(thoughts):
    return [own.flatten().tolist() for own in thoughts]


# --- the changes ----------------------------------------------------------------------
def test_zeros_and_the_reverse_keep_every_thought_to_its_row():
    assert values(zeroed(some())) == [[0.0] * n for n in LENGTHS]
    assert values(reversed_order(some())) == [
        [2, 1, 0], [], [20], [34, 33, 32, 31, 30]
    ]  # fmt: skip


def test_another_thought_is_begun_again_where_it_is_shorter():
    assert values(of_another(some())) == [
        [20, 20, 20], [], [30], [0, 1, 2, 0, 1]
    ]  # fmt: skip
    for few in ([some()[0]], [some()[0], some()[1]]):
        with pytest.raises(ValueError, match="give two questions or more"):
            of_another(few)


def test_the_mean_is_over_the_thoughts_that_are_so_long():
    first, second, third = (0 + 20 + 30) / 3, (1 + 31) / 2, (2 + 32) / 2
    assert values(averaged(some())) == [
        [pytest.approx(v) for v in row]
        for row in (
            [first, second, third], [], [first], [first, second, third, 33, 34]
        )
    ]  # fmt: skip


@pytest.mark.parametrize("name", THOUGHT_CHANGES)
def test_no_change_changes_a_length_or_its_argument(name):
    before = some()
    after = THOUGHT_CHANGES[name](before)
    assert [len(own) for own in after] == list(LENGTHS)
    assert values(before) == values(some())


# --- the solver -----------------------------------------------------------------------
@pytest.fixture(scope="module")
def solver(chatml):
    rows = ThoughtRows.of(chatml, 2, 256)
    model = undecided("llama", chatml, rows, N_MAX)
    return SuperpositionSolver(model, rows, N_MAX, max_new_tokens=4)


def test_thoughts_that_stay_as_they_are_leave_every_answer(solver):
    same = changed(solver, lambda thoughts: thoughts)
    ours, theirs = (s.solve(QUESTIONS) for s in (same, solver))
    assert [s.text for s in ours] == [s.text for s in theirs]
    assert [s.latent_steps for s in ours] == [s.latent_steps for s in theirs]


@pytest.mark.parametrize("name", THOUGHT_CHANGES)
def test_a_thought_is_replaced_as_a_whole_by_the_change_of_the_own_one(
    solver, name, monkeypatch
):
    seen = []
    given = latent_sft_solver.given_thoughts

    def recording(*args, **kwargs):
        seen.append(kwargs["latents"])
        return given(*args, **kwargs)

    monkeypatch.setattr(thought_controls, "given_thoughts", recording)
    asked = [solver.asked(q) for q in QUESTIONS]
    own = solver.thoughts(asked)
    latents = [part[:n] for part, n in zip(own.written, own.n_latents, strict=True)]
    found = changed(solver, THOUGHT_CHANGES[name]).thoughts(asked)
    (replaced,) = seen
    for ours, wanted in zip(replaced, THOUGHT_CHANGES[name](latents), strict=True):
        assert torch.allclose(ours, wanted, atol=1e-5)
    assert found.n_latents == own.n_latents
    assert torch.allclose(found.read, own.read, atol=1e-5), "of the own thought"


def test_answers_hang_on_their_thoughts_and_on_nothing_where_there_is_none(solver):
    plain = solver.solve(QUESTIONS)
    other = changed(solver, zeroed).solve(QUESTIONS)
    differs = [a.text != b.text for a, b in zip(plain, other, strict=True)]
    assert any(differs)
    for solution, moved in zip(plain, differs, strict=True):
        assert solution.latent_steps or not moved
