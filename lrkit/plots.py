"""The figures of the workbook: one function each, colour-blind-safe, axes with units.

Functions take plain tables and estimates and return the matplotlib figure; nothing is
computed here that a claim rests on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lrkit.study.stats import Estimate

# Okabe and Ito's palette.
BLUE, ORANGE, GREEN, PURPLE, GREY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#666666",
)


def _axes(width: float = 7.5, height: float = 3.4):
    fig, ax = plt.subplots(figsize=(width, height), dpi=110, layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return fig, ax


def loss_curve(log: Sequence[Mapping], title: str = "Training loss") -> Figure:
    """Loss over steps, from a trainer's log history."""
    rows = [r for r in log if "loss" in r]
    fig, ax = _axes()
    ax.plot([r["step"] for r in rows], [r["loss"] for r in rows], color=BLUE)
    ax.set(xlabel="optimizer step", ylabel="loss (nats per token)", title=title)
    ax.set_ylim(bottom=0)
    return fig


def forest(
    estimates: Mapping[str, Estimate],
    xlabel: str,
    reference: float | None = None,
    title: str = "",
    percent: bool = True,
    highlight: Sequence[str] = (),
) -> Figure:
    """Values with 95 % intervals, one line each, top to bottom in the given order."""
    k = 100 if percent else 1
    fig, ax = _axes(height=0.9 + 0.36 * len(estimates))
    for y, (name, e) in enumerate(estimates.items()):
        color = ORANGE if name in highlight else BLUE
        ax.plot([k * e.low, k * e.high], [y, y], color=color, lw=2)
        ax.plot(k * e.value, y, "o", color=color, ms=6)
        ax.annotate(
            f"{k * e.value:+.1f}" if reference == 0 else f"{k * e.value:.1f}",
            (k * e.value, y), xytext=(0, 6), textcoords="offset points",
            ha="center", fontsize=8,
        )  # fmt: skip
    if reference is not None:
        ax.axvline(k * reference, color=GREY, lw=1, ls="--")
    ax.set_yticks(range(len(estimates)), list(estimates))
    ax.set_ylim(len(estimates) - 0.4, -0.7)
    ax.set(xlabel=xlabel, title=title)
    return fig


def probability_histogram(
    p_yes: np.ndarray, labels: Sequence[str], title: str
) -> Figure:
    """How the probability of "yes" is spread, by true label."""
    fig, ax = _axes()
    labels = np.asarray(labels)
    edges = np.linspace(0, 1, 21)
    for label, color in (("no", ORANGE), ("yes", BLUE)):
        ax.hist(
            p_yes[labels == label], edges, color=color, alpha=0.6,
            label=f"true label: {label}",
        )  # fmt: skip
    ax.set(xlabel="P(yes) of the first token", ylabel="conversations", title=title)
    ax.legend(frameon=False, loc="upper center")
    return fig


def bars(
    values: Mapping[str, float],
    xlabel: str,
    title: str = "",
    colors: Sequence[str] | None = None,
    fmt: str = "{:.3g}",
) -> Figure:
    """Horizontal bars with their values written at the end."""
    fig, ax = _axes(height=0.9 + 0.33 * len(values))
    names, v = list(values), list(values.values())
    ax.barh(range(len(v)), v, color=colors or BLUE)
    for y, x in enumerate(v):
        ax.annotate(
            fmt.format(x), (x, y), xytext=(4, 0), textcoords="offset points",
            va="center", fontsize=8,
        )  # fmt: skip
    ax.set_yticks(range(len(v)), names)
    ax.invert_yaxis()
    ax.set_xlim(right=max(v) * 1.12 if max(v) > 0 else 1)
    ax.set(xlabel=xlabel, title=title)
    return fig


def label_counts(table: pd.DataFrame, title: str) -> Figure:
    """Stacked bars of labels per row of a crosstab with columns "yes" and "no"."""
    fig, ax = _axes(height=0.9 + 0.27 * len(table))
    ax.barh(table.index, table["yes"], color=BLUE, label="yes")
    ax.barh(table.index, table["no"], left=table["yes"], color=ORANGE, label="no")
    ax.invert_yaxis()
    ax.set(xlabel="conversations", title=title)
    ax.legend(frameon=False)
    return fig


def reliability(bands: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Reliability diagrams on one pair of axes, with the counts of each bin below.

    Args:
        bands: name -> `lrkit.answer.calibration.reliability_band`.
        title: of the figure.
    """
    fig, (top, below) = plt.subplots(
        2, 1, figsize=(7.5, 5.2), dpi=110, layout="constrained", sharex=True,
        height_ratios=(3, 1),
    )  # fmt: skip
    top.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
    n = len(bands)
    for k, (name, band) in enumerate(bands.items()):
        color, marker = (BLUE, ORANGE, GREEN, PURPLE)[k % 4], "osD^"[k % 4]
        shown = band[band["count"] > 0]
        top.errorbar(
            shown["confidence"], shown["accuracy"],
            yerr=[
                (shown["accuracy"] - shown["accuracy_low"]).clip(lower=0),
                (shown["accuracy_high"] - shown["accuracy"]).clip(lower=0),
            ],
            color=color, marker=marker, ms=5, lw=1.4, elinewidth=1, capsize=2,
            label=name,
        )  # fmt: skip
        width = (band["high"] - band["low"]) / (n + 0.5)
        below.bar(band["low"] + (k + 0.75) * width, band["count"], width, color=color)
    for ax in (top, below):
        ax.spines[["top", "right"]].set_visible(False)
    top.set(ylabel="share that is right", title=title, ylim=(0, 1.02), xlim=(0, 1))
    below.set(xlabel="confidence of the answer", ylabel="conversations")
    top.legend(frameon=False, loc="upper left")
    return fig


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    xlabel: str,
    ylabel: str,
    title: str = "",
    marks: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """Lines y over x, told apart by colour and dash, and named points on them."""
    fig, ax = _axes(height=3.8)
    for k, (name, (x, y)) in enumerate(lines.items()):
        ax.plot(
            x, y, color=(BLUE, ORANGE, GREEN, PURPLE)[k % 4],
            ls=("-", "--", "-.", ":")[k % 4], label=name,
        )  # fmt: skip
    for name, (x, y) in (marks or {}).items():
        ax.plot(x, y, "o", color="black", ms=5)
        ax.annotate(name, (x, y), xytext=(6, 6), textcoords="offset points", fontsize=8)
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.legend(frameon=False)
    return fig


def speed(results: Mapping) -> Figure:
    """One token against generation: speeds, and how their ratios grow.

    Args:
        results: what `make bench` wrote, `results/bench_one_token.json`.

    Whiskers go from the least to the greatest repeat. Black strokes in the first panel
    are the arithmetic floor; dashed lines, what the token counts alone would give.
    """
    cases = [case for case in results["cases"] if "skipped" not in case]
    fig, axes = plt.subplots(2, 2, figsize=(11, 7.5), dpi=110, layout="constrained")
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    styles = [(BLUE, "o"), (ORANGE, "s")]
    for k, (case, (color, marker)) in enumerate(zip(cases, styles, strict=False)):
        _speeds(axes[0, 0], case, color, marker, 0.3 * k - 0.15)
        for ax, table, x in (
            (axes[0, 1], case["by_rows"], "rows"),
            (axes[1, 0], case["by_share"], "share"),
        ):
            _ratios(ax, table, x, color, marker, "-", case["case"])
            expected = [row["by_tokens"] for row in table]
            ax.plot([row[x] for row in table], expected, color=color, lw=1, ls="--")
        for batch, line in (("alone", "-"), ("same batch", ":")):
            table = [row for row in case["by_chain_length"] if row["batch"] == batch]
            name = f"{case['case']}, chain in batches of {table[0]['rows_per_batch']}"
            _ratios(axes[1, 1], table, "tokens", color, marker, line, name)
    axes[0, 0].set(xscale="log", xlabel="rows per second", title="Ways to an answer")
    axes[0, 1].set(
        xlabel="rows scored together", title="More rows",
        ylabel="times the source's snippet",
    )  # fmt: skip
    axes[1, 0].set(
        xlabel="share of the prompt that is common", title="A longer common beginning",
        ylabel="times nothing in common",
    )  # fmt: skip
    axes[1, 1].set(
        xlabel="tokens of the chain", title="A longer chain",
        ylabel="times writing the chain",
    )  # fmt: skip
    axes[0, 1].set_xscale("log", base=2)
    numbers = sorted({row["rows"] for case in cases for row in case["by_rows"]})
    axes[0, 1].set_xticks(numbers, numbers)
    axes[1, 1].set_ylim(bottom=0)
    axes[0, 0].plot([], [], "|", color="black", ms=10, ls="", label="floor")
    axes[0, 0].legend(frameon=False, fontsize=8, loc="upper center", ncols=3)
    for ax in axes.flat[1:]:
        ax.legend(frameon=False, fontsize=8)
    where = f"{results['device']}, threads: {results['threads']}"
    fig.suptitle(f"The same model on both sides of every ratio ({where})")
    return fig


def _speeds(ax, case: Mapping, color: str, marker: str, shift: float) -> None:
    """Rows per second of each way, with its floor; of chains one length is shown."""
    written = [row["tokens"] for row in case["by_chain_length"]]
    length = 128 if 128 in written else max(written)
    shown = [
        record for record in case["ways"]
        if record["table"] == "one token"
        or (record["table"] == "chain" and record["tokens_written"] == length)
    ]  # fmt: skip
    for y, record in enumerate(shown):
        rate = record["rows_per_second"]
        ax.plot([rate["min"], rate["max"]], [y + shift] * 2, color=color, lw=2)
        name = case["case"] if y == 0 else None
        ax.plot(rate["median"], y + shift, marker, color=color, ms=6, ls="", label=name)
        floor = record["rows_measured"] / np.median(record["floor_seconds"])
        ax.plot(floor, y + shift, "|", color="black", ms=10)
    ax.set_yticks(range(len(shown)), [record["way"] for record in shown])
    ax.set_ylim(len(shown) - 0.5, -1.3)  # room for the legend


def _ratios(ax, table, x: str, color: str, marker: str, line: str, name: str) -> None:
    """Median ratios with whiskers from the least to the greatest."""
    medians = np.array([row["median"] for row in table])
    below = medians - [row["min"] for row in table]
    above = [row["max"] for row in table] - medians
    ax.errorbar(
        [row[x] for row in table], medians, yerr=[below, above], color=color,
        marker=marker, ls=line, ms=5, lw=1.4, capsize=2, label=name,
    )  # fmt: skip
