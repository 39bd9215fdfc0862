"""Load a published model strictly, and print its accuracy with its own latents and
under each control, with intervals."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path

import pandas as pd

from lrkit.data import gsm
from lrkit.data.problem_sets import EVAL_SEED, GRAPHS, endless
from lrkit.data.problems import TASKS, Question
from lrkit.data.prosqa import prosqa
from lrkit.latent.released.families import FAMILIES, load_released
from lrkit.latent.released.release import OWN, Reading, Released
from lrkit.quiet import hush
from lrkit.study.recording import write_rows
from lrkit.study.scoreboard import evaluate
from lrkit.study.stats import paired_difference, proportion

READERS: dict[str, Callable] = {
    "gsm8k": gsm.gsm8k,
    "gsm8k_aug": gsm.gsm8k_aug,
    "svamp": gsm.svamp,
}


def problems(task: str, source: str | None, split: str, n: int) -> list[Question]:
    """The first `n` problems of a public or generated set; 0: all of a public one.

    Answers to ProsQA are whole sentences, as COCONUT writes them.

    Raises:
        ValueError: for an unknown task, or a public set without its source.
    """
    if task in TASKS or task in GRAPHS:
        return list(islice(endless(task, split, EVAL_SEED), n or 500))
    if task != "prosqa" and task not in READERS:
        known = ", ".join([*READERS, "prosqa", *TASKS, *GRAPHS])
        raise ValueError(f"there is no task {task!r}: choose one of {known}.")
    if not source:
        where = 'a folder, a file, or "hub id@commit"'
        raise ValueError(f"{task} needs --source: {where}.")
    if task == "prosqa":
        found = prosqa(source, split)
    else:
        name, _, revision = source.partition("@")
        found = READERS[task](name, split, revision or None)
    return found[: n or None]


def no_batch_of_one(n: int, batch_size: int) -> int:
    """The next batch size that leaves no question alone in the last batch: a control
    needs another question's latents. (One question has no other.)"""
    batch_size = max(batch_size, 2)
    while n > 1 and n % batch_size == 1:
        batch_size += 1
    return batch_size


def measured(
    solvers: Mapping[str, Reading], asked: list[Question]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(a row for each solver and question, a row for each solver).

    The second has n, accuracy in percent with its Wilson interval, and in points its
    difference to the own latents with a paired bootstrap interval (random seed 0).
    """
    rows, table = [], {}
    own = None
    for name, solver in solvers.items():
        answered = evaluate(solver, asked)
        rows.append(answered.assign(control=name))
        correct = answered["correct"].to_numpy(float)
        own = correct if own is None else own
        share, gain = proportion(correct), paired_difference(correct, own)
        table[name] = {
            "n": share.n,
            "accuracy": 100 * share.value,
            "low": 100 * share.low,
            "high": 100 * share.high,
            "difference": 100 * gain.value,
            "d_low": 100 * gain.low,
            "d_high": 100 * gain.high,
            "latents": answered["latent_steps"].mean(),
            "tokens": answered["text_tokens"].mean(),
        }
    return pd.concat(rows, ignore_index=True), pd.DataFrame(table).T


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    known = [f"{name}: {', '.join(f.published)}" for name, f in FAMILIES.items()]
    parser = argparse.ArgumentParser(
        prog="python -m lrkit.latent.released",
        description=__doc__,
        epilog=f"published: {'; '.join(known)}",
    )
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("folder", help="a folder, a file, or a hub id")
    parser.add_argument("--base", help="its base, for configuration and tokenizer")
    parser.add_argument("--file", help="the weights, in a folder with several")
    parser.add_argument("--download", action="store_true", help="the hub may be asked")
    parser.add_argument("--task", help="gsm8k, gsm8k_aug, svamp, prosqa, or generated")
    parser.add_argument("--source", help='a folder, a file, or "hub id@commit"')
    parser.add_argument("--split", default="test")
    parser.add_argument("--n", type=int, default=0, help="problems; 0: all")
    parser.add_argument("--latents", type=int, help="their number, or the most")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-new-tokens", type=int, help="longest answer")
    parser.add_argument("--controls", action="store_true")
    parser.add_argument(
        "--others", type=int, nargs="*", default=[], help="further numbers of latents"
    )
    parser.add_argument("--out", type=Path, help="a CSV file with every answer")
    return parser


def prepared(args: argparse.Namespace) -> tuple[list[Question], Released]:
    """The problems, none without a task, and the model. The problems come first: a
    wrong source shows at once."""
    asked = []
    if args.task:
        asked = problems(args.task, args.source, args.split, args.n)
    options = {
        "n_latents": args.latents,
        "batch_size": no_batch_of_one(len(asked), args.batch_size),
        "max_new_tokens": args.max_new_tokens,
    }
    given = {name: value for name, value in options.items() if value is not None}
    released = load_released(
        args.family, args.folder, args.base, args.file, args.download, **given
    )
    return asked, released


def main(argv: list[str] | None = None) -> pd.DataFrame | None:
    """Load, say what the key map did, and measure; the table that was printed."""
    args = arguments().parse_args(argv)
    hush()
    try:
        asked, released = prepared(args)
        print(released.report)
        if not asked:
            return None
        solvers = released.controls(args.others) if args.controls or args.others else {}
    except (FileNotFoundError, ValueError) as why:
        raise SystemExit(f"{type(why).__name__}: {why}") from why
    if not args.controls:
        solvers = {k: v for k, v in solvers.items() if k.endswith(" latents")}
    solvers = {OWN: Reading(released.solver, released.read)} | solvers
    rows, table = measured(solvers, asked)
    print(f"\n{args.task}, {args.split}, greedy; accuracy and difference in percent")
    print(table.round(1).to_string())
    if args.out:
        write_rows(rows, args.out)
    return table


if __name__ == "__main__":
    main()
