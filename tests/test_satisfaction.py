"""The chats with a score: what the committed file claims, and laws of the rubric."""

import random
import re
from collections import defaultdict

import pytest
from words import extent, held_out_messages, normalised

from lrkit.data import banks, conversations, endings, satisfaction
from lrkit.data.conversations import read_rows
from lrkit.paths import data_dir

SCORES = tuple("0123456789")
EVALUATION = ("validation", "calibration", "test")
FAMILIES = [*endings.PAIRS, *endings.SINGLES]


@pytest.fixture(scope="module")
def rows():
    return read_rows(data_dir() / "satisfaction.csv", SCORES, need_reason=True)


@pytest.fixture(scope="module")
def gold():
    return conversations.gold_standard()


@pytest.fixture(scope="module")
def card():
    text = (data_dir() / "README.md").read_text("utf-8")
    return text.split("\n## satisfaction.csv\n")[1].split("\n## ")[0]


def total(reason: str) -> int:
    """The sum that a reason writes out, not cut at 0 and 9."""
    return 5 + sum(int(n) for n in re.findall(r"([+-]\d+) ", reason))


def told(family: str, seed: int) -> list[endings.Told]:
    """The stories of a family: both sides of a pair, or one that stands alone."""
    bank, rng = banks.bank("train"), random.Random(seed)
    if family in endings.PAIRS:
        return list(endings.pair_stories(bank, rng, family))
    return [endings.single_story(bank, rng, family)]


# --- the file -------------------------------------------------------------------------


def test_the_committed_file_is_what_the_generator_makes(rows):
    assert list(rows.columns) == list(satisfaction.COLUMNS)
    made = satisfaction.satisfaction()
    assert rows.to_dict("records") == [{c: r[c] for c in rows.columns} for r in made]


def test_every_split_has_its_rows_and_no_transcript_occurs_twice(rows, gold):
    assert rows.split.value_counts().to_dict() == satisfaction.QUOTAS
    extra, hand = conversations.extra_labels(), conversations.hand_written()
    others = {normalised(t) for f in (gold, extra, hand) for t in f.running_message}
    texts = {normalised(t) for t in rows.running_message}
    assert len(texts) == len(rows)
    assert not texts & others


def test_no_score_makes_up_a_quarter_and_train_and_test_have_all(rows):
    for split, part in rows.groupby("split"):
        shares = part.label.value_counts(normalize=True)
        assert shares.max() < 1 / 4, split
        if split in ("train", "test"):
            assert set(shares.index) == set(SCORES), split


def test_a_pair_is_one_last_message_and_who_has_nothing_open_is_happier(rows):
    pairs = rows[rows.pair != ""]
    assert len(pairs) > 0.6 * len(rows)
    for name, pair in pairs.groupby("pair"):
        assert len(pair) == 2 and pair.split.nunique() == 1, name
        (last,) = {t.rsplit("\n", 1)[-1] for t in pair.running_message}
        assert last.startswith("Customer: "), name
        is_open = pair.reason.str.contains("still open")
        assert sorted(is_open) == [False, True], name
        score = pair.label.astype(int)
        assert score[~is_open].item() >= score[is_open].item() + 2, name


# --- the rubric -----------------------------------------------------------------------


def test_a_score_is_the_sum_that_its_reason_writes_out_cut_at_0_and_9(rows):
    for row in rows.itertuples():
        assert row.reason.startswith("5 "), row.id
        assert int(row.label) == min(9, max(0, total(row.reason))), row.id


@pytest.mark.parametrize("family", FAMILIES)
def test_a_problem_that_is_gone_counts_four_more_than_one_that_is_open(family):
    for seed in range(20):
        for story, _, _, evidence, _ in told(family, seed):
            before = total(satisfaction.score(story, evidence)[1])
            status = next(iter(story.status.values()))
            status.fixed = not status.fixed
            after = total(satisfaction.score(story, evidence)[1])
            assert after - before == (4 if status.fixed else -4)


@pytest.mark.parametrize(
    ("act", "points"),
    [("praise", 1), ("broken", -1), ("sarcasm", -2), ("give_up", -2)]
    + [(act, 0) for act in ("ack", "bye", "chitchat", "later", "hedge", "step_done")],
)
def test_what_a_customer_says_counts_what_the_rubric_says(act, points):
    for seed in range(20):
        ((story, *_, evidence, _),) = told("explicit_fix", seed)
        before = total(satisfaction.score(story, evidence)[1])
        story.customer(story.form(act))
        assert total(satisfaction.score(story, evidence)[1]) == before + points


@pytest.mark.parametrize("act", ["a_glad", "a_sorry", "a_claim", "a_anything_else"])
def test_what_an_agent_says_counts_nothing(act):
    for seed in range(20):
        ((story, *_, evidence, _),) = told("still_broken", seed)
        before = satisfaction.score(story, evidence)
        story.agent(story.form(act))
        assert satisfaction.score(story, evidence) == before


@pytest.mark.parametrize("family", ["yes_word", "no_word", "no_word_bare"])
def test_a_bare_answer_that_means_broken_counts_as_saying_so(family):
    found = 0
    for seed in range(60):
        story, _, _, evidence, _ = told(family, seed)[1]
        if evidence == "answer_broken":
            found += 1
            value = total(satisfaction.score(story, evidence)[1])
            assert value == total(satisfaction.score(story, "step_done")[1]) - 1
    assert found > 20


# --- splits share no words ------------------------------------------------------------


def test_scenarios_and_forms_belong_to_one_split_each(rows, monkeypatch):
    """Watches the generator at work: rows do not name what they are made of."""
    stories = {}

    def watched(tell):
        def telling(*args):
            made = tell(*args)
            for story, *_ in made if isinstance(made[0], tuple) else (made,):
                stories[story.text()] = story
            return made

        return telling

    for name in ("pair_stories", "single_story"):
        monkeypatch.setattr(satisfaction, name, watched(getattr(satisfaction, name)))
    satisfaction.satisfaction()
    owners = defaultdict(set)
    for row in rows.itertuples():
        story = stories[row.running_message]
        for used in (story.scenario.id, *story.forms_used):
            owners[used].add(row.split)
    assert {used for used, splits in owners.items() if len(splits) > 1} == set()
    products = {s.id: banks.split_of_scenario(s.id) for s in banks.scenarios()}
    assert {used: {products[used]} for used in owners if used in products} == {
        used: splits for used, splits in owners.items() if used in products
    }


@pytest.mark.parametrize("split", EVALUATION)
def test_no_message_of_an_evaluation_split_is_in_train(rows, gold, split):
    assert len(held_out_messages(rows, split, gold)) > 150


# --- the card -------------------------------------------------------------------------


def test_the_card_counts_what_the_file_holds(rows, card):
    shown = re.findall(
        r"^\| (\w+) \| (\d+) \| (\d+) \|((?: [\d.]+ \|){10})$", card, re.M
    )
    parts = {split: rows[rows.split == split] for split in banks.SPLITS}
    assert [split for split, *_ in shown] == [*parts, "all"]
    for split, n, in_pairs, shares in shown:
        part = parts.get(split, rows)
        assert (int(n), int(in_pairs)) == (len(part), (part.pair != "").sum()), split
        percent = [f"{100 * (part.label == score).mean():.1f}" for score in SCORES]
        assert re.findall(r"[\d.]+", shares) == percent, split
    flat = " ".join(card.split())
    assert all(said in flat for said in extent(rows.running_message))
    test = rows[rows.split == "test"]
    most = test.label.value_counts(normalize=True).max()
    assert f"right in at most {100 * most:.1f} % of test" in flat
    cut = sum(not 0 <= total(reason) <= 9 for reason in rows.reason)
    assert f"{cut} rows are cut" in flat
    bare = rows.pattern.isin(["yes_word", "no_word", "no_word_bare"]).sum()
    assert f"{bare} rows end in a bare yes or no" in flat
