"""What may be asked and spent at an endpoint, however many threads ask."""

from __future__ import annotations

from threading import Condition


class Budget:
    """Limits on requests (retries included) and spending, safe between threads.

    A request reserves the most that it may cost before it is sent, and settles after.
    `requests` and `spent` count from this object's making; what may have been billed
    unseen, as on a timeout, counts at its most. None as a limit: no limit.
    """

    def __init__(
        self,
        max_requests: int | None = None,
        max_spend: float | None = None,
        price_in_per_million: float = 0.0,
        price_out_per_million: float = 0.0,
    ):
        self.price_in, self.price_out = price_in_per_million, price_out_per_million
        if max_spend is not None and self.price_in + self.price_out <= 0:
            raise ValueError("max_spend limits nothing without a price: give prices.")
        self.max_requests, self.max_spend = max_requests, max_spend
        self.requests, self.spent = 0, 0.0
        self._open: list[float] = []
        self._changed = Condition()

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Price of one request."""
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6

    def reserve(self, worst: float) -> str:
        """Open a request of at most this cost; gives "" or the limit against it."""
        limit = float("inf") if self.max_spend is None else self.max_spend
        with self._changed:
            while self.spent + sum(self._open) + worst > limit:
                if not self._open:
                    return "max_spend"
                # Open requests mostly cost less than they reserve: see what they leave.
                self._changed.wait()
            if self.requests == self.max_requests:
                return "max_requests"
            self.requests += 1
            self._open.append(worst)
        return ""

    def settle(self, worst: float, charged: float) -> None:
        """Close a request that `reserve` opened."""
        with self._changed:
            self._open.remove(worst)
            self.spent += charged
            self._changed.notify_all()
