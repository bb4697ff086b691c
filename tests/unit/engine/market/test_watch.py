"""A watch turns crossings into signals, and the keeper runs behind the feed."""

import pytest

from raysignal.engine.core.errors import InvalidField, StoreUnavailable
from raysignal.engine.core.instants import DAY_US
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.core.signals import Action
from raysignal.engine.market.bars import Basis
from raysignal.engine.market.crossover import Gap
from raysignal.engine.market.crossover_watch import Watch
from raysignal.engine.market.recorder_thread import RecorderThread
from tests.support.market_bars import INSTRUMENT, SECOND, START_US, bar
from tests.support.market_keeping import Log


def test_a_crossing_becomes_a_signal_known_at_the_end_of_its_bar():
    watch = Watch(INSTRUMENT, DAY_US, fast=1, slow=2, symbol="BTC")
    assert [watch.take(bar(number, close)) for number, close in enumerate([100, 110])] == [None, None]
    made = watch.take(bar(2, 90))
    assert (made.signal.action, made.signal.price, str(made.price)) == (Action.SELL, 0.9, "0.90")
    assert made.signal.timestamp_us == START_US + 3 * DAY_US
    assert made.signal.signal_id == "sma-1-2:binance:BTCUSDT:trades:1d:2024-10-06T00:00:00Z:SELL"
    assert made.signal.features == {"sma_fast": 0.9, "sma_slow": 1.0}


def test_the_default_is_fifty_and_two_hundred():
    watch = Watch(INSTRUMENT, DAY_US)
    assert (watch.strategy, watch.symbol, watch.crossover.missing) == ("sma-50-200", "binance:BTCUSDT", 200)


def test_what_is_missing_is_handed_on():
    watch = Watch(INSTRUMENT, DAY_US, fast=1, slow=2)
    watch.take(bar(0, 1))
    assert isinstance(watch.take(bar(2, 1)), Gap)


def test_only_its_own_bars_are_about_it():
    watch = Watch(INSTRUMENT, DAY_US)
    assert watch.is_about(bar(0, 1))
    assert not watch.is_about(bar(0, 1, SECOND))
    assert not Watch(INSTRUMENT, DAY_US, basis=Basis.MIDS).is_about(bar(0, 1))
    assert not Watch(Instrument("okx", "BTCUSDT"), DAY_US).is_about(bar(0, 1))


@pytest.mark.parametrize("values", [{"symbol": ""}, {"symbol": "x" * 65}, {"strategy": "x" * 65}])
def test_names_that_no_signal_can_have_are_refused(values):
    with pytest.raises(InvalidField):
        Watch(INSTRUMENT, DAY_US, **values)


def test_an_identity_that_would_be_too_long_is_refused():
    with pytest.raises(InvalidField, match="128 characters"):
        Watch(Instrument("v" * 60, "s" * 30), DAY_US, symbol="BTC")


class Kept:
    """Stands where the keeper stands: takes bars, and fails as it is told."""

    def __init__(self, *errors: Exception | None) -> None:
        self.errors = list(errors)
        self.bars = []
        self.calls = 0

    def begin(self) -> None:
        self.keep(())

    def keep(self, bars) -> None:
        self.calls += 1
        self.bars += bars  # as the keeper does, before anything can fail
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error


def test_what_was_offered_is_kept_when_it_stops():
    keeper = Kept()
    with RecorderThread(keeper, log=Log().logger) as behind:
        assert behind.offer([bar(number, 1) for number in range(5_000)]) == 5_000
    assert [item.open_us for item in keeper.bars] == [START_US + n * DAY_US for n in range(5_000)]
    assert (behind.dropped, behind.waiting, behind.failure) == (0, 0, None)


def test_what_does_not_fit_is_dropped_and_counted():
    behind = RecorderThread(Kept(), log=Log().logger, most_waiting=3)
    assert behind.offer([bar(number, 1) for number in range(5)]) == 3
    assert (behind.dropped, behind.waiting) == (2, 3)


def test_a_database_that_is_away_is_waited_for_and_nothing_is_taken_twice(monkeypatch):
    monkeypatch.setattr("raysignal.engine.market.recorder_thread.IDLE_S", 0.001)
    keeper = Kept(StoreUnavailable("away"), None, StoreUnavailable("away"), OSError("away"))
    log = Log()
    behind = RecorderThread(keeper, log=log.logger)
    behind.offer([bar(0, 1)])
    behind.start()
    behind.offer([bar(1, 1)])
    while len(log.events("market_keeper_goes_on")) < 2:
        behind._thread.join(0.001)
    behind.stop()
    assert [item.open_us for item in keeper.bars] == [START_US, START_US + DAY_US]
    # Once for each time that it was away.
    assert len(log.events("market_keeper_waits")) == 2
    assert log.events("market_keeper_goes_on")


def test_it_ends_although_the_database_is_away():
    class Away(Kept):
        def keep(self, _bars) -> None:
            raise StoreUnavailable("away")

    behind = RecorderThread(Away(), log=Log().logger)
    behind.start()
    behind.stop(10)
    assert not behind._thread.is_alive()


def test_a_defect_ends_it_and_whoever_offers_is_told():
    keeper = Kept(None, ZeroDivisionError("a defect"))
    log = Log()
    behind = RecorderThread(keeper, log=log.logger)
    behind.start()
    behind.offer([bar(0, 1)])
    behind._thread.join(10)
    assert isinstance(behind.failure, ZeroDivisionError)
    assert behind.offer([bar(1, 1)]) == 0
    assert behind.dropped == 1
    assert "a defect" in log.events("market_keeper_failed")[0]["exception"]
