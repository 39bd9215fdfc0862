"""Yes/no questions about a chat, with answers known from how the chat was made.

They are about single problems, about messages, and about how many problems there are;
never the workbook's own question, whether the customer says that *all* of them are
resolved. A base that reads them learns to answer what it is asked about a chat.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from lrkit.data.story import AGENT, CUSTOMER, Story

WORKS = ("works", "x_works", "all_works", "found")
FAILED = ("broken", "x_broken")
LATER = ("a_wait", "a_instructions")
ASK_PROBLEM = (
    "Is the trouble with {noun} over?",
    "Does the customer say that the trouble with {noun} is gone?",
)


def _did(s: Story, speaker: str, acts: tuple[str, ...]) -> bool:
    return any(
        who == speaker and set(doing) & set(acts)
        for (who, _), doing in zip(s.turns, s.acts, strict=True)
    )


def _gone(s: Story) -> int:
    return sum(status.fixed for status in s.status.values())


# Each is asked of the whole chat and answered from the state at its end.
ABOUT_A_CHAT: dict[str, Callable[[Story], bool]] = {
    "Has any problem been solved?": lambda s: _gone(s) > 0,
    "Is one problem solved and another one open?": (
        lambda s: 0 < _gone(s) < len(s.status)
    ),
    "Is more than one problem open?": lambda s: len(s.open_problems()) > 1,
    "Does the customer report more than one problem?": lambda s: len(s.status) > 1,
    "Did a step fail to help?": lambda s: _did(s, CUSTOMER, FAILED),
    "Does the agent promise help for later?": lambda s: _did(s, AGENT, LATER),
    "Does the agent claim a repair?": lambda s: _did(s, AGENT, ("a_claim",)),
    "Does the last message say that something works?": (
        lambda s: bool(set(s.acts[-1]) & set(WORKS))
    ),
}


def questions(s: Story, rng: random.Random, n: int) -> list[tuple[str, bool]]:
    """Up to `n` different questions about a chat, and whether the answer is yes.

    The first is more often than not about a single problem.
    """
    single = [
        (rng.choice(ASK_PROBLEM).format(noun=noun), status.fixed)
        for noun, status in s.status.items()
    ]
    general = [(ask, answer(s)) for ask, answer in ABOUT_A_CHAT.items()]
    rng.shuffle(single)
    rng.shuffle(general)
    first = single[:1] if rng.random() < 0.75 else general[:1]
    rest = [asked for asked in single + general if asked not in first]
    rng.shuffle(rest)
    return first + rest[: n - 1]
