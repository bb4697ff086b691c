"""Reads one batch of every kind, so that nobody waits for the compiler later."""

import json

from raysignal.engine.intake.body import read_batch
from raysignal.engine.intake.fields import Reading

_ROW = {
    "timestamp": "2025-01-01 00:00", "price": "100.12345678901234567", "signal": "BUY", "symbol": "BTC",
    "signal_id": "one", "note": 'a "text"', "level": 1.5,
}  # fmt: skip


def warm() -> None:
    """Call every compiled function of the package with the types it is used with."""
    reading = Reading()
    read_batch(json.dumps([_ROW]).encode(), "application/json", reading)
    read_batch(json.dumps(_ROW).encode(), "application/x-ndjson", reading)
    table = f'{",".join(_ROW)}\n2025-01-01,1,1,BTC,one,"a ""text""",1.5\n'
    read_batch(table.encode(), "text/csv", reading)
