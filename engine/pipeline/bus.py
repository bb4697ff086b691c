"""The bus between the stages of the decision path: streams of events, read by groups of consumers.

    bus = open_bus("memory")                         # or redis://host:6379/0, see `engine.pipeline.redis_bus`
    bus.join("bars", "path")                         # from now on, nothing is dropped that "path" has not acknowledged
    bus.publish("bars", events)
    for delivery in bus.read(["bars"], "path", "worker-1"): ...
    bus.acknowledge("path", deliveries)              # once their effect is durable

A stream is in order and counts its events without holes: that count is an event's sequence. Every group is delivered
every event, each to one of its consumers; several consumers share the work. Delivery is at least once: what was not
acknowledged can be claimed by another consumer of the group, and a publisher that does not know whether it was heard
publishes again. An event's identity says that it is the same one: `engine.pipeline.durable_stage` makes it exactly
once of that.

A stream is bounded. It lets go of what every group has acknowledged, and of nothing else: where there is no room, the
publisher waits and is then refused (`StreamFull`). A stream that no group has joined keeps everything until it is full.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

import msgspec

from raysignal.engine.core.errors import (
    Conflict,
    EventsLost,
    InvalidField,
    SettingsError,
    StreamFull,
    shorten,
)
from raysignal.engine.core.events import (
    AggregatedSignal,
    Alarm,
    Candle,
    CandleBackfill,
    Command,
    DecisionAnswer,
    DecisionQuestion,
    FundingPayment,
    FundingRateSettled,
    OrderEnded,
    OrderFill,
    PathEvent,
    PathRestarted,
    PlannedOrder,
    PositionDecision,
    RiskVerdict,
    StrategySignal,
    TradeAttribution,
)
from raysignal.engine.core.market_events import (
    BookChange,
    BookLost,
    ContractLost,
    ContractState,
    Kline,
    Liquidation,
    Quote,
    Trade,
    TradesLost,
)
from raysignal.engine.market.bars import Bar

BOUND = 65_536
"""So many events a stream may hold."""

MOST_AT_ONCE = 1_000
"""So many events are read, or published, in one go."""

BusEvent = (
    Trade
    | Quote
    | Kline
    | BookChange
    | BookLost
    | TradesLost
    | ContractState
    | ContractLost
    | Liquidation
    | Bar
    | Candle
    | CandleBackfill
    | StrategySignal
    | AggregatedSignal
    | DecisionQuestion
    | DecisionAnswer
    | PositionDecision
    | RiskVerdict
    | PlannedOrder
    | OrderFill
    | FundingPayment
    | FundingRateSettled
    | OrderEnded
    | TradeAttribution
    | Command
    | PathRestarted
    | Alarm
)
"""All that can be published; each says its kind in the field `kind`."""

encode_event: Callable[[BusEvent], bytes] = msgspec.msgpack.Encoder().encode
decode_event: Callable[[bytes], BusEvent] = msgspec.msgpack.Decoder(BusEvent).decode


def identity_of(event: BusEvent) -> str:  # noqa: PLR0911 - a kind each
    """What the event is, whoever published it and how often; unique among all kinds."""
    kind = event.__struct_config__.tag
    if isinstance(event, PathEvent):
        return f"{kind}:{event.identity}"
    name = event.instrument.name
    match event:
        case Trade():
            # A venue may begin its ids again; what it sends once more after a reconnect has its old stamp.
            return f"{kind}:{name}:{event.trade_id}:{event.exchange_us}"
        case Bar():
            # One that has not seen all of its time can be followed by the venue's own, which has.
            return f"{kind}:{name}:{event.basis}:{event.interval_us}:{event.open_us}:{event.complete:d}"
        case Kline():
            return f"{kind}:{name}:{event.interval_us}:{event.open_us}:{event.received_us}"
        case Quote() | BookChange():
            return f"{kind}:{name}:{event.update_id}:{event.received_us}"
        case ContractState():
            return f"{kind}:{name}:{event.exchange_us}:{event.received_us}"
        case Liquidation():
            return f"{kind}:{name}:{event.exchange_us}:{event.side}:{event.size}:{event.price}"
        case BookLost() | TradesLost() | ContractLost():
            return f"{kind}:{name}:{event.reason}:{event.received_us}"


class StreamPosition(NamedTuple):
    """A place in a stream. A stream that begins anew, because its data is gone, has a later epoch.

    Attributes:
        epoch: when the stream began, in milliseconds of the server's clock; 0: nothing was published yet.
        sequence: of the event, from 1, without holes.
    """

    epoch: int
    sequence: int


NOWHERE = StreamPosition(0, 0)


class Delivery(msgspec.Struct, frozen=True):
    """An event as it lies in its stream; the same again when it is delivered again."""

    stream: str
    position: StreamPosition
    event: BusEvent

    @property
    def sequence(self) -> int:
        """Its place in the stream, from 1."""
        return self.position.sequence


class Bus(Protocol):
    """See the module. Any thread may call; every call but `close` may raise `StoreUnavailable` or `EventsLost`.

    Attributes:
        durable: streams outlive the process, and are there again when it starts anew.
        bound: events that a stream may hold.
    """

    durable: bool
    bound: int

    def join(self, stream: str, group: str) -> None:
        """Make a group that begins with the oldest event of the stream; nothing if there is one."""

    def publish(self, stream: str, events: Sequence[BusEvent], *, wait_s: float = 10.0) -> None:
        """Add events in order. When it raises, none, some or all of them may have been added: publish them again.

        Raises:
            StreamFull: there was no room for so long.
        """

    def read(
        self,
        streams: Sequence[str],
        group: str,
        consumer: str,
        *,
        most: int = MOST_AT_ONCE,
        wait_s: float = 1.0,
    ) -> list[Delivery]:
        """Events that no consumer of the group was given yet, at most so many a stream; waits for the first."""

    def claim(
        self, streams: Sequence[str], group: str, consumer: str, *, idle_s: float, most: int = MOST_AT_ONCE
    ) -> list[Delivery]:
        """Events that consumers of the group were given so long ago and did not acknowledge, in order."""

    def acknowledge(self, group: str, deliveries: Iterable[Delivery]) -> None:
        """The group is done with these: their effect is durable. Nothing where it was said before."""

    def entries(
        self, stream: str, after: StreamPosition = NOWHERE, *, most: int = MOST_AT_ONCE
    ) -> list[Delivery]:
        """What the stream holds after a place, given to whomever; it counts as given to nobody."""

    def first_needed(self, stream: str, group: str) -> int:
        """The sequence of the first event that a group has not acknowledged, which may not be published yet."""

    def last(self, stream: str) -> StreamPosition:
        """The place of what was published last, whether the stream still holds it or not."""

    def leave(self, stream: str, group: str, consumer: str) -> None:
        """Forget a consumer. `Conflict` if there is something it has not acknowledged: another must claim it first."""

    def close(self) -> None:
        """Let go of connections; who waits stops waiting."""


def open_bus(url: str, *, bound: int = BOUND) -> Bus:
    """The bus at an address: `memory`, or `redis://[user:password@]host:port/database` (`rediss://` with TLS).

    Raises:
        SettingsError: the address is neither, or its server cannot be used.
        StoreUnavailable: it does not answer.
    """
    if url == "memory":
        return MemoryBus(bound=bound)
    scheme = url.partition("://")[0]
    if scheme in {"redis", "rediss", "unix"}:
        try:
            from raysignal.engine.pipeline.redis_bus import RedisBus  # noqa: PLC0415 - its client is an extra
        except ImportError:
            raise SettingsError(
                "the bus is Redis, and its client is not installed; expected the extra `feeds`: "
                "pip install 'raysignal[feeds]'"
            ) from None
        return RedisBus(url, bound=bound)
    # What is not understood may hold a password anywhere.
    shown = f"{scheme}://…" if "://" in url else shorten(url)
    raise SettingsError(f"the bus is {shown}; expected memory, or redis://host:port/database")


class _Pending(NamedTuple):
    """To whom an event was given, and when."""

    consumer: str
    since_s: float


class _Group:
    """How far a group of a stream in memory is."""

    def __init__(self) -> None:
        self.given = 0  # the sequence up to which events were given to its consumers
        self.pending: dict[int, _Pending] = {}

    @property
    def first_needed(self) -> int:
        return min(self.pending, default=self.given + 1)


class _Stream:
    """A stream in memory."""

    def __init__(self) -> None:
        self.events: deque[BusEvent] = deque()
        self.last = 0
        self.groups: dict[str, _Group] = {}

    @property
    def first(self) -> int:
        """The sequence of the oldest event that is held."""
        return self.last - len(self.events) + 1

    def trim(self) -> None:
        """Let go of what every group has acknowledged."""
        if self.groups:
            needed = min(group.first_needed for group in self.groups.values())
            for _ in range(needed - self.first):
                self.events.popleft()

    def from_sequence(self, sequence: int, most: int) -> Iterator[tuple[int, BusEvent]]:
        begin = max(sequence, self.first)
        skipped = begin - self.first
        return zip(range(begin, self.last + 1), islice(self.events, skipped, skipped + most), strict=False)


class MemoryBus:
    """A bus within one process: what is in it ends with the process.

    Args:
        bound: see `Bus`.
        monotonic: seconds, for how long something was not acknowledged.
    """

    durable = False
    _EPOCH = 1

    def __init__(self, *, bound: int = BOUND, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.bound = check_bound(bound)
        self._monotonic = monotonic
        self._streams: dict[str, _Stream] = {}
        self._changed = threading.Condition()
        self._closed = False

    def join(self, stream: str, group: str) -> None:
        """See `Bus`."""
        with self._changed:
            held = self._stream(stream)
            if group not in held.groups:
                held.groups[group] = joined = _Group()
                joined.given = held.first - 1

    def publish(self, stream: str, events: Sequence[BusEvent], *, wait_s: float = 10.0) -> None:
        """See `Bus`."""
        for begin in range(0, len(events), self.bound):
            self._publish(stream, events[begin : begin + self.bound], wait_s)

    def read(
        self,
        streams: Sequence[str],
        group: str,
        consumer: str,
        *,
        most: int = MOST_AT_ONCE,
        wait_s: float = 1.0,
    ) -> list[Delivery]:
        """See `Bus`."""
        with self._changed:
            asked = [(name, self._stream(name), self._group(name, group)) for name in streams]
            self._changed.wait_for(
                lambda: self._closed or any(held.last > reader.given for _, held, reader in asked), wait_s
            )
            now_s = self._monotonic()
            deliveries = []
            for name, held, reader in asked:
                for sequence, event in held.from_sequence(reader.given + 1, most):
                    reader.pending[sequence] = _Pending(consumer, now_s)
                    reader.given = sequence
                    deliveries.append(self._delivery(name, sequence, event))
            return deliveries

    def claim(
        self, streams: Sequence[str], group: str, consumer: str, *, idle_s: float, most: int = MOST_AT_ONCE
    ) -> list[Delivery]:
        """See `Bus`."""
        with self._changed:
            now_s = self._monotonic()
            deliveries = []
            for name in streams:
                held, pending = self._stream(name), self._group(name, group).pending
                idle = sorted(key for key, given in pending.items() if now_s - given.since_s >= idle_s)
                for sequence in idle[:most]:
                    pending[sequence] = _Pending(consumer, now_s)
                    event = held.events[sequence - held.first]
                    deliveries.append(self._delivery(name, sequence, event))
            return deliveries

    def acknowledge(self, group: str, deliveries: Iterable[Delivery]) -> None:
        """See `Bus`."""
        with self._changed:
            for delivery in deliveries:
                self._group(delivery.stream, group).pending.pop(delivery.sequence, None)
            self._changed.notify_all()

    def entries(
        self, stream: str, after: StreamPosition = NOWHERE, *, most: int = MOST_AT_ONCE
    ) -> list[Delivery]:
        """See `Bus`."""
        with self._changed:
            found = self._stream(stream).from_sequence(after.sequence + 1, most)
            return [self._delivery(stream, sequence, event) for sequence, event in found]

    def first_needed(self, stream: str, group: str) -> int:
        """See `Bus`."""
        with self._changed:
            return self._group(stream, group).first_needed

    def last(self, stream: str) -> StreamPosition:
        """See `Bus`."""
        with self._changed:
            last = self._stream(stream).last
        return StreamPosition(self._EPOCH, last) if last else NOWHERE

    def leave(self, stream: str, group: str, consumer: str) -> None:
        """See `Bus`."""
        with self._changed:
            pending = self._group(stream, group).pending.values()
            check_nothing_pending(
                stream, group, consumer, sum(given.consumer == consumer for given in pending)
            )

    def close(self) -> None:
        """See `Bus`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _publish(self, stream: str, events: Sequence[BusEvent], wait_s: float) -> None:
        with self._changed:
            held = self._stream(stream)
            self._changed.wait_for(lambda: self._closed or self._has_room(held, len(events)), wait_s)
            if not self._has_room(held, len(events)):
                raise StreamFull(stream, self.bound, _furthest_behind(held))
            held.events.extend(events)
            held.last += len(events)
            self._changed.notify_all()

    def _stream(self, name: str) -> _Stream:
        return self._streams.setdefault(name, _Stream())

    def _group(self, stream: str, group: str) -> _Group:
        found = self._stream(stream).groups.get(group)
        if found is None:
            raise group_missing(stream, group)
        return found

    def _has_room(self, held: _Stream, wanted: int) -> bool:
        if len(held.events) + wanted > self.bound:
            held.trim()
        return len(held.events) + wanted <= self.bound

    def _delivery(self, stream: str, sequence: int, event: BusEvent) -> Delivery:
        return Delivery(stream, StreamPosition(self._EPOCH, sequence), event)


def check_bound(bound: int) -> int:
    """The bound, if it is one."""
    if bound < 1:
        raise InvalidField("bound", bound, "1 event or more")
    return bound


def check_nothing_pending(stream: str, group: str, consumer: str, pending: int) -> None:
    """`Conflict` if a consumer that is to be forgotten was given events that are not acknowledged."""
    if pending:
        raise Conflict(
            f"the consumer {consumer!r} of group {group!r} has not acknowledged {pending} events of stream "
            f"{stream!r}; expected another consumer to claim them before this one is forgotten",
            stream=stream, group=group, consumer=consumer, pending=pending,
        )  # fmt: skip


def group_missing(stream: str, group: str) -> EventsLost:
    """The error of a group that nobody made, or that is gone."""
    return EventsLost(
        stream, f"has no group {group!r}: it never joined, or the bus came back without its data", group=group
    )


def _furthest_behind(held: _Stream) -> str:
    return min(held.groups, key=lambda name: held.groups[name].first_needed, default="")
