"""Is a pattern found that sits in free texts alone, and is nothing found where there is none?

    python -m raysignal.experiments.validation.texts

Streams of 600 signals of two symbols, right half of the time whatever any number or label says. Every summary, made-up
news of 100 to 300 characters, has one of six phrases somewhere in it: with a planted effect one of three in four of
five summaries of signals that are right, one of the other three in four of five of those that are wrong; without one,
any. Three more fields of free text tell nothing. Where texts persist, rows share the summary of the first of a dozen;
where they are of one symbol, the summaries of the other have any phrase.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import numpy as np

from raysignal.agents.override.agent import AgentRules
from raysignal.data.generator import GeneratorSpec, generate_with_truth
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.policy import Policy
from raysignal.engine.intake import Reading, read_batch
from raysignal.experiments.comparison import arms
from raysignal.experiments.comparison.arms import Trial
from raysignal.experiments.comparison.paired import Assessment, Judgment, assess
from raysignal.experiments.comparison.strata import strata_of
from raysignal.experiments.validation.table import Criterion, Proportion, show

ROWS = 600
SEEDS = 10
NULL_SEEDS = 100
TOLD = 0.8
"""Share of the signals whose summary has a phrase of its own kind."""
LEAST_FOUND = 0.8
MOST_WITHOUT = 0.1
MOST_HELPED = 0.05
PHRASES = (
    (
        "a large holder moves coins to exchanges",
        "the audit is postponed again",
        "los fondos retiran liquidez",
    ),
    (
        "order books are filling on the bid side",
        "the custody ruling was upheld",
        "langfristige Halter kaufen nach",
    ),
)
"""Those of signals that are wrong, and those of signals that are right."""

_SYMBOLS = ("BTC", "ETH")
_POLICIES = (Policy(side="long-short", fee_bps=10.0), Policy(side="long-flat", fee_bps=10.0))
_PERSIST = 12  # rows
_LONGEST = 255  # characters of a summary without its phrase


@dataclass(frozen=True, slots=True)
class TextTrial:
    """One stream to be tried: under which of the two policies, and with which texts, as in `text_stream`."""

    policy: int
    seed: int
    effect: bool
    persistent: bool = False
    one_symbol: bool = False

    @property
    def kind(self) -> str:
        """All but the seed, in words."""
        return (
            f"{'effect' if self.effect else 'null'}, {_POLICIES[self.policy].side}"
            f"{', texts persist' * self.persistent}{', one symbol' * self.one_symbol}"
        )


def text_stream(
    seed: int, rows: int = ROWS, *, effect: bool, persistent: bool = False, one_symbol: bool = False
) -> SignalBatch:
    """The stream of a seed, as it would be read from its file.

    Args:
        seed: decides all that is left open.
        rows: of both symbols.
        effect: whether the summaries tell right from wrong.
        persistent: a dozen rows share a summary.
        one_symbol: the summaries of the other symbol tell nothing.
    """
    spec = GeneratorSpec(rows=rows, seed=seed, regime_effect=False, texts="short", symbols=_SYMBOLS)
    frame, truth = generate_with_truth(spec)
    draws = np.random.default_rng([seed, 15])
    kind = draws.integers(0, 2, rows)
    if effect:
        tells = frame["symbol"].to_numpy() == _SYMBOLS[0] if one_symbol else np.ones(rows, np.bool_)
        told = np.where(draws.random(rows) < TOLD, truth.right, ~truth.right)
        kind = np.where(tells, told, kind)
    which, place = draws.integers(0, len(PHRASES[0]), rows), draws.random(rows)
    summaries = []
    for row, summary in enumerate(frame["summary"]):
        words = summary[:_LONGEST].split(" ")
        words.insert(int(place[row] * (len(words) + 1)), PHRASES[kind[row]][which[row]])
        summaries.append(" ".join(words))
    if persistent:
        summaries = [summaries[row - row % _PERSIST] for row in range(rows)]
    text = frame.assign(summary=summaries).to_csv(lineterminator="\r\n").encode()
    return read_batch(text, "text/csv", Reading(bar_us=spec.bar_us, label="open")).batch.in_time()


def run_try(one: TextTrial, rows: int = ROWS) -> tuple[Assessment, Assessment]:
    """What is said about the gate that compares texts, and about the one that does not."""
    batch = text_stream(
        one.seed, rows, effect=one.effect, persistent=one.persistent, one_symbol=one.one_symbol
    )
    trial = Trial(policy=_POLICIES[one.policy], seed=one.seed)
    stream = arms.stream_of(batch, trial)
    strata = strata_of(stream.symbol, stream.side)
    with_texts, without = (
        assess(
            arms.gated(batch, replace(trial, rules=AgentRules(texts=texts))).verdict, stream.net_bps,
            stream.gross_bps, timestamp_us=stream.timestamp_us, strata=strata, judged=stream.judged,
            known_at_us=stream.known_at_us,
        )
        for texts in (True, False)
    )  # fmt: skip
    return with_texts, without


Tried = Sequence[tuple[TextTrial, tuple[Assessment, Assessment]]]


def criteria(tried: Tried) -> list[Criterion]:
    """What must hold over all streams."""
    planted = [found for one, found in tried if one.effect and not one.one_symbol]
    null = [found for one, found in tried if not one.effect]
    return [
        Criterion.of_rate(
            "effect: the gate with texts is said to help", _helps(planted, 0), LEAST_FOUND, at_least=True
        ),
        Criterion.of_rate("effect: the gate without texts is said to help", _helps(planted, 1), MOST_WITHOUT),
        Criterion.of_rate("null: the gate with texts is said to help", _helps(null, 0), MOST_HELPED),
        Criterion.of_rate("null: the gate without texts is said to help", _helps(null, 1), MOST_HELPED),
    ]


def table(tried: Tried) -> list[str]:
    """A line a kind of stream and arm: what was said, how much was overruled, and the mean selection in bp."""
    lines = [
        f"{'stream':<42}{'texts':<8}{'streams':>8}{'overruled':>11}{'selection':>11}{'helps':>8}{'hurts':>8}"
    ]
    for kind in dict.fromkeys(one.kind for one, _ in tried):
        own = [found for one, found in tried if one.kind == kind]
        for arm, texts in enumerate(("yes", "no")):
            said = [found[arm] for found in own]
            lines.append(
                f"{kind:<42}{texts:<8}{len(own):>8}{np.mean([one.override_rate for one in said]):>11.1%}"
                f"{np.mean([one.parts.selection_bps for one in said]):>11.2f}"
                f"{sum(one.judgment is Judgment.HELPS for one in said):>8}"
                f"{sum(one.judgment is Judgment.HURTS for one in said):>8}"
            )
    return lines


def _helps(found: Sequence[tuple[Assessment, Assessment]], arm: int) -> Proportion:
    return Proportion(sum(one[arm].judgment is Judgment.HELPS for one in found), len(found))


def main(arguments: Sequence[str] | None = None) -> int:
    """Try all streams and print what came out; 1 if something does not hold."""
    parser = argparse.ArgumentParser(
        prog="python -m raysignal.experiments.validation.texts",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, default=SEEDS, help="with the effect, of each policy")
    parser.add_argument(
        "--null-seeds", type=int, default=NULL_SEEDS, help="without it, of each policy and kind of texts"
    )
    parser.add_argument("--workers", type=int, default=None)
    options = parser.parse_args(arguments)
    began = time.monotonic()
    planned = [
        TextTrial(policy, seed, True, one_symbol=one_symbol)
        for one_symbol in (False, True)
        for policy in (0, 1)
        for seed in range(1, options.seeds + 1)
    ]
    planned += [
        TextTrial(policy, seed, False, persistent)
        for policy in (0, 1)
        for persistent in (False, True)
        for seed in range(1, options.null_seeds + 1)
    ]
    with ProcessPoolExecutor(options.workers or os.cpu_count(), get_context("spawn")) as pool:
        tried = list(zip(planned, pool.map(run_try, planned, chunksize=4), strict=True))
    print(f"{len(tried):,d} streams of {ROWS:,d} signals, {time.monotonic() - began:.0f} s\n")
    return show(table(tried), criteria(tried))


if __name__ == "__main__":
    sys.exit(main())
