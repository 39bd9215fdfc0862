"""Adaptive latent reasoning: the model says itself when it has thought enough.

"Learning When to Stop: Adaptive Latent Reasoning via Reinforcement Learning" (arXiv
2511.21581), section 3: on top of CODI a head with two outputs is read at `<bot>`
(START) and at every latent. CONTINUE asks for one more latent, STOP ends the thought:

    question | <bot> | z_1 | ... | z_n | <eot> | The answer is: 7
               CONT.   CONT.       STOP

A row of n latents takes n + 1 decisions, and none of them needs a latent: n = 0 is
a thought, too. The actions are ids that exist: CONTINUE is the placeholder of a slot,
STOP is `<eot>`, whose row is what the model reads next.

In supervised training the decisions are labels like others. Their cross-entropy is
averaged together with that of the answer's tokens, so that deciding weighs as much as
n + 1 tokens beside those of the answer. How many latents a row has is the business of
`lrkit.latent.stop_schedule`; deciding without labels, that of
`lrkit.latent.adaptive_solver`.

CODI alone or with SIM-CoT's step decoder: as `has_decoder` says. What the reference
does otherwise: its two outputs are rows of the vocabulary's own output layer with all
others masked, which is the same; it has a label for START, which here always stands
behind a question; and it begins with no preference only by chance, where here the head
begins at zero, that is at even odds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from lrkit.latent.layout import IGNORED
from lrkit.latent.sim_cot import SimCotConfig, SimCotModel, SimCotOutput
from lrkit.latent.slot_config import SLOT
from lrkit.latent.slots import SlotOutput, mean_loss

CONTINUE, STOP = 0, 1  # outputs of the head
EOT = "<eot>"


class AdaptiveConfig(SimCotConfig):
    """`SimCotConfig` with what concerns the stop head.

    Args:
        stop_weight: of a decision's label beside that of a token of the answer; 0: none
            of them is a label, as for a model whose number of latents is fixed.
        detach_head: the head reads states without drawing at them: it learns when to
            stop, and nothing else changes by that.
        has_decoder: with SIM-CoT's step decoder, or CODI alone.
        args, kwargs: see `SimCotConfig`.

    Raises:
        ValueError: for a negative weight, or an order that is not "sequential".
    """

    model_type = "lrkit-adaptive"

    def __init__(
        self,
        *args,
        stop_weight: float = 1.0,
        detach_head: bool = False,
        has_decoder: bool = False,
        **kwargs,
    ):
        if stop_weight < 0:
            raise ValueError(f"stop_weight must be 0 or more, not {stop_weight}.")
        super().__init__(*args, has_decoder=has_decoder, **kwargs)
        if self.order != "sequential":
            raise ValueError(
                "when to stop is decided at one latent after another: the order must "
                f"be 'sequential', not {self.order!r}."
            )
        self.stop_weight = stop_weight
        self.detach_head = detach_head


@dataclass
class AdaptiveOutput(SimCotOutput):
    """`SimCotOutput` with the decisions' loss, detached; `ce_student` is the answer's.

    Attributes:
        ce_stop: nats per decision.
    """

    ce_stop: torch.Tensor | None = None


class AdaptiveModel(SimCotModel):
    """`SimCotModel`, with or without its decoder, and a head that decides to stop."""

    config_class = AdaptiveConfig

    def __init__(self, config: AdaptiveConfig, base: PreTrainedModel | None = None):
        super().__init__(config, base)
        width = self.get_input_embeddings().embedding_dim
        self.stop_head = nn.Linear(width, 2)
        nn.init.zeros_(self.stop_head.weight)
        nn.init.zeros_(self.stop_head.bias)

    @classmethod
    def from_pretrained(cls, *args, **kwargs) -> AdaptiveModel:
        """As the library's, but strict.

        Raises:
            ValueError: for weights that are missing or too many, such as those of a
                model without a stop head.
        """
        model, found = super().from_pretrained(
            *args, output_loading_info=True, **kwargs
        )
        wrong = sorted({*found["missing_keys"], *found["unexpected_keys"]})
        if wrong:
            raise ValueError(
                f"the weights are not those of this model: {len(wrong)} of them are "
                f"missing or unknown ({wrong[0]}, ...). Load with the class and the "
                "configuration that were saved."
            )
        return model

    def stop_logits(self, states: torch.Tensor) -> torch.Tensor:
        """[..., 2] for CONTINUE and STOP, in float32, of states [..., width]."""
        if self.config.detach_head:
            states = states.detach()
        return self.stop_head(states.to(self.stop_head.weight.dtype)).float()

    def decisions(
        self, out: SlotOutput, input_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """All decisions of rows whose thoughts are already there.

        Args:
            out: what `forward` gave for them.
            input_ids: [batch, columns].

        Returns:
            The head's logits [batch, n + 1, 2] for the longest thought of n latents,
            and what was decided, [batch, n + 1]: CONTINUE, STOP, or -100 behind the
            end of a row's thought.
        """
        states = out.after[:, None]
        if out.read is not None:  # behind its end a row's last state is repeated
            states = torch.cat([out.read, states], 1)
        n_latents = (input_ids == self.id_of(SLOT)).sum(1, keepdim=True)
        step = torch.arange(states.shape[1], device=input_ids.device)
        decided = torch.where(step < n_latents, CONTINUE, STOP)
        decided = decided.masked_fill(step > n_latents, IGNORED)
        return self.stop_logits(states), decided

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        logits_to_keep: int = 0,  # by name, as in CODI
        **kwargs,
    ) -> SlotOutput:
        """The loss of `SimCotModel`, with decisions among the student's labels.

        Args:
            input_ids, attention_mask, labels: the student's, [batch, columns]; a
                decision is read from the ids and needs no label.
            kwargs: see `SimCotModel.forward`.
        """
        out = super().forward(
            input_ids,
            attention_mask,
            labels=labels,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )
        weight = self.config.stop_weight
        if labels is None or out.after is None or not weight:
            return out
        logits, decided = self.decisions(out, input_ids)
        ce_stop = mean_loss(logits, decided)
        targets = labels[:, labels.shape[1] - out.logits.shape[1] + 1 :]
        ce_answer = mean_loss(out.logits[:, :-1], targets)
        n_decided = weight * (decided != IGNORED).sum()
        share = n_decided / (n_decided + (targets != IGNORED).sum())
        # The mean over both, in place of that over the answer.
        loss = out.loss + share * (ce_stop - ce_answer)
        parts = {"ce_student": ce_answer.detach()} | dict(out)
        return AdaptiveOutput(**parts | {"loss": loss, "ce_stop": ce_stop.detach()})
