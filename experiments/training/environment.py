"""The environments of a training: episodes of a market, whose accounts are the kernel's.

A policy sees the market and not its account, so all actions of an episode can be drawn before any of them is executed:
the kernel then takes each episode in at once. No reward is worked out beside it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from raysignal.engine.core.arrays import BoolArray, Float32Array, Float64Array, Int8Array, Int64Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.strategies.features import parse_features
from raysignal.engine.strategies.strategy import Bars
from raysignal.experiments.sweeps.market import Market
from raysignal.experiments.training.spec import GAP_BARS, TrainingSpec

ACTIONS = np.array([0, 1, -1], np.int8)
"""The kernel's code of each output of a policy: HOLD, BUY, SELL."""
NAMES = ("HOLD", "BUY", "SELL")

_FLOOR = 1e-6  # of the beginning: rewards do not tell apart what is left below it


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """A market as a policy sees it.

    Attributes:
        market: its bars.
        features: float32[n, F]; NaN where one is not known yet.
        resets: bool[n]: a policy has forgotten all when it comes to the bar.
        first: the first bar at which all features are known.
        train_end: the first bar after those that are trained on.
        test_begin: the first bar out of sample; the test goes on to the last.
        mean, scale: float32[F], of the bars that are trained on.
        bar_us: microseconds from bar to bar, the median.
    """

    market: Market
    features: Float32Array
    resets: BoolArray
    first: int
    train_end: int
    test_begin: int
    mean: Float32Array
    scale: Float32Array
    bar_us: int

    @classmethod
    def of(cls, market: Market, spec: TrainingSpec) -> "TrainingData":
        """Of a market.

        Raises:
            InvalidField: too few bars for an episode, or a feature that is not known or never changes.
        """
        ((_, train_end),), ((test_begin, _),) = (fold := spec.fold(market)).train, fold.test
        bars = market.bars
        columns = [feature.stream().advance(bars) for feature in parse_features(spec.features)]
        values = np.column_stack(columns)
        known = np.isfinite(values)
        first = _first_known(known, spec.features, train_end)
        if train_end - first <= spec.episode_bars:
            raise InvalidField(
                "bars", f"{train_end - first} to train on", f"more than an episode of {spec.episode_bars}"
            )
        trained = values[first:train_end]
        mean, scale = trained.mean(axis=0), trained.std(axis=0)
        for name, spread in zip(spec.features, scale, strict=True):
            if not spread > 0.0:
                raise InvalidField("features", name, "one that is not the same at every bar of the training")
        bar_us, resets = resets_of(bars.known_at_us)
        return cls(
            market, values.astype(np.float32), resets, first, train_end, test_begin,
            mean.astype(np.float32), scale.astype(np.float32), bar_us,
        )  # fmt: skip

    @property
    def volatility(self) -> float:
        """The standard deviation of a bar's log return where it is trained: the unit of rewards."""
        returns = np.diff(np.log(self.market.bars.close[self.first : self.train_end]))
        return float(returns.std()) or 1.0

    def draw(self, episodes: int, bars: int, draws: Generator) -> Int64Array:
        """Bars of some episodes, int64[bars + 1, episodes], the last of them for its price alone."""
        begins = draws.integers(self.first, self.train_end - bars, episodes)
        return np.asarray(begins + np.arange(bars + 1)[:, None], np.int64)

    def rewards(self, policy: Policy, rows: Int64Array, chosen: Int64Array) -> Float64Array:
        """What each action earned, float64[bars, episodes], in units of `volatility`.

        Args:
            policy: of the accounts.
            rows: as `draw` gives them.
            chosen: int[bars, episodes], places in `ACTIONS`.
        """
        earned = [
            rewards_of(self.market, policy, ACTIONS[chosen[:, place]], int(rows[0, place]))
            for place in range(rows.shape[1])
        ]
        return np.column_stack(earned) / self.volatility


def account(market: Market, policy: Policy, actions: Int8Array, begin: int) -> LedgerRows:
    """The account that begins at bar `begin` and does `actions`, int8[k], at the next k bars."""
    end = begin + len(actions)
    bars: Bars = market.bars.slice(begin, end)
    ledger, rows = Ledger(policy), LedgerRows.empty(len(actions))
    ledger.ensure_symbols(1)
    terms = market.terms(followed=False).slice(begin, end)
    ledger.run(
        bars.known_at_us, np.zeros(len(bars), np.int32), actions, bars.close, rows, terms=terms, hold=False
    )
    return rows


def rewards_of(market: Market, policy: Policy, actions: Int8Array, begin: int) -> Float64Array:
    """The log growth of the account from before each action to before the next, float64[k].

    The fee of an action and what its position earns up to the next bar's price are its reward. All of them together
    are the growth of the account that holds at the bar after the last action.
    """
    rows = account(market, policy, actions, begin)
    close = market.bars.close[begin + 1 : begin + len(actions) + 1]
    equity = np.concatenate([[policy.initial_cash], rows.cash + rows.position * close])
    return np.diff(np.log(np.maximum(equity, _FLOOR * policy.initial_cash)))


def resets_of(known_at_us: Int64Array) -> tuple[int, BoolArray]:
    """The usual step of bars in microseconds, and at which of them a policy has forgotten all, bool[n]."""
    steps = np.diff(known_at_us)
    bar_us = int(np.median(steps))
    return bar_us, np.concatenate([[True], steps > GAP_BARS * bar_us])


def _first_known(known: BoolArray, names: tuple[str, ...], train_end: int) -> int:
    """The bar from which on all is known."""
    for name, column in zip(names, known.T, strict=True):
        if not column[:train_end].any():
            raise InvalidField(
                "features", name, f"one that is known within the {train_end} bars that are trained on"
            )
        late = column[np.argmax(column) :]
        if not late.all():
            row = int(np.argmax(column) + np.argmin(late))
            raise InvalidField("features", name, "one that stays known once it is", row=row)
    return int(np.argmax(known.all(axis=1)))
