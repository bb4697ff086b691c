"""Rows of a shard from its history, by their number among all rows of the shard."""

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from raysignal.engine import history
from raysignal.engine.core.arrays import Int64Array
from raysignal.engine.core.errors import NotFound
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.portfolio.stream_rows import StreamRows

_SEQUENCES_KEPT = 64
_PLACES_KEPT = 256


class ShardHistory:
    """The history of the portfolios of one shard, as one list of rows in the order of the journal. Blocking.

    Args:
        blobs: where the history lies.
        owns: whether a portfolio belongs to the shard, by its name.
    """

    def __init__(self, blobs: BlobStore, owns: Callable[[str], bool]) -> None:
        self._blobs = blobs
        self._owns = owns
        self._sequences: OrderedDict[tuple[str, int], Int64Array] = OrderedDict()
        self._places: OrderedDict[int, dict[str, int]] = OrderedDict()

    def read(self, first: int, limit: int, end: int) -> list[StreamRows]:
        """Rows from number `first` on, at most `limit`, and none from `end` on, where the history may have holes.

        Each part has rows of one portfolio, in order; their numbers interleave.

        Raises:
            NotFound: the history lacks rows before `end`: some were removed.
            JournalDamaged: a file cannot be read.
        """
        counts = self._counts()
        if sum(counts.values()) < end:
            raise NotFound(
                f"the history holds {sum(counts.values())} of the first {end} rows of the stream", value=first
            )
        place = self._places.get(first)
        if place is None:
            place = self._place_of(first, counts)
        limit = min(limit, end - first)
        tables = {
            name: history.read_range(
                self._blobs, name, at, min(at + limit, counts[name]) - 1
            ).combine_chunks()
            for name, at in place.items()
            if at < counts[name]
        }
        records = np.concatenate([table["sequence"].to_numpy() for table in tables.values()])
        names = np.repeat(np.arange(len(tables)), [len(table) for table in tables.values()])
        # A record has rows of one portfolio alone, so its rows stay together, in their order.
        chosen = names[np.argsort(records, kind="stable")[:limit]]
        parts, after = [], dict(place)
        for code, (name, table) in enumerate(tables.items()):
            numbers = np.flatnonzero(chosen == code)
            if len(numbers):
                after[name] += len(numbers)
                parts.append(
                    StreamRows.of_history((first + numbers).tolist(), name, table.slice(0, len(numbers)))
                )
        self._places[first + limit] = after
        while len(self._places) > _PLACES_KEPT:
            self._places.popitem(last=False)
        return parts

    def _counts(self) -> dict[str, int]:
        """How many rows of each portfolio there are without a gap."""
        return {
            name: history.written_up_to(self._blobs, name)
            for name in history.portfolios(self._blobs)
            if self._owns(name)
        }

    def _place_of(self, number: int, counts: dict[str, int]) -> dict[str, int]:
        """By portfolio the ordinal of its first row that is not before the row of this number."""
        if len(counts) == 1:
            return dict.fromkeys(counts, number)
        low, high = (
            0,
            max((self._sequence(name, count - 1) for name, count in counts.items() if count), default=0),
        )
        while low < high:  # the last journal record with at most `number` rows before it
            middle = (low + high + 1) // 2
            if sum(self._rows_before(name, middle, counts[name]) for name in counts) <= number:
                low = middle
            else:
                high = middle - 1
        place = {name: self._rows_before(name, low, counts[name]) for name in counts}
        within = number - sum(place.values())
        for name, at in place.items():
            if within and at < counts[name] and self._sequence(name, at) == low:
                place[name] += within
        return place

    def _rows_before(self, name: str, sequence: int, count: int) -> int:
        """How many rows of a portfolio lie in journal records before that one."""
        low, high = 0, count
        while low < high:
            middle = (low + high) // 2
            first, sequences = self._span(name, middle)
            if sequences[0] >= sequence:
                high = first
            elif sequences[-1] < sequence:
                low = first + len(sequences)
            else:
                return first + int(np.searchsorted(sequences, sequence))
        return low

    def _sequence(self, name: str, ordinal: int) -> int:
        first, sequences = self._span(name, ordinal)
        return int(sequences[ordinal - first])

    def _span(self, name: str, ordinal: int) -> tuple[int, Int64Array]:
        """The rows around one: the ordinal of the first, and the journal record of each."""
        span = history.locate(self._blobs, name, ordinal)
        if span is None:
            raise NotFound(f"the history of {name!r} holds no row {ordinal}", field="ordinal", value=ordinal)
        found = self._sequences.pop((name, span.first), None)
        if found is None:
            table = next(history.read_columns(self._blobs, name, span.first, ["ordinal", "sequence"]))
            found = table["sequence"].to_numpy()
        self._sequences[name, span.first] = found
        while len(self._sequences) > _SEQUENCES_KEPT:
            self._sequences.popitem(last=False)
        return span.first, found
