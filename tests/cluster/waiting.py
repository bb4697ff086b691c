"""Waiting for a condition, with a deadline."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable

DEADLINE_S = 120.0
_PAUSE_S = 0.05


async def until(condition: Callable[[], bool], what: str, *, deadline_s: float = DEADLINE_S) -> None:
    """Return once the condition holds; `AssertionError` with `what` when it has not held for too long."""

    async def asked() -> bool:
        return condition()

    await until_async(asked, what, deadline_s=deadline_s)


async def until_async(
    condition: Callable[[], Awaitable[bool]], what: str, *, deadline_s: float = DEADLINE_S
) -> None:
    """As `until`, of a condition that is awaited."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + deadline_s
    while not await condition():
        assert loop.time() < deadline, f"not within {deadline_s:g} s: {what}"
        await asyncio.sleep(_PAUSE_S)


def wait_for(condition: Callable[[], bool], what: str, *, deadline_s: float = DEADLINE_S) -> None:
    """The same without a loop."""
    deadline, pause = time.monotonic() + deadline_s, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {deadline_s:g} s: {what}"
        pause.wait(_PAUSE_S)
