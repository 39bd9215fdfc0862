"""Latent-SFT as methods like those of `methods`: both stages from a profile's settings.

The student takes the optimizer steps that every other method takes. Stage 1 comes
beside them, in `SHARES` of as many steps. The encoder and its decoder are kept, because
what a student could reach at best is measured on them
(`lrkit.study.latent_sft_ceiling`).

(arXiv 2510.15522. Its model of a billion parameters has one table for input and output;
where there are two, as in the bases of this workbook, logits of the encoder's states
come from the output table here: that is what the states of a language model fit, and
what the student makes its own latents with. "input table" is the source's text.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from lrkit.latent.latent_sft import LatentSFTModel
from lrkit.latent.latent_sft_solver import SuperpositionSolver
from lrkit.latent.latent_sft_training import (
    LatentSFTSettings,
    encoder_and_decoder,
    student,
)
from lrkit.latent.methods import Training
from lrkit.latent.training import RunSettings

# As the other methods' `<bot>` does: behind it the base of this workbook says a result.
THINK = "("
# Behind it the base says what the step before has come to, so that a latent that begins
# as it holds something from the first step on.
BEGINS_AS = " <<"
# The source does not say what the student begins as.
OURS = {
    "table": "output",
    "think": THINK,
    "begins_as": BEGINS_AS,
    "from_decoder": False,
}
# Of encoder, decoder and both, by the tokens that a latent stands for: what stands for
# a step ends where the base has worked something out, and is learned soonest.
STEP_SHARES, SHARES = (0.04, 0.04, 0.25), (0.1, 0.1, 1.0)
STAGE_ONE = "stage-one"
# Latents at which a thought ends in any case, by the tokens that a latent stands for.
# The longest chains of training have 35 tokens, those out of distribution 56.
LONGEST = {0: 10, 1: 64, 2: 32, 4: 16, 7: 10}


def latent_sft_settings(run: RunSettings, piece: int, **options) -> LatentSFTSettings:
    """Settings of both stages.

    Args:
        run: of the student; shares of its steps are those of stage 1.
        piece: tokens that a latent stands for, one of `LONGEST`; 0: a step.
        options: of `lrkit.latent.latent_sft_training.LatentSFTSettings`.

    Raises:
        ValueError: for another piece.
    """
    if piece not in LONGEST:
        known = ", ".join(map(str, LONGEST))
        raise ValueError(f"a latent stands for one of {known} tokens, not {piece}.")
    run = replace(run, cpu_bf16=True)  # long rows in one pass
    shares = SHARES if piece else STEP_SHARES
    stage_one = tuple(
        replace(run, steps=max(round(share * run.steps), 1)) for share in shares
    )
    return LatentSFTSettings(
        stage_one,
        run,
        LONGEST[piece],
        piece,
        **OURS | options,
    )


def both_stages(training: Training, piece: int = 2, **options) -> SuperpositionSolver:
    """A student, and in the run's folder the encoder and decoder that taught it.

    The student reads the first problems, as many as it has rows, and no others are
    encoded.

    Args:
        training: what every method is given.
        piece: see `latent_sft_settings`.
        options: see `latent_sft_settings`.
    """
    common, run = training.settings, training.settings.run
    if options.get("kind") == "state":
        options["scale"] = common.scale
    settings = latent_sft_settings(run, piece, **options)
    model = encoder_and_decoder(training, settings)
    model.save_pretrained(training.folder / STAGE_ONE)
    n = run.steps * run.batch_size * run.accumulation
    few = replace(training, problems=training.problems[:n])
    return student(few, settings, model)


def load_stage_one(folder: Path) -> LatentSFTModel:
    """Encoder and decoder of a run that has ended, in float32 and evaluation mode.

    Args:
        folder: of the run.

    Raises:
        FileNotFoundError: where no stage 1 was kept.
    """
    if not (folder / STAGE_ONE).is_dir():
        raise FileNotFoundError(f"no encoder was kept in {folder.name}.")
    model = LatentSFTModel.from_pretrained(folder / STAGE_ONE, dtype=torch.float32)
    return model.eval()


_STEP = partial(both_stages, piece=0)
LATENT_SFT: dict[str, Callable[[Training], SuperpositionSolver]] = {
    "Latent-SFT": both_stages,
    "Latent-SFT, 4 tokens a latent": partial(both_stages, piece=4),
    "Latent-SFT, a latent a step": _STEP,
    "Latent-SFT, hidden states": partial(both_stages, kind="state"),
    "Latent-SFT, hidden states, a latent a step": partial(_STEP, kind="state"),
    "Latent-SFT, no induction mask": partial(both_stages, induction=False),
    "Latent-SFT, no supervision mask": partial(both_stages, supervision="causal"),
    "Latent-SFT, open supervision mask": partial(both_stages, supervision="open"),
    "Latent-SFT, input table": partial(both_stages, table="input"),
    "Latent-SFT, fresh latent row": partial(both_stages, begins_as=""),
    "Latent-SFT, student of the decoder": partial(both_stages, from_decoder=True),
    "Latent-SFT, noise": partial(both_stages, noise=1.0),
}
