"""Brackets, sizes and CLOSE, case by case, with numbers that can be checked by hand."""

import math
from typing import Any

import numpy as np
import pytest

from raysignal.engine.core.ledger_rows import CloseReason, LedgerRows, Outcome, close_sentence, reason
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.terms import TERMS, SignalTerms
from raysignal.engine.portfolio import fills
from raysignal.engine.portfolio.ledger import Ledger

FREE = Policy(fee_bps=0.0)
HOUR_US = 3_600_000_000
BUY, HOLD, SELL, CLOSE = 1, 0, -1, 2


def play(policy: Policy, *signals: tuple[Any, ...]) -> LedgerRows:
    """Take (action, price[, terms by name, high and low among them]) in, an hour apart, from hour 1 on."""
    n = len(signals)
    said = [signal[2] if len(signal) == 3 else {} for signal in signals]
    values = np.array([[each.get(name, np.nan) for name in TERMS] for each in said])
    high, low = (np.array([each.get(name, np.nan) for each in said]) for name in ("high", "low"))
    ledger, rows = Ledger(policy), LedgerRows.empty(n)
    ledger.ensure_symbols(1)
    ledger.run(
        HOUR_US * np.arange(1, n + 1), np.zeros(n, np.int32), np.array([signal[0] for signal in signals], np.int8),
        np.array([signal[1] for signal in signals], np.float64), rows, terms=SignalTerms(values, high, low),
    )  # fmt: skip
    return rows


def closed(rows: LedgerRows) -> list[tuple[int, str, float]]:
    """Which rows a bracket closed something at, why, and at what price."""
    return [
        (row, CloseReason(code).name, rows.exit_price[row])
        for row, code in enumerate(rows.closed_by.tolist())
        if code
    ]


@pytest.mark.parametrize(
    ("side", "later", "expected"),
    [
        (BUY, [(96.0, {}), (95.0, {})], (2, "STOP", 95.0)),
        (BUY, [(94.0, {})], (1, "STOP", 94.0)),  # gapped beyond: the row's price
        (BUY, [(97.0, {"low": 94.0})], (1, "STOP", 95.0)),  # within the bar: the level
        (BUY, [(93.0, {"high": 94.5, "low": 92.0})], (1, "STOP", 93.0)),  # the whole bar beyond it
        (BUY, [(111.0, {})], (1, "TARGET", 111.0)),
        (BUY, [(108.0, {"high": 112.0})], (1, "TARGET", 110.0)),
        (BUY, [(100.0, {"high": 112.0, "low": 90.0})], (1, "STOP", 95.0)),  # both touched
        (SELL, [(106.0, {})], (1, "STOP", 106.0)),
        (SELL, [(100.0, {"high": 105.5})], (1, "STOP", 105.0)),
        (SELL, [(91.0, {"low": 89.0})], (1, "TARGET", 90.0)),
    ],
)
def test_a_stop_or_target_closes_at_the_first_price_that_meets_it(
    side: int, later: list[tuple[float, dict[str, float]]], expected: tuple[int, str, float]
) -> None:
    levels = {"stop_loss": 100.0 - 5.0 * side, "take_profit": 100.0 + 10.0 * side}
    rows = play(
        Policy(fee_bps=0.0, side="long-short"), (side, 100.0, levels), *((HOLD, *row) for row in later), (HOLD, 100.0)
    )  # fmt: skip
    assert closed(rows) == [expected]
    assert rows.position[-1] == 0.0
    assert rows.outcome[expected[0]] == Outcome.HOLD


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        ((90.0, {"high": 101.0, "low": 99.0}), []),  # below its bar: an adjusted price beside unadjusted ones
        ((90.0, {"high": 89.0, "low": 84.0}), []),
        ((90.0, {"high": 101.0, "low": 90.00001}), [(1, "TARGET", 94.5)]),  # as good as the same
        ((90.0, {"low": 84.0}), [(1, "STOP", 85.5)]),
    ],
)
def test_a_range_that_does_not_hold_the_price_is_of_another_price(
    later: tuple[float, dict[str, float]], expected: list[tuple[int, str, float]]
) -> None:
    rows = play(FREE, (BUY, 90.0, {"stop_loss": 85.5, "take_profit": 94.5}), (HOLD, *later))
    assert closed(rows) == expected


@pytest.mark.parametrize(
    ("side", "level", "filled", "later", "expected"),
    [
        # Passed before the fill: met at the fill's price, not at a level that nobody could have sold at.
        (BUY, {"stop_loss": 99.0}, 98.0, (97.5, {"low": 97.0, "high": 99.5}), (2, "STOP", 98.0)),
        (BUY, {"stop_loss": 99.0}, 98.0, (97.0, {"low": 96.0, "high": 97.5}), (2, "STOP", 97.0)),
        (SELL, {"stop_loss": 101.0}, 102.0, (102.5, {"low": 100.5, "high": 103.0}), (2, "STOP", 102.0)),
        (SELL, {"stop_loss": 101.0}, 102.0, (103.0, {"low": 102.5, "high": 104.0}), (2, "STOP", 103.0)),
        (BUY, {"take_profit": 101.0}, 102.0, (101.5, {"low": 101.0, "high": 102.5}), (2, "TARGET", 102.0)),
        (SELL, {"take_profit": 99.0}, 98.0, (98.5, {"low": 97.5, "high": 99.0}), (2, "TARGET", 98.0)),
        # Not passed: as said.
        (BUY, {"stop_loss": 97.0}, 98.0, (97.5, {"low": 96.0, "high": 99.5}), (2, "STOP", 97.0)),
    ],
)
def test_a_level_that_was_passed_before_the_fill_is_met_at_the_price_of_the_fill(
    side: int, level: dict[str, float], filled: float, later: tuple[float, dict[str, float]], expected: Any
) -> None:
    policy = Policy(fee_bps=0.0, side="long-short", fill="next")
    rows = play(policy, (side, 100.0, level), (HOLD, filled), (HOLD, *later))
    assert closed(rows) == [expected]
    assert rows.equity[-1] == pytest.approx(10_000.0 * (1 + side * (expected[2] / filled - 1)), rel=1e-12)


@pytest.mark.parametrize("wrong", [99_999.0, 1_000.01, 1e300, math.inf])
def test_a_high_that_is_no_price_of_its_bar_neither_earns_nor_trails(wrong: float) -> None:
    policy = Policy(fee_bps=0.0, trail_bps=100.0, take_bps=5_000.0)
    rows = play(policy, (BUY, 100.0), *((HOLD, 100.0, {"high": wrong, "low": 100.0}),) * 2, (HOLD, 98.5))
    assert closed(rows) == [(3, "TRAILING", 98.5)]
    assert rows.equity[-1] == pytest.approx(9_850.0, rel=1e-12)


@pytest.mark.parametrize("wrong", [9.99, 1e-9, 0.0, -5.0])
def test_a_low_that_is_no_price_of_its_bar_meets_no_stop(wrong: float) -> None:
    rows = play(
        Policy(fee_bps=0.0, stop_bps=500.0), (BUY, 100.0), (HOLD, 100.0, {"low": wrong}), (HOLD, 120.0)
    )
    assert closed(rows) == []
    assert rows.equity[-1] == pytest.approx(12_000.0, rel=1e-12)


def test_a_range_is_also_known_by_the_names_of_metatrader() -> None:
    numbers = {"<HIGH>": np.array([112.0]), "<LOW>": np.array([90.0]), "high_low": np.array([1.0])}
    terms = SignalTerms.of(None, numbers)
    assert terms is not None
    assert [side.tolist() for side in terms.reach(np.array([100.0]))] == [[112.0], [90.0]]
    assert SignalTerms.of(None, {"higher": np.array([1.0]), "24h high": np.array([1.0])}) is None


def test_a_range_may_be_spelled_otherwise_in_every_row() -> None:
    numbers = {
        "High": np.array([np.nan, 112.0, np.nan, 7.0]), "high": np.array([np.nan, np.nan, 103.0, 9.0]),
        "lows": np.zeros(4),
    }  # fmt: skip
    terms = SignalTerms.of(None, numbers)
    assert terms is not None
    assert terms.high is not None
    np.testing.assert_array_equal(terms.high, [np.nan, 112.0, 103.0, 7.0])
    assert terms.low is None


def test_the_bar_of_the_entry_itself_meets_nothing() -> None:
    rows = play(FREE, (BUY, 100.0, {"stop_loss": 95.0, "high": 120.0, "low": 80.0}), (HOLD, 100.0))
    assert closed(rows) == []


def test_a_trailing_stop_follows_the_best_price_of_the_rows_before() -> None:
    rows = play(
        FREE,
        (BUY, 100.0, {"trailing_stop_bps": 1000.0}),
        (HOLD, 120.0),
        (HOLD, 109.0),
        (HOLD, 108.0),
        (HOLD, 90.0),
    )
    assert closed(rows) == [(3, "TRAILING", 108.0)]


def test_a_position_expires_at_the_first_row_as_late_or_later() -> None:
    rows = play(FREE, (BUY, 100.0, {"expires": 2.5 * HOUR_US}), (HOLD, 101.0), (HOLD, 103.0), (HOLD, 90.0))
    assert closed(rows) == [(2, "EXPIRY", 103.0)]


def test_an_order_that_expires_before_its_price_comes_is_dropped() -> None:
    rows = play(Policy(fill="next"), (BUY, 100.0, {"expires": 2 * HOUR_US}), (HOLD, 100.0), (HOLD, 100.0))
    assert Outcome(rows.executed[1]) is Outcome.EXPIRED
    assert not rows.position.any()


def test_a_size_takes_the_place_of_the_weight() -> None:
    rows = play(Policy(fee_bps=0.0, weight=0.5), (BUY, 100.0, {"size": 0.2}), (CLOSE, 100.0), (BUY, 100.0))
    assert rows.position.tolist() == [20.0, 0.0, 50.0]


def test_close_leaves_nothing_whatever_the_side() -> None:
    rows = play(Policy(fee_bps=0.0, side="long-short"), (CLOSE, 100.0), (SELL, 100.0), (CLOSE, 50.0))
    assert [Outcome(code).name for code in rows.outcome] == ["NOTHING_TO_CLOSE", "OPENED", "CLOSED"]
    assert rows.equity[-1] == 15_000.0


def test_a_doubtful_signal_is_a_hold_with_that_reason() -> None:
    rows = play(
        Policy(min_confidence=0.6),
        (BUY, 100.0, {"confidence": 0.59}),
        (BUY, 100.0, {"confidence": 0.6}),
        (BUY, 1.0),
    )
    assert [Outcome(code).name for code in rows.outcome] == ["LOW_CONFIDENCE", "OPENED", "ALREADY_HELD"]
    assert "min_confidence" in (reason(Outcome.LOW_CONFIDENCE) or "")


def test_a_row_closes_by_its_bracket_and_opens_by_its_order() -> None:
    rows = play(
        Policy(fee_bps=0.0, side="long-short"), (BUY, 100.0, {"stop_loss": 90.0}), (SELL, 80.0), (HOLD, 40.0)
    )
    # 100 pieces sold at 80, then 100 sold short at 80: the row's quantity is the sum of both.
    assert closed(rows) == [(1, "STOP", 80.0)]
    assert rows.fill_quantity.tolist() == [100.0, -200.0, 0.0]
    assert rows.position.tolist() == [100.0, -100.0, -100.0]
    assert rows.equity.tolist() == [10_000.0, 8_000.0, 12_000.0]


def test_levels_of_the_policy_hold_for_what_names_none() -> None:
    policy = Policy(fee_bps=0.0, stop_bps=500.0, take_bps=1_000.0)
    assert closed(play(policy, (BUY, 100.0), (HOLD, 96.0, {"low": 94.0}))) == [(1, "STOP", 95.0)]
    own = {"stop_loss": 80.0}
    assert closed(play(policy, (BUY, 100.0, own), (HOLD, 94.0), (HOLD, 100.0, {"high": 115.0}))) == [
        (2, "TARGET", 100.0 * 1.1)
    ]


def test_fee_and_slippage_are_those_of_any_fill() -> None:
    policy = Policy(fee_bps=100.0, slippage_bps=100.0, initial_cash=10_100.0 * 1.01)
    rows = play(policy, (BUY, 100.0, {"stop_loss": 90.0}), (HOLD, 95.0, {"low": 85.0}))
    assert rows.exit_price[1] == 90.0 * 0.99
    assert rows.fee[1] == pytest.approx(rows.position[0] * 90.0 * 0.99 * 0.01, rel=1e-12)


def test_the_compiled_codes_are_those_of_the_enums() -> None:
    codes = (fills.BY_STOP, fills.BY_TARGET, fills.BY_TRAILING, fills.BY_EXPIRY)
    assert codes == (CloseReason.STOP, CloseReason.TARGET, CloseReason.TRAILING, CloseReason.EXPIRY)
    later = (fills.NOTHING_TO_CLOSE, fills.LOW_CONFIDENCE, fills.EXPIRED)
    assert later == (Outcome.NOTHING_TO_CLOSE, Outcome.LOW_CONFIDENCE, Outcome.EXPIRED)
    assert all(close_sentence(code) for code in CloseReason)
