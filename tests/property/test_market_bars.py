"""Bars as a stream are the bars of pandas, and outages are where the bars say they are."""

from hypothesis import given
from hypothesis import strategies as st

from raysignal.engine.market.bars import Bar, BarBuilder
from tests.support.market_bars import INSTRUMENT, SECOND, START_US, reference_bars, trade

STEPS = st.lists(
    st.tuples(st.integers(-2_500_000, 2_500_000), st.integers(1, 50), st.integers(1, 9)),
    min_size=1,
    max_size=60,
)


def arrivals(steps):
    """Trades whose stamps go forward and back."""
    at, made = 10 * SECOND, []
    for number, (step, price, size) in enumerate(steps):
        at = max(0, at + step + 200_000)
        made.append(trade(at, price, size, trade_id=str(number)))
    return made


def figures(bar: Bar):
    return bar.open_us, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades


@given(STEPS, st.sampled_from([SECOND, 5 * SECOND]), st.sampled_from([0, 1, 300_000, 3 * SECOND]))
def test_the_stream_makes_the_bars_that_pandas_makes(steps, interval_us, lateness_us):
    trades = arrivals(steps)
    builder = BarBuilder(INSTRUMENT, interval_us, lateness_us=lateness_us)
    builder.connected(0)
    made = [bar for item in trades for bar in builder.trade(item)]
    expected, late = reference_bars(trades, interval_us, lateness_us)
    assert [figures(bar) for bar in made] == expected
    assert builder.late == late
    assert all(bar.complete and bar.close_known for bar in made)


@given(st.lists(st.one_of(st.integers(1, 1_700_000), st.none()), max_size=40), st.sampled_from([0, 400_000]))
def test_what_is_not_complete_lies_in_an_outage_and_what_is_does_not(steps, lateness_us):
    """None is a cut of the connection; the next trade is the first of the new one."""
    builder = BarBuilder(INSTRUMENT, SECOND, lateness_us=lateness_us)
    at, up, prices, outages, made = 0, False, [], [], []
    since = -1
    for step in steps:
        if step is None:
            if up:
                up, since = False, START_US + at - lateness_us
            builder.lost()
            continue
        at += step
        if not up:
            up = True
            outages.append((since, START_US + at))
        prices.append((START_US + at, at % 97 + 1))
        made += builder.trade(trade(at, at % 97 + 1))
    opens = [bar.open_us for bar in made]
    assert opens == sorted(set(opens))
    for bar in made:
        touched = [outage for outage in outages if outage[0] < bar.end_us and outage[1] > bar.open_us]
        last_us, last = max(price for price in prices if price[0] < bar.end_us)
        known = not any(down < bar.end_us and up_us > last_us for down, up_us in outages)
        assert (bar.close, bar.close_known, bar.complete) == (last, known, known and not touched)
    if made:
        absent = set(range(opens[0], opens[-1], SECOND)) - set(opens)
        assert all(any(down <= us and us + SECOND <= up_us for down, up_us in outages) for us in absent)
        with_prices = {us // SECOND * SECOND for us, _ in prices}
        assert with_prices & set(range(opens[0], opens[-1] + 1, SECOND)) <= set(opens)
