"""From a signal to an order, through an exchange that does not always answer."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from raysignal.engine.core.amounts import units
from raysignal.engine.core.errors import (
    ExchangeUnreachable,
    ImpossibleTransition,
    InvalidField,
    OrderError,
    StoreUnavailable,
    UnexplainedDifference,
)
from raysignal.engine.core.listings import Listing, OrderRules
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.core.orders import OrderRequest, OrderState, OrderStatus, OrderType, Side
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.database.database import Database, open_database
from raysignal.engine.execution.exchange import Balances, Fill, OrderReport
from raysignal.engine.execution.paper import PaperExchange
from raysignal.engine.execution.policy import ExecutionPolicy, Instruction, TargetOutcome
from raysignal.engine.execution.store import OrderStore
from raysignal.engine.execution.tables import ORDER_EVENTS
from raysignal.engine.execution.trader import Trader
from tests.support.order_script import Wire, WiredDatabase
from tests.support.order_world import (
    LISTING,
    PERP,
    SECOND,
    PlainBook,
    book,
    instruction,
    limit,
    market,
    paper,
    trade,
)

DAY = 86_400 * SECOND
PLAN = ExecutionPolicy(resend_after_us=10 * SECOND)


class Troubled:
    """An exchange whose next calls go wrong as the test says: `lost` before it hears of them, or `unheard` after."""

    def __init__(self, exchange: PaperExchange) -> None:
        self.exchange = exchange
        self.venue = exchange.venue
        self.trouble: list[str] = []
        self.submitted: list[OrderRequest] = []
        self.told: dict[str, OrderReport | None] = {}

    def _call(self, name: str, *arguments: Any) -> Any:
        trouble = self.trouble.pop(0) if self.trouble else ""
        if trouble == "lost":
            raise ExchangeUnreachable("the request is lost")
        answer = getattr(self.exchange, name)(*arguments)
        if trouble == "unheard":
            raise ExchangeUnreachable("the answer is lost")
        return answer

    def submit(self, ticket: OrderRequest) -> OrderReport:
        self.submitted.append(ticket)
        report: OrderReport = self._call("submit", ticket)
        return report

    def cancel(self, client_id: str) -> OrderReport:
        report: OrderReport = self._call("cancel", client_id)
        return report

    def order(self, client_id: str) -> OrderReport | None:
        report: OrderReport | None = self._call("order", client_id)
        return self.told.get(client_id, report)

    def open_orders(self) -> Sequence[OrderReport]:
        found: Sequence[OrderReport] = self._call("open_orders")
        return found

    def balances(self) -> Balances:
        balances: Balances = self._call("balances")
        return balances

    def fills(self, after: int = 0) -> Sequence[Fill]:
        found: Sequence[Fill] = self._call("fills", after)
        return found


class Desk:
    """A trader that has started, its exchange with a book of 10 BTC at 100, and its store."""

    def __init__(
        self, database: Database, plan: ExecutionPolicy = PLAN, listing: Listing = LISTING, **terms: Any
    ) -> None:
        self.database, self.plan, self.listing = database, plan, listing
        self.exchange = Troubled(paper(database, listings=[listing], **terms))
        self.show(book("100", "1000", instrument=listing.instrument))
        self.store = OrderStore(database, "main")
        self.trader = self.another()
        self.trader.start(0)

    def another(self) -> Trader:
        return Trader(self.store, self.exchange, {"BTC": self.listing}, self.plan)

    def show(self, shown: PlainBook, at_us: int = 1) -> None:
        self.exchange.exchange.book_changed(shown, at_us)

    def signal(self, name: str, action: Action, price: str = "100", at_us: int = 0) -> None:
        self.trader.take(instruction(name, action, price, at_us))

    def states(self) -> list[str]:
        return [order.state.value for order in self.store.orders()]

    def held(self) -> Decimal:
        return self.exchange.exchange.balances().positions.get("BTCUSDT", Decimal(0))

    def history(self, number: int = 0) -> list[str]:
        order = self.store.orders()[number]
        return [event.progress.state.value for event in self.store.history(order.client_id)]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'market.db'}")
    yield opened
    opened.close()


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


# What cannot be


def test_nothing_is_traded_before_the_account_was_compared(database: Database) -> None:
    desk = Desk(database)
    fresh = desk.another()
    fresh.take(instruction("up", Action.BUY))
    with pytest.raises(OrderError, match="has not been started"):
        fresh.work(1)
    assert not desk.exchange.submitted


def test_a_trader_and_an_exchange_that_do_not_go_together_are_refused(database: Database) -> None:
    desk = Desk(database)
    with pytest.raises(InvalidField, match="long-flat, because BTCUSDT cannot be sold short"):
        Trader(desk.store, desk.exchange, {"BTC": LISTING}, ExecutionPolicy(side="long-short"))
    with pytest.raises(InvalidField, match="an instrument of binance"):
        Trader(desk.store, desk.exchange, {"BTC": Listing.of(PERP)}, PLAN)
    perp = Listing.of(PERP, shorts=True)
    elsewhere = Trader(desk.store, paper(database, listings=[perp], account="b"), {"BTC": perp}, PLAN)
    with pytest.raises(InvalidField, match="'binance', as account main has it"):
        elsewhere.start(1)
    with pytest.raises(InvalidField, match="account"):
        OrderStore(database, "")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("side", {"side": "short"}),
        ("weight", {"weight": Decimal(0)}),
        ("weight", {"weight": Decimal("1.1")}),
        ("margin_bps", {"margin_bps": Decimal(-1)}),
        ("offset_bps", {"offset_bps": Decimal(10_000)}),
        ("rest_us", {"rest_us": 0}),
        ("good_for_us", {"good_for_us": -1}),
        ("resend_after_us", {"resend_after_us": 0}),
    ],
)
def test_a_plan_that_cannot_be_is_refused_by_field(field: str, change: dict[str, Any]) -> None:
    with pytest.raises(InvalidField) as refused:
        ExecutionPolicy(**change)
    assert refused.value.fields["field"] == field


def test_a_signal_without_identity_or_price_is_refused() -> None:
    with pytest.raises(InvalidField, match="signal_id"):
        instruction("", Action.BUY)
    with pytest.raises(InvalidField, match="price"):
        instruction("a", Action.BUY, "0")


# From a signal to a position


def test_a_buy_opens_and_a_sell_closes(desk: Desk) -> None:
    desk.signal("up", Action.BUY)
    desk.trader.work(1)
    assert desk.held() == Decimal("99.502")  # 10 000 / (100 * 1.005), down to the step
    assert desk.history() == ["created", "sent", "filled"]
    desk.signal("down", Action.SELL, at_us=1)
    desk.trader.work(2)
    assert desk.held() == 0
    assert desk.states() == ["filled", "filled"]
    assert not desk.trader.busy


def test_the_same_signal_again_makes_no_second_order(desk: Desk) -> None:
    for _ in range(3):
        desk.signal("up", Action.BUY)
        desk.trader.work(1)
    again = desk.another()
    again.start(2)
    assert not again.take(instruction("up", Action.BUY))
    again.work(3)
    assert len(desk.exchange.submitted) == 1


@pytest.mark.parametrize(
    ("name", "action", "price", "at_us", "outcome"),
    [
        ("hold", Action.HOLD, "100", 0, TargetOutcome.HOLD),
        ("sell", Action.SELL, "100", 0, TargetOutcome.NOTHING_TO_SELL),
        ("old", Action.BUY, "100", -2 * DAY, TargetOutcome.TOO_OLD),
        ("dear", Action.BUY, "100000000", 0, TargetOutcome.TOO_SMALL),
    ],
)
def test_a_signal_that_leads_to_no_order_says_why_once_and_for_all(
    desk: Desk, name: str, action: Action, price: str, at_us: int, outcome: TargetOutcome
) -> None:
    desk.signal(name, action, price, at_us)
    desk.trader.work(1)
    assert desk.store.outcomes() == {name: outcome}
    desk.signal(name, action, price, at_us)
    desk.trader.work(2)
    assert not desk.exchange.submitted


def test_a_side_that_is_held_is_left_alone_and_an_unknown_symbol_is_not_traded(desk: Desk) -> None:
    desk.signal("up", Action.BUY)
    desk.trader.work(1)
    desk.signal("again", Action.BUY, at_us=1)
    desk.trader.take(instruction("other", Action.BUY, symbol="ETH"))
    desk.trader.work(2)
    desk.signal("before", Action.SELL)  # "again" was later, and wants the position
    desk.trader.work(3)
    assert desk.store.outcomes() == {
        "up": TargetOutcome.ORDERED, "again": TargetOutcome.ALREADY_HELD, "other": TargetOutcome.NOT_TRADED,
        "before": TargetOutcome.LATE,
    }  # fmt: skip


def test_signals_of_another_strategy_wait_until_there_is_one_for_them_again(desk: Desk) -> None:
    for name, action, at_us in (
        ("fast:1s:1", Action.BUY, 1),
        ("slow:1m:1", Action.SELL, 2),
        ("fast:1s:2", Action.BUY, 3),
    ):
        desk.signal(name, action, at_us=at_us)
    traders = {
        name: Trader(desk.store, desk.exchange, {"BTC": desk.listing}, desk.plan, identity=name)
        for name in ("slow:1m:", "fast:1s:")
    }
    for name, trader in traders.items():
        trader.start(3)
        trader.work(4)
        assert not trader.busy
        if name == "slow:1m:":
            assert desk.store.outcomes() == {
                "fast:1s:1": None, "slow:1m:1": TargetOutcome.NOTHING_TO_SELL, "fast:1s:2": None,
            }  # fmt: skip
    assert desk.store.outcomes() == {
        "fast:1s:1": TargetOutcome.SUPERSEDED, "slow:1m:1": TargetOutcome.NOTHING_TO_SELL,
        "fast:1s:2": TargetOutcome.ORDERED,
    }  # fmt: skip


def test_of_several_signals_that_wait_the_last_counts_and_one_from_before_is_late(desk: Desk) -> None:
    desk.signal("second", Action.SELL, at_us=2)
    desk.signal("first", Action.BUY, at_us=1)
    desk.signal("third", Action.BUY, at_us=3)
    desk.trader.work(4)
    desk.signal("latecomer", Action.SELL, at_us=2)
    desk.trader.work(5)
    assert desk.store.outcomes() == {
        "second": TargetOutcome.SUPERSEDED, "first": TargetOutcome.SUPERSEDED, "third": TargetOutcome.ORDERED,
        "latecomer": TargetOutcome.LATE,
    }  # fmt: skip
    assert desk.held() > 0


def test_a_signal_that_is_too_old_still_closes_but_opens_nothing(database: Database) -> None:
    desk = Desk(database, ExecutionPolicy(side="long-short"), Listing.of(PERP, shorts=True))
    desk.signal("up", Action.BUY)
    desk.trader.work(1)
    desk.signal("down", Action.SELL, at_us=2)
    desk.trader.work(2 * DAY)
    assert desk.held() == 0
    desk.signal("late", Action.SELL, at_us=3)
    desk.trader.work(2 * DAY)
    assert desk.store.outcomes()["late"] is TargetOutcome.TOO_OLD


def test_long_short_flips_by_one_order(database: Database) -> None:
    desk = Desk(
        database, ExecutionPolicy(side="long-short", weight=Decimal("0.5")), Listing.of(PERP, shorts=True)
    )
    desk.signal("up", Action.BUY)
    desk.trader.work(1)
    assert desk.held() == Decimal("49.751")
    desk.signal("down", Action.SELL, "99.9", at_us=1)
    desk.trader.work(2)
    assert desk.held() < Decimal(-49)
    assert desk.states() == ["filled", "filled"]


def test_an_order_that_the_exchange_does_not_take_is_kept_with_its_reason(desk: Desk) -> None:
    desk.show(book("105", "1000"))  # 5 % over the signal's price: more than the margin
    desk.signal("up", Action.BUY)
    desk.trader.work(1)
    (order,) = desk.store.orders()
    assert (order.state, order.progress.reason) == (OrderState.REJECTED, "insufficient_balance")
    assert desk.trader.busy is False


def test_an_order_that_rests_is_cancelled_for_the_next_signal_or_after_its_time(database: Database) -> None:
    desk = Desk(
        database, ExecutionPolicy(kind=OrderType.LIMIT, offset_bps=Decimal(-100), rest_us=60 * SECOND)
    )
    desk.signal("up", Action.BUY)
    desk.trader.work(1)
    assert [report.ticket.limit_price for report in desk.exchange.exchange.open_orders()] == [
        Decimal("99.00")
    ]
    desk.exchange.exchange.traded(trade("98", "1", Side.SELL), 2)
    desk.trader.work(SECOND)
    assert desk.states() == ["partially_filled"]
    desk.signal("down", Action.SELL, at_us=2 * SECOND)
    desk.trader.work(3 * SECOND)
    assert desk.states() == ["cancelled", "accepted"]
    desk.trader.work(63 * SECOND)
    assert desk.states() == ["cancelled", "cancelled"]
    assert desk.held() == 1
    assert desk.store.positions()["BTCUSDT"].quantity == 1


@pytest.mark.parametrize(
    ("kind", "rules", "quantity"),
    [
        (OrderType.MARKET, OrderRules(Decimal("0.5"), Decimal("0.5")), "99.5"),
        (OrderType.MARKET, OrderRules(Decimal("0.4"), Decimal(1), most=Decimal("7.1")), "6.8"),
        (OrderType.MARKET, OrderRules(Decimal(1), Decimal(1), most_value=Decimal(350)), "3"),
        (OrderType.LIMIT, OrderRules(Decimal("0.5"), Decimal("0.5"), most=Decimal(20)), "20"),
        (OrderType.MARKET, OrderRules(Decimal(1), Decimal(100)), None),
        (OrderType.LIMIT, OrderRules(Decimal(1), Decimal(1), least_value=Decimal(10_000)), None),
    ],
)
def test_an_order_is_as_large_as_the_venue_takes_it(
    database: Database, kind: OrderType, rules: OrderRules, quantity: str | None
) -> None:
    other = OrderRules(Decimal("0.001"), Decimal("0.001"))
    both = (
        {"market": rules, "limit": other} if kind is OrderType.MARKET else {"market": other, "limit": rules}
    )
    desk = Desk(database, ExecutionPolicy(kind=kind), replace(LISTING, **both))
    desk.signal("up", Action.BUY)
    desk.trader.work(1)
    assert [order.ticket.quantity for order in desk.store.orders()] == (
        [] if quantity is None else [Decimal(quantity)]
    )
    assert desk.states() == ([] if quantity is None else ["filled"])
    assert desk.store.outcomes() == {
        "up": TargetOutcome.TOO_SMALL if quantity is None else TargetOutcome.ORDERED
    }


@pytest.mark.parametrize("kind", [OrderType.MARKET, OrderType.LIMIT])
def test_a_rest_that_is_too_small_to_be_sold_does_not_keep_a_buy_from_opening(
    database: Database, kind: OrderType
) -> None:
    rules = OrderRules(Decimal("0.001"), Decimal("0.001"), least_value=Decimal(5))
    desk = Desk(database, ExecutionPolicy(kind=kind, rest_us=1), replace(LISTING, market=rules, limit=rules))
    desk.signal("up", Action.BUY, at_us=1)
    desk.trader.work(1)
    whole = desk.held()
    assert whole == Decimal("99.502")
    desk.show(book("100.01", str(whole - Decimal("0.01"))), 2)  # what is bid for is all but 0.01
    desk.signal("down", Action.SELL, at_us=2)
    desk.trader.work(3)
    desk.trader.work(4)
    assert desk.held() == Decimal("0.01")
    assert not desk.trader.busy
    desk.show(book("100", "1000"), 5)
    desk.signal("down again", Action.SELL, at_us=5)
    desk.signal("old", Action.BUY, at_us=5 - 2 * DAY)
    desk.trader.work(6)
    desk.signal("up again", Action.BUY, at_us=7)
    desk.trader.work(8)
    assert desk.held() == Decimal("99.304")  # of 9 979.1006 in cash and the rest, and not the rest on top
    desk.signal("held", Action.BUY, at_us=9)
    desk.trader.work(10)
    desk.signal("down at last", Action.SELL, "99.99", at_us=11)
    desk.trader.work(12)
    assert desk.held() == 0
    outcomes = {
        name: outcome
        for name, outcome in desk.store.outcomes().items()
        if outcome is not TargetOutcome.ORDERED
    }
    assert outcomes == {
        "down again": TargetOutcome.TOO_SMALL, "old": TargetOutcome.SUPERSEDED, "held": TargetOutcome.ALREADY_HELD,
    }  # fmt: skip


def test_a_short_rest_does_not_keep_a_sell_from_opening_and_an_old_signal_leaves_it(
    database: Database,
) -> None:
    rules = OrderRules(Decimal("0.001"), Decimal(1))
    listing = replace(Listing.of(PERP, shorts=True), market=rules)
    desk = Desk(database, ExecutionPolicy(side="long-short"), listing)
    desk.signal("down", Action.SELL, at_us=1)
    desk.trader.work(1)
    desk.show(book("100", "99.002", instrument=PERP), 2)
    desk.signal("up", Action.BUY, at_us=2)
    desk.trader.work(3)
    assert desk.held() == Decimal("-0.5")
    desk.show(book("100", "1000", instrument=PERP), 4)
    desk.signal("late", Action.SELL, at_us=4)
    desk.trader.work(4 + 2 * DAY)
    desk.signal("down again", Action.SELL, at_us=5 + 2 * DAY)
    desk.trader.work(6 + 2 * DAY)
    assert desk.store.outcomes()["late"] is TargetOutcome.TOO_OLD
    assert desk.held() < -99


def test_amounts_of_more_digits_than_decimal_keeps_are_stored_and_added_exactly(database: Database) -> None:
    tiny = Instrument("binance", "TINYUSDT", price_decimals=10, size_decimals=10)
    listing = Listing.of(tiny)
    desk = Desk(
        database,
        ExecutionPolicy(margin_bps=Decimal(100)),
        listing,
        cash="99999999999999.123456789",
        taker_bps="7.77",
    )
    desk.show(PlainBook([("1234567.0123456789", "90000000")], [("1234567.1123456789", "90000000")], tiny))
    for name, action, at_us in (("up", Action.BUY, 1), ("down", Action.SELL, 2)):
        desk.signal(name, action, "1234567.1", at_us)
        desk.trader.work(3)
    bought, sold = desk.store.fills()
    assert len(bought.value.as_tuple().digits) > 28
    unit = 10**40
    moved = [units(fill.value, 40) * -fill.side - units(fill.fee, 40) for fill in (bought, sold)]
    assert units(desk.store.cash(), 40) == 99999999999999123456789 * unit // 10**9 + sum(moved)
    assert desk.store.cash() == desk.exchange.exchange.balances().cash
    assert bought.quantity == sold.quantity
    desk.another().start(4)


# Fates that are not known


def test_an_order_whose_answer_is_lost_is_looked_up_and_never_sent_again(desk: Desk) -> None:
    desk.signal("up", Action.BUY)
    desk.exchange.trouble = ["unheard"]
    desk.trader.work(1)
    assert desk.states() == ["unknown"]
    desk.trader.work(100 * SECOND)
    assert desk.history() == ["created", "sent", "unknown", "filled"]
    assert len(desk.exchange.submitted) == 1


def test_an_order_that_never_arrived_is_sent_again_after_the_wait_under_the_same_id(desk: Desk) -> None:
    desk.signal("up", Action.BUY)
    desk.exchange.trouble = ["lost"]
    desk.trader.work(1)
    desk.trader.work(10 * SECOND)
    assert desk.states() == ["unknown"]
    assert len(desk.exchange.submitted) == 1
    desk.trader.work(10 * SECOND + 1)
    assert desk.history() == ["created", "sent", "unknown", "sent", "filled"]
    first, second = desk.exchange.submitted
    assert first == second


def test_an_exchange_that_cannot_be_asked_is_asked_again_and_nothing_is_sent_meanwhile(desk: Desk) -> None:
    desk.signal("up", Action.BUY)
    desk.exchange.trouble = ["unheard", "lost", "lost", "unheard"]
    for second in range(1, 5):
        desk.trader.work(second * 20 * SECOND)
        assert desk.states() == ["unknown"]
    desk.trader.work(200 * SECOND)
    assert desk.states() == ["filled"]
    assert len(desk.exchange.submitted) == 1


def test_an_order_that_could_not_be_sent_in_its_time_opens_no_position(desk: Desk) -> None:
    desk.signal("up", Action.BUY)
    desk.exchange.trouble = ["lost"]
    desk.trader.work(1)
    desk.trader.work(2 * DAY)
    (order,) = desk.store.orders()
    assert (order.state, order.progress.reason) == (OrderState.CANCELLED, "too late to open a position")
    assert desk.held() == 0


def test_an_order_that_closes_is_sent_however_late(desk: Desk) -> None:
    desk.signal("up", Action.BUY)
    desk.trader.work(1)
    desk.signal("down", Action.SELL, at_us=2)
    desk.exchange.trouble = ["lost"]
    desk.trader.work(3)
    desk.trader.work(2 * DAY)
    assert desk.held() == 0


def test_signals_wait_while_the_fate_of_an_order_is_not_known(desk: Desk) -> None:
    desk.signal("up", Action.BUY)
    desk.exchange.trouble = ["lost", "lost"]
    desk.trader.work(1)
    desk.signal("down", Action.SELL, at_us=2)
    desk.trader.work(3)
    assert desk.store.outcomes() == {"up": TargetOutcome.ORDERED, "down": None}
    assert desk.trader.busy
    desk.trader.work(20 * SECOND)
    desk.trader.work(21 * SECOND)
    assert desk.store.outcomes() == {"up": TargetOutcome.ORDERED, "down": TargetOutcome.ORDERED}
    assert desk.held() == 0


def test_a_report_that_is_older_than_what_is_known_says_nothing(database: Database) -> None:
    desk = Desk(database, latency_us=100)
    desk.show(PlainBook([("99", "1")], [("100", "50"), ("100.1", "1")]))
    desk.signal("up", Action.BUY)
    desk.trader.work(1)
    early = desk.exchange.exchange.order(desk.store.orders()[0].client_id)
    assert early is not None
    desk.show(PlainBook([("99", "1")], [("100", "50"), ("100.1", "1")]), 200)
    desk.trader.work(2)
    assert desk.states() == ["expired"]
    ordered = desk.store.orders()[0]
    assert early.progress == OrderStatus(OrderState.ACCEPTED)
    assert desk.trader._learn(ordered, early, 3) == ordered


def test_a_report_that_does_not_add_up_is_not_taken(desk: Desk) -> None:
    desk.signal("up", Action.BUY)
    desk.exchange.trouble = ["unheard"]
    desk.trader.work(1)
    (order,) = desk.store.orders()
    report = desk.exchange.exchange.order(order.client_id)
    assert report is not None
    desk.exchange.told[order.client_id] = replace(report, fills=())
    with pytest.raises(OrderError, match="does not add up"):
        desk.trader.work(2)
    assert desk.states() == ["unknown"]
    other = replace(report, ticket=replace(report.ticket, quantity=report.ticket.quantity * 2))
    desk.exchange.told[order.client_id] = other
    with pytest.raises(UnexplainedDifference, match=r"has it as BUY 199.004 BTCUSDT"):
        desk.trader.work(3)
    with pytest.raises(OrderError, match="has not been started"):
        desk.trader.work(4)


def test_an_accepted_order_that_the_exchange_forgets_ends_trading_until_a_person_says_so(
    database: Database,
) -> None:
    desk = Desk(database, latency_us=100)
    desk.signal("up", Action.BUY)
    desk.trader.work(1)
    (order,) = desk.store.orders()
    desk.exchange.told[order.client_id] = None
    with pytest.raises(
        UnexplainedDifference, match="stored as ACCEPTED, but binance does not know it any more"
    ):
        desk.trader.work(2)
    desk.exchange.exchange.cancel(order.client_id)
    desk.exchange.exchange.time_passed(200)
    again = desk.another()
    with pytest.raises(UnexplainedDifference, match="accept_differences"):
        again.start(3)
    again.start(4, accept_differences=True)
    assert desk.states() == ["cancelled"]
    assert again.work(5) == []


def test_a_signal_of_a_crossing_is_an_instruction_at_its_exact_price() -> None:
    signal = Signal("BTC", 7, Action.BUY, 100.1, "sma-50-200", "id")
    assert Instruction.of(signal) == Instruction("id", "sma-50-200", "BTC", Action.BUY, Decimal("100.1"), 7)
    assert str(Instruction.of(signal, Decimal("100.10")).price) == "100.10"


@pytest.mark.parametrize("step", range(1, 16))
def test_a_database_that_fails_at_any_step_delays_and_doubles_nothing(database: Database, step: int) -> None:
    def failing() -> None:
        raise StoreUnavailable("try again")

    desk = Desk(database)
    wire = Wire([step], failing)
    store = OrderStore(WiredDatabase(database, wire), "main")
    trader = Trader(store, desk.exchange, {"BTC": LISTING}, PLAN)
    failures = 0
    for act in (
        lambda: trader.start(1), lambda: trader.take(instruction("up", Action.BUY)), lambda: trader.work(2),
        lambda: trader.work(3), lambda: trader.work(30 * SECOND),
    ):  # fmt: skip
        while True:
            try:
                act()
                break
            except StoreUnavailable:
                failures += 1
    assert failures == 1
    assert desk.states() == ["filled"]
    assert desk.store.fills() == list(desk.exchange.exchange.fills())
    assert desk.held() == desk.store.positions()["BTCUSDT"].quantity


def test_two_traders_of_one_account_make_one_order(desk: Desk) -> None:
    second = desk.another()
    second.start(0)
    desk.signal("up", Action.BUY)
    second.take(instruction("up", Action.BUY))
    desk.exchange.trouble = ["unheard"]
    desk.trader.work(1)
    second.work(2)
    desk.trader.work(3)
    assert desk.states() == ["filled"]
    assert len(desk.exchange.submitted) == 1
    assert not desk.trader.busy


def test_a_step_that_somebody_else_has_taken_is_not_taken_again(desk: Desk) -> None:
    desk.signal("up", Action.BUY)
    desk.exchange.trouble = ["lost"]
    desk.trader.work(1)
    (order,) = desk.store.orders()
    cancelled = order.turn(OrderState.CANCELLED, 2, "by hand")
    assert desk.store.save(order, cancelled)
    assert not desk.store.save(order, order.turn(OrderState.SENT, 3))
    assert desk.store.orders() == [cancelled]
    assert desk.history() == ["created", "sent", "unknown", "cancelled"]


# What start-up compares


def test_orders_that_moved_on_while_nobody_looked_are_explained(database: Database) -> None:
    desk = Desk(database, latency_us=100)
    desk.signal("up", Action.BUY)
    desk.trader.work(1)
    desk.show(book("100", "1000"), 200)
    again = desk.another()
    started = again.start(3)
    assert [order.state for order in started.changed] == [OrderState.FILLED]
    assert desk.states() == ["filled"]
    assert not started.accepted


def test_an_exchange_that_does_not_answer_at_the_start_is_tried_again(desk: Desk) -> None:
    again = desk.another()
    desk.exchange.trouble = ["lost"]
    with pytest.raises(ExchangeUnreachable):
        again.start(1)
    again.start(2)
    assert again.work(3) == []


def test_a_position_that_no_stored_order_explains_stops_trading_and_is_named(desk: Desk) -> None:
    desk.signal("up", Action.BUY)
    desk.trader.work(1)
    desk.exchange.exchange.submit(market("byhand", Side.SELL, "9.5"))
    again = desk.another()
    with pytest.raises(UnexplainedDifference) as refused:
        again.start(2)
    said = str(refused.value)
    assert "position in BTCUSDT: 90.002 at the exchange, 99.502 by the stored fills" in said
    assert "not stored: fill 2 (SELL 9.5 at 99.99, order byhand)" in said
    assert "cash:" in said
    assert "accept_differences" in said
    with pytest.raises(OrderError, match="has not been started"):
        again.work(3)


def test_differences_that_are_accepted_are_noted_and_traded_from(desk: Desk) -> None:
    desk.signal("up", Action.BUY)
    desk.trader.work(1)
    desk.exchange.exchange.submit(market("byhand", Side.SELL, "9.5"))
    again = desk.another()
    assert len(again.start(2, accept_differences=True).accepted) == 2
    assert desk.another().start(3).accepted == ()
    again.take(instruction("down", Action.SELL, at_us=3))
    again.work(4)
    assert desk.held() == 0
    assert desk.store.cash() == desk.exchange.exchange.balances().cash


def test_foreign_trades_that_leave_no_trace_in_the_figures_are_seen(database: Database) -> None:
    desk = Desk(database, taker_bps="0", maker_bps="0")
    desk.show(PlainBook([("100", "5")], [("100", "5")]))
    for name, side in (("x", Side.BUY), ("y", Side.SELL)):
        desk.exchange.exchange.submit(market(name, side, "1"))
    with pytest.raises(UnexplainedDifference, match=r"not stored: fill 1 .* fill 2"):
        desk.another().start(2)


def test_a_foreign_order_that_is_open_must_be_cancelled_at_the_exchange(desk: Desk) -> None:
    desk.exchange.exchange.submit(limit("byhand", Side.BUY, "1", "90"))
    for accept in (False, True):
        with pytest.raises(
            UnexplainedDifference, match=r"order byhand .BUY 1 BTCUSDT at 90. is open"
        ) as refused:
            desk.another().start(2, accept_differences=accept)
        assert "cancel the orders" in str(refused.value)
    desk.exchange.exchange.cancel("byhand")
    desk.another().start(3)


def test_an_account_that_holds_something_before_its_first_order_is_asked_about(database: Database) -> None:
    exchange = paper(database)
    exchange.book_changed(book(), 1)
    exchange.submit(market("before", Side.BUY, "2"))
    trader = Trader(OrderStore(database, "main"), exchange, {"BTC": LISTING}, PLAN)
    with pytest.raises(UnexplainedDifference, match="position in BTCUSDT: 2 at the exchange, 0 by"):
        trader.start(1)
    trader.start(2, accept_differences=True)
    trader.take(instruction("down", Action.SELL))
    trader.work(3)
    assert exchange.balances().positions == {}


def test_a_history_that_was_tampered_with_is_found(desk: Desk) -> None:
    desk.signal("up", Action.BUY)
    desk.trader.work(1)
    with desk.database.writing() as connection:
        connection.execute(delete(ORDER_EVENTS).where(ORDER_EVENTS.c.number == 2))
    with pytest.raises(ImpossibleTransition, match=r"cannot go|out of place"):
        desk.history()
