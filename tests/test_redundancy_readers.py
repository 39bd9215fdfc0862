"""Laws of the two readers of redundant chains, of those chains, and what is asked."""

import random
from dataclasses import replace

import pytest
from latent_models import problem, rows_for, tiny_llama

from lrkit.data.chains import step_value, verbose
from lrkit.data.problems import problems
from lrkit.latent.families import modules_of
from lrkit.latent.slots import SlotModel
from lrkit.latent.trained import run_key
from lrkit.profiles import load_profile
from lrkit.study.redundancy.asking import HIDDEN, IN_PLACE, SHOWN, asked
from lrkit.study.redundancy.compact import compact, split_compact
from lrkit.study.redundancy.damaged import as_written, damaged_row
from lrkit.study.redundancy.mentions import states
from lrkit.study.redundancy.readers import (
    MODULES,
    PLANTED,
    READERS,
    STEPS,
    Lot,
    lots,
    reader,
    reading_row,
    reading_settings,
    said,
)

PROBLEMS = [problem(k) for k in (1, 2, 3, 4)]


@pytest.fixture
def rows(chatml):
    return rows_for(SlotModel.wrap(tiny_llama(len(chatml))), chatml, 1024)


def text_of(rows, row):
    return rows.tokenizer.decode(row.rest)


# --- chains ---------------------------------------------------------------------------
def test_a_compact_chain_says_what_the_english_one_says():
    for one in problems("clock", "test", 80):
        for share in (0.0, 0.6):
            chain, english = compact(one, share, 1), verbose(one, share, 1)
            assert [(s.step, s.kind) for s in chain] == [
                (s.step, s.kind) for s in english
            ]
            for sentence in chain:
                value = step_value(one.steps[sentence.step])
                says = states(sentence.text, value)
                assert says == (sentence.kind != "hedges"), sentence
            bare = [s.text for s in chain if not s.redundant]
            assert tuple(bare) == one.steps


def test_a_compact_chain_is_cut_into_its_sentences_and_nothing_is_lost():
    for one in problems("clock", "test", 80):
        chain = compact(one, 0.6)
        text = " ".join(s.text for s in chain) + "\n"
        steps = split_compact(text)
        assert list(steps.texts) == [s.text for s in chain]
        assert steps.text(range(len(steps))) == text


@pytest.mark.parametrize("text", ["", " \n", "no step", " so <<1+1=2>>2 (3) ( 4 )x"])
def test_other_texts_lose_nothing_either(text):
    steps = split_compact(text)
    assert steps.text(range(len(steps))) in (text, "")
    assert (len(steps) > 0) == bool(text.strip())
    assert steps.text([]) == ""


# --- what is asked --------------------------------------------------------------------
def test_a_hidden_question_says_nothing_of_the_problem_and_has_its_answer():
    assert len({asked(p, HIDDEN).question for p in PROBLEMS}) == 1
    assert [asked(p, HIDDEN).answer for p in PROBLEMS] == ["2", "3", "4", "5"]
    assert asked(PROBLEMS[2], SHOWN) == PROBLEMS[2]
    with pytest.raises(ValueError, match="choose one of"):
        asked(PROBLEMS[0], "nothing")


# --- rows -----------------------------------------------------------------------------
def test_tokens_are_dropped_from_the_chain_and_never_from_the_answer(rows):
    one = PROBLEMS[3]
    answer = rows.answer(one.answer).ids
    whole = rows.chain(one)
    gone = damaged_row(rows, one, random.Random(0), 1.0, as_written, "tokens")
    assert gone.rest == answer and gone.supervised == len(answer)
    none = damaged_row(rows, one, random.Random(0), 0.0, as_written, "tokens")
    assert none.rest == whole.rest and none.supervised == len(answer)
    for seed in range(10):
        some = damaged_row(rows, one, random.Random(seed), 0.5, as_written, "tokens")
        rest = iter(whole.rest)
        assert all(i in rest for i in some.rest)
        assert some.rest[-len(answer) :] == answer
    with pytest.raises(ValueError, match="cannot be dropped"):
        damaged_row(rows, one, random.Random(0), 0.5, as_written, "words")


@pytest.mark.parametrize("written", [False, True])
def test_the_readers_differ_in_what_is_missing_alone(rows, written):
    """From the same draw: the same question, wording, ask and loss."""
    lot, shorter = Lot(PLANTED, written), 0
    for seed in range(60):
        one = PROBLEMS[seed % 4]
        whole, damaged = (
            reading_row(rows, one, random.Random(seed), lot, p) for p in (0.0, 1.0)
        )
        assert whole.before == damaged.before
        letters = iter(text_of(rows, whole))
        left = text_of(rows, damaged).replace(" ", "")
        assert all(letter in letters for letter in left)
        assert whole.supervised == damaged.supervised
        assert (whole.supervised == len(whole.rest)) == written
        shorter += len(damaged) < len(whole)
    assert shorter == 0 if written else shorter > 15


def test_rows_ask_for_all_there_is_and_have_the_redundancy_of_their_lot(rows):
    for redundancy, n_sentences in ((0.0, 4), (PLANTED, 10)):
        lot = Lot(redundancy, False)
        made = [
            reading_row(rows, PROBLEMS[3], random.Random(s), lot, 0.0)
            for s in range(150)
        ]
        begins = [rows.tokenizer.decode(row.before).strip() for row in made]
        asks = [begins.count(q) for q in (IN_PLACE, PROBLEMS[3].question)]
        assert sum(asks) == 150 and min(asks) > 50
        for row in made:
            chain = text_of(rows, row).partition("\n")[0]
            assert len(split_compact(chain)) == n_sentences
            assert set(PROBLEMS[3].steps) <= set(split_compact(chain).texts)
        assert len(said(PROBLEMS[3], redundancy)) == n_sentences


def test_batches_have_one_length_and_nothing_is_lost():
    given = problems("clock", "train", 200)
    ordered, lot_of = lots(given, 8, 0)
    assert sorted(p.id for p in ordered) == sorted(p.id for p in given)
    full = [ordered[k : k + 8] for k in range(0, 160, 8)]
    assert all(len({p.n_steps for p in batch}) == 1 for batch in full)
    assert all(len({lot_of[p.id] for p in batch}) == 1 for batch in full)
    assert len({batch[0].n_steps for batch in full[:8]}) > 2, "lengths are mixed"
    assert {lot.redundancy for lot in lot_of.values()} == {0.0, PLANTED}
    assert {lot.written for lot in lot_of.values()} == {False, True}
    assert lots(given, 8, 0) == (ordered, lot_of) != lots(given, 8, 1)


# --- trained or found -----------------------------------------------------------------
def test_a_profile_is_cut_to_the_size_of_the_readers():
    study, smoke = (load_profile(n).latent for n in ("study", "smoke"))
    assert reading_settings(study).steps == STEPS
    assert reading_settings(study) == reading_settings(load_profile("cpu").latent)
    assert reading_settings(smoke).steps == smoke.steps
    assert reading_settings(smoke).train_rows <= smoke.train_rows


def test_a_reader_is_trained_once_and_found_again(tiny_base, monkeypatch):
    profile = load_profile("smoke", "latent", base=tiny_base, context=512)
    settings = replace(reading_settings(profile.latent), steps=2, batch_size=2)
    first = reader(settings, "damaged chains")
    monkeypatch.setitem(READERS, "damaged chains", None)  # a training would fail
    again = reader(settings, "damaged chains")
    for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert a.equal(b)
    with pytest.raises(ValueError, match="choose one of whole chains, damaged chains"):
        reader(settings, "torn chains")


def test_readers_have_keys_of_their_own(tiny_base):
    settings = load_profile("smoke", "latent", base=tiny_base).latent
    keys = {run_key(settings, method, 0) for method in (*READERS, "CoT")}
    assert len(keys) == 3
    assert set(MODULES) < set(modules_of("whole chains")) > set(modules_of("CoT"))
