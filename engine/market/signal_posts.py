"""The way of a crossover's signal into a portfolio: like any other signal, under its own identity."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NotInTime
from typing import Any, TypeVar

import numpy as np

from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.core.errors import StoreUnavailable
from raysignal.engine.core.signals import Signal

PATIENCE_S = 45.0

T = TypeVar("T")

Submit = Callable[[bytes], Awaitable[object]]
"""Takes an encoded batch into the portfolio; raises what `runtime.portfolio_actors.PortfolioClient.submit` does."""


def batch_of(signal: Signal) -> SignalBatch:
    """One signal, whose features are all numbers, as a batch."""
    zero = np.zeros(1, np.int32)
    return SignalBatch.of(
        timestamp_us=np.array([signal.timestamp_us], np.int64),
        action=np.array([int(signal.action)], np.int8),
        price=np.array([signal.price]),
        symbol=zero,
        symbols=(signal.symbol,),
        source=zero,
        sources=(signal.source,),
        signal_id=TextColumn.of([signal.signal_id]),
        numbers={name: np.array([float(value)]) for name, value in signal.features.items()},
    )


def post_from_thread(signal: Signal, submit: Submit, loop: asyncio.AbstractEventLoop) -> str:
    """Post a signal from a thread that is not the loop's; the id of its receipt, which is the signal's.

    Raises:
        StoreUnavailable: it is not known whether it was taken; the same again is right.
        RaysignalError: it is refused for good.
    """

    async def posted() -> object:
        return await submit(batch_of(signal).encode())

    answer_from_thread(posted, loop)
    return signal.signal_id


def answer_from_thread(ask: Callable[[], Coroutine[Any, Any, T]], loop: asyncio.AbstractEventLoop) -> T:
    """What a portfolio answers, asked in the loop from a thread that is not the loop's.

    Raises:
        StoreUnavailable: it does not answer; the same again is right.
        Exception: what `ask` raises.
    """
    future = asyncio.run_coroutine_threadsafe(ask(), loop)
    try:
        return future.result(PATIENCE_S)
    except (NotInTime, CancelledError) as error:
        future.cancel()
        raise StoreUnavailable(f"the portfolio did not answer within {PATIENCE_S:g} s") from error
