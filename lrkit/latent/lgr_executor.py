"""The executor of Latent-Guided Reasoning: a small model that writes what it was told.

    question <bot> H'_1 ... H'_K <eot> chain answer

H' is the thinker's guidance through the projector, in K slots behind the question:

    H' = LayerNorm(Linear(Dropout(GELU(Linear(H)))))

Executor and projector are trained with the plain loss on chain and answer; the thinker
is not here at all, its vectors come from a file (`lrkit.latent.lgr_guidance`). The two
may be of other families, widths and tokenizers. Where the source puts the dropout and
the slots is not said; both places are a reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import PreTrainedModel

from lrkit.data.problems import Question
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.layout import SlotRow
from lrkit.latent.lgr_guidance import Guidance
from lrkit.latent.slot_config import SlotConfig
from lrkit.latent.slots import SlotModel, SlotOutput
from lrkit.latent.training import RowCollator

UNSEEN = "?"


class Projector(nn.Sequential):
    """Linear, GELU, dropout, linear, LayerNorm: [..., d_T] to [..., d_S].

    Args:
        width_from: d_T, of the thinker.
        width_to: d_S, of the executor.
        inner: between the two linear layers; 2048 in the source.
        dropout: 0.1 in the source.
        scale: what the norm's gain starts at; 1 in the source. Where positions are
            added to what is written, a base with short embeddings wants less, see
            `lrkit.latent.maps.identity`.
    """

    def __init__(
        self,
        width_from: int,
        width_to: int,
        inner: int = 2048,
        dropout: float = 0.1,
        scale: float = 1.0,
    ):
        super().__init__(
            nn.Linear(width_from, inner),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(inner, width_to),
            nn.LayerNorm(width_to),
        )
        nn.init.constant_(self[-1].weight, scale)


class ExecutorConfig(SlotConfig):
    """`SlotConfig` of an executor.

    Args:
        thinker_width: d_T.
        n_latents: K.
        inner, dropout: of the projector, see `Projector`.
        gain: its `scale`.
        thinker: digest of the thinker whose guidance it learned; "": not yet any.
        sees_question: else it is given `UNSEEN` in the question's place and knows of it
            what the guidance tells: the positive control, whether guidance can be read
            at all by an executor that has reason to.
        kwargs: see `SlotConfig`; the order is "given".

    Raises:
        ValueError: for fewer than one latent.
    """

    model_type = "lrkit-executor"

    def __init__(
        self,
        *args,
        thinker_width: int = 1,
        n_latents: int = 5,
        inner: int = 2048,
        dropout: float = 0.1,
        gain: float = 1.0,
        thinker: str = "",
        sees_question: bool = True,
        **kwargs,
    ):
        if n_latents < 1:
            raise ValueError(f"{n_latents} latents cannot be: 1 or more.")
        kwargs["order"] = "given"
        super().__init__(*args, **kwargs)
        self.thinker_width = thinker_width
        self.n_latents = n_latents
        self.inner = inner
        self.dropout = dropout
        self.gain = gain
        self.thinker = thinker
        self.sees_question = sees_question

    def shown(self, question: str) -> str:
        """What the executor is given of a question."""
        return question if self.sees_question else UNSEEN


class ExecutorModel(SlotModel):
    """A causal LM whose slots hold projected guidance."""

    config_class = ExecutorConfig

    def __init__(self, config: ExecutorConfig, base: PreTrainedModel | None = None):
        super().__init__(config, base)
        self.projector = Projector(
            config.thinker_width,
            self.get_input_embeddings().embedding_dim,
            config.inner,
            config.dropout,
            config.gain,
        )

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        guidance: torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
        logits_to_keep: int = 0,  # by name: `generate` asks for the last column alone
        **kwargs,
    ) -> SlotOutput:
        """As `SlotModel.forward`, with guidance in the slots.

        Args:
            input_ids, attention_mask: [batch, columns].
            guidance: [batch, K, d_T], as the thinker gave it; not read in passes
                without slots, such as those of `generate` behind the first.
            latents: [batch, K, d_S], H' itself, in its place.

        Raises:
            ValueError: for both of them, or guidance of another width.
        """
        if guidance is not None:
            if latents is not None:
                raise ValueError("give guidance or latents, not both.")
            if guidance.shape[-1] != self.config.thinker_width:
                raise ValueError(
                    f"this executor reads guidance of width "
                    f"{self.config.thinker_width}, not {guidance.shape[-1]}."
                )
            latents = self.projector(guidance.to(self.projector[0].weight.dtype))
        return super().forward(
            input_ids, attention_mask, latents=latents, logits_to_keep=logits_to_keep,
            **kwargs,
        )  # fmt: skip


@dataclass(frozen=True)
class ExecutorRow:
    """A problem as an executor reads it.

    Attributes:
        row: question, slots, chain and answer.
        guidance: [K, d_T].
    """

    row: SlotRow
    guidance: torch.Tensor


def executor_row(
    rows: ChainRows, problem: Question, guidance: Guidance, config: ExecutorConfig
) -> ExecutorRow:
    """A problem with the guidance that is stored for it.

    Args:
        rows: of the executor.
        problem: with steps.
        guidance: that holds the problem's.
        config: of the executor.

    Raises:
        KeyError: for a problem without guidance.
    """
    shown = replace(problem, question=config.shown(problem.question))
    row = rows.latent(shown, config.n_latents, problem.steps)
    return ExecutorRow(row, guidance.of(problem.question))


class ExecutorCollator(RowCollator):
    """Batches of `ExecutorRow` for `transformers.Trainer`."""

    def __call__(self, batch: Sequence[ExecutorRow]) -> dict[str, torch.Tensor]:
        """Those of `RowCollator`, and `guidance`, [batch, K, d_T]."""
        inputs = super().__call__([row.row for row in batch])
        return inputs | {"guidance": torch.stack([row.guidance for row in batch])}
