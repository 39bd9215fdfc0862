"""Maps: what is done to a hidden state before it is written into a slot.

A map takes [..., width] to [..., width] and knows nothing of slots or losses. Another
map is one more entry of `MAPS`; one that needs the model's own tables has a method
`bind`, which is given the model once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lrkit.latent.superposition import check, mixture_of_states


class Scaled(nn.Module):
    """Vectors times a constant."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """[..., width] to [..., width]."""
        return vectors * self.scale


def identity(width: int, scale: float = 1.0) -> nn.Module:
    """COCONUT's: the last hidden state, as it is or made shorter.

    Args:
        width: of the hidden states.
        scale: what they are multiplied by. A hidden state behind the last norm may be
            many times as long as an embedding; where positions are added to what is
            written, they drown beside it.
    """
    return nn.Identity() if scale == 1.0 else Scaled(scale)


def mlp(
    width: int,
    inner: int | None = None,
    dropout: float = 0.0,
    norm: bool = True,
    scale: float = 1.0,
) -> nn.Module:
    """CODI's projection: dropout, linear, GELU, linear, LayerNorm.

    Args:
        width: of the hidden states.
        inner: width between the two linear layers; None: `width`.
        dropout: share of the inputs dropped in training.
        norm: whether a LayerNorm follows.
        scale: what its gain starts at, see `identity`; without a norm it does nothing.
    """
    inner = inner or width
    layers = [
        nn.Dropout(dropout),
        nn.Linear(width, inner),
        nn.GELU(),
        nn.Linear(inner, width),
    ]
    if norm:
        layers.append(nn.LayerNorm(width))
        nn.init.constant_(layers[-1].weight, scale)
    return nn.Sequential(*layers)


def linear(width: int, norm: bool = True, scale: float = 1.0) -> nn.Module:
    """A linear layer and a LayerNorm.

    Args:
        width: of the hidden states.
        norm: whether the LayerNorm follows.
        scale: what its gain starts at, see `identity`; without a norm it does nothing.
    """
    layers = [nn.Linear(width, width)]
    if norm:
        layers.append(nn.LayerNorm(width))
        nn.init.constant_(layers[-1].weight, scale)
    return nn.Sequential(*layers)


class Superposition(nn.Module):
    """The model's own mixture of its embeddings (a *soft embedding*).

    A hidden state becomes the probabilities of the k likeliest tokens, and these the
    weighted sum of their embeddings: see `lrkit.latent.superposition`.

    Args:
        width: of the hidden states.
        k: how many tokens count; 0: the whole vocabulary.
        temperature: T.
        scale: what the mixture is multiplied by.
        excluded: id of a token that is never mixed in; None: there is none.
    """

    def __init__(
        self,
        width: int,
        k: int = 10,
        temperature: float = 1.0,
        scale: float = 1.0,
        excluded: int | None = None,
    ):
        super().__init__()
        check(k, temperature)
        self.k, self.temperature, self.scale = k, temperature, scale
        self.excluded = excluded
        self._base: tuple[nn.Module, ...] = ()  # a tuple: its weights are not the map's

    def bind(self, base: nn.Module) -> None:
        """Use the tables of a model of transformers, whatever they become."""
        self._base = (base,)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """[..., width], behind the last norm, to [..., width]."""
        (base,) = self._base
        mixed = mixture_of_states(
            vectors, base.get_output_embeddings(), self.k, self.temperature,
            self.excluded,
        )  # fmt: skip
        vector = self.scale * mixed.embed(base.get_input_embeddings())
        return vector.to(vectors.dtype)


MAPS: dict[str, Callable[..., nn.Module]] = {
    "identity": identity,
    "mlp": mlp,
    "linear": linear,
    "superposition": Superposition,
}


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
