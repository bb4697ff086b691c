"""A chunk of a sweep is what ledgers make of the same actions, and does not depend on how the sweep was cut."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from raysignal.agents.verdicts import decided
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.core.terms import TERMS, SignalTerms
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.performance import Performance
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.comparison.arms import Trial, gated
from raysignal.experiments.sweeps.chunks import PERIODS, SUMS, Marks, actions_of, run_chunk
from raysignal.experiments.sweeps.market import Market, markets_of
from raysignal.experiments.sweeps.pace import SweepSpeed, cut
from raysignal.experiments.sweeps.results import sweep_findings
from raysignal.experiments.sweeps.space import Space
from raysignal.experiments.sweeps.sweep import OBJECTIVES, CrossValidation, SweepSpec, WalkForward
from raysignal.experiments.sweeps.tables import (
    RAW,
    curve,
    period_returns,
    ranked_by,
    ranks,
    sweep_table,
    worst_score,
)
from tests.support.enhanced_world import stream
from tests.support.sweep_markets import market

SPACE = Space.of(
    None, ["sma_fast=2:6:2", "sma_slow=5,11", "fee_bps=0,10", "side=long-flat,long-short", "fill=signal,next"]
)
TRIAL = Trial()


def performance(where, number):
    one = SPACE[number]
    ledger = Ledger(one.policy)
    ledger.ensure_symbols(1)
    bars = where.bars.slice(where.start, len(where.bars))
    ledger.run(
        bars.known_at_us,
        np.zeros(len(bars), np.int32),
        actions_of(where, one, TRIAL)[where.start :],
        bars.close,
    )
    return Performance.of(ledger.account).as_dict()


@pytest.mark.parametrize("start", [0, 333])
def test_every_figure_is_that_of_a_ledger_bit_for_bit(start):
    where = market(700, start=start)
    spec = SweepSpec(SPACE, validation=WalkForward(100, 50))
    table = run_chunk(where, SPACE, 0, len(SPACE), spec.marks(where), TRIAL).to_pylist()
    assert len(table) == len(SPACE) > 30
    for row in table:
        alone = performance(where, row["configuration"])
        for name in set(alone) & set(row):
            assert row[name] == alone[name], (name, row["configuration"])
    assert max(row["trades"] for row in table) > 20


def test_what_a_chunk_finds_does_not_depend_on_its_neighbours():
    where = market(500)
    marks = SweepSpec(SPACE, validation=CrossValidation(4, purge=3, embargo=2)).marks(where)
    whole = run_chunk(where, SPACE, 0, len(SPACE), marks, TRIAL)
    for begin, end in ((0, 1), (5, 6), (7, 20), (len(SPACE) - 3, len(SPACE))):
        assert run_chunk(where, SPACE, begin, end, marks, TRIAL).equals(
            whole.slice(begin, end - begin).combine_chunks()
        )


def test_periods_multiply_to_the_whole_and_sums_are_those_of_the_single_returns():
    where = market(600)
    spec = SweepSpec(SPACE, validation=WalkForward(200, 100))
    marks = spec.marks(where)
    table = run_chunk(where, SPACE, 0, len(SPACE), marks, TRIAL)
    numbers, returns = period_returns(table)
    assert numbers.tolist() == list(range(len(SPACE)))
    assert returns.shape == (256, len(SPACE))
    assert np.prod(1.0 + returns, axis=0) - 1.0 == pytest.approx(table["total_return"].to_numpy(), abs=1e-9)
    sums = table[SUMS].combine_chunks().flatten().to_numpy().reshape(len(SPACE), -1, 3)
    for number in (0, 9, 21):
        equity = curve(where, SPACE, number, TRIAL)["equity"].to_numpy()
        change = np.diff(equity, prepend=10_000.0) / np.concatenate([[10_000.0], equity[:-1]])
        for place, (begin, end) in enumerate(zip(marks.folds[:-1], marks.folds[1:], strict=True)):
            part = change[begin:end]
            expected = [np.prod(1.0 + part), part.sum(), (part**2).sum()]
            assert sums[number, place] == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_signals_of_a_file_are_a_strategy_too():
    space = Space.of("signals", ["fee_bps=0,5,10"])
    where = market(300)
    table = run_chunk(where, space, 0, 3, SweepSpec(space).marks(where), TRIAL)
    assert table["trades"].to_pylist()[0] > 10
    assert table["equity"].to_pylist() == sorted(table["equity"].to_pylist(), reverse=True)


def test_only_every_so_many_keep_their_periods():
    space = Space.of("signals", ["initial_cash=1:4001:1"])
    where = market(10)
    table = run_chunk(where, space, 0, 12, SweepSpec(space).marks(where), TRIAL)
    kept = table[PERIODS].combine_chunks().is_valid().to_pylist()
    assert kept == [number % 3 == 0 for number in range(12)]


def test_ranks_put_what_is_not_defined_last_and_equals_in_their_order():
    space = Space.of("signals", ["fee_bps=0,5,10", "weight=1e-9,1"])
    where = market(300)
    table = run_chunk(where, space, 0, 6, SweepSpec(space).marks(where), TRIAL)
    rank = ranks(table, "total_return")
    assert sorted(rank) == [1, 2, 3, 4, 5, 6]
    shown = sweep_table(where, space, table, rank)
    assert shown["weight"].to_pylist() == [1e-9, 1.0] * 3
    flat = Market("X", Bars.of_closes(where.bars.known_at_us, np.full(300, 5.0)), where.action)
    still = run_chunk(flat, space, 0, 6, SweepSpec(space).marks(flat), TRIAL)
    assert still["sharpe"].null_count
    assert ranks(still, "sharpe")[still["sharpe"].to_pylist().index(None)] > 6 - still["sharpe"].null_count


def test_over_several_markets_a_search_goes_by_the_worst_and_not_by_a_mean_of_ratios():

    def swept(ratio, drawdown, *, ruined=False):
        ratios = {name: pa.array([ratio], pa.float64()) for name in ("sharpe", "sharpe_per_period")}
        return pa.table({**ratios, "max_drawdown": [drawdown], "ruined": [ruined]})

    tables = [swept(9.0, 0.1), swept(-0.5, 0.4), swept(1.0, 0.2)]
    assert worst_score(tables, "sharpe") == -0.5
    assert worst_score(tables, "max_drawdown") == -0.4
    assert worst_score([*tables, swept(None, 0.0)], "sharpe") == -np.inf
    assert worst_score([*tables, swept(9.0, 1.0, ruined=True)], "sharpe") == -np.inf


def test_chunks_cover_every_configuration_of_every_market_once():
    markets = (market(100, symbol="A"), market(5_000, symbol="B"))
    for workers in (1, 2, 8):
        for pace in (1e-9, 1e-3):
            chunks = cut(markets, SPACE, SweepSpeed(pace), workers)
            for place in range(2):
                own = sorted((one.begin, one.end) for one in chunks if one.market == place)
                assert own[0][0] == 0
                assert own[-1][1] == len(SPACE)
                assert all(left[1] == right[0] for left, right in pairwise(own))


@pytest.mark.parametrize(
    ("field", "closes", "stamps"),
    [
        ("bars", [1.0], [1]),
        ("close", [1.0, float("nan"), 2.0], [1, 2, 3]),
        ("close", [1.0, -1.0, 2.0], [1, 2, 3]),
        ("close", [1.0, float("inf"), 2.0], [1, 2, 3]),
        ("timestamp", [1.0, 2.0, 3.0], [1, 3, 3]),
    ],
)
def test_prices_that_cannot_be_are_refused_by_field_and_row(field, closes, stamps):
    with pytest.raises(InvalidField) as refusal:
        Market("BTC", Bars.of_closes(np.array(stamps, np.int64), np.array(closes)))
    assert refusal.value.fields["field"] == field
    assert refusal.value.fields["row"] == (None if field == "bars" else 2 if field == "timestamp" else 1)


def test_two_rows_of_one_instant_are_named_by_their_row_in_the_file():
    signals = [Signal(name, 10_000_000, Action.BUY, 1.0) for name in ("ETH", "BTC", "BTC")]
    batch = replace(SignalBatch.of_signals(signals), row=np.array([4, 5, 6]))
    with pytest.raises(
        InvalidField, match=r"timestamp .*1970-01-01T00:00:10Z.* one close.*raysignal run"
    ) as refusal:
        markets_of(batch)
    assert (refusal.value.fields["field"], refusal.value.fields["row"]) == ("timestamp", 6)


def test_a_sweep_that_does_not_fit_its_market_is_refused():
    where = market(100)
    with pytest.raises(InvalidField):
        SweepSpec(SPACE, validation=WalkForward(80, 30)).check(where)
    with pytest.raises(InvalidField, match="sharpe"):
        SweepSpec(SPACE, objective="luck")
    with pytest.raises(InvalidField, match="signals"):
        SweepSpec(Space.of("signals", ["fee_bps=0,1"])).check(Market("BTC", where.bars))


def test_an_agents_gate_is_an_axis_like_any_other() -> None:
    """Signals as the agent of `raysignal compare` overrules them, with these rules."""
    batch = stream(900, bars=6, volatility=0.01)
    (where,) = markets_of(batch, whole=True)
    space = Space.of("signals", ["gate_against=0.5,0.999", "gate_least_evidence=5", "fee_bps=0,10"])
    assert len(space) == 4
    table = run_chunk(where, space, 0, 4, SweepSpec(space).marks(where), TRIAL).to_pylist()
    for row in table:
        one = space[row["configuration"]]
        rules = replace(
            TRIAL.rules, gate=replace(TRIAL.rules.gate, against=one.gate["against"], least=5.0, grey=0.5)
        )
        verdicts = gated(batch, replace(TRIAL, rules=rules)).verdict
        ledger = Ledger(one.policy)
        ledger.ensure_symbols(1)
        acted = decided(batch.action, verdicts)
        ledger.run(batch.timestamp_us, np.zeros(len(batch), np.int32), acted, batch.price)
        assert row["equity"] == ledger.equity
    assert table[0]["equity"] != table[2]["equity"], "the gate matters"
    with pytest.raises(InvalidField, match="read whole"):
        SweepSpec(space).check(market(50))
    for dial in (
        "gate_against=0.3",
        "gate_least_evidence=0",
        "gate_neighbours=0",
        "gate_neighbours=2.5",
        "gate_against=x",
    ):
        with pytest.raises(InvalidField):
            Space.of("signals", [dial])


def exploding() -> Market:
    """A SELL, prices that rise fourfold and fall below where they began, and signals to the end."""
    close = np.concatenate([[100.0, 250.0, 400.0, 60.0], 60.0 + np.arange(296) % 5])
    action = np.where(np.arange(300) % 7 == 4, 1, 0).astype(np.int8)
    action[0] = -1
    return Market("X", Bars.of_closes(np.arange(1, 301, dtype=np.int64) * 3_600_000_000, close), action)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_ruined_configurations_stand_last_whatever_decides(objective):
    space, where = Space.of("signals", ["side=long-short,long-flat", "fee_bps=0,10"]), exploding()
    table = run_chunk(where, space, 0, 4, SweepSpec(space).marks(where), TRIAL)
    assert table["ruined"].to_pylist() == [True, True, False, False]
    assert table["equity"][0].as_py() > 10_000.0, "a short that came back"
    assert sorted(ranks(table, objective)[:2]) == [3, 4]
    assert sorted(ranks(table, objective)[2:]) == [1, 2]
    assert table["max_drawdown"].to_pylist()[:2] == [1.0, 1.0]
    for name in ("sharpe", "sortino", "calmar", "sharpe_per_period", "return_over_drawdown", "profit_factor"):
        assert table[name].to_pylist()[:2] == [None, None], name


def test_from_its_ruin_on_an_account_grows_by_nothing_and_has_no_ratio():
    space, where = Space.of("signals", ["side=long-short,long-flat"], ["fee_bps=0"]), exploding()
    marks = Marks(np.array([0, 1, 2, 3, 300]), np.array([0, 1, 2, 100, 300]), 1)
    table = run_chunk(where, space, 0, 2, marks, TRIAL)
    _, returns = period_returns(table)
    assert returns[:, 0].tolist() == [0.0, -1.0, 0.0, 0.0]
    sums = table[SUMS].combine_chunks().flatten().to_numpy().reshape(2, 4, 3)
    assert sums[0, 0].tolist() == [1.0, 0.0, 0.0]
    assert (sums[0, 1:, 0] == 0.0).all()
    assert np.isnan(sums[0, 1:, 1:]).all()
    assert np.isfinite(sums[1]).all()


@pytest.mark.parametrize("objective", ["sharpe", "sortino", "calmar"])
def test_short_prices_are_ranked_by_the_figure_without_a_year(objective):
    spec, where = SweepSpec(SPACE), market(100)  # four days
    table = run_chunk(where, SPACE, 0, len(SPACE), spec.marks(where), TRIAL)
    assert table[objective].null_count == len(SPACE)
    raw = ranked_by(table, objective)
    assert raw == RAW[objective]
    assert ranks(table, objective).tolist() == ranks(table, raw).tolist()
    best = int(np.argmin(ranks(table, objective)))
    assert table[raw][best].as_py() == max(value for value in table[raw].to_pylist() if value is not None)


def test_a_sharpe_ratio_a_period_ranks_as_the_annual_one_does():
    spec, where = SweepSpec(SPACE), market(400)
    table = run_chunk(where, SPACE, 0, len(SPACE), spec.marks(where), TRIAL)
    for objective in ("sharpe", "sortino"):
        assert ranked_by(table, objective) == objective
        assert ranks(table, objective).tolist() == ranks(table, RAW[objective]).tolist()


def findings(where, *options):
    spec = SweepSpec(Space.of(None, ["sma_fast=2:6:2", "sma_slow=5,11"], ["fee_bps=1", *options]))
    table = run_chunk(where, spec.space, 0, len(spec.space), spec.marks(where), TRIAL)
    return sweep_findings((where,), spec, [table]).metrics["symbols"]["BTC"]


def stamped(where, spacing_us):
    stamps = 1_600_000_000_000_000 + np.arange(len(where.bars), dtype=np.int64) * spacing_us
    return Market("BTC", Bars.of_closes(stamps, where.bars.close), where.action)


def test_how_far_closes_lie_apart_does_not_change_whether_the_best_is_luck():
    daily, minutely = (findings(stamped(market(300), spacing)) for spacing in (86_400_000_000, 60_000_000))
    assert daily["verdict"] == minutely["verdict"]
    assert {"deflated_sharpe", "pbo", "p_value"} <= set(daily["verdict"])
    assert None not in [daily["verdict"][name] for name in ("deflated_sharpe", "pbo", "p_value")]
    assert (daily["periods_per_year"], minutely["periods_per_year"]) == (365.0, 525_600.0)
    assert daily["best"][0]["configuration"] == minutely["best"][0]["configuration"]


def test_a_sweep_counts_a_year_as_its_policies_do_and_says_so():
    observed, given = findings(market(400)), findings(market(400), "periods_per_year=252")
    assert (observed["calendar"], observed["periods_per_year"]) == ("observed", 8760.0)
    assert (given["calendar"], given["periods_per_year"]) == ("given", 252.0)
    for one in (observed, given):
        best = one["best"][0]["figures"]
        assert best["periods_per_year"] == one["periods_per_year"]
        assert best["sharpe"] == pytest.approx(best["sharpe_per_period"] * one["periods_per_year"] ** 0.5)


def test_a_calendar_is_no_axis():
    with pytest.raises(InvalidField, match="with --set"):
        Space.of("sma", ["calendar=365x24,252-sessions"])


def test_a_close_that_waits_for_the_next_price_is_one_in_a_chunk_too():
    close = 100.0 * np.exp(np.cumsum(np.random.default_rng(5).normal(0.0, 0.02, 60)))
    action = np.tile(np.array([1, 0, 2, *([0] * 7)], np.int8), 6)
    stamps = np.arange(1, 61, dtype=np.int64) * 86_400_000_000
    where = Market("X", Bars.of_closes(stamps, close), action)
    for side in ("long-flat", "long-short"):
        space = Space.of("signals", ["fee_bps=10"], ["fill=next", f"side={side}"])
        (found,) = run_chunk(where, space, 0, 1, SweepSpec(space).marks(where), TRIAL).to_pylist()
        ledger = Ledger(space[0].policy)
        ledger.ensure_symbols(1)
        ledger.run(stamps, np.zeros(60, np.int32), action, close)
        assert found["equity"] == ledger.equity


def test_brackets_of_signals_and_axes_of_stops_are_those_of_the_ledger():
    n = 400
    close = 100.0 * np.exp(np.cumsum(np.random.default_rng(3).normal(0.0, 0.004, n)))
    action = np.where(np.arange(n) % 23 == 0, 1, np.where(np.arange(n) % 37 == 0, 2, 0)).astype(np.int8)
    values = np.full((n, len(TERMS)), np.nan)
    values[::23, 2] = close[::23] * 1.02
    said = SignalTerms(values, close * 1.002, close * 0.998)
    stamps = np.arange(1, n + 1, dtype=np.int64) * 3_600_000_000
    where = Market("X", Bars.of_closes(stamps, close), action, 10, None, said)
    space = Space.of("signals", ["stop_bps=50:300:50", "trail_bps=0,120", "fill=signal,next"])
    assert len(space) == 24
    table = run_chunk(where, space, 0, len(space), SweepSpec(space).marks(where), TRIAL).to_pylist()
    for number in (0, 7, 23):
        alone = curve(where, space, number, TRIAL)
        assert alone["equity"][-1].as_py() == table[number]["equity"]
    assert len({row["equity"] for row in table}) > 12, "the axes matter"
    crossing = Space.of("sma", ["sma_fast=3", "sma_slow=9", "stop_bps=50,400"])
    swept = run_chunk(where, crossing, 0, 2, SweepSpec(crossing).marks(where), TRIAL).to_pylist()
    assert [row["equity"] for row in swept] == [
        curve(where, crossing, number, TRIAL)["equity"][-1].as_py() for number in (0, 1)
    ]
    with pytest.raises(InvalidField, match="min_confidence"):
        Space.of("sma", ["sma_fast=3", "sma_slow=9", "min_confidence=0.5"])
