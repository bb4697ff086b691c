"""The recent ids: an open-addressing hash table with linear probing, in one numpy array.

A record is uint64[4]: both halves of the key, the ordinal plus one (0 marks a slot that is free), the content.

The bodies are numba's language: it checks their types when it compiles them.
"""
# mypy: disable-error-code="arg-type,assignment,no-any-return,operator", allow-untyped-decorators

from dataclasses import dataclass

import numpy as np
from numba import njit

from raysignal.engine.core.arrays import Int64Array, UInt64Array

HIGH, LOW, PLACE, CONTENT = range(4)
"""The columns of a record; `PLACE` is the ordinal plus one."""

RECORD_WORDS = 4
_SLOTS = 1 << 18  # holds 131 072 ids at most half full


@dataclass(frozen=True, slots=True)
class FrozenIds:
    """Ids on their way into a run: a hash table that takes no more, and can be read from any thread."""

    table: UInt64Array
    count: int

    def look_up(self, keys: UInt64Array, wanted: Int64Array, place: Int64Array, content: UInt64Array) -> bool:
        """Fill `place` and `content` of the rows at `wanted` whose key is here; whether any is."""
        return bool(_probe(self.table, keys, wanted, place, content))

    def in_order(self) -> UInt64Array:
        """The records sorted by key, uint64[n, 4]."""
        records = _compact(self.table, self.count)
        return _settle_ties(records[np.argsort(records[:, HIGH])])


class RecentIds:
    """The table that takes ids in: 8 MB for up to 131 072, doubled when there are more until it is frozen."""

    __slots__ = ("_table", "count")

    def __init__(self) -> None:
        self._table: UInt64Array = np.zeros((_SLOTS, RECORD_WORDS), np.uint64)
        self.count = 0

    def look_up(self, keys: UInt64Array, wanted: Int64Array, place: Int64Array, content: UInt64Array) -> bool:
        """Fill `place` and `content` of the rows at `wanted` whose key is here; whether any is."""
        return self.count > 0 and bool(_probe(self._table, keys, wanted, place, content))

    def add(self, keys: UInt64Array, ordinals: Int64Array, contents: UInt64Array) -> None:
        """Take ids in; one that is here already gets the new values."""
        slots = self._table.shape[0]
        while slots < 2 * (self.count + keys.shape[0]):
            slots *= 2
        if slots != self._table.shape[0]:
            grown = np.zeros((slots, RECORD_WORDS), np.uint64)
            _move(self._table, grown)
            self._table = grown
        self.count += int(_insert(self._table, keys, ordinals, contents))

    def freeze(self) -> FrozenIds:
        """Hand all ids over and begin anew."""
        frozen = FrozenIds(self._table, self.count)
        self._table = np.zeros((_SLOTS, RECORD_WORDS), np.uint64)
        self.count = 0
        return frozen


@njit(cache=True, nogil=True)
def _insert(table: UInt64Array, keys: UInt64Array, ordinals: Int64Array, contents: UInt64Array) -> int:
    mask = np.uint64(table.shape[0] - 1)
    added = 0
    for row in range(keys.shape[0]):
        slot = keys[row, 0] & mask
        while table[slot, PLACE] != 0 and (
            table[slot, HIGH] != keys[row, 0] or table[slot, LOW] != keys[row, 1]
        ):
            slot = (slot + np.uint64(1)) & mask
        added += table[slot, PLACE] == 0
        table[slot, HIGH] = keys[row, 0]
        table[slot, LOW] = keys[row, 1]
        table[slot, PLACE] = np.uint64(ordinals[row] + 1)
        table[slot, CONTENT] = contents[row]
    return added


@njit(cache=True, nogil=True)
def _probe(
    table: UInt64Array, keys: UInt64Array, wanted: Int64Array, place: Int64Array, content: UInt64Array
) -> int:
    mask = np.uint64(table.shape[0] - 1)
    found = 0
    for row in wanted:
        slot = keys[row, 0] & mask
        while table[slot, PLACE] != 0:
            if table[slot, HIGH] == keys[row, 0] and table[slot, LOW] == keys[row, 1]:
                place[row] = np.int64(table[slot, PLACE])
                content[row] = table[slot, CONTENT]
                found += 1
                break
            slot = (slot + np.uint64(1)) & mask
    return found


@njit(cache=True, nogil=True)
def _move(table: UInt64Array, grown: UInt64Array) -> None:
    mask = np.uint64(grown.shape[0] - 1)
    for old in range(table.shape[0]):
        if table[old, PLACE] != 0:
            slot = table[old, HIGH] & mask
            while grown[slot, PLACE] != 0:
                slot = (slot + np.uint64(1)) & mask
            grown[slot] = table[old]


@njit(cache=True, nogil=True)
def _compact(table: UInt64Array, count: int) -> UInt64Array:
    records = np.empty((count, RECORD_WORDS), np.uint64)
    at = 0
    for slot in range(table.shape[0]):
        if table[slot, PLACE] != 0:
            records[at] = table[slot]
            at += 1
    return records


@njit(cache=True, nogil=True)
def _settle_ties(records: UInt64Array) -> UInt64Array:
    """Sort what is sorted by the high halves by the low halves as well."""
    for row in range(1, records.shape[0]):
        at = row
        while (
            at > 0 and records[at - 1, HIGH] == records[at, HIGH] and records[at - 1, LOW] > records[at, LOW]
        ):
            for word in range(RECORD_WORDS):
                records[at, word], records[at - 1, word] = records[at - 1, word], records[at, word]
            at -= 1
    return records
