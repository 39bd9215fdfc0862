"""Chats labelled by what the customer wants: billing, technical or general.

Two in five mention a topic that is not wanted (an *aside*), before the request or after
it, so that single words mislead; two in five are triples with the same last message.
Lines are dealt to splits as those of the gold standard, technical reports come from the
split's own scenarios. The label is known from how a chat is made, never read off it.
"""

from __future__ import annotations

import random
from functools import partial

from lrkit.data.banks import bank, topic_lines
from lrkit.data.story import Story, quote
from lrkit.data.style import Persona
from lrkit.data.tables import split_by_split

TOPICS = ("billing", "technical", "general")
QUESTION = "What does the Customer want: help with billing, technical, or general?"
# Rows per split and label.
QUOTAS = {"train": 140, "validation": 30, "calibration": 40, "test": 60}
TWINS = 0.4  # share of rows whose last message ends a chat of each label
COLUMNS = ("id", "running_message", "label", "reason", "pattern", "pair", "split")


def _line(s: Story, family: str) -> str:
    """A line of the split's bank of topics, its id remembered by the story."""
    form_id, text = s.rng.choice(topic_lines(s.bank.split)[family])
    s.forms_used.append(form_id)
    return text


def _request(s: Story, topic: str) -> str:
    """What is wanted; a fault is one of the scenario's as often as any product's."""
    if topic == "technical" and s.chance(0.5):
        return s.rng.choice(s.problems[0].report)
    return _line(s, f"{topic}_request")


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
    c = Story(b, scenario, Persona.draw(rng), rng, list(problems))
    line = partial(_line, c)
    if c.chance(0.5):
        c.agent(line("agent_open"))
    other = rng.choice([t for t in TOPICS if t != topic])
    aside, shape = "", rng.choices(range(5), (3, 3, 1, 1, 2))[0]
    request = _request(c, topic)
    if shape == 0:  # the request alone
        c.customer(request)
    elif shape == 1:  # a lead-in, and perhaps an aside after it
        c.customer(line("lead_in"), request)
    elif shape == 2:
        aside = line(f"{other}_aside")
        c.customer(aside, line("lead_in"), request)
    elif shape == 3:
        aside = line(f"{other}_aside")
        c.customer(request, aside)
    else:  # first something beside the point, and a turn after the agent's question
        aside = line(f"{other}_aside")
        c.customer(aside)
        c.agent(line("agent_which"))
        c.customer(line("customer_detail"))
        c.agent(line("agent_open"))
        c.customer(line(f"turn_to_{topic}"), request)
    if last or c.chance(0.4):
        c.agent(line("agent_which"))
        if last:
            c.customer_wrote(last)
        else:
            c.customer(line("customer_detail"))
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


def make_split(split: str, rng: random.Random, seen: set[str]) -> list[dict[str, str]]:
    """Rows of one split up to its quota; none of `seen`, which they are added to."""
    again = random.Random(split)  # replaces repeats; the draws of other rows stay
    rows = []
    n_twins = round(TWINS * QUOTAS[split])
    for k in range(QUOTAS[split]):
        last = ""
        if k < n_twins:
            detail = rng.choice(topic_lines(split)["customer_detail"])[1]
            last = Persona.draw(rng).render([detail], rng)
        for topic in TOPICS:
            row = chat(split, topic, rng, last)
            while row["running_message"] in seen:
                row = chat(split, topic, again, last)
            seen.add(row["running_message"])
            pair = f"{split[:2]}{k:03d}" if last else ""
            rows.append({**row, "pair": pair, "split": split})
    rng.shuffle(rows)
    return rows


def topics(seed: int = 0) -> list[dict[str, str]]:
    """All rows, split by split, no transcript twice."""
    return split_by_split("tp", seed * 100 + 50, make_split)


def more(n: int) -> list[dict[str, str]]:
    """Further chats for training, from the lines of the training split alone.

    Args:
        n: at least so many rows, about as many of each label; more of them begin with
            the same.

    Returns:
        Rows with the columns of `topics.csv`; no transcript twice, no triples.
    """
    rng, seen, rows = random.Random("more topics"), set(), []
    while len(rows) < n:
        for topic in TOPICS:
            row = chat("train", topic, rng)
            if row["running_message"] in seen:
                continue
            seen.add(row["running_message"])
            rows.append(
                {**row, "id": f"mt{len(rows):05d}", "pair": "", "split": "train"}
            )
    return rows
