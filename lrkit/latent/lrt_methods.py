"""Latent Reasoning Tuning and its controls, each a few lines, as in `methods`.

All of them leave the base as it is: what is trained stands beside it, or in a LoRA of
as many weights. `no_thinking` and `thinking` train nothing: they are the two modes that
the base has already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from lrkit.data.problems import Question
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.grpo import GRPOSettings
from lrkit.latent.layout import SlotRow
from lrkit.latent.lrt import FrozenSlotModel, LrtModel, SoftPromptModel
from lrkit.latent.lrt_grpo import reinforce
from lrkit.latent.methods import Training
from lrkit.latent.reasoning_network import small_body
from lrkit.latent.solvers import SlotSolver


@dataclass(frozen=True)
class LrtSettings:
    """What the methods of this file share beside `MethodSettings`.

    Attributes:
        n_latents: t.
        reading: of the reasoning network, see `lrkit.latent.reasoning_network`.
        attention: of the reasoning network.
        body: of the reasoning network, see `lrkit.latent.lrt.LrtConfig`.
        grpo: the second stage; None: the first alone.
    """

    n_latents: int = 8
    reading: str = "appended"
    attention: str = "causal"
    body: PreTrainedConfig | None = None
    grpo: GRPOSettings | None = None


def lrt_model(training: Training, settings: LrtSettings) -> LrtModel:
    """The base with a reasoning network that has learned nothing yet."""
    return training.wrapped(
        LrtModel, n_latents=settings.n_latents, reading=settings.reading,
        attention=settings.attention, body=settings.body,
    )  # fmt: skip


def lrt(training: Training, settings: LrtSettings) -> SlotSolver:
    """LRT: SFT on questions and answers, no chain, and GRPO where it is asked for."""
    return tuned(training, lrt_model(training, settings), settings, "lrt")


def soft_prompt(training: Training, settings: LrtSettings) -> SlotSolver:
    """The same slots and stages with constants in them: the question is not looked at.

    What LRT has above this is what its latents know of the question.
    """
    model = training.wrapped(SoftPromptModel, n_latents=settings.n_latents)
    return tuned(training, model, settings, "soft-prompt")


def answered(rows: ChainRows, problem: Question, row: SlotRow) -> SlotRow:
    """The row with loss on its answer and end token alone.

    The cue is given to whoever is asked. A base that has read no slots may not expect
    it there, and latents that had to make it say the cue would have less to do with
    the answer.
    """
    answer = rows.answer(problem.answer)
    return replace(row, supervised=len(answer.ids) - answer.cue - 1)


def tuned(
    training: Training, model: FrozenSlotModel, settings: LrtSettings, name: str
) -> SlotSolver:
    """Stage 1, and stage 2 where there is one; its log stands under "<name>-grpo"."""
    rows, n = training.rows(model), settings.n_latents
    make = lambda p, _: answered(rows, p, rows.latent(p, n))  # noqa: E731
    training.train(model, make, training.settings.run, name)
    if settings.grpo is not None:
        folder = training.folder / f"{name}-grpo"
        log = reinforce(
            model, rows, training.problems, settings.grpo, folder, training.seed
        )
        training.keep(folder.name, log)
    return SlotSolver(model, rows, n)


def trainable(model: torch.nn.Module) -> int:
    """How many weights are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def with_lora(base: PreTrainedModel, r: int) -> PreTrainedModel:
    """A frozen base with an adapter at all its linear layers but the output layer."""
    base.requires_grad_(False)
    transposed = any(isinstance(module, Conv1D) for module in base.modules())
    config = LoraConfig(
        r=r, lora_alpha=2 * r, target_modules="all-linear", fan_in_fan_out=transposed
    )
    return get_peft_model(base, config)


def rank_for(load_base: Callable[[], PreTrainedModel], n_weights: int) -> int:
    """The rank of `with_lora` whose number of weights is nearest to this; 1 at least.

    Every rank costs the same number of weights, so one adapter tells them all.
    """
    return max(1, round(n_weights / trainable(with_lora(load_base(), 1))))


def lora_no_cot(training: Training, settings: LrtSettings) -> SlotSolver:
    """No-CoT SFT of a LoRA of about as many weights as the reasoning network of these
    settings has: what they do inside the base. It has no second stage."""
    rank = rank_for(training.load_base, trainable(lrt_model(training, settings)))
    adapted = replace(training, load_base=lambda: with_lora(training.load_base(), rank))
    model = adapted.wrapped()
    model.rows.requires_grad_(False)
    rows = adapted.rows(model)
    make = lambda p, _: answered(rows, p, rows.chain(p, ()))  # noqa: E731
    adapted.train(model, make, training.settings.run, "lora-no-cot")
    return SlotSolver(model, rows)


def merged_lora(training: Training, settings: LrtSettings) -> SlotSolver:
    """`lora_no_cot` with its adapter added to the base's matrices: the same function,
    up to rounding, of a model that is saved and run without PEFT."""
    solver = lora_no_cot(training, settings)
    solver.model.base = solver.model.base.merge_and_unload()
    return solver


def no_thinking(training: Training, chain: bool = False) -> SlotSolver:
    """The base as it is, its chain closed before it began (NoThinking,
    arXiv 2504.09858); with `chain` it thinks first."""
    model = training.wrapped()
    return SlotSolver(model, training.rows(model), writes_chain=chain)


thinking = partial(no_thinking, chain=True)


def of_profile(
    method: Callable[[Training, LrtSettings], SlotSolver], training: Training, **changes
) -> SlotSolver:
    """A method of this file with the `n_latents` of the training's own settings.

    Args:
        method: such as `lrt`.
        training: see there.
        changes: of the other settings, see `LrtSettings`.
    """
    n = training.settings.n_latents
    return method(training, LrtSettings(n_latents=n, **changes))


# What `lrkit.latent.trained` finds or trains.
TUNED: dict[str, Callable[[Training], SlotSolver]] = {
    "LRT": partial(of_profile, lrt),
    "LRT, pooled": partial(of_profile, lrt, reading="pooled"),
    "LRT, small network": partial(of_profile, lrt, body=small_body(64, 1)),
    "LRT, large network": partial(of_profile, lrt, body=small_body(256, 4)),
    "soft prompt": partial(of_profile, soft_prompt),
    "LoRA No-CoT": partial(of_profile, merged_lora),
}
