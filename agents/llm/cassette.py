"""Every call of a model on record, so that each decision can be made again without one.

A cassette is an NDJSON file that only grows. A line `frame` holds what many requests share (instruction,
model, settings, schema), a line `call` holds a question and what came of it. A later call with the same key
takes the place of an earlier one. Three modes:

- live: nothing is read or written; equal questions that are asked at the same time share one call.
- record: a question with an answer on record is not asked again; one that failed for want of a server, time
  or budget is, but not twice in one session. Every outcome is durable before it is used.
- replay: the network is never touched; a question that is not on record raises `CassetteMiss`.
"""

import asyncio
import difflib
import fcntl
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from pydantic import ValidationError

from raysignal.agents.llm.calls import (
    Failure,
    ModelAnswer,
    ModelRequest,
    Outcome,
    Usage,
    VerdictIn,
    canonical,
    digest,
)
from raysignal.agents.verdicts import Reason
from raysignal.engine.core.errors import CassetteMiss, SettingsError, UnreadableInput

_TRANSIENT = frozenset(
    {Reason.MODEL_TIMEOUT, Reason.MODEL_QUOTA, Reason.MODEL_UNAVAILABLE, Reason.MODEL_BUDGET}
)
_DIFF_LINES, _DIFF_WIDTH = 30, 200


class Mode(StrEnum):
    """What a cassette is for."""

    LIVE = "live"
    RECORD = "record"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class CassetteEntry:
    """What came of one request.

    Attributes:
        outcome: the answer or the failure.
        usd: what it cost; None: not known.
        latency_s: how long it took, by the clock of whoever asked.
    """

    outcome: Outcome
    usd: float | None
    latency_s: float


@dataclass(frozen=True, slots=True)
class _Recorded:
    request: ModelRequest
    take: CassetteEntry
    in_this_session: bool = False

    @property
    def is_final(self) -> bool:
        """Whether asking again could not bring a better answer, or must not within this session."""
        outcome = self.take.outcome
        return self.in_this_session or isinstance(outcome, ModelAnswer) or outcome.reason not in _TRANSIENT


class Cassette:
    """See the module. Belongs to one event loop at a time; as a context manager it is closed at the end.

    Raises:
        SettingsError: no such file to replay, or another process is recording on it.
        UnreadableInput: a line that was written whole is damaged; the message names it.
    """

    def __init__(self, mode: Mode, path: Path | None) -> None:
        self.mode, self.path = mode, path
        self._calls: dict[str, _Recorded] = {}
        self._frames: dict[str, Mapping[str, Any]] = {}
        self._asking: dict[str, asyncio.Task[CassetteEntry]] = {}
        self._file: BinaryIO | None = None
        if path is None:
            return
        if mode is Mode.RECORD:
            self._file = _opened_for_one(path)
        elif not path.is_file():
            raise SettingsError(f"cassette is {str(path)!r}; expected a file that was recorded")
        self._load(path)

    @classmethod
    def live(cls) -> Self:
        """Without a record."""
        return cls(Mode.LIVE, None)

    @classmethod
    def record(cls, path: Path) -> Self:
        """Onto a file, which is made where there is none."""
        return cls(Mode.RECORD, path)

    @classmethod
    def replay(cls, path: Path) -> Self:
        """From a file."""
        return cls(Mode.REPLAY, path)

    @property
    def count(self) -> int:
        """Questions on record."""
        return len(self._calls)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def find(self, request: ModelRequest) -> CassetteEntry | None:
        """What is on record for a request, if it is not to be asked (again).

        Raises:
            CassetteMiss: in a replay, if there is nothing; it shows the nearest request and what differs.
        """
        recorded = self._calls.get(request.hash)
        if self.mode is Mode.REPLAY:
            if recorded is None:
                raise self._miss(request)
            return recorded.take
        return recorded.take if recorded is not None and recorded.is_final else None

    async def take(
        self, request: ModelRequest, call: Callable[[], Awaitable[CassetteEntry]]
    ) -> CassetteEntry:
        """Make a call that is not on record, once for all who ask the same now, and record what comes of it.

        The call goes on when whoever asked is cancelled: it was paid for, and others may wait for it.
        """
        key = request.hash
        if key not in self._asking:
            task = asyncio.create_task(self._recorded(request, call))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(self._asking[key])

    async def settle(self) -> None:
        """Wait for the calls that are under way; call it before `close`."""
        if self._asking:
            await asyncio.wait(set(self._asking.values()))

    def content_hash(self) -> str:
        """SHA-256 of what is on record: each question with its outcome and cost.

        It does not depend on the order in which calls were recorded, nor on how long they took, nor on what
        was recorded before something took its place.
        """
        return digest(sorted(canonical([key, _content_of(each.take)]) for key, each in self._calls.items()))

    async def _recorded(
        self, request: ModelRequest, call: Callable[[], Awaitable[CassetteEntry]]
    ) -> CassetteEntry:
        take = await call()
        if self.mode is Mode.RECORD:
            self._write(request, take)
            self._calls[request.hash] = _Recorded(request, take, in_this_session=True)
        return take

    def _write(self, request: ModelRequest, take: CassetteEntry) -> None:
        if self._file is None:
            raise SettingsError(
                f"cassette {str(self.path)!r} is closed; expected it open while calls are made"
            )
        frame = _frame_of(request)
        name = digest(frame)
        lines = b""
        if name not in self._frames:
            lines += _line({"frame": name, **frame})
        call = {
            "call": request.hash,
            "frame": name,
            "user": request.user,
            "latency_s": round(take.latency_s, 6),
        }
        lines += _line(call | _content_of(take))
        self._file.write(lines)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._frames[name] = frame

    def _load(self, path: Path) -> None:
        content = path.read_bytes()
        whole, _, torn = content.rpartition(b"\n")
        lines = whole.split(b"\n") if whole else []
        for number, line in enumerate(lines, start=1):
            try:
                self._read(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
                if number == len(lines) and not torn:
                    # The last line can be torn inside although its end is there: pages are written in any order.
                    torn = line + b"\n"
                    break
                raise UnreadableInput(
                    f"{path} line {number} is damaged ({type(error).__name__}: {error}); "
                    "expected a line that was recorded, unchanged"
                ) from error
        if torn and self._file is not None:
            self._file.truncate(len(content) - len(torn))

    def _read(self, line: dict[str, Any]) -> None:
        if "call" not in line:
            name = line.pop("frame")
            if digest(line) != name:
                raise ValueError("the frame is not the one it says it is")
            self._frames[name] = line
            return
        frame = self._frames[line["frame"]]
        request = ModelRequest(
            frame["prompt"], frame["system"], line["user"], frame["model"], frame["settings"], frame["schema"]
        )
        if request.hash != line["call"]:
            raise ValueError("the question is not the one it says it is")
        self._calls[request.hash] = _Recorded(request, _take_of(line))

    def _miss(self, request: ModelRequest) -> CassetteMiss:
        asked = _lines_of(request)
        nearest = max(
            (each.request for each in self._calls.values()),
            key=lambda other: len(set(_lines_of(other)) & set(asked)),
            default=None,
        )
        if nearest is None:
            return CassetteMiss(request.hash, str(self.path), None, "the cassette is empty")
        difference = difflib.unified_diff(_lines_of(nearest), asked, "recorded", "asked", n=1, lineterm="")
        shown = [line[:_DIFF_WIDTH] for line in list(difference)[:_DIFF_LINES]]
        return CassetteMiss(request.hash, str(self.path), nearest.hash, "\n".join(shown))


def _opened_for_one(path: Path) -> BinaryIO:
    """Open for appending, and make sure that nobody else writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise SettingsError(
            f"cassette {str(path)!r} is being recorded by another; expected one recorder"
        ) from error
    return file


def _frame_of(request: ModelRequest) -> dict[str, Any]:
    return {
        "prompt": request.prompt_hash,
        "system": request.system,
        "model": request.model,
        "settings": dict(request.settings),
        "schema": dict(request.schema),
    }


def _content_of(take: CassetteEntry) -> dict[str, Any]:
    """A take as plain JSON values, without its latency."""
    outcome = take.outcome
    usage = None if outcome.usage is None else [outcome.usage.tokens_in, outcome.usage.tokens_out]
    content: dict[str, Any] = {"raw": outcome.raw, "usage": usage, "usd": take.usd}
    if isinstance(outcome, ModelAnswer):
        return content | {"reason": Reason.MODEL_ANSWERED, "verdict": outcome.verdict.model_dump()}
    return content | {"reason": outcome.reason, "detail": outcome.detail}


def _take_of(line: Mapping[str, Any]) -> CassetteEntry:
    usage = None if line["usage"] is None else Usage(*line["usage"])
    outcome: Outcome
    if line["reason"] == Reason.MODEL_ANSWERED:
        outcome = ModelAnswer(VerdictIn.model_validate(line["verdict"]), line["raw"], usage)
    else:
        outcome = Failure(Reason(line["reason"]), line["detail"], line["raw"], usage)
    return CassetteEntry(outcome, line["usd"], line["latency_s"])


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True, allow_nan=False).encode() + b"\n"


def _lines_of(request: ModelRequest) -> list[str]:
    """A request as lines that can be compared."""
    about = {"prompt": request.prompt_hash, "model": request.model} | {
        f"settings.{name}": value for name, value in sorted(request.settings.items())
    }
    head = [f"{name}: {value}" for name, value in about.items()]
    return [
        *head,
        f"schema: {canonical(request.schema)}",
        *request.system.splitlines(),
        *request.user.splitlines(),
    ]
