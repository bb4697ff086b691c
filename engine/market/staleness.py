"""Is the connection alive, do its books move, does anybody trade? Plain judges of times that are handed in, in seconds.

A connection that says nothing at all is dead, whatever TCP believes: a socket whose other end is gone stays open. A
connection that lives (it speaks, or answers pings) while one of its books stands still for much longer than that book
is used to has lost that stream; so it is with trades. A market may also just be quiet: so the bound grows with the
book's own usual pause, and doubles each time that a remedy has not helped.
"""

from collections.abc import Iterable

_USUAL_PAUSES = 50.0  # a book is still when it has not moved for so many of its usual pauses
_FORGET = 0.05  # weight of a new pause in the usual one
_MOST_DOUBLINGS = 10
BURST_S = 1.0


class Heartbeat:
    """When to ping, and whether the answers come.

    Args:
        every_s: the time between pings; None: never.
        within_s: how long an answer may take; None: it is not waited for.
    """

    def __init__(self, every_s: float | None, within_s: float | None, now_s: float) -> None:
        self._every_s, self._within_s = every_s, within_s
        self._last_s = now_s
        self._waiting_since_s: float | None = None

    def due(self, now_s: float) -> bool:
        """Whether to send one now; if so, it counts as sent."""
        if self._every_s is None or now_s - self._last_s < self._every_s:
            return False
        self._last_s = now_s
        if self._waiting_since_s is None:
            self._waiting_since_s = now_s
        return True

    def answered(self) -> None:
        """An answer came."""
        self._waiting_since_s = None

    def unanswered(self, now_s: float) -> bool:
        """Whether an answer is overdue."""
        return (
            self._within_s is not None
            and self._waiting_since_s is not None
            and now_s - self._waiting_since_s > self._within_s
        )


class BookWatch:
    """When each book of a connection last moved, and which stand still.

    Args:
        still_s: no book is called still sooner.
        unsynced_s: a book that is not whole for so long is called still, too.
    """

    def __init__(self, symbols: Iterable[str], now_s: float, *, still_s: float, unsynced_s: float) -> None:
        self._still_s, self._unsynced_s = still_s, unsynced_s
        self._moved = dict.fromkeys(symbols, now_s)
        self._usual = dict.fromkeys(self._moved, 0.0)
        self._whole = dict.fromkeys(self._moved, False)
        self._doublings = dict.fromkeys(self._moved, 0)
        self._heard_s = now_s

    def moved(self, symbol: str, now_s: float) -> None:
        """The book has changed and is whole."""
        pause = now_s - self._moved[symbol]
        if self._whole[symbol]:
            self._usual[symbol] += _FORGET * (pause - self._usual[symbol])
            self._doublings[symbol] = 0
        self._whole[symbol] = True
        self._moved[symbol] = self._heard_s = now_s

    def lost(self, symbol: str, now_s: float) -> None:
        """The book is not whole any more; from now on it has `unsynced_s` to become so."""
        if self._whole[symbol]:
            self._whole[symbol] = False
            self._moved[symbol] = now_s

    def heard(self, now_s: float) -> None:
        """The connection has said something."""
        self._heard_s = now_s

    def begun(self, now_s: float) -> None:
        """A new connection: every book gets its time anew, though not its patience."""
        self._moved = dict.fromkeys(self._moved, now_s)
        self._whole = dict.fromkeys(self._moved, False)
        self._heard_s = now_s

    def still(self, now_s: float) -> list[str]:
        """Books that stand still although the connection has spoken since they should have moved."""
        return [
            symbol
            for symbol, moved_s in self._moved.items()
            if now_s - moved_s > (bound := self._bound_s(symbol)) and self._heard_s > moved_s + bound
        ]

    def quiet(self, now_s: float, least_s: float) -> list[str]:
        """Books that have not changed for `least_s` and many of their usual pauses.

        That is sooner than they are called still, and whether the connection speaks or not: no reason to connect anew,
        but not to act on them.
        """
        return [
            symbol
            for symbol, moved_s in self._moved.items()
            if now_s - moved_s > max(least_s, _USUAL_PAUSES * self._usual[symbol])
        ]

    def remedied(self, symbols: Iterable[str]) -> None:
        """Something is being done about these; should it not help, the next time comes later."""
        for symbol in symbols:
            self._doublings[symbol] = min(self._doublings[symbol] + 1, _MOST_DOUBLINGS)

    def longest_s(self, now_s: float) -> float | None:
        """How long the book has stood still that did so for longest; None without books."""
        return now_s - min(self._moved.values()) if self._moved else None

    def _bound_s(self, symbol: str) -> float:
        if not self._whole[symbol]:
            return self._unsynced_s * 2.0 ** self._doublings[symbol]
        return max(self._still_s, _USUAL_PAUSES * self._usual[symbol]) * 2.0 ** self._doublings[symbol]


class TradeWatch(BookWatch):
    """The same for trades. Nothing is expected before the first trade of a connection, and trades come in bursts: what
    is usual is told by the pauses from `BURST_S` on.
    """

    def __init__(self, symbols: Iterable[str], now_s: float, *, still_s: float) -> None:
        super().__init__(symbols, now_s, still_s=still_s, unsynced_s=float("inf"))

    def moved(self, symbol: str, now_s: float) -> None:
        """There was a trade."""
        if symbol not in self._moved:
            return  # said without being asked for
        if self._whole[symbol] and now_s - self._moved[symbol] < BURST_S:
            self._moved[symbol] = now_s
        else:
            super().moved(symbol, now_s)
