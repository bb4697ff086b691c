"""A signal file sent to a portfolio: in order, one by one or in batches, at once or in scaled time.

A portfolio takes its signals in time order, so one request of a portfolio is under way at a time; the next
batch is read and encoded meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.instants import MICROSECONDS
from raysignal.engine.intake.checked_file import ERRORS_KEPT, CheckedSignalFile
from raysignal.runtime.portfolio_gateway import PortfolioGateway, SendResult


@dataclass(slots=True)
class ReplayPace:
    """When a signal's turn comes: at once, or when as much time has passed as between the signals.

    Attributes:
        speed: how many seconds of the file pass in one of the clock; None: do not wait.
        clock: seconds, monotonic.
        sleep: waits that many seconds.
    """

    speed: float | None
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[Any]]
    _origin: tuple[float, int] | None = None

    async def turn_of(self, instant_us: int) -> None:
        """Wait until the signal of that instant is due; the first is due at once."""
        if self.speed is None:
            return
        if self._origin is None:
            self._origin = (self.clock(), instant_us)
        began, first_us = self._origin
        ahead = (instant_us - first_us) / MICROSECONDS / self.speed - (self.clock() - began)
        if ahead > 0.0:
            await self.sleep(ahead)


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """How a file is replayed.

    Attributes:
        portfolio: into which.
        one_by_one: so many of the first signals are sent a request each, the others in batches.
        batch_rows: rows of a batch.
        skip: leave out what cannot be used; else the first refusal ends the replay.
        accept_price_jump: believe every price.
    """

    portfolio: str
    one_by_one: int
    batch_rows: int
    skip: bool
    accept_price_jump: bool


@dataclass(slots=True)
class ReplayCounts:
    """What has become of the file so far.

    Attributes:
        rows: of the file.
        accepted, replayed, refused: rows.
        errors: the first of the refused ones.
        complete: nothing was left unsent because of a refusal.
        seconds: that the sending took.
    """

    rows: int
    accepted: int = 0
    replayed: int = 0
    refused: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    complete: bool = True
    seconds: float = 0.0

    def add(self, sent: SendResult) -> None:
        """Count what became of a request."""
        self.accepted += sent.accepted
        self.replayed += sent.replayed
        self.refused += sent.refused
        self.errors += sent.errors[: ERRORS_KEPT - len(self.errors)]

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        taken = self.accepted + self.replayed
        return {
            "rows": self.rows,
            "accepted": self.accepted,
            "replayed": self.replayed,
            "refused": self.refused,
            "unsent": self.rows - taken - self.refused,
            "complete": self.complete,
            "seconds": round(self.seconds, 3),
            "signals_per_second": round(taken / self.seconds) if self.seconds > 0.0 else None,
            "errors": self.errors,
        }


async def replay_file(
    file: CheckedSignalFile,
    gateway: PortfolioGateway,
    options: ReplayOptions,
    pace: ReplayPace,
    *,
    advanced: Callable[[int], None],
) -> ReplayCounts:
    """Send the file's signals, and count what became of them.

    Without `options.skip`, a file with a row that cannot be read is not sent at all, and the first refusal ends
    the replay: what was taken in before it stays.

    Args:
        file: see `CheckedSignalFile.survey`.
        gateway: the way to the portfolios.
        options: how.
        pace: when.
        advanced: told how many rows are done, as they are.
    """
    counts = ReplayCounts(file.rows, refused=file.refused, errors=list(file.errors))
    if file.refused and not options.skip:
        counts.complete = False
        return counts
    began = pace.clock()
    for send in (_one_by_one, _in_batches):
        counts.complete = counts.complete and await send(file, gateway, options, pace, counts, advanced)
    counts.seconds = pace.clock() - began
    return counts


async def _one_by_one(
    file: CheckedSignalFile,
    gateway: PortfolioGateway,
    options: ReplayOptions,
    pace: ReplayPace,
    counts: ReplayCounts,
    advanced: Callable[[int], None],
) -> bool:
    left = options.one_by_one
    for intake in file.pieces() if left else ():
        for index in range(min(left, len(intake.batch))):
            await pace.turn_of(int(intake.batch.timestamp_us[index]))
            sent = await gateway.send_one(
                options.portfolio, intake.batch, index, accept_price_jump=options.accept_price_jump
            )
            counts.add(sent)
            advanced(1)
            if sent.refused and not options.skip:
                return False
        left -= min(left, len(intake.batch))
        if not left:
            break
    return True


async def _in_batches(
    file: CheckedSignalFile,
    gateway: PortfolioGateway,
    options: ReplayOptions,
    pace: ReplayPace,
    counts: ReplayCounts,
    advanced: Callable[[int], None],
) -> bool:
    batches = _batches(file, options)
    batch = await asyncio.to_thread(next, batches, None)
    while batch is not None:
        await pace.turn_of(int(batch.timestamp_us[0]))
        sending = asyncio.create_task(
            gateway.send_batch(
                options.portfolio, batch, skip=options.skip, accept_price_jump=options.accept_price_jump
            )
        )
        following, sent = await asyncio.gather(asyncio.to_thread(next, batches, None), sending)
        counts.add(sent)
        advanced(len(batch))
        if sent.refused and not options.skip:
            return False
        batch = following
    return True


def _batches(file: CheckedSignalFile, options: ReplayOptions) -> Iterator[SignalBatch]:
    passed = options.one_by_one
    for intake in file.pieces():
        for first in range(min(passed, len(intake.batch)), len(intake.batch), options.batch_rows):
            yield intake.batch.take(np.arange(first, min(first + options.batch_rows, len(intake.batch))))
        passed -= min(passed, len(intake.batch))
