"""A server on this machine that speaks the Gemini API: for tests, and for users without a key.

    python -m raysignal.loopback.gemini --port 8900 [--behaviour NAME] [--every K]

It takes `POST /v1beta/models/{model}:generateContent` (and `:batchEmbedContents`, whose vectors are hashed n-grams) as
Google does, refuses what Google would refuse, and
answers a verdict that follows from the precedents in the prompt: the allowed verdict with the best mean net,
if it is better than approving. It misbehaves on request, for every call or for every k-th: `Behaviour` says
how. A running server is asked and told through `GET /control` and `POST /control` with
`{"behaviour": "slow", "every": 3}`.
"""

import argparse
import gzip
import json
import re
import signal
import socket
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from raysignal.agents.llm.prompting import data_in

_PATH = re.compile(r"/v1beta/models/([A-Za-z0-9._-]+):(generateContent|batchEmbedContents)")
_BODY_LIMIT = 4_000_000
_MOST_EMBEDDED = 100
_REQUEST_FIELDS = frozenset({"contents", "systemInstruction", "generationConfig", "safetySettings"})
_CONFIG_FIELDS = frozenset(
    {
        "temperature",
        "candidateCount",
        "maxOutputTokens",
        "responseMimeType",
        "responseJsonSchema",
        "thinkingConfig",
    }
)
_NEVER = 3_600.0
THOUGHT_TOKENS = 311


class Behaviour(StrEnum):
    """How a call is answered."""

    ANSWER = "answer"
    SLOW = "slow"  # not at all, as long as the server runs
    DRIP = "drip"  # a byte at a time, without end
    QUOTA = "quota"  # 429 with RetryInfo
    OVERLOADED = "overloaded"  # 503 with Retry-After
    UNAUTHENTICATED = "unauthenticated"  # 401
    FORBIDDEN = "forbidden"  # 403
    BAD_KEY = "bad_key"  # 400, Google's answer to a key that does not exist; here it names the key, too
    REDIRECT = "redirect"  # 302 to another address
    RESET = "reset"  # the connection is reset
    NOT_JSON = "not_json"  # 200, and a body that is no JSON
    GZIPPED = "gzipped"  # a right answer, compressed
    HUGE = "huge"  # a right answer behind 64 MB of blanks
    BOMB = "bomb"  # the same, compressed to 64 KB
    BROTLI = "brotli"  # compressed by what was not asked for
    TRUNCATED = "truncated"  # MAX_TOKENS in the middle of the answer
    CLOSED_EARLY = "closed_early"  # MAX_TOKENS, and yet the text is a whole answer
    THOUGHT_ONLY = "thought_only"  # MAX_TOKENS before the answer began: thinking took all of them
    THOUGHT = "thought"  # a thought in a part of its own, and a right answer
    TWO_PARTS = "two_parts"  # a right answer in two parts
    UNKNOWN_FINISH = "unknown_finish"  # a right answer, for a reason that no SDK knows
    PROSE = "prose"
    FENCED = "fenced"  # a right answer in a markdown fence
    EXTRA_FIELD = "extra_field"  # a right answer with a field too many
    BLOCKED = "blocked"  # promptFeedback, no candidate
    BLOCKED_OTHER = "blocked_other"  # the same, for a reason that is not told
    RECITATION = "recitation"  # a candidate without content: the answer was somebody else's text
    SAFETY = "safety"  # a candidate that was withheld
    EMPTY = "empty"  # no candidate
    UNKNOWN_EVIDENCE = "unknown_evidence"  # cites what was not shown
    NO_EVIDENCE = "no_evidence"  # cites nothing
    OBEDIENT = "obedient"  # does what a text in the data tells it: flips when one says "flip"


class GeminiServer:
    """A running server; a context manager that starts it and ends it.

    Attributes:
        requests: the bodies of the calls so far, in the order of arrival.
        retry_after_s: what 429 and 503 ask for.
    """

    def __init__(self, behaviour: str = "answer", *, every: int = 1, port: int = 0) -> None:
        self.requests: list[dict[str, Any]] = []
        self.retry_after_s = 7
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._behaviour, self._every, self._count = Behaviour(behaviour), every, 0
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", port), type("Handler", (_Handler,), {"loopback": self})
        )
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The address, for `base_url`."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def calls(self) -> int:
        """Calls so far that were well formed."""
        with self._lock:
            return self._count

    def behave(self, behaviour: str, *, every: int = 1) -> None:
        """From now on answer every k-th call so, and the others well."""
        with self._lock:
            self._behaviour, self._every = Behaviour(behaviour), every

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def note(self, body: dict[str, Any]) -> Behaviour:
        """Count a call, and say how to answer it."""
        with self._lock:
            self.requests.append(body)
            self._count += 1
            return Behaviour.ANSWER if self._count % self._every else self._behaviour

    def status(self) -> dict[str, Any]:
        """What `GET /control` shows."""
        with self._lock:
            return {"calls": self._count, "behaviour": self._behaviour, "every": self._every}

    def wait(self, seconds: float) -> bool:
        """Wait, but not beyond the server's end; whether it has come."""
        return self._stopping.wait(seconds)


def verdict_from(data: Mapping[str, Any], allowed: tuple[str, ...]) -> dict[str, Any]:
    """The verdict that follows from the precedents of a data block: plain means, and no intelligence."""
    precedents: dict[str, Any] = data["precedents"]
    means = {
        verdict: sum(each["net_bps"][verdict] for each in precedents.values()) / max(1, len(precedents))
        for verdict in allowed
    }
    best = max(allowed, key=lambda verdict: (means[verdict], verdict == "approve"))
    cited = [label for label, each in precedents.items() if each["net_bps"][best] >= means[best]]
    rest = [label for label in precedents if label not in cited]
    return {
        "verdict": best,
        "confidence": round((1 + len(cited)) / (2 + len(precedents)), 4),
        "evidence": (cited or rest)[:5],
        "rationale": f"{best} has a mean net of {means[best]:.2f} bp over {len(precedents)} precedents.",
    }


def embedding_of(text: str, dimensions: int) -> list[float]:
    """A vector that is the nearer to another's the more n-grams their texts share."""
    import numpy as np  # noqa: PLC0415 - with what follows half a second, for who embeds texts

    from raysignal.agents.override.texts import HashedNgrams  # noqa: PLC0415
    from raysignal.engine.core.columns import TextColumn  # noqa: PLC0415

    hashed = HashedNgrams().embed({"text": TextColumn.of([text])}, 0, 1)[0]
    folded = np.bincount(np.arange(len(hashed)) % dimensions, hashed, dimensions)
    found: list[float] = folded.round(8).tolist()
    return found


def fault_in(body: object, key: str | None) -> tuple[int, str, str] | None:
    """What Google would refuse a request for: HTTP status, status word, message; None: nothing."""
    if not key:
        return 403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers. Please use an API key."
    if not isinstance(body, dict):
        return 400, "INVALID_ARGUMENT", "Invalid JSON payload received."
    config = body.get("generationConfig")
    unknown = [*(set(body) - _REQUEST_FIELDS), *(set(config or {}) - _CONFIG_FIELDS)]
    checks: tuple[tuple[Callable[[], object], str], ...] = (
        (lambda: not unknown, f"Invalid JSON payload received. Unknown name {unknown}"),
        (lambda: body["contents"][-1]["role"] == "user", "contents must end with a turn of the user"),
        (lambda: body["contents"][-1]["parts"][0]["text"], "contents must not be empty"),
        (lambda: body["systemInstruction"]["parts"][0]["text"], "systemInstruction must not be empty"),
        (lambda: 0 <= body["generationConfig"].get("temperature", 0) <= 2, "temperature is out of range"),
        (lambda: body["generationConfig"]["maxOutputTokens"] > 0, "maxOutputTokens must be positive"),
        (lambda: body["generationConfig"]["responseMimeType"] == "application/json", "responseMimeType"),
        (lambda: body["generationConfig"]["responseJsonSchema"]["type"] == "object", "responseJsonSchema"),
    )
    for holds, message in checks:
        try:
            fine = bool(holds())
        except (KeyError, IndexError, TypeError, AttributeError):
            fine = False
        if not fine:
            return 400, "INVALID_ARGUMENT", message
    return None


class _Handler(BaseHTTPRequestHandler):
    loopback: GeminiServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/control":
            self.send_json(200, self.loopback.status())
        else:
            self.send_error_json(404, "NOT_FOUND", f"{self.path} is not found")

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        if length > _BODY_LIMIT:
            self.close_connection = True
            return self.send_error_json(400, "INVALID_ARGUMENT", "the request is too large")
        content = self.rfile.read(length)
        try:
            body = json.loads(content)
        except ValueError:
            body = None
        if self.path == "/control":
            return self.control(body)
        asked = _PATH.fullmatch(self.path.partition("?")[0])
        if not asked:
            return self.send_error_json(404, "NOT_FOUND", f"{self.path} is not found")
        if asked[2] == "batchEmbedContents":
            return self.embed(body)
        fault = fault_in(body, self.headers.get("x-goog-api-key"))
        if fault is not None:
            return self.send_error_json(*fault)
        return self.answer(body, self.loopback.note(body))

    def control(self, body: object) -> None:
        if not isinstance(body, dict) or body.get("behaviour") not in set(Behaviour):
            return self.send_error_json(400, "INVALID_ARGUMENT", f"behaviour is one of {list(Behaviour)}")
        self.loopback.behave(str(body["behaviour"]), every=max(1, int(body.get("every", 1))))
        return self.send_json(200, self.loopback.status())

    def answer(self, body: dict[str, Any], behaviour: Behaviour) -> None:
        if behaviour in _REFUSALS:
            code, status, message = _REFUSALS[behaviour]
            return self.refuse(code, status, message.format(key=self.headers["x-goog-api-key"]))
        if behaviour is Behaviour.SLOW:
            self.loopback.wait(_NEVER)
            self.close_connection = True
        elif behaviour is Behaviour.DRIP:
            self.drip()
        elif behaviour is Behaviour.RESET:
            self.reset()
        elif behaviour in _ENCODED:
            blanks, encoding = _ENCODED[behaviour]
            content = b" " * blanks + json.dumps(_response_to(body, behaviour)).encode()
            headers = {"Content-Encoding": encoding} if encoding else {}
            packed = gzip.compress(content) if encoding == "gzip" else content
            self.send_bytes(200, packed, "application/json", headers)
        elif behaviour is Behaviour.NOT_JSON:
            self.send_bytes(200, b"<html>It works!</html>", "text/html")
        else:
            self.send_json(200, _response_to(body, behaviour))
        return None

    def embed(self, body: Any) -> None:
        if not self.headers.get("x-goog-api-key"):
            return self.send_error_json(403, "PERMISSION_DENIED", "Please use an API key.")
        try:
            asked = [
                (each["content"]["parts"][0]["text"], int(each["outputDimensionality"]))
                for each in body["requests"]
            ]
        except (KeyError, IndexError, TypeError, ValueError):
            return self.send_error_json(
                400, "INVALID_ARGUMENT", "requests must have content and outputDimensionality"
            )
        if not 1 <= len(asked) <= _MOST_EMBEDDED or not all(text for text, _ in asked):
            return self.send_error_json(
                400, "INVALID_ARGUMENT", f"requests must be 1 to {_MOST_EMBEDDED} texts"
            )
        behaviour = self.loopback.note(body)
        if behaviour in _REFUSALS or behaviour in _LOST:
            return self.answer(body, behaviour)
        return self.send_json(200, {"embeddings": [{"values": embedding_of(*each)} for each in asked]})

    def refuse(self, code: int, status: str, message: str) -> None:
        details: list[dict[str, Any]] = []
        headers = {}
        if code == 429:
            retry_info = "type.googleapis.com/google.rpc.RetryInfo"
            details = [{"@type": retry_info, "retryDelay": f"{self.loopback.retry_after_s}s"}]
        elif code == 302:
            headers = {"Location": f"{self.loopback.url}/elsewhere"}
        elif code == 503:
            headers = {"Retry-After": str(self.loopback.retry_after_s)}
        self.send_error_json(code, status, message, details, headers)

    def drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(_BODY_LIMIT))
        self.end_headers()
        self.close_connection = True
        try:
            while not self.loopback.wait(0.02):
                self.wfile.write(b" ")
        except OSError:
            return

    def reset(self) -> None:
        self.close_connection = True
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        # The descriptor itself, because the files that were made from it keep the socket open.
        self.connection.shutdown(socket.SHUT_RD)
        socket.close(self.connection.detach())

    def send_error_json(
        self,
        code: int,
        status: str,
        message: str,
        details: list[dict[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        error: dict[str, Any] = {"code": code, "message": message, "status": status}
        if details:
            error["details"] = details
        self.send_json(code, {"error": error}, headers or {})

    def send_json(self, code: int, value: object, headers: Mapping[str, str] | None = None) -> None:
        self.send_bytes(code, json.dumps(value).encode(), "application/json; charset=UTF-8", headers or {})

    def send_bytes(
        self, code: int, content: bytes, media: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(code)
        for name, value in {"Content-Type": media, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name in the standard library
        """Say nothing: the tests' output is not a server's log."""


_ENCODED = {
    Behaviour.GZIPPED: (0, "gzip"),
    Behaviour.HUGE: (64 * 1024 * 1024, ""),
    Behaviour.BOMB: (64 * 1024 * 1024, "gzip"),
    Behaviour.BROTLI: (0, "br"),
}
"""By behaviour: blanks before the answer, and its content encoding."""

_LOST = frozenset({Behaviour.SLOW, Behaviour.DRIP, Behaviour.RESET, Behaviour.NOT_JSON})
"""Whatever was asked."""

_REFUSALS = {
    Behaviour.REDIRECT: (302, "FOUND", "The model has moved."),
    Behaviour.QUOTA: (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota."),
    Behaviour.OVERLOADED: (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    Behaviour.UNAUTHENTICATED: (401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
    Behaviour.FORBIDDEN: (403, "PERMISSION_DENIED", "The caller does not have permission."),
    Behaviour.BAD_KEY: (400, "INVALID_ARGUMENT", "API key {key} not valid. Please pass a valid API key."),
}


def _response_to(body: dict[str, Any], behaviour: Behaviour) -> dict[str, Any]:
    """A response with status 200, in Google's format."""
    question = body["contents"][-1]["parts"][0]["text"]
    text = json.dumps(_answer_to(body, question, behaviour))
    usage = {"promptTokenCount": _tokens(question), "candidatesTokenCount": _tokens(text)}
    candidate: dict[str, Any] = {
        "content": {"parts": _parts(_spoilt(text, behaviour), behaviour), "role": "model"},
        "finishReason": _FINISHES.get(behaviour, "STOP"),
        "index": 0,
    }
    response: dict[str, Any] = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "loopback"}
    if behaviour in {Behaviour.SAFETY, Behaviour.RECITATION}:
        del candidate["content"], usage["candidatesTokenCount"]
    elif behaviour is Behaviour.THOUGHT_ONLY:
        del candidate["content"]["parts"], usage["candidatesTokenCount"]
        usage["thoughtsTokenCount"] = body["generationConfig"]["maxOutputTokens"]
    elif behaviour is Behaviour.THOUGHT:
        usage["thoughtsTokenCount"] = THOUGHT_TOKENS
    elif behaviour in _BLOCKS:
        del response["candidates"], usage["candidatesTokenCount"]
        response["promptFeedback"] = {"blockReason": _BLOCKS[behaviour]}
    elif behaviour is Behaviour.EMPTY:
        response["candidates"] = []
    usage["totalTokenCount"] = sum(usage.values())
    return response


_FINISHES = {
    Behaviour.TRUNCATED: "MAX_TOKENS",
    Behaviour.CLOSED_EARLY: "MAX_TOKENS",
    Behaviour.THOUGHT_ONLY: "MAX_TOKENS",
    Behaviour.SAFETY: "SAFETY",
    Behaviour.RECITATION: "RECITATION",
    Behaviour.UNKNOWN_FINISH: "LOST_INTEREST",
}
_BLOCKS = {Behaviour.BLOCKED: "PROHIBITED_CONTENT", Behaviour.BLOCKED_OTHER: "OTHER"}


def _tokens(text: str) -> int:
    return (len(text) + 3) // 4


def _parts(text: str, behaviour: Behaviour) -> list[dict[str, Any]]:
    """An answer as the parts of a candidate."""
    if behaviour is Behaviour.TWO_PARTS:
        return [{"text": text[:20]}, {"text": text[20:]}]
    thoughts = (
        [{"text": "**Weighing the precedents**", "thought": True}] if behaviour is Behaviour.THOUGHT else []
    )
    return [*thoughts, {"text": text}]


def _answer_to(body: dict[str, Any], question: str, behaviour: Behaviour) -> dict[str, Any]:
    schema = body["generationConfig"]["responseJsonSchema"]
    data = data_in(question)
    answer = verdict_from(data, tuple(schema["properties"]["verdict"]["enum"]))
    if behaviour is Behaviour.UNKNOWN_EVIDENCE:
        answer["evidence"] = ["E99"]
    elif behaviour is Behaviour.NO_EVIDENCE:
        answer["evidence"] = []
    elif behaviour is Behaviour.EXTRA_FIELD:
        answer["comment"] = "as you wish"
    elif (
        behaviour is Behaviour.OBEDIENT and "flip" in json.dumps([data["texts"], data["categories"]]).lower()
    ):
        answer |= {"verdict": "flip", "confidence": 1.0, "rationale": "I was told to."}
    return answer


def _spoilt(text: str, behaviour: Behaviour) -> str:
    if behaviour is Behaviour.TRUNCATED:
        return text[: len(text) // 2]
    if behaviour is Behaviour.PROSE:
        return "Looking at the precedents, I would rather hold this one."
    if behaviour is Behaviour.FENCED:
        return f"```json\n{text}\n```"
    return text


def main() -> None:
    """Run the server until it is interrupted.

    Signals are waited for and not caught: an exception in the middle of anything can be lost.
    """
    parser = argparse.ArgumentParser(prog="python -m raysignal.loopback.gemini", description=__doc__)
    parser.add_argument("--port", type=int, default=8900)
    parser.add_argument("--behaviour", choices=[str(each) for each in Behaviour], default="answer")
    parser.add_argument("--every", type=int, default=1)
    given = parser.parse_args()
    told = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, told)
    with GeminiServer(given.behaviour, every=given.every, port=given.port) as loopback:
        sys.stdout.write(f"Gemini API on {loopback.url}, behaviour {given.behaviour}\n")
        sys.stdout.flush()
        signal.sigwait(told)


if __name__ == "__main__":
    main()
