"""From what risk allows to orders, and what the portfolio books of them."""

from decimal import Decimal

import pytest

from raysignal.engine.core.events import (
    Candle,
    OrderEnded,
    OrderFill,
    PlannedOrder,
    PositionDecision,
    RiskOutcome,
    RiskVerdict,
)
from raysignal.engine.core.listings import Listing, OrderRules
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.core.orders import OrderType, Side
from raysignal.engine.core.policy import Policy
from raysignal.engine.pipeline.execute import ExecuteStage
from raysignal.engine.pipeline.portfolio import KernelPortfolio, VenuePortfolio

RULES = OrderRules(step=Decimal("0.01"), least=Decimal("0.01"), least_value=Decimal(5))
LISTING = Listing(Instrument("okx", "BTC-USDT", 2, 2), Decimal("0.01"), RULES, RULES, shorts=True)
CONTRACTS = Listing(
    Instrument("okx", "ETH-SWAP", 2, 2, Decimal("0.1")), Decimal("0.01"), RULES, RULES, shorts=True
)
LISTINGS = {"BTC": LISTING, "ETH": CONTRACTS}


def stage(**options: Decimal) -> ExecuteStage:
    return ExecuteStage("test", LISTINGS, **options)


def verdict(
    target: float,
    *,
    symbol: str = "BTC",
    outcome: RiskOutcome = RiskOutcome.ALLOW,
    number: int = 1,
    at_us: int = 1,
) -> RiskVerdict:
    side = (target > 0) - (target < 0)
    decision = PositionDecision(
        at_us=at_us, symbol=symbol, side=side, size=abs(side) * 0.5, price=100.0, number=number
    )
    return RiskVerdict(at_us=at_us, symbol=symbol, decision=decision, outcome=outcome, target=target)


def fill(order: PlannedOrder, quantity: str, *, price: str = "100", fee: str = "0") -> OrderFill:
    return OrderFill(
        at_us=2, symbol=order.symbol, client_id=order.client_id, ordinal=1, side=order.side, quantity=quantity,
        price=price, fee=fee, decided_price=order.decided_price,
    )  # fmt: skip


def ended(order: PlannedOrder, state: str = "filled") -> OrderEnded:
    return OrderEnded(at_us=3, symbol=order.symbol, client_id=order.client_id, state=state)


def test_order_is_what_is_missing_down_to_the_venues_step() -> None:
    execute = stage()
    (order,) = execute.on(verdict(1.239))
    assert (order.side, order.quantity, order.limit_price) == (1, "1.23", None)
    request = execute.request(order)
    assert (request.kind, request.side, request.quantity) == (OrderType.MARKET, Side.BUY, Decimal("1.23"))


def test_the_same_decision_makes_the_same_client_id_and_another_another() -> None:
    (first,), (again,), (other,) = (
        stage().on(verdict(1.0)),
        stage().on(verdict(1.0)),
        stage().on(verdict(1.0, number=2)),
    )
    assert first.client_id == again.client_id
    assert first.client_id != other.client_id


def test_contracts_are_ordered_and_base_units_are_held() -> None:
    execute = stage()
    (order,) = execute.on(verdict(2.0, symbol="ETH"))
    assert order.quantity == "20"
    execute.on(fill(order, "2.0"))
    execute.on(ended(order))
    (close,) = execute.on(verdict(0.0, symbol="ETH", number=2))
    assert (close.side, close.quantity) == (-1, "20")


def test_position_on_the_wanted_side_is_left_alone_unless_risk_makes_it_smaller() -> None:
    execute = stage()
    (order,) = execute.on(verdict(1.0))
    execute.on(fill(order, "1.0"))
    execute.on(ended(order))
    assert execute.on(verdict(1.5, number=2)) == ()
    assert execute.on(verdict(0.5, number=3)) == ()
    assert execute.on(verdict(1.5, number=4, outcome=RiskOutcome.REDUCE)) == ()
    (less,) = execute.on(verdict(0.4, number=5, outcome=RiskOutcome.REDUCE))
    assert (less.side, less.quantity) == (-1, "0.6")


def test_refused_decision_orders_nothing() -> None:
    assert stage().on(verdict(0.0, outcome=RiskOutcome.REFUSE)) == ()


def test_decision_that_comes_while_an_order_is_under_way_waits_and_risk_is_asked_again() -> None:
    execute = stage()
    (order,) = execute.on(verdict(1.0))
    assert execute.on(verdict(-1.0, number=2)) == ()
    assert execute.on(verdict(-2.0, number=3)) == ()
    execute.on(fill(order, "0.4"))
    (again,) = execute.on(ended(order, "expired"))
    assert isinstance(again, PositionDecision)
    assert (again.number, again.at_us) == (3, 3)
    assert execute.on(ended(order)) == ()  # told twice
    (turn,) = execute.on(verdict(-2.0, number=3))
    assert (turn.side, turn.quantity) == (-1, "2.4")


def test_refusal_takes_back_the_decision_that_waits() -> None:
    execute = stage()
    (order,) = execute.on(verdict(1.0))
    execute.on(verdict(-1.0, number=2))
    execute.on(verdict(1.0, number=3, outcome=RiskOutcome.REFUSE))
    execute.on(fill(order, "1.0"))
    assert execute.on(ended(order)) == ()


@pytest.mark.parametrize(("side", "target", "held"), [(-1, 0.0, 0.0), (-1, -20.0, -20.0), (1, 10.0, 50.0)])
def test_kernel_portfolio_does_what_risk_allows_and_not_what_was_decided(
    side: int, target: float, held: float
) -> None:
    portfolio = KernelPortfolio(Policy(side="long-short", fee_bps=0.0), ["BTC"], mark_us={"BTC": 60})
    portfolio.on(verdict(50.0))
    decision = PositionDecision(at_us=2, symbol="BTC", side=side, size=0.5, price=100.0, number=2)
    reduced = RiskVerdict(at_us=2, symbol="BTC", decision=decision, outcome=RiskOutcome.REDUCE, target=target)
    portfolio.on(reduced)
    assert portfolio.positions.get("BTC", 0.0) == pytest.approx(held)


@pytest.mark.parametrize("target", [0.009, 0.04])
def test_order_that_the_venue_would_not_take_is_not_made(target: float) -> None:
    assert stage().on(verdict(target)) == ()


def test_limit_orders_are_worse_for_us_by_the_offset() -> None:
    execute = stage(limit_offset_bps=Decimal(10))
    (buy,) = execute.on(verdict(1.0))
    assert buy.limit_price == "100.1"
    (sell,) = execute.on(verdict(-1.0, symbol="ETH"))
    assert sell.limit_price == "99.9"


CAPPED = OrderRules(step=Decimal("0.01"), least=Decimal("0.01"), most=Decimal(2), most_value=Decimal(150))


@pytest.mark.parametrize("offset", [None, Decimal(10)])
@pytest.mark.parametrize(("target", "quantities"), [(0.0, ["1.5", "0.5"]), (-1.0, ["1.5", "1.5"])])
def test_position_is_closed_or_turned_by_orders_that_are_no_larger_than_the_venue_takes(
    offset: Decimal | None, target: float, quantities: list[str]
) -> None:
    listing = Listing(LISTING.instrument, LISTING.price_step, CAPPED, CAPPED, shorts=True)
    execute = ExecuteStage("test", {"BTC": listing}, limit_offset_bps=offset)
    opening = PlannedOrder(
        at_us=0, symbol="BTC", client_id="before", side=1, quantity="2", limit_price=None, decided_price=100.0
    )
    execute.on(fill(opening, "2"))
    made, ordered, identities = execute.on(verdict(target, at_us=5)), [], set()
    while made:
        (event,) = made
        if isinstance(event, PositionDecision):
            made = execute.on(verdict(target, at_us=event.at_us))
        else:
            ordered.append(event.quantity)
            identities.add(event.client_id)
            execute.on(fill(event, event.quantity))
            made = execute.on(ended(event))
    assert ordered == quantities
    assert len(identities) == len(quantities)


def test_decision_that_waited_is_not_asked_about_as_of_before_it_was_made() -> None:
    execute = stage()
    (order,) = execute.on(verdict(1.0))
    execute.on(verdict(-1.0, number=2, at_us=7))
    (again,) = execute.on(ended(order, "expired"))  # at 3, the stamp of an order that nothing was filled of
    assert (again.number, again.at_us) == (2, 7)


@pytest.mark.parametrize("state", ["expired", "rejected", "cancelled"])
def test_what_one_order_could_not_have_is_not_asked_for_again_where_it_was_not_filled(state: str) -> None:
    listing = Listing(LISTING.instrument, LISTING.price_step, CAPPED, CAPPED, shorts=True)
    execute = ExecuteStage("test", {"BTC": listing})
    (order,) = execute.on(verdict(5.0))
    assert order.quantity == "1.5"
    assert execute.on(ended(order, state)) == ()


def candle(close: float, at_us: int = 10, interval_us: int = 60) -> Candle:
    return Candle(
        at_us=at_us,
        symbol="BTC",
        interval_us=interval_us,
        open=close,
        high=close,
        low=close,
        close=close,
        volume=1.0,
    )


def test_venue_portfolio_books_the_venues_prices_and_fees() -> None:
    portfolio = VenuePortfolio(Policy(initial_cash=1_000.0), mark_us={"BTC": 60})
    (order,) = stage().on(verdict(2.0))
    portfolio.on(fill(order, "2", price="100.5", fee="0.3"))
    assert portfolio.cash == 1_000 - 201 - 0.3
    assert portfolio.positions == {"BTC": 2.0}
    portfolio.on(candle(110.0))
    assert portfolio.equity == pytest.approx(798.7 + 220)
    portfolio.on(candle(1.0, interval_us=300))  # another length marks nothing
    assert portfolio.equity == pytest.approx(798.7 + 220)
    (sell,) = stage().on(verdict(-2.0))
    portfolio.on(fill(sell, "2", price="110", fee="0.2"))
    assert portfolio.positions == {}
    assert portfolio.equity == portfolio.cash == pytest.approx(1_018.5)
