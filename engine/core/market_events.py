"""What a market says, as values: the words that venues, books, bars, crossover, orders and recordings share.

Prices and sizes are int64 in units of the instrument's own smallest decimal place (`price_decimals`,
`size_decimals`), exactly as the venue wrote them: nothing is rounded on the way in. `Instrument` turns them into
floats for figures and into Decimals for orders. Instants are UTC microseconds; `exchange_us` is the venue's own
clock, `received_us` this machine's: the two are never subtracted without an estimate of their offset.

Events are msgspec structs and not dataclasses, because a feed makes tens of thousands a second: they are frozen,
and cost a tenth of a frozen dataclass to make.
"""

from decimal import Decimal
from enum import StrEnum

import msgspec

MOST_DECIMALS = 18


class Channel(StrEnum):
    """What can be subscribed to."""

    DEPTH = "depth"
    TRADES = "trades"
    QUOTES = "quotes"  # best bid and ask
    KLINES = "klines"
    CONTRACT = "contract"  # mark and index price, funding rate, open interest
    LIQUIDATIONS = "liquidations"


class Instrument(msgspec.Struct, frozen=True):
    """What is traded, where, and how its numbers are written.

    Attributes:
        venue: the venue's name, such as `binance-usdm`.
        symbol: as the venue writes it, such as `BTCUSDT` or `BTC-USDT-SWAP`.
        price_decimals, size_decimals: digits after the point that its prices and sizes can have, at most.
        contract_size: units of the base asset (or, for inverse contracts, of the quote) that a size of 1 means.
        inverse: whether it is a contract that is margined and settled in its base asset, as the venue says.
    """

    venue: str
    symbol: str
    price_decimals: int = 8
    size_decimals: int = 8
    contract_size: Decimal = Decimal(1)
    inverse: bool = False

    @property
    def name(self) -> str:
        """`venue:symbol`: its name wherever venues meet, such as in settings, signals and portfolios."""
        return f"{self.venue}:{self.symbol}"

    def price(self, ticks: int) -> float:
        """A price as a float."""
        return ticks / float(10**self.price_decimals)

    def size(self, lots: int) -> float:
        """A size as a float."""
        return lots / float(10**self.size_decimals)

    def exact_price(self, ticks: int) -> Decimal:
        """A price as a Decimal."""
        return Decimal(int(ticks)).scaleb(-self.price_decimals)

    def exact_size(self, lots: int) -> Decimal:
        """A size as a Decimal."""
        return Decimal(int(lots)).scaleb(-self.size_decimals)


class FundingRate(msgspec.Struct, frozen=True, gc=False):
    """What longs of a perpetual paid shorts at an instant, as a share of their value; below 0, shorts paid.

    Attributes:
        at_us: when it was settled.
    """

    instrument: Instrument
    at_us: int
    rate: Decimal


class Trade(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="trade"):
    """One trade.

    Attributes:
        trade_id: the venue's, unique for the instrument.
        price, size: ticks and lots of the instrument.
        side: 1 if the buyer took, -1 if the seller did.
    """

    instrument: Instrument
    trade_id: str
    price: int
    size: int
    side: int
    exchange_us: int
    received_us: int


class Quote(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="quote"):
    """The best bid and ask as the venue itself says them; `update_id` in the same count as the book's, 0 if none.

    `exchange_us` is 0 where the venue does not say it (Binance spot).
    """

    instrument: Instrument
    update_id: int
    bid: int
    bid_size: int
    ask: int
    ask_size: int
    exchange_us: int
    received_us: int


class Kline(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="kline"):
    """A bar as the venue makes it; `closed` once it can no longer change."""

    instrument: Instrument
    interval_us: int
    open_us: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    trades: int
    closed: bool
    exchange_us: int
    received_us: int


class BookChange(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="book_change"):
    """The order book of an instrument has changed and is in sync; best prices as they are now, 0 for an empty side."""

    instrument: Instrument
    update_id: int
    bid: int
    bid_size: int
    ask: int
    ask_size: int
    exchange_us: int
    received_us: int


class BookLost(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="book_lost"):
    """The order book of an instrument can no longer be trusted; it is empty until it is in sync again.

    Attributes:
        reason: `gap`, `crossed`, `malformed`, `disconnected`, `stale_snapshot`, or `differs`: its best prices are not
            those that the venue says.
        expected, got: the update ids of a gap, as the venue's rule compares them; 0 otherwise.
    """

    instrument: Instrument
    reason: str
    expected: int
    got: int
    received_us: int


class TradesLost(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="trades_lost"):
    """Trades of an instrument may have been missed: from what came last on, until they are heard again.

    A book that is lost says nothing of trades, nor these of a book: they can come by different connections, and a
    book may be lost already when its connection ends.

    Attributes:
        reason: `disconnected`, or `malformed`: a message that may have been a trade.
    """

    instrument: Instrument
    reason: str
    received_us: int


class ContractState(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="contract"):
    """What a venue says of a contract beside its trades, all that it has said since the connection began.

    Prices, rate and open interest are exact, since they have more digits than the instrument's own; None: not said.

    Attributes:
        mark, index: the price that positions are valued at, and the one of the spot markets behind it.
        funding_rate: what longs will pay shorts at `next_funding_us` as it looks now, as a share of their value.
        next_funding_us: 0: not said.
        open_interest: in the unit of sizes.
    """

    instrument: Instrument
    mark: Decimal | None
    index: Decimal | None
    funding_rate: Decimal | None
    next_funding_us: int
    open_interest: Decimal | None
    exchange_us: int
    received_us: int


class Liquidation(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="liquidation"):
    """A position that its venue closed by force.

    Attributes:
        size: lots of the instrument.
        side: 1 if a short was bought back, -1 if a long was sold.
    """

    instrument: Instrument
    price: Decimal
    size: int
    side: int
    exchange_us: int
    received_us: int


class ContractLost(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="contract_lost"):
    """Nothing is known of a contract's state, and liquidations may have been missed, until its state is heard again.

    Attributes:
        reason: `disconnected`, or `malformed`.
    """

    instrument: Instrument
    reason: str
    received_us: int


ContractEvent = ContractState | Liquidation | ContractLost

Event = Trade | Quote | Kline | BookChange | BookLost | TradesLost | ContractEvent
