"""The last messages of the broadcast in the order they are sent in, bounded in bytes; clients read them in place."""

from bisect import bisect_right
from collections.abc import Iterable

from raysignal.engine.portfolio.stream_messages import Shard, StreamMessage
from raysignal.serve.stream.subscription import Cursor

_KEPT = 0.75
"""Of the bytes allowed, what stays when they are exceeded: to forget one message at a time would cost more."""


class RecentMessages:
    """Messages by place, counted from 0 since this began; what does not fit any more is forgotten from the front.

    Args:
        most_bytes: of texts, at most.

    Attributes:
        heads: by shard the sequence behind which nothing has been sent yet.
    """

    def __init__(self, most_bytes: int) -> None:
        self.heads: Cursor = {}
        self._most_bytes = most_bytes
        self._messages: list[StreamMessage] = []
        self._ends: list[int] = []
        self._bytes = 0
        self._base = 0
        self._whole_after: Cursor = {}
        self._sequences: dict[Shard, list[int]] = {}
        self._places: dict[Shard, list[int]] = {}

    @property
    def end(self) -> int:
        """The place behind the last message."""
        return self._base + len(self._messages)

    def begin(self, shard: Shard, head: int) -> None:
        """Messages of a shard come behind this sequence."""
        self.heads[shard] = self._whole_after[shard] = head
        self._sequences[shard], self._places[shard] = [], []

    def add(self, messages: Iterable[StreamMessage]) -> None:
        """Add the next ones."""
        for message in messages:
            if message.sequence is not None:
                self._sequences[message.shard].append(message.sequence)
                self._places[message.shard].append(self.end)
                self.heads[message.shard] = message.sequence
            self._messages.append(message)
            self._bytes += len(message.text)
            self._ends.append(self._bytes)
        begins = self._ends[0] - len(self._messages[0].text) if self._ends else self._bytes
        if self._bytes - begins > self._most_bytes:
            self._forget(bisect_right(self._ends, self._bytes - int(self._most_bytes * _KEPT)))

    def holds(self, shard: Shard, sequence: int) -> bool:
        """Whether all messages of a shard behind that sequence are here; of one that is not followed: there is none."""
        return sequence >= self._whole_after.get(shard, 0)

    def place_of(self, cursor: Cursor) -> int:
        """Where a client that has all up to its cursor reads on."""
        places = [self.end]
        for shard, sequence in cursor.items():
            at = bisect_right(self._sequences.get(shard, ()), sequence)
            places += self._places.get(shard, [])[at : at + 1]
        return min(places)

    def from_place(self, place: int, most: int) -> list[StreamMessage] | None:
        """Messages from a place on, at most so many; None: the first of them is forgotten."""
        at = place - self._base
        return None if at < 0 else self._messages[at : at + most]

    def bytes_behind(self, place: int) -> int:
        """How many bytes of messages there are from a place on."""
        at = place - self._base
        if at >= len(self._messages):
            return 0
        return self._bytes - (self._ends[at - 1] if at > 0 else self._ends[0] - len(self._messages[0].text))

    def _forget(self, count: int) -> None:
        count = min(count, len(self._messages) - 1)
        for message in self._messages[:count]:
            if message.sequence is not None:
                self._whole_after[message.shard] = message.sequence
        del self._messages[:count]
        del self._ends[:count]
        self._base += count
        for shard, places in self._places.items():
            gone = bisect_right(places, self._base - 1)
            del places[:gone]
            del self._sequences[shard][:gone]
