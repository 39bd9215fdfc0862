"""The actions of adaptive latent reasoning: drawn, and scored again for an update.

    prompt: question <bot> | completion: CONTINUE * n  STOP  The answer is: 7  <end>

Decisions and written tokens are actions, all of them ids. Latents are none: they follow
from the weights and the decisions so far, and when a completion is scored they are
computed again, so that gradient flows through the map ("Learning When to Stop", arXiv
2511.21581, section 3.3).

At a decision only CONTINUE and STOP are possible, with the head's odds; at a written
token only those of the base's vocabulary. A decision that was forced, before `n_min` or
at `n_max` latents, was no choice: its log-probability is 0.

The law of this file: the log-probability of an action is the same when it is drawn and
when it is scored, whatever its batch, at the temperatures that are given for both.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lrkit.latent.adaptive import CONTINUE, EOT, STOP, AdaptiveModel
from lrkit.latent.adaptive_solver import think
from lrkit.latent.layout import IGNORED, SlotRow, collate
from lrkit.latent.slot_config import SLOT
from lrkit.latent.stop_policies import Sampled


@dataclass(frozen=True)
class Actions:
    """What may be done, and how it is drawn.

    Attributes:
        n_max: latents at which a thought ends in any case.
        max_text: longest text, end token included.
        end: id of the end token.
        n_min: latents before which no thought ends.
        temperature: of written tokens.
        decision_temperature: of decisions.

    Raises:
        ValueError: for limits in the wrong order, or a temperature of 0.
    """

    n_max: int
    max_text: int
    end: int
    n_min: int = 0
    temperature: float = 1.0
    decision_temperature: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.n_min <= self.n_max and self.max_text > 0):
            raise ValueError(
                f"latents go from n_min to n_max, not from {self.n_min} to "
                f"{self.n_max}, and a text has a token or more, not {self.max_text}."
            )
        if not min(self.temperature, self.decision_temperature) > 0:
            raise ValueError(
                f"temperatures must be above 0, not {self.temperature} and "
                f"{self.decision_temperature}: nothing is drawn at 0."
            )


def decision_scores(
    logits: torch.Tensor, decided: torch.Tensor, actions: Actions
) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probabilities, entropies) of decisions, each [batch, n + 1].

    Args:
        logits: [batch, n + 1, 2] of the head.
        decided: [batch, n + 1], CONTINUE, STOP, or -100 behind the end of a thought.
        actions: with limits and temperature.

    Returns:
        0 where a decision was forced, and behind the end.
    """
    logprobs = (logits / actions.decision_temperature).log_softmax(-1)
    step = torch.arange(logits.shape[1], device=logits.device)
    free = (actions.n_min <= step) & (step < actions.n_max) & (decided != IGNORED)
    chosen = logprobs.gather(-1, decided.clamp(min=0)[..., None])[..., 0]
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    return chosen.where(free, 0.0), entropy.where(free, 0.0)


@torch.no_grad()
def draw(
    model: AdaptiveModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    actions: Actions,
) -> tuple[list[list[int]], list[list[float]]]:
    """A completion for each prompt, by torch's own random numbers.

    Args:
        model: its thoughts and texts.
        input_ids: [batch, columns], padded on the left; `<bot>` stands last.
        attention_mask: the same.
        actions: how they are drawn.

    Returns:
        The ids of each completion, its end token last if it came to that, and the
        log-probability of each of them.
    """
    policy = Sampled(actions.decision_temperature)
    thoughts = think(
        model, input_ids, attention_mask, policy, actions.n_max, actions.n_min
    )
    n_latents = torch.tensor(thoughts.n_latents, device=input_ids.device)[:, None]
    step = torch.arange(thoughts.logits.shape[1], device=input_ids.device)
    decided = torch.where(step < n_latents, CONTINUE, STOP)
    of_decisions, _ = decision_scores(thoughts.logits, decided, actions)
    written = model.generate(
        **thoughts.then([model.id_of(EOT)]),
        max_new_tokens=actions.max_text,
        do_sample=True,
        temperature=actions.temperature,
        top_k=0,
        top_p=1.0,
        eos_token_id=actions.end,
        pad_token_id=actions.end,
        output_scores=True,  # at the temperature already
        return_dict_in_generate=True,
    )
    texts = written.sequences[:, 1:]
    of_tokens = torch.stack(written.scores, 1).float().log_softmax(-1)
    of_tokens = of_tokens.gather(-1, texts[..., None])[..., 0]
    completions, logprobs = [], []
    for i, n in enumerate(thoughts.n_latents):
        text = texts[i].tolist()
        text = text[: text.index(actions.end) + 1] if actions.end in text else text
        completions.append([model.id_of(SLOT)] * n + [model.id_of(EOT), *text])
        of_row = of_decisions[i, : n + 1].tolist()
        logprobs.append(of_row + of_tokens[i, : len(text)].tolist())
    return completions, logprobs


def score(
    model: AdaptiveModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    n_columns: int,
    actions: Actions,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(log-probabilities, entropies) of completions, each [batch, n_columns].

    Prompts and completions come as TRL pads them. Here they are laid out as rows with
    slots, run once, and the scores of their actions put back into TRL's columns.

    Args:
        model: gradient flows to all of it, through the latents too.
        input_ids: [batch, columns], prompts padded on the left, then completions padded
            on the right.
        attention_mask: the same.
        n_columns: of the completions.
        actions: as they were drawn.

    Raises:
        ValueError: for a completion without `<eot>`.
    """
    slot, eot = model.id_of(SLOT), model.id_of(EOT)
    rows = []
    for ids, real in zip(input_ids, attention_mask.bool(), strict=True):
        prompt = ids[:-n_columns][real[:-n_columns]].tolist()
        completion = ids[-n_columns:][real[-n_columns:]].tolist()
        if eot not in completion:
            raise ValueError(
                "a completion has no <eot>: draw it with "
                "lrkit.latent.adaptive_actions.draw, which ends every thought."
            )
        n = completion.index(eot)
        rows.append(SlotRow(prompt, n, completion[n:]))
    laid = collate(rows, slot)
    laid = {name: value.to(input_ids.device) for name, value in laid.items()}
    longest = max(len(row.rest) for row in rows)
    ids = laid["input_ids"]
    out = model(ids, laid["attention_mask"], logits_to_keep=longest)
    of_decisions = decision_scores(*model.decisions(out, ids), actions)
    logprobs = (out.logits[:, :-1].float() / actions.temperature).log_softmax(-1)
    texts = ids[:, ids.shape[1] - longest + 1 :, None]
    chosen = logprobs.gather(-1, texts)[..., 0]
    of_tokens = (chosen, -(logprobs.exp() * logprobs).sum(-1))
    # The first column of the text stands behind the longest thought, there and here.
    n_latents = torch.tensor([row.n_slots for row in rows], device=ids.device)[:, None]
    column = torch.arange(n_columns, device=ids.device)
    shift = of_decisions[0].shape[1] - 1 - n_latents
    place = torch.where(column <= n_latents, column, column + shift)
    exists = attention_mask[:, -n_columns:].bool()
    place = place.where(exists, 0)
    found = [
        torch.cat(both, 1).gather(1, place).where(exists, 0.0)
        for both in zip(of_decisions, of_tokens, strict=True)
    ]
    return found[0], found[1]
