"""A signal file read through before anything of it is used: how many rows it has, and which cannot be used."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InputError, error_entry
from raysignal.engine.intake.files import read_file_chunks
from raysignal.engine.intake.reading import Reading
from raysignal.engine.intake.tables import IntakeResult

ERRORS_KEPT = 100
CHUNK_ROWS = 131_072


@dataclass(slots=True)
class CheckedSignalFile:
    """A signal file that was read through once, so that its rows are counted and its errors known.

    Attributes:
        path, reading: which, and how.
        rows: data rows.
        refused: how many of them cannot be used.
        errors: the first of those, as `error_entry` shows them.
        step_us: the commonest step from one instant of a symbol to its next, of the first rows; None: there is none.
    """

    path: Path
    reading: Reading
    rows: int = 0
    refused: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    step_us: int | None = None
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
            file.step_us = _usual_step_us(intake.batch) if piece == 0 else file.step_us
        file.errors = [error_entry(error) for error in errors]
        return file

    def pieces(self) -> Iterator[IntakeResult]:
        """The rows that can be used, in time, piece by piece."""
        if self._only is not None:
            yield self._only
        else:
            yield from read_file_chunks(self.path, self.reading, CHUNK_ROWS)


def _usual_step_us(batch: SignalBatch) -> int | None:
    instants = (batch.timestamp_us[batch.symbol == code] for code in range(len(batch.symbols)))
    steps, counts = np.unique(
        np.concatenate([np.empty(0, np.int64), *map(np.diff, instants)]), return_counts=True
    )
    counts[steps == 0] = 0
    return int(steps[counts.argmax()]) if counts.any() else None
