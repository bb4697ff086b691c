"""Single signals gathered into submissions: what arrives while a submission is in flight joins the next one.

So a call to an actor, and the sync of its journal, are shared by everyone who waits, and nobody waits for a
timer. Each waiter gets its own receipt or its own error; one late signal disturbs no other.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, Protocol

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.signals import Signal
from raysignal.engine.portfolio.receipts import Submission, receipts

MAX_ROWS = 512


class Submit(Protocol):
    """`PortfolioClient.submit`: durable when it returns; raises `RaysignalError`."""

    def __call__(
        self, portfolio: str, encoded: bytes, *, all_or_nothing: bool, accept_price_jump: bool, receipts: bool
    ) -> Awaitable[Submission]: ...


class _Answers:
    """The receipts of a submission that was taken; made together, by the first waiter that asks for its own."""

    __slots__ = ("_batch", "_receipts", "submission")

    def __init__(self, batch: SignalBatch, submission: Submission) -> None:
        self._batch = batch
        self.submission = submission
        self._receipts: list[dict[str, Any] | None] | None = None

    def receipt(self, index: int) -> dict[str, Any]:
        """The receipt of a row, or the error that it met."""
        refused = self.submission.errors.get(index)
        if refused is not None:
            raise refused
        if self._receipts is None:
            self._receipts = receipts(self._batch, self.submission)
        made = self._receipts[index]
        assert made is not None
        return made


@dataclass(frozen=True, slots=True)
class PendingReceipt:
    """Where a signal came to lie: row `index` of a submission that was taken."""

    answers: _Answers
    index: int

    def receipt(self) -> dict[str, Any]:
        """Its receipt; raises the error that it met."""
        return self.answers.receipt(self.index)


@dataclass(frozen=True, slots=True)
class _Waiter:
    signal: Signal
    accept_price_jump: bool
    place: "asyncio.Future[PendingReceipt]"


@dataclass(slots=True)
class _Lane:
    waiting: deque[_Waiter] = field(default_factory=deque)
    in_flight: int = 0


class MicroBatcher:
    """Posts to the portfolios, joined by portfolio in the order of arrival; for one event loop.

    Args:
        submit: what takes a submission.
        in_flight: submissions of one portfolio that may be under way at once.
        max_rows: signals of one submission.
    """

    def __init__(self, submit: Submit, *, in_flight: int = 1, max_rows: int = MAX_ROWS) -> None:
        self._submit = submit
        self._in_flight = in_flight
        self._max_rows = max_rows
        self._lanes: dict[str, _Lane] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def post(self, portfolio: str, signal: Signal, *, accept_price_jump: bool) -> dict[str, Any]:
        """The receipt of one signal, once it is durable; raises the error that it met, and only it.

        A caller who stops waiting takes nothing back: the signal is taken in all the same.
        """
        place = await self.enter(portfolio, signal, accept_price_jump=accept_price_jump)
        return place.receipt()

    def enter(
        self, portfolio: str, signal: Signal, *, accept_price_jump: bool
    ) -> "asyncio.Future[PendingReceipt]":
        """The place of one signal, once it is durable; its receipt is made when it is asked for.

        Receipts are made together by the first who asks, so that the next submission is on its way before.
        """
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(portfolio)
        if lane is None:
            lane = self._lanes[portfolio] = _Lane()
        place: asyncio.Future[PendingReceipt] = loop.create_future()
        lane.waiting.append(_Waiter(signal, accept_price_jump, place))
        if lane.in_flight < self._in_flight:
            lane.in_flight += 1
            # The loop keeps only a weak reference to a task.
            task = loop.create_task(self._drain(portfolio, lane))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        return place

    async def _drain(self, portfolio: str, lane: _Lane) -> None:
        try:
            while lane.waiting:
                await self._send(portfolio, _next(lane.waiting, self._max_rows))
        finally:
            lane.in_flight -= 1
            if not lane.waiting and not lane.in_flight:
                self._lanes.pop(portfolio, None)

    async def _send(self, portfolio: str, waiters: list[_Waiter]) -> None:
        try:
            batch = SignalBatch.of_signals([waiter.signal for waiter in waiters]).in_time()
            submission = await self._submit(
                portfolio, batch.encode(), all_or_nothing=False,
                accept_price_jump=waiters[0].accept_price_jump, receipts=True,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - every waiter raises it
            for waiter in waiters:
                if not waiter.place.done():
                    waiter.place.set_exception(error)
            return
        answers = _Answers(batch, submission)
        for index, arrived in enumerate(batch.row.tolist()):
            place = waiters[arrived].place
            if not place.done():
                place.set_result(PendingReceipt(answers, index))


def _next(waiting: deque[_Waiter], max_rows: int) -> list[_Waiter]:
    # Whether jumps are accepted is said of a whole submission, so a change of mind begins the next one.
    accept = waiting[0].accept_price_jump
    chosen: list[_Waiter] = []
    while waiting and len(chosen) < max_rows and waiting[0].accept_price_jump == accept:
        chosen.append(waiting.popleft())
    return chosen
