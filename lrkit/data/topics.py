"""Chats labelled by what the customer wants: billing, technical or general.

Two in five mention a topic that is not wanted (an *aside*), before the request or after
it, so that single words mislead; two in five are triples with the same last message.
Lines are dealt to splits as those of the gold standard, technical reports come from the
split's own scenarios. The label is known from how a chat is made, never read off it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from lrkit.data.banks import SPLITS, bank, topic_lines
from lrkit.data.story import Story, quote
from lrkit.data.style import Persona

TOPICS = ("billing", "technical", "general")
QUESTION = "What does the Customer want: help with billing, technical, or general?"
# Rows per split and label.
QUOTAS = {"train": 140, "validation": 30, "calibration": 40, "test": 60}
TWINS = 0.4  # share of rows whose last message ends a chat of each label
COLUMNS = ("id", "running_message", "label", "reason", "pattern", "pair", "split")


class _Chat(Story):
    """A story whose lines come from the bank of topics."""

    def line_of(self, family: str) -> str:
        form_id, text = self.rng.choice(topic_lines(self.bank.split)[family])
        self.forms_used.append(form_id)
        return text


def _request(chat: _Chat, topic: str) -> str:
    """What is wanted; a fault is one of the scenario's as often as any product's."""
    if topic == "technical" and chat.chance(0.5):
        return chat.rng.choice(chat.problems[0].report)
    return chat.line_of(f"{topic}_request")


def chat(split: str, topic: str, rng: random.Random, last: str = "") -> dict[str, str]:
    """One chat of a split about a topic.

    Args:
        split: whose lines it may use.
        topic: one of `TOPICS`.
        rng: source of randomness.
        last: the customer's last message; "" lets the chat end as it likes.

    Returns:
        `running_message`, `label`, `reason` and `pattern`.
    """
    b = bank(split)
    scenario = rng.choice(b.scenarios)
    problems = rng.sample(scenario.problems, 1)
    c = _Chat(b, scenario, Persona.draw(rng), rng, list(problems))
    if c.chance(0.5):
        c.agent(c.line_of("agent_open"))
    other = rng.choice([t for t in TOPICS if t != topic])
    aside, shape = "", rng.choices(range(5), (3, 3, 1, 1, 2))[0]
    request = _request(c, topic)
    if shape == 0:  # the request alone
        c.customer(request)
    elif shape == 1:  # a lead-in, and perhaps an aside after it
        c.customer(c.line_of("lead_in"), request)
    elif shape == 2:
        aside = c.line_of(f"{other}_aside")
        c.customer(aside, c.line_of("lead_in"), request)
    elif shape == 3:
        aside = c.line_of(f"{other}_aside")
        c.customer(request, aside)
    else:  # first something beside the point, and a turn after the agent's question
        aside = c.line_of(f"{other}_aside")
        c.customer(aside)
        c.agent(c.line_of("agent_which"))
        c.customer(c.line_of("customer_detail"))
        c.agent(c.line_of("agent_open"))
        c.customer(c.line_of(f"turn_to_{topic}"), request)
    if last or c.chance(0.4):
        c.agent(c.line_of("agent_which"))
        if last:
            c.customer_wrote(last)
        else:
            c.customer(c.line_of("customer_detail"))
    wanted = quote(request, 12)
    reason = f"the customer asks for help with {wanted}"
    if aside:
        reason += f" and only mentions {quote(aside)}"
    return {
        "running_message": c.text(),
        "label": topic,
        "reason": reason,
        "pattern": f"{shape}/{'+'.join(c.forms_used)}",
    }


def _rows(split: str, rng: random.Random) -> Iterator[dict[str, str]]:
    n_twins = round(TWINS * QUOTAS[split])
    for k in range(QUOTAS[split]):
        last = ""
        if k < n_twins:
            detail = rng.choice(topic_lines(split)["customer_detail"])[1]
            last = Persona.draw(rng).render([detail], rng)
        for topic in TOPICS:
            row = chat(split, topic, rng, last)
            pair = f"{split[:2]}{k:03d}" if last else ""
            yield {**row, "pair": pair, "split": split}


def topics(seed: int = 0) -> list[dict[str, str]]:
    """All rows, split by split, no transcript twice."""
    seen: set[str] = set()
    rows: list[dict[str, str]] = []
    for k, split in enumerate(SPLITS):
        rng = random.Random(seed * 100 + 50 + k)
        part = [r for r in _rows(split, rng) if r["running_message"] not in seen]
        seen.update(r["running_message"] for r in part)
        rng.shuffle(part)
        rows += part
    return [{"id": f"tp-{i:04d}", **row} for i, row in enumerate(rows, 1)]
