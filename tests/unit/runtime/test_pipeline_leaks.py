"""A decision path that sees the future is found: by a strategy, by a feature, by what a play keeps for the next."""

from importlib import import_module
from typing import Any

import msgspec
import numpy as np
import pytest

from raysignal.engine.core.events import Candle
from raysignal.engine.pipeline.strategies import StrategyStage
from raysignal.engine.strategies import features
from raysignal.engine.strategies.checks import StrategyFinding
from raysignal.engine.strategies.indicators import PriceRatio
from raysignal.engine.strategies.isolation import FunctionAnswer
from raysignal.engine.strategies.strategy import Bars
from raysignal.runtime.pipeline_answers import MemoryAnswers
from raysignal.runtime.pipeline_leaks import check_leaks
from tests.support.pipelines import MINUTE_US, config_of

RULES = "raysignal.experiments.validation.strategy_rules"
SLOW = [
    {"name": "fast", "kind": "sma", "bar": "1m", "parameters": {"fast": 2, "slow": 5}},
    {"name": "slow", "kind": "sma", "bar": "5m", "parameters": {"fast": 2, "slow": 4}},
]


class OneProcess:
    """Plays in this process, which is enough where nothing is kept between them."""

    def preload(self, modules: tuple[str, ...]) -> None:
        """Nothing is to be imported."""

    def call(self, function: str, *values: Any) -> FunctionAnswer:
        module, _, name = function.partition(":")
        return FunctionAnswer(getattr(import_module(module), name)(*values), (), ())


def checked(**changes: Any) -> dict[str, StrategyFinding]:
    found = check_leaks(config_of(**changes), candles=300, tries=3, runs=OneProcess())
    return {each.check: each for each in found}


def failing(found: dict[str, StrategyFinding]) -> list[str]:
    return [name for name, each in found.items() if not each.good]


@pytest.mark.parametrize("venue", ["none", "paper"])
def test_a_path_on_candles_of_two_lengths_passes(venue: str) -> None:
    found = checked(strategies=SLOW, features=["rsi(3)", "vwap(5)", "imbalance"], venue={"kind": venue})
    assert failing(found) == []
    assert list(found) == ["files", "strategy fast", "strategy slow", "features", "path"]
    assert "signals: nothing changes with what comes after, in" in found["strategy slow"].sentence


def test_a_strategy_that_sees_the_future_is_named_and_the_honest_one_beside_it_is_not() -> None:
    leaking = {"name": "leak", "kind": f"{RULES}.next_bar:LeakingNextBar", "bar": "1m"}
    found = checked(strategies=[*SLOW, leaking], venue={"kind": "paper"})
    assert failing(found) == ["strategy leak", "path"]
    assert "its signal for BTC at 2020-01-01T" in found["strategy leak"].sentence
    assert "AggregatedSignal of BTC at 2020-01-01T" in found["path"].sentence


def test_a_confidence_that_sees_the_future_is_the_strategys() -> None:
    leaking = {"name": "leak", "kind": "tests.support.strategy_rules:LeakingConfidence", "bar": "1m"}
    found = checked(strategies=[*SLOW, leaking])
    assert "strategy leak" in failing(found)
    assert "the confidence of its signal for BTC at 2020-01-01T" in found["strategy leak"].sentence


def test_a_feature_that_sees_the_future_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaking(ratio: PriceRatio, bars: Bars) -> np.ndarray:
        return np.append(ratio.advance(bars.close)[1:], 1.0)

    monkeypatch.setitem(features._KINDS, "returns", features._FeatureKind(PriceRatio, {"window": 1}, leaking))
    found = checked(strategies=SLOW, features=["returns", "rsi(3)"])
    assert failing(found) == ["features"]
    assert "returns(1) for BTC at 2020-01-01T" in found["features"].sentence
    assert " is 1.0 instead of " in found["features"].sentence


def test_a_memory_that_sees_the_future_is_found_and_the_honest_one_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    members = {"strategies": SLOW, "decide": "memory", "memory": {"horizon": "2b", "least": 1.0}}
    found = checked(**members)
    assert failing(found) == []
    followed = int(found["path"].sentence.split()[0])
    assert followed > int(checked(strategies=SLOW)["path"].sentence.split()[0])  # answers are among them

    ahead: dict[int, float] = {}
    prepare, take = StrategyStage.prepare, MemoryAnswers.on

    def prepared(stage: StrategyStage, symbol: str, interval_us: int, bars: Bars) -> None:
        if interval_us == MINUTE_US:
            ahead.clear()
            ahead.update(zip(bars.known_at_us.tolist(), bars.close[30:].tolist(), strict=False))
        prepare(stage, symbol, interval_us, bars)

    def leaking(answers: MemoryAnswers, event: Any) -> Any:
        """Outcomes are known half an hour too early."""
        if isinstance(event, Candle):
            event = msgspec.structs.replace(event, close=ahead.get(event.at_us, event.close))
        return take(answers, event)

    monkeypatch.setattr(StrategyStage, "prepare", prepared)
    monkeypatch.setattr(MemoryAnswers, "on", leaking)
    found = checked(**members)
    assert failing(found) == ["path"]
    assert "DecisionAnswer of BTC at 2020-01-01T" in found["path"].sentence


def test_a_feature_that_sees_the_next_book_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaking(_: None, bars: Bars) -> np.ndarray:
        assert bars.book is not None
        return np.append(bars.book[1:, 0], 1.0)

    monkeypatch.setitem(features._KINDS, "spread", features._FeatureKind(lambda: None, {}, leaking))
    found = checked(strategies=SLOW, features=["spread", "imbalance"])
    assert failing(found) == ["features"]
    assert "spread for BTC at 2020-01-01T" in found["features"].sentence


def test_a_strategy_that_says_nothing_fails_since_nothing_was_checked() -> None:
    silent = {"name": "silent", "kind": "tests.support.strategy_rules:Silent", "bar": "1m"}
    found = checked(strategies=[*SLOW, silent])
    assert failing(found) == ["strategy silent"]
    assert "says nothing in 300 candles" in found["strategy silent"].sentence
