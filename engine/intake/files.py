"""Batches from files: NDJSON, a JSON array, CSV or Parquet, told apart by name and content; a folder is its Parquet
files by name, one after the other.
"""

import mmap
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysignal.engine.core.arrays import UInt8Array
from raysignal.engine.core.errors import InvalidField, NotFound
from raysignal.engine.intake.body import json_blocks
from raysignal.engine.intake.csv_rows import record_blocks
from raysignal.engine.intake.json_rows import line_blocks
from raysignal.engine.intake.parquet_rows import MAGIC, table_blocks
from raysignal.engine.intake.reading import Reading
from raysignal.engine.intake.single import unreadable
from raysignal.engine.intake.source import as_bytes
from raysignal.engine.intake.tables import IntakeResult, RowBlock, instants_of, stamp_texts, take_in
from raysignal.engine.intake.values import may_repeat

CHUNK_ROWS = 262_144
_EITHER_ORDER = r"^\s*(?P<first>[0-9]{1,2})[/-](?P<second>[0-9]{1,2})[/-][0-9]{4}"

_FORMATS = {
    ".csv": "CSV", ".tsv": "CSV", ".txt": "CSV", ".ndjson": "NDJSON", ".jsonl": "NDJSON",
    ".json": "JSON", ".parquet": "Parquet", ".pq": "Parquet",
}  # fmt: skip


def read_file(path: str | Path, reading: Reading) -> IntakeResult:
    """Everything in a file, in time.

    Raises:
        NotFound: there is no such file.
        UnreadableInput: its content is not what its name says, or cannot be read.
        InputTooLarge: more rows than `reading.max_rows`.
        InvalidField: a name without a known ending, or a table without a required column.
    """
    return take_in(_blocks(Path(path), reading), reading)


def read_file_chunks(path: str | Path, reading: Reading, rows: int = CHUNK_ROWS) -> Iterator[IntakeResult]:
    """A file in pieces of about `rows` rows, together in time.

    Memory is bounded by the piece when the file is in time as far as its pieces go (within one, any order
    will do): a first pass reads the stamps alone to find out. A file in another order is read whole, sorted,
    and handed out in pieces; its errors come with the first. So is a JSON array.

    Raises:
        as `read_file` does, what a later piece raises when its turn comes.
    """
    place = Path(path)
    if _format(place) != "JSON" and _goes_forward(_blocks(place, reading), reading, rows):
        first = 0
        for group in _grouped(_blocks(place, reading), rows):
            yield take_in(group, reading)
            first += 1
        if not first:
            yield take_in([], reading)
        return
    yield from _pieces(read_file(place, reading), rows)


def undecided_date(path: str | Path, reading: Reading) -> str | None:
    """A date of a file, none of whose dates tells whether the month or the day comes first.

    None: one of them does, or they are written so that it is known.
    """
    found: str | None = None
    for block in _blocks(Path(path), reading):
        cells = stamp_texts(block, reading)
        parts = pc.extract_regex(cells, _EITHER_ORDER)
        both = [pc.struct_field(parts, at).cast(pa.int32()) for at in (0, 1)]
        if parts.null_count == len(parts) or (pc.max(both[0]).as_py() > 12) != (pc.max(both[1]).as_py() > 12):
            return None
        differ = pc.fill_null(pc.not_equal(*both), False)
        found = found or next(iter(cells.filter(differ).slice(0, 1).to_pylist()), None)
    return found


def _pieces(whole: IntakeResult, rows: int) -> Iterator[IntakeResult]:
    batch, errors, refused = whole.batch, whole.errors, whole.refused
    for first in range(0, max(len(batch), 1), rows):
        part = batch if len(batch) <= rows else batch.take(np.arange(first, min(first + rows, len(batch))))
        yield IntakeResult(part, errors, len(part) + refused, refused)
        errors, refused = [], 0


def _goes_forward(blocks: Iterable[RowBlock], reading: Reading, rows: int) -> bool:
    latest: int | None = None
    unsure = False
    for group in _grouped(blocks, rows):
        known = np.concatenate([instants_of(block, reading) for block in group])
        if len(known):
            if latest is not None and known.min() < latest:
                return False
            latest = int(known.max())
            # The order of rows tells which time is meant of an hour that came twice: a piece may not end in it.
            ends = may_repeat(known[[0, -1]] - reading.shift_us, reading.zone)
            if unsure and ends[0]:
                return False
            unsure = bool(ends[1])
    return True


def _grouped(blocks: Iterable[RowBlock], rows: int) -> Iterator[Iterator[RowBlock]]:
    """Blocks in groups of at least `rows` rows, each to be gone through before the next."""
    stream = iter(blocks)
    for block in stream:
        yield _group(block, stream, rows)


def _group(block: RowBlock, stream: Iterator[RowBlock], rows: int) -> Iterator[RowBlock]:
    yield block
    seen = block.rows
    while seen < rows and (after := next(stream, None)) is not None:
        yield after
        seen += after.rows


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files of a folder by name; `UnreadableInput` if there are none."""
    found = sorted(each for each in folder.glob("*.parquet") if not each.name.startswith("."))
    if not found:
        below = next((each.parent for each in sorted(folder.rglob("*.parquet"))), None)
        nearer = "" if below is None else f", such as {below}"
        raise unreadable(
            f"{folder} is a folder without .parquet files; expected a file, or a folder of Parquet{nearer}"
        )
    return found


def _blocks(place: Path, reading: Reading) -> Iterator[RowBlock]:
    if place.is_dir():
        return _blocks_of_folder(place, reading)
    kind, source = _format(place), _mapped(place)
    if kind == "Parquet":
        return table_blocks(source, reading)
    if kind == "JSON":
        return json_blocks(source)
    return line_blocks(source) if kind == "NDJSON" else record_blocks(source, reading)


def _blocks_of_folder(folder: Path, reading: Reading) -> Iterator[RowBlock]:
    rows = 0
    for path in parquet_files(folder):
        for block in table_blocks(_mapped(path), reading, rows):
            yield block
            rows = block.first_row + block.rows


def _format(place: Path) -> str:
    kind = "Parquet" if place.is_dir() else _FORMATS.get(place.suffix.lower())
    if kind is None:
        raise InvalidField("file", place.name, f"a name that ends in {', '.join(_FORMATS)}")
    return kind


def _mapped(place: Path) -> UInt8Array:
    """The file's bytes, read from disk as they are needed."""
    kind = _format(place)
    try:
        with place.open("rb") as file:
            if place.stat().st_size == 0:
                raise unreadable(f"{place.name} is empty; expected {kind}")
            source = as_bytes(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {place}", path=str(place)) from error
    except OSError as error:
        raise unreadable(f"{place} cannot be read: {error.strerror}") from error
    if kind == "Parquet" and source[:4].tobytes() != MAGIC:
        raise unreadable(f"{place.name} is not Parquet: it does not begin with PAR1")
    return source
