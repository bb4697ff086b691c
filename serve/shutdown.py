"""How a process is told to end: SIGINT (Ctrl-C) and SIGTERM, noted at once and heeded where it is safe.

A `KeyboardInterrupt` may be raised between any two steps of the main thread: inside a callback of compiled
code, a finaliser, or an event loop that is just done, where it is printed or dropped and the program goes on.
So a signal is first of all a note that stays, and an exception only on top of it, in sections that allow it:

    with Stop() as stop:
        start_a_part()                  not disturbed
        stop.check()                    raises if somebody has told
        with stop.interruptible():
            wait_for_something()        disturbed; if the exception is lost, raised again at the end of the section

Handlers of signals belong to the main thread. In any other one nothing is installed, and nothing ever told.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from types import FrameType, TracebackType
from typing import Any, Self

from raysignal.engine.core.errors import StoreUnavailable

SIGNALS = (signal.SIGINT, signal.SIGTERM)

SAME_PRESS_S = 0.5
"""Signals so close to the first are the same wish, as from a terminal and a wrapper that passes it on."""

_LOOK_EVERY_S = 0.5


class _Heed(Enum):
    NOTE = 0
    RAISE_IF_HURRIED = 1
    RAISE = 2


class ShutdownSignal:
    """Whether this process was told to end. A context manager: within, its handlers are those of the process.

    Leaving it by a `KeyboardInterrupt` after SIGTERM leaves by `SystemExit(143)`: what the process ends with
    says which signal it was.

    Attributes:
        number: the first signal that told; None as long as none has.
        hurried: told again later, which asks to end sooner.
        lost: whether something has ended that everything here rests on.
        failure: the same in words, where nobody had told this process to end before; else empty.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.number: signal.Signals | None = None
        self.hurried = False
        self.lost = False
        self.failure = ""
        self._clock = clock
        self._told_at = 0.0
        self._heed = _Heed.NOTE
        self._before: dict[signal.Signals, Any] = {}
        self._deaf_after = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in SIGNALS}
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if not self._deaf_after:
            for number, handler in self._before.items():
                signal.signal(number, handler)
        if isinstance(error, KeyboardInterrupt) and self.failure:
            raise StoreUnavailable(self.failure) from None
        if isinstance(error, KeyboardInterrupt) and self.number == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM) from None

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if this process was told to end."""
        if self.number is not None:
            raise KeyboardInterrupt

    def wait(self) -> None:
        """Return once this process was told to end."""
        # Nobody sets it: a handler that did could meet its lock held by the very wait that it interrupts.
        never = threading.Event()
        while self.number is None:
            never.wait(_LOOK_EVERY_S)

    def lose(self, what: str) -> None:
        """End as if told twice: there is nothing left to put away. For any thread but the main one."""
        self.lost = True
        self.failure = what if self.number is None else ""
        for _ in range(2):
            if self._before:
                os.kill(os.getpid(), signal.SIGTERM)
                threading.Event().wait(1.5 * SAME_PRESS_S)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within, a signal raises `KeyboardInterrupt`; so does one that came before or whose exception was lost."""
        with self._heeding(_Heed.RAISE):
            self.check()
            yield
        self.check()

    @contextmanager
    def hurriable(self) -> Iterator[None]:
        """Within, a signal raises `KeyboardInterrupt` if it hurries an end that was asked for before."""
        with self._heeding(_Heed.RAISE_IF_HURRIED):
            yield

    @contextmanager
    def unchallenged(self) -> Iterator[None]:
        """Within, handlers that others set for these signals are not; those that compiled code sets are gone after.

        Connecting to Ray sets both kinds: one ends the process where it stands, the other aborts it.
        """
        if not self._before:
            yield
            return
        whole = signal.signal

        def install(number: int, handler: Any) -> Any:
            return signal.getsignal(number) if number in SIGNALS else whole(number, handler)

        signal.signal = install  # type: ignore[assignment]
        try:
            yield
        finally:
            signal.signal = whole
            for number in SIGNALS:
                signal.signal(number, self._take)
            if self.number is not None:
                # A signal that met Ray's compiled handler was passed on to ours, with an abort set for 3 s later.
                signal.alarm(0)

    def stay(self) -> None:
        """Keep the handlers after the end, too: for a process that has nothing left to do but to exit."""
        self._deaf_after = True

    @contextmanager
    def _heeding(self, heed: _Heed) -> Iterator[None]:
        before, self._heed = self._heed, heed
        try:
            yield
        finally:
            self._heed = before

    def _take(self, number: int, _frame: FrameType | None) -> None:
        now = self._clock()
        if self.number is None:
            self.number, self._told_at = signal.Signals(number), now
        elif now - self._told_at > SAME_PRESS_S:
            self.hurried = True
        if self._heed is _Heed.RAISE or (self._heed is _Heed.RAISE_IF_HURRIED and self.hurried):
            raise KeyboardInterrupt
