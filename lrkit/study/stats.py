"""Intervals and paired differences over questions; what a null result could have seen.

Rows of a contrastive pair are not independent, so everything that resamples takes
clusters. Bootstrap intervals are percentile intervals with a fixed random seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lrkit.resampling import group_codes

N_BOOT = 4000
CHUNK = 500  # draws at a time


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval and the number of questions behind it."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}] (n={self.n})"

    def percent(self) -> str:
        """As "71.9 % [66.7, 76.5]"."""
        v, a, b = 100 * self.value, 100 * self.low, 100 * self.high
        return f"{v:.1f} % [{a:.1f}, {b:.1f}]"

    def verdict(self) -> str:
        """Is it above zero? "yes" or "no, the reverse" where the interval excludes
        zero, else "not shown"."""
        if self.low > 0:
            return "yes"
        return "no, the reverse" if self.high < 0 else "not shown"


def proportion(correct: Sequence[bool]) -> Estimate:
    """A proportion with its Wilson interval.

    Raises:
        ValueError: for no questions.
    """
    correct = np.asarray(correct, dtype=bool)
    if correct.size == 0:
        raise ValueError("no questions to estimate a proportion from.")
    test = stats.binomtest(int(correct.sum()), correct.size)
    ci = test.proportion_ci(0.95, method="wilson")
    return Estimate(float(correct.mean()), ci.low, ci.high, correct.size)


def paired_difference(
    a: np.ndarray,
    b: np.ndarray,
    clusters: Sequence | None = None,
    seed: int = 0,
    n_boot: int = N_BOOT,
) -> Estimate:
    """Mean of a - b over the same questions, with a bootstrap interval.

    Args:
        a, b: [questions] or [random seeds, questions] of scores (0/1 or real). With
            several random seeds, seeds are resampled as well, of each arm apart.
        clusters: a name per question; questions of one name are resampled together,
            "" stands alone.

    Raises:
        ValueError: when the questions do not match.
    """
    a, b = np.atleast_2d(np.asarray(a, float)), np.atleast_2d(np.asarray(b, float))
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"paired scores need the same questions: {a.shape[1]} and {b.shape[1]}."
        )
    rng = np.random.default_rng(seed)
    codes = group_codes(a.shape[1], clusters)
    sums_a = np.stack([np.bincount(codes, row) for row in a])  # [seeds, clusters]
    sums_b = np.stack([np.bincount(codes, row) for row in b])
    sizes = np.bincount(codes)
    draws = []
    for start in range(0, n_boot, CHUNK):
        counts = _resampled(rng, min(CHUNK, n_boot - start), len(sizes))
        means = [
            np.take_along_axis(
                counts @ sums.T, rng.integers(0, len(sums), (len(counts), len(sums))), 1
            ).mean(1)
            for sums in (sums_a, sums_b)
        ]
        draws.append((means[0] - means[1]) / (counts @ sizes))
    low, high = np.quantile(np.concatenate(draws), [0.025, 0.975])
    return Estimate(float(a.mean() - b.mean()), float(low), float(high), a.shape[1])


def _resampled(rng: np.random.Generator, n_draws: int, n: int) -> np.ndarray:
    """How often each of n was drawn in n draws with replacement, [draws, n]."""
    picked = rng.integers(0, n, (n_draws, n)) + n * np.arange(n_draws)[:, None]
    return np.bincount(picked.ravel(), minlength=n_draws * n).reshape(n_draws, n)


def mean_estimate(
    a: np.ndarray, clusters: Sequence | None = None, seed: int = 0
) -> Estimate:
    """Mean over questions (and random seeds) with the same bootstrap."""
    a = np.atleast_2d(np.asarray(a, float))
    return paired_difference(a, np.zeros((1, a.shape[1])), clusters, seed)


def detectable_difference(n: int, disagreement: float, power: float = 0.8) -> float:
    """Smallest paired difference in accuracy seen with `power` at the 5 % level.

    Args:
        n: questions answered by both.
        disagreement: share of questions on which exactly one of the two is right.
    """
    z = stats.norm.ppf(0.975) + stats.norm.ppf(power)
    return float(z * np.sqrt(disagreement / n))


def questions_needed(difference: float, disagreement: float, power: float = 0.8) -> int:
    """Questions it takes to see a paired difference; inverse of the above."""
    z = stats.norm.ppf(0.975) + stats.norm.ppf(power)
    return int(np.ceil(disagreement * (z / difference) ** 2))
