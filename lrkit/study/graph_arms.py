"""The methods on graphs: which of two concepts does a person lead to?

COCONUT's own example of a task that needs a search (ProsQA, arXiv 2412.06769), at the
size of a base of a million parameters. `python -m lrkit.study.graph_arms` (a part of
`make study`) appends one row for each method and random seed to
`results/graph_arms.csv`. Beside answers and controls a run leaves `-nodes.csv`: where
the next written step would stand after each latent, see `lrkit.study.breadth`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lrkit.data.problem_sets import evaluation_problems
from lrkit.latent.solvers import SlotSolver
from lrkit.latent.trained import trained
from lrkit.profiles import LatentSettings, Profile
from lrkit.study.breadth import node_masses
from lrkit.study.latent_arms import run_arm
from lrkit.study.recording import record_runs, slug, write_rows

FOLDER = "graph_arms"
TABLE = f"{FOLDER}.csv"
METHODS = ("CoT", "No-CoT", "pause", "COCONUT", "CODI", "SIM-CoT, results")
BY_CURRICULUM = ("pause", "COCONUT")  # these have read a step behind k latents
# A chain has 2 or 3 steps. Graphs take long to grow: fewer rows, each read twice.
CHANGES = {
    "base": "think-graphs", "task": "small graphs", "train_rows": 20_000,
    "stages": 3, "n_latents": 3,
}  # fmt: skip
LOOKED_AT = 150  # problems whose nodes are looked at one by one


def settings_of(profile: Profile) -> LatentSettings:
    """The profile's settings, on graphs."""
    return replace(profile.latent, **CHANGES)


def solver_of(profile: Profile, method: str, seed: int = 0) -> SlotSolver:
    """The solver of a method and random seed: trained now, or found as trained."""
    return trained(settings_of(profile), method, seed)[0]


def run_one(profile: Profile, arm: str, seed: int, out: Path) -> dict:
    """Train and evaluate one (method, random seed); the row of the table."""
    settings, name = settings_of(profile), f"{slug(arm)}-{seed}"
    row = {"arm": arm, "seed": seed, "steps": settings.steps}
    row |= run_arm(settings, arm, seed, out / FOLDER, name)
    if arm in BY_CURRICULUM:
        solver = solver_of(profile, arm, seed)
        some = evaluation_problems(settings, "validation")[:LOOKED_AT]
        masses = node_masses(solver, some, range(1, solver.n_latents + 1))
        write_rows(masses, out / FOLDER / f"{name}-nodes.csv")
    return row


def main() -> None:
    """The command line of this part of `make study`."""
    record_runs(__doc__, METHODS, TABLE, run_one)


if __name__ == "__main__":
    main()
