"""The phrase banks of the gold standard, divided so that splits share no words.

A *scenario* is a product with three problems and one thing that can be lost; a
*form* is a generic line ("ok thank you", "Is it working now?"). Both are written by
hand in YAML. A `Bank` is the part of them that one split may use: whole scenarios,
and within each family of forms a fixed share. This file knows nothing about how a
conversation is put together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

SPLITS = ("train", "validation", "calibration", "test")

# Whole scenarios per evaluation split; every other scenario is for training.
EVALUATION_SCENARIOS: Mapping[str, tuple[str, ...]] = {
    "validation": ("fitness_watch", "crm", "security_camera"),
    "calibration": ("tablet", "food_delivery", "hotel_booking", "coffee_machine"),
    "test": (
        "robot_vacuum",
        "smart_tv",
        "payroll",
        "e_bike",
        "video_call",
        "photo_editing",
        "smart_lock",
    ),
}

# Shares of each family of forms: train, validation, calibration, test.
FORM_SHARES = (0.58, 0.10, 0.12, 0.20)


@dataclass(frozen=True)
class Step:
    """One thing an agent asks for (`do`) and how a customer says it is done."""

    do: str
    done: tuple[str, ...]


@dataclass(frozen=True)
class Problem:
    """A technical problem in customers' words; `short` fits "___ is fine now"."""

    id: str
    short: str
    noun: str
    report: tuple[str, ...]
    works: tuple[str, ...]
    broken: tuple[str, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Lost:
    """Something that cannot be found; finding it is the whole solution."""

    noun: str
    report: tuple[str, ...]
    look: tuple[str, ...]


@dataclass(frozen=True)
class Scenario:
    """A product domain with its problems."""

    id: str
    domain: str
    problems: tuple[Problem, ...]
    lost: Lost
    locate: tuple[str, ...]


@dataclass(frozen=True)
class Bank:
    """What one split may say: its scenarios and, per family, `(form id, text)`."""

    split: str
    scenarios: tuple[Scenario, ...]
    forms: Mapping[str, tuple[tuple[str, str], ...]]


def _scenario(raw: dict) -> Scenario:
    problems = tuple(
        Problem(
            p["id"],
            p["short"],
            p["noun"],
            tuple(p["report"]),
            tuple(p["works"]),
            tuple(p["broken"]),
            tuple(Step(s["do"], tuple(s["done"])) for s in p["steps"]),
        )
        for p in raw["problems"]
    )
    lost = raw["lost"]
    return Scenario(
        raw["id"],
        raw["domain"],
        problems,
        Lost(lost["noun"], tuple(lost["report"]), tuple(lost["look"])),
        tuple(raw["locate"]),
    )


def _read_yaml(text: str):
    """By libyaml where PyYAML has it: ten times faster, and the banks are large."""
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def scenarios(folder_name: str = "scenarios") -> tuple[Scenario, ...]:
    """All scenarios of one folder of the banks, ordered by id."""
    folder = files("lrkit.data") / "banks" / folder_name
    found = []
    for path in sorted(folder.iterdir(), key=lambda p: p.name):
        if path.name.endswith(".yaml"):
            found += [_scenario(r) for r in _read_yaml(path.read_text("utf-8"))]
    return tuple(sorted(found, key=lambda s: s.id))


@cache
def forms(retired: bool = False) -> dict[str, tuple[tuple[str, str], ...]]:
    """All forms: family -> tuple of `(form id, text)`, ids like "ack:07".

    Args:
        retired: the withdrawn lines in place of those in use. They are dealt to splits
            with the others, so that withdrawing one moves no other line.
    """
    text = (files("lrkit.data") / "banks" / "forms.yaml").read_text("utf-8")
    families = _read_yaml(text)
    withdrawn = families.pop("retired", {})
    return {
        family: tuple((f"{family}:{i:02d}", line) for i, line in enumerate(lines))
        for family, lines in (withdrawn if retired else families).items()
    }


@cache
def _pretraining_forms() -> dict[str, tuple[tuple[str, str], ...]]:
    """Further forms that only the embedded base reads, ids like "ack:p07"."""
    folder = files("lrkit.data") / "banks" / "pretraining" / "forms"
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for path in sorted(folder.iterdir(), key=lambda p: p.name):
        for family, lines in _read_yaml(path.read_text("utf-8")).items():
            found[family] = tuple(
                (f"{family}:p{i:02d}", t) for i, t in enumerate(lines)
            )
    return found


def split_of_scenario(scenario_id: str) -> str:
    """The split that owns a scenario."""
    for split, ids in EVALUATION_SCENARIOS.items():
        if scenario_id in ids:
            return split
    return "train"


def _shuffled(items: tuple, key) -> list:
    """A fixed order that does not depend on how the file is sorted."""
    return sorted(items, key=lambda x: hashlib.sha256(key(x).encode()).hexdigest())


def _dealt(lines: tuple[tuple[str, str], ...], split: str) -> list[tuple[str, str]]:
    """The share of a family's lines that a split owns."""
    order = _shuffled(lines, key=lambda x: x[1].lower())
    cuts = [round(sum(FORM_SHARES[:i]) * len(order)) for i in range(5)]
    k = SPLITS.index(split)
    return order[cuts[k] : cuts[k + 1]]


@cache
def topic_lines(split: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """What one split may say in chats about billing, faults and other topics."""
    text = (files("lrkit.data") / "banks" / "topics.yaml").read_text("utf-8")
    return {
        family: tuple(
            _dealt(tuple((f"{family}:{i:02d}", t) for i, t in enumerate(lines)), split)
        )
        for family, lines in _read_yaml(text).items()
    }


@cache
def bank(split: str) -> Bank:
    """The bank of one split; "pretraining" is the training split's and more of its own.

    Raises:
        ValueError: for a split that is none of `SPLITS`.
    """
    if split == "pretraining":
        train = bank("train")
        own = _pretraining_forms()
        lines = {family: mine + own[family] for family, mine in train.forms.items()}
        return Bank(split, train.scenarios + scenarios("pretraining"), lines)
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}: expected one of {', '.join(SPLITS)}.")
    mine: dict[str, tuple[tuple[str, str], ...]] = {}
    for family, lines in forms().items():
        withdrawn = forms(retired=True).get(family, ())
        dealt = _dealt((*lines, *withdrawn), split)
        mine[family] = tuple(form for form in dealt if form not in withdrawn)
    own = tuple(s for s in scenarios() if split_of_scenario(s.id) == split)
    return Bank(split, own, mine)
