"""How fast bytes become batches, beside pydantic validating the same rows: `python -m benchmarks.intake`.

Both read the same 10 000 rows on one core; the peer is given them as the JSON array that it reads fastest, and
parses, validates and keeps a model a row. It derives no identity and no digest, and makes no columns.
"""

import csv
import io
import json
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter

from benchmarks.figures import Figure
from raysignal.data.generator import GeneratorSpec, write_csv
from raysignal.data.plain import write_plain
from raysignal.engine.intake import Reading, read_batch, read_signal

_ROWS = 10_000
_ROUNDS = 15
_SEED = 7


class PostedSignal(BaseModel):
    """The peer: what a service would write with pydantic."""

    model_config = ConfigDict(extra="allow", populate_by_name=True)

    timestamp: Annotated[datetime, Field(validation_alias=AliasChoices("timestamp", "datetime"))]
    price: Annotated[
        float, Field(ge=1e-15, le=1e15, allow_inf_nan=False, validation_alias=AliasChoices("price", "close"))
    ]
    signal: Annotated[
        Literal[-1, 0, 1, "SELL", "HOLD", "BUY"], Field(validation_alias=AliasChoices("signal", "Signal"))
    ]
    symbol: Annotated[str, Field(min_length=1, max_length=64)] = "BTC"
    signal_id: Annotated[str, Field(max_length=128)] = ""


_PEER = TypeAdapter(list[PostedSignal])


def measure(rows: int = _ROWS, rounds: int = _ROUNDS) -> list[Figure]:
    """The figures, each with its ratio to the peer."""
    with tempfile.TemporaryDirectory(prefix="raysignal-intake-") as folder:
        return [
            *_measure("plain", _plain_rows(Path(folder), rows), rounds),
            *_measure("with the dataset's columns", _dataset_rows(Path(folder), rows), rounds),
        ]


def _measure(name: str, rows: list[dict[str, Any]], rounds: int) -> list[Figure]:
    reading = Reading()
    lines = "\n".join(map(json.dumps, rows)).encode()
    array = json.dumps(rows).encode()
    bodies = {
        "NDJSON": (lines, "application/x-ndjson"),
        "JSON array": (array, "application/json"),
        "CSV": (_as_csv(rows), "text/csv"),
        "Parquet": (_as_parquet(rows), "application/vnd.apache.parquet"),
    }
    peer_s = _fastest(lambda: _PEER.validate_json(array), rounds)
    figures: list[Figure] = []
    for kind, (body, content_type) in bodies.items():
        intake = read_batch(body, content_type, reading)
        assert (intake.rows, intake.refused) == (len(rows), 0), intake.errors[:1]
        own_s = _fastest(partial(read_batch, body, content_type, reading), rounds)
        what = f"{kind}, {len(rows)} rows {name}"
        figures += [
            Figure("intake", what, len(rows) / own_s, "rows/s"),
            Figure("intake", f"{what}: bytes", len(body) / own_s / 1e6, "MB/s"),
            Figure("intake", f"{what}: ratio to pydantic reading the JSON array", peer_s / own_s, "x"),
        ]
    one = json.dumps(rows[0]).encode()
    single = TypeAdapter(PostedSignal)
    own_s = _fastest(lambda: [read_signal(one, reading, content_type=None) for _ in range(100)], rounds) / 100
    peer_s = _fastest(lambda: [single.validate_json(one) for _ in range(100)], rounds) / 100
    figures += [
        Figure("intake", f"one JSON object {name}", own_s * 1e6, "µs", better="less"),
        Figure("intake", f"one JSON object {name}: ratio to pydantic", peer_s / own_s, "x"),
    ]
    return figures


def _plain_rows(folder: Path, rows: int) -> list[dict[str, Any]]:
    path = folder / "plain.ndjson"
    write_plain(path, rows, _SEED, format="ndjson")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _dataset_rows(folder: Path, rows: int) -> list[dict[str, Any]]:
    path = folder / "dataset.csv"
    write_csv(GeneratorSpec(rows=rows, seed=_SEED), path)
    with path.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    # Stamps as the peer reads them; numbers as a program sends them.
    return [
        row
        | {
            "datetime": datetime.strptime(row["datetime"], "%m/%d/%Y %H:%M").isoformat(),  # noqa: DTZ007 - as in the file
            "close": float(row["close"]),
            "Signal": int(row["Signal"]),
        }
        for row in found
    ]


def _as_csv(rows: list[dict[str, Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def _as_parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def _fastest(run: Callable[[], object], rounds: int) -> float:
    """Seconds, the fastest of `rounds`: on a shared machine the slower ones time the neighbours."""
    run()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    for found in measure():
        print(f"{found.what:<90} {found.shown:>20}")
