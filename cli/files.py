"""Signal files as they are read here: what the options mean, said back to the person, and the pieces."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysignal.cli.options import ReadingOptions
from raysignal.engine.core.errors import InputError, error_entry
from raysignal.engine.core.instants import parse_bar, zone_named
from raysignal.engine.intake import IntakeResult, Reading, read_file_chunks
from raysignal.runtime.settings import Settings

ERRORS_KEPT = 100
CHUNK_ROWS = 131_072


def reading_of(options: ReadingOptions, settings: Settings, *, now_us: int) -> Reading:
    """How a file is read: the options, and the settings where they say nothing.

    Raises:
        InvalidField: a zone that does not exist, or a bar that is no length.
    """
    return Reading(
        zone=zone_named(options.timezone or settings.timezone),
        symbol=options.symbol or settings.symbol,
        source=options.source or settings.source,
        now_us=now_us,
        max_future_us=int(settings.max_future_s * 1e6),
        bar_us=parse_bar(options.bar) if options.bar else 0,
        label=options.label,
    )


def reading_sentences(options: ReadingOptions, reading: Reading) -> str:
    """How the file is read, for the person who may have meant something else."""
    zone = f"stamps without a zone are read in {reading.zone}"
    if options.bar is None:
        instant = "each stamp is the instant at which its row was known (else: --bar and --label)"
    elif options.label == "open":
        instant = f"each stamp opens a bar of {options.bar}, so its row is known {options.bar} later"
    else:
        instant = f"each stamp closes a bar of {options.bar}, so its row is known then"
    return f"{zone}; {instant}; rows without a symbol are about {reading.symbol}"


@dataclass(slots=True)
class CheckedSignalFile:
    """A signal file that was read through once, so that its rows are counted and its errors known.

    Attributes:
        path, reading: which, and how.
        rows: data rows.
        refused: how many of them cannot be used.
        errors: the first of those, as `error_entry` shows them.
    """

    path: Path
    reading: Reading
    rows: int = 0
    refused: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    _only: IntakeResult | None = None

    @classmethod
    def survey(cls, path: Path, reading: Reading) -> "CheckedSignalFile":
        """Read the file through; a file that is one piece stays in memory, a longer one is read again."""
        file = cls(path, reading)
        errors: list[InputError] = []
        for piece, intake in enumerate(read_file_chunks(path, reading, CHUNK_ROWS)):
            file.rows += intake.rows
            file.refused += intake.refused
            errors += intake.errors[: ERRORS_KEPT - len(errors)]
            file._only = intake if piece == 0 else None
        file.errors = [error_entry(error) for error in errors]
        return file

    def pieces(self) -> Iterator[IntakeResult]:
        """The rows that can be used, in time, piece by piece."""
        if self._only is not None:
            yield self._only
        else:
            yield from read_file_chunks(self.path, self.reading, CHUNK_ROWS)
