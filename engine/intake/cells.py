# mypy: disallow-untyped-decorators=False
"""Cells that a scanner found, as Arrow arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa

from raysignal.engine.core.arrays import BoolArray, Int64Array, UInt8Array
from raysignal.engine.core.raw import compiled, copy_bytes
from raysignal.engine.intake.scanner import ESCAPED, FALSE, NULL, NUMBER, TEXT, TRUE

_QUOTE = 34
_numbers = msgspec.json.Decoder(list[float])

Unescape = Callable[[UInt8Array, Int64Array, Int64Array, BoolArray], pa.Array | None]
"""What texts say: of the bytes, where each begins and ends, and which are escaped; None if one of those is no text."""


@dataclass(frozen=True, slots=True, eq=False)
class ScannedCells:
    """Where the cells of some columns lie: what a scanner wrote down, without the room that it did not use.

    Attributes:
        data: the bytes, UTF-8.
        begin: int64[columns, n].
        end: int64[columns, n].
        kind: uint8[columns, n].
        plain: bool[n], whether the cells say all of the row; `columns` narrows it.
    """

    data: UInt8Array
    begin: Int64Array
    end: Int64Array
    kind: UInt8Array
    plain: BoolArray

    def columns(self, names: Sequence[str], unescape: Unescape) -> dict[str, pa.Array]:
        """Name to texts, float64, booleans or nulls; of a column with texts, the texts."""
        return {name: self._column(column, unescape) for column, name in enumerate(names)}

    def _column(self, column: int, unescape: Unescape) -> pa.Array:
        kind = self.kind[column]
        escaped = kind == ESCAPED
        texts = (kind == TEXT) | escaped
        if texts.any():
            self.plain[~texts & (kind > NULL)] = False
            if escaped.any():
                begin, end = self.begin[column, texts], self.end[column, texts]
                if (found := unescape(self.data, begin, end, escaped[texts])) is not None:
                    place = np.cumsum(texts) - 1
                    return found if texts.all() else found.take(pa.array(place, mask=~texts))
                self.plain[escaped] = False
                texts = kind == TEXT
            begin = self.begin[column]
            return texts_array(self.data, begin, np.where(texts, self.end[column], begin), texts)
        numbers, true, false = kind == NUMBER, kind == TRUE, kind == FALSE
        if not numbers.any():
            return pa.array(true, mask=~(true | false)) if (true | false).any() else pa.nulls(len(kind))
        self.plain[true | false] = False
        values = np.zeros(len(kind))
        try:
            values[numbers] = _numbers.decode(
                json_array(self.data, self.begin[column, numbers], self.end[column, numbers])
            )
        except msgspec.DecodeError:
            self.plain[numbers] = False
        return pa.array(values, mask=~numbers)


def texts_array(
    data: UInt8Array, begin: Int64Array, end: Int64Array, valid: BoolArray | None = None
) -> pa.LargeStringArray:
    """Cells as texts, nulls where they are not valid."""
    offsets = np.zeros(len(begin) + 1, np.int64)
    np.cumsum(end - begin, out=offsets[1:])
    out = np.empty(offsets[-1], np.uint8)
    _copy_cells(data, begin, end, out, offsets)
    mask = None if valid is None or valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.LargeStringArray.from_buffers(len(begin), pa.py_buffer(offsets), pa.py_buffer(out), mask)


def json_array(data: UInt8Array, begin: Int64Array, end: Int64Array) -> memoryview:
    """Cells as one JSON array."""
    offsets = np.ones(len(begin) + 1, np.int64)
    offsets[1:] += np.cumsum(end - begin + 1)
    out = np.empty(offsets[-1], np.uint8)
    _copy_cells(data, begin, end, out, offsets)
    out[0], out[offsets[1:] - 1], out[-1] = ord("["), ord(","), ord("]")
    return out.data


@compiled
def _copy_cells(
    data: UInt8Array, begin: Int64Array, end: Int64Array, out: UInt8Array, offsets: Int64Array
) -> None:
    for k in range(begin.shape[0]):
        copy_bytes(out, offsets[k], data, begin[k], end[k] - begin[k])


@compiled
def copy_quoted(
    data: UInt8Array,
    begin: Int64Array,
    end: Int64Array,
    escaped: BoolArray,
    out: UInt8Array,
    offsets: Int64Array,
) -> None:
    """Cells one behind the other, of escaped ones every doubled quote once; `offsets` becomes where each begins."""
    at = 0
    for k in range(begin.shape[0]):
        byte = begin[k]
        if escaped[k]:
            while byte < end[k]:
                out[at] = data[byte]
                at += 1
                byte += 2 if data[byte] == _QUOTE else 1
        else:
            copy_bytes(out, at, data, byte, end[k] - byte)
            at += end[k] - byte
        offsets[k + 1] = at
