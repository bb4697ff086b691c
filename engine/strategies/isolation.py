"""Runs of a strategy, each in a process of its own that nothing has seen before.

A strategy that keeps something (on itself, in its module, in a cache) can know in a second run what it saw in the
first. So a small server process, which imports what is slow to import and nothing of the strategy, forks a process for
each run; that process imports the strategy's module, makes the object, runs it and ends. The server is a program of its
own (`engine.strategies.isolation_server`) and no fork of its caller, which may have threads, and whose main module
`multiprocessing` would import again for every run.
"""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from multiprocessing import Pipe
from types import TracebackType
from typing import Any, Self

import numpy as np

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.core.errors import InputError, InvalidField, StrategyFailed
from raysignal.engine.strategies.strategy import Bars

TIME_LIMIT_S = 60.0
MOST_TIME_S = 86_400.0
_SERVER = "raysignal.engine.strategies.isolation_server"
_PATIENCE_S = 5.0  # for a server that is told to end


@dataclass(frozen=True, slots=True)
class StrategySource:
    """How a strategy is made anew.

    Attributes:
        name: of `engine.strategies.registry`, or `module:Class`.
        parameters: of the class, by name.
    """

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, strategy: object, parameters: Mapping[str, Any] | None = None) -> "StrategySource":
        """From a name, a class, or an object that says by itself what it was made of: a frozen dataclass.

        Raises:
            InvalidField: no strategy, one that another process cannot import, or an object that may have changed
                since it was made.
        """
        if isinstance(strategy, str):
            return cls(strategy, parameters or {})
        if not callable(getattr(strategy, "actions", None)):
            raise InvalidField("strategy", type(strategy).__name__, "a class with a method actions(bars)")
        if isinstance(strategy, type):
            return cls(_importable(strategy), parameters or {})
        if parameters:
            raise InvalidField(
                "parameters", ", ".join(parameters), "none beside an object, which has its own"
            )
        return cls(_importable(type(strategy)), _fields_of(strategy))


@dataclass(frozen=True, slots=True)
class StrategyRun:
    """What one process is asked.

    Attributes:
        bars: n of them; the object is given copies.
        actions: numbers of first bars whose actions one object is asked for, one after another.
        streams: for each stream of that object, one after another, the edges of its pieces, from 0 to n.
    """

    bars: Bars
    actions: tuple[int, ...] = ()
    streams: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class StrategyAnswer:
    """What one process answered.

    Attributes:
        actions, streams: int8 for each of those of the run, as long as its bars.
        warm_up: what the strategy says of itself; 0 where it says nothing.
        has_stream: whether it has a method `stream`.
        written, read: files that it changed, made, renamed or removed, and others that it opened, from the import of
            its module on; neither those in `TMPDIR` nor devices, and none of those read that are code or installed.
        modules: what it imported that the server had not.
    """

    actions: list[Int8Array]
    streams: list[Int8Array]
    warm_up: int
    has_stream: bool
    written: tuple[str, ...]
    read: tuple[str, ...]
    modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FunctionAnswer:
    """What a function answered in a process of its own; files as those of `StrategyAnswer`."""

    answer: bytes
    written: tuple[str, ...]
    read: tuple[str, ...]


class IsolatedRuns:
    """The server process, as a context manager; at its end nothing that it started is left.

    A strategy finds the folder and the `sys.path` of the caller as they were at the start, and a `TMPDIR` of its run
    alone; what it prints is thrown away. What it leaves elsewhere (a file, a server, shared memory) the next run can
    find: see `StrategyAnswer.written`.

    Args:
        time_limit_s: for one call of the strategy; the first has the import of its module in it.
    """

    def __init__(self, *, time_limit_s: float = TIME_LIMIT_S) -> None:
        if not 0.0 < time_limit_s <= MOST_TIME_S:
            raise InvalidField("time_limit_s", time_limit_s, f"seconds, above 0 and at most {MOST_TIME_S:g}")
        self._time_limit_s = time_limit_s
        self._connection, theirs = Pipe()
        # -P: the folder of the caller is not searched for what the server itself imports.
        self._server = subprocess.Popen(  # noqa: S603 - our own program, no shell
            [sys.executable, "-P", "-m", _SERVER, str(theirs.fileno())],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the server, which ends what it runs."""
        self._connection.close()
        try:
            self._server.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()

    def preload(self, modules: tuple[str, ...]) -> None:
        """Import these in the server, so that no later run waits for them; what is `module:function` is called, too."""
        self._send(("preload", modules))

    def run(self, source: StrategySource, run: StrategyRun) -> StrategyAnswer:
        """What the strategy, made anew in a new process, answers.

        Raises:
            InputError: the strategy cannot be imported or made.
            StrategyFailed: it raised, hung, ended its process, or what it answered are no actions.
        """
        try:
            job = pickle.dumps((source.name, dict(source.parameters), run))
        except Exception as error:  # a parameter of somebody else's may raise anything
            expected = f"values that another process can be given ({error})"
            raise InvalidField("parameters", ", ".join(source.parameters), expected) from error
        header, answer = self._asked("run", job)
        return _answer(header, answer, run)

    def call(self, function: str, *values: Any) -> FunctionAnswer:
        """What a function, `module:function`, answers in a new process; it answers in bytes.

        Raises:
            InputError: it raised that.
            StrategyFailed: it raised anything else, hung, or ended its process.
        """
        header, answer = self._asked("call", pickle.dumps((function, values)))
        return FunctionAnswer(answer, tuple(header["written"]), tuple(header["read"]))

    def _asked(self, kind: str, job: bytes) -> tuple[dict[str, Any], bytes]:
        self._send((kind, job, self._time_limit_s))
        try:
            answer = self._connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise StrategyFailed("the process that starts its runs has ended; see above") from error
        line, _, rest = answer.partition(b"\n")
        header: dict[str, Any] = json.loads(line)
        if "invalid" in header:
            raise InputError(header["invalid"], **header["fields"])
        if "failed" in header:
            raise StrategyFailed(header["failed"], bar=header.get("bar"))
        return header, rest

    def _send(self, request: tuple[Any, ...]) -> None:
        try:
            self._connection.send(request)
        except OSError as error:
            raise StrategyFailed("the process that starts its runs has ended; see above") from error


def _answer(header: dict[str, Any], actions: bytes, run: StrategyRun) -> StrategyAnswer:
    lengths = [*run.actions, *(edges[-1] for edges in run.streams)]
    parts = np.split(np.frombuffer(actions, np.int8), np.cumsum(lengths)[:-1])
    return StrategyAnswer(
        actions=parts[: len(run.actions)],
        streams=parts[len(run.actions) :],
        warm_up=header["warm_up"],
        has_stream=header["has_stream"],
        written=tuple(header["written"]),
        read=tuple(header["read"]),
        modules=tuple(header["modules"]),
    )


def _importable(kind: type) -> str:
    if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
        raise InvalidField(
            "strategy", kind.__qualname__,
            "a class at the top of a module that another process can import, not of the running program or of a "
            "function: put it into a file of its own",
        )  # fmt: skip
    return f"{kind.__module__}:{kind.__qualname__}"


def _fields_of(strategy: Any) -> dict[str, Any]:
    """What a frozen dataclass was made of."""
    kind = type(strategy)
    expected = (
        f"its class, {kind.__name__}, with parameters={{…}}: an object may have changed since it was made"
    )
    if not is_dataclass(kind) or not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise InvalidField("strategy", f"an object of {kind.__name__}", expected)
    values = {each.name: getattr(strategy, each.name) for each in fields(kind) if each.init}
    for name, value in values.items():
        try:
            hash(value)
        except TypeError as error:
            raise InvalidField(
                "strategy", f"{kind.__name__} with a {type(value).__name__} as {name}", expected
            ) from error
    return values
