"""A support chat in the making: turns, and what the customer has confirmed so far.

A `Story` keeps two things side by side: the transcript, and for every problem of this
customer whether *the customer* has said that it is gone, with the words used. Labels
and reasons are read off that state, never off the words. The blocks below
(`report`, `failed_attempt`, `solved`, `pending_*`) are the scenes that endings are
made of; `lrkit.data.endings` says which scenes make which label.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from lrkit.data.banks import Bank, Lost, Problem, Scenario, Step
from lrkit.data.style import Persona

CUSTOMER, AGENT = "Customer", "Support Agent"


def quote(text: str, n_words: int = 9) -> str:
    """The words of a message as a reason quotes them: first words, single quotes."""
    words = text.replace('"', "").split()
    clipped = " ".join(words[:n_words]).rstrip(".!,;:-")
    return f"'{clipped}{'...' if len(words) > n_words else ''}'"


@dataclass
class Status:
    """What the customer last said of one problem."""

    fixed: bool = False
    words: str = ""


@dataclass
class Story:
    """A chat of one customer about one scenario, written turn by turn."""

    bank: Bank
    scenario: Scenario
    persona: Persona
    rng: random.Random
    problems: list[Problem | Lost]
    turns: list[tuple[str, str]] = field(default_factory=list)
    status: dict[str, Status] = field(default_factory=dict)
    forms_used: list[str] = field(default_factory=list)
    acts: list[list[str]] = field(default_factory=list)  # per turn: what it does
    n_open: list[int] = field(default_factory=list)  # per turn: open problems after it
    asked: Step | None = None  # the step last asked for; None for a place to look

    def __post_init__(self) -> None:
        self.status = {p.noun: Status() for p in self.problems}
        self._doing: list[str] = []  # acts of the message in the making

    # --- words -------------------------------------------------------------------
    def form(self, family: str, **slots: str) -> str:
        """A line of a family of this split, its id remembered."""
        form_id, text = self.rng.choice(self.bank.forms[family])
        self.forms_used.append(form_id)
        self._doing.append(family)
        return text.format(**slots) if slots else text

    def line(self, act: str, lines: tuple[str, ...]) -> str:
        """A line of this scenario, and what saying it does (named like a family)."""
        self._doing.append(act)
        return self.rng.choice(lines)

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return self.rng.random() < p

    def customer(self, *parts: str) -> str:
        """Add a customer message, rendered in this persona's style; returns it."""
        return self.customer_wrote(self.persona.render(list(parts), self.rng))

    def customer_wrote(self, text: str, act: str | None = None) -> str:
        """Add a customer message as it stands; `act` says what it does."""
        if act:
            self._doing.append(act)
        self._add(CUSTOMER, text)
        return text

    def agent(self, *parts: str) -> None:
        """Add an agent message; agents write properly."""
        self._add(AGENT, " ".join(parts))

    def _add(self, speaker: str, text: str) -> None:
        acts, self._doing = self._doing, []
        if self.turns and self.turns[-1][0] == speaker:
            text = f"{self.turns.pop()[1]} {text}"
            acts = self.acts.pop() + acts
            self.n_open.pop()
        self.turns.append((speaker, text))
        self.acts.append(acts)
        self.n_open.append(len(self.open_problems()))

    def text(self) -> str:
        """The transcript, one turn a line."""
        return "\n".join(f"{speaker}: {text}" for speaker, text in self.turns)

    def last_agent(self) -> str:
        """The agent's last message."""
        said = [t for s, t in self.turns if s == AGENT]
        return said[-1] if said else ""

    def open_problems(self) -> list[str]:
        """Nouns of the problems that the customer has not called fixed."""
        return [noun for noun, s in self.status.items() if not s.fixed]

    def set(self, problem: Problem | Lost, fixed: bool, words: str) -> None:
        """Remember what the customer said of a problem."""
        self.status[problem.noun] = Status(fixed, words)
        if self.n_open:
            self.n_open[-1] = len(self.open_problems())

    # --- scenes ------------------------------------------------------------------
    def opening(self) -> None:
        """The customer reports every problem; small talk may surround it."""
        if self.chance(0.45):
            self.agent(self.form("a_greeting"))
        parts = [self.form("c_greeting")] if self.chance(0.5) else []
        for i, problem in enumerate(self.problems):
            if i:
                parts.append(self.form("new_problem"))
            parts.append(self.line("report", problem.report))
        if self.chance(0.3):
            parts.append(self.form("used_to_work"))
        self.customer(*parts)
        if self.chance(0.3):
            self.agent(self.form("a_noted"), self.form("a_ask"))
            self.customer(
                self.form("chitchat")
                if self.chance(self.persona.chatty)
                else self.form("used_to_work")
            )

    def ask_step(self, problem: Problem | Lost) -> Step | None:
        """The agent asks for a step; None for something lost (a place to look)."""
        if isinstance(problem, Lost):
            self.agent(self.line("a_look", problem.look))
            self.asked = None
        else:
            self.asked = self.rng.choice(problem.steps)
            self.agent(self.form("a_step", do=self.asked.do))
        return self.asked

    def says_works(self, problem: Problem | Lost, parts: list[str] | None = None):
        """The customer says of one problem that it is gone."""
        if isinstance(problem, Lost):
            line = self.form("found")
        elif self.chance(0.55):
            line = self.line("works", problem.works)
        elif self.chance(0.5):
            line = self.form("x_works", x=problem.short)
        else:
            line = self.form("works")
        said = self.customer(*(parts or []), line)
        self.set(problem, True, said)
        return said

    def says_broken(self, problem: Problem | Lost, parts: list[str] | None = None):
        """The customer says of one problem that it is still there."""
        if isinstance(problem, Lost):
            line = self.form("broken")
        elif self.chance(0.55):
            line = self.line("broken", problem.broken)
        elif self.chance(0.3):
            line = self.form("x_broken", x=problem.short)
        else:
            line = self.form("broken")
        said = self.customer(*(parts or []), line)
        self.set(problem, False, said)
        return said

    def step_done(self) -> str:
        """How this customer says that the step just asked for is done."""
        if self.asked is None:
            return self.form("step_done")
        return self.line("step_done", self.asked.done)

    def step_and_outcome(self, problem: Problem | Lost, fixed: bool) -> str:
        """Step asked, carried out (perhaps said so, perhaps asked about), outcome."""
        self.ask_step(problem)
        done = self.step_done()
        way = self.rng.randrange(3)
        say = self.says_works if fixed else self.says_broken
        if way == 0:
            self._doing.clear()  # goes unsaid
            return say(problem)
        if way == 1:
            return say(problem, [done])
        self.customer(done)
        self.agent(self.form("a_check_works" if self.chance(0.6) else "a_check_broken"))
        return say(problem)

    def failed_attempt(self, problem: Problem | Lost) -> None:
        """A step that does not help, and the agent's reaction."""
        self.step_and_outcome(problem, fixed=False)
        self.agent(self.form("a_sorry"))

    def comes_back(self) -> None:
        """The agent needs time; the customer writes again later."""
        self.agent(self.form("a_wait" if self.chance(0.6) else "a_claim"))
        self.customer(self.form("ack"))
        self.agent(self.form("a_greeting"))

    def solve(self, problem: Problem | Lost) -> str:
        """The customer confirms that a problem is gone, after detours or not."""
        if self.chance(0.35):
            self.failed_attempt(problem)
        if self.chance(0.25):
            self.comes_back()
            return self.says_works(problem)
        return self.step_and_outcome(problem, fixed=True)

    def react(self, glad: float = 0.6) -> None:
        """The agent's reaction to good news."""
        self.agent(self.form("a_glad" if self.chance(glad) else "a_noted"))

    def turn_to(self, problem: Problem) -> None:
        """The agent takes up the next problem."""
        if self.chance(0.7):
            self.react()
        self.agent(self.form("a_next", x=problem.short))
