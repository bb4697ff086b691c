"""The breaker: where it trips, that it stays, and who may reset it. Equity is with open positions."""

import math

import pytest

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.events import Command, CommandKind
from raysignal.engine.core.instants import DAY_US
from raysignal.engine.risk.breaker import BreakerState, RiskBreaker, TradingState
from raysignal.engine.risk.limits import RiskLimits

ACTIVE, REDUCING, HALTED = TradingState
TWO_PERCENT = RiskLimits(drawdown_share=0.02)


def breaker(*equities, **limits):
    made = RiskBreaker(RiskLimits(**limits))
    for second, equity in enumerate(equities):
        made.mark(equity, second)
    return made


def command(kind, at_us=100, who="ann", reason="looked at it", symbol=""):
    return Command(at_us=at_us, symbol=symbol, command=CommandKind(kind), who=who, reason=reason)


@pytest.mark.parametrize(
    ("limit", "last_below", "first_reached"),
    [
        ({"drawdown_share": 0.02}, 9_800.000001, 9_800.0),
        ({"daily_loss_share": 0.02}, 9_800.000001, 9_800.0),
        ({"daily_loss_money": 200}, 9_800.000001, 9_800.0),
        ({"drawdown_share": 1.0}, 0.001, 0.0),
    ],
)
def test_a_limit_on_losses_trips_at_its_figure_and_not_before(limit, last_below, first_reached):
    assert breaker(10_000.0, 9_921.0, last_below, **limit).trading is ACTIVE
    assert breaker(10_000.0, first_reached, **limit).trading is HALTED
    assert breaker(10_000.0, 9_750.0, 9_990.0, **limit).trading is (ACTIVE if last_below < 1 else HALTED)


@pytest.mark.parametrize("start", [10_000.0, 0.1, 12_345.67, 1e9 / 3, 987_654_321.123])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.07, 1 / 3])
def test_an_exact_loss_trips_however_its_figures_are_rounded(start, share):
    for rounded in (start * (1 - share), start - start * share):
        for equity in (math.nextafter(rounded, 0.0), rounded, math.nextafter(rounded, math.inf)):
            assert breaker(start, equity, drawdown_share=share).trading is HALTED
    assert breaker(start, start * (1 - share * 0.999999), drawdown_share=share).trading is ACTIVE


def test_a_drawdown_counts_from_the_highest_equity():
    made = breaker(10_000.0, 12_000.0, 11_760.01, drawdown_share=0.02)
    assert made.trading is ACTIVE
    alarm = made.mark(11_760.0, 9)
    assert (alarm.code, alarm.at_us) == ("risk_halted", 9)
    assert alarm.message == ("trading is halted: drawdown_share is 0.02, equity 11760 of 12000; at most 0.02")
    assert made.mark(5_000.0, 10) is None


def test_a_days_loss_counts_from_the_last_equity_before_the_day():
    made = RiskBreaker(RiskLimits(daily_loss_share=0.02))
    made.mark(10_000.0, 0)
    made.mark(9_900.0, DAY_US - 1)
    made.mark(9_702.01, DAY_US)  # 1.9999 % below 9 900, and 2.98 % below 10 000
    assert made.trading is ACTIVE
    made.mark(9_702.0, DAY_US + 1)
    assert made.trading is HALTED


def test_a_loss_over_a_gap_counts_for_the_day_on_which_it_shows():
    made = RiskBreaker(RiskLimits(daily_loss_money=500))
    made.mark(10_000.0, 0)
    made.mark(9_500.0, 3 * DAY_US)
    assert made.state.reason == "daily_loss_money is 500, equity 9500 of 10000; at most 500"


def test_from_a_part_of_a_limit_on_positions_are_only_made_smaller():
    made = breaker(10_000.0, drawdown_share=0.02, reduce_from_share=0.75)
    assert made.mark(9_850.01, 1) is None
    alarm = made.mark(9_850.0, 2)
    assert made.trading is REDUCING
    assert (alarm.code, alarm.message) == (
        "risk_reducing",
        "trading is reducing: drawdown_share is 0.015, equity 9850 of 10000; reduces from 0.015, halts at 0.02",
    )
    assert made.mark(10_500.0, 3) is None
    assert made.trading is REDUCING  # latched
    assert made.mark(10_290.0, 4).code == "risk_halted"  # 2 % below the new peak


def test_a_loss_beyond_both_bounds_halts_without_reducing_first():
    made = breaker(10_000.0, drawdown_share=0.02, reduce_from_share=0.5)
    assert made.mark(9_000.0, 1).code == "risk_halted"


def test_several_limits_that_are_reached_at_once_are_all_named():
    made = breaker(10_000.0, 9_000.0, drawdown_share=0.02, daily_loss_share=0.05, daily_loss_money=2_000)
    assert made.reason == (
        "daily_loss_share is 0.1, equity 9000 of 10000; at most 0.05; "
        "drawdown_share is 0.1, equity 9000 of 10000; at most 0.02"
    )


@pytest.mark.parametrize("equity", [math.nan, math.inf, -math.inf])
def test_an_equity_that_is_no_number_halts_and_a_reset_starts_from_the_next(equity):
    for before in ([], [10_000.0]):
        made = breaker(*before, drawdown_share=0.02)
        assert made.mark(equity, 5).message == f"trading is halted: equity is {equity}; a finite number"
        assert made.mark(equity, 6) is None
        made.command(command("reset"))
        made.mark(10_000.0, 101)
        assert made.trading is ACTIVE
        assert made.mark(9_800.0, 102).code == "risk_halted"


def test_without_anything_left_a_share_of_it_is_lost():
    made = breaker(10_000.0, 0.0, drawdown_share=0.5)
    made.command(command("reset"))
    assert made.mark(0.0, 101).code == "risk_halted"


def test_without_limits_no_loss_halts():
    assert breaker(10_000.0, 1.0, -5.0).trading is ACTIVE


def test_a_halt_is_over_by_a_reset_alone_and_losses_count_anew_then():
    made = breaker(10_000.0, 9_800.0, 9_600.0, drawdown_share=0.02, daily_loss_share=0.02)
    assert made.command(command("reset", at_us=7, who="ann", reason="a bad tick")) is True
    state = made.state
    assert (state.trading, state.since_us, state.who, state.reason) == (ACTIVE, 7, "ann", "a bad tick")
    assert (state.equity, state.peak_equity, state.day_open_equity) == (9_600.0, 9_600.0, 9_600.0)
    assert made.mark(9_408.01, 8) is None
    assert made.mark(9_408.0, 9).code == "risk_halted"


def test_a_reset_of_what_trades_changes_nothing():
    made = breaker(10_000.0, 9_900.0, drawdown_share=0.02)
    before = made.state
    assert made.command(command("reset")) is False
    assert made.state == before


def test_a_person_halts_and_flattens_and_a_halt_does_not_take_flattening_back():
    made = breaker(10_000.0)
    assert made.command(command("halt")) is True
    assert (made.trading, made.flatten) == (HALTED, False)
    assert made.command(command("halt", who="bob")) is False
    assert made.state.who == "ann"
    assert made.command(command("flatten", who="bob")) is True
    assert (made.trading, made.flatten, made.state.who) == (HALTED, True, "bob")
    assert made.command(command("halt")) is False
    assert made.flatten
    made.command(command("reset"))
    assert (made.trading, made.flatten) == (ACTIVE, False)


@pytest.mark.parametrize("kind", CommandKind)
@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"who": " "}, "who it is that says so, and why: neither may be empty"),
        ({"reason": ""}, "who it is that says so, and why: neither may be empty"),
        ({"symbol": "BTC"}, "none: trading is halted and reset for all symbols"),
    ],
)
def test_a_command_without_a_person_or_a_reason_changes_nothing(kind, wrong, expected):
    made = breaker(10_000.0, 9_000.0, drawdown_share=0.02)
    before = made.state
    with pytest.raises(InvalidField) as refused:
        made.command(command(kind, **wrong))
    assert refused.value.fields["expected"] == expected
    assert made.state == before


def test_the_state_of_a_new_breaker_knows_nothing():
    assert RiskBreaker(RiskLimits()).state == BreakerState()
