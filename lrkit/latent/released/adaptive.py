"""The released weights of *Learning When to Stop* (Lapisbird/Llama-adaLR-model-*).

The names follow apning/adaptive-latent-reasoning: `src/modeling.py` (class
`LatentThinkingModel`: `_base_model`, `recurrent_filter`, the binary head, the rows of
its four tokens), `src/modeling_utils.py` (the filters, the order of the tokens),
`src/settings.py` (what the configuration holds), `src/eval.py` and
`src/data_processing.py` (the prompt and the answer). The models were merged before they
were published (`notebooks/utilities/lora_merge_and_push.ipynb`). What the files hold:

    _base_model.*                    the base, LoRA merged
    ....embed_tokens / lm_head       V rows, <START>, <END>, <|CONTINUE|>, <|STOP|>, and
                                     unused ones up to a multiple of 128
    recurrent_filter.input_layer, output_layer, norm     the map ("MLP")
    config.json                      that of the base, and in
                                     `_inserted_LatentThinkingModelSettings` the ids

START is our `<bot>`, END our `<eot>`: a STOP is fed as END. The stop head's weights are
the output rows of CONTINUE and STOP; it has no bias. `binary_head_temp` does not change
a greedy decision and is not read. The prompt of the authors' evaluation is the question
alone, although training put "Question: " before it (the prompt of the evaluation is the
default here); behind STOP the model writes " The answer is: 7".

Refused with a sentence: `lora_mode` (not merged), `add_latent_to_end`, and the filters
"linear" and "linear_ECF" (they have an RMSNorm) and "SRE".

Not found out: whether the files hold the tied table under one name or two, and under
which (both are taken), and no listing of a file was at hand: that "_base_model." stands
before every name of the base is what the class would save. The appendix's models
(Llama-adaLR-appendix-model-*) did not learn to stop: they are meant for 6 latents,
`n_latents=6, n_min=6`. The models without latents (`cot_sft`, `no_cot_sft`) are plain
causal LMs and none of this family.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace

from lrkit.latent.adaptive import CONTINUE, STOP, AdaptiveModel
from lrkit.latent.adaptive_solver import AdaptiveSolver
from lrkit.latent.released.checkpoint import Checkpoint
from lrkit.latent.released.key_map import KeyMap, Part, Rule, renamed
from lrkit.latent.released.prompts import (
    QUESTION,
    beginning,
    first_number_after_cue,
    prompt_rows,
)
from lrkit.latent.released.release import Released
from lrkit.latent.released.strict import load_mapped
from lrkit.latent.released.tables import BUFFERS, NO_SLOT_ROW, base_map, slot_specials

SOURCE = "apning/adaptive-latent-reasoning, src/modeling.py"
BASE, SETTINGS = "_base_model.", "_inserted_LatentThinkingModelSettings"
ADDED = ("<bot>", "<eot>")
NO_BIAS = (r"stop_head\.bias", "the authors' head has no bias: ours stays 0")
UNUSED = "rows that only fill the table up to a multiple of 128"
NOT_SAID = "rows of tokens on a side where they are not used"
FILTERS: dict[str | None, dict] = {
    None: {"kind": "identity"},
    "MLP": {"kind": "mlp"},
    "linear_ln": {"kind": "linear"},
}
FILTER_RULES: dict[str | None, tuple[Rule, ...]] = {
    None: (),
    "MLP": (
        renamed(r"recurrent_filter\.input_layer\.(.+)", r"map.1.\1"),
        renamed(r"recurrent_filter\.output_layer\.(.+)", r"map.3.\1"),
        renamed(r"recurrent_filter\.norm\.(.+)", r"map.4.\1"),
    ),
    "linear_ln": (
        renamed(r"recurrent_filter\.linear_layer\.(.+)", r"map.0.\1"),
        renamed(r"recurrent_filter\.norm\.(.+)", r"map.1.\1"),
    ),
}


def settings_of(checkpoint: Checkpoint) -> dict:
    """What the authors' configuration says.

    Raises:
        ValueError: for a checkpoint without it, or of a kind that is not known here.
    """
    found = getattr(checkpoint.config, SETTINGS, None)
    if not isinstance(found, dict):
        raise ValueError(
            f"{checkpoint.name} has no {SETTINGS} in its config.json: it is no model "
            "of this family, or its configuration is that of the base."
        )
    for name in ("lora_mode", "add_latent_to_end"):
        if found.get(name):
            raise ValueError(
                f"{name} is set: this map knows models that were merged and whose "
                "<END> stands alone."
            )
    if found.get("recurrent_filter_mode") not in FILTERS:
        known = ", ".join(map(str, FILTERS))
        raise ValueError(
            f"no map for the filter {found['recurrent_filter_mode']!r}: there are "
            f"{known}."
        )
    return found


def ids_of(settings: dict) -> dict[str, int]:
    """The ids of the four tokens by their names."""
    names = ("start", "end", "continue", "stop")
    return {name: settings[f"{name}_token_id"] for name in names}


def _parts(where: dict[int, Part], rows: Iterable[int]) -> list[Part]:
    """A part for each row: where it goes, or that it goes nowhere."""
    return [where.get(k, Part("", (k, k + 1), why=UNUSED)) for k in rows]


def key_map(model: AdaptiveModel, settings: dict, n_rows: int) -> KeyMap:
    """The names of the file for a model of its sizes.

    Args:
        model: empty.
        settings: see `settings_of`.
        n_rows: of the file's tables.
    """
    ids = ids_of(settings)
    added = range(model.first_special, n_rows)

    def to(name: str, weight: str, at: int) -> dict[int, Part]:
        k = ids[name]
        return {k: Part(weight, (k, k + 1), at)}

    def nowhere(*names: str) -> dict[int, Part]:
        return {ids[n]: Part("", (ids[n], ids[n] + 1), why=NOT_SAID) for n in names}

    read = to("start", "rows.weight", 0) | to("end", "rows.weight", 1)
    said = to("continue", "stop_head.weight", CONTINUE)
    said |= to("stop", "stop_head.weight", STOP)
    head = model.base.get_output_embeddings().weight
    tied = head is model.base.get_input_embeddings().weight
    base = base_map(
        model,
        BASE,
        _parts(read | (said if tied else nowhere("continue", "stop")), added),
        _parts(said | nowhere("start", "end"), added),
    )
    own = FILTER_RULES[settings.get("recurrent_filter_mode")]
    fresh = (NO_SLOT_ROW, NO_BIAS)
    return KeyMap(SOURCE, (*own, *base.rules), base.twins, BUFFERS, fresh)


def release(
    checkpoint: Checkpoint,
    n_latents: int = 64,
    batch_size: int = 128,
    max_new_tokens: int = 64,
    prefix: str = "",
    n_min: int = 0,
) -> Released:
    """An adaptive model with its solver.

    Args:
        checkpoint: opened.
        n_latents: at which a thought ends in any case; the models stop at 10 or less.
        batch_size: questions at a time.
        max_new_tokens: longest answer.
        prefix: text before the question; "Question: " is that of training.
        n_min: latents before which no thought ends; as many as `n_latents` for a model
            whose head was not trained.

    Raises:
        ValueError: for a file that is not of this family.
    """
    settings = settings_of(checkpoint)
    vocabulary = min(ids_of(settings).values())
    config = copy.deepcopy(checkpoint.config)
    delattr(config, SETTINGS)  # it is no part of the base's
    checkpoint = replace(checkpoint, config=config)
    model = checkpoint.wrap(
        AdaptiveModel,
        checkpoint.empty_base(vocabulary),
        specials=slot_specials(*ADDED),
        map=FILTERS[settings.get("recurrent_filter_mode")],
    )
    keys = key_map(model, settings, checkpoint.vocabulary(BASE))
    report = load_mapped(model, checkpoint.tensors, keys)
    model = checkpoint.ready(model, vocabulary)
    rows = prompt_rows(
        model,
        checkpoint.tokenizer,
        context=checkpoint.context(),
        first=beginning(checkpoint.tokenizer),
        template=prefix + QUESTION,
    )
    solver = AdaptiveSolver(
        model, rows, n_latents, n_min, writes_chain=True, batch_size=batch_size,
        max_new_tokens=max_new_tokens,
    )  # fmt: skip
    return Released("adaptive", solver, first_number_after_cue, report)
