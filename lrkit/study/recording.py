"""Recorded experiments: one committed row for each (arm, random seed), never twice.

A part of `make study` is a list of arms and a function that trains and scores one of
them. Here are its command line, the file of its rows, and what is skipped.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd

from lrkit.paths import results_dir
from lrkit.profiles import Profile, load_profile
from lrkit.quiet import hush

RunOne = Callable[[Profile, str, int, Path], dict]


def slug(name: str) -> str:
    """A file name of an arm's name."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def append_row(path: Path, row: dict) -> None:
    """Add one row to a CSV file, with a header if it is new."""
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, list(row), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


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
        run_one: profile, arm, random seed and folder to the row of a run.
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
        row = run_one(profile, arm, seed, out)
        append_row(path, row)
        print(f"    {row}", flush=True)
