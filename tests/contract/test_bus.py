"""The contract of the bus, on each of its homes; and what Redis alone can do to it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from raysignal.engine.core.errors import (
    Conflict,
    EventsLost,
    Fenced,
    SettingsError,
    StoreUnavailable,
    StreamFull,
)
from raysignal.engine.core.events import Alarm
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.pipeline.bus import Bus, BusEvent, Delivery, MemoryBus, open_bus
from raysignal.engine.pipeline.durable_stage import DurableStage, StageLimits
from raysignal.engine.pipeline.redis_bus import PREFIX, RedisBus
from tests.support.bus_stages import (
    Chain,
    OnlyAnswers,
    drain,
    fresh_names,
    open_chain,
    said,
    signal,
    signals,
    undisturbed,
)
from tests.support.redis_server import RedisServer, redis_server

_names = fresh_names("stream")


@dataclass(frozen=True, slots=True)
class Home:
    """Where streams lie. `connect` gives a client of it, as each process has its own; all in memory are the same."""

    connect: Callable[[], Bus]
    bound: int = 100


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
def home(request: pytest.FixtureRequest) -> Iterator[Home]:
    if request.param == "memory":
        bus = MemoryBus(bound=100)
        yield Home(lambda: bus)
        return
    url = request.getfixturevalue("server").url
    made: list[Bus] = []

    def connect() -> Bus:
        made.append(open_bus(url, bound=100))
        return made[-1]

    yield Home(connect)
    for each in made:
        each.close()


@pytest.fixture
def stream() -> str:
    return next(_names)


@pytest.fixture
def bus(home: Home) -> Bus:
    return home.connect()


def numbers(deliveries: Sequence[Delivery]) -> list[int]:
    return [delivery.sequence for delivery in deliveries]


# Order and delivery


def test_events_come_in_order_with_sequences_without_holes(bus: Bus, stream: str) -> None:
    bus.join(stream, "path")
    bus.publish(stream, signals(0, 3))
    bus.publish(stream, signals(3, 5))
    found = bus.read([stream], "path", "one")
    assert [delivery.event for delivery in found] == signals(0, 5)
    assert numbers(found) == [1, 2, 3, 4, 5]
    assert bus.last(stream) == found[-1].position


def test_a_group_that_joins_later_begins_with_the_oldest_event(bus: Bus, stream: str) -> None:
    bus.publish(stream, signals(0, 2))
    bus.join(stream, "path")
    bus.join(stream, "path")
    assert numbers(bus.read([stream], "path", "one")) == [1, 2]


def test_reading_gives_so_many_a_stream_at_most_and_nothing_twice(bus: Bus, stream: str) -> None:
    other = next(_names)
    for name in (stream, other):
        bus.join(name, "path")
        bus.publish(name, signals(0, 3))
    first = bus.read([stream, other], "path", "one", most=2)
    assert sorted((each.stream, each.sequence) for each in first) == [
        (name, sequence) for name in sorted([stream, other]) for sequence in (1, 2)
    ]
    assert numbers(bus.read([stream, other], "path", "one", most=2)) == [3, 3]
    assert bus.read([stream, other], "path", "one", wait_s=0.0) == []


def test_who_reads_waits_for_the_first_event(home: Home, stream: str) -> None:
    reader, publisher = home.connect(), home.connect()
    reader.join(stream, "path")
    found: list[Delivery] = []
    thread = threading.Thread(target=lambda: found.extend(reader.read([stream], "path", "one", wait_s=20.0)))
    thread.start()
    publisher.publish(stream, signals(0, 1))
    thread.join(20.0)
    assert numbers(found) == [1]


def test_two_consumers_of_a_group_share_its_events(home: Home, stream: str) -> None:
    one, two = home.connect(), home.connect()
    one.join(stream, "path")
    one.publish(stream, signals(0, 10))
    shares = [one.read([stream], "path", "one", most=4), two.read([stream], "path", "two", most=10)]
    assert [numbers(share) for share in shares] == [[1, 2, 3, 4], [5, 6, 7, 8, 9, 10]]


def test_two_groups_see_every_event_each(bus: Bus, stream: str) -> None:
    for group in ("path", "page"):
        bus.join(stream, group)
    bus.publish(stream, signals(0, 3))
    for group in ("path", "page"):
        assert numbers(bus.read([stream], group, "one")) == [1, 2, 3]


def test_what_a_dead_consumer_was_given_is_claimed_by_another_until_it_is_acknowledged(
    home: Home, stream: str
) -> None:
    dead, heir = home.connect(), home.connect()
    dead.join(stream, "path")
    dead.publish(stream, signals(0, 4))
    given = dead.read([stream], "path", "dead")
    dead.acknowledge("path", given[1:2])
    assert heir.read([stream], "path", "heir", wait_s=0.0) == []
    claimed = heir.claim([stream], "path", "heir", idle_s=0.0)
    assert claimed == [given[0], given[2], given[3]]
    heir.acknowledge("path", claimed)
    heir.acknowledge("path", claimed)
    assert heir.claim([stream], "path", "heir", idle_s=0.0) == []


def test_what_a_consumer_was_given_a_moment_ago_is_not_claimed(bus: Bus, stream: str) -> None:
    bus.join(stream, "path")
    bus.publish(stream, signals(0, 1))
    bus.read([stream], "path", "alive")
    assert bus.claim([stream], "path", "other", idle_s=3600.0) == []


def test_claims_come_at_most_so_many_at_once(bus: Bus, stream: str) -> None:
    bus.join(stream, "path")
    bus.publish(stream, signals(0, 5))
    bus.read([stream], "path", "dead")
    claimed = bus.claim([stream], "path", "heir", idle_s=0.0, most=2)
    bus.acknowledge("path", claimed)
    assert numbers(claimed) + numbers(bus.claim([stream], "path", "heir", idle_s=0.0)) == [1, 2, 3, 4, 5]


def test_first_event_that_a_group_needs_is_the_first_it_has_not_acknowledged(bus: Bus, stream: str) -> None:
    with pytest.raises(EventsLost, match="no group 'path'"):
        bus.first_needed(stream, "path")
    bus.join(stream, "path")
    assert bus.first_needed(stream, "path") == 1
    bus.publish(stream, signals(0, 3))
    found = bus.read([stream], "path", "one", most=2)
    assert bus.first_needed(stream, "path") == 1
    bus.acknowledge("path", found[1:])
    assert bus.first_needed(stream, "path") == 1
    bus.acknowledge("path", found[:1])
    assert bus.first_needed(stream, "path") == 3
    bus.acknowledge("path", bus.read([stream], "path", "one"))
    assert bus.first_needed(stream, "path") == 4


def test_the_entries_of_a_stream_are_read_without_being_given_to_anybody(bus: Bus, stream: str) -> None:
    bus.join(stream, "path")
    bus.publish(stream, signals(0, 5))
    first = bus.entries(stream, most=2)
    assert numbers(first) == [1, 2]
    assert numbers(bus.entries(stream, first[-1].position)) == [3, 4, 5]
    assert numbers(bus.read([stream], "path", "one")) == [1, 2, 3, 4, 5]


def test_reading_for_a_group_that_has_not_joined_is_refused(bus: Bus, stream: str) -> None:
    bus.publish(stream, signals(0, 1))
    with pytest.raises(EventsLost, match="has no group 'path'"):
        bus.read([stream], "path", "one")


# The bound


def test_a_full_stream_refuses_the_publisher_and_names_the_group_that_is_behind(
    bus: Bus, home: Home, stream: str
) -> None:
    for group in ("quick", "slow"):
        bus.join(stream, group)
    bus.publish(stream, signals(0, home.bound))
    bus.acknowledge("quick", bus.read([stream], "quick", "one"))
    held = bus.read([stream], "slow", "one")
    with pytest.raises(StreamFull, match=r"holds 100 events.*'slow' has not acknowledged"):
        bus.publish(stream, [signal(home.bound)], wait_s=0.0)
    assert bus.last(stream).sequence == home.bound
    bus.acknowledge("slow", held[:1])
    bus.publish(stream, [signal(home.bound)], wait_s=0.0)
    with pytest.raises(StreamFull):
        bus.publish(stream, [signal(home.bound + 1)], wait_s=0.0)


def test_nothing_that_a_group_has_not_acknowledged_is_ever_dropped(bus: Bus, stream: str) -> None:
    bus.join(stream, "quick")
    bus.join(stream, "slow")
    seen: list[int] = []
    for round_ in range(40):
        bus.publish(stream, signals(round_ * 30, round_ * 30 + 30))
        bus.acknowledge("quick", bus.read([stream], "quick", "one"))
        if round_ % 2:
            # In another order than it was given.
            some = bus.read([stream], "slow", "one")
            seen += numbers(some)
            bus.acknowledge("slow", some[::-1])
    assert seen == list(range(1, 40 * 30 + 1))
    assert len(bus.entries(stream)) <= 100


def test_an_event_in_the_middle_that_is_not_acknowledged_keeps_all_after_it(bus: Bus, stream: str) -> None:
    bus.join(stream, "path")
    bus.publish(stream, signals(0, 100))
    given = bus.read([stream], "path", "one")
    bus.acknowledge("path", given[:40] + given[41:])
    bus.publish(stream, signals(100, 140), wait_s=0.0)
    assert numbers(bus.entries(stream)) == list(range(41, 141))
    assert numbers(bus.claim([stream], "path", "two", idle_s=0.0)) == [41]


def test_a_stream_that_nobody_reads_keeps_all_and_says_so_when_it_is_full(bus: Bus, stream: str) -> None:
    bus.publish(stream, signals(0, 100))
    with pytest.raises(StreamFull, match="no group reads them"):
        bus.publish(stream, signals(100, 101), wait_s=0.0)
    bus.join(stream, "path")
    assert len(bus.read([stream], "path", "one")) == 100


def test_a_publisher_waits_for_room(home: Home, stream: str) -> None:
    publisher, reader = home.connect(), home.connect()
    reader.join(stream, "path")
    thread = threading.Thread(target=lambda: publisher.publish(stream, signals(0, 1_000), wait_s=60.0))
    thread.start()
    seen: list[int] = []
    while len(seen) < 1_000:
        some = reader.read([stream], "path", "one", most=37, wait_s=20.0)
        assert some
        assert len(reader.entries(stream)) <= home.bound
        seen += numbers(some)
        reader.acknowledge("path", some)
    thread.join(20.0)
    assert seen == list(range(1, 1_001))


# Consumers that leave


def test_a_consumer_is_not_forgotten_while_it_has_something_to_acknowledge(bus: Bus, stream: str) -> None:
    bus.join(stream, "path")
    bus.publish(stream, signals(0, 2))
    bus.read([stream], "path", "one")
    with pytest.raises(Conflict, match=r"'one' of group 'path' has not acknowledged 2 events"):
        bus.leave(stream, "path", "one")
    bus.acknowledge("path", bus.claim([stream], "path", "two", idle_s=0.0))
    bus.leave(stream, "path", "one")
    bus.leave(stream, "path", "two")


# Exactly once


def test_a_stage_takes_an_event_in_once_however_often_it_is_published(
    bus: Bus, stream: str, tmp_path: Path
) -> None:
    group = f"chain-{stream}"
    stage = open_chain(bus, tmp_path, group, stream, None)
    for first in (0, 0, 3, 1):
        bus.publish(stream, signals(first, first + 5))
    drain(stage)
    assert said(tmp_path, group) == undisturbed([group], signals(0, 8))[group]
    assert (stage.taken, stage.repeated) == (8, 12)
    stage.close()


def test_a_stage_that_is_opened_again_goes_on_where_the_last_one_was(
    home: Home, stream: str, tmp_path: Path
) -> None:
    group, bus = f"chain-{stream}", home.connect()
    for first in (0, 20, 40):
        stage = open_chain(bus, tmp_path, group, stream, None, limits=StageLimits(25))
        bus.publish(stream, signals(max(first - 10, 0), first + 20))
        while stage.step(most=7, wait_s=0.0):
            pass
        stage.close()
    assert said(tmp_path, group) == undisturbed([group], signals(0, 60))[group]
    assert stage.taken == 60
    snapshots = list((tmp_path / "stages").rglob("*.snap"))
    assert snapshots


def test_a_stage_that_cannot_be_restored_is_given_its_whole_journal(
    bus: Bus, stream: str, tmp_path: Path
) -> None:
    group = f"chain-{stream}"
    for first in (0, 20):
        chain = Chain(group)
        stage = DurableStage.open(
            OnlyAnswers(chain), bus, streams=[stream], group=group, consumer="only", route=lambda _: None,
            stores=open_stores(tmp_path.as_uri()), cache_dir=tmp_path / "cache", limits=StageLimits(5),
        )  # fmt: skip
        assert chain.count == first
        bus.publish(stream, signals(first, first + 20))
        drain(stage)
        stage.close()
    assert said(tmp_path, group) == undisturbed([group], signals(0, 40))[group]
    assert not (tmp_path / "stages").exists()


def test_what_the_last_record_says_is_published_by_the_next_one_and_known_by_who_reads_it(
    bus: Bus, stream: str, tmp_path: Path
) -> None:
    first, second, between = f"one-{stream}", f"two-{stream}", f"between-{stream}"
    reader = open_chain(bus, tmp_path, second, between, None)
    bus.publish(between, signals(0, 100))  # there is no room
    stage = open_chain(bus, tmp_path, first, stream, between, limits=StageLimits(publish_wait_s=0.0))
    bus.publish(stream, signals(0, 5))
    with pytest.raises(StreamFull):
        stage.step(wait_s=0.0)
    stage.close()  # as if it had been killed: its record is durable, nothing was published or acknowledged
    for _ in range(2):
        drain(reader)
        stage = open_chain(bus, tmp_path, first, stream, between)
        drain(stage)
        stage.close()
    drain(reader)
    assert (stage.taken, reader.repeated) == (5, 5)
    words = undisturbed([first], signals(0, 5))[first]
    assert said(tmp_path, first) == words
    assert said(tmp_path, second) == undisturbed([second], [*signals(0, 100), *words])[second]
    reader.close()


def test_events_whose_answer_was_lost_on_its_way_are_acknowledged_in_the_end(
    bus: Bus, stream: str, tmp_path: Path
) -> None:
    group = f"chain-{stream}"
    bus.publish(stream, signals(0, 5))
    stage = open_chain(bus, tmp_path, group, stream, None)
    assert stage.step(wait_s=0.0) == 5  # from the stream itself, before the group was given them
    assert len(bus.read([stream], group, "only")) == 5  # and nobody hears of it
    drain(stage)
    assert bus.claim([stream], group, "other", idle_s=0.0) == []
    bus.publish(stream, signals(5, 100), wait_s=0.0)
    bus.read([stream], group, "only", most=1)
    bus.publish(stream, signals(100, 105), wait_s=0.0)
    drain(stage)
    assert said(tmp_path, group) == undisturbed([group], signals(0, 105))[group]
    assert bus.claim([stream], group, "other", idle_s=0.0) == []
    stage.close()


def test_a_second_process_of_the_group_ends_the_first_ones_right_to_act(
    home: Home, stream: str, tmp_path: Path
) -> None:
    group, bus = f"chain-{stream}", home.connect()
    first = open_chain(bus, tmp_path, group, stream, None)
    bus.publish(stream, signals(0, 3))
    first.step(wait_s=0.0)
    second = open_chain(home.connect(), tmp_path, group, stream, None)
    bus.publish(stream, signals(3, 5))
    with pytest.raises(Fenced):
        drain(first)
    drain(second)
    assert said(tmp_path, group) == undisturbed([group], signals(0, 5))[group]
    second.close()


def test_an_event_with_the_name_of_another_and_other_content_stops_the_stage(
    bus: Bus, stream: str, tmp_path: Path
) -> None:
    group = f"chain-{stream}"
    stage = open_chain(bus, tmp_path, group, stream, None)
    for message in ("one", "two"):
        bus.publish(stream, [Alarm(at_us=1, symbol="BTC", code="stale", message=message)])
    with pytest.raises(Conflict, match=r"'alarm:stale:BTC:1', number 2 of stream .* with other content"):
        stage.step(wait_s=0.0)
    stage.close()
    assert said(tmp_path, group) == []


def test_a_stage_that_failed_in_the_middle_is_opened_anew_and_takes_the_event_in_then(
    bus: Bus, stream: str, tmp_path: Path
) -> None:
    group = f"chain-{stream}"

    def route(word: BusEvent) -> str | None:
        raise ValueError(f"no way for {word}")

    stage = DurableStage.open(
        Chain(group), bus, streams=[stream], group=group, consumer="only", route=route,
        stores=open_stores(tmp_path.as_uri()), cache_dir=tmp_path / "cache",
    )  # fmt: skip
    bus.publish(stream, signals(0, 3))
    with pytest.raises(ValueError, match="no way"):
        stage.step(wait_s=0.0)
    with pytest.raises(RuntimeError, match="open it anew"):
        drain(stage)
    stage.close()
    stage = open_chain(bus, tmp_path, group, stream, None)
    drain(stage)
    assert said(tmp_path, group) == undisturbed([group], signals(0, 3))[group]
    stage.close()


# Addresses


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("kafka://user:hidden@host", "the bus is kafka://…; expected memory, or redis://"),
        ("somewhere", "the bus is 'somewhere'; expected memory"),
        ("redis://user:hidden/@host:x/0", "the address of the bus cannot be taken apart"),
    ],
)
def test_an_address_that_is_no_bus_is_refused_without_its_password(url: str, complaint: str) -> None:
    with pytest.raises(SettingsError) as refused:
        open_bus(url)
    assert complaint in str(refused.value)
    assert "hidden" not in str(refused.value)


# Redis


@pytest.fixture
def own() -> Iterator[RedisServer]:
    """A server that a test may kill."""
    with redis_server() as server:
        yield server


def test_clients_go_on_with_a_redis_that_was_killed_and_has_its_data(
    own: RedisServer, tmp_path: Path
) -> None:
    publisher, reader = open_bus(own.url), open_bus(own.url)
    stage = open_chain(reader, tmp_path, "chain", "in", None)
    publisher.publish("in", signals(0, 3))
    stage.step(wait_s=0.0)
    publisher.publish("in", signals(3, 5))
    own.kill()
    starting = threading.Timer(0.05, own.start)
    starting.start()
    publisher.publish("in", signals(5, 8))
    starting.join()
    drain(stage)
    assert said(tmp_path, "chain") == undisturbed(["chain"], signals(0, 8))["chain"]
    stage.close()


def test_a_redis_that_stays_away_is_told_of_and_called_again_later(own: RedisServer) -> None:
    bus = RedisBus(own.url, patience_s=0.1)
    bus.join("in", "path")
    own.kill()
    with pytest.raises(StoreUnavailable, match=r"Redis at .*redis\.sock, does not answer"):
        bus.publish("in", signals(0, 1))
    own.start()
    bus.publish("in", signals(0, 1))
    assert numbers(bus.read(["in"], "path", "one")) == [1]


def test_a_redis_that_came_back_without_its_data_is_told_of_by_all_until_the_loss_is_accepted(
    own: RedisServer, tmp_path: Path
) -> None:
    bus = open_bus(own.url)
    first = open_chain(bus, tmp_path, "first", "in", "between")
    second = open_chain(bus, tmp_path, "second", "between", None)
    bus.publish("in", signals(0, 6))
    first.step(most=4, wait_s=0.0)  # what it says is lost before it is read
    own.kill()
    own.wipe()
    own.start()
    for _ in range(2):
        with pytest.raises(EventsLost, match=r"'in' began anew; it was at event 6 and is at 0"):
            bus.publish("in", signals(6, 7))
        with pytest.raises(EventsLost, match=r"'between' began anew; it was at event 4 and is at 0"):
            second.step(wait_s=0.0)
    first.close()
    second.close()

    # A new process knows it by its journal.
    bus = open_bus(own.url)
    with pytest.raises(EventsLost, match=r"'in' is at event 0, and the group 'first' had read up to 4"):
        open_chain(bus, tmp_path, "first", "in", "between")
    first = open_chain(bus, tmp_path, "first", "in", "between", accept_loss=True)
    second = open_chain(bus, tmp_path, "second", "between", None)
    bus.publish("in", signals(2, 8))  # its source sends again what it is not sure of
    for stage in (first, second):
        for _ in range(6):
            stage.step(wait_s=0.0)
        stage.close()
    assert {name: said(tmp_path, name) for name in ("first", "second")} == undisturbed(
        ["first", "second"], signals(0, 8)
    )
    open_chain(bus, tmp_path, "first", "in", "between").close()


def test_a_redis_that_came_back_with_an_older_state_is_told_of(own: RedisServer, tmp_path: Path) -> None:
    bus = open_bus(own.url)
    stage = open_chain(bus, tmp_path, "chain", "in", None)
    bus.publish("in", signals(0, 3))
    older = own.copy()
    bus.publish("in", signals(3, 6))
    stage.step(wait_s=0.0)
    own.kill()
    own.restore(older)
    own.start()
    with pytest.raises(
        EventsLost, match=r"'in' is at event 3 and was at 6: the bus came back with an older state"
    ):
        bus.publish("in", signals(6, 7))
    # A publisher that knows nothing of it writes over what was there; the journal knows what was.
    other = open_bus(own.url)
    other.publish("in", [*signals(10, 14)])
    stage.close()
    stage = open_chain(other, tmp_path, "chain", "in", None)
    with pytest.raises(EventsLost, match=r"holds another event at 4 than the group 'chain' took in there"):
        drain(stage)
    stage.close()


def test_a_reader_that_waits_notices_an_older_state_by_itself(own: RedisServer) -> None:
    bus = open_bus(own.url)
    bus.join("in", "path")
    older = own.copy()
    bus.publish("in", signals(0, 3))
    bus.acknowledge("path", bus.read(["in"], "path", "one"))
    own.kill()
    own.restore(older)
    own.start()
    with pytest.raises(EventsLost, match="began anew; it was at event 3 and is at 0"):
        bus.read(["in"], "path", "one", wait_s=0.01)


def test_a_consumer_that_a_person_deletes_loses_nothing(
    server: RedisServer, stream: str, tmp_path: Path
) -> None:
    group, bus, client = f"chain-{stream}", open_bus(server.url), redis.Redis.from_url(server.url)
    stage = open_chain(bus, tmp_path, group, stream, None)
    bus.publish(stream, signals(0, 4))
    assert len(bus.read([stream], group, "only", most=2)) == 2  # read, and its process ends
    stage.close()
    assert client.xgroup_delconsumer(PREFIX + stream, group, "only") == 2
    stage = open_chain(bus, tmp_path, group, stream, None)
    drain(stage)
    assert said(tmp_path, group) == undisturbed([group], signals(0, 4))[group]
    # The same while it runs: the next event shows that some are missing, and the stream still holds them.
    bus.publish(stream, signals(4, 7))
    bus.read([stream], group, "another")
    client.xgroup_delconsumer(PREFIX + stream, group, "another")
    bus.publish(stream, signals(7, 8))
    drain(stage)
    assert said(tmp_path, group) == undisturbed([group], signals(0, 8))[group]
    stage.close()
    client.close()


@pytest.mark.parametrize("deletion", ["pending", "not read"])
def test_events_that_a_person_deletes_are_told_of(
    server: RedisServer, stream: str, tmp_path: Path, deletion: str
) -> None:
    group, bus, client = f"chain-{stream}", open_bus(server.url), redis.Redis.from_url(server.url)
    stage = open_chain(bus, tmp_path, group, stream, None)
    bus.publish(stream, signals(0, 3))
    drain(stage)
    bus.publish(stream, signals(3, 6))
    if deletion == "pending":
        bus.read([stream], group, "dead", most=1)
    client.xtrim(PREFIX + stream, maxlen=2, approximate=False)
    with pytest.raises(EventsLost, match=r"no longer holds event 4, which the group .* the next is 5"):
        stage.step(wait_s=0.0)
    if deletion == "pending":
        with pytest.raises(EventsLost, match="no longer holds events that the group"):
            bus.claim([stream], group, "heir", idle_s=0.0)
    stage.close()
    client.close()


def test_a_group_that_a_person_deletes_is_told_of(server: RedisServer, stream: str) -> None:
    bus, client = open_bus(server.url), redis.Redis.from_url(server.url)
    bus.join(stream, "path")
    bus.publish(stream, signals(0, 1))
    client.xgroup_destroy(PREFIX + stream, "path")
    with pytest.raises(EventsLost, match="has no group 'path'"):
        bus.read([stream], "path", "one")
    client.close()


def test_a_redis_that_refuses_the_user_says_so_without_the_password(own: RedisServer) -> None:
    own.kill()
    own.start("--requirepass", "right")
    open_bus(f"{own.url}?password=right").close()
    for url in (own.url, f"{own.url}?password=hidden"):
        with pytest.raises(SettingsError, match="refuses the bus's user") as refused:
            open_bus(url)
        assert "hidden" not in str(refused.value)


def test_a_redis_that_drops_keys_when_it_is_full_is_refused(own: RedisServer) -> None:
    client = redis.Redis.from_url(own.url)
    client.config_set("maxmemory", "100mb")
    client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(
        SettingsError, match=r"maxmemory-policy allkeys-lru.*expected maxmemory-policy noeviction"
    ):
        open_bus(own.url)
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", "1")
    with pytest.raises(StoreUnavailable, match="has no memory left for the bus"):
        open_bus(own.url).publish("in", signals(0, 1))
    client.close()
