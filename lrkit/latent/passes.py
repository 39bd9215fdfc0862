"""Forward passes over consecutive columns of one batch, over one growing cache.

Which vectors stand in the columns is the business of `lrkit.latent.slots`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import DynamicCache

from lrkit.kv_cache import fork


@dataclass
class Passes:
    """One run over a batch, left to right.

    Attributes:
        base: the wrapped model.
        mask: [batch, cached + columns].
        positions: [batch, columns].
        cache: grown by `forward`; None: a single pass without one.
        keep_hidden: whether hidden states of all layers are kept.
        keep_from: logits are kept from this column on.
        cached: columns in the cache before the first pass.
    """

    base: nn.Module
    mask: torch.Tensor
    positions: torch.Tensor
    cache: DynamicCache | None
    keep_hidden: bool
    keep_from: int
    cached: int

    def __post_init__(self) -> None:
        self.done = 0
        self.logits: list[torch.Tensor] = []
        self.hidden: list[tuple[torch.Tensor, ...]] = []

    def _pass(self, vectors: torch.Tensor, cache: DynamicCache | None, keep: int):
        end = self.done + vectors.shape[1]
        return self.base(
            inputs_embeds=vectors,
            attention_mask=self.mask[:, : self.cached + end],
            position_ids=self.positions[:, self.done : end],
            past_key_values=cache,
            use_cache=cache is not None,
            output_hidden_states=True,
            logits_to_keep=keep,
        )

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Run over the next columns; [batch, columns, width], last hidden states."""
        end = self.done + vectors.shape[1]
        wanted = min(end - self.keep_from, vectors.shape[1])
        out = self._pass(vectors, self.cache, max(wanted, 1))
        if wanted > 0:
            self.logits.append(out.logits)
        if self.keep_hidden:
            self.hidden.append(out.hidden_states)
        self.done = end
        return out.hidden_states[-1]

    def aside(self, vectors: torch.Tensor) -> torch.Tensor:
        """The same over a fork of the cache: nothing is kept of it."""
        return self._pass(vectors, fork(self.cache), 1).hidden_states[-1]
