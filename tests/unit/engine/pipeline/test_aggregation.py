"""What strategies want together: sides, weights, outcomes that become known."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.events import AggregatedSignal, OrderFill, PositionDecision, StrategySignal
from raysignal.engine.pipeline.aggregation import (
    METHODS,
    AggregationReport,
    AggregationSettings,
    Aggregator,
    wanted_side,
)
from raysignal.engine.pipeline.attribution import Attributor
from tests.support.effort import examples

MINUTE_US = 60_000_000
SYMBOL = "BTC"
NAMES = ("alpha", "beta", "gamma")
LEARNING = AggregationSettings(method="hit_rate", horizon_bars=1)


def said(strategy: str, side: int, at_bar: float = 0, price: float = 100.0, **more: Any) -> StrategySignal:
    values = {"symbol": SYMBOL, "interval_us": MINUTE_US} | more
    return StrategySignal(at_us=int(at_bar * MINUTE_US), strategy=strategy, side=side, price=price, **values)


def report(aggregator: Aggregator) -> AggregationReport:
    return aggregator.reports()[0]


def weights(aggregator: Aggregator) -> dict[str, float]:
    return {each.strategy: each.weight for each in report(aggregator).weights}


def live(aggregator: Aggregator, strategy: str, rights: Iterable[bool]) -> None:
    """Signals of one strategy, a bar after another, that turn out so."""
    for bar, right in enumerate(rights):
        aggregator.on_signal(said(strategy, 1, bar))
        aggregator.on_price(SYMBOL, (bar + 1) * MINUTE_US, 101.0 if right else 99.0)


class TestSide:
    def test_score_is_the_weighted_sum_of_sides_and_confidences(self) -> None:
        aggregator = Aggregator(NAMES, AggregationSettings())
        aggregator.on_signal(said("alpha", 1))
        aggregator.on_signal(said("beta", -1, confidence=0.25))
        last = aggregator.on_signal(said("gamma", 0))
        assert last.score == pytest.approx((1 - 0.25) / 3)
        assert last.equal_score == pytest.approx((1 - 0.25) / 3)
        assert last.side == 1
        assert sum(vote.weight * vote.side * vote.confidence for vote in last.votes) == pytest.approx(
            last.score
        )

    def test_strategy_stands_for_what_it_said_last(self) -> None:
        aggregator = Aggregator(NAMES, AggregationSettings())
        aggregator.on_signal(said("alpha", 1))
        assert aggregator.on_signal(said("alpha", -1, 1)).side == -1

    def test_votes_are_in_the_order_of_the_configuration_and_others_after_them(self) -> None:
        aggregator = Aggregator(NAMES, AggregationSettings())
        for name in ("tradingview", "gamma"):
            aggregator.on_signal(said(name, 1))
        last = aggregator.on_signal(said("alpha", 1))
        assert [vote.strategy for vote in last.votes] == ["alpha", "gamma", "tradingview"]
        assert [vote.weight for vote in last.votes] == [1 / 3] * 3

    @pytest.mark.parametrize("count", [2, 4, 6, 10, 14])
    def test_tie_is_no_opinion_however_its_halves_are_rounded(self, count: int) -> None:
        names = [f"s{place}" for place in range(count)]
        aggregator = Aggregator(names, AggregationSettings())
        told = [
            aggregator.on_signal(said(name, 1 if place % count < count // 2 else -1))
            for place, name in enumerate(names)
        ]
        assert told[-1].side == 0
        assert wanted_side(told[-1]) is None

    def test_score_must_be_above_the_threshold(self) -> None:
        aggregator = Aggregator(("alpha", "beta"), AggregationSettings(threshold=0.5))
        aggregator.on_signal(said("alpha", 0))
        at_it = aggregator.on_signal(said("beta", 1))
        assert (at_it.score, at_it.side, wanted_side(at_it)) == (0.5, 0, None)
        assert aggregator.on_signal(said("alpha", 1, 1)).side == 1

    def test_flat_is_wanted_where_all_say_flat_and_not_where_one_does(self) -> None:
        aggregator = Aggregator(("alpha", "beta"), AggregationSettings())
        assert wanted_side(aggregator.on_signal(said("alpha", 0))) == 0
        assert wanted_side(aggregator.on_signal(said("beta", -1))) == -1
        assert wanted_side(aggregator.on_signal(said("beta", 0, 1))) == 0

    def test_symbols_have_weights_of_their_own(self) -> None:
        aggregator = Aggregator(("alpha", "beta"), LEARNING)
        live(aggregator, "alpha", [True] * 40)
        btc = aggregator.on_signal(said("beta", 1, 40))
        aggregator.on_signal(said("alpha", 1, symbol="ETH"))
        eth = aggregator.on_signal(said("beta", 1, symbol="ETH"))
        assert btc.votes[0].weight > 0.7
        assert [vote.weight for vote in eth.votes] == [0.5, 0.5]

    def test_signals_of_one_candle_are_weighed_together(self) -> None:
        aggregator = Aggregator(("alpha", "beta"), AggregationSettings(cost_bps=100.0))
        assert aggregator.on(said("alpha", 1, more=True)) == ()
        (told,) = aggregator.on(said("beta", -1, confidence=0.5))
        assert (told.score, told.side) == (0.25, 1)
        assert aggregator.on(said("alpha", -1, 1, more=True)) == ()
        (told,) = aggregator.on(said("beta", 1, 1))
        assert told.side == 0
        found = report(aggregator)
        assert (found.follow_changes, found.equal_changes) == (1, 1)
        assert found.follow_return == pytest.approx(-0.005)

    def test_returns_of_following_count_costs_and_the_open_position(self) -> None:
        aggregator = Aggregator(("alpha",), AggregationSettings(cost_bps=100.0))
        aggregator.on_signal(said("alpha", 1, 0, 100.0))
        aggregator.on_signal(said("alpha", -1, 1, 110.0))
        aggregator.on_price(SYMBOL, 2 * MINUTE_US, 99.0)
        found = report(aggregator)
        assert (found.follow_return, found.equal_return) == pytest.approx((0.1 + 0.1 - 0.015,) * 2)
        aggregator.on_signal(said("alpha", 0, 3, 99.0))
        aggregator.on_price(SYMBOL, 4 * MINUTE_US, 50.0)
        assert report(aggregator).follow_return == pytest.approx(0.2 - 0.02)
        assert report(aggregator).follow_changes == 3


class TestOutcomes:
    def test_outcome_counts_at_its_horizon_and_not_before(self) -> None:
        aggregator = Aggregator(("alpha",), replace(LEARNING, horizon_bars=5))
        aggregator.on_signal(said("alpha", 1))
        aggregator.on_price(SYMBOL, 5 * MINUTE_US - 1, 150.0)
        assert not report(aggregator).changes
        aggregator.on_price(SYMBOL, 5 * MINUTE_US, 90.0)
        (change,) = report(aggregator).changes
        assert change.reason == "alpha was right 0 of 1, decayed 0.48: weight 1.00, was 1.00"

    def test_first_price_after_a_gap_settles_it(self) -> None:
        aggregator = Aggregator(("alpha",), LEARNING)
        aggregator.on_signal(said("alpha", -1))
        aggregator.on_price(SYMBOL, 9 * MINUTE_US, 90.0)
        (change,) = report(aggregator).changes
        assert change.at_us == 9 * MINUTE_US
        assert "right 1 of 1" in change.reason

    def test_posted_signal_has_a_horizon_of_its_own(self) -> None:
        aggregator = Aggregator((), replace(LEARNING, horizon_us=7))
        aggregator.on_signal(said("tradingview", 1, interval_us=0))
        aggregator.on_price(SYMBOL, 6, 101.0)
        assert not report(aggregator).changes
        aggregator.on_price(SYMBOL, 7, 101.0)
        assert len(report(aggregator).changes) == 1

    @pytest.mark.parametrize(("price", "right"), [(100.5, 0), (100.51, 1), (100.0, 0), (99.0, 0)])
    def test_price_must_move_by_more_than_costs(self, price: float, right: int) -> None:
        aggregator = Aggregator(("alpha",), replace(LEARNING, cost_bps=50.0))
        aggregator.on_signal(said("alpha", 1))
        aggregator.on_price(SYMBOL, MINUTE_US, price)
        assert f"right {right} of 1" in report(aggregator).changes[0].reason

    def test_repeated_signal_is_not_judged_twice_and_the_other_side_is(self) -> None:
        aggregator = Aggregator(("alpha",), replace(LEARNING, horizon_bars=3))
        for bar, side in enumerate((1, 1, -1, 0)):
            aggregator.on_signal(said("alpha", side, bar))
        aggregator.on_price(SYMBOL, 9 * MINUTE_US, 101.0)
        assert [change.reason.split(",")[0] for change in report(aggregator).changes] == [
            "alpha was right 1 of 1",
            "alpha was right 1 of 2",
        ]

    def test_flat_claims_nothing(self) -> None:
        aggregator = Aggregator(("alpha",), LEARNING)
        aggregator.on_signal(said("alpha", 0))
        aggregator.on_price(SYMBOL, 9 * MINUTE_US, 101.0)
        assert not report(aggregator).changes


class TestWeights:
    def test_strategy_that_is_right_gains_and_the_reason_says_so(self) -> None:
        aggregator = Aggregator(("alpha", "beta"), LEARNING)
        aggregator.on_signal(said("beta", 0))
        live(aggregator, "alpha", [True] * 14 + [False] * 6 + [True] * 20)
        (alpha, beta) = report(aggregator).weights
        assert alpha.weight > 0.6
        assert alpha.weight + beta.weight == pytest.approx(1.0)
        assert alpha.reason == "alpha was right 20 of 20, decayed 0.72"
        assert beta.reason == "no outcome of beta is known yet"
        assert report(aggregator).changes[-1].weights == weights(aggregator)

    def test_old_outcomes_are_forgotten(self) -> None:
        settings_of = replace(LEARNING, half_life=10)
        aggregator, other = (Aggregator(("alpha", "beta"), settings_of) for _ in range(2))
        for each, first in ((aggregator, True), (other, False)):
            each.on_signal(said("beta", 0))
            live(each, "alpha", [first] * 30 + [True] * 150)
        assert weights(aggregator)["alpha"] == pytest.approx(weights(other)["alpha"], rel=1e-3)

    @given(
        st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 39), st.lists(st.booleans()),
        st.sampled_from([1.0, 8.0, 50.0]),
    )  # fmt: skip
    @settings(max_examples=examples(200))
    def test_share_never_falls_when_a_wrong_outcome_is_right_instead(
        self, rights: list[bool], place: int, others: list[bool], half_life: float
    ) -> None:
        found = []
        for instead in (False, True):
            method = METHODS["hit_rate"](replace(LEARNING, half_life=half_life))
            for number, right in enumerate(rights):
                method.learn("alpha", instead if number == place % len(rights) else right)
            for right in others:
                method.learn("beta", right)
            alpha, beta, gamma = method.weights(NAMES)
            found.append(alpha / (alpha + beta + gamma))
        assert 0.0 < found[0] <= found[1] + 1e-12

    def test_history_is_bounded(self) -> None:
        aggregator = Aggregator(("alpha",), replace(LEARNING, history=5))
        live(aggregator, "alpha", [True] * 12)
        assert [change.at_us // MINUTE_US for change in report(aggregator).changes] == [8, 9, 10, 11, 12]

    def test_equal_weights_learn_nothing(self) -> None:
        aggregator = Aggregator(("alpha", "beta"), replace(LEARNING, method="equal"))
        aggregator.on_signal(said("beta", 0))
        live(aggregator, "alpha", [True] * 30)
        assert weights(aggregator) == {"alpha": 0.5, "beta": 0.5}


@dataclass
class Market:
    """A market of made-up strategies that all speak at every bar; one unit is held of the side that they want."""

    aggregator: Aggregator
    attributor: Attributor = field(default_factory=Attributor)
    held: int = 0
    price: float = 100.0
    bar: int = 0
    last: AggregatedSignal | None = None
    seen: list[dict[str, float]] = field(default_factory=list)

    def step(self, sides: dict[str, int], move: float) -> AggregatedSignal:
        for name, side in sides.items():
            self.last = self.aggregator.on_signal(said(name, side, self.bar, self.price))
        assert self.last is not None
        self.seen.append({vote.strategy: vote.weight for vote in self.last.votes})
        self._follow(self.last)
        self.bar += 1
        self.price *= 1.0 + move
        self.aggregator.on_price(SYMBOL, self.bar * MINUTE_US, self.price)
        return self.last

    def _follow(self, signal: AggregatedSignal) -> None:
        side = wanted_side(signal)
        if side is None or side == self.held:
            return
        decision = PositionDecision(
            at_us=signal.at_us, symbol=SYMBOL, side=side, size=0.5, price=self.price, votes=signal.votes
        )
        order = OrderFill(
            at_us=signal.at_us, symbol=SYMBOL, client_id=decision.identity, ordinal=self.bar, fee="0",
            side=1 if side > self.held else -1, quantity=str(abs(side - self.held)), price=repr(self.price),
            decided_price=self.price,
        )  # fmt: skip
        self.attributor.on_fill(order, decision)
        self.held = side

    def run(self, rates: Callable[[int], Sequence[float]], bars: int, seed: int) -> None:
        """`rates`: by bar, how often each strategy is right."""
        draw = random.Random(seed)
        for bar in range(bars):
            way = draw.choice((1, -1))
            sides = {
                f"s{place}": way if draw.random() < rate else -way for place, rate in enumerate(rates(bar))
            }
            self.step(sides, way * 0.001)


def four(seed: int, rates: Callable[[int], Sequence[float]], bars: int) -> Market:
    market = Market(Aggregator([f"s{place}" for place in range(4)], LEARNING))
    market.run(rates, bars, seed)
    return market


class TestPlanted:
    @pytest.mark.parametrize(("rate", "within"), [(0.8, 150), (0.9, 100)])
    @pytest.mark.parametrize("seed", range(4))
    def test_strategy_that_becomes_good_halfway_is_followed(
        self, rate: float, within: int, seed: int
    ) -> None:
        """Half-life 50: with more than half of the weight it decides alone, whatever the three others say."""
        market = four(seed, lambda bar: (rate if bar >= 300 else 0.5, 0.5, 0.5, 0.5), 600)
        first = next(bar for bar, now in enumerate(market.seen) if bar >= 300 and now["s0"] > 0.5)
        assert first - 300 <= within
        found = report(market.aggregator)
        assert found.follow_return > found.equal_return

    @pytest.mark.parametrize("rate", [0.45, 0.5, 0.6])
    @pytest.mark.parametrize("seed", range(4))
    def test_strategies_that_are_alike_keep_about_equal_weights(self, rate: float, seed: int) -> None:
        seen = four(seed, lambda _: (rate,) * 4, 500).seen
        away = [abs(weight - 0.25) for now in seen for weight in now.values()]
        assert sum(away) / len(away) < 0.02
        assert sum(one < 0.05 for one in away) / len(away) > 0.9

    def test_often_right_and_dear_when_wrong_loses_to_equal_weights(self) -> None:
        """`often` is right 6 times in 10 and earns 1 or loses 2; two others take the other side."""
        totals = {}
        for method in METHODS:
            terms = replace(LEARNING, method=method, half_life=200)
            market = Market(Aggregator(("often", "seldom", "rarely"), terms))
            for bar in range(600):
                side = 1 if bar % 2 else -1
                move = side * (0.001 if bar % 5 in {0, 1, 3} else -0.002)
                market.step({"often": side, "seldom": -side, "rarely": -side}, move)
            records = {record.strategy: record for record in market.attributor.records()}
            totals[method] = sum(record.contribution for record in records.values())
        assert totals["hit_rate"] < 0.0 < totals["equal"]
        # What people see of the last, which is by hit rate: the control beside it, and why.
        found = report(market.aggregator)
        assert found.follow_return < 0.0 < found.equal_return
        assert found.weights[0].weight > 0.5
        often = records["often"]
        assert often.hit_rate == pytest.approx(0.6, abs=0.02)
        assert often.payoff == pytest.approx(0.5, abs=0.02)
        assert often.contribution < 0.0 < records["seldom"].contribution


@dataclass(frozen=True)
class Event:
    """A price of the symbol, and what a strategy says at it, if one does."""

    at_us: int
    price: float
    name: str | None
    side: int

    def to(self, aggregator: Aggregator) -> AggregatedSignal | None:
        aggregator.on_price(SYMBOL, self.at_us, self.price)
        if self.name is None:
            return None
        bar_us = 0 if self.name == "posted" else 2
        return aggregator.on_signal(
            StrategySignal(
                at_us=self.at_us, symbol=SYMBOL, strategy=self.name, side=self.side, price=self.price,
                interval_us=bar_us,
            )
        )  # fmt: skip


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    rows = draw(
        st.lists(
            st.tuples(
                st.integers(0, 3),
                st.sampled_from([90.0, 100.0, 110.0]),
                st.sampled_from([None, "alpha", "beta", "posted"]),
                st.sampled_from([1, -1, 0]),
            ),
            max_size=30,
        )
    )
    events, at_us = [], 0
    for gap, price, name, side in rows:
        at_us += gap
        events.append(Event(at_us, price, name, side))
    return events


SHORT = AggregationSettings(
    method="hit_rate", horizon_bars=2, horizon_us=5, half_life=2, prior=0.5, history=8
)


def reference_weights(events: Sequence[Event]) -> dict[str, float]:
    """The weights after these events: the slow, obvious way, from every signal's outcome."""
    claims: list[tuple[int, Event]] = []
    results: dict[str, list[bool]] = {}
    spoken = []
    for event in events:
        for claim in sorted((one for one in claims if one[0] <= event.at_us), key=lambda one: one[0]):
            claims.remove(claim)
            _, signal = claim
            assert signal.name is not None
            results.setdefault(signal.name, []).append(signal.side * (event.price - signal.price) > 0)
        if event.name is None:
            continue
        spoken.append(event.name)
        if event.side and all((one.name, one.side) != (event.name, event.side) for _, one in claims):
            claims.append((event.at_us + (5 if event.name == "posted" else 4), event))
    rates = {}
    for name in spoken:
        known = results.get(name, [])
        counts = [
            SHORT.prior
            + sum(0.5 ** (age / SHORT.half_life) for age, one in enumerate(reversed(known)) if one is right)
            for right in (True, False)
        ]
        mean, n = counts[0] / sum(counts), sum(counts)
        rates[name] = mean, (mean * (1 - mean) / (n + 1)) ** 0.5
    pool = sum(mean for mean, _ in rates.values()) / len(rates)
    raw = {}
    for name, (mean, spread) in rates.items():
        away = max(abs(mean - pool) - spread, 0.0) * (1 if mean > pool else -1)
        raw[name] = ((pool + away) / (1 - pool - away)) ** SHORT.power
    return {name: weight / sum(raw.values()) for name, weight in raw.items()}


class TestHistories:
    @given(histories())
    @settings(max_examples=examples(200))
    def test_weights_are_those_of_outcomes_known_by_then(self, events: list[Event]) -> None:
        aggregator = Aggregator(("alpha", "beta"), SHORT)
        for count, event in enumerate(events, 1):
            told = event.to(aggregator)
            if told is not None:
                found = {vote.strategy: vote.weight for vote in told.votes}
                assert found == pytest.approx(reference_weights(events[:count]), rel=1e-9)

    @given(histories(), st.data())
    @settings(max_examples=examples(100))
    def test_later_prices_change_nothing_that_was_said(
        self, events: list[Event], data: st.DataObject
    ) -> None:
        cut = data.draw(st.integers(0, len(events)))
        other = events[:cut] + [replace(event, price=event.price * 2.0) for event in events[cut:]]
        said_of = []
        for each in (events, other):
            aggregator = Aggregator(("alpha", "beta"), SHORT)
            said_of.append([event.to(aggregator) for event in each][:cut])
        assert said_of[0] == said_of[1]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("method", "best", "equal or hit_rate"),
        ("threshold", 1.0, "from 0 to below 1"),
        ("threshold", float("nan"), "from 0 to below 1"),
        ("horizon_bars", 0, "a whole number from 1 to 100,000"),
        ("horizon_us", 1.5, "a whole number from 1"),
        ("cost_bps", -1.0, "from 0 to 1000"),
        ("half_life", 0.5, "from 1 to 1,000,000"),
        ("prior", 0.0, "from 0.1 to 1,000,000"),
        ("power", 11.0, "from 0 to 10"),
        ("history", True, "a whole number from 1 to 10,000"),
    ],
)
def test_setting_that_cannot_be_used_is_refused_by_name(name: str, value: Any, expected: str) -> None:
    with pytest.raises(InvalidField, match=rf"{name} is .*{expected}"):
        AggregationSettings(**{name: value})
