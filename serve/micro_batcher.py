"""Single signals joined into submissions: what arrives while a submission is under way joins the next one.

So a call to an actor, and the sync of its journal, are shared by everyone who waits, and nobody waits for a
timer. Each caller gets its own receipt or its own error; one late signal disturbs no other.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable
from dataclasses import dataclass
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


class _Receipts:
    """The receipts of a submission; made together, by the first caller that asks for its own.

    By then the next submission is on its way.
    """

    def __init__(self, batch: SignalBatch, submission: Submission) -> None:
        self._batch = batch
        self._submission = submission
        self._made: list[dict[str, Any] | None] | None = None

    def at(self, index: int) -> dict[str, Any]:
        """The receipt of a row; raises the error that it met."""
        refused = self._submission.errors.get(index)
        if refused is not None:
            raise refused
        if self._made is None:
            self._made = receipts(self._batch, self._submission)
        receipt = self._made[index]
        assert receipt is not None
        return receipt


@dataclass(frozen=True, slots=True)
class PendingReceipt:
    """A signal that waits: answered with the receipts of its submission, and its row there."""

    signal: Signal
    accept_price_jump: bool
    answer: "asyncio.Future[tuple[_Receipts, int]]"


class MicroBatcher:
    """Posts to the portfolios, joined by portfolio in the order of arrival; for one event loop.

    Args:
        submit: what takes a submission; one of each portfolio is under way at a time.
        max_rows: signals of one submission.
    """

    def __init__(self, submit: Submit, *, max_rows: int = MAX_ROWS) -> None:
        self._submit = submit
        self._max_rows = max_rows
        self._waiting: dict[str, deque[PendingReceipt]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def post(self, portfolio: str, signal: Signal, *, accept_price_jump: bool) -> dict[str, Any]:
        """The receipt of one signal, once it is durable; raises the error that it met, and only it.

        A caller who stops waiting takes nothing back: the signal is taken in all the same.
        """
        loop = asyncio.get_running_loop()
        pending = PendingReceipt(signal, accept_price_jump, loop.create_future())
        if portfolio in self._waiting:
            self._waiting[portfolio].append(pending)
        else:
            self._waiting[portfolio] = deque([pending])
            # The loop keeps only a weak reference to a task.
            task = loop.create_task(self._drain(portfolio))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        made, index = await pending.answer
        return made.at(index)

    async def _drain(self, portfolio: str) -> None:
        waiting = self._waiting[portfolio]
        try:
            while waiting:
                await self._send(portfolio, _next(waiting, self._max_rows))
        finally:
            del self._waiting[portfolio]

    async def _send(self, portfolio: str, sent: list[PendingReceipt]) -> None:
        try:
            batch = SignalBatch.of_signals([pending.signal for pending in sent]).in_time()
            submission = await self._submit(
                portfolio, batch.encode(), all_or_nothing=False, accept_price_jump=sent[0].accept_price_jump,
                receipts=True,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001 - everyone who waits raises it
            for pending in sent:
                if not pending.answer.done():
                    pending.answer.set_exception(error)
            return
        made = _Receipts(batch, submission)
        for index, arrived in enumerate(batch.row.tolist()):
            answer = sent[arrived].answer
            if not answer.done():
                answer.set_result((made, index))


def _next(waiting: deque[PendingReceipt], max_rows: int) -> list[PendingReceipt]:
    # Whether jumps are accepted is said of a whole submission, so a change of mind begins the next one.
    accept = waiting[0].accept_price_jump
    chosen: list[PendingReceipt] = []
    while waiting and len(chosen) < max_rows and waiting[0].accept_price_jump == accept:
        chosen.append(waiting.popleft())
    return chosen
