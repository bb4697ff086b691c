"""SQL over the whole history by DuckDB, with a column `feature.<name>` for each feature.

To SQL, `feature.RSI` and `feature.rsi` are one name. Where names differ in case alone, no column has it: they are
`feature.RSI~111` and `feature.rsi~000`, with a digit for each letter from A to Z, 1 for a capital one.

DuckDB sees a pyarrow dataset and nothing else: no file, no network, no extension, no setting can be reached from a
query.
"""

import json
import os
from collections import Counter
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from string import ascii_letters, ascii_lowercase, ascii_uppercase
from urllib.parse import unquote, urlsplit

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from raysignal.engine.core.errors import InputError, SettingsError, StoreUnavailable
from raysignal.engine.history.checksums import is_intact
from raysignal.engine.history.format1 import current
from raysignal.engine.history.read import damaged
from raysignal.engine.history.schema import FIXED, FORMAT, PARTITIONS, Span, cover
from raysignal.engine.journal.addresses import split_store

_READERS = 16
_FOOTERS_KEPT = 100_000
_SCHEMA = pa.schema([*PARTITIONS, *FIXED])
_CHECKED = ds.ParquetFragmentScanOptions(page_checksum_verification=True)

_FOLDING = str.maketrans(ascii_uppercase, ascii_lowercase)

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
    rows, features = _open(store_url)
    with duckdb.connect(config=_CLOSED) as connection:
        connection.register("rows_of_files", rows)
        connection.execute(_view(features))
        try:
            answer = connection.sql(sql)
            if answer is None:
                raise InputError(
                    "the query has no answer; expected a SELECT over the view history", field="sql"
                )
            return answer.to_arrow_table()
        except duckdb.Error as error:
            said = f"the query cannot be run: {str(error).strip()}{_alike_in(sql, features)}"
            raise InputError(said, field="sql") from error


@dataclass(frozen=True, slots=True)
class _Footer:
    """What the footer of a file says: its format, and which features its rows have."""

    current: bool
    numbers: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


_footers: dict[tuple[str, str, int, int], _Footer] = {}
"""By store, path, size and time of writing: files never change."""


def _view(features: dict[str, bool]) -> str:
    """The view `history`: the fixed columns, then `feature.<name>`, a text where it is one in any row.

    Args:
        features: by name whether any row has it as a text.
    """
    columns = ["* EXCLUDE (feature_numbers, feature_texts)"]
    column_of = _column_names(features)
    for name, is_text in sorted(features.items()):
        key = "'" + name.replace("'", "''") + "'"
        number, text = f"feature_numbers[{key}]", f"feature_texts[{key}]"
        # A whole number is written as it came, 5 and not 5.0.
        as_text = f"coalesce({text}, regexp_replace(CAST({number} AS VARCHAR), '\\.0$', ''))"
        columns.append(f"{as_text if is_text else number} AS {_quoted(column_of[name])}")
    return "CREATE TEMP VIEW history AS SELECT " + ", ".join(columns) + " FROM rows_of_files"  # noqa: S608 - names are quoted


def _column_names(features: Collection[str]) -> dict[str, str]:
    """By feature the name of its column; no two of them are the same to SQL."""
    alike = Counter(_folded(name) for name in features)
    names = {}
    for name in features:
        mark = ""
        if alike[_folded(name)] > 1:
            mark = "~" + "".join("01"[letter.isupper()] for letter in name if letter in ascii_letters)
            while _folded(name + mark) in alike:
                mark = "~" + mark
        names[name] = f"feature.{name}{mark}"
    return names


def _alike_in(sql: str, features: Collection[str]) -> str:
    """A sentence about features in a query whose names differ in case alone; empty where there are none."""
    alike = Counter(_folded(name) for name in features)
    columns = [
        _quoted(column)
        for name, column in sorted(_column_names(features).items())
        if alike[_folded(name)] > 1 and f"feature.{_folded(name)}" in _folded(sql)
    ]
    return (
        f". Of features whose names differ in case alone, the columns are {', '.join(columns)}"
        if columns
        else ""
    )


def _folded(name: str) -> str:
    """A name as DuckDB compares it: A to Z are a to z, other letters are themselves."""
    return name.translate(_FOLDING)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _open(store_url: str) -> tuple[ds.Dataset, dict[str, bool]]:
    """Every row of every portfolio, and the features that they have: by name whether any is a text.

    Raises:
        SettingsError: an address that is neither `file:` nor `s3:`, or a bucket that does not exist.
        StoreUnavailable: the store cannot be read.
    """
    filesystem, root = _filesystem(store_url)
    try:
        found = filesystem.get_file_info(
            pafs.FileSelector(f"{root}/history", recursive=True, allow_not_found=True)
        )
        infos = {
            info.path.removeprefix(f"{root}/"): info for info in found if info.type == pafs.FileType.File
        }
        if not found and _bucket_is_missing(filesystem, root):
            raise SettingsError(f"store is {store_url!r}, and there is no such bucket")
        spans = [span for covered in cover(infos).values() for span in covered]
        files = [(span, name, date) for span in spans for name, date in span.files]
        with ThreadPoolExecutor(_READERS) as readers:
            footers = list(readers.map(lambda each: _footer(store_url, filesystem, infos[each[1]]), files))
        return _dataset(filesystem, root, files, footers)
    except (OSError, pa.ArrowException) as error:
        raise StoreUnavailable(f"the history in {store_url} cannot be read: {error}") from error


def _bucket_is_missing(filesystem: pafs.FileSystem, root: str) -> bool:
    if isinstance(filesystem, pafs.LocalFileSystem):
        return False  # the folder is made with the first file in it
    bucket = filesystem.get_file_info(root.split("/", 1)[0])
    return bool(bucket.type == pafs.FileType.NotFound)


def _dataset(
    filesystem: pafs.FileSystem, root: str, files: list[tuple[Span, str, str]], footers: list[_Footer]
) -> tuple[ds.Dataset, dict[str, bool]]:
    # Rows that two files hold are left out of the second, which is rare; files of the old format have other columns,
    # until they are rewritten. Both are read now.
    plain, tables = [], []
    for (span, name, day), footer in zip(files, footers, strict=True):
        if footer.current and span.starts == span.first:
            plain.append((name, (ds.field("portfolio") == span.portfolio) & (ds.field("date") == _date(day))))
        else:
            tables.append(_rows(filesystem, root, span, name, day))
    features = dict.fromkeys((name for footer in footers for name in footer.numbers), False)
    features |= dict.fromkeys((name for footer in footers for name in footer.texts), True)
    for table in tables:
        features |= dict.fromkeys(_keys(table["feature_numbers"]) - features.keys(), False)
        features |= dict.fromkeys(_keys(table["feature_texts"]), True)
    whole = ds.FileSystemDataset.from_paths(
        [f"{root}/{name}" for name, _ in plain],
        schema=_SCHEMA,
        format=ds.ParquetFileFormat(default_fragment_scan_options=_CHECKED),
        filesystem=filesystem,
        partitions=[said for _, said in plain],
    )
    if not tables:
        return whole, features
    return ds.UnionDataset(_SCHEMA, [whole, ds.InMemoryDataset(pa.concat_tables(tables))]), features


def _rows(filesystem: pafs.FileSystem, root: str, span: Span, name: str, day: str) -> pa.Table:
    with filesystem.open_input_file(f"{root}/{name}") as file:
        table = current(pq.read_table(file, page_checksum_verification=True))
    table = table.filter(pc.greater_equal(table["ordinal"], span.first))
    known = {"portfolio": pa.scalar(span.portfolio), "date": pa.scalar(_date(day))}
    columns = [pa.repeat(known[field.name], len(table)).cast(field.type) for field in PARTITIONS]
    return pa.table([*columns, *table.columns], schema=_SCHEMA)


def _date(text: str) -> date:
    return date.fromisoformat(text)


def _keys(maps: pa.ChunkedArray) -> set[str]:
    return {name for chunk in maps.chunks for name in chunk.keys.unique().to_pylist()}


def _all_of(file: pa.NativeFile) -> bytes:
    file.seek(0)
    data: bytes = file.read()
    return data


def _footer(store_url: str, filesystem: pafs.FileSystem, info: pafs.FileInfo) -> _Footer:
    key = (store_url, info.path, info.size, info.mtime_ns)
    if key not in _footers:
        if len(_footers) >= _FOOTERS_KEPT:
            _footers.clear()
        with filesystem.open_input_file(info.path) as file:
            said = pq.read_metadata(file).metadata or {}
            # Of a bucket the pages that are read are checked, and not the whole file a second time.
            local = isinstance(filesystem, pafs.LocalFileSystem)
            if said.get(b"raysignal.format") != b"1" and local and not is_intact(_all_of(file)):
                raise damaged(info.path)
        if said.get(b"raysignal.format") == FORMAT:
            numbers, texts = json.loads(said[b"raysignal.numbers"]), json.loads(said[b"raysignal.texts"])
            _footers[key] = _Footer(True, tuple(numbers), tuple(texts))
        else:
            _footers[key] = _Footer(False)
    return _footers[key]


def _filesystem(store_url: str) -> tuple[pafs.FileSystem, str]:
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
