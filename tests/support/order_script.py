"""A short life of a trader and its exchange that can be killed between any two steps, and goes on from the database.

A step is what can be lost: before a write to the database, with all of it written and nothing committed, after the
commit; before a call to the exchange and after it. `python -m tests.support.order_script ADDRESS LIFE FOLDER STRIDE`
lives it in processes that end themselves by SIGKILL, one for every so many steps.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, select

from raysignal.engine.core.errors import ExchangeUnreachable
from raysignal.engine.core.orders import OrderRequest, OrderState, OrderType, Side
from raysignal.engine.core.signals import Action
from raysignal.engine.database.database import Database, open_database
from raysignal.engine.execution.exchange import Balances, Exchange, Fill, OrderReport
from raysignal.engine.execution.paper import PaperExchange
from raysignal.engine.execution.policy import ExecutionPolicy, Instruction, TargetOutcome
from raysignal.engine.execution.store import OrderStore
from raysignal.engine.execution.tables import PAPER_ORDERS
from raysignal.engine.execution.trader import Trader
from tests.support.order_world import LISTING, SECOND, PlainBook, instruction, paper, trade

LATENCY_US = SECOND // 10


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


class Wire:
    """Counts the steps, and does what is to be done at some of them."""

    def __init__(self, deadly: Sequence[int] = (), kill: Callable[[], None] | None = None) -> None:
        self.steps = 0
        self._deadly = frozenset(deadly)
        self._kill = kill

    def step(self) -> None:
        self.steps += 1
        if self.steps in self._deadly:
            if self._kill is not None:
                self._kill()
            raise Killed


class WiredDatabase(Database):
    """A database whose user can be killed at every write."""

    def __init__(self, inner: Database, wire: Wire) -> None:
        self.kind, self.shown = inner.kind, inner.shown
        self._inner, self._wire = inner, wire

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        self._wire.step()
        with self._inner.writing() as connection:
            yield connection
            self._wire.step()
        self._wire.step()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._inner.reading() as connection:
            yield connection


class WiredExchange:
    """An exchange whose caller can be killed before and after every call.

    If it is the exchange that is killed, its caller hears nothing, and the next call finds it started anew.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self.venue = world.exchange.venue

    def submit(self, ticket: OrderRequest) -> OrderReport:
        return self._call(lambda exchange: exchange.submit(ticket))

    def cancel(self, client_id: str) -> OrderReport:
        return self._call(lambda exchange: exchange.cancel(client_id))

    def order(self, client_id: str) -> OrderReport | None:
        return self._call(lambda exchange: exchange.order(client_id))

    def open_orders(self) -> Sequence[OrderReport]:
        return self._call(lambda exchange: exchange.open_orders())

    def balances(self) -> Balances:
        return self._call(lambda exchange: exchange.balances())

    def fills(self, after: int = 0) -> Sequence[Fill]:
        return self._call(lambda exchange: exchange.fills(after))

    def _call(self, question: Callable[[Exchange], Any]) -> Any:
        self._world.trader_wire.step()
        try:
            answer = question(self._world.exchange)
        except Killed:
            if self._world.trader_wire is self._world.exchange_wire:
                raise
            self._world.deaths += 1
            self._world.start_exchange()
            raise ExchangeUnreachable("the exchange has died") from None
        self._world.trader_wire.step()
        return answer


@dataclass(frozen=True)
class Signalled:
    """A signal is made."""

    instruction: Instruction


@dataclass(frozen=True)
class Shown:
    """The book is this."""

    book: PlainBook


@dataclass(frozen=True)
class Traded:
    """Somebody trades."""

    price: str
    size: str
    side: Side


Happening = Signalled | Shown | Traded

_WIDE = Shown(PlainBook([("100.00", "3"), ("99.00", "500")], [("101.00", "2"), ("102.00", "500")]))

MARKET_SCRIPT: list[Happening] = [
    _WIDE,
    Signalled(instruction("up", Action.BUY, "102")), *[_WIDE] * 4,
    Signalled(instruction("down", Action.SELL, "100")), *[_WIDE] * 4,
]  # fmt: skip
"""Two market orders, of several fills each."""

LIMIT_SCRIPT: list[Happening] = [
    _WIDE,
    Signalled(instruction("up", Action.BUY, "100")), _WIDE, _WIDE, _WIDE,
    Traded("99.90", "5", Side.SELL), Traded("99.90", "3", Side.SELL),
    Signalled(instruction("down", Action.SELL, "105")), _WIDE, _WIDE, _WIDE, _WIDE,
    Traded("105.20", "2", Side.BUY), Traded("105.20", "500", Side.BUY), Traded("105.20", "500", Side.BUY),
]  # fmt: skip
"""Two limit orders that rest; the first is filled in part when the second signal comes, and is cancelled for it."""

MARKET_PLAN = ExecutionPolicy(resend_after_us=2 * SECOND)
LIMIT_PLAN = ExecutionPolicy(kind=OrderType.LIMIT, offset_bps=Decimal(-5), resend_after_us=2 * SECOND)


class World:
    """The trader and the exchange on one database; see the module.

    Args:
        trader_wire, exchange_wire: where each can be killed; the same wire kills both at once.
    """

    def __init__(
        self, database: Database, account: str, plan: ExecutionPolicy, trader_wire: Wire, exchange_wire: Wire
    ) -> None:
        self.account = account
        self.trader_wire, self.exchange_wire = trader_wire, exchange_wire
        self._database, self._plan = database, plan
        self.now_us = 0
        self.deaths = 0
        self.exchange: PaperExchange
        self.trader: Trader
        self.start_exchange()

    def start_exchange(self) -> None:
        while True:
            try:
                wired = WiredDatabase(self._database, self.exchange_wire)
                self.exchange = paper(wired, latency_us=LATENCY_US, account=self.account)
            except Killed:
                self.deaths += 1
            else:
                return

    def start_trader(self) -> None:
        store = OrderStore(WiredDatabase(self._database, self.trader_wire), self.account)
        self.trader = Trader(store, WiredExchange(self), {"BTC": LISTING}, self._plan)
        self.trader.start(self.now_us)

    def live(
        self, script: Sequence[Happening], first: int = 0, tell: Callable[[int], None] = lambda _: None
    ) -> None:
        """Everything that happens, from some event on; whoever is killed starts again and sees to it once more."""
        self._until_done(self.start_trader)
        for index, happening in enumerate(script[first:], first):
            tell(index)
            self.now_us = (index + 1) * SECOND
            self._happen(happening)
            self._until_done(self._work)
        for _ in range(4):
            self.now_us += SECOND
            self._happen(_WIDE)
            self._until_done(self._work)

    def _work(self) -> None:
        if self.trader.busy:
            self.trader.work(self.now_us)

    def _happen(self, happening: Happening) -> None:
        if isinstance(happening, Signalled):
            told = happening.instruction
            # A signal is one account's: each life has its own.
            known = replace(told, signal_id=f"{self.account}:{told.signal_id}", known_at_us=self.now_us)
            self._until_done(lambda: self.trader.take(known))
        elif isinstance(happening, Shown):
            self._market(lambda exchange: exchange.book_changed(happening.book, self.now_us))
        else:
            traded = trade(happening.price, happening.size, happening.side, at_us=self.now_us)
            self._market(lambda exchange: exchange.traded(traded, self.now_us))

    def _market(self, tell: Callable[[PaperExchange], None]) -> None:
        """The market speaks to the exchange; if that dies, it has heard or has not, and hears nothing twice."""
        try:
            tell(self.exchange)
        except Killed:
            self.deaths += 1
            self.start_exchange()

    def _until_done(self, act: Callable[[], object]) -> None:
        started = True
        while True:
            try:
                if not started:
                    self.start_trader()
                    started = True
                act()
            except Killed:
                self.deaths += 1
                started = False
                if self.trader_wire is self.exchange_wire:
                    self.start_exchange()
            except ExchangeUnreachable:
                continue
            else:
                return


def check(database: Database, account: str) -> list[tuple[str, OrderState, Decimal]]:
    """What has to hold whatever died where; gives what became of the orders, in the order of their signals."""
    store, exchange = OrderStore(database, account), paper(database, account=account)
    stored = store.orders()
    for order in stored:
        assert store.history(order.client_id)[-1] == order.last
        report = exchange.order(order.client_id)
        assert report is not None, f"{order} never reached the exchange"
        assert (report.ticket, report.progress) == (order.ticket, order.progress)
        assert order.state.final
    with database.reading() as connection:
        there = set(
            connection.execute(
                select(PAPER_ORDERS.c.client_id).where(PAPER_ORDERS.c.account == account)
            ).scalars()
        )
    assert there == {order.client_id for order in stored}
    assert len(there) == len({order.origin.signal_id for order in stored})
    assert store.fills() == list(exchange.fills())
    balances = exchange.balances()
    assert store.cash() == balances.cash
    held = {symbol: held.quantity for symbol, held in store.positions().items() if held.quantity}
    assert held == balances.positions
    assert set(store.outcomes().values()) == {TargetOutcome.ORDERED}
    return [
        (order.origin.signal_id.removeprefix(f"{account}:"), order.state, order.progress.filled)
        for order in stored
    ]


def _kill_oneself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


LIVES: dict[str, tuple[list[Happening], ExecutionPolicy]] = {
    "market": (MARKET_SCRIPT, MARKET_PLAN), "limit": (LIMIT_SCRIPT, LIMIT_PLAN),
}  # fmt: skip


def opened(address: str) -> Database:
    """A database that does not wait for the disk: a process that is killed leaves the system up."""
    database = open_database(address)
    if database.kind == "sqlite":
        event.listen(
            database._engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF")
        )
        database.close()
    return database


def main(address: str, life: str, folder: Path, stride: int) -> None:
    """At every so many steps a process that ends itself there, until one lives to the end; prints its step.

    Each has the account `<life>-<step>`; the file `<step>.at` says at which event it was.
    """
    opened(address).close()  # what it imports is imported once
    for step in count(1, stride):
        if os.fork():
            _, status = os.wait()
            code = os.waitstatus_to_exitcode(status)
            if code == 0:
                print(step)
                return
            assert code == -signal.SIGKILL
            continue
        script, plan = LIVES[life]
        database = opened(address)
        wire = Wire([step], _kill_oneself)
        told = folder / f"{step}.at"
        told.write_text("0")
        World(database, f"{life}-{step}", plan, wire, wire).live(
            script,
            tell=lambda index, told=told: told.write_text(str(index)),  # type: ignore[misc]
        )
        database.close()
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
