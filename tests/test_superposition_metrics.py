"""Laws of what is measured on latents: known values, and degenerate cases."""

import math

import numpy as np
import pytest

from lrkit.study.superposition_metrics import compression_ratio, ecr_at_k, sharpness

VOCABULARY = 20


def on(*tokens, rest=0.0):
    """A distribution on some tokens, the first of them the likeliest."""
    p = np.full(VOCABULARY, rest / VOCABULARY)
    for rank, token in enumerate(tokens):
        p[token] += (1 - rest) * (len(tokens) - rank)
    return p / p.sum()


# --- effective compression rate -------------------------------------------------------
def test_a_latent_carries_the_tokens_that_are_among_its_likeliest():
    given = [on(1, 2, 3, rest=0.1), on(4, 5, 6, rest=0.1), on(7, 8, 9, rest=0.1)]
    chunks = [[1, 2], [4, 9], [11, 12]]
    found = ecr_at_k(given, chunks, ["a", "a", "b"], k=3)
    assert found["found"].tolist() == [2, 1, 0]
    assert found["found"].mean() == pytest.approx(1.0)
    assert ecr_at_k(given, chunks, ["a", "a", "b"], k=1)["found"].tolist() == [1, 1, 0]
    everything = ecr_at_k(given, chunks, ["a", "a", "b"], k=VOCABULARY)
    assert (everything["found"] == everything["distinct"]).all()
    assert (everything["chance"] == everything["distinct"]).all(), "it says nothing"


def test_the_rate_never_exceeds_the_tokens_of_a_chunk_and_grows_with_k():
    rng = np.random.default_rng(0)
    given = rng.dirichlet(np.ones(VOCABULARY), 30)
    chunks = [rng.integers(0, VOCABULARY, 4).tolist() for _ in range(30)]
    questions = [i // 3 for i in range(30)]
    rates = [ecr_at_k(given, chunks, questions, k) for k in range(1, VOCABULARY + 1)]
    for rows in rates:
        assert (rows["found"] <= rows["distinct"]).all()
        assert (rows["distinct"] <= 4).all()
    means = [rows["found"].mean() for rows in rates]
    assert means == sorted(means)


def test_a_token_that_comes_twice_is_one_token():
    (row,) = ecr_at_k([on(3)], [[3, 3, 3]], ["a"], 5).to_dict("records")
    assert (row["found"], row["distinct"]) == (1, 1)


def test_tokens_of_probability_nothing_are_no_candidates():
    (row,) = ecr_at_k([on(3, 4)], [[0, 1, 3]], ["a"], k=10).to_dict("records")
    assert row["found"] == 1
    assert row["chance"] == pytest.approx(3 * 2 / VOCABULARY)


def test_chance_is_what_drawing_tokens_at_random_comes_to():
    rng = np.random.default_rng(0)
    n, k = 4000, 5
    given = rng.random((n, VOCABULARY))
    given /= given.sum(1, keepdims=True)
    rows = ecr_at_k(given, [[0, 1, 2]] * n, list(range(n)), k)
    assert rows["chance"].iloc[0] == 3 * k / VOCABULARY
    assert rows["found"].mean() == pytest.approx(rows["chance"].mean(), abs=0.05)
    assert rows["shuffled"].mean() == pytest.approx(rows["found"].mean(), abs=0.05)


def test_shuffled_is_the_mean_over_latents_of_all_other_questions():
    rng = np.random.default_rng(1)
    given = rng.dirichlet(np.ones(VOCABULARY) / 3, 7)
    chunks = [rng.integers(0, VOCABULARY, 3).tolist() for _ in range(7)]
    questions = ["a", "a", "b", "c", "c", "c", "b"]
    rows = ecr_at_k(given, chunks, questions, k=4)
    for i, row in rows.iterrows():
        tried = [
            ecr_at_k(given[[j]], [chunks[i]], ["x"], 4)["found"].iloc[0]
            for j in range(7)
            if questions[j] != questions[i]
        ]
        assert row["shuffled"] == pytest.approx(np.mean(tried))


def test_latents_that_all_know_the_same_are_no_better_than_shuffled_ones():
    rows = ecr_at_k([on(1, 2)] * 4, [[1, 2]] * 4, [0, 1, 2, 3], k=2)
    assert (rows["found"] == 2).all() and (rows["shuffled"] == 2).all()
    assert (rows["chance"] < 1).all()


def test_without_another_question_or_without_latents_nothing_is_invented():
    assert ecr_at_k([on(1)] * 2, [[1]] * 2, ["a", "a"], 1)["shuffled"].isna().all()
    assert ecr_at_k(np.zeros((0, VOCABULARY)), [], [], 3).empty


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="a distribution, a chunk and a question"):
        ecr_at_k([on(1)], [[1], [2]], ["a"])
    with pytest.raises(ValueError, match="K counts the likeliest tokens"):
        ecr_at_k([on(1)], [[1]], ["a"], k=0)


# --- how sharp a latent is ------------------------------------------------------------
def test_entropy_counts_the_even_tokens_of_a_latent():
    for n in (1, 2, 5, VOCABULARY):
        even = np.zeros((1, VOCABULARY))
        even[0, :n] = 1 / n
        (row,) = sharpness(even).to_dict("records")
        assert row["entropy"] == pytest.approx(math.log(n), abs=1e-9)
        assert row["effective"] == pytest.approx(n)
        assert row["top1"] == pytest.approx(1 / n)
        assert row["top2"] == pytest.approx(1 / n if n > 1 else 0)


def test_a_mixture_of_one_token_has_no_second_one():
    (row,) = sharpness([[1.0]]).to_dict("records")
    assert (row["entropy"], row["top1"], row["top2"]) == (0, 1, 0)


@pytest.mark.parametrize("wrong", [[[0.5, 0.2]], [[1.5, -0.5]], [0.5, 0.5]])
def test_what_is_no_distribution_is_refused(wrong):
    with pytest.raises(ValueError, match="each row with the sum 1"):
        sharpness(wrong)


# --- compression ----------------------------------------------------------------------
def test_the_ratio_is_that_of_the_sums():
    assert compression_ratio([14, 7, 21], [7, 4, 10]) == 2.0
    assert compression_ratio([4, 4], [0, 2]) == 4.0
    with pytest.raises(ValueError, match="nothing replaces the chains"):
        compression_ratio([4, 4], [0, 0])
    with pytest.raises(ValueError, match="the same questions"):
        compression_ratio([4, 4], [1])
