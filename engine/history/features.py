"""Features as two map columns: numbers and texts by the feature's name.

Every file has the same columns whatever features its rows have, and a feature may be a number in one row and a
text in another.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from raysignal.engine.core.arrays import Float64Array, Int64Array
from raysignal.engine.core.columns import TextColumn


def number_map(numbers: Mapping[str, Float64Array], n: int) -> pa.MapArray:
    """Maps of the numbers that each of n rows has; NaN is a missing one."""
    names, values = sorted(numbers), [np.empty(0)]
    entries = []
    for name in names:
        there = np.flatnonzero(~np.isnan(numbers[name]))
        entries.append(there)
        values.append(numbers[name][there])
    order, offsets, keys = _ordered(names, entries, n)
    return pa.MapArray.from_arrays(offsets, keys, pa.array(np.concatenate(values)[order]))


def text_map(texts: Mapping[str, TextColumn], n: int) -> pa.MapArray:
    """Maps of the texts that each of n rows has; an empty one is a missing one."""
    names, values = sorted(texts), [TextColumn.empty(0)]
    entries = []
    for name in names:
        there = np.flatnonzero(np.diff(texts[name].offsets))
        entries.append(there)
        values.append(texts[name].take(there))
    order, offsets, keys = _ordered(names, entries, n)
    return pa.MapArray.from_arrays(
        offsets, keys, TextColumn.concat(values).take(order).to_arrow().cast(pa.string())
    )


def numbers_of(column: pa.ChunkedArray) -> dict[str, Float64Array]:
    """The numbers of n maps: by name n values, NaN where a row has none."""
    numbers: dict[str, Float64Array] = {}
    for name, rows, values in _by_name(column):
        numbers[name] = np.full(len(column), np.nan)
        numbers[name][rows] = values.to_numpy(zero_copy_only=False)
    return numbers


def texts_of(column: pa.ChunkedArray) -> dict[str, TextColumn]:
    """The texts of n maps: by name n values, empty where a row has none."""
    texts: dict[str, TextColumn] = {}
    for name, rows, values in _by_name(column):
        there = TextColumn.of_arrow(values)
        lengths = np.zeros(len(column) + 1, np.int64)
        lengths[rows + 1] = np.diff(there.offsets)
        texts[name] = TextColumn(there.data, np.cumsum(lengths))
    return texts


def _ordered(
    names: Sequence[str], entries: Sequence[Int64Array], n: int
) -> tuple[Int64Array, pa.Array, pa.Array]:
    """Entries that stand name by name, row by row instead: their order, the maps' offsets and the keys."""
    row = np.concatenate([np.empty(0, np.int64), *entries])
    code = np.repeat(np.arange(len(names)), [len(rows) for rows in entries])
    order = np.argsort(row, kind="stable")
    offsets = np.zeros(n + 1, np.int32)
    np.cumsum(np.bincount(row, minlength=n), out=offsets[1:])
    return order, pa.array(offsets), pa.array(names, pa.string()).take(pa.array(code[order]))


def _by_name(column: pa.ChunkedArray) -> Iterator[tuple[str, Int64Array, pa.Array]]:
    """Every name that occurs, with the rows that have it, ascending, and its value in each."""
    maps = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    offsets = maps.offsets.to_numpy()
    begin, count = int(offsets[0]), int(offsets[-1] - offsets[0])
    if not count:
        return
    row = np.repeat(np.arange(len(maps)), np.diff(offsets))
    keys = maps.keys.slice(begin, count).dictionary_encode()
    codes, items = keys.indices.to_numpy(), maps.items.slice(begin, count)
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(len(keys.dictionary) + 1))
    for code, name in enumerate(keys.dictionary.to_pylist()):
        places = order[bounds[code] : bounds[code + 1]]
        yield name, row[places], items.take(pa.array(places))
