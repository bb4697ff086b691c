"""What is in a signal file, gathered piece by piece: of its rows, memory holds the ids that they name, and no more."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from raysignal.engine.core.arrays import Int64Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import (
    IdentityConflict,
    LateSignal,
    PriceJump,
    RaysignalError,
    error_entry,
    shorten,
)
from raysignal.engine.core.instants import MICROSECONDS, clock_change_at, format_instant
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.core.terms import TERMS
from raysignal.engine.intake import IntakeResult, Reading, read_file_chunks
from raysignal.engine.intake.checked_file import CHUNK_ROWS, ERRORS_KEPT
from raysignal.engine.intake.line_numbers import line_numbers, place
from raysignal.engine.journal.dedup import RecentIds, first_in_batch
from raysignal.engine.portfolio.admission import AdmissionCode, PriceVerdicts, check_prices
from raysignal.engine.portfolio.file_observations import (
    Feature,
    FileRemark,
    PriceMoves,
    StampSpacing,
    StuckPrice,
    length,
    price_step,
)
from raysignal.engine.portfolio.portfolio import NO_SIGNAL_YET_US

_MOST_STEPS = 200_000
_FIRST_PRICES, _LEAST_PRICES = 9, 4
_NAMED = 5


@dataclass(slots=True)
class SignalFileReport:
    """What is in the pieces seen so far; a fresh portfolio would refuse the rows in `errors`.

    Attributes:
        max_price_jump: a larger factor between two prices is refused; None: every price is believed.
        rows, usable, refused, repeated: rows; the repeated are among the usable.
        errors: the first refused rows, as `error_entry` shows them.
        spacings: the time from row to row, by symbol.
        disordered_row: one that stands in the file after a later one of its symbol; None: there is none.
        zone, shift_us: as in `Reading`; how stamps became instants.
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
    spacings: dict[str, StampSpacing] = field(default_factory=dict)
    disordered_row: int | None = None
    zone: ZoneInfo | timezone = UTC
    shift_us: int = 0
    _marks: dict[str, tuple[int, float]] = field(default_factory=dict)
    _latest_row: dict[str, int] = field(default_factory=dict)
    _moves: dict[str, PriceMoves] = field(default_factory=dict)
    _seen: RecentIds = field(default_factory=RecentIds)
    _damaged_first: dict[str, int] = field(default_factory=dict)
    _stuck: dict[str, StuckPrice] = field(default_factory=dict)
    _together: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, intake: IntakeResult) -> SignalBatch:
        """Take note of one piece, and give the rows of it that can be used; pieces come in time order."""
        self.rows += intake.rows
        self.refused += intake.refused
        self._note(intake.errors)
        batch = intake.batch
        if not len(batch):
            return batch
        self._look_for_disorder(batch)
        kept = self._judged(batch)
        self.usable += len(kept)
        batch = batch if len(kept) == len(batch) else batch.take(kept)
        if not len(kept):
            return batch
        self.first_us = int(batch.timestamp_us[0]) if self.first_us is None else self.first_us
        self.last_us = int(batch.timestamp_us[-1])
        for action in Action:
            count = int(np.count_nonzero(batch.action == action))
            if count or action is not Action.CLOSE:
                self.actions[action.name] += count
        _count(self.symbols, batch.symbol, batch.symbols)
        _count(self.sources, batch.source, batch.sources)
        for name, values in batch.numbers.items():
            self.features.setdefault(name, Feature()).add_numbers(values)
        for name, column in batch.texts.items():
            self.features.setdefault(name, Feature()).add_texts(column)
        return batch

    def as_dict(self) -> dict[str, Any]:
        """Plain values; `spacing` is the commonest step between two rows of a symbol, a gap any longer one of its."""
        gaps = {symbol: spacing.gaps() for symbol, spacing in self.spacings.items()}
        largest = max(((step, symbol) for symbol, steps in gaps.items() for step in steps), default=None)
        return {
            "rows": self.rows,
            "usable": self.usable,
            "refused": self.refused,
            "repeated": self.repeated,
            "from": None if self.first_us is None else format_instant(self.first_us),
            "to": None if self.last_us is None else format_instant(self.last_us),
            "spacing": self._spacing(),
            "gaps": {
                "count": sum(sum(steps.values()) for steps in gaps.values()),
                "largest": None if largest is None else self._gap(largest[1], largest[0]),
            },
            "actions": {action.name: self.actions[action.name] for action in Action},
            "symbols": dict(self.symbols.most_common()),
            "sources": dict(self.sources.most_common()),
            "features": [feature.as_dict(name, self.usable) for name, feature in self.features.items()],
            "in_order": self.disordered_row is None,
            "errors": sorted(self.errors, key=lambda entry: (entry["row"] is None, entry["row"] or 0)),
        }

    @property
    def usual_step_us(self) -> int | None:
        """The commonest step from one instant to the next of a symbol; None: there is none."""
        steps: Counter[int] = Counter()
        for spacing in self.spacings.values():
            steps += Counter({step: count for step, count in spacing.steps.items() if step})
        return max(steps, key=lambda step: (steps[step], -step), default=None)

    def _spacing(self) -> str | None:
        """The usual step of all symbols: one, or from the shortest to the longest."""
        if any(spacing.irregular for spacing in self.spacings.values()):
            return "irregular"
        usual = [step for spacing in self.spacings.values() if (step := spacing.usual) is not None]
        if not usual:
            return None
        return " to ".join(length(step) for step in sorted({min(usual), max(usual)}))

    def _gap(self, symbol: str, step: int) -> dict[str, Any]:
        after = format_instant(self.spacings[symbol].after_us[step])
        return {"length": length(step), "symbol": symbol, "after": after}

    def _judged(self, batch: SignalBatch) -> Int64Array:
        """The rows that a fresh portfolio would take, or take as repeated; the others are noted."""
        first = first_in_batch(batch.key)
        repeats = first != np.arange(len(batch))
        twin, content = batch.row[first], batch.content[first]
        row_before, content_before = self._seen.lookup(batch.key)
        seen = row_before >= 0
        repeats |= seen
        twin, content = np.where(seen, row_before, twin), np.where(seen, content_before, content)
        conflicts = repeats & (batch.content != content)
        marks = [
            self._marks.get(symbol) or (NO_SIGNAL_YET_US, self._expected_first(batch, code, repeats))
            for code, symbol in enumerate(batch.symbols)
        ]
        verdicts = check_prices(
            batch.timestamp_us, batch.symbol, batch.price, repeats,
            np.array([mark for mark, _ in marks], np.int64), np.array([price for _, price in marks], np.float64),
            self.max_price_jump or np.inf, self.max_price_jump is None,
        )  # fmt: skip
        bad = np.flatnonzero((verdicts.verdict != AdmissionCode.NEW) | conflicts)
        self.refused += len(bad)
        self.repeated += int(np.count_nonzero(repeats & ~conflicts))
        self._note([
            self._conflict(batch, index, int(first[index]), int(twin[index]))
            if conflicts[index]
            else self._error(batch, verdicts, index)
            for index in bad[:ERRORS_KEPT].tolist()
        ])  # fmt: skip
        taken = np.flatnonzero((verdicts.verdict == AdmissionCode.NEW) & ~repeats)
        self._move(batch, taken)
        self._remember(batch, taken)
        self._note_stuck(batch, verdicts, repeats)
        return np.flatnonzero((verdicts.verdict == AdmissionCode.NEW) & ~conflicts)

    def _remember(self, batch: SignalBatch, taken: Int64Array) -> None:
        """Keep the ids that may come again in a later piece: one that was derived comes at its own instant alone."""
        again = taken[~batch.derived[taken] | (batch.timestamp_us[taken] == batch.timestamp_us[-1])]
        if len(again):
            self._seen.add(batch.key[again], batch.row[again], batch.content[again])

    def _move(self, batch: SignalBatch, moving: Int64Array) -> None:
        """Carry the marks of every symbol forward over the rows that were taken, and count their spacing."""
        for code, symbol in enumerate(batch.symbols):
            rows = moving[batch.symbol[moving] == code]
            if not len(rows):
                continue
            self._stuck.pop(symbol, None)
            instants, prices = batch.timestamp_us[rows], batch.price[rows]
            if symbol in self._marks:
                instants = np.concatenate([[self._marks[symbol][0]], instants])
                prices = np.concatenate([[self._marks[symbol][1]], prices])
            places = batch.row[rows[len(rows) - len(prices) + 1 :]]
            together = places[np.diff(instants) == 0]
            if len(together):
                first, count = self._together.get(symbol, (int(together[0]), 0))
                self._together[symbol] = first, count + len(together)
            self._moves.setdefault(symbol, PriceMoves()).add(prices, places)
            self.spacings.setdefault(symbol, StampSpacing()).add(instants)
            self._marks[symbol] = (int(instants[-1]), float(batch.price[rows[-1]]))
        self._bound_steps()

    def _bound_steps(self) -> None:
        """Where there are too many different steps to keep, give those symbols up that have the most."""
        kept = sum(len(spacing.steps) for spacing in self.spacings.values())
        for spacing in sorted(self.spacings.values(), key=lambda spacing: -len(spacing.steps)):
            if kept <= _MOST_STEPS:
                break
            kept -= len(spacing.steps)
            spacing.give_up()

    def _expected_first(self, batch: SignalBatch, code: int, repeats: Any) -> float:
        """What the first price of a symbol is held against: NaN, nothing; or, where it alone is far from those after
        it, the middle of these. A portfolio takes it, and then refuses every good row.
        """
        rows = np.flatnonzero((batch.symbol == code) & ~repeats)[:_FIRST_PRICES]
        prices = batch.price[rows]
        if self.max_price_jump is None or len(prices) < _LEAST_PRICES:
            return np.nan
        middle = float(np.median(prices[1:]))
        apart = np.maximum(prices / middle, middle / prices) > self.max_price_jump
        if not apart[0] or apart[1:].any():
            return np.nan
        self._damaged_first[batch.symbols[code]] = int(batch.row[rows[0]])
        return middle

    def _look_for_disorder(self, batch: SignalBatch) -> None:
        """Find the first row that stands in the file after a later one of its symbol."""
        for code, symbol in enumerate(batch.symbols):
            rows = batch.row[batch.symbol == code]
            if self.disordered_row is not None or not len(rows):
                continue
            furthest = np.maximum.accumulate(np.concatenate([[self._latest_row.get(symbol, -1)], rows]))
            if len(early := np.flatnonzero(rows < furthest[:-1])):
                self.disordered_row = int(furthest[early[0]])
            self._latest_row[symbol] = int(furthest[-1])

    def _conflict(self, batch: SignalBatch, index: int, twin: int, other_row: int) -> RaysignalError:
        """Two rows of one identity: both, and the first field in which they differ, if the other is of this piece."""
        remark = clock_change_at(int(batch.timestamp_us[index]) - self.shift_us, self.zone)
        error = IdentityConflict(batch.signal_id[index], int(batch.row[index]), remark=remark)
        error.fields["other_row"] = other_row
        if batch.row[twin] == other_row:
            name, here, there = difference(batch.signal(index), batch.signal(twin))
            error.fields |= {"field": name, "value": shorten(here), "expected": shorten(there)}
        return error

    def _error(self, batch: SignalBatch, verdicts: PriceVerdicts, index: int) -> RaysignalError:
        row, symbol = int(batch.row[index]), batch.symbols[batch.symbol[index]]
        if verdicts.verdict[index] == AdmissionCode.LATE:
            late, mark = int(batch.timestamp_us[index]), int(verdicts.high_water_us[index])
            remark = (
                clock_change_at(late - self.shift_us, self.zone) if mark - late < 3_600 * MICROSECONDS else ""
            )
            return LateSignal(symbol, format_instant(late), format_instant(mark), row, remark=remark)
        assert self.max_price_jump is not None
        price, last = float(batch.price[index]), float(verdicts.last_price[index])
        return PriceJump(symbol, price, last, self.max_price_jump, row)

    def remarks(self) -> list[FileRemark]:
        """What is not refused, and yet not as it should be."""
        found = [
            FileRemark(
                row,
                f"the first price of {symbol} is far from all those after it: a service that takes it refuses every "
                "other row, so leave it out",
            )
            for symbol, row in self._damaged_first.items()
        ]
        found += [
            FileRemark(
                stuck.row,
                f"the price of {symbol} steps {price_step(stuck.before, stuck.price)}, and stays there: "
                f"{stuck.count:,d} rows are refused for it. Adjust the prices before it, or believe it with "
                "--accept-price-jump",
            )
            for symbol, stuck in self._stuck.items()
            if stuck.count >= _LEAST_PRICES
        ]
        found += [
            FileRemark(
                row,
                f"{count:,d} {'row' if count == 1 else 'rows'} of {symbol} {'has' if count == 1 else 'have'} the "
                "instant of the one before it: they are taken one after the other, as they stand",
            )
            for symbol, (row, count) in self._together.items()
        ]
        found += [
            remark for symbol, moves in self._moves.items() if (remark := moves.remark(symbol)) is not None
        ]
        if self.disordered_row is not None:
            found.append(
                FileRemark(
                    self.disordered_row,
                    "rows are not in the order of time: this one stands after a later one of its symbol. They are "
                    "read in that order; sent one by one as they stand, a service would refuse the late ones",
                )
            )
        return found + self._holes()

    def _note_stuck(self, batch: SignalBatch, verdicts: PriceVerdicts, repeats: Any) -> None:
        """Keep, for each symbol, the rows that are refused for a step of its price since one was taken."""
        for code in np.unique(batch.symbol[verdicts.verdict == AdmissionCode.JUMP]).tolist():
            symbol = batch.symbols[code]
            rows = np.flatnonzero((batch.symbol == code) & ~repeats)
            taken = np.flatnonzero(verdicts.verdict[rows] == AdmissionCode.NEW)
            rows = rows[taken[-1] + 1 :] if len(taken) else rows
            jumps = rows[verdicts.verdict[rows] == AdmissionCode.JUMP]
            if len(jumps) and symbol in self._stuck:
                self._stuck[symbol].count += len(jumps)
            elif len(jumps):
                at = int(jumps[0])
                self._stuck[symbol] = StuckPrice(
                    int(batch.row[at]), float(verdicts.last_price[at]), float(batch.price[at]), len(jumps)
                )

    def _holes(self) -> list[FileRemark]:
        """The hole of every symbol that has one; symbols that are away at the same time have one sentence."""
        away: dict[tuple[int, int, int], list[str]] = {}
        for symbol, spacing in self.spacings.items():
            if (hole := spacing.hole()) is not None:
                assert spacing.usual is not None
                away.setdefault((hole, spacing.after_us[hole], spacing.usual), []).append(symbol)
        return [
            FileRemark(
                None,
                f"{_enumerated(symbols)} {'has' if len(symbols) == 1 else 'have'} no row for {length(hole)} after "
                f"{format_instant(after_us)}, where one comes every {length(usual)}: what is computed over rows takes "
                "the hole for one step",
            )
            for (hole, after_us, usual), symbols in away.items()
        ]

    def _note(self, errors: Sequence[RaysignalError]) -> None:
        for error in errors[: ERRORS_KEPT - len(self.errors)]:
            entry = error_entry(error)
            if (other := error.fields.get("other_row")) is not None:
                entry["other_row"] = other
            self.errors.append(entry)


def survey_file(path: Path, reading: Reading, *, max_price_jump: float | None) -> SignalFileReport:
    """Read a file through; raises what `read_file_chunks` raises."""
    survey = SignalFileReport(max_price_jump, zone=reading.zone, shift_us=reading.shift_us)
    for intake in read_file_chunks(path, reading, CHUNK_ROWS):
        survey.add(intake)
    return survey


def remark_sentences(path: Path, remarks: Sequence[FileRemark]) -> list[str]:
    """Remarks about a file as sentences that say where, by its lines where it has any."""
    lines = line_numbers(path, [remark.row for remark in remarks if remark.row is not None])
    return [
        remark.sentence if remark.row is None else f"{place(remark.row, lines)}: {remark.sentence}"
        for remark in remarks
    ]


def difference(one: Signal, other: Signal) -> tuple[str, Any, Any]:
    """The first field in which two signals differ, and what each has there."""
    for name in ("timestamp_us", "price", "action", "symbol", "source"):
        here, there = getattr(one, name), getattr(other, name)
        if here != there:
            if name == "timestamp_us":
                return "timestamp", format_instant(here), format_instant(there)
            return ("signal", here.name, there.name) if name == "action" else (name, here, there)
    for name, here, there in zip(TERMS, one.terms, other.terms, strict=True):
        if here != there and name == "expires":
            shown = [None if each is None else format_instant(int(each)) for each in (here, there)]
            return name, shown[0], shown[1]
        if here != there:
            return name, here, there
    for name in sorted({*one.features, *other.features}):
        if one.features.get(name) != other.features.get(name):
            return name, one.features.get(name), other.features.get(name)
    return "signal_id", one.signal_id, other.signal_id


def _enumerated(names: Sequence[str]) -> str:
    """Names as a sentence lists them, the first of many."""
    more = len(names) - _NAMED
    listed = [*names[:_NAMED], f"{more:,d} more"] if more > 0 else names
    return " and ".join(part for part in (", ".join(listed[:-1]), listed[-1]) if part)


def _count(counts: Counter[str], codes: Any, names: tuple[str, ...]) -> None:
    for name, count in zip(names, np.bincount(codes, minlength=len(names)).tolist(), strict=True):
        if count:
            counts[name] += count
