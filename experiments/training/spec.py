"""What a training is asked for, all that decides its results."""

from dataclasses import dataclass, field
from typing import Any

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.policy import Policy
from raysignal.engine.strategies.features import parse_features
from raysignal.experiments.selection.folds import Fold, walk_forward
from raysignal.experiments.sweeps.market import Market

FEATURES = ("returns(1)", "returns(5)", "returns(20)", "zscore(20)", "rsi(14)", "volatility(20)")
"""What a policy sees unless it is told: none depends on the price's level."""

GAP_BARS = 10
"""A policy forgets where no bar came for longer than so many usual ones."""

FEWEST_SEEDS = 2
_WHOLE = {
    "hidden": (1, 512), "episodes": (2, 4096), "episode_bars": (2, 65_536), "rounds": (1, 1_000_000),
    "seeds": (FEWEST_SEEDS, 1000), "seed": (0, 2**31 - 1), "embargo": (0, 1_000_000),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec:
    """A training.

    Attributes:
        features: names of `engine.strategies.features`, in the order in which the policy sees them.
        policy: of the accounts, in training and out of sample. Of a `min_confidence`, a BUY or SELL that the policy
            gives less probability counts as HOLD out of sample.
        hidden: cells of the LSTM.
        episodes: side by side, each `episode_bars` long; one round of learning has seen all of them.
        rounds: of learning.
        seeds: how often it is trained anew, from `seed` on.
        test: share of the bars, at the end, that is never trained on.
        embargo: bars before them that are left out.
        title: of the report.
    """

    features: tuple[str, ...] = FEATURES
    policy: Policy = field(default_factory=lambda: Policy(side="long-short"))
    hidden: int = 32
    episodes: int = 32
    episode_bars: int = 128
    rounds: int = 100
    seeds: int = 5
    seed: int = 0
    test: float = 0.3
    embargo: int = 20
    title: str = ""

    def __post_init__(self) -> None:
        if not self.features:
            raise InvalidField("features", "none", "at least one, such as rsi(14)")
        names = tuple(feature.name for feature in parse_features(self.features))
        object.__setattr__(self, "features", names)
        for name, (low, high) in _WHOLE.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise InvalidField(name, value, f"a whole number from {low} to {high:,d}")
        if not 0.0 < self.test < 1.0:
            raise InvalidField("test", self.test, "a share above 0 and below 1")

    def fold(self, market: Market) -> Fold:
        """The bars that are trained on, and those that are looked at; `InvalidField` where there are too few."""
        n = len(market.bars)
        test = max(1, round(self.test * n))
        return walk_forward(n, n - test, test, purge=self.embargo)[0]

    def config(self, market: Market) -> dict[str, Any]:
        """What decides the results, in plain values; no path, no clock, no number of workers."""
        own = {name: getattr(self, name) for name in (*_WHOLE, "test", "title")}
        return {
            "kind": "training",
            "symbol": market.symbol,
            "data": market.data_hash,
            "features": list(self.features),
            "policy": self.policy.as_dict(),
            **own,
        }
