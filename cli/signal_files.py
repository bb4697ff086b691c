"""Signal files on the command line: how the options say one is read, and its signals as the stream of an experiment."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from raysignal.cli.output import Output, errors_table, escape
from raysignal.engine.core.errors import InvalidField, RaysignalError
from raysignal.engine.core.instants import format_instant, parse_bar, zone_named

if TYPE_CHECKING:
    from pathlib import Path

    from raysignal.cli.options import ReadingOptions
    from raysignal.engine.core.columns import SignalBatch
    from raysignal.engine.intake import Reading
    from raysignal.runtime.settings import Settings


def reading_of(options: ReadingOptions, settings: Settings) -> Reading:
    """How a file is read now: the options, and the settings where they say nothing.

    Raises:
        InvalidField: a zone that does not exist, a bar that is no length, or a map of what is no field.
    """
    from raysignal.engine.intake import Reading

    return Reading(
        zone=zone_named(options.timezone or settings.intake.timezone),
        symbol=options.symbol or settings.intake.symbol,
        source=options.source or settings.intake.source,
        now_us=time.time_ns() // 1000,
        max_future_us=int(settings.intake.max_future_s * 1e6),
        bar_us=parse_bar(options.bar) if options.bar else 0,
        label=options.label,
        symbols=settings.intake.symbols,
        day_first=settings.intake.day_first if options.day_first is None else options.day_first,
        names=options.names,
        decimal=options.decimal,
        thousands=options.thousands,
    )


def check_bar(options: ReadingOptions, step_us: int | None) -> None:
    """Refuse a bar that is longer than the usual step from row to row, unless it is to be believed.

    Raises:
        InvalidField: it is: each row would be known later than it was, or at a time that is not its own.
    """
    if options.bar is None or options.force or step_us is None or step_us >= parse_bar(options.bar):
        return
    from raysignal.engine.portfolio.file_observations import length

    raise InvalidField(
        "bar",
        options.bar,
        f"at most {length(step_us)}, which is what lies between rows; if it is true, add --force",
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
    ways = ["dates with slashes say the day first"] if reading.day_first else []
    ways += [f"{name!r} is the {field}" for field, name in reading.names.items()]
    if reading.decimal != "." or reading.thousands:
        between = f" and {reading.thousands!r} between thousands" if reading.thousands else ""
        ways.append(f"numbers have {reading.decimal!r} before decimals{between}")
    return "; ".join([zone, instant, *ways, f"rows without a symbol are about {reading.symbol}"])


@dataclass(frozen=True, slots=True)
class FileStream:
    """A file that was read.

    Attributes:
        batch: its signals in time, each once; at least one.
        rows, refused, repeated: of the file.
        provenance: where the signals came from, for a manifest.
    """

    batch: SignalBatch
    rows: int
    refused: int
    repeated: int
    provenance: dict[str, Any]

    @property
    def sentence(self) -> str:
        """What is in it."""
        first, last = (format_instant(int(self.batch.timestamp_us[place])) for place in (0, -1))
        names = [escape(name) for name in self.batch.symbols[:4]]
        more = f" and {len(self.batch.symbols) - 4} more" if len(self.batch.symbols) > 4 else ""
        left = [
            f"{count:,d} {what}"
            for count, what in ((self.refused, "refused"), (self.repeated, "repeated"))
            if count
        ]
        out = f"; left out: {', '.join(left)}" if left else ""
        return f"{len(self.batch):,d} of {', '.join(names)}{more}, {first} to {last}{out}"


def read_stream(
    path: Path, options: ReadingOptions, settings: Settings, *, skip: bool, accept_jump: bool, output: Output,
    prices_only: bool = False,
) -> FileStream:  # fmt: skip
    """Read a file whole; rows that a portfolio would refuse are shown, or left out with `skip`.

    With `prices_only`, rows need no action: those without are HOLDs.

    Raises:
        RaysignalError: a row that cannot be used and is not to be left out, or no signal at all.
    """
    import numpy as np

    from raysignal.engine.intake import read_file
    from raysignal.engine.intake.line_numbers import with_lines
    from raysignal.engine.journal.dedup import first_in_batch
    from raysignal.engine.portfolio.signal_file_report import SignalFileReport, remark_sentences

    reading = replace(reading_of(options, settings), prices_only=prices_only)
    survey = SignalFileReport(
        None if accept_jump else settings.intake.max_price_jump, zone=reading.zone, shift_us=reading.shift_us
    )
    batch = survey.add(read_file(path, reading))
    check_bar(options, survey.usual_step_us)
    for sentence in remark_sentences(path, survey.remarks()):
        output.err.print(f"note: {escape(sentence)}")
    if survey.refused and not skip:
        output.err.print(errors_table(with_lines(path, survey.errors), survey.refused), soft_wrap=False)
        raise RaysignalError(
            f"{survey.refused:,d} of {survey.rows:,d} rows of {path} cannot be used; "
            "leave them out with --on-error skip"
        )
    if not len(batch):
        raise RaysignalError(f"{path} holds no signal; expected at least one row")
    once = np.flatnonzero(first_in_batch(batch.key) == np.arange(len(batch)))
    provenance = {
        "file": path.name,
        "sha256": _sha256(path),
        "read": reading_sentences(options, reading),
        "rows": survey.rows,
        "refused": survey.refused,
        "repeated": survey.repeated,
    }
    return FileStream(batch.take(once), survey.rows, survey.refused, survey.repeated, provenance)


def _sha256(path: Path) -> str:
    """Of a file; of a folder, that of the digests of its files."""
    from raysignal.engine.intake.files import parquet_files

    paths, digests = parquet_files(path) if path.is_dir() else [path], []
    for each in paths:
        with each.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()
