"""Laws of the cascade, its second stage a real local server."""

import json

import numpy as np
import pandas as pd
import pytest
from fault_server import status
from filelock import FileLock, Timeout

from lrkit.answer.budget import Budget
from lrkit.answer.cascade import COLUMNS, Cascade, fingerprint, route
from lrkit.answer.decision_log import DecisionLog
from lrkit.answer.endpoint import BadAnswer, BudgetSpent, EndpointDown, EndpointRefused


def test_threshold_zero_sends_nothing_and_above_one_all(
    client, server, first, messages, big_model
):
    own = first.score_rows(messages)
    none = Cascade(first, client(), 0).predict(messages)
    assert not server.bodies and (none["route"] == "first").all()
    assert none["label"].tolist() == own["label"].tolist()
    everything = Cascade(first, client(), 1.01).predict(messages)
    assert len(server.bodies) == len(messages)
    assert (everything["route"] == "second").all()
    assert everything["label"].tolist() == big_model.predict(messages).tolist()
    assert list(everything.columns) == COLUMNS


@pytest.mark.parametrize("workers", [1, 4])
def test_order_is_kept_and_equal_texts_are_sent_once(
    client, server, first, messages, big_model, workers
):
    texts = messages + messages[::-1]
    ids = [f"r{i}" for i in range(24)]
    threshold = first.score_rows(messages)["confidence"].median()
    result = Cascade(first, client(), threshold, max_workers=workers).predict(
        texts, ids
    )
    assert result["id"].tolist() == ids
    own = first.score_rows(texts)
    sent = own["confidence"] < threshold
    expected = np.where(sent, big_model.predict(texts), own["label"])
    assert result["label"].tolist() == expected.tolist()
    assert (result["route"] == np.where(sent, "second", "first")).all()
    assert len(server.bodies) == result["attempts"].sum() == sent.sum() / 2


def test_nan_and_low_mass_go_on_at_any_threshold(client, server, first, messages):
    first.changes = {
        messages[0]: {"confidence": np.nan},
        messages[1]: {"label_mass": 0.2},
        messages[2]: {"label_mass": np.nan},
    }
    result = Cascade(first, client(), 0, min_label_mass=0.5).predict(messages[:4])
    assert result["route"].tolist() == ["second"] * 3 + ["first"]
    assert result["reason"].tolist()[:2] == ["no confidence", "low label mass"]
    assert len(server.bodies) == 3


def test_a_higher_threshold_never_sends_less():
    grid = np.linspace(0, 1.1, 23)
    for confidence in (0.5, 0.7, 1.0):
        sent = [route(confidence, 1, t)[0] == "second" for t in grid]
        assert sent == sorted(sent) and sent[-1] and not sent[0]
    assert route(0.7, 1, 0.7) == ("first", "confident")


@pytest.mark.parametrize("workers", [1, 3])
def test_after_a_stop_nothing_is_answered_twice(
    client, server, first, messages, tmp_path, workers
):
    endpoint, calls, log = client(), [], tmp_path / "new" / "log.jsonl"

    def killed(message):
        calls.append(message)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return endpoint.answer(message).label

    settings = {"log": log, "first_name": "a", "second_name": "b"}
    settings["max_workers"] = workers
    with pytest.raises(KeyboardInterrupt):
        Cascade(first, killed, 2, **settings).predict(messages)
    kept = DecisionLog(log).lines
    assert len(kept) == len(server.bodies) >= 5
    with log.open("ab") as file:
        file.write(b'{"sha256": "torn')
    again = Cascade(first, endpoint, 2, **settings).predict(messages)
    assert len(server.bodies) == len(messages)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[: len(kept)] == kept and len(lines) == len(messages)
    assert {x["sha256"] for x in lines} == {fingerprint(m) for m in messages}
    assert again["attempts"].sum() == len(messages) - len(kept)
    size, scored = log.stat().st_size, first.scored
    third = Cascade(first, endpoint, 2, **settings).predict(messages)
    assert (size, scored) == (log.stat().st_size, first.scored)
    same = ["id", "label", "confidence", "route", "second_label", "reason"]
    pd.testing.assert_frame_equal(third[same], again[same], check_exact=True)
    assert third["cost"].sum() == third["attempts"].sum() == 0


def test_a_decision_is_on_disk_before_the_next_request(first, messages, tmp_path):
    log, seen = tmp_path / "log.jsonl", []

    def second(message):
        seen.append(len(log.read_text().splitlines()) if log.exists() else 0)
        return "yes"

    Cascade(first, second, 2, log=log, first_name="a", second_name="b").predict(
        messages
    )
    assert seen == list(range(len(messages)))


def test_another_threshold_reuses_answers_and_another_model_does_not(
    client, server, first, messages, tmp_path
):
    settings = {"log": tmp_path / "log.jsonl", "first_name": "a"}
    Cascade(first, client(), 2, **settings).predict(messages)
    sent, scored = len(server.bodies), first.scored
    Cascade(first, client(), 3, **settings).predict(messages)
    assert (len(server.bodies), first.scored) == (sent, scored)
    Cascade(first, client(question="Yes or no?"), 2, **settings).predict(messages)
    assert len(server.bodies) == 2 * sent
    Cascade(first, client(), 2, **settings | {"first_name": "b"}).predict(messages)
    assert (len(server.bodies), first.scored) == (2 * sent, 2 * scored)


def test_the_log_holds_no_text_and_is_strict_json(
    client, server, first, messages, tmp_path
):
    first.changes = {messages[0]: {"confidence": np.nan}}
    server.faults = [("answer", f"Well, {messages[0]}")]
    log = tmp_path / "log.jsonl"
    cascade = Cascade(first, client(), float("inf"), log=log, first_name="a")
    cascade.predict(messages, ids=np.arange(12))
    raw = log.read_text()
    assert not any(m[:40] in raw or m[-40:] in raw for m in messages)
    refuse = pytest.fail
    lines = [json.loads(x, parse_constant=refuse) for x in raw.splitlines()]
    assert lines[0]["error"] == "BadAnswer: unparsable" and lines[0]["label"] is None
    assert {"time", "id", "confidence", "route", "attempts", "cost"} <= lines[0].keys()


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"a": 1}\n{"b"\n{"c": 1}\n')
    with pytest.raises(ValueError, match="line 2"):
        DecisionLog(tmp_path / "log.jsonl")


FAILURES = {
    "down": ([status(500)] * 9, "EndpointDown: HTTP 500"),
    "bad": ([("answer", "maybe")], "BadAnswer: unparsable"),
    "spent": ([], "BudgetSpent: max_requests"),
}


@pytest.mark.parametrize("what", FAILURES)
@pytest.mark.parametrize("policy", ["first", "abstain", "raise"])
def test_each_failure_follows_its_own_policy(
    client, server, first, messages, tmp_path, what, policy
):
    faults, reason = FAILURES[what]
    server.faults = list(faults)
    budget = Budget(max_requests=0 if what == "spent" else None)
    others = {f"when_{k}": "abstain" for k in FAILURES} | {f"when_{what}": policy}
    settings = others | {"log": tmp_path / "log.jsonl", "first_name": "a"}
    cascade = Cascade(first, client(budget=budget), 2, **settings)
    attempts = {"down": 4, "bad": 1, "spent": 0}[what]
    if policy == "raise":
        with pytest.raises((EndpointDown, BadAnswer, BudgetSpent)):
            cascade.predict(messages[:1])
    else:
        (row,) = cascade.predict(messages[:1]).to_dict("records")
        own = first.score_rows(messages[:1])["label"][0]
        assert row["route"] == policy and row["second_label"] is None
        assert row["label"] == (own if policy == "first" else None)
        assert row["reason"] == f"low confidence; {reason}"
        assert row["attempts"] == attempts
    (line,) = DecisionLog(tmp_path / "log.jsonl").lines
    assert (line["error"], line["route"]) == (reason, policy)
    assert len(server.bodies) == line["attempts"] == attempts
    # What got no answer is asked again when all is well; a bad answer was an answer.
    server.faults = []
    after = Cascade(first, client(), 2, **settings).predict(messages[:1])
    kept = what == "bad" and policy != "raise"
    assert len(server.bodies) == attempts + (not kept)
    assert after["route"][0] == (policy if kept else "second")


@pytest.mark.parametrize("workers", [1, 4])
def test_a_wrong_key_stops_at_once_under_every_policy(
    client, server, first, messages, workers
):
    server.faults = [status(401)] * 99
    lenient = {"when_down": "first", "when_bad": "first", "when_spent": "first"}
    cascade = Cascade(first, client(), 2, max_workers=workers, **lenient)
    with pytest.raises(EndpointRefused):
        cascade.predict(messages)
    assert len(server.bodies) <= workers


def test_a_second_stage_without_a_label_gave_a_bad_answer(first, messages):
    result = Cascade(first, lambda message: None, 2).predict(messages[:2])
    assert (result["route"] == "abstain").all() and result["label"].isna().all()


def test_what_is_no_input_is_refused_with_a_sentence(first, messages, tmp_path):
    cascade = Cascade(first, str, 1)
    with pytest.raises(TypeError, match="list of conversations"):
        cascade.predict(messages[0])
    with pytest.raises(ValueError, match="as many ids"):
        cascade.predict(messages, ids=[1])
    assert cascade.predict([]).empty
    with pytest.raises(ValueError, match="policy"):
        Cascade(first, str, 1, when_down="ignore")
    with pytest.raises(ValueError, match="NaN"):
        Cascade(first, str, float("nan"))
    with pytest.raises(ValueError, match="first_name"):
        Cascade(first, str, 1, log=tmp_path / "log.jsonl")


def test_two_processes_cannot_write_one_log(first, messages, tmp_path):
    log = tmp_path / "log.jsonl"
    cascade = Cascade(first, str, 0, log=log, first_name="a", second_name="b")
    with FileLock(f"{log}.lock"), pytest.raises(Timeout):
        cascade.predict(messages)
    assert not log.exists()
