"""Figures of probes on latents, in the style of `lrkit.plots`."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lrkit.plots import BLUE, GREEN, GREY, ORANGE, PURPLE
from lrkit.study.clusters import MapOfVectors

MARKS = [
    (BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"), (GREY, "v"),
    ("#56B4E9", "P"), ("#E69F00", "X"),
]  # fmt: skip


def tsne_maps(
    maps: Sequence[MapOfVectors], labels: Sequence[str], title: str = ""
) -> Figure:
    """A panel for each random seed, its trustworthiness above it; a colour and a mark
    for each label. Axes of t-SNE have no unit, and distances between groups no meaning.

    Args:
        maps: of `lrkit.study.clusters.maps`.
        labels: one for each vector, up to seven different ones.
        title: above all.

    Raises:
        ValueError: for more labels than can be told apart.
    """
    labels = np.asarray(labels)
    kinds = sorted(set(labels.tolist()))
    if len(kinds) > len(MARKS):
        raise ValueError(
            f"{len(kinds)} labels cannot be told apart by {len(MARKS)} marks."
        )
    n = len(maps)
    fig, axes = plt.subplots(
        1, n, figsize=(0.4 + 2.4 * n, 3.3), dpi=110, layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for ax, one in zip(axes.flat, maps, strict=True):
        for kind, (color, mark) in zip(kinds, MARKS, strict=False):
            x, y = one.points[labels == kind].T
            ax.plot(x, y, mark, color=color, ms=2.6, alpha=0.75, mew=0, label=kind)
        ax.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        ax.set_title(f"random seed {one.seed}\ntrust {one.trust:.3f}", fontsize=9)
    handles, names = axes.flat[0].get_legend_handles_labels()
    fig.legend(
        handles, names, loc="outside lower center", ncols=len(names), frameon=False,
        markerscale=2.5, fontsize=9,
    )  # fmt: skip
    if title:
        fig.suptitle(title, fontsize=10)
    return fig


def probe_figure(table: pd.DataFrame, title: str = "") -> Figure:
    """Accuracy of each probe with its interval, a panel for each property; a cross
    where its control task came to, a dashed line at the commonest class.

    Args:
        table: of `lrkit.study.latent_probes.probe_latents`.
        title: above all.
    """
    properties = list(dict.fromkeys(table["property"]))
    names = list(dict.fromkeys(table["vectors"]))
    size = (2.2 + 2.5 * len(properties), 1.5 + 0.36 * len(names))
    fig, axes = plt.subplots(
        1, len(properties), figsize=size, dpi=110, layout="constrained", squeeze=False,
        sharey=True,
    )  # fmt: skip
    for ax, name in zip(axes.flat, properties, strict=True):
        rows = table[table["property"] == name].set_index("vectors").loc[names]
        at = np.arange(len(names))
        ax.hlines(at, 100 * rows["low"], 100 * rows["high"], color=BLUE, lw=2)
        ax.plot(100 * rows["accuracy"], at, "o", color=BLUE, ms=6, label="probe")
        ax.plot(
            100 * rows["control"], at, "x", color=ORANGE, ms=7, label="control task"
        )
        ax.axvline(
            100 * rows["majority"].iloc[0], color=GREY, ls="--", lw=1,
            label="commonest class",
        )  # fmt: skip
        ax.set(title=name, xlabel="right (%)", xlim=(-2, 102))
        ax.set_yticks(at, names)
        ax.spines[["top", "right"]].set_visible(False)
    axes.flat[0].set_ylim(len(names) - 0.5, -0.5)
    handles, said = axes.flat[0].get_legend_handles_labels()
    fig.legend(handles, said, loc="outside lower center", ncols=3, frameon=False)
    if title:
        fig.suptitle(title, fontsize=10)
    return fig
