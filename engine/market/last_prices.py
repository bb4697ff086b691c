"""Last prices for the database: the last trade of each instrument now and then, for a while.

A price is stored when `EVERY_US` have passed, by the venue's stamps, since the one before it, and nothing is stored
while nothing is traded. Prices older than `KEPT_US` go. Who keeps prices asks for the last trades when it has the time
to; a feed only leaves them where they are found.
"""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from raysignal.engine.core.instants import DAY_US, MICROSECONDS
from raysignal.engine.core.market_events import Instrument, Trade
from raysignal.engine.database.database import Database
from raysignal.engine.market.price_rows import LastPrice, forget_prices, store_price

EVERY_US = 10 * MICROSECONDS
KEPT_US = 7 * DAY_US
_FORGET_EVERY_US = 3_600 * MICROSECONDS

Priced = tuple[Instrument, LastPrice]


class LastPriceSampler:
    """See the module. `due`, then `store` in a transaction, then, once it is committed, `stored`.

    Args:
        last_trades: the last trade of each instrument; may be of any thread.
    """

    def __init__(self, last_trades: Callable[[], Sequence[Trade]]) -> None:
        self._last_trades = last_trades
        self._at_us: dict[Instrument, int] = {}  # of the last price
        self._forgot_us: dict[Instrument, int] = {}

    def due(self) -> list[Priced]:
        """What is to be stored now."""
        return [
            (trade.instrument, LastPrice(trade.exchange_us, trade.instrument.exact_price(trade.price)))
            for trade in self._last_trades()
            if trade.exchange_us - self._at_us.get(trade.instrument, -EVERY_US) >= EVERY_US
        ]

    def store(self, database: Database, connection: Connection, prices: Sequence[Priced]) -> None:
        """Write them, and once an hour let old ones go."""
        for instrument, last in prices:
            store_price(database, connection, instrument, last)
            if self._forgets(instrument, last):
                forget_prices(connection, instrument, last.at_us - KEPT_US)

    def stored(self, prices: Sequence[Priced]) -> None:
        """They are durable."""
        for instrument, last in prices:
            self._at_us[instrument] = last.at_us
            if self._forgets(instrument, last):
                self._forgot_us[instrument] = last.at_us

    def _forgets(self, instrument: Instrument, last: LastPrice) -> bool:
        return last.at_us - self._forgot_us.get(instrument, -_FORGET_EVERY_US) >= _FORGET_EVERY_US
