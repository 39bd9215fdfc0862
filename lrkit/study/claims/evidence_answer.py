"""Evidence for claims on the answer half, read from its recorded runs."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from lrkit.data import conversations
from lrkit.paths import results_dir
from lrkit.study import answer_arms
from lrkit.study.claims.claim import Evidence
from lrkit.study.claims.evidence import difference, lazily
from lrkit.study.stats import Estimate, mean_estimate


@cache
def _predictions(folder: Path) -> pd.DataFrame:
    return answer_arms.recorded()[1]


def _pairs() -> list[str]:
    rows = conversations.gold_standard("test")
    return rows.sort_values("id")["pair"].tolist()


@lazily
def labels(a: str, b: str) -> Evidence | None:
    """Accuracy on test of arm `a` minus `b`, rows of a pair resampled together."""
    found = _predictions(results_dir())
    right = [answer_arms.correctness(found, arm, "test") for arm in (a, b)]
    return difference(*right, _pairs())


@lazily
def probed(a: str, b: str) -> Evidence | None:
    """How often the kind of evidence is read at the answer: arm `a` minus `b`."""
    found = _predictions(results_dir())
    found = found[(found["set"] == "test")].dropna(subset=["probe"])
    hits = [
        found[found["arm"] == arm].pivot(index="seed", columns="id", values="probe")
        for arm in (a, b)
    ]
    return difference(*(table.to_numpy(float) for table in hits), _pairs())


@lazily
def surer_is_righter(arm: str) -> Evidence | None:
    """Accuracy of the surer half of the answers on test, minus that of the other."""
    found = _predictions(results_dir())
    part = found[(found["arm"] == arm) & (found["set"] == "test")]
    sure = np.maximum(part["p_yes"], 1 - part["p_yes"])
    place = sure.groupby(part["seed"]).rank(method="first", pct=True)
    right = ((part["p_yes"] > 0.5) == (part["label"] == "yes")).astype(float)
    # Twice the right ones with a sign: its mean is the difference of the halves.
    signed = part.assign(x=2 * right * np.where(place > 0.5, 1, -1))
    table = signed.pivot(index="seed", columns="id", values="x").to_numpy(float)
    return Evidence(mean_estimate(table, _pairs()), len(table))


@lazily
def one_token_over_chain(tokens: int, batch: str) -> Evidence | None:
    """How many times as many rows a second one token answers as a chain does, on the
    largest model of the bench; the interval goes from the least to the most of its
    repeats."""
    file = results_dir() / "bench_one_token.json"
    if not file.is_file():
        return None
    cases = [c for c in json.loads(file.read_text())["cases"] if "skipped" not in c]
    for row in cases[-1]["by_chain_length"]:
        if (row["tokens"], row["batch"]) == (tokens, batch):
            spread = Estimate(row["median"], row["min"], row["max"], 1)
            return Evidence(spread, 1)
    return None
