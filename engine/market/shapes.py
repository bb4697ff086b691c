"""What a venue's messages look like, said once: the compiled reader and the slow lane both go by it.

A `Form` is a JSON object: its names, and what each of them is. What a form does not name is passed over. A
message's values end up in slots: `Slot` for what is said once a message, `RowSlot` for what is said once a trade.

`compile_forms` turns forms and symbols into one int64 table for `engine.market.reader`. `read_slowly` takes a
decoded message through the same forms in plain Python: it is what decides whenever the compiled reader does not.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

from raysignal.engine.core.arrays import Int64Array
from raysignal.engine.core.errors import UnreadableInput

# A tick or lot count is below this: 18 digits always fit into an int64.
LIMIT = 10**18
WORD = 8
NAME_WORDS, SYMBOL_WORDS = 2, 3


class Slot(IntEnum):
    """Where a message's values are in `MessageValues.head`."""

    KIND = 0
    INSTRUMENT = 1
    FIRST = 2  # the first update id of a change
    LAST = 3  # the last one
    PREVIOUS = 4  # the last one of the change before it
    MS = 5  # the venue's clock
    SNAPSHOT = 6  # 1: replaces the book
    SEQUENCE = 7  # an id that can be compared with another channel's
    BIDS = 8  # entries in `bids`
    ASKS = 9
    ROWS = 10
    IGNORED = 11


class RowSlot(IntEnum):
    """Where a trade's (or quote's) values are in a row of `MessageValues.rows`."""

    PRICE = 0
    SIZE = 1
    ID_START = 2  # where the text of the trade id begins and ends
    ID_STOP = 3
    SIDE = 4
    MS = 5
    ASK = 6
    ASK_SIZE = 7


HEAD_SLOTS, ROW_SLOTS = 16, 8


class ValueUse(IntEnum):
    """What a value is, and what is done with it."""

    INTEGER = 0  # a number without point or exponent, 18 digits at most
    INTEGER_TEXT = 1  # such a number in quotes
    PRICE = 2  # a decimal in quotes, in the instrument's price decimals
    SIZE = 3
    ID = 4  # a text or an integer, kept as it is written
    FLAG = 5  # true: the first of `values`, false: the second
    WORD = 6  # a text that is one of `words`
    KIND = 7  # a text, part of which is one of `words`: the message's kind
    SYMBOL = 8  # the instrument
    BIDS = 9  # an array of [price, size, …]
    ASKS = 10
    FORM = 11  # an object
    DATA = 12  # an object or an array of objects, by the message's kind


@dataclass(frozen=True, slots=True)
class Value:
    """One name of a form.

    Attributes:
        slot: where it goes.
        needed: a message without it is malformed.
        words: for WORD and KIND, what each text means; for FLAG, `true` and `false`.
        after, before: for KIND, the part is what lies after the first `after` and up to the next `before`; with
            `before` alone, up to the last one.
        form: for FORM.
        forms: for DATA, by kind; `listed` kinds are arrays.
    """

    take: ValueUse
    slot: Slot | RowSlot = Slot.IGNORED
    needed: bool = True
    words: Mapping[str, int] = field(default_factory=dict)
    after: str = ""
    before: str = ""
    form: "Form | None" = None
    forms: Mapping[int, "Form"] = field(default_factory=dict)
    listed: frozenset[int] = frozenset()


Form = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Symbol:
    """How a symbol's numbers are written."""

    name: str
    price_decimals: int
    size_decimals: int


# The table: its first words say where its parts are; nodes begin at _NODES.
SYMBOLS_AT, SYMBOLS_MASK, DECIMALS_AT, STREAM_AT, _NODES = 0, 1, 2, 3, 8
NODE, ENTRY, CHOICE, SWITCH, SYMBOL = 3, 8, 4, 3, 5


def words_of(name: str, count: int) -> list[int]:
    """A name of up to `8 * count` ASCII bytes as little-endian int64 words, padded with zeros."""
    data = name.encode("ascii")
    if not 0 < len(data) <= WORD * count:
        raise ValueError(f"{name!r} is not of 1 to {WORD * count} bytes")
    padded = data.ljust(WORD * count, b"\0")
    return [
        int.from_bytes(padded[at : at + WORD], "little", signed=True) for at in range(0, len(padded), WORD)
    ]


def symbol_slot(words: Sequence[int]) -> int:
    """Where a symbol's search begins, before the mask; the same as in the compiled reader."""
    mixed = 0
    for word in words:
        mixed = ((mixed ^ (word & (2**64 - 1))) * 0x9E3779B185EBCA87) & (2**64 - 1)
    return mixed >> 40


def compile_forms(roots: Sequence[Form], symbols: Sequence[Symbol]) -> tuple[Int64Array, list[int]]:
    """The table of these forms and symbols, and where in it each root begins.

    Symbols that do not fit (longer than 24 bytes, or not ASCII) are left to the slow lane.
    """
    table: list[int] = [0] * _NODES
    starts = [_add_form(table, form) for form in roots]
    table[STREAM_AT] = starts[0]
    slots = 4
    while slots < 4 * len(symbols):
        slots *= 2
    at = len(table)
    table[SYMBOLS_AT], table[SYMBOLS_MASK] = at, slots - 1
    table += [0, 0, 0, 0, -1] * slots
    table[DECIMALS_AT] = len(table)
    for row, symbol in enumerate(symbols):
        table += [symbol.price_decimals, symbol.size_decimals]
        if not symbol.name.isascii() or len(symbol.name) > WORD * SYMBOL_WORDS:
            continue
        words = words_of(symbol.name, SYMBOL_WORDS)
        slot = symbol_slot(words) & (slots - 1)
        while table[at + SYMBOL * slot + 4] >= 0:
            slot = (slot + 1) & (slots - 1)
        place = at + SYMBOL * slot
        table[place : place + SYMBOL] = [*words, len(symbol.name), row]
    return np.array(table, np.int64), starts


def _add_form(table: list[int], form: Form) -> int:
    """Append a form's node and entries; where the node is."""
    if len(form) > 60:
        raise ValueError("a form has at most 60 names")
    node = len(table)
    entries = node + NODE
    needed = sum(1 << index for index, value in enumerate(form.values()) if value.needed)
    table += [entries, len(form), needed]
    table += [0] * (ENTRY * len(form))
    for index, (name, value) in enumerate(form.items()):
        extra = 0
        part = 0
        if value.take in {ValueUse.WORD, ValueUse.KIND, ValueUse.FLAG}:
            extra = len(table)
            table.append(len(value.words))
            for word, meaning in value.words.items():
                table += [*words_of(word, NAME_WORDS), len(word), meaning]
            part = ord(value.after or "\0") << 8 | ord(value.before or "\0")
        elif value.take is ValueUse.FORM:
            assert value.form is not None
            extra = _add_form(table, value.form)
        elif value.take is ValueUse.DATA:
            extra = len(table)
            table += [len(value.forms)] + [0] * (SWITCH * len(value.forms))
            for number, (kind, inner) in enumerate(value.forms.items()):
                place = extra + 1 + SWITCH * number
                table[place : place + SWITCH] = [kind, _add_form(table, inner), kind in value.listed]
        at = entries + ENTRY * index
        table[at : at + ENTRY] = [
            *words_of(name, NAME_WORDS), len(name), value.take, int(value.slot), isinstance(value.slot, RowSlot),
            extra, part,
        ]  # fmt: skip
    return node


@dataclass(slots=True)
class MessageValues:
    """A message's values. Trade ids are `text[start:stop]`; `bids` and `asks` are (price, size)."""

    head: list[int] = field(default_factory=lambda: [0] * HEAD_SLOTS)
    rows: list[list[int]] = field(default_factory=list)
    bids: list[tuple[int, int]] = field(default_factory=list)
    asks: list[tuple[int, int]] = field(default_factory=list)
    text: bytes = b""


class Elsewhere(Exception):
    """A well-formed message that the forms are not about: another kind, or an instrument that is not followed."""


_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_DECIMAL = re.compile(r"([0-9]+)(?:\.([0-9]+))?", re.ASCII)


def exact(text: object, decimals: int) -> int:
    """A decimal text as a count of its last place; `UnreadableInput` if that is not exact or has over 18 digits."""
    found = _DECIMAL.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise UnreadableInput(f"{text!r} is no decimal")
    whole, fraction = found[1], found[2] or ""
    if fraction[decimals:].strip("0"):
        raise UnreadableInput(f"{text!r} has more than {decimals} decimals")
    digits = (whole + fraction[:decimals].ljust(decimals, "0")).lstrip("0")
    if len(digits) > len(str(LIMIT)) - 1:
        raise UnreadableInput(f"{text!r} is too large for {decimals} decimals")
    return int(digits or "0")


def read_slowly(
    form: Form, message: object, symbols: Mapping[str, tuple[int, Symbol]], row: int = -1
) -> MessageValues:
    """A decoded message through its form.

    Args:
        form: the root.
        message: what msgspec or json made of it.
        symbols: what is followed, by name: its row and decimals.
        row: the instrument, where the message does not name it (an answer to a request).

    Raises:
        Elsewhere: the message is about something else.
        UnreadableInput: it is not what the form says.
    """
    record = MessageValues()
    record.head[Slot.INSTRUMENT] = row
    known = next((symbol for at, symbol in symbols.values() if at == row), None)
    _Slow(record, symbols, known).read(form, message)
    return record


class _Slow:
    """One message on its way through a form."""

    def __init__(
        self, record: MessageValues, symbols: Mapping[str, tuple[int, Symbol]], known: Symbol | None
    ) -> None:
        self.record, self.symbols, self.known = record, symbols, known

    def read(self, form: Form, message: object) -> None:
        self._names(form, message)
        self._values(form, message)

    def _names(self, form: Form, message: object) -> None:
        """What the rest depends on, wherever it stands: the kind, then the instrument."""
        self._find(form, message, ValueUse.KIND, self._kind)
        self._find(form, message, ValueUse.SYMBOL, self._symbol)

    def _find(self, form: Form, message: object, take: ValueUse, then: Any) -> None:
        for each in self._objects(message):
            for name, value in form.items():
                if name not in each:
                    continue
                if value.take is take:
                    then(value, each[name])
                elif value.take is ValueUse.FORM and value.form is not None:
                    self._find(value.form, each[name], take, then)
                elif value.take is ValueUse.DATA and take is not ValueUse.KIND:
                    self._find(self._inner(value), each[name], take, then)

    @staticmethod
    def _objects(message: object) -> list[dict[str, Any]]:
        objects: list[dict[str, Any]] = []
        for each in message if isinstance(message, list) else [message]:
            if not isinstance(each, dict):
                raise UnreadableInput("no object where one was expected")
            objects.append(each)
        if not objects:
            raise UnreadableInput("an empty list where an object was expected")
        return objects

    def _inner(self, value: Value) -> Form:
        inner = value.forms.get(self.record.head[Slot.KIND])
        if inner is None:
            raise UnreadableInput("data before its kind is known")
        return inner

    def _kind(self, value: Value, text: object) -> None:
        if not isinstance(text, str):
            raise UnreadableInput("the kind is no text")
        part = text
        if value.after:
            part = part.partition(value.after)[2].partition(value.before)[0]
        elif value.before:
            part = part.rpartition(value.before)[0]
        if part not in value.words:
            raise Elsewhere
        self.record.head[Slot.KIND] = value.words[part]

    def _symbol(self, _value: Value, text: object) -> None:
        if not isinstance(text, str):
            raise UnreadableInput("the symbol is no text")
        if text not in self.symbols:
            raise Elsewhere
        row, symbol = self.symbols[text]
        if self.known is not None and self.known is not symbol:
            raise UnreadableInput("two symbols in one message")
        self.known = symbol
        self.record.head[Slot.INSTRUMENT] = row

    def _values(self, form: Form, message: object) -> None:
        if not isinstance(message, dict):
            raise UnreadableInput("no object where one was expected")
        for name, value in form.items():
            if name in message:
                self._value(value, message[name])
            elif value.needed:
                raise UnreadableInput(f"no {name!r}")

    def _value(self, value: Value, found: Any) -> None:  # noqa: C901, PLR0912 - a case each
        match value.take:
            case ValueUse.INTEGER:
                if type(found) is not int or abs(found) >= LIMIT:
                    raise UnreadableInput(f"{found!r} is no integer of 18 digits")
                self._put(value.slot, found)
            case ValueUse.INTEGER_TEXT:
                if not isinstance(found, str) or not _INTEGER.fullmatch(found):
                    raise UnreadableInput(f"{found!r} is no integer in quotes")
                self._put(value.slot, int(found))
            case ValueUse.PRICE:
                self._put(value.slot, exact(found, self._decimals().price_decimals))
            case ValueUse.SIZE:
                self._put(value.slot, exact(found, self._decimals().size_decimals))
            case ValueUse.ID:
                self._id(found)
            case ValueUse.FLAG:
                if not isinstance(found, bool):
                    raise UnreadableInput(f"{found!r} is neither true nor false")
                self._put(value.slot, value.words["true" if found else "false"])
            case ValueUse.WORD:
                if not isinstance(found, str) or found not in value.words:
                    raise UnreadableInput(f"{found!r} is none of {', '.join(value.words)}")
                self._put(value.slot, value.words[found])
            case ValueUse.BIDS:
                self.record.bids = self._levels(found)
                self.record.head[Slot.BIDS] = len(self.record.bids)
            case ValueUse.ASKS:
                self.record.asks = self._levels(found)
                self.record.head[Slot.ASKS] = len(self.record.asks)
            case ValueUse.FORM:
                assert value.form is not None
                self._values(value.form, found)
            case ValueUse.DATA:
                self._data(value, found)

    def _data(self, value: Value, found: Any) -> None:
        inner = self._inner(value)
        if self.record.head[Slot.KIND] not in value.listed:
            self._values(inner, found)
            return
        if not isinstance(found, list) or not found:
            raise UnreadableInput("data is no list")
        if len(found) > 1 and any(each.take in {ValueUse.BIDS, ValueUse.ASKS} for each in inner.values()):
            raise UnreadableInput("several books in one message")
        for number, each in enumerate(found):
            self.record.head[Slot.ROWS] = number
            self._values(inner, each)
        self.record.head[Slot.ROWS] = len(found)

    def _levels(self, found: Any) -> list[tuple[int, int]]:
        symbol = self._decimals()
        levels = []
        if not isinstance(found, list):
            raise UnreadableInput("levels are no list")
        for each in found:
            if not isinstance(each, list) or not 2 <= len(each) <= 4:
                raise UnreadableInput("a level is a price and a size")
            if not all(isinstance(part, str) for part in each):
                raise UnreadableInput("a level has texts")
            price, size = exact(each[0], symbol.price_decimals), exact(each[1], symbol.size_decimals)
            if price == 0:
                raise UnreadableInput("a level's price is 0")
            levels.append((price, size))
        return levels

    def _decimals(self) -> Symbol:
        if self.known is None:
            raise UnreadableInput("no symbol")
        return self.known

    def _id(self, found: Any) -> None:
        if type(found) is int and abs(found) < LIMIT:
            found = str(found)
        if not isinstance(found, str):
            raise UnreadableInput(f"{found!r} is no id")
        start = len(self.record.text)
        self.record.text += found.encode()
        self._put(RowSlot.ID_START, start)
        self._put(RowSlot.ID_STOP, len(self.record.text))

    def _put(self, slot: Slot | RowSlot, number: int) -> None:
        if isinstance(slot, Slot):
            self.record.head[slot] = number
            return
        row = self.record.head[Slot.ROWS]
        while len(self.record.rows) <= row:
            self.record.rows.append([0] * ROW_SLOTS)
        self.record.rows[row][slot] = number
