"""What signals turned out to be worth, against a slow reference and against the ledger itself."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.agents.override.outcomes import Horizon, Outcomes, Settler
from raysignal.agents.verdicts import Verdict, decided
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
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
