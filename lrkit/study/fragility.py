"""How often does CODI diverge? Short runs of many random seeds, one thing changed each.

"Learning When to Stop" calls CODI's training fragile and says that a count would be too
dear at its size (appendix A). Here a run is 100 optimizer steps of 16 rows, so that
twenty random seeds of each arm can be had. Nothing is restored unless the arm says so:
what a guard would have done is read off the losses afterwards, by the guard's own rule.

`python -m lrkit.study.fragility` (a part of `make study`) appends one row for each arm
and random seed to `results/fragility.csv`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from lrkit.data.problem_sets import evaluation_problems, training_problems
from lrkit.divergence import GuardSettings, Memory
from lrkit.guard import Diverged
from lrkit.latent.methods import Training, codi
from lrkit.latent.slots import SlotModel
from lrkit.latent.trained import load_base, method_settings
from lrkit.models import load_tokenizer
from lrkit.paths import results_dir
from lrkit.profiles import LatentSettings, Profile
from lrkit.study.recording import record_runs
from lrkit.study.scoreboard import evaluate

TABLE = "fragility.csv"
SEEDS = tuple(range(20))
STEPS, BATCH, ROWS, ASKED = 100, 16, 4000, 200
# The rule of `lrkit.guard`, for runs as short as these.
RULE = GuardSettings(window=10, patience=10)
# A guard that never acts: the run goes on, and is judged afterwards.
WATCHED = GuardSettings(window=10**6, max_restores=0)


@dataclass(frozen=True)
class Trial:
    """One arm: settings of the profile's latent half that are changed, and the rest.

    Attributes:
        changes: of `lrkit.profiles.LatentSettings`.
        guarded: whether what diverges is restored.
        frozen: whether the rows of the special tokens stay as they began, as those of
            CODI's reference do.
        share: of the training rows.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    guarded: bool = False
    frozen: bool = False
    share: float = 1.0


# GPT-2's rate in the CODI paper is 3e-3; the study of the methods uses 1e-3.
ARMS: dict[str, Trial] = {
    "as published": Trial(),
    "rate 1e-3": Trial({"learning_rate": 1e-3}),
    "rate 1e-2": Trial({"learning_rate": 1e-2}),
    "rate 1e-2, guarded": Trial({"learning_rate": 1e-2}, guarded=True),
    "gamma 20": Trial({"gamma": 20.0}),
    "gamma 20, guarded": Trial({"gamma": 20.0}, guarded=True),
    "last step kept": Trial({"keep_last_step": True}),
    "identity": Trial({"codi_map": "identity"}),
    "linear + norm": Trial({"codi_map": "linear"}),
    "soft embedding": Trial({"codi_map": "superposition"}),
    "special tokens frozen": Trial(frozen=True),
    "15 % less data": Trial(share=0.85),
}


def settings_of(profile: Profile, arm: str) -> LatentSettings:
    """The profile's settings at the size of this study, with the arm's changes."""
    small = replace(
        profile.latent, steps=STEPS, batch_size=BATCH, eval_rows=ASKED,
        train_rows=round(ROWS * ARMS[arm].share), learning_rate=3e-3,
    )  # fmt: skip
    return replace(small, **ARMS[arm].changes)


def diverged_at(losses: Sequence[float], rule: GuardSettings = RULE) -> int | None:
    """The first step at which a guard would have acted, from 1; None if it never did.

    Args:
        losses: of each optimizer step, in their order.
        rule: of the guard.
    """
    memory = Memory()
    for step, loss in enumerate(losses, start=1):
        if memory.loss_fault(step, loss, rule) is not None:
            return step
    return None


@dataclass(frozen=True)
class _Training(Training):
    """A `Training` whose rows of special tokens can be frozen."""

    frozen: bool = False

    def wrapped(self, *args, **kwargs) -> SlotModel:
        """As its parent does it."""
        model = super().wrapped(*args, **kwargs)
        model.rows.requires_grad_(not self.frozen)
        return model


def run_one(profile: Profile, arm: str, seed: int, out: Path) -> dict:
    """Train once and answer validation; the row of the table."""
    trial, settings = ARMS[arm], settings_of(profile, arm)
    start = time.time()
    methods = method_settings(settings)
    logged = replace(methods.run, log_steps=1, save_steps=STEPS // 5)
    with tempfile.TemporaryDirectory() as folder:
        training = _Training(
            load_base=lambda: load_base(settings),
            tokenizer=load_tokenizer(settings.base),
            problems=training_problems(settings, seed),
            settings=replace(methods, run=logged),
            folder=Path(folder),
            seed=seed,
            frozen=trial.frozen,
        )
        guard = RULE if trial.guarded else WATCHED
        row: dict[str, Any] = {"arm": arm, "seed": seed, "steps": settings.steps}
        try:
            solver = codi(training, guard)
        except Diverged as error:  # NaN, or more often than the guard restores
            return row | {
                "diverged_at": error.step,
                "restorations": guard.max_restores,
                "highest_loss": "",
                "last_loss": "",
                "accuracy_validation": "",
                "seconds": round(time.time() - start, 1),
            }
        log = training.logs()["codi"]
    losses = [entry["loss"] for entry in log if "loss" in entry]
    found = diverged_at(losses)
    rows = evaluate(solver, evaluation_problems(settings, "validation"))
    return row | {
        "diverged_at": "" if found is None else found,
        "restorations": sum("restoration" in entry for entry in log),
        "highest_loss": round(max(losses), 4),
        "last_loss": round(sum(losses[-10:]) / len(losses[-10:]), 4),
        "accuracy_validation": round(float(rows["correct"].mean()), 4),
        "seconds": round(time.time() - start, 1),
    }


def recorded() -> pd.DataFrame:
    """The rows of the table; `diverged_at` is NaN where a run did not diverge."""
    return pd.read_csv(results_dir() / TABLE)


def main() -> None:
    """The command line of this part of `make study`."""
    record_runs(__doc__, ARMS, TABLE, run_one, SEEDS)


if __name__ == "__main__":
    main()
