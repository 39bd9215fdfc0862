"""Read labelled conversations and refuse bad ones before anything is trained.

Rows come as CSV or JSON lines with the columns `id`, `running_message`, `label` and,
where reasons are trained, `reason`. Every defect is collected and reported with file,
row, column and what is wrong; nothing is dropped or repaired silently.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lrkit.paths import data_dir

LABELS = ("yes", "no")


class BadRows(ValueError):
    """Rows that cannot be used; the message lists each with its place."""

    def __init__(self, source: str, problems: Sequence[str]):
        shown = "\n".join(f"  {p}" for p in problems[:20])
        more = f"\n  ... and {len(problems) - 20} more" if len(problems) > 20 else ""
        super().__init__(
            f"{source}: {len(problems)} problem(s) found, nothing was used:\n"
            f"{shown}{more}\nCorrect these rows, or leave them out, and read again."
        )
        self.problems = list(problems)


def _read_text(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = raw[: e.start].count(b"\n") + 1
        raise BadRows(
            str(path),
            [
                f"line {line}: byte {raw[e.start]:#04x} at offset {e.start} is not "
                "UTF-8; save the file as UTF-8"
            ],
        ) from None


def text_of(value: Any) -> str:
    """A cell as text: nothing as "", a list of sentences joined by spaces.

    An absent number must not turn its column into floats ("1" into "1.0").
    """
    if isinstance(value, (list, tuple, np.ndarray)):
        return " ".join(map(text_of, value))
    return "" if value is None or value != value else str(value)


def _json_lines(text: str) -> tuple[list[dict], list[str]]:
    """The objects of JSON lines, and what is wrong with the other lines.

    Lines end at "\\n" only: JSON text may hold U+2028 and its like as they are.
    """
    rows, problems = [], []
    for n, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as e:
            problems.append(f"line {n}: not JSON ({e.msg})")
            continue
        if not isinstance(row, dict):
            problems.append(
                f"line {n}: a JSON object was expected, this is {line!r:.40}"
            )
            continue
        rows.append({k: text_of(v) for k, v in row.items()})
    return rows, problems


def _json_list(text: str) -> tuple[list[dict], list[str]]:
    """The objects of a JSON list, and what is wrong with it."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as e:
        return [], [f"line {e.lineno}: not JSON ({e.msg})"]
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        return [], ["a list of JSON objects was expected"]
    return [{k: text_of(v) for k, v in row.items()} for row in found], []


def _csv_rows(text: str) -> tuple[list[dict], list[str]]:
    """The rows of a CSV table, and what is wrong with its header and other rows.

    Strict, because a lenient reader takes a stray quote for an open one and reads the
    following rows as part of one message.
    """
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    rows, problems = [], []
    try:
        header = next(reader, [])
        for name in dict.fromkeys(header):
            if header.count(name) > 1:
                problems.append(f"column {name!r} is there {header.count(name)} times")
        filled = (cells for cells in reader if cells)
        for n, cells in enumerate(filled, 1):
            if len(cells) != len(header):
                problems.append(
                    f"row {n} (line {reader.line_num}): {len(cells)} cells under a "
                    f"header of {len(header)}; put text with commas in double quotes"
                )
            rows.append(dict(zip(header, cells, strict=False)))
    except csv.Error as e:
        problems.append(f"line {reader.line_num}: not a CSV table ({e})")
    return rows, problems


READERS = {".jsonl": _json_lines, ".ndjson": _json_lines, ".json": _json_list}


def read_table(path: Path) -> pd.DataFrame:
    """A CSV, JSON or JSON-lines file as a table of text, "" where there is nothing.

    Raises:
        BadRows: for text that is not UTF-8, broken rows, or no row at all.
    """
    rows, problems = READERS.get(path.suffix.lower(), _csv_rows)(_read_text(path))
    if not rows and not problems:
        problems = ["there is no row in it"]
    if problems:
        raise BadRows(str(path), problems)
    return pd.DataFrame(rows, dtype=str).fillna("")


def check_rows(
    rows: pd.DataFrame,
    labels: Sequence[str] = LABELS,
    need_reason: bool = False,
    source: str = "table",
    called: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """The same rows if all are usable.

    Args:
        rows: columns `id`, `running_message`, `label`[, `reason`].
        labels: the labels there may be.
        need_reason: whether an empty `reason` is a defect.
        source: what to call the table in messages, usually its file name.
        called: what a column is called there, where it has another name.

    Raises:
        BadRows: missing columns, empty messages or reasons, unknown labels and
            repeated ids, all of them in one message with row numbers (the first row
            of data is row 1).
    """
    wanted = ["id", "running_message", "label"] + ["reason"] * need_reason
    missing = [c for c in wanted if c not in rows.columns]
    if missing:
        raise BadRows(
            source,
            [
                f"column {c!r} is missing; found {', '.join(map(repr, rows.columns))}"
                for c in missing
            ],
        )
    names = {column: column for column in wanted} | dict(called or {})
    problems, first_seen = [], {}
    for n, row in enumerate(rows[wanted].fillna("").to_dict("records"), 1):
        at = f"row {n} (id {row['id']!r})"
        if not str(row["id"]).strip():
            problems.append(f"{at}, column {names['id']!r}: empty")
        elif row["id"] in first_seen:
            before = first_seen[row["id"]]
            problems.append(
                f"{at}, column {names['id']!r}: already used in row {before}"
            )
        first_seen.setdefault(row["id"], n)
        if not str(row["running_message"]).strip():
            problems.append(f"{at}, column {names['running_message']!r}: empty")
        if row["label"] not in labels:
            problems.append(
                f"{at}, column {names['label']!r}: {row['label']!r} is not one of "
                f"{', '.join(map(repr, labels))}"
            )
        if need_reason and not str(row["reason"]).strip():
            problems.append(f"{at}, column {names['reason']!r}: empty")
    if problems:
        raise BadRows(source, problems)
    return rows


def read_rows(
    path: str | Path, labels: Sequence[str] = LABELS, need_reason: bool = False
) -> pd.DataFrame:
    """Read and check a CSV or JSON-lines file of labelled conversations.

    Raises:
        BadRows: see `check_rows`; also for text that is not UTF-8 and broken JSON.
        FileNotFoundError: for a file that is not there.
    """
    path = Path(path)
    return check_rows(read_table(path), labels, need_reason, path.name)


def _split_of(name: str, split: str | None, labels: Sequence[str]) -> pd.DataFrame:
    """The rows of one of our own tables, or one split of them."""
    rows = read_rows(data_dir() / f"{name}.csv", labels, need_reason=True)
    if split is None:
        return rows
    if split not in set(rows["split"]):
        known = ", ".join(sorted(set(rows["split"])))
        raise ValueError(f"no split {split!r} in {name}: there are {known}.")
    return rows[rows["split"] == split].reset_index(drop=True)


def gold_standard(split: str | None = None) -> pd.DataFrame:
    """The 1,482 labelled rows with reasons, or one split of them (see the card)."""
    return _split_of("gold_standard", split, LABELS)


def topic_rows(split: str | None = None) -> pd.DataFrame:
    """Chats labelled by what the customer wants: three labels (see the card)."""
    return _split_of("topics", split, ("billing", "technical", "general"))


def satisfaction_rows(split: str | None = None) -> pd.DataFrame:
    """Chats scored from 0 to 9 by a rubric; the labels are digits (see the card)."""
    return _split_of("satisfaction", split, tuple("0123456789"))


def extra_labels() -> pd.DataFrame:
    """10,000 further generated rows with labels and no reasons."""
    return read_rows(data_dir() / "extra_labels.csv")


def hand_written() -> pd.DataFrame:
    """The second test set: composed row by row, labelled twice; never tuned on."""
    return read_rows(data_dir() / "hand_written.csv", need_reason=True)
