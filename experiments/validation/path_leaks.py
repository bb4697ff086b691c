"""Does `raysignal pipeline check-leaks` find a path that sees the future? It is tried on known strategies.

    python -m raysignal.experiments.validation.path_leaks

Two pipelines on the market of every seed, each of one strategy a module of `experiments.validation.strategy_rules`: of
the first each strategy sees the future and must be found, the second does the same without it and must pass.
"""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from raysignal.engine.strategies.checks import StrategyFinding
from raysignal.engine.strategies.isolation import IsolatedRuns
from raysignal.experiments.validation.strategies import (
    FIRST_SEED,
    SEEDS,
    RuleResult,
    print_validation,
    rule_class,
)
from raysignal.runtime.pipeline_config import PipelineConfig
from raysignal.runtime.pipeline_leaks import check_leaks

RULES = ("seldom_peek", "week", "z_score", "fit_in_module")
"""The next close at few signals; a longer candle that has not ended; a scale of all prices; a fit that is kept."""

_CANDLES = 1_000
_FEATURES = ("rsi(14)", "atr(14)", "macd", "zscore", "imbalance")


def validate_paths(
    seeds: int = SEEDS, *, workers: int | None = None, told: Callable[[int, int], None] = lambda _done, _of: None
) -> list[RuleResult]:  # fmt: skip
    """Check both pipelines on the market of each seed, from `FIRST_SEED` on; as many at once as there are workers."""
    workers = min(seeds, workers or os.cpu_count() or 1)
    numbers = range(FIRST_SEED, FIRST_SEED + seeds)
    with ThreadPoolExecutor(workers) as pool:
        checked = [
            each
            for some in pool.map(lambda first: _check(numbers[first::workers], seeds, told), range(workers))
            for each in some
        ]
    results = []
    for rule in RULES:
        name, found, passed, wrong = f"strategy {rule}", 0, 0, []
        for seed, leaking, honest in sorted(checked, key=lambda one: one[0]):
            found += not leaking[name].good
            bad = [each.sentence for each in (honest[name], *_of_all(honest)) if not each.good]
            passed += not bad
            if leaking[name].good:
                wrong.append(f"{rule}, seed {seed}: the leaking strategy is not found")
            wrong += [f"{rule}, seed {seed}: the honest path fails: {sentence}" for sentence in bad]
        results.append(RuleResult(rule, seeds, found, passed, tuple(wrong)))
    return results


_Findings = dict[str, StrategyFinding]


def _check(
    numbers: Sequence[int], seeds: int, told: Callable[[int, int], None]
) -> list[tuple[int, _Findings, _Findings]]:
    """Both pipelines on some seeds: what was found of each."""
    results = []
    with IsolatedRuns() as runs:
        for seed in numbers:
            leaking, honest = (
                {
                    each.check: each
                    for each in check_leaks(_config(kind), seed=seed, candles=_CANDLES, runs=runs)
                }
                for kind in ("Leaking", "Honest")
            )
            results.append((seed, leaking, honest))
            told(seed, seeds)
    return results


def _config(kind: str) -> PipelineConfig:
    strategies = [{"name": rule, "bar": "1d", "kind": rule_class(rule, kind)} for rule in RULES]
    return PipelineConfig(
        name=kind.lower(), instruments=[{"symbol": "A"}], strategies=strategies, features=_FEATURES,
        venue={"kind": "paper"},
    )  # fmt: skip


def _of_all(findings: _Findings) -> list[StrategyFinding]:
    return [each for name, each in findings.items() if not name.startswith("strategy ")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print what came out; 1 if a leaking strategy was not found, or an honest path did not pass."""
    return print_validation("path_leaks", __doc__, validate_paths, "seeds", arguments)


if __name__ == "__main__":
    sys.exit(main())
