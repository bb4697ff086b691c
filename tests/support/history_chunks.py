"""Chunks of history to write: signals run through the real ledger."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.instants import MICROSECONDS
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.history import HistoryChunk
from raysignal.engine.portfolio.ledger import Ledger

START_US = 1_740_355_200 * MICROSECONDS  # 2025-02-24T00:00:00Z
HOUR_US = 3_600 * MICROSECONDS


def some_signals(n: int, *, first: int = 0, step_us: int = HOUR_US) -> list[Signal]:
    """n signals of two symbols, with features that come and go, and one that is a number or a text."""
    signals = []
    for index in range(first, first + n):
        features: dict[str, float | str] = {"rsi": 30.0 + index % 40, "note": f"row {index}"}
        if index % 3 == 0:
            features["mood"] = "PANIC" if index % 2 else 0.25 * index
        signals.append(
            Signal(
                symbol="ETH" if index % 5 == 0 else "BTC",
                timestamp_us=START_US + index * step_us,
                action=(Action.BUY, Action.HOLD, Action.SELL)[index % 3],
                price=100.0 + index % 7,
                source="desk" if index % 4 else "model",
                signal_id=f"id-{index}",
                features=features,
            )
        )
    return signals


def chunk_of(
    signals: Sequence[Signal], *, first: int = 0, ledger: Ledger | None = None, portfolio: str = "baseline"
) -> HistoryChunk:
    """The chunk of these signals after `ledger`, which moves on."""
    batch = SignalBatch.of_signals(signals)
    codes = np.array([("BTC", "ETH").index(batch.symbols[code]) for code in batch.symbol], np.int32)
    ledger = ledger if ledger is not None else Ledger(Policy())
    ledger.ensure_symbols(2)
    before = ledger.to_bytes()
    rows = LedgerRows.empty(len(batch))
    ledger.run(batch.timestamp_us, codes, batch.action, batch.price, rows)

    def state_at(offset: int) -> bytes:
        other = Ledger.from_bytes(Policy(), before)
        part = slice(0, offset)
        other.run(batch.timestamp_us[part], codes[part], batch.action[part], batch.price[part])
        return other.to_bytes()

    return HistoryChunk(
        portfolio=portfolio,
        first_ordinal=first,
        batch=batch,
        decision=batch.action,
        decided_by="signal",
        explanation=None,
        rows=rows,
        sequence=np.arange(first, first + len(batch)) // 10,
        record_row=(np.arange(first, first + len(batch)) % 10).astype(np.int32),
        state_at=state_at,
    )


def renamed(chunk: HistoryChunk, portfolio: str) -> HistoryChunk:
    """The same rows under another name."""
    return replace(chunk, portfolio=portfolio)
