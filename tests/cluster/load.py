"""Clients that send signals one after another and do not give up, and what must be true of the journal then."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import Fenced, StoreUnavailable
from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.journal.journal import Journal, JournalStore
from raysignal.engine.portfolio.receipts import receipt
from raysignal.engine.portfolio.records import IntakeRecord, read_record
from raysignal.runtime.portfolio_actors import PortfolioClient
from tests.cluster.waiting import until
from tests.support.reference import ReferenceLedger

START_US = 1_740_355_200_000_000
MINUTE_US = 60_000_000

Send = Callable[[Signal], Coroutine[Any, Any, dict[str, Any]]]


class NotNowError(Exception):
    """Not acknowledged; the same signal may be sent again."""


@dataclass(slots=True)
class Load:
    """What the clients have been told so far.

    Attributes:
        receipts: of the acknowledged signals, by id, as they came.
        sent: the signals themselves.
        failed: requests that were not acknowledged and sent again.
    """

    receipts: dict[str, dict[str, Any]] = field(default_factory=dict)
    sent: dict[str, Signal] = field(default_factory=dict)
    failed: int = 0
    stopping: bool = False
    clients: list["asyncio.Task[None]"] = field(default_factory=list)

    async def more(self, count: int) -> None:
        """Wait until so many more signals are acknowledged; raise what a client met."""
        goal = len(self.receipts) + count
        await until(
            lambda: len(self.receipts) >= goal or any(client.done() for client in self.clients),
            f"{goal} acknowledged signals; there are {len(self.receipts)}",
        )
        for client in self.clients:
            if client.done():
                client.result()

    async def client(self, number: int, send: Send) -> None:
        minute = 0
        while not self.stopping:
            minute += 1
            signal = a_signal(f"S{number}", minute)
            self.sent[signal.signal_id] = signal
            while True:
                try:
                    self.receipts[signal.signal_id] = await send(signal)
                except NotNowError:
                    self.failed += 1
                    await asyncio.sleep(0.05)
                else:
                    break


def a_signal(symbol: str, minute: int) -> Signal:
    """A signal of a symbol, with an identity of its own."""
    return Signal(
        symbol=symbol,
        timestamp_us=START_US + minute * MINUTE_US,
        action=Action((minute * 7 + len(symbol)) % 3 - 1),
        price=100.0 + minute * 37 % 41,
        signal_id=f"{symbol}-{minute}",
    )


@asynccontextmanager
async def load(send: Send, *, clients: int = 8) -> AsyncIterator[Load]:
    """Clients under way; at the end each finishes the signal that it is about."""
    running = Load()
    running.clients = [asyncio.create_task(running.client(number, send)) for number in range(clients)]
    try:
        yield running
        running.stopping = True
        await asyncio.wait_for(asyncio.gather(*running.clients), 60.0)
    finally:
        for client in running.clients:
            client.cancel()
        await asyncio.gather(*running.clients, return_exceptions=True)


def through_desk(desk: PortfolioClient, portfolio: str) -> Send:
    """Sends to the actors themselves."""

    async def send(signal: Signal) -> dict[str, Any]:
        batch = SignalBatch.of_signals([signal])
        try:
            submission = await desk.submit(
                portfolio, batch.encode(), all_or_nothing=True, accept_price_jump=False, receipts=True
            )
        except (StoreUnavailable, Fenced) as error:
            raise NotNowError from error
        return receipt(batch, submission, 0)

    return send


def through_http(client: httpx.AsyncClient, portfolio: str) -> Send:
    """Posts to a service."""

    async def send(signal: Signal) -> dict[str, Any]:
        body = {
            "symbol": signal.symbol,
            "timestamp": format_instant(signal.timestamp_us),
            "signal": int(signal.action),
            "price": signal.price,
            "signal_id": signal.signal_id,
        }
        try:
            answer = await client.post("/signal", json=body, params={"portfolio": portfolio})
        except httpx.TransportError as error:
            raise NotNowError from error
        # 503 says so itself; the others are the proxy's when the replica behind it is gone.
        if answer.status_code in {502, 503, 504}:
            raise NotNowError
        assert answer.status_code == 200, answer.text
        body = answer.json()
        return dict(body)

    return send


def journalled(store: JournalStore, portfolio: str) -> list[Signal]:
    """Every signal of a portfolio in its journal, in order."""
    signals = []
    for record in Journal.read(store):
        content = read_record(record.payload)
        if isinstance(content, IntakeRecord) and content.portfolio == portfolio:
            batch = SignalBatch.decode(content.encoded)
            signals += [batch.signal(index) for index in range(len(batch))]
    return signals


def check_exactly_once(store: JournalStore, portfolio: str, done: Load) -> ReferenceLedger:
    """What was acknowledged is in the journal, once, and nothing else; receipts tell what a replay finds."""
    signals = journalled(store, portfolio)
    ids = [signal.signal_id for signal in signals]
    assert len(ids) == len(set(ids)), "a signal is in the journal twice"
    assert set(ids) == set(done.receipts), "the journal holds other signals than were acknowledged"
    assert [done.sent[name] for name in ids] == signals
    ledger = ReferenceLedger(Policy())
    symbols: dict[str, int] = {}
    for ordinal, signal in enumerate(signals):
        row = ledger.take(
            signal.timestamp_us,
            symbols.setdefault(signal.symbol, len(symbols)),
            int(signal.action),
            signal.price,
        )
        told = done.receipts[signal.signal_id]
        assert told["ordinal"] == ordinal
        assert told["performance"]["equity"] == pytest.approx(row["equity"], rel=1e-12)
    return ledger


async def check_same_receipts(send: Send, done: Load) -> None:
    """Every acknowledged signal, sent again, gets the receipt that it got, marked as a replay."""
    at_once = asyncio.Semaphore(64)

    async def check(name: str, told: dict[str, Any]) -> None:
        async with at_once:
            assert await send(done.sent[name]) == told | {"replayed": True}

    await asyncio.gather(*(check(name, told) for name, told in done.receipts.items()))
