# mypy: disable-error-code="arg-type,assignment,no-any-return,operator"
# mypy: disallow-untyped-decorators=False
"""Where the cells of JSON objects and of CSV records lie in bytes, compiled.

A scanner goes through its rows once and writes down for every row and column where the value begins, where it ends and
of which kind it is. It builds no value and judges none. A row that is anything but a flat object of texts, numbers,
booleans and nulls is marked, for the reference to read it. The bodies are numba's language.
"""

import numpy as np

from raysignal.engine.core.arrays import BoolArray, Int64Array, UInt8Array
from raysignal.engine.core.raw import compiled, word_at

ABSENT, NULL, TEXT, ESCAPED, NUMBER, TRUE, FALSE = range(7)
"""Kinds of cells. An escaped text means other bytes than it has: JSON's backslashes, CSV's doubled quotes."""

MORE, END, BROKEN = range(3)
"""How a scan of records ended: with all rows used, at the end of the input, or at a quoted cell that does not end."""

MAX_COLUMNS = 512
NAME_BYTES = 512

_QUOTE, _BACKSLASH, _COMMA, _NEWLINE, _RETURN = 34, 92, 44, 10, 13
_ONES, _HIGHS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_QUOTES, _BACKSLASHES, _SPACES = _ONES * np.uint64(34), _ONES * np.uint64(92), _ONES * np.uint64(32)


def among(*bytes_: int) -> BoolArray:
    """bool[256], true at the bytes."""
    table = np.zeros(256, np.bool_)
    table[list(bytes_)] = True
    return table


_ENDS_TEXT = among(_QUOTE, _BACKSLASH, *range(32))
_IS_BLANK = among(*b" \t\r\n")
_IN_NUMBER = among(*b"+-.0123456789Ee")


def cell_ends(delimiter: int) -> BoolArray:
    """bool[256], true at the bytes at which a cell of CSV ends."""
    return among(delimiter, _NEWLINE, _RETURN)


@compiled
def _skip_blanks(data: UInt8Array, at: int, stop: int) -> int:
    while at < stop and _IS_BLANK[data[at]]:
        at += 1
    return at


@compiled
def _text_end(data: UInt8Array, at: int, stop: int) -> int:
    """Where the first quote, backslash or control character is, or `stop`."""
    while at + 8 <= stop:
        word = word_at(data, at)
        quotes, slashes = word ^ _QUOTES, word ^ _BACKSLASHES
        hits = ((quotes - _ONES) & ~quotes) | ((slashes - _ONES) & ~slashes) | ((word - _SPACES) & ~word)
        if hits & _HIGHS:
            break
        at += 8
    while at < stop and not _ENDS_TEXT[data[at]]:
        at += 1
    return at


@compiled
def _quote_end(data: UInt8Array, at: int, stop: int) -> int:
    """Where the first quote is, or `stop`."""
    while at + 8 <= stop:
        quotes = word_at(data, at) ^ _QUOTES
        if (quotes - _ONES) & ~quotes & _HIGHS:
            break
        at += 8
    while at < stop and data[at] != _QUOTE:
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
    data: UInt8Array, at: int, stop: int, names: UInt8Array, name_stop: Int64Array, column: int
) -> bool:
    start = name_stop[column]
    if name_stop[column + 1] - start != stop - at:
        return False
    for k in range(stop - at):  # noqa: SIM110 - as above
        if names[start + k] != data[at + k]:
            return False
    return True


@compiled
def _column_of(
    data: UInt8Array,
    at: int,
    stop: int,
    guess: int,
    names: UInt8Array,
    name_stop: Int64Array,
    known: Int64Array,
) -> int:
    """The column of a name, made if it is new; -1 if it is too long, or one too many."""
    if guess < known[0] and _is_name(data, at, stop, names, name_stop, guess):
        return guess
    for column in range(known[0]):
        if _is_name(data, at, stop, names, name_stop, column):
            return column
    column = known[0]
    if column == MAX_COLUMNS or stop - at > NAME_BYTES:
        return -1
    start = name_stop[column]
    for k in range(stop - at):
        names[start + k] = data[at + k]
    name_stop[column + 1] = start + stop - at
    known[0] = column + 1
    return column


@compiled
def _value_end(data: UInt8Array, at: int, stop: int) -> tuple[int, int]:
    """The kind of the value at `at`, ABSENT if there is none, and where it ends; a text at its closing quote."""
    byte = data[at]
    if byte == _QUOTE:
        kind = TEXT
        end = _text_end(data, at + 1, stop)
        while end + 1 < stop and data[end] == _BACKSLASH:
            kind = ESCAPED
            end = _text_end(data, end + 2, stop)
        return (kind, end) if end < stop and data[end] == _QUOTE else (ABSENT, end)
    if _IN_NUMBER[byte]:
        while at < stop and _IN_NUMBER[data[at]]:
            at += 1
        return NUMBER, at
    if _is_word(data, at, stop, b"null"):
        return NULL, at + 4
    if _is_word(data, at, stop, b"true"):
        return TRUE, at + 4
    if _is_word(data, at, stop, b"false"):
        return FALSE, at + 5
    return ABSENT, at


@compiled
def _scan_object(  # noqa: C901, PLR0911 - one pass, its state in registers
    data: UInt8Array,
    at: int,
    stop: int,
    row: int,
    names: UInt8Array,
    name_stop: Int64Array,
    known: Int64Array,
    begin: Int64Array,
    end: Int64Array,
    kind: UInt8Array,
) -> bool:
    """The cells of a row; whether they say all of it."""
    at = _skip_blanks(data, at, stop)
    if at >= stop or data[at] != 123:
        return False
    guess = 0
    at = _skip_blanks(data, at + 1, stop)
    if at < stop and data[at] == 125:
        return _skip_blanks(data, at + 1, stop) == stop
    while at < stop and data[at] == _QUOTE:
        first = at + 1
        at = _text_end(data, first, stop)
        if at >= stop or data[at] != _QUOTE:
            return False
        column = _column_of(data, first, at, guess, names, name_stop, known)
        if column < 0 or kind[column, row] != ABSENT:
            return False
        guess = column + 1
        at = _skip_blanks(data, at + 1, stop)
        if at >= stop or data[at] != 58:
            return False
        at = _skip_blanks(data, at + 1, stop)
        if at >= stop:
            return False
        what, after = _value_end(data, at, stop)
        if what == ABSENT:
            return False
        is_text = what == TEXT or what == ESCAPED  # noqa: PLR1714 - numba's language
        begin[column, row], end[column, row], kind[column, row] = at + is_text, after, what
        at = _skip_blanks(data, after + is_text, stop)
        if at < stop and data[at] == 125:
            return _skip_blanks(data, at + 1, stop) == stop
        if at >= stop or data[at] != _COMMA:
            return False
        at = _skip_blanks(data, at + 1, stop)
    return False


@compiled
def scan_objects(
    data: UInt8Array,
    bounds: Int64Array,
    names: UInt8Array,
    name_stop: Int64Array,
    known: Int64Array,
    begin: Int64Array,
    end: Int64Array,
    kind: UInt8Array,
    plain: BoolArray,
) -> None:
    """The cells of rows that lie between the bounds, with blanks around them.

    Args:
        data: UTF-8.
        bounds: int64[n + 1].
        names: the bytes of the columns' names, one behind the other; new ones are added.
        name_stop: int64[MAX_COLUMNS + 1], where each begins, from 0, and the last one ends.
        known: how many columns there are.
        begin: int64[MAX_COLUMNS, n], where each cell begins in `data`; a text after its opening quote.
        end: int64[MAX_COLUMNS, n], where it ends.
        kind: uint8[MAX_COLUMNS, n], ABSENT everywhere.
        plain: bool[n], becomes whether the cells say all of the row.
    """
    for row in range(plain.shape[0]):
        plain[row] = _scan_object(
            data, bounds[row], bounds[row + 1], row, names, name_stop, known, begin, end, kind
        )


@compiled
def scan_records(  # noqa: C901, PLR0912 - one pass, its state in registers
    data: UInt8Array,
    at: int,
    begin: Int64Array,
    end: Int64Array,
    kind: UInt8Array,
    cells: Int64Array,
    row_begin: Int64Array,
    ends_cell: BoolArray,
) -> tuple[int, int, int]:
    """The cells of CSV records: (rows, position after the last of them, how it ended).

    Args:
        data: UTF-8.
        at: where to begin.
        begin: int64[columns, n], where each cell begins; a quoted one after its opening quote.
        end: int64[columns, n], where it ends.
        kind: uint8[columns, n], becomes TEXT or ESCAPED.
        cells: int64[n], becomes how many each record has, also beyond the columns there are.
        row_begin: int64[n], becomes where each record begins.
        ends_cell: bool[256], as `cell_ends` makes it.
    """
    stop = data.shape[0]
    rows = 0
    while rows < cells.shape[0]:
        while at < stop and (data[at] == _NEWLINE or data[at] == _RETURN):
            at += 1
        if at >= stop:
            return rows, at, END
        row_begin[rows] = at
        found = 0
        while True:
            first, what = at, TEXT
            if at < stop and data[at] == _QUOTE:
                first = at + 1
                last = _quote_end(data, first, stop)
                while last + 1 < stop and data[last + 1] == _QUOTE:
                    what = ESCAPED
                    last = _quote_end(data, last + 2, stop)
                at = last + 1
                if last >= stop or (at < stop and not ends_cell[data[at]]):
                    return rows, row_begin[rows], BROKEN
            else:
                while at < stop and not ends_cell[data[at]]:
                    at += 1
                last = at
            if found < kind.shape[0]:
                begin[found, rows], end[found, rows], kind[found, rows] = first, last, what
            found += 1
            if at >= stop or data[at] == _NEWLINE or data[at] == _RETURN:
                break
            at += 1
        byte = row_begin[rows]
        while byte < at and ends_cell[data[byte]]:
            byte += 1
        if byte < at:  # else a line of nothing but delimiters, as Excel writes for a blank row
            cells[rows] = found
            rows += 1
    return rows, at, MORE
