"""The text that the embedded base `talk` learns to read from.

Documents in ChatML: a support chat, then a *note* that says for each problem what the
customer has said of it, or the next message of the chat. Chats use the training
split's scenarios and forms, and further scenarios of their own, and are cut at random
places. The workbook's own
question is never asked and its answer never given: the base learns to follow a chat,
not the task.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from lrkit.data import endings
from lrkit.data.banks import bank
from lrkit.data.story import CUSTOMER, Story, quote

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


def documents(seed: int) -> Iterator[list[dict[str, str]]]:
    """An endless stream of chats as `[{"role", "content"}, ...]`."""
    rng = random.Random(seed)
    while True:
        s = _history(rng)
        if rng.random() < 0.75:
            ask, transcript, answer = rng.choice(ASK_NOTE), s.text(), note(s)
        else:
            cut = rng.randrange(1, len(s.turns)) if len(s.turns) > 1 else 1
            lines = s.text().split("\n")
            ask, transcript = rng.choice(ASK_NEXT), "\n".join(lines[:cut])
            answer = lines[cut] if cut < len(lines) else s.form("a_ask")
        content = f"{ask}\n\n{FENCE}\n{transcript}\n{FENCE}"
        yield [
            {"role": "system", "content": content},
            {"role": "assistant", "content": answer},
        ]
