"""Figures of the latent half, in the style of `lrkit.plots`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lrkit.plots import BLUE, GREEN, GREY, ORANGE, PURPLE
from lrkit.study.stats import Estimate

STYLES = {"lrkit": (BLUE, "o"), "all again": (ORANGE, "s")}


def latent_speed(results: Mapping) -> Figure:
    """A row a case: ratios at one number of latents, and times over their number.

    Args:
        results: what `python -m lrkit.study.bench.latent` wrote.

    Whiskers go from the least to the greatest repeat. Black strokes are what the
    numbers of computed positions alone would give; lines are least squares through the
    medians.
    """
    cases = [case for case in results["cases"] if "skipped" not in case]
    n = max(len(cases), 1)
    fig, axes = plt.subplots(
        n, 3, figsize=(11.6, 0.9 + 3.5 * n), dpi=110, layout="constrained",
        squeeze=False, width_ratios=(1.05, 1, 1),
    )  # fmt: skip
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    for case, (ratios, training, inference) in zip(cases, axes, strict=False):
        _ratios(ratios, case)
        for ax, task in ((training, "training"), (inference, "inference")):
            _growth(ax, [row for row in case["growth"] if row["task"] == task])
    where = f"{results['device']}, threads: {results['threads']}"
    fig.suptitle(f"The same model on both sides of every ratio ({where})")
    return fig


def _ratios(ax, case: Mapping) -> None:
    """How many times faster the package is than each other way."""
    rows = case["comparisons"]
    for y, row in enumerate(rows):
        ax.plot([row["min"], row["max"]], [y, y], color=BLUE, lw=2)
        ax.plot(row["median"], y, "o", color=BLUE, ms=6)
        ax.plot(row["by_positions"], y, "|", color="black", ms=12)
        ax.annotate(
            f"{row['median']:.1f}", (row["median"], y), xytext=(0, 7),
            textcoords="offset points", ha="center", fontsize=8,
        )  # fmt: skip
    names = [f"{r['task']}, rows: {r['rows']}\n{r['slower']}" for r in rows]
    ax.set_yticks(range(len(rows)), names, fontsize=8)
    ax.set_ylim(len(rows) - 0.5, -1.4)  # room for the legend
    ax.set_xlim(left=0)
    ax.plot([], [], "o", color=BLUE, label="measured")
    ax.plot([], [], "|", color="black", ms=10, ls="", label="by positions")
    ax.legend(frameon=False, fontsize=8, loc="upper center", ncols=2)
    latents = rows[0]["n_latents"] if rows else ""
    ax.set(
        xlabel="times as fast as this way", title=f"{case['case']}: {latents} latents"
    )


def _growth(ax, rows: list[Mapping]) -> None:
    """Seconds over the number of latents, with a straight line."""
    for row in rows:
        color, marker = STYLES[row["way"]]
        x, seconds = np.array(row["n_latents"]), row["seconds"]
        medians = np.array([s["median"] for s in seconds])
        whiskers = [
            medians - [s["min"] for s in seconds],
            [s["max"] for s in seconds] - medians,
        ]
        slope, start = row["seconds_per_latent"], row["seconds_at_none"]
        ends = np.array([0, x[-1]])
        ax.plot(ends, start + slope * ends, color=color, lw=1, ls="--")
        ax.errorbar(
            x, medians, yerr=whiskers, color=color, marker=marker, ls="", ms=5,
            capsize=2, label=f"{row['way']}: {_said(slope)} a latent",
        )  # fmt: skip
    ax.set(xlabel="latents", xlim=(0, None))
    if rows:
        ax.set_ylim(0, 1.3 * ax.get_ylim()[1])  # room for the legend
        ax.legend(frameon=False, fontsize=8, loc="upper left")
        unit = "step" if rows[0]["task"] == "training" else "batch"
        title = f"{rows[0]['task']}, rows: {rows[0]['rows']}".capitalize()
        ax.set(ylabel=f"seconds per {unit}", title=title)


def _said(seconds: float) -> str:
    return f"{1000 * seconds:.3g} ms" if abs(seconds) < 1 else f"{seconds:.3g} s"


KINDS = {
    "question": "#d9d9d9",
    "latent": BLUE,
    "special": "#9ecae1",
    "chain": ORANGE,
    "cue": "#b2df8a",
    "answer": "#33a02c",
}


def token_rows(
    rows: Mapping[str, Sequence[tuple[str, str]]],
    links: Sequence[tuple[tuple[str, int], tuple[str, int]]] = (),
    title: str = "",
) -> Figure:
    """Rows of tokens as boxes, coloured by what they are.

    Args:
        rows: name -> tokens in order, each (text, kind of `KINDS`).
        links: pairs of (name of the row, index of the token) joined by an arrow.
        title: of the figure.

    Raises:
        KeyError: for a kind that is not in `KINDS`.
    """
    size, pad = 0.105, 0.09  # inches a character, and around it
    lengths = {
        name: [pad * 2 + size * max(len(text), 1) for text, _ in tokens]
        for name, tokens in rows.items()
    }
    width = max(sum(each) for each in lengths.values())
    fig, ax = plt.subplots(
        figsize=(11.6, 0.75 + 0.5 * len(rows) * (11.6 / (width + 2.2)) ** 0.5),
        dpi=110,
        layout="constrained",
    )
    scale = min(1.0, 9.6 / width)
    centres = {}
    for y, (name, tokens) in enumerate(rows.items()):
        x = 0.0
        for k, ((text, kind), w) in enumerate(zip(tokens, lengths[name], strict=True)):
            ax.barh(y, w, left=x, height=0.62, color=KINDS[kind], edgecolor="white")
            ax.text(
                x + w / 2, y, text, ha="center", va="center", fontsize=9.5 * scale,
                family="monospace",
                color="white" if kind in ("latent", "answer") else "black",
            )  # fmt: skip
            centres[name, k] = (x + w / 2, y)
            x += w
    for one, other in links:
        ax.annotate(
            "", xy=centres[other], xytext=centres[one],
            arrowprops={"arrowstyle": "<->", "color": "black", "shrinkA": 9,
                        "shrinkB": 9, "lw": 1.4},
        )  # fmt: skip
    ax.set_yticks(range(len(rows)), rows, fontsize=9)
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlim=(0, width), xticks=[], title=title)
    ax.spines[:].set_visible(False)
    shown = {kind for tokens in rows.values() for _, kind in tokens}
    for kind, color in KINDS.items():
        if kind in shown:
            ax.barh(0, 0, color=color, label=kind)
    ax.legend(
        frameon=False, fontsize=8, ncols=len(shown), loc="upper center",
        bbox_to_anchor=(0.5, 0),
    )  # fmt: skip
    return fig


def by_number(
    lines: Mapping[str, pd.Series], xlabel: str, ylabel: str, title: str = ""
) -> Figure:
    """Shares over a whole number, a line each, named at its end.

    Args:
        lines: name -> share (0 to 1) by number, in rising order.
        xlabel: what is counted.
        ylabel: what the share is of.
        title: of the figure.
    """
    fig, ax = plt.subplots(figsize=(8.6, 4.2), dpi=110, layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    styles = zip(
        (BLUE, ORANGE, GREEN, PURPLE, GREY, "black", "#E69F00", "#56B4E9"),
        "os^Dv<>P",
        ("-", "--", "-.", ":") * 2,
        strict=True,
    )
    for (name, line), (color, marker, dash) in zip(lines.items(), styles, strict=False):
        ax.plot(
            line.index, 100 * line.to_numpy(), color=color, marker=marker, ls=dash,
            ms=5, label=name,
        )  # fmt: skip
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel=xlabel, ylabel=f"{ylabel}, %", ylim=(0, 103), title=title)
    ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def stacked_shares(
    table: pd.DataFrame, xlabel: str, title: str = "", marks: Sequence[float] = ()
) -> Figure:
    """A bar a row, made up of the shares in its columns.

    Args:
        table: shares that add up to 1 in each row; names of rows and columns are shown.
        xlabel: what is shared out.
        title: of the figure.
        marks: for each row a share that is marked by a stroke, such as what chance
            would give the first column.
    """
    fig, ax = plt.subplots(
        figsize=(8.6, 1.3 + 0.42 * len(table)), dpi=110, layout="constrained"
    )
    ax.spines[["top", "right"]].set_visible(False)
    left, palette = np.zeros(len(table)), (BLUE, "#9ecae1", ORANGE, "#fdd0a2", GREY)
    y = range(len(table))
    for color, (name, column) in zip(palette, table.items(), strict=False):
        values = 100 * column.to_numpy()
        ax.barh(y, values, left=left, color=color, label=name)
        left += values
    for row, mark in enumerate(marks):
        ax.plot([100 * mark] * 2, [row - 0.4, row + 0.4], color="black", lw=2)
    ax.set_yticks(y, table.index)
    ax.invert_yaxis()
    ax.set(xlabel=f"{xlabel}, %", xlim=(0, 100), title=title)
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def accuracy_and_length(
    points: Mapping[str, tuple[float, Estimate]], xlabel: str, title: str = ""
) -> Figure:
    """Accuracy with its interval over how much is thought, a named point each.

    Args:
        points: name -> (mean length, accuracy).
        xlabel: what the length counts.
        title: of the figure.
    """
    fig, ax = plt.subplots(figsize=(8.6, 4.2), dpi=110, layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    # Six colours and five markers: thirty points before two look alike.
    colors = itertools.cycle((BLUE, ORANGE, GREEN, PURPLE, GREY, "black"))
    styles = zip(colors, itertools.cycle("os^Dv"), strict=False)
    for (name, (x, y)), (color, marker) in zip(points.items(), styles, strict=False):
        whiskers = [[100 * (y.value - y.low)], [100 * (y.high - y.value)]]
        ax.errorbar(
            x, 100 * y.value, yerr=whiskers,
            color=color, marker=marker, ms=6, capsize=3, ls="", label=name,
        )  # fmt: skip
    ax.set(xlabel=xlabel, ylabel="right answers, %", ylim=(0, 104), title=title)
    ax.set_xlim(left=0)
    ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
