"""Maps: what is done to a hidden state before it is written into a slot.

A map takes [..., width] to [..., width] and knows nothing of models, slots or losses.
Another map is one more entry of `MAPS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


def identity(width: int) -> nn.Module:
    """Nothing: COCONUT feeds the last hidden state as it is."""
    return nn.Identity()


def mlp(
    width: int, inner: int | None = None, dropout: float = 0.0, norm: bool = True
) -> nn.Module:
    """CODI's projection: dropout, linear, GELU, linear, LayerNorm.

    Args:
        width: of the hidden states.
        inner: width between the two linear layers; None: `width`.
        dropout: share of the inputs dropped in training.
        norm: whether a LayerNorm follows.
    """
    inner = inner or width
    layers = [
        nn.Dropout(dropout),
        nn.Linear(width, inner),
        nn.GELU(),
        nn.Linear(inner, width),
    ]
    return nn.Sequential(*layers, *([nn.LayerNorm(width)] if norm else []))


MAPS: dict[str, Callable[..., nn.Module]] = {"identity": identity, "mlp": mlp}


def build_map(spec: dict[str, Any], width: int) -> nn.Module:
    """The map of a specification such as `{"kind": "mlp", "inner": 256}`.

    Raises:
        ValueError: for an unknown kind; the sentence lists what there is.
    """
    options = dict(spec)
    kind = options.pop("kind", None)
    if kind not in MAPS:
        raise ValueError(f"there is no map {kind!r}: choose one of {', '.join(MAPS)}.")
    return MAPS[kind](width, **options)
