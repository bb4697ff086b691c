"""The files that every run has, its manifest and its metrics, and how tables and JSON are written.

Written once, the manifest last: a run that has one is finished. The same results make the same bytes.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from raysignal.agents.labels import CategoryColumn
from raysignal.engine.core.errors import NotFound
from raysignal.engine.journal.blobs import BlobStore

FOLDER = "experiments"
MANIFEST = "manifest.json"
METRICS = "metrics.json"
REPORT = "report.html"
PICTURE = "report.png"
_FORMAT = b"1"
_ROW_GROUP = 65_536
LABEL = pa.dictionary(pa.int32(), pa.string())
"""The type of a column of names."""


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
        use_dictionary=[field.name for field in table.schema if field.type == LABEL],
    )
    return out.getvalue()


def label_array(labels: CategoryColumn) -> pa.DictionaryArray:
    """Labels as Arrow; a row without a name is null."""
    codes = pa.array(labels.codes.astype(np.int32, copy=False), mask=labels.codes < 0)
    return pa.DictionaryArray.from_arrays(codes, pa.array(labels.names, pa.string()))
