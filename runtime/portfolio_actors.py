"""Portfolios as Ray actors, and the client through which everyone talks to them.

An actor is a mailbox with an address: one a shard, detached, restarting, found by name. Portfolios are spread
over the shards by a hash of their name. The client hides shards and restarts: a call that an actor's death cut
short is sent again, which the identity of signals makes safe.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError

from raysignal.engine.core.arrays import BoolArray, Int64Array, UInt64Array
from raysignal.engine.core.errors import RaysignalError, SettingsError, StoreUnavailable
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.private_files import restrict_new_files
from raysignal.engine.journal.layout import shard_of
from raysignal.engine.portfolio.receipts import (
    FollowedRows,
    FoundSignal,
    PortfolioStatus,
    RecentRows,
    Submission,
    SymbolMark,
)
from raysignal.engine.portfolio.stream_rows import ShardTail
from raysignal.runtime.bootstrap import build_mailbox
from raysignal.runtime.detached_actor import DetachedActor
from raysignal.runtime.direct import (
    ConnectionBroken,
    DirectLine,
    DirectLines,
    DirectServer,
    decode_answer,
    decode_request,
    encode_answer,
    encode_request,
)
from raysignal.runtime.settings import Settings

T = TypeVar("T")

_PATIENCE_S = 30.0
_READ_S = 30.0
"""In which what is only read is answered; a node whose raylet has died answers never."""
# Ray carries more than this better, through its object store.
_DIRECT_BYTES = 64 * 1024


class PortfolioActor:
    """The mailbox of one shard, as an actor. Errors of the project travel as values, so that none is wrapped."""

    def __init__(self, shard: int, settings: dict[str, Any]) -> None:
        restrict_new_files()
        # Background work in Python (history, recall) must not hold up the event loop for long.
        sys.setswitchinterval(0.0005)
        self._mailbox = build_mailbox(Settings(**settings), shard, on_fenced=_die)
        self._direct: asyncio.Task[DirectServer] | None = None

    async def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Call a method of the mailbox; a `RaysignalError` is returned, not raised."""
        try:
            return await getattr(self._mailbox, method)(*args, **options)
        except RaysignalError as error:
            return error

    async def observe(self) -> dict[str, Any]:
        """See `Mailbox.observe`."""
        return self._mailbox.observe() | {"pid": os.getpid(), "node": _node()}

    async def direct_line(self) -> tuple[str, str]:
        """Where submissions may be sent without Ray: the node, and the path of a socket there."""
        if self._direct is None:
            self._direct = asyncio.ensure_future(DirectServer.open(self._submit))
        return _node(), (await asyncio.shield(self._direct)).path

    async def _submit(self, message: bytes) -> bytes:
        request = decode_request(message)
        return encode_answer(
            await self.call("submit", request.portfolio, request.encoded, **request.options())
        )


class PortfolioClient:
    """The way to the portfolios. Methods raise `RaysignalError`s only; `StoreUnavailable` if no actor answers."""

    def __init__(self, settings: Settings, *, direct: bool = False) -> None:
        self.settings = settings
        self._actors = [
            DetachedActor(
                f"portfolios-{shard}", PortfolioActor, shard, settings.for_actors(), concurrency=10_000
            )
            for shard in range(settings.journal.shards)
        ]
        self._lines = DirectLines(self._direct_line) if direct else None

    @classmethod
    def connect(cls, settings: Settings, *, direct: bool = False) -> "PortfolioClient":
        """The client of a configured store; its actors are created where they do not exist.

        Args:
            settings: of the service.
            direct: whether submissions go by a direct line to actors on this node, for whoever sends many from
                one event loop.

        Raises:
            SettingsError: a `file:` store on several nodes that is not said to be shared.
        """
        every: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        nodes = [node for node in every if node["Alive"]]
        if len(nodes) > 1 and settings.store.startswith("file:") and not settings.journal.shared:
            raise SettingsError(
                f"store is {settings.store!r} on a cluster of {len(nodes)} nodes, where an actor that restarts on "
                "another node would find an empty folder; expected s3://bucket/prefix, or "
                "RAYSIGNAL_JOURNAL__SHARED=true if every node sees the same folder there"
            )
        client = cls(settings, direct=direct)
        for actor in client._actors:
            actor.handle()
        return client

    async def submit(
        self,
        portfolio: str,
        encoded: bytes,
        *,
        all_or_nothing: bool,
        accept_price_jump: bool,
        receipts: bool,
        positions: Int64Array | None = None,
        decisions: bytes | None = None,
    ) -> Submission:
        """See `Mailbox.submit`."""
        options: dict[str, Any] = {
            "all_or_nothing": all_or_nothing, "accept_price_jump": accept_price_jump, "receipts": receipts,
            "positions": positions, "decisions": decisions,
        }  # fmt: skip
        answer: Submission
        if self._lines is not None and len(encoded) <= _DIRECT_BYTES:
            line = self._lines.to(shard_of(portfolio, self.settings.journal.shards))
            if line is not None:
                with suppress(ConnectionBroken):
                    return _raised(
                        decode_answer(await line.ask(encode_request(portfolio, encoded, **options)))
                    )
        answer = await self._call(portfolio, "submit", portfolio, encoded, **options)
        return answer

    async def create(self, portfolio: str, policy: Policy) -> tuple[PortfolioStatus, bool]:
        """See `Mailbox.create`."""
        answer: tuple[PortfolioStatus, bool] = await self._call(portfolio, "create", portfolio, policy)
        return answer

    async def rename_symbol(self, portfolio: str, old: str, new: str) -> bool:
        """See `Mailbox.rename_symbol`."""
        answer: bool = await self._call(portfolio, "rename_symbol", portfolio, old, new)
        return answer

    async def standing(self, portfolio: str) -> PortfolioStatus:
        """One portfolio as it stands."""
        answer: list[PortfolioStatus] = await self._call(portfolio, "standings", portfolio, within_s=_READ_S)
        return answer[0]

    async def standings(self) -> list[PortfolioStatus]:
        """Every portfolio as it stands, by name."""
        parts: list[list[PortfolioStatus]] = await self._all("standings", within_s=_READ_S)
        return sorted((standing for part in parts for standing in part), key=lambda each: each.portfolio)

    async def find(self, portfolio: str, signal_id: str) -> FoundSignal:
        """See `Shard.find`."""
        answer: FoundSignal = await self._call(portfolio, "find", portfolio, signal_id, within_s=_READ_S)
        return answer

    async def known(self, portfolio: str, keys: UInt64Array) -> BoolArray:
        """See `Shard.known`."""
        answer: BoolArray = await self._call(portfolio, "known", portfolio, keys, within_s=_READ_S)
        return answer

    async def marks(self, portfolio: str, symbols: Sequence[str]) -> dict[str, SymbolMark]:
        """See `Shard.marks`."""
        answer: dict[str, SymbolMark] = await self._call(
            portfolio, "marks", portfolio, symbols, within_s=_READ_S
        )
        return answer

    async def follow(self, portfolio: str, first: int, limit: int, wait_s: float) -> FollowedRows | None:
        """See `Mailbox.follow`."""
        answer: FollowedRows | None = await self._call(portfolio, "follow", portfolio, first, limit, wait_s)
        return answer

    async def tail(self, shard: int, first: int, limit: int, wait_s: float) -> ShardTail:
        """See `Mailbox.tail`."""
        return await self._patiently(
            shard, lambda actor: actor.call.remote("tail", first, limit, wait_s), wait_s + _READ_S
        )

    async def recent(self, portfolio: str) -> RecentRows:
        """See `Shard.recent`."""
        answer: RecentRows = await self._call(portfolio, "recent", portfolio, within_s=_READ_S)
        return answer

    async def ready(self, *, within_s: float | None = _READ_S) -> list[int]:
        """The last durable record of every shard; raises when one cannot commit, or says nothing in that time."""
        answer: list[int] = await self._all("ready", within_s=within_s)
        return answer

    async def flush(self) -> None:
        """Write all that is durable to the history, with a snapshot."""
        await self._all("flush")

    async def observe(self) -> list[dict[str, Any]]:
        """Counts and depths of every shard, see `Mailbox.observe`."""
        shards = range(self.settings.journal.shards)
        return list(
            await asyncio.gather(
                *(self._patiently(shard, lambda actor: actor.observe.remote(), _READ_S) for shard in shards)
            )
        )

    async def note_stream(self, replica: str, counts: dict[str, int]) -> None:
        """See `Mailbox.note_stream`; the actor of the first shard keeps those of all."""
        await self._first("note_stream", replica, counts)

    async def note_refusals(self, entries: list[dict[str, Any]], counts: dict[str, int]) -> None:
        """See `Mailbox.note_refusals`; the actor of the first shard keeps those of all."""
        await self._first("note_refusals", entries, counts)

    async def refusals(self, reason: str | None, source: str | None, limit: int) -> dict[str, Any]:
        """See `Mailbox.refusals`."""
        answer: dict[str, Any] = await self._first("refusals", reason, source, limit)
        return answer

    async def close(self) -> None:
        """Flush, and end the actors; what is stored stays. They end as well when the store cannot be written."""
        if self._lines is not None:
            self._lines.close()
        try:
            await self._all("close")
        finally:
            for actor in self._actors:
                actor.kill()

    async def _direct_line(self, shard: int) -> DirectLine | None:
        """A direct line to an actor; None if it is on another node, or does not answer."""
        try:
            node, path = await self._patiently(shard, lambda actor: actor.direct_line.remote())
        except (RaysignalError, RayError):
            return None  # the ordinary way says what there is to say
        return await DirectLine.connect(path) if node == _node() else None

    async def _call(
        self, portfolio: str, method: str, *args: Any, within_s: float | None = None, **options: Any
    ) -> Any:
        shard = shard_of(portfolio, self.settings.journal.shards)
        return await self._patiently(
            shard, lambda actor: actor.call.remote(method, *args, **options), within_s
        )

    async def _first(self, method: str, *args: Any) -> Any:
        return await self._patiently(0, lambda actor: actor.call.remote(method, *args), _READ_S)

    async def _all(self, method: str, *, within_s: float | None = None) -> list[Any]:
        return list(
            await asyncio.gather(
                *(
                    self._patiently(shard, lambda actor: actor.call.remote(method), within_s)
                    for shard in range(self.settings.journal.shards)
                )
            )
        )

    async def _patiently(
        self, shard: int, call: Callable[[Any], Awaitable[T | RaysignalError]], within_s: float | None = None
    ) -> T:
        return await self._actors[shard].ask(
            call, patience_s=_PATIENCE_S, unavailable=StoreUnavailable, answer_s=within_s
        )


def _raised(answer: T | RaysignalError) -> T:
    if isinstance(answer, RaysignalError):
        raise answer
    return answer


def _node() -> str:
    node: str = ray.get_runtime_context().get_node_id()
    return node


def _die() -> None:
    """A writer that was superseded has nothing more to say; Ray starts it anew if it is still the one."""
    os._exit(1)
