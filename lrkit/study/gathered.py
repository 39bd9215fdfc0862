"""All recorded methods on the same questions, and which of them nothing beats.

The studies of the latent half answer the same test questions from the same base; here
their answers come together, whichever of them are recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from lrkit.paths import results_dir
from lrkit.study import adaptive_tables
from lrkit.study.latent_arms import recorded
from lrkit.study.scoreboard import COSTS


@dataclass(frozen=True)
class Part:
    """Some arms of one study.

    Attributes:
        folder: of its records.
        arms: those that are shown; a name here to the arm there.
    """

    folder: str
    arms: Mapping[str, str]


def same(*names: str) -> dict[str, str]:
    """Arms that keep their names."""
    return {name: name for name in names}


PARTS = (
    Part(
        "latent_arms",
        same(
            "CoT", "short CoT", "No-CoT", "pause", "step dropping",
            "stepwise internalisation", "answer, then chain", "COCONUT", "CODI",
        )
        | {"SIM-CoT": "SIM-CoT, results"},
    ),
    Part(
        "short_chain_arms",
        {"GRPO, Kimi": "Kimi's length reward", "GRPO, ThinkPrune": "ThinkPrune"},
    ),
    Part("adaptive_arms", same("latents to spare", "latents to spare + RL")),
    Part("lrt_arms", same("LRT", "soft prompt", "LoRA No-CoT")),
    Part(
        "latent_sft_arms",
        same("Latent-SFT", "Latent-SFT, a latent a step", "Soft Thinking"),
    ),
)  # fmt: skip


def answers(
    parts: Sequence[Part] = PARTS, split: str = "test"
) -> dict[str, pd.DataFrame]:
    """Method -> rows with `id`, `seed`, `correct`, `n_steps` and the costs.

    Where a study asked more questions than another, only those that all were asked are
    given, so that differences can be paired.

    Args:
        parts: of studies; those that are not recorded are left out.
        split: of the answers.
    """
    found: dict[str, pd.DataFrame] = {}
    for part in parts:
        for name, arm in part.arms.items():
            rows = _read(part.folder, split).get(arm)
            if rows is not None:
                found[name] = rows
    if not found:
        return {}
    common = set.intersection(*(set(rows["id"]) for rows in found.values()))
    columns = ["id", "seed", "n_steps", "correct", *COSTS]
    return {
        name: rows.loc[rows["id"].isin(common), columns].reset_index(drop=True)
        for name, rows in found.items()
    }


def _read(folder: str, split: str) -> dict[str, pd.DataFrame]:
    if folder == adaptive_tables.FOLDER:
        return adaptive_tables.recorded(split)
    if not (results_dir() / f"{folder}.csv").is_file():
        return {}
    _, rows = recorded(folder=folder)
    return dict(list(rows[rows["split"] == split].groupby("arm")))


def pareto_front(board: pd.DataFrame, cost: str) -> list[str]:
    """Names of the methods that no other one beats, cheapest first.

    One beats another that costs as much or more and is right as often or less, if it is
    better in one of the two. Intervals are not looked at: methods whose intervals
    overlap may change places.

    Args:
        board: of `lrkit.study.scoreboard.scoreboard`.
        cost: one of its columns.
    """
    front, best = [], -1.0
    order = board.sort_values([cost, "accuracy"], ascending=[True, False])
    for name, row in order.iterrows():
        if row["accuracy"] > best:
            front.append(name)
            best = row["accuracy"]
    return front
