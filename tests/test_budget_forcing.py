"""Laws of bounded chains, and of answers that are drawn."""

import itertools
from dataclasses import fields, replace
from math import comb

import numpy as np
import pytest
import torch
from latent_models import lively, problem, rows_for

from lrkit.latent.budget_forcing import BudgetSolver, ClosedInTime
from lrkit.latent.chain_rows import CUE
from lrkit.latent.sampling import SamplingSolver
from lrkit.latent.solvers import SlotSolver
from lrkit.study.pass_at_k import pass_at_k, samples, table

PROBLEMS = [problem(k, question=f"Question {k}, what is it?" + " Well?" * k)
            for k in (1, 2, 3, 4)]  # fmt: skip
QUESTIONS = [p.question for p in PROBLEMS]


@pytest.fixture(scope="module")
def model(chatml):
    return lively(chatml)


@pytest.fixture(scope="module")
def rows(model, chatml):
    return rows_for(model, chatml)


def bounded(model, rows, budget, answer=5):
    n = budget + len(rows.cue()) + answer
    return BudgetSolver(model, rows, writes_chain=True, max_new_tokens=n, budget=budget)


# --- budgets --------------------------------------------------------------------------
@pytest.mark.parametrize("budget", [0, 1, 7])
def test_a_chain_is_closed_at_its_budget_and_what_stands_before_it_is_the_models_own(
    budget, model, rows
):
    plain = SlotSolver(model, rows, writes_chain=True, max_new_tokens=budget or 1)
    own = [s.text for s in plain.solve(QUESTIONS)]
    for question, text, found in zip(
        QUESTIONS, own, bounded(model, rows, budget).solve(QUESTIONS), strict=True
    ):
        chain, cue, answer = found.text.partition(CUE)
        assert cue == CUE and found.answer == answer.strip(), question
        assert chain == (text if budget else "")
        assert found.text_tokens <= budget + len(rows.cue()) + 5


def test_no_budget_is_no_thinking(model, rows):
    given = SlotSolver(model, rows, max_new_tokens=5).solve(QUESTIONS)
    forced = bounded(model, rows, 0).solve(QUESTIONS)
    assert [s.answer for s in forced] == [s.answer for s in given]


def test_a_budget_that_is_not_used_up_changes_nothing(model, rows, chatml):
    """Scores of a model that writes chain, cue, answer and end by itself."""
    cue, end = rows.cue(), chatml.eos_token_id
    said = [*rows.encode("( 2 6 )"), *cue, *rows.encode(" 6"), end]
    forcing = ClosedInTime(cue, 40, 3, end)
    for n in range(len(said)):
        scores = torch.zeros(1, len(chatml))
        scores[0, said[n]] = 5.0
        ids = torch.tensor([[7, 8, 9, *said[:n]]])
        assert forcing(ids, scores).argmax() == said[n]


def test_a_cue_that_was_begun_is_finished_and_not_begun_again(rows, chatml):
    cue, end = rows.cue(), chatml.eos_token_id
    chain = rows.encode("( 2 6 )")
    for begun in range(len(cue)):
        budget = len(chain) + begun
        forcing, written = ClosedInTime(cue, budget, 1, end), [*chain, *cue[:begun]]
        for k in range(1, len(written)):
            forcing(torch.tensor([[9, *written[:k]]]), torch.zeros(1, len(chatml)))
        while len(written) < len(chain) + len(cue):
            ids = torch.tensor([[9, *written]])
            scores = forcing(ids, torch.randn(1, len(chatml)))
            written.append(int(scores.argmax()))
        assert written == [*chain, *cue]
        free = torch.randn(1, len(chatml))
        assert torch.equal(forcing(torch.tensor([[9, *written]]), free), free)


def test_no_row_ends_without_a_cue_and_each_is_forced_for_itself(rows, chatml):
    cue, end = rows.cue(), chatml.eos_token_id
    closed = [*cue, 5, 5, 5, 5]
    opened = [4] * len(closed)
    forcing = ClosedInTime(cue, 6, 0, end)
    for k in range(1, len(closed) + 1):
        ids = torch.tensor([closed[:k], opened[:k]])
        scores = forcing(ids, torch.zeros(2, len(chatml)))
        assert (scores[0, end] == 0) == (k >= len(cue)), "free behind its cue"
        assert scores[1, end] == -torch.inf
        if k >= 6:
            assert scores[1].argmax() == cue[0] and scores[0, cue[0]] == 0


def test_budgets_that_cannot_be_are_refused(model, rows):
    with pytest.raises(ValueError, match="set writes_chain"):
        BudgetSolver(model, rows, budget=3)
    with pytest.raises(ValueError, match="raise it, for the answer"):
        BudgetSolver(model, rows, writes_chain=True, max_new_tokens=9, budget=9)
    with pytest.raises(ValueError, match="-1 tokens cannot be"):
        ClosedInTime([1], -1, 0, 2)


# --- samples --------------------------------------------------------------------------
def drawn(model, rows, **options):
    return SamplingSolver(model, rows, 2, max_new_tokens=5, **options)


def test_the_random_seed_decides_what_is_drawn_and_nobody_else_notices(model, rows):
    hot = drawn(model, rows, temperature=5.0)
    torch.manual_seed(4)
    first = [s.text for s in hot.solve(QUESTIONS)]
    after = torch.rand(1)
    assert [s.text for s in hot.solve(QUESTIONS)] == first
    assert [s.text for s in replace(hot, seed=1).solve(QUESTIONS)] != first
    torch.manual_seed(4)
    assert torch.equal(torch.rand(1), after)


def test_with_next_to_no_temperature_the_likeliest_is_drawn(model, rows):
    greedy = SlotSolver(model, rows, 2, max_new_tokens=5)
    cold = drawn(model, rows, temperature=1e-4, top_p=1.0)
    assert [s.text for s in cold.solve(QUESTIONS)] == [
        s.text for s in greedy.solve(QUESTIONS)
    ]
    for bad in ({"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.1}):
        with pytest.raises(ValueError, match="must be above 0 and top_p between"):
            drawn(model, rows, **bad)


def test_pass_at_k_is_the_share_of_choices_that_hold_a_right_one():
    rng = np.random.default_rng(0)
    for n in (1, 3, 6):
        correct = rng.random((20, n)) < 0.3
        for k in range(1, n + 1):
            found = pass_at_k(correct, k)
            for row, value in zip(correct, found, strict=True):
                choices = list(itertools.combinations(row, k))
                assert value == pytest.approx(np.mean([any(c) for c in choices]))
    whole = np.zeros((1, 200), bool)
    whole[0, :10] = True
    expected = 1 - comb(190, 50) / comb(200, 50)
    assert pass_at_k(whole, 50)[0] == pytest.approx(expected)


def test_pass_at_k_has_the_right_mean_and_the_usual_formula_has_not():
    """Unbiased over draws of n = 5 for any chance of being right."""
    p, k, n = 0.2, 3, 5
    correct = np.random.default_rng(1).random((40_000, n)) < p
    truth = 1 - (1 - p) ** k
    naive = 1 - (1 - correct.mean(1)) ** k
    assert pass_at_k(correct, k).mean() == pytest.approx(truth, abs=0.006)
    assert naive.mean() < truth - 0.03


def test_more_samples_never_lower_it_and_too_few_are_refused():
    correct = np.array([[True, False, False], [False] * 3, [True] * 3])
    values = np.stack([pass_at_k(correct, k) for k in (1, 2, 3)])
    assert (np.diff(values, axis=0) >= 0).all()
    assert values[0].tolist() == pytest.approx([1 / 3, 0, 1])
    for k in (0, 4):
        with pytest.raises(ValueError, match="samples a question or more, got 3"):
            pass_at_k(correct, k)


def test_every_sample_of_a_question_is_a_row_and_has_its_own_seed(model, rows):
    hot = drawn(model, rows, temperature=3.0, seed=5)
    found = samples(hot, PROBLEMS, 3)
    numbers = [k for k in range(3) for _ in PROBLEMS]
    assert found["sample"].tolist() == numbers
    second = [s.answer for s in replace(hot, seed=6).solve(QUESTIONS)]
    assert found[found["sample"] == 1]["answer"].tolist() == second
    shown = table(found.assign(correct=found["sample"] == 1), (1, 3))
    assert shown["value"].tolist() == pytest.approx([1 / 3, 1])
    assert shown["samples"].tolist() == [3, 3] and shown["n"].tolist() == [4, 4]
    assert {f.name for f in fields(SlotSolver)} < {f.name for f in fields(hot)}
