"""What becomes of a feed that cannot begin, that ends, and that is refused, in virtual time."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from raysignal.engine.core.errors import DatabaseTooNew, InvalidField, StoreUnavailable, UnreadableInput
from raysignal.engine.market.monitoring.health import FeedState, Health
from raysignal.runtime.feed_supervisor import Supervisor
from tests.support.feed_pages import feed_page
from tests.support.market_keeping import Log

NAME = "binance:BTCUSDT"


class VirtualClock:
    """Waits take no time; after `ends_s` the one who waits is stopped."""

    def __init__(self, ends_s: float) -> None:
        self.now_s, self.ends_s = 1000.0, 1000.0 + ends_s
        self.waits: list[float] = []

    def now_ns(self) -> int:
        return int(self.now_s * 1e9)

    def monotonic(self) -> float:
        return self.now_s

    def real(self, seconds: float) -> float:
        return seconds

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s = min(self.now_s + seconds, self.ends_s)
        if self.now_s == self.ends_s:
            raise TimeoutError


class Lives:
    """Each life is what `of` says: an error while it begins, or how it runs."""

    def __init__(self, clock: VirtualClock, of: Callable[[int], Exception | float]) -> None:
        self.clock, self.of, self.count = clock, of, 0
        self.supervisor: Supervisor

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[Any]:
        self.count += 1
        life = self.of(self.count)
        if isinstance(life, Exception):
            raise life

        async def run() -> None:
            assert self.supervisor.health().ready
            self.clock.now_s += life
            raise StoreUnavailable("the feed is dead: it stands still")

        yield SimpleNamespace(
            run=run, feed=SimpleNamespace(was_ready=True), status=dict,
            health=lambda: Health(FeedState.READY, "", self.clock.now_s),
        )  # fmt: skip


async def lived(of: Callable[[int], Exception | float], seconds: float) -> Lives:
    clock = VirtualClock(seconds)
    lives = Lives(clock, of)
    lives.supervisor = Supervisor(NAME, lives.follow, clock=clock, random=Random(1), log=Log().logger)
    try:
        await lives.supervisor.run()
    except TimeoutError:
        return lives
    return lives


@pytest.mark.parametrize(
    "error",
    [InvalidField("symbol", "btcusdt", "one that binance trades"), DatabaseTooNew("of a later version")],
)
async def test_what_is_refused_for_good_has_failed_at_once_and_is_not_asked_for_again(
    error: Exception,
) -> None:
    lives = await lived(lambda _: error, 86_400.0)
    assert lives.count == 1
    assert lives.clock.waits == []
    status = lives.supervisor.status()
    assert (status["health"]["state"], status["health"]["reason"]) == ("failed", str(error))
    assert (status["name"], status["trouble"], status["lives"]) == (NAME, str(error), 0)


@pytest.mark.parametrize(
    "error",
    [StoreUnavailable("the database is away"), UnreadableInput("no JSON"), ZeroDivisionError("a defect")],
)
async def test_what_can_heal_is_tried_ever_more_seldom_and_has_failed_after_two_minutes(
    error: Exception,
) -> None:
    early = await lived(lambda _: error, 100.0)
    assert early.supervisor.health().state is FeedState.STARTING
    assert str(error) in early.supervisor.health().reason
    late = await lived(lambda _: error, 3_600.0)
    health = late.supervisor.health()
    assert health.state is FeedState.FAILED
    assert health.reason.startswith("not ready within 120 s: ")
    assert str(error) in health.reason
    assert late.clock.waits[0] <= 1.0
    assert all(30.0 <= wait <= 60.0 for wait in late.clock.waits[10:])
    assert 60 <= late.count <= 130  # once a second they would be 3 600


async def test_a_feed_that_heals_is_ready_and_then_dead_while_it_is_begun_anew() -> None:
    away = StoreUnavailable("away")
    lives = await lived(lambda life: 600.0 if life == 20 else away, 3_600.0)
    assert lives.supervisor.health().state is FeedState.DEAD
    assert lives.supervisor.health().reason == "away"


async def test_a_life_that_lasted_sets_the_waiting_back() -> None:
    lives = await lived(lambda _: 60.0, 600.0)
    assert all(wait <= 1.0 for wait in lives.clock.waits)


async def test_every_feed_is_on_the_page_from_the_first_second_on() -> None:
    clock = VirtualClock(0.0)
    supervisor = Supervisor(
        NAME, Lives(clock, lambda _: 1.0).follow, clock=clock, random=Random(1), log=Log().logger
    )
    assert supervisor.health().state is FeedState.STARTING
    page = feed_page([supervisor.status()]).decode()
    assert f'raysignal_feed_state{{feed="{NAME}",state="starting"}} 1.0' in page
    assert f'raysignal_feed_state{{feed="{NAME}",state="failed"}} 0.0' in page
    assert f'raysignal_feed_lives_total{{feed="{NAME}"}} 0.0' in page


async def test_lives_are_counted_over_restarts_of_the_process() -> None:
    clock, before = VirtualClock(100.0), iter(range(7, 100))
    lives = Lives(clock, lambda life: 30.0 if life % 2 else StoreUnavailable("away"))
    lives.supervisor = Supervisor(
        NAME, lives.follow, clock=clock, random=Random(1), log=Log().logger, begun=lambda: next(before)
    )
    with pytest.raises(TimeoutError):
        await lives.supervisor.run()
    assert lives.supervisor.status()["lives"] == 6 + (lives.count + 1) // 2  # one that did not begin is none
