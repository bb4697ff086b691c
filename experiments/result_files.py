"""The files of a run: decisions and equity as Parquet, metrics and manifest as JSON, the report.

<store>/experiments/<run_id>/manifest.json metrics.json decisions.parquet equity.parquet report.html report.png

Written once, the manifest last: a run that has one is finished. The same results make the same bytes.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from raysignal.agents.labels import CategoryColumn
from raysignal.agents.verdicts import DecidedBy, Verdict
from raysignal.engine.core.errors import NotFound
from raysignal.engine.journal.blobs import BlobStore
from raysignal.experiments.results import ArmResult, SignalStream, drawdowns
from raysignal.experiments.uplift import uplift_of

FOLDER = "experiments"
MANIFEST = "manifest.json"
METRICS = "metrics.json"
DECISIONS = "decisions.parquet"
EQUITY = "equity.parquet"
REPORT = "report.html"
PICTURE = "report.png"

_FORMAT = b"1"
_ROW_GROUP = 65_536
_NAME = pa.dictionary(pa.int32(), pa.string())
_INSTANT = pa.timestamp("us", "UTC")
_VERDICTS = tuple(verdict.name.lower() for verdict in Verdict)
_DECIDERS = tuple(by.name.lower() for by in DecidedBy)

DECISION_COLUMNS = pa.schema(
    [
        pa.field("arm", _NAME, nullable=False),
        pa.field("ordinal", pa.int64(), nullable=False),
        pa.field("signal_id", pa.string(), nullable=False),
        pa.field("symbol", _NAME, nullable=False),
        pa.field("timestamp", _INSTANT, nullable=False),
        pa.field("signal", pa.int8(), nullable=False),
        pa.field("verdict", _NAME, nullable=False),
        pa.field("decision", pa.int8(), nullable=False),
        pa.field("decided_by", _NAME, nullable=False),
        pa.field("reason", _NAME),
        pa.field("p_right", pa.float64()),
        pa.field("gross_bps", pa.float64()),
        pa.field("net_bps", pa.float64()),
        pa.field("approve_bps", pa.float64()),
        pa.field("uplift_bps", pa.float64()),
        pa.field("right", pa.bool_()),
        pa.field("judged", pa.bool_(), nullable=False),
        pa.field("known_at", _INSTANT),
    ]
)
"""One row an arm and signal, arm by arm. `gross_bps` and `net_bps` are of the verdict, `approve_bps` is the net
outcome of the signal as it came, `uplift_bps` their difference; with `right` and `known_at` they are null where
the signal is not judged. `p_right` is null where there was no probability."""

EQUITY_COLUMNS = pa.schema(
    [
        pa.field("arm", _NAME, nullable=False),
        pa.field("fill", _NAME, nullable=False),
        pa.field("ordinal", pa.int64(), nullable=False),
        pa.field("timestamp", _INSTANT, nullable=False),
        pa.field("equity", pa.float64(), nullable=False),
        pa.field("drawdown", pa.float64(), nullable=False),
    ]
)
"""One row an arm, fill and signal: the equity after it, and the drawdown as a share."""


def decisions_table(stream: SignalStream, arms: Sequence[ArmResult]) -> pa.Table:
    """Every decision of every arm in `DECISION_COLUMNS`."""
    return pa.concat_tables([_decisions(stream, arm) for arm in arms]).unify_dictionaries()


def equity_table(stream: SignalStream, arms: Sequence[ArmResult]) -> pa.Table:
    """The equity of every arm under every fill in `EQUITY_COLUMNS`."""
    parts = [_equity(stream, arm, fill) for arm in arms for fill in arm.equity]
    return pa.concat_tables([EQUITY_COLUMNS.empty_table(), *parts]).unify_dictionaries()


def write_results(
    blobs: BlobStore,
    run_id: str,
    *,
    stream: SignalStream,
    arms: Sequence[ArmResult],
    metrics: Mapping[str, Any],
    manifest: Mapping[str, Any],
    report: str,
    picture: bytes,
) -> list[str]:
    """Write all files of a run, the manifest last; their names. The same results again change nothing.

    Raises:
        StoreError: a file of that run holds other bytes.
        StoreUnavailable: the store did not answer.
    """
    contents = {
        DECISIONS: parquet_bytes(decisions_table(stream, arms)),
        EQUITY: parquet_bytes(equity_table(stream, arms)),
        METRICS: json_bytes(metrics),
        REPORT: report.encode(),
        PICTURE: picture,
        MANIFEST: json_bytes(manifest),
    }
    names = []
    for name, data in contents.items():
        names.append(blob_name(run_id, name))
        blobs.put(names[-1], data)
    return names


def read_table(blobs: BlobStore, run_id: str, name: str) -> pa.Table:
    """`DECISIONS` or `EQUITY` of a run; `NotFound` if it has none."""
    return pq.read_table(io.BytesIO(read_bytes(blobs, run_id, name)))


def read_json(blobs: BlobStore, run_id: str, name: str) -> dict[str, Any]:
    """`MANIFEST` or `METRICS` of a run; `NotFound` if it has none."""
    found: dict[str, Any] = orjson.loads(read_bytes(blobs, run_id, name))
    return found


def read_bytes(blobs: BlobStore, run_id: str, name: str) -> bytes:
    """A file of a run; `NotFound` if there is none."""
    data = blobs.get(blob_name(run_id, name))
    if data is None:
        raise NotFound(f"run {run_id!r} has no {name}", run_id=run_id, name=name)
    return data


def blob_name(run_id: str, name: str) -> str:
    """Where a file of a run lies in the store."""
    return f"{FOLDER}/{run_id}/{name}"


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """JSON with sorted keys, a key a line; NaN is null."""
    options = (
        orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
    )
    return orjson.dumps(value, option=options)


def parquet_bytes(table: pa.Table, metadata: Mapping[bytes, bytes] | None = None) -> bytes:
    """A Parquet file of a table, the same for the same table."""
    out = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata({b"raysignal.format": _FORMAT, **(metadata or {})}),
        out,
        compression="zstd",
        compression_level=3,
        row_group_size=_ROW_GROUP,
        use_dictionary=[field.name for field in table.schema if field.type == _NAME],
    )
    return out.getvalue()


def label_array(labels: CategoryColumn) -> pa.DictionaryArray:
    """Labels as Arrow; a row without a name is null."""
    codes = pa.array(labels.codes.astype(np.int32, copy=False), mask=labels.codes < 0)
    return pa.DictionaryArray.from_arrays(codes, pa.array(labels.names, pa.string()))


def _decisions(stream: SignalStream, arm: ArmResult) -> pa.Table:
    n, unknown = len(stream), ~stream.judged
    rows = np.arange(n), arm.verdict
    columns = {
        "arm": label_array(CategoryColumn.same(arm.name, n)),
        "ordinal": pa.array(np.arange(n, dtype=np.int64)),
        "signal_id": pa.array(stream.signal_id, pa.string()),
        "symbol": label_array(CategoryColumn(stream.symbol.astype(np.int32), tuple(stream.symbols))),
        "timestamp": pa.array(stream.timestamp_us).view(_INSTANT),
        "signal": pa.array(stream.action),
        "verdict": label_array(CategoryColumn(arm.verdict.astype(np.int32), _VERDICTS)),
        "decision": pa.array(arm.decision(stream)),
        "decided_by": label_array(CategoryColumn(arm.by.astype(np.int32), _DECIDERS)),
        "reason": label_array(arm.reasons),
        "p_right": pa.array(arm.p_right, mask=np.isnan(arm.p_right)),
        "gross_bps": pa.array(stream.gross_bps[rows], mask=unknown),
        "net_bps": pa.array(stream.net_bps[rows], mask=unknown),
        "approve_bps": pa.array(stream.net_bps[:, Verdict.APPROVE], mask=unknown),
        "uplift_bps": pa.array(uplift_of(arm.verdict, stream.net_bps), mask=unknown),
        "right": pa.array(stream.right, mask=unknown),
        "judged": pa.array(stream.judged),
        "known_at": pa.array(stream.known_at_us, mask=unknown).view(_INSTANT),
    }
    return pa.table([columns[name] for name in DECISION_COLUMNS.names], schema=DECISION_COLUMNS)


def _equity(stream: SignalStream, arm: ArmResult, fill: str) -> pa.Table:
    n, equity = len(stream), arm.equity[fill]
    columns = [
        label_array(CategoryColumn.same(arm.name, n)),
        label_array(CategoryColumn.same(fill, n)),
        pa.array(np.arange(n, dtype=np.int64)),
        pa.array(stream.timestamp_us).view(_INSTANT),
        pa.array(equity),
        pa.array(drawdowns(equity, arm.initial_equity(fill))),
    ]
    return pa.table(columns, schema=EQUITY_COLUMNS)
