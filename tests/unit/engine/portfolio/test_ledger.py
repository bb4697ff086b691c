"""The kernel's behaviour, case by case, with numbers that can be checked by hand."""

import base64
import pickle
import struct
import zlib
from typing import Any

import numpy as np
import pytest

from raysignal.engine.core.errors import InvalidField, JournalDamaged
from raysignal.engine.core.ledger_rows import LedgerRows, Outcome, reason
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio import fills, kernel
from raysignal.engine.portfolio.ledger import Ledger, sweep
from raysignal.engine.portfolio.performance import Performance, performance_table

DAY_US = 86_400_000_000
START_US = 1_740_355_200_000_000
BUY, HOLD, SELL = 1, 0, -1
TENTH = Policy(initial_cash=11_000.0, fee_bps=1000.0)
FREE = Policy(fee_bps=0.0)


def play(policy: Policy, *signals: tuple[int, float] | tuple[int, float, int]) -> tuple[Ledger, LedgerRows]:
    """Take (action, price[, symbol]) in, a day apart."""
    symbols = [signal[2] if len(signal) == 3 else 0 for signal in signals]
    ledger, rows = Ledger(policy), LedgerRows.empty(len(signals))
    ledger.ensure_symbols(max(symbols) + 1)
    ledger.run(*columns(signals, symbols), rows=rows)
    return ledger, rows


def columns(signals: Any, symbols: list[int] | None = None) -> tuple[Any, Any, Any, Any]:
    n = len(signals)
    return (
        START_US + DAY_US * np.arange(n, dtype=np.int64),
        np.array(symbols or [0] * n, dtype=np.int32),
        np.array([signal[0] for signal in signals], dtype=np.int8),
        np.array([signal[1] for signal in signals], dtype=np.float64),
    )


def outcomes(rows: LedgerRows) -> list[Outcome]:
    return [Outcome(value) for value in rows.outcome]


def test_a_buy_spends_exactly_its_budget_and_a_sell_brings_back_what_is_left_after_its_fee() -> None:
    ledger, rows = play(TENTH, (BUY, 100.0), (HOLD, 150.0), (SELL, 120.0))
    # 11 000 = 100 at 100, and a fee of a tenth; sold for 12 000, less a fee of 1 200.
    assert outcomes(rows) == [Outcome.OPENED, Outcome.HOLD, Outcome.CLOSED]
    assert rows.fill_quantity == pytest.approx([100.0, 0.0, -100.0], rel=1e-14)
    assert rows.fill_price.tolist() == pytest.approx([100.0, np.nan, 120.0], nan_ok=True)
    assert rows.fee == pytest.approx([1000.0, 0.0, 1200.0], rel=1e-14)
    assert rows.cash[0] == 0.0
    assert rows.cash[2] == pytest.approx(10_800.0, rel=1e-14)
    assert rows.position == pytest.approx([100.0, 100.0, 0.0], rel=1e-14)
    assert rows.equity == pytest.approx([10_000.0, 15_000.0, 10_800.0], rel=1e-14)
    assert rows.signal_return == pytest.approx([-1 / 11, 0.5, -0.28], rel=1e-14)
    assert rows.realised_pnl == pytest.approx([0.0, 0.0, -200.0], rel=1e-12)
    assert rows.drawdown == pytest.approx([1 / 11, 0.0, 0.28], rel=1e-14)
    assert ledger.equity == ledger.cash == rows.cash[2]


def test_a_flip_closes_pays_its_fee_and_opens_the_other_side() -> None:
    policy = Policy(initial_cash=11_000.0, fee_bps=1000.0, side="long-short")
    _, rows = play(policy, (SELL, 100.0), (BUY, 80.0))
    # 100 sold short bring 10 000 less 1 000; bought back for 8 800, 11 200 are left and buy at 88 each.
    bought = 11_200 / 88
    assert outcomes(rows) == [Outcome.OPENED, Outcome.FLIPPED]
    assert rows.position == pytest.approx([-100.0, bought], rel=1e-14)
    assert rows.fill_quantity == pytest.approx([-100.0, 100.0 + bought], rel=1e-14)
    assert rows.fee == pytest.approx([1000.0, 800.0 + 8 * bought], rel=1e-14)
    assert rows.cash == pytest.approx([20_000.0, 0.0], rel=1e-14)
    assert rows.equity == pytest.approx([10_000.0, 80 * bought], rel=1e-14)
    assert rows.realised_pnl == pytest.approx([0.0, 200.0], rel=1e-12)


def test_a_side_already_held_is_left_alone() -> None:
    ledger, rows = play(FREE, (BUY, 100.0), (BUY, 110.0))
    assert outcomes(rows) == [Outcome.OPENED, Outcome.ALREADY_HELD]
    assert rows.fill_quantity[1] == 0.0
    assert np.isnan(rows.fill_price[1])
    assert ledger.equity == pytest.approx(11_000.0)


def test_a_sell_with_nothing_to_sell_is_recorded_and_changes_nothing() -> None:
    ledger, rows = play(FREE, (SELL, 100.0))
    assert outcomes(rows) == [Outcome.NOTHING_TO_SELL]
    assert ledger.cash == ledger.equity == 10_000.0
    assert rows.fill_quantity.tolist() == [0.0]


def test_slippage_makes_a_buy_dearer_and_a_sale_cheaper() -> None:
    policy = Policy(fee_bps=0.0, slippage_bps=100.0)
    _, rows = play(policy, (BUY, 100.0), (SELL, 100.0))
    assert rows.fill_price.tolist() == pytest.approx([101.0, 99.0])
    assert rows.equity[1] == pytest.approx(10_000 / 101 * 99)


def test_a_weight_below_one_keeps_the_rest_in_cash() -> None:
    ledger, rows = play(Policy(fee_bps=0.0, weight=0.25), (BUY, 100.0), (HOLD, 200.0))
    assert rows.position[0] == pytest.approx(25.0)
    assert ledger.cash == 7_500.0
    assert ledger.equity == pytest.approx(12_500.0)


def test_two_symbols_share_the_cash_and_the_third_gets_none() -> None:
    policy = Policy(fee_bps=0.0, weight=0.6)
    ledger, rows = play(policy, (BUY, 100.0, 0), (BUY, 10.0, 1), (BUY, 1.0, 2))
    assert outcomes(rows) == [Outcome.OPENED, Outcome.OPENED, Outcome.NO_CASH]
    assert rows.position.tolist() == pytest.approx([60.0, 400.0, 0.0])
    assert ledger.cash == 0.0
    assert ledger.equity == pytest.approx(10_000.0)


def test_cash_set_free_by_one_symbol_is_there_for_the_next() -> None:
    _, rows = play(FREE, (BUY, 100.0, 0), (BUY, 10.0, 1), (SELL, 100.0, 0), (BUY, 10.0, 1))
    assert outcomes(rows) == [Outcome.OPENED, Outcome.NO_CASH, Outcome.CLOSED, Outcome.OPENED]
    assert rows.position[3] == pytest.approx(1000.0)


def test_a_remainder_of_rounding_size_opens_nothing() -> None:
    policy = Policy(fee_bps=0.0, weight=0.9999999999)
    _, rows = play(policy, (BUY, 100.0, 0), (BUY, 10.0, 1))
    assert outcomes(rows) == [Outcome.OPENED, Outcome.NO_CASH]


def test_what_a_short_brought_in_cannot_be_spent_on_another_symbol() -> None:
    policy = Policy(fee_bps=0.0, side="long-short", weight=0.75)
    ledger, rows = play(policy, (SELL, 100.0, 0), (BUY, 10.0, 1), (SELL, 1.0, 2))
    assert outcomes(rows) == [Outcome.OPENED, Outcome.OPENED, Outcome.NO_CASH]
    # Cash is 17 500; 15 000 of it cover the short.
    assert rows.position.tolist() == pytest.approx([-75.0, 250.0, 0.0])
    assert ledger.cash == pytest.approx(15_000.0)


def test_a_short_that_explodes_can_be_closed_and_nothing_opens_after_it() -> None:
    policy = Policy(fee_bps=0.0, side="long-short")
    ledger, rows = play(policy, (SELL, 100.0), (HOLD, 300.0), (BUY, 300.0), (SELL, 300.0), (BUY, 1.0))
    assert outcomes(rows) == [
        Outcome.OPENED, Outcome.HOLD, Outcome.CLOSED_ONLY, Outcome.INSOLVENT, Outcome.INSOLVENT,
    ]  # fmt: skip
    assert rows.equity == pytest.approx([10_000.0, -10_000.0, -10_000.0, -10_000.0, -10_000.0])
    assert rows.fill_quantity == pytest.approx([-100.0, 0.0, 100.0, 0.0, 0.0])
    assert np.isnan(rows.fill_price[3])
    assert rows.signal_return == pytest.approx([0.0, -2.0, 0.0, 0.0, 0.0])
    assert rows.drawdown[-1] == 1.0
    assert ledger.cash == pytest.approx(-10_000.0)


def test_a_decision_filled_at_next_waits_for_the_symbols_next_price() -> None:
    policy = Policy(fee_bps=0.0, fill="next")
    ledger, rows = play(policy, (BUY, 100.0), (SELL, 200.0), (HOLD, 250.0), (BUY, 300.0))
    assert outcomes(rows) == [Outcome.PENDING, Outcome.PENDING, Outcome.HOLD, Outcome.PENDING]
    assert [Outcome(value) for value in rows.executed] == [
        Outcome.HOLD, Outcome.OPENED, Outcome.CLOSED, Outcome.HOLD,
    ]  # fmt: skip
    assert rows.fill_price.tolist() == pytest.approx([np.nan, 200.0, 250.0, np.nan], nan_ok=True)
    assert ledger.equity == pytest.approx(10_000 / 200 * 250)


def test_another_symbols_price_does_not_execute_what_waits() -> None:
    policy = Policy(fee_bps=0.0, fill="next")
    _, rows = play(policy, (BUY, 100.0, 0), (HOLD, 5.0, 1), (HOLD, 110.0, 0))
    assert [Outcome(value) for value in rows.executed] == [Outcome.HOLD, Outcome.HOLD, Outcome.OPENED]
    assert rows.fill_price[2] == 110.0


def test_a_waiting_decision_that_cannot_be_executed_is_recorded_where_it_failed() -> None:
    policy = Policy(fee_bps=0.0, fill="next")
    _, rows = play(policy, (BUY, 100.0, 0), (BUY, 5.0, 1), (HOLD, 100.0, 0), (HOLD, 5.0, 1))
    assert outcomes(rows)[:2] == [Outcome.PENDING, Outcome.PENDING]
    assert [Outcome(value) for value in rows.executed[2:]] == [Outcome.OPENED, Outcome.NO_CASH]


def test_at_next_a_decision_that_asks_for_nothing_does_not_wait() -> None:
    policy = Policy(fee_bps=0.0, fill="next")
    _, rows = play(policy, (SELL, 100.0), (BUY, 100.0), (BUY, 100.0), (BUY, 100.0))
    assert outcomes(rows) == [
        Outcome.NOTHING_TO_SELL, Outcome.PENDING, Outcome.ALREADY_HELD, Outcome.ALREADY_HELD,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value", "name"),
    [
        (3, np.nan, "price"), (3, np.inf, "price"), (3, 0.0, "price"), (3, -1.0, "price"),
        (2, 3, "action"), (2, -2, "action"),
        (1, 1, "symbol"), (1, -1, "symbol"),
        (0, 2**53, "timestamp_us"), (0, -(2**53), "timestamp_us"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_taken_in_is_named_and_nothing_changes(
    column: int, value: float, name: str
) -> None:
    ledger, _ = play(FREE, (BUY, 100.0))
    before = ledger.to_bytes()
    rows = columns([(SELL, 90.0), (BUY, 95.0), (SELL, 99.0)])
    rows[column][1] = value
    with pytest.raises(InvalidField) as caught:
        ledger.run(*rows)
    assert (caught.value.fields["field"], caught.value.fields["row"]) == (name, 1)
    assert ledger.to_bytes() == before


def test_a_bad_row_far_down_a_long_call_is_named_and_nothing_changes() -> None:
    ledger, _ = play(FREE, (BUY, 100.0), (HOLD, 101.0))
    before = ledger.to_bytes()
    place = kernel.CHECKED + 77
    rows = columns([(BUY, 90.0), (SELL, 95.0)] * kernel.CHECKED)
    rows[3][place] = np.nan
    with pytest.raises(InvalidField) as caught:
        ledger.run(*rows)
    assert (caught.value.fields["field"], caught.value.fields["row"]) == ("price", place)
    assert ledger.to_bytes() == before


def test_arrays_of_different_lengths_are_refused() -> None:
    stamps, symbols, actions, prices = columns([(BUY, 1.0), (SELL, 2.0)])
    ledger = Ledger(FREE)
    ledger.ensure_symbols(1)
    for short in (
        {"price": prices[:1]},
        {"rows": LedgerRows.empty(1)},
        {"accounts": np.empty((3, len(ledger.account)))},
    ):
        arguments = {"timestamp_us": stamps, "symbol": symbols, "action": actions, "price": prices} | short
        with pytest.raises(ValueError, match="differ in length"):
            ledger.run(**arguments)
    assert ledger.to_bytes() == ledger_of_one_symbol().to_bytes()


def ledger_of_one_symbol() -> Ledger:
    ledger = Ledger(FREE)
    ledger.ensure_symbols(1)
    return ledger


def test_no_signals_change_nothing() -> None:
    ledger = ledger_of_one_symbol()
    ledger.run(*columns([]))
    assert ledger.to_bytes() == ledger_of_one_symbol().to_bytes()


def test_read_only_and_strided_arrays_are_taken() -> None:
    signals = [(BUY, 100.0), (SELL, 120.0), (BUY, 90.0)]
    plain, other = ledger_of_one_symbol(), ledger_of_one_symbol()
    plain.run(*columns(signals))
    doubled = [np.repeat(column, 2)[::2] for column in columns(signals)]
    doubled[3].flags.writeable = False
    other.run(*doubled)
    assert other.to_bytes() == plain.to_bytes()


def test_the_last_price_and_instant_are_known_for_each_symbol() -> None:
    ledger, _ = play(FREE, (BUY, 100.0, 0), (HOLD, 7.0, 2))
    assert [ledger.last_price(symbol) for symbol in range(4)] == [100.0, None, 7.0, None]
    assert [ledger.last_timestamp_us(symbol) for symbol in range(4)] == [
        START_US, None, START_US + DAY_US, None,
    ]  # fmt: skip


def test_room_for_symbols_is_never_taken_away() -> None:
    ledger, _ = play(FREE, (BUY, 100.0, 2))
    before = ledger.to_bytes()
    ledger.ensure_symbols(1)
    assert ledger.to_bytes() == before


def test_a_copy_goes_its_own_way() -> None:
    ledger, _ = play(FREE, (BUY, 100.0))
    before, twin = ledger.to_bytes(), ledger.copy()
    assert twin.to_bytes() == before
    twin.run(*columns([(SELL, 50.0)]))
    assert ledger.to_bytes() == before
    assert twin.equity == pytest.approx(5_000.0)


def test_a_stored_ledger_with_any_byte_changed_or_cut_is_refused() -> None:
    ledger, _ = play(FREE, (BUY, 100.0), (SELL, 90.0, 1))
    data = ledger.to_bytes()
    assert Ledger.from_bytes(FREE, data).to_bytes() == data
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 0x10
        with pytest.raises(JournalDamaged):
            Ledger.from_bytes(FREE, bytes(flipped))
        with pytest.raises(JournalDamaged):
            Ledger.from_bytes(FREE, data[:place])
    with pytest.raises(JournalDamaged):
        Ledger.from_bytes(FREE, data + b"\0")


def test_a_stored_ledger_of_another_version_is_refused_by_name() -> None:
    body = bytearray(ledger_of_one_symbol().to_bytes()[:-4])
    body[4] = 9
    with pytest.raises(JournalDamaged, match="version 9"):
        Ledger.from_bytes(FREE, bytes(body) + struct.pack("<I", zlib.crc32(body)))


def test_a_ledger_that_the_first_version_stored_is_read_and_goes_on() -> None:
    ledger, _ = play(FREE, (BUY, 100.0), (HOLD, 120.0), (SELL, 90.0), (BUY, 95.0, 1), (HOLD, 99.0, 1))
    account = ledger.account.copy()
    # As versions before the third had it: with the last instant in the sums.
    account[at.EQUITY_SUM] += account[at.EQUITY]
    for value, before, anchor in (
        (at.EQUITY, at.BEFORE, at.RETURN_ANCHOR), (at.HOLD_VALUE, at.HOLD_BEFORE, at.HOLD_ANCHOR),
    ):  # fmt: skip
        last = account[value] / account[before] - 1.0
        account[anchor + 1] += last - account[anchor]
        account[anchor + 2] += (last - account[anchor]) ** 2
        account[anchor + 3] += min(last, 0.0) ** 2
        mean = account[anchor + 1] / account[at.SIGNALS]
        account[anchor + 2] -= account[anchor + 1] * mean
        account[anchor] += mean
    left_out = [at.PERIODS, at.BEFORE, at.HOLD_BEFORE, at.RETURN_SUM, at.HOLD_SUM]
    first = np.delete(account, left_out)
    body = struct.pack("<4sHHHI", b"RSLG", 1, 32, 6, 2) + first.tobytes() + ledger.positions.tobytes()
    read = Ledger.from_bytes(FREE, body + struct.pack("<I", zlib.crc32(body)))

    whole, _ = play(FREE, (BUY, 100.0), (HOLD, 120.0), (SELL, 90.0), (BUY, 95.0, 1), (HOLD, 99.0, 1))
    later = columns([(SELL, 70.0), (BUY, 80.0), (HOLD, 75.0), (SELL, 90.0)])
    for each in (read, whole):
        each.run(*later)
    assert numbers(read) == pytest.approx(numbers(whole), rel=1e-12, nan_ok=True)


SECOND_VERSION = {
    # Forty rows that version 2 had taken in and stored: a day apart, and two symbols in turn at two a day.
    1: (
        "UlNMRwIAIgAGAAEAAADgUv/gpobBQOBS/+CmhsFAAAAAAACIw0AAAAAAAABEQAAAAAAAADRAAAAAAAAAJEAAAAAAAAAQQJx98FQsG7VA"
        "3Nfxkt4duUAAAAAAAAAAAABpBfjICpDAAAAAAAAAAAANK3ZZ9eoJQXuGeKlIDRpBAAAAAAAAAACGAsUCNJF8Pxzz3yJrjMy/M+DBUdRv"
        "1T/+rWnW4FjCP1U/xKF5IcpAZmZmZmZ25T8AgOoVYLsYQwAAKUWixxhDAAAAOE0leUIAAAAAAAAAAAAAAAAAgFxAAAAAAAAAWUAAAAAA"
        "AABZQDxa6Qgw0Hk/tMAkbdsLxD8UwbuOedjhP6N2G2WZ7M0/AAAAAAAAYEAAAAAAAADpPwAAAAAAAAAAAAAAAAAAAAAAAAAAAIBcQAAA"
        "KUWixxhDAAAAAAAAAAAAAAAAAADwP7kaGCQ="
    ),
    2: (
        "UlNMRwIAIgAGAAIAAADgUv/gpobBQOBS/+CmhsFAAAAAAACIw0AAAAAAAABEQAAAAAAAADRAAAAAAAAAJEAAAAAAAAAQQJx98FQsG7VA"
        "3Nfxkt4duUAAAAAAAAAAAABpBfjICpDAAAAAAAAAAAANK3ZZ9eoJQQ8rdln16hlBAAAAAAAAAAAYlYB+8ep3P2G/UWeyLdC/Nsnd498L"
        "yD8KkAlfwWyyPwAAAAAAAMlAw7HBFepu5j8AgOoVYLsYQwAA2/FYwRhDAAAAOE0laUIAAAAAAAAAAAc3+4VYEWpAAAAAAAAAaUAAAAAA"
        "AABZQBDdt2dHaF0/MC2LumDMpj+8tNaNxEfDP7x0PkjHELA/N/uFWFE6bkBDTAzn/VvqPwAAAAAAAAAAAAAAAAAAAAAAAAAAAIBZQAAA"
        "2/FYwRhDAAAAAAAAAAAAAAAAAADwPwAAAAAAAAAAAAAAAAAAAAAAAAAAAIBcQAAA2/FYwRhDAAAAAAAAAAArSuMjE+jtP16Cto0="
    ),
}  # fmt: skip


def numbers(ledger: Ledger) -> dict[str, float]:
    """All figures, NaN where one is not defined."""
    table = performance_table(ledger.account.reshape(1, -1))
    return {name: float(column[0]) for name, column in table.items()}


def forty(symbols: int) -> tuple[Any, Any, Any, Any]:
    """The rows of `SECOND_VERSION`."""
    place = np.arange(40)
    return (
        START_US + DAY_US * (place // symbols),
        (place % symbols).astype(np.int32),
        np.array([(BUY, HOLD, SELL, HOLD)[row % 4] for row in place], dtype=np.int8),
        100.0 + (7 * place * place) % 31,
    )


def test_a_ledger_that_the_second_version_stored_says_what_it_said_and_goes_on() -> None:
    stored = base64.b64decode(SECOND_VERSION[1])
    assert not Ledger.is_current(stored)
    read, whole = Ledger.from_bytes(FREE, stored), Ledger(FREE)
    assert Ledger.is_current(read.to_bytes())
    figures = Performance.of(read.account)
    assert (figures.signals, figures.periods) == (40, 40)
    assert figures.sharpe == pytest.approx(0.2888477073932996, rel=1e-12)
    assert figures.sortino == pytest.approx(0.4463438229692202, rel=1e-12)
    assert figures.turnover == pytest.approx(19.897064091323408, rel=1e-12)
    assert figures.buy_and_hold.sharpe == pytest.approx(1.6332981430408025, rel=1e-12)
    assert figures.buy_and_hold.calmar == pytest.approx(11.010563637546044, rel=1e-12)

    whole.ensure_symbols(1)
    whole.run(*forty(1))
    stamps, *rest = columns([(BUY, 70.0), (SELL, 80.0), (HOLD, 75.0), (SELL, 90.0)])
    for each in (read, whole):
        each.run(stamps + 40 * DAY_US, *rest)
    assert numbers(read) == pytest.approx(numbers(whole), rel=1e-11, nan_ok=True)


def test_rows_that_the_second_version_took_in_stay_a_period_each() -> None:
    read = Ledger.from_bytes(FREE, base64.b64decode(SECOND_VERSION[2]))
    figures = Performance.of(read.account)
    assert (figures.signals, figures.periods) == (40, 40)
    assert figures.sharpe_per_period is not None
    assert figures.sharpe_per_period * np.sqrt(39 * 365 / 19) == pytest.approx(
        -0.19028416821670466, rel=1e-12
    )
    stamps, symbols, actions, prices = forty(2)
    read.run(stamps + 20 * DAY_US, symbols, actions, prices)
    assert Performance.of(read.account).periods == 60


def test_a_ledger_stored_with_other_initial_cash_is_refused() -> None:
    with pytest.raises(JournalDamaged, match=r"10000\.0.*5\.0"):
        Ledger.from_bytes(Policy(initial_cash=5.0), ledger_of_one_symbol().to_bytes())


@pytest.mark.parametrize(
    ("policy", "below", "above"),
    [
        (Policy(), 100.0, 499.0),
        (Policy(side="long-short"), 100.0, 499.0),
        (Policy(fill="next", weight=0.9), 499.0, 100.0),
        (Policy(initial_cash=1e15, fee_bps=0.0), 1e-15, 1e15),
        (Policy(initial_cash=1e15, fee_bps=0.0, side="long-short"), 1e-15, 1e15),
    ],
)  # fmt: skip
def test_no_signals_make_figures_that_are_too_large_for_a_number(
    policy: Policy, below: float, above: float
) -> None:
    signals = [(BUY, below), (SELL, above)] * 1_000
    ledger, rows = play(policy, *signals)
    assert Outcome.TOO_LARGE in rows.executed
    for name in (
        "equity",
        "cash",
        "position",
        "fee",
        "fill_quantity",
        "signal_return",
        "realised_pnl",
        "drawdown",
    ):
        assert np.isfinite(getattr(rows, name)).all(), name
    assert 1e250 < ledger.equity < 1e290
    assert ledger.account[at.OPEN] == 0.0
    figures = Performance.of(ledger.account).as_dict()
    assert None not in [figures[name] for name in ("cash", "equity", "fees", "total_return", "turnover")]
    # A sweep, and one call a row, say the same.
    stamps, symbols, actions, prices = columns(signals)
    assert sweep([policy], stamps, symbols, actions, prices)[0].tobytes() == ledger.account.tobytes()


def test_an_account_that_is_too_large_closes_what_it_has_and_says_why_it_opens_nothing() -> None:
    policy = Policy(initial_cash=1e15, fee_bps=0.0, side="long-short")
    ledger, rows = play(policy, *[(BUY, 1e-15), (SELL, 1e15)] * 8, (BUY, 1.0), (SELL, 1.0))
    closing = outcomes(rows).index(Outcome.TOO_LARGE)
    assert (rows.position[closing - 1] > 0, rows.position[closing]) == (True, 0.0)
    assert rows.fill_quantity[closing] < 0
    assert set(outcomes(rows)[closing:]) == {Outcome.TOO_LARGE}
    assert "1e250" in (reason(Outcome.TOO_LARGE) or "")
    assert ledger.equity == rows.equity[closing]


def test_the_stored_form_is_little_endian_and_starts_with_its_name() -> None:
    data = ledger_of_one_symbol().to_bytes()
    assert data[:4] == b"RSLG"
    assert struct.unpack_from("<d", data, 14) == (10_000.0,)


def test_a_sweep_without_signals_gives_the_accounts_as_they_begin() -> None:
    accounts = sweep([FREE, TENTH], *columns([]))
    assert accounts[:, 0].tolist() == [10_000.0, 11_000.0]


def test_every_outcome_that_left_something_undone_says_why() -> None:
    done = {Outcome.OPENED, Outcome.CLOSED, Outcome.FLIPPED}
    assert {outcome for outcome in Outcome if reason(outcome) is None} == done


def test_the_kernel_and_the_outcomes_agree_on_their_numbers() -> None:
    codes = [
        fills.HOLD, fills.OPENED, fills.CLOSED_ALL, fills.FLIPPED, fills.HELD, fills.PENDING,
        fills.NOTHING, fills.NO_CASH, fills.INSOLVENT, fills.CLOSED_ONLY,
        fills.TOO_LARGE,
    ]  # fmt: skip
    assert codes == [
        Outcome.HOLD, Outcome.OPENED, Outcome.CLOSED, Outcome.FLIPPED, Outcome.ALREADY_HELD,
        Outcome.PENDING, Outcome.NOTHING_TO_SELL, Outcome.NO_CASH, Outcome.INSOLVENT, Outcome.CLOSED_ONLY,
        Outcome.TOO_LARGE,
    ]  # fmt: skip


def test_rows_can_be_sliced_as_views_and_taken_as_copies() -> None:
    _, rows = play(FREE, (BUY, 100.0), (HOLD, 110.0), (SELL, 120.0))
    view, copied = rows.slice(1, 3), rows.take(rows.fill_quantity != 0.0)
    assert (len(rows), len(view), len(copied)) == (3, 2, 2)
    rows.cash[2] = -1.0
    assert view.cash[1] == -1.0
    assert copied.cash[1] == pytest.approx(12_000.0)
    assert copied.outcome.tolist() == [Outcome.OPENED, Outcome.CLOSED]


def test_rows_that_travel_between_processes_arrive_bit_by_bit():
    rows = LedgerRows.empty(3)
    for number, column in enumerate(rows.columns().values()):
        column[:] = [number, -number, 7 * number]
    rows.fill_price[1] = np.nan

    for sent in (rows, rows.slice(1, 3), LedgerRows.empty(0)):
        arrived = pickle.loads(pickle.dumps(sent, protocol=5))

        assert len(arrived) == len(sent)
        for own, other in zip(sent.columns().values(), arrived.columns().values(), strict=True):
            assert other.dtype == own.dtype
            assert other.tobytes() == own.tobytes()
