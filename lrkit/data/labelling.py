"""Labels given by people: kept in a file, compared between two annotators, settled.

Here belong the append-only label file (`LabelStore`), the agreement of two annotators
(`agreement`) and the final labels (`adjudicate`). The module does not know what is
being labelled: a row is its id. The buttons are in `annotator.py`.

A label file is JSONL, one event a line, in the order in which things happened:

    {"id": "a7", "label": "yes", "reason": "", "annotator": "ann", "time": "..."}
    {"undo": "a7", "annotator": "ann", "time": "..."}

The state is always a function of the bytes in the file; nothing is cached. Two
annotators can therefore share a file, and a kernel that dies takes nothing with it.
"""

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import DegenerateDataWarning, bootstrap
from sklearn.metrics import cohen_kappa_score

LABEL_KEYS = ("id", "label", "reason", "annotator", "time")
UNDO_KEYS = ("undo", "annotator", "time")

# Closes a line that a killed process left unfinished. No whole event can end like this,
# and the newline comes last, so that a closing cut off in its turn can be closed again.
TORN = b" #torn"


class LabelStore:
    """An append-only file of label events.

    `path`: the JSONL file; it and its folder are made at the first event.
    `labels`, `ids`: what an event may say; None allows anything.

    Every event is one write followed by fsync: once `add` or `undo` has returned, the
    event is on the disk. No byte once written is changed. An unfinished last line (the
    process was killed in mid-write, so the call never returned) is skipped by readers
    and closed with ` #torn` by the next write. One write per event also keeps two
    processes apart on a local disk; on a network disk use a file per annotator.

    Every method raises ValueError, naming file and line, for a line that is not UTF-8,
    not an event, not allowed by `labels` and `ids`, or an undo that takes back nothing.
    """

    def __init__(
        self,
        path: str | Path,
        labels: Sequence[str] | None = None,
        ids: Iterable[str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.allowed_labels = None if labels is None else tuple(labels)
        self.allowed_ids = None if ids is None else frozenset(ids)

    def add(
        self, row_id: str, label: str, reason: str = "", annotator: str = "me"
    ) -> None:
        """Append one label. It replaces an earlier one of this row by this annotator.

        Raises ValueError, writing nothing, for a label or an id that is not allowed and
        for a file that cannot be read.
        """
        self._standing()
        self._append(
            {"id": row_id, "label": label, "reason": reason, "annotator": annotator}
        )

    def undo(self, annotator: str = "me") -> dict[str, str]:
        """Take back the last standing label of `annotator`, by appending an undo event.

        Returns the label event taken back; a label that it had replaced stands again.
        Raises ValueError, writing nothing, if this annotator has no label left.
        """
        standing = self._standing().get(annotator)
        if not standing:
            raise ValueError(f"{self.path}: {annotator!r} has no label to take back.")
        self._append({"undo": standing[-1]["id"], "annotator": annotator})
        return standing[-1]

    def labels(self, annotator: str | None = None) -> pd.DataFrame:
        """The labels that stand now: one row per annotator and id.

        Columns id, label, reason, annotator, time (ISO 8601, UTC). The rows are grouped
        by annotator, ids in the order in which each was first labelled. `annotator`:
        the labels of this one only; None gives everybody's.
        """
        everybody = self._standing()
        names = everybody if annotator is None else [annotator]
        current = [
            event
            for name in names
            for event in {e["id"]: e for e in everybody.get(name, [])}.values()
        ]
        return pd.DataFrame(current, columns=list(LABEL_KEYS), dtype="str")

    def _standing(self) -> dict[str, list[dict[str, str]]]:
        """Label events not taken back, by annotator, oldest first."""
        standing: dict[str, list[dict[str, str]]] = {}
        for where, event in self._events():
            self._check(event, where)
            mine = standing.setdefault(event["annotator"], [])
            if "undo" not in event:
                mine.append(event)
            elif mine and mine[-1]["id"] == event["undo"]:
                mine.pop()
            else:
                last = f"that of {mine[-1]['id']!r}" if mine else "none"
                raise ValueError(
                    f"{where}: the undo of {event['undo']!r} takes back nothing, the "
                    f"last label of {event['annotator']!r} is {last}. Was a line "
                    "removed by hand?"
                )
        return standing

    def _events(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Place (file and line, from 1) and event of every whole line."""
        *lines, last = self._bytes().split(b"\n")
        whole = [line for line in [last] if line and not _is_torn(line)]
        for number, line in enumerate(lines + whole, start=1):
            if line.strip() and not line.rstrip().endswith(TORN):
                where = f"{self.path}, line {number}"
                yield where, _parse(line, where)

    def _append(self, event: dict[str, str]) -> None:
        data = self._bytes()
        last = data.rsplit(b"\n", 1)[-1]
        number = data.count(b"\n") + 1 + bool(last)
        where = f"{self.path}, line {number} (not written)"
        event = event | {"time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        _check_shape(event, where)
        self._check(event, where)

        closing = b"" if not last else TORN + b"\n" if _is_torn(last) else b"\n"
        line = closing + json.dumps(event, ensure_ascii=False).encode() + b"\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            if file.write(line) != len(line):
                raise OSError(f"{where}: the disk took only a part of it. Is it full?")
            os.fsync(file.fileno())

    def _bytes(self) -> bytes:
        return self.path.read_bytes() if self.path.exists() else b""

    def _check(self, event: dict[str, str], where: str) -> None:
        """Refuse a label or an id that this store was not told of."""
        row_id = event["undo"] if "undo" in event else event["id"]
        if self.allowed_ids is not None and row_id not in self.allowed_ids:
            raise ValueError(
                f"{where}: unknown id {row_id!r}, it is none of the "
                f"{len(self.allowed_ids)} rows. Does this file belong to other rows?"
            )
        if self.allowed_labels is None or "undo" in event:
            return
        if event["label"] not in self.allowed_labels:
            raise ValueError(
                f"{where}: unknown label {event['label']!r}, expected one of "
                f"{_quoted(self.allowed_labels)}."
            )


def _is_torn(last_line: bytes) -> bool:
    """Whether a last line without a newline is only the beginning of an event.

    It may also be a whole one without its newline. The two cannot be confused: the
    beginning of a JSON object is never itself JSON.
    """
    try:
        json.loads(last_line.decode())
    except ValueError:  # that of the decoding or that of the parsing
        return True
    return False


def _parse(line: bytes, where: str) -> dict[str, str]:
    try:
        event = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}: not UTF-8 (byte {error.start + 1} of the line). Save the "
            "file as UTF-8."
        ) from error
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{where}: not JSON ({error.msg}, column {error.colno}). Expected one "
            "event a line; mend or remove this one."
        ) from error
    _check_shape(event, where)
    return event


def _check_shape(event: object, where: str) -> None:
    keys = UNDO_KEYS if isinstance(event, dict) and "undo" in event else LABEL_KEYS
    if not isinstance(event, dict) or set(event) != set(keys):
        raise ValueError(
            f"{where}: not an event. Expected an object with the keys "
            f"{', '.join(LABEL_KEYS)} or with the keys {', '.join(UNDO_KEYS)}."
        )
    for key in keys:
        if not isinstance(event[key], str):
            raise ValueError(f"{where}: {key} is {event[key]!r}, expected text.")


@dataclass(frozen=True)
class Agreement:
    """How far two annotators agree on the `n` rows that both have labelled."""

    n: int
    raw: float  # share of rows with the same label, 0 to 1
    kappa: float  # Cohen's kappa, at most 1, 0 for chance; nan if undefined
    low: float  # 95 % bootstrap interval of kappa
    high: float
    confusion: pd.DataFrame  # counts; rows: labels of the first, columns: of the second
    disagreeing: list[str]  # ids, in the order of the first
    unmatched: list[str]  # ids that only one of the two has labelled; not counted in n

    def __str__(self) -> str:
        return (
            f"{self.n} rows labelled by both: {self.raw:.1%} with the same label, "
            f"kappa {self.kappa:.2f} (95 %: {self.low:.2f} to {self.high:.2f}). "
            f"Labelled by one only: {len(self.unmatched)}."
        )


def agreement(
    first: pd.DataFrame, second: pd.DataFrame, n_resamples: int = 1000, seed: int = 0
) -> Agreement:
    """Raw agreement and Cohen's kappa (Cohen 1960) of two annotators, matched by id.

    `first`, `second`: columns id and label, each id once, as `LabelStore.labels(name)`
    gives them. A resample costs about a millisecond.

    The interval is the percentile bootstrap over rows. Resamples in which both used one
    and the same label throughout have no kappa (0/0) and are left out. Two traps: with
    perfect agreement every resample agrees and the interval is 1 to 1, however few the
    rows; and with a single label throughout, kappa and interval are nan.

    Raises ValueError for a missing column, a repeated id, a missing label, or no id in
    common.
    """
    a, b = _by_id(first, "first"), _by_id(second, "second")
    common = [row_id for row_id in a if row_id in b]
    if not common:
        raise ValueError("The two annotators have no row in common to be compared on.")
    used = sorted({side[row_id] for side in (a, b) for row_id in common})
    codes_a = np.array([used.index(a[row_id]) for row_id in common])
    codes_b = np.array([used.index(b[row_id]) for row_id in common])
    counts = np.zeros((len(used), len(used)), dtype=int)
    np.add.at(counts, (codes_a, codes_b), 1)
    low, high = _kappa_interval(codes_a, codes_b, n_resamples, seed)
    return Agreement(
        n=len(common),
        raw=float((codes_a == codes_b).mean()),
        kappa=_kappa(codes_a, codes_b),
        low=low,
        high=high,
        confusion=pd.DataFrame(
            counts,
            index=pd.Index(used, name="first"),
            columns=pd.Index(used, name="second"),
        ),
        disagreeing=[row_id for row_id in common if a[row_id] != b[row_id]],
        unmatched=[row_id for row_id in [*a, *b] if not (row_id in a and row_id in b)],
    )


def adjudicate(
    first: pd.DataFrame, second: pd.DataFrame, decisions: Mapping[str, str]
) -> pd.DataFrame:
    """Final labels: the common one where two annotators agree, a decision elsewhere.

    `first`, `second`: as in `agreement`. `decisions`: id to label, for every row on
    which the two differ or that only one has labelled, and for no other. Gives columns
    id, first, second (None where not labelled), final; ids in the order of the first,
    then those that only the second has.

    Raises ValueError, naming the ids, for a missing decision, for one that was not
    needed, and for one with a label that neither annotator ever used.
    """
    a, b = _by_id(first, "first"), _by_id(second, "second")
    ids = list(dict.fromkeys([*a, *b]))
    used = sorted({*a.values(), *b.values()})
    undecided = [row_id for row_id in ids if a.get(row_id) != b.get(row_id)]
    _refuse(
        [row_id for row_id in undecided if row_id not in decisions],
        "No decision for {}, where the two differ or only one has labelled.",
    )
    _refuse(
        [row_id for row_id in decisions if row_id not in undecided],
        "A decision for {}, where both agree or neither has labelled.",
    )
    _refuse(
        [row_id for row_id in undecided if decisions[row_id] not in used],
        f"Neither annotator used the label decided for {{}}; used: {_quoted(used)}.",
    )
    columns = {
        "id": ids,
        "first": [a.get(row_id) for row_id in ids],
        "second": [b.get(row_id) for row_id in ids],
        "final": [decisions.get(row_id, a.get(row_id)) for row_id in ids],
    }
    return pd.DataFrame(columns, dtype=object)  # pandas would turn None into nan


def _by_id(frame: pd.DataFrame, name: str) -> dict[str, str]:
    """The labels of one annotator by id, in the frame's order."""
    if missing := [key for key in ("id", "label") if key not in frame.columns]:
        raise ValueError(
            f"The labels of the {name} annotator have no column {_quoted(missing)}, "
            f"only {_quoted(frame.columns)}."
        )
    _refuse(
        frame.loc[frame["id"].duplicated(), "id"],
        f"The {name} annotator has more than one label for {{}}. Pass the labels of "
        "one annotator, as store.labels(name) gives them.",
    )
    _refuse(
        frame.loc[frame["label"].isna(), "id"],
        f"The {name} annotator has an empty label for {{}}.",
    )
    return dict(zip(frame["id"], frame["label"], strict=True))


def _refuse(ids: Iterable[str], sentence: str) -> None:
    """Raise the sentence with these ids in it, if there are any."""
    if quoted := _quoted(ids):
        raise ValueError(sentence.replace("{}", quoted))


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(repr(text) for text in texts)


def _kappa(first: np.ndarray, second: np.ndarray) -> float:
    # 0/0 is answered here, where scikit-learn would warn at every such resample
    if len(np.union1d(first, second)) == 1:
        return float("nan")
    return float(cohen_kappa_score(first, second))


def _kappa_interval(
    first: np.ndarray, second: np.ndarray, n_resamples: int, seed: int
) -> tuple[float, float]:
    if len(np.union1d(first, second)) == 1 or len(first) == 1:
        return float("nan"), float("nan")
    with warnings.catch_warnings():
        # raised when all resamples agree; the docstring says what to make of that
        warnings.simplefilter("ignore", DegenerateDataWarning)
        resampled = bootstrap(
            (first, second),
            _kappa,
            paired=True,
            vectorized=False,
            n_resamples=n_resamples,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
    # not its confidence_interval: one undefined resample would make that nan
    low, high = np.nanquantile(resampled.bootstrap_distribution, [0.025, 0.975])
    return float(low), float(high)
