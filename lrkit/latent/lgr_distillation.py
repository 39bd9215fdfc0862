"""Knowledge distillation from a larger model, word by word or chain by chain.

*Word-level* (Hinton et al., arXiv 1503.02531): at every token of chain and answer the
student is drawn to the teacher's distribution,

    (1 - alpha) * CE + alpha * T^2 * KL(p_T || p_S)       both at temperature T,

which compares numbers of the same token: both must have the same tokenizer.
*Sequence-level* (Kim and Rush, arXiv 1606.07947): the student learns chains that the
teacher wrote. They are text, so that any two tokenizers will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrkit.data.chains import parse_steps
from lrkit.data.problems import Problem, Question
from lrkit.latent.chain_rows import CUE
from lrkit.latent.layout import IGNORED
from lrkit.latent.slot_config import SlotConfig
from lrkit.latent.slots import SlotModel, SlotOutput
from lrkit.latent.solvers import Solver


def words_divergence(
    student: torch.Tensor, teacher: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """T^2 * KL(p_T || p_S): mean over positions, in nats, a scalar.

    Args:
        student: [positions, vocabulary] logits.
        teacher: the same; no gradient flows to it.
        temperature: T, of both.
    """
    ours = (student.float() / temperature).log_softmax(-1)
    theirs = (teacher.detach().float() / temperature).log_softmax(-1)
    kl = nn.functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
    return temperature**2 * kl


class DistilledConfig(SlotConfig):
    """`SlotConfig` with what concerns the teacher.

    Args:
        alpha: weight of the divergence, 0 to 1; the rest is the cross-entropy's.
        kd_temperature: T (`temperature` alone would be taken for that of `generate`).
        kwargs: see `SlotConfig`.

    Raises:
        ValueError: for a weight or a temperature out of range.
    """

    model_type = "lrkit-distilled"

    def __init__(
        self, *args, alpha: float = 0.5, kd_temperature: float = 1.0, **kwargs
    ):
        if not 0 <= alpha <= 1 or kd_temperature <= 0:
            raise ValueError(
                f"alpha is from 0 to 1 and the temperature above 0, not {alpha} and "
                f"{kd_temperature}."
            )
        super().__init__(*args, **kwargs)
        self.alpha = alpha
        self.kd_temperature = kd_temperature


class DistilledModel(SlotModel):
    """A causal LM that learns from rows and from a teacher, which is not saved."""

    config_class = DistilledConfig
    accepts_loss_kwargs = False  # the divergence is a mean of its own

    def __init__(self, config: DistilledConfig, base: PreTrainedModel | None = None):
        super().__init__(config, base)
        self._teacher: tuple[PreTrainedModel, ...] = ()  # a tuple: no part of the model

    def learn_from(self, teacher: PreTrainedModel) -> None:
        """Let a causal LM with the same vocabulary be the teacher; it never moves.

        Raises:
            ValueError: for a vocabulary of another size.
        """
        ours, theirs = (
            m.get_output_embeddings().weight.shape[0] for m in (self.base, teacher)
        )
        if ours != theirs:
            raise ValueError(
                f"word-level distillation compares the same tokens: the student has "
                f"{ours} of them, the teacher {theirs}. Use chains that the teacher "
                "wrote (`written_by`)."
            )
        self._teacher = (teacher.eval().requires_grad_(False).to(self.device),)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        logits_to_keep: int = 0,  # by name: `generate` asks for the last column alone
        **kwargs,
    ) -> SlotOutput:
        """The loss of the module's docstring over the supervised tokens; in evaluation,
        or without labels, the plain `SlotModel.forward`.

        Raises:
            ValueError: in training without a teacher, or for rows with special tokens,
                which the teacher does not know.
        """
        out = super().forward(
            input_ids, attention_mask, labels=labels, logits_to_keep=logits_to_keep,
            **kwargs,
        )  # fmt: skip
        if labels is None or not self.training:
            return out
        if not self._teacher:
            raise ValueError("there is no teacher: call learn_from before training.")
        if (input_ids >= self.first_special).any():
            raise ValueError("the teacher does not know the student's special tokens.")
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
        with torch.no_grad():
            theirs = self._teacher[0](
                input_ids=input_ids, attention_mask=attention_mask,
                position_ids=positions, use_cache=False,
            ).logits  # fmt: skip
        n = out.logits.shape[1]
        scored = labels[:, -n:][:, 1:] != IGNORED
        kl = words_divergence(
            out.logits[:, :-1][scored],
            theirs[:, -n:][:, :-1][scored],
            self.config.kd_temperature,
        )
        alpha = self.config.alpha
        loss = (1 - alpha) * out.loss + alpha * kl
        return SlotOutput(loss=loss, logits=out.logits)


def check_same_tokens(
    ours: PreTrainedTokenizerBase, theirs: PreTrainedTokenizerBase
) -> None:
    """Raise unless two tokenizers give every token the same number.

    Raises:
        ValueError: when they do not.
    """
    if ours.get_vocab() != theirs.get_vocab():
        raise ValueError(
            "word-level distillation compares the same tokens, and the two tokenizers "
            "differ: use chains that the teacher wrote (`written_by`)."
        )


@dataclass(frozen=True)
class WrittenChains:
    """What a teacher wrote.

    Attributes:
        problems: with its chains and its answers in place of their own.
        share_right: of all questions, those that it answered rightly.
        share_kept: of all questions, those in `problems`.
    """

    problems: list[Question]
    share_right: float
    share_kept: float


def written_by(
    teacher: Solver, problems: Sequence[Problem], only_right: bool = True
) -> WrittenChains:
    """Problems with the chains that a teacher wrote: what a student of sequence-level
    distillation is trained on.

    Args:
        teacher: writes chains and answers.
        problems: with known answers.
        only_right: leave out what the teacher answered wrongly (rejection sampling).
            Else its wrong answers are learned, too, as long as there is a chain.

    Raises:
        ValueError: where nothing is left.
    """
    found: list[Question] = []
    right = 0
    solved = teacher.solve([p.question for p in problems])
    for problem, said in zip(problems, solved, strict=True):
        steps = tuple(parse_steps(said.text.partition(CUE)[0]))
        is_right = said.answer == problem.answer
        right += is_right
        if steps and said.answer and (is_right or not only_right):
            found.append(replace(problem, steps=steps, answer=said.answer))
    if not found:
        raise ValueError("the teacher wrote no chain that a student could learn.")
    n = len(problems)
    return WrittenChains(found, right / n, len(found) / n)
