"""Chains that reinforcement learning has cut down: what a latent thought competes with.

The sources compare latent thoughts with explicit chains; a chain can be made shorter,
too. The start writes equations and, seldom, results alone ("mixed chains"), so that
there is something to choose. Then GRPO pays for right answers and for length:
`python -m lrkit.study.short_chain_arms` (a part of `make study`) appends one row for
each length term and random seed to `results/short_chain_arms.csv`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from lrkit.cache import fingerprint, run_folder
from lrkit.data.problem_sets import training_problems
from lrkit.latent.families import MODULES
from lrkit.latent.grpo import GRPOSettings
from lrkit.latent.short_chains import ShortChainSettings, shorten
from lrkit.latent.trained import run_key, trained
from lrkit.profiles import LatentSettings, Profile
from lrkit.study.latent_arms import answers
from lrkit.study.recording import record_runs, slug, write_rows
from lrkit.study.scoreboard import COSTS

FOLDER = "short_chain_arms"
TABLE = f"{FOLDER}.csv"
START = "mixed chains"
START_STEPS = 200
OTHERS = 500
RUN = GRPOSettings(60, 8, 8, 2e-4, max_completion=64, save_steps=20)
SPLITS = ("validation", "test")
CODE = (
    *MODULES,
    "lrkit.latent.grpo",
    "lrkit.latent.rewards",
    "lrkit.latent.short_chains",
)

# Where all samples of a question are right, GRPO divides by the spread of what is left:
# so Kimi's weight matters for the others alone.
ARMS: dict[str, ShortChainSettings | None] = {
    "start": None,
    "answer alone": ShortChainSettings(RUN, "none"),
    "Kimi's length reward": ShortChainSettings(RUN, "kimi"),
    "ThinkPrune": ShortChainSettings(RUN, "thinkprune", limits=(32, 20, 12)),
    "relative length": ShortChainSettings(RUN, "relative"),
}


def settings_of(profile: Profile) -> LatentSettings:
    """The profile's settings for the start."""
    return replace(profile.latent, steps=min(START_STEPS, profile.latent.steps))


def run_one(profile: Profile, arm: str, seed: int, out: Path) -> dict:
    """Cut the chains of the start of a random seed; the row of the table.

    Beside it lie the answers with what they cost, and the log of the run: step, share
    of right samples, mean length of the chain in tokens, mean reward.
    """
    settings, term = settings_of(profile), ARMS[arm]
    solver, _ = trained(settings, START, seed)
    start, log = run_key(settings, START, seed), []
    key = fingerprint({"start": start, "term": term, "seed": seed}, CODE)
    if term is not None:
        n = term.run.steps * term.run.questions
        more = replace(settings, train_rows=n)
        problems = training_problems(more, OTHERS + seed)  # not those of the start
        folder = run_folder("short-chains", key)
        _, log = shorten(solver.model.base, solver.rows, problems, term, folder, seed)
    scored = answers(solver, settings, SPLITS)
    folder, name = out / FOLDER, f"{slug(arm)}-{seed}"
    shown = scored[["id", "split", "n_steps", "answer", "correct", *COSTS]]
    write_rows(shown, folder / f"{name}.csv")
    (folder / f"{name}-log.json").write_text(json.dumps(log) + "\n")
    row = {"arm": arm, "seed": seed, "steps": 0 if term is None else term.run.steps}
    for split, part in scored.groupby("split", sort=False):
        row[f"accuracy_{split}"] = round(float(part["correct"].mean()), 4)
        row[f"tokens_{split}"] = round(float(part["text_tokens"].mean()), 2)
    return row | {"key": key}


def main() -> None:
    """The command line of this part of `make study`."""
    record_runs(__doc__, ARMS, TABLE, run_one)


if __name__ == "__main__":
    main()
