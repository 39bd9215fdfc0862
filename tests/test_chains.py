"""Laws of chain text: what is redundant can go, what is necessary comes back."""

import re
from dataclasses import replace
from random import Random

import pytest

from lrkit.data.chains import (
    NECESSARY,
    REDUNDANT,
    in_brackets,
    joined,
    n_redundant,
    parse_steps,
    step_value,
    terse,
    verbose,
)
from lrkit.data.problems import LENGTHS, problems

SHARES = (0, 0.2, 0.5, 0.75, 0.9)


@pytest.fixture(scope="module")
def drawn():
    return [p for t in ("clock", "words") for s in LENGTHS for p in problems(t, s, 40)]


def test_the_steps_come_back_from_the_terse_chain(drawn):
    for problem in drawn:
        assert tuple(parse_steps(terse(problem))) == problem.steps
        assert step_value(problem.steps[-1]) == problem.answer


@pytest.mark.parametrize("redundancy", SHARES)
def test_the_steps_come_back_from_a_verbose_chain_whatever_is_left_out(
    drawn, redundancy
):
    for problem in drawn:
        chain = verbose(problem, redundancy)
        needed = [sentence for sentence in chain if not sentence.redundant]
        for kept in (chain, needed):
            assert tuple(parse_steps(joined(kept))) == problem.steps
        assert not parse_steps(joined([s for s in chain if s.redundant]))
        assert [s.step for s in needed] == list(range(problem.n_steps))
        assert [s.step for s in chain] == sorted(s.step for s in chain)


@pytest.mark.parametrize("redundancy", SHARES)
def test_the_share_is_the_given_one_up_to_a_sentence(drawn, redundancy):
    for problem in drawn:
        chain = verbose(problem, redundancy)
        n = sum(sentence.redundant for sentence in chain)
        exact = problem.n_steps * redundancy / (1 - redundancy)
        assert len(chain) == n + problem.n_steps and abs(n - exact) < 1
    short = [p for p in drawn if p.n_steps == 1]
    for some, n in ((drawn, 5), (short, 40)):
        chains = [verbose(p, redundancy, seed) for p in some for seed in range(n)]
        share = sum(s.redundant for c in chains for s in c) / sum(map(len, chains))
        assert share == pytest.approx(redundancy, abs=0.02)


def test_a_redundant_sentence_says_no_number_that_its_step_does_not(drawn):
    for problem in drawn:
        for sentence in verbose(problem, 0.8):
            known = re.findall(r"\d+", problem.steps[sentence.step])
            assert set(re.findall(r"\d+", sentence.text)) <= set(known)
            assert sentence.text[0].isupper() and "{" not in sentence.text


def test_no_form_comes_again_before_all_others_have_come(drawn):
    n_forms = sum(map(len, REDUNDANT.values()))
    for problem in drawn:
        # Twenty-four hesitations and checks of one and the same step.
        same = replace(problem, steps=problem.steps[:1] * 8)
        texts = [s.text for s in verbose(same, 0.75) if s.redundant]
        assert len(texts) == n_forms == len(set(texts))


def test_the_banks_are_wide_and_nothing_is_in_them_twice():
    forms = [*NECESSARY, *(form for bank in REDUNDANT.values() for form in bank)]
    assert len(set(forms)) == len(forms) and len(REDUNDANT) == 3
    assert all(len(bank) >= 5 for bank in (NECESSARY, *REDUNDANT.values()))
    assert not any(parse_steps(f.format(left="1+1", value=2, step="")) for f in forms)


def test_the_seed_decides_the_wording_and_the_problem_does(drawn):
    problem = max(drawn, key=lambda p: p.n_steps)
    assert verbose(problem, 0.5, seed=1) == verbose(problem, 0.5, seed=1)
    assert verbose(problem, 0.5, seed=1) != verbose(problem, 0.5, seed=2)
    other = replace(problem, id="another")
    assert verbose(problem, 0.5) != verbose(other, 0.5)


def test_a_problem_without_steps_has_an_empty_chain(drawn):
    bare = replace(drawn[0], steps=())
    assert verbose(bare, 0.5) == [] and terse(bare) == "" == joined([])


def test_steps_are_found_in_written_text_as_they_stand():
    text = "12/60 = $<<12/60=0.2>>0.2 a minute, 50 of them <<0.2*50=10>>10. <<x>> 2<3"
    assert parse_steps(text) == ["<<12/60=0.2>>", "<<0.2*50=10>>"]
    assert step_value("<<100-50-30-15=5>>") == "5"
    assert step_value("<<3/4=3/4>>") == "3/4"
    assert parse_steps("no equation") == []


def test_what_is_no_equation_or_no_share_is_refused():
    for text in ("7+5=12", "<<7+5>>", "<<1+1=2>> <<2+2=4>>", ""):
        with pytest.raises(ValueError, match="is no equation"):
            step_value(text)
    for share in (-0.1, 0.96, 1):
        with pytest.raises(ValueError, match=r"from 0 to 0\.95"):
            n_redundant(3, share, Random(0))


def test_results_alone_are_those_of_the_steps():
    for p in problems("words", "test", 50):
        left, *short, right = in_brackets(p.steps).split(" ")
        assert short == [s.rpartition("=")[2].strip(">") for s in p.steps]
        assert (left, right) == ("(", ")")
    assert in_brackets(()) == ""
    with pytest.raises(ValueError, match="'2' is no equation"):
        in_brackets(["<<1+1=2>>", "2"])


def test_an_edge_comes_to_the_node_it_leads_to():
    assert step_value("Every banpus is a dolpus.") == "dolpus"
    assert in_brackets(["Ida is a banpus.", "Every banpus is a dolpus."]) == (
        "( banpus dolpus )"
    )
    for wrong in ("Every banpus is a dolpus", "A banpus.", "<<1+1>>", ""):
        with pytest.raises(ValueError, match="is no equation"):
            step_value(wrong)
