"""Signals as they go over HTTP: one as JSON, a batch as Parquet, so that nothing is lost on the way.

Numbers keep every bit, instants are sent in UTC, and ids that were derived are left to be derived again: the
service makes of each row what was made of it here.
"""

import io
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from raysignal.engine.core.arrays import Int8Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.signals import Action
from raysignal.engine.core.terms import TERMS

PARQUET = "application/vnd.apache.parquet"


def signal_json(batch: SignalBatch, index: int) -> bytes:
    """The body of `POST /signal` for one row."""
    signal = batch.signal(index)
    body: dict[str, Any] = {
        "timestamp": format_instant(signal.timestamp_us),
        "signal": signal.action.name if signal.action is Action.CLOSE else int(signal.action),
        "price": signal.price,
        "symbol": signal.symbol,
        "source": signal.source,
    }
    if not batch.derived[index]:
        body["signal_id"] = signal.signal_id
    terms: dict[str, Any] = dict(zip(TERMS, signal.terms, strict=True))
    if signal.expires_us is not None:
        terms["expires"] = format_instant(signal.expires_us)
    body |= {name: value for name, value in terms.items() if value is not None}
    return orjson.dumps(body | dict(signal.features))


def batch_parquet(batch: SignalBatch) -> bytes:
    """The body of `POST /signals` for a batch, in its order."""
    sink = io.BytesIO()
    pq.write_table(signal_table(batch), sink, compression="zstd", compression_level=1)
    return sink.getvalue()


def signal_table(batch: SignalBatch, *, ids: bool = False) -> pa.Table:
    """A batch as a table, in its order; with `ids`, those that were derived are in it, too."""
    columns: dict[str, Any] = {
        "timestamp": pa.array(batch.timestamp_us, pa.timestamp("us", "UTC")),
        "signal": _actions(batch.action),
        "price": pa.array(batch.price),
        "symbol": _coded(batch.symbol, batch.symbols),
        "source": _coded(batch.source, batch.sources),
    }
    if ids:
        columns["signal_id"] = batch.signal_id.to_arrow()
    elif not batch.derived.all():
        given = batch.signal_id.to_arrow()
        columns["signal_id"] = pa.array(np.where(batch.derived, None, given.to_pylist()), pa.string())
    if batch.terms is not None:
        for place, name in enumerate(TERMS):
            values = pa.array(batch.terms[:, place], from_pandas=True)
            if values.null_count < len(values):
                expires = name == "expires"
                columns[name] = values.cast(pa.int64()).cast(pa.timestamp("us", "UTC")) if expires else values
    for name in {**batch.numbers, **batch.texts}:
        columns[name] = _feature(batch, name)
    return pa.table(columns)


def _actions(action: Int8Array) -> pa.Array:
    """As numbers, or as words where one of them has no number."""
    if int(action.max(initial=0)) <= Action.BUY:
        return pa.array(action)
    names = np.array(["HOLD", "BUY", "CLOSE", "SELL"])  # SELL is -1, the last
    return pa.array(names[action])


def _coded(codes: Any, names: tuple[str, ...]) -> pa.Array:
    return pa.array(names, pa.string()).take(pa.array(codes))


def _feature(batch: SignalBatch, name: str) -> pa.Array:
    numbers, texts = batch.numbers.get(name), batch.texts.get(name)
    if texts is None:
        return pa.array(numbers, from_pandas=True)
    if numbers is None:
        return texts.to_arrow()
    # A number in some rows and a text in others: both as text, the number in all its digits.
    mixed = [text or _digits(number) for text, number in zip(texts.to_list(), numbers.tolist(), strict=True)]
    return pa.array(mixed, pa.string())


def _digits(number: float) -> str | None:
    return None if np.isnan(number) else repr(number)
