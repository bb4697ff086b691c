"""What a sweep is asked for, all that decides its results."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from raysignal.engine.core.arrays import Int64Array
from raysignal.engine.core.errors import InvalidField
from raysignal.experiments.comparison.arms import Trial
from raysignal.experiments.selection.folds import Fold, purged_k_fold, walk_forward
from raysignal.experiments.sweeps.chunks import Marks
from raysignal.experiments.sweeps.market import Market
from raysignal.experiments.sweeps.space import SIGNALS, ChosenConfigurations, Space

OBJECTIVES = ("sharpe", "sortino", "calmar", "total_return", "profit_factor", "max_drawdown")
"""What configurations are ranked by; the more the better, but for the drawdown. See `tables.ranked_by`."""

PERIODS = 256
SAMPLED = 2_000


@dataclass(frozen=True, slots=True)
class WalkForward:
    """Choose on `train` bars, hold over the next `test`, and go on.

    Attributes:
        train, test: bars.
        anchored: train on everything before.
        purge, embargo: bars left out before and after the test.
    """

    train: int
    test: int
    anchored: bool = False
    purge: int = 0
    embargo: int = 0
    kind: Literal["walk-forward"] = "walk-forward"

    def folds(self, n: int) -> list[Fold]:
        """Over n bars; `InvalidField` where they do not fit."""
        return walk_forward(
            n, self.train, self.test, anchored=self.anchored, purge=self.purge, embargo=self.embargo
        )


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """Choose on all of `k` parts but one, less the bars next to it, and look at that one."""

    k: int
    purge: int = 0
    embargo: int = 0
    kind: Literal["cross-validation"] = "cross-validation"

    def folds(self, n: int) -> list[Fold]:
        """Over n bars; `InvalidField` where they do not fit."""
        return purged_k_fold(n, self.k, purge=self.purge, embargo=self.embargo)


@dataclass(frozen=True, slots=True)
class SweepSpec:
    """A sweep.

    Attributes:
        space: the configurations.
        objective: one of `OBJECTIVES`.
        validation: how the choice of the best is tried out of sample; None: not at all.
        curves: of how many of the best the whole equity is kept.
        trial: the agent's rules, for a space with gates.
        seed: of the verdict's bootstrap.
        title: of the report.
    """

    space: Space | ChosenConfigurations
    objective: str = "sharpe"
    validation: WalkForward | CrossValidation | None = None
    curves: int = 3
    trial: Trial = field(default_factory=Trial)
    seed: int = 0
    title: str = ""

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise InvalidField("objective", self.objective, f"one of {', '.join(OBJECTIVES)}")
        if self.curves < 0:
            raise InvalidField("curves", self.curves, "a number from 0 on")

    def check(self, market: Market) -> None:
        """Refuse a market that this sweep cannot run over."""
        if self.space.strategy == SIGNALS:
            if market.action is None:
                raise InvalidField("strategy", SIGNALS, "a file with signals")
            if self._gates and market.encoded is None:
                raise InvalidField("grid", "gate", "a file with signals, read whole")
        if self.validation is not None:
            self.validation.folds(len(market.bars) - market.start)

    def marks(self, market: Market) -> Marks:
        """Where the accounts are looked at on their way through a market."""
        n = len(market.bars) - market.start
        periods = np.linspace(0, n, min(PERIODS, n) + 1).astype(np.int64)
        return Marks(np.unique(periods), fold_edges(self.folds(market)), -(-len(self.space) // SAMPLED))

    def folds(self, market: Market) -> list[Fold]:
        """Of a market's bars from its start on."""
        return [] if self.validation is None else self.validation.folds(len(market.bars) - market.start)

    def config(self, markets: tuple[Market, ...]) -> dict[str, Any]:
        """What decides the results, in plain values; no path, no clock, no number of workers."""
        rules = self.trial.rules
        agent = {
            "policy": self.trial.policy.as_dict(), "horizon": str(rules.horizon), "recall": asdict(rules.recall),
            "gate": asdict(rules.gate), "window": rules.window, "seed": self.trial.seed,
        }  # fmt: skip
        return {
            "kind": "sweep",
            "title": self.title,
            "space": self.space.as_dict(),
            "objective": self.objective,
            "validation": None if self.validation is None else asdict(self.validation),
            "curves": self.curves,
            "seed": self.seed,
            "agent": agent if self._gates else None,
            "data": {market.symbol: [market.data_hash, market.start] for market in markets},
        }

    @property
    def _gates(self) -> bool:
        return any(axis.name.startswith("gate_") for axis in self.space.axes) or any(
            name.startswith("gate_") for name in self.space.fixed
        )

    @property
    def needs_signals(self) -> bool:
        """Whether an agent has to see the signals themselves."""
        return self._gates


def fold_edges(folds: list[Fold]) -> Int64Array:
    """The bars at which a fold's parts begin and end, each once, rising."""
    return np.unique(
        np.array([edge for fold in folds for part in (*fold.train, *fold.test) for edge in part], np.int64)
    )
