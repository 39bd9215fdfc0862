"""Supervised training of adaptive latent reasoning: a method like those of `methods`.

"Learning When to Stop: Adaptive Latent Reasoning via Reinforcement Learning" (arXiv
2511.21581), section 3.2: CODI's run, guarded, on rows whose number of latents a
schedule says, with decisions among the labels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from lrkit.data.problems import Question
from lrkit.divergence import GuardSettings
from lrkit.latent.adaptive import AdaptiveModel
from lrkit.latent.adaptive_solver import AdaptiveSolver
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.codi import CodiCollator
from lrkit.latent.methods import Training, distilled, teacher
from lrkit.latent.sim_cot_rows import SimCotCollator
from lrkit.latent.stop_schedule import StopSchedule, adaptive_row

NAME = "adaptive"


def adaptive(
    training: Training,
    schedule: StopSchedule,
    guard: GuardSettings | None = None,
    **config,
) -> AdaptiveSolver:
    """The base after a run on a schedule, as a solver that decides for itself.

    Args:
        training: base, problems, folder and random seed, as every method gets them; its
            `n_latents` is not read.
        schedule: number of latents of a row; thoughts end at its `n_max`.
        guard: when to go back; None: as usual.
        config: of `AdaptiveConfig`, such as `has_decoder` and `step_text`.
    """

    def make_row(rows: ChainRows, model: AdaptiveModel, problem: Question, rng):
        return adaptive_row(
            rows, problem, schedule, model.config, rng, **teacher(training)
        )

    collator = SimCotCollator if config.get("has_decoder") else CodiCollator
    trained = distilled(
        training, NAME, AdaptiveModel, make_row, collator, guard, **config
    )
    return AdaptiveSolver(trained.model, trained.rows, schedule.n_max)


# The source's two schedules and two of ours, with SIM-CoT's decoder, which gives every
# latent a target: CODI alone teaches the bases of this workbook nothing.
_READ = {"has_decoder": True, "step_text": "result"}
ADAPTIVE: dict[str, Callable[[Training], AdaptiveSolver]] = {
    "Latent-6": partial(adaptive, schedule=StopSchedule.latent_6(), **_READ),
    "Latent-6-by-1": partial(adaptive, schedule=StopSchedule.latent_6_by_1(), **_READ),
    "Latent-6-by-1, b = 6": partial(
        adaptive, schedule=StopSchedule.latent_6_by_1(b=6), **_READ
    ),
    "one latent a step": partial(adaptive, schedule=StopSchedule.by_step(), **_READ),
    "latents to spare": partial(adaptive, schedule=StopSchedule.to_spare(), **_READ),
}
