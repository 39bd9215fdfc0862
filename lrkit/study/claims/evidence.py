"""Evidence for claims on the latent half, read from its recorded runs; None where a run
is missing. That of the answer half stands in `evidence_answer`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial, wraps

import numpy as np
import pandas as pd

from lrkit.paths import results_dir
from lrkit.profiles import load_profile
from lrkit.study import (
    adaptive_tables,
    fragility,
    graph_arms,
    latent_arms,
    lgr_arms,
    redundancy_arms,
)
from lrkit.study.breadth import breadth
from lrkit.study.claims.claim import Evidence
from lrkit.study.redundancy.curves import by_question
from lrkit.study.scoreboard import matrix
from lrkit.study.stats import Estimate, paired_difference

Reader = Callable[[], Evidence | None]
LEAST_RUNS = 5  # random seeds, where they are what is counted: fewer are no rate


def lazily(read: Callable[..., Evidence | None]) -> Callable[..., Reader]:
    """A function of arguments into one that waits until the evidence is asked for."""

    @wraps(read)
    def later(*args, **kwargs) -> Reader:
        return partial(read, *args, **kwargs)

    return later


@cache
def _answers(folder: str, split: str, stamp: float) -> dict[str, pd.DataFrame]:
    _, rows = latent_arms.recorded(folder=folder)
    return dict(list(rows[rows["split"] == split].groupby("arm")))


def answers(folder: str, split: str = "test") -> dict[str, pd.DataFrame]:
    """Arm -> recorded answers of a study of the latent half; empty without a table."""
    file = results_dir() / f"{folder}.csv"
    return _answers(folder, split, file.stat().st_mtime) if file.is_file() else {}


def difference(a: np.ndarray, b: np.ndarray, clusters=None) -> Evidence:
    """Mean of [random seeds, questions] `a` minus that of `b`, paired over questions.

    Args:
        a, b: of the same questions.
        clusters: of the questions, resampled together; None: each is its own.
    """
    return Evidence(paired_difference(a, b, clusters), min(len(a), len(b)))


def _both(
    a: str, b: str, folder: str, other: str, split: str, column: str = "correct"
) -> tuple[np.ndarray, np.ndarray] | None:
    """[random seeds, questions] of two arms, on the questions that both were asked."""
    first, second = answers(folder, split).get(a), answers(other, split).get(b)
    if first is None or second is None:
        return None
    same = set(first["id"]) & set(second["id"])
    one, two = (rows[rows["id"].isin(same)] for rows in (first, second))
    return matrix(one, column), matrix(two, column)


@lazily
def accuracy(
    a: str, b: str, split: str = "test", folder: str = latent_arms.FOLDER,
    other: str = "",
) -> Evidence | None:  # fmt: skip
    """Accuracy of arm `a` minus that of `b`, paired over questions.

    Args:
        a, b: arms.
        split: of the answers.
        folder: study of `a`.
        other: study of `b`; "" the same.
    """
    both = _both(a, b, folder, other or folder, split)
    return difference(*both) if both else None


@lazily
def shorter(
    a: str, b: str, folder: str, other: str, split: str = "test",
    costs: Sequence[str] = ("text_tokens", "latent_steps"),
) -> Evidence | None:  # fmt: skip
    """How many times as much `b` writes and thinks as `a`, the answer included.

    Args:
        a, b: arms.
        folder: study of `a`.
        other: study of `b`.
        split: of the answers.
        costs: what is counted, added up.
    """
    found = [_both(a, b, folder, other, split, cost) for cost in costs]
    if None in found:
        return None
    ours, theirs = (sum(pair[k].mean(0) for pair in found) for k in (0, 1))
    rng = np.random.default_rng(0)
    picks = rng.integers(0, len(ours), (2000, len(ours)))
    low, high = np.quantile(theirs[picks].mean(1) / ours[picks].mean(1), [0.025, 0.975])
    value = theirs.mean() / ours.mean()
    runs = min(len(part) for part in found[0])
    return Evidence(Estimate(value, float(low), float(high), len(ours)), runs)


@lazily
def found_words(arm: str, k: int) -> Evidence | None:
    """ECR@K of an arm of Latent-SFT, minus that with the latents of other questions."""
    file = results_dir() / "latent_sft_arms.csv"
    if not file.is_file():
        return None
    try:
        _, rows = latent_arms.recorded("ecr", "latent_sft_arms")
    except ValueError:  # no arm has left this table yet
        return None
    part = rows[(rows["arm"] == arm) & (rows["k"] == k)]
    if part.empty:
        return None
    return difference(matrix(part, "found"), matrix(part, "shuffled"))


@lazily
def frontier(a: str, b: str) -> Evidence | None:
    """Probability on the frontier of the search, arm `a` minus `b`, on graphs."""
    if not (results_dir() / graph_arms.TABLE).is_file():
        return None
    _, nodes = latent_arms.recorded("nodes", graph_arms.FOLDER)
    shares = {}
    for (arm, _), part in nodes.groupby(["arm", "seed"]):
        found = breadth(part).groupby("id")["frontier"].mean()
        shares.setdefault(arm, []).append(found.to_numpy())
    if a not in shares or b not in shares:
        return None
    return difference(np.stack(shares[a]), np.stack(shares[b]))


# --- short runs of CODI ---------------------------------------------------------------
@lazily
def short_runs(column: str, a: str, b: str = "") -> Evidence | None:
    """Mean of a column of `fragility.csv` over random seeds: of arm `a`, less `b`.

    Args:
        column: "diverged" (0 or 1), or one of the table.
        a: an arm.
        b: its control, paired by random seed; "" none.

    Returns:
        None as well for fewer than `LEAST_RUNS` random seeds.
    """
    file = results_dir() / fragility.TABLE
    if not file.is_file():
        return None
    runs = pd.read_csv(file)
    runs["diverged"] = runs["diverged_at"].notna().astype(float)
    by_seed = runs.pivot(index="seed", columns="arm", values=column)
    if not {a, b or a} <= set(by_seed):
        return None
    by_seed = by_seed[[a, b or a]].dropna()
    if len(by_seed) < LEAST_RUNS:
        return None
    first, second = by_seed.to_numpy().T[0], by_seed.to_numpy().T[-1]
    other = second if b else np.zeros_like(first)
    return Evidence(paired_difference(first, other), len(first))


# --- adaptive length ------------------------------------------------------------------
@lazily
def adaptive_accuracy(a: str, b: str) -> Evidence | None:
    """Accuracy on test of arm `a` minus that of `b`, of those with adaptive length."""
    arms = adaptive_tables.recorded("test")
    if a not in arms or b not in arms:
        return None
    return difference(matrix(arms[a]), matrix(arms[b]))


@lazily
def adaptive_tokens(a: str, b: str) -> Evidence | None:
    """Reasoning tokens of arm `a` over those of `b`, less 1: a share."""
    arms = adaptive_tables.recorded("test")
    if a not in arms or b not in arms:
        return None
    tokens = [matrix(arms[x], "latent_steps") + adaptive_tables.AROUND for x in (a, b)]
    found = paired_difference(*tokens)
    base = tokens[1].mean()
    share = Estimate(found.value / base, found.low / base, found.high / base, found.n)
    return Evidence(share, min(map(len, tokens)))


@lazily
def adaptive_longest(a: str, b: str) -> Evidence | None:
    """The longest thought of arm `a` less that of `b`, in latents: a bare count."""
    arms = adaptive_tables.recorded("test")
    if a not in arms or b not in arms:
        return None
    longest = [int(arms[x]["latent_steps"].max()) for x in (a, b)]
    value = float(longest[0] - longest[1])
    runs = min(arms[x]["seed"].nunique() for x in (a, b))
    return Evidence(Estimate(value, value, value, arms[a]["id"].nunique()), runs)


@lazily
def adaptive_trend(
    arm: str, measure: Callable[[pd.DataFrame], Estimate]
) -> Evidence | None:
    """A measure of `lrkit.study.adaptive_tables` on the answers of an arm."""
    arms = adaptive_tables.recorded("test")
    if arm not in arms:
        return None
    found = measure(arms[arm])
    return (
        None if np.isnan(found.value) else Evidence(found, arms[arm]["seed"].nunique())
    )


@lazily
def adaptive_control(arm: str, control: str) -> Evidence | None:
    """Accuracy on validation with the head, minus that under a control."""
    arms = adaptive_tables.recorded("controls")
    if arm not in arms:
        return None
    part = dict(list(arms[arm].groupby("control")))
    return difference(matrix(part["head"]), matrix(part[control]))


# --- guidance -------------------------------------------------------------------------
@lazily
def guidance_control(arm: str, control: str) -> Evidence | None:
    """Accuracy on validation of a guided arm, minus that under a control of
    `lrkit.study.guidance_controls`."""
    if not (results_dir() / lgr_arms.TABLE).is_file():
        return None
    try:
        _, rows = latent_arms.recorded("controls", lgr_arms.FOLDER)
    except ValueError:  # no guided arm has left its controls yet
        return None
    part = dict(list(rows[rows["arm"] == arm].groupby("control")))
    if not {"own", control} <= set(part):
        return None
    return difference(matrix(part["own"]), matrix(part[control]))


# --- redundant chains -----------------------------------------------------------------
@lazily
def damaged(
    arm: str, kind: str, p: float, minus: tuple[str, str, float]
) -> Evidence | None:
    """Accuracy behind damaged chains, minus that of another (arm, kind, p)."""
    profile = load_profile("study")
    found = []
    for name, what, share in ((arm, kind, p), minus):
        rows = redundancy_arms.recorded(name, profile, results_dir())
        if rows.empty:
            return None
        found.append(by_question(rows[(rows["kind"] == what) & (rows["p"] == share)]))
    return difference(*found)
