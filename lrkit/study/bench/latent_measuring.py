"""Which models latents are measured in, and the times of all ways, taking turns.

Before anything is timed the gradients of all ways are compared; in every repeat, their
losses and answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from lrkit.latent.codi import CodiModel
from lrkit.models import device, load_model
from lrkit.study.bench.latent_ways import (
    AGAIN,
    INFERENCE,
    LATENT_WAYS,
    OURS,
    TRAINING,
    LatentWay,
    Lengths,
    asked,
    batch_of,
)
from lrkit.study.bench.measuring import Disagreement
from lrkit.study.bench.ways import now

EMBEDDED, LARGE = "think-narrow", "random GPT-2, 124 M"
HEADLINE = 6  # latents
TOLERANCE = 1e-4  # between losses, and between gradients relative to their norm


# --- cases ----------------------------------------------------------------------------
@dataclass(frozen=True)
class LatentCase:
    """A model and how much of it is measured.

    Attributes:
        name: how it is called in the results.
        model: float32, without dropout.
        training_rows: of a step.
        inference_rows: of a batch; a single row is measured too.
        counts: numbers of latents; `HEADLINE` is among them.
        turns: repeats of this case for each repeat that is asked for.
        lengths: of the pieces of a row.
    """

    name: str
    model: CodiModel
    training_rows: int
    inference_rows: int
    counts: tuple[int, ...]
    turns: int = 1
    lengths: Lengths = field(default_factory=Lengths)

    def settings(self) -> list[tuple[str, int, int]]:
        """(task, rows, latents) of all that is measured."""
        found = [(TRAINING, self.training_rows, n) for n in self.counts]
        found += [(INFERENCE, self.inference_rows, n) for n in self.counts]
        single = (INFERENCE, 1, HEADLINE)
        return found if single in found else [*found, single]


def embedded_case() -> LatentCase:
    """The embedded base.

    Raises:
        FileNotFoundError: when its weights are not there.
    """
    torch.manual_seed(0)
    model = CodiModel.wrap(load_model(EMBEDDED).float())
    return LatentCase(EMBEDDED, model, 32, 32, (1, 2, 4, 6, 8, 12), turns=3)


def large_case() -> LatentCase:
    """Random weights in the shape of GPT-2, the smallest base of CODI's paper.

    Fewer rows and numbers of latents: a naive step takes seconds.
    """
    torch.manual_seed(0)
    config = GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    with device():
        model = CodiModel.wrap(GPT2LMHeadModel(config))
    return LatentCase(LARGE, model, 2, 4, (1, 3, 6, 8))


CASES: dict[str, Callable[[], LatentCase]] = {
    EMBEDDED: embedded_case,
    LARGE: large_case,
}


# --- agreement ------------------------------------------------------------------------
def _hold(off: float, way: LatentWay, first: LatentWay, what: str) -> None:
    if not off <= TOLERANCE:
        raise Disagreement(
            f"{way.name!r} differs from {first.name!r} by {off:.2g} in {what}, more "
            f"than {TOLERANCE:.0e}: times of ways that disagree are not written. Mend "
            "that way first."
        )


def compare(way: LatentWay, first: LatentWay, found, expected) -> float:
    """Difference of two losses; of two answers none is let pass.

    Raises:
        Disagreement: for another answer, or a loss further off than `TOLERANCE`.
    """
    if way.task == TRAINING:
        off = float((found - expected).abs())
        _hold(off, way, first, "the loss of the same rows")
        return off
    if not torch.equal(found, expected):
        rows = int((found != expected).any(1).sum())
        raise Disagreement(
            f"{way.name!r} and {first.name!r} answer {rows} of {len(found)} rows with "
            "other tokens: times of ways that disagree are not written. Mend the first."
        )
    return 0.0


def gradients(case: LatentCase, way: LatentWay) -> dict[str, torch.Tensor]:
    """Of the training loss at the headline's setting, by parameter."""
    model = case.model.train()
    inputs = batch_of(model, case.lengths, case.training_rows, HEADLINE)
    model.zero_grad()
    way.run(model, inputs).backward()
    found = {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in model.named_parameters()
    }
    model.zero_grad()
    return found


def compare_gradients(
    case: LatentCase, ways: Sequence[LatentWay] = LATENT_WAYS
) -> float:
    """Largest difference of a parameter's gradient, relative to its norm.

    A norm below a thousandth of the whole gradient's counts as that thousandth.

    Raises:
        Disagreement: when it is more than `TOLERANCE`, or no number.
    """
    first, *others = [way for way in ways if way.task == TRAINING]
    expected = gradients(case, first)
    least = 1e-3 * torch.stack([g.norm() for g in expected.values()]).norm()
    worst = 0.0
    for way in others:
        found = gradients(case, way)
        for name, gradient in expected.items():
            scale = torch.maximum(gradient.norm(), least)
            off = float((found[name] - gradient).norm() / scale)
            _hold(off, way, first, f"the gradient of {name}")
            worst = max(worst, off)
    return worst


# --- times ----------------------------------------------------------------------------
def ways_at(n_latents: int, ways: Sequence[LatentWay]) -> list[LatentWay]:
    """All at the headline's number of latents, else the two whose growth is shown."""
    if n_latents == HEADLINE:
        return list(ways)
    return [way for way in ways if way.name in (AGAIN, OURS)]


def timed(
    case: LatentCase, way: LatentWay, rows: int, n_latents: int, optimizer
) -> tuple[torch.Tensor, float]:
    """(loss, or tokens [rows, answer]; seconds) of a step, or of a batch."""
    model, lengths = case.model.train(way.task == TRAINING), case.lengths
    inputs = batch_of(model, lengths, rows, n_latents)
    start = now(model.device)
    if way.task == INFERENCE:
        with torch.inference_mode():
            found = way.run(model, asked(inputs, lengths), lengths.answer)
        return found, now(model.device) - start
    loss = way.run(model, inputs)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach(), now(model.device) - start


def measure(
    case: LatentCase,
    repeats: int,
    say: Callable[[str], None] = lambda line: None,
    ways: Sequence[LatentWay] = LATENT_WAYS,
) -> list[dict[str, Any]]:
    """Seconds of every way at every setting, a record each; the ways take turns.

    Args:
        case: the model, and how much of it is measured.
        repeats: how often all settings are gone through.
        say: told what is done, for runs that take minutes.
        ways: of both tasks; in each the one that others are held to comes first.

    Raises:
        Disagreement: when a way gives another loss or answer than the first one.
    """
    # At a rate of zero the weights stay: losses of all repeats can be compared.
    optimizer = torch.optim.AdamW(case.model.parameters(), lr=0.0, fused=True)
    for way in ways:  # the first call prepares
        timed(case, way, 1, HEADLINE, optimizer)
    records: dict[tuple, dict[str, Any]] = {}
    for repeat in range(repeats):
        total = 0.0
        for task, rows, n in case.settings():
            first, *others = ways_at(n, [way for way in ways if way.task == task])
            expected = None
            for way in (first, *others):
                found, seconds = timed(case, way, rows, n, optimizer)
                total += seconds
                expected = found if expected is None else expected
                off = compare(way, first, found, expected)
                key = (task, rows, n, way.name)
                record = records.setdefault(key, _record(case, way, rows, n))
                record["seconds"].append(round(seconds, 6))
                record["largest_difference"] = max(off, record["largest_difference"])
        say(f"{case.name}: repeat {repeat + 1} of {repeats}, {total:.0f} s")
    return list(records.values())


def _record(
    case: LatentCase, way: LatentWay, rows: int, n_latents: int
) -> dict[str, Any]:
    forward, backward = way.positions(case.lengths, n_latents)
    return {
        "task": way.task,
        "way": way.name,
        "rows": rows,
        "n_latents": n_latents,
        "passes": way.passes(case.lengths, n_latents),
        "forward_positions": forward * rows,
        "backward_positions": backward * rows,
        "seconds": [],
        "largest_difference": 0.0,
    }
