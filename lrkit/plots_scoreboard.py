"""The figures of the scoreboard, in the style of `lrkit.plots`."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from lrkit.plots import BLUE, GREY, ORANGE
from lrkit.study.gathered import pareto_front

VERDICTS = {
    "reproduced": BLUE,
    "not reproduced: the reverse": ORANGE,
    "not reproduced: not shown": "#fdd0a2",
    "not recorded yet": "#d9d9d9",
    "not testable here": GREY,
}


def pareto(board: pd.DataFrame, costs: Mapping[str, str], title: str = "") -> Figure:
    """Accuracy with its interval over each cost, a panel each; the front as a line.

    Args:
        board: of `lrkit.study.scoreboard.scoreboard`.
        costs: column -> what the axis says; two at least.
        title: of the figure.
    """
    columns = 2
    lines = -(-len(costs) // columns)
    fig, axes = plt.subplots(
        lines, columns, figsize=(11.6, 0.5 + 4.3 * lines), dpi=110, sharey=True,
        layout="constrained", squeeze=False,
    )  # fmt: skip
    numbers = {name: k for k, name in enumerate(board.index, 1)}
    for ax, (cost, said) in zip(axes.flat, costs.items(), strict=False):
        front = pareto_front(board, cost)
        for name, row in board.iterrows():
            color = BLUE if name in front else GREY
            y, low, high = (100 * row[k] for k in ("accuracy", "low", "high"))
            ax.plot([row[cost]] * 2, [low, high], color=color, lw=1.2, zorder=1)
            ax.plot(row[cost], y, "o", color=color, ms=13, zorder=2)
            ax.annotate(
                str(numbers[name]), (row[cost], y), ha="center", va="center",
                color="white", fontsize=7.5, zorder=3,
            )  # fmt: skip
        best = board.loc[front]
        ax.step(
            best[cost], 100 * best["accuracy"], where="post", color=BLUE, lw=1, ls="--"
        )
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 4, 5, 7)))
        ax.xaxis.set_major_formatter(EngFormatter())
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set(xlabel=said, ylim=(0, 107))
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes.flat[len(costs) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel("right answers, %")
    names = [f"{k}  {name}" for name, k in numbers.items()]
    for text in names:
        axes[0, -1].plot([], [], " ", label=text)
    axes[0, -1].legend(
        frameon=False, fontsize=8, handlelength=0, loc="center left",
        bbox_to_anchor=(1, 0.5),
    )  # fmt: skip
    fig.suptitle(title)
    return fig


def verdicts(claims: pd.DataFrame, title: str = "") -> Figure:
    """How many claims of each source came out how.

    Args:
        claims: of `lrkit.study.claims.claim.table`.
        title: of the figure.
    """
    counts = claims.groupby(["source", "verdict"], sort=False).size().unstack()
    counts = counts.reindex(columns=list(VERDICTS)).fillna(0)
    fig, ax = plt.subplots(
        figsize=(8.6, 1.6 + 0.5 * len(counts)), dpi=110, layout="constrained"
    )
    left = pd.Series(0.0, counts.index)
    names = [name.partition(":")[0].partition(" (")[0] for name in counts.index]
    for verdict, color in VERDICTS.items():
        bars = ax.barh(
            range(len(counts)), counts[verdict], left=left, color=color, label=verdict,
            edgecolor="white",
        )  # fmt: skip
        shown = ["" if n == 0 else f"{n:.0f}" for n in counts[verdict]]
        ax.bar_label(bars, shown, label_type="center", fontsize=8)
        left += counts[verdict]
    ax.set_yticks(range(len(counts)), names)
    ax.invert_yaxis()
    ax.set(xlabel="claims", title=title)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(
        frameon=False, fontsize=8, ncols=3, loc="upper center",
        bbox_to_anchor=(0.5, -0.25),
    )  # fmt: skip
    return fig
