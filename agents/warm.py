"""Compiles the agents' numba functions once, at set-up, so that nobody waits for it later: `make setup` runs it."""

import numpy as np

from raysignal.agents.override.agent import AgentRules, Override
from raysignal.agents.override.breaker import Breaker, BreakerRules
from raysignal.agents.override.gate import GateRules
from raysignal.agents.override.outcomes import Horizon
from raysignal.agents.override.precedents import shown_of
from raysignal.agents.override.relevance import Relevance
from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.core.policy import Policy

_ROWS = 40


def warm() -> None:
    """Decide a few signals, learn some, ask the memory: what that calls is compiled and cached."""
    rules = AgentRules(horizon=Horizon.parse("1b"), gate=GateRules(least=1.0))
    agent = Override(Policy(), rules)
    batch = _batch()
    half = _ROWS // 2
    agent.learn(batch.take(np.arange(half)))
    taken = agent.take(batch.take(np.arange(half, _ROWS)))
    agent.memory.recall(taken.situations, 0, int(batch.timestamp_us[-1]), 5)
    Relevance().weights()
    shown_of(agent, taken)
    Breaker.load(BreakerRules(), {"trip": None, "verdicts": [], "waiting": [], "gains": [0.0, 1.0]}).status()


def _batch() -> SignalBatch:
    place = np.arange(_ROWS)
    level = np.sin(place.astype(np.float64))
    return SignalBatch.of(
        timestamp_us=60_000_000 * (place + 1), action=np.where(place % 3, 1, -1).astype(np.int8),
        price=100.0 + level, symbol=(place % 2).astype(np.int32), symbols=["one", "other"],
        source=np.zeros(_ROWS, np.int32), sources=["warm"], numbers={"level": level},
        texts={
            "mood": TextColumn.of(("calm", "wild")[row % 2] for row in range(_ROWS)),
            "news": TextColumn.of(f"The {row}th piece of news of which nothing follows" for row in range(_ROWS)),
        },
    )  # fmt: skip


if __name__ == "__main__":
    warm()
