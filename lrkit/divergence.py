"""When a run counts as diverged, by its losses and a metric.

`lrkit.guard` asks at every step of a training; who has the losses of a run can ask
afterwards.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field


@dataclass(frozen=True)
class GuardSettings:
    """When a run counts as diverged, and what is done then.

    Attributes:
        factor: what the learning rate is multiplied with at each restoration.
        max_restores: restorations in the life of a run, kills included.
        patience: steps after a checkpoint that must be fine before it counts as good.
        spike: a loss above this multiple of the recent median is suspicious,
        least_spike: if it is also this much above; near zero multiples say nothing.
        spike_steps: suspicious steps in succession that count as divergence.
        window: normal losses in the median; until there are so many, only NaN counts.
        metric_every: steps between two looks at the metric. With a metric, a checkpoint
            is good after a look, at least `patience` steps later, that was fine.
        drop: the metric has collapsed if it is this much below its best.
    """

    factor: float = 0.5
    max_restores: int = 3
    patience: int = 20
    spike: float = 3.0
    least_spike: float = 0.5
    spike_steps: int = 3
    window: int = 20
    metric_every: int = 100
    drop: float = 0.2

    def __post_init__(self):
        if not 0 < self.factor < 1:
            raise ValueError(f"factor is {self.factor}: give one between 0 and 1.")
        for name, value in vars(self).items():
            least = int(name not in ("factor", "max_restores", "least_spike", "drop"))
            if value < least:
                raise ValueError(f"{name} is {value}: give at least {least}.")


@dataclass
class Memory:
    """What is known at a step, and what is made of it."""

    losses: list[float] = field(default_factory=list)  # the last normal ones
    spikes: int = 0  # suspicious steps in succession, up to now
    suspect: int = -1  # the last suspicious step
    best: float | None = None  # metric
    good: int = 0  # the newest good checkpoint
    waiting: list[int] = field(default_factory=list)  # checkpoints not yet good
    scale: float = 1.0  # the rate in use, over that of the first attempt

    def loss_fault(self, step: int, loss: float, settings: GuardSettings) -> str | None:
        """Take note of a step's loss; says what is wrong if the run diverged."""
        if not math.isfinite(loss):
            return f"loss is {loss}"
        median = statistics.median(self.losses or [math.inf])
        high = loss > max(settings.spike * median, median + settings.least_spike)
        if not high or len(self.losses) < settings.window:
            self.spikes = 0
            self.losses = [*self.losses, loss][-settings.window :]
            return None
        self.spikes, self.suspect = self.spikes + 1, step
        # What was saved shortly before was perhaps already on its way.
        self.waiting = [s for s in self.waiting if s + settings.patience < step]
        if self.spikes < settings.spike_steps:
            return None
        return f"loss is {loss:.4g}, the recent median {median:.4g}"

    def metric_fault(self, value: float, settings: GuardSettings) -> str | None:
        """Take note of the metric; says what is wrong if it collapsed."""
        best = value if self.best is None else max(self.best, value)
        if value >= best - settings.drop:  # NaN is not
            self.best = best
            return None
        return f"metric is {value:.4g}, at best it was {best:.4g}"

    def saved(self, step: int) -> None:
        """Take note of a checkpoint."""
        if step > self.good and step != self.suspect:
            self.waiting.append(step)

    def fine_until(self, step: int, settings: GuardSettings) -> None:
        """Checkpoints with enough fine steps after them are good."""
        proven = [s for s in self.waiting if s + settings.patience <= step]
        self.waiting = [s for s in self.waiting if s not in proven]
        self.good = max([self.good, *proven])
