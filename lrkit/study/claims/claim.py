"""A claim of a source, the difference that would bear it out, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd

from lrkit.study.stats import Estimate

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
NOT_TESTABLE, NOT_RECORDED = "not testable here", "not recorded yet"
SOURCES = {
    0: "Latent Reasoning: Teaching Small LLMs to Think Without Thinking",
    1: "Latent-Guided Reasoning (ICLR 2026)",
    2: "Latent Reasoning Tuning (LRT)",
    3: "Latent Reasoning in LLMs as a Vocabulary-Space Superposition (2510.15522)",
    4: "Learning When to Stop (2511.21581)",
    5: "Of the methods that these build on",
    6: "Of this workbook",
}
COLUMNS = [
    "source", "where", "claim", "verdict", "effect", "low", "high", "unit", "wanted",
    "n", "random seeds", "tested", "notebook",
]  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """What was measured.

    Attributes:
        effect: with its 95 % interval and the number of questions.
        runs: random seeds behind it.
    """

    effect: Estimate
    runs: int


@dataclass(frozen=True)
class Claim:
    """One statement of a source.

    Attributes:
        source: number in `SOURCES`.
        where: section, table or figure.
        says: the statement, in few words and with its own numbers.
        tested: what was measured here, and against which control; or why it is not.
        notebook: two digits of the notebook that shows it.
        evidence: reads the records; None where there are none yet. For a claim that
            cannot be tested here it is not given.
        above: the effect has to lie above the bound; else below it.
        bound: 0, or a margin.
        unit: of the effect: "points" of accuracy as a share, or another one.
    """

    source: int
    where: str
    says: str
    tested: str
    notebook: str
    evidence: Callable[[], Evidence | None] | None = None
    above: bool = True
    bound: float = 0.0
    unit: str = "points"

    def row(self) -> dict:
        """Its row of the table."""
        found = self.evidence() if self.evidence else None
        said = {
            "source": SOURCES[self.source],
            "where": self.where,
            "claim": self.says,
            "verdict": self.verdict(found),
            "tested": self.tested,
            "notebook": self.notebook,
        }
        if found is None:
            return said
        e, scale = found.effect, 100 if self.unit == "points" else 1
        sign = ">" if self.above else "<"
        return said | {
            "effect": scale * e.value,
            "low": scale * e.low,
            "high": scale * e.high,
            "unit": self.unit,
            "wanted": f"{sign} {scale * self.bound:g}",
            "n": e.n,
            "random seeds": found.runs,
        }

    def verdict(self, found: Evidence | None) -> str:
        """Reproduced where the whole interval lies on the wanted side of the bound; for
        the rest it is added whether all of it lies on the other one."""
        if self.evidence is None:
            return NOT_TESTABLE
        if found is None:
            return NOT_RECORDED
        e = found.effect
        if e.low > self.bound if self.above else e.high < self.bound:
            return REPRODUCED
        reverse = e.high < self.bound if self.above else e.low > self.bound
        return f"{NOT_REPRODUCED}: {'the reverse' if reverse else 'not shown'}"


def table(claims: Iterable[Claim]) -> pd.DataFrame:
    """A row a claim, see `Claim`; numbers are empty where nothing was measured."""
    return pd.DataFrame([c.row() for c in claims], columns=COLUMNS)


def readable(found: pd.DataFrame) -> pd.DataFrame:
    """Rows of `table` for the eye: by claim, with the effect and its interval in one
    column and nothing where nothing was measured."""

    def effect(row: pd.Series) -> str:
        if pd.isna(row["effect"]):
            return ""
        interval = f"{row['effect']:+.3g} [{row['low']:+.3g}, {row['high']:+.3g}]"
        return f"{interval} {row['unit']}, wanted {row['wanted']}"

    def count(number: float) -> str:
        return "" if pd.isna(number) else f"{number:.0f}"

    columns = {
        "verdict": found["verdict"],
        "effect": found.apply(effect, axis=1),
        "n": found["n"].map(count),
        "random seeds": found["random seeds"].map(count),
        "tested": found["tested"],
        "notebook": found["notebook"],
    }
    return pd.DataFrame(columns).set_index(pd.Index(found["claim"]))
