"""The recorded experiment of adaptive length: schedules, and what RL makes of them.

"Learning When to Stop: Adaptive Latent Reasoning via Reinforcement Learning" (arXiv
2511.21581), its Table 1 and figures 2 and 3, on clock arithmetic. A start is trained on
85 % of the problems, reinforcement learning on the others. `python -m
lrkit.study.adaptive_arms` (a part of `make study`) appends one row for each arm and
random seed to `results/adaptive_arms.csv`; beside it lie the answers with the lengths
of their thoughts, also under controls that do not look at the question.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from lrkit.cache import fingerprint, run_folder
from lrkit.data.problem_sets import evaluation_problems, training_problems
from lrkit.data.problems import Question
from lrkit.divergence import GuardSettings
from lrkit.latent.adaptive_reward import AdaptiveRLSettings
from lrkit.latent.adaptive_rl import AdaptiveRun, adapt, held_out
from lrkit.latent.adaptive_solver import AdaptiveSolver
from lrkit.latent.families import modules_of
from lrkit.latent.grpo import GRPOSettings
from lrkit.latent.stop_policies import PlannedLengths
from lrkit.latent.trained import run_key, trained
from lrkit.profiles import LatentSettings, Profile
from lrkit.study.recording import record_runs, slug, write_rows
from lrkit.study.scoreboard import COSTS, evaluate

FOLDER = "adaptive_arms"
TABLE = f"{FOLDER}.csv"
N_MAX, N_VALIDATION = 10, 500
RL = AdaptiveRLSettings(
    GRPOSettings(200, 16, 8, 1e-4, max_completion=24, save_steps=25),
    n_max=N_MAX,
    tolerance=0.01,
    guard=GuardSettings(metric_every=25),
)
# A head that has learned a number by heart is sure of it: without heat no sample would
# be of another length, and nothing could be compared.
HOT = replace(RL, decision_temperature=3.0)
LOGGED = ("step", "reward", "accuracy", "latents", "formatted", "mastered")
CODE = (
    *modules_of("Latent-6"), "lrkit.latent.adaptive_actions",
    "lrkit.latent.adaptive_reward", "lrkit.latent.adaptive_rl",
    "lrkit.latent.best_weights", "lrkit.latent.grpo", "lrkit.latent.rewards",
)  # fmt: skip


@dataclass(frozen=True)
class AdaptiveArm:
    """One arm.

    Attributes:
        method: of the start, one of `lrkit.latent.adaptive_sft.ADAPTIVE`.
        rl: what follows; None: nothing.
    """

    method: str
    rl: AdaptiveRLSettings | None = None


STARTS = ("Latent-6", "Latent-6-by-1", "latents to spare", "one latent a step")
SWEPT = "latents to spare + RL"
ARMS: dict[str, AdaptiveArm] = (
    {name: AdaptiveArm(name) for name in STARTS}
    | {f"{name} + RL": AdaptiveArm(name, HOT) for name in STARTS[:2]}
    | {SWEPT: AdaptiveArm("latents to spare", RL)}
    | {
        f"{SWEPT}, {said}": AdaptiveArm("latents to spare", replace(RL, **changes))
        for said, changes in {
            "lambda_penalty 1e-3": {"lambda_penalty": 1e-3},
            "lambda_penalty 1e-2": {"lambda_penalty": 1e-2},
            "no length reward": {"lambda_reward": 0.0},
            "no length term": {"lambda_penalty": 0.0, "lambda_reward": 0.0},
            "p_cutoff 0.75": {"p_cutoff": 0.75},
        }.items()
    }
)


def parts(settings: LatentSettings, seed: int) -> tuple[list[Question], list[Question]]:
    """Problems for the start, and for reinforcement learning: 85 % and 15 %."""
    return held_out(training_problems(settings, seed), seed=seed)


def solver_of(
    settings: LatentSettings, arm: AdaptiveArm, seed: int
) -> tuple[AdaptiveSolver, AdaptiveRun | None, str]:
    """The solver of an arm, what its RL was like, and the key of the run."""
    given, rest = parts(settings, seed)
    solver, _ = trained(settings, arm.method, seed, given)
    start = run_key(settings, arm.method, seed, given)
    if arm.rl is None:
        return solver, None, start
    key = fingerprint({"start": start, "rl": arm.rl, "seed": seed}, CODE)
    validation = evaluation_problems(settings, "validation")[:N_VALIDATION]
    run = adapt(
        solver.model, solver.rows, rest, validation, arm.rl,
        run_folder("adaptive", key), seed,
    )  # fmt: skip
    n = arm.rl.actions(solver.rows).max_text
    solver = replace(
        solver, n_max=arm.rl.n_max, n_min=arm.rl.n_min, writes_chain=True,
        max_new_tokens=n,
    )  # fmt: skip
    return solver, run, key


def control_answers(
    solver: AdaptiveSolver, problems: list[Question], seed: int
) -> pd.DataFrame:
    """Rows of `evaluate`, column `control`: the head as it is, and policies that do not
    look at the question, namely the head's own lengths dealt out at random, always its
    mean, and every fixed number of latents."""
    own = evaluate(solver, problems)
    lengths = own["latent_steps"].tolist()
    policies = {
        "random": PlannedLengths.like(lengths, seed),
        "mean": PlannedLengths.at_mean(sum(lengths) / len(lengths), seed),
    } | {f"{n} latents": PlannedLengths.fixed(n) for n in range(N_MAX + 1)}
    blind = [
        evaluate(replace(solver, policy=policy, n_min=0, n_max=N_MAX), problems)
        for policy in policies.values()
    ]
    named = zip(("head", *policies), (own, *blind), strict=True)
    return pd.concat(
        [rows.assign(control=name) for name, rows in named], ignore_index=True
    )


def run_one(profile: Profile, arm: str, seed: int, out: Path) -> dict:
    """Train and evaluate one (arm, random seed); the row of the table."""
    settings = replace(profile.latent, eval_rows=4 * profile.latent.eval_rows)
    solver, run, key = solver_of(settings, ARMS[arm], seed)
    folder, name = out / FOLDER, f"{slug(arm)}-{seed}"

    def keep(table: pd.DataFrame, columns: list[str], what: str) -> None:
        write_rows(table[columns], folder / f"{name}{what}.csv")

    row = {"arm": arm, "seed": seed, "steps": settings.steps}
    own = ["id", "n_steps", "answer", "correct", *COSTS]
    for split in ("test", "longer"):
        answered = evaluate(solver, evaluation_problems(settings, split))
        keep(answered, own, f"-{split}")
        row[f"accuracy_{split}"] = round(float(answered["correct"].mean()), 4)
        row[f"latents_{split}"] = round(float(answered["latent_steps"].mean()), 3)
    validation = evaluation_problems(settings, "validation")[:N_VALIDATION]
    tried = control_answers(solver, validation, seed)
    shown = ["id", "control", "n_steps", "answer", "correct", "latent_steps"]
    keep(tried, shown, "-controls")
    if run is not None:
        log = [{k: r[k] for k in LOGGED} for r in run.log if "latents" in r]
        said = {"log": log, "validation": run.validation, "best": run.best}
        (folder / f"{name}-rl.json").write_text(json.dumps(said) + "\n")
    return row | {"rl_steps": ARMS[arm].rl.run.steps if run else 0, "key": key}


def main() -> None:
    """The command line of this part of `make study`."""
    record_runs(__doc__, ARMS, TABLE, run_one)


if __name__ == "__main__":
    main()
