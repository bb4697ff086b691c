"""Last prices now and then, for those who ask what something is worth without a feed of their own.

`engine.market.last_prices` says how often one is stored, and for how long.
"""

from dataclasses import dataclass
from decimal import Decimal

from sqlalchemy import Connection, delete

from raysignal.engine.core.market_events import Instrument
from raysignal.engine.database.database import Database
from raysignal.engine.market.tables import PRICES


@dataclass(frozen=True, slots=True)
class LastPrice:
    """The price that was the last one at an instant, in the quote currency."""

    at_us: int
    price: Decimal


def store_price(database: Database, connection: Connection, instrument: Instrument, last: LastPrice) -> None:
    """Keep a price; one of the same instant that is there stays."""
    statement = database.insert(PRICES).values(
        venue=instrument.venue, symbol=instrument.symbol, at_us=last.at_us, price=last.price
    )
    connection.execute(statement.on_conflict_do_nothing())


def forget_prices(connection: Connection, instrument: Instrument, before_us: int) -> None:
    """Those of an instrument from before an instant go."""
    connection.execute(
        delete(PRICES).where(
            PRICES.c.venue == instrument.venue,
            PRICES.c.symbol == instrument.symbol,
            PRICES.c.at_us < before_us,
        )
    )
