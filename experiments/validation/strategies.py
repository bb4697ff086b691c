"""Does `raysignal check-strategy` find look-ahead? It is tried on known rules.

    python -m raysignal.experiments.validation.strategies

Each module of `experiments.validation.strategy_rules` has a rule that sees the future and one that does the same
without it. On the bars of every seed the check must fail the first for look-ahead and pass the second.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pkgutil import iter_modules

from scipy.stats import binomtest

from raysignal.data.bars import random_walk
from raysignal.engine.strategies.checks import StrategyFinding, check_strategy
from raysignal.engine.strategies.isolation import IsolatedRuns
from raysignal.experiments.validation import strategy_rules

SEEDS = 100
FIRST_SEED = 1
RULES = tuple(module.name for module in iter_modules(strategy_rules.__path__) if module.name != "helpers")


@dataclass(frozen=True, slots=True)
class RuleResult:
    """How the two rules of a module fared.

    Attributes:
        rule: the module's name.
        seeds: how many were tried.
        found: on how many the leaking rule failed for look-ahead.
        passed: on how many the honest rule passed every check.
        wrong: a sentence for each of the others.
    """

    rule: str
    seeds: int
    found: int
    passed: int
    wrong: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether all were found and all passed."""
        return self.found == self.passed == self.seeds


def validate_check(
    seeds: int = SEEDS,
    *,
    rules: Sequence[str] = RULES,
    workers: int | None = None,
    told: Callable[[int, int], None] = lambda _done, _of: None,
) -> list[RuleResult]:
    """Try both rules of each module on the bars of each seed; the result does not depend on the workers.

    Args:
        seeds: how many, from `FIRST_SEED` on.
        rules: names of modules of `experiments.validation.strategy_rules`.
        workers: how many modules are tried at once, each in processes of its own; None: one a processor.
        told: called with how many modules are done, and of how many.
    """
    results: dict[str, RuleResult] = {}
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        for done in as_completed([pool.submit(_try_rule, rule, seeds) for rule in rules]):
            results[done.result().rule] = done.result()
            told(len(results), len(rules))
    return [results[rule] for rule in rules]


def result_table(results: Sequence[RuleResult]) -> str:
    """A line a module, and one for all, with 95 % intervals (Clopper and Pearson 1934)."""
    of = sum(each.seeds for each in results)
    lines = [f"{'rule':<22}{'leaking: found':>30}{'honest: passed':>30}"]
    for name, seeds, found, passed in (
        *((each.rule, each.seeds, each.found, each.passed) for each in results),
        ("all", of, sum(each.found for each in results), sum(each.passed for each in results)),
    ):
        lines.append(f"{name:<22}{_rate(found, seeds):>30}{_rate(passed, seeds):>30}")
    lines += [sentence for each in results for sentence in each.wrong]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print what came out; 1 if a leaking rule was not found, or an honest one did not pass."""
    return print_validation("strategies", __doc__, validate_check, "rules", arguments)


def print_validation(
    module: str, description: str | None, validate: Callable[..., list[RuleResult]], of_what: str,
    arguments: Sequence[str] | None,
) -> int:  # fmt: skip
    """Run a validation of rules by its options and print what came out; 1 if any rule does not hold."""
    parser = argparse.ArgumentParser(
        prog=f"python -m raysignal.experiments.validation.{module}", description=description
    )
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--workers", type=int, default=None)
    options = parser.parse_args(arguments)
    began = time.monotonic()

    def tell(done: int, of: int) -> None:
        sys.stderr.write(f"\r{done} of {of} {of_what} ")
        sys.stderr.flush()

    results = validate(options.seeds, workers=options.workers, told=tell)
    sys.stderr.write("\n")
    sys.stdout.write(f"{options.seeds} seeds, {time.monotonic() - began:.0f} s\n\n{result_table(results)}\n")
    return 0 if all(each.holds for each in results) else 1


def rule_class(rule: str, kind: str) -> str:
    """Where the class of a rule is, as `check_strategy` takes it; `kind` is `Leaking` or `Honest`."""
    return f"{strategy_rules.__name__}.{rule}:{kind}{rule.title().replace('_', '')}"


def _try_rule(rule: str, seeds: int) -> RuleResult:
    found, passed, wrong = 0, 0, []
    with IsolatedRuns() as runs:
        for seed in range(FIRST_SEED, FIRST_SEED + seeds):

            def checks(kind: str, seed: int = seed) -> dict[str, StrategyFinding]:
                name = rule_class(rule, kind)
                return {
                    each.check: each for each in check_strategy(name, random_walk(seed), seed=seed, runs=runs)
                }

            leaking, honest = checks("Leaking"), checks("Honest")
            bad = [each.sentence for each in honest.values() if not each.good]
            if "look-ahead" in leaking and not leaking["look-ahead"].good:
                found += 1
            else:
                wrong.append(f"{rule}, seed {seed}: the leaking rule is not found")
            if bad:
                wrong.append(f"{rule}, seed {seed}: the honest rule fails: {bad[0]}")
            else:
                passed += 1
    return RuleResult(rule, seeds, found, passed, tuple(wrong))


def _rate(hits: int, of: int) -> str:
    low, high = binomtest(hits, of).proportion_ci()
    return f"{hits} of {of} [{low:.1%}, {high:.1%}]"


if __name__ == "__main__":
    sys.exit(main())
