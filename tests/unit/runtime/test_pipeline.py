"""Pipelines from their configuration: what is refused, what comes of a run, and sessions that play again."""

import gc
import json
import struct
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
import yaml
from pydantic import ValidationError

from raysignal.cli.pipeline_figures import EventCounts, figures_of
from raysignal.engine.core.arrays import Int64Array
from raysignal.engine.core.errors import Fenced, InvalidField, NotFound, SettingsError, UnreadableInput
from raysignal.engine.core.events import (
    Alarm,
    Candle,
    Command,
    CommandKind,
    OrderEnded,
    OrderFill,
    PlannedOrder,
    PositionDecision,
    RiskVerdict,
    StrategySignal,
    TradeAttribution,
    decode_event,
    encode_event,
)
from raysignal.engine.core.market_events import BookChange, Instrument, Trade
from raysignal.engine.pipeline.backtest import CandleSeries, run_backtest
from raysignal.engine.pipeline.driver import PathDriver
from raysignal.engine.pipeline.paper_venue import file_instrument
from raysignal.engine.pipeline.portfolio import slippage
from raysignal.engine.pipeline.session import (
    ParityCheck,
    SessionLock,
    SessionWriter,
    event_files,
    read_frames,
)
from raysignal.engine.strategies.strategy import Bars
from raysignal.runtime.pipeline import Pipeline, build
from raysignal.runtime.pipeline_config import PipelineConfig
from raysignal.runtime.pipeline_file import read_config
from raysignal.runtime.pipeline_session import candle_market, replay_session, write_about
from tests.support.pipelines import MINUTE_US, Events, config_of, played, walk
from tests.support.tiny_disk import enlarge, tiny_disk

GOOD = """
name: test
instruments: [{symbol: BTC}]
strategies: [{name: cross, kind: sma, bar: 1m, parameters: {fast: 2, slow: 5}}]
features: ["rsi(14)", "atr(14)"]
"""


def wrong(text: str, tmp_path: Path) -> str:
    path = tmp_path / "pipeline.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        read_config(path)
    return str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("nonsense: 1", "nonsense is 1; expected one of name, instruments"),
        ("risk: {drawdwn: 0.1}", "risk"),
        ("portfolio: {weight: 2}", "weight is 2; expected a number above 0 and at most 1"),
        ("aggregation: {method: best}", "method is 'best'; expected equal or hit_rate"),
        ("venue: {kind: real}", "venue.kind is 'real'"),
        ("name: A b", "name is 'A b'; expected"),
        ("strategies: [{name: a, kind: sma, bar: 1x}]", "1x"),
        (
            "strategies: [{name: a, kind: sma, bar: 1m, parameters: {fast: 9, slow: 3}}]",
            "fast is 9; expected fewer",
        ),
        ("strategies: [{name: a, kind: oracle, bar: 1m}]", "strategy is 'oracle'; expected one of sma"),
        (
            "strategies: [{name: a, kind: 'nowhere:Rule', bar: 1m}]",
            "strategy is 'nowhere:Rule'; expected a module that can be imported (ModuleNotFoundError",
        ),
        (
            "strategies: [{name: a, kind: 'json:dumps', bar: 1m}]",
            "strategy is 'json:dumps'; expected a class of json",
        ),
        (
            "strategies: [{name: a, kind: sma, bar: 1m, symbols: [ETH]}]",
            "symbol of a is 'ETH'; expected one of BTC",
        ),
        ("instruments: [{symbol: BTC}, {symbol: BTC}]", "symbol is 'BTC'; expected each once"),
        ("instruments: []", "instruments is []; expected at least one"),
        ("strategies: [{name: stop, kind: sma, bar: 1m}]", "name of a strategy is 'stop'; expected another"),
        (
            "strategies: [{name: a, kind: posted, bar: 1m}]",
            "source is not there; expected one: who sends them",
        ),
        (
            "strategies: [{name: a, kind: posted, bar: 1m, parameters: {source: tv, by: 1}}]",
            "by is 1; expected one of source, portfolio",
        ),
        (
            "strategies: [{name: a, kind: sma, bar: 1m, symbols: [BTC, BTC]}]",
            "symbols of a is 'BTC'; expected each once",
        ),
        ("instruments: [{symbol: BTC, market: BTC}]", "market is 'BTC'; expected venue:symbol"),
        ("instruments: [{symbol: BTC, market: 'nyse:BTC'}]", "market is 'nyse:BTC'; expected venue:symbol"),
        (
            "instruments: [{symbol: BTC, market: 'okx:B'}, {symbol: ETH, market: 'okx:B'}]",
            "market is 'okx:B'; expected each once",
        ),
        (
            "strategies: [{name: a, kind: sma, bar: 2m}, {name: b, kind: sma, bar: 3m}]",
            "bar of b is '3m'; expected a multiple of 2m",
        ),
        (
            "risk: {symbols: {BTC: {leverage: 2}}}",
            "symbols.BTC.leverage is 2; expected one of position_quantity",
        ),
        ("risk: {symbols: {ETH: {}}}", "name in risk.symbols is 'ETH'; expected one of BTC"),
        ("risk: {strategies: {slow: {}}}", "name in risk.strategies is 'slow'; expected one of cross"),
        ("risk: {strategies: {cross: 5}}", "strategies.cross is 5; expected a mapping of position_quantity"),
        ("risk: {drawdown_share: 0.1, flatten: 'no'}", "flatten is 'no'; expected true or false"),
        ("risk: [1]", "risk is [1]; expected a mapping"),
        ("aggregation: {threshold: '0.2'}", "threshold is '0.2'; expected a number"),
        ("aggregation: {threshold: null}", "threshold is None; expected a number"),
        ("aggregation: {threshold: [1]}", "threshold is [1]; expected a number"),
        ("aggregation: {power: 2020-01-01}", "power is datetime.date(2020, 1, 1); expected a number"),
        ("aggregation: {half_life: abc}", "half_life is 'abc'; expected a number"),
        ("aggregation: {cost_bps: true}", "cost_bps is True; expected a number"),
        ("aggregation: {method: [a]}", "method is ['a']; expected equal or hit_rate"),
        (f"portfolio: {{initial_cash: 1{'0' * 400}}}", "initial_cash is 10000"),
        ("portfolio: {min_confidence: 0.5}", "portfolio.min_confidence is 0.5; expected nothing"),
        ("venue: {kind: paper, fee_bps: '5'}", "venue.fee_bps is '5'; expected a number"),
        ("1: 2", "key in line 5 is '1'; expected a text"),
        ("null: 2", "key in line 5 is 'null'; expected a text"),
        ("risk: {leverage: 1, leverage: 2}", "key in line 5 is 'leverage'; expected each key once"),
        (f"risk: {'[' * 5000}{']' * 5000}", "nesting in line 5 is 33; expected at most 32 levels"),
        ("risk: &a {symbols: *a}", "line 5 is '*a'; expected what it stands for, written out"),
        ("risk: !!bool maybe", "expected a value without one"),
        ("decide: oracle", "decide is 'oracle'; expected 'none', 'memory' or 'review'"),
        ("memory: {least: 5}", "memory is {'horizon': '20b', 'least': 5.0"),
        ("decide: memory\nmemory: {horizon: 3x}", "horizon is '3x'; expected bars such as 6b"),
        ("decide: memory\nmemory: {horizon: 3}", "memory.horizon is 3; expected a text"),
        ("decide: memory\nmemory: {least: 0}", "memory.least is 0; expected greater than 0"),
        ("decide: memory\nmemory: {least: '5'}", "memory.least is '5'; expected a number"),
        ("decide: memory\nmemory: {against: 1}", "memory.against is 1; expected less than 1"),
        ("decide: memory\nmemory: {sure: 1}", "memory.sure is 1; expected one of horizon, least"),
        (
            "decide: memory\nmemory: {wait_s: 5}",
            "memory.wait_s is 5.0; expected nothing beside decide: memory",
        ),
        ("decide: review\nmemory: {wait_s: 0}", "memory.wait_s is 0; expected greater than 0"),
        ("decide: none\nrisk: {stale_model_s: 9}", "risk.stale_model_s is 9; expected nothing"),
        ("features: [rsi(1)]", "feature is 'rsi(1)'; expected for its window a whole number"),
        ("features: [magic]", "feature is 'magic'; expected one of returns"),
        ("features: [spread(3)]", "feature is 'spread(3)'; expected at most 0 parameters: spread()"),
    ],
)
def test_configuration_that_cannot_be_names_field_value_and_what_was_expected(
    change: str, said: str, tmp_path: Path
) -> None:
    key = change.split(":", 1)[0]
    kept = [line for line in GOOD.strip().splitlines() if not line.startswith(f"{key}:")]
    found = wrong("\n".join([*kept, change]), tmp_path)
    assert said in found
    assert "\n" not in found
    assert "should" not in found


@pytest.mark.parametrize("field", ["fee_bps", "slippage_bps", "stop_bps", "take_bps", "trail_bps", "fill"])
def test_members_of_a_policy_that_a_paper_exchange_has_no_use_for_are_refused(
    field: str, tmp_path: Path
) -> None:
    value = "next" if field == "fill" else 5
    text = f"{GOOD}portfolio: {{{field}: {value}}}\n"
    (tmp_path / "kernel.yaml").write_text(text, encoding="utf-8")
    assert field in read_config(tmp_path / "kernel.yaml").portfolio
    said = wrong(f"{text}venue: {{kind: paper}}", tmp_path)
    assert f"portfolio.{field} is {value!r}; expected nothing" in said
    assert "use venue." in said


@pytest.mark.parametrize("field", ["fee_bps", "latency_ms", "spread_bps", "margin_bps", "limit_offset_bps"])
def test_members_of_a_venue_that_a_portfolio_alone_has_no_use_for_are_refused(
    field: str, tmp_path: Path
) -> None:
    said = wrong(f"{GOOD}venue: {{{field}: 5}}", tmp_path)
    assert f"venue.{field} is 5.0; expected nothing beside venue.kind none" in said


@pytest.mark.parametrize("market", ["binance:BTCUSDT", "bybit:BTCUSDT", "okx:BTC-USDT"])
def test_short_positions_of_spot_are_refused(market: str, tmp_path: Path) -> None:
    text = GOOD.replace("BTC}", f"BTC, market: '{market}'}}") + "portfolio: {side: long-short}\n"
    said = wrong(f"{text}venue: {{kind: paper}}", tmp_path)
    assert f"portfolio.side is 'long-short'; expected long-flat: {market} is spot" in said


@pytest.mark.parametrize("market", ["binance-usdm:BTCUSDT", "bybit-linear:BTCUSDT", "okx:BTC-USDT-SWAP"])
def test_short_positions_of_perpetuals_are_taken(market: str) -> None:
    config = config_of(
        instruments=[{"symbol": "BTC", "market": market}], portfolio={"side": "long-short"}, venue={"kind": "paper"}
    )  # fmt: skip
    assert config.policy.side == "long-short"


def test_symbol_of_which_no_strategy_speaks_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace("{symbol: BTC}", "{symbol: BTC}, {symbol: ETH}").replace("1m,", "1m, symbols: [BTC],")
    assert "symbol is 'ETH'; expected one of which a strategy speaks" in wrong(text, tmp_path)


def test_limits_of_the_documented_file_are_taken_and_those_of_symbol_and_strategy_hold() -> None:
    documented = (Path(__file__).parents[3] / "docs" / "risk.md").read_text(encoding="utf-8")
    text = documented.split("```yaml\n")[1].split("```")[0]
    risk = yaml.safe_load(text.replace("BTC-USDT", "BTC").replace("sma:", "cross:"))
    assert config_of(risk=risk).limits.of_symbol("BTC").position_quantity == 0.5
    for limits in ({"stale_model_s": 5}, {"strategies": {"cross": {"stale_model_s": 5}}}):
        with pytest.raises(ValidationError, match=r"stale_model_s is 5; expected nothing"):
            config_of(risk=limits)
    few = {"position_quantity": 0.25}
    cases = [(risk, 0.5), ({"symbols": {"BTC": few}}, 0.25), ({"strategies": {"cross": few}}, 0.25)]
    for limits, most in cases:
        _, events = played(config_of(risk=limits), walk(3, 200))
        targets = [each.target for each in events.of(RiskVerdict)]
        assert max(targets) == pytest.approx(most)


def test_paper_exchange_limits_leverage_unless_another_limit_is_set() -> None:
    paper = {"kind": "paper"}
    assert config_of(venue=paper).risk == {"leverage": 1.0}
    assert config_of(venue=paper, risk={"leverage": None}).limits.leverage == 1.0
    assert config_of(venue=paper, risk={"leverage": 2}).limits.leverage == 2.0
    assert config_of().limits.leverage is None


@pytest.mark.parametrize("power", [-43, -30, -17, 20, 33])
@pytest.mark.parametrize("cash", [1e4, 1e15])
def test_paper_orders_on_candles_earn_the_same_whatever_a_unit_costs(power: int, cash: float) -> None:
    def earned(scale: float, cash: float) -> float:
        bars = walk(4, 300)
        bars = Bars(
            bars.known_at_us,
            *(each * scale for each in (bars.open, bars.high, bars.low, bars.close)),
            bars.volume,
        )
        rule = {"name": "range", "kind": "breakout", "bar": "1m", "parameters": {"window": 5}}
        config = config_of(strategies=[rule], venue={"kind": "paper"}, portfolio={"initial_cash": cash})
        lowest, highest = float(bars.low.min()), float(bars.high.max())
        instrument = file_instrument("BTC", lowest=lowest, highest=highest, cash=cash)
        pipeline, events = played(config, bars, instrument=instrument)
        assert len(events.of(OrderFill)) > 10
        assert {each.state for each in events.of(OrderEnded)} == {"filled"}
        return pipeline.portfolio.equity / cash

    assert earned(2.0**power, cash) == pytest.approx(earned(1.0, 1e4), rel=1e-5)


def test_prices_that_no_paper_exchange_can_write_are_refused() -> None:
    with pytest.raises(InvalidField, match="prices of BTC is '1e-10 to 1e\\+12'; expected some between"):
        file_instrument("BTC", lowest=1e-10, highest=1e12)
    with pytest.raises(InvalidField, match="prices of BTC"):
        file_instrument("BTC", lowest=1e18, highest=1e18)


@pytest.mark.parametrize("venue", ["none", "paper"])
def test_performance_is_that_of_the_fills(venue: str) -> None:
    config = config_of(venue={"kind": venue, "fee_bps": 7.0} if venue == "paper" else {"kind": venue})
    pipeline, events = played(config, walk(2, 400))
    fills = events.of(OrderFill)
    cash = 10_000.0 - sum(
        fill.side * float(fill.quantity) * float(fill.price) + float(fill.fee) for fill in fills
    )
    found = pipeline.status().as_dict()["performance"]
    assert len(fills) > 10
    assert found["cash"] == pytest.approx(cash, rel=1e-9)
    assert found["equity"] == pytest.approx(pipeline.portfolio.equity, rel=1e-9)
    assert found["fees"] == pytest.approx(sum(float(fill.fee) for fill in fills), rel=1e-9)
    assert found["closed_trades"] == len(events.of(TradeAttribution))
    trades = pipeline.portfolio.record.summary()
    earned = sum(each["contribution"] for each in pipeline.earnings())
    assert trades["pnl"] == pytest.approx(earned, abs=1e-6)
    assert found["realised_pnl"] == pytest.approx(trades["pnl"], rel=1e-9)
    closed = pipeline.portfolio.record.closed()
    slipped = sum(closed["slippage"].to_pylist()) + sum(
        pipeline.portfolio.record.open()["slippage"].to_pylist()
    )
    assert slipped == pytest.approx(sum(slippage(fill) for fill in fills), rel=1e-9, abs=1e-9)
    assert pipeline.portfolio.record.slippage == pytest.approx(slipped, rel=1e-9, abs=1e-9)
    assert figures_of(pipeline, EventCounts())["performance"] == found


def test_file_that_is_no_configuration_is_refused(tmp_path: Path) -> None:
    assert "is no YAML" in wrong("a: [", tmp_path)
    assert "holds list" in wrong("- 1", tmp_path)
    with pytest.raises(NotFound, match=r"expected a pipeline\.yaml"):
        read_config(tmp_path / "none.yaml")


def test_every_field_of_the_configuration_is_described() -> None:
    schema = PipelineConfig.model_json_schema()
    for part in [schema, *schema["$defs"].values()]:
        for name, field in part["properties"].items():
            assert field.get("description"), name


def test_strategies_of_a_users_own_speak_as_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = "import numpy as np\nclass Rising:\n    def actions(self, bars):\n"
    rule += "        return np.sign(np.diff(bars.close, prepend=bars.close[:1])).astype(np.int8)\n"
    (tmp_path / "own_rule.py").write_text(rule, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    config = config_of(strategies=[{"name": "own", "kind": "own_rule:Rising", "bar": "1m"}])
    bars = walk(2, 100)
    _, events = played(config, bars)
    sides = np.sign(np.diff(bars.close, prepend=bars.close[:1]))
    assert [each.side for each in events.of(StrategySignal)] == sides[sides != 0].tolist()


def test_profits_of_trades_are_shared_out_and_add_up_to_what_the_portfolio_earned() -> None:
    strategies = [
        {"name": "fast", "kind": "sma", "bar": "1m", "parameters": {"fast": 2, "slow": 5}},
        {"name": "bands", "kind": "bollinger", "bar": "1m", "parameters": {"window": 5, "width": 1.0}},
    ]
    for venue in ({"kind": "none"}, {"kind": "paper", "fee_bps": 5}):
        config = config_of(strategies=strategies, venue=venue, portfolio={"weight": 0.5})
        pipeline, events = played(config, walk(4, 800))
        trades = events.of(TradeAttribution)
        assert len(trades) > 10
        for each in trades:
            assert sum(each.shares.values()) == pytest.approx(each.pnl, abs=1e-9)
        open_position = pipeline.portfolio.positions
        earned = sum(each.pnl for each in trades)
        if not open_position:
            assert earned == pytest.approx(pipeline.portfolio.equity - 10_000, abs=1e-6)
        else:
            fills = events.of(OrderFill)
            booked = sum(-f.side * float(f.quantity) * float(f.price) - float(f.fee) for f in fills)
            assert 10_000 + booked == pytest.approx(pipeline.portfolio.cash, abs=1e-6)


def test_drawdown_halts_and_flattens_and_stays_so_until_a_person_resets_it() -> None:
    risk = {"drawdown_share": 0.002, "flatten": True}
    config = config_of(risk=risk, venue={"kind": "paper", "fee_bps": 0}, portfolio={"weight": 1.0})
    instruments = {"BTC": file_instrument("BTC")}
    pipeline, events = build(config, instruments), Events()
    driver = PathDriver(
        pipeline.path,
        pipeline.portfolio,
        pipeline.venue,
        log=events,
        market=candle_market(config, instruments),
    )
    bars = walk(2, 2_000)
    run_backtest(driver, pipeline.strategies, [CandleSeries("BTC", MINUTE_US, bars)])
    alarms = events.of(Alarm)
    assert alarms
    after = [each for each in events.outputs if each.at_us > alarms[0].at_us]
    assert not pipeline.portfolio.positions
    opened = [each for each in after if isinstance(each, PlannedOrder) and each.side > 0]
    assert not opened
    assert [each for each in after if isinstance(each, RiskVerdict)]
    last_us = int(bars.known_at_us[-1])
    reset = Command(at_us=last_us, symbol="", command=CommandKind.RESET, who="kim", reason="looked at it")
    driver.take(reset)
    decision = PositionDecision(
        at_us=last_us, symbol="BTC", side=1, size=1.0, price=float(bars.close[-1]), number=10_000
    )
    (verdict, *_) = pipeline.path.on(decision)
    assert verdict.outcome == "allow"


# Sessions


def recorded(folder: Path, text: str = GOOD, bars: int = 300, *, flush: bool = False) -> PipelineConfig:
    config = PipelineConfig(**yaml.safe_load(text))
    instruments = {"BTC": file_instrument("BTC")}
    pipeline = build(config, instruments)
    with SessionWriter(folder) as writer:
        write_about(folder, text, config, instruments)
        driver = PathDriver(
            pipeline.path,
            pipeline.portfolio,
            pipeline.venue,
            log=writer,
            market=candle_market(config, instruments),
        )
        for begin in range(0, bars, 50):
            piece = walk(1, bars).slice(begin, begin + 50)
            run_backtest(driver, pipeline.strategies, [CandleSeries("BTC", MINUTE_US, piece)])
            if flush:
                writer.flush()
    return config


def rewritten(folder: Path, change: Any) -> None:
    """The session's frames after `change`, which is given a list of them, in one block that is whole."""
    frames = b"".join(
        struct.pack("<Ic", len(data), kind) + data for kind, data in change(list(read_frames(folder)))
    )
    (path,) = event_files(folder)
    stored = pa.compress(frames, codec="zstd", asbytes=True)
    path.write_bytes(struct.pack("<III", len(stored), len(frames), zlib.crc32(stored)) + stored)


@pytest.mark.parametrize("venue", ["none", "paper"])
def test_session_plays_again_byte_for_byte(venue: str, tmp_path: Path) -> None:
    recorded(tmp_path / "s", f"{GOOD}venue: {{kind: {venue}}}\n")
    check = replay_session(tmp_path / "s")
    assert check.difference is None
    assert check.events > 50


def test_one_bit_in_any_kind_of_event_is_found_at_that_event(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    recorded(folder, f"{GOOD}venue: {{kind: paper}}\n")
    frames = list(read_frames(folder))
    outputs = [place for place, frame in enumerate(frames) if frame.kind == b"O"]
    first_of_kind: dict[bytes, int] = {}
    for place in outputs:
        kind = frames[place].data.split(b"kind")[1][:14]
        first_of_kind.setdefault(kind, place)
    assert (
        len(first_of_kind) >= 7
    )  # signals, aggregated, decisions, verdicts, orders, fills, ends, attributions
    for place in first_of_kind.values():
        data = bytearray(frames[place].data)
        data[-1] ^= 1
        rewritten(folder, lambda _, place=place, data=data: [
            *frames[:place], (b"O", bytes(data)), *frames[place + 1 :]
        ])  # fmt: skip
        check = replay_session(folder)
        assert check.difference is not None
        assert check.difference.number == outputs.index(place) + 1


def test_input_that_was_changed_makes_what_follows_differ(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    recorded(folder)
    first = next(place for place, frame in enumerate(read_frames(folder)) if frame.kind == b"O")
    rewritten(folder, lambda frames: [frame for place, frame in enumerate(frames) if place != first - 1])
    assert replay_session(folder).difference is not None


def test_event_that_was_left_out_is_a_difference(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    recorded(folder)
    frames = list(read_frames(folder))
    place = next(place for place, frame in enumerate(frames) if frame.kind == b"O")
    rewritten(folder, lambda frames: [*frames[:place], *frames[place + 1 :]])
    found = replay_session(folder).difference
    assert found is not None
    assert found.number == 1


def test_torn_end_is_left_out_and_said(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    recorded(folder, flush=True)
    whole = len(list(read_frames(folder)))
    (path,) = event_files(folder)
    data = path.read_bytes()
    assert replay_session(folder).whole
    for end in range(1, len(data), 97):
        path.write_bytes(data[:end])
        assert len(list(read_frames(folder))) < whole
        assert not parity(folder).whole


def parity(folder: Path) -> ParityCheck:
    """The check of a session of which nothing differs; of one without an event a check of nothing."""
    with suppress(UnreadableInput):
        check = replay_session(folder)
        assert check.difference is None
        return check
    return ParityCheck()


def test_damage_is_named_wherever_it_is_and_nothing_is_begun_on_it(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    recorded(folder, flush=True)
    (path,) = event_files(folder)
    data = path.read_bytes()
    for place in range(13, len(data), 61):
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(bytes(changed))
        assert not parity(folder).whole  # a length that became longer looks like a torn end
    path.write_bytes(data)
    path.with_name("events-0002.zst").write_bytes(data)
    with pytest.raises(UnreadableInput, match=r"events-0002\.zst: block 1 is damaged"):
        replay_session(folder)
    with pytest.raises(UnreadableInput, match="is damaged"):
        SessionWriter(folder)


def test_frame_that_cannot_be_played_is_named(tmp_path: Path) -> None:
    for kind, data in ((b"I", b"garbage"), (b"M", b"\0"), (b"M", struct.pack("<Hq", 9, 1) + b"{}")):
        folder = tmp_path / repr((kind, data)).replace("/", "")[:20]
        recorded(folder)
        rewritten(folder, lambda frames, kind=kind, data=data: [(kind, data), *frames])
        with pytest.raises(UnreadableInput, match="frame 1 cannot be played"):
            replay_session(folder)


def test_session_is_written_by_one_process_at_a_time(tmp_path: Path) -> None:
    with SessionLock(tmp_path / "s"), pytest.raises(Fenced, match="another process writes the session"):
        SessionLock(tmp_path / "s")
    with SessionLock(tmp_path / "s"):
        pass
    assert (tmp_path / "s").stat().st_mode & 0o077 == 0


def test_folder_without_a_session_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        replay_session(tmp_path)
    recorded(tmp_path / "s", bars=2)
    with pytest.raises(UnreadableInput, match="holds no event"):
        replay_session(tmp_path / "s")
    (tmp_path / "s" / "session.json").write_text("{}")
    with pytest.raises(UnreadableInput, match="does not say of what the session is"):
        replay_session(tmp_path / "s")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"price_decimals": 99}, "price_decimals of BTC is 99; expected 0 to 18"),
        ({"size_decimals": -1}, "size_decimals of BTC is -1; expected 0 to 18"),
        ({"contract_size": "0"}, "contract_size of BTC is .*; expected a number above 0"),
        ({"contract_size": "NaN"}, "contract_size of BTC is .*; expected a number above 0"),
        ({"raw": False}, "raw is False; expected true where series is empty"),
        ({"series": ["nonsense"]}, "series is 'nonsense'; expected first lines of recordings"),
        ({"instruments": {}}, "instruments are none; expected those of pipeline.yaml: BTC"),
    ],
)
def test_session_that_does_not_say_of_what_it_is_is_refused(
    change: dict[str, Any], told: str, tmp_path: Path
) -> None:
    recorded(tmp_path / "s", f"{GOOD}venue: {{kind: paper}}\n")
    path = tmp_path / "s" / "session.json"
    about = json.loads(path.read_text())
    (about if change.keys() <= about.keys() else about["instruments"]["BTC"]).update(change)
    path.write_text(json.dumps(about))
    with pytest.raises(UnreadableInput, match=told):
        replay_session(tmp_path / "s")


def test_command_without_a_name_or_a_reason_is_refused() -> None:
    pipeline, _ = played(config_of(), walk(1, 10))
    for who, reason in (("", "why"), ("kim", " ")):
        command = Command(at_us=1, symbol="", command=CommandKind.HALT, who=who, reason=reason)
        with pytest.raises(InvalidField, match="who it is that says so"):
            pipeline.path.on(command)


def test_limits_count_what_waits_for_the_next_price() -> None:
    strategies = [{"name": "cross", "kind": "sma", "bar": "1m", "parameters": {"fast": 1, "slow": 2}}]
    instruments = [{"symbol": "BTC"}, {"symbol": "ETH"}]
    config = config_of(
        instruments=instruments,
        strategies=strategies,
        portfolio={"fill": "next", "fee_bps": 0},
        risk={"leverage": 0.5},
    )
    pipeline = build(config, {symbol: file_instrument(symbol) for symbol in config.symbols})
    events = Events()
    driver = PathDriver(pipeline.path, pipeline.portfolio, pipeline.venue, log=events)
    bars = walk(3, 300)
    run_backtest(
        driver, pipeline.strategies, [CandleSeries(symbol, MINUTE_US, bars) for symbol in config.symbols]
    )
    assert events.of(OrderFill)
    held: dict[str, float] = {}
    for fill in events.of(OrderFill):
        held[fill.symbol] = held.get(fill.symbol, 0.0) + fill.side * float(fill.quantity)
        gross = sum(abs(quantity) for quantity in held.values()) * float(fill.price)
        assert gross < 0.5 * 10_000 * 1.2  # equity and prices move a little


class OneLevel:
    """An order book of one level a side, at one price."""

    def __init__(self, instrument: Instrument, price: int) -> None:
        self.instrument = instrument
        self._price = price

    def levels(self, side: int, count: int | None = None) -> tuple[Int64Array, Int64Array]:
        del side, count
        return np.array([self._price], np.int64), np.array([10**12], np.int64)


def traded(config: PipelineConfig, prices: list[float], seconds: int = 60) -> tuple[Pipeline, Events]:
    """A market with a trade, and a book of that price, at the beginning of each interval; orders meet the next one."""
    instrument = Instrument("paper", "BTC", 2, 4)
    pipeline, events = build(config, {"BTC": instrument}), Events()
    driver = PathDriver(pipeline.path, pipeline.portfolio, pipeline.venue, log=events)
    for number, price in enumerate(prices):
        at_us, ticks = number * seconds * 1_000_000 + 1, round(price * 100)
        change = BookChange(instrument, number + 1, ticks, 10**12, ticks, 10**12, at_us, at_us)
        driver.market(change, OneLevel(instrument, ticks))
        driver.market(Trade(instrument, str(number), ticks, 10**4, 1, at_us, at_us), None)
        later = msgspec.structs.replace(change, exchange_us=at_us + 5, received_us=at_us + 5)
        driver.market(later, OneLevel(instrument, ticks))
    return pipeline, events


@pytest.mark.parametrize("venue", ["none", "paper"])
def test_candles_that_end_together_are_followed_one_after_the_other_as_in_a_backtest(venue: str) -> None:
    said = {"a": ("1m", {4: 1, 6: -1}), "b": ("2m", {4: -1}), "c": ("2m", {4: 1})}
    strategies = [
        {
            "name": name, "kind": "tests.support.strategy_rules:AtMinutes", "bar": bar,
            "parameters": {"sides": {str(minute): side for minute, side in sides.items()}},
        }
        for name, (bar, sides) in said.items()
    ]  # fmt: skip
    costs = {"venue": {"kind": venue, "fee_bps": 0}} if venue == "paper" else {"portfolio": {"fee_bps": 0}}
    config = config_of(strategies=strategies, **costs)
    prices = [100, 100.1, 100.2, 100.3, 100.4, 100.5, 100.6, 100.7]
    pipeline, events = traded(config, prices)
    (trade,) = events.of(TradeAttribution)
    # Bought because a alone said so, before b and c had spoken; sold because a and b did.
    assert trade.shares == pytest.approx({"a": 0.75 * trade.pnl, "b": 0.25 * trade.pnl})
    assert trade.pnl > 0.0
    candles = [event for event in events.everything if type(event) in {Candle, PositionDecision}]
    at_four = [type(event) for event in candles if event.at_us == 4 * MINUTE_US]
    assert at_four[:4] == [Candle, PositionDecision, Candle, PositionDecision]
    assert pipeline.attribute.attributor.records()[0].contribution == pytest.approx(0.75 * trade.pnl)


def seconds_of(prices: list[float]) -> Bars:
    """Candles of a second that open and close at a price."""
    price = np.array(prices)
    return Bars(np.arange(1, len(prices) + 1) * 1_000_000, price, price, price, price, np.ones(len(prices)))


def played_seconds(sides: dict[int, int], prices: list[float], **changes: Any) -> tuple[Pipeline, Events]:
    """A backtest on seconds of a strategy that says these sides at these seconds."""
    strategy = {
        "name": "told", "kind": "tests.support.strategy_rules:AtMinutes", "bar": "1s",
        "parameters": {"sides": {str(second): side for second, side in sides.items()}, "unit_us": 1_000_000},
    }  # fmt: skip
    config = config_of(strategies=[strategy], **changes)
    instruments = {"BTC": file_instrument("BTC")}
    pipeline, events = build(config, instruments), Events()
    market = candle_market(config, instruments)
    driver = PathDriver(pipeline.path, pipeline.portfolio, pipeline.venue, log=events, market=market)
    run_backtest(driver, pipeline.strategies, [CandleSeries("BTC", 1_000_000, seconds_of(prices))])
    return pipeline, events


@pytest.mark.parametrize(
    ("latency_ms", "filled"),
    [(0, [(2.0, 102), (6.0, 106)]), (999, [(2.999, 102), (6.999, 106)]), (1000, [(3.0, 103), (7.0, 107)]),
     (2500, [(5.0, 105), (9.0, 109)])],
)  # fmt: skip
def test_paper_order_that_takes_longer_than_a_candle_meets_the_first_open_after_it(
    latency_ms: int, filled: list[tuple[float, int]]
) -> None:
    venue = {"kind": "paper", "latency_ms": latency_ms, "spread_bps": 0, "fee_bps": 0, "margin_bps": 500}
    _, events = played_seconds({2: 1, 6: -1}, [100.0 + each for each in range(15)], venue=venue)
    assert [(fill.at_us / 1e6, float(fill.price)) for fill in events.of(OrderFill)] == filled


@pytest.mark.parametrize("venue", ["none", "paper"])
def test_decision_for_the_side_that_is_held_is_no_order_that_counts(venue: str) -> None:
    sides, risk = {2: 1, 3: 1, 4: 1, 5: -1, 6: 1, 7: -1, 8: 1}, {"orders_per_minute": 4}
    _, events = played_seconds(sides, [100.0] * 12, risk=risk, venue={"kind": venue})
    outcomes = [each.outcome.value for each in events.of(RiskVerdict) if each.target != 0.0 or each.reasons]
    assert outcomes == [
        "allow",
        "allow",
        "allow",
        "allow",
        "refuse",
    ]  # orders at 2, 5, 6 and 7; not at 3 and 4


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    ("risk", "held"),
    [({"position_quantity": 5}, 5.0), ({"position_notional": 600}, 6.0), ({"leverage": 0.5}, 50.0)],
)
def test_slippage_takes_no_position_of_a_portfolio_without_a_venue_over_a_limit(
    side: int, risk: dict[str, float], held: float
) -> None:
    portfolio = {"side": "long-short", "slippage_bps": 500, "fee_bps": 20}
    pipeline, _ = played_seconds({2: side}, [100.0] * 4, risk=risk, portfolio=portfolio)
    assert pipeline.portfolio.positions["BTC"] == pytest.approx(side * held)


@pytest.mark.parametrize("side", [1, -1])
def test_verdict_without_limits_is_what_the_kernel_fills(side: int) -> None:
    portfolio = {"side": "long-short", "slippage_bps": 500, "fee_bps": 20, "weight": 0.3}
    pipeline, events = played_seconds({2: side}, [100.0] * 4, portfolio=portfolio)
    (verdict,) = events.of(RiskVerdict)
    assert pipeline.portfolio.positions["BTC"] == pytest.approx(verdict.target)
    assert verdict.target == pytest.approx(side * 3_000 / (100 * (1 + side * 0.05) * 1.002))


@pytest.mark.parametrize("offset", [-100, 60, 300])
def test_limit_order_of_all_the_money_is_small_enough_to_be_paid_for_at_its_limit(offset: int) -> None:
    venue = {"kind": "paper", "limit_offset_bps": offset, "spread_bps": 0}
    _, events = played_seconds({2: 1}, [100.0] * 3 + [98.0] * 3, venue=venue)
    (order,), (end,) = events.of(PlannedOrder), events.of(OrderEnded)
    assert (end.state, end.reason) == ("expired", "limit_not_met") if offset < 0 else ("filled", "")
    price = 1 + (50 + max(offset, 0)) / 10_000
    assert float(order.quantity) == pytest.approx(10_000 / (100 * price), rel=1e-6)


def write_until_full(folder: Path, event: Alarm) -> SessionWriter:
    """A writer that the disk took nothing of any more, each event in a block; it has ended."""
    with suppress(OSError), SessionWriter(folder) as writer:
        while True:
            writer.input(event)
            writer.flush()
    return writer


def test_session_whose_disk_was_full_goes_on_behind_its_last_whole_block(tmp_path: Path) -> None:
    alarm = Alarm(at_us=1, symbol="BTC", code="x", message="".join(map(chr, range(33, 126))) * 5)
    with tiny_disk(tmp_path / "disk", 64) as disk:
        folder = disk / "session"
        before = write_until_full(folder, alarm)
        written = len(list(read_frames(folder)))
        assert written > 10
        enlarge(disk, 1024)
        with SessionWriter(folder) as after:
            after.input(alarm)
        del before  # what it has not written comes to nothing now, and not between the blocks that follow
        gc.collect()
        assert len(list(read_frames(folder))) == written + 2


def test_session_that_could_not_be_written_for_a_while_has_all_of_it(tmp_path: Path) -> None:
    noise = "".join(Random(1).choices("".join(map(chr, range(33, 126))), k=90_000))
    with tiny_disk(tmp_path / "disk", 64) as disk, SessionWriter(disk / "session") as writer:
        writer.input(Alarm(at_us=1, symbol="BTC", code="x", message="small"))
        writer.flush()
        (disk / "other").write_bytes(b"-" * 56 * 1024)
        writer.input(Alarm(at_us=2, symbol="BTC", code="x", message=noise))
        with pytest.raises(OSError, match="No space left"):
            writer.flush()
        (disk / "other").unlink()
        enlarge(disk, 1024)
        writer.flush()
        assert [decode_event(frame.data).at_us for frame in read_frames(disk / "session")] == [1, 2]


def test_event_whose_text_is_no_unicode_any_more_is_shown_as_it_stands(tmp_path: Path) -> None:
    check = ParityCheck()
    alarm = Alarm(at_us=1, symbol="BTC", code="x", message="good")
    check.output(alarm)
    check.expect(encode_event(alarm).replace(b"good", b"g\xb7od"))
    assert check.difference is not None
    assert isinstance(check.difference.recorded, bytes)
