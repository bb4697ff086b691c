"""Markets that could have been have their model's moments, and a fitted model those of what it was fitted to."""

import warnings

import numpy as np
import pytest
from scipy import stats

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.policy import Policy
from raysignal.engine.strategies.sma import SmaCrossover
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.monte_carlo.fit import STATISTICS, fit_of, statistics
from raysignal.experiments.monte_carlo.markets import MODELS, Brownian, MarketModel, fitted, generator
from raysignal.experiments.monte_carlo.paths import MonteCarloSpec, Source, run_paths, source_of
from raysignal.experiments.monte_carlo.regimes import MOST_REGIMES, Regimes, _expected
from raysignal.experiments.monte_carlo.report import fit_rows, fit_sentence, make_luck_report
from raysignal.experiments.monte_carlo.running import metrics_of
from raysignal.experiments.monte_carlo.volatility import Garch, Jumps, _jump_likelihood
from raysignal.experiments.sweeps.market import Market

N = 40_000
CALM_AND_WILD = Regimes((0.0, 0.0), (0.01, 0.03), ((0.98, 0.02), (0.06, 0.94)))
THREE = Regimes(
    (0.001, 0.0, -0.01), (0.01, 0.03, 0.1), ((0.96, 0.04, 0.0), (0.05, 0.92, 0.03), (0.1, 0.4, 0.5))
)
GARCH_T = Garch(0.0, 0.02, 0.07, 0.9, 6.0)
JUMPS = Jumps(0.0, 0.02, 0.06, 0.91, 0.05, -0.8, 2.5)


def closes(returns: np.ndarray) -> np.ndarray:
    return 100.0 * np.exp(np.append(0.0, np.cumsum(returns)))


def fitted_to(name: str, returns: np.ndarray) -> MarketModel:
    return fitted(name, closes(returns))


def test_brownian_returns_have_the_moments_of_their_model() -> None:
    returns = Brownian(0.001, 0.02).returns(N, generator(1, 0))
    assert returns.mean() == pytest.approx(0.001, abs=4 * 0.02 / np.sqrt(N))
    found = statistics(returns)
    assert found[0] == pytest.approx(0.02, rel=0.02)
    assert found[1:] == pytest.approx([0.0, 3.0, 0.0, 0.0, 0.0], abs=0.1)


def test_regimes_have_the_tails_and_the_clustering_of_their_chain() -> None:
    assert CALM_AND_WILD.shares == pytest.approx([0.75, 0.25])
    found = statistics(CALM_AND_WILD.returns(10 * N, generator(1, 0)))
    variance, fourth = 0.75 * 0.01**2 + 0.25 * 0.03**2, 3.0 * (0.75 * 0.01**4 + 0.25 * 0.03**4)
    of_variances = 0.75 * 0.25 * (0.03**2 - 0.01**2) ** 2
    clustering = of_variances / (fourth - variance**2) * 0.92 ** np.arange(1, 21)  # 0.98 + 0.94 - 1
    assert found[0] == pytest.approx(np.sqrt(variance), rel=0.02)
    assert found[2] == pytest.approx(fourth / variance**2, rel=0.03)
    assert found[3:] == pytest.approx([clustering[0], clustering[:10].mean(), clustering.mean()], abs=0.01)


@pytest.mark.slow
def test_regimes_begin_in_any_of_them_by_their_shares() -> None:
    first = np.array([CALM_AND_WILD.returns(1, generator(2, index))[0] for index in range(2_000)])
    assert first.std() == pytest.approx(np.sqrt(0.75 * 0.01**2 + 0.25 * 0.03**2), rel=0.08)


def test_garch_has_the_kurtosis_of_its_formula() -> None:
    model = Garch(0.001, 0.02, 0.1, 0.8, 300.0)
    returns = model.returns(10 * N, generator(1, 0))
    found = statistics(returns)
    assert returns.mean() == pytest.approx(0.001, abs=2e-4)
    assert found[0] == pytest.approx(0.02, rel=0.02)
    assert found[2] == pytest.approx(3.0 * (1.0 - 0.9**2) / (1.0 - 0.9**2 - 2.0 * 0.1**2), rel=0.05)
    assert found[3] == pytest.approx(0.1 * (1.0 - 0.9 * 0.8) / (1.0 - 2.0 * 0.9 * 0.8 + 0.8**2), abs=0.02)


def test_jumps_have_the_moments_of_their_mixture() -> None:
    model = Jumps(0.0, 0.01, 0.0, 0.0, 0.02, -3.0, 4.0)
    found = statistics(model.returns(10 * N, generator(1, 0)))
    calm, wild = model.calm_variance, model.calm_variance + 16.0
    assert calm == pytest.approx(1.0 - 0.02 * (16.0 + 0.98 * 9.0))
    middle, jumped = 0.06, -2.94  # so that the mean is 0
    third = 0.98 * (middle**3 + 3 * middle * calm) + 0.02 * (jumped**3 + 3 * jumped * wild)
    fourth = sum(
        share * (mean**4 + 6.0 * mean**2 * variance + 3.0 * variance**2)
        for share, mean, variance in ((0.98, middle, calm), (0.02, jumped, wild))
    )
    assert found[0] == pytest.approx(0.01, rel=0.02)
    assert found[1] == pytest.approx(third, rel=0.1)
    assert found[2] == pytest.approx(fourth, rel=0.08)


def test_the_likelihood_of_regimes_is_that_of_statsmodels() -> None:
    from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression

    model = Regimes((0.01, -0.02), (0.5, 1.5), ((0.9, 0.1), (0.3, 0.7)))
    returns = model.returns(300, generator(4, 0))
    peer = MarkovRegression(returns, k_regimes=2, trend="c", switching_variance=True)
    start = np.array(model.shares)
    weights, moves, likelihood = _expected(
        returns, np.array(model.means), np.array(model.deviations), np.array(model.chances), start
    )
    assert model.likelihood(returns) == likelihood
    parameters = np.array([0.9, 0.3, 0.01, -0.02, 0.25, 2.25])
    assert likelihood == pytest.approx(peer.loglike(parameters), rel=1e-9)
    smoothed = peer.smooth(parameters).smoothed_marginal_probabilities
    assert weights == pytest.approx(smoothed, abs=1e-9)
    assert weights.sum(axis=1) == pytest.approx(np.ones(300))
    assert moves.sum(axis=1) == pytest.approx(weights[:-1].sum(axis=0))


def test_the_likelihood_of_jumps_is_that_of_their_mixture() -> None:
    scaled = np.random.default_rng(0).standard_t(4, 200)
    chance, mean, deviation, alpha, beta, shift = 0.1, -0.5, 1.5, 0.1, 0.8, 0.05
    calm = 1.0 - chance * (deviation**2 + (1.0 - chance) * mean**2)
    variance, expected = 1.0, 0.0
    for value in scaled:
        level, root = value - shift, np.sqrt(variance)
        without = stats.norm.pdf(level, -chance * mean * root, np.sqrt(calm) * root)
        jumped = stats.norm.pdf(level, (1.0 - chance) * mean * root, np.sqrt(calm + deviation**2) * root)
        expected += np.log((1.0 - chance) * without + chance * jumped)
        variance = (1.0 - alpha - beta) + alpha * level**2 + beta * variance
    found = -_jump_likelihood(scaled, shift, alpha, beta, chance, mean, deviation)
    assert found - 200 * 0.5 * np.log(2.0 * np.pi) == pytest.approx(expected, rel=1e-9)
    assert _jump_likelihood(scaled, shift, alpha, beta, 0.5, 0.0, 3.0) == 1e12


def test_fitted_regimes_find_what_made_the_prices() -> None:
    found = fitted_to("regimes", CALM_AND_WILD.returns(8_000, generator(2, 0)))
    assert len(found.means) == 2
    assert found.deviations == pytest.approx((0.01, 0.03), rel=0.05)
    assert np.array(found.chances) == pytest.approx(np.array(CALM_AND_WILD.chances), abs=0.02)
    three = fitted_to("regimes", THREE.returns(8_000, generator(3, 0)))
    assert len(three.means) == 3
    assert three.deviations == pytest.approx(THREE.deviations, rel=0.15)
    assert three.shares == pytest.approx(THREE.shares, abs=0.08)


def test_returns_without_regimes_are_given_one() -> None:
    found = fitted_to("regimes", Brownian(0.0, 0.01).returns(2_000, generator(5, 0)))
    assert len(found.means) == 1
    assert found.deviations[0] == pytest.approx(0.01, rel=0.05)
    assert "One regime" in found.described()


def test_a_regime_that_was_left_for_good_is_not_lost() -> None:
    draws = generator(6, 0)
    broken = np.concatenate([draws.normal(0.0, 0.03, 1_000), draws.normal(0.0, 0.01, 1_000)])
    found = fitted_to("regimes", broken)
    assert found.shares == pytest.approx([0.5, 0.5], abs=0.05)


@pytest.mark.slow
def test_fitted_garch_finds_what_made_the_prices() -> None:
    found = fitted_to("garch", Garch(0.0, 0.01, 0.1, 0.85, 6.0, -0.2).returns(8_000, generator(2, 0)))
    assert (found.alpha, found.beta) == (pytest.approx(0.1, abs=0.04), pytest.approx(0.85, abs=0.06))
    assert found.freedom == pytest.approx(6.0, abs=1.5)
    assert found.skew == pytest.approx(-0.2, abs=0.06)


@pytest.mark.slow
def test_fitted_jumps_find_what_made_the_prices() -> None:
    found = fitted_to("jumps", JUMPS.returns(8_000, generator(2, 0)))
    assert (found.alpha, found.beta) == (pytest.approx(0.06, abs=0.03), pytest.approx(0.91, abs=0.05))
    assert found.chance == pytest.approx(0.05, abs=0.03)
    assert found.jump_mean == pytest.approx(-0.8, abs=0.5)
    assert found.jump_deviation == pytest.approx(2.5, abs=0.6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("regimes", THREE),
        ("regimes", CALM_AND_WILD),
        ("jumps", JUMPS),
        ("jumps", GARCH_T),
        ("garch", GARCH_T),
    ],
    ids=["regimes-three", "regimes-two", "jumps-jumps", "jumps-garch", "garch-garch"],
)
def test_a_fitted_model_has_the_moments_and_the_clustering_of_its_source(
    name: str, source: MarketModel
) -> None:
    returns = source.returns(3_000, generator(11, 0))
    found = fit_of(fitted_to(name, returns), returns, seed=0)
    assert tuple(found) == tuple(STATISTICS)
    assert {statistic: each.met for statistic, each in found.items()} == dict.fromkeys(STATISTICS, True)
    assert found["kurtosis"].source > 4.0
    assert found["squares_lag_1"].low > 0.0


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_fitted_model_drifts_as_its_source_does(name: str) -> None:
    returns = JUMPS.returns(2_000, generator(12, 0)) + 0.003
    model = fitted_to(name, returns)
    mean = model.shares @ np.array(model.means) if name == "regimes" else model.mean
    assert mean == pytest.approx(returns.mean(), abs=1e-4)


def test_brownian_paths_are_said_to_have_neither_tails_nor_clustering() -> None:
    returns = THREE.returns(3_000, generator(11, 0))
    model = fitted_to("gbm", returns)
    found = fit_of(model, returns, seed=0)
    assert [name for name, each in found.items() if not each.met][-4:] == list(STATISTICS)[2:]
    assert found["deviation"].met
    assert "neither fat tails nor skewness nor clustering" in model.described()


def test_statistics_are_what_their_names_say() -> None:
    returns = THREE.returns(500, generator(1, 0))
    square = (returns - returns.mean()) ** 2
    away = square - square.mean()
    lags = [float(np.sum(away[lag:] * away[:-lag]) / np.sum(away * away)) for lag in range(1, 21)]
    assert statistics(returns) == pytest.approx([
        returns.std(), stats.skew(returns), stats.kurtosis(returns, fisher=False), lags[0], np.mean(lags[:10]),
        np.mean(lags),
    ], abs=0.004)  # fmt: skip


def test_the_interval_of_the_source_is_around_it() -> None:
    returns = GARCH_T.returns(2_000, generator(3, 0))
    for each in fit_of(Brownian(0.0, 0.02), returns, seed=1).values():
        assert each.low < each.source < each.high
        assert each.model_low <= each.model <= each.model_high


def test_a_statistic_that_cannot_be_told_is_none() -> None:
    alike = np.tile([0.01, -0.01], 50)
    found = fit_of(Brownian(0.0, 0.01), alike, seed=0)
    assert found["squares_lag_1"].source is None
    assert found["squares_lag_1"].met is False
    assert found["deviation"].source == pytest.approx(0.01)


def few_returns() -> dict[str, np.ndarray]:
    draws = np.random.default_rng(8)
    normal = draws.normal(0.0, 0.01, 51)
    crash = np.where(np.arange(51) == 20, -0.6, normal)
    still = np.where(draws.random(51) < 0.9, 0.0, normal)
    return {"normal": normal, "crash": crash, "still": still, "alike": np.tile([0.01, -0.01, 0.01], 17)}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", list(few_returns()))
def test_few_and_odd_returns_are_fitted_with_a_sentence_and_no_crash(name: str, kind: str) -> None:
    returns = few_returns()[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fitted_to(name, returns)
        found = fit_of(model, returns, seed=0)
    made = model.returns(200, generator(0, 0))
    assert np.isfinite(made).all()
    assert made.std() < 20.0 * returns.std()
    assert model.described()
    assert set(found) == set(STATISTICS)


@pytest.mark.parametrize("name", MODELS)
def test_what_no_model_can_be_fitted_to_is_refused(name: str) -> None:
    with pytest.raises(InvalidField, match="more than 50"):
        fitted(name, np.ones(50))
    with pytest.raises(InvalidField, match="do not all move alike"):
        fitted(name, np.full(99, 3.0))
    with pytest.raises(InvalidField, match="one of gbm"):
        fitted("magic", np.ones(99))


def test_models_that_cannot_be_are_refused_by_name() -> None:
    with pytest.raises(InvalidField, match="less than 1"):
        Garch(0.0, 0.01, 0.5, 0.6, 5.0)
    with pytest.raises(InvalidField, match=r"2\.05 to 300"):
        Garch(0.0, 0.01, 0.1, 0.6, 2.0)
    with pytest.raises(InvalidField, match="less than 1"):
        Jumps(0.0, 0.01, 0.5, 0.5, 0.1, 0.0, 1.0)
    with pytest.raises(InvalidField, match="from 0 to 1"):
        Jumps(0.0, 0.01, 0.1, 0.5, 1.1, 0.0, 0.1)
    with pytest.raises(InvalidField, match="leave something"):
        Jumps(0.0, 0.01, 0.1, 0.5, 0.5, 0.0, 2.0)
    with pytest.raises(InvalidField, match="add up to 1"):
        Regimes((0.0, 0.0), (0.1, 0.1), ((0.9, 0.2), (0.1, 0.9)))
    assert MOST_REGIMES > 2


def market_of(returns: np.ndarray, start: float = 100.0) -> Market:
    stamps = 1_600_000_000_000_000 + np.arange(len(returns) + 1, dtype=np.int64) * 3_600_000_000
    return Market("BTC", Bars.of_closes(stamps, closes(returns) * start / 100.0))


@pytest.mark.slow
def test_a_run_says_what_its_model_is_and_whether_it_fits() -> None:
    returns = THREE.returns(200, generator(3, 0))
    where, spec = market_of(returns), MonteCarloSpec("gbm", 20, policy=Policy(side="long-short"))
    source = source_of(where, SmaCrossover(3, 9), spec)
    figures, levels = run_paths(where, SmaCrossover(3, 9), spec, source, 0, 20)
    found = metrics_of(spec, source, figures, fit_of(source.model, returns, spec.seed))
    assert "Independent normal returns" in found["notes"][0]
    assert "200 returns are few" in found["notes"][1]
    assert fit_sentence(found).startswith("The markets of gbm are not like the source in: ")
    assert "kurtosis" in fit_sentence(found)
    fan = np.quantile(levels, (0.05, 0.5, 0.95), axis=0)
    html = make_luck_report(found, {"run_id": "r"}, figures, levels, fan, levels[0]).html
    for row in fit_rows(found):
        assert all(value in html for value in row)
    met = {**found, "fit": {name: {**each, "met": True} for name, each in found["fit"].items()}}
    assert fit_sentence(met) == "The markets of gbm are like the source in all that is compared."


def test_prices_of_any_size_are_made_into_markets() -> None:
    returns = CALM_AND_WILD.returns(300, generator(3, 0))
    spec, strategy = MonteCarloSpec("gbm", 10, policy=Policy(fee_bps=0.0)), SmaCrossover(3, 9)
    found = []
    for start in (100.0, 1e-11):
        where = market_of(returns, start)
        found.append(run_paths(where, strategy, spec, source_of(where, strategy, spec), 0, 10)[0])
    assert found[1] == pytest.approx(found[0], rel=1e-6)
    assert np.ptp(found[1][:, 0]) > 0.0


def test_prices_beyond_what_a_strategy_can_compute_with_stand_still() -> None:
    where, strategy = market_of(Brownian(0.0, 0.01).returns(400, generator(1, 0))), SmaCrossover(5, 50)
    spec = MonteCarloSpec("gbm", 8, policy=Policy(fee_bps=0.0))
    steep = Source(np.ones(401), model=Brownian(0.05, 0.01))
    figures, levels = run_paths(where, strategy, spec, steep, 0, 8)
    assert figures[:, -1].tolist() == [1.0] * 8
    assert levels[:, -1] == pytest.approx(levels[:, -20])
    found = metrics_of(spec, steep, figures)
    assert found["halted"] == 1.0
    assert found["notes"][-1].startswith("In 100.0% of the paths prices grew beyond")
