"""The paper exchange as the path's venue in replays and backtests: orders in, fills and ends out, in market time."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from raysignal.engine.core.amounts import plain, product, ratio
from raysignal.engine.core.arrays import Int64Array
from raysignal.engine.core.errors import InvalidField, OrderRejected, UnexplainedDifference
from raysignal.engine.core.events import FundingPayment, OrderEnded, OrderFill, PlannedOrder
from raysignal.engine.core.listings import Listing
from raysignal.engine.core.market_events import MOST_DECIMALS, ContractState, Instrument, Trade
from raysignal.engine.core.orders import OrderRequest, Side
from raysignal.engine.execution.exchange import Fill, PaidFunding
from raysignal.engine.execution.holdings import Holdings
from raysignal.engine.execution.matching import Depth
from raysignal.engine.execution.paper import PaperExchange
from raysignal.engine.execution.paper_state import PaperState

NEVER_US = 2**63 - 1
_RETOLD_US = 7 * 86_400_000_000  # so far back funding is told again when a process begins
_DEEP = 2**62  # lots: more than any order asks for, see `file_instrument`
_DIGITS = 8  # of prices and sizes, behind the first that is not 0
_MOST_GAIN = 1_000  # times the cash


class CandleDepth:
    """A book of one level a side around a candle's price, for markets of which only candles are known.

    Args:
        spread_bps: between the two sides, in basis points of the price.
    """

    def __init__(self, instrument: Instrument, price: float, spread_bps: float) -> None:
        self.instrument = instrument
        half = price * spread_bps / 20_000.0
        scale = 10.0**instrument.price_decimals
        self._best = max(1, round((price - half) * scale)), max(1, round((price + half) * scale))

    def levels(self, side: int, count: int | None = None) -> tuple[Int64Array, Int64Array]:
        """See `engine.execution.matching.Depth`."""
        del count
        return np.array([self._best[side]], np.int64), np.array([_DEEP], np.int64)


@dataclass(frozen=True, slots=True)
class CandleMarket:
    """How a paper venue fills where only candles are known: at the next open, a half spread away.

    Attributes:
        mark_us: the length of the candles whose opens are met, the shortest of each symbol.
        spread_bps: between bid and ask, in basis points of the price.
        latency_us: how long after the open an order arrives.
    """

    instruments: Mapping[str, Instrument]
    mark_us: Mapping[str, int]
    spread_bps: float
    latency_us: int = 0


class _Funding(NamedTuple):
    """What is settled next of a contract, as it looks now."""

    at_us: int
    rate: Decimal
    price: Decimal


class _Account:
    """The account at one exchange: its open orders, what it holds, and the last fill that the path knows.

    Of an account that was there before, that is the last one that there is: `PaperVenue.submit` tells of the others.
    """

    def __init__(self, venue: str, exchange: PaperExchange, holdings: Holdings) -> None:
        self.venue = venue
        self.exchange = exchange
        self.holdings = holdings
        self.open: dict[str, PlannedOrder] = {}
        self.last_fill = exchange.last_fill


class PaperVenue:
    """Orders of the path at paper exchanges, one a venue, each with an account of its own.

    Args:
        exchange_of: makes the exchange of a venue, with what its account is to begin with.
        cash: what every account begins with.
        listings: by the portfolio's symbols.
        request: an order as the venue is asked for it; `ExecuteStage.request`.

    Attributes:
        funding_us: when funding is settled next; `NEVER_US`: nothing is known of any.
    """

    def __init__(
        self,
        exchange_of: Callable[[str, PaperState], PaperExchange],
        cash: Decimal,
        listings: Mapping[str, Listing],
        request: Callable[[PlannedOrder], OrderRequest],
    ) -> None:
        begin = PaperState(Holdings(cash))
        venues = dict.fromkeys(each.instrument.venue for each in listings.values())
        self._accounts = {
            venue: _Account(venue, exchange_of(venue, begin), begin.holdings) for venue in venues
        }
        self._exchange_of = exchange_of
        self._request = request
        self._listings = dict(listings)
        self._of_symbol = {symbol: self._accounts[each.instrument.venue] for symbol, each in listings.items()}
        self._next: dict[str, _Funding] = {}
        self.funding_us = NEVER_US
        self._symbols = {(each.instrument.venue, each.symbol): symbol for symbol, each in listings.items()}

    def account(self, venue: str) -> tuple[Holdings, int]:
        """What the account at a venue holds by the fills that the path knows, and the ordinal of the last of them."""
        account = self._accounts[venue]
        return account.holdings, account.last_fill

    def check_told(self, fills: Iterable[OrderFill]) -> None:
        """Refuse accounts that do not know fills which they have told the path of.

        Raises:
            UnexplainedDifference: the account was made anew, or is an earlier copy of itself.
        """
        for fill in fills:
            account = self._of_symbol[fill.symbol]
            if fill.ordinal > account.last_fill:
                raise UnexplainedDifference(
                    f"the paper account at {account.venue} has {account.last_fill:,d} fills, and has told of number "
                    f"{fill.ordinal:,d}, order {fill.client_id}: it was made anew, or is an older copy. Nothing is "
                    "traded; raysignal pipeline reconcile shows the difference and takes it over",
                    venue=account.venue, last_fill=account.last_fill, told=fill.ordinal,
                )  # fmt: skip

    @property
    def idle(self) -> bool:
        """Whether no order is under way."""
        return not any(account.open for account in self._accounts.values())

    def submit(self, *orders: PlannedOrder) -> Sequence[OrderFill | OrderEnded]:
        """Place them; what the exchanges say at once.

        Of one that is at its exchange already, all that the exchange has ever said of it.
        """
        news: list[OrderFill | OrderEnded] = []
        concerned: dict[str, _Account] = {}
        for order in orders:
            account = self._of_symbol[order.symbol]
            try:
                report = account.exchange.submit(self._request(order))
            except OrderRejected as error:
                news.append(_ended(order, order.at_us, "rejected", error.fields["reason"]))
                continue
            account.open[order.client_id] = order
            concerned[account.venue] = account
            told = (fill for fill in report.fills if fill.ordinal <= account.last_fill)
            news += [self._fill(account, fill, order) for fill in told]
        for account in concerned.values():
            news += self._news(account)
        return news

    def book_changed(self, depth: Depth, at_us: int) -> Sequence[OrderFill | OrderEnded]:
        """The market's book is this now."""
        account = self._accounts[depth.instrument.venue]
        account.exchange.book_changed(depth, at_us)
        return self._news(account) if account.open else ()

    def traded(self, trade: Trade, at_us: int) -> Sequence[OrderFill | OrderEnded]:
        """Somebody has traded."""
        account = self._accounts[trade.instrument.venue]
        if not account.open:
            return ()
        account.exchange.traded(trade, at_us)
        return self._news(account)

    def has_order(self, symbol: str, sent_us: int) -> bool:
        """Whether an order in a symbol is under way that was sent by then."""
        orders = self._of_symbol[symbol].open.values()
        return any(order.symbol == symbol and order.at_us <= sent_us for order in orders)

    def book_lost(self, instrument: Instrument, at_us: int) -> None:
        """Nothing is filled until the book is in sync."""
        self._accounts[instrument.venue].exchange.book_lost(instrument.symbol, at_us)

    def contract(self, state: ContractState) -> Sequence[FundingPayment]:
        """What a venue says of a contract: funding that is due, at what was said before, and what is due next."""
        news = self.settle_funding(max(state.exchange_us, state.received_us))
        symbol = self._symbols.get((state.instrument.venue, state.instrument.symbol))
        price = state.index if state.mark is None else state.mark
        if symbol is None or state.funding_rate is None or price is None:
            return news
        if state.next_funding_us > state.exchange_us:
            self._next[symbol] = _Funding(state.next_funding_us, state.funding_rate, price)
            self.funding_us = min(each.at_us for each in self._next.values())
        return news

    def settle_funding(self, now_us: int) -> Sequence[FundingPayment]:
        """Settle what is due by now, on what is held."""
        if now_us < self.funding_us:
            return ()
        news: list[FundingPayment] = []
        for symbol in sorted(symbol for symbol, due in self._next.items() if due.at_us <= now_us):
            news += self.fund(symbol, *self._next.pop(symbol))
        self.funding_us = min((each.at_us for each in self._next.values()), default=NEVER_US)
        return news

    def fund(self, symbol: str, at_us: int, rate: Decimal, price: Decimal) -> Sequence[FundingPayment]:
        """Settle the funding of a position; nothing where none is held."""
        account = self._of_symbol[symbol]
        paid = account.exchange.fund(self._listings[symbol].symbol, at_us, rate, price)
        if paid is None:
            return ()
        account.holdings = account.holdings.paid(paid.amount)
        return (self._payment(account, paid),)

    def paid_lately(self) -> list[FundingPayment]:
        """What the accounts paid as funding in the last week of their time, for who may not have heard of it."""
        return [
            self._payment(account, paid)
            for account in self._accounts.values()
            for paid in account.exchange.funding(account.exchange.clock_us - _RETOLD_US)
            if (account.venue, paid.symbol) in self._symbols
        ]

    def _payment(self, account: _Account, paid: PaidFunding) -> FundingPayment:
        symbol = self._symbols[account.venue, paid.symbol]
        quantity = product(paid.quantity, self._listings[symbol].instrument.contract_size)
        return FundingPayment(
            at_us=paid.at_us, symbol=symbol, rate=plain(paid.rate), price=plain(paid.price),
            quantity=plain(quantity), amount=plain(paid.amount),
        )  # fmt: skip

    def restart(self, at_us: int) -> Sequence[OrderEnded]:
        """The exchanges begin again with what their accounts hold; orders that were under way are cancelled."""
        ended = []
        self._next.clear()  # a process that begins has not heard of it
        self.funding_us = NEVER_US
        for account in self._accounts.values():
            ended += [_ended(order, at_us, "cancelled", "restarted") for order in account.open.values()]
            account.open.clear()
            state = PaperState(account.holdings, last_fill=account.last_fill)
            account.exchange = self._exchange_of(account.venue, state)
        return ended

    def follow(self, event: Any) -> None:
        """An event of a session that is played without the market: what it says of accounts and open orders."""
        if isinstance(event, PlannedOrder):
            self._of_symbol[event.symbol].open[event.client_id] = event
        elif isinstance(event, OrderEnded):
            self._of_symbol[event.symbol].open.pop(event.client_id, None)
        elif isinstance(event, OrderFill):
            self._book(self._of_symbol[event.symbol], event)
        elif isinstance(event, FundingPayment):
            account = self._of_symbol[event.symbol]
            account.holdings = account.holdings.paid(Decimal(event.amount))

    def _book(self, account: _Account, fill: OrderFill) -> None:
        listing = self._listings[fill.symbol]
        quantity = ratio(Decimal(fill.quantity), listing.instrument.contract_size)
        money = listing.money(Decimal(fill.price))
        account.holdings = account.holdings.after(
            listing.symbol, Side(fill.side), quantity, money, Decimal(fill.fee)
        )
        account.last_fill = fill.ordinal

    def _news(self, account: _Account) -> list[Any]:
        news: list[Any] = []
        for fill in account.exchange.fills(account.last_fill):
            account.last_fill = fill.ordinal
            order = account.open.get(fill.client_id)
            if order is not None:  # else it is told of when its order is submitted again
                news.append(self._fill(account, fill, order))
                self._book(account, news[-1])
        for client_id, order in list(account.open.items()):
            report = account.exchange.order(client_id)
            assert report is not None
            if report.progress.state.final:
                del account.open[client_id]
                # Of its last fill, as whoever asks the exchange again can tell it again.
                at_us = max(order.at_us, *(fill.at_us for fill in report.fills), 0)
                news.append(_ended(order, at_us, report.progress.state.value, report.progress.reason))
        return news

    def _fill(self, account: _Account, fill: Fill, order: PlannedOrder) -> OrderFill:
        symbol = self._symbols[account.venue, fill.symbol]
        quantity = product(fill.quantity, self._listings[symbol].instrument.contract_size)
        return OrderFill(
            at_us=fill.at_us, symbol=symbol, client_id=fill.client_id, ordinal=fill.ordinal, side=int(fill.side),
            quantity=plain(quantity), price=plain(fill.price), fee=plain(fill.fee), decided_price=order.decided_price,
        )  # fmt: skip


def _ended(order: PlannedOrder, at_us: int, state: str, reason: str) -> OrderEnded:
    return OrderEnded(at_us=at_us, symbol=order.symbol, client_id=order.client_id, state=state, reason=reason)


def file_instrument(
    symbol: str, *, lowest: float = 1.0, highest: float = 1.0, cash: float = 10_000.0
) -> Instrument:
    """An instrument of a file of prices, which has no venue: 8 decimals of prices and sizes, or what prices ask for.

    Every price has 8 digits behind its first, and so has the quantity that the cash buys, as far as both fit in 64
    bits at the highest price and for a thousand times the cash at the lowest one.

    Args:
        symbol: the portfolio's.
        lowest: of its prices.
        highest: likewise.
        cash: that the portfolio begins with.

    Raises:
        InvalidField: prices that do not fit.
    """
    most = 17 - _exponent(highest)
    price_decimals = min(max(_DIGITS, _DIGITS - _exponent(lowest)), most, MOST_DECIMALS)
    if price_decimals < 0 or lowest < 10.0**-price_decimals:
        raise InvalidField(
            f"prices of {symbol}", f"{lowest:g} to {highest:g}",
            "some between 1e-18 and 1e+17 that lie within 17 digits, for orders on paper",
        )  # fmt: skip
    most = 17 - _exponent(_MOST_GAIN * cash / lowest)
    decimals = min(max(_DIGITS, _DIGITS - _exponent(cash / highest)), most)
    size_decimals = min(max(decimals, 0), MOST_DECIMALS)
    return Instrument(
        "paper", symbol, price_decimals, size_decimals, Decimal(1).scaleb(size_decimals - decimals)
    )


def _exponent(value: float) -> int:
    """Of ten, of the first digit of a number above 0."""
    return math.floor(math.log10(value))
