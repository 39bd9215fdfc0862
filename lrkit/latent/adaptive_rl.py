"""Reinforcement learning of when to stop: GRPO over decisions and written tokens.

"Learning When to Stop: Adaptive Latent Reasoning via Reinforcement Learning" (arXiv
2511.21581), section 3.3. What is drawn and scored is in `adaptive_actions`, what is
paid in `adaptive_reward`. Every so often the greedy answers to a validation set are
counted: the run is taken back where they collapse (`lrkit.guard`), and ends with the
weights that were best, see `better`.

The trainer is TRL's. Two of its methods are replaced: the one that samples, and the one
that scores samples for the update, which would run the base's own forward over the ids
of slots as if these were words. There is no KL term, see `lrkit.latent.grpo`; the
source's is weighted 1e-3.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from transformers import PreTrainedModel

from lrkit.data.problems import Question
from lrkit.guard import guarded_train
from lrkit.latent.adaptive import AdaptiveModel
from lrkit.latent.adaptive_actions import Actions, draw, score
from lrkit.latent.adaptive_reward import AdaptiveReward, AdaptiveRLSettings, answered
from lrkit.latent.adaptive_solver import AdaptiveSolver
from lrkit.latent.best_weights import BestWeights, Row
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.grpo import ChainTrainer, grpo_trainer
from lrkit.latent.layout import SlotRow, collate
from lrkit.latent.slot_config import SLOT


class AdaptiveTrainer(ChainTrainer):
    """`ChainTrainer` whose samples are thoughts and texts of an `AdaptiveModel`.

    `logprob_gap` in its log is the largest difference between an action's
    log-probability in the update and when it was drawn: rounding, and no more.
    """

    actions: Actions

    @classmethod
    def prompt(cls, model: PreTrainedModel, rows: ChainRows, text: str) -> list[int]:
        """The question and `<bot>`."""
        return [*rows.question(text), rows.bot]

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_, **__):
        model = self.accelerator.unwrap_model(self.model)
        batch = collate([SlotRow(ids) for ids in prompt_ids], model.id_of(SLOT))
        inputs = {
            name: batch[name].to(model.device)
            for name in ("input_ids", "attention_mask")
        }
        return draw(model, **inputs, actions=self.actions)

    def _compute_loss(self, model, inputs):
        self._drawn = inputs["sampling_per_token_logps"]
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, *_, **__
    ):
        logprobs, entropies = score(
            model, input_ids, attention_mask, logits_to_keep, self.actions
        )
        gap = (logprobs.detach() - self._drawn).abs().max().item()
        self._metrics["train"]["logprob_gap"].append(gap)
        return logprobs, entropies, None


def held_out(
    problems: Sequence[Question], share: float = 0.15, seed: int = 0
) -> tuple[list[Question], list[Question]]:
    """(problems for supervised training, for reinforcement learning).

    What a model has learned by heart it answers at once; so the second part is kept
    from the first. A question that comes several times is in one of them only.

    Args:
        problems: in any order, which both parts keep.
        share: of the different questions that the second part gets.
        seed: random seed.

    Raises:
        ValueError: for a share outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share lies between 0 and 1, got {share}.")
    questions = sorted({p.question for p in problems})
    random.Random(seed).shuffle(questions)
    kept = set(questions[: round(share * len(questions))])
    return (
        [p for p in problems if p.question not in kept],
        [p for p in problems if p.question in kept],
    )


def better(tolerance: float, row: Row, kept: Row, before: Sequence[Row]) -> bool:
    """Whether the weights of a row are to be kept in place of others.

    The source keeps the most accurate ones. Where nearly every answer is right from the
    start, a single one that is lost then undoes all shortening: so what is accurate
    enough competes in latents, and accuracy decides between equals.

    Args:
        tolerance: share of right answers below the best time that is accurate enough.
        row: "accuracy" and mean number of "latents" now.
        kept: those of the weights that are kept.
        before: all rows up to now.
    """
    enough = max(r["accuracy"] for r in (row, kept, *before)) - tolerance
    if min(row["accuracy"], kept["accuracy"]) < enough - 1e-9:
        return row["accuracy"] > kept["accuracy"]
    return (-row["latents"], row["accuracy"]) > (-kept["latents"], kept["accuracy"])


@dataclass(frozen=True)
class AdaptiveRun:
    """What a run was like.

    Attributes:
        log: the trainer's, a row for each step, and one for each restoration.
        validation: greedy answers to the validation set, a row for each time: "step",
            "accuracy" and "latents", their mean number.
        best: the row of the weights that the model has now.
    """

    log: list[dict]
    validation: list[dict]
    best: dict


def adapt(
    model: AdaptiveModel,
    rows: ChainRows,
    problems: Sequence[Question],
    validation: Sequence[Question],
    settings: AdaptiveRLSettings,
    folder: str | Path,
    seed: int = 0,
) -> AdaptiveRun:
    """Let a trained model learn when to stop, from its own samples.

    Args:
        model: trained in place, all parameters that require gradient, in float32; ends
            with weights that were among the most accurate on validation and took the
            fewest latents there, see `better`.
        rows: how its questions are encoded.
        problems: read in turn, again from the beginning when they end.
        validation: other problems.
        settings: reward and run.
        folder: for checkpoints; a run that was killed goes on from the last one.
        seed: random seed of sampling.

    Raises:
        ValueError: for no problems, or settings that leave no room for an answer.
        lrkit.guard.Diverged: where going back did not help.
        lrkit.latent.chain_rows.TooLong: where a question leaves too little context.
    """
    if not validation:
        raise ValueError("there are no problems to validate on.")
    actions = settings.actions(rows)
    solver = AdaptiveSolver(
        model, rows, settings.n_max, settings.n_min, writes_chain=True,
        max_new_tokens=actions.max_text,
    )  # fmt: skip
    best = BestWeights(
        lambda: answered(solver, validation),
        partial(better, settings.tolerance),
        folder,
    )

    def make_trainer() -> AdaptiveTrainer:
        vars(model).pop("forward", None)  # of the trainer that was taken back
        trainer = grpo_trainer(
            model, rows, problems, AdaptiveReward(settings, rows), settings.run,
            folder, seed, AdaptiveTrainer, [best],
        )  # fmt: skip
        trainer.actions = actions
        trainer.args.save_total_limit = None  # the guard deletes what is too old
        return trainer

    try:
        trainer = guarded_train(make_trainer, settings.guard, best.look)
    finally:
        vars(model).pop("forward", None)  # see `lrkit.latent.grpo.grpo`
    row = best.restore(model)
    return AdaptiveRun(trainer.state.log_history, best.rows, row)
