"""The files of a comparison: its arms as they are done; at its end decisions and equity, figures, report, manifest.

<store>/experiments/<run_id>/arms/<arm>.parquet    an arm's result, written when it is done
<store>/experiments/<run_id>/manifest.json metrics.json decisions.parquet equity.parquet trades.parquet report.html
                                                   report.png

Written once, the manifest last: a run that has one is finished. The same results make the same bytes.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast
from urllib.parse import quote

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from raysignal.agents.labels import CategoryColumn
from raysignal.agents.verdicts import DecidedBy, Verdict
from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.journal.blobs import BlobStore
from raysignal.experiments.comparison.arm_trades import ArmTrades, trades_table
from raysignal.experiments.comparison.results import Approximation, ArmResult, SignalStream, drawdowns
from raysignal.experiments.comparison.uplift import uplift_of
from raysignal.experiments.result_files import (
    LABEL,
    MANIFEST,
    METRICS,
    PICTURE,
    REPORT,
    blob_name,
    json_bytes,
    label_array,
    parquet_bytes,
    read_bytes,
)
from raysignal.experiments.runs import ARM_END, ARM_FILES, check_run_id

DECISIONS = "decisions.parquet"
EQUITY = "equity.parquet"
TRADES = "trades.parquet"
_INSTANT = pa.timestamp("us", "UTC")
_VERDICTS = tuple(verdict.name.lower() for verdict in Verdict)
_DECIDERS = tuple(by.name.lower() for by in DecidedBy)

DECISION_COLUMNS = pa.schema(
    [
        pa.field("arm", LABEL, nullable=False),
        pa.field("ordinal", pa.int64(), nullable=False),
        pa.field("signal_id", pa.string(), nullable=False),
        pa.field("symbol", LABEL, nullable=False),
        pa.field("timestamp", _INSTANT, nullable=False),
        pa.field("signal", pa.int8(), nullable=False),
        pa.field("verdict", LABEL, nullable=False),
        pa.field("decision", pa.int8(), nullable=False),
        pa.field("decided_by", LABEL, nullable=False),
        pa.field("reason", LABEL),
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
        pa.field("arm", LABEL, nullable=False),
        pa.field("fill", LABEL, nullable=False),
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
    trades: ArmTrades,
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
        TRADES: parquet_bytes(trades_table(trades)),
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
    """`DECISIONS`, `EQUITY` or `TRADES` of a run; `NotFound` if it has none."""
    return pq.read_table(io.BytesIO(read_bytes(blobs, run_id, name)))


def write_arm(blobs: BlobStore, run_id: str, arm: ArmResult) -> str:
    """Keep the result of an arm; the name of its file. The same result again changes nothing.

    Raises:
        StoreError: the arm is there with another result.
    """
    name = _arm_name(run_id, arm.name)
    blobs.put(name, _arm_bytes(arm))
    return name


def read_arm(blobs: BlobStore, run_id: str, arm: str) -> ArmResult | None:
    """The result of an arm that is done; None if it is not."""
    data = blobs.get(_arm_name(run_id, arm))
    return None if data is None else _arm_of(data)


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


def _arm_name(run_id: str, arm: str) -> str:
    return blob_name(check_run_id(run_id), f"{ARM_FILES}{quote(arm, safe='').replace('.', '%2E')}{ARM_END}")


def _arm_bytes(arm: ArmResult) -> bytes:
    columns: dict[str, Any] = {
        "verdict": pa.array(arm.verdict),
        "by": pa.array(arm.by),
        "reason": label_array(arm.reasons),
        "p_right": pa.array(arm.p_right),
    }
    columns |= {f"equity.{fill}": pa.array(values) for fill, values in arm.equity.items()}
    columns |= {f"signal_return.{fill}": pa.array(values) for fill, values in arm.signal_return.items()}
    about = {
        "name": arm.name,
        "kind": arm.kind,
        "model_usd": arm.model_usd,
        "model_calls": arm.model_calls,
        "model_tokens": list(arm.model_tokens),
        "performance": {fill: dict(figures) for fill, figures in arm.performance.items()},
    }
    if arm.approximation is not None:
        about["approximation"] = asdict(arm.approximation)
    return parquet_bytes(pa.table(columns), {b"raysignal.arm": json_bytes(about)})


def _arm_of(data: bytes) -> ArmResult:
    table = pq.read_table(io.BytesIO(data)).combine_chunks()
    about = orjson.loads(table.schema.metadata[b"raysignal.arm"])
    reason = table["reason"].combine_chunks()
    reasons = reason if isinstance(reason, pa.DictionaryArray) else reason.dictionary_encode()
    codes = reasons.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)

    def by_fill(start: str) -> dict[str, Float64Array]:
        return {
            name.removeprefix(start): table[name].to_numpy()
            for name in table.column_names
            if name.startswith(start)
        }

    return ArmResult(
        name=about["name"],
        kind=about["kind"],
        verdict=table["verdict"].to_numpy(),
        by=table["by"].to_numpy(),
        reason=CategoryColumn(codes, tuple(reasons.dictionary.to_pylist())),
        p_right=table["p_right"].to_numpy(),
        model_usd=about["model_usd"],
        model_calls=about["model_calls"],
        model_tokens=cast("tuple[int, int]", tuple(about["model_tokens"])),
        equity=by_fill("equity."),
        signal_return=by_fill("signal_return."),
        performance=about["performance"],
        approximation=Approximation(**about["approximation"]) if "approximation" in about else None,
    )
