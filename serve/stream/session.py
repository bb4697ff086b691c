"""One client of the broadcast: a place in the stream that it reads on from, and what it asked for.

A client holds no messages of its own: it reads the recent ones of the hub in place, and pages of the log before these.
How far it is behind is a difference of two places, so a client that does not read costs nothing but its connection.
"""

import asyncio
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from raysignal.engine.core.errors import InvalidField, RaysignalError
from raysignal.engine.portfolio.stream_messages import Shard, StreamMessage, row_of, sequence_of
from raysignal.serve.stream.log import StreamPage
from raysignal.serve.stream.subscription import Cursor, StreamSubscription, shown_cursor

if TYPE_CHECKING:
    from raysignal.serve.stream.hub import StreamHub

LINES = "lines"
"""The kind of several messages that are sent as one, a line each."""
MOST_REPLIES = 64
_MESSAGES_AT_ONCE = 128

Send = Callable[[Sequence[StreamMessage]], Awaitable[None]]


class StreamSession:
    """One client; made by `StreamHub.session`.

    Attributes:
        subscription: what it asked for.
        cursor: by shard the last sequence that it was handed.
        sending_since: since when it has not taken what it was handed last, by the hub's clock; None: it has.
        closing: the code with which it is to be closed, and why.
        closed: set with that.
    """

    def __init__(self, hub: "StreamHub") -> None:
        self.subscription = StreamSubscription()
        self.cursor: Cursor = dict(hub.recent.heads)
        self.sending_since: float | None = None
        self.closing: tuple[int, str] | None = None
        self.closed = asyncio.Event()
        self._hub = hub
        self._place: int | None = hub.recent.end
        self._page: tuple[Shard, StreamPage] | None = None
        self._replies: deque[StreamMessage] = deque()
        self._wake = asyncio.Event()
        self._asked = 0
        self._resumes = False

    @property
    def bytes_behind(self) -> int:
        """How far it is behind what is sent live; 0 while it is sent what it missed before."""
        return 0 if self._place is None else self._hub.recent.bytes_behind(self._place)

    @property
    def catching_up(self) -> bool:
        """Whether it is sent what it missed before, and not yet what is sent live."""
        return self._place is None

    def wake(self) -> None:
        """There is something new."""
        self._wake.set()

    def close(self, code: int, why: str) -> None:
        """Have it closed, once: it is handed nothing more."""
        self.closing = self.closing or (code, why)
        self.closed.set()
        self.wake()

    def progressed(self) -> None:
        """It has taken what it was sent before, and is sent more now."""
        self.sending_since = self._hub.clock()

    async def subscribe(self, subscription: StreamSubscription) -> None:
        """Send what is asked for from now on; the answer is the next message.

        Raises:
            InvalidField: `since` does not fit the store; nothing has changed.
            StoreError: the store does not answer.
        """
        self._asked += 1
        if subscription.epoch is not None and subscription.epoch != self._hub.epoch:
            answer, cursor = "other_epoch", None  # `since` is of a store that may have had other shards
        elif (cursor := subscription.cursor(self._hub.shards)) is None:
            answer = "subscribed"
        else:
            answer = "resumed"
            await self._check_not_ahead(cursor)
        self._hub.counts[answer] += 1
        self.subscription, self._page = subscription, None
        self._resumes = cursor is not None
        if cursor is None:
            self.cursor, self._place = dict(self._hub.recent.heads), self._hub.recent.end
        else:
            self.cursor, self._place = dict.fromkeys(self._hub.recent.heads, 0) | cursor, None
        self.reply(answer, since=shown_cursor(self.cursor))
        for shard in [each for each in self.cursor if self._hub.is_over(each)]:
            self._drop(shard)

    def follow(self, shard: Shard, head: int) -> None:
        """A session of a pipeline is followed from now on; whoever resumes and does not name it is sent all of it."""
        for other in [each for each in self.cursor if self._hub.is_over(each)]:
            self._drop(other)
        self.cursor.setdefault(shard, 0 if self._resumes else head)
        if self.cursor[shard] < head:
            self._place = None

    def _drop(self, shard: Shard) -> None:
        """Say that nothing more can be sent of a shard."""
        missed = self.cursor.pop(shard)
        self._too_old(shard, missed)

    def reply(self, kind: str, **values: Any) -> None:
        """Send it a message of its own, before all that follows."""
        self._replies.append(self._hub.live_message(kind, self.cursor, **values))
        if len(self._replies) > MOST_REPLIES:
            self.close(4429, f"more than {MOST_REPLIES} answers wait; read them before asking on")
        self.wake()

    async def run(self, send: Send) -> None:
        """Hand it what it asked for, until it is closed."""
        while self.closing is None:
            messages = await self._next()
            if messages:
                self._hub.counts["sent"] += len(messages)
                self.progressed()
                await send(messages)
                self.sending_since = None

    async def _next(self) -> Sequence[StreamMessage]:
        """The next messages, waited for; none where it is to be looked again."""
        if self._replies:
            replies = list(self._replies)
            self._replies.clear()
            return replies
        recent = self._hub.recent
        if self._place is None:
            for shard, sequence in self.cursor.items():
                if not recent.holds(shard, sequence):
                    return await self._catch_up(shard)
            self._page, self._place = None, recent.place_of(self.cursor)
        messages = recent.from_place(self._place, _MESSAGES_AT_ONCE)
        if messages is None:
            self._place = None
            return ()
        if messages:
            self._place += len(messages)
            return [message for message in messages if self._is_next(message)]
        self._wake.clear()
        await self._wake.wait()
        return ()

    def _is_next(self, message: StreamMessage) -> bool:
        """Whether a recent message is one that it does not have and wants."""
        if message.sequence is not None:
            known = self.cursor.get(message.shard)
            if known is None or message.sequence <= known:
                return False
            self.cursor[message.shard] = message.sequence
        return self.subscription.wants(message)

    async def _catch_up(self, shard: Shard) -> Sequence[StreamMessage]:
        """The next messages before the recent ones."""
        await asyncio.sleep(
            0
        )  # many catch up at once, and whoever reads fast must not keep the others waiting
        asked, sequence = self._asked, self.cursor[shard]
        if self._page is None or self._page[0] != shard:
            page = await self._hub.log.page(shard, row_of(sequence))
            if asked != self._asked:
                return ()
            if row_of(sequence) < page.first:
                self._skip(shard, page.first)
                return ()
            self._page = shard, page
        page = self._page[1]
        if (chunk := self._whole_chunk(page, sequence)) is not None:
            self.cursor[shard] = chunk.sequence or sequence
            return [chunk]
        begin = bisect_right(page.messages, sequence, key=_sequence)
        messages = page.messages[begin : begin + _MESSAGES_AT_ONCE]
        if begin + len(messages) < len(page.messages):
            self.cursor[shard] = messages[-1].sequence or sequence
        else:
            self.cursor[shard] = max(sequence, sequence_of(page.end, -1))
            self._page = None
        return [message for message in messages if self.subscription.wants(message)]

    def _whole_chunk(self, page: StreamPage, sequence: int) -> StreamMessage | None:
        """The next messages as they are sent to all who read lines and want all of them."""
        if not (self.subscription.lines and self.subscription.all_rows) or not page.messages:
            return None
        at = bisect_left(page.chunks, sequence + 1, key=lambda chunk: chunk.last)
        if at == len(page.chunks) or sequence >= page.chunks[at].first:
            return None
        chunk = page.chunks[at]
        return StreamMessage(chunk.last, 0, LINES, None, None, chunk.text)

    def _skip(self, shard: Shard, begins: int) -> None:
        """Go on with the first row that the store still has, and say so."""
        missed = self.cursor[shard]
        self.cursor[shard] = sequence_of(begins, -1)
        self._too_old(shard, missed)

    def _too_old(self, shard: Shard, missed: int) -> None:
        self._hub.counts["too_old"] += 1
        self.reply("too_old", shard=shard, missed_from=missed, since=shown_cursor(self.cursor))

    async def _check_not_ahead(self, cursor: Cursor) -> None:
        heads = self._hub.recent.heads
        for shard, sequence in cursor.items():
            if shard in heads and sequence > heads[shard]:
                head = sequence_of(await self._hub.log.end(shard), -1)
                if sequence > head:
                    raise InvalidField(
                        "since",
                        sequence,
                        f"at most {head}, the last sequence of shard {shard}: is it of another store?",
                    )


def _sequence(message: StreamMessage) -> int:
    return message.sequence or 0


def error_fields(error: RaysignalError) -> dict[str, Any]:
    """What an `error` message says of an error."""
    told = {name: error.fields[name] for name in ("field", "value", "expected") if name in error.fields}
    return {"detail": str(error)} | {
        name: value if isinstance(value, str | int | float | None) else str(value)
        for name, value in told.items()
    }
