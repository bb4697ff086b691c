"""Bars from trades and from mid prices, rule by rule."""

import pytest

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import DAY_US, check_interval, parse_bar
from raysignal.engine.core.market_events import BookChange, BookLost, Instrument, Kline, Quote, TradesLost
from raysignal.engine.market.bars import (
    QUIET_US,
    REMEMBERED,
    BarBuilder,
    Basis,
    bar_name,
    bar_of,
    units,
)
from tests.support.market_bars import INSTRUMENT, SECOND, START_US, trade


def builder(lateness_us: int = 0, basis: Basis = Basis.TRADES) -> BarBuilder:
    return BarBuilder(INSTRUMENT, SECOND, basis, lateness_us=lateness_us)


def lost() -> TradesLost:
    return TradesLost(INSTRUMENT, "disconnected", START_US)


def book_lost() -> BookLost:
    return BookLost(INSTRUMENT, "gap", 0, 0, START_US)


def quote(at_us: int, bid: int, ask: int, exchange: bool = True) -> Quote:
    return Quote(INSTRUMENT, 1, bid, 1, ask, 1, START_US + at_us if exchange else 0, START_US + at_us)


@pytest.mark.parametrize("interval_us", [0, -1, 999_999, 7 * SECOND, DAY_US + SECOND, 2 * DAY_US, 1_500_001])
def test_a_length_that_does_not_divide_a_day_is_refused(interval_us):
    with pytest.raises(InvalidField, match="bar is"):
        check_interval(interval_us)


@pytest.mark.parametrize("text", ["1s", "90s", "1m", "15m", "1h", "4h", "1d"])
def test_a_length_is_named_as_it_is_read(text):
    assert bar_name(check_interval(parse_bar(text))) == text


def test_lateness_is_not_negative():
    with pytest.raises(InvalidField, match="lateness_us"):
        builder(lateness_us=-1)


def test_a_bar_has_the_first_highest_lowest_and_last_price_and_ends_with_a_stamp_at_its_end():
    bars = builder()
    for at, price in ((0, 105), (1, 110), (2, 90), (999_999, 101)):
        assert not bars.trade(trade(at, price, size=3))
    (made,) = bars.trade(trade(SECOND, 200))
    assert (made.open, made.high, made.low, made.close, made.volume, made.trades) == (
        105,
        110,
        90,
        101,
        12,
        4,
    )
    assert (made.open_us, made.end_us, made.complete) == (START_US, START_US + SECOND, True)


def test_open_and_close_go_by_the_stamp_and_among_equals_by_arrival():
    bars = builder()
    for number, (at, price) in enumerate(((5, 1), (9, 2), (5, 3), (9, 4), (7, 5))):
        bars.trade(trade(at, price, trade_id=str(number)))
    (made,) = bars.trade(trade(SECOND))
    assert (made.open, made.close) == (1, 4)


def test_a_late_trade_goes_where_it_belongs_until_the_lateness_is_over_and_then_changes_nothing():
    bars = builder(lateness_us=100_000)
    bars.trade(trade(500_000, 100))
    assert not bars.trade(trade(SECOND + 99_999, 300))
    assert not bars.trade(trade(600_000, 200))
    (made,) = bars.trade(trade(SECOND + 100_000, 300))
    assert (made.close, made.trades, bars.late) == (200, 2, 0)
    assert not bars.trade(trade(700_000, 999))
    assert bars.late == 1
    (after,) = bars.clock(START_US + QUIET_US + 3 * SECOND)[:1]
    assert (after.high, after.trades) == (300, 2)


def test_a_repeated_trade_changes_nothing_within_the_window():
    bars = builder()
    bars.trade(trade(0, trade_id="a"))
    for number in range(REMEMBERED - 1):
        bars.trade(trade(1, trade_id=str(number)))
    bars.receive(lost())
    bars.trade(trade(0, 500, trade_id="a"))
    assert bars.repeated == 1
    (made,) = bars.trade(trade(SECOND))
    assert (made.trades, made.high) == (REMEMBERED, 100)


def test_a_trade_that_has_an_earlier_ones_id_and_is_later_than_all_is_left_out_and_missed():
    bars = builder()
    for number in range(20):
        bars.trade(trade(number, trade_id=str(number)))
    for number in range(15):
        bars.trade(trade(100 + number, trade_id=str(number)))
    assert (bars.repeated, bars.left_out, bars.reused) == (15, 15, True)
    bars.trade(trade(19, trade_id="0"))  # sent again, as after a reconnect
    assert (bars.repeated, bars.left_out) == (16, 15)
    (made,) = bars.trade(trade(SECOND))
    assert not made.complete
    assert (bars.left_out, bars.reused) == (0, False)


def test_the_memory_of_ids_is_bounded():
    bars = builder()
    for number in range(3 * REMEMBERED):
        bars.trade(trade(1, trade_id=str(number)))
    assert len(bars._recent) + len(bars._before) <= 2 * REMEMBERED


def test_a_stamp_of_the_future_ends_no_bar():
    bars = builder()
    bars.trade(trade(0))
    ahead = trade(1).__class__(INSTRUMENT, "x", 1, 1, 1, START_US + DAY_US, START_US)
    assert not bars.trade(ahead)
    assert not bars.receive(BookChange(INSTRUMENT, 1, 1, 1, 2, 1, START_US + DAY_US, START_US))
    assert (bars.ahead, bars.left_out, bars.ahead_us) == (1, 1, DAY_US)
    (made,) = bars.trade(trade(SECOND))
    assert not made.complete  # when the trade that was left out was, nobody knows
    assert (bars.left_out, bars.ahead_us) == (0, 0)


def test_a_bar_without_a_trade_is_flat_at_the_last_close():
    bars = builder()
    bars.trade(trade(0, 100))
    bars.trade(trade(1, 120))
    made = bars.trade(trade(3 * SECOND, 50))
    assert [(b.open, b.high, b.low, b.close, b.volume, b.trades, b.complete) for b in made[1:]] == [
        (120, 120, 120, 120, 0, 0, True)
    ] * 2


def test_no_bar_is_made_before_the_first_price():
    bars = builder()
    bars.connected(START_US)
    assert not bars.clock(START_US + QUIET_US + 10 * SECOND)
    (made,) = [*bars.trade(trade(10 * SECOND)), *bars.trade(trade(11 * SECOND))]
    assert made.open_us == START_US + 10 * SECOND


def test_the_first_bar_is_complete_only_if_the_connection_was_up_at_its_beginning():
    joined, there = builder(), builder()
    there.connected(START_US - 1)
    for bars, complete in ((joined, False), (there, True)):
        bars.trade(trade(400_000))
        first, second = bars.trade(trade(2 * SECOND))
        assert (first.complete, first.close_known, second.complete) == (complete, True, True)


def test_bars_that_an_outage_touches_are_incomplete_and_those_it_covers_are_absent():
    bars = builder()
    bars.connected(START_US)
    bars.trade(trade(0, 100))
    bars.receive(lost())
    made = list(bars.trade(trade(3 * SECOND + 500_000, 130)))
    made += bars.trade(trade(5 * SECOND, 140))
    assert [(b.open_us - START_US) // SECOND for b in made] == [0, 3, 4]
    assert [(b.complete, b.close_known) for b in made] == [(False, False), (False, True), (True, True)]


def test_a_bar_that_ends_when_the_outage_does_is_absent():
    bars = builder()
    bars.trade(trade(0))
    bars.receive(lost())
    made = [*bars.trade(trade(2 * SECOND)), *bars.trade(trade(3 * SECOND))]
    assert [((b.open_us - START_US) // SECOND, b.complete) for b in made] == [(0, False), (2, True)]


def test_a_close_is_known_only_by_a_price_after_the_outage():
    bars = builder()
    bars.connected(START_US)
    bars.trade(trade(100_000, 100))
    bars.lost()
    bars.connected(START_US + 200_000)
    made = list(bars.trade(trade(2 * SECOND, 70)))
    made += bars.trade(trade(4 * SECOND, 70))
    assert [(b.close, b.complete, b.close_known) for b in made] == [
        (100, False, False),
        (100, False, False),  # flat at a price that may be old
        (70, True, True),
        (70, True, True),
    ]


def test_trades_of_before_the_outage_do_not_say_that_it_is_over():
    bars = builder(lateness_us=SECOND)
    bars.connected(START_US)
    bars.trade(trade(0, 100))
    bars.trade(trade(SECOND, 100))
    bars.lost()
    bars.trade(trade(0, 100, trade_id="sent again, with what was before"))
    made = bars.trade(trade(9 * SECOND, 100))
    assert [(b.open_us - START_US) // SECOND for b in made] == [0, 1]
    assert not any(b.complete for b in made)


def test_a_year_without_a_connection_is_not_gone_through_second_by_second():
    bars = builder()
    bars.trade(trade(0))
    bars.lost()
    (made,) = bars.trade(trade(365 * DAY_US))
    assert made.open_us == START_US
    (then,) = bars.trade(trade(365 * DAY_US + SECOND))
    assert then.open_us == START_US + 365 * DAY_US


def test_a_lost_book_means_nothing_to_trades_and_an_outage_to_mids():
    for basis, complete in ((Basis.TRADES, True), (Basis.MIDS, False)):
        bars = builder(basis=basis)
        bars.connected(START_US)
        bars.receive(trade(0) if basis is Basis.TRADES else quote(0, 10, 12))
        bars.receive(book_lost())
        bars.receive(trade(SECOND - 1) if basis is Basis.TRADES else quote(SECOND - 1, 10, 12))
        (made,) = bars.receive(trade(SECOND) if basis is Basis.TRADES else quote(SECOND, 10, 12))
        assert made.complete is complete


def test_mid_prices_have_a_digit_more_and_empty_sides_none():
    bars = builder(basis=Basis.MIDS)
    for event in (quote(0, 10, 13), quote(1, 0, 13), quote(2, 10, 0), quote(3, 10, 11)):
        assert not bars.receive(event)
    (made,) = bars.receive(quote(SECOND, 1, 2, exchange=False))
    assert str(made.instrument.exact_price(made.open)) == "0.115"
    assert (made.open, made.close, made.volume, made.trades) == (115, 105, 0, 2)


def test_mid_prices_need_a_digit_to_spare():
    with pytest.raises(InvalidField, match="price_decimals"):
        BarBuilder(Instrument("v", "s", 18), SECOND, Basis.MIDS)


def book(at_us: int) -> BookChange:
    return BookChange(INSTRUMENT, 1, 1, 1, 2, 1, START_US + at_us, START_US + at_us)


def test_quotes_end_a_bar_of_trades_only_when_it_is_long_over_and_by_the_venues_own_time():
    bars = builder()
    bars.receive(trade(0))
    assert not bars.receive(quote(QUIET_US + 5 * SECOND, 1, 2, exchange=False))
    assert not bars.receive(quote(QUIET_US + SECOND - 1, 1, 2))
    assert len(bars.receive(quote(QUIET_US + SECOND, 1, 2))) == 1


def test_while_trades_stall_and_books_go_on_no_bar_is_called_complete():
    bars = builder()
    bars.connected(START_US)
    bars.trade(trade(0, 100))
    bars.trade(trade(SECOND + 500_000, 110))  # the last before the stall
    made = [bar for at in range(2, 30) for bar in bars.receive(book(at * SECOND))]
    made += bars.trade(trade(30 * SECOND + 500_000, 130))  # the first after it
    made += bars.trade(trade(32 * SECOND, 140))
    assert [((b.open_us - START_US) // SECOND, b.complete, b.close_known) for b in made] == [
        (1, False, False),
        (30, False, True),
        (31, True, True),
    ]


def test_with_the_first_book_of_a_connection_its_trades_are_seen_if_its_opening_asked_for_them():
    for told, complete in ((True, True), (False, False)):
        bars = BarBuilder(INSTRUMENT, SECOND, told_by_books=told)
        assert not bars.receive(book(-900_000))
        bars.receive(trade(500_000))
        (made,) = bars.receive(trade(SECOND))
        assert made.complete is complete


def test_a_book_without_the_venues_stamp_does_not_say_since_when_trades_are_seen():
    bars = BarBuilder(INSTRUMENT, SECOND, told_by_books=True)
    bars.receive(BookChange(INSTRUMENT, 1, 1, 1, 2, 1, 0, START_US - 5))
    bars.receive(trade(500_000))
    (made,) = bars.receive(trade(SECOND))
    assert not made.complete


@pytest.mark.parametrize(("reason", "complete"), [("disconnected", True), ("malformed", False)])
def test_a_book_says_that_trades_are_seen_again_only_on_a_new_connection(reason, complete):
    bars = BarBuilder(INSTRUMENT, SECOND, told_by_books=True)
    bars.receive(book(-900_000))
    bars.receive(trade(100_000))
    bars.receive(TradesLost(INSTRUMENT, reason, START_US))
    bars.receive(book(200_000))
    bars.receive(trade(SECOND + 700_000))
    (made,) = bars.receive(trade(2 * SECOND))[-1:]
    assert ((made.open_us - START_US) // SECOND, made.complete) == (1, complete)


def numbered(number: int, at_us: int):
    return trade(at_us, 100 + number, trade_id=str(number))


def test_where_trades_are_numbered_one_that_is_left_out_leaves_its_bars_incomplete():
    for known in (True, False):
        bars = BarBuilder(INSTRUMENT, SECOND, numbered=known)
        bars.connected(START_US)
        made = [*bars.trade(numbered(7, 0)), *bars.trade(numbered(8, 900_000))]
        made += bars.trade(numbered(10, SECOND + 100_000))  # the ninth may have been of either bar
        made += [*bars.trade(numbered(11, 2 * SECOND)), *bars.trade(numbered(12, 3 * SECOND))]
        assert [bar.complete for bar in made] == [not known, not known, True]


def test_a_numbered_trade_that_was_overtaken_is_counted_where_it_belongs_and_the_bar_is_in_doubt():
    bars = BarBuilder(INSTRUMENT, SECOND, numbered=True)
    bars.connected(START_US)
    for number, at in ((7, 0), (9, 200_000), (8, 100_000)):
        bars.trade(numbered(number, at))
    (made,) = bars.trade(numbered(10, SECOND))
    assert (made.trades, made.complete, made.close) == (3, False, 109)


def test_numbers_begin_anew_with_a_connection_and_ids_that_are_none_say_nothing():
    bars = BarBuilder(INSTRUMENT, SECOND, numbered=True, told_by_books=True)
    bars.receive(book(-900_000))
    bars.receive(numbered(7, 0))
    bars.receive(lost())
    bars.receive(book(100_000))
    bars.receive(numbered(50, SECOND))  # numbers of the outage are no further gap
    bars.receive(trade(SECOND + 1, trade_id="5a-0"))
    made = bars.receive(numbered(51, 2 * SECOND))
    assert [bar.complete for bar in made] == [True]


def test_a_book_does_not_end_a_stall_of_trades():
    bars = BarBuilder(INSTRUMENT, SECOND, told_by_books=True)
    bars.receive(book(-900_000))
    bars.receive(trade(100_000))
    for at in range(30):
        bars.receive(book(at * SECOND))
    bars.receive(trade(30 * SECOND + 1))
    (made,) = bars.receive(trade(31 * SECOND))[-1:]
    assert ((made.open_us - START_US) // SECOND, made.complete) == (30, False)


def test_a_kline_is_a_bar_once_it_is_closed():
    def kline(closed: bool) -> Kline:
        return Kline(INSTRUMENT, SECOND, START_US, 1, 4, 1, 3, 9, 2, closed, 0, 0)

    made = bar_of(kline(closed=True))
    assert (made.open, made.high, made.low, made.close, made.volume, made.trades) == (1, 4, 1, 3, 9, 2)
    with pytest.raises(InvalidField, match="closed"):
        bar_of(kline(closed=False))


def test_units_are_exact_whatever_the_length_of_the_number():
    from decimal import Decimal

    assert units(Decimal("123456789012345678901234567890.12"), 3) == 123456789012345678901234567890120
    assert units(Decimal("-1E+2"), 1) == -1000
