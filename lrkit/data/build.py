"""Write the gold standard and its companions: `make data`.

`gold_standard.csv` has 1,482 rows with reasons, in four splits that share neither
scenarios nor forms; `extra_labels.csv` 10,000 rows of the training split's banks,
labels only. `topics.csv` and `satisfaction.csv` are other questions to other chats,
see the modules of that name. Deterministic: the same files from any machine.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from lrkit.data import endings, satisfaction, topics
from lrkit.data.banks import bank
from lrkit.data.endings import Ending
from lrkit.data.story import CUSTOMER
from lrkit.data.tables import split_by_split, write_csv

# Rows per split and label. 764 no / 718 yes in all, as in the source.
QUOTAS = {
    "train": {"yes": 418, "no": 464},
    "validation": {"yes": 60, "no": 60},
    "calibration": {"yes": 80, "no": 80},
    "test": {"yes": 160, "no": 160},
}
PAIR_SHARE = 0.70  # of a split's rows, at least 0.6 in the test split
COLUMNS = (
    "id", "running_message", "label", "reason",
    "scenario", "pattern", "pair", "family", "evidence", "n_problems", "split",
)  # fmt: skip
EXTRA_COLUMNS = ("id", "running_message", "label")


def _dealt(rng: random.Random, table: dict[str, tuple], n: int) -> list[str]:
    """`n` families in the proportions of a table, each with its due, in random order.

    The largest remainders get what rounding leaves: no family is left out by chance.
    """
    total = sum(weight for _, weight in table.values())
    due = {name: n * weight / total for name, (_, weight) in table.items()}
    dealt = {name: int(d) for name, d in due.items()}
    by_remainder = sorted(table, key=lambda name: dealt[name] - due[name])
    for name in by_remainder[: n - sum(dealt.values())]:
        dealt[name] += 1
    families = [name for name, k in dealt.items() for _ in range(k)]
    rng.shuffle(families)
    return families


def customer_lines(text: str) -> list[str]:
    """The customer's messages of a transcript."""
    mark = f"{CUSTOMER}: "
    return [t.removeprefix(mark) for t in text.split("\n") if t.startswith(mark)]


def make_split(split: str, rng: random.Random, seen: set[str]) -> list[dict]:
    """Rows of one split up to its quota; none of `seen`, which they are added to."""
    b = bank(split)
    left = dict(QUOTAS[split])
    n_pairs = round(PAIR_SHARE * sum(left.values()) / 2)
    rows: list[dict] = []
    for n, family in enumerate(_dealt(rng, endings.PAIRS, n_pairs)):
        while True:
            two = endings.make_pair(b, rng, family)
            if two[0].text != two[1].text and not {e.text for e in two} & seen:
                break
        seen.update(e.text for e in two)
        for e in two:
            left[e.label] -= 1
            rows.append(_row(e, split, f"{split[:2]}{n:04d}"))
    for label, n in left.items():
        table = {
            name: v
            for name, v in endings.SINGLES.items()
            if endings.SINGLE_LABEL[name] == label
        }
        for family in _dealt(rng, table, n):
            while (e := endings.make_single(b, rng, family)).text in seen:
                pass
            seen.add(e.text)
            rows.append(_row(e, split, ""))
    rng.shuffle(rows)
    return rows


def _row(e: Ending, split: str, pair: str) -> dict:
    return {
        "running_message": e.text,
        "label": e.label,
        "reason": e.reason,
        "scenario": e.scenario,
        "pattern": e.pattern,
        "pair": pair,
        "family": e.family,
        "evidence": e.evidence,
        "n_problems": e.n_problems,
        "split": split,
    }


def gold_standard(seed: int = 0) -> list[dict]:
    """All 1,482 rows, split by split."""
    return split_by_split("gs", seed * 100, make_split)


def extra_labels(gold: list[dict], n: int = 10_000, seed: int = 1) -> list[dict]:
    """`n` further rows of the training banks without reasons, none of them in `gold`.

    Families, pairs and labels come in the proportions of the training split.
    """
    rng = random.Random(seed)
    seen = {r["running_message"] for r in gold}
    rows: list[dict] = []
    while len(rows) < n:
        rows += make_split("train", rng, seen)
    rng.shuffle(rows)
    return [
        {"id": f"ex-{i:05d}", **{k: r[k] for k in EXTRA_COLUMNS[1:]}}
        for i, r in enumerate(rows[:n], 1)
    ]


def tables() -> dict[str, tuple[list[dict], tuple[str, ...]]]:
    """File name -> its rows and columns."""
    gold = gold_standard()
    return {
        "gold_standard.csv": (gold, COLUMNS),
        "extra_labels.csv": (extra_labels(gold), EXTRA_COLUMNS),
        "topics.csv": (topics.topics(), topics.COLUMNS),
        "satisfaction.csv": (satisfaction.satisfaction(), satisfaction.COLUMNS),
    }


def main() -> None:
    """The command line of `make data`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data"))
    out = parser.parse_args().out
    for name, (rows, columns) in tables().items():
        write_csv(out / name, rows, columns)
        print(f"{out / name}: {len(rows):,} rows")


if __name__ == "__main__":
    main()
