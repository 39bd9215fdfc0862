"""How fragile is CODI? Short runs of many random seeds, one thing changed in each arm.

"Learning When to Stop" calls CODI's training fragile and says that a count would be too
dear at its size (appendix A). Here a run is 300 optimizer steps of 32 rows of clock
arithmetic with one or two steps: so short that twenty random seeds of each arm can be
had, and just long enough that a run may learn, or not, to answer at once. Two ways to
fail are counted. A run *diverges* where a guard would have acted: nothing is restored,
and the losses are judged afterwards by the guard's own rule. It has *learned* where it
answers most problems of one step. There are no arms with a guard: one that does not act
leaves a run as it was, to the bit (`tests/test_guard_unnoticed.py`).

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
from lrkit.data.problems import Question
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
STEPS, BATCH, ROWS, ASKED = 300, 32, 2000, 1000
MOST_STEPS, N_LATENTS = 2, 2  # of a problem, and of a thought
LEARNED = 0.5  # share of right answers to problems of one step; chance is 0.1
# The rule of `lrkit.guard`, for runs as short as these.
RULE = GuardSettings(window=10, patience=10)
# A guard that never acts: the run goes on, and is judged afterwards.
WATCHED = GuardSettings(window=10**6, max_restores=0)


@dataclass(frozen=True)
class Trial:
    """One arm: settings of the profile's latent half that are changed, and the rest.

    Attributes:
        changes: of `lrkit.profiles.LatentSettings`.
        frozen: whether the rows of the special tokens stay as they began, as those of
            CODI's reference do.
        share: of the training rows.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    frozen: bool = False
    share: float = 1.0


# The rate is that of the study of the methods; 3e-3 is GPT-2's in the CODI paper. At
# 1e-1 nothing can be learned: what does its loss look like?
CODI = "CODI"
ARMS: dict[str, Trial] = {
    CODI: Trial(),
    "gamma 20": Trial({"gamma": 20.0}),
    "rate 3e-3": Trial({"learning_rate": 3e-3}),
    "rate 1e-2": Trial({"learning_rate": 1e-2}),
    "rate 1e-1": Trial({"learning_rate": 1e-1}),
    "last step kept": Trial({"keep_last_step": True}),
    "15 % less data": Trial(share=0.85),
    "identity": Trial({"codi_map": "identity"}),
    "linear + norm": Trial({"codi_map": "linear"}),
    "soft embedding": Trial({"codi_map": "superposition"}),
    "special tokens frozen": Trial(frozen=True),
}


def settings_of(profile: Profile, arm: str) -> LatentSettings:
    """The profile's settings at the size of this study, with the arm's changes."""
    small = replace(
        profile.latent, steps=STEPS, batch_size=BATCH, eval_rows=ASKED,
        n_latents=N_LATENTS,
    )  # fmt: skip
    return replace(small, **ARMS[arm].changes)


def short_problems(problems: Sequence[Question]) -> list[Question]:
    """Those of so few steps that a short run can learn them."""
    return [problem for problem in problems if problem.n_steps <= MOST_STEPS]


def rows_to_read(settings: LatentSettings, arm: str, seed: int) -> list[Question]:
    """The short training problems of an arm: `ROWS`, or its share of them; each is read
    several times.

    Raises:
        ValueError: where the settings give fewer.
    """
    found = short_problems(training_problems(settings, seed))[:ROWS]
    if len(found) < ROWS:
        raise ValueError(f"{len(found)} of {ROWS} problems are as short: give more.")
    return found[: round(ROWS * ARMS[arm].share)]


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
            problems=rows_to_read(settings, arm, seed),
            settings=replace(methods, run=logged),
            folder=Path(folder),
            seed=seed,
            frozen=trial.frozen,
        )
        row: dict[str, Any] = {"arm": arm, "seed": seed, "steps": settings.steps}
        try:
            solver = codi(training, WATCHED)
        except Diverged as error:  # NaN
            return row | {
                "diverged_at": error.step,
                "highest_loss": "",
                "last_loss": "",
                "accuracy_validation": "",
                "accuracy_one_step": "",
                "learned": 0,
                "seconds": round(time.time() - start, 1),
            }
        log = training.logs()["codi"]
    losses = [entry["loss"] for entry in log if "loss" in entry]
    found = diverged_at(losses)
    asked = short_problems(evaluation_problems(settings, "validation"))
    rows = evaluate(solver, asked)
    one_step = float(rows["correct"][rows["n_steps"] == 1].mean())
    return row | {
        "diverged_at": "" if found is None else found,
        "highest_loss": round(max(losses), 4),
        "last_loss": round(sum(losses[-10:]) / len(losses[-10:]), 4),
        "accuracy_validation": round(float(rows["correct"].mean()), 4),
        "accuracy_one_step": round(one_step, 4),
        "learned": int(one_step > LEARNED),
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
