"""Paths of an account: what is asked for, and some of them on one core, without Ray."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.engine.core.terms import SignalTerms
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.strategies.strategy import Bars, Strategy
from raysignal.experiments.monte_carlo.distributions import COLUMNS, path_figures
from raysignal.experiments.monte_carlo.markets import MODELS, MarketModel, fitted, generator
from raysignal.experiments.monte_carlo.resampling import (
    block_length,
    compounded,
    drawn,
    shuffled,
    solvent,
    stationary,
    trade_growths,
)
from raysignal.experiments.sweeps.market import Market

METHODS = ("order", "trades", "bootstrap", *MODELS)
MOST_PATHS = 10_000_000
STEPS = 200  # of a path that is drawn
_FEW = 250  # returns that hardly decide a model
_VERSION = 2  # of how paths are drawn: a run of another is not gone on with
_FURTHEST = (
    300.0  # that the logarithm of a price goes from its beginning, so that it stays a finite number above 0
)


@dataclass(frozen=True, slots=True)
class MonteCarloSpec:
    """What is asked for.

    Attributes:
        method: `order` (the same trades in another order), `trades` (as many, drawn from them), `bootstrap`
            (blocks of the returns), or a model of `markets.MODELS` fitted to the prices.
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
            "kind": "luck", "version": _VERSION, "method": self.method, "paths": self.paths, "seed": self.seed,
            "ruin": self.ruin, "policy": self.policy.as_dict(), "strategy": said,
            "data": {market.symbol: market.data_hash},
        }  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What paths are drawn from; made once, by `source_of`.

    Attributes:
        own: equity of the account as it was over its beginning, at the steps that paths have: float64[trades] after
            each trade for `order` and `trades`, else float64[bars].
        growths: of its trades, for `order` and `trades`.
        returns, block: of the account, for `bootstrap`.
        model: of the market.
        notes: what a reader of the results has to know, a sentence each.
    """

    own: Float64Array
    growths: Float64Array | None = None
    returns: Float64Array | None = None
    block: float = 1.0
    model: MarketModel | None = None
    notes: tuple[str, ...] = ()


def source_of(market: Market, strategy: Strategy | None, spec: MonteCarloSpec) -> Source:
    """Run the account as it was, and fit what is to be fitted.

    Raises:
        InvalidField: a market without signals and no strategy, no trade, or too few bars for a model.
    """
    terms = market.terms(followed=strategy is None)
    rows = _account(market.bars, _actions(market, strategy), spec.policy, terms)
    own = solvent(rows.equity / spec.policy.initial_cash)
    notes = _account_notes(rows, own)
    if spec.method in {"order", "trades"}:
        growths = trade_growths(rows, spec.policy)
        return Source(compounded(growths), growths=growths, notes=(*_trade_notes(rows, growths), *notes))
    if spec.method == "bootstrap":
        level = np.append(1.0, own)
        lived = int(np.count_nonzero(own > 0.0)) + int(own[-1] == 0.0)  # the fall to 0 is a return, too
        returns = level[1 : lived + 1] / level[:lived] - 1.0
        return Source(own, returns=returns, block=block_length(returns), notes=notes)
    if strategy is None:
        raise InvalidField(
            "strategy", "signals", f"a strategy, which can be run on other prices, for {spec.method}"
        )
    model = fitted(spec.method, market.bars.close)
    return Source(own, model=model, notes=(*_model_notes(model, len(market.bars) - 1), *notes))


def _model_notes(model: MarketModel, n: int) -> tuple[str, ...]:
    few = f"{n} returns are few to fit a model to: what they say about it is shown by how wide the intervals are."
    return (f"{model.described()}.", *([few] if n < _FEW else []))


def _account_notes(rows: LedgerRows, own: Float64Array) -> tuple[str, ...]:
    if own[-1] == 0.0:
        bar = int(np.argmax(own <= 0.0)) + 1
        fell = f"its equity fell to {rows.equity[bar - 1]:,.2f} at bar {bar:,d}"
        lost = "It counts as lost from there on, as does every path that falls to 0."
        return (f"The account is ruined: {fell}. {lost}",)
    return () if rows.position.any() else ("The account never held anything.",)


def _trade_notes(rows: LedgerRows, growths: Float64Array) -> tuple[str, ...]:
    found = ["Equity is seen where trades end: what it fell by within a trade is in no drawdown here."]
    if rows.position[-1] != 0.0 and growths[-1] > 0.0:
        found.append(
            "The last trade is still open: it counts as one that closes at the last price, without a fee."
        )
    if len(growths) == 1:
        found.append("There is one trade, so every path is the same.")
    return tuple(found)


def run_paths(
    market: Market, strategy: Strategy | None, spec: MonteCarloSpec, source: Source, begin: int, end: int
) -> tuple[Float64Array, Float64Array]:
    """Paths `begin` to `end`: `COLUMNS`, float64[paths, 5], and equity at `STEPS` places, float64[paths, STEPS]."""
    figures = np.empty((end - begin, len(COLUMNS)))
    drawn_at = np.empty((end - begin, STEPS))
    for row, index in enumerate(range(begin, end)):
        growth, halted = _path(market, strategy, spec, source, generator(spec.seed, index))
        figures[row] = (*path_figures(growth, spec.ruin), halted)
        drawn_at[row] = at_steps(growth)
    return figures, drawn_at


def at_steps(path: Float64Array) -> Float64Array:
    """A path at `STEPS` places, evenly over its length."""
    found: Float64Array = path[np.linspace(0, len(path) - 1, STEPS).astype(np.int64)]
    return found


def _path(
    market: Market,
    strategy: Strategy | None,
    spec: MonteCarloSpec,
    source: Source,
    draws: np.random.Generator,
) -> tuple[Float64Array, bool]:
    """Equity over its beginning, and whether the market was halted."""
    if source.growths is not None:
        path = compounded((shuffled if spec.method == "order" else drawn)(source.growths, draws))
        if spec.method == "order":
            path[-1] = source.own[-1]  # a product in another order: the same but for its rounding
        return path, False
    if source.returns is not None:
        return compounded(1.0 + stationary(source.returns, source.block, draws)), False
    assert source.model is not None
    assert strategy is not None
    bars = market.bars
    moved = np.cumsum(source.model.returns(len(bars) - 1, draws))
    close = bars.close[0] * np.exp(np.clip(np.append(0.0, moved), -_FURTHEST, _FURTHEST))
    made, actions, halted = _acted(strategy, Bars.of_closes(bars.known_at_us, close))
    return solvent(_account(made, actions, spec.policy).equity / spec.policy.initial_cash), halted


def _acted(strategy: Strategy, bars: Bars) -> tuple[Bars, Any, bool]:
    """What the strategy does on these bars.

    Prices that have grown beyond what it can compute with (exact means have a largest price) stand still from there on:
    the market is halted.
    """
    try:
        return bars, strategy.actions(bars), False
    except InvalidField as refusal:
        row = refusal.fields.get("row")
        if refusal.fields["field"] != "close" or not row:
            raise
    close = np.append(bars.close[:row], np.full(len(bars) - row, bars.close[row - 1]))
    still = Bars.of_closes(bars.known_at_us, close)
    return still, strategy.actions(still), True


def _actions(market: Market, strategy: Strategy | None) -> Any:
    if strategy is not None:
        return strategy.actions(market.bars)
    if market.action is None:
        raise InvalidField("strategy", "none", "a strategy, or a file with signals")
    return market.action


def _account(bars: Bars, actions: Any, policy: Policy, terms: SignalTerms | None = None) -> LedgerRows:
    ledger, rows = Ledger(policy), LedgerRows.empty(len(bars))
    ledger.ensure_symbols(1)
    ledger.run(bars.known_at_us, np.zeros(len(bars), np.int32), actions, bars.close, rows, terms=terms)
    return rows
