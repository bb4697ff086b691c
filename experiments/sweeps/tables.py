"""The tables of a sweep, made of what its chunks found."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from raysignal.engine.core.arrays import Float64Array, Int64Array
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.trade_summary import trade_summary
from raysignal.engine.portfolio.trades import trades_of
from raysignal.experiments.comparison.arms import Trial
from raysignal.experiments.sweeps.chunks import NUMBER, PERIODS, RUINED, SUMS, actions_of
from raysignal.experiments.sweeps.market import Market
from raysignal.experiments.sweeps.space import ChosenConfigurations, Space
from raysignal.experiments.trades import SHOWN

_NAME = pa.dictionary(pa.int32(), pa.string())
_INSTANT = pa.timestamp("us", "UTC")
_FALLING = ("max_drawdown",)
_CURVE_BLOCK = 131_072


RAW = {
    "sharpe": "sharpe_per_period", "sortino": "sortino_per_period", "calmar": "return_over_drawdown",
}  # fmt: skip
"""What stands beside an annual figure, see `engine.portfolio.performance`."""


def ranked_by(table: pa.Table, objective: str) -> str:
    """The figure that decides: the objective, or what stands beside it where the history is too short for a year.

    That is where some configuration has the figure beside it, but not the annual one. Over the same bars, Sharpe and
    Sortino a period put configurations in the order in which the annual ones would.
    """
    raw = RAW.get(objective, objective)
    short = np.isnan(figures(table, objective)) & ~np.isnan(figures(table, raw))
    return raw if short.any() else objective


def ranks(table: pa.Table, objective: str) -> Int64Array:
    """The place of each configuration, 1 the best: by `ranked_by`, one without the figure behind, then the ruined ones;
    equal ones by number.
    """
    score = scores(table, objective)
    ruined = table[RUINED].combine_chunks().to_numpy(zero_copy_only=False)
    order = np.lexsort((np.arange(len(score)), -score, ruined))
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(1, len(order) + 1)
    return places


def scores(table: pa.Table, objective: str) -> Float64Array:
    """Of each configuration, the more the better; minus infinity where the figure is not defined, or it is ruined."""
    values = figures(table, ranked_by(table, objective))
    ruined = table[RUINED].combine_chunks().to_numpy(zero_copy_only=False)
    return np.where(np.isnan(values) | ruined, -np.inf, -values if objective in _FALLING else values)


def worst_score(tables: Sequence[pa.Table], objective: str) -> float:
    """Of the first configuration of each table, a market each: the score where it is worst; see `scores`."""
    return min(float(scores(table, objective)[0]) for table in tables)


def figures(table: pa.Table, name: str) -> Float64Array:
    """A column of figures, NaN where one is not defined."""
    column: Float64Array = table[name].combine_chunks().to_numpy(zero_copy_only=False).astype(np.float64)
    return column


def sweep_table(
    market: Market, space: Space | ChosenConfigurations, table: pa.Table, rank: Int64Array
) -> pa.Table:
    """One row a configuration, in the order of their numbers: symbol, number, rank, parameters, figures."""
    columns: dict[str, Any] = {
        "symbol": _same(market.symbol, len(table)),
        NUMBER: table[NUMBER],
        "rank": pa.array(rank),
    }
    for name, values in space.columns().items():
        columns[name] = pa.array(values, pa.float64() if _mixed(values) else None)
    for name in table.column_names:
        if name not in (NUMBER, PERIODS, SUMS):
            columns[name] = table[name]
    return pa.table(columns)


def periods_table(market: Market, table: pa.Table, periods: Int64Array) -> pa.Table:
    """One row a sampled configuration and period: its return over the bars after `from` up to `to`."""
    there = table[PERIODS].combine_chunks()
    kept = table[NUMBER].combine_chunks().filter(there.is_valid())
    returns = there.drop_null().flatten()
    each = len(periods) - 1
    first, last = periods[:-1], periods[1:] - 1
    stamps = market.bars.known_at_us
    return pa.table(
        {
            "symbol": _same(market.symbol, len(returns)),
            NUMBER: pa.array(np.repeat(kept.to_numpy(), each)),
            "from": pa.array(np.tile(stamps[market.start + first], len(kept))).view(_INSTANT),
            "to": pa.array(np.tile(stamps[market.start + last], len(kept))).view(_INSTANT),
            "return": returns,
        }
    )


def period_returns(table: pa.Table) -> tuple[Int64Array, Float64Array]:
    """The sampled configurations, and their returns, float64[periods, sampled]."""
    there = table[PERIODS].combine_chunks()
    numbers = table[NUMBER].combine_chunks().filter(there.is_valid()).to_numpy()
    flat = there.drop_null().flatten().to_numpy()
    return numbers, flat.reshape(len(numbers), -1).T


def curve(market: Market, space: Space | ChosenConfigurations, number: int, trial: Trial) -> pa.Table:
    """The account of one configuration after every bar, by the ledger that a live portfolio has."""
    configuration = space[number]
    actions = actions_of(market, configuration, trial)[market.start :]
    bars = market.bars.slice(market.start, len(market.bars))
    n = len(bars)
    terms = market.terms(followed=configuration.strategy is None).slice(market.start, len(market.bars))
    if market.action is not None:
        terms = terms.done(market.action[market.start :], actions)
    ledger = Ledger(configuration.policy)
    ledger.ensure_symbols(1)
    equity, position, drawdown = np.empty(n), np.empty(n), np.empty(n)
    for start in range(0, n, _CURVE_BLOCK):
        stop = min(start + _CURVE_BLOCK, n)
        rows = LedgerRows.empty(stop - start)
        part = bars.slice(start, stop)
        ledger.run(
            part.known_at_us, np.zeros(len(part), np.int32), actions[start:stop], part.close, rows,
            terms=terms.slice(start, stop),
        )  # fmt: skip
        equity[start:stop], position[start:stop], drawdown[start:stop] = (
            rows.equity,
            rows.position,
            rows.drawdown,
        )
    return pa.table(
        {
            "symbol": _same(market.symbol, n),
            NUMBER: pa.array(np.full(n, number, np.int64)),
            "ordinal": pa.array(np.arange(n, dtype=np.int64)),
            "timestamp": pa.array(bars.known_at_us).view(_INSTANT),
            "action": pa.array(actions),
            "close": pa.array(bars.close),
            "equity": pa.array(equity),
            "position": pa.array(position),
            "drawdown": pa.array(drawdown),
        }
    )


def trades_of_configuration(
    market: Market, space: Space | ChosenConfigurations, number: int, trial: Trial
) -> dict[str, Any]:
    """What the trades of one configuration come to; positions still held end with the bars."""
    configuration = space[number]
    actions = actions_of(market, configuration, trial)[market.start :]
    bars = market.bars.slice(market.start, len(market.bars))
    terms = market.terms(followed=configuration.strategy is None).slice(market.start, len(market.bars))
    if market.action is not None:
        terms = terms.done(market.action[market.start :], actions)
    found = trades_of(
        configuration.policy, bars.known_at_us, np.zeros(len(bars), np.int32), [market.symbol], actions, bars.close,
        terms=terms,
    )  # fmt: skip
    return trade_summary(*found, shown=SHOWN)


def _mixed(values: Sequence[Any]) -> bool:
    kinds = {type(value) for value in values}
    return kinds == {int, float}


def _same(name: str, n: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(n, np.int32)), pa.array([name]))
