"""The search of the memory over many rows, in each order that is hard for it, against a full sort."""

import numpy as np
import pytest

from raysignal.agents.override.memory import OutcomeMemory
from raysignal.agents.override.outcomes import Horizon, Settler
from raysignal.agents.override.situations import Encoder
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.policy import Policy

ROWS = 12_000
MINUTE_US = 60_000_000
PLACE = np.arange(ROWS, dtype=np.float64)
LEVELS = {
    "ever nearer to the one that asks": PLACE % 11_999,
    "ever further from it": -PLACE % 11_999,
    "in no order": np.random.default_rng(0).permutation(PLACE),
    "many equally far": PLACE % 5,
    "nearly all equally far": np.where(PLACE % 4_001 == 7, 1.0, PLACE % 2),
}


@pytest.mark.parametrize("k", [1, 400, 3_000])
@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
def test_the_nearest_of_many_rows_are_those_of_a_sort_and_equally_far_ones_the_earlier(level, k):
    batch = SignalBatch.of(
        timestamp_us=MINUTE_US * (1 + np.arange(ROWS)), action=np.ones(ROWS, np.int8), price=np.full(ROWS, 100.0),
        symbol=np.zeros(ROWS, np.int32), symbols=["BTC"], source=np.zeros(ROWS, np.int32), sources=["desk"],
        numbers={"level": level}, texts={},
    )  # fmt: skip
    memory, encoder = OutcomeMemory(), Encoder()
    situations, symbol, ordinal = encoder.encode(batch), encoder.codes(batch), np.arange(ROWS)
    memory.add(ordinal, batch.timestamp_us, symbol, batch.action, situations)
    memory.settle(
        Settler(Policy(), Horizon.parse("6b")).feed(
            ordinal, batch.timestamp_us, symbol, batch.action, batch.price
        )
    )
    asked = ROWS - 1
    found = memory.recall(situations, asked, int(batch.timestamp_us[asked]), k, before=asked)

    known = np.arange(asked - 6 + 1)  # the last one is told by the row that asks
    place = situations.number_names.index("level")
    scale = situations.scale[asked, place]
    off = (situations.numbers[place, known] - situations.numbers[place, asked]) * scale
    apart = np.minimum(off * off, np.float32(9.0))
    ranked = known[np.lexsort((known, apart))][:k]
    assert found.ordinal.tolist() == ranked.tolist()
    assert found.distance.tolist() == apart[ranked].tolist()
