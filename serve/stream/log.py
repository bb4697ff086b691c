"""Messages of the past: read from the memory of actors or from the history, a page at a time, once for all clients."""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from raysignal.engine.core.errors import NotFound, StoreUnavailable
from raysignal.engine.core.policy import Policy
from raysignal.engine.pipeline.session_messages import SessionTail
from raysignal.engine.portfolio.stream_messages import Shard, StreamMessage, messages_of
from raysignal.engine.portfolio.stream_rows import ShardTail, StreamRows

PAGE_ROWS = 1024
CHUNK_BYTES = 128 * 1024
"""Of messages that are sent together, about."""
_PAGES_KEPT = 16
_INLINE_ROWS = 16
_END = 2**60


class StreamSource(Protocol):
    """Where the rows are, and what pipelines did.

    Attributes:
        shards: how many the store has.
        pipelines: the names of all pipelines.
    """

    shards: int
    pipelines: Sequence[str]

    async def epoch(self) -> str:
        """The id of the store."""

    async def tail(self, shard: int, first: int, limit: int, wait_s: float) -> ShardTail:
        """See `Mailbox.tail`."""

    async def history(self, shard: int, first: int, limit: int, end: int) -> list[StreamRows]:
        """See `ShardHistory.read`."""

    async def policy(self, portfolio: str) -> Policy:
        """That of a portfolio."""

    async def session(self, pipeline: str, first: int | None, limit: int, wait_s: float) -> SessionTail:
        """See `runtime.pipeline_actors.PipelineRun.tail`."""


@dataclass(frozen=True)
class StreamPage:
    """The messages of consecutive rows of a shard.

    Attributes:
        first, end: the number of the first row, and the one behind the last.
        messages: in their order.
    """

    first: int
    end: int
    messages: Sequence[StreamMessage] = field(repr=False)

    @cached_property
    def chunks(self) -> list["StreamChunk"]:
        """All of them as lines, in pieces that are sent together."""
        made: list[StreamChunk] = []
        held: list[StreamMessage] = []
        size = 0
        for message in self.messages:
            held.append(message)
            size += len(message.text)
            if size >= CHUNK_BYTES or message is self.messages[-1]:
                made.append(StreamChunk.of(held))
                held, size = [], 0
        return made


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """Messages that are sent together, a line each; `first` and `last` are sequences."""

    first: int
    last: int
    text: str = field(repr=False)

    @classmethod
    def of(cls, messages: Sequence[StreamMessage]) -> "StreamChunk":
        """One or more messages about rows."""
        return cls(
            messages[0].sequence or 0, messages[-1].sequence or 0, "\n".join(each.text for each in messages)
        )


def pipeline_of(shard: str) -> str:
    """Whose session that is."""
    return shard.rpartition(".")[0]


class StreamLog:
    """Reads pages of messages; clients that ask for the same one at once share one reading of it.

    Attributes:
        pages_read: how many were.
    """

    def __init__(self, source: StreamSource) -> None:
        self.pages_read = 0
        self._source = source
        self._policies: dict[str, Policy] = {}
        self._pages: OrderedDict[tuple[Shard, int], StreamPage] = OrderedDict()
        self._reading: dict[tuple[Shard, int], asyncio.Task[StreamPage]] = {}

    async def page(self, shard: Shard, row: int) -> StreamPage:
        """The page around a row, as far as there are rows by now; a later one where that was removed from the store.

        Raises:
            StoreError: the store does not answer, or is damaged.
        """
        key = shard, row // PAGE_ROWS
        if (page := self._pages.get(key)) is not None:
            self._pages.move_to_end(key)
            return page
        task = self._reading.get(key)
        if task is None:
            task = self._reading[key] = asyncio.create_task(self._read(shard, key[1] * PAGE_ROWS))
            task.add_done_callback(lambda _: self._reading.pop(key))
        return await asyncio.shield(task)

    async def end(self, shard: Shard) -> int:
        """How many rows a shard has by now; raises as `read`."""
        if isinstance(shard, str):
            return (await self._session(shard, None, 0, 0.0)).end
        return (await self._source.tail(shard, _END, 1, 0.0)).end

    async def read(self, shard: Shard, first: int, limit: int, wait_s: float = 0.0) -> StreamPage:
        """The next rows of a shard, at most so many, waited for; as many as come at once, or none.

        Raises:
            NotFound: the first of them was removed from the store.
            StoreError: who has them does not answer, or they are damaged.
        """
        if isinstance(shard, str):
            told = await self._session(shard, first, limit, wait_s)
            messages = [StreamMessage.of_text(text) for text in told.texts]
            return StreamPage(first, first + len(messages), messages)
        tail = await self._source.tail(shard, first, limit, wait_s)
        if first < tail.begins:
            end = min(first + limit, tail.begins)
            parts = await self._source.history(shard, first, end - first, tail.begins)
        elif tail.parts:
            end = tail.parts[-1].end
            parts = [StreamRows.of_tail(part) for part in tail.parts]
        else:
            return StreamPage(first, first, ())
        return StreamPage(first, end, await self._messages(shard, parts))

    async def _session(self, shard: str, first: int | None, limit: int, wait_s: float) -> SessionTail:
        told = await self._source.session(pipeline_of(shard), first, limit, wait_s)
        if told.shard != shard:
            raise StoreUnavailable(f"the session {shard} is over: the pipeline writes {told.shard}")
        return told

    async def _messages(self, shard: int, parts: Sequence[StreamRows]) -> list[StreamMessage]:
        """The messages of rows, in their order."""
        known = [(part, await self._policy(part.portfolio)) for part in parts]

        def encode() -> list[StreamMessage]:
            made = [message for part, policy in known for message in messages_of(shard, part, policy)]
            return sorted(made, key=lambda message: message.sequence or 0)

        if sum(len(part.number) for part in parts) <= _INLINE_ROWS:
            return encode()
        return await asyncio.to_thread(encode)

    async def _read(self, shard: Shard, first: int) -> StreamPage:
        self.pages_read += 1
        at, stop, removed = first, first + PAGE_ROWS, False
        messages: list[StreamMessage] = []
        while at < stop:
            try:
                part = await self.read(shard, at, stop - at)
            except NotFound:
                if isinstance(shard, str):
                    raise
                first = at = (await self._source.tail(shard, _END, 1, 0.0)).begins
                removed, messages = True, []
                continue
            if part.end == at:
                break
            messages += part.messages
            at = part.end
        page = StreamPage(first, at, messages)
        if at == stop and not removed:
            self._pages[shard, first // PAGE_ROWS] = page
            while len(self._pages) > _PAGES_KEPT:
                self._pages.popitem(last=False)
        return page

    async def _policy(self, portfolio: str) -> Policy:
        policy = self._policies.get(portfolio)
        if policy is None:
            policy = self._policies[portfolio] = await self._source.policy(portfolio)
        return policy
