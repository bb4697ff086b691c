"""The figures, against numbers worked out by hand."""

import json
import math

import numpy as np
import pytest

from engine import account as at
from engine.account import ACCOUNT_SIZE, new_account
from engine.ledger import Ledger
from engine.performance import Performance, performance_dicts, performance_table
from engine.policy import Policy

DAY_US = 86_400_000_000
BUY, HOLD, SELL = 1, 0, -1
FREE = Policy(fee_bps=0.0)


def performance(
    policy: Policy, *signals: tuple[int, float] | tuple[int, float, int], spacing_us: int = DAY_US
) -> Performance:
    """After (action, price[, symbol]) signals, evenly spaced."""
    symbols = [signal[2] if len(signal) == 3 else 0 for signal in signals]
    ledger = Ledger(policy)
    ledger.ensure_symbols(max(symbols) + 1)
    ledger.run(
        spacing_us * np.arange(1, len(signals) + 1, dtype=np.int64),
        np.array(symbols, dtype=np.int32),
        np.array([signal[0] for signal in signals], dtype=np.int8),
        np.array([signal[1] for signal in signals]),
    )
    return Performance.of(ledger.account)


def test_sharpe_sortino_and_calmar_of_three_daily_prices() -> None:
    figures = performance(FREE, (BUY, 100.0), (HOLD, 120.0), (HOLD, 90.0))
    # Returns 0, 0.2 and -0.25; two days lie between the first signal and the last.
    mean = -0.05 / 3
    deviation = math.sqrt((mean**2 + (0.2 - mean) ** 2 + (-0.25 - mean) ** 2) / 2)
    assert figures.sharpe == pytest.approx(mean / deviation * math.sqrt(365), rel=1e-12)
    assert figures.sortino == pytest.approx(mean / math.sqrt(0.25**2 / 3) * math.sqrt(365), rel=1e-12)
    assert figures.max_drawdown == figures.drawdown == pytest.approx(0.25, rel=1e-12)
    assert figures.calmar == pytest.approx((0.9 ** (365 / 2) - 1) / 0.25, rel=1e-12)
    assert figures.total_return == pytest.approx(-0.1, rel=1e-12)
    assert figures.signal_return == pytest.approx(-0.25, rel=1e-12)
    # A portfolio that bought at the first price without a fee is buy-and-hold.
    assert figures.buy_and_hold.total_return == pytest.approx(figures.total_return, rel=1e-12)
    for name in ("sharpe", "sortino", "max_drawdown", "calmar"):
        assert getattr(figures.buy_and_hold, name) == pytest.approx(getattr(figures, name), rel=1e-12), name


def test_annual_figures_follow_the_observed_spacing_of_signals() -> None:
    signals = [(BUY, 100.0), (HOLD, 101.0), (HOLD, 100.5), (HOLD, 102.0)]
    daily, hourly = performance(FREE, *signals), performance(FREE, *signals, spacing_us=DAY_US // 24)
    assert daily.sharpe is not None
    assert hourly.sharpe == pytest.approx(daily.sharpe * math.sqrt(24), rel=1e-12)


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
    assert held == {"total_return": 0.0, "sharpe": None, "sortino": None, "max_drawdown": 0.0, "calmar": None}
    undefined = {name for name, value in figures.items() if value is None}
    assert undefined == {
        "win_rate", "profit_factor", "sharpe", "sortino", "calmar", "exposure", "turnover",
    }  # fmt: skip
    assert figures["equity"] == figures["cash"] == figures["initial_cash"] == 5_000.0


def test_one_return_has_no_sharpe() -> None:
    figures = performance(Policy(fee_bps=10.0), (BUY, 100.0))
    assert figures.sharpe is None
    assert figures.sortino is None


def test_prices_that_stand_still_have_no_sharpe_sortino_or_calmar() -> None:
    figures = performance(FREE, *([(BUY, 100.0)] * 20))
    for part in (figures, figures.buy_and_hold):
        assert (part.sharpe, part.sortino, part.calmar) == (None, None, None)


def test_a_deviation_or_drawdown_of_mere_rounding_divides_nothing() -> None:
    account = new_account(1.0)
    account[[at.SIGNALS, at.LAST_US, at.HOLD_VALUE, at.HOLD_BASE]] = [20, DAY_US, 1.5, 1.0]
    account[[at.RETURN_ANCHOR, at.HOLD_ANCHOR]] = 0.1
    account[[at.RETURN_SQUARES, at.DOWNSIDE, at.HOLD_SQUARES, at.HOLD_DOWNSIDE]] = 1e-31
    account[[at.TROUGH, at.HOLD_TROUGH]] = 1.0 - 2.0**-53
    figures = Performance.of(account)
    for part in (figures, figures.buy_and_hold):
        assert 0.0 < part.max_drawdown < 1e-15
        assert (part.sharpe, part.sortino, part.calmar) == (None, None, None)


def test_rounding_never_makes_a_variance_negative() -> None:
    account = new_account(1.0)
    account[[at.SIGNALS, at.LAST_US]] = [3, DAY_US]
    account[[at.RETURN_SUM, at.RETURN_SQUARES]] = [0.3, np.nextafter(0.03, 0.0)]
    assert Performance.of(account).sharpe is None


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


def test_growth_beyond_a_double_leaves_calmar_undefined() -> None:
    figures = performance(FREE, (BUY, 100.0), (HOLD, 90.0), (HOLD, 300.0), spacing_us=1)
    assert figures.calmar is None
    assert figures.buy_and_hold.calmar is None
    assert figures.sharpe is not None


def test_an_account_below_zero_lost_everything_and_more() -> None:
    policy = Policy(fee_bps=0.0, side="long-short")
    figures = performance(policy, (SELL, 100.0), (HOLD, 300.0))
    assert figures.total_return == pytest.approx(-2.0)
    assert figures.max_drawdown == pytest.approx(2.0)
    assert figures.calmar == pytest.approx(-1 / 2.0)
    assert figures.turnover is None


def test_figures_are_plain_json() -> None:
    figures = performance(Policy(), (BUY, 100.0), (SELL, 90.0), (BUY, 95.0))
    parsed = json.loads(json.dumps(figures.as_dict(), allow_nan=False))
    assert parsed == figures.as_dict()
    assert isinstance(parsed["trades"], int)
    assert isinstance(parsed["buy_and_hold"], dict)


def test_a_table_holds_nan_where_a_figure_would_be_infinite() -> None:
    account = new_account(1.0)
    account[[at.SIGNALS, at.LAST_US, at.EQUITY, at.TROUGH]] = [2, 1, 3.0, 0.5]
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
