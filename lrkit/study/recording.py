"""Recorded experiments: one committed row for each (arm, random seed), never twice.

A part of `make study` is a list of arms and a function that trains and scores one of
them. Here are its command line, the file of its rows, and what is skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd
import torch
import transformers

from lrkit.paths import results_dir
from lrkit.profiles import Profile, load_profile
from lrkit.quiet import hush

RunOne = Callable[[Profile, str, int, Path], dict]


def slug(name: str) -> str:
    """A file name of an arm's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def write_rows(table: pd.DataFrame, path: Path) -> None:
    """A CSV file with five digits of every number, the same on every system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, float_format="%.5g", lineterminator="\n")


def provenance() -> dict[str, str]:
    """What a row says about where it was made: `machine`, and `versions` as JSON."""
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    kind = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {kind}",
        "versions": json.dumps(versions),
    }


def append_row(path: Path, row: dict) -> None:
    """Add one row to a CSV file; columns that it or the file lack are empty there."""
    said = {name: "" if value is None else str(value) for name, value in row.items()}
    table = pd.DataFrame([said])
    if path.is_file():
        # As text: what is there stays as it was written.
        before = pd.read_csv(path, dtype=str, keep_default_na=False)
        table = pd.concat([before, table], ignore_index=True)
    half = path.with_name(f"{path.name}.part")
    table.to_csv(half, index=False, na_rep="", lineterminator="\n")
    os.replace(half, path)  # whole, or as it was


def done(path: Path) -> set[tuple[str, int]]:
    """(arm, seed) pairs that a results file holds."""
    if not path.is_file():
        return set()
    table = pd.read_csv(path)
    return set(zip(table["arm"], table["seed"].astype(int), strict=True))


def record_runs(
    description: str,
    arms: Iterable[str],
    table: str,
    run_one: RunOne,
    seeds: Sequence[int] = (),
) -> None:
    """The command line of a part of the study: run what is not recorded.

    Args:
        description: for `--help`.
        arms: names, in the order of running.
        table: name of the CSV file in the folder of results.
        run_one: profile, arm, random seed and folder to the row of a run; `seconds`
            and `provenance` are added where it does not say them.
        seeds: random seeds; () those of the profile.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--arms", nargs="*", default=list(arms))
    parser.add_argument("--profile", default="study")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--seeds", nargs="*", type=int, default=None)
    args = parser.parse_args()
    hush()
    profile = load_profile(args.profile)
    out = args.out or results_dir()
    out.mkdir(parents=True, exist_ok=True)
    wanted = list(seeds or profile.seeds) if args.seeds is None else args.seeds
    path = out / table
    todo = [(a, s) for s in wanted for a in args.arms if (a, s) not in done(path)]
    for n, (arm, seed) in enumerate(todo, 1):
        print(f"[{n}/{len(todo)}] {arm}, random seed {seed}", flush=True)
        start = time.time()
        row = run_one(profile, arm, seed, out)
        added = {"seconds": round(time.time() - start, 1)} | provenance()
        row |= {name: value for name, value in added.items() if name not in row}
        append_row(path, row)
        print(f"    {row}", flush=True)
