"""Laws of chains in steps: nothing is lost, and steps end where sentences do."""

import random

import pytest

from lrkit.data.chains import in_brackets, joined, parse_steps
from lrkit.data.chains import verbose as verbose_chain
from lrkit.data.gsm import gsm8k
from lrkit.data.problems import problems
from lrkit.paths import public_data_dir
from lrkit.study.redundancy.splitting import SPLITTERS, free, terse, verbose

DRAWN = problems("clock", "test", 60) + problems("words", "test", 60)
ODD = [
    "", " \n ", "\n", "One.", " Two. Three!\n", "( 2 6", "( )", "<<1+1=2>><<2+2=4>>",
    "( 2 6 )\n\n<<1+1=2>>", "a.b.c? D...  E\t\n\nF", "$$x. Y", "\\[ x. Y", ". . .",
]  # fmt: skip


@pytest.mark.parametrize("name", SPLITTERS)
def test_all_steps_in_their_order_are_the_text_whatever_it_is(name):
    rng = random.Random(0)
    letters = 'ab.A 1\n?!)"(<>=$\\[]'
    made = ["".join(rng.choices(letters, k=rng.randrange(60))) for _ in range(2000)]
    for text in [*ODD, *made]:
        steps = SPLITTERS[name](text)
        assert all(step.strip() for step in steps.texts)
        assert len(steps) == 0 or steps.text(range(len(steps))) == text, text
        assert (len(steps) == 0) == (text.strip() == ""), text


def test_terse_chains_come_apart_into_results_and_equations():
    for problem in DRAWN:
        for n in range(problem.n_steps + 1):
            short, whole = problem.steps[:n], problem.steps[n:]
            text = in_brackets(short) + (" ".join(whole) + "\n" if whole else "")
            steps = terse(text)
            results = [step.partition("=")[2].strip(">") for step in short]
            assert steps.texts == (*results, *whole)


def test_what_is_left_of_a_terse_chain_is_one():
    steps = terse("( 2 6 )<<6+1=7>> <<7-3=4>>\n")
    assert steps.text([0, 3]) == "( 2 )<<7-3=4>>\n"
    assert steps.text([1]) == "( 6 )"
    assert steps.text([3, 2, 1, 0]) == "( 6 2 )<<7-3=4>> <<6+1=7>>\n"
    assert steps.text([]) == ""


@pytest.mark.parametrize("redundancy", (0, 0.5, 0.9))
def test_verbose_chains_come_apart_into_the_sentences_they_were_made_of(redundancy):
    for problem in DRAWN:
        chain = verbose_chain(problem, redundancy)
        assert verbose(joined(chain) + "\n").texts == tuple(s.text for s in chain)


def test_some_verbose_sentences_are_two_to_the_free_splitter():
    text = "Is 7+5 really 2? It is. Let me not rush this."
    assert len(verbose(text)) == 2 and len(free(text)) == 3


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("It costs 3.5 dollars. So 7.", ["It costs 3.5 dollars.", "So 7."]),
        ("See e.g. Euler. Dr. Lee has approx. 5 eggs.", 
         ["See e.g. Euler.", "Dr. Lee has approx. 5 eggs."]),
        ("x = 3. Then y.", ["x = 3.", "Then y."]),
        ("It is 24. Then 5.", ["It is 24.", "Then 5."]),
        ("Wait... no, so. Yes... But 3?! Right", 
         ["Wait... no, so.", "Yes...", "But 3?!", "Right"]),
        ('He said "no." Then (a lot.) She left.', 
         ['He said "no."', "Then (a lot.)", "She left."]),
        ("1. Add 2.\n2. Halve it. Done\n\n- b. Next", 
         ["1. Add 2.", "2. Halve it.", "Done", "- b. Next"]),
        ("So\n\\[ a = 1. \n\nB = 2 \\]\nand $$c. D$$ E. F", 
         ["So", "\\[ a = 1. \n\nB = 2 \\]", "and $$c. D$$ E.", "F"]),
        ("no end then. and small letters. 5 follows", 
         ["no end then. and small letters.", "5 follows"]),
        # The limits that the docstring names.
        ("Ask J. Smith.", ["Ask J.", "Smith."]),
        ("A line\nbroken at a width.", ["A line", "broken at a width."]),
        ("Apples etc. Then pears.", ["Apples etc. Then pears."]),
    ],
)  # fmt: skip
def test_free_text_is_cut_behind_lines_and_sentences(text, steps):
    assert list(free(text).texts) == steps


def test_a_step_that_is_moved_keeps_a_gap_before_it():
    steps = free("One.\n\nTwo. Three.\n")
    assert steps.text([1, 2, 0]) == "Two. Three.\n\nOne.\n"
    assert steps.text([2]) == "Three.\n"
    assert steps.text([0, 2]) == "One. Three.\n"


@pytest.mark.skipif(public_data_dir() is None, reason="LRKIT_PUBLIC_DATA is unset")
def test_real_solutions_lose_nothing_and_no_equation_is_cut():
    solved = gsm8k(public_data_dir() / "gsm8k", "test")
    for problem in solved:
        text = problem.made_from["solution"]
        steps = free(text)
        assert steps.text(range(len(steps))) == text
        found = [e for step in steps.texts for e in parse_steps(step)]
        assert tuple(found) == problem.steps
        assert len(steps) >= len([line for line in text.split("\n") if line.strip()])
    assert len(solved) == 1319
