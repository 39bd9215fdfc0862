"""A client that asks an OpenAI-compatible chat endpoint for one label per message.

`ChatEndpoint.answer` sends `POST {base_url}/chat/completions`, retries what may pass,
keeps to a budget and reads the first word of the reply. It knows nothing about
thresholds or logs. The key is read from the environment at each request, kept nowhere.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from types import SimpleNamespace

import httpx

from lrkit.answer.budget import Budget
from lrkit.answer.prompts import FULL, QUESTION, neutralize

# Past quotes, brackets and markdown, up to the next punctuation. A slash ends no word,
# so that "yes/no" is no answer.
_FIRST_WORD = re.compile(r"[\s\"'`*_#>(\[]*([^\s\"'`*.,;:!?)\]]+)")
_TAG = re.compile(r"<(?=[|｜/\w])")  # may begin a control token of a model unknown here
_NO_TOKENIZER = SimpleNamespace(added_tokens_decoder={})
_TEMPLATE_TOKENS = 256  # more than a chat template adds around the text
_ANSWER_TOKENS = 8  # longest answer; bounds its cost as well
_LONGEST_WAIT_S = 60.0
_ROW_REFUSED = ("HTTP 400", "HTTP 413", "HTTP 422")
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)


class EndpointError(RuntimeError):
    """No label came back; the sentence says why, without the key.

    `code` is the cause in a word or two without text of customer or server; `attempts`
    the requests sent for this message, `cost` what they were charged.
    """

    def __init__(self, sentence: str, code: str, attempts: int = 0, cost: float = 0.0):
        super().__init__(sentence)
        self.code, self.attempts, self.cost = code, attempts, cost


class EndpointDown(EndpointError):
    """No answer, after all the retries allowed."""


class EndpointRefused(EndpointError):
    """Key, address or model are wrong: no message would be answered."""


class BudgetSpent(EndpointError):
    """One more request might exceed the budget; it was not sent."""


class BadAnswer(EndpointError):
    """No label for this one message: unparsable, or refused with 400, 413 or 422."""


@dataclass(frozen=True)
class Reply:
    """A label; tokens of its request (None: not told), cost of all attempts, seconds
    with the waits between them, and their number."""

    label: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float
    latency_s: float
    attempts: int


def first_word(text: str) -> str:
    """The first word, case folded, without quotes, markdown and punctuation."""
    found = _FIRST_WORD.match(text)
    return found[1].casefold() if found else ""


def retry_after(value: str) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110, 10.2.3), else 0."""
    if value.isascii() and value.isdigit():
        return float(value)
    date = parsedate_tz(value)
    return max(0.0, mktime_tz(date) - time.time()) if date else 0.0


def read_completion(response: httpx.Response) -> tuple[str, list[int] | None]:
    """Text, and prompt and completion tokens; "" and None for what is not there."""
    try:
        payload = response.json()
        text = payload["choices"][0]["message"]["content"]
        usage = payload.get("usage") or {}
    except (ValueError, LookupError, TypeError, AttributeError):
        return "", None
    tokens = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    told = all(type(n) is int and n >= 0 for n in tokens)
    return text if isinstance(text, str) else "", tokens if told else None


class ChatEndpoint:
    """One model behind one address, asked with the full prompt of the source.

    Args:
        base_url: up to and with the version, e.g. "http://localhost:8000/v1".
        model: its name at the endpoint.
        labels: single words that the prompt names.
        question: what is asked of each conversation.
        api_key_env: environment variable that holds the key; None: no key is sent.
        timeout_s: seconds without a connection, or without a byte, that end a request.
        max_retries: further requests after 408, 429, 5xx, timeouts, lost connections.
        backoff_s: first wait; doubled each time up to a minute, with jitter.
        budget: limits and prices; may be shared between endpoints.

    Raises:
        ValueError: for an address, a key or labels that cannot work.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        labels: Sequence[str],
        question: str = QUESTION,
        api_key_env: str | None = "OPENAI_API_KEY",
        timeout_s: float = 30.0,
        max_retries: int = 3,
        backoff_s: float = 1.0,
        budget: Budget | None = None,
    ):
        url = httpx.URL(base_url)
        if url.scheme not in ("http", "https") or not url.host or url.userinfo:
            raise ValueError("base_url must be an http(s) address without a password.")
        self.base_url, self.model, self.question = base_url.rstrip("/"), model, question
        self.labels = {first_word(label): label for label in labels}
        asked = self.prompt("").casefold()
        words = [w for x in labels if (w := x.casefold()) in asked]
        if [*self.labels] != words or not len(words) == len(labels) > 1:
            raise ValueError(
                f"need two or more different words that the prompt names: {labels!r}."
            )
        self.api_key_env, self.max_retries = api_key_env, max(0, max_retries)
        self.backoff_s, self.budget = backoff_s, budget or Budget()
        self._key()
        # The caller limits its threads; none of them should wait for a connection.
        limits = httpx.Limits(max_connections=None)
        self._client = httpx.Client(timeout=timeout_s, limits=limits)

    @property
    def name(self) -> str:
        """Model, address and a digest of the prompt: all that an answer depends on."""
        digest = hashlib.sha256(f"{self.prompt('')}{[*self.labels]}".encode())
        return f"{self.model} at {self.base_url} #{digest.hexdigest()[:8]}"

    def prompt(self, message: str) -> str:
        """The full prompt; no fence or control token that the text spells survives."""
        text = _TAG.sub("< ", neutralize(message.strip(), _NO_TOKENIZER))
        return FULL.format(question=self.question, transcript=text)

    def answer(self, message: str) -> Reply:
        """Ask for the label of one message; raises the four kinds of EndpointError."""
        started, cost, prompt = time.perf_counter(), 0.0, self.prompt(message)
        # No byte-level tokenizer makes more tokens than there are bytes.
        most_tokens = len(prompt.encode()) + _TEMPLATE_TOKENS
        worst = self.budget.cost(most_tokens, _ANSWER_TOKENS)
        for attempt in range(1, self.max_retries + 2):
            if limit := self.budget.reserve(worst):
                why = f"one more request might exceed {limit}: raise it to go on."
                raise BudgetSpent(f"{self.name}: {why}", limit, attempt - 1, cost)
            response, code, charged = self._send(prompt, worst)
            cost += charged
            if code == "HTTP 200":
                text, tokens = read_completion(response)
                if label := self.labels.get(first_word(text)):
                    used = [*(tokens or (None, None)), cost]
                    return Reply(label, *used, time.perf_counter() - started, attempt)
                why = f"begins with none of {[*self.labels]}: {self._excerpt(response)}"
                raise BadAnswer(f"{self.name}: {why}", "unparsable", attempt, cost)
            if response is not None and not re.fullmatch("HTTP (408|429|5..)", code):
                kind = BadAnswer if code in _ROW_REFUSED else EndpointRefused
                why = f"{code}, check address, model and key: {self._excerpt(response)}"
                raise kind(f"{self.name}: {why}", code, attempt, cost)
            headers = {} if response is None else response.headers
            wait = retry_after(headers.get("retry-after", ""))
            if attempt > self.max_retries or wait > _LONGEST_WAIT_S:
                break
            backoff = min(self.backoff_s * 2 ** (attempt - 1), _LONGEST_WAIT_S)
            time.sleep(wait + backoff * random.uniform(0.5, 1))
        why = f"no answer in {attempt} request(s), the last gave {code}; is it up?"
        raise EndpointDown(f"{self.name}: {why}", code, attempt, cost)

    def _send(
        self, prompt: str, worst: float
    ) -> tuple[httpx.Response | None, str, float]:
        """One request: the response if any, the status or fault, what it is charged."""
        body = {"model": self.model, "max_tokens": _ANSWER_TOKENS}
        body |= {"messages": [{"role": "user", "content": prompt}], "temperature": 0}
        charged, url = worst, f"{self.base_url}/chat/completions"
        try:
            headers = {"Authorization": f"Bearer {key}"} if (key := self._key()) else {}
            response = self._client.post(url, json=body, headers=headers)
            _, tokens = read_completion(response)
            if response.status_code != 200:
                charged = 0.0
            elif tokens:
                charged = self.budget.cost(*tokens)
            return response, f"HTTP {response.status_code}", charged
        except httpx.RequestError as error:
            charged = 0.0 if isinstance(error, _NOT_SENT) else worst
            return None, type(error).__name__, charged
        finally:
            self.budget.settle(worst, charged)

    def _key(self) -> str:
        key = os.environ.get(self.api_key_env or "", "").strip()
        # Checked here, because HTTP libraries quote a header that they cannot send.
        if self.api_key_env and not re.fullmatch("[!-~]+", key):
            raise ValueError(
                f"the environment variable {self.api_key_env} holds no key, or one "
                "with spaces or non-ASCII in it: set it, or pass api_key_env=None."
            )
        return key

    def _excerpt(self, response: httpx.Response) -> str:
        """What the server said, cut after the key is taken out: some echo it."""
        key, text = self._key(), response.text
        return repr((text.replace(key, "[key]") if key else text)[:200])
