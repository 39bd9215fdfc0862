"""CODI: continuous chain of thought by self-distillation (arXiv 2502.21074).

One model is teacher and student. The teacher reads question, chain and answer as text.
The student reads the question, thinks in n latents and answers. At the *cue*, the token
whose next one is the answer, the student's hidden states are drawn to the teacher's in
every block: a single position hands over what the chain has worked out.

Two variants, from appendix A of *Learning When to Stop: Adaptive Latent Reasoning via
Reinforcement Learning*: Meaned Reasoning Loss draws the mean of the student's states
over its latents to the mean of the teacher's over its chain; Intermediate Block Loss
leaves out blocks near the input and the output.

What the reference does otherwise, and why not here: it runs the teacher twice a step
(one pass with its states detached is the same), attends to padding in the latent steps,
never trains the rows of its special tokens, drops negative answers, and counts the
embedding among the distilled layers, where both sides hold the same token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lrkit.data.problems import Question
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.layout import SlotRow
from lrkit.latent.slot_config import SLOT, SlotConfig
from lrkit.latent.slots import SlotModel, SlotOutput
from lrkit.latent.training import RowCollator

# "cue": the states at the cue (CODI). "thought": their mean over latents and chain.
TARGETS = ("cue", "thought")
CHAINS = ("equations", "results")


def distillation_loss(
    student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor]
) -> torch.Tensor:
    """L_KD: smooth L1 between hidden states, per layer over the teacher's spread.

    Args:
        student: per layer [batch, width].
        teacher: the same; no gradient flows to it.

    Returns:
        Mean over layers of SmoothL1(h_S, sg h_T) / std(sg h_T), a scalar. Zero where
        both are equal; the division makes layers of different scale count alike.
    """
    losses = []
    for ours, theirs in zip(student, teacher, strict=True):
        target = theirs.detach().float()
        spread = target.std().clamp(min=1e-6)
        losses.append(nn.functional.smooth_l1_loss(ours.float(), target) / spread)
    return torch.stack(losses).mean()


def at(
    hidden_states: Sequence[torch.Tensor], columns: torch.Tensor
) -> list[torch.Tensor]:
    """Per block [batch, width]: hidden states at one column of each row.

    Args:
        hidden_states: per layer [batch, columns, width], the embeddings first: those
            are left out.
        columns: [batch].
    """
    rows = torch.arange(len(columns), device=columns.device)
    return [layer[rows, columns] for layer in hidden_states[1:]]


def mean_over(
    hidden_states: Sequence[torch.Tensor], which: torch.Tensor
) -> list[torch.Tensor]:
    """Per block [batch, width]: mean of the hidden states over some columns of a row.

    Args:
        hidden_states: per layer [batch, columns, width], the embeddings first: those
            are left out.
        which: [batch, columns], true for the columns of the mean; a row without any
            gives zeros.
    """
    weights = which / which.sum(1, keepdim=True).clamp(min=1)
    return [
        torch.einsum("bc,bcw->bw", weights.to(layer.dtype), layer)
        for layer in hidden_states[1:]
    ]


class CodiConfig(SlotConfig):
    """`SlotConfig` with the weights of the loss.

    Args:
        gamma: weight of the distillation, of each of its targets.
        beta: weight of the teacher's cross-entropy.
        targets: what the student's states are drawn to, of `TARGETS`.
        blocks: the first and the last block that count, from 1, both included; None:
            all of them.
        kwargs: see `SlotConfig`; the map is an MLP unless another is given.

    Raises:
        ValueError: for an unknown target, or blocks in the wrong order.
    """

    model_type = "lrkit-codi"

    def __init__(
        self,
        *args,
        gamma: float = 20.0,
        beta: float = 1.0,
        targets: Sequence[str] = ("cue",),
        blocks: Sequence[int] | None = None,
        **kwargs,
    ):
        kwargs.setdefault("map", {"kind": "mlp"})
        unknown = set(targets) - set(TARGETS)
        if unknown:
            known = ", ".join(TARGETS)
            raise ValueError(f"no targets {sorted(unknown)}: choose among {known}.")
        if blocks is not None and not 1 <= blocks[0] <= blocks[1]:
            raise ValueError(f"blocks go from 1 up, first and last, not {blocks}.")
        super().__init__(*args, **kwargs)
        self.gamma = gamma
        self.beta = beta
        self.targets = list(targets)
        self.blocks = None if blocks is None else list(blocks)


@dataclass
class CodiOutput(SlotOutput):
    """`SlotOutput` with the parts of the loss, detached, for the log."""

    ce_student: torch.Tensor | None = None
    ce_teacher: torch.Tensor | None = None
    kd: torch.Tensor | None = None


class CodiModel(SlotModel):
    """`SlotModel` whose training forward also runs the teacher."""

    config_class = CodiConfig
    accepts_loss_kwargs = False  # each part of the loss is a mean of its own

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        teacher_input_ids: torch.Tensor | None = None,
        teacher_attention_mask: torch.Tensor | None = None,
        teacher_labels: torch.Tensor | None = None,
        cue: torch.Tensor | None = None,
        teacher_cue: torch.Tensor | None = None,
        teacher_chain: torch.Tensor | None = None,
        logits_to_keep: int = 0,  # by name: `generate` asks for the last column alone
        **kwargs,
    ) -> SlotOutput:
        """CE_student + gamma * KD + beta * CE_teacher; without a teacher's row the
        plain `SlotModel.forward`.

        Args:
            input_ids, attention_mask, labels: the student's, [batch, columns].
            teacher_input_ids, teacher_attention_mask, teacher_labels: the teacher's.
            cue, teacher_cue: [batch], the column of the cue on either side.
            teacher_chain: [batch, columns], true where the teacher's chain stands.
        """
        if teacher_input_ids is None:
            return super().forward(
                input_ids,
                attention_mask,
                labels=labels,
                logits_to_keep=logits_to_keep,
                **kwargs,
            )
        student = super().forward(
            input_ids,
            attention_mask,
            labels=labels,
            output_hidden_states=True,
            **kwargs,
        )
        teacher = super().forward(
            teacher_input_ids, teacher_attention_mask, labels=teacher_labels,
            output_hidden_states=True, **kwargs,
        )  # fmt: skip
        kd = student.loss.new_zeros(())
        if "cue" in self.config.targets:
            kd = kd + self._drawn(
                at(student.hidden_states, cue), at(teacher.hidden_states, teacher_cue)
            )
        if "thought" in self.config.targets:
            slots = input_ids == self.id_of(SLOT)
            kd = kd + self._drawn(
                mean_over(student.hidden_states, slots),
                mean_over(teacher.hidden_states, teacher_chain),
                slots.any(1) & teacher_chain.any(1),
            )
        loss = student.loss + self.config.gamma * kd + self.config.beta * teacher.loss
        return CodiOutput(
            loss=loss,
            logits=student.logits,
            latents=student.latents,
            read=student.read,
            after=student.after,
            ce_student=student.loss.detach(),
            ce_teacher=teacher.loss.detach(),
            kd=kd.detach(),
        )

    def _drawn(
        self,
        student: list[torch.Tensor],
        teacher: list[torch.Tensor],
        rows: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The distillation over the blocks that count, and the rows that have both."""
        first, last = self.config.blocks or (1, len(student))
        if last > len(student):
            raise ValueError(
                f"block {last} is to be distilled, and the base has {len(student)}."
            )
        if rows is not None and not rows.any():
            return student[0].new_zeros(())
        keep = slice(None) if rows is None else rows
        which = slice(first - 1, last)
        return distillation_loss(
            [h[keep] for h in student[which]], [h[keep] for h in teacher[which]]
        )


@dataclass(frozen=True)
class CodiRow:
    """A problem as student and teacher see it; cues count from the end of the rest."""

    student: SlotRow
    teacher: SlotRow
    cue_from_end: int
    n_answer: int


def codi_row(
    rows: ChainRows,
    problem: Question,
    n_latents: int,
    keep_last_step: bool = False,
    chain: str = "equations",
) -> CodiRow:
    """A problem for student and teacher.

    Args:
        rows: makes them.
        problem: with steps.
        n_latents: of the student.
        keep_last_step: let the teacher read its last step, too. Its result is the
            answer, which the teacher then copies at the cue instead of computing it;
            the source leaves it out.
        chain: how the teacher's steps are written, one of `CHAINS`: "equations" whole,
            or "results" alone in brackets, so that each of them is computed at the
            token before it, and the answer at the cue in the same way.

    Raises:
        ValueError: for another chain.
    """
    if chain not in CHAINS:
        raise ValueError(f"no chain {chain!r}: choose one of {', '.join(CHAINS)}.")
    answer = rows.answer(problem.answer)
    steps = problem.steps if keep_last_step else problem.steps[:-1]
    written = {"equations": (steps, ()), "results": ((), steps)}[chain]
    return CodiRow(
        rows.latent(problem, n_latents),
        rows.chain(problem, *written),
        len(answer.ids) - answer.cue,
        len(answer.ids),
    )


class CodiCollator(RowCollator):
    """Batches of `CodiRow` for `transformers.Trainer`."""

    def __call__(self, batch: Sequence[CodiRow]) -> dict[str, torch.Tensor]:
        """`input_ids` ... and `teacher_input_ids` ... and the columns of the cues."""
        student = [row.student for row in batch]
        teacher = [row.teacher for row in batch]
        inputs, theirs = super().__call__(student), super().__call__(teacher)
        inputs |= {f"teacher_{name}": value for name, value in theirs.items()}
        inputs["cue"] = _cues(student, batch)
        inputs["teacher_cue"] = _cues(teacher, batch)
        chain = torch.zeros_like(theirs["input_ids"], dtype=torch.bool)
        begin = max(len(row.before) for row in teacher)
        for marks, one in zip(chain, batch, strict=True):
            marks[begin : begin + len(one.teacher.rest) - one.n_answer] = True
        inputs["teacher_chain"] = chain
        return inputs


def _cues(rows: Sequence[SlotRow], batch: Sequence[CodiRow]) -> torch.Tensor:
    """Columns of the cues: the rests of a batch begin in the same column."""
    begin = max(len(r.before) for r in rows) + max(r.n_slots for r in rows)
    return torch.tensor(
        [
            begin + len(row.rest) - one.cue_from_end
            for row, one in zip(rows, batch, strict=True)
        ]
    )
