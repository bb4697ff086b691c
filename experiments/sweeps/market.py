"""The prices that a sweep runs over: the bars of one symbol, and the signals that came with them."""

import hashlib
from dataclasses import dataclass

import numpy as np

from raysignal.engine.core.arrays import Float64Array, Int8Array, Int64Array, UInt8Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.terms import SignalTerms, column_of
from raysignal.engine.strategies.strategy import Bars

FEWEST = 2  # a return needs two prices
_PARTS = ("open", "high", "low")


@dataclass(frozen=True, slots=True, eq=False)
class Market:
    """The bars of one symbol.

    Attributes:
        symbol: its name.
        bars: n of them; closes finite and above 0, instants strictly rising.
        action: int8[n], the signals that came with the bars; None: there were none.
        start: the first bar that portfolios see; strategies have seen those before it.
        encoded: the signals as `SignalBatch.encode` gives them, for an agent that overrules them; None: none.
        said: what the signals say beside their action, and the ranges of the bars; None: those of `bars`.

    Raises:
        InvalidField: the field and the bar (as `row`) that cannot be.
    """

    symbol: str
    bars: Bars
    action: Int8Array | None = None
    start: int = 0
    encoded: UInt8Array | None = None
    said: SignalTerms | None = None

    def __post_init__(self) -> None:
        if len(self.bars) - self.start < FEWEST:
            raise InvalidField(
                "bars", f"{max(0, len(self.bars) - self.start)} of {self.symbol}", f"at least {FEWEST}"
            )
        if self.action is not None and len(self.action) != len(self.bars):
            raise InvalidField("action", len(self.action), f"{len(self.bars)} values, one a bar")
        close = self.bars.close
        bad = ~((close > 0.0) & np.isfinite(close))
        if bad.any():
            row = int(np.argmax(bad))
            raise InvalidField("close", float(close[row]), "a finite number above 0", row=row)
        late = np.diff(self.bars.known_at_us) <= 0
        if late.any():
            row = int(np.argmax(late)) + 1
            raise _not_rising(self.symbol, int(self.bars.known_at_us[row]), row)

    def terms(self, *, followed: bool) -> SignalTerms:
        """What the kernel is told beside actions and closes of the n bars; of the signals where they are `followed`."""
        if self.said is None:
            return SignalTerms(None, self.bars.high, self.bars.low)
        return self.said if followed else SignalTerms(None, self.said.high, self.said.low)

    @property
    def data_hash(self) -> str:
        """SHA-256 over instants, prices and signals."""
        digest = hashlib.sha256(self.symbol.encode())
        bars = self.bars
        for column in (bars.known_at_us, bars.open, bars.high, bars.low, bars.close, bars.volume):
            digest.update(np.ascontiguousarray(column).data)
        if self.action is not None:
            digest.update(np.ascontiguousarray(self.action).data)
        if self.said is not None and self.said.values is not None:
            digest.update(np.ascontiguousarray(self.said.values).data)
        if self.encoded is not None:
            digest.update(self.encoded.data)
        return digest.hexdigest()


def markets_of(
    batch: SignalBatch,
    *,
    symbols: tuple[str, ...] = (),
    from_us: int | None = None,
    until_us: int | None = None,
    whole: bool = False,
) -> tuple[Market, ...]:
    """The symbols of a stream as markets, in the order of their names.

    A signal is a bar's close; features named open, high, low and volume (in any case) are the rest of it where every
    row has them.

    Args:
        batch: in time.
        symbols: which; none: all.
        from_us: portfolios begin here; strategies have seen what was before.
        until_us: the first instant that is left out.
        whole: keep the signals themselves, too, for an agent.

    Raises:
        InvalidField: no such symbol, too few bars, or two of one instant.
    """
    known = {name: place for place, name in enumerate(batch.symbols)}
    for name in symbols:
        if name not in known:
            raise InvalidField("symbols", name, f"some of {', '.join(sorted(known))}")
    made = []
    for name in sorted(symbols or known):
        rows = np.flatnonzero(batch.symbol == known[name])
        if until_us is not None:
            rows = rows[batch.timestamp_us[rows] < until_us]
        stamps = batch.timestamp_us[rows]
        late = np.flatnonzero(np.diff(stamps) <= 0)
        if len(late):
            row = late[0] + 1
            raise _not_rising(name, int(stamps[row]), int(batch.row[rows[row]]))
        start = 0 if from_us is None else int(np.searchsorted(stamps, from_us))
        close = np.ascontiguousarray(batch.price[rows])
        parts = {part: _feature(batch, rows, part) for part in (*_PARTS, "volume")}
        usable = all(parts[part] is not None for part in _PARTS)
        unknown = np.full(len(rows), np.nan) if parts["volume"] is None else parts["volume"]
        opened, high, low = (parts[part] if usable else close for part in _PARTS)
        assert opened is not None
        assert high is not None
        assert low is not None
        bars = Bars(np.ascontiguousarray(stamps), opened, high, low, close, unknown)
        own = batch.take(rows)
        encoded = np.frombuffer(own.encode(), np.uint8) if whole else None
        made.append(Market(name, bars, own.action, start, encoded, own.order_terms()))
    return tuple(made)


def market_named(symbol: str | None, markets: tuple[Market, ...]) -> Market:
    """The market of a symbol; None: the only one.

    Raises:
        InvalidField: there is none of that name, or several and none was named.
    """
    named = {market.symbol: market for market in markets}
    if symbol is None and len(markets) == 1:
        return markets[0]
    if symbol is None or symbol not in named:
        raise InvalidField("symbol", symbol or "not given", f"one of {', '.join(named)}")
    return named[symbol]


def _not_rising(symbol: str, instant_us: int, row: int) -> InvalidField:
    return InvalidField(
        "timestamp", format_instant(instant_us),
        f"an instant after that of the row of {symbol} before: here rows are bars, and a bar has one close; leave "
        "one of two rows out, or replay signals that share an instant (raysignal run)",
        row=row,
    )  # fmt: skip


def _feature(batch: SignalBatch, rows: Int64Array, name: str) -> Float64Array | None:
    column = column_of(batch.numbers, name)
    if column is None:
        return None
    values = np.ascontiguousarray(column[rows])
    return values if np.isfinite(values).all() else None
