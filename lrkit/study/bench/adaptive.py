"""Does stopping early save time? Thinking of batches with mixed lengths, on two models.

`python -m lrkit.study.bench.adaptive` (a part of `make bench`) measures the embedded
base and random weights in the shape of GPT-2, see `adaptive_measuring`, and writes
`results/bench_adaptive.json`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from lrkit.latent.adaptive import AdaptiveModel
from lrkit.models import device, load_model
from lrkit.paths import build_dir, results_dir
from lrkit.quiet import hush
from lrkit.study.bench.adaptive_measuring import measure_thinking
from lrkit.study.bench.latent_measuring import EMBEDDED, LARGE
from lrkit.study.bench.report import measured, provenance

Record = dict[str, Any]

NAME = "bench_adaptive.json"
ROWS, TOKENS = 64, 64
# As a head trained with latents to spare takes them, as one that stops in time, and
# all of one length, where nothing can be saved and deciding only costs.
LENGTHS: dict[str, Sequence[int]] = {
    "0 to 10": range(11),
    "1 to 5": range(1, 6),
    "6 each": [6],
}
NOTES = (
    "A batch of 64 questions, 64 drawn tokens each, float32. The times are of the "
    "question's pass and of all latents; an answer's tokens are not among them.",
    "`over_needed` is the package's time over that of nothing but the passes that the "
    "rows need. `faster` is how many times as long it takes when no row leaves before "
    "the longest thought has ended.",
)


def drawn(lengths: Sequence[int], rows: int, seed: int = 0) -> list[int]:
    """A length for each row, by chance."""
    return random.Random(seed).choices(list(lengths), k=rows)


def embedded_model() -> AdaptiveModel:
    """The embedded base.

    Raises:
        FileNotFoundError: when its weights are not there.
    """
    torch.manual_seed(0)
    return AdaptiveModel.wrap(load_model(EMBEDDED).float()).eval()


def large_model() -> AdaptiveModel:
    """Random weights in the shape of GPT-2: speed does not depend on what they know."""
    torch.manual_seed(0)
    with device():
        base = GPT2LMHeadModel(GPT2Config())
    return AdaptiveModel.wrap(base).eval()


CASES = {EMBEDDED: embedded_model, LARGE: large_model}


def bench(
    name: str, model: AdaptiveModel, rows: int, tokens: int, repeats: int
) -> Record:
    """All that the results hold of one model."""
    return {
        "case": name,
        "parameters": model.num_parameters(),
        "tokens": tokens,
        "spreads": [
            {"spread": spread}
            | measure_thinking(model, drawn(lengths, rows), tokens, repeats)
            for spread, lengths in LENGTHS.items()
        ],
    }


def said(case: Mapping) -> list[str]:
    """A line for each spread of lengths, with what was aimed at."""
    return [
        f"{case['case']}, latents {row['spread']}: {row['over_needed']['median']:.2f} "
        f"times what the rows need, aim {row['wanted']}: "
        f"{'met' if row['met'] else 'not met'}; {row['faster']['median']:.2f} times as "
        "fast as thinking to the longest"
        for row in case.get("spreads", [])
    ]


def main() -> None:
    """Measure both models, write the results, print what they say."""
    parser = argparse.ArgumentParser(prog="python -m lrkit.study.bench.adaptive")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument(
        "--small", action="store_true", help="few rows, for trying; into build/"
    )
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error("a bench needs a repeat at least.")
    out = args.out or (build_dir() if args.small else results_dir()) / NAME
    hush()
    rows, tokens = (4, 8) if args.small else (ROWS, TOKENS)
    cases = measured(
        {
            name: lambda name=name, make=make: (name, make())
            for name, make in CASES.items()
            if name in args.cases
        },
        lambda case: bench(*case, rows, tokens, args.repeats),
        FileNotFoundError,
        lambda line: print(line, file=sys.stderr, flush=True),
    )
    results = provenance(args.repeats) | {"notes": list(NOTES), "cases": cases}
    del results["batch_tokens"]
    out.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", "utf-8")
    for case in cases:
        print(*said(case), sep="\n")


if __name__ == "__main__":
    main()
