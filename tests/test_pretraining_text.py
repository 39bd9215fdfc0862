"""Laws of the text that the embedded base reads: what an answer says, the chat says."""

import random
from collections import Counter
from itertools import islice

import pytest

from lrkit.data import banks, endings, pretraining
from lrkit.data.acts import ACTS
from lrkit.data.delexicalise import WORD, delexicalise, frame_words
from lrkit.data.questions import questions
from lrkit.pretrain.recipe import READING, STAGES

IN_ONE_ANSWER = ("note", "log", "states", "next")
EVERY_KIND = {k: 1 / 4 for k in IN_ONE_ANSWER}


def every_story():
    """Ten endings of every family, pairs and singles alike."""
    bank = banks.bank("train")
    for seed in range(10):
        for family in endings.PAIRS:
            yield from endings.pair_stories(bank, random.Random(seed), family)
        for family in endings.SINGLES:
            yield endings.single_story(bank, random.Random(seed), family)


def split_document(document):
    """(request, chat, answer) of a document."""
    system, assistant = document
    assert [system["role"], assistant["role"]] == ["system", "assistant"]
    asked, _, rest = system["content"].partition(f"\n\n{pretraining.FENCE}\n")
    return asked, rest.removesuffix(f"\n{pretraining.FENCE}"), assistant["content"]


def normalised(text):
    return "".join(c for c in text.lower() if c.isalpha())


def test_notes_and_states_call_open_what_is_open_and_gone_what_is_gone():
    for story, *_ in every_story():
        lines = pretraining.note(story).split("\n")
        short = pretraining.states(story).split("\n")
        assert len(short) == len(story.status)
        for line, (noun, status) in zip(short, story.status.items(), strict=True):
            state = "gone" if status.fixed else "open"
            assert line == f"{noun}: {state}."
            assert any(long.startswith(f"{noun}: {state}") for long in lines)


def test_logs_and_comments_say_of_every_message_what_it_does():
    for story, family, *_ in every_story():
        logged = pretraining.log(story).split("\n")
        told = pretraining.commentary(story)
        assert len(logged) == len(told) == len(story.turns) == len(story.acts)
        for line, (message, comment), (speaker, text), doing in zip(
            logged, told, story.turns, story.acts, strict=True
        ):
            assert doing, text
            assert message == f"{speaker}: {text}"
            first = " ".join(text.replace('"', "").split()[:3])
            what = comment.split(".")[0]
            assert line == f'{speaker.split()[-1].lower()} "{first}" {what}.'
        if family in ACTS:
            assert ACTS[family] in told[-1][1]


def test_a_commentary_counts_what_is_open_as_the_chat_goes():
    settled = 0
    for story, _, label, *_ in every_story():
        counts = [
            int(comment.split(". ")[1].split()[0])
            for _, comment in pretraining.commentary(story)
            if " open." in comment
        ]
        reported = next(k for k, d in enumerate(story.acts) if "report" in d)
        assert len(counts) >= len(story.turns) - reported
        assert min(counts) >= 0 and max(counts) <= len(story.status)
        settled += label == "yes" and counts[-1] == 0
    assert settled > 50


def test_every_family_of_forms_has_an_act():
    assert set(banks.forms()) <= set(ACTS)


def test_an_unsaid_report_of_a_step_is_not_told():
    """A message that only says "it works" does not also say that a step is done."""
    bank, found = banks.bank("train"), 0
    for seed in range(300):
        s = endings.start(bank, random.Random(seed), 1)
        s.opening()
        s.step_and_outcome(s.problems[0], fixed=True)
        text, doing = s.turns[-1][1], s.acts[-1]
        if "step_done" in doing and s.persona.typo == s.persona.shorthand == 0:
            assert any(normalised(d) in normalised(text) for d in s.asked.done)
            found += 1
    assert found > 20


def test_unrelated_messages_come_of_every_family_and_outcomes_most_often():
    counts = Counter()
    for seed in range(400):
        story = pretraining.unrelated(random.Random(seed))
        counts.update(act for doing in story.acts for act in doing)
    assert set(banks.forms()) <= set(counts)
    common = {act for act, _ in counts.most_common(3)}
    assert common == {"works", "broken", "step_done"}


def test_replaced_words_are_replaced_alike_in_chat_and_answer():
    rng, changed = random.Random(4), 0
    frame = frame_words()
    for document in islice(pretraining.documents(4, kinds=EVERY_KIND), 150):
        _, chat, answer = split_document(document)
        new_chat, new_answer = delexicalise(rng, chat, answer)
        in_chat = {w.lower() for w in WORD.findall(chat)}
        became = dict[str, str]()
        for old, new in ((chat, new_chat), (answer, new_answer)):
            assert WORD.sub("", old) == WORD.sub("", new)
            for o, n in zip(WORD.findall(old), WORD.findall(new), strict=True):
                assert became.setdefault(o.lower(), n.lower()) == n.lower()
                if o.lower() in frame or o.lower() not in in_chat:
                    assert o == n
                changed += o != n
    assert changed > 500


@pytest.mark.parametrize("kind", IN_ONE_ANSWER)
def test_each_kind_asks_for_what_it_answers(kind):
    asks = {
        "note": pretraining.ASK_NOTE,
        "log": pretraining.ASK_LOG,
        "states": pretraining.ASK_STATES,
        "next": pretraining.ASK_NEXT,
    }
    for document in islice(pretraining.documents(3, kinds={kind: 1.0}), 40):
        asked, chat, answer = split_document(document)
        assert asked in asks[kind]
        if kind == "log":
            assert answer.count("\n") == chat.count("\n")
        if kind == "states":
            assert all(
                line.endswith((": gone.", ": open.")) for line in answer.split("\n")
            )


def test_glances_hold_the_whole_chat_and_end_with_a_comment():
    rng, lengths = random.Random(0), Counter()
    for story, *_ in every_story():
        pairs = pretraining.glances(story, rng)
        lengths[len(pairs)] += 1
        assert "\n".join(stretch for stretch, _ in pairs) == story.text()
        last = pairs[-1][1]
        assert last.startswith(f"{story.n_open[-1]} open: ")
        assert last.endswith(pretraining.log(story).split('" ')[-1])
    assert lengths[1] > 20 and sum(n for k, n in lengths.items() if k > 3) > 20


def test_a_single_glance_is_at_a_chat_cut_after_the_customer_was_heard():
    rng, cuts = random.Random(0), Counter()
    for story, *_ in every_story():
        chat, comment = pretraining.glance(story, rng)
        assert story.text().startswith(chat) and "Customer: " in chat
        cut = chat.count("\n")
        said = pretraining.log(story).split("\n")[cut].split('" ')[-1]
        assert comment == f"{story.n_open[cut]} open: {said}"
        cuts[cut == len(story.turns) - 1] += 1
    assert cuts[True] > cuts[False] > 50


def test_part_of_the_glances_are_set_in_a_fence_as_prompts_are():
    stream = islice(pretraining.documents(5, kinds={"glances": 1.0}), 600)
    fenced = [len(d) == 2 and pretraining.FENCE in d[0]["content"] for d in stream]
    assert abs(sum(fenced) / 600 - pretraining.FRAMED) < 0.06


def test_questions_are_answered_from_the_state_of_the_chat():
    rng, asked, answers = random.Random(0), Counter(), Counter()
    for story, *_ in every_story():
        found = questions(story, rng, 12)
        assert len({ask for ask, _ in found}) == len(found) == 8 + len(story.status)
        for ask, is_so in found:
            about = [noun for noun in story.status if noun in ask]
            if about:
                noun = max(about, key=len)
                assert is_so == story.status[noun].fixed
            asked[bool(about)] += 1
            answers[is_so] += 1
        gone = dict(found)["Has any problem been solved?"]
        assert gone == any(status.fixed for status in story.status.values())
        both = dict(found)["Is one problem solved and another one open?"]
        assert both == (gone and story.open_problems() != [])
    assert asked[True] > 400 and min(answers.values()) > 400


def test_documents_of_questions_hold_one_to_six_of_them_and_one_chat():
    lengths = Counter()
    for document in islice(pretraining.documents(3, kinds={"questions": 1.0}), 200):
        first, *others = document
        assert first["content"].count(pretraining.FENCE) == 2
        for message in document:
            if message["role"] == "assistant":
                assert message["content"] in ("yes", "no")
            else:
                head = message["content"].split("\n")[0]
                assert head.endswith(" Answer yes or no.")
        lengths[len(others) // 2 + 1] += 1
    assert set(lengths) == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize("kind", ["commentary", "unrelated"])
def test_a_commentary_answers_every_message(kind):
    for document in islice(pretraining.documents(3, kinds={kind: 1.0}), 40):
        roles = [m["role"] for m in document]
        assert roles == ["system"] + ["user", "assistant"] * (len(roles) // 2)
        assert document[0]["content"] in pretraining.ASK_COMMENT
        for message in document[1::2]:
            assert message["content"].startswith(("Customer: ", "Support Agent: "))


def test_kinds_come_in_their_shares():
    stream = pretraining.documents(7, kinds=READING)
    seen = Counter(d[0]["content"].split("\n")[0] for d in islice(stream, 1500))
    states = sum(seen[ask] for ask in pretraining.ASK_STATES) / 1500
    assert abs(states - READING["states"]) < 0.05


def test_echoes_repeat_what_stands_in_the_chat():
    for document in islice(pretraining.documents(8, 1.0), 200):
        asked, chat, answer = split_document(document)
        assert asked.startswith("Repeat") and answer in chat


def test_the_question_of_the_workbook_is_never_asked():
    for stage in STAGES:
        stream = pretraining.documents(
            9, stage.echoes, stage.whole, stage.replaced, stage.kinds
        )
        for document in islice(stream, 200):
            asks = [m["content"] for m in document if m["role"] != "assistant"]
            asks[0] = asks[0].split("```")[0]
            fenced = "```" in document[0]["content"]  # else users' turns are the chat
            for ask in asks if fenced else asks[:1]:
                assert "resolved" not in ask and " all " not in ask
            for answer in (m["content"] for m in document if m["role"] == "assistant"):
                assert "because in the end" not in answer
                assert not answer.lower().startswith(("yes,", "no,"))
