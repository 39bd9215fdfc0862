"""The recorded experiment of Latent-Guided Reasoning: does guidance help a writer?

A ceiling hides everything: the embedded bases write their chains without an error. So
the writer is a fresh network of one layer (`SMALL`) that is still learning when its
training ends, and the thinker is an embedded base that works the task out in words.
Such a writer learns all at once, sooner or later by luck: a single random seed of an
arm says little.

`python -m lrkit.study.lgr_arms` (a part of `make study`) appends one row for each arm
and random seed to `results/lgr_arms.csv`. Beside it lie the answers with their costs
and the share of right equations, and for every executor the answers under the controls
of `lrkit.study.guidance_controls`.

What guidance has to beat is not the writer alone: an executor has slots between
question and chain, which may help whatever they hold. So one executor is trained blind,
with zeros in place of the guidance.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from lrkit.cache import fingerprint
from lrkit.data.chains import parse_steps
from lrkit.data.problem_sets import evaluation_problems, splits_of
from lrkit.data.problems import Problem
from lrkit.latent.lgr_methods import LgrSettings
from lrkit.latent.lgr_solver import GivenChainSolver, LgrSolver
from lrkit.latent.lgr_trained import (
    BASELINE_CODE,
    BASELINES,
    CODE,
    Pair,
    trained_baseline,
    trained_executor,
    trained_thinker,
)
from lrkit.latent.solvers import Solution, Solver
from lrkit.latent.trained import run_key, trained
from lrkit.profiles import Profile
from lrkit.study.fresh_bases import fresh_base
from lrkit.study.guidance_controls import guidance_answers
from lrkit.study.latent_controls import zeroed
from lrkit.study.recording import record_runs, slug, write_rows
from lrkit.study.scoreboard import COSTS, evaluate

FOLDER = "lgr_arms"
TABLE = f"{FOLDER}.csv"
LARGE = "think-narrow"
SMALL = (1, 64)  # layers and width of the writer
BLIND = ("zeros", zeroed)


@dataclass(frozen=True)
class LgrArm:
    """One arm.

    Attributes:
        system: "guided", "thinker", "given chain", or one of
            `lrkit.latent.lgr_trained.BASELINES` for the writer alone.
        lgr: what is set otherwise than in `LgrSettings`.
        blind: the executor is trained with zeros for guidance, and answers with them.
        small: layers and width of the writer.
        large: base of the thinker.
    """

    system: str = "guided"
    lgr: dict[str, Any] = field(default_factory=dict)
    blind: bool = False
    small: tuple[int, int] = SMALL
    large: str = LARGE


WITHOUT_RECON = {"losses": ("task",)}
ARMS: dict[str, LgrArm] = {
    "writer alone": LgrArm("CoT"),
    "guided": LgrArm(),
    "guided, blind": LgrArm(blind=True),
    "guided, no reconstruction": LgrArm(lgr=WITHOUT_RECON),
    "guided, reconstruction alone": LgrArm(lgr={"losses": ("recon",)}),
    "guided, reconstruction sees the question": LgrArm(
        lgr={"recon_sees_question": True}
    ),
    "guided, question unseen": LgrArm(lgr={"executor_sees_question": False}),
    "guided, K = 1": LgrArm(lgr={"n_thoughts": 1}),
    "guided, K = 10": LgrArm(lgr={"n_thoughts": 10}),
    "thinker alone": LgrArm("thinker"),
    "given chain": LgrArm("given chain"),
    **{name: LgrArm(name) for name in BASELINES if name != "CoT"},
    **{
        f"{name}, writer of {layers} x {width}": replace(arm, small=(layers, width))
        for layers, width in ((1, 48), (1, 128), (2, 64))
        for name, arm in (
            ("writer alone", LgrArm("CoT")),
            ("guided", LgrArm()),
            ("guided, blind", LgrArm(blind=True)),
        )
    },
    "guided, wide thinker": LgrArm(large="think-wide"),
}


def pair_of(profile: Profile, arm: LgrArm) -> Pair:
    """The settings of thinker and writer: one task, one number of optimizer steps."""
    large = replace(profile.latent, base=arm.large)
    base = fresh_base(*arm.small, tokenizer=LARGE)
    # A fresh network learns faster and may be trained at a higher rate.
    small = replace(large, base=base, learning_rate=3 * large.learning_rate)
    return Pair(large, small, replace(LgrSettings(), **arm.lgr))


def solver_of(
    profile: Profile, arm: LgrArm, seed: int = 0
) -> tuple[Solver, dict[str, list[dict]]]:
    """The solver of an arm, trained now or found, and the logs of its last run."""
    pair = pair_of(profile, arm)
    if arm.system == "guided":
        return trained_executor(pair, seed, BLIND if arm.blind else None)
    if arm.system == "thinker":
        return trained_thinker(pair.large, pair.lgr, seed)
    if arm.system != "given chain":
        return trained_baseline(arm.system, pair.small, seed, pair.large)
    writer, _ = trained(pair.large, "CoT", seed)
    reader, logs = trained_baseline("CoT", pair.small, seed)
    return GivenChainSolver(writer, reader.model, reader.rows), logs


@dataclass
class Heard:
    """A solver whose solutions are kept beside their rows.

    Attributes:
        solver: that answers.
        solutions: of the last questions.
    """

    solver: Solver
    solutions: list[Solution] = field(default_factory=list)

    def solve(self, questions: Sequence[str]) -> list[Solution]:
        """As the solver does."""
        self.solutions = self.solver.solve(questions)
        return self.solutions


def right_equations(text: str, problem: Problem) -> tuple[int, int]:
    """(equations that the problem's chain has, equations written)."""
    written = parse_steps(text)
    return sum(step in problem.steps for step in written), len(written)


def answered(solver: Solver, problems: Sequence[Problem]) -> pd.DataFrame:
    """Rows of `evaluate`, and `right`, `equations`: see `right_equations`."""
    heard = Heard(solver)
    rows = evaluate(heard, problems)
    counts = [
        right_equations(said.text, problem)
        for said, problem in zip(heard.solutions, problems, strict=True)
    ]
    return rows.assign(
        right=[right for right, _ in counts], equations=[n for _, n in counts]
    )


def run_one(profile: Profile, arm: str, seed: int, out: Path) -> dict:
    """Train and evaluate one (arm, random seed); the row of the table."""
    about, began = ARMS[arm], time.time()
    settings = pair_of(profile, about).large
    solver, logs = solver_of(profile, about, seed)
    row: dict[str, Any] = {"arm": arm, "seed": seed, "steps": settings.steps}
    row["train_seconds"] = round(time.time() - began, 1)
    folder, name = out / FOLDER, f"{slug(arm)}-{seed}"
    scored = pd.concat(
        [
            answered(solver, evaluation_problems(settings, split))
            for split in splits_of(settings)
        ],
        ignore_index=True,
    )
    columns = ["id", "split", "n_steps", "answer", "correct", *COSTS]
    write_rows(scored[[*columns, "right", "equations"]], folder / f"{name}.csv")
    for split, part in scored.groupby("split", sort=False):
        row[f"accuracy_{split}"] = round(float(part["correct"].mean()), 4)
    if isinstance(solver, LgrSolver):
        tried = guidance_answers(solver, evaluation_problems(settings, "validation"))
        kept = ["id", "control", "n_steps", "answer", "correct"]
        write_rows(tried[kept], folder / f"{name}-controls.csv")
    curve = {
        part: [[r["step"], round(r["loss"], 4)] for r in log if "loss" in r]
        for part, log in logs.items()
    }
    (folder / f"{name}-loss.json").write_text(json.dumps(curve) + "\n")
    return row | {"key": key_of(profile, about, seed)}


def key_of(profile: Profile, arm: LgrArm, seed: int) -> str:
    """Fingerprint of what an arm is made from; its writer's folder is not, for that
    lies elsewhere on every machine."""
    pair = pair_of(profile, arm)
    thinker = run_key(pair.large, "LGR thinker", seed)
    made = [thinker, arm, pair.lgr, pair.small.learning_rate]
    return fingerprint(made, (*CODE, *BASELINE_CODE))


def main() -> None:
    """The command line of this part of `make study`."""
    record_runs(__doc__, ARMS, TABLE, run_one)


if __name__ == "__main__":
    main()
