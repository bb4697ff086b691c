"""Bars from trades or from mid prices, exactly, as a stream.

    builder = BarBuilder(instrument, parse_bar("1m"), Basis.TRADES)
    for bar in builder.receive(event): ...

*Which bar.* A trade belongs to the bar that its exchange stamp lies in; bars begin at midnight UTC and whole lengths
after it. Open and close are the prices of the first and the last trade by exchange stamp; among equal stamps, by
arrival.

*When a bar ends.* With the first price that the venue stamped at or after the bar's end plus `lateness_us`. Until then
late trades go where they belong, so bars can be open side by side. A trade for a bar that has ended is counted (`late`)
and changes nothing. No wall clock ends a bar: on a connection that is half open nothing may be known of what was
traded.

*No price after it.* Where the venue's other streams (`clock`) are `QUIET_US` past that and no price has come, a bar
ends all the same. Then nobody knows whether nothing was traded or the trades have stalled: what follows the last price,
up to the next, counts as missed, and the venue's klines have the word.

*Repeated trades.* A trade whose id is among the last ones (`REMEMBERED` or more) is counted (`repeated`) and changes
nothing; a venue sends the last trades once more after a reconnect. Where one is later than every trade before it, it is
another trade: the venue has begun its ids again. It is left out, and missed.

*What was missed.* After `TradesLost` (for mids: `BookLost`), all from the last price on until the next, or until
`connected`. Where the venue numbers its trades (`numbered`), a number that is left out says the same. Where books come
by the connection whose opening asks for the trades (`told_by_books`), their first change says that trades are seen,
too. A bar in which a connection begins has not seen all of its time.

*Nothing traded.* A bar without a trade on a connection that was up is there: flat at the last close, volume 0, trades
0. What is not there is not known: no bar is made before the first price, nor for a bar during which the connection
was down from its beginning to its end. A bar that has seen only part of its time is not `complete`; its close counts
(`close_known`) if a price came after the last outage. Both can be had from the venue's own klines afterwards.

Prices are int64 ticks and sizes int64 lots of the instrument; nothing is rounded.
"""

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import DAY_US, MICROSECONDS, check_interval
from raysignal.engine.core.market_events import (
    MOST_DECIMALS,
    BookChange,
    BookLost,
    Event,
    Instrument,
    Kline,
    Quote,
    Trade,
    TradesLost,
)

REMEMBERED = 4_096
"""So many trade ids are kept at least, and twice as many at most."""

MOST_AHEAD_US = 60 * MICROSECONDS
"""A stamp further ahead of the clock is an error of the venue's, and would end bars that have not begun.

The clock is this machine's, set right by the venue's (`engine.market.monitoring.offset`): if it were not, a clock that
is slow by a minute would have every trade left out.
"""

QUIET_US = 10 * MICROSECONDS
"""No price for so long after a bar's end, and whether there was none is no longer taken for granted."""


class Basis(StrEnum):
    """What prices bars are made of."""

    TRADES = "trades"
    MIDS = "mids"


class Bar(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="bar"):
    """What happened in one interval; it does not change any more.

    Attributes:
        instrument: how its numbers are written; see `mid_instrument` for mids.
        open_us: its beginning, UTC microseconds; it ends, exclusively, `interval_us` later.
        open, high, low, close: ticks.
        volume: lots; 0 for mids.
        trades: trades, or mid prices.
        complete: it has seen all of its time.
        close_known: the close is right even if it has not.
    """

    instrument: Instrument
    basis: Basis
    interval_us: int
    open_us: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    trades: int
    complete: bool = True
    close_known: bool = True

    @property
    def end_us(self) -> int:
        """The instant from which on it is known."""
        return self.open_us + self.interval_us


def bar_of(kline: Kline) -> Bar:
    """The venue's own bar as one of ours; `InvalidField` if it can still change."""
    if not kline.closed:
        raise InvalidField("closed", kline.closed, "a kline that can no longer change")
    return Bar(
        kline.instrument, Basis.TRADES, kline.interval_us, kline.open_us,
        kline.open, kline.high, kline.low, kline.close, kline.volume, kline.trades,
    )  # fmt: skip


def mid_instrument(instrument: Instrument) -> Instrument:
    """The instrument with a digit more, because the middle of two ticks can be half a one."""
    if instrument.price_decimals >= MOST_DECIMALS:
        raise InvalidField(
            "price_decimals", instrument.price_decimals, f"less than {MOST_DECIMALS} for mid prices"
        )
    return msgspec.structs.replace(instrument, price_decimals=instrument.price_decimals + 1)


def bar_name(interval_us: int) -> str:
    """A length as `parse_bar` reads it, in the largest unit: `1m`, `90s`, `1d`."""
    for unit, length_us in (
        ("d", DAY_US),
        ("h", 3_600 * MICROSECONDS),
        ("m", 60 * MICROSECONDS),
        ("s", MICROSECONDS),
    ):
        if interval_us % length_us == 0:
            return f"{interval_us // length_us}{unit}"
    return f"{interval_us}us"


def decimals_of(value: Decimal) -> int:
    """Digits after the point of a finite number."""
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def units(value: Decimal, decimals: int) -> int:
    """A number of at most so many decimals in units of the last of them, exactly, however long it is."""
    sign, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    assert exponent + decimals >= 0
    number: int = int("".join(map(str, digits))) * 10 ** (exponent + decimals)
    return -number if sign else number


class _Open:
    """A bar that can still change."""

    __slots__ = ("close", "first_us", "high", "last_us", "low", "open", "trades", "volume")

    def __init__(self, at_us: int, price: int) -> None:
        self.first_us = self.last_us = at_us
        self.open = self.high = self.low = self.close = price
        self.volume = self.trades = 0


class BarBuilder:
    """Makes the bars of one instrument. See the module for its rules.

    Args:
        instrument: whose events come; those of others are not for this builder.
        interval_us: `InvalidField` unless `check_interval` takes it.
        lateness_us: how long after its end a bar waits for trades that were delayed or overtaken.
        numbered: trade ids count up by one.
        told_by_books: with a change of the book trades are seen as well; see the module.

    Attributes:
        instrument: that of the bars.
        late, repeated, ahead: what was passed over: too late, seen before, stamped in the future.
        left_out: prices since the last that was taken: too late, of the future, or with the id of an earlier trade.
        reused: whether the last of these had the id of an earlier trade.
        ahead_us: how far ahead the last of these was; 0: it was late.
    """

    def __init__(
        self,
        instrument: Instrument,
        interval_us: int,
        basis: Basis = Basis.TRADES,
        *,
        lateness_us: int = 0,
        numbered: bool = False,
        told_by_books: bool = False,
    ) -> None:
        if lateness_us < 0:
            raise InvalidField("lateness_us", lateness_us, "0 or more")
        self.basis = basis
        self.instrument = instrument if basis is Basis.TRADES else mid_instrument(instrument)
        self.interval_us = check_interval(interval_us)
        self.late = self.repeated = self.ahead = 0
        self.left_out = self.ahead_us = 0
        self.reused = False
        self._traded_us = 0  # the latest stamp of a trade
        self._lateness_us = lateness_us
        self._numbered = numbered
        self._number = 0  # of the next trade, if none is left out; 0: not known
        self._told_by_books = told_by_books
        self._open: dict[int, _Open] = {}  # by their beginning
        self._now: _Open | None = None  # the one that the last price went to
        self._now_us = 0  # its beginning
        self._next_us: int | None = (
            None  # the beginning of the first bar that has not ended; None: no price yet
        )
        self._ends_us = 0  # when that one ends, lateness included
        self._seen_us = -1  # the latest stamp of a price
        self._last: tuple[int, int] | None = (
            None  # of the bars that have ended: the last price's stamp, and it
        )
        self._up = False
        self._fresh = True  # what is not up has not been up since it was connected
        self._down_us = -1  # what came until then is known, if the connection is down
        self._outages: list[tuple[int, int]] = []  # that bars which have not ended may lie in
        self._recent: set[str] = set()
        self._before: set[str] = set()

    def receive(self, event: Event) -> Sequence[Bar]:
        """Any event of the instrument; the bars that it ends, in order."""
        if isinstance(event, Trade):
            if self.basis is Basis.TRADES:
                return self.trade(event)
            return () if self._is_ahead(event) else self.clock(event.exchange_us)
        if isinstance(event, BookChange | Quote):
            return self._best(event)
        if isinstance(event, TradesLost if self.basis is Basis.TRADES else BookLost):
            self._fresh = event.reason == "disconnected"
            self.lost()
        return ()

    def trade(self, trade: Trade) -> Sequence[Bar]:
        """One trade; the bars that it ends."""
        trade_id = trade.trade_id
        if trade_id in self._recent or trade_id in self._before:
            self.repeated += 1
            if trade.exchange_us > self._traded_us:
                self.left_out += 1
                self.reused, self._fresh = True, False
                self.lost()
            return ()
        at_us = trade.exchange_us
        if at_us - trade.received_us > MOST_AHEAD_US:
            self._leave_out(trade)
            return ()
        if at_us > self._traded_us:  # noqa: PLR1730 - max() takes three times as long
            self._traded_us = at_us
        self._recent.add(trade_id)
        if len(self._recent) >= REMEMBERED:
            self._before, self._recent = self._recent, set()
        if self._numbered:
            self._count(trade_id)
        return self._price(at_us, trade.price, trade.size)

    def clock(self, exchange_us: int) -> Sequence[Bar]:
        """The venue's time as a message without a price tells it; the bars that it ends, whatever they have missed.

        It must come from a message, not from a clock of ours: see the module.
        """
        quiet_us = exchange_us - QUIET_US
        if self._next_us is None or quiet_us < self._ends_us:
            return ()
        self._fresh = False
        self.lost()
        return self._end(quiet_us)

    def connected(self, at_us: int) -> None:
        """Everything is seen from `at_us` on, venue's time. Without this it is from the first price on."""
        if not self._up:
            self._up = True
            self._outages.append((self._down_us, at_us))

    def _count(self, trade_id: str) -> None:
        """Is one left out before this?"""
        try:
            number = int(trade_id)
        except ValueError:
            return
        wanted = self._number
        if number == wanted:
            self._number = number + 1
        elif number > wanted:
            if wanted:
                self.lost()
                self._fresh = False
            self._number = number + 1

    def lost(self) -> None:
        """The connection is down, or what came of it can no longer be trusted."""
        if self._up:
            self._up = False
            self._number = 0
            # What overtook others may be here while they are not.
            self._down_us = self._seen_us - self._lateness_us

    def _best(self, event: Quote | BookChange) -> Sequence[Bar]:
        if self._is_ahead(event):
            if self.basis is Basis.MIDS:
                self._leave_out(event)
            return ()
        if self.basis is Basis.TRADES:
            if (
                self._told_by_books
                and self._fresh
                and not self._up
                and event.exchange_us > max(self._down_us, 0)
            ):
                self.connected(event.exchange_us)
            return self.clock(event.exchange_us)
        if event.bid <= 0 or event.ask <= 0:
            return self.clock(event.exchange_us)
        # Where the venue does not say when (Binance spot), this machine's clock has to do.
        return self._price(event.exchange_us or event.received_us, (event.bid + event.ask) * 5, 0)

    def _is_ahead(self, event: Trade | Quote | BookChange) -> bool:
        return event.exchange_us - event.received_us > MOST_AHEAD_US

    def _leave_out(self, event: Trade | Quote | BookChange) -> None:
        """A price of the future: what it was, and when, is not known, so that it is missed."""
        self.ahead += 1
        self.left_out += 1
        self.ahead_us = event.exchange_us - event.received_us
        self.reused = self._fresh = False
        self.lost()

    def _price(self, at_us: int, price: int, size: int) -> Sequence[Bar]:
        if at_us > self._seen_us:  # noqa: PLR1730 - max() takes three times as long
            self._seen_us = at_us
        bar = self._now
        if bar is None or not 0 <= at_us - self._now_us < self.interval_us:
            bar = self._turn_to(at_us, price)
            if bar is None:
                self.late += 1
                self.left_out += 1
                self.ahead_us, self.reused = 0, False
                return ()
        self.left_out = self.ahead_us = 0
        self.reused = False
        if at_us >= bar.last_us:
            bar.last_us, bar.close = at_us, price
        elif at_us < bar.first_us:
            bar.first_us, bar.open = at_us, price
        if price > bar.high:
            bar.high = price
        elif price < bar.low:
            bar.low = price
        bar.volume += size
        bar.trades += 1
        if not self._up and at_us > self._down_us:
            self.connected(at_us)
        return () if at_us < self._ends_us else self._end(at_us)

    def _turn_to(self, at_us: int, price: int) -> _Open | None:
        """The bar of an instant; None if it has ended."""
        open_us = at_us - at_us % self.interval_us
        if self._next_us is None:
            self._begin(open_us)
        elif open_us < self._next_us:
            return None
        bar = self._open.get(open_us)
        if bar is None:
            bar = self._open[open_us] = _Open(at_us, price)
        self._now, self._now_us = bar, open_us
        return bar

    def _begin(self, next_us: int) -> None:
        self._next_us = next_us
        self._ends_us = next_us + self.interval_us + self._lateness_us

    def _end(self, at_us: int) -> list[Bar]:
        """End every bar that ends until `at_us`, lateness included."""
        bars = []
        self._now = None
        outages = self._outages if self._up else [*self._outages, (self._down_us, at_us + DAY_US)]
        while at_us >= self._ends_us:
            open_us = self._next_us
            assert open_us is not None
            held = self._open.pop(open_us, None)
            end_us = open_us + self.interval_us
            if held is not None:
                self._last = held.last_us, held.close
            elif any(down <= open_us and end_us <= up for down, up in outages):
                self._begin(self._after_outage(open_us, at_us, outages))
                continue
            assert self._last is not None  # the first bar has a price
            last_us, close = self._last
            during = [(down, up) for down, up in outages if down < end_us and up > open_us]
            close_known = self._close_known(last_us, end_us, outages)
            bars.append(
                Bar(
                    self.instrument, self.basis, self.interval_us, open_us,
                    *((held.open, held.high, held.low, close, held.volume, held.trades) if held is not None
                      else (close, close, close, close, 0, 0)),
                    complete=close_known and not during,
                    close_known=close_known,
                )
            )  # fmt: skip
            self._begin(end_us)
        self._outages = [outage for outage in self._outages if self._still_counts(outage)]
        return bars

    @staticmethod
    def _close_known(last_us: int, end_us: int, outages: Sequence[tuple[int, int]]) -> bool:
        return not any(down < end_us and up > last_us for down, up in outages)

    def _still_counts(self, outage: tuple[int, int]) -> bool:
        assert self._last is not None
        assert self._next_us is not None
        return outage[1] > min(self._next_us, self._last[0])

    def _after_outage(self, open_us: int, at_us: int, outages: Sequence[tuple[int, int]]) -> int:
        """The first bar after `open_us` that the outage does not cover, that has a price, or that has not ended."""
        up_us = max(up for down, up in outages if down <= open_us)
        until_us = min([up_us, at_us - self._lateness_us, *self._open])
        return max(open_us + self.interval_us, until_us - until_us % self.interval_us)
