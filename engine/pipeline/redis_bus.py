"""The bus of several processes: Redis Streams, Redis 6.2 or later.

An entry's id is `<epoch>-<sequence>`: when the stream began, by the server's clock, and the event's place in it. Both
are given by the server, in one script that also sees to the bound, so that sequences have no holes and a stream that
begins anew is known by its epoch. The group's pending list is what was given and not acknowledged.

*What is lost is said.* Redis can come back with less than it had, or with nothing. Every publication names the last
place that this client knows, and the server compares; whoever reads compares when there is nothing to read, and as
events come. A stream that began anew, that is behind what was known, or whose group is gone raises `EventsLost`, and
does so again until the client is made anew.

*What is away is waited for.* A connection that fails is opened again with growing delays until `patience_s` is over,
then `StoreUnavailable` is raised and the same call may be made again. What was published by a call that failed may have
arrived: it is then in the stream twice, with one identity.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from random import Random
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from raysignal.engine.core.errors import EventsLost, SettingsError, StoreUnavailable, StreamFull
from raysignal.engine.market.backoff import Backoff
from raysignal.engine.pipeline.bus import (
    BOUND,
    MOST_AT_ONCE,
    NOWHERE,
    BusEvent,
    Delivery,
    StreamPosition,
    check_bound,
    check_nothing_pending,
    decode_event,
    encode_event,
    group_missing,
)

PREFIX = "raysignal:stream:"
"""What the names of the keys begin with."""

_FIELD = b"event"
_OLDEST_SERVER = (6, 2)
_SPACE_WAIT_S = 0.02  # between two looks for room in a full stream

_PLACES = """
local function place(id)
  local epoch, sequence = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(epoch), tonumber(sequence)
end
local function fields(flat)
  local named = {}
  for i = 1, #flat, 2 do named[flat[i]] = flat[i + 1] end
  return named
end
local function last_of(key)
  if redis.call('EXISTS', key) == 0 then return 0, 0 end
  return place(fields(redis.call('XINFO', 'STREAM', key))['last-generated-id'])
end
"""

_GROUPS = (
    _PLACES
    + """
local function groups(key)
  local named = {}
  for i, flat in ipairs(redis.call('XINFO', 'GROUPS', key)) do named[i] = fields(flat) end
  return named
end
local function needed_by(key, group)
  if group['pending'] > 0 then
    local _, first = place(redis.call('XPENDING', key, group['name'])[2])
    return first
  end
  local _, given = place(group['last-delivered-id'])
  return given + 1
end
"""
)

_LAST = _PLACES + "local epoch, last = last_of(KEYS[1]) return {epoch, last}"

# bound, the epoch and sequence that the client knows, events. Answers {"ok" | "lost", epoch, last}, {"full", group}.
_PUBLISH = (
    _GROUPS
    + """
local key, bound, count = KEYS[1], tonumber(ARGV[1]), #ARGV - 3
local known_epoch, known = tonumber(ARGV[2]), tonumber(ARGV[3])
local epoch, last = last_of(key)
if known_epoch > 0 and (epoch ~= known_epoch or last < known) then return {'lost', epoch, last} end
if redis.call('EXISTS', key) == 1 and redis.call('XLEN', key) + count > bound then
  local slowest, needed = '', nil
  for _, group in ipairs(groups(key)) do
    local first = needed_by(key, group)
    if needed == nil or first < needed then slowest, needed = group['name'], first end
  end
  if needed ~= nil then
    redis.call('XTRIM', key, 'MINID', '=', string.format('%d-%d', epoch, needed))
  end
  if redis.call('XLEN', key) + count > bound then return {'full', slowest} end
end
if epoch == 0 then
  local now = redis.call('TIME')
  epoch = now[1] * 1000 + math.floor(now[2] / 1000)
end
for i = 4, #ARGV do
  last = last + 1
  redis.call('XADD', key, string.format('%d-%d', epoch, last), 'event', ARGV[i])
end
return {'ok', epoch, last}
"""
)

# group: the first event that it has not acknowledged; 0: there is no such group.
_NEEDED = (
    _GROUPS
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
for _, group in ipairs(groups(KEYS[1])) do
  if group['name'] == ARGV[1] then return needed_by(KEYS[1], group) end
end
return 0
"""
)

# group, consumer: how many entries it has not acknowledged; it is forgotten where that is none.
_LEAVE = """
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000, ARGV[2])
if #pending == 0 then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
return #pending
"""


class RedisBus:
    """See the module and `Bus`.

    Args:
        url: `redis://[user:password@]host:port/database`, `rediss://` with TLS, or `unix:///path?db=0`.
        bound: see `Bus`.
        patience_s: for how long a server that is away is waited for.

    Raises:
        SettingsError: the address cannot be used, or its server, as it is set up, would drop events.
        StoreUnavailable: it does not answer.
    """

    durable = True

    def __init__(self, url: str, *, bound: int = BOUND, patience_s: float = 30.0) -> None:
        self.bound = check_bound(bound)
        self._patience_s = patience_s
        self._closed = threading.Event()
        self._known: dict[
            str, StreamPosition
        ] = {}  # the furthest place of each stream that this client has seen
        self._read: dict[tuple[str, str, str], StreamPosition] = {}  # of each stream, group and consumer
        try:
            # Its own retries would hide that a server has come back, and how long it was away.
            self._client = redis.Redis.from_url(
                url,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=patience_s,
                socket_connect_timeout=5.0,
            )
        except ValueError:
            # It may hold a password anywhere.
            raise SettingsError(
                "the address of the bus cannot be taken apart; expected redis://[user:password@]host:port/database, "
                "with special characters of the password percent-encoded"
            ) from None
        options = self._client.connection_pool.connection_kwargs
        self._place = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        self._last_script = self._client.register_script(_LAST)
        self._publish_script = self._client.register_script(_PUBLISH)
        self._needed_script = self._client.register_script(_NEEDED)
        self._leave_script = self._client.register_script(_LEAVE)
        self._check_server()

    def join(self, stream: str, group: str) -> None:
        """See `Bus`."""
        try:
            self._call(self._client.xgroup_create, _key(stream), group, "0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def publish(self, stream: str, events: Sequence[BusEvent], *, wait_s: float = 10.0) -> None:
        """See `Bus`."""
        most = min(MOST_AT_ONCE, self.bound)
        for begin in range(0, len(events), most):
            self._publish(stream, [encode_event(event) for event in events[begin : begin + most]], wait_s)

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
        asked: dict[Any, Any] = {_key(stream): ">" for stream in streams}
        block = max(1, min(int(wait_s * 1000), int(self._patience_s * 500))) if wait_s > 0 else None
        answer: list[Any] = self._in_group(
            streams, group, self._client.xreadgroup, group, consumer, asked, count=most, block=block
        )
        if not answer:
            for stream in streams:
                self.last(stream)
            return []
        deliveries = []
        for key, entries in answer:
            stream = key.decode().removeprefix(PREFIX)
            found = _deliveries(stream, entries)
            self._see(stream, found[-1].position)
            reader, first = (stream, group, consumer), found[0].position
            if first <= self._read.get(reader, NOWHERE):
                raise _gone_back(stream, self._read[reader], first)
            self._read[reader] = found[-1].position
            deliveries += found
        return deliveries

    def claim(
        self, streams: Sequence[str], group: str, consumer: str, *, idle_s: float, most: int = MOST_AT_ONCE
    ) -> list[Delivery]:
        """See `Bus`."""
        deliveries = []
        for stream in streams:
            found: list[Any] = []
            cursor: Any = "0-0"
            while len(found) < most:
                cursor, entries, *deleted = self._in_group(
                    [stream], group,
                    self._client.xautoclaim, _key(stream), group, consumer, int(idle_s * 1000), cursor,
                    count=most - len(found),
                )  # fmt: skip
                # Redis 7 names what is gone, 6.2 leaves a hole.
                if any(deleted) or any(entry_id is None for entry_id, _ in entries):
                    raise EventsLost(stream, f"no longer holds events that the group {group!r} was given")
                found += entries
                if cursor in {b"0-0", "0-0"}:
                    break
            deliveries += _deliveries(stream, found)
        return deliveries

    def acknowledge(self, group: str, deliveries: Iterable[Delivery]) -> None:
        """See `Bus`."""
        for stream, some in groupby(deliveries, lambda delivery: delivery.stream):
            ids = [_entry_id(delivery.position) for delivery in some]
            for begin in range(0, len(ids), MOST_AT_ONCE):
                self._call(self._client.xack, _key(stream), group, *ids[begin : begin + MOST_AT_ONCE])

    def entries(
        self, stream: str, after: StreamPosition = NOWHERE, *, most: int = MOST_AT_ONCE
    ) -> list[Delivery]:
        """See `Bus`."""
        begin = "-" if after == NOWHERE else f"({_entry_id(after)}"
        return _deliveries(stream, self._call(self._client.xrange, _key(stream), begin, "+", count=most))

    def first_needed(self, stream: str, group: str) -> int:
        """See `Bus`."""
        self.last(stream)
        needed: int = self._call(self._needed_script, keys=[_key(stream)], args=[group])
        if not needed:
            raise group_missing(stream, group)
        return needed

    def last(self, stream: str) -> StreamPosition:
        """See `Bus`."""
        last = StreamPosition(*self._call(self._last_script, keys=[_key(stream)]))
        known = self._known.get(stream, NOWHERE)
        if known > last or (known.epoch and known.epoch != last.epoch):
            raise _gone_back(stream, known, last)
        return last

    def leave(self, stream: str, group: str, consumer: str) -> None:
        """See `Bus`."""
        pending: int = self._in_group(
            [stream], group, self._leave_script, keys=[_key(stream)], args=[group, consumer]
        )
        check_nothing_pending(stream, group, consumer, pending)

    def close(self) -> None:
        """See `Bus`."""
        self._closed.set()
        self._client.close()

    def _publish(self, stream: str, encoded: Sequence[bytes], wait_s: float) -> None:
        until_s = time.monotonic() + wait_s
        while True:
            known = self._known.get(stream, NOWHERE)
            arguments: list[Any] = [self.bound, *known, *encoded]
            said, *rest = self._call(self._publish_script, keys=[_key(stream)], args=arguments)
            if said == b"ok":
                self._see(stream, StreamPosition(*rest))
                return
            if said == b"lost":
                raise _gone_back(stream, known, StreamPosition(*rest))
            if time.monotonic() >= until_s or self._closed.wait(_SPACE_WAIT_S):
                raise StreamFull(stream, self.bound, rest[0].decode())

    def _see(self, stream: str, position: StreamPosition) -> None:
        """Take note of the place of an event that is in the stream."""
        known = self._known.get(stream, NOWHERE)
        if known.epoch and position.epoch != known.epoch:
            raise _gone_back(stream, known, position)
        self._known[stream] = max(known, position)

    def _in_group(
        self, streams: Sequence[str], group: str, action: Callable[..., Any], *values: Any, **options: Any
    ) -> Any:
        """As `_call`, where the group must be there."""
        try:
            return self._call(action, *values, **options)
        except redis.ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
        for stream in streams:
            self.last(stream)
        raise group_missing(", ".join(streams), group)

    def _call(self, action: Callable[..., Any], *values: Any, **options: Any) -> Any:
        """Do it, again and again while the server is away; see the module."""
        backoff = Backoff(Random(), first_s=0.02, most_s=1.0)  # noqa: S311 - delays are no secret
        until_s = time.monotonic() + self._patience_s
        while True:
            try:
                return action(*values, **options)
            except redis.AuthenticationError as error:
                raise SettingsError(f"Redis at {self._place} refuses the bus's user: {error}") from None
            except redis.ResponseError as error:
                # A script says it in its own words.
                if not isinstance(error, redis.OutOfMemoryError) and "OOM command not allowed" not in str(
                    error
                ):
                    raise
                raise StoreUnavailable(
                    f"Redis at {self._place} has no memory left for the bus: {error}. Expected its maxmemory to have "
                    f"room for {self.bound} events of every stream"
                ) from error
            except (redis.ConnectionError, redis.TimeoutError) as error:
                delay_s = backoff.failed()
                if time.monotonic() + delay_s > until_s or self._closed.wait(delay_s):
                    raise StoreUnavailable(
                        f"the bus, Redis at {self._place}, does not answer: {error}"
                    ) from error

    def _check_server(self) -> None:
        """Refuse a server that is too old, or that may drop what nobody has read."""
        info: dict[str, Any] = self._call(self._client.info)
        version = str(info["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST_SERVER:
            raise SettingsError(f"Redis at {self._place} is version {version}; expected 6.2 or later")
        policy = info.get("maxmemory_policy", "noeviction")
        if info.get("maxmemory") and str(policy).startswith("allkeys"):
            raise SettingsError(
                f"Redis at {self._place} drops keys when its memory is full (maxmemory-policy {policy}), and with them "
                "events that nobody has read; expected maxmemory-policy noeviction"
            )


def _key(stream: str) -> str:
    return PREFIX + stream


def _entry_id(position: StreamPosition) -> str:
    return f"{position.epoch}-{position.sequence}"


def _deliveries(stream: str, entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> list[Delivery]:
    found = []
    for entry_id, fields in entries:
        epoch, _, sequence = entry_id.partition(b"-")
        found.append(
            Delivery(stream, StreamPosition(int(epoch), int(sequence)), decode_event(fields[_FIELD]))
        )
    return found


def _gone_back(stream: str, known: StreamPosition, last: StreamPosition) -> EventsLost:
    if not last.epoch or last.epoch != known.epoch:
        what = f"began anew; it was at event {known.sequence} and is at {last.sequence}: the bus came back without it"
    else:
        what = (
            f"is at event {last.sequence} and was at {known.sequence}: the bus came back with an older state"
        )
    return EventsLost(stream, what, known=known.sequence, last=last.sequence)
