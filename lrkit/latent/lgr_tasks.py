"""A model of two tasks, told apart by a token behind the question: multi-task
distillation.

    question <label> answer            question <rationale> chain ...

Each problem gives one row of either task. The loss is a weighted sum of the two mean
losses, so that a long chain does not outweigh a short answer. Which row says what is a
recipe's choice, see `lrkit.latent.lgr_baselines`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from lrkit.data.problems import Question
from lrkit.latent.chain_rows import CUE, ChainRows
from lrkit.latent.layout import SlotRow
from lrkit.latent.slot_config import SPECIALS, SlotConfig
from lrkit.latent.slots import SlotModel, SlotOutput
from lrkit.latent.solvers import SlotSolver, Solution
from lrkit.latent.training import RowCollator

LABEL, RATIONALE = "<label>", "<rationale>"


class TwoTaskConfig(SlotConfig):
    """`SlotConfig` with the weights of the tasks.

    Args:
        weights: of the first row's loss and of the second's.
        kwargs: see `SlotConfig`; the specials are set here.

    Raises:
        ValueError: for other than two weights, or a negative one.
    """

    model_type = "lrkit-two-tasks"

    def __init__(self, *args, weights: Sequence[float] = (1.0, 1.0), **kwargs):
        if len(weights) != 2 or min(weights) < 0:
            raise ValueError(f"two weights of 0 or more are needed, not {weights}.")
        kwargs["specials"] = [*SPECIALS, LABEL, RATIONALE]
        super().__init__(*args, **kwargs)
        self.weights = list(weights)


class TwoTaskModel(SlotModel):
    """A causal LM with two tasks."""

    config_class = TwoTaskConfig
    accepts_loss_kwargs = False  # each task's loss is a mean of its own

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        second_input_ids: torch.Tensor | None = None,
        second_attention_mask: torch.Tensor | None = None,
        second_labels: torch.Tensor | None = None,
        logits_to_keep: int = 0,  # by name: `generate` asks for the last column alone
        **kwargs,
    ) -> SlotOutput:
        """w_1 * L_1 + w_2 * L_2; without second rows the plain `SlotModel.forward`.

        Args:
            input_ids, attention_mask, labels: of the first task, [batch, columns].
            second_input_ids, second_attention_mask, second_labels: of the second.
        """
        first = super().forward(
            input_ids, attention_mask, labels=labels, logits_to_keep=logits_to_keep,
            **kwargs,
        )  # fmt: skip
        if second_input_ids is None:
            return first
        second = super().forward(
            second_input_ids, second_attention_mask, labels=second_labels, **kwargs
        )
        one, other = self.config.weights
        return SlotOutput(
            loss=one * first.loss + other * second.loss, logits=first.logits
        )


@dataclass(frozen=True)
class TwoTaskRow:
    """A problem in both tasks."""

    first: SlotRow
    second: SlotRow


class TwoTaskCollator(RowCollator):
    """Batches of `TwoTaskRow` for `transformers.Trainer`."""

    def __call__(self, batch: Sequence[TwoTaskRow]) -> dict[str, torch.Tensor]:
        """`input_ids` ... of the first rows, `second_input_ids` ... of the second."""
        first = super().__call__([row.first for row in batch])
        second = super().__call__([row.second for row in batch])
        return first | {f"second_{name}": value for name, value in second.items()}


@dataclass(frozen=True)
class TaskRows(ChainRows):
    """Rows of both tasks.

    Attributes:
        label, rationale: ids of the two tokens.
    """

    label: int = -1
    rationale: int = -1

    @classmethod
    def of(cls, model: TwoTaskModel, tokenizer, context: int = 512) -> TaskRows:
        """For a model and its tokenizer."""
        ids = {"label": model.id_of(LABEL), "rationale": model.id_of(RATIONALE)}
        return cls(**vars(ChainRows.of(model, tokenizer, context)), **ids)

    def answering(self, problem: Question, chain: bool = False) -> SlotRow:
        """Question, `<label>`, answer; with `chain` the chain is read before the
        answer. The answer carries loss, with its cue."""
        read = self.steps(problem.steps) if chain else []
        answer = self.answer(problem.answer).ids
        rest = [*read, *answer]
        return self._checked(
            SlotRow(self._marked(problem, LABEL), 0, rest, len(answer))
        )

    def reasoning(self, problem: Question, answer: bool = False) -> SlotRow:
        """Question, `<rationale>`, chain and end, or with `answer` chain and answer;
        all but question and token carry loss."""
        end = self.tokenizer.eos_token_id
        behind = self.answer(problem.answer).ids if answer else [end]
        rest = [*self.steps(problem.steps), *behind]
        return self._checked(
            SlotRow(self._marked(problem, RATIONALE), 0, rest, len(rest))
        )

    def _marked(self, problem: Question, name: str) -> list[int]:
        which = self.label if name == LABEL else self.rationale
        return [*self.question(problem.question), which]


@dataclass(frozen=True)
class TaskSolver(SlotSolver):
    """One task of a model of two: with `writes_chain` the second, else the first."""

    rows: TaskRows

    def asked(self, question: str) -> SlotRow:
        """The question and the token of the task; the cue for the first."""
        row = self.rows.asked(question, None, cue=not self.writes_chain)
        which = self.rows.rationale if self.writes_chain else self.rows.label
        return replace(row, before=[*row.before, which])


@dataclass(frozen=True)
class CascadeSolver(TaskSolver):
    """The second task writes a chain without an answer, the first reads question and
    chain and answers: two prompts to the same model."""

    def asked(self, question: str) -> SlotRow:
        """The question; tokens of the tasks come in turn."""
        return self.rows.asked(question, None, cue=False)

    @torch.inference_mode()
    def solve_batch(self, asked: list[SlotRow]) -> Iterator[Solution]:
        """Solutions of one batch, in its order; both prompts are counted."""
        began = time.perf_counter()
        self.model.eval()
        first = [
            replace(row, before=[*row.before, self.rows.rationale]) for row in asked
        ]
        chains = [self._cut(ids) for ids in self._written(first)]
        second = [self._behind(*both) for both in zip(asked, chains, strict=True)]
        answers = self._written(second)
        seconds = (time.perf_counter() - began) / len(asked)
        for row, chain, then, ids in zip(first, chains, second, answers, strict=True):
            wrote, said = (
                replace(self, writes_chain=False).solution(
                    new, latent_steps=0, passes=1, positions=len(given), seconds=seconds
                )
                for new, given in ((chain, row), (ids, then))
            )
            text = wrote.text.partition(CUE)[0]
            counts = ("text_tokens", "passes", "positions", "flops")
            added = {n: getattr(wrote, n) + getattr(said, n) for n in counts}
            yield replace(said, text=f"{text}{CUE}{said.text}", **added)

    def _written(self, rows: list[SlotRow]) -> list[list[int]]:
        inputs = self.batch_of(rows)
        return self.decode(inputs)[:, inputs["input_ids"].shape[1] :].tolist()

    def _cut(self, ids: list[int]) -> list[int]:
        """Up to the end token, which is the chain's last."""
        end = self.rows.tokenizer.eos_token_id
        return ids[: ids.index(end) + 1] if end in ids else ids

    def _behind(self, row: SlotRow, chain: list[int]) -> SlotRow:
        """Question, `<label>`, the chain without its end, cue; the chain is cut where
        the context ends."""
        end, cue = self.rows.tokenizer.eos_token_id, self.rows.cue()
        read = [token for token in chain if token != end]
        room = max(self.rows.context - len(row) - 1 - len(cue), 0)
        return SlotRow([*row.before, self.rows.label, *read[:room]], 0, cue)
