"""Stage 2 of Latent Reasoning Tuning: GRPO on answers behind latents.

Latents are a function of the question and are not sampled: what is drawn are the
answer's tokens, and the reward is whether the answer is right. The gradient of their
log-probabilities reaches the reasoning network through the latents, and the base not at
all. The run is that of `lrkit.latent.grpo`; the paper has a KL term of 2e-3 besides,
which is left out there.

TRL 1.16 scores samples with a forward of its own that looks slots up as tokens: here
they are scored by the model's own forward, which fills them. A private method of TRL is
replaced for that; the test that log-probabilities in the update are those of sampling
holds it to its meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrkit.data.problems import Question
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.grpo import ChainTrainer, GRPOSettings, grpo
from lrkit.latent.lrt import FrozenSlotModel
from lrkit.latent.slots import SLOT
from lrkit.study.scoreboard import same_answer


class AnswerTrainer(ChainTrainer):
    """`ChainTrainer` over rows with slots and a cue: the answer alone is sampled."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        # TRL's own forward stands before the model's since a moment ago.
        vars(self.accelerator.unwrap_model(self.model)).pop("forward", None)

    @classmethod
    def prompt(cls, model: PreTrainedModel, rows: ChainRows, text: str) -> list[int]:
        """Question, `<bot>`, slots, `<eot>`, cue."""
        row = rows.asked(text, model.config.n_latents)
        return [*row.before, *[model.id_of(SLOT)] * row.n_slots, *row.rest]

    def _get_per_token_logps_and_entropies(
        self,
        model: PreTrainedModel,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **_,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        """(log-probabilities [batch, kept], entropies or None, no auxiliary loss), of
        the last tokens of each row, at the temperature of sampling."""
        logprobs, entropies = [], []
        for ids, mask in zip(
            input_ids.split(batch_size or len(input_ids)),
            attention_mask.split(batch_size or len(input_ids)),
            strict=True,
        ):
            out = model(
                input_ids=ids, attention_mask=mask, logits_to_keep=logits_to_keep + 1
            )
            scores = (out.logits[:, :-1].float() / self.temperature).log_softmax(-1)
            chosen = ids[:, -logits_to_keep:, None]
            logprobs.append(scores.gather(2, chosen)[..., 0])
            if compute_entropy:
                entropies.append(-(scores.exp() * scores).sum(-1).detach())
        entropy = torch.cat(entropies) if compute_entropy else None
        return torch.cat(logprobs), entropy, None


@dataclass(frozen=True)
class AnswerReward:
    """1 for a right answer, 0 for a wrong one, as `GRPOTrainer` calls it; it logs the
    accuracy. The paper says "answer correctness" and no more."""

    tokenizer: PreTrainedTokenizerBase

    def __call__(self, completion_ids, answer, log_metric, **_) -> list[float]:
        """A reward for each sample."""
        written = self.tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        right = [
            same_answer(text.strip(), wanted)
            for text, wanted in zip(written, answer, strict=True)
        ]
        log_metric("accuracy", float(np.mean(right)))
        return [float(one) for one in right]


def reinforce(
    model: FrozenSlotModel,
    rows: ChainRows,
    problems: Sequence[Question],
    settings: GRPOSettings,
    folder: str | Path,
    seed: int = 0,
) -> list[dict[str, float]]:
    """Train what is beside the base on rewards for right answers.

    Args:
        model: after stage 1, in float32; trained in place.
        rows: how its questions are encoded.
        problems: to train on.
        settings: of the run; `max_completion` bounds the answer alone.
        folder: for checkpoints.
        seed: random seed of sampling.

    Returns:
        For each step {"step", "accuracy", "reward"}: means over its samples.

    Raises:
        ValueError, lrkit.latent.chain_rows.TooLong: see `lrkit.latent.grpo.grpo`.
    """
    reward = AnswerReward(rows.tokenizer)
    log = grpo(model, rows, problems, reward, settings, folder, seed, AnswerTrainer)
    kept = ("step", "accuracy", "reward")
    return [{k: row[k] for k in kept} for row in log if "accuracy" in row]
