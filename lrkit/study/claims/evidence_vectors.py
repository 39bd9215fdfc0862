"""Evidence for claims on what vectors hold, read from its recorded runs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lrkit.paths import results_dir
from lrkit.study import latent_arms, vector_arms
from lrkit.study.claims.claim import Evidence
from lrkit.study.claims.evidence import difference, lazily
from lrkit.study.scoreboard import matrix
from lrkit.study.stats import Estimate


def _rows(kind: str) -> dict[str, pd.DataFrame]:
    """Arm -> recorded rows of a kind; empty where none is there."""
    if not (results_dir() / vector_arms.TABLE).is_file():
        return {}
    try:
        _, rows = latent_arms.recorded(kind, vector_arms.FOLDER)
    except ValueError:  # no arm has left this table yet
        return {}
    return dict(list(rows.groupby("arm")))


def _both(kind: str, column: str, name: str, arms: tuple[str, str]):
    """[random seeds, questions] tables of two arms where `column` is `name`."""
    rows = _rows(kind)
    if not set(arms) <= set(rows):
        return None
    parts = [rows[arm] for arm in arms]
    return [part[part[column] == name] for part in parts]


@lazily
def probed(arm: str, other: str, prop: str) -> Evidence | None:
    """How often a linear probe reads a property: arm `arm` minus `other`."""
    parts = _both("probes", "property", prop, (arm, other))
    return difference(*map(matrix, parts)) if parts else None


@lazily
def selective(arm: str, prop: str) -> Evidence | None:
    """How often a linear probe reads a property, minus its control task."""
    parts = _both("probes", "property", prop, (arm, arm))
    if not parts:
        return None
    return difference(matrix(parts[0]), matrix(parts[1], "control"))


@lazily
def purer(arm: str, label: str, other: str = "") -> Evidence | None:
    """Purity of an arm's neighbours, minus that of another; "": of permuted labels."""
    parts = _both("clusters", "label", label, (arm, other or arm))
    if not parts:
        return None
    column = "purity" if other else "permuted"
    return difference(matrix(parts[0], "purity"), matrix(parts[1], column))


def _nats(arm: str, batch: int) -> Evidence | None:
    """InfoNCE of an arm, a mean over random seeds within the widest of their ends."""
    rows = _rows("information").get(arm)
    if rows is None:
        return None
    found = rows[rows["batch"] == batch]
    if found.empty:
        return None
    value, low, high = found["value"].mean(), found["low"].min(), found["high"].max()
    estimate = Estimate(float(value), float(low), float(high), int(found["n"].min()))
    return Evidence(estimate, int(np.unique(found["seed"]).size))


@lazily
def informed(arm: str, batch: int, other: str = "") -> Evidence | None:
    """InfoNCE in nats of an arm, less that of another; "": less nothing. The interval
    of a difference goes from end to end of both."""
    ours = _nats(arm, batch)
    if ours is None or not other:
        return ours
    theirs = _nats(other, batch)
    if theirs is None:
        return None
    a, b = ours.effect, theirs.effect
    less = Estimate(a.value - b.value, a.low - b.high, a.high - b.low, min(a.n, b.n))
    return Evidence(less, min(ours.runs, theirs.runs))
