"""Rows of damaged chains in small files: a line for each damage, a digit a question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

FLAGS = ("correct", "leaked")


def pack(rows: pd.DataFrame) -> pd.DataFrame:
    """A line for each (kind, p).

    Args:
        rows: of `lrkit.study.redundancy.measuring.measure`, of one random seed, the
            questions of every damage in the same order.

    Returns:
        `kind`, `p`, `kept` (mean), `correct` and `leaked`, "0110..." in that order.
    """
    found = []
    for (kind, p), part in rows.groupby(["kind", "p"], sort=False):
        digits = {f: "".join("01"[bool(x)] for x in part[f]) for f in FLAGS}
        found.append(
            {"kind": kind, "p": p, "kept": round(part["kept"].mean(), 4)} | digits
        )
    return pd.DataFrame(found)


def write_packed(rows: pd.DataFrame, path: Path) -> None:
    """`pack` into a CSV file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pack(rows).to_csv(path, index=False, lineterminator="\n")


def read_packed(path: Path, ids: Sequence[str], seed: int) -> pd.DataFrame:
    """The rows again; `kept` is the mean of a damage, answers are not kept.

    Args:
        path: of a file that `write_packed` made.
        ids: of the questions, in the order of packing.
        seed: random seed of the rows.

    Raises:
        ValueError: for another number of questions.
    """
    rows = []
    for line in pd.read_csv(path, dtype=dict.fromkeys(FLAGS, str)).to_dict("records"):
        if len(line["correct"]) != len(ids):
            raise ValueError(
                f"{path.name} holds {len(line['correct'])} questions, not {len(ids)}."
            )
        rows += [
            {"id": i, "kind": line["kind"], "p": line["p"], "seed": seed,
             "kept": line["kept"], "leaked": leaked == "1", "correct": correct == "1"}
            for i, correct, leaked in zip(
                ids, line["correct"], line["leaked"], strict=True
            )
        ]  # fmt: skip
    return pd.DataFrame(rows)
