"""A model as a strategy of a path: the same bytes however bars come, its memory at gaps, its hash on record."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from raysignal.agents.inference.strategy import ModelStrategy
from raysignal.engine.core.errors import InvalidField, SettingsError, StoreUnavailable, UnreadableInput
from raysignal.engine.core.events import Candle, StrategySignal
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.pipeline.backtest import CandleSeries, run_backtest
from raysignal.engine.pipeline.driver import PathDriver
from raysignal.engine.pipeline.paper_venue import file_instrument
from raysignal.engine.pipeline.session import SessionWriter
from raysignal.engine.pipeline.strategies import StrategySpec, StrategyStage
from raysignal.engine.strategies.strategy import Bars
from raysignal.runtime.pipeline import build
from raysignal.runtime.pipeline_bus import _check_config
from raysignal.runtime.pipeline_config import PipelineConfig
from raysignal.runtime.pipeline_file import read_config
from raysignal.runtime.pipeline_session import replay_session, write_about
from tests.support.onnx_models import feed_forward, recurrent, write_model
from tests.support.pipelines import MINUTE_US, Events, played, walk

DAY_US = 86_400_000_000
SPOKEN = 0.4


def policy(folder: Path, **members: Any) -> str:
    return str(write_model(folder, recurrent(), bar="1m", **members))


def text_of(model: str, confidence: float = SPOKEN) -> str:
    return yaml.safe_dump({
        "name": "test", "instruments": [{"symbol": "USDCOP"}], "portfolio": {"side": "long-short"},
        "strategies": [
            {"name": "ppo", "kind": "model", "bar": "1m", "parameters": {"model": model, "confidence": confidence}}
        ],
    })  # fmt: skip


def config_of(model: str, confidence: float = SPOKEN) -> PipelineConfig:
    return PipelineConfig(**yaml.safe_load(text_of(model, confidence)))


def strategy_of(model: str) -> ModelStrategy:
    return ModelStrategy.of({"model": model, "confidence": SPOKEN}, "1m", MINUTE_US)


def sessions(days: int = 3, minutes: int = 60) -> Bars:
    """USD/COP: an hour a day, nothing between."""
    bars = walk(2, days * minutes)
    shift = np.repeat(np.arange(days) * (DAY_US - minutes * MINUTE_US), minutes)
    return replace(bars, known_at_us=bars.known_at_us + shift)


def test_each_bar_says_its_side_with_the_models_confidence(tmp_path: Path) -> None:
    centred = [{"mean": 50.0, "scale": 0.1}, {"mean": 0.0, "scale": 1e-5}, {"mean": 0.0, "scale": 0.01}]
    model = policy(tmp_path, features=["rsi(14)", "returns(1)", "zscore(20)"], normaliser=centred)
    _, events = played(config_of(model), walk(), instrument=file_instrument("USDCOP"))
    said = events.of(StrategySignal)
    assert {each.side for each in said} == {1, -1}
    assert all(SPOKEN <= each.confidence < 1.0 for each in said)
    assert len({each.confidence for each in said}) > 50
    surer = played(config_of(model, 0.7), walk(), instrument=file_instrument("USDCOP"))[1]
    assert surer.of(StrategySignal) == [each for each in said if each.confidence >= 0.7]


@pytest.mark.parametrize("model", [recurrent(), feed_forward()], ids=["recurrent", "feed forward"])
@pytest.mark.parametrize("cut", [1, 7, 64])
def test_actions_are_the_same_bytes_however_bars_are_cut(tmp_path: Path, model: Any, cut: int) -> None:
    strategy = strategy_of(str(write_model(tmp_path, model, bar="1m")))
    bars, stream = sessions(), strategy.stream()
    whole = strategy.stream().advance_with_confidence(bars)
    pieces = [stream.advance_with_confidence(bars.slice(at, at + cut)) for at in range(0, len(bars), cut)]
    for place in range(2):
        assert np.concatenate([piece[place] for piece in pieces]).tobytes() == whole[place].tobytes()
    assert whole[0].any()
    assert strategy.actions(bars).tobytes() == whole[0].tobytes()
    assert not len(stream.advance(bars.slice(0, 0)))


def test_a_night_is_a_new_episode_and_a_pause_within_the_cards_gap_is_none(tmp_path: Path) -> None:
    bars = sessions(days=2)
    evening = len(bars) // 2
    columns = ["close", "open"]  # known at once, so that what differs is the state alone

    def second_day(name: str, gap: str | None) -> np.ndarray:
        strategy = strategy_of(policy(tmp_path / name, features=[*columns, "volume"], episode_gap=gap))
        return strategy.stream().advance_with_confidence(bars)[1][evening:]

    alone = strategy_of(policy(tmp_path / "a", features=[*columns, "volume"])).stream()
    fresh = alone.advance_with_confidence(bars.slice(evening, len(bars)))[1]
    assert second_day("b", None).tobytes() == fresh.tobytes()
    assert second_day("c", "2d").tobytes() != fresh.tobytes()


def test_live_candles_with_a_hole_begin_a_new_warm_up_and_state(tmp_path: Path) -> None:
    strategy = strategy_of(policy(tmp_path))
    stage = StrategyStage([StrategySpec("ppo", strategy, MINUTE_US, ("USDCOP",))], gapless=True)
    bars = walk(1, 80)
    said = []
    for row in range(len(bars)):
        if row == 40:
            continue
        values = {
            name: float(getattr(bars, name)[row]) for name in ("open", "high", "low", "close", "volume")
        }
        candle = Candle(at_us=int(bars.known_at_us[row]), symbol="USDCOP", interval_us=MINUTE_US, **values)
        said += [each for each in stage.on(candle) if isinstance(each, StrategySignal)]
    fresh = strategy.stream().advance_with_confidence(bars.slice(42, 80))[1]
    assert [each.confidence for each in said if each.at_us > bars.known_at_us[41]] == fresh[
        fresh > 0
    ].tolist()


def test_nothing_is_said_and_no_step_taken_until_every_feature_is_known(tmp_path: Path) -> None:
    bars = walk(1, 40)
    actions = strategy_of(policy(tmp_path)).stream().advance(bars)
    assert not actions[:14].any()  # rsi(14) is first known at the 15th bar
    assert actions[14:].any()


@pytest.mark.parametrize(
    ("parameters", "members", "said"),
    [
        ({}, {"bar": "5m"}, "bar is '1m'; expected 5m, as the card of policy 1 says"),
        (
            {},
            {"features": ["rsi(14)", "mood", "close"]},
            "mood is none .*, or open, high, low, close, volume",
        ),
        ({}, {"sha256": "0" * 64}, "expected one that can be used: the SHA-256 of model.onnx"),
        ({"confidence": 2}, {}, "confidence is 2; expected"),
        ({"model": None}, {}, "model is None; expected a folder"),
        ({"colour": 1}, {}, "model parameter is 'colour'; expected one of model, confidence"),
    ],
)
def test_what_cannot_be_a_strategy_is_refused_by_name(
    tmp_path: Path, parameters: dict[str, Any], members: dict[str, Any], said: str
) -> None:
    model = str(write_model(tmp_path, recurrent(), **({"bar": "1m"} | members)))
    with pytest.raises(InvalidField, match=said):
        ModelStrategy.of({"model": model} | parameters, "1m", MINUTE_US)


def test_a_model_in_s3_without_credentials_says_which_settings_bring_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # which keeps what it once found
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StoreUnavailable, match=r"no credentials; expected AWS_ACCESS_KEY_ID and AWS_SECRET"):
        ModelStrategy.of({"model": "s3://nowhere/model"}, "1m", MINUTE_US)


def test_a_pipeline_file_with_a_bad_model_is_refused_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(text_of(str(tmp_path / "nowhere")))
    with pytest.raises(SettingsError, match=r"strategies.0: model is .*card.json is not there"):
        read_config(file)


# Sessions


def recorded(folder: Path, model: str) -> Events:
    config, events = config_of(model), Events()
    instruments = {"USDCOP": file_instrument("USDCOP")}
    pipeline = build(config, instruments)
    with SessionWriter(folder) as writer:
        write_about(folder, text_of(model), config, instruments)

        class Both:
            def input(self, event: Any) -> None:
                writer.input(event)

            def output(self, event: Any) -> None:
                writer.output(event)
                events.output(event)

        driver = PathDriver(pipeline.path, pipeline.portfolio, pipeline.venue, log=Both())
        run_backtest(driver, pipeline.strategies, [CandleSeries("USDCOP", MINUTE_US, sessions())])
    return events


def test_a_session_replays_to_the_same_bytes_candle_by_candle(tmp_path: Path) -> None:
    events = recorded(tmp_path / "session", policy(tmp_path / "m"))
    check = replay_session(tmp_path / "session")
    assert check.difference is None
    assert check.events == len(events.outputs) > 100


def test_a_replay_with_another_model_is_refused_by_name(tmp_path: Path) -> None:
    recorded(tmp_path / "session", policy(tmp_path / "m"))
    write_model(tmp_path / "m", recurrent(seed=9), bar="1m")
    with pytest.raises(
        UnreadableInput, match=r"recorded with another model of the strategy ppo: [0-9a-f]{64}, and"
    ):
        replay_session(tmp_path / "session")


def test_the_journal_of_a_deciding_stage_is_of_one_model(tmp_path: Path) -> None:
    stores, model = open_stores((tmp_path / "store").as_uri()), policy(tmp_path / "m")
    for _ in range(2):
        _check_config(stores, "decide", text_of(model), config_of(model))
    write_model(tmp_path / "m", recurrent(seed=9), bar="1m")
    with pytest.raises(UnreadableInput, match="the journal of decide was recorded with another model"):
        _check_config(stores, "decide", text_of(model), config_of(model))
