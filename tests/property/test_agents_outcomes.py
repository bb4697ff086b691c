"""What signals turned out to be worth, against a slow reference and against the ledger itself."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.agents.override.outcomes import Horizon, Outcomes, Settler
from raysignal.agents.verdicts import Verdict, decided
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.terms import SignalTerms
from raysignal.engine.portfolio.ledger import Ledger
from tests.support.effort import examples
from tests.support.override_streams import HORIZONS, POLICIES, Shape, cut, rows_of, shapes

CUTS = st.lists(st.integers(0, 200), max_size=12)


def outcomes_of(batch: SignalBatch, policy: Policy, horizon: Horizon) -> Outcomes:
    return Settler(policy, horizon).feed(*rows_of(batch))


def exits(batch: SignalBatch, horizon: Horizon, fill: str) -> dict[int, tuple[int, int]]:
    """The rows of entry and exit of each signal, by looking through its symbol's later rows."""
    found = {}
    for signal in np.flatnonzero(batch.action).tolist():
        own = [row for row in range(signal, len(batch)) if batch.symbol[row] == batch.symbol[signal]]
        entry = 1 if fill == "next" else 0
        if horizon.kind == "bars":
            leave = entry + horizon.bars
        elif horizon.kind == "time":
            due = batch.timestamp_us[own[entry]] + horizon.time_us if entry < len(own) else None
            later = [at for at, row in enumerate(own) if due is not None and batch.timestamp_us[row] >= due]
            leave = later[0] if later else len(own)
        else:
            ends = [at for at, row in enumerate(own) if batch.action[row] == -batch.action[signal]]
            leave = ends[0] + entry if ends else len(own)
        # No outcome is known in the instant of its signal: the first later row settles what ended within it.
        while leave < len(own) and batch.timestamp_us[own[leave]] == batch.timestamp_us[signal]:
            leave += 1
        if leave < len(own):
            found[signal] = own[entry], own[leave]
    return found


@settings(max_examples=examples(150))
@given(shapes(crowded=True), POLICIES, HORIZONS)
def test_entry_exit_and_instants_are_those_of_the_slow_reference(shape, policy, horizon):
    batch = shape.batch()

    found = outcomes_of(batch, policy, horizon)

    expected = exits(batch, horizon, policy.fill)
    assert sorted(found.ordinal.tolist()) == sorted(expected)
    for at, (signal, leave) in enumerate(zip(found.ordinal.tolist(), found.exit.tolist(), strict=True)):
        entry, expected_leave = expected[signal]
        assert leave == expected_leave
        assert found.decided_at_us[at] == batch.timestamp_us[signal]
        assert found.known_at_us[at] == batch.timestamp_us[leave] + horizon.lag_us
        assert found.side[at] == batch.action[signal]
        assert found.move_bps[at] == (batch.price[leave] / batch.price[entry] - 1.0) * 1e4
        assert found.right[at] == (batch.action[signal] * (batch.price[leave] - batch.price[entry]) > 0.0)
        own = batch.symbol[signal : leave + 1] == batch.symbol[signal]
        assert found.overlap[at] == own.sum() - 1


@settings(max_examples=examples(100))
@given(shapes(crowded=True), POLICIES, HORIZONS)
def test_outcomes_come_in_the_order_in_which_they_become_known(shape, policy, horizon):
    found = outcomes_of(shape.batch(), policy, horizon)

    assert (np.diff(found.exit) >= 0).all()
    assert (np.diff(found.known_at_us) >= 0).all()
    assert (found.known_at_us > found.decided_at_us).all()


@settings(max_examples=examples(100))
@given(shapes(crowded=True), POLICIES, HORIZONS, CUTS)
def test_outcomes_do_not_depend_on_how_the_rows_are_cut(shape, policy, horizon, places):
    batch = shape.batch()
    whole = outcomes_of(batch, policy, horizon)

    settler, first, parts = Settler(policy, horizon), 0, [whole]
    for piece in cut(batch, places):
        ordinal, *rest = rows_of(piece)
        parts.append(settler.feed(ordinal + first, *rest))
        first += len(piece)

    found = Outcomes.concat(parts[1:])
    for name in Outcomes.__dataclass_fields__:
        assert getattr(found, name).tobytes() == getattr(whole, name).tobytes(), name


def earned(batch: SignalBatch, rows: list[int], action: int, policy: Policy) -> float:
    """Basis points of its stake that a ledger makes of this action, taken flat and left at the last row."""
    orders = np.zeros(len(rows), np.int8)
    orders[0] = action
    orders[-2 if policy.fill == "next" else -1] = -action
    ledger, filled = Ledger(policy), LedgerRows.empty(len(rows))
    ledger.ensure_symbols(1)
    ledger.run(batch.timestamp_us[rows], np.zeros(len(rows), np.int32), orders, batch.price[rows], filled)
    # What was closed, not the equity: under `long-short` the order that closes opens the other side.
    return float(filled.realised_pnl[-1] / policy.initial_cash * 1e4)


@settings(max_examples=examples(100))
@given(shapes(30), POLICIES, HORIZONS)
def test_what_a_verdict_earned_is_what_the_ledger_makes_of_it(shape, policy, horizon):
    batch = shape.batch()
    free = replace(policy, fee_bps=0.0, slippage_bps=0.0)

    found = outcomes_of(batch, policy, horizon)

    for at, (signal, leave) in enumerate(zip(found.ordinal.tolist(), found.exit.tolist(), strict=True)):
        rows = [row for row in range(signal, leave + 1) if batch.symbol[row] == batch.symbol[signal]]
        for verdict in Verdict:
            action = int(decided(batch.action[[signal]], np.array([verdict], np.int8))[0])
            for costs, column in ((policy, found.net_bps), (free, found.gross_bps)):
                expected = earned(batch, rows, action, costs)
                assert column[at, verdict] == pytest.approx(expected, rel=1e-9, abs=1e-7)


@pytest.mark.parametrize("fill", ["signal", "next"])
def test_a_horizon_that_never_closes_settles_nothing_and_takes_no_longer_the_more_wait(fill):
    batch = Shape(seed=1, rows=400, holds=0.0, features=False).batch()
    buys = replace(batch, action=np.ones(len(batch), np.int8))
    settler = Settler(Policy(fill=fill), Horizon.parse("close"))
    ordinal, stamps, symbol, _, price = rows_of(buys)

    assert len(settler.feed(ordinal, stamps, symbol, buys.action, price)) == 0

    sells, later = np.array([-1, 0], np.int8), stamps[-1] + np.array([1, 2])
    found = settler.feed(np.array([400, 401]), later, symbol[:2], sells, price[:2])
    assert found.ordinal.tolist() == list(range(400))
    assert set(found.exit.tolist()) == {401 if fill == "next" else 400}


@pytest.mark.parametrize(
    ("fill", "prices", "moved"),
    [
        ("signal", [100.0, 94.0, 120.0, 120.0], -600.0),  # gapped beyond its stop of 95 in its own instant
        ("signal", [100.0, 96.0, 94.5, 120.0], -550.0),
        ("next", [100.0, 100.0, 94.0, 120.0], -600.0),
    ],
)
@pytest.mark.parametrize("horizon", ["2b", "1h", "close"])
def test_a_bracket_that_is_met_in_the_instant_of_its_signal_ends_its_outcome_there(
    fill, prices, moved, horizon
):
    n = len(prices)
    stamps, action = np.zeros(n, np.int64), np.zeros(n, np.int8)
    stamps[-1], action[0], action[-1] = 3_600_000_000, 1, -1
    terms = np.full((n, 6), np.nan)
    terms[0, 1] = 95.0
    settler = Settler(Policy(fill=fill), Horizon.parse(horizon))
    parts = [
        settler.feed(
            np.array([row]), stamps[[row]], np.zeros(1, np.int32), action[[row]], np.array([prices[row]]),
            SignalTerms(terms[[row]]),
        )
        for row in range(n)
    ]  # fmt: skip
    found = Outcomes.concat(parts)
    assert found.exit.tolist() == [n - 1]  # what it was worth is known in a later instant
    assert found.move_bps.tolist() == pytest.approx([moved])


@settings(max_examples=examples(80))
@given(
    seed=st.integers(0, 2**32),
    horizon=st.sampled_from(["1b", "6b", "5h", "close"]),
    fill=st.sampled_from(["signal", "next"]),
    side=st.sampled_from(["long-flat", "long-short"]),
    levels=st.sampled_from([(0.0, 0.0, 0.0), (60.0, 90.0, 0.0), (0.0, 0.0, 70.0)]),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)
def test_an_outcome_ends_with_its_bracket_where_the_ledger_closes(seed, horizon, fill, side, levels, cuts):
    draws, n = np.random.default_rng(seed), 60
    price = 100.0 * np.exp(np.cumsum(draws.normal(0.0, 0.004, n)))
    stamps = np.arange(1, n + 1, dtype=np.int64) * 3_600_000_000
    action = draws.choice([-1, 0, 0, 1, 2], n).astype(np.int8)
    terms = np.full((n, 6), np.nan)
    speaks = (draws.random((n, 6)) < 0.3) & (np.abs(action) == 1)[:, None]
    terms[:, 1], terms[:, 2], terms[:, 3] = price * (1 - 0.006 * action), price * (1 + 0.005 * action), 80.0
    terms[:, 4], terms[:, 5] = draws.random(n), stamps + draws.integers(1, 5, n) * 3_600_000_000
    terms[~speaks] = np.nan
    said = SignalTerms(terms, price * 1.003, price * 0.997)
    policy = Policy(
        fee_bps=0.0, fill=fill, side=side, min_confidence=0.3, stop_bps=levels[0], take_bps=levels[1],
        trail_bps=levels[2],
    )  # fmt: skip

    settler, parts = Settler(policy, Horizon.parse(horizon)), []
    for begin, end in pairwise(sorted({0, n, *cuts})):
        rows = slice(begin, end)
        parts.append(
            settler.feed(
                np.arange(begin, end), stamps[rows], np.zeros(end - begin, np.int32), action[rows], price[rows],
                said.slice(begin, end),
            )
        )  # fmt: skip
    found = Outcomes.concat(parts)

    doubted = terms[:, 4] < policy.min_confidence
    told = np.where(doubted, 0, action)
    expected = {}
    for signal in np.flatnonzero(np.abs(told) == 1).tolist():
        entry = signal + (fill == "next")
        ledger, rows = Ledger(policy), LedgerRows.empty(n - signal)
        ledger.ensure_symbols(1)
        alone = np.where(np.arange(signal, n) == signal, told[signal:], 0).astype(np.int8)
        ledger.run(
            stamps[signal:],
            np.zeros(n - signal, np.int32),
            alone,
            price[signal:],
            rows,
            terms=said.slice(signal, n),
        )
        if entry < n and fill == "next" and terms[signal, 5] <= stamps[entry]:
            continue
        kind = Horizon.parse(horizon)
        later = list(range(entry + 1, n))
        if kind.kind == "bars":
            ends = [row for row in later if row - entry >= kind.bars]
        elif kind.kind == "time":
            ends = [row for row in later if stamps[row] - stamps[entry] >= kind.time_us]
        else:
            ends = [row + (fill == "next") for row in range(signal + 1, n) if told[row] in {-told[signal], 2}]
        closed = [signal + row for row in np.flatnonzero(rows.closed_by).tolist()]
        last = min([*ends[:1], *closed], default=n)
        if last < n:
            left = rows.exit_price[last - signal] if last in closed else price[last]
            expected[signal] = (last, (left / price[entry] - 1.0) * 1e4)
    assert (
        dict(
            zip(
                found.ordinal.tolist(),
                zip(found.exit.tolist(), found.move_bps.tolist(), strict=True),
                strict=True,
            )
        )
        == expected
    )
