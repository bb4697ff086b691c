"""Where the rows of a signal file stand, as an editor numbers its lines."""

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from raysignal.engine.core.errors import InputError
from raysignal.engine.intake.csv_rows import CsvHeader, read_header
from raysignal.engine.intake.source import as_bytes

_RECORDS = {".csv", ".tsv", ".txt"}
_TEXT = {*_RECORDS, ".ndjson", ".jsonl"}
_HEADER_BYTES = 1 << 20


def line_numbers(path: Path, rows: Iterable[int]) -> dict[int, int]:
    """The line on which each of some rows begins, from 1; none of them where a format has no lines.

    Rows are data rows, from 0: the header and blank lines are none. Reads the file up to the last of them.
    """
    wanted = set(rows)
    found: dict[int, int] = {}
    if not wanted or path.suffix.lower() not in _TEXT:
        return found
    last = max(wanted)
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        starts = _records(file, _header(path)) if path.suffix.lower() in _RECORDS else _lines(file)
        for row, line in enumerate(starts):
            if row in wanted:
                found[row] = line
            if row >= last:
                break
    return found


def _lines(lines: Iterable[str]) -> Iterator[int]:
    return (number for number, line in enumerate(lines, 1) if line.strip())


def _header(path: Path) -> CsvHeader:
    with path.open("rb") as file:
        try:
            return read_header(as_bytes(file.read(_HEADER_BYTES)))
        except InputError:  # which is told elsewhere
            return CsvHeader([], 0, ord(","))


def _records(lines: Iterable[str], header: CsvHeader) -> Iterator[int]:
    """Where the records after the header begin; a quoted cell may hold line ends."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        reader, line, before_rows = csv.reader(lines, delimiter=chr(header.delimiter)), 1, header.lines
        for record in reader:
            if any(record):
                if not before_rows:
                    yield line
                before_rows = max(0, before_rows - 1)
            line = reader.line_num + 1
    finally:
        csv.field_size_limit(before)


def place(row: int, lines: Mapping[int, int]) -> str:
    """A row as its user finds it: by its line, else by its position from 0."""
    return f"line {lines[row]}" if row in lines else f"row {row}"


def with_lines(path: Path, errors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Error entries with the line of each, and of the other row where there are two."""
    rows = [entry[name] for entry in errors for name in ("row", "other_row") if entry.get(name) is not None]
    lines = line_numbers(path, rows)
    return [_with_line(entry, lines) for entry in errors]


def _with_line(entry: Mapping[str, Any], lines: Mapping[int, int]) -> dict[str, Any]:
    row = entry.get("row")
    placed = dict(entry) | {"line": lines.get(row) if row is not None else None}
    if (other := entry.get("other_row")) is not None:
        there = place(other, lines)
        placed |= {"other_line": lines.get(other)}
        if entry["field"] == "signal_id":  # which field differs is not known
            placed["expected"] = f"what {there} says, or another signal_id"
            differ = "not the same in both"
        else:
            placed["expected"] = f"{entry['expected']}, as in {there}, or another signal_id"
            differ = f"with {entry['field']} {entry['value']} here and {entry['expected']} there"
        placed["detail"] = f"{place(row or 0, lines)} and {there} are one signal, {differ}. {entry['detail']}"
    return placed
