"""A stage of the decision path whose effects happen exactly once, whatever dies on the way.

    stage = DurableStage.open(path, bus, streams=["bars"], group="path", consumer="worker-1", route=…, stores=…, …)
    while running:
        stage.step()

One step: read events, leave out those that are known by their identity, give the others to the stage, write them and
what it said to them to the journal as one record, publish what it said, acknowledge. Only the order counts:

- killed before the record is durable: nothing has happened, and the events are delivered again;
- killed after it: the events are known, and whoever opens the stage next publishes what the last record says once
  more. Whoever reads that knows it by its identity.

A group has one journal, and so one process at a time that works for it: opening takes the journal over, and from then
on nothing that an earlier process does counts (`Fenced`). Others of the group may wait for its end. A stage that keeps
no state needs none of this: its processes share a group of the bus, and what they publish twice has one identity.

The place up to which a stream was read is in the journal, too. An event that is further than the next is looked for in
the stream (its consumer may have been deleted with what it was given); one that the stream no longer holds, and one
that is new at an old place, are lost events, and said to be (`EventsLost`). A bus that ends with its process begins
anew each time: then stages publish again what can have been in its streams, and so do they when a person accepts a
loss.

Identities are kept for ever in bounded memory (`engine.journal.dedup`), with a snapshot of the stage at a checkpoint
(`RestorableStage`).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import msgspec
import numpy as np
from xxhash import xxh64_intdigest

from raysignal.engine.core.arrays import UInt64Array
from raysignal.engine.core.digests import digest_names
from raysignal.engine.core.errors import Conflict, EventsLost, JournalDamaged
from raysignal.engine.core.events import PathEvent
from raysignal.engine.journal import snapshots
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.journal.dedup import DedupIndex, first_in_batch
from raysignal.engine.journal.frames import JournalPosition, JournalRecord
from raysignal.engine.journal.journal import Journal
from raysignal.engine.journal.snapshots import Snapshot
from raysignal.engine.journal.stores import Stores
from raysignal.engine.market.bars import Bar
from raysignal.engine.pipeline.bus import (
    MOST_AT_ONCE,
    NOWHERE,
    Bus,
    BusEvent,
    Delivery,
    StreamPosition,
    encode_event,
    identity_of,
)

_SEEDS = (1, 2)


class PureStage(Protocol):
    """What a stage computes: the same events in the same order, the same answers to the byte."""

    def on(self, event: Any, /) -> Sequence[Any]:
        """Take an event in; what is to be said to it."""


@runtime_checkable
class RestorableStage(PureStage, Protocol):
    """A stage that can be put into a state that it was in. One that cannot is given its whole journal at each start."""

    def dump(self) -> bytes:
        """The state."""

    def load(self, state: bytes) -> None:
        """Go on from a state that `dump` gave."""


class Said(msgspec.Struct, frozen=True, array_like=True):
    """What a stage said, and the stream that it goes to; None: to nobody but the journal."""

    stream: str | None
    event: BusEvent


class StageRecord(msgspec.Struct, frozen=True, array_like=True):
    """One record of a stage's journal.

    Attributes:
        taken: the events of a step that were new, in the order in which the stage was given them.
        said: what it said to them.
        read_to: the streams' places up to which all is known, with these.
    """

    taken: tuple[Delivery, ...]
    said: tuple[Said, ...]
    read_to: dict[str, StreamPosition]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(StageRecord).decode


@dataclass(frozen=True, slots=True)
class StageLimits:
    """How much a stage may leave undone.

    Attributes:
        checkpoint_events: after so many events identities and state are written beside the journal.
        publish_wait_s: for how long there may be no room in a stream that it speaks to.
    """

    checkpoint_events: int = 65_536
    publish_wait_s: float = 10.0


_LIMITS = StageLimits()


class DurableStage:
    """See the module. Once a call has raised anything but `StoreUnavailable` of the bus, open it anew.

    Attributes:
        taken: events that were taken in, ever.
        repeated: events that were published again, since it was opened.
    """

    def __init__(
        self,
        stage: PureStage,
        bus: Bus,
        *,
        streams: Sequence[str],
        group: str,
        consumer: str,
        route: Callable[[BusEvent], str | None],
        blobs: BlobStore,
        cache_dir: Path,
        journal: Journal,
        limits: StageLimits,
    ) -> None:
        self._stage, self._bus = stage, bus
        self._streams, self._group, self._consumer, self._route = tuple(streams), group, consumer, route
        self._blobs, self._cache_dir, self._journal = blobs, cache_dir, journal
        self._prefix = f"stages/{group}"
        self._identities = DedupIndex.create(cache_dir)
        self._read_to: dict[str, StreamPosition] = {}
        self._to_publish: deque[Said] = deque()
        self._to_acknowledge: list[Delivery] = []
        self._unread: dict[str, StreamPosition] = {}  # what is looked through first, and from where on
        self._claiming = True
        self._limits, self._since_checkpoint = limits, 0
        self._whole = True
        self.taken = self.repeated = 0

    @classmethod
    def open(
        cls,
        stage: PureStage,
        bus: Bus,
        *,
        streams: Sequence[str],
        group: str,
        consumer: str,
        route: Callable[[BusEvent], str | None],
        stores: Stores,
        cache_dir: Path,
        accept_loss: bool = False,
        limits: StageLimits = _LIMITS,
    ) -> Self:
        """Take the group's journal over, and go on where it ends.

        Args:
            stage: in its first state; it is given what the journal holds.
            bus: where its streams are.
            streams: that it reads.
            group: its name on the bus and in the store; no two stages have the same.
            consumer: this process's name within the group.
            route: the stream that something the stage says goes to; None: it stays in the journal.
            stores: where journal, identities and snapshots lie.
            cache_dir: a local folder for copies of the identities.
            accept_loss: a person has said that events which the bus has lost are not waited for.
            limits: of checkpoints and of waiting.

        Raises:
            EventsLost: the bus does not hold what the journal says it held, or still needs.
            Fenced, JournalDamaged, StoreUnavailable: see `Journal.open`.
        """
        store = stores.journal_store(f"stage={group}")
        snapshot = snapshots.latest(stores.blobs, f"stages/{group}")
        journal = Journal.open(store, after=snapshot.position if snapshot else None)
        durable = cls(
            stage, bus, streams=streams, group=group, consumer=consumer, route=route, blobs=stores.blobs,
            cache_dir=cache_dir, journal=journal, limits=limits,
        )  # fmt: skip
        try:
            last: Iterable[Said] = durable._rebuild(snapshot)
            if accept_loss or not bus.durable:
                durable._read_to.clear()
                last = _last_of_each_stream(_records(Journal.read(store)), bus.bound)
            durable._to_publish.extend(last)
            durable._join()
        except BaseException:
            journal.close()
            raise
        return durable

    @property
    def whole(self) -> bool:
        """Whether a step may follow; not where one was left in its middle, as when the journal's store is away."""
        return self._whole

    def step(self, *, most: int = MOST_AT_ONCE, wait_s: float = 1.0) -> int:
        """Take in the next events, at most so many a stream; how many came, known ones included. Waits for the first.

        Raises:
            StreamFull, StoreUnavailable: what was said could not be published; it is the first thing of the next step.
            Fenced: another process works for the group now.
            EventsLost: see the module.
            Conflict: an event has the identity of an earlier one and other content.
        """
        self._publish()
        return self._take(self._next(most, wait_s))

    def close(self) -> None:
        """Let go of the journal. What was read and not acknowledged is delivered again."""
        self._journal.close()

    # Taking in

    def _take(self, deliveries: Sequence[Delivery]) -> int:
        """Do what is to be done with some events; how many they were."""
        if not self._whole:
            raise RuntimeError("the stage was left in the middle of a step; open it anew")
        ordered = self._without_gaps(deliveries)
        fresh, keys, contents = self._fresh(ordered)
        read_to = dict(self._read_to)
        for each in ordered:
            read_to[each.stream] = max(read_to.get(each.stream, NOWHERE), each.position)
        if fresh or read_to != self._read_to:
            self._whole = False
            said = [Said(self._route(word), word) for each in fresh for word in self._stage.on(each.event)]
            record = StageRecord(tuple(fresh), tuple(said), read_to)
            self._journal.write(self._journal.prepare([_encode(record)]))
            self._know(keys, contents)
            self._read_to = read_to
            self._to_publish.extend(said)
            self._whole = True
        self._to_acknowledge.extend(ordered)
        self._publish()
        self._checkpoint_if_due(self._journal.position)
        return len(ordered)

    def _without_gaps(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """With what was left out between them and what was read before, from the stream itself."""
        ordered: list[Delivery] = []
        read_to = dict(self._read_to)
        for delivery in deliveries:
            stream, before = delivery.stream, read_to.get(delivery.stream)
            if before is not None and delivery.position.epoch != before.epoch:
                raise EventsLost(
                    stream, f"began anew; the group {self._group!r} had read {before.sequence} events"
                )
            while before is not None and before.sequence + 1 < delivery.sequence:
                missing = delivery.sequence - before.sequence - 1
                between = self._bus.entries(stream, before, most=min(missing, MOST_AT_ONCE))
                if not between or between[0].sequence != before.sequence + 1:
                    raise EventsLost(
                        stream,
                        f"no longer holds event {before.sequence + 1}, which the group {self._group!r} has not "
                        f"taken in; the next is {delivery.sequence}",
                        first=before.sequence + 1, last=delivery.sequence - 1,
                    )  # fmt: skip
                ordered += between
                before = between[-1].position
            ordered.append(delivery)
            read_to[stream] = max(before or NOWHERE, delivery.position)
        return ordered

    def _fresh(self, ordered: Sequence[Delivery]) -> tuple[list[Delivery], UInt64Array, UInt64Array]:
        """The events that are not known, with the keys and contents by which they will be."""
        keys, contents = _keys(ordered), _contents(ordered)
        if not ordered:
            return [], keys, contents
        ordinals, known_contents = self._identities.lookup(keys)
        first = first_in_batch(keys)
        fresh = []
        for row, delivery in enumerate(ordered):
            is_new = ordinals[row] < 0 and first[row] == row
            known = known_contents[row] if ordinals[row] >= 0 else contents[first[row]]
            if not is_new and known != contents[row]:
                raise Conflict(
                    f"the event {identity_of(delivery.event)!r}, number {delivery.sequence} of stream "
                    f"{delivery.stream!r}, came before with other content; expected a name for each event",
                    stream=delivery.stream, sequence=delivery.sequence,
                )  # fmt: skip
            is_further = delivery.position > self._read_to.get(delivery.stream, NOWHERE)
            if is_new and not is_further:
                raise EventsLost(
                    delivery.stream,
                    f"holds another event at {delivery.sequence} than the group {self._group!r} took in there",
                    sequence=delivery.sequence,
                )  # fmt: skip
            if is_new:
                fresh.append(row)
            self.repeated += is_further and not is_new
        return [ordered[row] for row in fresh], keys[fresh], contents[fresh]

    def _know(self, keys: UInt64Array, contents: UInt64Array) -> None:
        self._identities.add(keys, self.taken + np.arange(len(keys)), contents)
        self.taken += len(keys)
        self._since_checkpoint += len(keys)

    def _publish(self) -> None:
        """Publish what waits to be, then acknowledge what it was said to; both may be done twice."""
        while self._to_publish:
            stream = self._to_publish[0].stream
            some = [word.event for word in self._to_publish if word.stream == stream]
            if stream is not None:
                self._bus.publish(stream, some, wait_s=self._limits.publish_wait_s)
            self._to_publish = deque(word for word in self._to_publish if word.stream != stream)
        self._bus.acknowledge(self._group, self._to_acknowledge)
        self._to_acknowledge = []

    # Opening

    def _rebuild(self, snapshot: Snapshot | None) -> list[Said]:
        """Bring the stage to the end of the journal; what its last record says."""
        after = self._restore(snapshot)
        last: tuple[Said, ...] = ()
        position = after
        for record in self._journal.replay(after):
            # Not after the last record: what it says may not have been published yet.
            if position is not None:
                self._checkpoint_if_due(position)
            content = _decode(record.payload)
            for delivery in content.taken:
                self._stage.on(delivery.event)
            self._read_to = content.read_to
            self._know(_keys(content.taken), _contents(content.taken))
            last, position = content.said, record.position
        self._identities.sweep_orphans(self._blobs, f"{self._prefix}/identities/")
        return list(last)

    def _restore(self, snapshot: Snapshot | None) -> JournalPosition | None:
        """Take over what a snapshot holds; the place after it. None: there is none that can be used."""
        if snapshot is None or not isinstance(self._stage, RestorableStage):
            return None
        try:
            self._identities = DedupIndex.load(snapshot.runs, self._blobs, self._cache_dir)
        except JournalDamaged:
            return None
        (state,) = snapshot.portfolios
        self._stage.load(state["stage"])
        self._read_to = {stream: StreamPosition(*place) for stream, place in state["read_to"].items()}
        self.taken = state["taken"]
        return snapshot.position

    def _join(self) -> None:
        """Compare the streams with the journal; from now on nothing is dropped that was not taken in."""
        for stream in self._streams:
            before, last = self._read_to.get(stream, NOWHERE), self._bus.last(stream)
            if before != NOWHERE and (last.epoch != before.epoch or last < before):
                raise EventsLost(
                    stream,
                    f"is at event {last.sequence}, and the group {self._group!r} had read up to {before.sequence}: the "
                    "bus came back with an older state, or with nothing",
                    known=before.sequence, last=last.sequence,
                )  # fmt: skip
            self._bus.join(stream, self._group)
            self._unread[stream] = before

    def _next(self, most: int, wait_s: float) -> list[Delivery]:
        """The next events: first what the streams hold that the journal does not, whoever it was given to."""
        while self._unread:
            stream, after = next(iter(self._unread.items()))
            if found := self._bus.entries(stream, after, most=most):
                self._unread[stream] = found[-1].position
                return found
            del self._unread[stream]
        if not self._claiming:
            found = self._bus.read(self._streams, self._group, self._consumer, most=most, wait_s=wait_s)
            if found:
                return found
        # All that this process was given is acknowledged: what is not was given to one that died, or in an answer that
        # was lost on its way, and would keep the stream from letting go of it.
        given = self._bus.claim(self._streams, self._group, self._consumer, idle_s=0.0, most=most)
        if self._claiming and not given:
            self._claiming = False
            return self._bus.read(self._streams, self._group, self._consumer, most=most, wait_s=wait_s)
        return given

    # Checkpoints

    def _checkpoint_if_due(self, position: JournalPosition) -> None:
        """Write identities and state beside the journal; they hold all up to a record of it."""
        if self._since_checkpoint < self._limits.checkpoint_events or not isinstance(
            self._stage, RestorableStage
        ):
            return
        self._journal.check_current()
        frozen = self._identities.freeze()
        runs = self._identities.write(frozen, self._blobs, f"{self._prefix}/identities/", self._journal.epoch)
        state: dict[str, Any] = {"stage": self._stage.dump(), "read_to": self._read_to, "taken": self.taken}
        snapshots.put(
            self._blobs, self._prefix, self._journal.epoch, Snapshot(position, tuple(runs), (state,))
        )
        snapshots.drop_old(self._blobs, self._prefix)
        self._identities.drop_obsolete(self._blobs)
        self._identities.thaw(frozen)
        self._since_checkpoint = 0


def read_records(stores: Stores, group: str) -> Iterable[StageRecord]:
    """What the journal of a group holds, in order, taking nothing over."""
    return _records(Journal.read(stores.journal_store(f"stage={group}")))


def _records(records: Iterable[JournalRecord]) -> Iterator[StageRecord]:
    return (_decode(record.payload) for record in records)


def _last_of_each_stream(records: Iterable[StageRecord], bound: int) -> Iterator[Said]:
    """What can be in the streams, as none holds more than `bound`."""
    last: dict[str | None, deque[Said]] = {}
    for record in records:
        for word in record.said:
            last.setdefault(word.stream, deque(maxlen=bound)).append(word)
    return (word for words in last.values() for word in words)


def _keys(deliveries: Sequence[Delivery]) -> UInt64Array:
    """The identities as the index of identities takes them, uint64[n, 2]."""
    names = [identity_of(delivery.event) for delivery in deliveries]
    return np.stack([digest_names(names, seed) for seed in _SEEDS], axis=1)


def _contents(deliveries: Sequence[Delivery]) -> UInt64Array:
    """Digests of what may not differ between events of one identity, uint64[n].

    Of what a venue says none: it says it again with another time of receipt.
    """
    return np.array(
        [
            xxh64_intdigest(encode_event(delivery.event))
            if isinstance(delivery.event, PathEvent | Bar)
            else 0
            for delivery in deliveries
        ],
        np.uint64,
    )
