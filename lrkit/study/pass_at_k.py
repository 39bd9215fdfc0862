"""pass@k: the probability that one of k drawn answers is right, estimated from n >= k.

Methods without exploration in their latents may be as good at the first try and worse
at the fourth: a single accuracy does not tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from lrkit.data.problems import Question
from lrkit.latent.sampling import SamplingSolver
from lrkit.study.scoreboard import evaluate
from lrkit.study.stats import mean_estimate


def pass_at_k(correct: npt.ArrayLike, k: int) -> np.ndarray:
    """[questions]: 1 - C(n - c, k) / C(n, k) for c right answers of n.

    The unbiased estimator of arXiv 2107.03374: the share of all choices of k samples
    that hold a right one. (1 - (1 - c / n)^k, with which it is often confused, is too
    low.)

    Args:
        correct: [questions, n], whether each sample is right.
        k: samples that are looked at.

    Raises:
        ValueError: for a k that is not from 1 to n.
    """
    correct = np.asarray(correct, bool)
    n = correct.shape[1]
    if not 1 <= k <= n:
        raise ValueError(f"pass@{k} needs {k} samples a question or more, got {n}.")
    wrong = (n - correct.sum(1))[:, None]
    # C(w, k) / C(n, k) as a product, without large numbers: w choose k of n.
    i = np.arange(k)
    return 1 - np.clip((wrong - i) / (n - i), 0, None).prod(1)


def samples(
    solver: SamplingSolver, problems: Sequence[Question], n: int
) -> pd.DataFrame:
    """Rows of `evaluate` for n draws of every question, column `sample` from 0.

    The random seed of a sample is that of the solver plus its number.
    """
    parts = [
        evaluate(replace(solver, seed=solver.seed + k), problems).assign(sample=k)
        for k in range(n)
    ]
    return pd.concat(parts, ignore_index=True)


def table(rows: pd.DataFrame, ks: Sequence[int] = (1, 2, 4, 8)) -> pd.DataFrame:
    """pass@k with 95 % bootstrap intervals over questions; pass@1 is the accuracy.

    Args:
        rows: of `samples`.
        ks: numbers of samples, none above those that were drawn.

    Returns:
        By k: `n` questions, `samples` of each, `value`, `low`, `high`.
    """
    correct = rows.pivot(index="id", columns="sample", values="correct").to_numpy(bool)
    found = {}
    for k in ks:
        e = mean_estimate(pass_at_k(correct, k))
        found[k] = {
            "n": e.n, "samples": correct.shape[1], "value": e.value, "low": e.low,
            "high": e.high,
        }  # fmt: skip
    return pd.DataFrame(found).T.astype({"n": int, "samples": int}).rename_axis("k")
