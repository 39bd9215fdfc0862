"""The figure of damaged chains, in the style of `lrkit.plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from lrkit.plots import BLUE, GREEN, GREY, ORANGE, PURPLE

STYLES = ((BLUE, "o", "-"), (ORANGE, "s", "-"), (GREEN, "^", "--"), (PURPLE, "D", "--"))
LINE = 4.5  # points of accuracy that a name takes
LIMITS = ((GREY, "-."), ("black", ":"))


def redundancy_curves(
    table: pd.DataFrame,
    kinds: Sequence[str],
    levels: Sequence[str] = (),
    ideal: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    title: str = "",
) -> Figure:
    """Accuracy over what is removed, with 95 % intervals.

    Args:
        table: of `lrkit.study.redundancy.curves.curve`.
        kinds: drawn over p; four at most.
        levels: damages without a p, as lines across with their intervals as bands.
        ideal: name -> (p, accuracy) of an ideal reader, without an interval; two at
            most.
        title: of the figure.

    Raises:
        KeyError: for a kind that is not in the table.
    """
    fig, ax = plt.subplots(figsize=(8.6, 4.4), dpi=110, layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    for kind, (color, marker, dash) in zip(kinds, STYLES, strict=False):
        part = table.loc[kind].sort_index()
        whiskers = [
            (part["accuracy"] - part["low"]).clip(lower=0),
            (part["high"] - part["accuracy"]).clip(lower=0),
        ]
        ax.errorbar(
            100 * part.index, 100 * part["accuracy"], yerr=[100 * w for w in whiskers],
            color=color, marker=marker, ls=dash, ms=5, lw=1.4, elinewidth=1, capsize=2,
            label=kind,
        )  # fmt: skip
    _across(ax, {level: table.loc[level].iloc[0] for level in levels})
    for (name, (ps, values)), (color, dash) in zip(
        (ideal or {}).items(), LIMITS, strict=False
    ):
        ax.plot(
            [100 * p for p in ps], [100 * v for v in values], color=color, ls=dash,
            lw=1.4, label=name,
        )  # fmt: skip
    n = int(table["n"].max())
    ax.set(
        xlabel="removed from the chain, %", ylabel=f"right answers, % (n = {n})",
        ylim=(0, 103), title=title,
    )  # fmt: skip
    ax.legend(frameon=False, fontsize=8, loc="best")
    return fig


def _across(ax, levels: Mapping[str, pd.Series]) -> None:
    """Lines with bands, named at their end; names keep off one another."""
    y = -LINE
    for name, row in sorted(levels.items(), key=lambda item: item[1]["accuracy"]):
        value = 100 * row["accuracy"]
        ax.axhline(value, color=GREY, lw=1)
        ax.axhspan(100 * row["low"], 100 * row["high"], color=GREY, alpha=0.12, lw=0)
        y = max(value, y + LINE)
        ax.annotate(
            name, (1, y), xycoords=("axes fraction", "data"), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize=8, color=GREY,
        )  # fmt: skip
