"""The keeper on a thread of its own, so that no feed waits for a database.

    with Behind(keeper, log=log) as behind:
        behind.offer(bars)                     # never blocks

What is offered waits in a bounded queue. When the database is away for so long that the queue is full, further bars
are dropped and counted: the keeper finds them missing and asks the history for them.
"""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

from structlog.typing import FilteringBoundLogger

from raysignal.engine.core.errors import StoreUnavailable
from raysignal.engine.market.bars import Bar
from raysignal.engine.market.recorder import MarketRecorder

MOST_WAITING = 20_000
MOST_AT_ONCE = 2_000
IDLE_S = 1.0


class RecorderThread:
    """A thread that keeps bars. Once it has failed, `failure` says why, and `offer` takes nothing more.

    Attributes:
        dropped: bars that were not taken.
        begun: the keeper is where the last one left off.
        failure: what ended the thread before `stop`; None: nothing.
        trouble: why nothing can be kept just now; empty: it can.
    """

    def __init__(
        self, keeper: MarketRecorder, *, log: FilteringBoundLogger, most_waiting: int = MOST_WAITING
    ) -> None:
        self.dropped = 0
        self.begun = False
        self.failure: BaseException | None = None
        self.trouble = ""
        self._taken = self._kept = 0
        self._keeper = keeper
        self._log = log
        self._queue: queue.Queue[Bar | None] = queue.Queue(most_waiting)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="market-keeper", daemon=True)

    @property
    def waiting(self) -> int:
        """Bars that were taken and have not been gone through yet."""
        return self._taken - self._kept

    def start(self) -> None:
        """Begin, with `MarketRecorder.begin`."""
        self._thread.start()

    def offer(self, bars: Sequence[Bar]) -> int:
        """Hand over bars; how many were taken."""
        taken = 0
        try:
            while self.failure is None and taken < len(bars):
                self._queue.put_nowait(bars[taken])
                taken += 1
        except queue.Full:
            pass
        self._taken += taken
        self.dropped += len(bars) - taken
        return taken

    def stop(self, timeout_s: float = 30.0) -> None:
        """Store what was handed over, if the database answers, and end."""
        self._stopping.set()
        # Wakes the thread; where the queue is full it is awake.
        if not self._queue.full():
            self._queue.put_nowait(None)
        self._thread.join(timeout_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            if self._done(self._keeper.begin):
                self.begun = True
                while self._round():
                    pass
        except Exception as error:  # noqa: BLE001 - a thread has nobody above it: whoever offers is told
            self.failure = error
            self._log.error("market_keeper_failed", exc_info=True)

    def _round(self) -> bool:
        """Keep what has come; False when it is time to end."""
        bars = self._next()
        kept = self._done(lambda: self._keeper.keep(bars), lambda: self._keeper.keep(()))
        self._kept += len(bars)
        return kept and not (self._stopping.is_set() and self._queue.empty())

    def _next(self) -> list[Bar]:
        """What has come, or nothing after a while."""
        bars: list[Bar | None] = []
        try:
            bars.append(self._queue.get(timeout=IDLE_S))
            while len(bars) < MOST_AT_ONCE:
                bars.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return [bar for bar in bars if bar is not None]

    def _done(self, action: Callable[[], None], again: Callable[[], None] | None = None) -> bool:
        """Do it until it is done; False if it is not when the thread shall end."""
        since_s: float | None = None
        while True:
            try:
                action()
            except (StoreUnavailable, OSError) as error:
                if str(error) != self.trouble:
                    self._log.warning("market_keeper_waits", reason=str(error))
                since_s, self.trouble = since_s or time.monotonic(), str(error)
                if self._stopping.wait(IDLE_S):
                    return False
                action = again or action
            else:
                if since_s is not None:
                    self.trouble = ""
                    waited_s = round(time.monotonic() - since_s, 3)
                    self._log.info("market_keeper_goes_on", waited_s=waited_s, bars_waiting=self.waiting)
                return True
