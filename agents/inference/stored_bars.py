"""Indicators of the bars that lie in the database: what was known of a symbol at an instant, and no later bar.

Needs the extra `feeds`, which brings SQLAlchemy.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import ColumnElement, and_, select, tuple_

from raysignal.agents.inference.indicators import bars_needed, last_values
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.database.database import Database
from raysignal.engine.market.bars import Basis
from raysignal.engine.market.tables import BARS
from raysignal.engine.strategies.strategy import Bars

_SERIES_KEPT_S = 10.0
_VALUES_KEPT = 1024
PRICE_SOURCE = "bars"
"""The source of a portfolio's rows that are prices of stored bars."""
COLUMNS = ("open", "high", "low", "close", "volume")
_KEY = (BARS.c.venue, BARS.c.symbol, BARS.c.basis, BARS.c.interval_us)


@dataclass(frozen=True, slots=True)
class BarSeries:
    """The bars of one length of one instrument; the columns of their key but for the time."""

    venue: str
    symbol: str
    basis: str
    interval_us: int

    @property
    def name(self) -> str:
        """The portfolios' name of the instrument."""
        return f"{self.venue}:{self.symbol}"

    @property
    def rows(self) -> ColumnElement[bool]:
        """Which rows of the table are its bars that can no longer change and whose close is right."""
        values = (self.venue, self.symbol, self.basis, self.interval_us)
        same = [column == value for column, value in zip(_KEY, values, strict=True)]
        return and_(*same, BARS.c.final, BARS.c.close_known)


@dataclass(frozen=True, slots=True)
class BarValues:
    """A bar, and indicators at its end.

    Attributes:
        series: which bars it is of.
        end_us: its end, UTC microseconds: since then all of this is known.
        bar: its columns `open`, `high`, `low`, `close`, `volume`.
        values: indicators by name; what bars cannot tell is left out.
    """

    series: BarSeries
    end_us: int
    bar: dict[str, float]
    values: dict[str, float]


class StoredBars:
    """The bars of a database, to be asked for indicators; from many threads.

    Args:
        database: that has them; stays the caller's to close.
        clock_s: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.database = database
        self._clock_s = clock_s
        self._series: tuple[float, list[BarSeries]] | None = None
        self._values: dict[tuple[BarSeries, tuple[str, ...]], BarValues] = {}

    def values_at(
        self,
        symbol: str,
        at_us: int,
        names: Sequence[str],
        interval_us: int | None = None,
        preferred_us: Sequence[int] = (),
    ) -> BarValues | None:
        """Indicators at the end of the last bar that had ended at an instant; None where there is none.

        Args:
            symbol: `venue:symbol`, or the symbol alone where one venue has it.
            at_us: UTC microseconds.
            names: of the indicators.
            interval_us: of the bars; None: the first of `preferred_us` that the symbol has, else the shortest.
            preferred_us: lengths, the best first.

        Raises:
            InvalidField: several venues have bars of the symbol, or it has none of that length.
            StoreUnavailable: the database does not answer.
        """
        series = self.series_of(symbol, interval_us, preferred_us)
        if series is None:
            return None
        key = (series, tuple(names))
        kept = self._values.get(key)
        # Until the next bar can have ended, what was read last is the last one.
        if kept is not None and kept.end_us <= at_us < kept.end_us + series.interval_us:
            return kept
        bars = self._bars(series, at_us, bars_needed(names))
        if not len(bars):
            return None
        if len(self._values) >= _VALUES_KEPT:
            self._values.clear()
        last = {name: float(getattr(bars, name)[-1]) for name in COLUMNS}
        found = BarValues(series, int(bars.known_at_us[-1]), last, last_values(bars, names))
        self._values[key] = found
        return found

    def prices_between(
        self,
        symbol: str,
        after_us: int,
        until_us: int,
        preferred_us: Sequence[int] = (),
        *,
        patience_us: int = 0,
        most: int = 10_000,
    ) -> list[Signal]:
        """The first bars that ended after an instant and by another, as rows of a portfolio without a signal.

        A bar is its close at its end, with its high and low; before it its open is a row of its own, where that is
        not the close before: a price that jumped over a stop between two bars closes the position there.

        Args:
            symbol: as in `values_at`; it is the rows' symbol. Nothing where it means no bars, or those of several.
            after_us: UTC microseconds.
            until_us: UTC microseconds.
            preferred_us: as in `values_at`.
            patience_us: a bar that is not so old by `until_us`, before which one is missing, is left for later.
            most: bars.

        Raises:
            StoreUnavailable: the database does not answer.
        """
        try:
            series = self.series_of(symbol, None, preferred_us)
        except InvalidField:
            return []
        # Until the next bar can have ended, there is none.
        if series is None or until_us // series.interval_us == after_us // series.interval_us:
            return []
        bars = self._bars(series, until_us, most, after_us=after_us, latest=False)
        rows: list[Signal] = []
        before_us = after_us
        for place, end_us in enumerate(bars.known_at_us.tolist()):
            open_us = end_us - series.interval_us
            if open_us > before_us and end_us > until_us - patience_us:
                break
            before_us = end_us
            name = f"{series.interval_us}:{format_instant(end_us)}"
            first, close = float(bars.open[place]), float(bars.close[place])
            if open_us >= after_us and not (rows and rows[-1].price == first):
                rows.append(_price_row(symbol, open_us, first, f"{name}:OPEN"))
            reach = {"high": float(bars.high[place]), "low": float(bars.low[place])}
            rows.append(_price_row(symbol, end_us, close, f"{name}:PRICE", reach))
        return rows

    def series_of(
        self, symbol: str, interval_us: int | None = None, preferred_us: Sequence[int] = ()
    ) -> BarSeries | None:
        """Which bars a symbol means, see `values_at`; None: there are none. Raises as that does."""
        of_symbol = [each for each in self._known_series() if symbol in {each.name, each.symbol}]
        if not of_symbol:
            return None
        if len(names := sorted({each.name for each in of_symbol})) > 1:
            raise InvalidField("symbol", symbol, f"one of {', '.join(names)}: each has bars of its own")
        lengths = sorted({each.interval_us for each in of_symbol})
        if interval_us is not None and interval_us not in lengths:
            have = ", ".join(f"{each // 1_000_000}s" for each in lengths)
            raise InvalidField("bar", f"{interval_us // 1_000_000}s", f"one of {have}, which {symbol} has")
        wanted = preferred_us if interval_us is None else (interval_us,)
        chosen = next((each for each in wanted if each in lengths), lengths[0])
        fitting = [each for each in of_symbol if each.interval_us == chosen]
        return next((each for each in fitting if each.basis == Basis.TRADES), fitting[0])

    def _known_series(self) -> list[BarSeries]:
        """All there are, as of a few seconds ago at most; a step in the primary key each, however many bars."""
        now_s = self._clock_s()
        if self._series is None or now_s > self._series[0] + _SERIES_KEPT_S:
            found: list[BarSeries] = []
            with self.database.reading() as connection:
                while True:
                    following = select(*_KEY).order_by(*_KEY).limit(1)
                    if found:
                        last = found[-1]
                        following = following.where(
                            tuple_(*_KEY) > (last.venue, last.symbol, last.basis, last.interval_us)
                        )
                    row = connection.execute(following).one_or_none()
                    if row is None:
                        break
                    found.append(BarSeries(*row))
            self._series = now_s, found
        return self._series[1]

    def _bars(
        self, series: BarSeries, at_us: int, most: int, *, after_us: int = -1, latest: bool = True
    ) -> Bars:
        """Bars that ended after an instant and had ended at another: at most so many, the latest or the first."""
        open_us, length_us = BARS.c.open_us, series.interval_us
        wanted = (
            select(open_us, *(BARS.c[name] for name in COLUMNS))
            .where(series.rows, open_us > after_us - length_us, open_us <= at_us - length_us)
            .order_by(open_us.desc() if latest else open_us)
            .limit(most)
        )
        with self.database.reading() as connection:
            rows = connection.execute(wanted).all()[:: -1 if latest else 1]
        ends = np.array([row.open_us + series.interval_us for row in rows], np.int64)
        return Bars(ends, *(np.array([float(getattr(row, name)) for row in rows]) for name in COLUMNS))


def _price_row(
    symbol: str, at_us: int, price: float, name: str, reach: Mapping[str, float] | None = None
) -> Signal:
    return Signal(
        symbol, at_us, Action.HOLD, price, PRICE_SOURCE, f"{PRICE_SOURCE}:{symbol}:{name}", reach or {}
    )
