"""The folds of a sweep together are one account: the tests' returns one after the other."""

import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.comparison.arms import Trial
from raysignal.experiments.selection.folds import walk_forward
from raysignal.experiments.sweeps.chunks import SUMS, run_chunk
from raysignal.experiments.sweeps.folding import choices, folds_table, out_of_sample
from raysignal.experiments.sweeps.market import Market
from raysignal.experiments.sweeps.space import Space
from raysignal.experiments.sweeps.sweep import CrossValidation, SweepSpec, WalkForward, fold_edges
from raysignal.experiments.sweeps.tables import curve
from tests.support.sweep_markets import market

HOURS_A_YEAR = 365 * 24


def hourly(n: int) -> Market:
    stamps = 1_600_000_000_000_000 + np.arange(n, dtype=np.int64) * 3_600_000_000
    return Market("BTC", Bars.of_closes(stamps, np.full(n, 100.0)))


def table_of(returns: np.ndarray, edges: np.ndarray) -> pa.Table:
    """What a chunk keeps of configurations with these returns, float64[configurations, bars]."""
    sums = []
    for row in returns:
        equity = np.cumprod(np.concatenate([[1.0], 1.0 + row]))
        sums.append(
            [
                figure
                for begin, end in pairwise(edges)
                for figure in (
                    equity[end] / equity[begin] if equity[begin] > 0.0 else 1.0,
                    row[begin:end].sum(),
                    (row[begin:end] ** 2).sum(),
                )
            ]
        )
    return pa.table({SUMS: pa.array(sums, pa.large_list(pa.float64()))})


def test_the_ratio_out_of_sample_is_that_of_the_stitched_returns_and_agrees_with_what_they_earned() -> None:
    """One wild fold that gains 16 %, one calm fold that loses 0.4 %: the mean of the two ratios is far below 0."""
    wild, calm = [0.10, -0.02, 0.04, 0.04], [-0.001, -0.001, -0.001, -0.0011]
    chosen_one = np.array([0.01, 0.02, 0.01, 0.02, *wild, *calm])
    other = np.array([-0.01, -0.02, -0.01, 0.0, -0.01, 0.0, -0.01, -0.02, 0.0, 0.001, 0.002, 0.0])
    folds = walk_forward(12, 4, 4)
    where = hourly(12)
    table = table_of(np.stack([other, chosen_one]), fold_edges(folds))
    chosen = choices(table, folds, by_return=False)
    assert [one.configuration for one in chosen] == [1, 1]
    found = out_of_sample(where, chosen, periods_per_year=HOURS_A_YEAR, by_return=False)

    # By hand: 1.1 * 0.98 * 1.04 * 1.04 * 0.999 ** 3 * 0.9989, and the eight returns' mean over their deviation.
    assert found.total_return == pytest.approx(0.161192, abs=1e-6)
    assert found.sharpe_per_bar == pytest.approx(0.0194875 / 0.0388515, rel=1e-5)
    assert found.sharpe is None  # eight hours are no year
    stitched = np.array(wild + calm)
    assert found.sharpe_per_bar == pytest.approx(stitched.mean() / stitched.std(ddof=1))
    assert found.bars == 8
    assert np.mean([one.test for one in chosen]) < 0.0 < found.sharpe_per_bar  # what was shown before
    assert found.test == (
        chosen[1].test,
        pytest.approx(np.mean([one.test for one in chosen])),
        chosen[0].test,
    )
    assert (
        f"earned {found.total_return:+.2%} in the tests of 2 folds together, Sharpe {found.sharpe_per_bar:.3g} a bar "
        "(too short for a year); " in found.sentence
    )


@pytest.mark.parametrize("validation", [WalkForward(200, 100), CrossValidation(5, purge=3, embargo=2)])
@pytest.mark.parametrize("by_return", [False, True])
def test_stitched_figures_are_those_of_the_accounts_bar_by_bar(validation, by_return) -> None:
    where, space = market(600), Space.of("sma", ["sma_fast=2:6:2", "sma_slow=10,20"], ["side=long-short"])
    spec = SweepSpec(space, validation=validation)
    table = run_chunk(where, space, 0, len(space), spec.marks(where), Trial())
    folds = spec.folds(where)
    chosen = choices(table, folds, by_return=by_return)
    parts = []
    for fold, one in zip(folds, chosen, strict=True):
        equity = curve(where, space, one.configuration, Trial())["equity"].to_numpy()
        returns = equity / np.concatenate([[10_000.0], equity[:-1]]) - 1.0
        parts += [returns[begin:end] for begin, end in fold.test]
    stitched = np.concatenate(parts)
    found = out_of_sample(where, chosen, periods_per_year=HOURS_A_YEAR, by_return=by_return)
    assert found.bars == len(stitched)
    assert found.total_return == pytest.approx(np.prod(1.0 + stitched) - 1.0, abs=1e-9)
    ratio = stitched.mean() / stitched.std(ddof=1) * math.sqrt(HOURS_A_YEAR)
    assert found.sharpe == pytest.approx(ratio, rel=1e-6)
    assert found.sharpe_per_bar == pytest.approx(ratio / math.sqrt(HOURS_A_YEAR), rel=1e-6)


@pytest.mark.parametrize("by_return", [False, True])
def test_a_configuration_that_was_ruined_is_not_chosen_and_does_not_come_back(by_return) -> None:
    """One owes as much as it had after the first bar, and gains from then on; the other loses a little."""
    ruined = np.array([-2.0, 1.0, 0.5, 0.5, *[0.5] * 8])
    meek = np.array([-0.001, -0.002, -0.001, -0.002] * 3)
    folds = walk_forward(12, 4, 4)
    where = hourly(12)
    table = table_of(np.stack([ruined, meek]), fold_edges(folds))
    chosen = choices(table, folds, by_return=by_return)
    assert [one.configuration for one in chosen] == [1, 1]
    alone = choices(table.slice(0, 1), folds, by_return=by_return)
    assert [one.test_return for one in alone] == [-1.0, -1.0]
    together = out_of_sample(where, alone, periods_per_year=HOURS_A_YEAR, by_return=by_return)
    assert together.total_return == -1.0
    assert together.sharpe is None
    assert "Sharpe not defined" in together.sentence


def test_two_ruins_do_not_multiply_to_a_gain() -> None:
    returns = np.zeros((1, 12))
    returns[0, [5, 9]] = -2.0
    folds = walk_forward(12, 4, 4)
    where = hourly(12)
    chosen = choices(table_of(returns, fold_edges(folds)), folds, by_return=True)
    assert out_of_sample(where, chosen, periods_per_year=HOURS_A_YEAR, by_return=True).total_return == -1.0


def test_prices_that_never_move_have_no_ratio_out_of_sample() -> None:
    folds = walk_forward(12, 4, 4)
    where = hourly(12)
    chosen = choices(table_of(np.zeros((2, 12)), fold_edges(folds)), folds, by_return=False)
    found = out_of_sample(where, chosen, periods_per_year=HOURS_A_YEAR, by_return=False)
    assert (found.total_return, found.sharpe, found.train, found.test) == (0.0, None, None, None)
    assert folds_table(where, folds, chosen)["test"].null_count == 2


@pytest.mark.parametrize("by_return", [False, True])
def test_configurations_that_hold_nothing_in_a_test_are_ties(by_return: bool) -> None:
    """The sums of a stretch are differences, which carry the rounding of what came before it."""
    draws = np.random.default_rng(0)
    returns = np.concatenate([draws.normal(0.002, 0.01, 300), draws.normal(-0.004, 0.01, 300)])
    close = np.round(100.0 * np.exp(np.cumsum(returns)), 2)
    stamps = 1_600_000_000_000_000 + np.arange(600) * 86_400_000_000
    market = Market("X", Bars.of_closes(stamps, close))
    space = Space.of("sma", ["sma_fast=5:30:5", "sma_slow=40:120:10"])
    spec = SweepSpec(space, validation=WalkForward(200, 50))
    table = run_chunk(market, space, 0, len(space), spec.marks(market), Trial())
    folds = spec.folds(market)
    held = np.array([curve(market, space, k, Trial())["position"].to_numpy() != 0 for k in range(len(space))])
    found = 0
    for fold, chosen in zip(folds, choices(table, folds, by_return=by_return), strict=True):
        ((start, stop),) = fold.test
        flat = ~held[:, start - 1 : stop].any(axis=1)
        if flat.all():
            assert chosen.beaten == 0.5
            assert chosen.test_return == pytest.approx(0.0, abs=1e-12)
            assert by_return or np.isnan(chosen.test)
            found += 1
    assert found
