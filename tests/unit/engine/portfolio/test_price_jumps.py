import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.engine.portfolio.admission import AdmissionCode, PriceVerdicts, check_prices
from raysignal.engine.portfolio.portfolio import NO_SIGNAL_YET_US

OK, LATE, JUMP = AdmissionCode.NEW, AdmissionCode.LATE, AdmissionCode.JUMP


def judge(
    rows: list[tuple[int, int, float]],
    *,
    high_water: tuple[int, ...] = (NO_SIGNAL_YET_US, NO_SIGNAL_YET_US),
    last_price: tuple[float, ...] = (np.nan, np.nan),
    skip: tuple[int, ...] = (),
    limit: float = 5.0,
    accept_jump: bool = False,
) -> PriceVerdicts:
    """Rows are (timestamp, symbol, price)."""
    mask = np.zeros(len(rows), np.bool_)
    mask[list(skip)] = True
    return check_prices(
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int32),
        np.array([row[2] for row in rows], np.float64),
        mask,
        np.array(high_water, np.int64),
        np.array(last_price, np.float64),
        limit,
        accept_jump,
    )


def test_the_first_signal_of_a_symbol_is_taken_at_any_time_and_price():
    verdicts = judge([(-5, 0, 1e-9), (-5, 1, 1e12)])

    assert verdicts.verdict.tolist() == [OK, OK]
    assert verdicts.high_water_us.tolist() == [NO_SIGNAL_YET_US, NO_SIGNAL_YET_US]
    assert np.isnan(verdicts.last_price).all()


def test_a_price_of_zero_in_the_marks_means_no_price_yet():
    assert not judge([(1, 0, 1e12)], last_price=(0.0, 0.0)).verdict.any()


def test_a_signal_before_the_high_water_mark_is_late_and_says_which_mark_it_met():
    verdicts = judge([(9, 0, 100.0)], high_water=(10, NO_SIGNAL_YET_US), last_price=(100.0, np.nan))

    assert verdicts.verdict.tolist() == [LATE]
    assert verdicts.high_water_us.tolist() == [10]


def test_rows_of_one_instant_are_taken_in_their_order_each_measured_from_the_one_before():
    verdicts = judge([(10, 0, 100.0), (10, 0, 102.0), (10, 1, 100.0), (10, 0, 1e6), (9, 0, 102.0)])

    assert verdicts.verdict.tolist() == [OK, OK, OK, JUMP, LATE]
    assert verdicts.last_price[1] == 100.0
    assert verdicts.last_price[3] == 102.0


@pytest.mark.parametrize("price", [1000.0 * 1.0001, 10.0 / 1.0001], ids=["up", "down"])
def test_a_price_beyond_the_factor_either_way_is_a_jump_and_says_from_which_price(price):
    verdicts = judge([(1, 0, price)], last_price=(100.0, np.nan), limit=10.0)

    assert verdicts.verdict.tolist() == [JUMP]
    assert verdicts.last_price.tolist() == [100.0]


@pytest.mark.parametrize("price", [1000.0, 10.0])
def test_a_price_at_the_factor_itself_is_believed(price):
    assert not judge([(1, 0, price)], last_price=(100.0, np.nan), limit=10.0).verdict.any()


def test_a_refused_price_does_not_become_the_reference():
    verdicts = judge([(1, 0, 100.0), (2, 0, 100_000.0), (3, 0, 101.0), (4, 0, 90_000.0)])

    assert verdicts.verdict.tolist() == [OK, JUMP, OK, JUMP]
    assert verdicts.last_price.tolist()[1:] == [100.0, 100.0, 101.0]


def test_a_refused_row_does_not_move_the_high_water_mark():
    verdicts = judge([(5, 0, 100_000.0), (5, 0, 100.0)], last_price=(100.0, np.nan))

    assert verdicts.verdict.tolist() == [JUMP, OK]


def test_a_jump_that_is_meant_is_taken_and_becomes_the_reference():
    verdicts = judge([(1, 0, 1e6), (2, 0, 1e6)], last_price=(100.0, np.nan), accept_jump=True)

    assert not verdicts.verdict.any()
    assert verdicts.last_price.tolist() == [100.0, 1e6]


def test_a_late_row_with_an_absurd_price_is_called_late():
    verdicts = judge([(0, 0, 1e9)], high_water=(1, NO_SIGNAL_YET_US), last_price=(100.0, np.nan))

    assert verdicts.verdict.tolist() == [LATE]


def test_replays_are_passed_over_and_move_nothing():
    verdicts = judge([(1, 0, 1e9), (1, 0, 100.0)], last_price=(100.0, np.nan), skip=(0,))

    assert verdicts.verdict.tolist() == [OK, OK]
    assert verdicts.last_price.tolist() == [100.0, 100.0]


def test_a_price_so_far_off_that_the_ratio_overflows_is_a_jump():
    assert judge([(1, 0, 1e300)], last_price=(1e-300, np.nan)).verdict.tolist() == [JUMP]


def test_the_marks_handed_in_are_left_as_they_are():
    high_water, last_price = np.array([5], np.int64), np.array([100.0])
    check_prices(
        np.array([6], np.int64), np.zeros(1, np.int32), np.array([101.0]), np.zeros(1, np.bool_),
        high_water, last_price, 5.0, False,
    )  # fmt: skip

    assert (high_water.tolist(), last_price.tolist()) == ([5], [100.0])


def test_an_empty_batch_is_judged_to_nothing():
    assert judge([]).verdict.shape == (0,)


@settings(deadline=None)  # the first call may compile
@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 12),
            st.integers(0, 2),
            st.sampled_from([1.0, 4.9, 5.0, 5.1, 25.0, 1000.0]),
            st.booleans(),
        ),
        max_size=30,
    ),
    marks=st.lists(
        st.tuples(st.sampled_from([NO_SIGNAL_YET_US, 0, 5]), st.sampled_from([float("nan"), 0.0, 1.0, 30.0])),
        min_size=3,
        max_size=3,
    ),
    accept_jump=st.booleans(),
)
def test_the_compiled_guard_judges_as_a_plain_loop_does(rows, marks, accept_jump):
    rows = sorted(rows, key=lambda row: row[0])
    latest = {symbol: mark[0] for symbol, mark in enumerate(marks)}
    reference = {symbol: mark[1] for symbol, mark in enumerate(marks)}
    expected = []
    for timestamp, symbol, price, skipped in rows:
        last = reference[symbol]
        far = last > 0 and (price / last > 5.0 or last / price > 5.0)
        if skipped:
            expected.append((OK, latest[symbol]))
        elif timestamp < latest[symbol]:
            expected.append((LATE, latest[symbol]))
        elif far and not accept_jump:
            expected.append((JUMP, latest[symbol]))
        else:
            expected.append((OK, latest[symbol]))
            latest[symbol], reference[symbol] = timestamp, price

    verdicts = judge(
        [row[:3] for row in rows],
        high_water=tuple(mark[0] for mark in marks),
        last_price=tuple(mark[1] for mark in marks),
        skip=tuple(index for index, row in enumerate(rows) if row[3]),
        accept_jump=accept_jump,
    )

    assert list(zip(verdicts.verdict.tolist(), verdicts.high_water_us.tolist(), strict=True)) == expected
