"""The recorded experiment of Latent-SFT: what its parts are worth, and what is in its
latents.

The same base, problems and optimizer steps of the student as in
`lrkit.study.latent_arms`, whose rows it is compared with. `python -m
lrkit.study.latent_sft_arms` (a part of `make study`) appends one row for each arm and
random seed to `results/latent_sft_arms.csv`. Beside it lie the answers with their
costs, the answers under controls, those of the decoder from the encoder's latents (the
ceiling), and the metrics of the thoughts on validation.
"""

from __future__ import annotations

import json
import resource
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd

from lrkit.cache import fingerprint
from lrkit.data.problem_sets import evaluation_problems
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.families import MODULES
from lrkit.latent.latent_sft_methods import LATENT_SFT, LONGEST
from lrkit.latent.latent_sft_solver import SuperpositionSolver, soft_thinking
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import SlotSolver
from lrkit.latent.trained import load_base, run_key, stage_one, trained
from lrkit.models import load_tokenizer
from lrkit.profiles import LatentSettings, Profile
from lrkit.study.latent_arms import answers
from lrkit.study.latent_sft_measures import (
    ceiling_answers,
    control_answers,
    rates,
    several_chains,
)
from lrkit.study.recording import record_runs, slug, write_rows
from lrkit.study.scoreboard import COSTS

FOLDER = "latent_sft_arms"
TABLE = f"{FOLDER}.csv"
OPENS = "<<"
N_PATHS = 200
SOFT, SOFT_COT, GREEDY = "Soft Thinking", "Soft Thinking, CoT", "Soft Thinking, k = 1"
MASKS = (
    "Latent-SFT, no induction mask",
    "Latent-SFT, open supervision mask",
    "Latent-SFT, no supervision mask",
)
ARMS = (SOFT, GREEDY, *LATENT_SFT, SOFT_COT)


def base_solver(settings: LatentSettings) -> SlotSolver:
    """The base as it is, writing its chain: nothing is trained."""
    model = SlotModel.wrap(load_base(settings)).eval()
    tokenizer = load_tokenizer(settings.base)
    rows = ChainRows.of(model, tokenizer, settings.context)
    return SlotSolver(model, rows, writes_chain=True)


def soft_solver(
    settings: LatentSettings, arm: str = SOFT, seed: int = 0
) -> SuperpositionSolver:
    """Soft Thinking with the base or, as the arm says, with a model that CoT SFT
    trained on equations alone. The base writes results in brackets as well, so its
    thought is begun for it, with the sign that opens an equation."""
    k = 1 if arm == GREEDY else 10
    if arm == SOFT_COT:
        return soft_thinking(trained(settings, "CoT", seed)[0], k, 1.0, LONGEST[1])
    solver = soft_thinking(base_solver(settings), k, 1.0, LONGEST[1])
    begun = replace(solver.thought, think=tuple(solver.rows.encode(OPENS)))
    return replace(solver, thought=begun)


def run_one(profile: Profile, arm: str, seed: int, out: Path) -> dict:
    """Train, answer and measure one (arm, random seed); the row of the table."""
    settings, began = profile.latent, time.time()
    folder, name = out / FOLDER, f"{slug(arm)}-{seed}"

    def keep(table: pd.DataFrame, what: str) -> None:
        write_rows(table, folder / f"{name}{what}.csv")

    encoder, logs = None, {}
    if arm in LATENT_SFT:
        solver, logs = trained(settings, arm, seed)
        encoder = stage_one(settings, arm, seed)
    else:
        solver = soft_solver(settings, arm, seed)
    seconds = sum(log[-1].get("train_runtime", 0.0) for log in logs.values())
    row = {"arm": arm, "seed": seed, "steps": settings.steps if logs else 0}
    row["train_seconds"] = round(max(seconds, time.time() - began), 1)
    scored = answers(solver, settings)
    keep(scored[["id", "split", "n_steps", "answer", "correct", *COSTS]], "")
    for split, part in scored.groupby("split", sort=False):
        row[f"accuracy_{split}"] = round(float(part["correct"].mean()), 4)
    validation = evaluation_problems(settings, "validation")
    columns = ["id", "control", "n_steps", "answer", "correct"]
    keep(control_answers(solver, validation)[columns], "-controls")
    row["ceiling_validation"] = None
    if encoder is not None:
        ceiling = ceiling_answers(encoder, solver, validation)
        keep(ceiling[columns], "-ceiling")
        own = ceiling[ceiling["control"] == "none"]["correct"]
        row["ceiling_validation"] = round(float(own.mean()), 4)
    by_question, places = rates(solver, validation)
    keep(places, "-latents")
    if encoder is not None:  # elsewhere latents stand for no pieces
        keep(by_question, "-ecr")
        keep(several_chains(solver, encoder, N_PATHS), "-paths")
    curve = {
        part: [[r["step"], round(r["loss"], 4)] for r in log if "loss" in r]
        for part, log in logs.items()
    }
    (folder / f"{name}-loss.json").write_text(json.dumps(curve) + "\n")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return row | {"peak_rss_mb": peak, "key": key_of(settings, arm, seed)}


def key_of(settings: LatentSettings, arm: str, seed: int) -> str:
    """Fingerprint of what an arm is made from."""
    if arm in LATENT_SFT:
        return run_key(settings, arm, seed)
    return fingerprint({"settings": settings, "arm": arm, "seed": seed}, MODULES)


def main() -> None:
    """The command line of this part of `make study`."""
    record_runs(__doc__, ARMS, TABLE, run_one)


if __name__ == "__main__":
    main()
