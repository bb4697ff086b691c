"""Briefs, and advisers that ask a loopback model."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from raysignal.agents.llm.adviser import Adviser
from raysignal.agents.llm.budget import Allowance, Budget, RateLimiter
from raysignal.agents.llm.calls import ModelRequest
from raysignal.agents.llm.cassette import Cassette
from raysignal.agents.llm.models import ChatModel, ModelSettings
from raysignal.agents.llm.prompt_context import Precedent, PromptContext
from raysignal.agents.llm.prompting import load_prompt
from raysignal.agents.verdicts import Verdict

KEY = "a-key-for-tests"
# Holding is best on average: approve -4, flip -6, hold 0.
PRECEDENTS = (
    Precedent("sig-a", 1, False, (-12.0, 2.0, 0.0), 3_600.0, 0.2),
    Precedent("sig-b", 1, True, (8.0, -18.0, 0.0), 7_200.0, 0.4),
    Precedent("sig-c", -1, False, (-8.0, -2.0, 0.0), 86_400.0, 0.5),
)
BRIEF = PromptContext(
    signal_id="sig-now",
    symbol="BTCUSDT",
    timestamp_us=1_740_355_200_000_000,  # Monday, 2025-02-24T00:00:00Z
    action=1,
    price=96_123.5,
    numbers={"rsi": 71.25, "volume": 1_234.5},
    categories={"regime": "trending"},
    texts={"note": "breakout on the daily chart"},
    statistics={"p_right": 0.44, "n": 61.0},
    precedents=PRECEDENTS,
    allowed=(Verdict.APPROVE, Verdict.HOLD),
)


def context(**changes: Any) -> PromptContext:
    return replace(BRIEF, **changes)


def several(count: int) -> list[PromptContext]:
    """Briefs that ask different questions."""
    return [context(signal_id=f"sig-{n}", numbers={"rsi": float(n)}) for n in range(count)]


def request_of(asked: PromptContext = BRIEF, settings: ModelSettings | None = None) -> ModelRequest:
    return (settings or ModelSettings()).request(load_prompt().render(asked))


def allowance(limit: int = 1_000_000, limiter: RateLimiter | None = None) -> Allowance:
    return Allowance(Budget(limit), limiter, now_us=lambda: 0, now_s=time.monotonic)


@asynccontextmanager
async def advising(
    url: str, *, cassette: Cassette | None = None, gate: Any = None, **options: Any
) -> AsyncIterator[Adviser]:
    """An adviser of a loopback server, warm, so that a short deadline is the server's alone."""
    model = ChatModel(ModelSettings(base_url=url), KEY)
    await model.warm()
    adviser = Adviser(model, cassette or Cassette.live(), gate or allowance(), **options)
    try:
        yield adviser
    finally:
        await adviser.aclose()
