"""The thinker of Latent-Guided Reasoning: K thought tokens, read in one pass.

"Latent-Guided Reasoning: Empowering Small LLMs with Large-Model Thinking" (ICLR 2026,
https://openreview.net/forum?id=jqGWLxbghD). The thinker reads

    question <bot> <thought-1> ... <thought-K> <eot> answer

in one pass. Thought tokens are ordinary ids with trained rows: nothing is written into
them, they are only read. The *guidance* H is their last hidden states, behind the last
norm. Two losses make it what it is:

    L_task  = - sum log P(a_j | Q, thoughts, a_<j)      the answer
    L_recon = - sum log P(r_i | H, r_<i)                the chain, from H

The same weights write the chain in a second pass, in which H stands in K slots:

    <bot> H_1 ... H_K <recon> chain

The formula of the source leaves the question out of that pass, its information bound
has it: `recon_sees_question` is both. H is not detached, so that both losses reach it.
Each loss is the mean over its tokens here, as everywhere in this package; the formula
has sums, which are the same with weights as the numbers of tokens.

The second pass is a reading of the source, which shows no code: its one marker,
`<recon>`, is a constant and tells nothing of the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lrkit.latent.slot_config import SPECIALS, SlotConfig
from lrkit.latent.slots import SlotModel, SlotOutput

RECON = "<recon>"


def thought_names(n: int) -> list[str]:
    """Names of the thought tokens: each has a row of its own."""
    return [f"<thought-{k}>" for k in range(1, n + 1)]


class ThinkerConfig(SlotConfig):
    """`SlotConfig` of a thinker.

    Args:
        n_thoughts: K; 5 in the source.
        task: weight of L_task; 0 switches it off.
        recon: weight of L_recon; 0 switches it off.
        recon_sees_question: the chain is written from question and H, as in the bound;
            else from H alone, as in the formula.
        kwargs: see `SlotConfig`. The order is "given" and the specials are set here;
            the map is what H passes on its way into the slots of the second pass.

    Raises:
        ValueError: for fewer than one thought, a negative weight, or no loss at all.
    """

    model_type = "lrkit-thinker"

    def __init__(
        self,
        *args,
        n_thoughts: int = 5,
        task: float = 1.0,
        recon: float = 1.0,
        recon_sees_question: bool = False,
        **kwargs,
    ):
        if n_thoughts < 1:
            raise ValueError(f"{n_thoughts} thoughts cannot be: 1 or more.")
        if min(task, recon) < 0 or not task + recon:
            raise ValueError(
                f"weights of the losses are 0 or more, and one of them above 0, not "
                f"task={task} and recon={recon}."
            )
        kwargs["order"] = "given"
        kwargs["specials"] = [*SPECIALS, RECON, *thought_names(n_thoughts)]
        super().__init__(*args, **kwargs)
        self.n_thoughts = n_thoughts
        self.task = task
        self.recon = recon
        self.recon_sees_question = recon_sees_question


@dataclass
class ThinkerOutput(SlotOutput):
    """`SlotOutput` with the guidance and the parts of the loss, detached.

    Attributes:
        guidance: [batch, K, width], H.
        task_loss: nats per token of the answers.
        recon_loss: nats per token of the chains.
    """

    guidance: torch.Tensor | None = None
    task_loss: torch.Tensor | None = None
    recon_loss: torch.Tensor | None = None


class ThinkerModel(SlotModel):
    """A causal LM that thinks in K tokens and writes its chain from them."""

    config_class = ThinkerConfig
    accepts_loss_kwargs = False  # each part of the loss is a mean of its own

    @property
    def thoughts(self) -> list[int]:
        """Ids of the thought tokens."""
        return [self.id_of(name) for name in thought_names(self.config.n_thoughts)]

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        recon_input_ids: torch.Tensor | None = None,
        recon_attention_mask: torch.Tensor | None = None,
        recon_labels: torch.Tensor | None = None,
        logits_to_keep: int = 0,  # by name: `generate` asks for the last column alone
        **kwargs,
    ) -> SlotOutput:
        """task * L_task + recon * L_recon; without a row to be reconstructed the plain
        `SlotModel.forward`.

        A loss whose weight is 0 is not computed.

        Args:
            input_ids, attention_mask, labels: of the first pass, [batch, columns].
            recon_input_ids, recon_attention_mask, recon_labels: of the second one.
        """
        if recon_input_ids is None:
            return super().forward(
                input_ids, attention_mask, labels=labels,
                logits_to_keep=logits_to_keep, **kwargs,
            )  # fmt: skip
        config = self.config
        out = super().forward(
            input_ids, attention_mask, labels=labels if config.task else None,
            logits_to_keep=0 if config.task else 1, output_hidden_states=True, **kwargs,
        )  # fmt: skip
        guidance = self._at_thoughts(input_ids, out.hidden_states[-1])
        loss = guidance.new_zeros(())
        parts = {}
        if config.task:
            loss, parts["task_loss"] = config.task * out.loss, out.loss.detach()
        if config.recon:
            recon = self.reconstruct(
                guidance, recon_input_ids, recon_attention_mask, recon_labels
            ).loss
            loss, parts["recon_loss"] = loss + config.recon * recon, recon.detach()
        return ThinkerOutput(loss=loss, logits=out.logits, guidance=guidance, **parts)

    def guide(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """H: [batch, K, width]. One pass; what stands behind the thoughts cannot change
        it and is best left out.

        Raises:
            ValueError: for rows whose thoughts do not share their columns.
        """
        out = super().forward(
            input_ids, attention_mask, logits_to_keep=1, output_hidden_states=True,
            use_cache=False,
        )  # fmt: skip
        return self._at_thoughts(input_ids, out.hidden_states[-1])

    def reconstruct(
        self,
        guidance: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> SlotOutput:
        """The second pass: chains from H.

        Args:
            guidance: [batch, K, width].
            input_ids, attention_mask, labels: [batch, columns], with K slots a row.
        """
        return super().forward(
            input_ids, attention_mask, labels=labels, latents=self.map(guidance),
            use_cache=False,
        )  # fmt: skip

    def _at_thoughts(
        self, input_ids: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor:
        """[batch, K, width]: states [batch, columns, width] of the thoughts."""
        thoughts = input_ids.new_tensor(self.thoughts)
        begin = int((input_ids[0] == thoughts[0]).int().argmax())
        columns = slice(begin, begin + len(thoughts))
        here = input_ids[:, columns]
        if here.shape[1] != len(thoughts) or not (here == thoughts).all():
            raise ValueError(
                f"every row must have the {len(thoughts)} thought tokens, in the same "
                "columns: see lrkit.latent.lgr_rows.ThinkerRows."
            )
        return states[:, columns]


def weights_of(losses: Sequence[str]) -> dict[str, float]:
    """`task` and `recon` of a thinker with some of the losses: 1 or 0.

    Raises:
        ValueError: for a name that is neither "task" nor "recon".
    """
    if unknown := set(losses) - {"task", "recon"}:
        raise ValueError(f"no losses {sorted(unknown)}: there are task and recon.")
    return {name: float(name in losses) for name in ("task", "recon")}
