"""A small market for the tests of orders: books as plain lists, a listing, signals."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal

import numpy as np

from raysignal.engine.core.arrays import Int64Array
from raysignal.engine.core.listings import Costs, Listing
from raysignal.engine.core.market_events import Instrument, Trade
from raysignal.engine.core.orders import OrderRequest, OrderType, Side, TimeInForce
from raysignal.engine.core.signals import Action
from raysignal.engine.database.database import Database
from raysignal.engine.execution.paper import PaperExchange
from raysignal.engine.execution.paper_store import PaperStore
from raysignal.engine.execution.policy import Instruction

BTC = Instrument("binance", "BTCUSDT", price_decimals=2, size_decimals=3)
PERP = Instrument("binance-usdm", "BTCUSDT", price_decimals=1, size_decimals=3)
LISTING = Listing.of(BTC)
SECOND = 1_000_000

Levels = list[tuple[str, str]]


@dataclass
class PlainBook:
    """Levels as (price, size), best first, written as a person writes them."""

    bids: Levels
    asks: Levels
    instrument: Instrument = BTC
    sides: list[tuple[Int64Array, Int64Array]] = field(init=False)

    def __post_init__(self) -> None:
        self.sides = [self._exact(self.bids), self._exact(self.asks)]

    def levels(self, side: int, count: int | None = None) -> tuple[Int64Array, Int64Array]:
        prices, sizes = self.sides[side]
        return prices[:count], sizes[:count]

    def _exact(self, levels: Levels) -> tuple[Int64Array, Int64Array]:
        prices = [int(Decimal(price).scaleb(self.instrument.price_decimals)) for price, _ in levels]
        sizes = [int(Decimal(size).scaleb(self.instrument.size_decimals)) for _, size in levels]
        return np.array(prices, np.int64), np.array(sizes, np.int64)


def book(price: str = "100", size: str = "10", spread: str = "0", instrument: Instrument = BTC) -> PlainBook:
    """One level a side, both at about a price."""
    middle, half = Decimal(price), Decimal(spread) / 2
    tick = instrument.exact_price(1)
    return PlainBook(
        [(str(middle - half - (tick if not half else 0)), size)], [(str(middle + half), size)], instrument
    )


def trade(price: str, size: str, side: Side, instrument: Instrument = BTC, at_us: int = 0) -> Trade:
    """A trade whose taker was on `side`."""
    ticks = int(Decimal(price).scaleb(instrument.price_decimals))
    lots = int(Decimal(size).scaleb(instrument.size_decimals))
    return Trade(instrument, "t", ticks, lots, int(side), at_us, at_us)


def market(client_id: str, side: Side, quantity: str, instrument: Instrument = BTC) -> OrderRequest:
    return OrderRequest(client_id, instrument, side, OrderType.MARKET, Decimal(quantity))


def limit(
    client_id: str,
    side: Side,
    quantity: str,
    price: str,
    lasts: TimeInForce = TimeInForce.GTC,
    instrument: Instrument = BTC,
) -> OrderRequest:
    return OrderRequest(
        client_id, instrument, side, OrderType.LIMIT, Decimal(quantity), Decimal(price), lasts
    )


def paper(
    database: Database,
    *,
    cash: str = "10000",
    latency_us: int = 0,
    maker_bps: str = "10",
    taker_bps: str = "10",
    listings: Iterable[Listing] = (LISTING,),
    account: str = "paper",
) -> PaperExchange:
    traded = list(listings)
    return PaperExchange(
        PaperStore(database, account), traded[0].instrument.venue, "USDT", Decimal(cash), traded,
        costs=Costs(Decimal(maker_bps), Decimal(taker_bps)), latency_us=latency_us,
    )  # fmt: skip


def instruction(
    signal_id: str, action: Action, price: str = "100", at_us: int = 0, symbol: str = "BTC"
) -> Instruction:
    return Instruction(signal_id, "sma-50-200", symbol, action, Decimal(price), at_us)
