"""One row per method: how often right, how well calibrated, how fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import log_loss, roc_auc_score

from lrkit.answer.calibration import expected_calibration_error
from lrkit.study.stats import mean_estimate


def score_table(
    methods: Mapping[str, pd.DataFrame], clusters: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Scores of methods that answered the same yes/no questions.

    Args:
        methods: name -> `id`, `label`, `p_yes` and, where there are several runs,
            `seed`.
        clusters: id -> name of its pair; rows of one name are resampled together.

    Returns:
        By method: `runs`, `n`, `accuracy` with `low` and `high` (95 %, over questions
        and random seeds), and means over runs of `ece` (ten bins of equal width),
        `log_loss` in nats and `auroc` of p_yes.
    """
    rows = {}
    for name, scored in methods.items():
        runs = _runs(scored, name)
        ids = runs[0]["id"].tolist()
        right = np.stack([_right(part) for part in runs])
        pairs = None if clusters is None else [clusters[i] for i in ids]
        accuracy = mean_estimate(right, pairs)
        rows[name] = {
            "runs": len(runs),
            "n": accuracy.n,
            "accuracy": accuracy.value,
            "low": accuracy.low,
            "high": accuracy.high,
        } | _mean([_calibration(part) for part in runs])
    return pd.DataFrame(rows).T.astype({"runs": int, "n": int})


def scored_right(scored: pd.DataFrame) -> np.ndarray:
    """[runs, questions] of 0/1, questions by id; rows as in `score_table`."""
    return np.stack([_right(part) for part in _runs(scored, "this method")])


def _runs(scored: pd.DataFrame, name: str) -> list[pd.DataFrame]:
    """The rows of each random seed, by id."""
    scored = scored.assign(seed=scored.get("seed", 0)).sort_values(["seed", "id"])
    runs = [part for _, part in scored.groupby("seed")]
    ids = runs[0]["id"].tolist()
    if any(part["id"].tolist() != ids for part in runs):
        raise ValueError(f"the runs of {name!r} answered different questions.")
    return runs


def _right(part: pd.DataFrame) -> np.ndarray:
    return ((part["p_yes"] > 0.5) == (part["label"] == "yes")).to_numpy(float)


def _calibration(part: pd.DataFrame) -> dict[str, float]:
    p, y = part["p_yes"].to_numpy(), (part["label"] == "yes").to_numpy()
    return {
        "ece": expected_calibration_error(np.maximum(p, 1 - p), _right(part)),
        "log_loss": log_loss(y, p.clip(1e-4, 1 - 1e-4)),
        "auroc": roc_auc_score(y, p),
    }


def _mean(found: Sequence[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([one[key] for one in found])) for key in found[0]}
