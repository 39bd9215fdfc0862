"""A client that asks an OpenAI-compatible chat endpoint for one label per message.

`ChatEndpoint.answer` sends `POST {base_url}/chat/completions`, retries what may pass,
keeps to a budget and reads the first word of the reply. It knows nothing about
confidences, thresholds or logs. The key is read from the environment at each request
and is kept nowhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from threading import Condition
from types import SimpleNamespace

import httpx

from lrkit.answer.prompts import FULL, QUESTION, neutralize

# Leading quotes, brackets and markdown, then all up to the next punctuation; a slash
# ends no word, so that "yes/no" is no answer.
_FIRST_WORD = re.compile(r"[\s\"'`*_#>(\[]*([^\s\"'`*.,;:!?)\]]+)")
_TAG = re.compile(r"<(?=[|｜/\w])")
_NO_TOKENIZER = SimpleNamespace(added_tokens_decoder={})
_TEMPLATE_TOKENS = 256  # what a chat template may add around the text
_NO_CONNECTION = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)


@dataclass
class EndpointError(RuntimeError):
    """No label came back.

    Attributes:
        sentence: what happened and what to do; without the key.
        code: the cause in a word or two, without any text of customer or server.
        attempts, cost: requests sent for this message, and what they were charged.
    """

    sentence: str
    code: str = ""
    attempts: int = 0
    cost: float = 0.0

    def __str__(self) -> str:
        return self.sentence


class EndpointDown(EndpointError):
    """It did not answer, after all the retries allowed."""


class EndpointRefused(EndpointError):
    """It does not want our requests (wrong key, address or model): retry nothing."""


class BudgetSpent(EndpointError):
    """One more request might exceed the budget; it was not sent."""


class BadAnswer(EndpointError):
    """It gave no label for this one message, by its text or by a 400, 413 or 422."""


@dataclass(frozen=True)
class Budget:
    """Limits for the lifetime of one endpoint object; None: no limit.

    `max_spend` is in the currency of the prices, which are per million tokens.
    """

    max_requests: int | None = None
    max_spend: float | None = None
    price_in_per_million: float = 0.0
    price_out_per_million: float = 0.0

    def __post_init__(self):
        if min(self.price_in_per_million, self.price_out_per_million) < 0:
            raise ValueError(f"a price is below zero in {self}.")
        priced = self.price_in_per_million or self.price_out_per_million
        if self.max_spend is not None and not priced:
            raise ValueError("max_spend limits nothing without a price: give prices.")

    def cost(self, tokens_in: int, tokens_out: int) -> float:
        """Price of one request."""
        price_in, price_out = self.price_in_per_million, self.price_out_per_million
        return (tokens_in * price_in + tokens_out * price_out) / 1e6


class Ledger:
    """Requests and spending of all threads, held below the budget.

    A request reserves the most that it may cost and settles for what it did cost.
    """

    def __init__(self, budget: Budget):
        self.budget = budget
        self.requests = 0
        self.spent = 0.0
        self._reserved: list[float] = []
        self._changed = Condition()

    def reserve(self, worst: float) -> str:
        """Open a request; returns "" or the limit that forbids it."""
        requests, spend = self.budget.max_requests, self.budget.max_spend
        with self._changed:
            while spend is not None and self.spent + self._open() + worst > spend:
                # Open requests mostly cost less than they reserve: wait before refusing.
                if not self._reserved:
                    return "spend"
                self._changed.wait()
            if requests is not None and self.requests >= requests:
                return "requests"
            self.requests += 1
            self._reserved.append(worst)
        return ""

    def settle(self, worst: float, charged: float) -> None:
        """Close a request that `reserve` opened."""
        with self._changed:
            self._reserved.remove(worst)
            self.spent += charged
            self._changed.notify_all()

    def _open(self) -> float:
        return sum(self._reserved)


@dataclass(frozen=True)
class Reply:
    """A label and what it took: tokens of the answering request (None if not told),
    cost of all attempts, seconds with waits, number of requests."""

    label: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float
    latency_s: float
    attempts: int


@dataclass
class _Outcome:
    """One request: the response or the fault, the usage if told, and the charge."""

    charged: float
    response: httpx.Response | None = None
    fault: str = ""
    usage: tuple[int | None, int | None] = (None, None)


def first_word(text: str) -> str:
    """The first word, without quotes, markdown and punctuation, case folded."""
    found = _FIRST_WORD.match(text)
    return found[1].casefold() if found else ""


def retry_after(response: httpx.Response) -> float:
    """Seconds that the server asks to wait; 0 if it does not (RFC 9110, 10.2.3)."""
    value = response.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (when.astimezone(UTC) - datetime.now(UTC)).total_seconds())
