"""Signals in columns: what travels from the edge to the actor and lies in the journal.

A `SignalBatch` holds n signals as numpy arrays, each with its identity key and the digest of its content, so
that ten thousand of them are compared, sorted, stored and replayed without a Python object a row. One signal
is a batch of one: there is no second path.

Digests are of the normalised values: the same signal has the same digest whether it came as JSON, CSV or
Parquet, alone or in a batch.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from raysignal.engine.core.arrays import (
    BoolArray,
    Float64Array,
    Int8Array,
    Int32Array,
    Int64Array,
    UInt8Array,
    UInt64Array,
)
from raysignal.engine.core.digests import (
    add_numbers,
    add_texts,
    derive_ids,
    digest_core,
    digest_names,
    digest_twice,
    gather_texts,
)
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.core.terms import EXPIRES, TERMS, SignalTerms, concat_terms, is_range_name

_FORMAT, _WITH_TERMS = 1, 2
_COMPRESS_FROM = 32 * 1024
_CODEC = "lz4"


@dataclass(frozen=True, slots=True)
class TextColumn:
    """n UTF-8 texts: `data[offsets[i]:offsets[i + 1]]`; an empty one is a missing one.

    Attributes:
        data: uint8[total].
        offsets: int64[n + 1], from 0.
    """

    data: UInt8Array
    offsets: Int64Array

    @classmethod
    def of(cls, texts: Iterable[str | None]) -> "TextColumn":
        encoded = [(text or "").encode() for text in texts]
        offsets = np.array([0, *accumulate(map(len, encoded))], np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8), offsets)

    @classmethod
    def empty(cls, n: int) -> "TextColumn":
        return cls(np.empty(0, np.uint8), np.zeros(n + 1, np.int64))

    @classmethod
    def of_arrow(cls, texts: pa.Array | pa.ChunkedArray) -> "TextColumn":
        """From an Arrow string array without a Python object a row; a null is an empty text."""
        array = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
        if array.null_count:
            array = array.fill_null("")
        array = array.cast(pa.large_string())
        _, offsets, data = array.buffers()
        if len(array) == 0 or offsets is None:
            return cls.empty(len(array))
        at = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
        whole = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
        return cls(whole[at[0] : at[-1]], at - at[0])

    @classmethod
    def concat(cls, columns: Sequence["TextColumn"]) -> "TextColumn":
        """Several columns as one, in their order."""
        lengths = np.concatenate([np.diff(column.offsets) for column in columns])
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(np.concatenate([column.data for column in columns]), offsets)

    def to_arrow(self) -> pa.Array:
        """As `large_string`, zero-copy, empty texts as they are."""
        return pa.LargeStringArray.from_buffers(
            len(self), pa.py_buffer(self.offsets), pa.py_buffer(np.ascontiguousarray(self.data))
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        return self.data[self.offsets[index] : self.offsets[index + 1]].tobytes().decode()

    def to_list(self) -> list[str]:
        whole = self.data.tobytes()
        at = self.offsets.tolist()
        return [whole[start:stop].decode() for start, stop in pairwise(at)]

    def take(self, indices: Int64Array) -> "TextColumn":
        return TextColumn(*gather_texts(self.data, self.offsets, np.asarray(indices, np.int64)))

    def keys(self) -> UInt64Array:
        """XXH64 of every text with the seeds 0 and 1, uint64[n, 2]."""
        keys: UInt64Array = digest_twice(self.data, self.offsets)
        return keys


@dataclass(frozen=True, slots=True)
class SignalBatch:
    """n signals in columns; made by `SignalBatch.of`, never by hand.

    Attributes:
        timestamp_us: int64[n], UTC microseconds.
        action: int8[n], an `Action` each.
        price: float64[n], finite and > 0.
        symbol, source: int32[n], positions in `symbols` and `sources`.
        signal_id: what was given or derived; never empty.
        derived: bool[n], the id was derived: it cannot have been seen at a later instant of its symbol.
        key: uint64[n, 2], the 128-bit digest of the id.
        content: uint64[n], the digest of everything but the id.
        numbers, texts: features by name; NaN or an empty text is a missing one. A feature that is a
            number in some rows and a text in others stands in both.
        row: int64[n], the position in the input it came from (not stored).
        terms: float64[n, 6], see `engine.core.terms`; None: no row has any.
    """

    timestamp_us: Int64Array
    action: Int8Array
    price: Float64Array
    symbol: Int32Array
    symbols: tuple[str, ...]
    source: Int32Array
    sources: tuple[str, ...]
    signal_id: TextColumn
    derived: BoolArray
    key: UInt64Array
    content: UInt64Array
    numbers: dict[str, Float64Array]
    texts: dict[str, TextColumn]
    row: Int64Array = field(compare=False)
    terms: Float64Array | None = None

    @classmethod
    def of(
        cls,
        *,
        timestamp_us: Int64Array,
        action: Int8Array,
        price: Float64Array,
        symbol: Int32Array,
        symbols: Sequence[str],
        source: Int32Array,
        sources: Sequence[str],
        signal_id: TextColumn | None = None,
        numbers: dict[str, Float64Array] | None = None,
        texts: dict[str, TextColumn] | None = None,
    ) -> "SignalBatch":
        """A batch of values that are already valid: ids are derived where empty, digests computed.

        Features without any value are dropped, infinite numbers must have been refused before. Rows are numbered as
        they stand here; terms come by `with_terms`.
        """
        n = timestamp_us.shape[0]
        timestamp_us = np.ascontiguousarray(timestamp_us, np.int64)
        action = np.ascontiguousarray(action, np.int8)
        price = np.ascontiguousarray(price, np.float64)
        symbol = np.ascontiguousarray(symbol, np.int32)
        source = np.ascontiguousarray(source, np.int32)
        symbol_digest = digest_names(symbols, 0)[symbol]
        source_digest = digest_names(sources, 0)[source]
        given = signal_id if signal_id is not None else TextColumn.empty(n)
        data, offsets, derived = derive_ids(
            given.data, given.offsets, source_digest, symbol_digest, timestamp_us, action
        )
        ids = TextColumn(data, offsets)
        kept_numbers = {
            name: np.ascontiguousarray(values, np.float64)
            for name, values in sorted((numbers or {}).items())
            if not np.isnan(values).all()
        }
        kept_texts = {
            name: values for name, values in sorted((texts or {}).items()) if values.offsets[-1] > 0
        }
        content = digest_core(source_digest, symbol_digest, timestamp_us, action, price)
        for values, digest in zip(kept_numbers.values(), digest_names(kept_numbers, 2), strict=True):
            add_numbers(content, digest, values)
        for column, digest in zip(kept_texts.values(), digest_names(kept_texts, 2), strict=True):
            add_texts(content, digest, column.data, column.offsets)
        return cls(
            timestamp_us, action, price, symbol, tuple(symbols), source, tuple(sources), ids, derived,
            ids.keys(), content, kept_numbers, kept_texts, np.arange(n, dtype=np.int64),
        )  # fmt: skip

    def with_terms(self, terms: Float64Array | None) -> "SignalBatch":
        """These signals, which have none, with terms, float64[n, 6]; unchanged where there are none."""
        if terms is None or bool(np.isnan(terms).all()):
            return self
        content = self.content.copy()
        # As features of these names are: a signal that was taken in while they were is still the same.
        for place, digest in enumerate(digest_names(TERMS, 2)):
            add_numbers(content, digest, np.ascontiguousarray(terms[:, place]))
        return replace(self, content=content, terms=terms)

    @classmethod
    def of_signals(cls, signals: Sequence[Signal]) -> "SignalBatch":
        """A batch of single signals, in their order."""
        symbols, symbol = _codes([signal.symbol for signal in signals])
        sources, source = _codes([signal.source for signal in signals])
        numbers: dict[str, Float64Array] = {}
        texts: dict[str, list[str]] = {}
        n = len(signals)
        for i, signal in enumerate(signals):
            for name, value in signal.features.items():
                if isinstance(value, str):
                    texts.setdefault(name, [""] * n)[i] = value
                else:
                    numbers.setdefault(name, np.full(n, np.nan))[i] = value
        return cls.of(
            timestamp_us=np.array([signal.timestamp_us for signal in signals], np.int64),
            action=np.array([signal.action for signal in signals], np.int8),
            price=np.array([signal.price for signal in signals], np.float64),
            symbol=symbol, symbols=symbols, source=source, sources=sources,
            signal_id=TextColumn.of([signal.signal_id for signal in signals]),
            numbers=numbers, texts={name: TextColumn.of(values) for name, values in texts.items()},
        ).with_terms(np.array([signal.terms for signal in signals], np.float64).reshape(n, len(TERMS)))  # fmt: skip

    def __len__(self) -> int:
        return len(self.timestamp_us)

    def signal(self, index: int) -> Signal:
        """One row as a value, with the id it has here."""
        features: dict[str, float | str] = {
            name: float(values[index]) for name, values in self.numbers.items() if not np.isnan(values[index])
        }
        features |= {name: text for name, values in self.texts.items() if (text := values[index])}
        terms: list[Any] = [None] * len(TERMS)
        if self.terms is not None:
            terms = [None if np.isnan(value) else value for value in self.terms[index].tolist()]
            terms[EXPIRES] = None if terms[EXPIRES] is None else int(terms[EXPIRES])
        return Signal(
            symbol=self.symbols[self.symbol[index]],
            timestamp_us=int(self.timestamp_us[index]),
            action=Action(int(self.action[index])),
            price=float(self.price[index]),
            source=self.sources[self.source[index]],
            signal_id=self.signal_id[index],
            features=features,
            size=terms[0], stop_loss=terms[1], take_profit=terms[2], trailing_stop_bps=terms[3],
            confidence=terms[4], expires_us=terms[5],
        )  # fmt: skip

    @property
    def side(self) -> Int8Array:
        """int8[n], 1 for BUY, -1 for SELL, 0 for what takes no side: HOLD and CLOSE."""
        if int(self.action.max(initial=0)) <= Action.BUY:
            return self.action
        return np.where(self.action == Action.CLOSE, np.int8(0), self.action)

    def order_terms(self, action: Int8Array | None = None) -> SignalTerms | None:
        """What the kernel is to know beside action and price, if `action` is done (None: what the signals say)."""
        terms = SignalTerms.of(self.terms, self.numbers)
        return terms if terms is None or action is None else terms.done(self.action, action)

    def at_instants(self, timestamp_us: Int64Array) -> "SignalBatch":
        """The same signals at other instants, and so with other identities where theirs are derived."""
        ids = [
            "" if derived else text
            for text, derived in zip(self.signal_id.to_list(), self.derived, strict=True)
        ]
        batch = SignalBatch.of(
            timestamp_us=timestamp_us, action=self.action, price=self.price, symbol=self.symbol, symbols=self.symbols,
            source=self.source, sources=self.sources, signal_id=TextColumn.of(ids), numbers=self.numbers,
            texts=self.texts,
        )  # fmt: skip
        return replace(batch.with_terms(self.terms), row=self.row)

    def take(self, indices: npt.NDArray[Any]) -> "SignalBatch":
        """The rows at `indices`, in that order."""
        at = np.asarray(indices, np.int64)
        return replace(
            self,
            timestamp_us=self.timestamp_us[at], action=self.action[at], price=self.price[at],
            symbol=self.symbol[at], source=self.source[at], signal_id=self.signal_id.take(at),
            derived=self.derived[at], key=self.key[at], content=self.content[at],
            numbers={name: values[at] for name, values in self.numbers.items()},
            texts={name: column.take(at) for name, column in self.texts.items()},
            row=self.row[at], terms=None if self.terms is None else self.terms[at],
        )  # fmt: skip

    @classmethod
    def concat(cls, batches: Sequence["SignalBatch"]) -> "SignalBatch":
        """Several batches as one, in their order; a feature that one lacks is missing there."""
        if len(batches) == 1:
            return batches[0]
        symbols, symbol = _merge([(batch.symbols, batch.symbol) for batch in batches])
        sources, source = _merge([(batch.sources, batch.source) for batch in batches])
        numbers = {
            name: np.concatenate(
                [
                    batch.numbers[name] if name in batch.numbers else np.full(len(batch), np.nan)
                    for batch in batches
                ]
            )
            for name in sorted({name for batch in batches for name in batch.numbers})
        }
        texts = {
            name: TextColumn.concat(
                [
                    batch.texts[name] if name in batch.texts else TextColumn.empty(len(batch))
                    for batch in batches
                ]
            )
            for name in sorted({name for batch in batches for name in batch.texts})
        }
        joined = {
            name: np.concatenate([getattr(batch, name) for batch in batches])
            for name, _ in _FIXED
            if name not in {"symbol", "source"}
        }
        return cls(
            **joined, symbol=symbol, symbols=symbols, source=source, sources=sources,
            signal_id=TextColumn.concat([batch.signal_id for batch in batches]), numbers=numbers, texts=texts,
            row=np.concatenate([batch.row for batch in batches]),
            terms=concat_terms([(len(batch), batch.terms) for batch in batches]),
        )  # fmt: skip

    def in_time(self) -> "SignalBatch":
        """Sorted by timestamp, equal ones in the order they came."""
        if len(self) < 2 or bool(np.all(self.timestamp_us[1:] >= self.timestamp_us[:-1])):
            return self
        return self.take(np.argsort(self.timestamp_us, kind="stable"))

    def encode(self) -> bytes:
        """The bytes that lie in the journal: a msgpack header, the fixed columns and the ids, and the feature
        texts behind them (lz4 when long), so that who does not read features does not unpack them. Terms, where
        there are any, stand first; such bytes are of another format, which programs of before refuse.
        """
        texts = list(self.texts.values())
        columns = [self.signal_id, *texts]
        terms = [] if self.terms is None else [self.terms]
        parts = [*terms, *(getattr(self, name) for name, _ in _FIXED)]
        parts += [*self.numbers.values(), *(column.offsets for column in columns), self.signal_id.data]
        long = sum(column.data.nbytes for column in texts)
        packed = long >= _COMPRESS_FROM
        header = _Header(
            _WITH_TERMS if terms else _FORMAT, len(self), self.symbols, self.sources, tuple(self.numbers),
            tuple(self.texts),
            tuple(column.data.nbytes for column in columns), packed,
        )  # fmt: skip
        head = _pack.encode(header)
        data: list[Any] = [np.ascontiguousarray(column.data).data for column in texts]
        if packed:
            whole = _in_one_piece([column.data for column in texts])
            data = [pa.Codec(_CODEC).compress(b"".join(data) if whole is None else whole, asbytes=True)]
        fixed: list[Any] = [np.ascontiguousarray(part) for part in parts]
        return b"".join([len(head).to_bytes(4, "little"), head, *fixed, *data])

    @classmethod
    def decode(cls, data: bytes | memoryview, *, features: bool = True) -> "SignalBatch":
        """What `encode` wrote; the arrays are read-only views.

        Without `features`, the texts stay packed, and of the numbers there are `high` and `low` alone.
        """
        size = int.from_bytes(data[:4], "little")
        header = _unpack.decode(data[4 : 4 + size])
        if header.format not in {_FORMAT, _WITH_TERMS}:
            raise ValueError(f"batch format {header.format}, this version reads {_FORMAT} and {_WITH_TERMS}")
        n, at = header.rows, 4 + size
        terms = None
        if header.format == _WITH_TERMS:
            terms = np.frombuffer(data, _FLOAT, n * len(TERMS), at).reshape(n, len(TERMS))
            at += terms.nbytes
        fixed: dict[str, Any] = {}
        for name, kind, width in _LAYOUT:
            fixed[name] = np.frombuffer(data, kind, n * width, at)
            at += fixed[name].nbytes
        fixed["key"] = fixed["key"].reshape(n, 2)
        at_offsets = at + 8 * n * len(header.numbers)
        at_ids = at_offsets + 8 * (n + 1) * len(header.sizes)
        ids = TextColumn(
            np.frombuffer(data, _BYTE, header.sizes[0], at_ids), np.frombuffer(data, _INT, n + 1, at_offsets)
        )
        numbers, texts = {}, {}
        for place, name in enumerate(header.numbers):
            if features or is_range_name(name):
                numbers[name] = np.frombuffer(data, _FLOAT, n, at + 8 * n * place)
        if features:
            long: Any = memoryview(data)[at_ids + header.sizes[0] :]
            if header.packed:
                whole = sum(header.sizes[1:])
                long = pa.Codec(_CODEC).decompress(long, decompressed_size=whole, asbytes=True)
            start = 0
            for name, size in zip(header.texts, header.sizes[1:], strict=True):
                at_offsets += 8 * (n + 1)
                offsets = np.frombuffer(data, _INT, n + 1, at_offsets)
                texts[name] = TextColumn(np.frombuffer(long, _BYTE, size, start), offsets)
                start += size
        return cls(
            **fixed, symbols=header.symbols, sources=header.sources, signal_id=ids,
            numbers=numbers, texts=texts, row=np.arange(n, dtype=np.int64), terms=terms,
        )  # fmt: skip


_FIXED = (
    ("timestamp_us", np.int64), ("price", np.float64), ("key", np.uint64), ("content", np.uint64),
    ("symbol", np.int32), ("source", np.int32), ("action", np.int8), ("derived", np.bool_),
)  # fmt: skip
_LAYOUT = tuple((name, np.dtype(kind), 2 if name == "key" else 1) for name, kind in _FIXED)
_BYTE, _INT, _FLOAT = np.dtype(np.uint8), np.dtype(np.int64), np.dtype(np.float64)


class _Header(msgspec.Struct, array_like=True, frozen=True):
    format: int
    rows: int
    symbols: tuple[str, ...]
    sources: tuple[str, ...]
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    sizes: tuple[int, ...]
    packed: bool


_pack = msgspec.msgpack.Encoder()
_unpack = msgspec.msgpack.Decoder(_Header)


def identity_key(signal_id: str) -> UInt64Array:
    """The key of one id, uint64[1, 2], as `SignalBatch.key` has it."""
    return TextColumn.of([signal_id]).keys()


def _in_one_piece(parts: Sequence[UInt8Array]) -> memoryview | None:
    """The bytes of all parts where they lie one behind the other in one array, not copied; None if not."""
    whole = parts[0].base
    if not isinstance(whole, np.ndarray) or whole.ndim != 1 or whole.dtype != np.uint8:
        return None
    begin = end = _address(parts[0]) - _address(whole)
    for part in parts:
        if part.base is not whole or _address(part) != _address(whole) + end or part.strides != (1,):
            return None
        end += part.nbytes
    return whole[begin:end].data if whole.strides == (1,) else None


def _address(array: UInt8Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _merge(
    coded: Sequence[tuple[tuple[str, ...], Int32Array]],
) -> tuple[tuple[str, ...], Int32Array]:
    distinct = tuple(dict.fromkeys(name for names, _ in coded for name in names))
    position = {name: code for code, name in enumerate(distinct)}
    tables = [np.array([position[name] for name in names], np.int32) for names, _ in coded]
    return distinct, np.concatenate([table[codes] for table, (_, codes) in zip(tables, coded, strict=True)])


def _codes(names: list[str]) -> tuple[list[str], Int32Array]:
    distinct = list(dict.fromkeys(names))
    position = {name: code for code, name in enumerate(distinct)}
    return distinct, np.array([position[name] for name in names], np.int32)
