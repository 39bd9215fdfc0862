"""Times of several ways that take turns, each beside its arithmetic floor.

Every repeat runs all ways one after the other, so that a busy machine slows them
alike. Just before each, the rate of a plain matrix product is measured: the floor is
the time of the multiplications that the way cannot avoid, at that rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from lrkit.answer.engine import MIN_PREFIX, common_prefix
from lrkit.study.bench.cases import Case
from lrkit.study.bench.ways import Way, now


class Disagreement(RuntimeError):
    """Ways that should give the same logits do not: their times mean nothing."""


def spread(values: Sequence[float]) -> dict[str, float]:
    """`min`, `median` and `max` over the repeats."""
    return {
        "min": float(np.min(values)),
        "median": float(np.median(values)),
        "max": float(np.max(values)),
    }


@torch.inference_mode()
def matrix_rate(
    device: torch.device, dtype: torch.dtype, seconds: float = 0.3
) -> float:
    """Operations (multiplications and additions) per second of a large product."""
    side = 8192 if device.type == "cuda" else 2048
    a, b, out = (torch.randn(side, side, device=device).to(dtype) for _ in range(3))
    torch.mm(a, b, out=out)  # the first call prepares the kernel
    n, start = 0, now(device)
    while (took := now(device) - start) < seconds or n < 3:
        torch.mm(a, b, out=out)
        n += 1
    return 2 * side**3 * n / took


def floor_seconds(case: Case, tokens: int, heads: int, rate: float) -> float:
    """2 x (block parameters x computed tokens + head x positions read) / rate."""
    products = case.block_parameters * tokens + case.head_parameters * heads
    return 2 * products / rate


def computed_tokens(way: Way, tokens_written: int) -> int:
    """Tokens that cannot be avoided in this way, without padding.

    A shared prefix counts once. The last token that is written is never read.
    """
    n = len(way.rows)
    tokens = sum(map(len, way.rows)) + (tokens_written - 1) * n
    return tokens - shared_tokens(way) * (n - 1)


def shared_tokens(way: Way) -> int:
    """Length of the prefix that the way computes once."""
    if not way.shares_prefix or len(way.rows) < 2:
        return 0
    shared = len(common_prefix(way.rows))
    return shared if shared >= MIN_PREFIX else 0


def _difference(way: Way, logits: torch.Tensor, reference: torch.Tensor) -> float:
    """Largest difference over the rows that both have been given.

    Raises:
        Disagreement: when it is more than the way's tolerance, or no number.
    """
    n = min(len(logits), len(reference))
    found = float((logits[:n] - reference[:n]).abs().max())
    if not found <= way.tolerance:
        raise Disagreement(
            f"{way.name!r} differs from the source's snippet by {found:.2g} in the "
            f"logits of the same rows, more than {way.tolerance:.0e}: times of ways "
            "that disagree are not written. Mend that way first."
        )
    return found


def measure(
    case: Case,
    ways: Sequence[Way],
    repeats: int,
    say: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Seconds of every way in every repeat.

    Args:
        case: the model and its prompts.
        ways: the one that the others are compared with comes first.
        repeats: how often all of them take their turn.
        say: told what is done, for runs that take minutes.

    Returns:
        A record a way, for chains one per length.

    Raises:
        Disagreement: when a way's logits are not those of the first way.
    """
    for way in ways:
        if way.table != "chain":  # chains call nothing that the others have not
            way.run(case, way.rows[:2])
    seconds: dict[tuple[str, int], list[float]] = {}
    rates: dict[str, list[float]] = {way.name: [] for way in ways}
    differences: dict[str, float] = {}
    for repeat in range(repeats):
        started = time.perf_counter()
        reference = None
        for way in ways:
            rates[way.name].append(matrix_rate(case.model.device, way.dtype))
            logits, laps = way.run(case, way.rows)
            for written, took in laps.items():
                seconds.setdefault((way.name, written), []).append(round(took, 6))
            if way.tolerance is None:
                continue
            reference = logits if reference is None else reference
            found = _difference(way, logits, reference)
            differences[way.name] = max(found, differences.get(way.name, 0.0))
        took = time.perf_counter() - started
        say(f"{case.name}: repeat {repeat + 1} of {repeats}, {took:.0f} s")
    return [
        _record(case, way, written, seconds[way.name, written], rates[way.name])
        | {"largest_difference": differences.get(way.name)}
        for way in ways
        for name, written in seconds
        if name == way.name
    ]


def _record(
    case: Case,
    way: Way,
    written: int,
    seconds: list[float],
    rates: list[float],
) -> dict[str, Any]:
    n = len(way.rows)
    tokens = computed_tokens(way, written)
    floors = [floor_seconds(case, tokens, n * written, rate) for rate in rates]
    shares = [floor / took for floor, took in zip(floors, seconds, strict=True)]
    chained = f" of {written}" if way.table == "chain" else ""
    return {
        "way": way.name.replace("chain", f"chain{chained}", 1),
        "table": way.table,
        "precision": str(way.dtype).removeprefix("torch."),
        "rows_measured": n,
        "rows_per_batch": way.rows_per_batch,
        "tokens_written": written,
        "prompt_tokens": sum(map(len, way.rows)),
        "shared_prefix": shared_tokens(way),
        "computed_tokens": tokens,
        "seconds": seconds,
        "rows_per_second": spread([n / took for took in seconds]),
        "matrix_rate": rates,
        "floor_seconds": floors,
        "share_of_floor": spread(shares),
    }
