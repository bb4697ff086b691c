# mypy: disable-error-code="arg-type,assignment,no-any-return,operator,misc,return-value"
# mypy: disallow-untyped-decorators=False
"""Finding the cells of JSON objects and CSV records in bytes, compiled.

A scanner goes through a window of bytes once and writes down, for every row and column, where the value lies
and what kind it is. It builds no value and judges none: that is done by columns, in `engine.intake.parsing`.
Escapes (JSON's backslashes, CSV's doubled quotes) are resolved in place, so the window must be a private copy;
a resolved text never takes more room than what it stood for.

A row that is anything but a flat object of texts, plain numbers, booleans and nulls is marked, with its span,
and read again from the source by the reference. The bodies are numba's language.
"""

import numpy as np

from raysignal.engine.core.arrays import BoolArray, Int32Array, Int64Array, UInt8Array
from raysignal.engine.core.digests import xxh64
from raysignal.engine.core.raw import compiled, copy_bytes, lowest_bit, text_marks, word_at

# Kinds of cells. VALUE is a number that came as one, not as text; the others lie in the bytes.
ABSENT, NULL, TEXT, NUMBER, TRUE, FALSE, VALUE = 0, 1, 2, 3, 4, 5, 6

# How a scan ended: at the end of the window or with all rows used; at the end of the input; at something that
# is no row at all.
MORE, END, BROKEN = 0, 1, 2

MAX_COLUMNS = 512
# Slots of the table of names: twice as many as names, so that a search ends soon.
SLOTS = 2048
NAME_BYTES = 512

_SPENT = -1
_BAD = -2
_QUOTE, _BACKSLASH, _NEWLINE, _RETURN, _COMMA = 34, 92, 10, 13, 44


def marks(*bytes_: int) -> BoolArray:
    """bool[256], true at `bytes_`."""
    table = np.zeros(256, np.bool_)
    table[list(bytes_)] = True
    return table


_ENDS_TEXT = marks(_QUOTE, _BACKSLASH, *range(32))
_ENDS_CELL = marks(_COMMA, _NEWLINE, _RETURN)
_IS_BLANK = marks(32, 9, _RETURN)
_IS_SPACE = marks(32, 9, _RETURN, _NEWLINE)
_ENDS_ELEMENT = marks(_COMMA, ord("]"))
_OPENS = marks(ord("{"), ord("["))
_CLOSES = marks(ord("}"), ord("]"))
# What stands for a byte after a backslash; 0: nothing does.
_ESCAPED = np.zeros(256, np.uint8)
for _letter, _meaning in zip(b'"\\/ntrbf', b'"\\/\n\t\r\b\f', strict=True):
    _ESCAPED[_letter] = _meaning
_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)


@compiled
def _is_digit(byte: int) -> bool:
    return 48 <= byte <= 57


@compiled
def _after_blanks(data: UInt8Array, at: int, stop: int, newlines: bool) -> int:
    while at < stop:
        if not (_IS_SPACE[data[at]] if newlines else _IS_BLANK[data[at]]):
            break
        at += 1
    return at


@compiled
def _text_end(data: UInt8Array, at: int, stop: int) -> int:
    """Where the first quote, backslash or control character is, or `stop`."""
    while at + 32 <= stop:
        hits = text_marks(data, at)
        if hits != 0:
            return at + lowest_bit(hits)
        at += 32
    while at < stop and not _ENDS_TEXT[data[at]]:
        at += 1
    return at


@compiled
def _hex4(data: UInt8Array, at: int) -> int:
    value = 0
    for k in range(4):
        byte = data[at + k]
        if 48 <= byte <= 57:
            digit = byte - 48
        elif 97 <= byte <= 102:
            digit = byte - 87
        elif 65 <= byte <= 70:
            digit = byte - 55
        else:
            return -1
        value = value * 16 + digit
    return value


@compiled
def _put_utf8(data: UInt8Array, at: int, point: int) -> int:
    if point < 0x80:
        data[at] = point
        return at + 1
    if point < 0x800:
        data[at] = 0xC0 | (point >> 6)
        data[at + 1] = 0x80 | (point & 63)
        return at + 2
    if point < 0x10000:
        data[at] = 0xE0 | (point >> 12)
        data[at + 1] = 0x80 | ((point >> 6) & 63)
        data[at + 2] = 0x80 | (point & 63)
        return at + 3
    data[at] = 0xF0 | (point >> 18)
    data[at + 1] = 0x80 | ((point >> 12) & 63)
    data[at + 2] = 0x80 | ((point >> 6) & 63)
    data[at + 3] = 0x80 | (point & 63)
    return at + 4


@compiled
def _unescape(  # noqa: C901, PLR0911, PLR0912 - one pass, its state in registers
    data: UInt8Array, at: int, stop: int
) -> tuple[int, int]:
    """Resolve a text from its first backslash on: (end of the text, position after the closing quote).

    (_SPENT, _) if the window ends first, (_BAD, _) for a half surrogate or what is no escape.
    """
    put = at
    while at < stop:
        byte = data[at]
        if byte == 34:
            return put, at + 1
        if byte < 32:
            return _BAD, at
        if byte != 92:
            upto = _text_end(data, at, stop)
            copy_bytes(data, put, data, at, upto - at)
            put += upto - at
            at = upto
            continue
        if at + 2 > stop:
            return _SPENT, at
        byte = data[at + 1]
        at += 2
        if _ESCAPED[byte]:
            data[put] = _ESCAPED[byte]
        elif byte == 117:
            if at + 4 > stop:
                return _SPENT, at
            point = _hex4(data, at)
            at += 4
            if 0xD800 <= point <= 0xDBFF:
                if at + 6 > stop:
                    return _SPENT, at
                low = _hex4(data, at + 2) if data[at] == 92 and data[at + 1] == 117 else -1
                if not 0xDC00 <= low <= 0xDFFF:
                    return _BAD, at
                point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00)
                at += 6
            elif point < 0 or 0xDC00 <= point <= 0xDFFF:
                return _BAD, at
            put = _put_utf8(data, put, point)
            continue
        else:
            return _BAD, at
        put += 1
    return _SPENT, at


@compiled
def _text(data: UInt8Array, at: int, stop: int) -> tuple[int, int]:
    """A JSON text from after its opening quote: (its end, position after the closing quote)."""
    end = _text_end(data, at, stop)
    if end >= stop:
        return _SPENT, end
    if data[end] == 34:
        return end, end + 1
    if data[end] == 92:
        return _unescape(data, end, stop)
    return _BAD, end


@compiled
def _number_end(data: UInt8Array, at: int, stop: int) -> int:  # noqa: C901 - the grammar, part by part
    """Where a JSON number that begins at `at` ends, or _BAD."""
    if at < stop and data[at] == 45:
        at += 1
    if at >= stop or not _is_digit(data[at]):
        return _BAD
    if data[at] == 48:
        at += 1
    else:
        while at < stop and _is_digit(data[at]):
            at += 1
    if at < stop and data[at] == 46:
        at += 1
        if at >= stop or not _is_digit(data[at]):
            return _BAD
        while at < stop and _is_digit(data[at]):
            at += 1
    if at < stop and (data[at] == 101 or data[at] == 69):
        at += 1
        if at < stop and (data[at] == 43 or data[at] == 45):
            at += 1
        if at >= stop or not _is_digit(data[at]):
            return _BAD
        while at < stop and _is_digit(data[at]):
            at += 1
    return at


@compiled
def _is_word(data: UInt8Array, at: int, stop: int, word: bytes) -> bool:
    if at + len(word) > stop:
        return False
    for k in range(len(word)):  # noqa: SIM110 - compiled code has no generators
        if data[at + k] != word[k]:
            return False
    return True


@compiled
def _is_name(
    data: UInt8Array, at: int, end: int, column: int, names: UInt8Array, name_stop: Int32Array
) -> bool:
    start = name_stop[column]
    if name_stop[column + 1] - start != end - at:
        return False
    if end - at >= 8:
        while at < end - 8:
            if word_at(names, start) != word_at(data, at):
                return False
            start += 8
            at += 8
        # The last eight bytes, some of them once more.
        return word_at(names, start + (end - 8 - at)) == word_at(data, end - 8)
    for k in range(end - at):  # noqa: SIM110 - as above
        if names[start + k] != data[at + k]:
            return False
    return True


@compiled
def _column_of(
    data: UInt8Array,
    at: int,
    end: int,
    guess: int,
    names: UInt8Array,
    name_stop: Int32Array,
    slots: Int32Array,
    known: Int32Array,
) -> int:
    """The column of the name `data[at:end]`, made if it is new; _BAD if it is too long or one too many."""
    if guess < known[0] and _is_name(data, at, end, guess, names, name_stop):
        return guess
    if end - at > NAME_BYTES:
        return _BAD
    slot = np.int64(xxh64(data, at, end, np.uint64(0)) & np.uint64(SLOTS - 1))
    while slots[slot] >= 0:
        if _is_name(data, at, end, slots[slot], names, name_stop):
            return slots[slot]
        slot = (slot + 1) & (SLOTS - 1)
    column = known[0]
    if column >= MAX_COLUMNS:
        return _BAD
    start = name_stop[column]
    for k in range(end - at):
        names[start + k] = data[at + k]
    name_stop[column + 1] = start + end - at
    slots[slot] = column
    known[0] = column + 1
    return column


@compiled
def _scan_object(  # noqa: C901, PLR0911, PLR0912, PLR0915 - one pass, its state in registers
    data: UInt8Array,
    at: int,
    stop: int,
    newlines: bool,
    row: int,
    names: UInt8Array,
    name_stop: Int32Array,
    slots: Int32Array,
    known: Int32Array,
    start: Int32Array,
    end: Int32Array,
    kind: UInt8Array,
) -> int:
    """The cells of the object that opens at `at`: the position after it, _SPENT or _BAD."""
    guess = 0
    at = _after_blanks(data, at + 1, stop, newlines)
    if at < stop and data[at] == 125:
        return at + 1
    while True:
        if at >= stop:
            return _SPENT
        if data[at] != 34:
            return _BAD
        first = at + 1
        last, at = _text(data, first, stop)
        if last < 0:
            return last
        column = _column_of(data, first, last, guess, names, name_stop, slots, known)
        if column < 0 or kind[column, row] != ABSENT:
            return _BAD
        guess = column + 1
        at = _after_blanks(data, at, stop, newlines)
        if at >= stop:
            return _SPENT
        if data[at] != 58:
            return _BAD
        at = _after_blanks(data, at + 1, stop, newlines)
        if at >= stop:
            return _SPENT
        byte = data[at]
        first = at
        if byte == 34:
            first = at + 1
            last, at = _text(data, first, stop)
            if last < 0:
                return last
            what = TEXT
        elif byte == 45 or _is_digit(byte):
            at = _number_end(data, at, stop)
            if at < 0:
                return _BAD
            last = at
            what = NUMBER
        elif byte == 110 and _is_word(data, at, stop, b"null"):
            at += 4
            last = at
            what = NULL
        elif byte == 116 and _is_word(data, at, stop, b"true"):
            at += 4
            last = at
            what = TRUE
        elif byte == 102 and _is_word(data, at, stop, b"false"):
            at += 5
            last = at
            what = FALSE
        else:
            return _BAD
        start[column, row] = first
        end[column, row] = last
        kind[column, row] = what
        at = _after_blanks(data, at, stop, newlines)
        if at >= stop:
            return _SPENT
        if data[at] == 125:
            return at + 1
        if data[at] != 44:
            return _BAD
        at = _after_blanks(data, at + 1, stop, newlines)


@compiled
def scan_lines(
    data: UInt8Array,
    source: UInt8Array,
    at: int,
    final: bool,
    names: UInt8Array,
    name_stop: Int32Array,
    slots: Int32Array,
    known: Int32Array,
    start: Int32Array,
    end: Int32Array,
    kind: UInt8Array,
    plain: BoolArray,
    row_start: Int64Array,
    row_stop: Int64Array,
) -> tuple[int, int, int]:
    """NDJSON: (rows, position after the last of them, MORE or END).

    `source` holds the same bytes as `data` did before escapes were resolved in it.
    """
    stop = data.shape[0]
    rows = 0
    while True:
        at = _after_blanks(data, at, stop, True)
        if at >= stop:
            return rows, at, END if final else MORE
        if rows == plain.shape[0]:
            return rows, at, MORE
        after = _BAD
        if data[at] == 123:
            after = _scan_object(
                data, at, stop, False, rows, names, name_stop, slots, known, start, end, kind
            )
            if after >= 0:
                after = _after_blanks(data, after, stop, False)
                if after < stop and data[after] != _NEWLINE:
                    after = _BAD
        plain[rows] = after >= 0
        line = after if after >= 0 else at
        while line < stop and source[line] != _NEWLINE:
            line += 1
        if line >= stop and not final:
            for column in range(known[0]):
                kind[column, rows] = ABSENT
            return rows, at, MORE
        row_start[rows] = at
        row_stop[rows] = line
        rows += 1
        at = line


@compiled
def _element_end(data: UInt8Array, at: int, stop: int) -> int:
    """Where the comma or bracket after the element at `at` is, by brackets and quotes alone; else _SPENT."""
    depth = 0
    while at < stop:
        byte = data[at]
        if depth == 0 and _ENDS_ELEMENT[byte]:
            return at
        at += 1
        if byte == 34:
            while at < stop and data[at] != 34:
                at += 2 if data[at] == 92 else 1
            at += 1
        elif _OPENS[byte]:
            depth += 1
        elif _CLOSES[byte]:
            depth -= 1
    return _SPENT


@compiled
def scan_elements(
    data: UInt8Array,
    source: UInt8Array,
    at: int,
    final: bool,
    names: UInt8Array,
    name_stop: Int32Array,
    slots: Int32Array,
    known: Int32Array,
    start: Int32Array,
    end: Int32Array,
    kind: UInt8Array,
    plain: BoolArray,
    row_start: Int64Array,
    row_stop: Int64Array,
) -> tuple[int, int, int]:
    """The elements of a JSON array, from the first one on: (rows, position after the last, how it ended).

    `source` as in `scan_lines`. The position after END is that after the closing bracket.
    """
    stop = data.shape[0]
    rows = 0
    broken = BROKEN if final else MORE
    while rows < plain.shape[0]:
        at = _after_blanks(data, at, stop, True)
        if at >= stop:
            return rows, at, broken
        after = _BAD
        if data[at] == 123:
            after = _scan_object(data, at, stop, True, rows, names, name_stop, slots, known, start, end, kind)
        plain[rows] = after >= 0
        if after < 0:
            after = _element_end(source, at, stop)
            if after == at:
                return rows, at, BROKEN
        next_at = _after_blanks(source, after, stop, True) if after >= 0 else stop
        if next_at >= stop:
            for column in range(known[0]):
                kind[column, rows] = ABSENT
            return rows, at, broken
        row_start[rows] = at
        row_stop[rows] = after
        rows += 1
        if source[next_at] == 93:
            return rows, next_at + 1, END
        if source[next_at] != 44:
            return rows, at, BROKEN
        at = next_at + 1
    return rows, at, MORE


@compiled
def _plain_end(data: UInt8Array, at: int, stop: int) -> int:
    while at < stop:
        if _ENDS_CELL[data[at]]:
            return at
        at += 1
    return at


@compiled
def _quote_at(data: UInt8Array, at: int, stop: int) -> int:
    while at < stop:
        if at + 8 <= stop:
            word = word_at(data, at)
            quotes = word ^ (_ONES * np.uint64(34))
            if (quotes - _ONES) & ~quotes & _HIGHS == 0:
                at += 8
                continue
            for _ in range(8):
                if data[at] == 34:
                    return at
                at += 1
            continue
        if data[at] == 34:
            return at
        at += 1
    return at


@compiled
def _quoted_end(data: UInt8Array, at: int, stop: int) -> tuple[int, int]:
    """A quoted cell from after its opening quote: (its end, position after the closing quote)."""
    put = _quote_at(data, at, stop)
    at = put
    while at + 1 < stop and data[at + 1] == 34:
        data[put] = 34
        put += 1
        at += 2
        upto = _quote_at(data, at, stop)
        copy_bytes(data, put, data, at, upto - at)
        put += upto - at
        at = upto
    return (put, at + 1) if at < stop else (_SPENT, at)


@compiled
def scan_records(  # noqa: C901 - one pass, its state in registers
    data: UInt8Array,
    at: int,
    final: bool,
    start: Int32Array,
    end: Int32Array,
    kind: UInt8Array,
    cells: Int32Array,
    row_start: Int64Array,
) -> tuple[int, int, int]:
    """CSV records: (rows, position after the last of them, how it ended).

    `cells` counts those of each record, also beyond the columns there are. BROKEN: a quoted cell that does
    not end, or goes on after its closing quote; the position is that of the record.
    """
    stop = data.shape[0]
    rows = 0
    while rows < cells.shape[0]:
        while at < stop and (data[at] == _NEWLINE or data[at] == _RETURN):
            at += 1
        begin = at
        if at >= stop:
            return rows, at, END if final else MORE
        found = 0
        while True:
            if at < stop and data[at] == _QUOTE:
                first = at + 1
                last, at = _quoted_end(data, first, stop)
                if last < 0:
                    return rows, begin, BROKEN if final else MORE
                if at < stop and not _ENDS_CELL[data[at]]:
                    return rows, begin, BROKEN
            else:
                first = at
                at = _plain_end(data, at, stop)
                last = at
            if found < kind.shape[0]:
                start[found, rows] = first
                end[found, rows] = last
                kind[found, rows] = TEXT
            found += 1
            if at >= stop or data[at] != _COMMA:
                break
            at += 1
        if at >= stop and not final:
            return rows, begin, MORE
        cells[rows] = found
        row_start[rows] = begin
        rows += 1
    return rows, at, MORE
