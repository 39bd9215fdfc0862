"""What a router buys: accuracy against tokens, beside what needs no router.

Always latent and always explicit are the two ends. A *random mix* sends a share of the
questions, drawn blindly, to explicit thinking: the straight line between the ends. A
router is worth having where it lies above that line at the same number of tokens. It
pays for the latent attempt of every question; a mix does not. Where words are always
right, a router that knew which latent answers are right would be worth having if all
latent attempts cost less than the words that the right ones save: so it depends on the
traffic.

The threshold is chosen on validation and used once on test. The router is ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from lrkit.data.problems import Question
from lrkit.latent.hybrid import HybridSolver
from lrkit.study.scoreboard import same_answer
from lrkit.study.stats import mean_estimate, paired_difference


def both_ways(solver: HybridSolver, problems: Sequence[Question]) -> pd.DataFrame:
    """Every question answered in both modes.

    Returns:
        By question: `id`, `n_steps`, `confidence` of the latent answer, `fast` and
        `slow` (correct), `fast_tokens` and `slow_tokens` (written ones and latents).
    """
    questions = [p.question for p in problems]
    fast, slow = solver.fast.solve(questions), solver.slow.solve(questions)
    return pd.DataFrame(
        {
            "id": p.id,
            "n_steps": p.n_steps,
            "confidence": one.confidence,
            "fast": same_answer(one.answer, p.answer),
            "slow": same_answer(other.answer, p.answer),
            "fast_tokens": one.text_tokens + one.latent_steps,
            "slow_tokens": other.text_tokens + other.latent_steps,
        }
        for p, one, other in zip(problems, fast, slow, strict=True)
    )


def traffic(rows: pd.DataFrame, easy: npt.ArrayLike, share: float) -> pd.DataFrame:
    """The longest beginning of both kinds of rows in which a share is easy.

    Args:
        rows: of `both_ways`.
        easy: [questions], whether each is easy.
        share: of the easy ones, from 0 to 1.

    Raises:
        ValueError: where a kind that is wanted is missing.
    """
    easy = np.asarray(easy, bool)
    kinds = ((easy, share), (~easy, 1 - share))
    n = min(kind.sum() / part for kind, part in kinds if part > 0)
    if n < 1:
        raise ValueError(f"there is no traffic with a share of {share}: a kind lacks.")
    taken = [np.flatnonzero(kind)[: int(part * n + 1e-9)] for kind, part in kinds]
    return rows.iloc[np.sort(np.concatenate(taken))].reset_index(drop=True)


def routed(rows: pd.DataFrame, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """(correct, tokens) of each question under a threshold; rows of `both_ways`."""
    unsure = (rows["confidence"] < threshold).to_numpy()
    correct = np.where(unsure, rows["slow"], rows["fast"]).astype(float)
    tokens = rows["fast_tokens"].to_numpy(float) + unsure * rows["slow_tokens"]
    return correct, np.asarray(tokens)


def sweep(rows: pd.DataFrame) -> pd.DataFrame:
    """Every threshold that makes a difference: `threshold`, `explicit` (the share that
    thinks in words), `accuracy`, `tokens`, both means over questions."""
    found = []
    for threshold in [0.0, *np.unique(rows["confidence"]), np.inf]:
        correct, tokens = routed(rows, threshold)
        found.append(
            {
                "threshold": float(threshold),
                "explicit": float((rows["confidence"] < threshold).mean()),
                "accuracy": correct.mean(), "tokens": tokens.mean(),
            }
        )  # fmt: skip
    return pd.DataFrame(found).drop_duplicates("explicit", ignore_index=True)


def choose_threshold(validation: pd.DataFrame, max_tokens: float) -> float:
    """The threshold of the best accuracy within a budget; of several, the cheapest.

    Args:
        validation: rows of `both_ways` on validation, never on test.
        max_tokens: mean tokens of a question, at most.

    Raises:
        ValueError: for a budget below that of latents alone.
    """
    table = sweep(validation)
    within = table[table["tokens"] <= max_tokens]
    if within.empty:
        raise ValueError(
            f"{max_tokens} tokens are fewer than the {table['tokens'].min():.1f} that "
            "latents alone take: allow more."
        )
    best = within.sort_values(["accuracy", "tokens"], ascending=[False, True])
    return float(best["threshold"].iloc[0])


def compare(
    test: pd.DataFrame, threshold: float, clusters: Sequence | None = None
) -> pd.DataFrame:
    """The router on test, beside both ends and the random mix of as many tokens.

    A mix is taken at its expectation: each question counts by the share of mixes that
    answer it right, so that no draw adds noise.

    Args:
        test: rows of `both_ways`.
        threshold: chosen elsewhere.
        clusters: a name per question; those of one name are resampled together.

    Returns:
        By mode: `tokens` (mean), `explicit`, `accuracy`, `low`, `high` (95 %, over
        questions) and `router_gain` with `gain_low`, `gain_high`: the router minus
        this mode, paired.
    """
    fast, slow = (test[name].to_numpy(float) for name in ("fast", "slow"))
    cheap, dear = (test[f"{c}_tokens"].to_numpy(float) for c in ("fast", "slow"))
    correct, tokens = routed(test, threshold)
    gap = dear.mean() - cheap.mean()
    share = np.clip((tokens.mean() - cheap.mean()) / gap, 0, 1) if gap > 0 else 0.0

    def mixed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (1 - share) * a + share * b

    modes = {
        "router": (correct, tokens, (test["confidence"] < threshold).mean()),
        "always latent": (fast, cheap, 0.0),
        "always explicit": (slow, dear, 1.0),
        "random mix": (mixed(fast, slow), mixed(cheap, dear), share),
    }
    found = {}
    for name, (right, paid, explicit) in modes.items():
        accuracy = mean_estimate(right, clusters)
        gain = paired_difference(correct, right, clusters)
        found[name] = {
            "tokens": paid.mean(), "explicit": float(explicit),
            "accuracy": accuracy.value, "low": accuracy.low, "high": accuracy.high,
            "router_gain": gain.value, "gain_low": gain.low, "gain_high": gain.high,
        }  # fmt: skip
    return pd.DataFrame(found).T.rename_axis("mode")
