"""Latent-SFT, stage 1: an encoder that puts a chain into latents, and its decoder.

(arXiv 2510.15522.) The encoder, a causal LM of its own, reads question and chain with a
latent behind each piece; what it has there becomes a superposition of the vocabulary
(`lrkit.latent.superposition`). The decoder, another causal LM, is given the question
and these latents and says what follows each of them: the next piece, and at last the
end of thinking and the answer. Two masks leave the decoder no other way to a piece than
the latents (`lrkit.latent.latent_masks`). One loss, cross-entropy, over all that
the decoder says; gradient reaches the encoder through the weights of the mixtures.

It is trained in three runs: encoder, decoder, both (`train_part`). Then the latents of
every training problem are written down once (`lrkit.latent.soft_labels`), and a student
learns to think them by itself (`lrkit.latent.latent_sft_student`).

What the reference does otherwise, and why not here: it takes end tokens for padding
where both have one id; and it may mix the end of thinking into a latent, and draws
noise until it no longer comes first. Here it is left out of every mixture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.modeling_outputs import ModelOutput

from lrkit.latent.latent_masks import (
    additive,
    attention_dtype,
    causal_mask,
    induction_mask,
    induction_positions,
    supervision_mask,
    supervision_positions,
)
from lrkit.latent.latent_sft_config import LatentSFTConfig
from lrkit.latent.layout import IGNORED
from lrkit.latent.slot_config import SLOT, SlotConfig
from lrkit.latent.slots import SlotModel, mean_loss
from lrkit.latent.superposition import Mixture, mixture_of_states, scores_by

PARTS = ("encoder", "decoder", "both")
# Weights and ids of mixtures [latents, k], or hidden states [latents, width].
Labels = dict[str, torch.Tensor]


@dataclass
class LatentSFTOutput(ModelOutput):
    """What a forward pass gives.

    Attributes:
        loss: mean cross-entropy over all that the decoder has to say.
        logits: [batch, kept columns, vocabulary] of the decoder, from the column before
            the first one that is supervised.
        vectors: [latents of the batch, width], as written, row by row.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    vectors: torch.Tensor | None = None


class LatentSFTModel(PreTrainedModel):
    """Encoder and decoder; see the module's docstring.

    Args:
        config: of both.
        encoder: a causal LM; None: one of random weights.
        decoder: another one, of the same width and vocabulary; None: the same.
    """

    config_class = LatentSFTConfig
    main_input_name = "encoder_ids"
    accepts_loss_kwargs = True  # the count of `Trainer` for accumulated batches
    supports_gradient_checkpointing = False
    _supports_sdpa = True

    def __init__(
        self,
        config: LatentSFTConfig,
        encoder: PreTrainedModel | None = None,
        decoder: PreTrainedModel | None = None,
    ):
        super().__init__(config)
        own = SlotConfig(config.base, config.specials, config.order)
        self.encoder = SlotModel(own, encoder)  # it brings a row for the latents
        if decoder is None:
            decoder = AutoModelForCausalLM.from_config(config.get_text_config())
        else:  # see `SlotModel`
            for module in decoder.modules():
                module._is_hf_initialized = True
        self.decoder = decoder
        self._trainable = {n for n, p in self.named_parameters() if p.requires_grad}
        self.post_init()

    @classmethod
    def wrap(cls, encoder: PreTrainedModel, decoder: PreTrainedModel, **config) -> Self:
        """Of two loaded models, which begin alike or not; neither is copied.

        Args:
            encoder: any causal LM.
            decoder: another one of the same vocabulary and width.
            config: see `LatentSFTConfig`.

        Raises:
            ValueError: for tables that do not fit, one model given twice, or attention
                that takes no mask of rows and columns.
        """
        tables = [m.get_input_embeddings().weight for m in (encoder, decoder)]
        if tables[0].shape != tables[1].shape:
            raise ValueError(
                f"encoder and decoder need tables of one shape, got "
                f"{list(tables[0].shape)} and {list(tables[1].shape)}."
            )
        if tables[0] is tables[1]:
            raise ValueError("encoder and decoder are one model: load it twice.")
        for model in (encoder, decoder):
            if model.config._attn_implementation not in ("eager", "sdpa"):
                raise ValueError(
                    f"{model.config._attn_implementation} takes no mask of rows and "
                    "columns: load both models with attn_implementation='sdpa'."
                )
        model = cls(cls.config_class(decoder.config, **config), encoder, decoder)
        row = tables[0].detach().float()
        model.encoder.rows.weight.data = row.mean(0, keepdim=True).to(tables[0])
        model.encoder.own_to(tables[0].device)
        return model

    def _init_weights(self, module: nn.Module) -> None:
        """Both models have their own ways, see `SlotModel`."""

    @property
    def latent_id(self) -> int:
        """The placeholder of a latent in both rows."""
        return self.encoder.id_of(SLOT)

    def train_part(self, part: str) -> None:
        """Let encoder, decoder or both be trained, and nothing else. What was frozen
        when they were wrapped, as below an adapter, stays frozen.

        Raises:
            ValueError: for another part.
        """
        if part not in PARTS:
            raise ValueError(f"no part {part!r}: choose one of {', '.join(PARTS)}.")
        for name, weight in self.named_parameters():
            chosen = part in ("both", name.split(".")[0])
            weight.requires_grad_(chosen and name in self._trainable)

    def encode(self, encoder_ids: torch.Tensor, encoder_mask: torch.Tensor) -> Labels:
        """What the encoder makes of the pieces, row by row.

        Args:
            encoder_ids: [batch, columns].
            encoder_mask: the same, 1 where a row has a column.

        Returns:
            "weights" and "ids", each [latents of the batch, k], or "states".
        """
        is_latent = encoder_ids == self.latent_id
        allowed = (
            induction_mask(is_latent, encoder_mask)
            if self.config.induction
            else causal_mask(encoder_mask)
        )
        vectors = self.encoder.embed(encoder_ids)
        states = self.encoder.base(
            inputs_embeds=vectors,
            attention_mask=additive(allowed, attention_dtype(vectors)),
            position_ids=induction_positions(is_latent, encoder_mask),
            use_cache=False,
            output_hidden_states=True,
            logits_to_keep=1,
        ).hidden_states[-1][is_latent]
        if self.config.kind == "state":
            return {"states": states}
        found = self.mixture(states)
        return {"weights": found.weights, "ids": found.ids}

    def mixture(self, states: torch.Tensor) -> Mixture:
        """The superpositions of the encoder's states [..., width]."""
        c = self.config
        layer = (
            self.decoder.get_input_embeddings()
            if c.table == "input"
            else self.decoder.get_output_embeddings()
        )
        head = scores_by(layer.weight)
        return mixture_of_states(states, head, c.k, c.mixture_temperature, c.end)

    def forward(
        self,
        encoder_ids: torch.Tensor,
        encoder_mask: torch.Tensor,
        decoder_ids: torch.Tensor,
        decoder_mask: torch.Tensor,
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> LatentSFTOutput:
        """Encode, write, and score what the decoder says.

        Args:
            encoder_ids, encoder_mask: see `encode`.
            decoder_ids, decoder_mask, labels: [batch, columns], the decoder's; labels
                are -100 where nothing is supervised.
            num_items_in_batch: supervised tokens of all micro-batches, from `Trainer`.
        """
        table = self.decoder.get_input_embeddings()
        is_latent = decoder_ids == self.latent_id
        embedded = table(decoder_ids.masked_fill(is_latent, 0))
        latents = self.encode(encoder_ids, encoder_mask)
        vectors = written(latents, table, self.config.scale).to(embedded.dtype)
        filled = embedded.masked_scatter(is_latent[..., None], vectors)
        allowed = (
            causal_mask(decoder_mask)
            if self.config.supervision == "causal"
            else supervision_mask(
                is_latent, decoder_mask, self.config.supervision == "strict"
            )
        )
        first = int((labels != IGNORED).any(0).int().argmax())
        logits = self.decoder(
            inputs_embeds=filled,
            attention_mask=additive(allowed, attention_dtype(filled)),
            position_ids=supervision_positions(is_latent, decoder_mask),
            use_cache=False,
            logits_to_keep=labels.shape[1] - first + 1,
        ).logits
        loss = mean_loss(logits[:, :-1], labels[:, first:], num_items_in_batch)
        return LatentSFTOutput(loss, logits, vectors)


def written(labels: Labels, table: nn.Module, scale: float = 1.0) -> torch.Tensor:
    """[..., width]: what stands in a slot for a label.

    Args:
        labels: "weights" and "ids" [..., k], or "states" [..., width].
        table: the embeddings that are mixed.
        scale: of states; mixtures are as long as embeddings are.
    """
    if "states" in labels:
        return scale * labels["states"]
    return Mixture(labels["weights"], labels["ids"]).embed(table)
