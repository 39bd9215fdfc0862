"""The one dial: `PROFILE` names a row of the table below, and every size follows.

| profile | for                  | base models               | what it shows       |
|---------|----------------------|---------------------------|---------------------|
| smoke   | tests and CI         | embedded, a few steps     | that it runs        |
| cpu     | a laptop, no network | embedded, real training   | the effects         |
| gpu     | a T4 and up          | hub ids or a local folder | the source's recipe |
| study   | several random seeds | embedded, long            | intervals           |

This file holds sizes and hyper-parameters only; it loads nothing.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

TOPICS = ("answer", "latent")
LORA_TARGETS = (
    "q_proj", "k_proj", "v_proj", "o_proj",  # attention
    "gate_proj", "up_proj", "down_proj",  # MLP
    "lm_head",
)  # fmt: skip


@dataclass(frozen=True)
class AnswerSettings:
    """Sizes of the classification half (source: answer-then-reason, QLoRA)."""

    base: str  # "talk" (embedded), a hub id, or a local folder
    prompt: str  # "short" | "full", see lrkit.answer.prompts
    max_tokens: int  # longest prompt + completion accepted
    load_in_4bit: bool
    lora_r: int
    lora_alpha: int
    lora_dropout: float
    lora_targets: tuple[str, ...]
    learning_rate: float
    scheduler: str
    epochs: float
    batch_size: int
    accumulation: int
    optimizer: str
    neftune_alpha: float | None
    answer_weight: float | None  # None: plain mean over completion tokens
    gradient_checkpointing: bool
    max_train_rows: int | None
    max_eval_rows: int | None
    max_extra_rows: int | None
    max_steps: int  # -1: as many as the epochs need
    n_explain: int


@dataclass(frozen=True)
class LatentSettings:
    """Sizes of the latent half: what every method of a comparison shares."""

    base: str  # "think-narrow", "think-wide" (embedded), a hub id, or a local folder
    # "clock", "words", "graphs", "small graphs", which are generated, or a public set:
    # "gsm8k", "gsm8k_aug", "svamp", "prosqa".
    task: str
    source: str  # of a public set: a folder, a file, or "hub id@commit"
    train_rows: int  # different problems to train on
    eval_rows: int  # problems of each split that is evaluated
    steps: int  # optimizer steps of a method, warm-up and all stages counted
    batch_size: int
    accumulation: int
    learning_rate: float
    n_latents: int  # CODI's, and LRT's
    gamma: float  # CODI's weight of the distillation
    codi_map: str  # what CODI does to a hidden state before it is written
    codi_targets: tuple[str, ...]  # what CODI's student is drawn to
    codi_blocks: tuple[int, int] | None  # and in which blocks; None: all
    codi_chain: str  # how CODI's teacher writes: "equations", "results" alone
    codi_rounds: int  # Jacobi rounds over CODI's latents; 0: one after another
    keep_last_step: bool  # whether CODI's teacher reads the step that has the answer
    latents_per_step: int  # of the curriculum
    stages: int  # of the curriculum, the last one not counted
    last_stage: float  # share of a curriculum's steps for its last stage
    mixing: float  # share of rows from earlier stages
    context: int  # longest row, in tokens
    scale: float  # of a hidden state that is written as a latent


@dataclass(frozen=True)
class Profile:
    """One row of the table: a name, the random seeds, and the settings by topic."""

    name: str
    seeds: tuple[int, ...]
    answer: AnswerSettings
    latent: LatentSettings


_CPU = AnswerSettings(
    base="talk",
    prompt="short",
    max_tokens=768,
    load_in_4bit=True,
    lora_r=32,
    lora_alpha=64,
    lora_dropout=0.0,  # a fifth of the time at this size
    lora_targets=LORA_TARGETS,
    learning_rate=1e-3,
    scheduler="cosine",
    epochs=2,
    batch_size=16,
    accumulation=1,
    optimizer="adamw_torch",
    neftune_alpha=None,
    answer_weight=0.5,
    gradient_checkpointing=False,
    max_train_rows=None,
    max_eval_rows=None,
    max_extra_rows=None,
    max_steps=-1,
    n_explain=40,
)

_STUDY_LATENT = LatentSettings(
    base="think-narrow",
    task="clock",
    source="",
    train_rows=60_000,
    eval_rows=500,
    steps=600,
    batch_size=64,
    accumulation=1,
    learning_rate=1e-3,
    n_latents=6,
    gamma=1.0,  # as published for GPT-2
    codi_map="mlp",
    codi_targets=("cue",),
    codi_blocks=None,
    codi_chain="equations",
    codi_rounds=0,
    keep_last_step=False,
    latents_per_step=1,
    stages=5,
    last_stage=0.4,
    mixing=0.0,
    context=384,
    scale=0.1,  # its hidden states are 20 times as long as its embeddings
)

PROFILES: dict[str, Profile] = {
    "smoke": Profile(
        "smoke",
        (0,),
        dataclasses.replace(
            _CPU, max_train_rows=48, max_eval_rows=24, max_extra_rows=48, max_steps=3,
            n_explain=4,
        ),
        dataclasses.replace(
            _STUDY_LATENT, train_rows=64, eval_rows=20, steps=14, batch_size=4
        ),
    ),
    "cpu": Profile(
        "cpu", (0,), _CPU, dataclasses.replace(_STUDY_LATENT, steps=400)
    ),
    "gpu": Profile(
        "gpu",
        (0,),
        # The recipe of the source for a 7B model, as published. It names
        # Mistral-7B-OpenOrca; this one is meant to have its shape and chat format.
        AnswerSettings(
            base="teknium/OpenHermes-2.5-Mistral-7B",
            prompt="full",
            max_tokens=4096,
            load_in_4bit=True,
            lora_r=32,
            lora_alpha=64,
            lora_dropout=0.05,
            lora_targets=LORA_TARGETS,
            learning_rate=5e-5,
            scheduler="constant",
            epochs=2,
            batch_size=1,
            accumulation=8,
            optimizer="paged_adamw_8bit",
            neftune_alpha=5.0,
            answer_weight=None,
            gradient_checkpointing=True,
            max_train_rows=None,
            max_eval_rows=None,
            max_extra_rows=None,
            max_steps=-1,
            n_explain=64,
        ),
        # CODI's for GPT-2, as published, with 3 of its 40 epochs.
        LatentSettings(
            base="openai-community/gpt2",
            task="gsm8k_aug",
            source="",
            train_rows=385_620,
            eval_rows=1319,
            steps=9000,
            batch_size=64,
            accumulation=2,
            learning_rate=3e-3,
            n_latents=6,
            gamma=1.0,
            codi_map="mlp",
            codi_targets=("cue",),
            codi_blocks=None,
            codi_chain="equations",
            codi_rounds=0,
            keep_last_step=False,
            latents_per_step=2,
            stages=3,
            last_stage=0.4,
            mixing=0.0,
            context=256,
            scale=1.0,
        ),
    ),
    "study": Profile("study", (0, 1, 2), _CPU, _STUDY_LATENT),
}  # fmt: skip


def load_profile(name: str, topic: str = "answer", **overrides: Any) -> Profile:
    """The profile called `name`, with single settings of one topic replaced.

    Args:
        name: one of "smoke", "cpu", "gpu", "study".
        topic: "answer" or "latent".
        overrides: fields of the topic's settings, e.g. `base="path/to/model"`; values
            of None leave the profile's own.

    Raises:
        ValueError: for an unknown name, an unknown field, or a value of another type
            than the field's; the sentence lists what there is.
    """
    if name not in PROFILES:
        raise ValueError(
            f"PROFILE {name!r} does not exist: choose one of {', '.join(PROFILES)}."
        )
    if topic not in TOPICS:
        raise ValueError(
            f"there are no settings of {topic!r}: choose one of {', '.join(TOPICS)}."
        )
    profile = PROFILES[name]
    settings = getattr(profile, topic)
    kinds = {f.name: f.type for f in dataclasses.fields(settings)}
    changes = {}
    for key, value in overrides.items():
        if key not in kinds:
            raise ValueError(
                f"there is no setting {key!r}: choose among {', '.join(kinds)}."
            )
        if value is not None:
            changes[key] = _checked(key, value, kinds[key])
    return dataclasses.replace(
        profile, **{topic: dataclasses.replace(settings, **changes)}
    )


# By the first word of a field's annotation: what is accepted, and how to say it.
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
    "str": ((str,), "a text"),
    "tuple": ((list, tuple), "a list of texts"),
}
_POSITIVE = {
    "max_tokens", "lora_r", "lora_alpha", "learning_rate", "epochs", "batch_size",
    "accumulation", "max_train_rows", "max_eval_rows", "max_extra_rows", "n_explain",
    "train_rows", "eval_rows", "steps", "context",
}  # fmt: skip
_NOT_NEGATIVE = {"n_latents", "gamma", "latents_per_step", "stages"}
_SHARES = {"lora_dropout", "answer_weight", "last_stage", "mixing"}


def _checked(key: str, value: Any, annotation: str) -> Any:
    """The value in its field's type, or a ValueError that says what it should be."""
    kind = annotation.partition("[")[0].partition(" ")[0]
    accepted, said = _KINDS[kind]
    # To Python, True is a whole number.
    if not isinstance(value, accepted) or (kind != "bool" and isinstance(value, bool)):
        raise ValueError(f"{key} must be {said}, not {value!r}.")
    if kind == "tuple" and not all(isinstance(part, str) for part in value):
        raise ValueError(f"{key} must be {said}, not {value!r}.")
    if key in _POSITIVE and not value > 0:
        raise ValueError(f"{key} must be greater than 0, not {value!r}.")
    if key in _NOT_NEGATIVE and not value >= 0:
        raise ValueError(f"{key} must be 0 or more, not {value!r}.")
    if key in _SHARES and not 0 <= value <= 1:
        raise ValueError(f"{key} must lie between 0 and 1, not {value!r}.")
    if key == "max_steps" and value != -1 and value < 1:
        raise ValueError(f"max_steps must be -1 or greater than 0, not {value!r}.")
    if key == "prompt" and value not in ("short", "full"):
        raise ValueError(f"prompt must be 'short' or 'full', not {value!r}.")
    return tuple(value) if kind == "tuple" else value
