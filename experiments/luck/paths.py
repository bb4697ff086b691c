"""Paths of an account: what is asked for, and some of them on one core, without Ray."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from engine.account import Floats
from engine.errors import InvalidField
from engine.ledger import Ledger, LedgerRows
from engine.policy import Policy
from engine.strategies.strategy import Bars, Strategy
from experiments.luck.distributions import FIGURES, path_figures, until_ruin
from experiments.luck.markets import MODELS, Model, fitted, generator
from experiments.luck.resampling import block_length, drawn, shuffled, stationary, trade_growths
from experiments.sweeps.market import Market

METHODS = ("order", "trades", "bootstrap", *MODELS)
MOST_PATHS = 10_000_000
STEPS = 200  # of a path that is drawn


@dataclass(frozen=True, slots=True)
class LuckSpec:
    """What is asked for.

    Attributes:
        method: `order` (the same trades in another order), `trades` (drawn from them), `bootstrap` (blocks of the
            returns), or a model of `markets.MODELS` fitted to the prices.
        paths: how many.
        seed: of all of them.
        ruin: share of the beginning at which a path is ruined.
        policy: of the account.
    """

    method: str
    paths: int
    seed: int = 0
    ruin: float = 0.5
    policy: Policy = field(default_factory=Policy)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InvalidField("method", self.method, f"one of {', '.join(METHODS)}")
        if not 1 <= self.paths <= MOST_PATHS:
            raise InvalidField("paths", self.paths, f"a number from 1 to {MOST_PATHS:,d}")
        if not 0.0 < self.ruin < 1.0:
            raise InvalidField("ruin", self.ruin, "a share above 0 and below 1")
        if self.seed < 0:
            raise InvalidField("seed", self.seed, "a number from 0 on")

    def config(self, market: Market, strategy: Strategy | None) -> dict[str, Any]:
        """What decides the results, in plain values."""
        said = None if strategy is None else {type(strategy).__name__: asdict(strategy)}  # type: ignore[call-overload]
        return {
            "kind": "luck", "method": self.method, "paths": self.paths, "seed": self.seed, "ruin": self.ruin,
            "policy": self.policy.as_dict(), "strategy": said, "data": {market.symbol: market.data_hash},
        }  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What paths are drawn from; made once, by `source_of`.

    Attributes:
        own: growth of the account as it was, float64[n].
        growths: of its trades, for `order` and `trades`.
        returns, block: of the account, for `bootstrap`.
        model: of the market.
    """

    own: Floats
    growths: Floats | None
    returns: Floats | None
    block: float
    model: Model | None


def source_of(market: Market, strategy: Strategy | None, spec: LuckSpec) -> Source:
    """Run the account as it was, and fit what is to be fitted.

    Raises:
        InvalidField: a market without signals and no strategy, no closed trade, or too few bars for a model.
    """
    equity, position = _account(market.bars, _actions(market, strategy), spec.policy)
    own = equity / spec.policy.initial_cash
    growths = returns = model = None
    block = 1.0
    if spec.method in {"order", "trades"}:
        growths = trade_growths(position, equity, spec.policy.initial_cash)
    elif spec.method == "bootstrap":
        level = np.concatenate([[1.0], own])
        returns = level[1:] / level[:-1] - 1.0
        block = block_length(returns)
    else:
        if strategy is None:
            raise InvalidField(
                "strategy", "signals", f"a strategy, which can be run on other prices, for {spec.method}"
            )
        model = fitted(spec.method, market.bars.close)
    return Source(own, growths, returns, block, model)


def run_paths(
    market: Market, strategy: Strategy | None, spec: LuckSpec, source: Source, begin: int, end: int
) -> tuple[Floats, Floats]:
    """Paths `begin` to `end`: `FIGURES`, float64[paths, 4], and equity at `STEPS` places, float64[paths, STEPS]."""
    figures = np.empty((end - begin, len(FIGURES)))
    drawn_at = np.empty((end - begin, STEPS))
    for row, index in enumerate(range(begin, end)):
        growth = until_ruin(_path(market, strategy, spec, source, generator(spec.seed, index)))
        figures[row] = path_figures(growth, spec.ruin)
        drawn_at[row] = growth[np.linspace(0, len(growth) - 1, STEPS).astype(np.int64)]
    return figures, drawn_at


def _path(
    market: Market, strategy: Strategy | None, spec: LuckSpec, source: Source, draws: np.random.Generator
) -> Floats:
    if source.growths is not None:
        resampled = (shuffled if spec.method == "order" else drawn)(source.growths, draws)
        return np.asarray(np.cumprod(resampled), np.float64)
    if source.returns is not None:
        return np.asarray(np.cumprod(1.0 + stationary(source.returns, source.block, draws)), np.float64)
    assert source.model is not None
    assert strategy is not None
    bars = market.bars
    moved = source.model.returns(len(bars) - 1, draws)
    close = bars.close[0] * np.exp(np.concatenate([[0.0], np.cumsum(moved)]))
    made = Bars.of_closes(bars.known_at_us, np.clip(close, 1e-9, 1e12))
    equity, _ = _account(made, strategy.actions(made), spec.policy)
    growth: Floats = equity / spec.policy.initial_cash
    return growth


def _actions(market: Market, strategy: Strategy | None) -> Any:
    if strategy is not None:
        return strategy.actions(market.bars)
    if market.action is None:
        raise InvalidField("strategy", "none", "a strategy, or a file with signals")
    return market.action


def _account(bars: Bars, actions: Any, policy: Policy) -> tuple[Floats, Floats]:
    ledger, rows = Ledger(policy), LedgerRows.empty(len(bars))
    ledger.ensure_symbols(1)
    ledger.run(bars.known_at_us, np.zeros(len(bars), np.int32), actions, bars.close, rows)
    return rows.equity, rows.position
