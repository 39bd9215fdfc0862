"""A chat-completions endpoint for one classifier, on this machine.

It stands where a hosted model would stand, so that a cascade can be tried whole: real
requests, JSON and token counts. One address, no keys, no streaming: it is for trying
things out and for tests, not for the open network.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Where the prompt of `lrkit.answer.prompts.FULL` holds the conversation.
_TRANSCRIPT = re.compile(r"Transcript:\n```\n(.*)\n```", re.DOTALL)


class Refused(ValueError):
    """A request that cannot be answered; the sentence goes back with status 400."""


def transcript_of(body: dict[str, Any]) -> str:
    """The conversation in a request body made with the full prompt.

    Raises:
        Refused: for a body without messages, or a message without a transcript.
    """
    try:
        content = body["messages"][-1]["content"]
        found = _TRANSCRIPT.search(content)
    except (LookupError, TypeError):
        raise Refused('expected {"messages": [{"content": "..."}]}') from None
    if found is None:
        raise Refused("no transcript between fences in the last message")
    return found[1]


class LocalEndpoint:
    """Serves `predict` at `url` while its block runs.

    Args:
        predict: a list of conversations -> their labels; called with one at a time.
        count_tokens: tokens of a text, for `usage`; None: a quarter of its characters.
        port: 0 takes a free one.

    Example:
        >>> with LocalEndpoint(lambda texts: ["yes"]) as server:
        ...     server.url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(
        self,
        predict: Callable[[list[str]], Sequence[str]],
        count_tokens: Callable[[str], int] | None = None,
        port: int = 0,
    ):
        self.predict = predict
        self.count_tokens = count_tokens or (lambda text: len(text) // 4)
        self.requests = 0  # answered so far
        self._one_at_a_time = threading.Lock()  # models are not made for threads
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> LocalEndpoint:
        run = self._server.serve_forever
        threading.Thread(target=run, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._server.shutdown()
        self._server.server_close()

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The response to a request body; raises `Refused`."""
        text = transcript_of(body)
        with self._one_at_a_time:
            label = str(self.predict([text])[0])
            self.requests += 1
        message = {"role": "assistant", "content": label}
        tokens_in = sum(self.count_tokens(m["content"]) for m in body["messages"])
        tokens_out = max(1, self.count_tokens(label))
        return {
            "object": "chat.completion",
            "model": body.get("model", ""),
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": tokens_in,
                "completion_tokens": tokens_out,
                "total_tokens": tokens_in + tokens_out,
            },
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                """Requests hold what customers wrote: none of it goes to the screen."""

            def do_POST(self):
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.path.rstrip("/") != "/v1/chat/completions":
                    return self._send(404, {"error": {"message": "no such path"}})
                try:
                    answer = endpoint.complete(json.loads(raw))
                except (ValueError, Refused) as error:
                    return self._send(400, {"error": {"message": str(error)}})
                return self._send(200, answer)

            def _send(self, status: int, payload: dict[str, Any]) -> None:
                body = json.dumps(payload).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler
