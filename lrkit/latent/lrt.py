"""Latent Reasoning Tuning: latents beside a base that is never trained (ICLR 2026).

The base reads the question; `lrkit.latent.reasoning_network` turns its last hidden
states into t latents in one pass; the base answers from question and latents. Without
slots the model is the base itself, bit for bit: that is the paper's *modular* promise,
and why the same weights can think explicitly (`lrkit.latent.hybrid`).

`SoftPromptModel` is the control that the paper leaves out: t trained constants in the
same slots, which know nothing of the question (prompt tuning, arXiv 2104.08691).

Neither the base nor the rows of the special tokens are trained. So nothing before the
first slot needs a gradient, and training costs little more than the base's answer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from lrkit.latent.layout import SlotRow
from lrkit.latent.passes import Passes
from lrkit.latent.reasoning_network import ReasoningNetwork, small_body
from lrkit.latent.slot_config import SLOT, SlotConfig
from lrkit.latent.slots import SlotModel, SlotOutput


class GivenConfig(SlotConfig):
    """`SlotConfig` of a model whose latents are made beside the base, all at once.

    Args:
        n_latents: t; 256 in the paper.
        kwargs: see `SlotConfig`; the order is "given".

    Raises:
        ValueError: for fewer than one latent, or another order.
    """

    model_type = "lrkit-given"

    def __init__(self, *args, n_latents: int = 256, **kwargs):
        if n_latents < 1:
            raise ValueError(f"{n_latents} latents cannot be: 1 or more.")
        if kwargs.setdefault("order", "given") != "given":
            raise ValueError(
                f"latents are given all at once here, not in the order "
                f"{kwargs['order']!r}: leave the order out."
            )
        super().__init__(*args, **kwargs)
        self.n_latents = n_latents


class FrozenSlotModel(SlotModel):
    """Slots filled by what is trained beside a frozen base.

    The base is in evaluation mode also in training: its dropout would be noise that no
    weight can learn to stand.
    """

    config_class = GivenConfig

    def __init__(self, config: GivenConfig, base: PreTrainedModel | None = None):
        super().__init__(config, base)
        self._freeze()

    def _freeze(self) -> None:
        self.base.requires_grad_(False)
        self.rows.requires_grad_(False)

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """As the library does it, which puts new, trainable weights in their place."""
        found = super().from_pretrained(*args, **kwargs)
        (found[0] if isinstance(found, tuple) else found)._freeze()
        return found

    def train(self, mode: bool = True) -> FrozenSlotModel:
        """As ever, but for the base."""
        super().train(mode)
        self.base.eval()
        return self

    def think(
        self, states: torch.Tensor, mask: torch.Tensor, active: torch.Tensor
    ) -> torch.Tensor:
        """The latents [batch, n, width]; arguments as of `ReasoningNetwork.forward`."""
        raise NotImplementedError("a method says what its latents are.")

    def flops_beside(self, row: SlotRow) -> float:
        """What the latents of a row cost beside the base."""
        return 0.0

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int = 0,  # by name: `generate` asks for the last column alone
        **kwargs,
    ) -> SlotOutput:
        """As `SlotModel.forward`; latents that are given take the place of its own.

        Raises:
            ValueError: as there; and for slots over a cache, which does not keep the
                question's hidden states.
        """
        slots = bool((input_ids == self.id_of(SLOT)).any())
        cache = kwargs.get("past_key_values")
        if slots and cache is not None and cache.get_seq_length():
            raise ValueError(
                "the latents are read from the question's hidden states, which a cache "
                "does not keep: pass question and slots together."
            )
        out = super().forward(
            input_ids,
            attention_mask,
            output_hidden_states=slots or output_hidden_states,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )
        if output_hidden_states:
            return out
        return SlotOutput(**{k: v for k, v in out.items() if k != "hidden_states"})

    def _fill(
        self,
        run: Passes,
        is_slot: torch.Tensor,
        before: torch.Tensor,
        given: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if given is None:  # `run` has passed over the question, and nothing else
            given = self.think(run.hidden[-1][-1], run.mask[:, : run.done], is_slot)
        return super()._fill(run, is_slot, before, given)


class LrtConfig(GivenConfig):
    """`GivenConfig` with the reasoning network.

    Args:
        body: configuration of G_phi; None: `small_body` of the base's width.
        reading: see `lrkit.latent.reasoning_network`, as the next one.
        attention: of G_phi.
        kwargs: see `GivenConfig`.
    """

    model_type = "lrkit-lrt"

    def __init__(
        self,
        *args,
        body: PreTrainedConfig | dict[str, Any] | None = None,
        reading: str = "appended",
        attention: str = "causal",
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        body = body.to_dict() if isinstance(body, PreTrainedConfig) else body
        if body is not None:
            body = {k: v for k, v in body.items() if k != "_name_or_path"}
        self.body = body
        self.reading = reading
        self.attention = attention


class LrtModel(FrozenSlotModel):
    """`FrozenSlotModel` whose latents come from the reasoning network."""

    config_class = LrtConfig

    def __init__(self, config: LrtConfig, base: PreTrainedModel | None = None):
        super().__init__(config, base)
        width = self.get_input_embeddings().embedding_dim
        if config.body is None:
            config.body = small_body(width).to_dict()
        self.network = ReasoningNetwork(
            width, config.n_latents, config.body, config.reading, config.attention
        )
        self.post_init()  # once more: now with the network's body

    @classmethod
    def wrap(cls, base: PreTrainedModel, **config) -> LrtModel:
        """As `SlotModel.wrap`; latents begin about as long as the base's embeddings."""
        model = super().wrap(base, **config)
        table = base.get_input_embeddings().weight
        model.network.to(table.device).begin_as_long_as(table)
        return model

    def think(
        self, states: torch.Tensor, mask: torch.Tensor, active: torch.Tensor
    ) -> torch.Tensor:
        """z of the paper: from all columns before the slots, `<bot>` among them."""
        return self.network(states, mask, active)

    def flops_beside(self, row: SlotRow) -> float:
        """One pass of the network."""
        return self.network.flops(len(row.before), row.n_slots) if row.n_slots else 0.0


class SoftPromptModel(FrozenSlotModel):
    """`FrozenSlotModel` whose latents are the same for every question."""

    def __init__(self, config: GivenConfig, base: PreTrainedModel | None = None):
        super().__init__(config, base)
        width = self.get_input_embeddings().embedding_dim
        self.prompt = nn.Parameter(torch.zeros(config.n_latents, width))

    @classmethod
    def wrap(cls, base: PreTrainedModel, **config) -> SoftPromptModel:
        """As `SlotModel.wrap`; the constants begin as rows of the base's table, drawn
        at random, as those of prompt tuning do."""
        model = super().wrap(base, **config)
        table = base.get_input_embeddings().weight.detach()
        drawn = torch.randint(len(table), (len(model.prompt),))
        model.prompt.data = table[drawn.to(table.device)].to(model.prompt.dtype)
        return model

    def think(
        self, states: torch.Tensor, mask: torch.Tensor, active: torch.Tensor
    ) -> torch.Tensor:
        """The constants, whatever was asked.

        Raises:
            ValueError: for more slots than constants.
        """
        n = active.shape[1]
        if n > len(self.prompt):
            raise ValueError(f"{n} slots are more than {len(self.prompt)} constants.")
        return self.prompt[:n].expand(len(states), -1, -1)
