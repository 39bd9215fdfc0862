"""The command line of `make bench`."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from lrkit.paths import build_dir, results_dir
from lrkit.plots import speed
from lrkit.quiet import hush
from lrkit.study.bench.cases import (
    EMBEDDED,
    LARGE,
    Unavailable,
    embedded_case,
    large_case,
    mistral_tokenizer,
)
from lrkit.study.bench.report import bench, measured, print_aims, provenance
from lrkit.study.bench.ways import all_ways

NAME = "bench_one_token.json"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure both cases, write the results and their figure, print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m lrkit.study.bench")
    parser.add_argument("--out", type=Path, help="JSON file; the figure goes beside it")
    parser.add_argument(
        "--rows", type=int, help="at most so many rows a way, for trying; into build/"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokenizer", help="folder of Mistral's tokenizer")
    args = parser.parse_args()
    if args.repeats < 1 or (args.rows is not None and args.rows < 2):
        parser.error("a bench needs a repeat at least, and two rows.")
    out = args.out or (build_dir() if args.rows else results_dir()) / NAME
    hush()
    makers = {
        EMBEDDED: lambda: embedded_case(args.rows),
        LARGE: lambda: large_case(mistral_tokenizer(args.tokenizer), args.rows),
    }
    cases = measured(
        makers,
        lambda case: bench(case, all_ways(case), args.repeats, _say),
        Unavailable,
        _say,
    )
    results = provenance(args.repeats) | {"cases": cases}
    out.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", "utf-8")
    speed(results).savefig(out.with_suffix(".png"))
    for case in cases:
        for row in case.get("comparisons", []) + case.get("by_chain_length", []):
            times = f"{row['median']:.1f} ({row['min']:.1f}-{row['max']:.1f})"
            print(f"{case['case']}: {row['faster']} / {row['slower']}: {times} times")
        print_aims(case)


if __name__ == "__main__":
    main()
