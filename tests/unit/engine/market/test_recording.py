"""What is recorded comes back as it was, also from a file whose end is missing."""

import gzip
from pathlib import Path

import pytest

from raysignal.engine.core.errors import InvalidField, NotFound, UnreadableInput
from raysignal.engine.core.market_events import BookChange, BookLost, Channel, Event
from raysignal.engine.market.monitoring.feed_metrics import FeedMetrics
from raysignal.engine.market.recordings import Recorder, RecordingLine, RecordingPlayer, read_recording
from raysignal.engine.market.venues.catalogue import VENUES, venue_named
from raysignal.engine.market.venues.protocol import Subscription
from raysignal.loopback.exchanges.disturbance import DisturbancePlan
from raysignal.loopback.exchanges.exchange import SYMBOLS, GeneratedExchange
from raysignal.loopback.exchanges.market import MarketMoves
from raysignal.loopback.exchanges.unplugged import Unplugged

START_US = 1_700_000_000_000_000


def recorder(folder: Path, **more: object) -> Recorder:
    return Recorder(folder, "binance-0", observed=FeedMetrics(), **more)  # type: ignore[arg-type]


def test_lines_come_back_in_order_with_their_instants(tmp_path: Path) -> None:
    with recorder(tmp_path) as writing:
        writing.message(1_700_000_000_000_000_001, b'{"a":1}')
        writing.answer(1_700_000_000_000_000_002, 'B"TC', b'{"lastUpdateId":5,\n"bids":[]}')
        writing.message(1_700_000_000_000_000_003, b"pong")
        writing.disconnected(1_700_000_000_000_000_004)
    assert [(line.received_ns % 10, line.raw) for line in read_recording(writing.paths)] == [
        (1, b'{"a":1}'),
        (2, b'{"recording":"snapshot","symbol":"B\\"TC"}'),
        (2, b'{"lastUpdateId":5, "bids":[]}'),
        (3, b"pong"),
        (4, b'{"recording":"disconnected"}'),
    ]


def test_files_are_rotated_by_size_and_by_time_and_lose_nothing(tmp_path: Path) -> None:
    with recorder(tmp_path, most_bytes=2_000, most_s=10.0) as writing:
        for second in range(100):
            writing.message(second * 10**9, b"x" * 300)
    assert len(writing.paths) >= 10
    assert len({path.name for path in writing.paths}) == len(writing.paths)
    assert [line.received_ns // 10**9 for line in read_recording(writing.paths)] == list(range(100))


def test_a_disk_that_cannot_follow_costs_the_recording_and_is_counted(tmp_path: Path) -> None:
    observed = FeedMetrics()
    with Recorder(tmp_path, "x", observed=observed, most_waiting=1_000) as writing:
        for _ in range(50):
            writing.message(1, b"x" * 400)
    written = len(list(read_recording(writing.paths)))
    assert observed.unrecorded + written == 50
    assert observed.unrecorded > 0


def test_a_recorder_that_cannot_write_says_so_at_the_end(tmp_path: Path) -> None:
    writing = recorder(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    writing.message(1, b"x")
    with pytest.raises(FileNotFoundError):
        writing.close()


@pytest.mark.parametrize("name", ["", "a/b", ".hidden", "../x"])
def test_a_name_that_is_no_part_of_a_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidField, match="a part of a file's name"):
        Recorder(tmp_path, name, observed=FeedMetrics())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [1, 8, 20, 60, 400])
def test_a_torn_end_is_left_out_and_the_rest_is_read(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "torn.gz"
    whole = gzip.compress(b"".join(b'%d {"n":%d}\n' % (n, n * 7919 % 10_007) for n in range(500)))
    path.write_bytes(whole[:-cut])
    numbers = [line.received_ns for line in read_recording([path])]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) >= (490 if cut <= 8 else 200)


def test_a_line_without_its_end_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "line.gz"
    path.write_bytes(gzip.compress(b'1 {}\n2 {"half'))
    assert list(read_recording([path])) == [RecordingLine(1, b"{}")]


def test_what_is_no_recording_is_refused_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    with pytest.raises(NotFound, match=r"x\.gz is not there"):
        list(read_recording([path]))
    path.write_bytes(b"plain text")
    with pytest.raises(UnreadableInput, match=r"x\.gz: damaged after line 0"):
        list(read_recording([path]))
    path.write_bytes(gzip.compress(b'1 {}\n{"a":1}\n'))
    with pytest.raises(UnreadableInput, match=r"x\.gz: line 2 begins with no instant"):
        list(read_recording([path]))
    damaged = bytearray(gzip.compress(b"1 {}\n" * 1000))
    damaged[-6] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(UnreadableInput, match="damaged after line"):
        list(read_recording([path]))


class Day:
    """Ten disturbed minutes of a venue, recorded; with the events as they were."""

    def __init__(self, venue: str, folder: Path) -> None:
        self.venue = venue_named(venue)
        exchange = GeneratedExchange(
            venue,
            seed=3,
            start_us=START_US,
            symbols=SYMBOLS[venue][:1],
            market=MarketMoves(step_us=500_000),
        )
        channels = frozenset({Channel.DEPTH, Channel.QUOTES})  # one connection everywhere
        self.subscriptions = [Subscription(each, channels) for each in exchange.instruments]
        self.events: list[Event] = []
        with Recorder(folder, venue, observed=FeedMetrics()) as notes:
            run = Unplugged(
                exchange, self.venue, self.subscriptions, self.events.extend, seed=3, plan=DisturbancePlan(3, 10.0),
                notes_of=lambda _: notes,
            )  # fmt: skip
            run.run(START_US + 600_000_000)
            run.end()
        self.paths = notes.paths


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Day]:
    return {venue: Day(venue, tmp_path_factory.mktemp(venue)) for venue in VENUES}


@pytest.mark.parametrize("venue", VENUES)
def test_a_replay_makes_the_very_events_that_the_feed_made(days: dict[str, Day], venue: str) -> None:
    day, again = days[venue], []
    player = RecordingPlayer(day.venue.tracker(day.subscriptions), day.subscriptions, again.extend)
    for line in read_recording(day.paths):
        player.take(line)
    assert again == day.events
    assert {"gap", "disconnected", "malformed"} <= {
        each.reason for each in again if isinstance(each, BookLost)
    }
    assert sum(isinstance(each, BookChange) for each in again) > 500
