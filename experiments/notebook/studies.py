"""Comparisons, sweeps and Monte Carlo paths: in this process, or on a Ray cluster that is named."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from raysignal.agents.override.outcomes import Horizon
from raysignal.engine.core.arrays import Float64Array
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.policy import Policy
from raysignal.experiments.comparison.arms import Trial, stream_of
from raysignal.experiments.comparison.evaluation import Evaluation, evaluate
from raysignal.experiments.comparison.results import ArmResult, SignalStream
from raysignal.experiments.comparison.sentences import money, sentence, verdict
from raysignal.experiments.formats import percent
from raysignal.experiments.monte_carlo import report as path_report
from raysignal.experiments.monte_carlo.distributions import COLUMNS
from raysignal.experiments.monte_carlo.paths import MonteCarloSpec, Source, at_steps, run_paths, source_of
from raysignal.experiments.notebook.frames import Signals
from raysignal.experiments.notebook.replays import policy_members, policy_of
from raysignal.experiments.notebook.study import Study, require_experiments
from raysignal.experiments.sweeps.market import Market, markets_of
from raysignal.experiments.sweeps.space import SIGNALS, Axis, Space

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from raysignal.experiments.sweeps.results import SweepFindings
    from raysignal.experiments.sweeps.sweep import SweepSpec

_BEST = 10


def _whole(name: str, value: Any) -> int:
    """A whole number, also one of NumPy; `InvalidField` if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InvalidField(name, value, "a whole number")
    return int(value)


# Arms beside each other


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CompareStudy(Study):
    """Arms side by side: `frame` has a row an arm and fill, `summary` is what metrics.json of a run holds.

    Attributes:
        evaluation: what was found.
        stream, arms: what every arm saw, and what each did.
    """

    evaluation: Evaluation
    stream: SignalStream
    arms: tuple[ArmResult, ...]

    @property
    def table(self) -> pa.Table:
        assessed = {one.arm: one for one in self.evaluation.assessments}
        rows = []
        for arm in self.evaluation.arms:
            one = assessed.get(arm.name)
            for fill, figures in arm.performance.items():
                known = one is not None and one.selection.is_known
                row: dict[str, Any] = {"arm": arm.name, "kind": arm.kind, "fill": fill}
                row |= {name: value for name, value in figures.items() if name != "buy_and_hold"}
                row |= {
                    "overruled": 0 if one is None else sum(one.overridden.values()),
                    "selection_bps": one.selection.estimate if one is not None and one.enough else None,
                    "selection_low_bps": one.selection.low if one is not None and known else None,
                    "selection_high_bps": one.selection.high if one is not None and known else None,
                    "p_greater": None if one is None else one.p_greater,
                    "judgment": None if one is None else one.judgment.value,
                }
                rows.append(row)
        return pa.Table.from_pylist(rows)

    @property
    def summary(self) -> dict[str, Any]:
        return {
            "verdict": verdict(self.evaluation),
            "money": money(self.evaluation),
            **self.evaluation.as_dict(),
        }

    @property
    def sentences(self) -> tuple[str, ...]:
        found = self.evaluation
        return verdict(found), money(found), *(sentence(found, one) for one in found.claims)

    def _shown(self) -> "pd.DataFrame":
        return self.frame[
            ["arm", "fill", "total_return", "sharpe", "sharpe_per_period", "max_drawdown", "trades", "overruled",
             "selection_bps", "p_greater", "judgment"]
        ]  # fmt: skip

    def _draw(self, figure: "Figure") -> None:
        from raysignal.experiments.comparison.charts import draw_equity, draw_legend  # noqa: PLC0415 - slow to import

        fills = list(self.arms[0].equity)
        for axes, fill in zip(figure.subplots(1, len(fills), squeeze=False)[0], fills, strict=True):
            draw_equity(axes, self.stream, self.arms, fill)
        draw_legend(figure, self.arms)


def compare(
    signals: Any,
    arms: Sequence[str] | None = None,
    *,
    policy: Policy | Mapping[str, Any] | None = None,
    horizon: str | None = None,
    seed: int = 0,
    ray_address: str | None = None,
    **reading: Any,
) -> CompareStudy:
    """Arms that may overrule signals beside one that follows them all; no model is asked, and nothing is kept.

    Args:
        signals: what `read` takes or gives.
        arms: which, `baseline` among them; None: the memory and the controls.
        policy: of every arm's portfolio.
        horizon: how long a signal is followed: `6b` (bars), `90m`, `1d`, `close`; None: the agent's own.
        seed: of what is drawn by lot.
        ray_address: of the cluster that arms run on beside each other, such as `auto`; None: one after the other, here.
        reading: options of `read`.

    Raises:
        InvalidField: arms or rules that cannot be, and what `read` raises.
        SettingsError: no such cluster.
    """
    require_experiments("compare()")
    from raysignal.experiments.comparison.actors import arms_here, run_arms  # noqa: PLC0415 - imports ray
    from raysignal.experiments.comparison.compare import WITHOUT_MODEL, Comparison  # noqa: PLC0415 - the same

    batch = Signals.of(signals, **reading).batch
    trial = Trial(policy=policy_of(policy), seed=_whole("seed", seed))
    if horizon is not None:
        if not isinstance(horizon, str):
            raise InvalidField(
                "horizon", horizon, "a text: bars such as '6b', a time such as '90m', or 'close'"
            )
        lag_us = trial.rules.horizon.lag_us
        trial = replace(trial, rules=replace(trial.rules, horizon=Horizon.parse(horizon, lag_us=lag_us)))
    names = Comparison(trial, tuple(arms or WITHOUT_MODEL)).arms
    if ray_address is None:
        results = arms_here(names, batch, trial)
    else:
        from raysignal.experiments.cluster import ray_session  # noqa: PLC0415 - imports ray

        with ray_session(ray_address):
            results = run_arms(
                names,
                batch,
                trial,
                None,
                found={},
                done=lambda _: None,
                progress=lambda _name, _signals: None,
            )
    stream, made = stream_of(batch, trial), tuple(results.values())
    return CompareStudy(evaluate(stream, made), stream, made)


# Configurations


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SweepStudy(Study):
    """A sweep: `frame` has a row a symbol and configuration, the best first; `summary` the verdict, by symbol.

    Attributes:
        spec: what was swept.
        findings: what came out.
    """

    spec: "SweepSpec"
    findings: "SweepFindings"

    @property
    def table(self) -> pa.Table:
        from raysignal.experiments.sweeps.results import SWEEP  # noqa: PLC0415 - beside the type

        table = self.findings.tables[SWEEP]
        table = table.set_column(0, "symbol", table["symbol"].cast(pa.string()))
        return table.sort_by([("symbol", "ascending"), ("rank", "ascending")])

    @property
    def summary(self) -> dict[str, Any]:
        return self.findings.metrics

    @property
    def sentences(self) -> tuple[str, ...]:
        said = []
        for symbol, found in self.summary["symbols"].items():
            judged = found["verdict"]
            told = "too little to judge whether the best is luck." if judged is None else judged["sentence"]
            said.append(f"{symbol}: {told}")
            if found["validation"] is not None:
                said.append(f"{symbol}, out of sample: {found['validation']['sentence']}.")
        return tuple(said)

    def _shown(self) -> "pd.DataFrame":
        frame = self.frame
        own = [axis.name for axis in self.spec.space.axes]
        figures = [
            "total_return",
            "sharpe",
            "sharpe_per_period",
            "max_drawdown",
            "trades",
            "periods_per_year",
        ]
        return frame[frame["rank"] <= _BEST][["symbol", "rank", *own, *figures]]

    def _draw(self, figure: "Figure") -> None:
        from raysignal.experiments.sweeps import pictures  # noqa: PLC0415 - slow to import

        views = self.findings.views
        for part, view in zip(figure.subfigures(len(views), 1, squeeze=False)[:, 0], views, strict=True):
            pairs = pictures.telling_pairs(view.table, view.varied, view.objective)[:1]
            left, right = part.subfigures(1, 2)
            axes = left.subplots()
            if view.curves:
                pictures.draw_curves(axes, view.curves, view.names, view.table)
            axes.set_title(f"{view.symbol}: the best, and holding")
            if pairs:
                pictures.draw_maps(right, view.table, pairs, view.objective)
            else:
                pictures.draw_spread(right, view.table, view.objective, view.buy_and_hold)


Values = Iterable[int | float | str] | int | float | str


def sweep(
    prices: Any,
    grid: Mapping[str, Values] | Sequence[str],
    *,
    policy: Mapping[str, Any] | None = None,
    strategy: str | None = None,
    objective: str = "sharpe",
    walk_forward: tuple[int, int] | None = None,
    cross_validation: int | None = None,
    seed: int = 0,
    ray_address: str | None = None,
    **reading: Any,
) -> SweepStudy:
    """Every configuration of a grid over prices, and whether the best of them is more than luck; nothing is kept.

    Args:
        prices: what `read` takes or gives; rows need no signal.
        grid: by name what is varied, such as `{"sma_fast": range(5, 50, 5), "fee_bps": [0, 10]}`, or texts as on the
            command line, `["sma_fast=5:50:5"]`. One value is fixed.
        policy: members of the policy that are the same for all.
        strategy: such as `sma`; told from the grid where it is not given, else `signals`, those of the rows.
        objective: what configurations are ranked by.
        walk_forward: bars to train and to test on.
        cross_validation: in so many parts.
        seed: of the verdict's bootstrap.
        ray_address: of the cluster that configurations run on, such as `auto`; None: on this core.
        reading: options of `read`.

    Raises:
        InvalidField: a grid that cannot be, and what `read` raises.
        SettingsError: no such cluster.
    """
    require_experiments("sweep()")
    from raysignal.experiments.sweeps.chunks import run_chunk  # noqa: PLC0415 - imports numba
    from raysignal.experiments.sweeps.results import sweep_findings  # noqa: PLC0415 - imports the reports
    from raysignal.experiments.sweeps.sweep import CrossValidation, SweepSpec, WalkForward  # noqa: PLC0415 - the same

    if walk_forward is not None and cross_validation is not None:
        raise InvalidField("walk_forward", walk_forward, "it, or cross_validation, not both")
    validation: WalkForward | CrossValidation | None = None
    if walk_forward is not None:
        if isinstance(walk_forward, str) or not isinstance(walk_forward, Sequence) or len(walk_forward) != 2:
            raise InvalidField(
                "walk_forward", walk_forward, "bars to train and to test on, such as (200, 100)"
            )
        train, test = (_whole("walk_forward", bars) for bars in walk_forward)
        validation = WalkForward(train, test)
    elif cross_validation is not None:
        validation = CrossValidation(_whole("cross_validation", cross_validation))
    spec = SweepSpec(
        _space(strategy, grid, policy_members(policy)),
        objective=objective,
        validation=validation,
        seed=_whole("seed", seed),
    )
    batch = Signals.of(prices, prices_only=spec.space.strategy != SIGNALS, **reading).batch
    _check_instants(batch)
    markets = markets_of(batch, whole=spec.needs_signals)
    for market in markets:
        spec.check(market)
    if ray_address is None:
        tables = [
            run_chunk(market, spec.space, 0, len(spec.space), spec.marks(market), spec.trial)
            for market in markets
        ]
    else:
        from raysignal.experiments.sweeps.running import tables_on  # noqa: PLC0415 - imports ray

        tables = tables_on(ray_address, markets, spec)
    return SweepStudy(spec, sweep_findings(markets, spec, tables))


def _check_instants(batch: SignalBatch) -> None:
    """Refuse two rows of one symbol and instant: a bar has one close."""
    order = np.lexsort((batch.timestamp_us, batch.symbol))
    stamps, symbols = batch.timestamp_us[order], batch.symbol[order]
    same = np.flatnonzero((stamps[1:] == stamps[:-1]) & (symbols[1:] == symbols[:-1]))
    if len(same):
        first, second = sorted(batch.row[order[same[0] : same[0] + 2]].tolist())
        raise InvalidField(
            "timestamp",
            format_instant(int(stamps[same[0]])),
            f"an instant of its own: row {first} of {batch.symbols[symbols[same[0]]]} has the same; leave one of "
            "them out, or give each its instant",
            row=second,
        )


def _space(strategy: str | None, grid: Mapping[str, Values] | Sequence[str], policy: dict[str, Any]) -> Space:
    if isinstance(grid, Mapping):
        axes = [Axis(name, _values(values)) for name, values in grid.items()]
    else:
        axes = [Axis.parse(text) for text in ([grid] if isinstance(grid, str) else grid)]
    if not axes:
        raise InvalidField("grid", "none", 'at least one axis, such as {"fee_bps": [0, 10, 20]}')
    return Space.of_axes(strategy, axes, policy)


def _values(values: Values) -> tuple[int | float | str, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        return (values,)
    return tuple(value.item() if isinstance(value, np.generic) else value for value in values)


# Paths


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class MonteCarloStudy(Study):
    """Paths that an account could have taken: `frame` has a row a path, `summary` is what metrics.json of a run holds.

    Attributes:
        spec, source: what was asked for, and what the paths were drawn from.
        figures: float64[paths, 5], see `experiments.monte_carlo.distributions.COLUMNS`.
        levels: float64[paths, steps], equity over its beginning.
        metrics: what came out.
    """

    spec: MonteCarloSpec
    source: Source
    figures: Float64Array
    levels: Float64Array
    metrics: dict[str, Any]

    @property
    def table(self) -> pa.Table:
        columns: dict[str, Any] = {"path": pa.array(np.arange(len(self.figures)))}
        columns |= {name: pa.array(self.figures[:, place]) for place, name in enumerate(COLUMNS)}
        return pa.table(columns)

    @property
    def summary(self) -> dict[str, Any]:
        return self.metrics

    @property
    def sentences(self) -> tuple[str, ...]:
        return (
            path_report.sentence(self.metrics),
            path_report.own_sentence(self.metrics),
            *self.metrics["notes"],
        )

    def _figures(self) -> list[tuple[str, str]]:
        shown = []
        for name, spread in self.metrics["figures"].items():
            if name != "ruined":
                low, middle, high = (percent(spread["quantiles"][q][0]) for q in ("q0.05", "q0.5", "q0.95"))
                shown.append((f"{name.replace('_', ' ')}, 5 % / median / 95 %", f"{low} / {middle} / {high}"))
        return shown

    def _draw(self, figure: "Figure") -> None:
        every = max(1, len(self.levels) // 200)
        fan = np.quantile(self.levels, (0.05, 0.5, 0.95), axis=0)
        axes = figure.subplots()
        path_report.draw_fan(axes, self.levels[::every], fan, at_steps(self.source.own))
        axes.legend(frameon=False, fontsize=8, loc="upper left")


def monte_carlo(
    signals: Any,
    method: str = "bootstrap",
    *,
    paths: int = 1_000,
    policy: Policy | Mapping[str, Any] | None = None,
    strategy: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    ruin: float = 0.5,
    seed: int = 0,
    ray_address: str | None = None,
    **reading: Any,
) -> MonteCarloStudy:
    """Paths that an account could have taken instead; nothing is kept.

    Args:
        signals: what `read` takes or gives, of one symbol.
        method: `order`, `trades`, `bootstrap`, or a made-up market: `gbm`, `garch`, `regimes`, `jumps`.
        paths: how many.
        policy: of the account.
        strategy: what trades on the prices, such as `sma`; None: the signals of the rows.
        parameters: of the strategy.
        ruin: share of the beginning at which a path is ruined.
        seed: of all paths.
        ray_address: of the cluster that paths are drawn on, such as `auto`; None: on this core.
        reading: options of `read`; `symbol` also says which of several.

    Raises:
        InvalidField: what cannot be asked for, and what `read` raises.
        SettingsError: no such cluster.
    """
    require_experiments("monte_carlo()")
    from raysignal.engine.strategies import registry  # noqa: PLC0415 - imports numba
    from raysignal.experiments.monte_carlo.running import drawn_on, fit_to, metrics_of  # noqa: PLC0415 - imports ray

    paths = _whole("paths", paths)
    spec = MonteCarloSpec(method, paths, _whole("seed", seed), ruin, policy_of(policy))
    if parameters and strategy is None:
        raise InvalidField("parameters", ", ".join(parameters), "a strategy that they are of: strategy='sma'")
    rule = None if strategy is None else registry.make(strategy, dict(parameters or {}))
    symbol = reading.get("symbol")
    if isinstance(signals, Signals):
        reading.pop("symbol", None)
    batch = Signals.of(signals, prices_only=rule is not None, **reading).batch
    _check_instants(batch)
    market = _one_market(markets_of(batch, symbols=() if symbol is None else (symbol,)))
    source = source_of(market, rule, spec)
    if ray_address is None:
        figures, levels = run_paths(market, rule, spec, source, 0, paths)
    else:
        figures, levels = drawn_on(ray_address, market, rule, spec, source)
    metrics = metrics_of(spec, source, figures, fit_to(market, spec, source))
    return MonteCarloStudy(spec, source, figures, levels, metrics)


def _one_market(markets: tuple[Market, ...]) -> Market:
    if len(markets) > 1:
        names = ", ".join(market.symbol for market in markets)
        raise InvalidField("symbol", "not given", f"one of {names}")
    return markets[0]
