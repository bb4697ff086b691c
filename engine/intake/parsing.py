# mypy: disable-error-code="arg-type,assignment,no-any-return,operator,misc,return-value"
# mypy: disallow-untyped-decorators=False
"""From cells to values, a column at a time, compiled.

Every function says for each row whether it understood the cell; what it did not is read by the reference. The
bodies are numba's language.
"""

from collections.abc import Iterable

import numpy as np

from raysignal.engine.core.arrays import (
    BoolArray,
    Float64Array,
    Int8Array,
    Int32Array,
    Int64Array,
    UInt8Array,
)
from raysignal.engine.core.raw import compiled, copy_bytes
from raysignal.engine.intake.scanning import ABSENT, FALSE, NULL, NUMBER, TEXT, TRUE, VALUE, marks

# What a text is as a decimal number: none; one whose value was computed; one that takes a longer way (exact
# conversion of more than 15 digits); one so long or so large that the reference must say.
NO_DECIMAL, EXACT, LONG, EXTREME = 0, 1, 2, 3

# What became of a feature's cell.
MISSING, NUMERIC, PENDING, TEXTUAL, UNCLEAR = 0, 1, 2, 3, 4

_IN_BYTES = marks(TEXT, NUMBER)
_BOOLEAN = marks(TRUE, FALSE)
_IS_SIGN = marks(43, 45)
# What may stand for a number without being one: NaN, inf and Infinity, with a sign.
_LONGEST_WORD = 9
# Bytes that no number begins with, and no blank.
_IS_PROSE = marks(*range(33, 43), *range(58, 256))
_POWERS = 10.0 ** np.arange(23)
_LARGEST_EXACT = 1 << 53


@compiled
def _is_blank(byte: int) -> bool:
    return byte == 32 or 9 <= byte <= 13


@compiled
def trimmed(data: UInt8Array, start: int, end: int) -> tuple[int, int]:
    """The span without the blanks around it."""
    while start < end and _is_blank(data[start]):
        start += 1
    while end > start and _is_blank(data[end - 1]):
        end -= 1
    return start, end


@compiled
def decimal(  # noqa: C901, PLR0912 - one pass, its state in registers
    data: UInt8Array, at: int, end: int
) -> tuple[float, int]:
    """The decimal number that `data[at:end]` is, and how sure that is.

    Up to 2^53 in the digits and 10^22 in the power, one IEEE operation on two exact floats is correctly
    rounded (W. D. Clinger, How to read floating point numbers accurately, 1990).
    """
    negative = False
    if at < end and (data[at] == 45 or data[at] == 43):
        negative = data[at] == 45
        at += 1
    mantissa, power, digits, used = np.int64(0), 0, 0, 0
    while at < end and 48 <= data[at] <= 57:
        if used < 18:
            mantissa = mantissa * 10 + (data[at] - 48)
            if mantissa > 0:
                used += 1
        else:
            used += 1
        digits += 1
        at += 1
    if at < end and data[at] == 46:
        at += 1
        while at < end and 48 <= data[at] <= 57:
            if used < 18:
                mantissa = mantissa * 10 + (data[at] - 48)
                if mantissa > 0:
                    used += 1
                power -= 1
            else:
                used += 1
            digits += 1
            at += 1
    if digits == 0:
        return 0.0, NO_DECIMAL
    if at < end and (data[at] == 101 or data[at] == 69):
        at += 1
        minus = False
        if at < end and (data[at] == 43 or data[at] == 45):
            minus = data[at] == 45
            at += 1
        if at >= end:
            return 0.0, NO_DECIMAL
        exponent = 0
        while at < end and 48 <= data[at] <= 57:
            if exponent < 100_000:
                exponent = exponent * 10 + (data[at] - 48)
            at += 1
        power += -exponent if minus else exponent
    if at != end:
        return 0.0, NO_DECIMAL
    if digits + abs(power) > 290:
        return 0.0, EXTREME
    if used > 18 or mantissa > _LARGEST_EXACT or power > 22 or power < -22:
        return 0.0, LONG
    value = mantissa * _POWERS[power] if power >= 0 else mantissa / _POWERS[-power]
    return (-value if negative else value), EXACT


@compiled
def _is_special(data: UInt8Array, at: int, end: int, short: bytes, mixed: bytes) -> bool:
    for word in (short, mixed):
        if end - at == len(word):
            same = True
            for k in range(len(word)):
                if data[at + k] != word[k]:
                    same = False
            if same:
                return True
    return False


@compiled
def read_numbers(
    data: UInt8Array,
    start: Int32Array,
    end: Int32Array,
    kind: UInt8Array,
    values: Float64Array,
    out: Float64Array,
    verdict: UInt8Array,
) -> int:
    """Required numbers (prices): NUMERIC, PENDING with its trimmed span, or UNCLEAR; how many are pending."""
    pending = 0
    for i in range(kind.shape[0]):
        verdict[i] = UNCLEAR
        if kind[i] == VALUE:
            out[i] = values[i]
            verdict[i] = NUMERIC
        elif _IN_BYTES[kind[i]]:
            first, last = trimmed(data, start[i], end[i])
            out[i], sure = decimal(data, first, last)
            if sure == EXACT:
                verdict[i] = NUMERIC
            elif sure == LONG:
                verdict[i] = PENDING
                pending += 1
    return pending


@compiled
def read_actions(
    data: UInt8Array,
    start: Int32Array,
    end: Int32Array,
    kind: UInt8Array,
    values: Float64Array,
    out: Int8Array,
    clear: BoolArray,
) -> None:
    for i in range(kind.shape[0]):
        number, known = 0.0, False
        if kind[i] == VALUE:
            number, known = values[i], True
        elif _IN_BYTES[kind[i]]:
            first, last = trimmed(data, start[i], end[i])
            number, sure = decimal(data, first, last)
            known = sure == EXACT
            if not known and last - first == 3:
                known = _folds_to(data, first, b"BUY")
                number = 1.0
            elif not known and last - first == 4:
                if _folds_to(data, first, b"SELL"):
                    number, known = -1.0, True
                elif _folds_to(data, first, b"HOLD"):
                    number, known = 0.0, True
        if known and abs(number) <= 1.0 and number == int(number):
            out[i] = np.int8(number)
        else:
            clear[i] = False


@compiled
def _folds_to(data: UInt8Array, at: int, word: bytes) -> bool:
    for k in range(len(word)):
        byte = data[at + k]
        if 97 <= byte <= 122:
            byte -= 32
        if byte != word[k]:
            return False
    return True


@compiled
def trim_names(
    data: UInt8Array,
    start: Int32Array,
    end: Int32Array,
    kind: UInt8Array,
    limit: int,
    first: Int32Array,
    last: Int32Array,
    clear: BoolArray,
) -> None:
    """Spans of symbols, sources or ids without their blanks, empty where missing; only plain ASCII is clear."""
    for i in range(kind.shape[0]):
        first[i] = 0
        last[i] = 0
        if kind[i] == TEXT:
            begin, stop = trimmed(data, start[i], end[i])
            if stop - begin > limit:
                clear[i] = False
            for k in range(begin, stop):
                if data[k] < 32 or data[k] > 126:
                    clear[i] = False
            first[i] = begin
            last[i] = stop
        elif kind[i] != ABSENT and kind[i] != NULL:
            clear[i] = False


@compiled
def read_feature(
    data: UInt8Array,
    start: Int32Array,
    end: Int32Array,
    kind: UInt8Array,
    values: Float64Array,
    most: int,
    out: Float64Array,
    verdict: UInt8Array,
) -> tuple[int, int]:
    """A feature's cells: what became of each, numbers in `out` (NaN elsewhere); (texts, pending)."""
    texts, pending = 0, 0
    for i in range(kind.shape[0]):
        out[i] = np.nan
        what = kind[i]
        verdict[i] = MISSING
        if _IN_BYTES[what]:
            verdict[i], number = _feature(data, start[i], end[i], what == NUMBER, most)
            if verdict[i] == NUMERIC:
                out[i] = number
            elif verdict[i] == TEXTUAL:
                texts += 1
            elif verdict[i] == PENDING:
                pending += 1
        elif _BOOLEAN[what]:
            out[i] = 1.0 if what == TRUE else 0.0
            verdict[i] = NUMERIC
        elif what == VALUE:
            if np.isinf(values[i]):
                verdict[i] = UNCLEAR
            elif not np.isnan(values[i]):
                out[i] = values[i]
                verdict[i] = NUMERIC
    return texts, pending


@compiled
def _feature(  # noqa: C901, PLR0911 - a table of cases
    data: UInt8Array, start: int, end: int, number: bool, most: int
) -> tuple[int, float]:
    if end - start > _LONGEST_WORD and _IS_PROSE[data[start]] and not _is_blank(data[start + _LONGEST_WORD]):
        # Without a look at its end, which is far away in memory.
        return (TEXTUAL if end - start <= most else UNCLEAR), 0.0
    first, last = trimmed(data, start, end)
    if first == last:
        return MISSING, 0.0
    byte = data[first]
    if 43 <= byte <= 57:  # + , - . / 0 to 9
        value, sure = decimal(data, first, last)
        if sure == EXACT:
            return NUMERIC, value
        if sure == LONG:
            return PENDING, 0.0
        if sure == EXTREME:
            return UNCLEAR, 0.0
    if number:
        return UNCLEAR, 0.0
    if last - first <= _LONGEST_WORD:
        if _is_special(data, first, last, b"nan", b"NaN"):
            return MISSING, 0.0
        bare = first + _IS_SIGN[byte]
        if _is_special(data, bare, last, b"inf", b"Infinity"):
            return UNCLEAR, 0.0
    return (TEXTUAL if end - start <= most else UNCLEAR), 0.0


@compiled
def decimal_spans(
    data: UInt8Array,
    start: Int32Array,
    end: Int32Array,
    rows: Int64Array,
    first: Int32Array,
    last: Int32Array,
) -> None:
    """Spans of the numbers in `rows`, without blanks and a leading plus."""
    for k in range(rows.shape[0]):
        first[k], last[k] = trimmed(data, start[rows[k]], end[rows[k]])
        if data[first[k]] == 43:
            first[k] += 1


@compiled
def _span_offsets(
    start: Int32Array, end: Int32Array, rows: Int64Array, taken: BoolArray, offsets: Int64Array
) -> None:
    offsets[0] = 0
    for k in range(rows.shape[0]):
        i = rows[k]
        offsets[k + 1] = offsets[k] + (end[i] - start[i] if taken[i] else 0)


@compiled
def _copy_spans(
    data: UInt8Array, start: Int32Array, rows: Int64Array, offsets: Int64Array, out: UInt8Array
) -> None:
    for k in range(rows.shape[0]):
        copy_bytes(out, offsets[k], data, start[rows[k]], offsets[k + 1] - offsets[k])


def gather_spans(
    columns: Iterable[tuple[UInt8Array, Int32Array, Int32Array, BoolArray]], rows: Int64Array
) -> list[tuple[UInt8Array, Int64Array]]:
    """The texts of `rows` one after the other, column after column: (uint8[total], int64[n + 1]) of each.

    A column is its bytes, the spans in them, and which rows are taken; the others are empty. What comes back
    lies in one piece of memory, one column behind the other.
    """
    found = []
    total = 0
    for data, start, end, taken in columns:
        offsets = np.empty(len(rows) + 1, np.int64)
        _span_offsets(start, end, rows, taken, offsets)
        found.append((data, start, offsets))
        total += int(offsets[-1])
    whole = np.empty(total, np.uint8)
    gathered = []
    for data, start, offsets in found:
        out, whole = whole[: offsets[-1]], whole[offsets[-1] :]
        _copy_spans(data, start, rows, offsets, out)
        gathered.append((out, offsets))
    return gathered
