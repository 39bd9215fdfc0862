"""Laws of the local endpoint: it answers the protocol, one request at a time."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from lrkit.answer.budget import Budget
from lrkit.answer.endpoint import BadAnswer, ChatEndpoint, EndpointRefused
from lrkit.answer.serve import LocalEndpoint, Refused, transcript_of


def says_works(texts):
    return ["yes" if "works" in text else "no" for text in texts]


def ask(server, **changes):
    settings = {"base_url": server.url, "model": "tiny", "labels": ["yes", "no"]}
    settings |= {"api_key_env": None, "max_retries": 0}
    return ChatEndpoint(**settings | changes)


def test_a_client_gets_the_label_and_pays_for_the_tokens_that_were_counted():
    with LocalEndpoint(says_works, count_tokens=len) as server:
        budget = Budget(price_in_per_million=1.0, price_out_per_million=1e6)
        client = ask(server, budget=budget)
        yes, no = client.answer("Customer: it works"), client.answer("Customer: hm")
        assert [yes.label, no.label] == ["yes", "no"]
        assert yes.prompt_tokens == len(client.prompt("Customer: it works"))
        assert yes.completion_tokens == 3 and no.completion_tokens == 2
        assert budget.spent == pytest.approx(
            5 + (yes.prompt_tokens + no.prompt_tokens) / 1e6
        )
        assert server.requests == 2


def test_a_transcript_with_fences_and_newlines_arrives_whole():
    seen = []
    text = "Customer: a\nSupport Agent: ``` b\nCustomer: works"
    with LocalEndpoint(lambda texts: seen.extend(texts) or ["no"]) as server:
        ask(server).answer(text)
    assert seen == [text.replace("```", "'''")]


@pytest.mark.parametrize(
    "body",
    [{}, [], {"messages": []}, {"messages": [{"content": "no fence"}]},
     {"messages": [{"content": None}]}, {"messages": "x"}],
)  # fmt: skip
def test_a_body_without_a_transcript_is_refused_with_a_sentence(body):
    with pytest.raises(Refused, match=r"expected|no transcript"):
        transcript_of(body)
    with LocalEndpoint(says_works) as server:
        got = httpx.post(f"{server.url}/chat/completions", json=body)
        assert got.status_code == 400 and got.json()["error"]["message"]


def test_other_paths_and_broken_json_are_refused():
    with LocalEndpoint(says_works) as server:
        assert httpx.post(f"{server.url}/other", json={}).status_code == 404
        got = httpx.post(f"{server.url}/chat/completions", content=b"{")
        assert got.status_code == 400
        with pytest.raises(EndpointRefused, match="404"):
            ask(server, base_url=server.url.replace("/v1", "/v2")).answer("x")


def test_a_model_that_gives_no_label_is_a_bad_answer_for_the_client():
    with LocalEndpoint(lambda texts: ["perhaps"]) as server, pytest.raises(BadAnswer):
        ask(server).answer("x")


def test_the_model_is_never_asked_by_two_threads_at_once():
    inside, most = threading.Semaphore(1), []

    def predict(texts):
        most.append(inside.acquire(blocking=False))
        time.sleep(0.02)
        inside.release()
        return ["yes"]

    with LocalEndpoint(predict) as server, ThreadPoolExecutor(4) as pool:
        client = ask(server)
        list(pool.map(client.answer, ["x"] * 8))
    assert most == [True] * 8


def test_after_its_block_nobody_listens():
    with LocalEndpoint(says_works) as server:
        url = server.url
    with pytest.raises(httpx.ConnectError):
        httpx.post(f"{url}/chat/completions", json={})
