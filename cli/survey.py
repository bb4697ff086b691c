"""What is in a signal file, gathered piece by piece: memory does not grow with the file."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cli.files import CHUNK_ROWS, ERRORS_KEPT
from engine import guard
from engine.columns import SignalBatch, TextColumn
from engine.digests import Floats, Ints
from engine.errors import IdentityConflict, LateSignal, PriceJump, RaysignalError, error_entry
from engine.identities.keys import first_in_batch
from engine.instants import DAY_US, MICROSECONDS, format_instant
from engine.intake import Intake, Reading, read_file_chunks
from engine.signals import Action

_EXAMPLE = 40
_MOST_STEPS = 100_000
_UNITS = (
    ("d", DAY_US), ("h", 3_600 * MICROSECONDS), ("m", 60 * MICROSECONDS), ("s", MICROSECONDS), ("ms", 1_000), ("us", 1),
)  # fmt: skip


@dataclass(slots=True)
class Feature:
    """What is known of one feature.

    Attributes:
        numbers, texts: rows with a value of either kind.
        least, most: of the numbers.
        example: the first text.
    """

    numbers: int = 0
    texts: int = 0
    least: float = np.inf
    most: float = -np.inf
    example: str | None = None

    def add_numbers(self, values: Floats) -> None:
        """Count the numbers of some rows; NaN is missing."""
        known = values[~np.isnan(values)]
        if len(known):
            self.numbers += len(known)
            self.least = min(self.least, float(known.min()))
            self.most = max(self.most, float(known.max()))

    def add_texts(self, column: TextColumn) -> None:
        """Count the texts of some rows; an empty one is missing."""
        there = np.flatnonzero(np.diff(column.offsets))
        self.texts += len(there)
        if self.example is None and len(there):
            text = " ".join(column[int(there[0])].split())
            self.example = text if len(text) <= _EXAMPLE else text[: _EXAMPLE - 1] + "…"

    def as_dict(self, name: str, rows: int) -> dict[str, Any]:
        """Plain values; `missing` is a share of the usable rows."""
        kinds = [kind for kind, count in (("number", self.numbers), ("text", self.texts)) if count]
        return {
            "name": name,
            "type": " and ".join(kinds),
            "missing": 1.0 - (self.numbers + self.texts) / rows,
            "least": self.least if self.numbers else None,
            "most": self.most if self.numbers else None,
            "example": self.example,
        }


@dataclass(slots=True)
class Survey:
    """What is in the pieces seen so far; a fresh portfolio would refuse the rows in `errors`.

    Attributes:
        max_price_jump: a larger factor between two prices is refused; None: every price is believed.
        rows, usable, refused, repeated: rows; the repeated are among the usable.
        errors: the first refused rows, as `error_entry` shows them.
        steps: how often which spacing occurs, in microseconds.
        wide: for each of them, the symbol and the instant before its first occurrence.
        irregular: there are so many different spacings that none is counted.
    """

    max_price_jump: float | None
    rows: int = 0
    usable: int = 0
    refused: int = 0
    repeated: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    first_us: int | None = None
    last_us: int | None = None
    actions: Counter[str] = field(default_factory=Counter)
    symbols: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    features: dict[str, Feature] = field(default_factory=dict)
    steps: Counter[int] = field(default_factory=Counter)
    wide: dict[int, tuple[str, int]] = field(default_factory=dict)
    irregular: bool = False
    _marks: dict[str, tuple[int, float]] = field(default_factory=dict)

    def add(self, intake: Intake) -> SignalBatch:
        """Take note of one piece, and give the rows of it that can be used; pieces come in time order."""
        self.rows += intake.rows
        self.refused += intake.refused
        self._note(intake.errors)
        batch = intake.batch
        if not len(batch):
            return batch
        kept = self._judged(batch)
        self.usable += len(kept)
        batch = batch if len(kept) == len(batch) else batch.take(kept)
        if not len(kept):
            return batch
        self.first_us = int(batch.timestamp_us[0]) if self.first_us is None else self.first_us
        self.last_us = int(batch.timestamp_us[-1])
        for action in Action:
            self.actions[action.name] += int(np.count_nonzero(batch.action == action))
        _count(self.symbols, batch.symbol, batch.symbols)
        _count(self.sources, batch.source, batch.sources)
        for name, values in batch.numbers.items():
            self.features.setdefault(name, Feature()).add_numbers(values)
        for name, column in batch.texts.items():
            self.features.setdefault(name, Feature()).add_texts(column)
        return batch

    def as_dict(self) -> dict[str, Any]:
        """Plain values; `spacing` is the commonest step between two rows of a symbol, a gap any longer one."""
        spacing = max(self.steps, key=lambda step: (self.steps[step], -step), default=None)
        gaps = {step: count for step, count in self.steps.items() if spacing is not None and step > spacing}
        return {
            "rows": self.rows,
            "usable": self.usable,
            "refused": self.refused,
            "repeated": self.repeated,
            "from": None if self.first_us is None else format_instant(self.first_us),
            "to": None if self.last_us is None else format_instant(self.last_us),
            "spacing": "irregular" if self.irregular else None if spacing is None else length(spacing),
            "gaps": {"count": sum(gaps.values()), "largest": self._gap(max(gaps)) if gaps else None},
            "actions": {action.name: self.actions[action.name] for action in Action},
            "symbols": dict(self.symbols.most_common()),
            "sources": dict(self.sources.most_common()),
            "features": [feature.as_dict(name, self.usable) for name, feature in self.features.items()],
            "errors": sorted(self.errors, key=lambda entry: (entry["row"] is None, entry["row"] or 0)),
        }

    def _gap(self, step: int) -> dict[str, Any]:
        symbol, before_us = self.wide[step]
        return {"length": length(step), "symbol": symbol, "after": format_instant(before_us)}

    def _judged(self, batch: SignalBatch) -> Ints:
        """The rows that a fresh portfolio would take, or take as repeated; the others are noted."""
        first = first_in_batch(batch.key)
        repeats = first != np.arange(len(batch))
        conflicts = repeats & (batch.content != batch.content[first])
        marks = [self._marks.get(symbol, (guard.NEVER_US, np.nan)) for symbol in batch.symbols]
        verdicts = guard.check(
            batch.timestamp_us, batch.symbol, batch.price, repeats,
            np.array([mark for mark, _ in marks], np.int64), np.array([price for _, price in marks], np.float64),
            self.max_price_jump or np.inf, self.max_price_jump is None,
        )  # fmt: skip
        bad = np.flatnonzero((verdicts.verdict != guard.OK) | conflicts)
        self.refused += len(bad)
        self.repeated += int(np.count_nonzero(repeats & ~conflicts))
        self._note([
            IdentityConflict(batch.signal_id[index], int(batch.row[index]))
            if conflicts[index]
            else _error(batch, verdicts, index, self.max_price_jump)
            for index in bad[:ERRORS_KEPT].tolist()
        ])  # fmt: skip
        self._move(batch, np.flatnonzero((verdicts.verdict == guard.OK) & ~repeats))
        return np.flatnonzero((verdicts.verdict == guard.OK) & ~conflicts)

    def _move(self, batch: SignalBatch, moving: Ints) -> None:
        """Carry the marks of every symbol forward over the rows that were taken, and count their spacing."""
        for code, symbol in enumerate(batch.symbols):
            rows = moving[batch.symbol[moving] == code]
            if not len(rows):
                continue
            instants = batch.timestamp_us[rows]
            if symbol in self._marks:
                instants = np.concatenate([[self._marks[symbol][0]], instants])
            steps, first, counts = np.unique(np.diff(instants), return_index=True, return_counts=True)
            for step, position, count in self._counted(steps, first, counts):
                self.steps[step] += count
                self.wide.setdefault(step, (symbol, int(instants[position])))
            self._marks[symbol] = (int(instants[-1]), float(batch.price[rows[-1]]))

    def _counted(self, steps: Ints, first: Ints, counts: Ints) -> Iterable[tuple[int, int, int]]:
        """The steps to count: none once there are so many that no spacing is to be found."""
        if not self.irregular and len(self.steps) + len(steps) > _MOST_STEPS:
            self.irregular = True
            self.steps.clear()
            self.wide.clear()
        return () if self.irregular else zip(steps.tolist(), first.tolist(), counts.tolist(), strict=True)

    def _note(self, errors: Sequence[RaysignalError]) -> None:
        self.errors += [error_entry(error) for error in errors[: ERRORS_KEPT - len(self.errors)]]


def survey_file(path: Path, reading: Reading, *, max_price_jump: float | None) -> Survey:
    """Read a file through; raises what `read_file_chunks` raises."""
    survey = Survey(max_price_jump)
    for intake in read_file_chunks(path, reading, CHUNK_ROWS):
        survey.add(intake)
    return survey


def length(span_us: int) -> str:
    """A span in the largest unit that it is a whole number of, such as `10m`."""
    unit, size = next((unit, size) for unit, size in _UNITS if span_us % size == 0)
    return f"{span_us // size}{unit}"


def _error(batch: SignalBatch, verdicts: guard.Verdicts, index: int, limit: float | None) -> RaysignalError:
    row, symbol = int(batch.row[index]), batch.symbols[batch.symbol[index]]
    if verdicts.verdict[index] == guard.LATE:
        mark = format_instant(int(verdicts.high_water_us[index]))
        return LateSignal(symbol, format_instant(int(batch.timestamp_us[index])), mark, row)
    assert limit is not None
    return PriceJump(symbol, float(batch.price[index]), float(verdicts.last_price[index]), limit, row)


def _count(counts: Counter[str], codes: Any, names: tuple[str, ...]) -> None:
    for name, count in zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True):
        if count:
            counts[name] += count
