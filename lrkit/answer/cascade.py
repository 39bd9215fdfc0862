"""A cascade: a cheap first stage answers when it is confident, the rest goes on.

`route` says which row goes where, `lrkit.answer.decision_log` remembers over kills and
restarts, `Cascade` puts the two between a first stage (anything with `score_rows`) and
a second (any callable, or anything with `answer`). Nothing here knows a model.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
from filelock import FileLock

from lrkit.answer.decision_log import DecisionLog
from lrkit.answer.endpoint import BadAnswer, BudgetSpent, EndpointDown, EndpointError

Policy = Literal["first", "raise", "abstain"]
COLUMNS = ["id", "label", "confidence", "route", "second_label", "reason", "seconds",
           "cost", "attempts"]  # fmt: skip
NOTHING_SPENT = {"seconds": 0.0, "cost": 0.0, "attempts": 0}
UNASKED = {"second_label": None, "error": None} | NOTHING_SPENT


def route(
    confidence: float, label_mass: float, threshold: float, min_label_mass: float = 0.0
) -> tuple[str, str]:
    """Which stage answers a row, and why; a confidence at the threshold is enough."""
    if math.isnan(confidence) or math.isnan(label_mass):
        return "second", "no confidence"
    if label_mass < min_label_mass:
        return "second", "low label mass"
    if confidence < threshold:
        return "second", "low confidence"
    return "first", "confident"


def fingerprint(message: str) -> str:
    """SHA-256 of a message, in hex; also of text that is no valid Unicode."""
    return hashlib.sha256(message.encode("utf-8", "surrogatepass")).hexdigest()


class Cascade:
    """A first stage, a second stage, and the rule between them.

    Args:
        first: `score_rows(messages)` gives `label`, `confidence`, `label_mass` per row.
        second: `second(message)` gives a label, or `second.answer(message)` an object
            with `label`, `cost`, `attempts`. It gives none by raising `EndpointDown`,
            `BudgetSpent` or `BadAnswer`; every other exception stops `predict`.
        threshold: least confidence with which the first stage's label stands.
        when_down, when_spent, when_bad: for these three, "first" takes the first
            stage's label after all, "abstain" gives none, "raise" stops.
        log: file of the decisions, for going on after a stop; None: no file.
        min_label_mass: least probability on any label at all.
        max_workers: threads that ask the second stage.
        first_name, second_name: what the log knows the stages by; another model needs
            another name. A second stage with a `name` brings its own.

    Raises:
        ValueError, TypeError: for a threshold, policy or stage that cannot work.
    """

    def __init__(
        self,
        first: Any,
        second: Callable[[str], str] | Any,
        threshold: float,
        when_down: Policy = "raise",
        when_spent: Policy = "raise",
        when_bad: Policy = "abstain",
        log: str | Path | None = None,
        min_label_mass: float = 0.0,
        max_workers: int = 1,
        first_name: str | None = None,
        second_name: str | None = None,
    ):
        if math.isnan(threshold) or math.isnan(min_label_mass):
            raise ValueError("threshold and min_label_mass must be numbers, not NaN.")
        kinds = [kind.__name__ for kind in (EndpointDown, BudgetSpent, BadAnswer)]
        policies = dict(zip(kinds, (when_down, when_spent, when_bad), strict=True))
        if unknown := set(policies.values()) - set(get_args(Policy)):
            raise ValueError(f"no policy {unknown}: choose first, raise or abstain.")
        self._answer = getattr(second, "answer", second)
        if not hasattr(first, "score_rows") or not callable(self._answer):
            raise TypeError(
                "first needs score_rows; second a call, or answer(message)."
            )
        second_name = second_name or getattr(second, "name", None)
        if log is not None and not (first_name and second_name):
            raise ValueError("a log needs first_name and second_name to tell models.")
        self.first, self.policies, self.max_workers = first, policies, max_workers
        self.log = None if log is None else Path(log)
        # What a decision is made with, as it stands in the log.
        self.made_with = {"first": first_name, "second": second_name}
        self.made_with |= {"threshold": threshold, "min_label_mass": min_label_mass}

    def predict(
        self, messages: Sequence[str], ids: Sequence | None = None
    ) -> pd.DataFrame:
        """A row per message, in their order, with `COLUMNS`.

        Equal messages are asked once. `confidence` is the first stage's; `seconds`,
        `cost` and `attempts` are the second stage's in this call, 0 where its answer
        was at hand. `label` is None where `route` is "abstain".

        Raises:
            TypeError, ValueError: for what are no messages, ids or scores.
            EndpointError: by policy; all that was decided before is in the log.
            filelock.Timeout: when another process is writing the same log.
        """
        if isinstance(messages, str) or not all(isinstance(m, str) for m in messages):
            raise TypeError("expected a list of conversations, every one a string.")
        ids = list(range(len(messages)) if ids is None else ids)
        if len(ids) != len(messages):
            raise ValueError(
                f"{len(messages)} messages need as many ids, not {len(ids)}."
            )
        if self.log is None:
            return self._decide(messages, ids, DecisionLog(None))
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.log}.lock", timeout=0):
            return self._decide(messages, ids, DecisionLog(self.log))

    def _decide(self, messages, ids, log: DecisionLog) -> pd.DataFrame:
        rows: list[dict[str, Any]] = [{}] * len(ids)
        places: dict[str, list[int]] = {}
        for place, message in enumerate(messages):
            places.setdefault(fingerprint(message), []).append(place)
        scores = self._scores({sha: messages[at[0]] for sha, at in places.items()}, log)
        limits = self.made_with["threshold"], self.made_with["min_label_mass"]
        routes = {
            sha: route(row["confidence"], row["label_mass"], *limits)
            for sha, row in scores.items()
        }
        answered = {line["sha256"]: line for line in log.lines if self._answers(line)}

        def settle(sha: str) -> None:
            where, reason = routes[sha]
            outcome, failure = dict(UNASKED), None
            if where == "second" and sha in answered:
                outcome |= {k: answered[sha][k] for k in ("second_label", "error")}
            elif where == "second":
                outcome, failure = self._ask(messages[places[sha][0]])
            label = outcome["second_label"]
            if outcome["error"]:
                kind = outcome["error"].split(":")[0]
                where = self.policies.get(kind, "raise")
                reason = f"{reason}; {outcome['error']}"
            if where == "first":
                label = scores[sha]["first_label"]
            for place in places[sha]:
                made = {"id": ids[place], "label": label, "route": where}
                rows[place] = made | scores[sha] | {"reason": reason} | outcome
                log.append({"sha256": sha} | rows[place] | self.made_with)
                outcome = outcome | NOTHING_SPENT
            if where == "raise":
                raise failure

        # What needs no request is settled first, so that a stop loses none of it.
        asked = {s for s in places if routes[s][0] == "second"} - answered.keys()
        for sha in places:
            if sha not in asked:
                settle(sha)
        self._for_each([sha for sha in places if sha in asked], settle)
        return pd.DataFrame(rows, columns=COLUMNS)

    def _scores(self, texts: dict[str, str], log: DecisionLog) -> dict[str, dict]:
        """The first stage's verdict on each text, from the log where it is known."""
        names = ["first_label", "confidence", "label_mass"]
        scores: dict[str, dict] = {
            line["sha256"]: {k: math.nan if line[k] is None else line[k] for k in names}
            for line in log.lines
            if line.get("first") == self.made_with["first"]
        }
        if new := {sha: text for sha, text in texts.items() if sha not in scores}:
            frame = self.first.score_rows(list(new.values()))
            if len(frame) != len(new):
                raise ValueError(f"the first stage scored {len(frame)} of {len(new)}.")
            for sha, row in zip(new, frame.to_dict("records"), strict=True):
                numbers = {k: float(row[k]) for k in names[1:]}
                scores[sha] = {"first_label": str(row["label"])} | numbers
        return {sha: scores[sha] for sha in texts}

    def _answers(self, line: dict[str, Any]) -> bool:
        """Whether a line holds what the second stage need not be asked again."""
        bad = (line.get("error") or "").startswith(BadAnswer.__name__)
        final = bad and self.policies[BadAnswer.__name__] != "raise"
        known = line.get("second_label") is not None or final
        return known and line.get("second") == self.made_with["second"]

    def _ask(self, message: str) -> tuple[dict[str, Any], EndpointError | None]:
        """What the second stage gave and took, and its failure if it failed."""
        started, outcome, failure = time.perf_counter(), dict(UNASKED), None
        try:
            reply = self._answer(message)
            label = getattr(reply, "label", reply)
            if not isinstance(label, str) or not label:
                raise BadAnswer("the second stage gave no label.", "no label", 1)
            outcome["second_label"] = label
        except EndpointError as error:
            reply = failure = error
            # No sentence: it may quote the customer, and the log must not.
            outcome["error"] = f"{type(error).__name__}: {error.code}"
        outcome["seconds"] = time.perf_counter() - started
        outcome["cost"] = float(getattr(reply, "cost", 0.0))
        outcome["attempts"] = int(getattr(reply, "attempts", 1))
        return outcome, failure

    def _for_each(self, items: list[str], work: Callable[[str], None]) -> None:
        """Work on all items; after the first exception no further one is begun."""
        if self.max_workers == 1:  # in this thread: not every second stage bears others
            for item in items:
                work(item)
            return
        stop = threading.Event()

        def unless_stopped(item: str) -> None:
            try:
                if not stop.is_set():
                    work(item)
            except BaseException:
                stop.set()
                raise

        with ThreadPoolExecutor(self.max_workers) as pool:
            try:
                futures = [pool.submit(unless_stopped, item) for item in items]
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                stop.set()  # also when it is this thread that is interrupted
        for future in futures:
            future.result()
