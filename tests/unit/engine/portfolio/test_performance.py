"""The figures, against numbers worked out by hand."""

import json
import math

import numpy as np
import pytest

from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio.account import ACCOUNT_SIZE, new_account
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.performance import Performance, performance_dicts, performance_table

DAY_US = 86_400_000_000
BUY, HOLD, SELL = 1, 0, -1
FREE = Policy(fee_bps=0.0)


def performance(
    policy: Policy, *signals: tuple[int, float] | tuple[int, float, int], spacing_us: int = DAY_US
) -> Performance:
    """After (action, price[, symbol]) signals, evenly spaced."""
    return played(policy, *((spacing_us * place, *signal) for place, signal in enumerate(signals, 1)))


def played(policy: Policy, *signals: tuple[int, int, float] | tuple[int, int, float, int]) -> Performance:
    """After (microseconds, action, price[, symbol]) signals."""
    symbols = [signal[3] if len(signal) == 4 else 0 for signal in signals]
    ledger = Ledger(policy)
    ledger.ensure_symbols(max(symbols) + 1)
    ledger.run(
        np.array([signal[0] for signal in signals], dtype=np.int64),
        np.array(symbols, dtype=np.int32),
        np.array([signal[1] for signal in signals], dtype=np.int8),
        np.array([signal[2] for signal in signals]),
    )
    return Performance.of(ledger.account, policy)


def test_sharpe_sortino_and_return_over_drawdown_of_three_daily_prices() -> None:
    figures = performance(FREE, (BUY, 100.0), (HOLD, 120.0), (HOLD, 90.0))
    # Returns 0, 0.2 and -0.25.
    mean = -0.05 / 3
    deviation = math.sqrt((mean**2 + (0.2 - mean) ** 2 + (-0.25 - mean) ** 2) / 2)
    assert (figures.periods, figures.period_s) == (3, 86_400.0)
    assert figures.sharpe_per_period == pytest.approx(mean / deviation, rel=1e-12)
    assert figures.sortino_per_period == pytest.approx(mean / math.sqrt(0.25**2 / 3), rel=1e-12)
    assert figures.max_drawdown == figures.drawdown == pytest.approx(0.25, rel=1e-12)
    assert figures.return_over_drawdown == pytest.approx(-0.1 / 0.25, rel=1e-12)
    assert figures.total_return == pytest.approx(-0.1, rel=1e-12)
    assert figures.signal_return == pytest.approx(-0.25, rel=1e-12)
    # A portfolio that bought at the first price without a fee is buy-and-hold.
    assert figures.buy_and_hold.total_return == pytest.approx(figures.total_return, rel=1e-12)
    for name in ("sharpe_per_period", "sortino_per_period", "max_drawdown", "return_over_drawdown"):
        assert getattr(figures.buy_and_hold, name) == pytest.approx(getattr(figures, name), rel=1e-12), name


def wavering(n: int, spacing_us: int = DAY_US) -> Performance:
    """Bought once, and n prices that waver and rise."""
    prices = [100.0 + place % 7 + 0.1 * place for place in range(n)]
    return performance(FREE, *((BUY, price) for price in prices), spacing_us=spacing_us)


def test_annual_figures_are_those_of_a_period_by_the_observed_spacing() -> None:
    for figures in (daily := wavering(40), wavering(40).buy_and_hold):
        assert figures.sharpe == pytest.approx(figures.sharpe_per_period * math.sqrt(365), rel=1e-12)
        assert figures.sortino == pytest.approx(figures.sortino_per_period * math.sqrt(365), rel=1e-12)
        growth = (1.0 + figures.total_return) ** (365 / 39) - 1.0
        assert figures.calmar == pytest.approx(growth / figures.max_drawdown, rel=1e-12)
    six_hours = wavering(40, DAY_US // 4)
    assert six_hours.sharpe == pytest.approx(daily.sharpe * 2.0, rel=1e-12)
    assert six_hours.sharpe_per_period == pytest.approx(daily.sharpe_per_period, rel=1e-12)


@pytest.mark.parametrize(
    ("n", "spacing_us", "annual"),
    [
        (30, DAY_US, True),
        (29, DAY_US, False),  # too few returns
        (30, 7 * DAY_US // 29 + 1, True),
        (3_000, 60_000_000, False),  # two days of minutes
        (337, 1_800_000_000, True),  # a week of half hours, to the second
        (336, 1_800_000_000, False),
    ],
)
def test_figures_of_a_year_take_thirty_returns_and_a_week(n: int, spacing_us: int, annual: bool) -> None:
    figures = wavering(n, spacing_us)
    for part in (figures, figures.buy_and_hold):
        assert (part.sharpe is not None) == annual
        assert (part.sortino is not None) == annual
        assert annual or part.calmar is None
        assert part.sharpe_per_period is not None
        assert part.sortino_per_period is not None
        assert part.return_over_drawdown is not None


def test_calmar_is_not_defined_where_a_year_would_grow_beyond_a_thousandfold() -> None:
    prices = [100.0 * 1.3**place - 20.0 * (place == 20) for place in range(31)]
    figures = performance(FREE, *((BUY, price) for price in prices))
    assert figures.calmar is None
    assert figures.buy_and_hold.calmar is None
    assert figures.sharpe is not None


# What a year is

HALF_HOURS = [
    100, 100.1, 100.04995, 100.119984965, 100.099960968, 100.140000952, 100.129986952, 100.160025948, 100.099929933,
    100.180009877, 100.149955874,
]  # fmt: skip


def test_sharpe_of_half_hours_by_hand() -> None:
    """The first row's return, 0, is a period; the deviation divides by n - 1."""
    figures = performance(FREE, *((BUY, price) for price in HALF_HOURS), spacing_us=1_800_000_000)
    assert (figures.sharpe, figures.periods_per_year, figures.calendar) == (None, 17_520.0, "observed")
    assert figures.sharpe_per_period * math.sqrt(17_520) == pytest.approx(33.37098, abs=5e-6)


def test_sortino_of_days_by_hand() -> None:
    """The first row's return, 0, is a period; the deviation divides by n."""
    figures = performance(FREE, *((BUY, price) for price in (100, 101, 98.98, 101.9494, 100.929906)))
    assert (figures.sortino, figures.periods_per_year) == (None, 365.0)
    assert figures.sortino_per_period * math.sqrt(365) == pytest.approx(3.82099, abs=5e-6)


MONDAY = 4  # 1970-01-05


def sessions(n: int, bars: int = 1) -> list[tuple[int, int, float]]:
    """n weekdays from a Monday on, of so many bars an hour apart: (microseconds, action, price)."""
    days = [MONDAY + day for day in range(n * 2) if day % 7 < 5][:n]
    stamps = [day * DAY_US + bar * DAY_US // 24 for day in days for bar in range(bars)]
    return [(stamp, BUY, 100.0 + place % 7 + 0.1 * place) for place, stamp in enumerate(stamps)]


@pytest.mark.parametrize(
    ("calendar", "bars", "a_year"),
    [
        ("observed", 1, 59 * 365 / 81), ("252-sessions", 1, 252), ("365x24", 1, 365),
        ("observed", 7, None), ("252-sessions", 7, 252 * 7), ("365x24", 7, 365 * 5),
    ],
)  # fmt: skip
def test_a_calendar_counts_whole_periods_a_day_whatever_lies_between(
    calendar: str, bars: int, a_year: float | None
) -> None:
    stream = sessions(60, bars)
    figures = played(Policy.from_dict({"fee_bps": 0.0, "calendar": calendar}), *stream)
    if a_year is None:
        a_year = (len(stream) - 1) * 365 * DAY_US / (stream[-1][0] - stream[0][0])
    assert figures.periods_per_year == pytest.approx(a_year, rel=1e-12)
    assert figures.calendar == calendar
    for part in (figures, figures.buy_and_hold):
        assert part.sharpe == pytest.approx(part.sharpe_per_period * math.sqrt(a_year), rel=1e-12)
        growth = (1.0 + part.total_return) ** (a_year / (len(stream) - 1)) - 1.0
        assert part.calmar == pytest.approx(growth / part.max_drawdown, rel=1e-9)


@pytest.mark.parametrize("bars", [1, 6, 7, 13, 24])
@pytest.mark.parametrize("days", [8, 12, 15, 21, 64, 250, 522])
def test_sessions_of_a_short_intraday_history_are_counted(days: int, bars: int) -> None:
    stream = sessions(days, bars)
    holidays = math.floor(9 * (stream[-1][0] - stream[0][0]) / (365 * DAY_US))
    open_days = sorted({stamp // DAY_US for stamp, _, _ in stream})
    closed = set(open_days[20 :: len(open_days) // holidays][:holidays] if holidays else [])
    held = [row for row in stream if row[0] // DAY_US not in closed]
    assert played(Policy(calendar="252-sessions"), *held).periods_per_year == 252 * bars


@pytest.mark.parametrize(("first", "last"), [(3, 0), (0, 3), (2, 2)])
def test_sessions_that_were_begun_or_not_ended_leave_the_number_of_hourly_bars(first: int, last: int) -> None:
    stream = sessions(12, 7)
    part = stream[first : len(stream) - last]
    assert played(Policy(calendar="252-sessions"), *part).periods_per_year == 252 * 7


def test_minutes_of_two_weeks_are_those_of_their_sessions() -> None:
    days = [MONDAY + day for day in range(12) if day % 7 < 5]
    stamps = [day * DAY_US + 870 * 60_000_000 + minute * 60_000_000 for day in days for minute in range(390)]
    stream = [(stamp, BUY, 100.0 + place % 7) for place, stamp in enumerate(stamps)]
    assert played(Policy(calendar="252-sessions"), *stream).periods_per_year == 252 * 390


@pytest.mark.parametrize(("days", "hours"), [(44, 24), (44, 23), (130, 24), (261, 23)])
def test_a_market_without_holidays_has_sessions_of_its_own_length(days: int, hours: int) -> None:
    assert played(Policy(calendar="252-sessions"), *sessions(days, hours)).periods_per_year == 252 * hours


@pytest.mark.parametrize(
    ("bars_a_day", "count", "left_out", "a_day"),
    [
        (24, 400, (50, 80), 24), (24, 400, (0, 0), 24), (1440, 20_000, (5_000, 6_000), 1440), (1, 60, (5, 6), 1),
        (288, 4_000, (900, 1_000), 288), (6, 100, (0, 0), 6),
    ],
)  # fmt: skip
def test_bars_of_a_market_that_does_not_close_divide_its_day_whatever_is_missing(
    bars_a_day: int, count: int, left_out: tuple[int, int], a_day: int
) -> None:
    places = [place for place in range(count) if not left_out[0] <= place < left_out[1]]
    stream = [(place * DAY_US // bars_a_day, BUY, 100.0 + place % 7) for place in places]
    assert played(Policy(calendar="365x24"), *stream).periods_per_year == 365 * a_day


@pytest.mark.parametrize("closed", [{3}, {9}, {3, 10}])
@pytest.mark.parametrize(("bars", "apart"), [(390, 1), (78, 5), (13, 30)])
def test_more_holidays_than_a_history_is_expected_to_have_leave_the_length_of_its_sessions(
    closed: set[int], bars: int, apart: int
) -> None:
    days = [MONDAY + day for day in range(12) if day % 7 < 5 and day not in closed]
    stamps = [day * DAY_US + (870 + bar * apart) * 60_000_000 for day in days for bar in range(bars)]
    stream = [(stamp, BUY, 100.0 + place % 7) for place, stamp in enumerate(stamps)]
    assert played(Policy(calendar="252-sessions"), *stream).periods_per_year == 252 * bars


def test_a_market_that_opens_on_sunday_evening_has_five_sessions_a_week() -> None:
    hours = [week * 168 - 2 + hour for week in range(12) for hour in range(120)]
    stream = [(MONDAY * DAY_US + hour * DAY_US // 24, BUY, 100.0 + hour % 7) for hour in hours]
    assert played(Policy(calendar="252-sessions"), *stream).periods_per_year == 252 * 24


def test_an_hour_of_rest_within_the_day_of_utc_is_no_bar() -> None:
    held = [row for row in sessions(44, 24) if row[0] % DAY_US != 22 * DAY_US // 24]
    assert played(Policy(calendar="252-sessions"), *held).periods_per_year == 252 * 23


def test_weeks_are_five_sessions() -> None:
    weekly = [(place * 7 * DAY_US, BUY, 100.0 + place % 7) for place in range(40)]
    assert played(Policy(calendar="252-sessions"), *weekly).periods_per_year == 252 / 5


def test_periods_a_year_that_were_given_are_taken_and_said() -> None:
    policy = Policy(fee_bps=0.0, periods_per_year=252)
    prices = [(BUY, 100.0 + place % 7 + 0.1 * place) for place in range(40)]
    figures = performance(policy, *prices)
    assert (figures.periods_per_year, figures.calendar) == (252.0, "given")
    assert figures.sharpe == pytest.approx(figures.sharpe_per_period * math.sqrt(252), rel=1e-12)
    assert performance(policy, *prices[:5]).sharpe is None  # the history is no longer for it
    assert Performance.of(new_account(1.0), policy).periods_per_year == 252.0


@pytest.mark.parametrize("calendar", ["observed", "365x24", "252-sessions", "given"])
@pytest.mark.parametrize("rows", [0, 1, 2, 40])
@pytest.mark.parametrize("price", [100.0, 1e12])
def test_figures_are_strict_json_at_few_rows_and_after_ruin(calendar: str, rows: int, price: float) -> None:
    given = {"periods_per_year": 252} if calendar == "given" else {"calendar": calendar}
    policy = Policy.from_dict({"side": "long-short", **given})
    stream = [
        (place + 1, SELL if place == 0 else HOLD, 100.0 if place == 0 else price) for place in range(rows)
    ]
    figures = played(policy, *stream) if rows else Performance.of(new_account(10_000.0), policy)
    assert figures.ruined == (rows > 1 and price > 1e3)
    assert json.loads(json.dumps(figures.as_dict(), allow_nan=False))["calendar"] == calendar
    accounts = np.stack([new_account(10_000.0)] * 2)
    json.dumps(performance_dicts(accounts, policy), allow_nan=False)


# Instants


def many_names(
    names: int, prices: list[float], actions: list[int], still: int = 0, fee_bps: float = 0.0
) -> Performance:
    """The same signals under so many names, at the same stamps, with an equal weight each; and some that never move."""
    signals = []
    for day, (price, action) in enumerate(zip(prices, actions, strict=True), 1):
        signals += [(day * DAY_US, action, price, name) for name in range(names)]
        signals += [(day * DAY_US, HOLD, 50.0, names + name) for name in range(still)]
    return played(Policy(fee_bps=fee_bps, weight=1.0 / names), *signals)


def daily(seed: int) -> tuple[list[float], list[int]]:
    draws = np.random.default_rng(seed)
    prices = 100.0 * np.exp(np.cumsum(draws.normal(-0.002, 0.02, 120)))
    return prices.tolist(), np.where(np.arange(120) % 15 == 0, 1, 0).tolist()


def test_four_names_of_one_symbol_have_its_sharpe_and_sortino() -> None:
    prices, actions = daily(3)
    one, four = many_names(1, prices, actions), many_names(4, prices, actions)
    assert (one.signals, four.signals) == (120, 480)
    assert one.periods == four.periods == 120
    for name in (
        "sharpe", "sortino", "calmar", "sharpe_per_period", "sortino_per_period", "max_drawdown", "total_return",
        "turnover", "exposure", "period_s",
    ):  # fmt: skip
        assert getattr(four, name) == pytest.approx(getattr(one, name), rel=1e-9), name
    for name in ("sharpe", "sortino", "calmar", "max_drawdown", "total_return"):
        held = getattr(four.buy_and_hold, name)
        assert held == pytest.approx(getattr(one.buy_and_hold, name), rel=1e-9), name


def test_four_names_of_one_symbol_have_its_figures_to_within_the_fee() -> None:
    # Each buys a quarter of the equity that the fee of the name before it has left.
    prices, actions = daily(3)
    one, four = (many_names(names, prices, actions, fee_bps=100.0) for names in (1, 4))
    for name in ("sharpe", "sortino", "max_drawdown", "turnover"):
        assert getattr(four, name) == pytest.approx(getattr(one, name), rel=0.01), name
    assert four.turnover != pytest.approx(one.turnover, rel=0.001)


def test_symbols_that_never_move_change_no_figure_of_the_account() -> None:
    prices, actions = daily(4)
    alone, among = many_names(1, prices, actions), many_names(1, prices, actions, still=5)
    own, other = alone.as_dict(), among.as_dict()
    for figures in (own, other):
        del figures["buy_and_hold"], figures["signals"]
        del figures["signal_return"]  # of the last signal, which is one of a symbol that stood still
    assert other == own


def test_an_instant_ends_with_the_first_later_stamp_and_earlier_ones_belong_to_it() -> None:
    back_and_forth = played(
        FREE, (5 * DAY_US, BUY, 100.0, 0), (3 * DAY_US, HOLD, 50.0, 1), (6 * DAY_US, HOLD, 110.0, 0),
        (4 * DAY_US, HOLD, 60.0, 1), (6 * DAY_US, HOLD, 61.0, 1), (7 * DAY_US, HOLD, 99.0, 0),
    )  # fmt: skip
    in_time = played(
        FREE, (5 * DAY_US, BUY, 100.0, 0), (5 * DAY_US, HOLD, 50.0, 1), (6 * DAY_US, HOLD, 110.0, 0),
        (6 * DAY_US, HOLD, 61.0, 1), (7 * DAY_US, HOLD, 99.0, 0),
    )  # fmt: skip
    assert back_and_forth.periods == in_time.periods == 3
    assert back_and_forth.sharpe_per_period == in_time.sharpe_per_period
    # 0, a tenth up, a tenth down.
    mean = 0.0
    deviation = math.sqrt((0.1**2 + 0.1**2) / 2)
    assert back_and_forth.sharpe_per_period == pytest.approx(mean / deviation, abs=1e-12)
    assert back_and_forth.buy_and_hold.sharpe_per_period == pytest.approx(
        in_time.buy_and_hold.sharpe_per_period, rel=1e-12
    )


def test_a_price_within_an_instant_makes_no_peak() -> None:
    halves = Policy(fee_bps=0.0, weight=0.5)
    figures = played(
        halves, (DAY_US, BUY, 100.0, 0), (DAY_US, BUY, 100.0, 1), (2 * DAY_US, HOLD, 150.0, 0),
        (2 * DAY_US, HOLD, 50.0, 1),
    )  # fmt: skip
    # One rose as much as the other fell; only between the two signals was there more.
    assert figures.equity == pytest.approx(10_000.0)
    assert figures.max_drawdown == figures.drawdown == 0.0


def test_trades_fees_wins_and_turnover_of_two_round_trips() -> None:
    policy = Policy(initial_cash=11_000.0, fee_bps=1000.0)
    figures = performance(policy, (BUY, 100.0), (SELL, 120.0), (BUY, 108.0), (SELL, 216.0))
    # 100 bought and sold: 10 800 are left. 10 800 / 118.8 bought, sold at twice the price.
    quantity = 10_800 / 118.8
    end = quantity * 216 * 0.9
    assert figures.equity == figures.cash == pytest.approx(end, rel=1e-12)
    assert (figures.signals, figures.trades, figures.closed_trades) == (4, 4, 2)
    assert figures.fees == pytest.approx(1000 + 1200 + quantity * 10.8 + quantity * 21.6, rel=1e-12)
    assert figures.realised_pnl == pytest.approx(end - 11_000, rel=1e-12)
    assert figures.unrealised_pnl == 0.0
    assert figures.win_rate == 0.5
    assert figures.profit_factor == pytest.approx((end - 10_800) / 200, rel=1e-11)
    equities = 10_000 + 10_800 + quantity * 108 + end
    notional = 10_000 + 12_000 + quantity * (108 + 216)
    assert figures.turnover == pytest.approx(notional / (equities / 4), rel=1e-12)


def test_an_open_position_is_unrealised_profit_after_its_opening_fee() -> None:
    policy = Policy(initial_cash=11_000.0, fee_bps=1000.0)
    figures = performance(policy, (BUY, 100.0), (HOLD, 130.0))
    assert figures.unrealised_pnl == pytest.approx(13_000 - 11_000, rel=1e-12)
    assert figures.realised_pnl == 0.0


def test_exposure_is_the_share_of_time_with_a_position_not_of_signals() -> None:
    ledger = Ledger(FREE)
    ledger.ensure_symbols(1)
    ledger.run(
        DAY_US * np.array([1, 2, 5, 11], dtype=np.int64),
        np.zeros(4, dtype=np.int32),
        np.array([HOLD, BUY, SELL, HOLD], dtype=np.int8),
        np.full(4, 100.0),
    )
    assert Performance.of(ledger.account).exposure == pytest.approx(3 / 10)


def test_time_before_1970_counts_like_any_other() -> None:
    ledger = Ledger(FREE)
    ledger.ensure_symbols(1)
    ledger.run(
        DAY_US * np.array([-9, -5, -1], dtype=np.int64),
        np.zeros(3, dtype=np.int32),
        np.array([HOLD, BUY, SELL], dtype=np.int8),
        np.full(3, 100.0),
    )
    assert Performance.of(ledger.account).exposure == pytest.approx(0.5)


def test_a_drawdown_recovers_and_the_largest_is_remembered() -> None:
    figures = performance(FREE, (BUY, 100.0), (HOLD, 60.0), (HOLD, 200.0), (HOLD, 150.0))
    assert figures.drawdown == pytest.approx(0.25)
    assert figures.max_drawdown == pytest.approx(0.4)


def test_a_fee_paid_at_once_is_a_drawdown_from_the_initial_cash() -> None:
    figures = performance(Policy(fee_bps=1000.0), (BUY, 100.0), (HOLD, 100.0))
    assert figures.max_drawdown == pytest.approx(1 - 1 / 1.1)


def test_buy_and_hold_weighs_symbols_equally_from_their_first_prices() -> None:
    figures = performance(FREE, (HOLD, 100.0, 0), (HOLD, 5.0, 1), (HOLD, 150.0, 0), (HOLD, 4.0, 1))
    assert figures.buy_and_hold.total_return == pytest.approx((0.5 - 0.2) / 2, rel=1e-12)


def test_a_symbol_that_joins_later_is_new_money_and_no_return() -> None:
    signals = [(HOLD, 100.0, 0), (HOLD, 300.0, 0), (HOLD, 5.0, 1)]
    before, after = performance(FREE, *signals[:2]), performance(FREE, *signals)
    assert before.buy_and_hold.total_return == pytest.approx(2.0, rel=1e-12)
    assert after.buy_and_hold.total_return == pytest.approx(2.0, rel=1e-12)
    assert after.buy_and_hold.max_drawdown == 0.0
    # Its stake is the first symbol's, a quarter of the whole by now: a tenth on it is a fortieth.
    moved = performance(FREE, *signals, (HOLD, 5.5, 1))
    assert moved.buy_and_hold.total_return == pytest.approx(3 * (1 + 0.1 / 4) - 1, rel=1e-12)


def test_before_the_first_signal_nothing_is_earned_and_nothing_is_defined() -> None:
    figures = Performance.of(new_account(5_000.0)).as_dict()
    held = figures.pop("buy_and_hold")
    assert {name for name, value in held.items() if value is not None} == {"total_return", "max_drawdown"}
    assert (held["total_return"], held["max_drawdown"]) == (0.0, 0.0)
    undefined = {name for name, value in figures.items() if value is None}
    assert undefined == {
        "win_rate", "profit_factor", "sharpe", "sortino", "calmar", "exposure", "turnover", "sharpe_per_period",
        "sortino_per_period", "return_over_drawdown", "period_s", "periods_per_year",
    }  # fmt: skip
    assert (figures["periods"], figures["ruined"]) == (0, False)
    assert figures["equity"] == figures["cash"] == figures["initial_cash"] == 5_000.0


def test_one_return_has_no_sharpe() -> None:
    figures = performance(Policy(fee_bps=10.0), (BUY, 100.0))
    assert figures.sharpe_per_period is None
    assert figures.sortino_per_period is None


def test_prices_that_stand_still_have_no_sharpe_sortino_or_calmar() -> None:
    figures = performance(FREE, *([(BUY, 100.0)] * 40))
    for part in (figures, figures.buy_and_hold):
        assert (part.sharpe, part.sortino, part.calmar) == (None, None, None)
        assert (part.sharpe_per_period, part.sortino_per_period) == (None, None)


def test_a_deviation_or_drawdown_of_mere_rounding_divides_nothing() -> None:
    account = new_account(1.0)
    account[[at.SIGNALS, at.PERIODS, at.LAST_US, at.HOLD_VALUE, at.HOLD_BASE]] = [
        50,
        49,
        100 * DAY_US,
        1.5,
        1.0,
    ]
    account[[at.EQUITY, at.BEFORE, at.HOLD_BEFORE]] = [1.1, 1.0, 1.5 / 1.1]
    account[[at.RETURN_ANCHOR, at.HOLD_ANCHOR]] = 0.1
    account[[at.RETURN_SQUARES, at.DOWNSIDE, at.HOLD_SQUARES, at.HOLD_DOWNSIDE]] = 1e-31
    account[[at.TROUGH, at.HOLD_TROUGH]] = 1.0 - 2.0**-53
    account[[at.PEAK, at.HOLD_PEAK]] = [1.0, 1.3]
    figures = Performance.of(account)
    for part in (figures, figures.buy_and_hold):
        assert 0.0 < part.max_drawdown < 1e-15
        assert (part.sharpe, part.sortino, part.calmar) == (None, None, None)


def test_rounding_never_makes_a_variance_negative() -> None:
    account = new_account(1.0)
    account[[at.SIGNALS, at.PERIODS, at.LAST_US, at.EQUITY]] = [3, 2, DAY_US, 1.1]
    account[[at.RETURN_SUM, at.RETURN_SQUARES]] = [0.2, np.nextafter(0.02, 0.0)]
    assert Performance.of(account).sharpe_per_period is None


def test_a_long_rise_that_hardly_varies_keeps_the_digits_of_its_sharpe() -> None:
    n = 50_000
    price = 100.0 * np.exp(np.cumsum(np.random.default_rng(7).normal(1e-5, 1e-8, n)))
    ledger = Ledger(FREE)
    ledger.ensure_symbols(1)
    ledger.run(DAY_US * np.arange(1, n + 1), np.zeros(n, np.int32), np.ones(n, np.int8), price)
    returns = [0.0, *(price[1:] / price[:-1] - 1.0).tolist()]
    mean = math.fsum(returns) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in returns) / (n - 1))
    expected = pytest.approx(mean / deviation * math.sqrt(365), rel=1e-11)
    assert Performance.of(ledger.account).buy_and_hold.sharpe == expected


def test_without_a_loss_there_is_no_profit_factor_and_without_a_gain_it_is_zero() -> None:
    assert performance(FREE, (BUY, 100.0), (SELL, 120.0)).profit_factor is None
    assert performance(FREE, (BUY, 100.0), (SELL, 90.0)).profit_factor == 0.0


def test_a_position_closed_at_its_price_is_neither_a_win_nor_a_loss() -> None:
    figures = performance(FREE, (BUY, 64.0), (SELL, 64.0))
    assert figures.closed_trades == 1
    assert figures.win_rate == 0.0
    assert figures.profit_factor is None


def test_a_loss_of_mere_rounding_makes_no_profit_factor() -> None:
    draws = np.random.default_rng(1)
    signals = []
    for price in draws.uniform(90.0, 110.0, 40).tolist():
        signals += [(BUY, price), (SELL, price)]  # closed at its own price
    figures = performance(FREE, *signals, (BUY, 100.0), (SELL, 110.0))
    assert figures.closed_trades == 41
    assert figures.profit_factor is None


# Ruin


def test_an_account_whose_equity_is_not_above_zero_is_ruined() -> None:
    policy = Policy(fee_bps=0.0, side="long-short")
    figures = performance(policy, (SELL, 100.0), (HOLD, 250.0), (HOLD, 400.0), (HOLD, 300.0))
    assert figures.ruined is True
    assert figures.equity == pytest.approx(-10_000.0)
    assert figures.total_return == pytest.approx(-2.0)
    assert figures.max_drawdown == figures.drawdown == 1.0
    for name in (
        "sharpe", "sortino", "calmar", "sharpe_per_period", "sortino_per_period", "return_over_drawdown", "turnover",
        "profit_factor",
    ):  # fmt: skip
        assert getattr(figures, name) is None, name
    assert figures.buy_and_hold.calmar is None
    assert figures.buy_and_hold.return_over_drawdown == pytest.approx(2.0 / 0.25)


def test_a_short_that_comes_back_from_below_zero_is_still_ruined() -> None:
    policy = Policy(fee_bps=0.0, side="long-short")
    signals = [(SELL, 100.0), (HOLD, 250.0), *((HOLD, 50.0 + place % 3) for place in range(60))]
    figures = performance(policy, *signals)
    assert figures.equity > 14_000.0
    assert figures.ruined is True
    assert figures.max_drawdown == 1.0
    assert figures.drawdown < 0.1
    assert (figures.sharpe, figures.sortino, figures.calmar) == (None, None, None)


def test_ruin_within_an_instant_counts() -> None:
    policy = Policy(fee_bps=0.0, side="long-short", weight=0.5)
    signals = [(DAY_US, SELL, 100.0, 0), (DAY_US, BUY, 100.0, 1)]
    figures = played(policy, *signals, (2 * DAY_US, HOLD, 500.0, 0), (2 * DAY_US, HOLD, 900.0, 1))
    assert figures.equity > 0.0
    assert figures.ruined is True
    assert (
        played(policy, *signals, (2 * DAY_US, HOLD, 900.0, 1), (2 * DAY_US, HOLD, 500.0, 0)).ruined is False
    )


def test_nothing_left_at_all_is_ruin() -> None:
    policy = Policy(fee_bps=0.0, side="long-short")
    figures = performance(policy, (SELL, 100.0), (HOLD, 200.0))
    assert (figures.equity, figures.ruined) == (0.0, True)
    assert performance(policy, (SELL, 100.0), (HOLD, 199.0)).ruined is False


def test_figures_are_plain_json() -> None:
    figures = performance(Policy(), (BUY, 100.0), (SELL, 90.0), (BUY, 95.0))
    parsed = json.loads(json.dumps(figures.as_dict(), allow_nan=False))
    assert parsed == figures.as_dict()
    assert isinstance(parsed["trades"], int)
    assert isinstance(parsed["buy_and_hold"], dict)


def test_a_table_holds_nan_where_a_figure_would_be_infinite() -> None:
    account = new_account(1.0)
    account[[at.SIGNALS, at.PERIODS, at.LAST_US, at.EQUITY, at.TROUGH]] = [50, 49, 8 * DAY_US, 1e300, 0.5]
    assert np.isnan(performance_table(account.reshape(1, -1))["calmar"][0])


def test_a_table_has_a_column_a_figure_and_nan_where_undefined() -> None:
    accounts = np.stack([new_account(1.0), new_account(2.0)])
    table = performance_table(accounts)
    assert table["equity"].tolist() == [1.0, 2.0]
    assert np.isnan(table["sharpe"]).all()
    assert table["buy_and_hold_total_return"].tolist() == [0.0, 0.0]
    assert all(len(column) == 0 for column in performance_table(np.empty((0, ACCOUNT_SIZE))).values())


def test_figures_of_many_accounts_at_once_are_those_of_each():
    ledger = Ledger(Policy(side="long-short"))
    ledger.ensure_symbols(1)
    n = 50
    accounts = np.empty((n, ACCOUNT_SIZE))
    ledger.run(
        np.arange(n) * 60_000_000, np.zeros(n, np.int32), (np.arange(n) % 3 - 1).astype(np.int8),
        100.0 + np.sin(np.arange(n)), accounts=accounts,
    )  # fmt: skip
    assert performance_dicts(accounts) == [Performance.of(account).as_dict() for account in accounts]
    assert performance_dicts(new_account(1.0).reshape(1, -1)) == [Performance.of(new_account(1.0)).as_dict()]
