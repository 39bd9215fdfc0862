"""The figures of adaptive length, in the style of `lrkit.plots`."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lrkit.plots import BLUE, ORANGE


def length_histograms(
    arms: Mapping[str, pd.DataFrame],
    xlabel: str = "latents",
    ylabel: str = "questions, %",
    columns: int = 2,
) -> Figure:
    """How long thoughts are, the wrong ones on top of the right ones; a panel each.

    Args:
        arms: name -> rows with `latent_steps` and `correct`; one at least.
        xlabel: what the length counts.
        ylabel: what the shares are of.
        columns: panels side by side.

    Raises:
        ValueError: for no arms.
    """
    if not arms:
        raise ValueError("there are no thoughts to show.")
    lines = -(-len(arms) // columns)
    fig, axes = plt.subplots(
        lines, columns, figsize=(8.6, 0.4 + 2.3 * lines), dpi=110, sharex=True,
        sharey=True, layout="constrained", squeeze=False,
    )  # fmt: skip
    most = max(int(rows["latent_steps"].max()) for rows in arms.values())
    counts = np.arange(most + 1)
    for ax, (name, rows) in zip(axes.flat, arms.items(), strict=False):
        bottom = np.zeros(len(counts))
        for said, hue, kind in (("right", BLUE, True), ("wrong", ORANGE, False)):
            part = rows.loc[rows["correct"].astype(bool) == kind, "latent_steps"]
            share = 100 * np.bincount(part, minlength=most + 1) / len(rows)
            hatch = "" if kind else "///"
            ax.bar(
                counts, share, bottom=bottom, color=hue, label=said, hatch=hatch,
                edgecolor="white", width=0.86,
            )  # fmt: skip
            bottom += share
        ax.set_title(name, fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes.flat[len(arms) :]:
        ax.set_axis_off()
    for ax in axes.flat[max(len(arms) - columns, 0) : len(arms)]:
        ax.set_xlabel(xlabel)
        ax.tick_params(labelbottom=True)
    for ax in axes[:, 0]:
        ax.set_ylabel(ylabel)
    axes[0, 0].legend(frameon=False, fontsize=8, loc="best")
    return fig
