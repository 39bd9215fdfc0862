"""How fast are latents? CODI's training step and latent inference beside naive ones.

`python -m lrkit.study.bench.latent` (a part of `make bench`) measures two models and
writes `results/bench_latent.json` and its figure: at six latents how many times faster
the package is than each other way of `latent_ways`, and how the time grows with the
number of latents. Everything here can be computed again from the times in the records.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lrkit.paths import build_dir, results_dir
from lrkit.plots_latent import latent_speed
from lrkit.quiet import hush
from lrkit.study.bench.latent_measuring import (
    CASES,
    HEADLINE,
    LatentCase,
    compare_gradients,
    measure,
)
from lrkit.study.bench.latent_ways import (
    AGAIN,
    INFERENCE,
    LATENTS_AGAIN,
    OURS,
    TRAINING,
)
from lrkit.study.bench.measuring import spread
from lrkit.study.bench.report import measured, print_aims, provenance

Record = dict[str, Any]

NAME = "bench_latent.json"
WANTED = {
    (TRAINING, AGAIN): 2.0,
    (INFERENCE, AGAIN): 4.0,
    (INFERENCE, LATENTS_AGAIN): 4.0,
}
STRAIGHT = 0.95  # least R^2 of the line through the package's times

NOTES = (
    "All ways of a case run the same model in float32 in the same process, on the same "
    "rows of drawn ids. Rows are of one length: nothing is padded.",
    "A training step is forward, backward and AdamW at a rate of zero, so that weights "
    "stay and the losses of all repeats can be compared. Dropout is off.",
    "'all again' has no cache and runs the teacher twice. The references do less: "
    "'teacher twice' is how CODI's trains, 'answer again' how COCONUT's infers (CODI's "
    "infers with a cache throughout, as this package does). 'latents again' has no "
    "cache until the answer begins. No way computes the logits of a whole row for one "
    "that is read.",
    "`by_positions` is what the numbers of computed positions alone would give; a "
    "backward pass over a position counts as two forward ones. What a pass costs by "
    "itself is left out, and all ways take about as many `passes`: the fewer rows and "
    "weights, the less is won.",
    "The line through 'all again' is nearly straight as well, because a latent makes a "
    "long row little longer: it is the slopes that differ.",
)


def work(record: Record) -> int:
    """Computed positions, in forward passes."""
    return record["forward_positions"] + 2 * record["backward_positions"]


def comparisons(records: Sequence[Record]) -> list[Record]:
    """At the headline's latents: how many times faster the package is than each way.

    Returns:
        A row for each task, number of rows and other way: `min`, `median`, `max` over
        the repeats, and `by_positions`.
    """
    shown = [record for record in records if record["n_latents"] == HEADLINE]
    ours = {(r["task"], r["rows"]): r for r in shown if r["way"] == OURS}
    made = []
    for slow in shown:
        fast = ours[slow["task"], slow["rows"]]
        if slow is fast:
            continue
        row = {key: slow[key] for key in ("task", "rows", "n_latents")}
        row |= {"faster": OURS, "slower": slow["way"]}
        row |= spread(np.divide(slow["seconds"], fast["seconds"]))
        made.append(row | {"by_positions": work(slow) / work(fast)})
    return made


def line(n_latents: Sequence[int], seconds: Sequence[float]) -> Record:
    """Least squares: `seconds_per_latent`, `seconds_at_none`, and `r2`, at most 1."""
    slope, start = np.polyfit(n_latents, seconds, 1)
    off = np.asarray(seconds) - (slope * np.asarray(n_latents) + start)
    r2 = 1 - float(np.sum(off**2)) / float(np.sum((seconds - np.mean(seconds)) ** 2))
    return {
        "seconds_per_latent": float(slope),
        "seconds_at_none": float(start),
        "r2": r2,
    }


def growth(records: Sequence[Record]) -> list[Record]:
    """Seconds over the number of latents, and a line through their medians.

    Returns:
        A row for each task and way that was measured at more than two numbers; beside
        its line's `r2`, `r2_of_least`, that of a line through the fastest repeats,
        which a busy machine has slowed least.
    """
    found: dict[tuple, list[Record]] = {}
    for r in records:
        found.setdefault((r["task"], r["rows"], r["way"]), []).append(r)
    rows = []
    for (task, n_rows, way), group in found.items():
        if len(group) < 3:
            continue
        group = sorted(group, key=lambda r: r["n_latents"])
        n_latents = [r["n_latents"] for r in group]
        seconds = [spread(r["seconds"]) for r in group]
        least = line(n_latents, [s["min"] for s in seconds])
        rows.append(
            {"task": task, "rows": n_rows, "way": way, "n_latents": n_latents}
            | {"positions": [work(r) for r in group], "seconds": seconds}
            | line(n_latents, [s["median"] for s in seconds])
            | {"r2_of_least": least["r2"]}
        )
    return rows


def aims(made: Sequence[Record], grown: Sequence[Record]) -> list[Record]:
    """What was aimed at, what came out, and whether it suffices."""
    found = [
        (
            f"times {row['slower']!r}, {row['task']}, rows: {row['rows']}",
            WANTED[row["task"], row["slower"]],
            row["median"],
        )
        for row in made
        if (row["task"], row["slower"]) in WANTED
    ]
    found += [
        (f"R^2 of the time over the latents, {row['task']}", STRAIGHT, row["r2"])
        for row in grown
        if row["way"] == OURS
    ]
    return [
        {"aim": aim, "wanted": wanted, "median": value, "met": value >= wanted}
        for aim, wanted, value in found
    ]


def bench(
    case: LatentCase, repeats: int, say: Callable[[str], None] = lambda line: None
) -> Record:
    """All that the results hold of one case.

    Raises:
        lrkit.study.bench.measuring.Disagreement: when ways differ in loss, gradient
            or answer.
    """
    off = compare_gradients(case)
    records = measure(case, repeats * case.turns, say)
    made, grown = comparisons(records), growth(records)
    return {
        "case": case.name,
        "parameters": case.model.num_parameters(),
        "repeats": repeats * case.turns,
        "tokens": dataclasses.asdict(case.lengths),
        "largest_difference_of_gradients": off,
        "ways": records,
        "comparisons": made,
        "growth": grown,
        "aims": aims(made, grown),
    }


def small(case: LatentCase) -> LatentCase:
    """So little of a case that it only shows that it runs."""
    return dataclasses.replace(
        case, training_rows=2, inference_rows=2, counts=(1, 2, HEADLINE), turns=1
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure both cases, write the results and their figure, print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m lrkit.study.bench.latent")
    parser.add_argument("--out", type=Path, help="JSON file; the figure goes beside it")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--small", action="store_true", help="few rows, for trying; into build/"
    )
    args = parser.parse_args()
    if args.repeats < 1:
        parser.error("a bench needs a repeat at least.")
    out = args.out or (build_dir() if args.small else results_dir()) / NAME
    hush()
    cases = measured(
        CASES,
        lambda case: bench(small(case) if args.small else case, args.repeats, _say),
        FileNotFoundError,
        _say,
    )
    results = provenance(args.repeats) | {"notes": list(NOTES), "cases": cases}
    del results["batch_tokens"]
    out.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", "utf-8")
    latent_speed(results).savefig(out.with_suffix(".png"))
    for case in cases:
        for row in case.get("comparisons", []):
            times = f"{row['median']:.1f} ({row['min']:.1f}-{row['max']:.1f}) times"
            what = f"{row['task']}, rows: {row['rows']}"
            print(
                f"{case['case']}: {what}: {times} {row['slower']!r}, by positions "
                f"{row['by_positions']:.1f}"
            )
        print_aims(case)


if __name__ == "__main__":
    main()
