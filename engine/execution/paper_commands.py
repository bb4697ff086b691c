"""One command of the paper exchange, worked out before anything is written: what it does to orders, cash and depth.

A `PaperCommand` begins with what is kept, changes copies, and ends with what is to be kept; if it is thrown away,
nothing has happened.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from raysignal.engine.core.amounts import plain, product, share_bps, total
from raysignal.engine.core.errors import OrderRejected
from raysignal.engine.core.listings import Costs, Listing
from raysignal.engine.core.market_events import Trade
from raysignal.engine.core.orders import (
    OrderRequest,
    OrderState,
    OrderStatus,
    OrderType,
    TimeInForce,
    check_step,
)
from raysignal.engine.execution.exchange import Fill, PaidFunding
from raysignal.engine.execution.holdings import Holdings
from raysignal.engine.execution.matching import (
    ConsumedLevel,
    Depth,
    RestingOrder,
    best_price,
    by_priority,
    lots_of,
    offers,
    opposing_side,
    resting_side,
    shown_at,
    touched_by,
)
from raysignal.engine.execution.paper_state import PaperState


@dataclass(frozen=True, slots=True)
class FillRules:
    """What a paper account trades, and on what terms.

    Attributes:
        listings: by symbol.
        latency_us: from the moment an order (or a request to cancel one) is sent until it has effect.
    """

    listings: Mapping[str, Listing]
    costs: Costs
    latency_us: int


class PaperCommand:
    """One command; see the module.

    Args:
        depths: the books that are in sync, by symbol.
        at_us: the clock.

    Attributes:
        changed: orders that are not what they were, by client id.
        fills: made by this command.
        funding: that it settled; None: none.
    """

    def __init__(self, kept: PaperState, rules: FillRules, depths: Mapping[str, Depth], at_us: int) -> None:
        self.changed: dict[str, RestingOrder] = {}
        self.fills: list[Fill] = []
        self.funding: PaidFunding | None = None
        self._before = kept
        self._rules = rules
        self._depths = depths
        self._at_us = at_us
        self._holdings = kept.holdings
        self._orders = dict(kept.orders)
        self._eaten = {place: dict(levels) for place, levels in kept.eaten.items()}
        self._last_order = kept.last_order
        self._last_fill = kept.last_fill

    def end(self) -> PaperState:
        """What is to be kept."""
        return PaperState(
            self._holdings,
            {name: order for name, order in self._orders.items() if not order.progress.state.final},
            self._eaten,
            self._at_us,
            self._last_order,
            self._last_fill,
            self._before.version + 1,
        )

    def place(self, ticket: OrderRequest) -> OrderRejected | None:
        """Take an order in, or keep it as rejected and say why."""
        self._last_order += 1
        depth = self._depths.get(ticket.instrument.symbol)
        best = None if depth is None else best_price(depth, ticket.side)
        held = ticket.limit_price
        if held is None and best is not None:
            held = ticket.instrument.exact_price(best)
        order = RestingOrder(
            self._last_order,
            ticket,
            OrderStatus(OrderState.ACCEPTED),
            self._at_us + self._rules.latency_us,
            held_price=held,
        )
        try:
            self._check(order)
        except OrderRejected as error:
            reason = error.fields["reason"]
            self._put(replace(order, progress=OrderStatus(OrderState.REJECTED, reason=reason)))
            return error
        self._put(order)
        return None

    def fund(self, paid: PaidFunding) -> None:
        """A position pays its funding."""
        self.funding = paid
        self._holdings = self._holdings.paid(paid.amount)

    def expire_unlisted(self) -> None:
        """End the orders whose instrument is not listed as it was when they came: books and trades count in other ticks
        and lots than theirs.
        """
        for order in list(self._orders.values()):
            if not self._listed(order.ticket):
                self._turn(order, OrderState.EXPIRED, "instrument_changed")

    def ask_to_cancel(self, order: RestingOrder) -> None:
        """Let an order be cancelled once the request has arrived."""
        if order.cancels_us is None:
            self._put(replace(order, cancels_us=self._at_us + self._rules.latency_us))

    def settle_due(self, symbol: str, *, arrivals: bool = True) -> None:
        """Orders and requests that have arrived by now, in the order in which they did; requests alone, if the book
        is not to be met now.
        """
        due = [
            (order.arrives_us, order.ordinal, False, name)
            for name, order in self._orders.items()
            if order.symbol == symbol and not order.arrived and self._has_come(order.arrives_us)
        ]
        due += [
            (order.cancels_us, order.ordinal, True, name)
            for name, order in self._orders.items()
            if order.symbol == symbol and order.cancels_us is not None and self._has_come(order.cancels_us)
        ]
        for _, _, cancels, name in sorted(due):
            order = self._orders[name]
            if order.progress.state.final:
                continue
            if cancels:
                self._turn(order, OrderState.CANCELLED, "")
            elif arrivals and symbol in self._depths:
                self._meet(order, self._depths[symbol])

    def _has_come(self, instant_us: int) -> bool:
        """Whether an instant of arrival is over, or so far ahead that the clock has been put back since."""
        return not 0 < instant_us - self._at_us <= self._rules.latency_us

    def cross(self, symbol: str) -> None:
        """Resting orders whose price the opposing book has come to."""
        depth = self._depths[symbol]
        for order in by_priority(self._resting(symbol)):
            taken = self._eaten_of(order)
            for piece in list(offers(depth, order.ticket.side, taken, order.limit)):
                now = self._orders[order.ticket.client_id]
                lots = min(piece.lots, now.remaining_lots)
                if lots == 0:
                    break
                self._eat(order, piece.price, piece.shown, lots)
                self._fill(now, now.limit or 0, lots, maker=True)

    def take_trade(self, trade: Trade) -> None:
        """What a trade does to the orders that rest."""
        for order, lots, ahead in touched_by(trade, self._resting(trade.instrument.symbol)):
            now = replace(order, ahead=ahead)
            self._put(now)
            if lots:
                self._fill(now, now.limit or 0, lots, maker=True)

    def _resting(self, symbol: str) -> list[RestingOrder]:
        return [
            order
            for order in self._orders.values()
            if order.symbol == symbol and order.arrived and not order.progress.state.final
        ]

    def _listed(self, ticket: OrderRequest) -> bool:
        listing = self._rules.listings.get(ticket.instrument.symbol)
        return listing is not None and listing.instrument == ticket.instrument

    def _check(self, order: RestingOrder) -> None:
        ticket = order.ticket
        if not self._listed(ticket):
            text = f"{order.symbol} of {ticket.instrument.venue} is not traded here in this form"
            raise OrderRejected(ticket.client_id, "not_listed", text)
        listing = self._rules.listings[order.symbol]
        listing.check(ticket)
        if order.held_price is None:
            return
        listing.check_value(ticket, order.held_price)
        most = self._most(order, order.held_price)
        if ticket.quantity > most:
            text = f"its quantity is {plain(ticket.quantity)}; the account has enough for {plain(most)}"
            raise OrderRejected(ticket.client_id, "insufficient_balance", text)

    def _most(self, order: RestingOrder, price: Decimal) -> Decimal:
        """What the account may trade, if every other order that competes with this one were filled first."""
        holdings: Holdings = self._holdings
        bps = self._rules.costs.highest_bps
        for name, other in self._orders.items():
            same = other.symbol == order.symbol
            if name == order.ticket.client_id or other.held_price is None or other.progress.state.final:
                continue
            if same and other.ticket.side is not order.ticket.side:
                continue
            money = self._rules.listings[other.symbol].money(other.held_price)
            fee = share_bps(product(money, other.remaining), bps)
            holdings = holdings.after(other.symbol, other.ticket.side, other.remaining, money, fee)
        return holdings.most(self._rules.listings[order.symbol], order.ticket.side, price, bps)

    def _meet(self, order: RestingOrder, depth: Depth) -> None:
        """An order that has arrived takes what it can, and rests or ends."""
        ticket, name = order.ticket, order.ticket.client_id
        wrong = self._wrong_value(order, depth)
        if wrong:
            self._turn(order, OrderState.EXPIRED, wrong)
            return
        reason = "no_depth" if ticket.kind is OrderType.MARKET else "limit_not_met"
        for piece in list(offers(depth, ticket.side, self._eaten_of(order), order.limit)):
            now = self._orders[name]
            most = self._most(now, ticket.instrument.exact_price(piece.price))
            affordable = lots_of(ticket.instrument, most)
            lots = min(piece.lots, now.remaining_lots, affordable)
            if lots > 0:
                self._eat(now, piece.price, piece.shown, lots)
                self._fill(now, piece.price, lots, maker=False)
            if self._orders[name].progress.state.final:
                return
            if affordable < min(piece.lots, now.remaining_lots):
                reason = "insufficient_balance"
                break
        left = self._orders[name]
        if ticket.time_in_force is TimeInForce.IOC or reason == "insufficient_balance":
            self._turn(left, OrderState.EXPIRED, reason)
            return
        ahead = shown_at(depth, resting_side(ticket.side), left.limit or 0)
        self._put(replace(left, arrived=True, ahead=ahead))

    def _wrong_value(self, order: RestingOrder, depth: Depth) -> str:
        """Why an order is worth too little or too much, if no book could say so when it came; else empty."""
        best = best_price(depth, order.ticket.side)
        if order.held_price is not None or best is None:
            return ""
        try:
            self._rules.listings[order.symbol].check_value(
                order.ticket, order.ticket.instrument.exact_price(best)
            )
        except OrderRejected as error:
            return str(error.fields["reason"])
        return ""

    def _fill(self, order: RestingOrder, price: int, lots: int, *, maker: bool) -> None:
        ticket, before = order.ticket, order.progress
        instrument = ticket.instrument
        quantity, at = instrument.exact_size(lots), instrument.exact_price(price)
        money = self._rules.listings[order.symbol].money(at)
        fee = share_bps(product(money, quantity), self._rules.costs.bps(maker=maker))
        self._last_fill += 1
        fill = Fill(
            self._last_fill,
            ticket.client_id,
            order.symbol,
            ticket.side,
            quantity,
            at,
            fee,
            maker,
            self._at_us,
        )
        self.fills.append(fill)
        filled = total((before.filled, quantity))
        state = OrderState.FILLED if filled == ticket.quantity else OrderState.PARTIALLY_FILLED
        after = OrderStatus(state, filled, total((before.value, fill.value)), total((before.fees, fee)))
        check_step(ticket, before, after)
        self._put(replace(order, progress=after))
        self._holdings = self._holdings.after(order.symbol, ticket.side, quantity, money, fee)

    def _turn(self, order: RestingOrder, state: OrderState, reason: str) -> None:
        after = replace(order.progress, state=state, reason=reason)
        check_step(order.ticket, order.progress, after)
        self._put(replace(order, progress=after))

    def _eaten_of(self, order: RestingOrder) -> dict[int, ConsumedLevel]:
        return self._eaten.get((order.symbol, opposing_side(order.ticket.side)), {})

    def _eat(self, order: RestingOrder, price: int, shown: int, lots: int) -> None:
        levels = self._eaten.setdefault((order.symbol, opposing_side(order.ticket.side)), {})
        before = levels.get(price)
        taken = before.taken if before is not None and before.shown == shown else 0
        levels[price] = ConsumedLevel(taken + lots, shown)

    def _put(self, order: RestingOrder) -> None:
        self._orders[order.ticket.client_id] = self.changed[order.ticket.client_id] = order
