"""Problems as rows of tokens: question, thought, answer cue, answer.

Every method's row is made here, from the same pieces, tokenized one by one: so the
answer of a row is the same tokens whatever stands before it, and the *cue*, the
position whose next token is the first of the answer, is known and not searched for.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from lrkit.data.chains import in_brackets
from lrkit.data.problems import Question
from lrkit.latent.layout import SlotRow
from lrkit.latent.slots import SlotModel

CUE = "The answer is:"
ALL_SHORT = 0.5  # see `ChainRows.mixed`


class TooLong(ValueError):
    """A question does not fit into the context."""


@dataclass(frozen=True)
class Answer:
    """The end of a row.

    Attributes:
        ids: tokens of the cue, the answer and the end token.
        cue: index in `ids` of the last token before the answer's own first one. A lone
            blank that a tokenizer puts before a number belongs to the cue.
    """

    ids: list[int]
    cue: int


@dataclass(frozen=True)
class ChainRows:
    """Makes rows of problems.

    Attributes:
        tokenizer: of the wrapped model; needs an end token.
        bot: id of the special before the first slot.
        eot: id of the special after the last one.
        pause: id of the learned constant of the pause control.
        context: longest row, in tokens.
    """

    tokenizer: PreTrainedTokenizerBase
    bot: int
    eot: int
    pause: int
    context: int = 512

    @classmethod
    def of(
        cls, model: SlotModel, tokenizer: PreTrainedTokenizerBase, context: int = 512
    ) -> ChainRows:
        """For a model that has `<bot>`, `<eot>` and `<pause>` among its specials."""
        ids = [model.id_of(name) for name in ("<bot>", "<eot>", "<pause>")]
        return cls(tokenizer, *ids, context)

    def encode(self, text: str) -> list[int]:
        """Token ids of a piece; special tokens in the text stay text."""
        return self.tokenizer(
            text, add_special_tokens=False, split_special_tokens=True
        )["input_ids"]

    def question(self, text: str) -> list[int]:
        """The question and a line break.

        Raises:
            TooLong: when nothing would be left of the context.
        """
        ids = self.encode(text + "\n")
        if len(ids) >= self.context:
            raise TooLong(
                f"a question of {len(ids)} tokens does not fit into {self.context}: "
                f"{text[:60]!r}... Shorten it, or use a base with a longer context."
            )
        return ids

    def cue(self) -> list[int]:
        """The words before an answer."""
        return self.encode(CUE)

    def answer(self, value: str) -> Answer:
        """Cue, answer and end token."""
        cue, ids = self.cue(), self.encode(f" {value}")
        lead = 0
        while lead < len(ids) - 1 and not self.tokenizer.decode(ids[lead]).strip():
            lead += 1
        end = self.tokenizer.eos_token_id
        return Answer([*cue, *ids, end], len(cue) + lead - 1)

    def steps(self, steps: Sequence[str]) -> list[int]:
        """A chain and a line break; nothing for no steps."""
        return self.encode(" ".join(steps) + "\n") if steps else []

    # --- whole rows -----------------------------------------------------------------
    def chain(
        self,
        problem: Question,
        steps: Sequence[str] | None = None,
        bracketed: Sequence[str] = (),
        dropped: int = 0,
    ) -> SlotRow:
        """CoT: question, steps (all of them, or those given), answer; all but the
        question carries loss. Without steps it is the row of No-CoT.

        Args:
            problem: gives question and answer.
            steps: written whole.
            bracketed: before them, as results alone: "( 2 6 )".
            dropped: so many tokens are missing from the beginning of the chain.
        """
        chain = self.encode(in_brackets(bracketed))
        chain += self.steps(problem.steps if steps is None else steps)
        rest = chain[dropped:] + self.answer(problem.answer).ids
        return self._checked(
            SlotRow(self.question(problem.question), 0, rest, len(rest))
        )

    def mixed(
        self, problem: Question, rng: random.Random, whole: float = 0.0
    ) -> SlotRow:
        """CoT whose first steps are results alone in brackets, the others whole.

        In half of the rows every step is in brackets; in the others their number is
        uniform from none to all but the last. From whole equations a small model learns
        to compute a step behind its "=", where both operands stand beside each other,
        and nowhere else; a latent stands elsewhere. A pretrained language model of any
        size can take one step without writing it out.

        Args:
            problem: with steps.
            rng: source of randomness.
            whole: share of rows that have no brackets at all.
        """
        n = problem.n_steps
        if whole and rng.random() < whole:
            return self.chain(problem)
        short = n if rng.random() < ALL_SHORT else rng.randrange(n)
        return self.chain(problem, problem.steps[short:], problem.steps[:short])

    def answer_first(self, problem: Question) -> SlotRow:
        """Answer-then-reason: question, answer, end token, steps as results alone.

        The end token stands between answer and reason, so that a solver stops there:
        the reason is trained and never written.
        """
        reason = self.encode(in_brackets(problem.steps))
        end = self.tokenizer.eos_token_id
        rest = [*self.answer(problem.answer).ids, *reason, end]
        return self._checked(
            SlotRow(self.question(problem.question), 0, rest, len(rest))
        )

    def latent(
        self, problem: Question, n_slots: int, steps: Sequence[str] = ()
    ) -> SlotRow:
        """Question, `<bot>`, slots, `<eot>`, the steps still written, answer."""
        rest = self.steps(steps) + self.answer(problem.answer).ids
        before = [*self.question(problem.question), self.bot]
        return self._checked(SlotRow(before, n_slots, [self.eot, *rest], len(rest)))

    def asked(self, question: str, n_slots: int | None, cue: bool = True) -> SlotRow:
        """What a solver begins with: no answer in it.

        Args:
            question: text.
            n_slots: slots between `<bot>` and `<eot>`; None: neither of them.
            cue: whether the cue is given; without it the model writes its chain first.
        """
        before, rest = self.question(question), self.cue() if cue else []
        if n_slots is None:
            return self._checked(SlotRow(before, 0, rest))
        return self._checked(SlotRow([*before, self.bot], n_slots, [self.eot, *rest]))

    def _checked(self, row: SlotRow) -> SlotRow:
        if len(row) > self.context:
            raise TooLong(
                f"a row of {len(row)} tokens does not fit into {self.context}: "
                f"{len(row.before)} before the slots, {row.n_slots} slots, "
                f"{len(row.rest)} after them."
            )
        return row
