"""Who asks the language model of the settings, and how many calls it may make."""

import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from raysignal.agents.llm.adviser import Adviser
from raysignal.agents.llm.budget import Allowance, Budget, Gatekeeper, Period, RateLimiter, StateFile
from raysignal.agents.llm.cassette import Cassette
from raysignal.agents.llm.models import ChatModel, why_not_asked
from raysignal.engine.core.errors import RaysignalError
from raysignal.runtime.agent_settings import budget_file, model_of
from raysignal.runtime.settings import Settings

BURST = 8
"""Calls at once."""


async def adviser_of(
    settings: Settings, api_key: str | None, gate_of: Callable[[], Awaitable[Gatekeeper]]
) -> tuple[Adviser | None, str]:
    """Who asks the model; None, with the reason, if nobody can.

    Args:
        settings: of the model, and its deadline.
        api_key: of its provider, empty where it needs none; None: there is none.
        gate_of: makes what says how many calls may be made.
    """
    if (why := why_not_asked(model_of(settings), api_key)) is not None:
        return None, why
    try:
        model = ChatModel(model_of(settings), api_key)
        await model.warm()
        gate = await gate_of()
    except (ImportError, RaysignalError) as error:
        return None, str(error)
    return Adviser(model, Cassette.live(), gate, deadline_s=settings.llm.deadline_s, concurrency=BURST), ""


async def own_adviser(settings: Settings) -> tuple[Adviser | None, str]:
    """The same for a process without a cluster, with the key of its environment.

    The budget of the day is counted by this process, on disk where the store is a folder: others that use the store at
    the same time may make as many calls.
    """
    return await adviser_of(settings, model_of(settings).key_in(os.environ), partial(_allowance, settings))


async def _allowance(settings: Settings) -> Gatekeeper:
    llm, kept = settings.llm, budget_file(settings)
    return Allowance(
        Budget(llm.budget, Period.DAY),
        None if llm.per_minute is None else RateLimiter(llm.per_minute, BURST),
        now_us=lambda: time.time_ns() // 1000,
        now_s=time.monotonic,
        keep=None if kept is None else StateFile(Path(kept)),
    )
