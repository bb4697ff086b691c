"""The program behind `engine.strategies.isolation`: it forks a process for every run of a strategy, or of a function.

It is given the descriptor of a connection, takes one request after another from it, and ends when the other side is
closed; a run that is under way then is killed. It has one thread, so that it can be forked safely.
"""

import contextlib
import gc
import importlib
import json
import multiprocessing
import numbers
import os
import pickle
import random
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.strategies.isolation import StrategyRun
from raysignal.engine.strategies.strategy import Bars
from raysignal.engine.strategies.user_strategies import import_strategy

_FORK = multiprocessing.get_context("fork")
_ENDING_S = 5.0  # for a process that has closed its pipe
_INSTALLED = (sys.prefix + os.sep, sys.base_prefix + os.sep)
_DEVICES = ("/dev/", "/proc/", "/memfd:")
_SYSTEM = ("/etc/", "/sys/", "/usr/lib/", "/usr/share/")
# They say nothing of the bars, unless the rule wrote them.
_CODE = re.compile(r"__pycache__|\.pyc?$|\.nb[ic]\b|\.so\b|/(site|dist)-packages/")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# Of audit events that change a file: where the path is among the values, and where the folder that it starts from.
_CHANGES = {
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.utime": ((0, 3),),
    "os.truncate": ((0, None),),
    "os.setxattr": ((0, None),),
    "os.removexattr": ((0, None),),
}
# As above, of a name in a folder; a link with that name is not followed.
_NAMES = {
    "os.mkdir": ((0, 2),),
    "os.rmdir": ((0, 1),),
    "os.remove": ((0, 1),),
    "os.symlink": ((1, 2),),
    "os.link": ((0, 2), (1, 3)),
    "os.rename": ((0, 2), (1, 3)),
}


_Answered = Callable[[bytes, str, Callable[[], None]], bytes]


class _Wrong(Exception):
    """What a strategy answered that cannot be used: a sentence, and the bar."""

    def __init__(self, sentence: str, bar: int | None = None) -> None:
        super().__init__(sentence)
        self.bar = bar


def main(descriptor: int) -> None:
    """Serve requests until the other side is closed."""
    caller = Connection(descriptor)
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            kind, *values = caller.recv()
            if kind == "preload":
                _preload(*values)
            else:
                caller.send_bytes(_forked(caller, _called if kind == "call" else _answered, *values))


def _preload(modules: Sequence[str]) -> None:
    for name in modules:
        module, _, function = name.partition(":")
        with contextlib.suppress(Exception):  # what cannot be imported alone is imported by the run
            imported = importlib.import_module(module)
            if function:
                getattr(imported, function)()
    if "numba" in sys.modules:
        from numba import njit  # noqa: PLC0415 - a second, for those alone whose strategy needs it

        njit(lambda: 0)()  # the first function takes a second: numba reads its tables
    gc.freeze()  # what is there is not touched by collections in the children, so its pages stay shared


def _forked(caller: Connection, answered: _Answered, job: bytes, time_limit_s: float) -> bytes:
    """The answer of a process that is forked for it, as `answered` gives it, or how that ended."""
    receiver, sender = _FORK.Pipe(duplex=False)
    with tempfile.TemporaryDirectory(prefix="raysignal-strategy-", ignore_cleanup_errors=True) as scratch:
        child = _FORK.Process(target=_child, args=(caller, sender, answered, job, scratch))
        child.start()
        sender.close()
        try:
            return _received(caller, receiver, child, time_limit_s)
        finally:
            receiver.close()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid or 0, signal.SIGKILL)  # with whatever it started
            child.kill()
            child.join()


def _received(caller: Connection, receiver: Connection, child: BaseProcess, time_limit_s: float) -> bytes:
    """The first message that is not empty; an empty one says that a call is done."""
    while True:
        ready = wait([receiver, caller], time_limit_s)
        if caller in ready:  # it asks for one thing at a time: this is its end
            raise EOFError
        if not ready:
            return _encoded(failed=f"it gives no answer within {time_limit_s:g} s")
        try:
            message = receiver.recv_bytes()
        except (EOFError, OSError):
            return _encoded(failed=_ending(child))
        if message:
            return message


def _ending(child: BaseProcess) -> str:
    child.join(_ENDING_S)
    code = child.exitcode
    if code is None:
        return "its process closes its files and gives no answer"
    how = f"by {signal.Signals(-code).name}" if code < 0 else f"with status {code}"
    return f"its process ends {how} before there is an answer"


def _child(caller: Connection, sender: Connection, answered: _Answered, job: bytes, scratch: str) -> None:
    caller.close()
    os.setpgid(0, 0)
    with Path(os.devnull).open("r+b") as nothing:
        for descriptor in (0, 1, 2):
            os.dup2(nothing.fileno(), descriptor)
    os.environ["TMPDIR"] = tempfile.tempdir = scratch
    # Forks have the state of the server; chance must be chance.
    random.seed()
    np.random.seed(os.getpid())  # noqa: NPY002 - the state that a strategy may draw from
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(Path.cwd()))  # as python -m has it
    try:
        answer = answered(job, scratch, lambda: sender.send_bytes(b""))
    except InvalidField as error:
        answer = _encoded(invalid=str(error), fields=error.fields)
    except _Wrong as error:
        answer = _encoded(failed=str(error), bar=error.bar)
    sender.send_bytes(answer)


def _answered(job: bytes, scratch: str, done: Callable[[], None]) -> bytes:
    """A line of JSON about the strategy, and the actions, int8; `done` is called after each call of it."""
    known = len(sys.modules)
    name, parameters, run = pickle.loads(job)  # noqa: S301 - from the caller's own process
    # One of ours may take what numba compiled before, and keep it.
    ours = ":" not in name or name.startswith("raysignal.engine.")
    if not ours:
        _compile_into(str(Path(scratch, "numba")))
    opened = _FilesOpened(scratch, compiles=ours)
    strategy = _made(name, parameters)
    if ours:
        opened.written.clear()  # by which numba tries whether it may write
    try:
        actions, streams = _run(strategy, run, done)
        warm_up = getattr(strategy, "warm_up", 0)
    except _Wrong:
        raise
    except BaseException as error:
        raise _Wrong(f"it raises {_named(error)}") from error
    if not isinstance(warm_up, numbers.Integral):
        raise _Wrong(f"its warm_up is {warm_up!r}; expected a whole number of bars")
    if warm_up < 0:
        raise _Wrong(f"its warm_up is {warm_up}; expected 0 or more bars")
    opened.gather()
    header = _encoded(
        warm_up=int(warm_up),
        has_stream=callable(getattr(strategy, "stream", None)),
        written=sorted(opened.written),
        read=sorted(opened.read - opened.written),
        modules=_installed(list(sys.modules)[known:], strategy),
    )
    return header + b"\n" + b"".join(one.tobytes() for one in (*actions, *streams))


def _called(job: bytes, scratch: str, _done: Callable[[], None]) -> bytes:
    """A line of JSON about the files that a function opened, and the bytes that it answered."""
    name, values = pickle.loads(job)  # noqa: S301 - from the caller's own process
    module, _, function = name.partition(":")
    called = getattr(importlib.import_module(module), function)
    _compile_into(str(Path(scratch, "numba")))
    opened = _FilesOpened(scratch, compiles=True)
    try:
        answer: bytes = called(*values)
    except InvalidField:
        raise
    except BaseException as error:
        raise _Wrong(f"it raises {_named(error)}") from error
    opened.gather()
    return (
        _encoded(written=sorted(opened.written), read=sorted(opened.read - opened.written)) + b"\n" + answer
    )


def _made(name: str, parameters: dict[str, Any]) -> Any:
    if ":" in name:
        return import_strategy(name, parameters)
    from raysignal.engine.strategies import registry  # noqa: PLC0415 - the strategies: never in the server

    return registry.make(name, parameters)


def _run(
    strategy: Any, run: StrategyRun, done: Callable[[], None]
) -> tuple[list[Int8Array], list[Int8Array]]:
    given: list[tuple[Int8Array, Int8Array]] = []

    def asked(method: Callable[[Bars], Any], begin: int, end: int) -> Int8Array:
        """A copy of the answer, once it is known to be actions."""
        bars = _copy(run.bars, begin, end)
        answer = method(bars)
        done()
        _check_actions(answer, end - begin)
        _check_unchanged(bars, _copy(run.bars, begin, end))
        given.append((answer, answer.copy()))
        return given[-1][1]

    actions = [asked(strategy.actions, 0, end) for end in run.actions]
    streams = []
    for edges in run.streams:
        advance = strategy.stream().advance
        streams.append(np.concatenate([asked(advance, begin, end) for begin, end in pairwise(edges)]))
    for answer, copy in given:
        if not np.array_equal(answer, copy):
            bar = int(np.flatnonzero(answer != copy)[0])
            raise _Wrong(
                f"what it answered changes afterwards, at bar {bar}; it must give a new array each time", bar
            )
    return actions, streams


def _copy(bars: Bars, begin: int, end: int) -> Bars:
    shown = bars.slice(begin, end)
    return Bars(**{name: column.copy() for name, column in _columns(shown)})


def _columns(bars: Bars) -> list[tuple[str, Any]]:
    """Those that there are, by name."""
    columns = ((each.name, getattr(bars, each.name)) for each in fields(Bars))
    return [(name, column) for name, column in columns if column is not None]


def _check_unchanged(bars: Bars, before: Bars) -> None:
    for (name, column), (_, was) in zip(_columns(bars), _columns(before), strict=True):
        if column.tobytes() != was.tobytes():
            raise _Wrong(f"it changes the bars that it is given: {name}")


def _check_actions(answer: Any, n: int) -> None:
    if not isinstance(answer, np.ndarray) or answer.shape != (n,):
        shape = getattr(answer, "shape", type(answer).__name__)
        raise _Wrong(f"actions are {shape}; expected an array of {n}, one a bar")
    if answer.dtype != np.int8:
        raise _Wrong(f"actions are {answer.dtype}; expected int8")
    wrong = np.flatnonzero((answer < -1) | (answer > 1))
    if len(wrong):
        bar = int(wrong[0])
        raise _Wrong(f"action {answer[bar]} at bar {bar}; expected -1, 0 or 1", bar)


def _compile_into(folder: str) -> None:
    """Have numba keep what it compiles there: what it kept for another run may hold a number that was fitted then."""
    os.environ["NUMBA_CACHE_DIR"] = folder
    if "numba" in sys.modules:
        from numba import config  # noqa: PLC0415 - it is there

        config.CACHE_DIR = folder


class _FilesOpened:
    """The files that Python reads and changes from now on, but for those in a folder, devices, and code that is read.

    A process that is forked from this one tells it what it reads, and may change nothing: it could do so later.

    Args:
        scratch: the folder.
        compiles: whether code that is written is left out, too.
    """

    def __init__(self, scratch: str, *, compiles: bool) -> None:
        self._compiles = compiles
        self.written: set[str] = set()
        self.read: set[str] = set()
        self._ours = (os.path.realpath(scratch) + os.sep, *_DEVICES)
        self._pid = os.getpid()
        self._told, self._tell = os.pipe()
        for descriptor in (self._told, self._tell):
            os.set_blocking(descriptor, False)
        sys.addaudithook(self._hook)

    def gather(self) -> None:
        """Add what forked processes told."""
        with contextlib.suppress(OSError):  # nothing more
            while told := os.read(self._told, 1 << 16):
                for each in told.split(b"\0")[:-1]:
                    (self.written if each[:1] == b"w" else self.read).add(os.fsdecode(each[1:]))

    def _hook(self, event: str, values: tuple[Any, ...]) -> None:
        if event == "open":
            name, mode, flags = values
            if not isinstance(name, int):
                path = os.fsdecode(name)
                # What os.open names may start from another folder, which is not told.
                anywhere = mode is None and not path.startswith(os.sep)
                self._add(os.path.realpath(path), writes=bool(flags & _WRITES), anywhere=anywhere)
        elif event == "sqlite3.connect":
            if str(values[0]) != ":memory:":
                self._add(os.path.realpath(os.fsdecode(values[0])), writes=True)
        elif event in _CHANGES:
            for name, folder in _CHANGES[event]:
                path = _path(values[name], -1 if folder is None else values[folder])
                self._add(os.path.realpath(path), writes=True)
        elif event in _NAMES:
            for name, folder in _NAMES[event]:
                parent, last = os.path.split(_path(values[name], values[folder]).rstrip(os.sep))
                place = Path(os.path.realpath(parent), last)
                if event != "os.mkdir" or not place.is_dir():
                    self._add(str(place), writes=True)

    def _add(self, path: str, *, writes: bool, anywhere: bool = False) -> None:
        if writes:
            if (path + os.sep).startswith(self._ours) and not anywhere:
                return
            if self._compiles and _CODE.search(path):
                return
        elif (path + os.sep).startswith((*self._ours, *_SYSTEM, *_INSTALLED)) or _CODE.search(path):
            return
        if os.getpid() == self._pid:
            (self.written if writes else self.read).add(path)
            return
        with contextlib.suppress(OSError):  # full of others
            os.write(self._tell, (b"w" if writes else b"r") + os.fsencode(path) + b"\0")
        if writes:
            raise PermissionError(f"a process that a rule starts may write no file: {path}")


def _path(name: Any, folder: int) -> str:
    """Of a descriptor, or of a name and the descriptor of the folder that it starts from, -1 for the current one."""
    if isinstance(name, int):
        return f"/proc/self/fd/{name}"
    path = os.fsdecode(name)
    return path if folder < 0 else str(Path(f"/proc/self/fd/{folder}", path))


def _installed(names: Sequence[str], strategy: Any) -> list[str]:
    """Of modules those that are nobody's strategy: Python's, installed packages and the engine."""
    own = type(strategy).__module__.partition(".")[0]
    ours = "raysignal.engine.strategies" if own == "raysignal" else own
    places = (*_INSTALLED, str(Path(__file__).parents[1]) + os.sep)
    return sorted(
        name for name in names
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(places)
        and name != ours and not name.startswith(ours + ".")
    )  # fmt: skip


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _encoded(**values: Any) -> bytes:
    return json.dumps(values).encode()


if __name__ == "__main__":
    main(int(sys.argv[1]))
