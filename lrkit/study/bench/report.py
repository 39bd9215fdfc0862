"""From times to what is claimed: ratios, how they grow, and the aims they are held to.

Ratios are taken within a repeat. Everything here can be computed again from the times
and counts in the records.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers

from lrkit.answer.engine import common_prefix
from lrkit.models import device, fast_bf16
from lrkit.study.bench.cases import EMBEDDED, LARGE, Case
from lrkit.study.bench.measuring import measure, spread
from lrkit.study.bench.ways import (
    BATCH_TOKENS,
    BATCHED,
    BF16,
    OURS,
    PLAIN,
    SNIPPET,
    Way,
)

Record = dict[str, Any]

NOTES = (
    "All ways of a case run the same model on the same machine in the same process. "
    "They are given token ids: tokenizing is in none of the times.",
    "The source's '100 times' is another comparison: its 7B model, which writes one "
    "token, with a hosted model that writes 100 to 150. By the latencies that the "
    "source gives, about 20 and 500 ms, that is 25 times.",
    "A chain is what `generate` of transformers takes for it, prompt included, without "
    "a shared prefix. `share_of_floor` says how much of that is multiplications.",
)


def measured(
    makers: Mapping[str, Callable[[], Any]],
    measure_one: Callable[[Any], Record],
    missing: type[Exception],
    say: Callable[[str], None],
) -> list[Record]:
    """The record of each case that can be made here; of the others why not.

    Args:
        makers: name -> what makes the case.
        measure_one: case to record.
        missing: what a maker raises where something is not there.
        say: is told what is skipped.
    """
    cases = []
    for name, make in makers.items():
        try:
            case = make()
        except missing as reason:
            say(f"{name}: skipped. {reason}")
            cases.append({"case": name, "skipped": str(reason)})
            continue
        cases.append(measure_one(case))
    return cases


def print_aims(case: Record) -> None:
    """What was aimed at, what was measured, and whether it is met."""
    for aim in case.get("aims", []):
        verdict = "met" if aim["met"] else "not met"
        found = f"{aim['median']:.2f}, aim {aim['wanted']}"
        print(f"{case['case']}: {found} {aim['aim']}: {verdict}")


def compared(records: Sequence[Record], faster: str, slower: str) -> Record:
    """How many times more rows per second one way does than another.

    Returns:
        `faster`, `slower`; `min`, `median`, `max` over the repeats; `by_tokens`, the
        ratio that the numbers of computed tokens alone would give; `at_the_floor`,
        what the median would be if the faster way took no longer than its floor.
    """
    named = {record["way"]: record for record in records}
    a, b = named[faster], named[slower]
    speed_of_b = np.divide(b["rows_measured"], b["seconds"])
    ratios = np.divide(a["rows_measured"], a["seconds"]) / speed_of_b
    highest = np.divide(a["rows_measured"], a["floor_seconds"]) / speed_of_b
    tokens_a, tokens_b = (r["computed_tokens"] / r["rows_measured"] for r in (a, b))
    return {
        "faster": faster,
        "slower": slower,
        **spread(ratios),
        "by_tokens": tokens_b / tokens_a,
        "at_the_floor": float(np.median(highest)),
    }


def tables(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The comparisons: between ways, and by rows, common share and chain length."""
    of = {
        table: [record for record in records if record["table"] == table]
        for table in ("rows", "share", "chain")
    }
    (ours,) = [record for record in records if record["way"] == OURS]
    baseline = of["share"][0]["way"]
    pairs = [(OURS, SNIPPET), (OURS, BATCHED), (OURS, PLAIN), (BF16, OURS)]
    return {
        "comparisons": [compared(records, *pair) for pair in pairs],
        "by_rows": [
            {"rows": r["rows_measured"], **compared(records, r["way"], SNIPPET)}
            for r in [*of["rows"], ours]
        ],
        "by_share": [
            {
                "share": r["shared_prefix"] * r["rows_measured"] / r["prompt_tokens"],
                **compared(records, r["way"], baseline),
            }
            for r in of["share"]
        ],
        "by_chain_length": [
            {
                "tokens": r["tokens_written"],
                "rows_per_batch": r["rows_per_batch"],
                "batch": "alone" if "alone" in r["way"] else "same batch",
                **compared(records, OURS, r["way"]),
            }
            for r in of["chain"]
        ],
    }


def aims(case: str, records: Sequence[Record], made: dict[str, list]) -> list[Record]:
    """What was aimed at on a CPU in float32, what came out, and whether it suffices."""
    found: list[tuple[str, float, float]] = []
    over_source = made["comparisons"][0]
    if case == EMBEDDED:
        found.append(("times the source's snippet", 10, over_source["median"]))
    if case == LARGE:
        (ours,) = [record for record in records if record["way"] == OURS]
        reached = over_source["median"] / over_source["by_tokens"]
        share = ours["share_of_floor"]["median"]
        found.append(("of what the token counts allow", 0.8, reached))
        found.append(("of the arithmetic floor", 0.6, share))
    for row in made["by_chain_length"]:
        if row["tokens"] == 128:
            wanted = 30 if row["batch"] == "alone" else 12
            aim = f"times a chain of 128 tokens, {row['batch']}"
            found.append((aim, wanted, row["median"]))
    return [
        {"aim": aim, "wanted": wanted, "median": value, "met": value >= wanted}
        for aim, wanted, value in found
    ]


def _prompt_facts(case: Case) -> Record:
    lengths = list(map(len, case.prompts))
    shared = len(common_prefix(case.prompts)) if len(lengths) > 1 else 0
    return {
        "rows": len(lengths),
        "tokens_per_prompt": spread(lengths) | {"mean": float(np.mean(lengths))},
        "shared_prefix": shared,
    }


def _rates(records: Sequence[Record]) -> dict[str, Record]:
    """Matrix rates that were measured beside the ways, by precision."""
    seen: dict[str, list[float]] = {}
    for record in records:
        seen.setdefault(record["precision"], []).extend(record["matrix_rate"])
    return {precision: spread(rates) for precision, rates in seen.items()}


def bench(
    case: Case,
    ways: Sequence[Way],
    repeats: int,
    say: Callable[[str], None] = lambda line: None,
) -> Record:
    """All that the results hold of one case; raises what `measure` raises."""
    records = measure(case, ways, repeats, say)
    made = tables(records)
    return {
        "case": case.name,
        "parameters": case.model.num_parameters(),
        "block_parameters": case.block_parameters,
        "head_parameters": case.head_parameters,
        "prompts": _prompt_facts(case),
        "matrix_rate": _rates(records),
        "ways": records,
        **made,
        "aims": aims(case.name, records, made),
    }


def provenance(repeats: int) -> Record:
    """What the numbers depend on besides the code."""
    on_gpu = device().type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else "CPU",
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "fast_bf16": fast_bf16(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "repeats": repeats,
        "batch_tokens": BATCH_TOKENS,
        "notes": list(NOTES),
    }
