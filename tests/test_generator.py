"""The laws of the generator: the state of a story says what its label says.

Every family of endings is told over a few hundred seeds. Nothing here reads the
committed files; those are in test_gold_standard.py.
"""

import random
from functools import cache
from itertools import pairwise

import pytest

from lrkit.data import banks, endings
from lrkit.data.story import AGENT, CUSTOMER, Story, quote
from lrkit.data.style import Persona

SEEDS = range(200)
# What may leave something open after a message that only closes the chat.
UNSETTLED = {"step_pending", "waiting", "agent_claim"}
CLOSING = {"yes": {"confirmed_earlier"}, "no": UNSETTLED}
SETTLING = {"yes": {"fix_stated"}, "no": {"other_open"}}
EVIDENCE = {
    **{f: CLOSING for f in ("ack", "praise", "bye", "contact_again", "chitchat")},
    **{f: SETTLING for f in ("works", "specific_works", "x_works")},
    "no_word_bare": {"yes": {"nothing_else"}, "no": {"answer_broken"}},
    "yes_word": {"yes": {"answer_works"}, "no": {"answer_broken", "step_done"}},
    "no_word": {"yes": {"answer_works"}, "no": {"answer_broken"}},
    "found": {"yes": {"found_it"}, "no": {"found_step"}},
    "step_done": {"yes": {"confirmed_earlier"}, "no": {"step_done"}},
}


@pytest.fixture(scope="module")
def train():
    return banks.bank("train")


@cache
def pairs(family):
    """(yes, no) of a family, a pair for each seed, from the training bank."""
    bank = banks.bank("train")
    return [endings.pair_stories(bank, random.Random(s), family) for s in SEEDS]


@cache
def singles(family):
    bank = banks.bank("train")
    return [endings.single_story(bank, random.Random(s), family) for s in SEEDS]


def every(bank):
    """Ten endings of every family, pairs and singles alike."""
    for seed in range(10):
        for family in endings.PAIRS:
            yield from endings.pair_stories(bank, random.Random(seed), family)
        for family in endings.SINGLES:
            yield endings.single_story(bank, random.Random(seed), family)


# --- labels ---------------------------------------------------------------------------


@pytest.mark.parametrize("family", endings.PAIRS)
def test_a_pair_is_yes_with_nothing_open_and_no_with_something_open(family):
    for told in pairs(family):
        assert [label for _, _, label, _, _ in told] == ["yes", "no"]
        yes, no = told[0][0], told[1][0]
        assert yes.open_problems() == []
        assert no.open_problems() != []


@pytest.mark.parametrize("family", endings.SINGLES)
def test_a_single_is_yes_exactly_when_nothing_is_open(family):
    for story, _, label, _, _ in singles(family):
        assert label == endings.SINGLE_LABEL[family]
        assert (label == "yes") == (story.open_problems() == [])


@pytest.mark.parametrize("family", [*endings.PAIRS, *endings.SINGLES])
def test_the_running_count_ends_where_the_state_ends_and_moves_as_customers_write(
    family,
):
    """Only a customer's message settles or opens anything, and it counts at once."""
    table = pairs if family in endings.PAIRS else singles
    told = [s for t in table(family) for s in (t if family in endings.PAIRS else (t,))]
    for story, _, label, *_ in told:
        assert len(story.n_open) == len(story.turns)
        assert story.n_open[-1] == len(story.open_problems())
        assert (story.n_open[-1] == 0) == (label == "yes")
        for (speaker, _), before, after in zip(
            story.turns[1:], story.n_open, story.n_open[1:], strict=False
        ):
            assert speaker == CUSTOMER or before == after


@pytest.mark.parametrize("family", [*endings.PAIRS, *endings.SINGLES])
def test_a_last_message_settles_at_most_the_problem_at_hand(family):
    """A thank-you settles nothing; "it works" settles one of two problems."""
    table = pairs if family in endings.PAIRS else singles
    told = [t[0] if family in endings.PAIRS else t for t in table(family)]
    for story, _, label, evidence, _ in told:
        if label == "no":
            continue
        before = "\n".join(text for who, text in story.turns[:-1] if who == CUSTOMER)
        late = {n for n, status in story.status.items() if status.words not in before}
        closes = evidence in ("confirmed_earlier", "nothing_else")
        assert late <= (set() if closes else {story.problems[-1].noun})


@pytest.mark.parametrize("family", endings.PAIRS)
def test_each_side_of_a_pair_has_the_evidence_that_its_family_may_have(family):
    for side, label in enumerate(("yes", "no")):
        found = {told[side][3] for told in pairs(family)}
        assert found == EVIDENCE[family][label]


def test_what_is_called_fixed_the_customer_has_said(train):
    for story, _, label, _, _ in every(train):
        said = "\n".join(text for speaker, text in story.turns if speaker == CUSTOMER)
        for noun, status in story.status.items():
            assert status.words in said
            assert status.words or not status.fixed, f"{label}: {noun} fixed, unsaid"


def test_an_agent_claiming_success_settles_nothing(train):
    story = endings.start(train, random.Random(0), 1)
    story.opening()
    before = story.open_problems()
    story.agent(story.form("a_claim"))
    assert story.open_problems() == before != []


def test_a_problem_that_comes_back_is_open_again(train):
    story = endings.start(train, random.Random(0), 1)
    (problem,) = story.problems
    story.opening()
    story.solve(problem)
    assert story.open_problems() == []
    story.react()
    story.says_broken(problem)
    assert story.open_problems() == [problem.noun]


# --- pairs ----------------------------------------------------------------------------


@pytest.mark.parametrize("family", endings.PAIRS)
def test_both_sides_have_one_customer_one_product_and_one_last_message(family):
    for (yes, *_), (no, *_) in pairs(family):
        assert yes.persona == no.persona
        assert yes.scenario == no.scenario
        assert yes.turns[-1] == no.turns[-1]
        assert yes.turns[:-1] != no.turns[:-1]


def test_how_a_customer_types_is_drawn_before_the_label_is_known(train):
    """Same seed, ten families, both labels: the same customer."""
    for seed in SEEDS:
        told = [
            endings.single_story(train, random.Random(seed), family)
            for family in endings.SINGLES
            if family != "partial_fix"  # always two problems: other draws follow
        ]
        assert {label for _, _, label, _, _ in told} == {"yes", "no"}
        assert len({story.persona for story, *_ in told}) == 1


def test_casing_changes_no_letter():
    parts = ["ok, I did that", "i'm happy"]
    for seed in SEEDS:
        texts = {
            casing: Persona(casing, 0.0, 0.5, 0.5, 0.5, 0.0).render(
                parts, random.Random(seed)
            )
            for casing in ("lower", "sentence", "upper")
        }
        assert len({text.lower() for text in texts.values()}) == 1
        assert texts["lower"].islower() and texts["upper"].isupper()
        assert texts["sentence"][0] == "O" and "I'm" in texts["sentence"]


def test_a_typo_keeps_the_beginning_of_a_word_and_about_its_length():
    always = Persona("lower", 1.0, 0.0, 0.0, 0.0, 0.0)
    typed = {always.render(["printer"], random.Random(s)) for s in SEEDS}
    assert all(w[0] == "p" and abs(len(w) - len("printer")) <= 1 for w in typed)
    assert len(typed) > 10
    assert always.render(["no"], random.Random(0)) == "no", "too short to misspell"


# --- transcripts ----------------------------------------------------------------------


def test_speakers_take_turns_and_the_customer_has_the_last_word(train):
    for story, *_ in every(train):
        lines = story.text().split("\n")
        assert len(lines) == len(story.turns), "a message has a line break"
        speakers = [line.split(": ", 1)[0] for line in lines]
        assert set(speakers) == {CUSTOMER, AGENT}
        assert all(a != b for a, b in pairwise(speakers))
        assert speakers[-1] == CUSTOMER


def test_no_slot_of_a_form_stays_empty(train):
    for story, _, _, _, reason in every(train):
        for text in (story.text(), reason):
            assert "{" not in text and "}" not in text
            assert "  " not in text


def test_the_customer_reports_every_problem_the_story_has(train):
    for seed in SEEDS:
        story = endings.start(train, random.Random(seed), 2)
        story.persona = Persona("lower", 0.0, 0.0, 0.0, 0.0, 0.0)
        story.opening()
        for problem in story.problems:
            reports = [report.lower() for report in problem.report]
            assert any(report in story.text() for report in reports)


def test_a_quotation_is_the_beginning_of_what_was_said():
    assert quote("it works now") == "'it works now'"
    assert quote("it works now!") == "'it works now'"
    assert quote('he said "no" to me') == "'he said no to me'"
    assert quote("one two three, four", n_words=3) == "'one two three...'"


# --- determinism and banks ------------------------------------------------------------


def test_the_same_seed_tells_the_same_story(train):
    for family in endings.PAIRS:
        make = [endings.make_pair(train, random.Random(7), family) for _ in range(2)]
        assert make[0] == make[1]
        assert make[0] != endings.make_pair(train, random.Random(8), family)
    for family in endings.SINGLES:
        make = [endings.make_single(train, random.Random(7), family) for _ in range(2)]
        assert make[0] == make[1]
        assert make[0] != endings.make_single(train, random.Random(8), family)


@pytest.mark.parametrize("split", banks.SPLITS)
def test_a_story_uses_only_what_its_split_owns(split):
    bank = banks.bank(split)
    forms = {i for family in bank.forms.values() for i, _ in family}
    scenarios = {s.id for s in bank.scenarios}
    lines = {f"{s}.{n}" for s in scenarios for n in range(10)}  # a scenario's own words
    for story, *_ in every(bank):
        assert isinstance(story, Story)
        assert story.scenario.id in scenarios
        assert set(story.forms_used) <= forms | lines


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match=r"no split 'dev'.*train, validation"):
        banks.bank("dev")


@pytest.mark.parametrize("family", ["yes_word", "no_word"])
def test_a_customer_reports_the_step_that_was_asked_for(family):
    """Just before the question that the last word answers."""
    for told in pairs(family):
        for story, *_ in told:
            steps = {s.do: s for s in story.problems[-1].steps}
            ask, done = story.turns[-4][1], normalised(story.turns[-3][1])
            (step,) = [s for do, s in steps.items() if do in ask]
            if story.persona.typo == 0 and story.persona.shorthand == 0:
                assert any(normalised(d) in done for d in step.done)


def normalised(text):
    return "".join(c for c in text.lower() if c.isalpha())


def test_a_reason_quotes_the_agents_question_and_not_the_comfort_before_it():
    for _, (no, _, _, _, reason) in pairs("found"):
        asked = next(a for a in no.scenario.locate if no.turns[-2][1].endswith(a))
        assert quote(asked, 12) in reason


def test_a_new_problem_is_in_the_state():
    for story, *_ in singles("fixed_then_new"):
        assert len(story.problems) == len(story.status) == 2
        assert story.problems[-1].noun in story.open_problems()


def test_withdrawn_lines_are_never_used():
    withdrawn = {
        (family, text)
        for family, lines in banks.forms(retired=True).items()
        for _, text in lines
    }
    assert withdrawn
    for split in banks.SPLITS:
        used = {
            (family, text)
            for family, lines in banks.bank(split).forms.items()
            for _, text in lines
        }
        assert used
        assert not used & withdrawn


def test_withdrawing_a_line_moves_no_other_line(monkeypatch):
    before = {split: dict(banks.bank(split).forms) for split in banks.SPLITS}
    lines, gone = banks.forms()["praise"], banks.forms()["praise"][3]
    in_use, retired = dict(banks.forms()), dict(banks.forms(retired=True))
    in_use["praise"] = tuple(form for form in lines if form != gone)
    retired["praise"] = (gone,)
    monkeypatch.setattr(banks, "forms", lambda retired_=False, **k: _pick(k, retired_))

    def _pick(k, positional):
        return retired if positional or k.get("retired") else in_use

    for split in banks.SPLITS:
        now = banks.bank.__wrapped__(split).forms["praise"]
        assert now == tuple(f for f in before[split]["praise"] if f != gone)
