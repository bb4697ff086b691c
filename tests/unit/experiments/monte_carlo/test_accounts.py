"""Paths of an account are made of what the account did: each bar once, the open position in both, ruin for good."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.monte_carlo.distributions import (
    COLUMNS,
    FigureDistribution,
    path_figures,
    shares_beside,
)
from raysignal.experiments.monte_carlo.paths import MonteCarloSpec, Source, run_paths, source_of
from raysignal.experiments.monte_carlo.report import make_luck_report, own_sentence, sentence
from raysignal.experiments.monte_carlo.resampling import solvent, trade_growths
from raysignal.experiments.monte_carlo.running import metrics_of
from raysignal.experiments.sweeps.market import Market

DAY_US = 86_400_000_000
LONG_SHORT = Policy(side="long-short", fee_bps=0.0)
FLIPS = ([100.0, 110.0, 99.0, 99.0], [1, -1, 1, -1])


def market(prices: list[float], actions: list[int]) -> Market:
    stamps = 1_704_067_200_000_000 + np.arange(len(prices), dtype=np.int64) * DAY_US
    return Market("GOLD", Bars.of_closes(stamps, np.array(prices)), np.array(actions, np.int8))


def ledger_rows(where: Market, policy: Policy) -> LedgerRows:
    ledger, rows = Ledger(policy), LedgerRows.empty(len(where.bars))
    ledger.ensure_symbols(1)
    ledger.run(
        where.bars.known_at_us, np.zeros(len(where.bars), np.int32), where.action, where.bars.close, rows
    )
    return rows


def drawn(where: Market, spec: MonteCarloSpec) -> tuple[Source, np.ndarray, np.ndarray]:
    source = source_of(where, None, spec)
    return source, *run_paths(where, None, spec, source, 0, spec.paths)


def metrics(where: Market, spec: MonteCarloSpec) -> dict:
    source, figures, _ = drawn(where, spec)
    return metrics_of(spec, source, figures)


def test_a_flip_counts_its_bar_once() -> None:
    where = market(*FLIPS)
    spec = MonteCarloSpec("order", 50, policy=LONG_SHORT)
    source, figures, _ = drawn(where, spec)
    assert source.growths == pytest.approx([1.1, 1.1, 1.0, 1.0])  # the last was opened at the last price
    assert figures[:, 0] == pytest.approx(np.full(50, 0.21))


def test_a_flip_pays_for_its_closing_in_one_trade_and_for_its_opening_in_the_next() -> None:
    growths = source_of(
        market(*FLIPS), None, MonteCarloSpec("order", 1, policy=Policy(side="long-short", fee_bps=100.0))
    )
    long = 1.10 * 0.99 / 1.01  # buys at 1.01 of the price, sells at 0.99
    short = 1.0 + (110.0 * 0.99 - 99.0 * 1.01) / (110.0 * 1.01)
    assert growths.growths[:3] == pytest.approx([long, short, 0.99 / 1.01])
    assert growths.growths[3] == pytest.approx(1.0 - 0.01 / 1.01)  # opened at the last price: its fee


def test_the_open_position_is_a_trade_at_the_last_price_in_paths_and_in_the_account() -> None:
    where = market([100.0, 100.0, 110.0], [1, -1, 1])
    assert source_of(where, None, MonteCarloSpec("order", 1, policy=LONG_SHORT)).growths == pytest.approx(
        [1.0, 0.9, 1.0]
    )
    rising = market([100.0, 90.0, 80.0, 88.0], [1, -1, 1, 0])
    for method in ("order", "trades"):
        spec = MonteCarloSpec(method, 200, policy=Policy(fee_bps=0.0))
        source, figures, _ = drawn(rising, spec)
        assert source.growths == pytest.approx([0.9, 1.1])
        assert source.own[-1] == pytest.approx(0.99)
        assert "still open" in " ".join(source.notes)
        if method == "trades":  # 0.81, 0.99 twice, 1.21
            assert set(np.round(figures[:, 0], 9)) == {-0.19, -0.01, 0.21}
            found = metrics_of(spec, source, figures)
            assert found["better_than_own"] == pytest.approx(0.25, abs=0.1)
            assert found["equal_to_own"] == pytest.approx(0.5, abs=0.12)


@st.composite
def streams(draw: st.DrawFn) -> tuple[Market, Policy]:
    n = draw(st.integers(2, 60))
    moves = draw(st.lists(st.floats(-0.3, 0.3), min_size=n, max_size=n))
    actions = draw(st.lists(st.sampled_from([-1, 0, 1]), min_size=n, max_size=n))
    policy = Policy(
        fee_bps=draw(st.sampled_from([0.0, 10.0, 300.0])), slippage_bps=draw(st.sampled_from([0.0, 20.0])),
        side=draw(st.sampled_from(["long-flat", "long-short"])), weight=draw(st.sampled_from([1.0, 0.4])),
        fill=draw(st.sampled_from(["signal", "next"])),
    )  # fmt: skip
    return market(list(100.0 * np.exp(np.cumsum(moves))), actions), policy


@pytest.mark.slow
@given(streams(), st.integers(0, 5))
@settings(max_examples=150)
def test_the_product_of_trades_is_the_account_and_so_is_every_order(
    stream: tuple[Market, Policy], seed: int
) -> None:
    where, policy = stream
    rows = ledger_rows(where, policy)
    end = solvent(rows.equity)[-1] / policy.initial_cash
    spec = MonteCarloSpec("order", 5, seed=seed, policy=policy)
    if not (rows.position != 0.0).any():
        with pytest.raises(InvalidField, match="trades is 0"):
            source_of(where, None, spec)
        return
    growths = trade_growths(rows, policy)
    side = np.sign(rows.position)
    assert len(growths) == np.count_nonzero((side != 0) & (np.diff(side, prepend=0.0) != 0)) or end == 0.0
    assert np.prod(growths) == pytest.approx(end, rel=1e-9)
    _, figures, levels = drawn(where, spec)
    assert figures[:, 0] + 1.0 == pytest.approx(np.full(5, end), rel=1e-9)
    assert levels[:, -1] == pytest.approx(np.full(5, end), rel=1e-9)
    found = metrics_of(spec, source_of(where, None, spec), figures)
    assert (found["better_than_own"], found["equal_to_own"]) == (0.0, 1.0)


def test_trades_of_an_account_that_lost_nearly_all_still_make_it_up() -> None:
    draws = np.random.default_rng(3)
    where = market(
        list(100.0 * np.exp(np.cumsum(draws.normal(0.0, 0.01, 12_000)))), list(draws.choice([-1, 1], 12_000))
    )
    policy = Policy(side="long-short", fee_bps=50.0)
    rows = ledger_rows(where, policy)
    assert rows.equity[-1] < 1e-20
    growths = trade_growths(rows, policy)
    assert growths.min() > 0.5
    assert np.exp(np.log(growths).sum()) == pytest.approx(rows.equity[-1] / policy.initial_cash, rel=1e-9)


def test_ties_are_neither_better_nor_worse() -> None:
    values = np.array([0.21, 0.21 + 1e-15, 0.21 - 1e-15, 0.3, 0.1])
    assert shares_beside(values, 0.21) == (0.2, 0.6)
    assert FigureDistribution.of(np.full(7, 0.21 + 1e-17)).error == 0.0


def test_what_is_said_of_an_order_is_the_way_and_not_the_end() -> None:
    draws = np.random.default_rng(5)
    prices = list(100.0 * np.exp(np.cumsum(draws.normal(0.0, 0.05, 200))))
    found = metrics(
        market(prices, list(draws.choice([-1, 0, 1], 200))), MonteCarloSpec("order", 400, policy=LONG_SHORT)
    )
    assert (found["better_than_own"], found["equal_to_own"]) == (0.0, 1.0)
    assert found["figures"]["total_return"]["error"] == 0.0
    assert 0.0 < found["deeper_than_own"] < 1.0
    said = sentence(found) + " " + own_sentence(found)
    assert said.startswith("All 400 paths (order) end where the account ended; one in twenty falls by")
    assert "what the order changes is the way" in said
    assert "are better" not in said
    assert any("within a trade" in note for note in found["notes"])


def test_a_ruined_account_is_lost_for_good() -> None:
    short = market([100.0, 250.0, 400.0, 300.0], [-1, 0, 0, 1])
    for method in ("order", "trades", "bootstrap"):
        spec = MonteCarloSpec(method, 40, policy=LONG_SHORT)
        source, figures, _ = drawn(short, spec)
        assert source.own[-1] == 0.0
        assert "ruined: its equity fell to -5,000.00 at bar 2" in source.notes[-1]
        found = metrics_of(spec, source, figures)
        assert found["own"] == {
            "total_return": -1.0,
            "max_drawdown": 1.0,
            "under_water": 1.0,
            "ruined": 1.0,
        } or (method == "bootstrap" and found["own"]["total_return"] == -1.0)
        assert figures[:, 0].min() >= -1.0
        assert figures[:, 1].max() <= 1.0


def test_an_account_that_comes_back_from_below_zero_does_not() -> None:
    where = market([100.0, 250.0, 60.0, 50.0, 70.0], [-1, 0, 0, 1, 0])
    assert ledger_rows(where, LONG_SHORT).equity[-1] > 10_000.0
    source, figures, _ = drawn(where, MonteCarloSpec("bootstrap", 30, policy=LONG_SHORT))
    assert source.returns == pytest.approx([0.0, -1.0])
    assert set(figures[:, 0]) <= {0.0, -1.0}
    assert trade_growths(ledger_rows(where, LONG_SHORT), LONG_SHORT) == pytest.approx([0.0])


def test_growth_does_not_go_through_zero_twice() -> None:
    assert solvent(np.array([1.0, 0.5, -0.2, 0.4, 2.0])).tolist() == [1.0, 0.5, 0.0, 0.0, 0.0]
    assert path_figures(np.array([1.0, 0.5, 0.0, 0.0]), 0.5) == (-1.0, 1.0, 0.75, 1.0)


@pytest.mark.parametrize("method", ["bootstrap", "order", "trades"])
def test_holding_and_single_trades_are_told(method: str) -> None:
    still = market([100.0, 120.0, 90.0], [0, 0, 0])
    if method == "bootstrap":
        found = metrics(still, MonteCarloSpec(method, 20))
        assert found["notes"] == ["The account never held anything."]
        assert own_sentence(found).startswith("The account as it was came to +0.00%, as does every path")
    else:
        with pytest.raises(InvalidField, match="trades is 0; expected at least one"):
            source_of(still, None, MonteCarloSpec(method, 20))
        found = metrics(market([100.0, 120.0, 90.0], [1, 0, -1]), MonteCarloSpec(method, 20))
        assert found["trades"] == 1
        assert "There is one trade, so every path is the same." in found["notes"]
        assert found["equal_to_own"] == 1.0


def test_the_bootstrap_of_an_open_position_has_its_last_bar() -> None:
    source = source_of(
        market([100.0, 100.0, 150.0], [0, 1, 0]), None, MonteCarloSpec("bootstrap", 1, policy=LONG_SHORT)
    )
    assert source.returns == pytest.approx([0.0, 0.0, 0.5])
    assert source.own[-1] == pytest.approx(1.5)


@pytest.mark.slow
def test_the_report_draws_the_account_among_its_paths() -> None:
    spec = MonteCarloSpec("trades", 30, policy=LONG_SHORT)
    source, figures, levels = drawn(market(*FLIPS), spec)
    found = metrics_of(spec, source, figures)
    report = make_luck_report(found, {"run_id": "r"}, figures, levels, np.quantile(levels, (0.05, 0.5, 0.95), axis=0),
                              levels[0])  # fmt: skip
    assert own_sentence(found) in report.html
    for note in source.notes:
        assert note in report.html
    assert len(COLUMNS) == figures.shape[1]
    assert report.png.startswith(b"\x89PNG")


def test_figures_that_differ_by_rounding_alone_can_be_drawn() -> None:
    spec = MonteCarloSpec("order", 50, policy=Policy(fee_bps=0.0))
    where = market([100.0, 105.0, 100.0, 90.0, 95.0, 100.0, 110.0], [1, -1, 1, -1, 0, 1, 0])
    source, figures, levels = drawn(where, spec)
    assert 0.0 < np.ptp(figures[:, 1]) < 1e-12  # every order has the one trade that loses
    fan = np.quantile(levels, (0.05, 0.5, 0.95), axis=0)
    found = metrics_of(spec, source, figures)
    report = make_luck_report(found, {"run_id": "r"}, figures, levels, fan, levels[0])
    assert report.png.startswith(b"\x89PNG")
