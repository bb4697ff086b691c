"""What was downloaded, as Parquet files of a UTC month or day each.

    <folder>/2024-01.parquet        rows of that month
    <folder>/2024-01-31.parquet     rows of that day, where a month would be too long

A file says in its metadata which span of time it covers, so that what is there is not asked for again, and time without
rows is told from time that was never asked for. A file is written under another name and then renamed: it is
whole, or not there.
"""

import os
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from raysignal.engine.core.errors import UnreadableInput
from raysignal.engine.core.instants import format_date, instant_of

_COVERED = b"raysignal.covered_us"
_UNFINISHED = ".tmp"


class TimeSpan(NamedTuple):
    """From an instant on and before another, UTC microseconds."""

    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class PeriodFiles:
    """The files of one series of rows.

    Attributes:
        schema: of the rows; `timestamp` is among them, and rising.
        daily: a file a day; else a month.
    """

    folder: Path
    schema: pa.Schema
    daily: bool = False

    def periods(self, span: TimeSpan) -> list[tuple[Path, TimeSpan]]:
        """The files that a span needs, each with its part of it; oldest first."""
        starts = list(self._starts(span))
        return [
            (self.folder / self._name(start), TimeSpan(max(start, span.from_us), min(end, span.to_us)))
            for start, end in pairwise(starts)
        ]

    def _starts(self, span: TimeSpan) -> Iterator[int]:
        """Where the periods of a span begin, and where the last one ends."""
        day = datetime.fromisoformat(format_date(span.from_us)).replace(tzinfo=UTC)
        start = day if self.daily else day.replace(day=1)
        while instant_of(start) < span.to_us:
            yield instant_of(start)
            start = start + timedelta(days=1) if self.daily else (start + timedelta(days=32)).replace(day=1)
        yield instant_of(start)

    def _name(self, start_us: int) -> str:
        date = format_date(start_us)
        return f"{date if self.daily else date[:7]}.parquet"

    def paths(self) -> list[Path]:
        """The files that are there; oldest first."""
        return sorted(each for each in self.folder.glob("*.parquet") if not each.name.startswith("."))

    def clean(self) -> None:
        """Files that were not finished go."""
        for path in self.folder.glob(f".*{_UNFINISHED}"):
            path.unlink()

    def covered(self, path: Path) -> TimeSpan | None:
        """What a file covers; None: it is not there.

        Raises:
            UnreadableInput: it is no file of this kind.
        """
        if not path.exists():
            return None
        try:
            said = (pq.read_schema(path).metadata or {})[_COVERED]
            from_us, to_us = map(int, said.split(b","))
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise UnreadableInput(
                f"{path} was not written by a download, or is damaged; move it away to have it downloaded again"
            ) from error
        return TimeSpan(from_us, to_us)

    def read(self, path: Path, columns: list[str] | None = None) -> pa.Table:
        """The rows of a file."""
        try:
            return pq.read_table(path, columns=columns, partitioning=None)
        except (pa.ArrowException, OSError) as error:
            raise UnreadableInput(f"{path} is damaged; move it away to have it downloaded again") from error

    def write(self, path: Path, rows: pa.Table, span: TimeSpan) -> None:
        """Write rows in place of those that are there."""
        table = rows.combine_chunks().replace_schema_metadata({_COVERED: f"{span.from_us},{span.to_us}"})
        unfinished = path.with_name(f".{path.name}{_UNFINISHED}")
        with unfinished.open("wb") as out:
            pq.write_table(table, out, compression="zstd")
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(path)


async def complete(
    files: PeriodFiles,
    path: Path,
    span: TimeSpan,
    settled_us: int,
    fetch: Callable[[TimeSpan], Awaitable[pa.Table]],
) -> None:
    """Make a file cover a span: what it does not cover yet is fetched.

    Rows before `settled_us` can be had if there are any; after it they may still come, and the file covers no more than
    those that have. Without rows there is no file.
    """
    held = files.covered(path)
    whole = span if held is None else TimeSpan(min(span.from_us, held.from_us), max(span.to_us, held.to_us))
    if held == whole:
        return
    if held is None:
        parts = [await fetch(whole)]
    else:
        before, after = TimeSpan(whole.from_us, held.from_us), TimeSpan(held.to_us, whole.to_us)
        parts = [await fetch(before)] if before.from_us < before.to_us else []
        parts.append(files.read(path).cast(files.schema))
        parts += [await fetch(after)] if after.from_us < after.to_us else []
    rows = pa.concat_tables(parts)
    last_us = rows["timestamp"][-1].value if len(rows) else 0
    to_us = min(whole.to_us, max(settled_us, last_us))
    if len(rows) and to_us > whole.from_us:
        files.write(path, rows, TimeSpan(whole.from_us, to_us))
