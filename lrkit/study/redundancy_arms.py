"""Damaged chains, every control of them, recorded with several random seeds.

Two readers of redundant chains (`lrkit.study.redundancy.readers`) answer behind chains
of which nothing, tokens, steps or the answer was removed, in every way that
`lrkit.study.redundancy.measuring` knows. The chains are given ones, whose redundancy is
known, or a model's own. `python -m lrkit.study.redundancy_arms` (a part of `make
study`) appends one row for each arm and random seed to `results/redundancy_arms.csv`,
and keeps right and wrong of every question in a small file beside it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lrkit.cache import fingerprint
from lrkit.data.chains import Sentence
from lrkit.data.problem_sets import evaluation_problems
from lrkit.data.problems import Question
from lrkit.latent.trained import load_base, run_key
from lrkit.models import load_tokenizer
from lrkit.paths import results_dir
from lrkit.profiles import LatentSettings, Profile
from lrkit.study.recording import record_runs, slug
from lrkit.study.redundancy.agreement import gaps, known, mean_error, or_else
from lrkit.study.redundancy.asking import HIDDEN, SHOWN, asked
from lrkit.study.redundancy.compact import compact, split_compact
from lrkit.study.redundancy.ideal import copies
from lrkit.study.redundancy.masking import masked_answers
from lrkit.study.redundancy.measuring import (
    ANOTHER,
    NOTHING,
    SHUFFLED,
    Damage,
    WrittenChain,
    every_damage,
    measure,
    own_chains,
    write_chains,
)
from lrkit.study.redundancy.packing import read_packed, write_packed
from lrkit.study.redundancy.readers import (
    NONE_PLANTED,
    PLANTED,
    READERS,
    reader,
    reading_settings,
    short,
)
from lrkit.study.redundancy.reading import Reader
from lrkit.study.redundancy.splitting import terse
from lrkit.study.scoreboard import same_answer

FOLDER = "redundancy_arms"
TABLE = f"{FOLDER}.csv"
SPLIT, ASKED = "test", 280
PS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
COMPARED = ("tokens", "steps", SHUFFLED, ANOTHER, NOTHING)
MASKED, MASKED_PS = "cache entries masked", (0.1, 0.3, 0.5, 0.7, 0.9)
BASE = "base"
KEPT_CHAINS = 100
MODULES = (
    "lrkit.study.redundancy.masking",
    "lrkit.study.redundancy.measuring",
    "lrkit.study.redundancy.mentions",
    "lrkit.study.redundancy.reading",
    "lrkit.study.redundancy.splitting",
)


@dataclass(frozen=True)
class Arm:
    """What is read by whom.

    Attributes:
        reader: one of `lrkit.study.redundancy.readers.READERS`, or "base".
        redundancy: share of redundant sentences in the chains that are given; None: the
            reader's own chains.
        ask: one of `lrkit.study.redundancy.asking.ASKS`.
    """

    reader: str
    redundancy: float | None
    ask: str = HIDDEN


WHOLE, DAMAGED = READERS
ARMS: dict[str, Arm] = {
    "redundant": Arm(DAMAGED, PLANTED),
    "none planted": Arm(DAMAGED, NONE_PLANTED),
    "redundant, question shown": Arm(DAMAGED, PLANTED, SHOWN),
    "none planted, question shown": Arm(DAMAGED, NONE_PLANTED, SHOWN),
    "redundant, trained on whole chains": Arm(WHOLE, PLANTED),
    "none planted, trained on whole chains": Arm(WHOLE, NONE_PLANTED),
    "own chains": Arm(WHOLE, None, SHOWN),
    "own chains of the base": Arm(BASE, None, SHOWN),
}


def questions(profile: Profile) -> list[Question]:
    """What every arm is asked."""
    return short(evaluation_problems(profile.latent, SPLIT))[:ASKED]


def reader_of(arm: Arm, settings: LatentSettings, seed: int) -> Reader:
    """The arm's reader, trained now or found; the base is taken as it is."""
    if arm.reader != BASE:
        return reader(settings, arm.reader, seed)
    tokenizer = load_tokenizer(settings.base)
    return Reader.of_model(load_base(settings), tokenizer)


def given(problem: Question, arm: Arm) -> list[Sentence]:
    """The chain that an arm gives to a problem, by sentences."""
    return compact(problem, arm.redundancy)


def chains_of(
    arm: Arm, reader: Reader, problems: Sequence[Question]
) -> list[WrittenChain]:
    """The chains that an arm reads, whole."""
    if arm.redundancy is None:
        return own_chains(reader, problems)
    found = []
    for problem in problems:
        said = " ".join(sentence.text for sentence in given(problem, arm))
        one = asked(problem, arm.ask)
        found.append(WrittenChain(one.id, one.question, f"{said}\n", one.answer))
    return found


def damages(arm: Arm, seed: int) -> list[Damage]:
    """All of them for the reader of damaged chains, where the question is hidden; for
    the others those that they are compared in."""
    every = every_damage(PS, (seed,))
    if (arm.reader, arm.ask) == (DAMAGED, HIDDEN):
        return every
    return [d for d in every if d.kind in COMPARED]


def needed(arm: Arm, problems: Sequence[Question]) -> dict[str, list[int]]:
    """How often what is needed is said: of each chain the last result alone."""
    return {p.id: copies(given(p, arm), p.steps)[-1:] for p in problems}


def against_ideal(
    rows: pd.DataFrame, arm: Arm, problems: Sequence[Question], n_boot: int = 1000
) -> dict[str, float]:
    """Distance to the ideal reader over the p between none and all, steps dropped;
    nothing for a model's own chains, whose redundancy is not known."""
    if arm.redundancy is None:
        return {"gap_50": float("nan"), "error": float("nan")}
    between = [p for p in PS if 0 < p < 1]
    ideal = or_else(known(needed(arm, problems), between), rows)
    table = gaps(rows, ideal, n_boot=n_boot)
    error = mean_error(rows, ideal, n_boot=n_boot)
    return {"gap_50": round(table.loc[0.5, "gap"], 4), "error": round(error.value, 4)}


def masked(reader: Reader, chains: Sequence[WrittenChain], seed: int) -> pd.DataFrame:
    """Rows of the other test, in which cache entries of the whole chain are masked."""
    rows = []
    for p in MASKED_PS:
        found = masked_answers(reader, chains, p, seed)
        rows += [
            {"id": c.id, "kind": MASKED, "p": p, "seed": seed, "kept": 1 - p,
             "leaked": True, "correct": same_answer(answer, c.answer)}
            for c, answer in zip(chains, found, strict=True)
        ]  # fmt: skip
    return pd.DataFrame(rows)


def run_one(profile: Profile, name: str, seed: int, out: Path) -> dict:
    """Measure one arm; the row of the table.

    Beside it lies, for every damage and question, whether the answer was right and
    whether what was read still stated it; apart, the same for masked cache entries,
    and some of a model's own chains as `read_chains` takes them.
    """
    began, arm = time.perf_counter(), ARMS[name]
    settings = reading_settings(profile.latent)
    one = reader_of(arm, settings, seed)
    problems = questions(profile)
    chains = chains_of(arm, one, problems)
    split = terse if arm.reader == BASE else split_compact
    rows = measure(one, chains, damages(arm, seed), split)
    file = out / FOLDER / f"{slug(name)}-{seed}"
    write_packed(rows, file.with_suffix(".csv"))
    if arm.redundancy is None:
        write_chains(chains[:KEPT_CHAINS], file.with_suffix(".jsonl"))
    if arm.reader == DAMAGED:
        apart = masked(one, chains, seed)
        write_packed(apart, file.with_name(f"{file.name}-masked.csv"))
    right = rows.groupby(["kind", "p"])["correct"].mean().round(4).to_dict()
    key = "" if arm.reader == BASE else run_key(settings, arm.reader, seed)
    return {
        "arm": name, "seed": seed, "reader": arm.reader, "n": len(problems),
        "whole": right["steps", 0.0], "steps_50": right["steps", 0.5],
        "tokens_50": right["tokens", 0.5], "another": right[ANOTHER, 0.0],
        "nothing": right[NOTHING, 1.0], **against_ideal(rows, arm, problems),
        "seconds": round(time.perf_counter() - began, 1),
        "key": fingerprint({"reader": key, "arm": arm, "ps": PS}, MODULES),
    }  # fmt: skip


def recorded(
    name: str, profile: Profile, folder: Path | None = None, test: str = ""
) -> pd.DataFrame:
    """The rows of an arm, all recorded random seeds; empty where nothing is recorded.

    Args:
        name: of the arm.
        profile: "study", whose questions they are.
        folder: of results; None: the committed ones.
        test: "-masked" for the other test.
    """
    files = sorted(((folder or results_dir()) / FOLDER).glob(f"{slug(name)}-?.csv"))
    ids = [problem.id for problem in questions(profile)]
    found = []
    for file in files:
        path = file.with_name(f"{file.stem}{test}.csv")
        if path.is_file():
            found.append(read_packed(path, ids, int(file.stem[-1])))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def main() -> None:
    """The command line of this part of `make study`."""
    record_runs(__doc__, ARMS, TABLE, run_one)


if __name__ == "__main__":
    main()
