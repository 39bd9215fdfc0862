"""The recorded experiment of the latent half: methods x random seeds, one task.

`make study` trains every arm with every random seed of the `study` profile from the
same base, with the same number of optimizer steps, and answers the same problems in and
out of distribution. A run appends one row to `results/latent_arms.csv`; its answers
and its controls lie in `results/latent_arms/`. Rows that are there are skipped, and a
killed run goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from lrkit.data.problem_sets import evaluation_problems, splits_of
from lrkit.latent.solvers import SlotSolver
from lrkit.latent.trained import run_key, trained
from lrkit.paths import results_dir
from lrkit.profiles import LatentSettings, Profile
from lrkit.study.latent_controls import controls, diversity, readings
from lrkit.study.recording import record_runs, slug, write_rows
from lrkit.study.scoreboard import COSTS, evaluate

FOLDER = "latent_arms"
TABLE = f"{FOLDER}.csv"


@dataclass(frozen=True)
class LatentArm:
    """One arm: a method, and what is set otherwise than in the profile."""

    method: str
    changes: dict[str, Any] = field(default_factory=dict)


MAIN = ("CoT", "short CoT", "No-CoT", "pause", "step dropping", "COCONUT", "CODI")
ARMS: dict[str, LatentArm] = {name: LatentArm(name) for name in MAIN} | {
    "No-CoT, 4 times the steps": LatentArm("No-CoT", {"steps": 2400}),
    "COCONUT at once": LatentArm("COCONUT at once"),
    "COCONUT, unscaled": LatentArm("COCONUT", {"scale": 1.0}),
    "CODI, identity map": LatentArm("CODI", {"codi_map": "identity"}),
    "CODI, last step kept": LatentArm("CODI", {"keep_last_step": True}),
    "CODI, 4 times the steps": LatentArm("CODI", {"steps": 2400}),
    "CODI, gamma 20": LatentArm("CODI", {"gamma": 20.0}),
    "CODI, no distillation": LatentArm("CODI", {"gamma": 0.0}),
    "CODI, no latents": LatentArm("CODI", {"n_latents": 0}),
    "CODI, teacher of results": LatentArm("CODI", {"codi_chain": "results"}),
    "CODI, teacher of results, gamma 20": LatentArm(
        "CODI", {"codi_chain": "results", "gamma": 20.0}
    ),
    "CODI, teacher of results, 4 times the steps": LatentArm(
        "CODI", {"codi_chain": "results", "steps": 2400}
    ),
    "SIM-CoT": LatentArm("SIM-CoT"),
    "SIM-CoT, results": LatentArm("SIM-CoT, results"),
    "SIM-CoT, results, no distillation": LatentArm("SIM-CoT, results", {"gamma": 0.0}),
    "CODI, read": LatentArm("CODI, read"),
    "CODI, 3 rounds": LatentArm("CODI", {"codi_rounds": 3}),
    "CODI, 1 round": LatentArm("CODI", {"codi_rounds": 1}),
    "answer, then chain": LatentArm("answer, then chain"),
    "stepwise internalisation": LatentArm("stepwise internalisation"),
    # Appendix A of "Learning When to Stop"; its fifth variant is CODI.
    "CODI, middle block": LatentArm("CODI", {"codi_blocks": (2, 2)}),
    "meaned": LatentArm("CODI", {"codi_targets": ("thought",), "keep_last_step": True}),
    "meaned, middle block": LatentArm(
        "CODI",
        {"codi_targets": ("thought",), "keep_last_step": True, "codi_blocks": (2, 2)},
    ),
    "meaned + CODI": LatentArm("CODI", {"codi_targets": ("cue", "thought")}),
    "CODI, 12 latents": LatentArm("CODI", {"n_latents": 12}),
    "CODI, 24 latents": LatentArm("CODI", {"n_latents": 24}),
    "COCONUT, 3 latents a step": LatentArm("COCONUT", {"latents_per_step": 3}),
}
# What the notebook on CODI leaves to the one on its relatives.
APPENDIX_A = (
    "CODI", "CODI, middle block", "meaned", "meaned, middle block", "meaned + CODI",
)  # fmt: skip
RELATIVES = (
    *APPENDIX_A[1:], "answer, then chain", "stepwise internalisation",
    "CODI, 3 rounds", "CODI, 1 round",
)  # fmt: skip
OTHER_NUMBERS = (0, 1, 2, 3, 4, 5, 6, 8, 12)


def settings_of(profile: Profile, arm: str) -> LatentSettings:
    """The profile's settings, with the changes of an arm."""
    return replace(profile.latent, **ARMS[arm].changes)


def solver_of(profile: Profile, arm: str, seed: int = 0) -> SlotSolver:
    """The solver of one arm and random seed: trained now, or found as trained."""
    return trained(settings_of(profile, arm), ARMS[arm].method, seed)[0]


def answers(
    solver: SlotSolver, settings: LatentSettings, splits: Sequence[str] = ()
) -> pd.DataFrame:
    """Rows of `evaluate` on some splits, or on all of them."""
    wanted = splits or splits_of(settings)
    return pd.concat(
        [evaluate(solver, evaluation_problems(settings, s)) for s in wanted],
        ignore_index=True,
    )


def control_answers(solver: SlotSolver, settings: LatentSettings) -> pd.DataFrame:
    """Rows of `evaluate` on validation under every control, column `control`.

    Validation, because numbers of latents are tried that nobody trained: what one
    learns here may change a method, and the test set is for the end.
    """
    problems = evaluation_problems(settings, "validation")
    found = controls(solver, OTHER_NUMBERS)
    parts = [
        evaluate(other, problems).assign(control=name) for name, other in found.items()
    ]
    return pd.concat(parts, ignore_index=True)


def run_one(profile: Profile, arm: str, seed: int, out: Path) -> dict:
    """Train and evaluate one (arm, random seed); writes its answers and controls."""
    settings = settings_of(profile, arm)
    row = {"arm": arm, "seed": seed, "steps": settings.steps}
    return row | run_arm(
        settings, ARMS[arm].method, seed, out / FOLDER, f"{slug(arm)}-{seed}"
    )


def run_arm(
    settings: LatentSettings, method: str, seed: int, folder: Path, name: str
) -> dict:
    """Train and evaluate a method.

    Args:
        settings: of the run.
        method: one of `lrkit.latent.methods.METHODS`.
        seed: random seed.
        folder: for answers, controls, latents, readings and loss curves.
        name: what their file names begin with.

    Returns:
        What a row of a table says of the run: accuracies by split, times, its key.
    """
    start = time.time()
    solver, logs = trained(settings, method, seed)
    seconds = sum(log[-1].get("train_runtime", 0.0) for log in logs.values())
    train_seconds = max(seconds, time.time() - start)
    folder.mkdir(parents=True, exist_ok=True)

    def keep(table: pd.DataFrame, what: str) -> None:
        write_rows(table, folder / f"{name}{what}.csv")

    scored = answers(solver, settings)
    keep(scored[["id", "split", "n_steps", "answer", "correct", *COSTS]], "")
    if solver.n_latents:
        tried = control_answers(solver, settings)
        keep(tried[["id", "control", "n_steps", "answer", "correct"]], "-controls")
        problems = evaluation_problems(settings, "validation")
        if not solver.pause:
            keep(diversity(solver, problems), "-latents")
        if getattr(solver.model, "step_decoder", None) is not None:
            keep(readings(solver, problems), "-read")
    curve = {
        stage: [[r["step"], round(r["loss"], 4)] for r in log if "loss" in r]
        for stage, log in logs.items()
    }
    (folder / f"{name}-loss.json").write_text(json.dumps(curve) + "\n")
    return {
        f"accuracy_{split}": round(float(part["correct"].mean()), 4)
        for split, part in scored.groupby("split", sort=False)
    } | {
        "restorations": sum("restoration" in r for log in logs.values() for r in log),
        "train_seconds": round(train_seconds, 1),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "key": run_key(settings, method, seed),
    }


def recorded(kind: str = "", folder: str = FOLDER) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A recorded experiment: a row per run, and all answers with `arm` and `seed`.

    Args:
        kind: "" the answers; "controls", "latents", "read": the other tables of the
            runs that have them.
        folder: of the experiment, the name of its table without ".csv".
    """
    runs = pd.read_csv(results_dir() / f"{folder}.csv")
    parts = []
    for run in runs.to_dict("records"):
        name = f"{slug(run['arm'])}-{run['seed']}" + (f"-{kind}" if kind else "")
        file = results_dir() / folder / f"{name}.csv"
        if file.is_file():
            parts.append(
                pd.read_csv(file, dtype={"answer": str}).assign(
                    arm=run["arm"], seed=run["seed"]
                )
            )
    return runs, pd.concat(parts, ignore_index=True)


def main() -> None:
    """The command line of this part of `make study`."""
    record_runs(__doc__, ARMS, TABLE, run_one)


if __name__ == "__main__":
    main()
