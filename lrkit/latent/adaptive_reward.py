"""What adaptive latent reasoning is paid for: a right answer, and a fitting length.

"Learning When to Stop: Adaptive Latent Reasoning via Reinforcement Learning" (arXiv
2511.21581), equations 1 to 5. The samples of a question are a group, each of them a
thought and a text that the model writes, the answer cue included:

    reward = correct + format + relative length
    correct   1 for the right answer, else 0
    format    -1 where the text is not the cue, once, and an answer: then nothing is
              correct
    length    see `lrkit.latent.rewards.relative_length`, of START + n CONTINUE + STOP

So a question that the whole group answers is thought about for less, and another one
for longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lrkit.data.problems import Question
from lrkit.divergence import GuardSettings
from lrkit.latent.adaptive_actions import Actions
from lrkit.latent.adaptive_solver import AdaptiveSolver
from lrkit.latent.chain_rows import CUE, ChainRows
from lrkit.latent.grpo import GRPOSettings
from lrkit.latent.rewards import relative_length
from lrkit.study.scoreboard import same_answer


@dataclass(frozen=True)
class AdaptiveRLSettings:
    """Reward and run.

    Attributes:
        run: `max_completion` counts decisions, too; `temperature` is that of the text.
            Without checkpoints there would be nothing to go back to.
        n_max: latents at which a thought ends in any case.
        n_min: latents before which none does.
        decision_temperature: of decisions, in sampling and update.
        lambda_penalty: of length, for questions that the whole group answers. The
            published 1e-4 acts through TRL's epsilon, see `lrkit.latent.rewards`.
        lambda_reward: of length, for the others.
        p_cutoff: share of right members from which the penalty takes the place of the
            reward.
        tolerance: share of right answers to validation that fewer latents may cost, see
            `lrkit.latent.adaptive_rl.better`; the source's is 0.
        guard: when the run is taken back; `metric_every` is how often validation is
            answered.
    """

    run: GRPOSettings
    n_max: int
    n_min: int = 0
    decision_temperature: float = 1.0
    lambda_penalty: float = 1e-4
    lambda_reward: float = 0.1
    p_cutoff: float = 1.0
    tolerance: float = 0.0
    guard: GuardSettings = field(default_factory=GuardSettings)

    def actions(self, rows: ChainRows) -> Actions:
        """What may be done.

        Raises:
            ValueError: where nothing is left for an answer.
        """
        max_text = self.run.max_completion - (self.n_max + 1)
        if max_text < len(rows.cue()) + 2:
            raise ValueError(
                f"max_completion {self.run.max_completion} leaves {max_text} tokens "
                f"behind {self.n_max} latents and their end: too few for the cue and "
                "an answer. Raise it."
            )
        return Actions(
            self.n_max, max_text, rows.tokenizer.eos_token_id, self.n_min,
            self.run.temperature, self.decision_temperature,
        )  # fmt: skip


def answer_in(text: str) -> str | None:
    """The answer of a well-formed text, which is the cue, once, and what follows it.

    None for another text.
    """
    before, cue, answer = text.partition(CUE)
    if before.strip() or not cue or CUE in answer:
        return None
    return answer.strip()


@dataclass(frozen=True)
class AdaptiveReward:
    """The reward as `GRPOTrainer` calls it; it logs what the samples were like.

    The log's `accuracy` and `formatted` are shares of the samples, `latents` their mean
    number of latents, `mastered` the share of questions that get the length penalty.
    """

    settings: AdaptiveRLSettings
    rows: ChainRows

    def rewards(
        self, correct: np.ndarray, formatted: np.ndarray, lengths: np.ndarray
    ) -> np.ndarray:
        """[groups, members] of samples.

        Args:
            correct: [groups, members], right and well-formed.
            formatted: the same, well-formed.
            lengths: the same, tokens of thought: START, CONTINUE and STOP.
        """
        s = self.settings
        length = relative_length(
            correct, lengths, s.lambda_penalty, s.lambda_reward, s.p_cutoff
        )
        return correct - 1.0 * ~formatted + length

    def __call__(self, completion_ids, answer, log_metric, **_) -> list[float]:
        """A reward for each sample; the samples of a question follow one another."""
        n_latents = [ids.index(self.rows.eot) for ids in completion_ids]
        found = [
            answer_in(
                self.rows.tokenizer.decode(ids[n + 1 :], skip_special_tokens=True)
            )
            for n, ids in zip(n_latents, completion_ids, strict=True)
        ]
        right = [
            text is not None and same_answer(text, wanted)
            for text, wanted in zip(found, answer, strict=True)
        ]
        shape = (-1, self.settings.run.group_size)
        correct = np.reshape(right, shape)
        formatted = np.reshape([text is not None for text in found], shape)
        lengths = np.reshape(n_latents, shape) + 2
        log_metric("accuracy", float(correct.mean()))
        log_metric("formatted", float(formatted.mean()))
        log_metric("latents", float(np.mean(n_latents)))
        mastered = correct.mean(1) >= self.settings.p_cutoff
        log_metric("mastered", float(mastered.mean()))
        return self.rewards(correct, formatted, lengths).flatten().tolist()


def answered(solver: AdaptiveSolver, problems: Sequence[Question]) -> dict[str, float]:
    """Greedy "accuracy", a text that is not well-formed being wrong, and mean number of
    "latents"."""
    solutions = solver.solve([p.question for p in problems])
    right = [
        (found := answer_in(s.text)) is not None and same_answer(found, p.answer)
        for s, p in zip(solutions, problems, strict=True)
    ]
    latents = [s.latent_steps for s in solutions]
    return {"accuracy": float(np.mean(right)), "latents": float(np.mean(latents))}
