"""Your own table of texts and labels, in the columns that the workbook trains on.

Reads CSV, JSON, JSON lines, a data set saved to a local folder, or a data set of the
hub by its id; checks it as the gold standard is checked; splits it so that rows which
belong together never end up on two sides.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from lrkit.data.conversations import BadRows, check_rows, read_table, text_of

SHARES = {"train": 0.6, "validation": 0.1, "calibration": 0.15, "test": 0.15}
PARTS = 20  # shares are rounded to twentieths


def _load(source: str | Path, split: str) -> pd.DataFrame:
    """A file, a folder written by `datasets`, or a hub id, as text columns."""
    path = Path(source)
    if path.is_file():
        return read_table(path)
    from datasets import load_dataset, load_from_disk

    saved = path.is_dir() and any(path.glob("dataset_*.json"))
    if saved:
        found = load_from_disk(str(path))
        found = found[split] if hasattr(found, "keys") else found
    else:
        found = load_dataset(str(source), split=split)
    names = {
        column: feature.names
        for column, feature in found.features.items()
        if hasattr(feature, "names")  # labels that are stored as numbers
    }
    rows = found.to_pandas()
    for column, of in names.items():
        rows[column] = [of[k] for k in rows[column]]
    return rows.map(text_of)


def own_table(
    source: str | Path,
    text: str,
    label: str,
    reason: str | None = None,
    group: str | None = None,
    names: Mapping[str, str] | None = None,
    split: str = "train",
) -> pd.DataFrame:
    """Rows of any table of (text, label, optional reason).

    Args:
        source: a .csv, .json (a list of objects), .jsonl or .ndjson file; a folder
            written by `Dataset.save_to_disk`; or the id of a data set on the hub.
        text, label: names of these columns.
        reason: column of reasons; None where there are none.
        group: column that names rows which belong together, such as a customer or a
            template; None: every row stands for itself.
        names: value in the file -> label word, such as {"True": "yes"}; None: as it is.
        split: which split of a data set; a file has none.

    Returns:
        `id`, `running_message`, `label`, `group` and, where asked for, `reason`, all of
        them text. The labels that occur are `sorted(set(rows["label"]))`.

    Raises:
        BadRows: for missing columns, empty texts or labels, values that `names` does
            not know; each with its row.
        FileNotFoundError: for a file or folder that is not there.
    """
    looks_local = Path(source).suffix or str(source).startswith((".", "/", "~"))
    if looks_local and not Path(source).exists():
        raise FileNotFoundError(f"{source} is not there.")
    table = _load(source, split)
    shown = Path(source).name
    wanted = {"text": text, "label": label, "reason": reason, "group": group}
    found = ", ".join(map(repr, table.columns))
    if missing := [c for c in wanted.values() if c and c not in table.columns]:
        raise BadRows(
            shown, [f"column {c!r} is missing; found {found}" for c in missing]
        )
    labels = table[label]
    if names is not None:
        if unknown := [
            f"row {n}, column {label!r}: {value!r} is none of {', '.join(names)}"
            for n, value in enumerate(labels, 1)
            if value not in names
        ]:
            raise BadRows(shown, unknown)
        labels = labels.map(dict(names))
    rows = pd.DataFrame(
        {
            "id": [f"row-{n}" for n in range(1, len(table) + 1)],
            "running_message": table[text],
            "label": labels,
            "group": table[group] if group else "",
        }
    )
    if reason:
        rows["reason"] = table[reason]
    known = sorted({v for v in rows["label"] if v.strip()})
    called = {"running_message": text, "label": label, "reason": reason or "reason"}
    check_rows(rows, known, reason is not None, shown, called)
    _warn_of_contradictions(rows, shown)
    return rows


def _warn_of_contradictions(rows: pd.DataFrame, shown: str) -> None:
    """One text with two labels puts a ceiling on every classifier: say how many."""
    kinds = rows.groupby("running_message")["label"].nunique()
    if n := int((kinds > 1).sum()):
        example = kinds[kinds > 1].index[0]
        warnings.warn(
            f"{shown}: {n} text(s) occur with more than one label, for instance "
            f"{example!r:.80}; no classifier can be right on all of them.",
            stacklevel=3,
        )


def _belonging(rows: pd.DataFrame) -> np.ndarray:
    """[rows]: one number for all rows linked by an equal text or an equal group."""
    texts, _ = pd.factorize(rows["running_message"].str.casefold().str.strip())
    alone = pd.Series([f"\0{i}" for i in range(len(rows))], index=rows.index)
    groups, _ = pd.factorize(rows["group"].where(rows["group"] != "", alone))
    size = texts.max() + 1
    edges = coo_array(
        (np.ones(len(rows)), (texts, groups + size)),
        shape=(size + groups.max() + 1,) * 2,
    )
    _, component = connected_components(edges, directed=False)
    return component[texts]


def split_by_group(
    rows: pd.DataFrame, shares: Mapping[str, float] = SHARES, seed: int = 0
) -> dict[str, pd.DataFrame]:
    """The rows in parts with similar shares of every label and no group in two of them.

    Rows with equal texts stay together, too: a test row that was trained on tests
    nothing.

    Args:
        rows: of `own_table`.
        shares: part -> share, in twentieths; they sum to 1.
        seed: random seed.

    Raises:
        ValueError: for shares that do not sum to 1, or a part without rows.
    """
    counts = {name: round(share * PARTS) for name, share in shares.items()}
    if sum(counts.values()) != PARTS or min(counts.values()) < 1:
        raise ValueError(f"shares must be twentieths and sum to 1, got {dict(shares)}.")
    folds = StratifiedGroupKFold(PARTS, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # classes with fewer rows than parts are no fault
        warnings.simplefilter("ignore", UserWarning)
        made = list(folds.split(rows, rows["label"], _belonging(rows)))
    parts, start = {}, 0
    for name, count in counts.items():
        index = np.concatenate([test for _, test in made[start : start + count]])
        if not len(index):
            raise ValueError(
                f"{len(rows)} rows are too few: none is left for {name!r}."
            )
        parts[name] = rows.iloc[np.sort(index)].reset_index(drop=True)
        start += count
    return parts
