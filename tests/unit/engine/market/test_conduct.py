"""The feed's judges of time, on times that are handed in."""

from itertools import pairwise
from random import Random

import pytest

from raysignal.engine.market.backoff import Backoff, retry_after_s
from raysignal.engine.market.limits import Limiter, VenueLimits
from raysignal.engine.market.monitoring.health import FeedState, HealthWatch
from raysignal.engine.market.staleness import BookWatch, Heartbeat, TradeWatch
from raysignal.engine.market.venues.catalogue import VENUES


def backoff(seed: int = 1, lasting_s: float = 30.0) -> Backoff:
    return Backoff(Random(seed), first_s=1.0, most_s=8.0, lasting_s=lasting_s)


def test_delays_double_up_to_their_bound_and_are_drawn_from_the_upper_half() -> None:
    one = backoff()
    delays = [one.failed() for _ in range(2000)]
    for delay, whole in zip(delays, [1.0, 2.0, 4.0, *([8.0] * 1997)], strict=True):
        assert whole / 2 <= delay <= whole
    assert max(delays) - min(delays[3:]) > 3.5  # spread, so that nobody comes together


def test_delays_are_the_same_for_the_same_seed_only() -> None:
    same = [backoff(3), backoff(3), backoff(4)]
    first, again, other = ([each.failed() for _ in range(5)] for each in same)
    assert first == again != other


def test_only_a_success_that_lasted_sets_the_delay_back() -> None:
    one = backoff()
    for _ in range(5):
        one.failed()
    assert one.failed(lasted_s=29.9) > 3.9
    assert one.failed(lasted_s=30.0) <= 1.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("999999999", 86_400.0),
        (None, None),
        ("-3", None),
        ("soon", None),
        ("1.5", None),
    ],
)
def test_retry_after_is_believed_within_reason(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header) == seconds


def test_no_window_ever_holds_more_than_its_amount() -> None:
    random, limiter, now, taken = Random(5), Limiter(10, 60.0), 0.0, []
    for _ in range(3000):
        now += random.expovariate(1 / 4.0)
        weight = random.choice((1, 2, 5))
        taken.append((now + limiter.reserve(now, weight), weight))
    assert all(first[0] <= second[0] + 1e-6 for first, second in pairwise(taken))
    for at, _ in taken:
        assert sum(weight for then, weight in taken if at - 60.0 + 1e-6 < then <= at) <= 10


def test_a_place_is_free_at_once_while_the_window_has_room() -> None:
    limiter = Limiter(3, 1.0)
    assert [limiter.reserve(0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]
    assert limiter.reserve(5.0) == 0.0


def test_what_is_heavier_than_the_window_goes_alone() -> None:
    limiter = Limiter(10, 60.0)
    assert limiter.reserve(0.0, 4) == 0.0
    assert limiter.reserve(0.0, 50) == 60.0
    assert limiter.reserve(60.0, 1) == 60.0


def test_a_pause_holds_for_everybody() -> None:
    limiter = Limiter(10, 1.0)
    limiter.pause(30.0)
    limiter.pause(20.0)
    assert limiter.reserve(10.0) == 20.0
    assert limiter.paused_for(29.0) == 1.0
    assert limiter.paused_for(31.0) == 0.0


@pytest.mark.parametrize("name", sorted(VENUES))
def test_a_venue_lets_its_own_number_of_connects_through(name: str) -> None:
    manners = VENUES[name].manners
    limits = VenueLimits.of(manners)
    waits = [limits.connects.reserve(0.0) for _ in range(manners.connects + 1)]
    assert waits == [*([0.0] * manners.connects), manners.connects_within_s]


def test_a_heartbeat_is_due_when_its_time_has_come_and_overdue_without_an_answer() -> None:
    beat = Heartbeat(20.0, 10.0, 0.0)
    assert not beat.due(19.9)
    assert beat.due(20.0)
    assert not beat.due(20.1)
    assert not beat.unanswered(30.0)
    assert beat.unanswered(30.1)
    assert beat.due(40.0)  # a second one does not give more time
    assert beat.unanswered(40.0)
    beat.answered()
    assert not beat.unanswered(100.0)


def test_without_a_time_there_is_no_heartbeat() -> None:
    assert not Heartbeat(None, None, 0.0).due(1e9)


def watch(*symbols: str) -> BookWatch:
    return BookWatch(symbols or ("A", "B"), 0.0, still_s=30.0, unsynced_s=60.0)


def test_a_book_that_stands_still_while_the_connection_speaks_is_still() -> None:
    books = watch()
    for second in range(1, 100):
        books.moved("A", float(second))
        if second <= 10:
            books.moved("B", float(second))
        assert books.still(float(second)) == ([] if second <= 40 else ["B"])
    assert books.longest_s(99.0) == 89.0


def test_a_connection_that_is_silent_altogether_has_no_still_book() -> None:
    books = watch()
    books.moved("A", 1.0)
    books.moved("B", 1.0)
    assert books.still(1000.0) == []  # that is for the silence of the connection


def test_a_quiet_market_is_given_its_own_time() -> None:
    books, now = watch("A"), 0.0
    for _ in range(200):
        now += 20.0
        books.moved("A", now)
    books.heard(now + 900.0)
    assert books.still(now + 900.0) == []  # fifty of its usual pauses
    books.heard(now + 1001.0)
    assert books.still(now + 1001.0) == ["A"]


def test_a_book_is_quiet_after_seconds_whether_the_connection_speaks_or_not() -> None:
    books = watch("A")
    for step in range(1, 101):
        books.moved("A", step / 10)
    assert books.quiet(15.0, 5.0) == []
    assert books.quiet(15.1, 5.0) == ["A"]
    books.moved("A", 15.2)  # a pause of five seconds, and it is given its time
    assert books.quiet(27.0, 5.0) == []
    assert books.quiet(60.0, 5.0) == ["A"]


def test_trades_that_stop_are_still_and_a_burst_does_not_say_what_is_usual() -> None:
    trades, now = TradeWatch(["A"], 0.0, still_s=30.0), 0.0
    for _ in range(100):
        now += 10.0
        for _ in range(20):
            now += 0.001
            trades.moved("A", now)
    trades.heard(now + 450.0)
    assert trades.still(now + 450.0) == []  # fifty pauses of ten seconds
    trades.heard(now + 510.0)
    assert trades.still(now + 510.0) == ["A"]


def test_trades_without_a_pause_are_still_after_the_shortest_time() -> None:
    trades = TradeWatch(["A"], 0.0, still_s=30.0)
    for step in range(100):
        trades.moved("A", step / 10)
    trades.heard(60.0)
    assert trades.still(39.0) == []
    assert trades.still(41.0) == ["A"]


def test_trades_that_nobody_asked_for_are_not_watched() -> None:
    trades = TradeWatch(["A"], 0.0, still_s=30.0)
    trades.moved("B", 1.0)
    trades.heard(1e6)
    assert trades.still(1e6) == []


def test_before_the_first_trade_of_a_connection_none_is_expected() -> None:
    trades = TradeWatch(["A"], 0.0, still_s=30.0)
    trades.heard(1e6)
    assert trades.still(1e6) == []
    trades.moved("A", 1e6)
    trades.begun(2e6)
    trades.heard(3e6)
    assert trades.still(3e6) == []


def test_a_book_that_does_not_become_whole_is_still_later() -> None:
    books = watch("A")
    books.heard(61.0)
    assert books.still(60.0) == []
    assert books.still(61.0) == ["A"]


def test_a_remedy_that_does_not_help_is_tried_ever_more_slowly_until_the_book_moves_again() -> None:
    books = watch("A")
    for bound in (60.0, 120.0, 240.0):
        books.begun(0.0)
        books.heard(bound - 1)
        assert books.still(bound - 1) == []
        books.heard(bound + 1)
        assert books.still(bound + 1) == ["A"]
        books.remedied(["A"])
    books.moved("A", 300.0)
    books.moved("A", 301.0)
    books.heard(332.0)
    assert books.still(332.0) == ["A"]


def test_a_lost_book_gets_the_time_of_a_new_one() -> None:
    books = watch("A")
    books.moved("A", 10.0)
    books.lost("A", 20.0)
    books.heard(81.0)
    assert books.still(80.0) == []
    assert books.still(81.0) == ["A"]


def test_health_tells_a_slow_start_from_one_that_failed() -> None:
    health = HealthWatch(0.0, start_within_s=120.0, mend_within_s=300.0)
    slow = health.judge("not in sync: A", 119.0)
    assert (slow.state, slow.alive, slow.ready, slow.since_s) == (FeedState.STARTING, True, False, 0.0)
    dead = health.judge("not in sync: A", 121.0)
    assert (dead.state, dead.alive) == (FeedState.FAILED, False)
    assert dead.reason == "not ready within 120 s: not in sync: A"
    assert health.judge("", 130.0).ready


def test_health_is_stale_as_long_as_there_is_hope() -> None:
    health = HealthWatch(0.0)
    assert health.judge("", 10.0).ready
    stale = health.judge("A stands still", 11.0)
    assert (stale.state, stale.reason, stale.alive) == (FeedState.STALE, "A stands still", True)
    assert health.judge("A stands still", 310.0).state is FeedState.STALE
    assert health.judge("A stands still", 311.0).state is FeedState.DEAD
    assert health.judge("", 312.0).ready


def test_a_feed_that_has_ended_is_dead_whatever_else_holds() -> None:
    health = HealthWatch(0.0)
    health.judge("", 1.0)
    health.ended("stopped")
    assert health.judge("", 2.0).state is FeedState.DEAD
    assert health.judge("", 2.0).reason == "stopped"
