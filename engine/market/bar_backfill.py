"""Which bars of a series are not whole, and when the history is asked for them.

A bar is not whole if it has not seen all of its time, or is not there although earlier and later ones are. It is asked
for at once, then ever more seldom, and given up when `MOST` bars have come after it. A history that does not answer is
left in peace just as long, whatever comes to be missing meanwhile: who asks it waits for it.
"""

from collections.abc import Iterable

from sqlalchemy import Connection

from raysignal.engine.core.instants import MICROSECONDS
from raysignal.engine.market.bar_rows import read_bars
from raysignal.engine.market.bars import Bar, Basis
from raysignal.engine.market.crossover_watch import Watch

MOST = 1_000
FIRST_US = 5 * MICROSECONDS
LONGEST_US = 600 * MICROSECONDS


class BarBackfill:
    """The bars of one series that are not whole. See the module.

    Args:
        watch: one on these bars; where they are of mid prices nobody else has them, and none is asked for.
    """

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self._interval_us = watch.interval_us
        self._has_history = watch.basis is Basis.TRADES
        self._opens: set[int] = set()
        self._last_us: int | None = None  # the latest bar that was noted
        self._ask_us = 0
        self._wait_us = FIRST_US
        self._answers = True  # the history did when it was asked last

    @property
    def waiting(self) -> int:
        """How many are not whole."""
        return len(self._opens)

    def begin(self, connection: Connection, now_us: int) -> None:
        """Look at what is stored."""
        from_us = max(0, now_us - now_us % self._interval_us - MOST * self._interval_us)
        key = self.watch.instrument, self.watch.basis, self._interval_us
        for bar in read_bars(connection, *key, from_us, now_us):
            self.note(bar)

    def note(self, bar: Bar) -> None:
        """A bar has come; those before it that have not are missing."""
        if not self._has_history:
            return
        new: set[int] = set()
        if self._last_us is None or bar.open_us > self._last_us:
            if self._last_us is not None:
                first_us = max(self._last_us + self._interval_us, bar.open_us - MOST * self._interval_us)
                new.update(range(first_us, bar.open_us, self._interval_us))
            self._last_us = bar.open_us
        if not bar.complete:
            new.add(bar.open_us)
        if self._answers and not new <= self._opens:
            self._ask_us, self._wait_us = 0, FIRST_US
        self._opens |= new

    def stored(self, bar: Bar) -> bool:
        """A whole bar is stored; whether it was waited for."""
        if bar.open_us not in self._opens:
            return False
        self._opens.discard(bar.open_us)
        return True

    def due(self, now_us: int) -> tuple[int, int] | None:
        """From where to where the history is to be asked now; None: not now. Counts as asked."""
        if not self._opens or now_us < self._ask_us:
            return None
        assert self._last_us is not None
        oldest_us = self._last_us - MOST * self._interval_us
        self._opens = {open_us for open_us in self._opens if open_us >= oldest_us}
        if not self._opens:
            return None
        self._answers = False
        self._ask_us = now_us + self._wait_us
        self._wait_us = min(2 * self._wait_us, LONGEST_US)
        return min(self._opens), max(self._opens) + self._interval_us

    def wanted(self, bars: Iterable[Bar]) -> list[Bar]:
        """It has answered: those of its bars that are waited for."""
        self._answers = True
        return [bar for bar in bars if bar.open_us in self._opens and bar.complete]
