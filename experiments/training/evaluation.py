"""What trained policies are worth out of sample, beside what needs no training.

Beside cash, holding, the same actions at other times (each seed's own, shifted around by lot: as many trades, in as
long spells), and the crossover of moving averages that was best where the policy was trained. All pay the same fees.

A policy is several seeds: its account is an equal share in each, and a difference's interval counts both how much bars
vary, with their dependence, and how much seeds do. Something is shown where the interval of every difference is above
0: who earns more than those alone who trade too much has shown nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import hypot
from typing import Any

import numpy as np

from raysignal.agents.override.intervals import Interval, mean_interval
from raysignal.engine.core.arrays import Float32Array, Float64Array, Int8Array
from raysignal.engine.core.ledger_rows import LedgerRows
from raysignal.engine.core.policy import Policy
from raysignal.experiments.comparison.arms import Trial
from raysignal.experiments.comparison.paired import detectable
from raysignal.experiments.sweeps.chunks import Marks, run_chunk
from raysignal.experiments.sweeps.market import Market
from raysignal.experiments.sweeps.space import Axis, Space
from raysignal.experiments.sweeps.tables import ranks
from raysignal.experiments.training.environment import ACTIONS, TrainingData, account
from raysignal.experiments.training.spec import TrainingSpec

SHIFTS = 100
_FAST, _SLOW = (2, 3, 5, 8, 12, 20, 30, 50), (10, 20, 30, 50, 80, 120, 200)
_BPS = 10_000.0


@dataclass(frozen=True, slots=True, eq=False)
class TrainedSeed:
    """A policy that was trained.

    Attributes:
        seed: its seed.
        probabilities: float32[bars, 3] of HOLD, BUY and SELL, from `TrainingData.first` to the last bar.
        earned: of each round of training.
    """

    seed: int
    probabilities: Float32Array
    earned: Float64Array


@dataclass(frozen=True, slots=True, eq=False)
class TrainingFindings:
    """What metrics.json holds, and returns a bar out of sample by name: of the policy, its seeds and the controls."""

    metrics: dict[str, Any]
    returns: dict[str, Float64Array]


def decided(probabilities: Float32Array, policy: Policy) -> Int8Array:
    """The likeliest action at each bar; HOLD where it has less than the policy's confidence."""
    sure = probabilities.max(axis=1) >= policy.min_confidence
    return np.where(sure, ACTIONS[probabilities.argmax(axis=1)], np.int8(0))


def evaluate(data: TrainingData, spec: TrainingSpec, trained: Sequence[TrainedSeed]) -> TrainingFindings:
    """Judge the seeds of one training."""
    market, policy, begin = data.market, spec.policy, data.test_begin
    acted = [decided(one.probabilities, policy) for one in trained]
    tested = [actions[begin - data.first :] for actions in acted]
    after = [account(market, policy, actions, begin) for actions in tested]
    before = [
        account(market, policy, actions[: data.train_end - data.first], data.first) for actions in acted
    ]
    seeds = np.stack([rows.signal_return for rows in after])
    n = seeds.shape[1]
    held = np.zeros(n, np.int8)
    held[0] = 1
    grid, name = best_of_grid(data, policy)
    controls = {
        "cash": np.zeros(n),
        "holding": account(market, policy, held, begin).signal_return,
        "random timing": _shifted(market, policy, tested, begin, spec.seed),
        "the best SMA": account(market, policy, grid[begin:], begin).signal_return,
    }
    against = {name: _compared(seeds - returns) for name, returns in controls.items()}
    own = seeds.mean(axis=0)
    by_seed: list[dict[str, Any]] = [
        {"seed": one.seed, "training": _account_figures(trained_on), "test": _account_figures(looked_at)}
        for one, trained_on, looked_at in zip(trained, before, after, strict=True)
    ]
    metrics = {
        "kind": "training",
        "symbol": market.symbol,
        "bars": {"trained": data.train_end - data.first, "tested": n},
        "shown": all(one.above_zero for one in against.values()),
        "policy": _figures(own),
        "controls": {
            name: {
                **_figures(returns),
                "difference_bps": against[name].as_dict(),
                "detectable_bps": detectable(against[name].se, 1) if against[name].is_known else None,
            }
            for name, returns in controls.items()
        },
        "grid": name,
        "seeds": by_seed,
        "exported": max(by_seed, key=lambda one: one["training"]["total_return"])["seed"],
    }
    named = {f"seed {one.seed}": returns for one, returns in zip(trained, seeds, strict=True)}
    return TrainingFindings(metrics, {"policy": own, **named, **controls})


def sentence(metrics: Mapping[str, Any]) -> str:
    """What was shown, or that nothing was."""
    differences = {name: one["difference_bps"] for name, one in metrics["controls"].items()}
    if metrics["shown"]:
        nearest = min(differences, key=lambda name: differences[name]["estimate"])
        one = differences[nearest]
        return (
            f"Out of sample the policy earned more than {_names(differences)}: {one['estimate']:+.2f} bp a bar more "
            f"than {nearest}, the nearest of them (95 % interval {one['low']:+.2f} to {one['high']:+.2f})."
        )
    not_beaten = [name for name, one in differences.items() if one["low"] is None or one["low"] <= 0.0]
    worse = [name for name, one in differences.items() if one["high"] is not None and one["high"] < 0.0]
    lost = f"; it earned less than {_names(worse)}" if worse else ""
    no_more = f"the policy did not earn more than {_names(not_beaten)} beyond chance"
    return f"Nothing is shown: out of sample {no_more}{lost}."


def best_of_grid(data: TrainingData, policy: Policy) -> tuple[Int8Array, str]:
    """The crossover with the best Sharpe ratio where the policy was trained: the side that it is on at each bar of the
    market, int8[n], and its name.
    """
    market = data.market
    space = Space.of_axes("sma", [Axis("sma_fast", _FAST), Axis("sma_slow", _SLOW)], _members(policy))
    seen = replace(
        market,
        bars=market.bars.slice(0, data.train_end),
        action=None,
        encoded=None,
        said=market.terms(followed=False).slice(0, data.train_end),
        start=data.first,
    )
    table = run_chunk(seen, space, 0, len(space), Marks.ends(len(seen.bars) - seen.start), Trial())
    best = space[int(np.argmin(ranks(table, "sharpe")))]
    assert best.strategy is not None
    actions = best.strategy.actions(market.bars)
    last = np.maximum.accumulate(np.where(actions != 0, np.arange(len(actions)), 0))
    return actions[last], f"sma({best.parameters['sma_fast']}, {best.parameters['sma_slow']})"


def _members(policy: Policy) -> dict[str, Any]:
    """What a configuration fixes of a policy; its signals say no confidence."""
    left_out = ("min_confidence", "periods_per_year")
    return {name: value for name, value in policy.as_dict().items() if name not in left_out}


def _shifted(
    market: Market, policy: Policy, tested: Sequence[Int8Array], begin: int, seed: int
) -> Float64Array:
    """The mean return a bar of the same actions at other times, float64[n]."""
    draws = np.random.default_rng(seed)
    total = np.zeros(len(tested[0]))
    for actions in tested:
        for by in draws.integers(1, len(actions), SHIFTS):
            total += account(market, policy, np.roll(actions, by), begin).signal_return
    return total / (SHIFTS * len(tested))


def _compared(differences: Float64Array) -> Interval:
    """The mean of differences, float64[seeds, bars], in bp a bar; its interval counts bars and seeds."""
    from scipy.special import stdtrit  # noqa: PLC0415 - slow to import

    count = len(differences)
    found = mean_interval(differences.mean(axis=0)).scaled(_BPS)
    spread = float(differences.mean(axis=1).std(ddof=1)) * _BPS / count**0.5
    wide = spread * float(stdtrit(count - 1, 0.975))
    return replace(
        found,
        low=found.estimate - hypot(found.estimate - found.low, wide),
        high=found.estimate + hypot(found.high - found.estimate, wide),
        se=hypot(found.se, spread),
    )


def _figures(returns: Float64Array) -> dict[str, float]:
    growth = np.cumprod(1.0 + returns)
    peak = np.maximum.accumulate(np.maximum(growth, 1.0))
    return {
        "total_return": float(growth[-1] - 1.0),
        "mean_bps": float(returns.mean() * _BPS),
        "max_drawdown": float((1.0 - growth / peak).max()),
    }


def _account_figures(rows: LedgerRows) -> dict[str, float]:
    return _figures(rows.signal_return) | {"trades": int(np.count_nonzero(rows.fill_quantity))}


def _names(names: Iterable[str]) -> str:
    listed = list(names)
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
