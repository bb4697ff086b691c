"""What an exchange asks of orders in one instrument, and what trading there costs."""

from dataclasses import dataclass
from decimal import Decimal

from engine.errors import InvalidField, OrderRejected
from engine.market.events import Instrument
from engine.orders.amounts import ZERO, check_not_negative, check_positive, fits_step, plain, product
from engine.orders.orders import Kind, Ticket

_INVERSE = frozenset({"binance-coinm"})


@dataclass(frozen=True, slots=True)
class Listing:
    """An instrument as it can be traded.

    Linear instruments only, those whose price is in the account's currency: a size of 1 is worth `contract_size`
    times the price.

    Attributes:
        price_step, size_step: what prices and sizes are multiples of.
        least_size: of an order.
        least_value: of an order, in the account's currency; of a limit order at its limit. 0: no such rule.
        shorts: whether less than nothing can be held (spot: no).
    """

    instrument: Instrument
    price_step: Decimal
    size_step: Decimal
    least_size: Decimal
    least_value: Decimal = ZERO
    shorts: bool = False

    def __post_init__(self) -> None:
        if self.instrument.venue in _INVERSE:
            raise InvalidField("instrument", self.instrument.venue, "a venue of linear instruments")
        for name, smallest in (
            ("price_step", self.instrument.exact_price(1)),
            ("size_step", self.instrument.exact_size(1)),
        ):
            step = check_positive(name, getattr(self, name))
            if not fits_step(step, smallest):
                raise InvalidField(
                    name, step, f"a multiple of {plain(smallest)}, the smallest that is written"
                )
        check_positive("least_size", self.least_size)
        check_not_negative("least_value", self.least_value)

    @classmethod
    def of(cls, instrument: Instrument, *, shorts: bool = False) -> "Listing":
        """With the steps and the least size that the instrument's own decimals allow."""
        size = instrument.exact_size(1)
        return cls(instrument, instrument.exact_price(1), size, size, shorts=shorts)

    @property
    def symbol(self) -> str:
        """As the venue writes it."""
        return self.instrument.symbol

    def money(self, price: Decimal) -> Decimal:
        """What a size of 1 is worth at a price."""
        return product(price, self.instrument.contract_size)

    def check(self, ticket: Ticket) -> None:
        """Raises `OrderRejected` if the order breaks a rule: `price_step`, `size_step`, `least_size`, `least_value`."""
        for reason, broken, detail in (
            (
                "size_step",
                not fits_step(ticket.quantity, self.size_step),
                f"in steps of {plain(self.size_step)}",
            ),
            ("least_size", ticket.quantity < self.least_size, f"of at least {plain(self.least_size)}"),
        ):
            if broken:
                text = f"its quantity is {plain(ticket.quantity)}; expected one {detail}"
                raise OrderRejected(ticket.client_id, reason, text)
        if ticket.limit_price is None:
            return
        if not fits_step(ticket.limit_price, self.price_step):
            text = (
                f"its price is {plain(ticket.limit_price)}; expected one in steps of {plain(self.price_step)}"
            )
            raise OrderRejected(ticket.client_id, "price_step", text)
        self.check_value(ticket, ticket.limit_price)

    def check_value(self, ticket: Ticket, price: Decimal) -> None:
        """Raises `OrderRejected` if the order is worth too little at a price."""
        value = product(self.money(price), ticket.quantity)
        if value < self.least_value:
            kind = "its limit" if ticket.kind is Kind.LIMIT else "the best price"
            text = f"it is worth {plain(value)} at {kind}; expected at least {plain(self.least_value)}"
            raise OrderRejected(ticket.client_id, "least_value", text)


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
