"""Families of methods: how each trains, and how its solver is kept and found again.

`lrkit.latent.trained` asks here. A method of your own is one more entry of a family's
`methods`, or a `Family` of its own where its model, its solver or its code are others:

    register(Family({"mine": train_mine}, modules=("my_module",), models=(MyModel,)))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lrkit.latent.adaptive import AdaptiveModel
from lrkit.latent.adaptive_sft import ADAPTIVE
from lrkit.latent.adaptive_solver import AdaptiveSolver
from lrkit.latent.codi import CodiModel
from lrkit.latent.latent_sft_methods import LATENT_SFT
from lrkit.latent.latent_sft_rows import ThoughtRows
from lrkit.latent.latent_sft_solver import SuperpositionSolver
from lrkit.latent.latent_sft_student import LatentSFTStudent
from lrkit.latent.lrt import LrtModel, SoftPromptModel
from lrkit.latent.lrt_methods import TUNED
from lrkit.latent.methods import METHODS, Training
from lrkit.latent.sim_cot import SimCotModel
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import BatchSolver, SlotSolver

# The code that all trained weights depend on; what only evaluates them is not among it.
MODULES = (
    "lrkit.divergence",
    "lrkit.guard",
    "lrkit.data.chains",
    "lrkit.data.clock",
    "lrkit.data.dags",
    "lrkit.data.graphs",
    "lrkit.data.word_problems",
    "lrkit.data.problems",
    "lrkit.latent.chain_rows",
    "lrkit.latent.codi",
    "lrkit.latent.curriculum",
    "lrkit.latent.layout",
    "lrkit.latent.maps",
    "lrkit.latent.methods",
    "lrkit.latent.passes",
    "lrkit.latent.sim_cot",
    "lrkit.latent.sim_cot_rows",
    "lrkit.latent.slot_config",
    "lrkit.latent.slots",
    "lrkit.latent.superposition",
    "lrkit.latent.training",
)
Restore = Callable[[SlotModel, Training, dict], BatchSolver]


@dataclass(frozen=True)
class Family:
    """Methods that are kept alike.

    Attributes:
        methods: name -> what trains it. What is not in one of the modules below does
            not enter the key of a run: after a change of it give another name.
        modules: what trained weights depend on, beside `MODULES`.
        models: kinds that the solvers hold, told apart by their `model_type`.
        solver: what the methods give.
        kept: fields of the solver that are kept beside its model.
        restore: model, training and these fields to a solver; None: the solver with
            the `ChainRows` of the model.
    """

    methods: dict[str, Callable[[Training], BatchSolver]]
    modules: Sequence[str] = ()
    models: Sequence[type[SlotModel]] = (SlotModel,)
    solver: type[BatchSolver] = SlotSolver
    kept: Sequence[str] = ("n_latents", "writes_chain", "pause")
    restore: Restore | None = None

    def restored(self, model: SlotModel, training: Training, about: dict):
        """The solver of a model that was found again."""
        if self.restore is not None:
            return self.restore(model, training, about)
        return self.solver(model, training.rows(model), **about)


def _superposition_solver(
    model: SlotModel, training: Training, about: dict
) -> SuperpositionSolver:
    rows = ThoughtRows.of(training.tokenizer, about["piece"], training.settings.context)
    rows = replace(rows, think=tuple(about["think"]))
    return SuperpositionSolver(model, rows, about["n_max"])


FAMILIES = [
    Family(METHODS, models=(SlotModel, CodiModel, SimCotModel)),
    Family(
        ADAPTIVE,
        modules=(
            "lrkit.latent.adaptive",
            "lrkit.latent.adaptive_sft",
            "lrkit.latent.stop_schedule",
        ),
        models=(AdaptiveModel,),
        solver=AdaptiveSolver,
        kept=("n_max", "n_min", "writes_chain"),
    ),
    Family(
        TUNED,
        modules=(
            "lrkit.latent.lrt",
            "lrkit.latent.lrt_methods",
            "lrkit.latent.reasoning_network",
        ),
        models=(LrtModel, SoftPromptModel, SlotModel),
    ),
    Family(
        LATENT_SFT,
        modules=(
            "lrkit.latent.latent_masks",
            "lrkit.latent.latent_sft",
            "lrkit.latent.latent_sft_config",
            "lrkit.latent.latent_sft_methods",
            "lrkit.latent.latent_sft_rows",
            "lrkit.latent.latent_sft_student",
            "lrkit.latent.latent_sft_training",
            "lrkit.latent.soft_labels",
        ),
        models=(LatentSFTStudent,),
        solver=SuperpositionSolver,
        kept=("n_max", "piece", "think"),
        restore=_superposition_solver,
    ),
]


def register(family: Family) -> Family:
    """Let `lrkit.latent.trained.trained` know the methods of a family.

    A family takes the place of one with the same names, so that the cell of a notebook
    may run twice.

    Raises:
        ValueError: for a method of another family.
    """
    others = [f for f in FAMILIES if set(f.methods) != set(family.methods)]
    taken = set(family.methods) & {m for f in others for m in f.methods}
    if taken:
        raise ValueError(
            f"{', '.join(sorted(taken))}: a method of this name is there already."
        )
    FAMILIES[:] = [*others, family]
    return family


def family_of(method: str) -> Family:
    """The family that a method belongs to.

    Raises:
        ValueError: for an unknown method; the sentence lists what there is.
    """
    for family in FAMILIES:
        if method in family.methods:
            return family
    known = ", ".join(m for family in FAMILIES for m in family.methods)
    raise ValueError(f"there is no method {method!r}: choose one of {known}.")


def modules_of(method: str) -> tuple[str, ...]:
    """All code that the weights of a method depend on; `MODULES` alone for the name of
    a system that keeps its runs itself, see `lrkit.latent.lgr_trained`."""
    known = any(method in family.methods for family in FAMILIES)
    return (*MODULES, *(family_of(method).modules if known else ()))
