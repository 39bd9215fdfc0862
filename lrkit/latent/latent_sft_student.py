"""Latent-SFT, stage 2: one model learns to think in superpositions by itself.

(arXiv 2510.15522.) The student reads the question, then a mixture of the vocabulary for
each piece of the chain, then the end of thinking and the answer. In training the
mixtures are the soft labels (`lrkit.latent.soft_labels`), all slots at once, one pass:

    loss = CE(end of thinking, answer) + weight * KL(q || p), the mean over latents

q is the label at a latent, p what the model predicts at the position before it, over
its whole vocabulary: as if the mixture were the next token, which is said by halves.
So the student learns when to stop like any word: the end comes after the last latent.

At inference a latent is the model's own mixture (`lrkit.latent.latent_sft_solver`).
Noise on the labels (Gumbel, version 2 of the paper) shows the student thoughts that are
not quite the encoder's.

With hidden states in place of mixtures, the ablation, the state at the position before
a latent is drawn to the label, by the distance of CODI's distillation (our reading).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lrkit.latent.codi import distillation_loss
from lrkit.latent.latent_sft import Labels, written
from lrkit.latent.latent_sft_config import KINDS
from lrkit.latent.layout import IGNORED, SlotRow
from lrkit.latent.slot_config import SLOT, SlotConfig
from lrkit.latent.slots import SlotModel, SlotOutput, mean_loss
from lrkit.latent.superposition import Mixture
from lrkit.latent.training import RowCollator


class LatentSFTStudentConfig(SlotConfig):
    """`SlotConfig` with what a latent is, and the loss.

    Args:
        end: id of the token that ends a thought.
        kind: "mixture" or "state", as the encoder's.
        k: tokens of a mixture; 0: the whole vocabulary.
        mixture_temperature: of the model's own mixtures (`temperature` alone would be
            taken for that of `generate`).
        scale: what a hidden state is multiplied by where it is written.
        weight: of the KL divergence, or of the distance of states.
        noise: scale of the Gumbel noise on labels in training; 0: none.
        noise_temperature: of noised labels.
        args, kwargs: see `SlotConfig`; the map follows from the kind.

    Raises:
        ValueError: for another kind, or noise on hidden states.
    """

    model_type = "lrkit-latent-sft-student"

    def __init__(
        self,
        *args,
        end: int = 0,
        kind: str = "mixture",
        k: int = 10,
        mixture_temperature: float = 1.0,
        scale: float = 1.0,
        weight: float = 1.0,
        noise: float = 0.0,
        noise_temperature: float = 1.0,
        **kwargs,
    ):
        if kind not in KINDS:
            raise ValueError(f"no kind {kind!r}: choose one of {', '.join(KINDS)}.")
        if kind == "state" and noise:
            raise ValueError("noise is for mixtures: set it to 0 for hidden states.")
        kwargs["map"] = (
            {"kind": "identity", "scale": scale}
            if kind == "state"
            else {
                "kind": "superposition",
                "k": k,
                "temperature": mixture_temperature,
                "excluded": end,
            }
        )
        super().__init__(*args, **{"specials": [SLOT]} | kwargs)
        self.end = end
        self.kind = kind
        self.k = k
        self.mixture_temperature = mixture_temperature
        self.scale = scale
        self.weight = weight
        self.noise = noise
        self.noise_temperature = noise_temperature


@dataclass
class LatentSFTStudentOutput(SlotOutput):
    """`SlotOutput` with the parts of the loss, detached.

    Attributes:
        ce: of end of thinking and answer.
        kl: of the latents; of states their distance.
    """

    ce: torch.Tensor | None = None
    kl: torch.Tensor | None = None


class LatentSFTStudent(SlotModel):
    """`SlotModel` whose training forward is given soft labels."""

    config_class = LatentSFTStudentConfig
    accepts_loss_kwargs = False  # each part of the loss is a mean of its own

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        soft_labels: Labels | None = None,
        logits_to_keep: int = 0,  # by name, as in CODI
        **kwargs,
    ) -> SlotOutput:
        """CE + weight * KL in one pass; without soft labels `SlotModel.forward`.

        Args:
            input_ids, attention_mask, labels: [batch, columns].
            soft_labels: "weights" and "ids", each [batch, slots, k], or "states"
                [batch, slots, width].
        """
        if soft_labels is None:
            return super().forward(
                input_ids,
                attention_mask,
                labels=labels,
                logits_to_keep=logits_to_keep,
                **kwargs,
            )
        begin, end = self._slot_columns(input_ids, attention_mask) or (0, 0)
        rest = int((labels != IGNORED).any(0).int().argmax())
        first = begin or rest
        active = (input_ids == self.id_of(SLOT))[:, begin:end]
        target = self._noised(soft_labels)
        vectors = self.embed(input_ids)
        table = self.get_input_embeddings()
        latents = written(target, table, self.config.scale).to(vectors.dtype)
        latents = self._written(latents, slice(0, end - begin))
        latents = latents.where(active[..., None], 0.0)
        filled = torch.cat([vectors[:, :begin], latents, vectors[:, end:]], 1)
        out = self.base(
            inputs_embeds=filled,
            attention_mask=attention_mask,
            position_ids=(attention_mask.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
            output_hidden_states=self.config.kind == "state",
            logits_to_keep=input_ids.shape[1] - first + 1,
        )
        # From here on column 0 is the one before the first slot.
        before = previous_columns(attention_mask)[:, rest:] - (first - 1)
        index = before[..., None].expand(-1, -1, out.logits.shape[-1])
        ce = mean_loss(out.logits.gather(1, index), labels[:, rest:])
        if not active.any():
            kl = ce.new_zeros(())
        elif self.config.kind == "state":
            states = out.hidden_states[-1][:, begin - 1 : end - 1]
            kl = distillation_loss([states[active]], [target["states"][active]])
        else:
            q = Mixture(target["weights"][active], target["ids"][active])
            kl = divergence(q, out.logits[:, : end - begin][active])
        return LatentSFTStudentOutput(
            loss=ce + self.config.weight * kl,
            logits=out.logits,
            latents=latents,
            ce=ce.detach(),
            kl=kl.detach(),
        )

    def _noised(self, labels: Labels) -> Labels:
        """The labels, with noise in training where the configuration says so."""
        c = self.config
        if not (self.training and c.noise):
            return labels
        q = Mixture(labels["weights"], labels["ids"])
        q = q.noised(c.noise, c.noise_temperature)
        return {"weights": q.weights, "ids": q.ids}


def divergence(q: Mixture, logits: torch.Tensor) -> torch.Tensor:
    """KL(q || p) in nats, the mean over latents, a scalar of 0 or more.

    Args:
        q: [latents, k], a distribution over its own tokens.
        logits: [latents, vocabulary] of p, which has the whole vocabulary.
    """
    log_p = logits.float().log_softmax(-1).gather(-1, q.ids)
    weights = q.weights.float()
    return (torch.xlogy(weights, weights) - weights * log_p).sum(-1).mean()


def previous_columns(attention_mask: torch.Tensor) -> torch.Tensor:
    """[batch, columns]: the last column before each one that the row has; 0 where none
    is. A row with fewer slots than others has a gap behind them: what comes after the
    gap is predicted in front of it.

    Args:
        attention_mask: [batch, columns].
    """
    n = attention_mask.shape[1]
    column = torch.arange(n, device=attention_mask.device)
    last = (column * attention_mask.bool()).cummax(1).values
    return torch.cat([last[:, :1] * 0, last[:, :-1]], 1)


@dataclass(frozen=True)
class StudentRow:
    """A row and the soft labels of its slots, [slots, ...]."""

    row: SlotRow
    labels: Labels

    def __post_init__(self) -> None:
        for name, part in self.labels.items():
            if len(part) != self.row.n_slots:
                raise ValueError(
                    f"a row of {self.row.n_slots} slots has {len(part)} {name}: make "
                    "rows and soft labels with pieces of the same size."
                )


class StudentCollator(RowCollator):
    """Batches of `StudentRow` for `transformers.Trainer`."""

    def __call__(self, batch: Sequence[StudentRow]) -> dict:
        """`input_ids`, `attention_mask`, `labels`, and `soft_labels`, padded with 0
        where a row has no slot."""
        slots = max(one.row.n_slots for one in batch)
        soft = {}
        for name, part in batch[0].labels.items():
            soft[name] = part.new_zeros(len(batch), slots, part.shape[-1])
            for padded, one in zip(soft[name], batch, strict=True):
                padded[: one.row.n_slots] = one.labels[name]
        return super().__call__([one.row for one in batch]) | {"soft_labels": soft}
