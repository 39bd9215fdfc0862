"""How far a reader is from the ideal one: a gap for each p, and one number for a curve.

The ideal reader knows what is left of a chain and computes nothing. Where it does not
know, it is given what the model itself answers without any chain, question by question:
so a curve above it means that something was worked out from *parts* of a chain, and one
below it that something was there and not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lrkit.study.redundancy.ideal import survival
from lrkit.study.redundancy.measuring import NOTHING
from lrkit.study.stats import N_BOOT, Estimate, paired_difference


def known(copies: Mapping[str, Sequence[int]], ps: Sequence[float]) -> pd.DataFrame:
    """[questions, p]: probability that all needed facts are left, steps dropped.

    Args:
        copies: id of a question -> how often each needed fact is said, see
            `lrkit.study.redundancy.ideal.copies`.
        ps: probabilities.
    """
    found = {i: [float(survival(one, p)) for p in ps] for i, one in copies.items()}
    return pd.DataFrame.from_dict(found, orient="index", columns=list(ps)).sort_index()


def or_else(known: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The ideal reader's accuracy where it answers as the model does without a chain.

    Args:
        known: [questions, p], see above.
        rows: of `lrkit.study.redundancy.measuring.measure`, with the kind "no chain".
    """
    none = rows[rows["kind"] == NOTHING].groupby("id")["correct"].mean()
    return known.add((1 - known).mul(none.loc[known.index], axis=0))


def _scored(rows: pd.DataFrame, kind: str, ideal: pd.DataFrame) -> np.ndarray:
    """[random seeds, questions, p] of right answers, as the ideal has them."""
    rows = rows[(rows["kind"] == kind) & rows["p"].isin(ideal.columns)]
    table = rows.pivot(index=["seed", "id"], columns="p", values="correct")
    seeds = table.index.get_level_values("seed").unique()
    whole = pd.MultiIndex.from_product([seeds, ideal.index])
    table = table.reindex(index=whole, columns=ideal.columns).astype(float)
    if table.isna().any(axis=None):
        raise ValueError(f"{kind!r} lacks questions or probabilities of the ideal.")
    return table.to_numpy().reshape(len(seeds), len(ideal), -1)


def gaps(
    rows: pd.DataFrame, ideal: pd.DataFrame, kind: str = "steps", n_boot: int = N_BOOT
) -> pd.DataFrame:
    """The model minus the ideal reader, paired by question.

    Returns:
        By p: `n`, `model`, `ideal`, `gap`, `low`, `high` (95 %, questions and random
        seeds).

    Raises:
        ValueError: for rows that lack a question or p of the ideal.
    """
    scored = _scored(rows, kind, ideal)
    found = {}
    for k, p in enumerate(ideal.columns):
        gap = paired_difference(scored[..., k], ideal[p].to_numpy(), n_boot=n_boot)
        found[p] = {
            "n": gap.n, "model": scored[..., k].mean(), "ideal": ideal[p].mean(),
            "gap": gap.value, "low": gap.low, "high": gap.high,
        }  # fmt: skip
    return pd.DataFrame(found).T.rename_axis("p")


def mean_error(
    rows: pd.DataFrame, ideal: pd.DataFrame, kind: str = "steps", n_boot: int = N_BOOT
) -> Estimate:
    """Mean over p of the distance between the model's curve and the ideal one.

    Args:
        rows, ideal, kind: as in `gaps`.
        n_boot: draws of questions and random seeds. A distance has no sign, so chance
            makes it larger: for a model on the ideal curve the interval is above zero.
    """
    off = _scored(rows, kind, ideal) - ideal.to_numpy()
    rng = np.random.default_rng(0)
    draws = np.empty(n_boot)
    for k in range(n_boot):
        seeds = rng.integers(0, len(off), len(off))
        picked = rng.integers(0, off.shape[1], off.shape[1])
        draws[k] = np.abs(off[np.ix_(seeds, picked)].mean((0, 1))).mean()
    low, high = np.quantile(draws, [0.025, 0.975])
    value = float(np.abs(off.mean((0, 1))).mean())
    return Estimate(value, float(low), float(high), off.shape[1])
