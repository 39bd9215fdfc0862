"""What the recorded runs of adaptive length say: Table 1, slack, trends with length.

"Learning When to Stop: Adaptive Latent Reasoning via Reinforcement Learning" (arXiv
2511.21581), Table 1 and figures 2 and 3. Tokens are counted as there: the latents, and
the two tokens around them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from lrkit.paths import results_dir
from lrkit.study.adaptive_arms import ARMS, FOLDER
from lrkit.study.recording import slug
from lrkit.study.scoreboard import matrix
from lrkit.study.stats import N_BOOT, Estimate, mean_estimate

AROUND = 2  # START and END


def recorded(what: str, folder: Path | None = None) -> dict[str, pd.DataFrame]:
    """Arm -> rows of all random seeds that are recorded, with a column `seed`.

    Args:
        what: "test", "longer" or "controls".
        folder: of the results; None: the workbook's.
    """
    where = (folder or results_dir()) / FOLDER
    found: dict[str, pd.DataFrame] = {}
    for arm in ARMS:
        parts = [
            pd.read_csv(file, dtype={"answer": str}).assign(seed=int(seed))
            for file in sorted(where.glob(f"{slug(arm)}-*-{what}.csv"))
            if (seed := file.stem[len(slug(arm)) + 1 : -len(what) - 1]).isdigit()
        ]
        if parts:
            found[arm] = pd.concat(parts, ignore_index=True)
    return found


def length_table(arms: Mapping[str, pd.DataFrame], chain_tokens: float) -> pd.DataFrame:
    """A row an arm, as in the source's Table 1.

    Args:
        arms: name -> rows with `id`, `seed`, `correct` and `latent_steps`; one that is
            called "<name> + RL..." is compared with "<name>".
        chain_tokens: mean length of a written chain, for the ratio.

    Returns:
        `runs` and `n`; `accuracy` with `low` and `high`; `tokens`, `least`, `most` and
        `sd` of reasoning tokens over questions and random seeds; their `change` by RL,
        a share; `ratio`, the chain's tokens over them.
    """
    table = {}
    for name, rows in arms.items():
        accuracy, tokens = mean_estimate(matrix(rows)), rows["latent_steps"] + AROUND
        start, rl, _ = name.partition(" + RL")
        change = np.nan
        if rl and start in arms:
            change = tokens.mean() / (arms[start]["latent_steps"].mean() + AROUND) - 1
        table[name] = {
            "runs": rows["seed"].nunique(),
            "n": accuracy.n,
            "accuracy": accuracy.value,
            "low": accuracy.low,
            "high": accuracy.high,
            "tokens": tokens.mean(),
            "least": tokens.min(),
            "most": tokens.max(),
            "sd": tokens.std(ddof=0),
            "change": change,
            "ratio": chain_tokens / tokens.mean(),
        }
    return pd.DataFrame(table).T


def fixed(controls: pd.DataFrame) -> pd.DataFrame:
    """Rows of the controls with a fixed number of latents, which is column `n`."""
    rows = controls[controls["control"].str.fullmatch(r"\d+ latents")]
    return rows.assign(n=rows["control"].str.partition(" ")[0].astype(int))


def least_enough(
    controls: pd.DataFrame, trained: int, within: float = 0.01
) -> dict[int, int]:
    """By number of steps the fewest latents that do no worse than the trained number.

    Args:
        controls: rows of `lrkit.study.adaptive_arms.control_answers`.
        trained: number of latents that the start was trained with, at most.
        within: share of right answers by which fewer may be worse.

    Raises:
        ValueError: where the trained number was not tried.
    """
    share = fixed(controls).groupby(["n_steps", "n"])["correct"].mean().unstack()
    if trained not in share:
        raise ValueError(f"{trained} latents were not tried: {list(share)} were.")
    share = share.loc[:, share.columns <= trained]
    enough = share.ge(share[trained] - within - 1e-9, axis=0)
    return {int(k): int(n) for k, n in enough.idxmax(axis=1).items()}


def slack_removed(
    before: pd.Series, after: pd.Series, n_steps: pd.Series, least: Mapping[int, int]
) -> dict[str, float]:
    """What of the latents that are not needed reinforcement learning took away.

    Args:
        before: latents of each question before.
        after: and after.
        n_steps: steps of each question.
        least: latents that suffice, by number of steps, see `least_enough`.

    Returns:
        Means over the questions: `before`, `after`, `enough`, the `slack` that there
        was, and the share of it that is `removed`, more than 1 where less is taken than
        suffices; NaN where there was none.
    """
    enough = float(n_steps.map(least).mean())
    b, a = float(before.mean()), float(after.mean())
    slack = b - enough
    return {
        "before": b,
        "after": a,
        "enough": enough,
        "slack": slack,
        "removed": (b - a) / slack if slack > 0 else float("nan"),
    }


def _resampled(
    rows: pd.DataFrame, statistic: Callable[[np.ndarray, np.ndarray], float], y: str,
    seed: int, n_boot: int,
) -> Estimate:  # fmt: skip
    """A statistic of (latents, y), questions and random seeds resampled."""
    x, y = matrix(rows, "latent_steps"), matrix(rows, y)
    rng = np.random.default_rng(seed)

    def drawn() -> float:
        k = rng.integers(0, len(x), len(x))[:, None]
        q = rng.integers(0, x.shape[1], x.shape[1])
        return statistic(x[k, q].ravel(), y[k, q].ravel())

    value = statistic(x.ravel(), y.ravel())
    if np.isnan(value):
        return Estimate(value, value, value, x.shape[1])
    low, high = np.nanquantile([drawn() for _ in range(n_boot)], [0.025, 0.975])
    return Estimate(value, float(low), float(high), x.shape[1])


def errors_by_length(
    rows: pd.DataFrame, seed: int = 0, n_boot: int = N_BOOT // 4
) -> Estimate:
    """Slope of a straight line through the errors (0 or 1) over the latents.

    Points of error, as a share, for each latent more; bootstrap interval over questions
    and random seeds. NaN where all thoughts are of one length.
    """

    def slope(latents: np.ndarray, correct: np.ndarray) -> float:
        if np.ptp(latents) == 0:
            return float("nan")
        return float(np.polyfit(latents, 1 - correct, 1)[0])

    return _resampled(rows, slope, "correct", seed, n_boot)


def follows_steps(
    rows: pd.DataFrame, seed: int = 0, n_boot: int = N_BOOT // 4
) -> Estimate:
    """Spearman's rank correlation of latents with the number of steps.

    NaN where either does not vary; interval as in `errors_by_length`.
    """

    def rank(latents: np.ndarray, n_steps: np.ndarray) -> float:
        if np.ptp(latents) == 0 or np.ptp(n_steps) == 0:
            return float("nan")
        return float(stats.spearmanr(latents, n_steps).statistic)

    return _resampled(rows, rank, "n_steps", seed, n_boot)
