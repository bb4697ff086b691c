"""What servers on this machine that speak a chat model's API have in common: how they answer and misbehave.

Each API is a `ChatApi` in a module of its own (`gemini`, `openai`, `anthropic`, `ollama`), run as

    python -m raysignal.loopback.gemini --port 8900 [--behaviour NAME] [--every K]

A server refuses what the API would refuse, and answers a verdict that follows from the precedents in the prompt: the
allowed verdict with the best mean net, if it is better than approving. It misbehaves on request, for every call or for
every k-th: `Behaviour` says how. A running server is asked and told through `GET /control` and `POST /control` with
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
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self

from raysignal.agents.llm.prompting import data_in

_BODY_LIMIT = 4_000_000
_NEVER = 3_600.0
THOUGHT_TOKENS = 311


class Behaviour(StrEnum):
    """How a call is answered; not every API has words for all of them."""

    ANSWER = "answer"
    SLOW = "slow"  # not at all, as long as the server runs
    DRIP = "drip"  # a byte at a time, without end
    QUOTA = "quota"  # 429, and when to come back
    OVERLOADED = "overloaded"  # 503 or 529, with Retry-After
    UNAUTHENTICATED = "unauthenticated"  # 401
    FORBIDDEN = "forbidden"  # 403
    BAD_KEY = "bad_key"  # the answer to a key that does not exist, which it names
    REDIRECT = "redirect"  # 302 to another address
    RESET = "reset"  # the connection is reset
    NOT_JSON = "not_json"  # 200, and a body that is no JSON
    GZIPPED = "gzipped"  # a right answer, compressed
    HUGE = "huge"  # a right answer behind 64 MB of blanks
    BOMB = "bomb"  # the same, compressed to 64 KB
    BROTLI = "brotli"  # compressed by what was not asked for
    TRUNCATED = "truncated"  # cut off in the middle of the answer
    CLOSED_EARLY = "closed_early"  # cut off, and yet the text is a whole answer
    THOUGHT_ONLY = "thought_only"  # cut off before the answer began: thinking took all tokens
    THOUGHT = "thought"  # a thought beside a right answer
    TWO_PARTS = "two_parts"  # a right answer in two parts
    UNKNOWN_FINISH = "unknown_finish"  # a right answer, ended for a reason that no SDK knows
    PROSE = "prose"
    FENCED = "fenced"  # a right answer in a markdown fence
    EXTRA_FIELD = "extra_field"  # a right answer with a field too many, or vectors with a component
    BLOCKED = "blocked"  # the prompt is refused
    BLOCKED_OTHER = "blocked_other"  # the same, for a reason that is not told
    RECITATION = "recitation"  # an answer without content: it was somebody else's text
    SAFETY = "safety"  # an answer that was withheld
    EMPTY = "empty"  # no answer in the response
    UNKNOWN_EVIDENCE = "unknown_evidence"  # cites what was not shown
    NO_EVIDENCE = "no_evidence"  # cites nothing
    OBEDIENT = "obedient"  # does what a text in the data tells it: flips when one says "flip"


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks, whatever its format.

    Attributes:
        text: the prompt.
        schema: of the answer.
        tokens: of the answer at most.
    """

    text: str
    schema: Mapping[str, Any]
    tokens: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What a response says, whatever its format.

    Attributes:
        behaviour: how the call is answered.
        text: of the answer; empty: it has none.
        tokens_in: of the prompt.
        tokens_out: of the text.
        thoughts: tokens that were thought before it.
    """

    behaviour: Behaviour
    text: str
    tokens_in: int
    tokens_out: int
    thoughts: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer whose status is not 200."""

    code: int
    message: str
    retry_after_s: int | None = None


class ChatApi(ABC):
    """The format of one provider's API.

    Attributes:
        title: its name, for people.
        path: where it is asked.
        embedding_path: where it embeds texts; None: nowhere.
        base: what of that path belongs to the base URL that clients are given.
        unspoken: behaviours that it has no words for.
        bad_key: the status of a key that does not exist.
        overloaded: the status of a server that has too much to do.
    """

    title: ClassVar[str]
    path: ClassVar[re.Pattern[str]]
    embedding_path: ClassVar[re.Pattern[str] | None] = None
    base: ClassVar[str] = ""
    unspoken: ClassVar[frozenset[Behaviour]] = frozenset()
    bad_key: ClassVar[int] = 401
    overloaded: ClassVar[int] = 503

    @abstractmethod
    def key(self, headers: Mapping[str, str]) -> str | None:
        """The key of a request; None: it has none."""

    @abstractmethod
    def fault(self, body: Any, key: str | None) -> Refusal | None:
        """Why it would refuse a request; None: it would not."""

    @abstractmethod
    def question(self, body: Any) -> Question:
        """What a request without a fault asks."""

    @abstractmethod
    def response(self, reply: Reply) -> dict[str, Any]:
        """A response with status 200."""

    @abstractmethod
    def error(self, refusal: Refusal) -> dict[str, Any]:
        """The body of a refusal."""

    def embedding_fault(self, body: Any, key: str | None) -> Refusal | None:
        """Why it would refuse to embed texts; None: it would not."""
        raise NotImplementedError

    def embeddings(self, body: Any, behaviour: Behaviour) -> dict[str, Any]:
        """A response with status 200 to texts that are to be embedded."""
        raise NotImplementedError

    def error_headers(self, refusal: Refusal) -> dict[str, str]:
        """Headers of a refusal."""
        return {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}

    def refusal(self, behaviour: Behaviour, key: str | None, retry_after_s: int) -> Refusal | None:
        """The refusal that a behaviour is; None: it is none."""
        if behaviour not in _REFUSALS:
            return None
        code, message = _REFUSALS[behaviour]
        code = {Behaviour.BAD_KEY: self.bad_key, Behaviour.OVERLOADED: self.overloaded}.get(behaviour, code)
        waits = behaviour in {Behaviour.QUOTA, Behaviour.OVERLOADED}
        return Refusal(code, message.format(key=key), retry_after_s if waits else None)


_REFUSALS = {
    Behaviour.REDIRECT: (302, "The model has moved."),
    Behaviour.QUOTA: (429, "You exceeded your current quota."),
    Behaviour.OVERLOADED: (503, "The model is overloaded. Please try again later."),
    Behaviour.UNAUTHENTICATED: (401, "Request had invalid authentication credentials."),
    Behaviour.FORBIDDEN: (403, "The caller does not have permission."),
    Behaviour.BAD_KEY: (401, "API key {key} not valid. Please pass a valid API key."),
}


def first_fault(checks: Iterable[tuple[Callable[[], object], str]]) -> Refusal | None:
    """Status 400 with the message of the first check that does not hold; None: all do."""
    for holds, message in checks:
        try:
            fine = bool(holds())
        except (KeyError, IndexError, TypeError, AttributeError):
            fine = False
        if not fine:
            return Refusal(400, message)
    return None


class ChatServer:
    """A running server; a context manager that starts it and ends it.

    Attributes:
        requests: the bodies of the calls so far, in the order of arrival.
        retry_after_s: what 429 and 503 ask for.
    """

    api: ClassVar[ChatApi]

    def __init__(self, behaviour: str = "answer", *, every: int = 1, port: int = 0) -> None:
        self.requests: list[dict[str, Any]] = []
        self.retry_after_s = 7
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._count = 0
        self.behave(behaviour, every=every)
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", port), type("Handler", (_Handler,), {"loopback": self})
        )
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The address, for `base_url`."""
        return f"http://127.0.0.1:{self._server.server_port}{self.api.base}"

    @property
    def calls(self) -> int:
        """Calls so far that were well formed."""
        with self._lock:
            return self._count

    def behave(self, behaviour: str, *, every: int = 1) -> None:
        """From now on answer every k-th call so, and the others well.

        Raises:
            ValueError: the API has no words for it.
        """
        named = Behaviour(behaviour)
        if named in self.api.unspoken:
            raise ValueError(f"the {self.api.title} has no words for {behaviour}")
        with self._lock:
            self._behaviour, self._every = named, every

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

    @classmethod
    def run(cls) -> None:
        """Run the server of a command line until it is interrupted.

        Signals are waited for and not caught: an exception in the middle of anything can be lost.
        """
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--port", type=int, default=8900)
        spoken = [str(each) for each in Behaviour if each not in cls.api.unspoken]
        parser.add_argument("--behaviour", choices=spoken, default="answer")
        parser.add_argument("--every", type=int, default=1)
        given = parser.parse_args()
        told = {signal.SIGINT, signal.SIGTERM}
        signal.pthread_sigmask(signal.SIG_BLOCK, told)
        with cls(given.behaviour, every=given.every, port=given.port) as loopback:
            sys.stdout.write(f"{cls.api.title} on {loopback.url}, behaviour {given.behaviour}\n")
            sys.stdout.flush()
            signal.sigwait(told)


class _Handler(BaseHTTPRequestHandler):
    loopback: ChatServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/control":
            self.send_json(200, self.loopback.status())
        else:
            self.refuse(Refusal(404, f"{self.path} is not found"))

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        if length > _BODY_LIMIT:
            self.close_connection = True
            return self.refuse(Refusal(400, "the request is too large"))
        content = self.rfile.read(length)
        try:
            body = json.loads(content)
        except ValueError:
            body = None
        api = self.loopback.api
        if self.path == "/control":
            return self.control(body)
        path = self.path.partition("?")[0]
        embeds = api.embedding_path is not None and api.embedding_path.fullmatch(path) is not None
        if not embeds and not api.path.fullmatch(path):
            return self.refuse(Refusal(404, f"{self.path} is not found"))
        fault = api.embedding_fault(body, self.key) if embeds else api.fault(body, self.key)
        if fault is not None:
            return self.refuse(fault)
        return self.answer(body, self.loopback.note(body), embeds=embeds)

    @property
    def key(self) -> str | None:
        return self.loopback.api.key({name.lower(): value for name, value in self.headers.items()})

    def control(self, body: object) -> None:
        try:
            assert isinstance(body, dict)
            self.loopback.behave(str(body["behaviour"]), every=max(1, int(body.get("every", 1))))
        except (AssertionError, KeyError, ValueError, TypeError):
            return self.refuse(Refusal(400, f"behaviour is one of {list(Behaviour)}"))
        return self.send_json(200, self.loopback.status())

    def answer(self, body: dict[str, Any], behaviour: Behaviour, *, embeds: bool) -> None:
        api = self.loopback.api
        if (refusal := api.refusal(behaviour, self.key, self.loopback.retry_after_s)) is not None:
            return self.refuse(refusal)
        if behaviour is Behaviour.SLOW:
            self.loopback.wait(_NEVER)
            self.close_connection = True
        elif behaviour is Behaviour.DRIP:
            self.drip()
        elif behaviour is Behaviour.RESET:
            self.reset()
        elif behaviour is Behaviour.NOT_JSON:
            self.send_bytes(200, b"<html>It works!</html>", "text/html")
        else:
            blanks, encoding = _ENCODED.get(behaviour, (0, ""))
            if embeds:
                response = api.embeddings(body, behaviour)
            else:
                response = api.response(_reply_to(api.question(body), behaviour))
            content = b" " * blanks + json.dumps(response).encode()
            if embeds and behaviour is Behaviour.TRUNCATED:
                content = content[: len(content) // 2]
            packed = gzip.compress(content) if encoding == "gzip" else content
            headers = {"Content-Encoding": encoding} if encoding else {}
            self.send_bytes(200, packed, "application/json", headers)
        return None

    def refuse(self, refusal: Refusal) -> None:
        api = self.loopback.api
        headers = {"Location": f"{self.loopback.url}/elsewhere"} if refusal.code == 302 else {}
        self.send_json(refusal.code, api.error(refusal), headers | api.error_headers(refusal))

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

    def send_json(self, code: int, value: object, headers: Mapping[str, str] | None = None) -> None:
        self.send_bytes(code, json.dumps(value).encode(), "application/json; charset=UTF-8", headers)

    def send_bytes(
        self, code: int, content: bytes, media: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(code)
        sent = {"Content-Type": media, "Content-Length": str(len(content))} | dict(headers or {})
        for name, value in sent.items():
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

_TEXTLESS = frozenset(
    {
        Behaviour.BLOCKED, Behaviour.BLOCKED_OTHER, Behaviour.RECITATION, Behaviour.SAFETY, Behaviour.EMPTY,
        Behaviour.THOUGHT_ONLY,
    }
)  # fmt: skip


def _reply_to(question: Question, behaviour: Behaviour) -> Reply:
    text = "" if behaviour in _TEXTLESS else json.dumps(_answer_to(question, behaviour))
    thoughts = {Behaviour.THOUGHT: THOUGHT_TOKENS, Behaviour.THOUGHT_ONLY: question.tokens}.get(behaviour, 0)
    return Reply(behaviour, _spoilt(text, behaviour), _tokens(question.text), _tokens(text), thoughts)


def _tokens(text: str) -> int:
    return (len(text) + 3) // 4


def _answer_to(question: Question, behaviour: Behaviour) -> dict[str, Any]:
    data = data_in(question.text)
    answer = verdict_from(data, tuple(question.schema["properties"]["verdict"]["enum"]))
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


def verdict_from(data: Mapping[str, Any], allowed: tuple[str, ...]) -> dict[str, Any]:
    """The verdict that follows from the precedents of a data block: plain means, and no intelligence.

    Where the statistics say that signals like it are right at least as often as those that know nothing, it approves.
    """
    precedents: dict[str, Any] = data["precedents"]
    known = [data.get("statistics", {}).get(name) for name in ("p_right", "p_right_without_knowledge")]
    if None not in known and known[0] >= known[1]:
        allowed = ("approve",)
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


def _spoilt(text: str, behaviour: Behaviour) -> str:
    if behaviour is Behaviour.TRUNCATED:
        return text[: len(text) // 2]
    if behaviour is Behaviour.PROSE:
        return "Looking at the precedents, I would rather hold this one."
    if behaviour is Behaviour.FENCED:
        return f"```json\n{text}\n```"
    return text
