"""The three-class chats: what the committed file claims, and what makes a label."""

import random
import re
from collections import defaultdict

import pytest
from words import bank_lines, extent, held_out_messages, normalised

from lrkit.data import banks, conversations, topics
from lrkit.data.conversations import read_rows
from lrkit.data.style import Persona
from lrkit.paths import data_dir

EVALUATION = ("validation", "calibration", "test")


@pytest.fixture(scope="module")
def rows():
    return read_rows(data_dir() / "topics.csv", topics.TOPICS, need_reason=True)


@pytest.fixture(scope="module")
def gold():
    return conversations.gold_standard()


@pytest.fixture(scope="module")
def card():
    text = (data_dir() / "README.md").read_text("utf-8")
    return text.split("\n## topics.csv\n")[1].split("\n## ")[0]


def forms_of(pattern: str) -> list[str]:
    """The ids of the lines that a row's pattern names."""
    return [form for form in pattern.split("/")[1].split("+") if form]


def named(reason: str) -> tuple[str, str]:
    """The request and the aside that a reason quotes, "" for no aside."""
    shape = r"the customer asks for help with '(.+?)'(?: and only mentions '(.+)')?"
    request, aside = re.fullmatch(shape, reason).groups(default="")
    return request.removesuffix("..."), aside.removesuffix("...")


def last_message(chat: str) -> str:
    return chat.rsplit("\n", 1)[-1]


# --- the file -------------------------------------------------------------------------


def test_the_committed_file_is_what_the_generator_makes(rows):
    assert list(rows.columns) == list(topics.COLUMNS)
    made = topics.topics()
    assert rows.to_dict("records") == [{c: r[c] for c in rows.columns} for r in made]


def test_another_seed_makes_other_chats(rows):
    other = {row["running_message"] for row in topics.topics(seed=1)}
    assert len(other & set(rows.running_message)) < 0.05 * len(rows)


def test_every_split_has_as_many_chats_of_each_topic(rows):
    for split, n in topics.QUOTAS.items():
        counts = rows[rows.split == split].label.value_counts().to_dict()
        assert counts == dict.fromkeys(topics.TOPICS, n)


def test_no_transcript_occurs_twice_or_in_the_gold_standard(rows, gold):
    texts = [normalised(t) for t in (*rows.running_message, *gold.running_message)]
    assert len(set(texts)) == len(texts)


def test_a_triple_is_one_last_message_under_three_labels(rows):
    triples = rows[rows.pair != ""]
    assert len(triples) == pytest.approx(topics.TWINS * len(rows), rel=0.02)
    for name, triple in triples.groupby("pair"):
        assert sorted(triple.label) == sorted(topics.TOPICS), name
        assert triple.split.nunique() == 1, name
        (last,) = set(map(last_message, triple.running_message))
        assert last.startswith("Customer: "), name


# --- what decides the label -----------------------------------------------------------


def test_what_is_asked_for_has_the_topic_of_the_label_and_an_aside_another(rows):
    for row in rows.itertuples():
        families = [form.split(":")[0] for form in forms_of(row.pattern)]
        wanted = [f for f in families if f.endswith("_request")]
        from_scenario = row.label == "technical" and not wanted
        assert from_scenario or wanted == [f"{row.label}_request"], row.id
        asides = {f.removesuffix("_aside") for f in families if f.endswith("_aside")}
        assert row.label not in asides, row.id
        turns = [f for f in families if f.startswith("turn_to_")]
        assert turns in ([], [f"turn_to_{row.label}"]), row.id


def test_a_reason_names_the_request_and_the_aside_if_there_is_one(rows):
    for row in rows.itertuples():
        request, aside = named(row.reason)
        assert normalised(request), row.id
        assert bool(aside) == ("_aside" in row.pattern), row.id


def test_a_chat_says_what_its_reason_quotes(monkeypatch):
    """Typed by somebody who makes no mistakes, so that it is found word by word."""
    plain = Persona("lower", 0.0, 0.0, 0.0, 0.0, 0.0)
    monkeypatch.setattr(Persona, "draw", lambda rng: plain)
    for seed in range(300):
        topic = topics.TOPICS[seed % 3]
        row = topics.chat("train", topic, random.Random(seed), last="since monday")
        said = normalised(row["running_message"])
        assert all(normalised(quoted) in said for quoted in named(row["reason"])), row
        assert last_message(row["running_message"]) == "Customer: since monday"


# --- splits share no words ------------------------------------------------------------


def test_a_line_belongs_to_one_split(rows):
    owners = defaultdict(set)
    for row in rows.itertuples():
        for form in forms_of(row.pattern):
            owners[form].add(row.split)
    assert len(owners) > 800
    assert {form for form, splits in owners.items() if len(splits) > 1} == set()


def test_no_line_of_this_bank_or_of_the_others_is_in_two_splits():
    owners = defaultdict(set)
    for split in banks.SPLITS:
        own = [t for family in banks.topic_lines(split).values() for _, t in family]
        for line in (*own, *bank_lines(split)):
            owners[normalised(line)].add(split)
    for line in bank_lines("pretraining"):
        owners[normalised(line)].add("train")
    shared = {t for t, who in owners.items() if len(who) > 1 and len(t.split()) > 2}
    assert shared == set()


@pytest.mark.parametrize("split", banks.SPLITS)
def test_faults_of_products_are_those_of_the_splits_own_scenarios(rows, split):
    reports = {
        normalised(report)
        for scenario in banks.bank(split).scenarios
        for problem in scenario.problems
        for report in problem.report
    }
    mine = rows[(rows.split == split) & (rows.label == "technical")]
    own = mine[~mine.pattern.str.contains("technical_request")]
    assert len(own) > 0.3 * len(mine)
    for row in own.itertuples():
        request = normalised(named(row.reason)[0])
        assert any(report.startswith(request) for report in reports), row.id


@pytest.mark.parametrize("split", EVALUATION)
def test_no_message_of_an_evaluation_split_is_in_train(rows, gold, split):
    assert len(held_out_messages(rows, split, gold)) > 90


# --- the card -------------------------------------------------------------------------


def test_the_card_counts_what_the_file_holds(rows, card):
    shown = re.findall(r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|", card, re.M)
    parts = {split: rows[rows.split == split] for split in banks.SPLITS}
    assert [s for s, *_ in shown] == [*parts, "all"]
    for split, *numbers in shown:
        part = parts.get(split, rows)
        in_triples = (part.pair != "").sum()
        aside = part.pattern.str.contains("_aside").sum()
        counts = [len(part), len(part) // len(topics.TOPICS), in_triples, aside]
        assert list(map(int, numbers)) == counts, split
    lines = [banks.topic_lines(split).values() for split in banks.SPLITS]
    n_lines = sum(len(family) for bank in lines for family in bank)
    assert f"{n_lines:,} lines in all" in (data_dir() / "README.md").read_text("utf-8")
    flat = " ".join(card.split())
    assert all(said in flat for said in extent(rows.running_message))


def test_further_chats_have_lines_of_the_training_split_and_none_is_another(rows):
    some = topics.more(150)
    assert topics.more(60) == some[:60] and len({row["id"] for row in some}) == 150
    assert len({row["running_message"] for row in some}) == 150
    counts = [sum(row["label"] == topic for row in some) for topic in topics.TOPICS]
    assert max(counts) - min(counts) <= 5
    assert set(some[0]) == set(topics.COLUMNS)
    forms = {form for row in some for form in forms_of(row["pattern"])}
    held_out = rows[rows.split.isin(EVALUATION)]
    assert not forms & {form for p in held_out.pattern for form in forms_of(p)}
