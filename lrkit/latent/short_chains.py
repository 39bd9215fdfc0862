"""Explicit chains that GRPO makes shorter: the CoT that latent methods are up against.

The sources compare latent thoughts with chains that reinforcement learning has cut
down, not only with those that SFT has written. Here a plain causal LM that writes
chain, cue and answer is paid by `lrkit.latent.rewards`; the run is in
`lrkit.latent.grpo`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrkit.data.problems import Problem
from lrkit.latent.chain_rows import CUE, ChainRows
from lrkit.latent.grpo import GRPOSettings, grpo
from lrkit.latent.rewards import kimi_length, limit_at, relative_length, within_limit
from lrkit.latent.solvers import SlotSolver
from lrkit.study.scoreboard import same_answer

if TYPE_CHECKING:  # so that the list of methods may hold this one
    from lrkit.latent.methods import Training

NAME = "short-chains"
LENGTH_TERMS = ("none", "kimi", "thinkprune", "relative")


@dataclass(frozen=True)
class ShortChainSettings:
    """What is paid for, and the run.

    Attributes:
        run: see `lrkit.latent.grpo.GRPOSettings`.
        length_term: one of `LENGTH_TERMS`, see `lrkit.latent.rewards`.
        weight: of Kimi's term. In a group where all are right it makes no difference:
            GRPO divides by the spread of the rewards, which is then that of this term.
        limits: ThinkPrune's, longest chain that earns, falling from round to round.
        lambda_penalty: of the relative term, as the next two. Where all are right the
            published 1e-4 acts through the 1e-4 that TRL adds to the spread.
        lambda_reward: for questions that are not mastered.
        p_cutoff: share of right samples from which a question is mastered.

    Raises:
        ValueError: for an unknown term, or limits that are missing or do not fall.
    """

    run: GRPOSettings
    length_term: str = "kimi"
    weight: float = 1.0
    limits: tuple[int, ...] = ()
    lambda_penalty: float = 1e-4
    lambda_reward: float = 0.1
    p_cutoff: float = 1.0

    def __post_init__(self) -> None:
        if self.length_term not in LENGTH_TERMS:
            known = ", ".join(LENGTH_TERMS)
            raise ValueError(
                f"there is no length term {self.length_term!r}: choose one of {known}."
            )
        falling = sorted(set(self.limits), reverse=True) == list(self.limits)
        if self.length_term == "thinkprune" and not (self.limits and falling):
            raise ValueError(
                f"ThinkPrune's limits must fall, as (40, 20) do, got {self.limits}."
            )

    def rewards(
        self, correct: np.ndarray, lengths: np.ndarray, step: int
    ) -> np.ndarray:
        """[groups, members] of samples.

        Args:
            correct: [groups, members], whether the answer is right.
            lengths: [groups, members], tokens of the chain.
            step: optimizer steps already taken.
        """
        if self.length_term == "thinkprune":
            limit = limit_at(step, self.run.steps, self.limits)
            return within_limit(correct, lengths, limit)
        reward = correct.astype(np.float64)
        if self.length_term == "kimi":
            reward += kimi_length(correct, lengths, self.weight)
        elif self.length_term == "relative":
            reward += relative_length(
                correct, lengths, self.lambda_penalty, self.lambda_reward, self.p_cutoff
            )
        return reward


def read(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> tuple[str, int]:
    """(answer, length of the chain) of what was written.

    The answer is what follows the last cue, as `SlotSolver` reads it; "" without a cue.
    The length is the number of tokens wholly before that cue: brackets and line breaks
    count, and cue, answer and end token, much the same in every sample, do not. Without
    a cue it is all that was written, an end token included.
    """

    def text(n: int) -> str:
        return tokenizer.decode(ids[:n], skip_special_tokens=True)

    chain, cue, answer = text(len(ids)).rpartition(CUE)
    if not cue:
        return "", len(ids)
    n = bisect_right(range(len(ids) + 1), len(chain), key=lambda n: len(text(n))) - 1
    return answer.strip(), n


@dataclass(frozen=True)
class ChainReward:
    """The reward as `GRPOTrainer` calls it; it logs accuracy and mean length.

    ThinkPrune's limit is applied here and not to sampling, which always runs to
    `max_completion`: so the length in the log is the whole one under every term, and a
    chain that is too long is held against all of its tokens. The price is the time to
    sample what earns nothing.
    """

    settings: ShortChainSettings
    tokenizer: PreTrainedTokenizerBase

    def __call__(
        self, completion_ids, answer, trainer_state, log_metric, **_
    ) -> list[float]:
        """A reward for each sample; the samples of a question follow one another."""
        written = [read(self.tokenizer, ids) for ids in completion_ids]
        right = [
            same_answer(found, wanted)
            for (found, _), wanted in zip(written, answer, strict=True)
        ]
        shape = (-1, self.settings.run.group_size)
        correct = np.reshape(right, shape)
        lengths = np.reshape([n for _, n in written], shape)
        log_metric("accuracy", float(correct.mean()))
        log_metric("length", float(lengths.mean()))
        step = trainer_state.global_step
        return self.settings.rewards(correct, lengths, step).flatten().tolist()


def shorten(
    model: PreTrainedModel,
    rows: ChainRows,
    problems: Sequence[Problem],
    settings: ShortChainSettings,
    folder: str | Path,
    seed: int = 0,
) -> tuple[PreTrainedModel, list[dict[str, float]]]:
    """Train a causal LM that writes chain, cue and answer to write less.

    Args:
        model: trained in place; see `lrkit.latent.grpo.grpo`, also for the others and
            for what is raised.
        rows: how its questions are encoded.
        problems: to train on.
        settings: reward and run.
        folder: for checkpoints.
        seed: random seed of sampling.

    Returns:
        The model, and for each step {"step", "accuracy", "length", "reward"}: means
        over the samples that it was made from, length as `read` counts it.
    """
    reward = ChainReward(settings, rows.tokenizer)
    log = grpo(model, rows, problems, reward, settings.run, folder, seed)
    kept = ("step", "accuracy", "length", "reward")
    return model, [{k: row[k] for k in kept} for row in log if "accuracy" in row]


def short_chains(training: Training, settings: ShortChainSettings) -> SlotSolver:
    """The base after GRPO on its own chains, as a solver; its log is kept.

    Args:
        training: base, problems, folder and random seed, as every method gets them; of
            its settings the context alone is read.
        settings: reward and run.
    """
    model = training.wrapped()
    rows = training.rows(model)
    folder = training.folder / NAME
    _, log = shorten(
        model.base, rows, training.problems, settings, folder, training.seed
    )
    training.keep(NAME, log)
    return SlotSolver(model, rows, writes_chain=True)
