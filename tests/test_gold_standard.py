"""What the committed data claim, checked on the files themselves.

The files are those that the generator makes; they are of the stated size; their splits
share no words; they cannot be solved without reading the chat; and every reason points
into its own conversation.
"""

import random
import re
from collections import defaultdict
from itertools import islice

import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from words import bank_lines, messages, normalised

from lrkit.data import banks, build, conversations, pretraining
from lrkit.paths import root
from lrkit.pretrain.recipe import STAGES

EVALUATION = ("validation", "calibration", "test")

COINED_TWICE: set[str] = set()  # phrases known to be in two banks; keep it empty
# What everybody writes, found in hand_written and in the generated chats alike.
EVERYDAY = {"you too bye", "still the same", "yes it is"}


@pytest.fixture(scope="module")
def gold():
    return conversations.gold_standard()


@pytest.fixture(scope="module")
def extra():
    return conversations.extra_labels()


@pytest.fixture(scope="module")
def hand():
    return conversations.hand_written()


@pytest.fixture(scope="module")
def made():
    return build.gold_standard()


@pytest.fixture(scope="module")
def extra_messages(extra):
    return messages(extra.running_message)


@pytest.fixture(scope="module")
def pretraining_messages():
    """Customers' messages of 500 documents of every stage."""
    chats = []
    for stage in STAGES:
        stream = pretraining.documents(0, 0.0, 0.0, 0.0, stage.kinds)
        for document in islice(stream, 500):
            chats += [m["content"] for m in document]
    said = messages(chats)
    assert len(said) > 1000, "the chats were not found in the documents"
    return said


# --- the files are what the generator makes -------------------------------------------


def test_the_committed_gold_standard_is_what_the_generator_makes(gold, made):
    assert list(gold.columns) == list(build.COLUMNS)
    as_text = [{c: str(row[c]) for c in build.COLUMNS} for row in made]
    assert gold.to_dict("records") == as_text


def test_the_committed_extra_rows_are_what_the_generator_makes(made, extra):
    """The generator's first 882 of 10,000, which shuffling has spread over the file."""
    assert list(extra.columns) == ["id", "running_message", "label"]
    assert list(extra.id) == [f"ex-{i:05d}" for i in range(1, 10_001)]
    seen = {row["running_message"] for row in made}
    first = build.make_split("train", random.Random(1), seen)
    committed = dict(zip(extra.running_message, extra.label, strict=True))
    kept = [r for r in first if r["running_message"] in committed]
    # 12 batches of 882 are made and the 584 last ones after shuffling are left out.
    assert len(kept) > 0.9 * len(first)
    assert all(committed[r["running_message"]] == r["label"] for r in kept)


# --- size and shape -------------------------------------------------------------------


def test_there_are_as_many_rows_of_each_label_as_stated(gold, extra):
    assert len(gold) == 1482
    assert gold.label.value_counts().to_dict() == {"no": 764, "yes": 718}
    per_split = gold.groupby(["split", "label"]).size().to_dict()
    assert per_split == {
        (split, label): n
        for split, quota in build.QUOTAS.items()
        for label, n in quota.items()
    }
    assert len(extra) == 10_000
    assert 0.45 < (extra.label == "yes").mean() < 0.5


@pytest.mark.parametrize("split", EVALUATION)
def test_always_answering_the_same_is_right_in_half_of_an_evaluation_split(gold, split):
    assert (gold[gold.split == split].label == "yes").mean() == 0.5


def test_no_transcript_occurs_twice_in_or_across_files(gold, extra, hand):
    texts = [*gold.running_message, *extra.running_message, *hand.running_message]
    assert len({normalised(t) for t in texts}) == len(texts)


def test_one_split_at_a_time_is_the_file_in_parts(gold):
    parts = [conversations.gold_standard(split) for split in banks.SPLITS]
    assert sorted(i for part in parts for i in part.id) == sorted(gold.id)
    with pytest.raises(ValueError, match=r"no split 'dev'.*: there are calibr"):
        conversations.gold_standard("dev")


# --- contrastive pairs ----------------------------------------------------------------


@pytest.mark.parametrize("split", banks.SPLITS)
def test_at_least_three_rows_in_five_are_in_pairs(gold, split):
    assert (gold[gold.split == split].pair != "").mean() >= 0.6


def test_a_pair_is_one_last_message_with_two_histories_and_two_labels(gold):
    for name, pair in gold[gold.pair != ""].groupby("pair"):
        assert sorted(pair.label) == ["no", "yes"], name
        assert pair.split.nunique() == 1, name
        assert pair.running_message.nunique() == 2, name
        (last,) = {t.rsplit("\n", 1)[-1] for t in pair.running_message}
        assert last.startswith("Customer: "), name


# --- splits share no words ------------------------------------------------------------


def test_scenarios_patterns_and_forms_belong_to_one_split_each(gold):
    rows = gold.assign(
        product=gold.scenario.str.split("/").str[0],
        form=gold.pattern.str.rsplit("/", n=1).str[1],
    )
    for column in ("product", "scenario", "pattern", "form"):
        assert (rows.groupby(column).split.nunique() == 1).all(), column


def test_every_scenario_and_form_has_exactly_one_owner():
    owned = [s.id for split in banks.SPLITS for s in banks.bank(split).scenarios]
    assert sorted(owned) == sorted(s.id for s in banks.scenarios())
    for family, lines in banks.forms().items():
        dealt = [f for split in banks.SPLITS for f in banks.bank(split).forms[family]]
        assert sorted(dealt) == sorted(lines), family
    for split in banks.SPLITS:
        assert all(banks.bank(split).forms.values()), f"a family without {split} forms"


def test_no_line_of_the_banks_is_in_two_splits():
    owners = defaultdict(set)
    for split in (*banks.SPLITS, "pretraining"):
        for line in bank_lines(split):
            owners[normalised(line)].add("train" if split == "pretraining" else split)
    shared = {t for t, who in owners.items() if len(who) > 1 and len(t.split()) > 2}
    assert shared == COINED_TWICE


@pytest.mark.parametrize("split", EVALUATION)
def test_no_message_of_an_evaluation_split_is_ever_trained_on(
    gold, extra_messages, pretraining_messages, split
):
    held_out = messages(gold[gold.split == split].running_message)
    train = messages(gold[gold.split == "train"].running_message)
    assert not held_out & train
    assert held_out & extra_messages <= COINED_TWICE
    assert held_out & pretraining_messages <= COINED_TWICE


def test_pretraining_has_scenarios_of_its_own_and_none_of_an_evaluation_split():
    held_out = {i for ids in banks.EVALUATION_SCENARIOS.values() for i in ids}
    train, more = (
        {scenario.id for scenario in banks.bank(split).scenarios}
        for split in ("train", "pretraining")
    )
    assert train < more
    assert not held_out & more


def test_the_card_counts_what_the_files_hold(gold, extra):
    card = (root() / "data" / "README.md").read_text("utf-8")
    shown = re.findall(r"\| (yes|no) \| `(\w+)` \| .*? \| (\d+) \| (\d+) \|", card)
    assert len(shown) == gold.groupby(["label", "evidence"]).ngroups
    for label, evidence, in_all, in_test in shown:
        rows = gold[(gold.label == label) & (gold.evidence == evidence)]
        assert (len(rows), (rows.split == "test").sum()) == (int(in_all), int(in_test))
    n = extra.label.value_counts()
    assert f"{n['no']:,} no, {n['yes']:,} yes" in card
    by_problems = gold.n_problems.astype(int).value_counts()
    assert f"{by_problems[2]} rows have two problems, {by_problems[1]} have one" in card


def test_families_come_in_the_same_proportions_in_every_split(gold):
    shares = pd.crosstab(gold.family, gold.split, normalize="columns")
    assert (shares.max(axis=1) - shares.min(axis=1)).max() < 0.02
    assert (pd.crosstab(gold.family, gold.split)["test"] >= 5).all()


# --- the context is needed ------------------------------------------------------------


def bag_of_words_accuracy(gold, view) -> float:
    """Test accuracy of TF-IDF (1-2 grams) + logistic regression trained on train.

    C is chosen by cross-validation on train; rows of a pair stay in one fold.
    """
    train, test = (gold[gold.split == s] for s in ("train", "test"))
    vectors = TfidfVectorizer(ngram_range=(1, 2))
    x = vectors.fit_transform(view(train.running_message))
    search = GridSearchCV(
        LogisticRegression(solver="liblinear"),
        {"C": [0.1, 1, 10, 100]},
        cv=StratifiedGroupKFold(5, shuffle=True, random_state=0),
    )
    search.fit(x, train.label, groups=train.pair.where(train.pair != "", train.id))
    return search.score(vectors.transform(view(test.running_message)), test.label)


def test_a_bag_of_words_of_the_whole_chat_stays_under_its_ceiling(gold):
    assert bag_of_words_accuracy(gold, lambda texts: texts) <= 0.80


def test_a_bag_of_words_of_the_last_message_stays_under_its_ceiling(gold):
    accuracy = bag_of_words_accuracy(gold, lambda t: t.str.rsplit("\n", n=1).str[-1])
    assert accuracy <= 0.65


# --- reasons --------------------------------------------------------------------------


def quoted(reason: str) -> list[str]:
    """What a reason quotes; "'so far so...'" gives "so far so"."""
    found = re.findall(r"(?:^| )'(.+?)'(?=[ ,]|$)", reason)
    return [q.removesuffix("...") for q in found]


def test_every_reason_quotes_or_names_something_of_its_own_conversation(gold):
    nouns = {s.id: [p.noun for p in s.problems] for s in banks.scenarios()}
    for row in gold.itertuples():
        plain = row.running_message.replace('"', "")
        for words in quoted(row.reason):
            assert words in plain, f"{row.id} quotes {words!r}, which nobody says"
        for step in re.findall("the agent asked to (.+?) and no result", row.reason):
            assert step in plain, f"{row.id} names the step {step!r}, never asked for"
        product = row.scenario.split("/")[0]
        named = [noun for noun in nouns[product] if noun in row.reason]
        assert quoted(row.reason) or named, f"{row.id}: {row.reason}"


def test_no_reason_is_a_stock_phrase(gold):
    assert gold.reason.value_counts().max() <= 0.01 * len(gold)
    assert gold.reason.nunique() > 0.95 * len(gold)


# --- the second test set --------------------------------------------------------------


def test_hand_written_is_large_enough_and_balanced(hand):
    assert len(hand) >= 240
    assert hand.label.value_counts().nunique() == 1
    last = hand.running_message.str.rsplit("\n", n=1).str[-1]
    assert last.str.startswith("Customer: ").all()


def test_hand_written_keeps_both_labels_and_one_that_stands(hand):
    for column in ("label", "label_first", "label_second"):
        assert set(hand[column]) == {"yes", "no"}
    assert set(hand.second_sure) <= {"true", "false"}
    agreed = hand[hand.label_first == hand.label_second]
    assert (agreed.label == agreed.label_first).all()


def test_hand_written_pairs_are_one_last_message_with_two_labels(hand):
    pairs = hand[hand.pair != ""]
    assert len(pairs) >= 0.5 * len(hand)
    for name, pair in pairs.groupby("pair"):
        assert sorted(pair.label) == ["no", "yes"], name
        assert len({t.rsplit("\n", 1)[-1] for t in pair.running_message}) == 1, name


def test_hand_written_says_nothing_that_was_generated(
    hand, gold, extra_messages, pretraining_messages
):
    generated = messages(gold.running_message) | extra_messages | pretraining_messages
    own = messages(hand.running_message)
    assert own & generated <= EVERYDAY
