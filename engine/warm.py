"""Compiles every numba function once, at set-up, so that nobody waits for it later: `make setup` runs it."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from msgspec import Raw

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.core.policy import Policy
from raysignal.engine.intake import Reading, read_batch
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.market.books import OrderBook
from raysignal.engine.market.venues.levels import read_levels
from raysignal.engine.portfolio import admission, ledger, performance
from raysignal.engine.portfolio import sweep as sweeping
from raysignal.engine.portfolio.portfolio import NO_SIGNAL_YET_US
from raysignal.engine.portfolio.shard import Shard, ShardLimits
from raysignal.engine.portfolio.sweep import Sweep
from raysignal.engine.strategies import registry
from raysignal.engine.strategies.strategy import Bars

_ROWS = b"""timestamp,price,signal,note,level
2025-01-01T00:00:00Z,100.0,BUY,one,1.5
2025-01-01T00:01:00Z,101.0,SELL,two,2.5
"""


_LINES = b'{"timestamp": "2025-01-01T00:00:00Z", "price": 100, "signal": "BUY"}'


def _strategies() -> None:
    """Each of them over some bars, as a sweep takes them."""
    bars = Bars.of_closes(np.arange(1, 400, dtype=np.int64), np.linspace(1.0, 2.0, 399))
    for name in registry.NAMES:
        Sweep([registry.make(name, {})], [Policy()]).advance(bars)


def warm() -> None:
    """Take two signals in and again, read them back, checkpoint: what that calls is compiled and cached."""
    ledger.warm()
    performance.warm()
    sweeping.warm()
    _strategies()
    OrderBook(Instrument("", "")).change(read_levels(Raw(b'[["1","1"]]'), 0, 0), [])
    read_batch(_LINES, "application/x-ndjson", Reading())
    batch = read_batch(_ROWS, "text/csv", Reading()).batch
    admission.check_prices(
        batch.timestamp_us, batch.symbol, batch.price, np.zeros(2, np.bool_), np.full(1, NO_SIGNAL_YET_US),
        np.full(1, np.nan), 5.0, accept_jump=False,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="raysignal-warm-") as folder:
        stores = open_stores(Path(folder).as_uri())
        shard = Shard.open(
            stores.journal_store("warm"), stores.blobs, prefix="state/warm", cache_dir=Path(folder) / "cache",
            limits=ShardLimits(), policies={"warm": Policy()},
        )  # fmt: skip
        later = replace(batch.signal(1), signal_id="", timestamp_us=int(batch.timestamp_us[1]) + 1)
        for rows in (batch, batch, SignalBatch.of_signals([batch.signal(0), later])):
            shard.submit(
                "warm", rows.encode(), all_or_nothing=True, accept_price_jump=False, receipts=True
            ).finish()
            while (commit := shard.next_commit()) is not None:
                shard.write(commit)
                shard.committed()
        checkpoint = shard.due_checkpoint(now=True)
        assert checkpoint is not None
        shard.write_checkpoint(checkpoint)
        shard.checkpointed(checkpoint)
        shard.find("warm", batch.signal_id[0])()
        shard.journal.close()


if __name__ == "__main__":
    warm()
