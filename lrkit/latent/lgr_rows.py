"""What a thinker reads and writes: rows of its two passes, and batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase

from lrkit.data.problems import Question
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.layout import SlotRow
from lrkit.latent.lgr import RECON, ThinkerModel
from lrkit.latent.training import RowCollator


@dataclass(frozen=True)
class ThinkerRow:
    """A problem in both passes.

    Attributes:
        task: question, thoughts and answer.
        recon: slots and chain.
    """

    task: SlotRow
    recon: SlotRow


@dataclass(frozen=True)
class ThinkerRows(ChainRows):
    """Makes rows of a thinker; with it a `SlotSolver` is the thinker alone.

    Attributes:
        thoughts: ids of the thought tokens.
        recon: id of the token between slots and chain.
        recon_sees_question: see `lrkit.latent.lgr.ThinkerConfig`.
    """

    thoughts: tuple[int, ...] = ()
    recon: int = -1
    recon_sees_question: bool = False

    @classmethod
    def of(
        cls,
        model: ThinkerModel,
        tokenizer: PreTrainedTokenizerBase,
        context: int = 512,
    ) -> ThinkerRows:
        """For a thinker and its tokenizer."""
        plain = ChainRows.of(model, tokenizer, context)
        return cls(
            **vars(plain),
            thoughts=tuple(model.thoughts),
            recon=model.id_of(RECON),
            recon_sees_question=model.config.recon_sees_question,
        )

    def thinking(self, question: str) -> SlotRow:
        """Question, `<bot>` and the thoughts: all that guidance is made of."""
        return self._checked(
            SlotRow([*self.question(question), self.bot, *self.thoughts])
        )

    def asked(self, question: str, n_slots: int | None, cue: bool = True) -> SlotRow:
        """Question and thoughts, `<eot>`, the cue.

        Args:
            question: text.
            n_slots: the number of thoughts, which cannot be chosen; None: the same.
            cue: whether the cue is given.

        Raises:
            ValueError: for another number of thoughts.
        """
        if n_slots not in (None, len(self.thoughts)):
            raise ValueError(
                f"this thinker has {len(self.thoughts)} thoughts, not {n_slots}."
            )
        rest = [self.eot, *(self.cue() if cue else [])]
        return self._checked(SlotRow(self.thinking(question).before, 0, rest))

    def task(self, problem: Question) -> SlotRow:
        """Question, thoughts, answer; cue, answer and end carry loss."""
        answer = self.answer(problem.answer).ids
        before = self.thinking(problem.question).before
        return self._checked(SlotRow(before, 0, [self.eot, *answer], len(answer)))

    def reconstruction(self, problem: Question) -> SlotRow:
        """`<bot>`, K slots, `<recon>`, chain; with the question before them where it is
        seen. The chain carries loss, with the line break that ends it; of a problem
        without steps nothing does."""
        chain = self.steps(problem.steps)
        seen = self.question(problem.question) if self.recon_sees_question else []
        rest = [self.recon, *chain]
        return self._checked(
            SlotRow([*seen, self.bot], len(self.thoughts), rest, len(chain))
        )

    def both(self, problem: Question) -> ThinkerRow:
        """Both passes."""
        return ThinkerRow(self.task(problem), self.reconstruction(problem))


class ThinkerCollator(RowCollator):
    """Batches of `ThinkerRow` for `transformers.Trainer`."""

    def __call__(self, batch: Sequence[ThinkerRow]) -> dict[str, torch.Tensor]:
        """`input_ids` ... of the first pass and `recon_input_ids` ... of the second."""
        first = super().__call__([row.task for row in batch])
        second = super().__call__([row.recon for row in batch])
        return first | {f"recon_{name}": value for name, value in second.items()}
