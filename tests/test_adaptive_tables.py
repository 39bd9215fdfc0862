"""What is read off the recorded runs of adaptive length, on made-up runs."""

import numpy as np
import pandas as pd
import pytest

from lrkit.study.adaptive_tables import (
    errors_by_length,
    follows_steps,
    least_enough,
    length_table,
    recorded,
    slack_removed,
)


def rows(latents, correct, n_steps=None, seed=0) -> pd.DataFrame:
    n = len(latents)
    return pd.DataFrame(
        {
            "id": [f"q{k}" for k in range(n)],
            "seed": seed,
            "latent_steps": latents,
            "correct": correct,
            "n_steps": n_steps if n_steps is not None else [1] * n,
        }
    )


def sweep(share_right) -> pd.DataFrame:
    """Controls of 100 questions for each number of steps: {(steps, n): share}."""
    return pd.DataFrame(
        [
            {"control": f"{n} latents", "n_steps": steps, "correct": k < 100 * share}
            for (steps, n), share in share_right.items()
            for k in range(100)
        ]
        + [{"control": "mean", "n_steps": 1, "correct": True}]
    )


def test_the_table_counts_the_tokens_around_a_thought_and_compares_with_the_start():
    arms = {
        "Latent-6": rows([6, 6, 6, 6], [1, 1, 0, 0]),
        "Latent-6 + RL": rows([0, 2, 2, 4], [1, 1, 1, 0]),
        "other + RL": rows([1], [1]),
    }
    table = length_table(arms, chain_tokens=12)
    assert table.loc["Latent-6", ["tokens", "least", "most", "sd"]].tolist() == [
        8, 8, 8, 0,
    ]  # fmt: skip
    found = table.loc["Latent-6 + RL"]
    assert found[["tokens", "least", "most"]].tolist() == [4, 2, 6]
    assert found["change"] == -0.5 and found["ratio"] == 3
    assert found["accuracy"] == 0.75 and found["low"] < 0.75 < found["high"]
    assert table["change"].isna().tolist() == [True, False, True]


def test_several_random_seeds_are_runs_of_the_same_questions():
    both = pd.concat([rows([6, 6], [1, 0]), rows([6, 8], [1, 1], seed=1)])
    found = length_table({"a": both}, 10).loc["a"]
    assert (found["runs"], found["n"], found["accuracy"]) == (2, 2, 0.75)
    assert (found["least"], found["most"]) == (8, 10)


def test_the_fewest_latents_that_do_as_well_as_the_trained_number():
    tried = {(1, n): 1.0 for n in range(1, 5)} | {(1, 0): 0.98}
    tried |= {(2, 0): 0.1, (2, 1): 0.5, (2, 2): 0.99, (2, 3): 0.9, (2, 4): 1.0}
    assert least_enough(sweep(tried), trained=4) == {1: 1, 2: 2}
    assert least_enough(sweep(tried), trained=4, within=0.02) == {1: 0, 2: 2}
    assert least_enough(sweep(tried), trained=1) == {1: 1, 2: 1}, "what is above is not"
    with pytest.raises(ValueError, match="9 latents were not tried"):
        least_enough(sweep(tried), trained=9)


def test_slack_is_what_was_taken_beyond_what_suffices():
    n_steps, least = pd.Series([1, 1, 2, 2]), {1: 1, 2: 3}
    found = slack_removed(pd.Series([6] * 4), pd.Series([3, 3, 5, 5]), n_steps, least)
    assert found == {
        "before": 6, "after": 4, "enough": 2, "slack": 4, "removed": 0.5,
    }  # fmt: skip
    none = slack_removed(n_steps.map(least), pd.Series([0] * 4), n_steps, least)
    assert none["slack"] == 0 and np.isnan(none["removed"])


def test_errors_that_grow_with_length_have_their_slope():
    latents = np.repeat([0, 1, 2, 3, 4], 200)
    correct = np.concatenate([np.arange(200) >= 20 * k for k in range(5)])
    found = errors_by_length(rows(latents, correct.astype(float)), n_boot=200)
    assert found.value == pytest.approx(0.1) and 0.07 < found.low < 0.1 < found.high
    flat = errors_by_length(rows(latents, np.tile([0.0, 1.0], 500)), n_boot=200)
    assert flat.low < 0 < flat.high
    assert np.isnan(errors_by_length(rows([3] * 4, [1, 0, 1, 1]), n_boot=5).value)


def test_lengths_that_follow_the_steps_correlate_with_them():
    n_steps = np.repeat([1, 2, 3, 4, 5], 20)
    found = follows_steps(rows(n_steps + 1, [1] * 100, n_steps), n_boot=50)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))
    blind = np.random.default_rng(0).permutation(n_steps)
    found = follows_steps(rows(blind, [1] * 100, n_steps), n_boot=200)
    assert found.low < 0 < found.high
    assert np.isnan(follows_steps(rows([2] * 100, [1] * 100, n_steps), n_boot=5).value)


def test_recorded_runs_are_read_by_arm_and_seed(tmp_path):
    folder = tmp_path / "adaptive_arms"
    folder.mkdir()
    for name in ("latent-6-0", "latent-6-2", "latent-6-rl-0", "latent-6-by-1-1"):
        rows([6], [1]).drop(columns="seed").to_csv(
            folder / f"{name}-test.csv", index=False
        )
    found = recorded("test", tmp_path)
    assert {arm: part["seed"].tolist() for arm, part in found.items()} == {
        "Latent-6": [0, 2], "Latent-6-by-1": [1], "Latent-6 + RL": [0],
    }  # fmt: skip
    assert recorded("longer", tmp_path) == {}
