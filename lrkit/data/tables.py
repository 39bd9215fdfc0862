"""Tables of labelled chats: rows split by split, and their files.

What all tables that `make data` writes have in common; which chats are in them is the
business of `build`, `topics` and `satisfaction`.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable
from pathlib import Path

from lrkit.data.banks import SPLITS

# Rows of one split. It is given the transcripts that there are already, leaves them
# out, and adds its own.
MakeSplit = Callable[[str, random.Random, set[str]], list[dict]]


def split_by_split(prefix: str, first_seed: int, make_split: MakeSplit) -> list[dict]:
    """The rows of all splits, no transcript twice, with ids such as `gs-0001`.

    Args:
        prefix: what the ids begin with.
        first_seed: random seed of the first split; the others count on from it.
        make_split: makes the rows of one split.
    """
    seen: set[str] = set()
    rows: list[dict] = []
    for k, split in enumerate(SPLITS):
        rows += make_split(split, random.Random(first_seed + k), seen)
    return [{"id": f"{prefix}-{i:04d}", **row} for i, row in enumerate(rows, 1)]


def write_csv(path: Path, rows: list[dict], columns: tuple[str, ...]) -> None:
    """UTF-8 CSV with \\n line ends."""
    with path.open("w", encoding="utf-8", newline="") as f:
        writer = csv.DictWriter(f, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
