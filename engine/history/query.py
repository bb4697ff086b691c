"""The whole history as a pyarrow dataset, and SQL over it by DuckDB.

DuckDB sees the dataset and nothing else: no file, no network, no extension, no setting can be reached from a query.
"""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from urllib.parse import unquote, urlsplit

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from engine.errors import InputError, SettingsError, StoreUnavailable
from engine.history.schema import PARTITIONS, Span, cover, unified_schema
from engine.journal.addresses import split_store

_READERS = 16
_SCHEMAS_KEPT = 100_000

_schemas: dict[tuple[str, str, int, int], pa.Schema] = {}
"""What a file's footer said, by store, path, size and time of writing: files never change."""

_CLOSED: dict[str, str | bool | int | float | list[str]] = {
    "enable_external_access": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "temp_directory": "",
    "lock_configuration": "true",
}


def query(store_url: str, sql: str) -> pa.Table:
    """The answer to one SQL query over the view `history`.

    Args:
        store_url: `file:///dir` or `s3://bucket/prefix`; the endpoint is `AWS_ENDPOINT_URL_S3` where that is set.
        sql: DuckDB's SQL; a feature's column is quoted: `"feature.sentiment"`.

    Raises:
        InputError: the query is wrong, or asks for what it may not reach.
        StoreUnavailable: the store cannot be read.
    """
    source = dataset(store_url)
    with duckdb.connect(config=_CLOSED) as connection:
        connection.register("history", source)
        try:
            answer = connection.sql(sql)
            if answer is None:
                raise InputError(
                    "the query has no answer; expected a SELECT over the view history", field="sql"
                )
            return answer.to_arrow_table()
        except duckdb.Error as error:
            raise InputError(f"the query cannot be run: {str(error).strip()}", field="sql") from error


def dataset(store_url: str) -> ds.Dataset:
    """Every row of every portfolio, with `portfolio` and `date` as columns; empty where nothing is written yet.

    Raises:
        SettingsError: an address that is neither `file:` nor `s3:`, or a bucket that does not exist.
        StoreUnavailable: the store cannot be read.
    """
    filesystem, root = _open(store_url)
    try:
        files = filesystem.get_file_info(
            pafs.FileSelector(f"{root}/history", recursive=True, allow_not_found=True)
        )
        infos = {
            info.path.removeprefix(f"{root}/"): info for info in files if info.type == pafs.FileType.File
        }
        if not files and _bucket_is_missing(filesystem, root):
            raise SettingsError(f"store is {store_url!r}, and there is no such bucket")
        spans = [span for covered in cover(infos).values() for span in covered]
        with ThreadPoolExecutor(_READERS) as readers:
            schemas = list(readers.map(lambda span: _schema(store_url, filesystem, infos[span.name]), spans))
        return _dataset(filesystem, root, spans, schemas)
    except OSError as error:
        raise StoreUnavailable(f"the history in {store_url} cannot be read: {error}") from error


def _bucket_is_missing(filesystem: pafs.FileSystem, root: str) -> bool:
    if isinstance(filesystem, pafs.LocalFileSystem):
        return False  # the folder is made with the first file in it
    bucket = filesystem.get_file_info(root.split("/", 1)[0])
    return bool(bucket.type == pafs.FileType.NotFound)


def _dataset(
    filesystem: pafs.FileSystem, root: str, spans: list[Span], schemas: list[pa.Schema]
) -> ds.Dataset:
    fixed = unified_schema(_distinct(schemas))
    schema = pa.schema([*PARTITIONS, *fixed])
    whole = [span for span in spans if span.starts == span.first]
    files = ds.FileSystemDataset.from_paths(
        [f"{root}/{span.name}" for span in whole],
        schema=schema,
        format=ds.ParquetFileFormat(),
        filesystem=filesystem,
        partitions=[
            (ds.field("portfolio") == span.portfolio) & (ds.field("date") == date.fromisoformat(span.date))
            for span in whole
        ],
    )
    cut = [span for span in spans if span.starts != span.first]
    if not cut:
        return files
    # Rows that two files hold are left out of the second: rare, and small, so they are read now.
    rest = pa.concat_tables([_cut(filesystem, root, span, schema) for span in cut])
    return ds.UnionDataset(schema, [files, ds.InMemoryDataset(rest)])


def _cut(filesystem: pafs.FileSystem, root: str, span: Span, schema: pa.Schema) -> pa.Table:
    with filesystem.open_input_file(f"{root}/{span.name}") as file:
        table = pq.read_table(file).slice(span.first - span.starts)
    known = {"portfolio": pa.scalar(span.portfolio), "date": pa.scalar(date.fromisoformat(span.date))}
    columns = []
    for field in schema:
        if field.name in known:
            columns.append(pa.repeat(known[field.name], len(table)).cast(field.type))
        elif field.name in table.column_names:
            columns.append(table[field.name].cast(field.type))
        else:
            columns.append(pa.nulls(len(table), field.type))
    return pa.table(columns, schema=schema)


def _schema(store_url: str, filesystem: pafs.FileSystem, info: pafs.FileInfo) -> pa.Schema:
    key = (store_url, info.path, info.size, info.mtime_ns)
    if key not in _schemas:
        if len(_schemas) >= _SCHEMAS_KEPT:
            _schemas.clear()
        with filesystem.open_input_file(info.path) as file:
            _schemas[key] = pq.read_schema(file).remove_metadata()
    return _schemas[key]


def _distinct(schemas: Iterable[pa.Schema]) -> list[pa.Schema]:
    return list({schema.to_string(): schema for schema in schemas}.values())


def _open(store_url: str) -> tuple[pafs.FileSystem, str]:
    address = split_store(store_url)
    if address.scheme == "file":
        return pafs.LocalFileSystem(), str(Path(unquote(address.path)))
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    place = urlsplit(endpoint) if endpoint else None
    filesystem = pafs.S3FileSystem(
        region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        endpoint_override=place.netloc if place else None,
        scheme=place.scheme if place else "https",
    )
    return filesystem, f"{address.netloc}{address.path}".rstrip("/")
