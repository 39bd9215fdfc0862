"""A local chat-completions server that counts what reaches it and fails on command.

It answers with a small classifier that was really trained. The fixtures are loaded by
`conftest.py` for the tests of endpoint, budget and cascade.
"""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from lrkit.answer.endpoint import ChatEndpoint
from lrkit.paths import root

KEY = "sk-never-to-be-seen-0123456789"
PRICES = {"price_in_per_million": 2.0, "price_out_per_million": 10.0}


class Server(ThreadingHTTPServer):
    """The endpoint; `faults` are served in turn before answers are."""

    daemon_threads = True

    def __init__(self, model):
        super().__init__(("127.0.0.1", 0), Handler)
        self.model = model
        self.faults, self.bodies, self.headers, self.times = [], [], [], []
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def send(self, status, payload, **headers):
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def do_POST(self):
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        server, body = self.server, json.loads(raw)
        with server.lock:
            server.bodies.append(body)
            server.headers.append(dict(self.headers))
            server.times.append(time.monotonic())
            fault = server.faults.pop(0) if server.faults else ("answer", None)
        kind, value = fault
        if kind == "status":
            echo = {"error": {"message": f"bad: {self.headers['Authorization']}"}}
            return self.send(value[0], echo, **value[1])
        if kind == "raw":
            return self.send(200, value)
        if kind == "drop":
            return self.connection.close()
        if kind == "hang":
            server.released.wait(5)
            return self.connection.close()
        (message,) = body["messages"]
        text = re.search(r"Transcript:\n```\n(.*)\n```", message["content"], re.S)[1]
        words = value or f"{server.model.predict([text])[0].capitalize()}, because."
        usage = {"prompt_tokens": len(message["content"]) // 4, "completion_tokens": 3}
        choice = {"index": 0, "message": {"role": "assistant", "content": words}}
        return self.send(200, {"choices": [choice], "usage": usage})


@pytest.fixture(scope="module")
def rows():
    frame = pd.read_csv(root() / "data" / "gold_standard.csv")
    return frame[frame["split"] == "train"].head(200).reset_index(drop=True)


@pytest.fixture(scope="module")
def big_model(rows):
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=100))
    return model.fit(rows["running_message"], rows["label"])


@pytest.fixture(scope="module")
def messages(rows):
    return rows["running_message"].tolist()[:12]


class First:
    """A weak classifier with `score_rows`; counts the rows it scores."""

    def __init__(self, rows):
        model = make_pipeline(TfidfVectorizer(max_features=40), LogisticRegression())
        self.model = model.fit(rows["running_message"][:60], rows["label"][:60])
        self.scored, self.changes = 0, {}

    def score_rows(self, messages):
        self.scored += len(messages)
        proba = self.model.predict_proba(messages)
        frame = pd.DataFrame({"label": self.model.classes_[proba.argmax(1)]})
        frame["confidence"], frame["label_mass"] = proba.max(1), 1.0
        for message, change in self.changes.items():
            for column, value in change.items():
                frame.loc[[m == message for m in messages], column] = value
        return frame


@pytest.fixture
def first(rows):
    return First(rows)


@pytest.fixture
def server(big_model, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server(big_model)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def client(server):
    def make(**changes):
        settings = {"backoff_s": 0.01, "timeout_s": 5.0, "base_url": server.url}
        settings |= {"model": "tiny", "labels": ["yes", "no"]} | changes
        return ChatEndpoint(**settings)

    return make


def status(code, **headers):
    return ("status", (code, headers))
