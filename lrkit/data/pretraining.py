"""The text that the embedded base `talk` learns to read from.

Documents in ChatML: a support chat, then a *note* that says for each problem what the
customer has said of it, or the next message of the chat. Between them come *echoes*:
repeat one message of a chat, often of words thrown together at random. Without echoes a
model of this size learns the phrases by heart and never learns to copy from its context
(measured: 0 of 349 quotes in notes on unseen chats were copied). Chats use the training
split's scenarios and forms, and further scenarios of their own, and are cut at random
places. The workbook's own
question is never asked and its answer never given: the base learns to follow a chat,
not the task.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from functools import cache

from lrkit.data import endings
from lrkit.data.banks import bank
from lrkit.data.story import AGENT, CUSTOMER, Story, quote

ASK_NOTE = (
    "Write a note on each problem of this chat.",
    "What did the customer say of each problem?",
    "Sum up this chat for the next agent.",
)
ASK_NEXT = ("Write the next message of this chat.", "How does this chat go on?")
FENCE = "```"


def _history(rng: random.Random) -> Story:
    """A chat of the training split, ended or cut at a random scene."""
    b = bank("pretraining")
    if rng.random() < 0.5:
        family = rng.choice(list(endings.PAIRS))
        return rng.choice(endings.pair_stories(b, rng, family))[0]
    if rng.random() < 0.6:
        return endings.single_story(b, rng, rng.choice(list(endings.SINGLES)))[0]
    scenes = (
        endings.all_solved,
        endings.all_but_last_solved,
        endings.something_open,
        endings.first_left_open,
    )
    s = endings.start(b, rng, rng.choice((2, 2, 3)))
    rng.choice(scenes)(s)
    return s


def note(s: Story) -> str:
    """What the customer last said of each problem, in the customer's words."""
    lines = []
    for noun, status in s.status.items():
        state = "gone" if status.fixed else "open"
        said = f", the customer said {quote(status.words)}" if status.words else ""
        lines.append(f"{noun}: {state}{said}.")
    last = s.turns[-1]
    who = "customer" if last[0] == CUSTOMER else "agent"
    asked = ""
    if who == "customer" and len(s.turns) > 1:
        asked = f" in answer to {quote(s.turns[-2][1].split('. ')[-1], 12)}"
    lines.append(f"Last, the {who} wrote {quote(last[1])}{asked}.")
    return "\n".join(lines)


@cache
def _words() -> tuple[str, ...]:
    """The words of the training and pretraining scenarios, for nonsense."""
    found: set[str] = set()
    for scenario in bank("pretraining").scenarios:
        for p in scenario.problems:
            for line in (*p.report, *p.works, *p.broken):
                found.update(re.findall(r"[a-z']+", line.lower()))
    return tuple(sorted(found))


def _nonsense(rng: random.Random, n_turns: int) -> list[tuple[str, str]]:
    return [
        (
            rng.choice((CUSTOMER, AGENT)),
            " ".join(rng.choices(_words(), k=rng.randint(3, 12))),
        )
        for _ in range(n_turns)
    ]


def echo(rng: random.Random, whole: float = 0.6) -> tuple[str, str, str]:
    """(request, transcript, answer): repeat a chat of nonsense, or one message.

    Args:
        rng: source of randomness.
        whole: share in which all of a short chat is repeated; the rest asks for one
            message, half the time of nonsense and half of a real chat.
    """
    if all_of_it := rng.random() < whole:
        turns = _nonsense(rng, rng.randint(1, 3))
    elif rng.random() < 0.5:
        turns = _nonsense(rng, rng.randint(2, 6))
    else:
        turns = _history(rng).turns
    transcript = "\n".join(f"{speaker}: {text}" for speaker, text in turns)
    if all_of_it:
        return "Repeat this chat.", transcript, transcript
    if rng.random() < 0.5:
        k = rng.randrange(len(turns))
        return f"Repeat message {k + 1}.", transcript, turns[k][1]
    return "Repeat the last message.", transcript, turns[-1][1]


def documents(
    seed: int, echoes: float = 0.0, whole: float = 0.6
) -> Iterator[list[dict[str, str]]]:
    """An endless stream of chats as `[{"role", "content"}, ...]`.

    Args:
        seed: random seed.
        echoes: share of documents that are echoes, 0 to 1.
        whole: share of the echoes that repeat a whole chat, see `echo`.
    """
    rng = random.Random(seed)
    while True:
        if rng.random() < echoes:
            ask, transcript, answer = echo(rng, whole)
            yield _document(ask, transcript, answer)
            continue
        s = _history(rng)
        if rng.random() < 0.75:
            ask, transcript, answer = rng.choice(ASK_NOTE), s.text(), note(s)
        else:
            cut = rng.randrange(1, len(s.turns)) if len(s.turns) > 1 else 1
            lines = s.text().split("\n")
            ask, transcript = rng.choice(ASK_NEXT), "\n".join(lines[:cut])
            answer = lines[cut] if cut < len(lines) else s.form("a_ask")
        yield _document(ask, transcript, answer)


def _document(ask: str, transcript: str, answer: str) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": f"{ask}\n\n{FENCE}\n{transcript}\n{FENCE}"},
        {"role": "assistant", "content": answer},
    ]
