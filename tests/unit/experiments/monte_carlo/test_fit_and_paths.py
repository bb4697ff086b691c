"""Markets that could have been have the moments of their models; paths are counted as they should be."""

import numpy as np
import pytest

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.policy import Policy
from raysignal.engine.strategies.sma import SmaCrossover
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.monte_carlo.distributions import COLUMNS, FigureDistribution, path_figures
from raysignal.experiments.monte_carlo.markets import generator
from raysignal.experiments.monte_carlo.paths import METHODS, MonteCarloSpec, run_paths, source_of
from raysignal.experiments.monte_carlo.resampling import block_length, drawn, shuffled, stationary
from raysignal.experiments.sweeps.market import Market
from tests.support.sweep_markets import market


def test_a_path_is_the_same_whoever_draws_it() -> None:
    assert generator(3, 7).random(4).tolist() == generator(3, 7).random(4).tolist()
    assert generator(3, 7).random() != generator(3, 8).random()
    assert generator(3, 7).random() != generator(4, 7).random()


def brute(level: list[float]) -> tuple[float, int]:
    peak, worst, longest, since = 1.0, 0.0, 0, 0
    for value in level:
        since = since + 1 if value < peak else 0
        peak = max(peak, value)
        worst, longest = max(worst, 1.0 - value / peak), max(longest, since)
    return worst, longest


def test_figures_of_a_path_are_counted_step_by_step() -> None:
    for seed in range(30):
        growth = np.exp(np.cumsum(np.random.default_rng(seed).normal(0.0, 0.1, 40)))
        total, worst, under, ruined = path_figures(growth, 0.6)
        expected, longest = brute(growth.tolist())
        assert total == growth[-1] - 1.0
        assert worst == pytest.approx(expected)
        assert under == longest / 40
        assert ruined == float(growth.min() <= 0.6)


def test_resampling_keeps_what_it_says() -> None:
    growths = np.array([1.1, 0.9, 1.3, 0.8])
    draws = generator(0, 0)
    assert sorted(shuffled(growths, draws)) == sorted(growths)
    assert set(drawn(growths, draws)) <= set(growths)
    series = np.arange(1_000.0)
    found = stationary(series, 20.0, draws)
    follows = np.mean((np.diff(found) == 1.0) | (np.diff(found) == -999.0))
    assert follows == pytest.approx(0.95, abs=0.03)
    assert stationary(series, 1.0, draws).mean() == pytest.approx(499.5, abs=40.0)
    dependent = np.convolve(np.random.default_rng(1).normal(size=2_000), np.ones(12), mode="valid")
    assert block_length(dependent) > block_length(np.random.default_rng(1).normal(size=2_000))
    assert block_length(np.zeros(100)) == 1.0


def test_quantiles_come_with_their_errors() -> None:
    values = np.random.default_rng(2).normal(size=10_000)
    spread = FigureDistribution.of(values)
    assert abs(spread.mean) < 4 * spread.error
    assert spread.error == pytest.approx(0.01, rel=0.05)
    median, error = spread.quantiles["q0.5"]
    assert abs(median) < 4 * error
    assert error == pytest.approx(np.sqrt(np.pi / 2.0) * 0.01, rel=0.4)


@pytest.mark.parametrize("method", METHODS)
def test_paths_are_the_same_however_they_are_cut(method: str) -> None:
    where, strategy = market(400, trend=0.2), SmaCrossover(3, 9)
    spec = MonteCarloSpec(method, 12, seed=5, policy=Policy(side="long-short"))
    source = source_of(where, strategy, spec)
    figures, levels = run_paths(where, strategy, spec, source, 0, 12)
    parts = [run_paths(where, strategy, spec, source, begin, end) for begin, end in ((0, 5), (5, 6), (6, 12))]
    assert np.concatenate([part[0] for part in parts]).tolist() == figures.tolist()
    assert np.concatenate([part[1] for part in parts]).tolist() == levels.tolist()
    assert figures.shape == (12, len(COLUMNS))
    assert len(set(figures[:, 1].tolist())) > 1
    if method == "order":
        assert np.ptp(figures[:, 0]) == 0.0  # the end is the same


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"method": "magic", "paths": 1}, "method"),
        ({"method": "gbm", "paths": 0}, "paths"),
        ({"method": "gbm", "paths": 1, "ruin": 0.0}, "ruin"),
        ({"method": "gbm", "paths": 1, "ruin": 1.0}, "ruin"),
        ({"method": "gbm", "paths": 1, "seed": -1}, "seed"),
    ],
)
def test_nonsense_is_refused_by_name(values: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidField) as refusal:
        MonteCarloSpec(**values)
    assert refusal.value.fields["field"] == field


def test_what_cannot_be_drawn_is_refused() -> None:
    where = market(100)
    silent = Market("BTC", Bars.of_closes(where.bars.known_at_us, where.bars.close))
    with pytest.raises(InvalidField, match="file with signals"):
        source_of(silent, None, MonteCarloSpec("bootstrap", 1))
    with pytest.raises(InvalidField, match="run on other prices"):
        source_of(where, None, MonteCarloSpec("gbm", 1))
    with pytest.raises(InvalidField, match="trades is 0"):
        source_of(silent, SmaCrossover(60, 90), MonteCarloSpec("order", 1))
