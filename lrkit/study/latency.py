"""Seconds, peak memory and tokens per second of solvers that take turns.

As table 7 of Latent Reasoning Tuning, with two differences: solvers run one after
another in every repeat, so that a busy machine slows them alike; and tokens per second
are those that are read by somebody. Latents are counted apart, for they are no output.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
import psutil
import torch

from lrkit.latent.solvers import Solver

MEBIBYTE = 2**20
LOOK = 0.002  # seconds between two looks at the memory of the process


@dataclass
class Peak:
    """What was in use at most while a context lasted, in MiB above its beginning."""

    mib: float = 0.0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """The most memory above that of the beginning.

    On CUDA it is what torch had allocated, to the byte. On a CPU it is the resident
    size of the process, looked at every few milliseconds: memory that Python or torch
    already held and used again does not show, so that it is a lower bound.
    """
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        torch.cuda.synchronize(device)
        peak.mib = (torch.cuda.max_memory_allocated(device) - before) / MEBIBYTE
        return
    process, done = psutil.Process(), threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        while True:
            now = process.memory_info().rss - before
            peak.mib = max(peak.mib, now / MEBIBYTE)
            if done.wait(LOOK):
                return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def latency(
    solvers: Mapping[str, Solver],
    questions: Sequence[str],
    device: torch.device,
    repeats: int = 5,
) -> pd.DataFrame:
    """A row per solver and repeat, after one repeat that is not counted.

    Args:
        solvers: by name.
        questions: answered by each.
        device: of their models.
        repeats: how often all of them take their turn.

    Returns:
        `solver`, `repeat`, `seconds` (of all questions), `peak_mib`, `text_tokens` and
        `latent_steps` (sums), `tokens_per_second` (of text).

    Raises:
        ValueError: for no repeats or no questions.
    """
    if repeats < 1 or not questions:
        raise ValueError(
            "there is nothing to measure: a repeat and a question at least."
        )
    rows = []
    for repeat in range(-1, repeats):
        for name, solver in solvers.items():
            with peak_memory(device) as peak:
                began = time.perf_counter()
                solutions = solver.solve(questions)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                seconds = time.perf_counter() - began
            tokens = sum(s.text_tokens for s in solutions)
            rows.append(
                {
                    "solver": name, "repeat": repeat, "seconds": seconds,
                    "peak_mib": peak.mib, "text_tokens": tokens,
                    "latent_steps": sum(s.latent_steps for s in solutions),
                    "tokens_per_second": tokens / seconds,
                }
            )  # fmt: skip
    table = pd.DataFrame(rows)
    return table[table["repeat"] >= 0].reset_index(drop=True)


def times_as_fast(rows: pd.DataFrame, solver: str, than: str) -> dict[str, float]:
    """How many times as fast one solver is, from the ratios within the repeats.

    Returns:
        `min`, `median`, `max`.
    """
    by_repeat = rows.pivot(index="repeat", columns="solver", values="seconds")
    ratios = (by_repeat[than] / by_repeat[solver]).to_numpy()
    return {
        "min": float(np.min(ratios)),
        "median": float(np.median(ratios)),
        "max": float(np.max(ratios)),
    }
