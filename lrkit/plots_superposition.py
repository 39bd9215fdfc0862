"""Figures of superpositions: what is in a latent, and who reads whom.

In the style of `lrkit.plots`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from lrkit.plots import BLUE, GREY, ORANGE

COLUMNS = 4


def word_bars(
    latents: Mapping[str, Mapping[str, float]],
    title: str = "",
    marked: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """A panel of horizontal bars for each latent: its words and their weights.

    Args:
        latents: name of the latent -> weight (0 to 1) by word, heaviest first; at most
            10 words are shown.
        title: of the figure.
        marked: name of the latent -> words in another colour, such as those of the
            piece of text that it stands for.
    """
    across = min(COLUMNS, max(len(latents), 1))
    down = -(-len(latents) // across)
    fig, axes = plt.subplots(
        down, across, figsize=(2.6 * across, 0.5 + 2.3 * down), dpi=110,
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for ax in axes.flat[len(latents) :]:
        ax.set_visible(False)
    for ax, (name, words) in zip(axes.flat, latents.items(), strict=False):
        shown = list(words.items())[:10]
        own = set((marked or {}).get(name, ()))
        colors = [ORANGE if word in own else BLUE for word, _ in shown]
        ax.barh(range(len(shown)), [100 * w for _, w in shown], color=colors)
        ax.set_yticks(
            range(len(shown)), [word for word, _ in shown], fontsize=8,
            family="monospace",
        )  # fmt: skip
        ax.invert_yaxis()
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_xlim(0, 100)
        ax.set_title(name, fontsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("weight, %", fontsize=8)
    fig.suptitle(title)
    return fig


def mask_picture(
    masks: Mapping[str, tuple[np.ndarray, Sequence[str]]], title: str = ""
) -> Figure:
    """Who reads whom: a square for each row (reader) and column (read).

    Args:
        masks: name -> (allowed [columns, columns], what stands at each column).
        title: of the figure.
    """
    n = len(masks)
    fig, axes = plt.subplots(
        1, n, figsize=(5.4 * n, 5.0), dpi=110, layout="constrained", squeeze=False
    )
    for ax, (name, (allowed, labels)) in zip(axes[0], masks.items(), strict=True):
        ax.imshow(
            np.asarray(allowed, float), cmap=ListedColormap(["white", BLUE]),
            vmin=0, vmax=1,
        )  # fmt: skip
        size = len(labels)
        ax.set_xticks(range(size), labels, rotation=90, fontsize=8)
        ax.set_yticks(range(size), labels, fontsize=8)
        for line in np.arange(size + 1) - 0.5:
            ax.axhline(line, color=GREY, lw=0.3)
            ax.axvline(line, color=GREY, lw=0.3)
        ax.tick_params(length=0)
        ax.set(xlabel="is read", ylabel="reads", title=name)
    fig.suptitle(title)
    return fig
