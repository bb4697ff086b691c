"""One chunk of a sweep: some configurations over one market, on one core, without Ray.

The figures of a configuration do not depend on which others are in its chunk: they are those of a `Ledger` that takes
the strategy's actions one by one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from raysignal.agents.verdicts import decided
from raysignal.engine.core.arrays import BoolArray, Float64Array, Int8Array, Int64Array, UInt8Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.portfolio import account as at
from raysignal.engine.portfolio.performance import is_ruined, performance_table, return_sums
from raysignal.engine.portfolio.sweep import Sweep
from raysignal.engine.strategies.strategy import Bars, Family, family
from raysignal.experiments.comparison.arms import Trial, gated
from raysignal.experiments.sweeps.market import Market
from raysignal.experiments.sweeps.space import GATE, ChosenConfigurations, Configuration, Space

NUMBER = "configuration"
PERIODS = "period_returns"
SUMS = "fold_sums"
RUINED = "ruined"
_COUNTS = ("signals", "trades", "closed_trades", "periods")
_LEFT_OUT = ("initial_cash", "cash", "signal_return", "drawdown")


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """Where the account is looked at on its way, beside its end.

    Attributes:
        periods: int64[p + 1], rising bars from 0 to n: returns over these periods are kept for `sampled` ones.
        folds: int64[f + 1], rising bars: growth, sum and squares of the returns between them are kept for all. From
            where an account is ruined on, growth is 0 and the sums are NaN.
        sampled: every so many configurations, from number 0 on.
    """

    periods: Int64Array
    folds: Int64Array
    sampled: int

    @classmethod
    def ends(cls, n: int) -> "Marks":
        """Of n bars nothing but the ends."""
        return cls(np.array([0, n], np.int64), np.array([], np.int64), 1)


def run_chunk(
    market: Market, space: Space | ChosenConfigurations, begin: int, end: int, marks: Marks, trial: Trial
) -> pa.Table:
    """The configurations `begin` to `end` of a space: number, figures (`engine.portfolio.performance`), periods, folds.

    Args:
        market: the prices.
        space: what is varied.
        begin: the number of the first configuration.
        end: that of the first after the last.
        marks: see there.
        trial: the agent's rules, for a space with gates.

    Returns:
        One row a configuration, see `_table`.
    """
    configurations = [space[number] for number in range(begin, end)]
    bars = market.bars
    leading = bars.slice(0, market.start)
    acting = _family(configurations, market, trial)
    if len(leading):
        acting.advance(leading, np.zeros((len(configurations), len(leading)), np.int8))
    follows = all(one.strategy is None for one in configurations)
    sweep = Sweep(acting, [one.policy for one in configurations], follows=follows)
    terms = market.terms(followed=follows)
    edges = np.unique(np.concatenate([marks.periods, marks.folds, [0, len(bars) - market.start]]))
    seen = np.empty((len(edges), _SEEN, len(configurations)))
    _look(sweep.accounts(), seen[0])
    for place, (start, stop) in enumerate(pairwise(edges.tolist()), 1):
        first, after = market.start + start, market.start + stop
        signals = None if market.action is None else market.action[first:after]
        sweep.advance(bars.slice(first, after), signals, terms.slice(first, after))
        _look(sweep.accounts(), seen[place])
    return _table(configurations, sweep.accounts(), edges, seen, marks)


def actions_of(market: Market, configuration: Configuration, trial: Trial) -> Int8Array:
    """What a configuration does at each bar of a market, int8[n], those before its start included."""
    if configuration.strategy is not None:
        return configuration.strategy.actions(market.bars)
    if configuration.gate is not None:
        return _overruled(market, tuple(sorted(configuration.gate.items())), trial)
    assert market.action is not None
    return market.action


class _Rows:
    """Strategies of which several configurations have the same: each is worked out once."""

    def __init__(self, inner: Family, rows: int, index: Int64Array) -> None:
        self._inner, self._rows, self._index = inner, rows, index

    def advance(self, bars: Bars, actions: Int8Array) -> None:
        """See `Family`."""
        own = np.zeros((self._rows, len(bars)), np.int8)
        self._inner.advance(bars, own)
        np.take(own, self._index, axis=0, out=actions)


class _Given:
    """Actions that are known beforehand, int8[k, n]."""

    def __init__(self, actions: Int8Array) -> None:
        self._actions, self._done = actions, 0

    def advance(self, bars: Bars, actions: Int8Array) -> None:
        """See `Family`."""
        actions[:] = self._actions[:, self._done : self._done + len(bars)]
        self._done += len(bars)


def _family(configurations: Sequence[Configuration], market: Market, trial: Trial) -> Family:
    kinds: dict[Any, int] = {}
    index = np.array([kinds.setdefault(_kind(one), len(kinds)) for one in configurations], np.int64)
    firsts = [configurations[int(np.argmax(index == kind))] for kind in range(len(kinds))]
    strategies = [one.strategy for one in firsts if one.strategy is not None]
    if len(strategies) == len(firsts):
        inner = family(strategies)
    else:
        inner = _Given(np.stack([actions_of(market, one, trial) for one in firsts]))
    return inner if len(firsts) == len(configurations) else _Rows(inner, len(firsts), index)


def _kind(configuration: Configuration) -> Any:
    """What two configurations share that act alike; neighbours share the very strategy."""
    gate = None if configuration.gate is None else tuple(sorted(configuration.gate.items()))
    return (None if configuration.strategy is None else id(configuration.strategy), gate)


def _overruled(market: Market, gate: tuple[tuple[str, Any], ...], trial: Trial) -> Int8Array:
    assert market.encoded is not None
    batch = SignalBatch.decode(market.encoded.data)
    return decided(batch.action, _verdicts(_Kept(market.encoded, batch), gate, trial))


@dataclass(frozen=True)
class _Kept:
    encoded: UInt8Array
    batch: SignalBatch

    def __hash__(self) -> int:
        return id(self.encoded)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kept) and other.encoded is self.encoded


@lru_cache(maxsize=64)
def _verdicts(kept: _Kept, gate: tuple[tuple[str, Any], ...], trial: Trial) -> Int8Array:
    members = dict(gate)
    rules = trial.rules
    recall = rules.recall
    if "neighbours" in members:
        most = int(members.pop("neighbours"))
        recall = replace(recall, neighbours=most, least=min(recall.least, most))
    told = {GATE[name]: float(value) for name, value in members.items()}
    # Nobody is asked about the grey zone here, so it begins where overruling does.
    grey = min(rules.gate.grey, told.get("against", rules.gate.against))
    rules = replace(rules, recall=recall, gate=replace(rules.gate, **told, grey=grey))
    return gated(kept.batch, replace(trial, rules=rules)).verdict


_SEEN = 3  # equity, sum of returns, sum of their squares


def _look(accounts: Float64Array, seen: Float64Array) -> None:
    """An account as it stands; one that is ruined has nothing, whatever it owes or a short brings back later."""
    ruined = is_ruined(accounts)
    seen[0] = np.where(ruined, 0.0, accounts[:, at.EQUITY])
    seen[1:] = np.where(ruined, np.nan, return_sums(accounts))


def _table(
    configurations: Sequence[Configuration],
    accounts: Float64Array,
    edges: Int64Array,
    seen: Float64Array,
    marks: Marks,
) -> pa.Table:
    """Number, figures (null where not defined), `PERIODS` (float64[p], where sampled), `SUMS` (float64[f * 3])."""
    numbers = np.array([one.number for one in configurations], np.int64)
    columns: dict[str, pa.Array] = {NUMBER: pa.array(numbers)}
    for name, values in performance_table(accounts, [one.policy for one in configurations]).items():
        if name in _LEFT_OUT or name.startswith("buy_and_hold"):
            continue
        if name in _COUNTS:
            columns[name] = pa.array(values.astype(np.int64))
        elif name == RUINED:
            columns[name] = pa.array(values != 0.0)
        else:
            columns[name] = pa.array(values, mask=np.isnan(values))
    equity = seen[np.searchsorted(edges, marks.periods), 0]
    returns = np.where(equity[:-1] > 0.0, _growth(equity) - 1.0, 0.0)
    chosen = numbers % marks.sampled == 0
    columns[PERIODS] = _lists(returns.T, chosen)
    there = seen[np.searchsorted(edges, marks.folds)]
    sums = np.stack(
        [_growth(there[:, 0]), np.diff(there[:, 1], axis=0), np.diff(there[:, 2], axis=0)], axis=-1
    )
    columns[SUMS] = _lists(
        sums.transpose(1, 0, 2).reshape(len(numbers), -1), np.full(len(numbers), len(marks.folds) > 1)
    )
    return pa.table(columns)


def _growth(equity: Float64Array) -> Float64Array:
    """Each row over the one before; 0 from where there is nothing on."""
    before = equity[:-1]
    return np.divide(equity[1:], before, out=np.zeros_like(before), where=before > 0.0)


def _lists(values: Float64Array, there: BoolArray) -> pa.Array:
    width = values.shape[1]
    flat = pa.array(np.ascontiguousarray(values[there]).reshape(-1))
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum(there * width, out=offsets[1:])
    return pa.LargeListArray.from_arrays(pa.array(offsets), flat, mask=pa.array(~there))
