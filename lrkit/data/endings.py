"""How a support chat ends, and what that ending means.

Question: "Is the customer saying that all of their technical problems are resolved?"

* `yes` if the customer, by the end, has said of every problem that it is gone, or says
  that nothing else is needed once all is dealt with.
* `no` for everything short of that: thanks, a step carried out, a part that works, a
  new problem, a promise to try later, giving up, sarcasm, doubt, an agent's claim.

`PAIRS` are contrastive: one last customer message under two histories with two
labels. `SINGLES` stand alone. Each ending also names its *evidence*, the kind of
thing that decides the label, and a reason that quotes this very conversation.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from lrkit.data.banks import Bank
from lrkit.data.histories import (
    all_but_last_solved,
    all_solved,
    claim,
    first_left_open,
    open_nouns,
    something_open,
    step,
    wait,
    words_of_fixes,
)
from lrkit.data.story import Status, Story, quote
from lrkit.data.style import Persona


@dataclass(frozen=True)
class Ending:
    """One finished conversation with its label and what decides it."""

    text: str
    label: str
    reason: str
    evidence: str
    family: str
    pattern: str
    scenario: str
    n_problems: int


# --- pairs: the same last message, two histories -------------------------------------
def closing_pair(family: str, yes: Story, no: Story, last: str):
    """Thanks, praise, goodbye...: after confirmed success, or with something open."""
    all_solved(yes)
    q = quote(last)
    if family == "no_word_bare":
        yes.agent(yes.form("a_anything_else"))
        evidence, why = step(no)
        no.customer(no.step_done())
        no.agent(no.form("a_check_works"))
        return (
            ("nothing_else", f"{q} comes after {words_of_fixes(yes)}"),
            ("answer_broken", f"{q} means that {open_nouns(no)} is still there"),
        )
    history = no.rng.choices((step, wait, claim), (4, 4, 3))[0]
    evidence, why = history(no)
    return (
        ("confirmed_earlier", f"the customer had already said {words_of_fixes(yes)}"),
        (evidence, f"{q} only closes the message and {why}"),
    )


def works_pair(family: str, yes: Story, no: Story, last: str):
    """ "It works now": the last open problem, or one of two."""
    all_but_last_solved(yes)
    first_left_open(no)
    q = quote(last)
    for s in (yes, no):  # what will have been said, for the reasons; not yet counted
        s.status[s.problems[-1].noun] = Status(True, last)
    done = f"{q} settles {yes.problems[-1].noun}"
    if len(yes.problems) > 1:
        first = yes.status[yes.problems[0].noun].words
        done += f" and {quote(first)} had settled {yes.problems[0].noun}"
    return (
        ("fix_stated", done),
        (
            "other_open",
            f"{q} settles {no.problems[-1].noun} but {open_nouns(no)} is open",
        ),
    )


def polarity_pair(family: str, yes: Story, no: Story, last: str):
    """A bare yes or no: what it means depends on the agent's question."""
    checks = {"yes_word": "a_check_works", "no_word": "a_check_broken"}
    opposite = {"yes_word": "a_check_broken", "no_word": "a_check_works"}
    all_but_last_solved(yes)
    yes.customer(yes.step_done())
    yes.agent(yes.form(checks[family]))
    something_open(no)
    no.ask_step(no.problems[-1])
    no.customer(no.step_done())
    done_only = family == "yes_word" and no.chance(0.35)
    no.agent(no.form("a_check_done" if done_only else opposite[family]))
    q, ask_yes, ask_no = quote(last), yes.last_agent(), no.last_agent()
    means = (
        "is a step and no result"
        if done_only
        else f"is about {open_nouns(no)} remaining"
    )
    return (
        (
            "answer_works",
            f"{q} answers {quote(ask_yes, 12)}, so {open_nouns(yes)} is gone",
        ),
        (
            "step_done" if done_only else "answer_broken",
            f"{q} answers {quote(ask_no, 12)}, which {means}",
        ),
    )


def found_pair(family: str, yes: Story, no: Story, last: str):
    """ "I found it": the lost thing itself, or a menu on the way."""
    lost, problem = yes.scenario.lost, no.problems[-1]
    yes.problems, yes.status = [lost], {lost.noun: type(yes.status[problem.noun])()}
    yes.opening()
    if yes.chance(0.5):
        yes.failed_attempt(lost)
    yes.ask_step(lost)
    something_open(no)
    asked = no.line("a_look", no.scenario.locate)
    no.agent(asked)
    q, ask = quote(last), quote(asked, 12)
    return (
        ("found_it", f"{q} means that {lost.noun} turned up"),
        ("found_step", f"{q} answers {ask}, a step on the way to {open_nouns(no)}"),
    )


def chore_pair(family: str, yes: Story, no: Story, last: str):
    """ "Done": a last chore after success, or a step whose outcome is unknown."""
    all_solved(yes)
    yes.agent(yes.form("a_chore"))
    _, why = step(no)
    return (
        (
            "confirmed_earlier",
            f"before the chore the customer said {words_of_fixes(yes)}",
        ),
        ("step_done", f"{quote(last)} reports a step: {why}"),
    )


PAIRS: dict[str, tuple[Callable, float]] = {
    "ack": (closing_pair, 3.0),
    "praise": (closing_pair, 2.0),
    "bye": (closing_pair, 0.8),
    "contact_again": (closing_pair, 1.2),
    "chitchat": (closing_pair, 0.6),
    "no_word_bare": (closing_pair, 1.0),
    "works": (works_pair, 1.6),
    "specific_works": (works_pair, 1.6),
    "x_works": (works_pair, 1.2),
    "yes_word": (polarity_pair, 1.8),
    "no_word": (polarity_pair, 1.8),
    "found": (found_pair, 1.4),
    "step_done": (chore_pair, 1.4),
}


# --- singles -------------------------------------------------------------------------
def explicit_fix(s: Story):
    """The customer names the fix in the last message."""
    all_but_last_solved(s)
    thanks = [s.form("ack")] if s.chance(0.4) else []
    said = s.says_works(s.problems[-1], thanks)
    return "yes", "fix_stated", f"the customer says {quote(said)} and nothing is open"


def all_work(s: Story):
    """ "Everything works now."."""
    all_but_last_solved(s)
    said = s.customer(s.form("all_works"))
    return "yes", "fix_stated", f"{quote(said)} covers {_nouns(s)}"


def nothing_else(s: Story):
    """Asked whether anything is left, the customer says no."""
    all_solved(s)
    s.agent(s.form("a_anything_else"))
    said = s.customer(s.form("no_more"))
    return "yes", "nothing_else", f"{quote(said)} comes after {words_of_fixes(s)}"


def still_broken(s: Story):
    """Explicitly not solved."""
    something_open(s)
    s.ask_step(s.problems[-1])
    said = s.says_broken(s.problems[-1])
    return (
        "no",
        "still_broken",
        f"{quote(said)} says that {open_nouns(s)} is not solved",
    )


def partial_fix(s: Story):
    """One problem is gone, another is not."""
    s.opening()
    s.solve(s.problems[0])
    if len(s.problems) > 1:
        s.turn_to(s.problems[-1])
    s.ask_step(s.problems[-1])
    said = s.says_broken(s.problems[-1], [s.form("partial")])
    return "no", "still_broken", f"{quote(said, 14)} leaves {open_nouns(s)} unsolved"


def fixed_then_new(s: Story):
    """One problem is gone or being worked on, then another comes up."""
    first, new = (
        s.problems[0],
        s.rng.choice([p for p in s.scenario.problems if p not in s.problems]),
    )
    s.problems, s.status = [first], {first.noun: s.status[first.noun]}
    all_but_last_solved(s)
    gone = s.chance(0.5)
    line = s.form("works" if gone else "ack")
    said = s.customer(line, s.form("new_problem"), s.line("report", new.report))
    if gone:
        s.set(first, True, said)
    s.problems.append(new)
    s.set(new, False, "")
    return "no", "new_problem", f"the customer now brings up {new.noun}"


def _said_after_step(family: str, evidence: str, what: str) -> Callable:
    def ending(s: Story):
        something_open(s)
        s.ask_step(s.problems[-1])
        said = s.customer(s.form(family))
        return "no", evidence, f"{quote(said)} {what} {open_nouns(s)}"

    return ending


def _nouns(s: Story) -> str:
    return " and ".join(s.status)


SINGLES: dict[str, tuple[Callable, float]] = {
    "explicit_fix": (explicit_fix, 3.0),
    "all_works": (all_work, 2.0),
    "nothing_else": (nothing_else, 3.0),
    "still_broken": (still_broken, 2.0),
    "partial_fix": (partial_fix, 1.5),
    "fixed_then_new": (fixed_then_new, 1.5),
    "later": (_said_after_step("later", "later", "puts off the step for"), 1.0),
    "give_up": (_said_after_step("give_up", "gives_up", "gives up on"), 1.0),
    "sarcasm": (_said_after_step("sarcasm", "sarcasm", "is a complaint about"), 1.0),
    "hedge": (_said_after_step("hedge", "hedge", "leaves it unsure about"), 1.0),
}
SINGLE_LABEL = {
    name: "yes" if name in ("explicit_fix", "all_works", "nothing_else") else "no"
    for name in SINGLES
}


# --- making them ---------------------------------------------------------------------
Told = tuple[Story, str, str, str, str]  # story, family, label, evidence, reason


def start(bank: Bank, rng: random.Random, n_problems: int) -> Story:
    """An empty story of a random scenario and customer."""
    scenario = rng.choice(bank.scenarios)
    problems = rng.sample(scenario.problems, n_problems)
    return Story(bank, scenario, Persona.draw(rng), rng, list(problems))


def pair_stories(bank: Bank, rng: random.Random, family: str) -> tuple[Told, Told]:
    """Both sides (yes, no) of a pair: one customer, one last message."""
    build = PAIRS[family][0]
    two = build is works_pair or (build is not found_pair and rng.random() < 0.5)
    first = start(bank, rng, 2 if two else 1)
    last_problem = first.problems[-1]
    if family == "specific_works":
        last = rng.choice(last_problem.works)
        form = f"{first.scenario.id}.{last_problem.works.index(last)}"
    else:
        form, last = rng.choice(bank.forms[family])
        last = last.format(x=last_problem.short) if family == "x_works" else last
    yes, no = (
        Story(
            bank,
            first.scenario,
            first.persona,
            random.Random(rng.getrandbits(64)),
            list(first.problems),
        )
        for _ in range(2)
    )
    message = first.persona.render([last], rng)
    told = []
    verdicts = build(family, yes, no, message)
    for s, label, (evidence, reason) in zip(
        (yes, no), ("yes", "no"), verdicts, strict=True
    ):
        s.customer_wrote(message, "works" if build is works_pair else family)
        s.forms_used.append(form)
        _settle(s, label, evidence, message)
        told.append((s, family, label, evidence, reason))
    return told[0], told[1]


def single_story(bank: Bank, rng: random.Random, family: str) -> Told:
    """An ending of a family of `SINGLES`."""
    n_problems = 2 if family == "partial_fix" or rng.random() < 0.5 else 1
    s = start(bank, rng, n_problems)
    label, evidence, reason = SINGLES[family][0](s)
    _settle(s, label, evidence, s.turns[-1][1])
    return s, family, label, evidence, reason


def _settle(s: Story, label: str, evidence: str, message: str) -> None:
    """Bring the state up to date with the last message."""
    for status in s.status.values():
        if not status.fixed and (label == "yes" or evidence == "answer_broken"):
            status.fixed, status.words = label == "yes", message
    s.n_open[-1] = len(s.open_problems())


def ending(told: Told) -> Ending:
    """The row of a told story."""
    s, family, label, evidence, reason = told
    problems = "+".join(getattr(p, "id", "lost") for p in s.problems)
    return Ending(
        text=s.text(),
        label=label,
        reason=reason,
        evidence=evidence,
        family=family,
        pattern=f"{family}/{evidence}/{s.forms_used[-1]}",
        scenario=f"{s.scenario.id}/{problems}",
        n_problems=len(s.problems),
    )


def make_pair(bank: Bank, rng: random.Random, family: str) -> tuple[Ending, Ending]:
    """A contrastive pair (yes, no): same customer, same last message."""
    yes, no = pair_stories(bank, rng, family)
    return ending(yes), ending(no)


def make_single(bank: Bank, rng: random.Random, family: str) -> Ending:
    """One ending that stands alone."""
    return ending(single_story(bank, rng, family))
