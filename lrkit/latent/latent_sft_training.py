"""Latent-SFT from a base to a solver: three runs, soft labels, one more run.

    encoder, the decoder frozen -> decoder, the encoder frozen -> both
        -> soft labels of all training problems, once
            -> student

(arXiv 2510.15522.) Every run is one of `transformers.Trainer`; a killed one goes on
from its last checkpoint, and what has ended is only loaded. The classes are in
`latent_sft`, `soft_labels`, `latent_sft_student` and `latent_sft_solver` beside this
file.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transformers import set_seed

from lrkit.latent.latent_sft import PARTS, LatentSFTModel
from lrkit.latent.latent_sft_rows import ThoughtCollator, ThoughtRows
from lrkit.latent.latent_sft_solver import SuperpositionSolver
from lrkit.latent.latent_sft_student import (
    LatentSFTStudent,
    StudentCollator,
    StudentRow,
)
from lrkit.latent.slot_config import SLOT
from lrkit.latent.soft_labels import SoftLabels, soft_labels
from lrkit.latent.training import RunSettings, run, trainer_for

if TYPE_CHECKING:  # so that the list of methods may hold this one
    from lrkit.latent.methods import Training

NAME = "latent-sft"
LABELS = "soft_labels.safetensors"


@dataclass(frozen=True)
class LatentSFTSettings:
    """Of both stages.

    Attributes:
        stage_one: the runs of encoder, decoder and both, in this order.
        student: of stage 2.
        n_max: latents at which a student's thought ends in any case.
        piece: see `lrkit.latent.latent_sft_rows.ThoughtRows`.
        kind: see `lrkit.latent.latent_sft_config.LatentSFTConfig`, as the next ones.
        k: tokens of a mixture.
        mixture_temperature: of a mixture.
        scale: of hidden states that are written.
        table: that makes logits of the encoder's states.
        think: text behind the question, see `ThoughtRows`.
        begins_as: text whose first token the latent's own row in the encoder begins
            as, such as one behind which the base says what has just been worked out;
            "": as the mean of the table.
        induction: the encoder's mask.
        supervision: the decoder's mask.
        from_decoder: the student begins as the decoder, which can already answer from
            such latents; else as the base. The source does not say.
        weight: see `lrkit.latent.latent_sft_student.LatentSFTStudentConfig`, as the
            next ones.
        noise: on soft labels.
        noise_temperature: of noised labels.

    Raises:
        ValueError: for other than three runs.
    """

    stage_one: tuple[RunSettings, RunSettings, RunSettings]
    student: RunSettings
    n_max: int
    piece: int = 2
    kind: str = "mixture"
    k: int = 10
    mixture_temperature: float = 1.0
    scale: float = 1.0
    table: str = "input"
    think: str = ""
    begins_as: str = ""
    induction: bool = True
    supervision: str = "strict"
    from_decoder: bool = True
    weight: float = 1.0
    noise: float = 0.0
    noise_temperature: float = 1.0

    def __post_init__(self) -> None:
        if len(self.stage_one) != len(PARTS):
            raise ValueError(
                f"stage 1 has three runs, {', '.join(PARTS)}, not "
                f"{len(self.stage_one)}."
            )


def latent_sft(training: Training, settings: LatentSFTSettings) -> SuperpositionSolver:
    """Both stages.

    Args:
        training: what every method is given; of its settings the context alone is used.
        settings: of both stages.
    """
    model = encoder_and_decoder(training, settings)
    return student(training, settings, model)


def thought_rows(training: Training, settings: LatentSFTSettings) -> ThoughtRows:
    """How rows are made."""
    context = training.settings.context
    return ThoughtRows.of(training.tokenizer, settings.piece, context, settings.think)


def encoder_and_decoder(
    training: Training, settings: LatentSFTSettings
) -> LatentSFTModel:
    """Stage 1: encoder and decoder, both begun as the base."""
    set_seed(training.seed)
    rows = thought_rows(training, settings)
    model = LatentSFTModel.wrap(
        training.load_base(),
        training.load_base(),
        end=rows.end,
        kind=settings.kind,
        k=settings.k,
        mixture_temperature=settings.mixture_temperature,
        scale=settings.scale,
        table=settings.table,
        induction=settings.induction,
        supervision=settings.supervision,
    )
    if settings.begins_as:
        model.encoder.copy_row(SLOT, rows.rows.encode(settings.begins_as)[0])
    collator = ThoughtCollator(model.latent_id, training.tokenizer.pad_token_id)
    for part, of_part in zip(PARTS, settings.stage_one, strict=True):
        name = f"{NAME}-{part}"
        model.train_part(part)
        trainer = trainer_for(
            model, training.problems, lambda problem, _: rows.row(problem), collator,
            of_part, training.folder / name, training.seed,
        )  # fmt: skip
        training.keep(name, run(trainer))
    return model


def labels_of(
    training: Training, settings: LatentSFTSettings, model: LatentSFTModel
) -> SoftLabels:
    """The soft labels of all training problems: made once, then read.

    Raises:
        ValueError: where another encoder wrote the file.
    """
    rows = thought_rows(training, settings)
    return soft_labels(model, rows, training.problems, training.folder / LABELS)


def student(
    training: Training, settings: LatentSFTSettings, model: LatentSFTModel
) -> SuperpositionSolver:
    """Stage 2: a student of an encoder, which stays as it is."""
    rows = thought_rows(training, settings)
    labels = labels_of(training, settings, model)
    set_seed(training.seed)
    # A copy: the decoder's table is what soft labels are told from others by.
    base = copy.deepcopy(model.decoder) if settings.from_decoder else None
    learner = LatentSFTStudent.wrap(
        training.load_base() if base is None else base,
        end=rows.end,
        kind=settings.kind,
        k=settings.k,
        mixture_temperature=settings.mixture_temperature,
        scale=settings.scale,
        weight=settings.weight,
        noise=settings.noise,
        noise_temperature=settings.noise_temperature,
    )
    name = f"{NAME}-student"
    trainer = trainer_for(
        learner,
        training.problems,
        lambda problem, _: StudentRow(rows.student(problem), labels.of(problem)),
        StudentCollator.of(learner, training.tokenizer.pad_token_id),
        settings.student,
        training.folder / name,
        training.seed,
    )
    training.keep(name, run(trainer))
    return SuperpositionSolver(learner, rows, settings.n_max)
