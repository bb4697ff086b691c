"""Evidence: what the neighbours say, by hand on small cases."""

import numpy as np
import pytest
from scipy.stats import beta

from raysignal.agents.override.agent import AgentRules, Override
from raysignal.agents.override.cohorts import SHARES, find_effects
from raysignal.agents.override.evidence import (
    LAGS,
    EvidenceEstimator,
    RecallOptions,
    _correlation,
    _effective,
)
from raysignal.agents.override.gate import GateRules
from raysignal.agents.override.memory import OutcomeMemory
from raysignal.agents.override.outcomes import Horizon, Settler
from raysignal.agents.override.relevance import Relevance, relate
from raysignal.agents.override.situations import MOST_LABELS, Encoder
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.policy import Policy
from tests.support.override_streams import MINUTE_US, Shape, rows_of

FREE = Policy(fee_bps=0.0, side="long-short")


def batch_of(price, action, symbols=1):
    n = len(price)
    return SignalBatch.of(
        timestamp_us=MINUTE_US * np.arange(1, n + 1), action=np.asarray(action, np.int8),
        price=np.asarray(price, np.float64), symbol=np.arange(n, dtype=np.int32) % symbols,
        symbols=[f"S{code}" for code in range(symbols)], source=np.zeros(n, np.int32), sources=["desk"],
    )  # fmt: skip


def alternating(n, up=0.01):
    """Prices whose moves over one row are +, -, +, - …"""
    return 100.0 * (1.0 + up * (np.arange(n) % 2))


def cohorts_by_least_squares(cohorts, hits, edges, asked, prior):
    """What the cohorts of one that asks say of hits and edges, and the variance, by generalised least squares.

    Args:
        cohorts: of each outcome, its own effects by name.
        hits, edges: of each outcome.
        asked: effects of the one that asks.
        prior: in signals.
    """
    names = sorted({name for own in [*cohorts, asked] for name in own})
    design = np.array([[name in own for name in names] for own in cohorts], float).reshape(-1, len(names))
    shares = dict(zip(("whole", "regime", "side", "source", "symbol"), SHARES, strict=True))
    precision = np.diag([prior / shares[name.split()[0]] for name in names]) + design.T @ design
    own = np.array([name in asked for name in names], float)
    weights = np.linalg.solve(precision, own)
    return weights @ design.T @ hits, weights @ design.T @ edges, own @ weights


@pytest.mark.parametrize("shrinkage", [True, False])
def test_the_posterior_is_the_beta_distribution_of_the_docstring(shrinkage):
    # A horizon of one row overlaps nothing: every neighbour counts whole.
    draws = np.random.default_rng(4)
    n = 160
    action = draws.choice([-1, 1], n)
    source, symbol = draws.integers(0, 3, n), np.arange(n) % 2
    price = np.empty(n)
    for code in (0, 1):
        price[code::2] = 100.0 * np.exp(np.cumsum(0.01 * draws.standard_normal(n // 2)))
    batch = SignalBatch.of(
        timestamp_us=MINUTE_US * np.arange(1, n + 1), action=action.astype(np.int8), price=price,
        symbol=symbol.astype(np.int32), symbols=["S0", "S1"], source=source.astype(np.int32),
        sources=["desk", "model", "news"],
    )  # fmt: skip
    recall = RecallOptions(neighbours=10, least=10, part=0.0, prior=7.0, shrinkage=shrinkage)
    agent = Override(FREE, AgentRules(Horizon.parse("1b"), recall, GateRules(least=1.0)))

    found = agent.take(batch)

    moves = np.full(n, np.nan)
    moves[:-2] = (price[2:] / price[:-2] - 1.0) * 1e4
    regime = found.situations.regime

    def cohorts_of(row):
        return {
            "whole", f"regime {regime[row]}", f"side {action[row]}", f"source {source[row]}", f"symbol {symbol[row]}"
        }  # fmt: skip

    def share(side, of, known):
        own = moves[known[symbol[known] == of]]
        return (float((side * own > 0).sum()) + 25.0) / (len(own) + 50.0)

    def mean(of, known):
        own = moves[known[symbol[known] == of]]
        return float(own.sum()) / (len(own) + 50.0)

    # What each outcome told when it became known: against the drift of its symbol as it was before.
    told = np.arange(n - 2)
    hits = np.array([(action[at] * moves[at] > 0) - share(action[at], symbol[at], told[:at]) for at in told])
    ahead = np.array([action[at] * (moves[at] - mean(symbol[at], told[:at])) for at in told])
    assert len(set(regime.tolist())) > 1
    for row in range(20, n):
        known, near = np.arange(row - 1), found.evidence.neighbours[row]
        near = near[near >= 0]
        own = share(action[row], symbol[row], known)
        right = [(action[at] * moves[at] > 0) - share(action[at], symbol[at], known) for at in near]
        right = min(max(sum(right) + len(near) * own, 0.0), len(near))
        edges = np.array([action[at] * (moves[at] - mean(symbol[at], known)) for at in near])
        more, further, weight = 0.0, 0.0, 7.0
        if shrinkage:
            more, further, variance = cohorts_by_least_squares(
                [cohorts_of(at) for at in known], hits[known], ahead[known], cohorts_of(row), 7.0
            )
            variance += (1.0 - sum(SHARES)) / 7.0
            weight += (1.0 / variance - 7.0) * (1.0 - len(near) / len(known))
        assert len(near) == 10
        assert found.evidence.known[row] == row - 1
        assert found.evidence.effective[row] == pytest.approx(10.0 + weight - 7.0)
        assert found.evidence.share[row] == pytest.approx(own)
        alpha, rest = weight * (own + more) + right, weight * (1.0 - own - more) + 10.0 - right
        assert found.evidence.alpha[row] == pytest.approx(alpha)
        assert found.evidence.beta[row] == pytest.approx(rest)
        edge = (edges.mean() * 10.0 + further * weight) / (10.0 + weight)
        assert found.evidence.edge_bps[row] == pytest.approx(edge + action[row] * mean(symbol[row], known))
        error = edges.std(ddof=1) / np.sqrt(10.0 + weight - 7.0)
        assert found.evidence.edge_error_bps[row] == pytest.approx(error)
        posterior = beta(alpha, rest)
        assert found.ruling.p_worse[row] == pytest.approx(posterior.cdf(own), rel=1e-9)
        assert found.evidence.p_right[row] == pytest.approx(posterior.mean())


def mostly_wrong_of_one_source(n):
    """Prices that go up and down by turns, and two sources by lot, of which one is right 35 times of 100."""
    draws = np.random.default_rng(7)
    source = draws.integers(0, 2, n)
    ahead = np.where(np.arange(n) % 2, -1, 1)
    right = draws.random(n) < np.where(source == 1, 0.35, 0.5)
    return SignalBatch.of(
        timestamp_us=MINUTE_US * np.arange(1, n + 1), price=alternating(n),
        action=np.where(right, ahead, -ahead).astype(np.int8),
        symbol=np.zeros(n, np.int32), symbols=["S"], source=source.astype(np.int32), sources=["desk", "tout"],
        numbers={f"noise {place}": draws.standard_normal(n) for place in range(30)},
    )  # fmt: skip


def test_a_source_that_is_mostly_wrong_is_told_by_its_cohort_before_it_is_by_neighbours():
    batch = mostly_wrong_of_one_source(300)
    against = {}
    for shrinkage, prior in ((True, 10.0), (False, 20.0)):
        recall = RecallOptions(shrinkage=shrinkage, prior=prior)
        found = Override(FREE, AgentRules(Horizon.parse("1b"), recall)).take(batch)
        p_worse = np.nan_to_num(found.ruling.p_worse)
        against[shrinkage] = [np.mean(p_worse[batch.source == code] >= 0.9) for code in (0, 1)]

    assert against[True][1] > 1.15 * against[False][1]
    assert against[True][0] < 0.2


def test_where_neighbours_are_all_that_is_known_cohorts_weigh_no_more_than_the_prior():
    recall = RecallOptions(neighbours=100, least=100, prior=7.0)
    draws = np.random.default_rng(8)
    batch = batch_of(100.0 * np.exp(np.cumsum(0.01 * draws.standard_normal(150))), draws.choice([-1, 1], 150))

    found = Override(FREE, AgentRules(Horizon.parse("1b"), recall)).take(batch).evidence

    assert found.effective[:101] == pytest.approx(found.known[:101])
    assert (found.effective[102:] > 100.0).all()
    assert found.alpha + found.beta == pytest.approx(7.0 + found.effective)


def test_sources_and_symbols_beyond_the_bits_share_an_effect():
    own, other = np.empty(5, np.int64), np.empty(5, np.int64)

    find_effects(2, -1, np.uint64(1 << 63), 3, own)
    find_effects(2, -1, np.uint64(1 << 63), 3 + 64, other)

    assert own.tolist() == other.tolist() == [0, 3, 5, 7 + 63, 7 + 64 + 3]


def test_one_neighbour_has_an_edge_without_a_bound():
    rules = AgentRules(
        Horizon.parse("1b"), RecallOptions(neighbours=1, least=1, part=0.0), GateRules(least=0.5)
    )

    found = Override(FREE, rules).take(batch_of(alternating(5), np.ones(5)))

    assert found.evidence.used.tolist() == [0, 1, 1, 1, 1]
    assert np.isinf(found.evidence.edge_error_bps).all()
    assert set(found.ruling.other.tolist()) == {Verdict.HOLD}


def test_nothing_known_is_the_prior_and_no_radius():
    found = Override(FREE, AgentRules()).take(batch_of([100.0], [1])).evidence

    assert found.p_right.tolist() == found.share.tolist() == [0.5]
    assert found.edge_bps.tolist() == [0.0]
    assert np.isnan(found.radius).all()
    assert (found.neighbours == -1).all()


def effective(places, overlap, by_lag=None, symbol=None):
    """The effective number of neighbours at these places of one stream."""
    found = np.array(places, np.int64)
    correlations = np.zeros((4, LAGS + 1))
    correlations[1, 0], correlations[2, :2] = 1.0, (overlap, 1.0)
    own = np.zeros(LAGS)
    lags, _ = _correlation(correlations, own, False)
    own = own if by_lag is None else by_lag
    last = found.max(initial=0) + 1
    symbol = np.zeros(last, np.int32) if symbol is None else np.asarray(symbol[:last], np.int32)
    sequence = np.zeros(last, np.int64)
    for code in set(symbol.tolist()):
        sequence[symbol == code] = np.arange((symbol == code).sum())
    return _effective(
        found, symbol, sequence, int(overlap), lags, own, np.full(symbol.max(initial=0) + 1, -1)
    )


def test_neighbours_whose_horizons_do_not_overlap_count_each():
    assert effective([0, 6, 12, 40], overlap=6) == 4.0
    assert effective([], overlap=6) == 0.0


def test_overlapping_neighbours_count_by_kish():
    # Two signals two rows apart share four rows of six: each pair correlates by 1 - 2/6.
    assert effective([10, 12], overlap=6) == pytest.approx(4.0 / (2.0 + 2.0 * (1.0 - 2.0 / 6.0)))


def test_signals_of_other_symbols_tell_their_own():
    symbol = np.arange(40) % 2

    assert effective([10, 11], overlap=6, symbol=symbol) == 2.0
    assert effective([10, 12], overlap=6, symbol=symbol) < 2.0


@pytest.mark.parametrize("overlap", [1, 2, 6, 31, 32, 500])
def test_the_effective_number_is_between_one_and_all(overlap):
    draws = np.random.default_rng(overlap)
    for n in (1, 2, 50, 400):
        places = np.sort(draws.choice(800, n, replace=False))
        assert 1.0 <= effective(places, overlap) <= n
        assert 1.0 - 1e-12 <= effective(places, overlap, by_lag=np.ones(LAGS)) <= n


def test_a_correlation_is_never_beyond_one():
    correlations = np.zeros((4, LAGS + 1))
    correlations[0, :3], correlations[1, :3] = (1.0, 900.0, -900.0), (100.0, 90.0, 90.0)
    correlations[2, :2] = 6.0, 1.0
    by_lag = np.zeros(LAGS)

    assert _correlation(correlations, by_lag, False)[0] == 6
    assert by_lag[1] == 1.0
    assert by_lag[2] == 0.0


def test_outcomes_that_are_all_the_same_have_only_the_correlation_of_their_overlap():
    correlations, by_lag = np.zeros((4, LAGS + 1)), np.zeros(LAGS)
    correlations[1] = 10.0
    correlations[2, :2] = 4.0, 1.0

    _, crowding = _correlation(correlations, by_lag, False)

    np.testing.assert_allclose(by_lag[1:4], np.array([0.75, 0.5, 0.25]) * 50.0 / 60.0)
    assert crowding == pytest.approx(1.0 + 2.0 * 1.5 * 50.0 / 60.0)


@pytest.mark.parametrize(("products", "part"), [(10.0, 1.0), (0.0, 0.5), (-10.0, 0.0)])
def test_horizons_that_overlap_tell_the_same_as_far_as_their_sides_are_the_same(products, part):
    correlations, by_lag = np.zeros((4, LAGS + 1)), np.zeros(LAGS)
    correlations[1], correlations[3] = 10.0, products
    correlations[2, :2] = 4.0, 1.0

    _correlation(correlations, by_lag, True)

    np.testing.assert_allclose(by_lag[1:4], part * np.array([0.75, 0.5, 0.25]) * 50.0 / 60.0)


def test_a_buy_that_is_always_right_in_a_market_that_always_rises_is_no_evidence():
    price = 100.0 * 1.001 ** np.arange(3000)

    found = Override(FREE, AgentRules()).take(batch_of(price, np.ones(3000)))

    assert found.evidence.share[-1] > 0.99
    assert abs(found.evidence.p_right[-1] - found.evidence.share[-1]) < 0.01
    assert (found.ruling.verdict == Verdict.APPROVE).all()


def test_being_right_as_often_as_the_drift_is_no_evidence():
    draws = np.random.default_rng(6)
    up = draws.random(4000) < 0.75
    price = 100.0 * np.exp(np.cumsum(np.where(up, 0.001, -0.001)))
    rules = AgentRules(horizon=Horizon.parse("1b"))

    found = Override(FREE, rules).take(batch_of(price, draws.choice([-1, 1], 4000))).evidence

    buys = found.share > 0.5
    assert found.share[buys][-1] == pytest.approx(0.75, abs=0.02)
    assert found.share[~buys][-1] == pytest.approx(0.25, abs=0.02)
    settled = found.effective > 100
    off = (found.p_right - found.share)[settled]
    assert abs(off[buys[settled]].mean()) < 0.03
    assert abs(off[~buys[settled]].mean()) < 0.03


def test_a_move_of_nothing_is_neither_up_nor_down():
    found = Override(FREE, AgentRules()).take(batch_of(np.full(500, 100.0), np.tile([1, -1], 250))).evidence

    assert found.share[-1] == pytest.approx(25.0 / (494.0 + 50.0))
    assert 0.0 < found.p_right[-1] < found.share[-1]
    assert found.edge_bps[-1] == 0.0


def test_a_symbol_has_a_drift_of_its_own():
    price = np.empty(800)
    price[::2], price[1::2] = 100.0 * 1.001 ** np.arange(400), 100.0 * 0.999 ** np.arange(400)

    found = Override(FREE, AgentRules()).take(batch_of(price, np.ones(800), symbols=2)).evidence

    assert found.share[-2] > 0.9
    assert found.share[-1] < 0.1


def test_no_more_is_right_than_there_are_neighbours():
    # One symbol always rises, the other goes up and down and every signal about it knows: right above its drift.
    n = 400
    price, action = np.empty(2 * n), np.ones(2 * n, np.int8)
    price[::2], price[1::2] = 100.0 * 1.001 ** np.arange(n), alternating(n)
    action[1::2] = np.where(np.arange(n) % 2, -1, 1)
    everything = RecallOptions(neighbours=2 * n, least=1, part=1.0, shrinkage=False)
    agent = Override(FREE, AgentRules(Horizon.parse("1b"), everything))

    found = agent.take(batch_of(price, action, symbols=2)).evidence

    assert found.share[-2] > 0.9
    assert found.beta[-2] == pytest.approx(everything.prior * (1.0 - found.share[-2]))
    assert found.alpha[-2] == pytest.approx(everything.prior * found.share[-2] + found.effective[-2])


def test_a_witness_that_only_keeps_up_searches_nothing():
    batch = Shape(seed=2, rows=60).batch()
    memory, encoder, settler = OutcomeMemory(), Encoder(), Settler(FREE, Horizon.parse("1b"))
    situations = encoder.encode(batch)
    memory.add(*rows_of(batch)[:2], encoder.codes(batch), batch.action, situations)
    memory.settle(settler.feed(*rows_of(batch)))

    found = EvidenceEstimator(RecallOptions()).look(memory, situations, search=False)

    assert found.neighbours.shape == (0, RecallOptions().neighbours)
    assert not found.used.any()
    assert found.known[-1] > 0


@pytest.mark.parametrize(
    "values",
    [
        {"neighbours": 0}, {"neighbours": 10_001}, {"least": 0}, {"part": -0.1}, {"part": 1.1}, {"prior": 0.0},
        {"prior": float("nan")}, {"prior": float("inf")},
    ],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_refused(values):
    with pytest.raises(InvalidField, match=next(iter(values))):
        RecallOptions(**values)


def weights_after(hits, numbers=None, labels=None):
    n = len(hits)
    numbers = np.zeros((0, n), np.float32) if numbers is None else np.array([numbers], np.float32)
    labels = np.zeros((0, n), np.uint64) if labels is None else np.array([labels], np.uint64)
    relevance = Relevance()
    relevance.keep_up(("number",)[: len(numbers)], ("label",)[: len(labels)])
    for row, hit in enumerate(hits):
        relate(float(hit), row, numbers, labels, relevance.by_number, relevance.by_label)
    return relevance.weights()


def test_a_number_weighs_by_how_well_it_goes_with_being_right():
    draws = np.random.default_rng(1)
    values = draws.standard_normal(400)
    hits = 0.3 * values + draws.standard_normal(400)
    r = np.corrcoef(values.astype(np.float32), hits)[0, 1]

    (weight,), _ = weights_after(hits, numbers=values)

    assert weight == pytest.approx(398 * r * r / (1 - r * r), rel=1e-5)
    assert weights_after(draws.standard_normal(400), numbers=values)[0][0] < 8.0
    assert weights_after(hits[:49], numbers=values[:49])[0][0] == 1.0


def test_a_category_weighs_by_the_f_statistic_of_its_labels():
    from scipy.stats import f_oneway

    draws = np.random.default_rng(2)
    kinds = draws.integers(0, 3, 300)
    hits = 0.4 * kinds + draws.standard_normal(300)
    expected = f_oneway(*(hits[kinds == kind] for kind in range(3))).statistic

    _, (weight,) = weights_after(hits, labels=1 << kinds)

    assert weight == pytest.approx(expected, rel=1e-5)


def test_a_row_of_two_labels_belongs_to_each_by_half():
    draws = np.random.default_rng(2)
    kinds = draws.integers(0, 2, 300)
    hits = kinds + draws.standard_normal(300)
    between = sum((kinds == kind).sum() * (hits[kinds == kind].mean() - hits.mean()) ** 2 for kind in (0, 1))
    within = ((hits - hits.mean()) ** 2).sum() - between

    _, (weight,) = weights_after(hits, labels=np.where(kinds, 0b0011, 0b1100))

    assert weight == pytest.approx((between / 3.0) / (within / 296.0), rel=1e-5)


def test_many_labels_a_row_on_few_rows_weigh_nothing_by_chance():
    draws = np.random.default_rng(3)
    for n in (50, 60, 90, 130, 500):
        rows = [draws.choice(MOST_LABELS, 4, replace=False).tolist() for _ in range(n)]
        masks = [sum(1 << label for label in row) for row in rows]
        _, (weight,) = weights_after(draws.standard_normal(n), labels=masks)
        assert 1.0 <= weight < 3.0


def test_a_number_that_is_missing_or_infinite_leaves_its_weight_alone():
    draws = np.random.default_rng(5)
    values, hits = draws.standard_normal(200), draws.standard_normal(200)
    values[::3], values[1::9] = np.nan, np.inf
    kept = np.isfinite(values)

    assert weights_after(hits, numbers=values)[0] == weights_after(hits[kept], numbers=values[kept])[0]
