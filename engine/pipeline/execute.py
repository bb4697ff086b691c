"""From the position that risk allows to orders: what is missing, as the venue takes it. One order a symbol at a time.

While an order of a symbol is under way the last decision waits; when it has ended, risk is asked about it again, and
what is missing then is ordered. So is what the venue did not take in one order, once that is filled: a position is
closed or turned whole.
The client id follows from the decision, so whoever makes the order again makes the same one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from raysignal.engine.core.amounts import (
    ZERO,
    down_to_step,
    less,
    magnitude,
    plain,
    product,
    ratio,
    share_bps,
    total,
)
from raysignal.engine.core.events import (
    OrderEnded,
    OrderFill,
    PlannedOrder,
    PositionDecision,
    RiskOutcome,
    RiskVerdict,
)
from raysignal.engine.core.listings import Listing
from raysignal.engine.core.orders import (
    OrderRequest,
    OrderState,
    OrderType,
    Origin,
    Side,
    TimeInForce,
    client_id,
)


@dataclass(slots=True)
class _Working:
    """One symbol: what is held, in the base currency, the order that is under way, and the decision that waits.

    `rest`: the decision whose quantity is more than one order may have.
    """

    held: Decimal = ZERO
    order: PlannedOrder | None = None
    waiting: PositionDecision | None = None
    rest: PositionDecision | None = None


class ExecuteStage:
    """See the module.

    Args:
        account: the portfolio's name; a part of the client ids.
        listings: what the venue asks of orders, by symbol.
        limit_offset_bps: orders are limit orders, so much worse for us than the decision's price; None: market orders.
    """

    def __init__(
        self, account: str, listings: Mapping[str, Listing], *, limit_offset_bps: Decimal | None = None
    ) -> None:
        self._account = account
        self._listings = dict(listings)
        self._offset_bps = limit_offset_bps
        self._working = {symbol: _Working() for symbol in listings}

    def on(self, event: RiskVerdict | OrderFill | OrderEnded) -> Sequence[PlannedOrder | PositionDecision]:
        """See `engine.pipeline.path`."""
        working = self._working[event.symbol]
        if isinstance(event, OrderFill):
            working.held = total((working.held, product(Decimal(event.side), Decimal(event.quantity))))
            return ()
        if isinstance(event, OrderEnded):
            return self._ended(working, event)
        refused = event.outcome is RiskOutcome.REFUSE
        if working.order is not None:
            working.waiting, working.rest = None if refused else event.decision, None
            return ()
        if refused:
            return ()
        return self._plan(working, event, event.at_us)

    def request(self, order: PlannedOrder) -> OrderRequest:
        """The order as a venue is asked for it."""
        limit = None if order.limit_price is None else Decimal(order.limit_price)
        return OrderRequest(
            order.client_id, self._listings[order.symbol].instrument, Side(order.side),
            OrderType.MARKET if limit is None else OrderType.LIMIT, Decimal(order.quantity), limit, TimeInForce.IOC,
        )  # fmt: skip

    @staticmethod
    def _ended(working: _Working, event: OrderEnded) -> Sequence[PositionDecision]:
        """The decision that waited, or of which something is left."""
        if working.order is None or working.order.client_id != event.client_id:
            return ()
        asked = working.waiting
        if asked is None and working.rest is not None and event.state == OrderState.FILLED:
            # A microsecond later, so that its order is another one.
            asked = msgspec.structs.replace(working.rest, at_us=working.rest.at_us + 1)
        working.order = working.waiting = working.rest = None
        if asked is None:
            return ()
        # The end of an order that nothing was filled of is stamped as its beginning; this was decided since.
        return (msgspec.structs.replace(asked, at_us=max(asked.at_us, event.at_us)),)

    def _plan(self, working: _Working, verdict: RiskVerdict, at_us: int) -> Sequence[PlannedOrder]:
        decision, listing = verdict.decision, self._listings[verdict.symbol]
        kind = OrderType.MARKET if self._offset_bps is None else OrderType.LIMIT
        rules = listing.rules(kind)
        contract = listing.instrument.contract_size
        wanted, held = ratio(Decimal(repr(verdict.target)), contract), ratio(working.held, contract)
        missing = less(wanted, held)
        # As with the kernel, a position on the wanted side is left alone; but risk may make it smaller.
        same_side, larger = wanted * held > 0, missing * held > 0
        if same_side and (larger or verdict.outcome is RiskOutcome.ALLOW):
            return ()
        # What is closed is closed whole, whatever is left of a step.
        quantity = magnitude(held) if verdict.target == 0 else down_to_step(magnitude(missing), rules.step)
        side = Side.BUY if missing > 0 else Side.SELL
        limit = self._limit(Decimal(repr(decision.price)), side, listing)
        price = Decimal(repr(decision.price)) if limit is None else Decimal(limit)
        if quantity < rules.least or product(listing.money(price), quantity) < rules.least_value:
            return ()
        most = listing.most(quantity, price, kind)
        working.rest = decision if most < quantity else None
        origin = Origin(self._account, "pipeline", decision.identity)
        working.order = PlannedOrder(
            at_us=at_us, symbol=verdict.symbol,
            client_id=client_id(listing.instrument.venue, listing.symbol, origin), side=int(side),
            quantity=plain(most), limit_price=limit, decided_price=decision.price,
        )  # fmt: skip
        return (working.order,)

    def _limit(self, price: Decimal, side: Side, listing: Listing) -> str | None:
        if self._offset_bps is None:
            return None
        worse = total((price, product(Decimal(int(side)), share_bps(price, self._offset_bps))))
        return plain(max(down_to_step(worse, listing.price_step), listing.price_step))
