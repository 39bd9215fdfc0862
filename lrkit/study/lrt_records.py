"""What a run of Latent Reasoning Tuning leaves beside its row of the table.

Answers with their costs in and out of domain; the same under controls that change the
latents; both modes of each question, from which every router can be worked out; pass@k;
seconds and memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import pandas as pd

from lrkit.data.other_words import OTHER, TRAINED, in_words
from lrkit.data.problem_sets import SPLITS, evaluation_problems
from lrkit.data.problems import Question
from lrkit.latent.hybrid import HybridSolver
from lrkit.latent.prefilled import EQUATIONS
from lrkit.latent.sampling import SamplingSolver
from lrkit.latent.solvers import SlotSolver, Solver
from lrkit.models import device
from lrkit.profiles import LatentSettings
from lrkit.study.hybrid_modes import both_ways
from lrkit.study.latency import latency
from lrkit.study.latent_controls import controls
from lrkit.study.pass_at_k import samples, table
from lrkit.study.recording import write_rows
from lrkit.study.scoreboard import COSTS, evaluate

WORDED = {"trained words": TRAINED, "other words": OTHER}
N_SAMPLED, N_SAMPLES = 200, 8  # questions, and draws of each
N_DRAWN = 4  # of each question in both wordings
N_TIMED = 64


def problems_of(settings: LatentSettings, split: str) -> list[Question]:
    """Those of a split; "trained words" and "other words" are test's, told anew."""
    if split not in WORDED:
        return evaluation_problems(settings, split)
    return [in_words(p, WORDED[split]) for p in evaluation_problems(settings, "test")]


def keep(rows: pd.DataFrame, stem: Path, what: str, columns: Sequence[str]) -> None:
    """Write some columns to `<stem><what>.csv`."""
    write_rows(rows[list(columns)], stem.with_name(f"{stem.name}{what}.csv"))


def answers(
    solver: SlotSolver, settings: LatentSettings, stem: Path
) -> dict[str, float]:
    """`<stem>.csv`, and the accuracy of each split by the name of its column."""
    parts = {
        split: evaluate(solver, problems_of(settings, split))
        for split in (*SPLITS, *WORDED)
    }
    rows = pd.concat(
        [part.assign(split=split) for split, part in parts.items()], ignore_index=True
    )
    keep(rows, stem, "", ("id", "split", "n_steps", "answer", "correct", *COSTS))
    return {
        f"accuracy_{split.replace(' ', '_')}": round(float(part["correct"].mean()), 4)
        for split, part in parts.items()
    }


def latents(solver: SlotSolver, settings: LatentSettings, stem: Path) -> None:
    """`-controls`, `-modes`, `-pass` and `-drawn`: of a solver with latents beside a
    base that was not changed. What is chosen later is chosen on validation."""
    splits = {s: problems_of(settings, s) for s in ("validation", "test")}
    t = solver.n_latents
    fewer = [n for n in (0, 1, 2, 4, 8, 16) if n < t]
    tried = pd.concat(
        [
            evaluate(other, splits["validation"]).assign(control=name)
            for name, other in controls(solver, fewer).items()
        ],
        ignore_index=True,
    )
    keep(tried, stem, "-controls", ("id", "control", "n_steps", "answer", "correct"))
    hybrid = HybridSolver.of(solver, begun=EQUATIONS)
    modes = pd.concat(
        [both_ways(hybrid, part).assign(split=s) for s, part in splits.items()],
        ignore_index=True,
    )
    keep(modes, stem, "-modes", ("split", *modes.columns.drop("split")))
    sampling = SamplingSolver(
        **{f.name: getattr(solver, f.name) for f in fields(SlotSolver)}
    )
    passed = table(
        samples(sampling, splits["test"][:N_SAMPLED], N_SAMPLES)
    ).reset_index()
    keep(passed, stem, "-pass", passed.columns)
    shares = pd.concat(
        [drawn(solver, problems_of(settings, s)).assign(split=s) for s in WORDED],
        ignore_index=True,
    )
    keep(shares, stem, "-drawn", ("split", "id", "share"))


def drawn(
    solver: SlotSolver, problems: Sequence[Question], n: int = N_DRAWN
) -> pd.DataFrame:
    """Of each question the share of n drawn answers that are right: `id`, `share`.

    They are drawn as reinforcement learning draws them, at temperature 1.
    """
    own = {f.name: getattr(solver, f.name) for f in fields(SlotSolver)}
    found = samples(SamplingSolver(**own, temperature=1.0, top_p=1.0), problems, n)
    share = found.groupby("id")["correct"].mean()
    ids = [p.id for p in problems]
    return pd.DataFrame({"id": ids, "share": share[ids].to_numpy()})


def timed(solvers: Mapping[str, Solver], settings: LatentSettings, stem: Path) -> None:
    """`-latency`: of solvers that take turns on questions of validation."""
    questions = [p.question for p in problems_of(settings, "validation")[:N_TIMED]]
    rows = latency(solvers, questions, device())
    keep(rows, stem, "-latency", rows.columns)
