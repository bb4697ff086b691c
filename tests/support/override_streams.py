"""Streams of signals that try an override agent: several symbols at one instant, equal prices, gaps, features
that come and go, that never change, that only count up, that are absurdly large; labels, many labels, free text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from raysignal.agents.override.outcomes import Horizon
from raysignal.engine.core.arrays import Float64Array, Int8Array, Int64Array
from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.core.policy import Policy

MINUTE_US = 60_000_000
_FROM_US = 1_740_000_000_000_000
_WORDS = ("Fear", "GREED", "greed ", "panic", "calm")
_OTHER_WORDS = ("ﬁrm", "осторожность", "様子見", "\u202eevil", "ze\u200bro")

POLICIES = st.builds(
    Policy,
    fee_bps=st.sampled_from([0.0, 4.0, 37.5, 1000.0]),
    slippage_bps=st.sampled_from([0.0, 3.0, 1000.0]),
    side=st.sampled_from(["long-flat", "long-short"]),
    fill=st.sampled_from(["signal", "next"]),
)
HORIZONS = st.builds(
    Horizon.parse,
    st.sampled_from(["1b", "2b", "6b", "1m", "7m", "1h", "close", "500b"]),
    lag_us=st.sampled_from([0, 1, 3 * MINUTE_US]),
)


@dataclass(frozen=True)
class Shape:
    """What a stream is like; `seed` decides the rest. A `crowded` one has several rows of a symbol in an instant."""

    seed: int
    rows: int
    symbols: int = 1
    holds: float = 0.2
    together: float = 0.3
    features: bool = True
    crowded: bool = False

    def batch(self) -> SignalBatch:
        draws = np.random.default_rng(self.seed)
        n, symbol = self.rows, draws.integers(0, self.symbols, self.rows).astype(np.int32)
        price = np.empty(n)
        now, latest, prices = _FROM_US, [0] * self.symbols, [100.0] * self.symbols
        stamps = np.empty(n, np.int64)
        for row, code in enumerate(symbol.tolist()):
            if (latest[code] == now and not self.crowded) or draws.random() > self.together:
                now += int(draws.integers(1, 5)) * MINUTE_US
            stamps[row] = latest[code] = now
            prices[code] *= draws.choice([1.0, 1.0, 1.001, 0.999, 1.02, 0.97, 1.7])
            price[row] = prices[code] = prices[code] if prices[code] < 1e6 else 100.0
        return SignalBatch.of(
            timestamp_us=stamps, price=price, symbol=symbol,
            action=np.where(draws.random(n) < self.holds, 0, draws.choice([-1, 1], n)).astype(np.int8),
            symbols=[f"S{code}" for code in range(self.symbols)],
            source=draws.integers(0, 2, n).astype(np.int32), sources=("desk", "model"),
            numbers=_numbers(draws, n) if self.features else None,
            texts=_texts(draws, n) if self.features else None,
        )  # fmt: skip


def shapes(most: int = 80, least: int = 1, *, crowded: bool = False) -> st.SearchStrategy[Shape]:
    return st.builds(
        Shape,
        seed=st.integers(0, 2**32 - 1),
        rows=st.integers(least, most),
        crowded=st.booleans() if crowded else st.just(value=False),
        symbols=st.sampled_from([1, 1, 2, 5]),
        holds=st.sampled_from([0.0, 0.2, 1.0]),
        together=st.sampled_from([0.0, 0.5]),
        features=st.booleans(),
    )


def _numbers(draws: np.random.Generator, n: int) -> dict[str, Float64Array]:
    place = np.arange(n)
    level = np.where(draws.random(n) < 0.2, np.nan, np.round(draws.standard_normal(n), 1))
    return {
        "constant": np.full(n, 5.0),
        "counter": place.astype(float),
        "gone": np.where(place > n // 3, np.nan, draws.standard_normal(n)),
        "huge": np.where(draws.random(n) < 0.5, 1.7e308, -1.7e308),
        "late": np.where(place < n // 2, np.nan, draws.integers(0, 3, n)),
        "level": level,
        "nothing": np.full(n, np.nan),
        "tiny": draws.standard_normal(n) * 1e-42,
        "\0return_01": draws.standard_normal(n),  # the name of a derived number
        "": draws.standard_normal(n),
    }


def _texts(draws: np.random.Generator, n: int) -> dict[str, TextColumn]:
    def some(most: int) -> str:
        return ", ".join(draws.choice(_WORDS, int(draws.integers(0, most))))

    return {
        "many": TextColumn.of(f"label {draws.integers(0, 100)}" for _ in range(n)),
        "mood": TextColumn.of(some(2) for _ in range(n)),
        "note": TextColumn.of("calm" if row < n // 2 else "a long story " * 5 for row in range(n)),
        "tags": TextColumn.of(some(4) for _ in range(n)),
        "story": TextColumn.of(_story(draws) for _ in range(n)),
        "\0action": TextColumn.of("calm" for _ in range(n)),
    }


def _story(draws: np.random.Generator) -> str | None:
    if draws.random() < 0.2:
        return None
    return "It is said: " + " ".join(draws.choice(_WORDS + _OTHER_WORDS, 8))


def cut(batch: SignalBatch, places: Sequence[int]) -> Iterator[SignalBatch]:
    """The batch in pieces that begin at these places."""
    n = len(batch)
    edges = sorted({0, n, *(place % (n + 1) for place in places)})
    for start, stop in pairwise(edges):
        yield batch.take(np.arange(start, stop))


def as_sent(batch: SignalBatch) -> SignalBatch:
    """The batch as one gets it from elsewhere: made of single signals, in memory that cannot be written."""
    return SignalBatch.decode(
        SignalBatch.of_signals([batch.signal(row) for row in range(len(batch))]).encode()
    )


def with_prices_after(batch: SignalBatch, row: int, factor: float) -> SignalBatch:
    """The batch with every price behind a row multiplied."""
    price = batch.price.copy()
    price[row + 1 :] *= factor
    return replace(batch, price=price)


def rows_of(batch: SignalBatch) -> tuple[Int64Array, Int64Array, np.ndarray, Int8Array, Float64Array]:
    """What a settler is fed."""
    return np.arange(len(batch)), batch.timestamp_us, batch.symbol, batch.action, batch.price
