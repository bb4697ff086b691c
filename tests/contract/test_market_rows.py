"""Bars, signals and progress in every database, and the keeper that writes them."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import permutations
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from raysignal.engine.core.errors import LateSignal, PriceJump, StoreError, StoreUnavailable
from raysignal.engine.core.instants import DAY_US
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.database.database import Database, open_database
from raysignal.engine.journal.blobs import DiskBlobs
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.market.bar_rows import read_bars, store_bars
from raysignal.engine.market.bars import Basis
from raysignal.engine.market.crossover import CrossoverState
from raysignal.engine.market.crossover_watch import MarketSignal
from raysignal.engine.market.price_rows import LastPrice, store_price
from raysignal.engine.market.signal_posts import batch_of
from raysignal.engine.market.signal_rows import (
    mark_posted,
    mark_refused,
    pending_signals,
    read_progress,
    read_signals,
    store_progress,
    store_signal,
)
from raysignal.engine.market.tables import PRICES
from raysignal.engine.portfolio.performance import Performance
from raysignal.engine.portfolio.shard import Shard, ShardLimits
from tests.support.market_bars import INSTRUMENT, SECOND, START_US, bar, trade
from tests.support.market_keeping import Names, World, world

KEY = (INSTRUMENT, Basis.TRADES, DAY_US)
CLOSES = [10, 11, 12, 9, 8, 10, 10, 12, 7, 7, 9]
CROSSED = [(3, Action.SELL), (5, Action.BUY), (8, Action.SELL), (10, Action.BUY)]
BARS = [bar(number, close) for number, close in enumerate(CLOSES)]


def stored_bars(database: Database, to: int = 1_000):
    with database.reading() as connection:
        return read_bars(connection, *KEY, START_US, START_US + to * DAY_US)


def stored_signals(database: Database):
    with database.reading() as connection:
        return read_signals(connection)


def crossed(database: Database):
    return [
        ((item.made.bar_open_us - START_US) // DAY_US, item.made.signal.action)
        for item in stored_signals(database)
    ]


def made(number: int = 0, action: Action = Action.BUY, price: str = "1.05") -> MarketSignal:
    open_us = START_US + number * DAY_US
    signal = Signal(
        "BTC", open_us + DAY_US, action, float(price), "sma-1-2", f"{number}:{action.name}", {"sma_fast": 0.1}
    )
    return MarketSignal(signal, "binance", open_us, DAY_US, Decimal(price))


# Bars


def test_bars_are_read_back_as_they_were_stored(database: Database) -> None:
    bars = [*BARS, bar(11, 5, complete=False), bar(12, 5, complete=False, close_known=False)]
    with database.writing() as connection:
        store_bars(database, connection, bars)
        store_bars(database, connection, bars)
        store_bars(database, connection, [bar(0, 1, SECOND)])
    assert stored_bars(database) == bars
    assert stored_bars(database, 3) == bars[:3]


def test_the_best_version_of_a_bar_stays_in_whatever_order_they_come(database: Database) -> None:
    versions = [
        replace(bar(0, 1, complete=False, close_known=False), trades=9),
        replace(bar(0, 2, complete=False), trades=3),
        replace(bar(0, 3, complete=False), trades=4),
        bar(0, 4),
    ]
    for number, order in enumerate(permutations(versions)):
        with database.writing() as connection:
            for version in order:
                store_bars(database, connection, [replace(version, open_us=START_US + number * DAY_US)])
    assert {held.close for held in stored_bars(database)} == {4}
    for number, order in enumerate(permutations(versions[:3]), start=100):
        with database.writing() as connection:
            for version in order:
                store_bars(database, connection, [replace(version, open_us=START_US + number * DAY_US)])
    assert {held.close for held in stored_bars(database)[24:]} == {3}
    with database.writing() as connection:
        store_bars(database, connection, [replace(bar(0, 999), trades=10**6)])
    assert stored_bars(database)[0].close == 4


def test_bars_with_more_digits_than_the_instrument_has_now_keep_them(database: Database) -> None:
    finer = replace(INSTRUMENT, price_decimals=4, size_decimals=9)
    with database.writing() as connection:
        store_bars(database, connection, [replace(bar(0, 12_345), instrument=finer), bar(1, 12_345)])
    first, second = stored_bars(database)
    assert (first.close, first.instrument.price_decimals, first.instrument.size_decimals) == (12_345, 4, 9)
    assert (second.close, second.instrument) == (12_345, INSTRUMENT)


def test_the_first_price_of_an_instant_stays(database: Database) -> None:
    other = replace(INSTRUMENT, symbol="ETHUSDT")
    with database.writing() as connection:
        for at_us, price in ((10, "1.10"), (20, "1.20"), (20, "9"), (30, "1.30")):
            store_price(database, connection, INSTRUMENT, LastPrice(at_us, Decimal(price)))
        store_price(database, connection, other, LastPrice(25, Decimal(7)))
    with database.reading() as connection:
        kept = connection.execute(
            select(PRICES.c.symbol, PRICES.c.at_us, PRICES.c.price).order_by(PRICES.c.at_us)
        )
        assert [tuple(row) for row in kept] == [
            ("BTCUSDT", 10, Decimal("1.10")), ("BTCUSDT", 20, Decimal("1.20")),
            ("ETHUSDT", 25, Decimal(7)), ("BTCUSDT", 30, Decimal("1.30")),
        ]  # fmt: skip


# Signals


def test_a_signal_is_stored_once_and_read_back_exactly(database: Database) -> None:
    with database.writing() as connection:
        assert store_signal(database, connection, made())
    with database.writing() as connection:
        assert not store_signal(database, connection, made(price="999"))
    with database.reading() as connection:
        assert pending_signals(connection, "") == [made()]


def test_a_signal_is_settled_once(database: Database) -> None:
    with database.writing() as connection:
        for number in range(3):
            store_signal(database, connection, made(number))
        assert mark_posted(connection, "0:BUY", "r-0", 7)
        assert mark_refused(connection, "1:BUY", "late", 8)
        assert not mark_refused(connection, "0:BUY", "late", 9)
        assert not mark_posted(connection, "1:BUY", "r-1", 9)
        assert not mark_posted(connection, "unknown", "r", 9)
    with database.reading() as connection:
        assert pending_signals(connection, "") == [made(2)]
    assert [(s.state, s.receipt_id, s.refusal, s.settled_at_us) for s in stored_signals(database)] == [
        ("posted", "r-0", None, 7),
        ("refused", None, "late", 8),
        ("pending", None, None, None),
    ]


def test_progress_does_not_go_back(database: Database) -> None:
    steps = [
        CrossoverState(0, 5, 1),
        CrossoverState(1, 9, -1),
        CrossoverState(0, 7, 1),
        CrossoverState(3, 9, 1),
    ]
    with database.writing() as connection:
        assert read_progress(connection, "sma-1-2", *KEY) is None
        for progress in steps:
            store_progress(database, connection, "sma-1-2", *KEY, progress)
    with database.reading() as connection:
        assert read_progress(connection, "sma-1-2", *KEY) == steps[1]
        assert read_progress(connection, "other", *KEY) is None


# The keeper


def test_every_crossing_is_stored_posted_and_logged_once(database: Database) -> None:
    here = world(database, bars=BARS[:2], now_us=START_US + 2 * DAY_US)
    here.keeper.begin()
    for item in [*BARS[2:], *BARS]:
        here.keeper.keep([item])
    assert crossed(database) == CROSSED
    assert {item.state for item in stored_signals(database)} == {"posted"}
    assert [signal.timestamp_us for signal in here.portfolios.taken] == [
        START_US + (number + 1) * DAY_US for number, _ in CROSSED
    ]
    first = here.portfolios.taken[0]
    assert (first.source, first.symbol, first.price) == ("sma-1-2", "binance:BTCUSDT", 0.09)
    lines = here.log.events("signal")
    assert [(line["action"], line["price"]) for line in lines] == [
        ("SELL", "0.09"), ("BUY", "0.10"), ("SELL", "0.07"), ("BUY", "0.09"),
    ]  # fmt: skip
    assert len(here.log.events("signal_posted")) == 4
    assert not here.keeper._signals  # nothing piles up
    assert not here.keeper._bars
    assert stored_bars(database) == BARS


def test_history_makes_no_signals_when_a_watch_is_new(database: Database) -> None:
    here = world(database, bars=BARS, now_us=START_US + len(BARS) * DAY_US)
    here.keeper.begin()
    assert crossed(database) == []
    assert stored_bars(database) == BARS


@pytest.mark.parametrize("every", [1, 3])
def test_killed_and_restarted_it_makes_the_same_signals(database: Database, every: int) -> None:
    here = world(database)
    here.keeper.begin()
    for number, item in enumerate(BARS):
        if number % every == 0:
            here = world(database, now_us=item.open_us)  # the old one is gone, with all that it knew
            here.keeper.begin()
        here.keeper.keep([item])
    assert crossed(database) == CROSSED


def test_what_happened_while_it_was_down_is_caught_up_from_history(database: Database) -> None:
    here = world(database)
    here.keeper.begin()
    here.keeper.keep(BARS[:3])
    later = world(database, bars=BARS, now_us=START_US + len(BARS) * DAY_US + 5)
    later.keeper.begin()
    assert crossed(database) == CROSSED
    assert len(later.portfolios.taken) == 4


def test_three_instances_at_once_make_each_signal_once(address: str) -> None:
    def instance(_: int) -> World:
        database = open_database(address)
        here = world(database)
        here.keeper.begin()
        for item in BARS:
            here.keeper.keep([item])
        database.close()
        return here

    with ThreadPoolExecutor(3) as pool:
        worlds = list(pool.map(instance, range(3)))
    database = open_database(address)
    assert crossed(database) == CROSSED
    assert {item.state for item in stored_signals(database)} == {"posted"}
    assert sum(len(here.log.events("signal")) for here in worlds) == len(CROSSED)
    ids = {signal.signal_id for here in worlds for signal in here.portfolios.taken}
    assert len(ids) == len(CROSSED)
    database.close()


def test_a_gap_is_filled_from_history_before_the_bar_is_taken(database: Database) -> None:
    here = world(database, bars=BARS)
    here.keeper.begin()
    here.keeper.keep([*BARS[:2], BARS[10]])
    assert crossed(database) == CROSSED
    assert stored_bars(database) == BARS


def test_bars_wait_while_the_history_does_not_answer(database: Database) -> None:
    here = world(database, bars=BARS)
    here.keeper.begin()
    here.past.error = StoreUnavailable("not now")
    here.keeper.keep([*BARS[:3], BARS[4]])
    here.keeper.keep([BARS[5]])
    assert crossed(database) == []
    asked = here.past.asked
    here.keeper.keep(())
    assert here.past.asked == asked  # left in peace for a while
    here.past.error = None
    here.clock.now += 60 * SECOND
    here.keeper.keep(())
    assert crossed(database) == CROSSED[:2]
    assert here.keeper.restarts == 0


def test_what_nobody_has_is_a_new_warm_up_and_says_so(database: Database) -> None:
    here = world(database)
    here.keeper.begin()
    here.keeper.keep(BARS[:2])
    for number, close in enumerate([9, 12, 10, 8, 20]):
        here.keeper.keep([bar(4 + number, close)])
    assert here.keeper.restarts == 1
    assert len(here.log.events("crossover_starts_anew")) == 1
    # The bars that waited are there: the new warm-up begins with the first of them.
    assert crossed(database) == [(6, Action.SELL), (8, Action.BUY)]


def test_a_bar_that_has_not_seen_its_close_is_replaced_by_the_history(database: Database) -> None:
    here = world(database, bars=BARS)
    here.keeper.begin()
    here.keeper.keep([*BARS[:3], bar(3, 999, complete=False, close_known=False)])
    assert crossed(database) == CROSSED[:1]
    assert stored_bars(database) == BARS[:4]


def ordinal_and_kind(signals):
    """The bar of each signal, by its number, and what it says."""
    return [
        ((signal.timestamp_us - START_US) // DAY_US - 1, signal.action.name, signal.features.get("low"))
        for signal in signals
    ]


def test_bars_are_posted_as_prices_each_before_its_signal_once_and_are_forgotten(database: Database) -> None:
    acted: list[Signal] = []
    here = world(database, bars=BARS[:2], now_us=START_US + 2 * DAY_US, post_bars=True, act=acted.append)
    here.keeper.begin()
    assert here.portfolios.taken == []  # the past moves no brackets
    here.portfolios.answers = {2: StoreUnavailable("away"), 3: LateSignal("BTC", "a", "b")}
    here.keeper.keep(BARS[2:4])
    here.keeper.keep(())
    here.keeper.keep(BARS[4:5])
    assert ordinal_and_kind(here.portfolios.taken) == [
        (2, "HOLD", 0.12),
        (3, "SELL", None),
        (4, "HOLD", 0.08),
    ]
    assert [item.made.signal.action for item in stored_signals(database)] == [Action.SELL]
    assert [signal.action for signal in acted] == [Action.SELL]
    assert [event["signal_id"] for event in here.log.events("signal_refused")] == [
        "sma-1-2:binance:BTCUSDT:trades:1d:2024-10-07T00:00:00Z:PRICE"
    ]
    later = world(database, bars=BARS[:7], now_us=START_US + 7 * DAY_US, post_bars=True)
    later.keeper.begin()  # what it missed moves them
    assert ordinal_and_kind(later.portfolios.taken) == [(5, "HOLD", 0.1), (5, "BUY", None), (6, "HOLD", 0.1)]
    assert {item.state for item in stored_signals(database)} == {"posted"}


def test_a_bar_that_crosses_a_stop_closes_the_position_that_a_crossing_opened(
    database: Database, tmp_path: Path
) -> None:
    stores = open_stores((tmp_path / "store").as_uri())
    shard = Shard.open(
        stores.journal_store("shard=0000"), stores.blobs, prefix="state/shard=0000", cache_dir=tmp_path / "cache",
        limits=ShardLimits(), policies={"baseline": Policy(fee_bps=0.0, stop_bps=400.0)},
    )  # fmt: skip

    def post(signal: Signal) -> str:
        pending = shard.submit(
            "baseline", batch_of(signal).encode(), all_or_nothing=True, accept_price_jump=False, receipts=True
        )
        while (waiting := shard.next_commit()) is not None:
            shard.write(waiting)
            shard.committed()
        pending.finish()
        return signal.signal_id

    here = world(database, post=post, post_bars=True)
    here.keeper.begin()
    here.keeper.keep(BARS[:6])  # BUY at 0.10 with the close of the last, which has been lower before
    held = Performance.of(shard.standing("baseline").account)
    assert (held.trades, held.closed_trades) == (1, 0)
    dip = replace(bar(6, 10), low=9)
    for _ in range(2):  # the same bar again changes nothing
        here.keeper.keep([dip])
    standing = shard.standing("baseline")
    stopped = Performance.of(standing.account)
    assert (stopped.closed_trades, stopped.equity) == (1, pytest.approx(9_600.0))  # at 0.096, 4 % below 0.10
    assert standing.count == 7 + 2  # prices of seven bars but those of the past, and two crossings
    shard.journal.close()


def test_a_signal_waits_for_portfolios_that_do_not_answer_and_is_then_posted(database: Database) -> None:
    here = world(database)
    here.keeper.begin()
    here.portfolios.answers = {1: StoreUnavailable("away"), 2: ConnectionRefusedError()}
    here.keeper.keep(BARS[:6])
    assert [item.state for item in stored_signals(database)] == ["pending", "pending"]
    again = world(database, now_us=BARS[6].open_us)
    again.keeper.begin()  # a new process finds them
    assert [signal.action for signal in again.portfolios.taken] == [Action.SELL, Action.BUY]
    assert [item.receipt_id for item in stored_signals(database)] == [
        f"receipt of {signal.signal_id}" for signal in again.portfolios.taken
    ]


def test_a_keeper_acts_on_and_posts_the_signals_of_its_own_feed_alone(database: Database) -> None:
    away = {number: StoreUnavailable("away") for number in range(1, 100)}
    others = [
        world(database, instrument=replace(INSTRUMENT, venue="bybit")),
        world(database, instrument=replace(INSTRUMENT, symbol="BTCUSDTX")),
        world(database, fast=2, slow=3),
    ]
    for other in others:
        other.portfolios.answers = away
        other.keeper.begin()
        other.keeper.keep([replace(each, instrument=other.watch.instrument) for each in BARS])
        assert not other.portfolios.taken
    before = {item.made.signal.signal_id: item.state for item in stored_signals(database)}
    assert len(before) >= 3
    acted: list[Signal] = []
    here = world(database, act=acted.append)
    here.keeper.begin()
    here.keeper.keep(BARS)
    assert acted == here.portfolios.taken
    assert [signal.symbol for signal in acted] == ["binance:BTCUSDT"] * len(CROSSED)
    assert not before.keys() & {signal.signal_id for signal in acted}
    after = {item.made.signal.signal_id: item.state for item in stored_signals(database)}
    assert {signal_id: after[signal_id] for signal_id in before} == before
    later = world(database, instrument=others[0].watch.instrument, now_us=BARS[-1].end_us)
    later.keeper.begin()
    assert [signal.symbol for signal in later.portfolios.taken] == ["bybit:BTCUSDT"] * len(CROSSED)


def test_of_many_signals_that_wait_the_newest_is_acted_on_first_and_none_is_left_out(
    database: Database,
) -> None:
    here = world(database)
    many = [bar(number, 10 + (-1) ** number) for number in range(153)]
    here.portfolios.answers = {number: StoreUnavailable("away") for number in range(1, 1_000)}
    here.keeper.begin()
    here.keeper.keep(many)
    waiting = [item.made.signal for item in stored_signals(database)]
    assert len(waiting) == 151
    acted: list[Signal] = []
    again = world(database, now_us=many[-1].end_us, act=acted.append)
    again.keeper.begin()
    assert acted == waiting[::-1]
    assert again.portfolios.taken == waiting
    assert {item.state for item in stored_signals(database)} == {"posted"}
    (line,) = again.log.events("signals_pending")
    assert (line["signals"], line["newest"]) == (151, waiting[-1].signal_id)


def posted_before(database: Database, venue: str, number: int) -> None:
    """A signal that a feed posted under the venue's own symbol, as feeds once did."""
    old = made(number)
    signal = dataclasses.replace(old.signal, symbol="BTCUSDT", signal_id=f"{venue}:{number}")
    with database.writing() as connection:
        store_signal(database, connection, dataclasses.replace(old, signal=signal, venue=venue))
        mark_posted(connection, signal.signal_id, "r", 7)


def test_a_position_under_the_old_name_goes_on_under_the_new_one_before_anything_is_posted(
    database: Database,
) -> None:
    posted_before(database, "bybit", -9)
    posted_before(database, "binance", -8)
    names = Names({"BTCUSDT"}, {1: StoreUnavailable("away"), 2: StoreUnavailable("away")})
    here = world(database, rename=names)
    here.keeper.begin()
    here.keeper.keep(BARS[:4])
    assert not here.portfolios.taken  # the first signal under the new name waits for it
    here.keeper.keep(BARS[4:])
    assert len(here.portfolios.taken) == len(CROSSED)
    assert names.asked == [("BTCUSDT", "binance:BTCUSDT")] * 3
    (line,) = here.log.events("position_goes_on")
    assert (line["was"], line["symbol"]) == ("BTCUSDT", "binance:BTCUSDT")
    again = world(database, rename=names, now_us=BARS[-1].end_us)
    again.keeper.begin()
    assert not again.log.events("position_goes_on")
    other = world(database, instrument=replace(INSTRUMENT, venue="bybit"), rename=Names())
    other.keeper.begin()
    assert names.known == {"binance:BTCUSDT"}


def test_a_feed_that_never_posted_under_an_old_name_asks_for_no_renaming(database: Database) -> None:
    posted_before(database, "bybit", -9)
    names = Names({"BTCUSDT"})
    here = world(database, rename=names)
    here.keeper.begin()
    here.keeper.keep(BARS)
    assert not names.asked
    assert len(here.portfolios.taken) == len(CROSSED)


def test_portfolios_that_are_away_are_told_of_once(database: Database) -> None:
    here = world(database)
    here.portfolios.answers = {number: StoreUnavailable("away") for number in range(1, 30)}
    here.portfolios.answers |= {number: StoreUnavailable("still away") for number in range(30, 50)}
    here.keeper.begin()
    here.keeper.keep(BARS[:4])
    while here.portfolios.calls < 49:
        here.keeper.keep(())
    assert [line["reason"] for line in here.log.events("signal_not_posted")] == ["away", "still away"]
    here.keeper.keep(())
    assert len(here.portfolios.taken) == 1


def test_a_refusal_is_recorded_and_not_tried_again(database: Database) -> None:
    here = world(database)
    here.keeper.begin()
    here.portfolios.answers = {1: LateSignal("BTC", "a", "b"), 2: PriceJump("BTC", 9.0, 1.0, 5.0)}
    here.keeper.keep(BARS)
    here.keeper.keep(())
    assert [item.state for item in stored_signals(database)] == ["refused", "refused", "posted", "posted"]
    assert [(item.refusal or "").partition(":")[0] for item in stored_signals(database)][:2] == [
        "LateSignal", "PriceJump",
    ]  # fmt: skip
    assert here.portfolios.calls == 4


def test_a_day_is_written_as_a_file_once_it_is_over(database: Database, tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path / "store")
    here = world(database, blobs=blobs)
    hour = 3_600 * SECOND
    here.keeper.begin()
    here.keeper.keep([bar(number, number + 1, hour) for number in range(24)])
    assert blobs.list("") == []
    here.keeper.keep([bar(24, 25, hour)])
    (name,) = blobs.list("bars/")
    assert name == "bars/venue=binance/symbol=BTCUSDT/interval=1h/basis=trades/date=2024-10-04/bars.parquet"
    here.keeper.keep([bar(25, 25, hour)])
    assert len(blobs.list("")) == 1
    assert len(here.log.events("day_written")) == 1


def holes(database: Database):
    """Numbers of the bars that are not complete, among those that are stored."""
    return [(each.open_us - START_US) // DAY_US for each in stored_bars(database) if not each.complete]


def test_a_bar_that_has_not_seen_all_of_its_time_is_made_whole_by_the_history(database: Database) -> None:
    began = world(database, now_us=START_US)
    began.keeper.begin()
    began.keeper.keep([replace(bar(0, 10), complete=False, volume=3), bar(1, 11)])
    assert holes(database) == [0]
    began.past.bars = [replace(bar(0, 10), volume=9)]
    began.clock.now += 5_000_000
    began.keeper.keep(())
    (whole, _) = stored_bars(database)
    assert (whole.complete, whole.volume) == (True, 9)
    assert (began.keeper.mended, began.keeper.to_mend) == (1, 0)


def test_bars_that_never_came_are_asked_for_although_the_crossover_has_given_up(database: Database) -> None:
    began = world(database, now_us=START_US, patience_us=1)
    began.keeper.begin()
    began.keeper.keep([bar(0, 10)])
    for number in range(4, 9):
        began.keeper.keep([bar(number, 10 + number)])
    assert (began.keeper.restarts, began.keeper.to_mend) == (1, 3)
    began.past.bars = [bar(number, 10) for number in range(1, 4)]
    began.clock.now += 3_600_000_000
    began.keeper.keep(())
    assert [(each.open_us - START_US) // DAY_US for each in stored_bars(database)] == list(range(9))
    assert began.keeper.to_mend == 0


def test_a_history_that_has_it_not_is_asked_ever_more_seldom(database: Database) -> None:
    began = world(database, now_us=START_US)
    began.keeper.begin()
    began.keeper.keep([replace(bar(0, 10), complete=False)])
    asked = began.past.asked
    for _ in range(720):
        began.clock.now += 5 * SECOND
        began.keeper.keep(())
    assert 8 <= began.past.asked - asked <= 16  # 5, 10, 20 … 600 s apart
    assert began.keeper.to_mend == 1


def test_a_history_that_does_not_answer_holds_nothing_up(database: Database) -> None:
    began = world(database, now_us=START_US)
    began.keeper.begin()
    began.past.error = StoreUnavailable("away")
    began.keeper.keep([replace(BARS[0], complete=False), *BARS[1:]])
    assert crossed(database) == CROSSED
    assert len(began.portfolios.taken) == len(CROSSED)
    assert began.keeper.to_mend == 1


def test_a_history_that_does_not_answer_is_not_asked_for_every_bar(database: Database) -> None:
    began = world(database, now_us=START_US)
    began.keeper.begin()
    began.past.error = StoreUnavailable("away")
    asked = began.past.asked
    for number in range(60):
        began.clock.now += SECOND
        began.keeper.keep([replace(bar(number, 10), complete=False)])
    assert began.past.asked - asked <= 5  # 5, 10, 20, … s apart
    began.past.error, began.past.bars = None, [bar(number, 10) for number in range(60)]
    began.clock.now += 600 * SECOND
    began.keeper.keep(())
    assert (began.keeper.to_mend, holes(database)) == (0, [])


def test_what_was_not_whole_is_known_after_a_restart(database: Database) -> None:
    began = world(database, now_us=START_US)
    began.keeper.begin()
    began.keeper.keep([bar(0, 10), replace(bar(1, 11), complete=False), bar(2, 12)])
    again = world(database, now_us=START_US + 3 * DAY_US, bars=[replace(bar(1, 11), volume=7)])
    again.keeper.begin()
    assert again.keeper.to_mend == 1
    again.keeper.keep(())
    assert (again.keeper.to_mend, holes(database)) == (0, [])


def test_bars_of_mids_are_nobody_elses_and_not_asked_for(database: Database) -> None:
    began = world(database, now_us=START_US, basis=Basis.MIDS)
    began.keeper.begin()
    asked = began.past.asked
    began.keeper.keep([replace(bar(number, 10), basis=Basis.MIDS, complete=False) for number in (0, 2)])
    assert (began.keeper.to_mend, began.past.asked) == (0, asked)


def prices_of(database: Database):
    with database.reading() as connection:
        rows = connection.execute(select(PRICES.c.at_us, PRICES.c.price).order_by(PRICES.c.at_us)).all()
    return [((row.at_us - START_US) / SECOND, str(row.price)) for row in rows]


def test_the_last_trade_is_stored_as_a_price_at_most_every_ten_seconds(database: Database) -> None:
    last = []
    began = world(database, now_us=START_US, last_trades=lambda: last)
    began.keeper.begin()
    began.keeper.keep(())
    assert prices_of(database) == []
    for at_s, price in ((1, 101), (1, 101), (10.9, 102), (11, 103), (20, 104), (40, 105)):
        last[:] = [trade(int(at_s * SECOND), price)]
        began.keeper.keep(())
    assert prices_of(database) == [(1, "1.01"), (11, "1.03"), (40, "1.05")]


def test_a_price_that_could_not_be_stored_is_stored_later(database: Database) -> None:
    last = [trade(SECOND, 101)]
    began = world(database, now_us=START_US, last_trades=lambda: last)
    with database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE prices RENAME TO elsewhere")
    with pytest.raises(StoreError):
        began.keeper.keep(())
    with database.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO prices")
    began.keeper.keep(())
    assert prices_of(database) == [(1, "1.01")]


def test_prices_of_more_than_a_week_ago_go(database: Database) -> None:
    last = []
    other = replace(INSTRUMENT, symbol="ETHUSDT")
    with database.writing() as connection:
        store_price(database, connection, other, LastPrice(START_US, Decimal(7)))
    began = world(database, now_us=START_US, last_trades=lambda: last)
    for day in (0, 1, 7, 8):
        last[:] = [trade(day * DAY_US + 1, 100 + day)]
        began.keeper.keep(())
    with database.reading() as connection:
        kept = connection.execute(select(PRICES.c.symbol, PRICES.c.at_us).order_by(PRICES.c.at_us)).all()
    days = [("BTCUSDT", START_US + day * DAY_US + 1) for day in (1, 7, 8)]
    assert [tuple(row) for row in kept] == [("ETHUSDT", START_US), *days]
