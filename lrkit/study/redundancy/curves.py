"""Rows of damaged chains as curves with intervals, over questions and random seeds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lrkit.study.stats import N_BOOT, mean_estimate, paired_difference


def by_question(rows: pd.DataFrame) -> np.ndarray:
    """[random seeds, questions] of right answers of one (kind, p), questions by id."""
    table = rows.pivot(index="seed", columns="id", values="correct")
    if table.isna().any(axis=None):
        raise ValueError("the random seeds of a damage have different questions.")
    return table.to_numpy(float)


def curve(
    rows: pd.DataFrame, reference: str = "tokens", n_boot: int = N_BOOT
) -> pd.DataFrame:
    """Accuracy by (kind, p), with 95 % bootstrap intervals over questions and seeds.

    Args:
        rows: of `lrkit.study.redundancy.measuring.measure`.
        reference: the kind whose p of 0 is the whole chain.
        n_boot: draws of the bootstrap; there are two intervals a row.

    Returns:
        By kind and p: `n` questions, `seeds`, `kept` and `leaked` (means), `accuracy`,
        `low`, `high`, and `change` with `change_low` and `change_high`, paired with the
        whole chain.
    """
    whole = by_question(rows[(rows["kind"] == reference) & (rows["p"] == 0)])[:1]
    nothing = np.zeros_like(whole)
    found = {}
    for key, part in rows.groupby(["kind", "p"], sort=False):
        scored = by_question(part)
        accuracy, change = (
            paired_difference(scored, other, n_boot=n_boot)
            for other in (nothing, whole)
        )
        found[key] = {
            "n": accuracy.n, "seeds": len(scored), "kept": part["kept"].mean(),
            "leaked": part["leaked"].mean(), "accuracy": accuracy.value,
            "low": accuracy.low, "high": accuracy.high, "change": change.value,
            "change_low": change.low, "change_high": change.high,
        }  # fmt: skip
    table = pd.DataFrame(found).T.astype({"n": int, "seeds": int})
    table.index.names = ["kind", "p"]
    return table


def by_leak(rows: pd.DataFrame) -> pd.DataFrame:
    """Accuracy by (kind, p, leaked): what is left where the answer is not in the text.

    The two parts are different questions, so that no difference between them is paired;
    all rows of a question are resampled together.

    Returns:
        By kind, p and leaked: `rows`, `accuracy`, `low`, `high`.
    """
    found = {}
    for key, part in rows.groupby(["kind", "p", "leaked"], sort=False):
        accuracy = mean_estimate(part["correct"].to_numpy(float), part["id"].tolist())
        found[key] = {
            "rows": accuracy.n, "accuracy": accuracy.value, "low": accuracy.low,
            "high": accuracy.high,
        }  # fmt: skip
    table = pd.DataFrame(found).T.astype({"rows": int})
    table.index.names = ["kind", "p", "leaked"]
    return table


def side_by_side(arms: Mapping[str, pd.DataFrame], kind: str = "steps") -> pd.DataFrame:
    """Rows of one kind of damage of several arms, each under its arm's name."""
    parts = [rows[rows["kind"] == kind].assign(kind=a) for a, rows in arms.items()]
    return pd.concat(parts, ignore_index=True)
