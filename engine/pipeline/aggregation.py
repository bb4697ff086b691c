"""What the strategies of a symbol want together: their standing sides, weighed. No clock, no IO.

    aggregator = Aggregator(("sma-fast", "sma-slow"), AggregationSettings(method="hit_rate"))
    aggregator.on_price("BTC", at_us, close)     # outcomes whose horizon is over become known
    aggregator.on_signal(signal)                 # an AggregatedSignal

    score   sum over strategies of weight * side * confidence; weights are above 0 and sum to 1
    side    sign of the score where |score| > threshold, else 0

A strategy stands for what it said last, on that symbol; one that said flat counts 0 with its weight. A side of 0 is no
opinion and keeps what is held, unless all of them say flat: `wanted_side` tells the two apart.

*Outcomes.* A signal with a side is right if the price went its way by more than costs, measured at the first price at
or after its horizon, and counts from there on and never before. A signal that repeats what its strategy says already,
while that is still open, is the same claim and is not judged a second time: outcomes that overlap would count as many.

Equal weights are worked out beside every method, and what following either would have returned.
docs/weighing.md has the formulas and their sources.
"""

import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import msgspec

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.events import AggregatedSignal, StrategySignal, Vote

_RECENT = 20  # outcomes that a reason speaks of
_ROUNDING = 1e-12  # a score below it is a tie whose halves were rounded differently
_HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class AggregationSettings:
    """How strategies are weighed.

    Attributes:
        method: one of `METHODS`.
        threshold: the score must be above it for a side; 0 to below 1.
        horizon_bars: after how many of its own bars a strategy's signal is judged; 1 to 100 000.
        horizon_us: the same for posted signals, which have no bars; 1 µs to 366 days.
        cost_bps: what a round trip costs, in basis points of the price: what it must move by to be right; 0 to 1000.
        half_life: after how many further outcomes of the strategy an outcome counts half; 1 to 1e6.
        prior: right and wrong outcomes, as many of each, that every strategy begins with; 0.1 to 1e6.
        power: of the odds of being right; 0 (equal weights) to 10.
        history: changes of weights that are kept, of each symbol; 1 to 10 000.

    Raises:
        InvalidField: a value that is out of these.
    """

    method: str = "equal"
    threshold: float = 0.0
    horizon_bars: int = 20
    horizon_us: int = _HOUR_US
    cost_bps: float = 0.0
    half_life: float = 50.0
    prior: float = 10.0
    power: float = 4.0
    history: int = 64

    def __post_init__(self) -> None:
        if not isinstance(self.method, str) or self.method not in METHODS:
            raise InvalidField("method", self.method, " or ".join(METHODS))
        self._check_number("threshold", 0, math.nextafter(1, 0), "a number from 0 to below 1")
        self._check_whole("horizon_bars", 100_000)
        self._check_whole("horizon_us", 366 * 24 * _HOUR_US)
        self._check_number("cost_bps", 0, 1000, "a number from 0 to 1000")
        self._check_number("half_life", 1, 1e6, "a number of outcomes from 1 to 1,000,000")
        self._check_number("prior", 0.1, 1e6, "a number of outcomes from 0.1 to 1,000,000")
        self._check_number("power", 0, 10, "a number from 0 to 10")
        self._check_whole("history", 10_000)

    def _check(self, name: str, fits: bool, expected: str) -> None:
        if not fits:
            raise InvalidField(name, getattr(self, name), expected)

    def _check_number(self, name: str, low: float, high: float, expected: str) -> None:
        value = getattr(self, name)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        self._check(name, number and low <= value <= high, expected)

    def _check_whole(self, name: str, most: int) -> None:
        value = getattr(self, name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        self._check(name, whole and 1 <= value <= most, f"a whole number from 1 to {most:,d}")


class WeighingMethod(Protocol):
    """Weights of the strategies of one symbol. A new one joins by a line in `METHODS`."""

    name: ClassVar[str]

    def weights(self, strategies: Sequence[str], /) -> list[float]:
        """Of each of these, before all are divided by their sum; above 0."""
        ...

    def learn(self, strategy: str, right: bool, /) -> None:
        """An outcome of one of its signals became known."""
        ...

    def reason(self, strategy: str, /) -> str:
        """Why it has this weight, in words."""
        ...


class EqualWeights:
    """Everybody counts the same: the control."""

    name: ClassVar[str] = "equal"

    def __init__(self, settings: AggregationSettings) -> None:
        pass

    def weights(self, strategies: Sequence[str]) -> list[float]:
        return [1.0] * len(strategies)

    def learn(self, strategy: str, right: bool) -> None:
        pass

    def reason(self, strategy: str) -> str:
        return f"{strategy} counts as much as every other"


class _Tally(msgspec.Struct):
    """Outcomes of a strategy: decayed counts, and the last `_RECENT` as bits, the latest the lowest."""

    right: float = 0.0
    wrong: float = 0.0
    outcomes: int = 0
    recent: int = 0


_NO_OUTCOMES = _Tally()


class HitRateWeights:
    """Who is right more often than the others counts more, as far as that is more than luck.

        right, wrong   outcomes, each worth half after `half_life` further ones of its strategy
        posterior      Beta(prior + right, prior + wrong): mean m, standard deviation s
        c              the mean of all strategies' m, or where m is further than s from it: m moved towards it by s
        weight         (c / (1 - c)) ** power

    So strategies that are alike, however good, keep equal weights but for luck of more than a standard deviation.
    Observations that decay are those of discounted Thompson sampling (Raj and Kalyani, 2017); the prior does not decay.
    """

    name: ClassVar[str] = "hit_rate"

    def __init__(self, settings: AggregationSettings) -> None:
        self._decay = 0.5 ** (1.0 / settings.half_life)
        self._prior = float(settings.prior)
        self._power = float(settings.power)
        self._tallies: dict[str, _Tally] = {}

    def weights(self, strategies: Sequence[str]) -> list[float]:
        posteriors = [self._posterior(strategy) for strategy in strategies]
        pooled = sum(mean for mean, _ in posteriors) / len(posteriors)
        cautious = [
            max(mean - spread, pooled) if mean > pooled else min(mean + spread, pooled)
            for mean, spread in posteriors
        ]
        return [(rate / (1.0 - rate)) ** self._power for rate in cautious]

    def learn(self, strategy: str, right: bool) -> None:
        tally = self._tallies.setdefault(strategy, _Tally())
        tally.right = self._decay * tally.right + right
        tally.wrong = self._decay * tally.wrong + (not right)
        tally.outcomes += 1
        tally.recent = (tally.recent << 1 | right) & ((1 << _RECENT) - 1)

    def reason(self, strategy: str) -> str:
        tally = self._tallies.get(strategy)
        if tally is None:
            return f"no outcome of {strategy} is known yet"
        of, (rate, _) = min(tally.outcomes, _RECENT), self._posterior(strategy)
        return f"{strategy} was right {tally.recent.bit_count()} of {of}, decayed {rate:.2f}"

    def _posterior(self, strategy: str) -> tuple[float, float]:
        """Mean and standard deviation of its hit rate."""
        tally = self._tallies.get(strategy, _NO_OUTCOMES)
        right, wrong = self._prior + tally.right, self._prior + tally.wrong
        outcomes = right + wrong
        return right / outcomes, math.sqrt(right * wrong / (outcomes + 1.0)) / outcomes


METHODS: Mapping[str, Callable[[AggregationSettings], WeighingMethod]] = {
    EqualWeights.name: EqualWeights,
    HitRateWeights.name: HitRateWeights,
}


class WeightChange(msgspec.Struct, frozen=True):
    """An outcome of `strategy` became known at `at_us`, and these are the weights of all from then on."""

    at_us: int
    strategy: str
    weights: dict[str, float]
    reason: str


@dataclass(frozen=True, slots=True)
class StrategyWeight:
    """Where a strategy stands on a symbol.

    Attributes:
        side: the last it asked for; None: it has not spoken.
        weight: its share among those that have spoken; 0 while it has not.
        reason: why.
    """

    strategy: str
    side: int | None
    weight: float
    reason: str


@dataclass(frozen=True, slots=True)
class AggregationReport:
    """What an aggregator says of a symbol.

    Attributes:
        score, side: of the method; `equal_score`, `equal_side`: of equal weights.
        follow_return, equal_return: sum of the returns of positions of equal size that followed either, after
            `cost_bps`, the open one at the last price.
        follow_changes, equal_changes: how often either changed its side.
        changes: the last changes of weights, the latest last.
    """

    symbol: str
    method: str
    score: float
    side: int
    equal_score: float
    equal_side: int
    follow_return: float
    equal_return: float
    follow_changes: int
    equal_changes: int
    weights: tuple[StrategyWeight, ...]
    changes: tuple[WeightChange, ...]


def wanted_side(signal: AggregatedSignal) -> int | None:
    """1, -1, or 0 where all of its strategies say flat; None: no opinion, what is held is kept."""
    if signal.side:
        return signal.side
    return None if any(vote.side for vote in signal.votes) else 0


class Aggregator:
    """See the module. One for all symbols of a pipeline; each symbol has weights of its own.

    Args:
        strategies: names in the order of the configuration. Others, such as sources of posted signals, come after
            them in the order in which they first speak.
    """

    def __init__(self, strategies: Sequence[str], settings: AggregationSettings) -> None:
        self._strategies = tuple(strategies)
        self._settings = settings
        self._symbols: dict[str, _SymbolAggregator] = {}

    def on(self, event: Any) -> Sequence[AggregatedSignal]:
        """A `StrategySignal`, or anything that has a symbol, `at_us` and a close: as a stage of the path."""
        if isinstance(event, StrategySignal):
            signal = self.on_signal(event)
            return () if event.more else (signal,)
        self.on_price(event.symbol, event.at_us, event.close)
        return ()

    def on_price(self, symbol: str, at_us: int, price: float) -> None:
        """A price of a symbol, above 0, in order of time and before the signals that are made of it."""
        of_symbol = self._symbols.get(symbol)
        if of_symbol is not None:
            of_symbol.last_price = price
            if at_us >= of_symbol.next_due_us:
                of_symbol.settle(at_us, price)

    def on_signal(self, signal: StrategySignal) -> AggregatedSignal:
        """One strategy spoke; what they want together now."""
        of_symbol = self._symbols.get(signal.symbol)
        if of_symbol is None:
            of_symbol = _SymbolAggregator(self._strategies, self._settings)
            self._symbols[signal.symbol] = of_symbol
        return of_symbol.on_signal(signal)

    def reports(self) -> tuple[AggregationReport, ...]:
        """Of every symbol of which something was said, in the order in which that began."""
        return tuple(of_symbol.report(symbol) for symbol, of_symbol in self._symbols.items())


class _Pending(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A signal whose outcome is not known yet; in order of when it will be."""

    due_us: int
    number: int
    strategy: str
    side: int
    price: float


class _Followed(msgspec.Struct):
    """What following a score returned: the side held, its price at entry, and the sum of returns of those before."""

    side: int = 0
    price: float = 0.0
    earned: float = 0.0
    changes: int = 0

    def turn(self, side: int, price: float, cost_bps: float) -> None:
        """Hold this side from here on; the cost is of a round trip."""
        self.earned = self.worth(price) - abs(side - self.side) * cost_bps / 2e4
        self.side, self.price = side, price
        self.changes += 1

    def worth(self, price: float) -> float:
        return self.earned + self.side * (price / self.price - 1.0) if self.side else self.earned


class _SymbolAggregator:
    """The strategies of one symbol. `next_due_us`: when the next outcome becomes known, at the soonest."""

    __slots__ = (
        "_changes", "_equal", "_followed", "_method", "_open", "_pending", "_settings", "_signals", "_votes",
        "last_price", "next_due_us",
    )  # fmt: skip

    def __init__(self, strategies: tuple[str, ...], settings: AggregationSettings) -> None:
        self._settings = settings
        self._method = METHODS[settings.method](settings)
        self._votes: dict[str, Vote | None] = dict.fromkeys(strategies)  # None: it has not spoken
        self._pending: list[_Pending] = []
        self._open: set[tuple[str, int]] = set()  # strategies and sides of `_pending`
        self._signals = 0
        self._followed, self._equal = _Followed(), _Followed()
        self._changes: deque[WeightChange] = deque(maxlen=settings.history)
        self.last_price = 0.0
        self.next_due_us: float = math.inf

    def on_signal(self, signal: StrategySignal) -> AggregatedSignal:
        name, side, price = signal.strategy, signal.side, float(signal.price)
        said = self._votes.get(name)
        self._votes[name] = Vote(name, side, said.weight if said else 0.0, float(signal.confidence))
        if said is None:
            self._weigh()
        if side and (name, side) not in self._open:
            self._await(signal)
        votes = self._spoken()
        score, equal_score, flat = _scores(votes)
        wanted = self._side(score)
        if not signal.more:
            for followed, asked in ((self._followed, wanted), (self._equal, self._side(equal_score))):
                if asked != followed.side and (asked or flat):
                    followed.turn(asked, price, self._settings.cost_bps)
        self.last_price = self.last_price or price
        return AggregatedSignal(
            at_us=signal.at_us, symbol=signal.symbol, score=score, side=wanted, price=signal.price,
            votes=votes, method=self._method.name, equal_score=equal_score,
        )  # fmt: skip

    def settle(self, at_us: int, price: float) -> None:
        """Outcomes that are due become known."""
        pending, cost = self._pending, self._settings.cost_bps / 1e4
        while pending and pending[0].due_us <= at_us:
            claim = heapq.heappop(pending)
            name, before = claim.strategy, self._weight(claim.strategy)
            self._open.remove((name, claim.side))
            self._method.learn(name, claim.side * (price / claim.price - 1.0) > cost)
            self._weigh()
            reason = f"{self._method.reason(name)}: weight {self._weight(name):.2f}, was {before:.2f}"
            weights = {vote.strategy: vote.weight for vote in self._spoken()}
            self._changes.append(WeightChange(at_us, name, weights, reason))
        self.next_due_us = pending[0].due_us if pending else math.inf

    def report(self, symbol: str) -> AggregationReport:
        score, equal_score, _ = _scores(self._spoken())
        return AggregationReport(
            symbol=symbol,
            method=self._method.name,
            score=score,
            side=self._side(score),
            equal_score=equal_score,
            equal_side=self._side(equal_score),
            follow_return=self._followed.worth(self.last_price),
            equal_return=self._equal.worth(self.last_price),
            follow_changes=self._followed.changes,
            equal_changes=self._equal.changes,
            weights=tuple(
                StrategyWeight(
                    name, vote.side if vote else None, self._weight(name), self._method.reason(name)
                )
                for name, vote in self._votes.items()
            ),
            changes=tuple(self._changes),
        )

    # The parts

    def _await(self, signal: StrategySignal) -> None:
        """It is to be judged at its horizon."""
        bars_us = signal.interval_us * self._settings.horizon_bars
        due_us = signal.at_us + (bars_us or self._settings.horizon_us)
        self._signals += 1
        self._open.add((signal.strategy, signal.side))
        pending = _Pending(due_us, self._signals, signal.strategy, signal.side, float(signal.price))
        heapq.heappush(self._pending, pending)
        self.next_due_us = self._pending[0].due_us

    def _spoken(self) -> tuple[Vote, ...]:
        return tuple([vote for vote in self._votes.values() if vote])

    def _weight(self, name: str) -> float:
        vote = self._votes[name]
        return vote.weight if vote else 0.0

    def _weigh(self) -> None:
        """Weights of those that have spoken, together 1."""
        spoken = self._spoken()
        if not spoken:
            return
        weights = self._method.weights([vote.strategy for vote in spoken])
        whole = sum(weights)
        for vote, weight in zip(spoken, weights, strict=True):
            self._votes[vote.strategy] = Vote(vote.strategy, vote.side, weight / whole, vote.confidence)

    def _side(self, score: float) -> int:
        bound = max(self._settings.threshold, _ROUNDING)
        return (score > bound) - (score < -bound)


def _scores(votes: Sequence[Vote]) -> tuple[float, float, bool]:
    """The score by the votes' weights, that of equal ones, and whether all say flat."""
    score, equal, flat = 0.0, 0.0, True
    for vote in votes:
        if vote.side:
            said, flat = vote.side * vote.confidence, False
            score += vote.weight * said
            equal += said
    return score, equal / max(len(votes), 1), flat
