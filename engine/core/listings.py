"""What an exchange asks of orders in one instrument, and what trading there costs."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from raysignal.engine.core.amounts import (
    ZERO,
    affordable,
    check_not_negative,
    check_positive,
    fits_step,
    plain,
    product,
)
from raysignal.engine.core.errors import InvalidField, OrderRejected
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.core.orders import OrderRequest, OrderType


class ContractKind(StrEnum):
    """What is traded: the asset itself, or a contract with or without a last day."""

    SPOT = "spot"
    PERPETUAL = "perpetual"
    FUTURE = "future"


@dataclass(frozen=True, slots=True)
class ListedSymbol:
    """A symbol as its venue lists it, to choose from; `Listing` is what orders are checked by.

    Attributes:
        symbol: as the venue writes it.
        kind, inverse: what is traded; inverse contracts are settled in their base asset.
        base, quote: the assets of the pair, in the venue's words.
        price_step, size_step: tick and lot.
        least_size, least_value: of an order; 0: the venue states none.
        contract_size: units of the base asset (inverse: of the quote) that a size of 1 means.
        status: `trading`, or the venue's own word.
    """

    symbol: str
    kind: ContractKind
    inverse: bool
    base: str
    quote: str
    price_step: Decimal
    size_step: Decimal
    least_size: Decimal
    least_value: Decimal
    contract_size: Decimal
    status: str


@dataclass(frozen=True, slots=True)
class OrderRules:
    """What an exchange asks of the size of orders of one kind.

    Attributes:
        step: what sizes are multiples of.
        least, most: of an order; most None: no such rule.
        least_value, most_value: of an order, in the account's currency; 0 and None: no such rule.
    """

    step: Decimal
    least: Decimal
    most: Decimal | None = None
    least_value: Decimal = ZERO
    most_value: Decimal | None = None

    def __post_init__(self) -> None:
        for name in ("step", "least"):
            check_positive(name, getattr(self, name))
        check_not_negative("least_value", self.least_value)
        for name in ("most", "most_value"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class Listing:
    """An instrument as it can be traded.

    Linear instruments only, those whose price is in the account's currency: a size of 1 is worth `contract_size`
    times the price. An inverse one is refused: its gains are in another currency and not linear in the price.

    Attributes:
        price_step: what prices are multiples of.
        limit, market: what is asked of limit orders and of market orders. A limit order's value is that at its limit.
        least_price, most_price: of a limit order; 0 and None: no such rule.
        shorts: whether less than nothing can be held (spot: no).
        halted: why the exchange takes no orders, in its own word; empty: it does.
    """

    instrument: Instrument
    price_step: Decimal
    limit: OrderRules
    market: OrderRules
    least_price: Decimal = ZERO
    most_price: Decimal | None = None
    shorts: bool = False
    halted: str = ""

    def __post_init__(self) -> None:
        if self.instrument.inverse:
            raise InvalidField(
                "instrument", self.instrument.name, "a linear one: inverse ones are not traded"
            )
        smallest_price, smallest_size = self.instrument.exact_price(1), self.instrument.exact_size(1)
        for name, step, smallest in (
            ("price_step", self.price_step, smallest_price),
            ("limit.step", self.limit.step, smallest_size),
            ("market.step", self.market.step, smallest_size),
        ):
            if not fits_step(check_positive(name, step), smallest):
                raise InvalidField(
                    name, step, f"a multiple of {plain(smallest)}, the smallest that is written"
                )

    @classmethod
    def of(cls, instrument: Instrument, *, shorts: bool = False) -> "Listing":
        """With the steps and the least size that the instrument's own decimals allow."""
        size = instrument.exact_size(1)
        rules = OrderRules(size, size)
        return cls(instrument, instrument.exact_price(1), rules, rules, shorts=shorts)

    @property
    def symbol(self) -> str:
        """As the venue writes it."""
        return self.instrument.symbol

    def rules(self, kind: OrderType) -> OrderRules:
        """What is asked of orders of a kind."""
        return self.market if kind is OrderType.MARKET else self.limit

    def money(self, price: Decimal) -> Decimal:
        """What a size of 1 is worth at a price."""
        return product(price, self.instrument.contract_size)

    def most(self, quantity: Decimal, price: Decimal, kind: OrderType) -> Decimal:
        """The quantity, or, where that is less, the largest of one order of a kind at a price."""
        rules = self.rules(kind)
        if rules.most is not None:
            quantity = min(quantity, rules.most)
        if rules.most_value is not None:
            quantity = min(quantity, affordable(rules.most_value, self.money(price), rules.step))
        return quantity

    def check(self, ticket: OrderRequest) -> None:
        """Raises `OrderRejected` if the order breaks a rule: `not_trading`, `size_step`, `least_size`, `most_size`,
        `price_step`, `price_range`, `least_value`, `most_value`.
        """
        rules, quantity = self.rules(ticket.kind), ticket.quantity
        if self.halted:
            raise OrderRejected(
                ticket.client_id, "not_trading", f"the status of {self.symbol} is {self.halted}"
            )
        if not fits_step(quantity, rules.step):
            raise _wrong(ticket, "size_step", "quantity", quantity, f"in steps of {plain(rules.step)}")
        if quantity < rules.least:
            raise _wrong(ticket, "least_size", "quantity", quantity, f"of at least {plain(rules.least)}")
        if rules.most is not None and quantity > rules.most:
            raise _wrong(ticket, "most_size", "quantity", quantity, f"of at most {plain(rules.most)}")
        price = ticket.limit_price
        if price is None:
            return
        if not fits_step(price, self.price_step):
            raise _wrong(ticket, "price_step", "price", price, f"in steps of {plain(self.price_step)}")
        if price < self.least_price or (self.most_price is not None and price > self.most_price):
            most = "" if self.most_price is None else f" and at most {plain(self.most_price)}"
            expected = f"of at least {plain(self.least_price)}{most}"
            raise _wrong(ticket, "price_range", "price", price, expected)
        self.check_value(ticket, price)

    def check_value(self, ticket: OrderRequest, price: Decimal) -> None:
        """Raises `OrderRejected` if the order is worth too little, or too much, at a price."""
        rules, value = self.rules(ticket.kind), product(self.money(price), ticket.quantity)
        kind = "its limit" if ticket.kind is OrderType.LIMIT else "the best price"
        if value < rules.least_value:
            text = f"it is worth {plain(value)} at {kind}; expected at least {plain(rules.least_value)}"
            raise OrderRejected(ticket.client_id, "least_value", text)
        if rules.most_value is not None and value > rules.most_value:
            text = f"it is worth {plain(value)} at {kind}; expected at most {plain(rules.most_value)}"
            raise OrderRejected(ticket.client_id, "most_value", text)


def _wrong(ticket: OrderRequest, reason: str, what: str, value: Decimal, expected: str) -> OrderRejected:
    return OrderRejected(ticket.client_id, reason, f"its {what} is {plain(value)}; expected one {expected}")


@dataclass(frozen=True, slots=True)
class Costs:
    """Fees in basis points of a fill's value.

    Attributes:
        maker_bps: of what was resting.
        taker_bps: of what met what was resting.
    """

    maker_bps: Decimal = Decimal(10)
    taker_bps: Decimal = Decimal(10)

    def __post_init__(self) -> None:
        for name in ("maker_bps", "taker_bps"):
            if check_not_negative(name, getattr(self, name)) > 1000:
                raise InvalidField(name, getattr(self, name), "0 to 1000 basis points")

    def bps(self, *, maker: bool) -> Decimal:
        """What applies."""
        return self.maker_bps if maker else self.taker_bps

    @property
    def highest_bps(self) -> Decimal:
        """The larger of the two: what is set aside for an order."""
        return max(self.maker_bps, self.taker_bps)


USUAL_COSTS = Costs()
"""10 basis points, whoever was there first."""
