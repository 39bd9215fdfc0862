"""Which rows the first model answers itself: risk, a guaranteed threshold, the bill.

A row whose `confidence` reaches the threshold is accepted, any other is routed on to
something dearer. All of this is arithmetic on plain arrays of rows that were set apart;
it calls no model. `lrkit.answer.calibration` asks whether the confidences are true.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
from scipy import stats

from lrkit.answer.calibration import checked, resamples, same_rows, shares


def _accepted(
    confidence: np.ndarray, correct: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct confidences, strictest first; rows that reach each; wrong ones there."""
    confidence, correct = checked(confidence, correct)
    values, place = np.unique(-confidence, return_inverse=True)
    n = np.bincount(place).cumsum()
    wrong = np.bincount(place[~correct], minlength=values.size).cumsum()
    return -values, n, wrong


def risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> pd.DataFrame:
    """What each threshold would accept, and how often it would be wrong there.

    Returns:
        A row per distinct confidence, strictest first: `threshold` (rows at or above it
        are accepted), `coverage` (share accepted), `risk` (share of wrong rows among
        the accepted), `n` accepted.

    Raises:
        ValueError: for no rows, rows that do not fit, or values outside [0, 1].
    """
    thresholds, n, wrong = _accepted(confidence, correct)
    return pd.DataFrame(
        {"threshold": thresholds, "coverage": n / n[-1], "risk": wrong / n, "n": n}
    )


def area_under_risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Mean risk over all coverages, in [0, 1], lower is better (Geifman et al. 2019,
    "Bias-reduced uncertainty estimation").

    Rows that tie are accepted together and pay the risk of them all, so the order of
    rows does not matter and one confidence for everything gives the error rate.
    """
    curve = risk_coverage(confidence, correct)
    return float(curve["risk"] @ np.diff(curve["coverage"], prepend=0.0))


@dataclass(frozen=True)
class GuaranteedThreshold:
    """A threshold and what is known of it; `threshold` is inf where none is given."""

    threshold: float
    coverage: float  # share of the calibration rows that is accepted
    risk: float  # share of wrong rows among them, NaN for none
    bound: float  # what the true risk does not exceed, NaN for none
    n_accepted: int
    note: str  # a sentence: why the search ended here


def fewest_rows(max_risk: float, delta: float = 0.05, wrong: int = 2) -> int:
    """The fewest accepted rows that pass as below `max_risk` with `wrong` errors."""
    n = wrong + 1
    while stats.binom.cdf(wrong, n, max_risk) > delta:
        n += 1
    return n


def guaranteed_threshold(
    confidence: np.ndarray,
    correct: np.ndarray,
    max_risk: float,
    delta: float = 0.05,
    min_accepted: int | None = None,
) -> GuaranteedThreshold:
    """The lowest threshold whose true risk is at most `max_risk`, with probability
    1 - `delta` over the draw of the calibration rows.

    For a threshold fixed in advance, the wrong rows among n accepted ones are binomial,
    and the exact bound of Clopper and Pearson exceeds the true selective risk with
    probability 1 - delta. To choose among thresholds, they are tested in a fixed
    sequence, from the strictest downwards, each at the full delta, and the first
    failure ends it: a false answer then needs a false pass at the first threshold
    whose true risk is too high, and that one does not depend on the data. Trying all
    and keeping the lowest that passes would not be valid. (Geifman & El-Yaniv 2017,
    "Selective classification for deep neural networks", who divide delta among the
    steps of a binary search instead; Angelopoulos et al. 2021, "Learn then test".)

    - *Ties.* The sequence is every number from 1 down to 0. Between two observed
      confidences nothing changes, so one test per distinct confidence, with all of its
      ties accepted, stands for all of them; the data choose no grid.
    - *The start.* A few rows can pass no test, so testing begins where `min_accepted`
      rows are accepted, a number that must be settled before looking. The default
      passes with two wrong rows (at risk 0.05 and delta 0.05: 124 rows). Where that
      point lies does depend on the confidences: the guarantee is exact if the true risk
      does not fall as the threshold is lowered, as with any confidence that ranks rows
      rightly on the whole; otherwise it holds if fewer than `min_accepted` rows were
      never likely at the first threshold that is too risky.
    - *The rows.* They are independent draws of what comes later, used neither to train
      nor to calibrate: of a contrastive pair, only one row.

    Args:
        max_risk: largest share of wrong rows among the accepted, in (0, 1).
        delta: probability of a broken promise, in (0, 1).
        min_accepted: where the sequence starts; None: `fewest_rows(max_risk, delta)`.

    Raises:
        ValueError: for rows that are none, or a risk, delta or start out of range.
    """
    for name, value in (("max_risk", max_risk), ("delta", delta)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {value}.")
    if min_accepted is None:
        min_accepted = fewest_rows(max_risk, delta)
    if min_accepted < 1:
        raise ValueError(f"min_accepted must be 1 or more, got {min_accepted}.")
    thresholds, n, wrong = _accepted(confidence, correct)
    if n[-1] < min_accepted:
        note = f"{n[-1]} rows are too few: the first test takes {min_accepted}."
        return GuaranteedThreshold(np.inf, 0.0, np.nan, np.nan, 0, note)
    # Upper end of the one-sided interval; beta has no such end where all are wrong.
    bounds = np.ones(n.size)
    some = wrong < n
    bounds[some] = stats.beta.ppf(1 - delta, wrong[some] + 1, (n - wrong)[some])
    start = int(np.searchsorted(n, min_accepted))
    failed = np.flatnonzero(bounds[start:] > max_risk)
    end = start + int(failed[0]) if failed.size else n.size
    note = "every row can be accepted."
    if end < n.size:
        note = (
            f"of the {n[end]} most confident rows {wrong[end]} are wrong: the risk may "
            f"be {bounds[end]:.4f}, which is more than {max_risk}."
        )
    if end == start:
        return GuaranteedThreshold(np.inf, 0.0, np.nan, np.nan, 0, note)
    at = end - 1
    return GuaranteedThreshold(
        threshold=float(thresholds[at]),
        coverage=float(n[at] / n[-1]),
        risk=float(wrong[at] / n[at]),
        bound=float(bounds[at]),
        n_accepted=int(n[at]),
        note=note,
    )


@dataclass(frozen=True)
class Prices:
    """What a request costs, in one currency, and how long it takes.

    A model of one's own is not free: its machine is paid by the hour. One that waits
    costs as much as one that works, so `rows_per_second` is measured under the load
    that is to be served; the peak is what a machine that is always full would do.
    """

    machine_per_hour: float
    rows_per_second: float  # measured
    second_in_per_million: float  # per million tokens read by the second stage
    second_out_per_million: float  # per million tokens written
    tokens_in: float  # of one routed row, on average
    tokens_out: float
    latency_first_s: float
    latency_second_s: float

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"{field.name} must be 0 or more, got {value}.")
        if self.rows_per_second == 0:
            raise ValueError("rows_per_second must be greater than 0.")

    @property
    def first(self) -> float:
        """Cost of one request to the first stage."""
        return self.machine_per_hour / 3600 / self.rows_per_second

    @property
    def second(self) -> float:
        """Cost of one request to the second stage."""
        read = self.tokens_in * self.second_in_per_million
        return (read + self.tokens_out * self.second_out_per_million) / 1e6


def cost_curve(
    confidence: np.ndarray,
    correct: np.ndarray,
    second_correct: np.ndarray,
    prices: Prices,
    thresholds: Sequence[float],
    n_boot: int = 1000,
    seed: int = 0,
    groups: Sequence | None = None,
) -> pd.DataFrame:
    """Accuracy, cost and latency of the two stages together, for each threshold.

    Every row passes the first stage; rows below the threshold pay and wait for both.

    Args:
        second_correct: [n], whether the second stage is right, asked of every row.
        thresholds: in any order; 0 routes nothing, inf everything.
        groups: a name per row; rows of one name are resampled together.

    Returns:
        A row per threshold: `threshold`, `routed` (share), `accuracy` with
        `accuracy_low` and `accuracy_high` (95 % bootstrap percentiles, the same
        resamples for every threshold), `gain`, the paired difference to the first
        stage alone, with its own interval `gain_low` and `gain_high`,
        `cost_per_million` requests, `latency_mean_s` and `latency_p95_s`. Latencies
        within a stage are taken as constant: the p95 is that of the slower stage as
        soon as more than 5 % of rows are routed.

    Raises:
        ValueError: for rows that do not fit, or a threshold that is no number.
    """
    confidence, correct = checked(confidence, correct)
    second_correct = shares("second_correct", second_correct, flags=True)
    same_rows(confidence=confidence, second_correct=second_correct)
    thresholds = np.asarray(thresholds, dtype=float)
    if thresholds.ndim != 1 or thresholds.size == 0 or np.isnan(thresholds).any():
        raise ValueError(f"thresholds must be a list of numbers, got {thresholds}.")
    routes = confidence < thresholds[:, None]  # [thresholds, n]
    right = np.where(routes, second_correct, correct).astype(float)
    first = correct.astype(float)
    draws, gains = [], []
    for times in resamples(correct.size, n_boot, seed, groups):
        draws.append(right @ times / times.sum())
        gains.append(draws[-1] - first @ times / times.sum())
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    gain_low, gain_high = np.quantile(gains, [0.025, 0.975], axis=0)
    routed = routes.mean(1)
    both = prices.latency_first_s + prices.latency_second_s
    return pd.DataFrame(
        {
            "threshold": thresholds,
            "routed": routed,
            "accuracy": right.mean(1),
            "accuracy_low": low,
            "accuracy_high": high,
            "gain": right.mean(1) - first.mean(),
            "gain_low": gain_low,
            "gain_high": gain_high,
            "cost_per_million": 1e6 * (prices.first + routed * prices.second),
            "latency_mean_s": prices.latency_first_s + routed * prices.latency_second_s,
            "latency_p95_s": np.where(routed > 0.05, both, prices.latency_first_s),
        }
    )
