"""A trader and its paper exchange on a thread of their own, so that neither a feed nor a keeper waits for orders.

    with Dealer(trader, paper, now_us=now_us, log=log) as dealer:
        dealer.instruct(Instruction.of(signal))      # durable when it returns
        if dealer.wants(symbol): dealer.book(depth, at_us)      # likewise traded(trade)

A paper exchange needs books and trades only while an order is on its way or open. So the feed asks `wants` first, which
costs nothing, and hands over copies of books, and trades, in the order in which they came; of several books that wait
the newest counts, in its own place. Between orders nothing is kept, and an order never meets a book that is old: it
waits for the next change.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from structlog.typing import FilteringBoundLogger

from raysignal.engine.core.arrays import Int64Array
from raysignal.engine.core.errors import ExchangeUnreachable, StoreError, UnexplainedDifference
from raysignal.engine.core.market_events import Instrument, Trade
from raysignal.engine.core.orders import Order, OrderState
from raysignal.engine.execution.paper import PaperExchange
from raysignal.engine.execution.policy import Instruction
from raysignal.engine.execution.trader import Trader
from raysignal.engine.market.books import ASK, BID, OrderBook

LEVELS = 200
"""So many levels a side are handed over; an order that eats more finds the rest of the book empty."""

MOST_WAITING = 20_000
"""So many books and trades wait at most; then the oldest go, and an order that rests may miss a fill."""

_IDLE_S, _BUSY_S = 1.0, 0.05


@dataclass(frozen=True, slots=True)
class Levels:
    """A copy of a book, best first; an `engine.execution.matching.Depth`."""

    instrument: Instrument
    bids: tuple[Int64Array, Int64Array]
    asks: tuple[Int64Array, Int64Array]

    @classmethod
    def of(cls, book: OrderBook) -> "Levels":
        """The best levels of a book as they are now."""
        return cls(book.instrument, book.levels(BID, LEVELS), book.levels(ASK, LEVELS))

    def levels(self, side: int, count: int | None = None) -> tuple[Int64Array, Int64Array]:
        """See `Depth`."""
        prices, sizes = self.bids if side == BID else self.asks
        return prices[:count], sizes[:count]


class TradingThread:
    """See the module.

    Args:
        now_us: the market's time: what a feed stamps its messages with.
        sent: told how many nanoseconds after its instruction an order was sent.

    Attributes:
        trouble: why nothing is traded; empty: it is.
    """

    def __init__(
        self,
        trader: Trader,
        paper: PaperExchange,
        *,
        now_us: Callable[[], int],
        log: FilteringBoundLogger,
        sent: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.trouble = "not started"
        self._troubled_s: float | None = None
        self._trader, self._paper = trader, paper
        self._now_us, self._log, self._sent = now_us, log, sent
        self._using = threading.Lock()  # trader and paper: one caller at a time
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._books: dict[
            str, tuple[int, Levels | None, int]
        ] = {}  # the newest: its number, None if it is lost
        self._came: deque[tuple[str, int] | Trade] = deque(maxlen=MOST_WAITING)  # books by symbol and number
        self._shown = 0
        self._instructed_ns: dict[str, int] = {}
        self._busy = False
        self._orders: dict[str, int] = {}
        self._held: dict[str, Any] = {"currency": None, "cash": None, "positions": {}}
        self._thread = threading.Thread(target=self._run, name="paper-trader", daemon=True)

    def wants(self, symbol: str) -> bool:  # noqa: ARG002 - which symbols are concerned may be told apart one day
        """Whether the next change of a book, or trade, matters."""
        return self._busy

    @property
    def behind(self) -> int:
        """Books and trades that the exchange has not been told of yet."""
        return len(self._came)

    def book(self, levels: Levels, at_us: int) -> None:
        """The book is this now. Never blocks."""
        self._show(levels.instrument.symbol, levels, at_us)

    def traded(self, trade: Trade) -> None:
        """Somebody has traded. Never blocks, and wakes nobody: the book that shows it comes soon."""
        self._came.append(trade)

    def lost(self, symbol: str) -> None:
        """The book can no longer be trusted. Never blocks."""
        if self._busy:
            self._show(symbol, None, self._now_us())

    def instruct(self, instruction: Instruction) -> bool:
        """Store a signal, to be acted on soon; False if it was stored before.

        Raises:
            StoreUnavailable: the same again later.
        """
        with self._using:
            new = self._trader.take(instruction)
        self._instructed_ns.setdefault(instruction.signal_id, time.monotonic_ns())
        self._busy = True
        self._wake.set()
        return new

    def status(self) -> dict[str, Any]:
        """Orders by state since the start; cash and positions as the exchange had them last. Waits for nobody."""
        return {"trouble": self.trouble or None, "orders": dict(self._orders), **self._held}

    def start(self) -> None:
        """Compare with the exchange and go on where the last one left off, on the thread."""
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End after the step under way; what is open goes on with the next start."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _show(self, symbol: str, levels: Levels | None, at_us: int) -> None:
        self._shown += 1
        self._books[symbol] = self._shown, levels, at_us
        self._came.append((symbol, self._shown))
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._try_round()
            if self.trouble:
                # Books come many times a second; what failed is not tried again for each of them.
                self._stopping.wait(_IDLE_S)
            else:
                self._wake.wait(_BUSY_S if self._busy else _IDLE_S)
            self._wake.clear()

    def _try_round(self) -> None:
        try:
            with self._using:
                self._round()
        except UnexplainedDifference as error:
            self._say(str(error))
        except (StoreError, ExchangeUnreachable) as error:
            self._say(f"waits: {error}")
        except Exception as error:  # noqa: BLE001 - a thread has nobody above it: the status tells, and it starts anew
            self._say(repr(error))
        else:
            self._recover()

    def _round(self) -> None:
        if self.trouble:
            started = self._trader.start(self._now_us())
            for order in started.changed:
                self._note(order)
            self._busy = True
            self._look()
        told = False
        for _ in range(len(self._came)):
            told |= self._pass_on(self._came.popleft())
        if self._busy and not told:
            self._paper.time_passed(self._now_us())
        changed = self._trader.work(self._now_us())
        for order in changed:
            self._note(order)
        if changed:
            self._look()
        if self._busy and not self._trader.busy:
            self._rest()

    def _pass_on(self, came: tuple[str, int] | Trade) -> bool:
        """Tell the exchange; whether it was told of something that has happened."""
        if isinstance(came, Trade):
            self._paper.traded(came, came.received_us)
            return True  # an order on its way waits for the book that shows it
        symbol, number = came
        newest, levels, at_us = self._books[symbol]
        if newest != number:
            return False  # a newer one waits in its own place
        if levels is None:
            self._paper.book_lost(symbol, at_us)
            return False
        self._paper.book_changed(levels, at_us)
        return True

    def _look(self) -> None:
        balances = self._paper.balances()
        held = {f"{self._paper.venue}:{symbol}": str(held) for symbol, held in balances.positions.items()}
        self._held = {"currency": balances.currency, "cash": str(balances.cash), "positions": held}

    def _rest(self) -> None:
        """No order is open: books that are kept would be old ones by the next."""
        self._busy = self._trader.busy
        self._came.clear()
        for symbol in self._paper.listed:
            self._paper.book_lost(symbol, self._now_us())

    def _note(self, order: Order) -> None:
        state = order.state.name.lower()
        self._orders[state] = self._orders.get(state, 0) + 1
        signal_id = order.origin.signal_id
        if order.state is not OrderState.CREATED and signal_id in self._instructed_ns:
            self._sent(time.monotonic_ns() - self._instructed_ns.pop(signal_id))
        progress = order.progress
        self._log.info(
            "order", client_id=order.client_id, signal_id=signal_id, symbol=order.ticket.instrument.name,
            side=order.ticket.side.name, quantity=str(order.ticket.quantity), state=state,
            filled=str(progress.filled), fees=str(progress.fees),
        )  # fmt: skip

    def _recover(self) -> None:
        """A whole round has gone well: to be read from is less than to be written to."""
        if self._troubled_s is not None:
            self._log.info("orders_go_on", waited_s=round(time.monotonic() - self._troubled_s, 3))
        self.trouble, self._troubled_s = "", None

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            self._log.error("orders_wait", reason=trouble)
        self._troubled_s = self._troubled_s or time.monotonic()
        self.trouble = trouble
