"""What has happened in a support chat before its last message.

Some histories leave nothing open, the others do; `lrkit.data.endings` adds the last
message and says what it means after them.
"""

from __future__ import annotations

from lrkit.data.story import Story, quote


# --- histories that leave nothing open ----------------------------------------------
def all_solved(s: Story) -> None:
    """Every problem is confirmed gone; the agent has the last word."""
    s.opening()
    for i, problem in enumerate(s.problems):
        if i:
            s.turn_to(problem)
        s.solve(problem)
    s.react()


def all_but_last_solved(s: Story) -> None:
    """All problems but the last are confirmed gone, the last is being worked on."""
    s.opening()
    for problem in s.problems[:-1]:
        s.solve(problem)
        s.turn_to(s.problems[-1])
    if s.chance(0.4):
        s.failed_attempt(s.problems[-1])
    s.ask_step(s.problems[-1])


# --- histories that leave something open ---------------------------------------------
def something_open(s: Story) -> None:
    """Problems are worked on and at least the last stays open; ends with a customer."""
    s.opening()
    for problem in s.problems[:-1]:
        s.solve(problem)
        s.turn_to(s.problems[-1])
    last = s.problems[-1]
    if s.chance(0.3):
        s.solve(last)
        s.react()
        s.says_broken(last)
        s.agent(s.form("a_sorry"))
    elif s.chance(0.5):
        s.failed_attempt(last)


def first_left_open(s: Story) -> None:
    """Two problems: the first was not solved or not taken up, the second is at hand."""
    s.opening()
    if s.chance(0.6):
        s.failed_attempt(s.problems[0])
        if s.chance(0.4):
            s.agent(s.form("a_wait"))
            s.customer(s.form("ack"))
    s.agent(s.form("a_next", x=s.problems[-1].short))
    if s.chance(0.4):
        s.failed_attempt(s.problems[-1])
    s.ask_step(s.problems[-1])


def wait(s: Story) -> tuple[str, str]:
    """Someone else will look at it, or a guide will be sent."""
    something_open(s)
    s.agent(s.form("a_wait" if s.chance(0.6) else "a_instructions"))
    return "waiting", f"the agent has only promised help with {open_nouns(s)}"


def step(s: Story) -> tuple[str, str]:
    """The agent has asked for a step whose outcome is unknown."""
    something_open(s)
    asked = s.ask_step(s.problems[-1])
    what = f"to {asked.do}" if asked else "to look somewhere else"
    return (
        "step_pending",
        f"the agent asked {what} and no result for {open_nouns(s)} is in",
    )


def claim(s: Story) -> tuple[str, str]:
    """The agent says it is fixed; the customer has not."""
    something_open(s)
    s.agent(s.form("a_claim"))
    return "agent_claim", f"only the agent says that {open_nouns(s)} is gone"


def open_nouns(s: Story) -> str:
    """What is still open, as a reason names it."""
    return " and ".join(s.open_problems())


def words_of_fixes(s: Story) -> str:
    """The customer's own words about each problem, as a reason quotes them."""
    return " and ".join(
        f"{quote(st.words)} about {noun}" for noun, st in s.status.items()
    )
