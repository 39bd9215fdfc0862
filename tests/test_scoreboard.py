"""Laws of the scoreboard."""

import numpy as np
import pandas as pd
import pytest
from latent_models import problem

from lrkit.latent.solvers import Solution
from lrkit.study.scoreboard import (
    COSTS,
    differences,
    evaluate,
    matrix,
    same_answer,
    scoreboard,
)

PROBLEMS = [problem(k) for k in (1, 2, 3, 4)]


class Oracle:
    """Answers from a table."""

    def __init__(self, answers, tokens=2, latents=0):
        self.answers, self.tokens, self.latents = answers, tokens, latents

    def solve(self, questions):
        cost = (self.tokens, self.latents, self.tokens, 10, 1e3, 0.5)
        return [
            Solution(a, a, *cost) for a, _ in zip(self.answers, questions, strict=False)
        ]


RIGHT = [p.answer for p in PROBLEMS]


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("7", "7", True), ("007", "7", True), ("7.0", "7", True), (" 7.", "7", True),
        ("1,000", "1000", True), ("-7", "7", False), ("", "7", False),
        ("seven", "7", False),
        ("Yes", "yes", True), ("7 8", "78", False),
    ],
)  # fmt: skip
def test_numbers_are_compared_as_numbers(a, b, same):
    assert same_answer(a, b) is same


def test_a_row_says_of_a_question_what_was_answered_and_what_it_cost():
    rows = evaluate(Oracle(["2", "x", "4", ""]), PROBLEMS)
    assert rows["correct"].tolist() == [True, False, True, False]
    assert rows["id"].tolist() == [p.id for p in PROBLEMS]
    assert rows["n_steps"].tolist() == [1, 2, 3, 4]
    assert set(COSTS) < set(rows.columns) and (rows["seconds"] == 0.5).all()


def test_a_solver_that_leaves_questions_out_is_refused():
    with pytest.raises(ValueError, match="gave 2 answers to 4 questions"):
        evaluate(Oracle(["1", "2"]), PROBLEMS)
    with pytest.raises(ValueError, match="no problems"):
        evaluate(Oracle([]), [])


def runs(share, seeds=3, n=300, noise=0, **cost):
    rng = np.random.default_rng(noise)
    many = [PROBLEMS[0]] * n
    parts = []
    for seed in range(seeds):
        answers = np.where(rng.random(n) < share, RIGHT[0], "0")
        part = evaluate(Oracle(answers.tolist(), **cost), many)
        parts.append(part.assign(seed=seed, id=[f"q{i}" for i in range(n)]))
    return pd.concat(parts, ignore_index=True)


def test_the_board_gives_accuracy_costs_and_compression():
    methods = {"CoT": runs(0.95, tokens=30), "latent": runs(0.9, tokens=4, latents=6)}
    board = scoreboard(methods, "CoT")
    assert board.loc["CoT", "runs"] == 3 and board.loc["CoT", "n"] == 300
    assert board.loc["CoT", "compression"] == 1
    assert board.loc["latent", "compression"] == 3
    right = methods["latent"]["correct"].mean()
    assert board.loc["latent", "accuracy"] == pytest.approx(right)
    assert board.loc["latent", "low"] < right < board.loc["latent", "high"]
    with pytest.raises(
        ValueError, match="'magic' is no method of the table: CoT, latent"
    ):
        scoreboard(methods, "magic")


def test_differences_are_paired_and_say_how_many_questions_they_would_take():
    methods = {
        "a": runs(0.9, noise=1),
        "b": runs(0.5, noise=2),
        "again": runs(0.9, noise=1),
    }
    table = differences(methods, ["b", "a"])
    assert ("a", "a") not in table.index
    gain = table.loc[("a", "b")]
    assert gain["low"] < gain["difference"] < gain["high"] and gain["low"] > 0.2
    assert table.loc[("again", "a"), "difference"] == 0
    assert gain["questions_for_2_points"] > 1000


def test_runs_over_different_questions_are_refused():
    rows = runs(0.5, seeds=2, n=4)
    assert matrix(rows).shape == (2, 4)
    with pytest.raises(ValueError, match="answered different questions"):
        matrix(rows.drop(index=0))
