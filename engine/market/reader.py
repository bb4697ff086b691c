# mypy: disable-error-code="arg-type,assignment,no-any-return,operator,misc,return-value"
# mypy: disallow-untyped-decorators=False
"""A venue's messages read in one pass over their bytes, compiled, by a table of `engine.market.shapes`.

Strict and small: compact JSON, ASCII, no escapes, no exponents, no name twice, the kind before the data and the
symbol before its numbers. All of what venues send in fact is so. Whatever else comes is not judged here but refused,
and the slow lane (msgspec, `shapes.read_slowly`) decides; where this reader does answer, both say the same.

Values go into `work`, an int64 array: the head (`Slot`), then rows (`RowSlot`), then four runs of levels (bid
prices, bid sizes, ask prices, ask sizes). How long they are follows from the length of the text, so a message that
fits into the buffer fits into `work`.
"""

import msgspec
import numpy as np
from numba import types

from raysignal.engine.core.arrays import Int64Array, UInt8Array
from raysignal.engine.core.errors import UnreadableInput
from raysignal.engine.core.raw import compiled_as, lowest_bit, plain_marks, word_at
from raysignal.engine.market.shapes import (
    CHOICE,
    DECIMALS_AT,
    ENTRY,
    HEAD_SLOTS,
    LIMIT,
    NODE,
    ROW_SLOTS,
    SWITCH,
    SYMBOL,
    SYMBOLS_AT,
    SYMBOLS_MASK,
    Form,
    MessageValues,
    RowSlot,
    Slot,
    Symbol,
    ValueUse,
    compile_forms,
    read_slowly,
)

# Bytes after a text that may be read, and are not part of it.
SLACK = 64
MOST_BYTES = 1 << 24
_ROW_BYTES, _LEVEL_BYTES = 16, 8  # a row or level takes at least so much of a text
_STACK = HEAD_SLOTS
ROWS_AT = 32
_MOST_DEPTH = 4

REFUSED, READ = 0, 1

_MASKS = np.array([(1 << 8 * count) - 1 for count in range(8)] + [2**64 - 1], np.uint64)
_POWERS = np.array([10**power for power in range(19)], np.int64)
_MIX = np.uint64(0x9E3779B185EBCA87)
# Enum members would be looked up.
_KIND, _INSTRUMENT, _BIDS, _ASKS, _ROWS = (
    int(slot) for slot in (Slot.KIND, Slot.INSTRUMENT, Slot.BIDS, Slot.ASKS, Slot.ROWS)
)
_ID_START = int(RowSlot.ID_START)
(
    _T_INTEGER, _T_INTEGER_TEXT, _T_PRICE, _T_SIZE, _T_ID, _T_FLAG, _T_WORD, _T_KIND, _T_SYMBOL, _T_BIDS, _T_ASKS,
    _T_FORM, _T_DATA,
) = (int(take) for take in ValueUse)  # fmt: skip

_bytes, _longs = types.uint8[::1], types.int64[::1]


@compiled_as(types.UniTuple(types.int64, 2)(types.int64))
def levels_of(capacity: int) -> tuple[int, int]:
    """Where in `work` the levels begin for texts of up to `capacity` bytes, and how long each of the runs is."""
    return ROWS_AT + ROW_SLOTS * (capacity // _ROW_BYTES), capacity // _LEVEL_BYTES


@compiled_as(types.int64(_bytes, types.int64))
def _text_end(text: UInt8Array, at: int) -> int:
    """Where the first quote, backslash, control or other than ASCII character is."""
    while True:
        hits = plain_marks(text, at)
        if hits != 0:
            return at + lowest_bit(hits)
        at += 32


@compiled_as(types.boolean(_bytes, types.int64, types.int64, _longs, types.int64))
def _is_name(text: UInt8Array, at: int, length: int, table: Int64Array, entry: int) -> bool:
    """Whether the text at `at` is the name of up to 16 bytes whose words are at `entry`."""
    if length <= 8:
        return np.int64(word_at(text, at) & _MASKS[length]) == table[entry]
    return (
        np.int64(word_at(text, at)) == table[entry]
        and np.int64(word_at(text, at + 8) & _MASKS[length - 8]) == table[entry + 1]
    )


@compiled_as(types.UniTuple(types.int64, 2)(_bytes, types.int64))
def _integer(text: UInt8Array, at: int) -> tuple[int, int]:
    """A number of at most 18 digits: (it, where it ends), (0, -1) if there is none."""
    negative = text[at] == 45
    if negative:
        at += 1
    start = at
    value = 0
    while True:
        digit = np.int64(text[at]) ^ 48  # above 9 for all but digits
        if digit > 9:
            break
        value = value * 10 + digit
        at += 1
    if at == start or at - start > 18 or (text[start] == 48 and (at - start > 1 or negative)):
        return 0, -1
    return -value if negative else value, at


@compiled_as(types.UniTuple(types.int64, 2)(_bytes, types.int64, types.int64))
def _decimal(text: UInt8Array, at: int, decimals: int) -> tuple[int, int]:
    """A decimal as a count of its last place, and where it ends; (0, -1) if it is not exact or too long."""
    start = at
    value = 0
    while True:
        digit = np.int64(text[at]) ^ 48  # above 9 for all but digits
        if digit > 9:
            break
        value = value * 10 + digit
        at += 1
    if at == start or at - start + decimals > 18:
        return 0, -1
    left = decimals
    if text[at] == 46:
        at += 1
        begin = at
        while left > 0:
            digit = np.int64(text[at]) ^ 48
            if digit > 9:
                break
            value = value * 10 + digit
            left -= 1
            at += 1
        while text[at] == 48:
            at += 1
        if at == begin:
            return 0, -1
    return value * _POWERS[left], at


@compiled_as(types.int64(_bytes, types.int64))
def _skip(text: UInt8Array, at: int) -> int:
    """Past a value that no form names: a text, a number, true, false or null; else -1."""
    byte = text[at]
    if byte == 34:
        at = _text_end(text, at + 1)
        return at + 1 if text[at] == 34 else -1
    if byte == 116 and text[at + 1] == 114 and text[at + 2] == 117 and text[at + 3] == 101:
        return at + 4
    if byte == 110 and text[at + 1] == 117 and text[at + 2] == 108 and text[at + 3] == 108:
        return at + 4
    if (
        byte == 102
        and text[at + 1] == 97
        and text[at + 2] == 108
        and text[at + 3] == 115
        and text[at + 4] == 101
    ):
        return at + 5
    _, at = _integer(text, at)
    if at >= 0 and text[at] == 46:
        begin = at + 1
        at = begin
        while 48 <= text[at] <= 57 and at - begin < 18:
            at += 1
        if at == begin:
            return -1
    return at


@compiled_as(types.int64(_bytes, types.int64, types.int64, _longs))
def _symbol_row(text: UInt8Array, at: int, end: int, table: Int64Array) -> int:
    """The row of the symbol `text[at:end]`, -1 if it is not followed."""
    length = end - at
    if not 0 < length <= 24:
        return -1
    zero = np.uint64(0)
    first = word_at(text, at) & _MASKS[min(length, 8)]
    second = word_at(text, at + 8) & _MASKS[min(length - 8, 8)] if length > 8 else zero
    third = word_at(text, at + 16) & _MASKS[length - 16] if length > 16 else zero
    mixed = ((first * _MIX ^ second) * _MIX ^ third) * _MIX
    mask = table[SYMBOLS_MASK]
    slot = np.int64(mixed >> np.uint64(40)) & mask
    while True:
        place = table[SYMBOLS_AT] + SYMBOL * slot
        row = table[place + 4]
        if row < 0:
            return -1
        if (
            table[place] == np.int64(first)
            and table[place + 1] == np.int64(second)
            and table[place + 2] == np.int64(third)
            and table[place + 3] == length
        ):
            return row
        slot = (slot + 1) & mask


@compiled_as(types.int64(_bytes, types.int64, types.int64, _longs, types.int64))
def _choice(text: UInt8Array, at: int, end: int, table: Int64Array, choices: int) -> int:
    """Where in the table the choice is whose text is `text[at:end]`; -1 if it is none of them."""
    length = end - at
    for number in range(table[choices]):
        place = choices + 1 + CHOICE * number
        if table[place + 2] == length and _is_name(text, at, length, table, place):
            return place + 3
    return -1


@compiled_as(types.UniTuple(types.int64, 2)(_bytes, types.int64, types.int64, types.int64))
def _part(text: UInt8Array, at: int, end: int, marks: int) -> tuple[int, int]:
    """The part of `text[at:end]` that says the kind, see `Value.after`."""
    after, before = marks >> 8, marks & 255
    if after:
        while at < end and text[at] != after:
            at += 1
        at = min(at + 1, end)
        stop = at
        while stop < end and text[stop] != before:
            stop += 1
        return at, stop
    if before:
        stop = end
        while stop > at and text[stop] != before:
            stop -= 1
        return at, stop
    return at, end


@compiled_as(
    types.UniTuple(types.int64, 2)(
        _bytes, types.int64, types.int64, types.int64, _longs, types.int64, types.int64, types.int64
    )
)
def _levels(  # noqa: C901, PLR0911 - the grammar, part by part
    text: UInt8Array,
    at: int,
    price_decimals: int,
    size_decimals: int,
    work: Int64Array,
    prices: int,
    sizes: int,
    room: int,
) -> tuple[int, int]:
    """An array of levels into `work`: (how many, position after it), (0, -1) if it is anything else."""
    if text[at] != 91:
        return 0, -1
    if text[at + 1] == 93:
        return 0, at + 2
    count = 0
    while True:
        if text[at + 1] != 91 or text[at + 2] != 34 or count >= room:
            return 0, -1
        price, at = _decimal(text, at + 3, price_decimals)
        if at < 0 or price == 0 or text[at] != 34 or text[at + 1] != 44 or text[at + 2] != 34:
            return 0, -1
        size, at = _decimal(text, at + 3, size_decimals)
        if at < 0 or text[at] != 34:
            return 0, -1
        at += 1
        extra = 0
        while text[at] == 44 and text[at + 1] == 34 and extra < 2:
            at = _text_end(text, at + 2)
            if text[at] != 34:
                return 0, -1
            at += 1
            extra += 1
        if text[at] != 93:
            return 0, -1
        work[prices + count] = price
        work[sizes + count] = size
        count += 1
        at += 1
        if text[at] == 93:
            return count, at + 1
        if text[at] != 44:
            return 0, -1


@compiled_as(types.int64(_bytes, types.int64, types.int64, types.int64, _longs, _longs))
def read(  # noqa: C901, PLR0911, PLR0912, PLR0915 - one pass, its state in registers
    text: UInt8Array, size: int, root: int, instrument: int, table: Int64Array, work: Int64Array
) -> int:
    """`text[:size]` by the form at `root`, into `work`: READ or REFUSED.

    `text` has SLACK bytes behind what it can hold, and is written to there. `instrument` is the row that a message
    is about which names none, or -1.
    """
    capacity = text.shape[0] - SLACK
    levels, room = levels_of(capacity)
    text[size] = 0
    for slot in range(HEAD_SLOTS):
        work[slot] = 0
    for slot in range(ROWS_AT, ROWS_AT + ROW_SLOTS):
        work[slot] = 0
    work[_INSTRUMENT] = instrument
    price_decimals, size_decimals = -1, -1
    if instrument >= 0:
        place = table[DECIMALS_AT] + 2 * instrument
        price_decimals, size_decimals = table[place], table[place + 1]
    if text[0] != 123:
        return REFUSED
    at = 1
    depth, node, seen, guess, listed, row = 0, root, 0, 0, 0, 0
    first, count = table[node], table[node + 1]
    while True:
        if text[at] != 34:
            return REFUSED
        at += 1
        index = -1
        if guess < count:
            entry = first + ENTRY * guess
            length = table[entry + 2]
            if text[at + length] == 34 and _is_name(text, at, length, table, entry):
                index = guess
        if index < 0:
            length = _text_end(text, at) - at
            if text[at + length] != 34:
                return REFUSED
            if length <= 16:
                for number in range(count):
                    entry = first + ENTRY * number
                    if table[entry + 2] == length and _is_name(text, at, length, table, entry):
                        index = number
                        break
        at += length + 1
        if text[at] != 58:
            return REFUSED
        at += 1
        if index < 0:
            at = _skip(text, at)
            if at < 0:
                return REFUSED
        else:
            if seen >> index & 1:
                return REFUSED
            seen |= 1 << index
            guess = index + 1
            entry = first + ENTRY * index
            take = table[entry + 3]
            slot = table[entry + 4]
            if table[entry + 5]:
                slot += ROWS_AT + ROW_SLOTS * row
            extra = table[entry + 6]
            if _T_PRICE <= take <= _T_SIZE:
                if text[at] != 34 or price_decimals < 0:
                    return REFUSED
                value, at = _decimal(text, at + 1, price_decimals if take == _T_PRICE else size_decimals)
                if at < 0 or text[at] != 34:
                    return REFUSED
                at += 1
                work[slot] = value
            elif take == _T_INTEGER:
                value, at = _integer(text, at)
                if at < 0:
                    return REFUSED
                work[slot] = value
            elif _T_BIDS <= take <= _T_ASKS:
                if price_decimals < 0:
                    return REFUSED
                prices = levels if take == _T_BIDS else levels + 2 * room
                found, at = _levels(
                    text, at, price_decimals, size_decimals, work, prices, prices + room, room
                )
                if at < 0:
                    return REFUSED
                work[_BIDS if take == _T_BIDS else _ASKS] = found
            elif take == _T_INTEGER_TEXT:
                if text[at] != 34:
                    return REFUSED
                value, at = _integer(text, at + 1)
                if at < 0 or text[at] != 34:
                    return REFUSED
                at += 1
                work[slot] = value
            elif take == _T_ID:
                start = at
                if text[at] == 34:
                    start = at + 1
                    end = _text_end(text, start)
                    if text[end] != 34:
                        return REFUSED
                    at = end + 1
                else:
                    _, at = _integer(text, at)
                    end = at
                    if at < 0:
                        return REFUSED
                work[ROWS_AT + ROW_SLOTS * row + _ID_START] = start
                work[ROWS_AT + ROW_SLOTS * row + _ID_START + 1] = end
            elif take == _T_FLAG:
                if text[at] == 116 and text[at + 1] == 114 and text[at + 2] == 117 and text[at + 3] == 101:
                    at += 4
                    place = extra + 4
                elif (
                    text[at] == 102
                    and text[at + 1] == 97
                    and text[at + 2] == 108
                    and text[at + 3] == 115
                    and text[at + 4] == 101
                ):
                    at += 5
                    place = extra + 4 + CHOICE
                else:
                    return REFUSED
                work[slot] = table[place]
            elif take >= _T_FORM:
                into = 0
                inner = extra
                if take == _T_DATA:
                    inner = -1
                    for number in range(table[extra]):
                        place = extra + 1 + SWITCH * number
                        if table[place] == work[_KIND]:
                            inner = table[place + 1]
                            into = table[place + 2]
                    if inner < 0:
                        return REFUSED
                if into:
                    if text[at] != 91:
                        return REFUSED
                    at += 1
                if text[at] != 123 or depth == _MOST_DEPTH - 1:
                    return REFUSED
                at += 1
                place = _STACK + 4 * depth
                work[place] = node
                work[place + 1] = seen
                work[place + 2] = guess
                work[place + 3] = listed
                depth += 1
                node, seen, guess, listed = inner, 0, 0, into
                first, count = table[node], table[node + 1]
                continue
            else:
                if text[at] != 34:
                    return REFUSED
                at += 1
                end = _text_end(text, at)
                if text[end] != 34:
                    return REFUSED
                if take == _T_SYMBOL:
                    found = _symbol_row(text, at, end, table)
                    if found < 0 or (work[_INSTRUMENT] >= 0 and work[_INSTRUMENT] != found):
                        return REFUSED
                    work[_INSTRUMENT] = found
                    place = table[DECIMALS_AT] + 2 * found
                    price_decimals, size_decimals = table[place], table[place + 1]
                else:
                    start, stop = at, end
                    if take == _T_KIND:
                        start, stop = _part(text, at, end, table[entry + 7])
                    place = _choice(text, start, stop, table, extra)
                    if place < 0:
                        return REFUSED
                    work[_KIND if take == _T_KIND else slot] = table[place]
                at = end + 1
        while True:
            byte = text[at]
            at += 1
            if byte == 44:
                break
            if byte != 125 or seen & table[node + 2] != table[node + 2]:
                return REFUSED
            if depth == 0:
                return READ if at == size else REFUSED
            if listed:
                row += 1
                if text[at] == 44 and text[at + 1] == 123:
                    if row >= capacity // _ROW_BYTES or work[_BIDS] or work[_ASKS]:
                        return REFUSED
                    for slot in range(ROWS_AT + ROW_SLOTS * row, ROWS_AT + ROW_SLOTS * (row + 1)):
                        work[slot] = 0
                    at += 2
                    seen, guess = 0, 0
                    break
                if text[at] != 93:
                    return REFUSED
                at += 1
                work[_ROWS] = row
                row = 0
            depth -= 1
            place = _STACK + 4 * depth
            node, seen, guess, listed = work[place], work[place + 1], work[place + 2], work[place + 3]
            first, count = table[node], table[node + 1]


class Reader:
    """Reads messages of some forms about some symbols; grows with the longest of them.

    `text` (uint8), `table` and `work` (int64) are what compiled callers of `read` hand on; they are other arrays
    after `load` has made room.
    """

    def __init__(self, roots: list[Form], symbols: list[Symbol]) -> None:
        self.forms = roots
        self.symbols = {symbol.name: (row, symbol) for row, symbol in enumerate(symbols)}
        self.table, self.roots = compile_forms(roots, symbols)
        self._make_room(4096)

    def _make_room(self, size: int) -> None:
        self.capacity = max(4096, 2 * size) // 64 * 64
        self.text = np.zeros(self.capacity + SLACK, np.uint8)
        self.view = memoryview(self.text)
        levels, room = levels_of(self.capacity)
        self.work = np.zeros(levels + 4 * room, np.int64)

    def load(self, raw: bytes) -> int:
        """Put a message where compiled code reads it; its size. `UnreadableInput` if it is beyond 16 MiB."""
        size = len(raw)
        if size > self.capacity:
            if size > MOST_BYTES:
                raise UnreadableInput(f"a message of {size} bytes; expected at most {MOST_BYTES}")
            self._make_room(size)
        self.view[:size] = raw
        return size

    def read_fast(self, raw: bytes, root: int = 0, row: int = -1) -> MessageValues | None:
        """What the compiled reader makes of a message, as a value; None if it refuses."""
        size = self.load(raw)
        if read(self.text, size, self.roots[root], row, self.table, self.work) != READ:
            return None
        work = self.work
        head = work[:HEAD_SLOTS].tolist()
        rows = work[ROWS_AT : ROWS_AT + ROW_SLOTS * max(head[_ROWS], 1)].reshape(-1, ROW_SLOTS).tolist()
        at, room = levels_of(self.capacity)
        runs = [work[at + room * run :] for run in range(4)]
        sides = [
            list(zip(runs[side][:count].tolist(), runs[side + 1][:count].tolist(), strict=True))
            for side, count in ((0, head[_BIDS]), (2, head[_ASKS]))
        ]
        return MessageValues(head, rows, sides[0], sides[1], raw)

    def read_slow(self, message: object, root: int = 0, row: int = -1) -> MessageValues:
        """The same of a decoded message; see `read_slowly` for what it raises."""
        return read_slowly(self.forms[root], message, self.symbols, row)

    def put(self, record: MessageValues) -> None:
        """Lay a record out in `work` as the compiled reader would have."""
        needed = max(_ROW_BYTES * len(record.rows), _LEVEL_BYTES * max(len(record.bids), len(record.asks)))
        if needed > self.capacity:
            self._make_room(needed)
        self.work[:HEAD_SLOTS] = record.head
        rows = record.rows or [[0] * ROW_SLOTS]
        self.work[ROWS_AT : ROWS_AT + ROW_SLOTS * len(rows)] = np.array(rows, np.int64).ravel()
        at, room = levels_of(self.capacity)
        for run, levels in ((0, record.bids), (2, record.asks)):
            for part in range(2):
                start = at + room * (run + part)
                self.work[start : start + len(levels)] = [level[part] for level in levels]


def decode(raw: bytes) -> object:
    """A message as Python values; `UnreadableInput` if it is no JSON."""
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableInput(f"no JSON: {error}") from None


assert LIMIT == 10**18
assert NODE == 3  # what `read` takes a node for: entries, how many, which are needed
