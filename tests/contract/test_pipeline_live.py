"""A pipeline on three loopback venues, in a process of its own that is killed and goes on where it was."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
import yaml

from raysignal.engine.core.events import Alarm, Candle, CandleBackfill
from raysignal.engine.pipeline.session import event_files, read_frames
from raysignal.loopback.exchanges.exchange import GeneratedExchange
from raysignal.loopback.exchanges.server import ExchangeServer
from raysignal.runtime.pipeline_live import live_pipeline
from raysignal.runtime.pipeline_session import replay_session
from tests.support.pipelines import Events, config_of

CONFIG = """
name: live
instruments:
  - {symbol: BTC, market: "binance-usdm:BTCUSDT"}
  - {symbol: ETH, market: "okx:ETH-USDT-SWAP"}
  - {symbol: SOL, market: "bybit:SOLUSDT"}
strategies:
  - {name: fast, kind: sma, bar: 1s, parameters: {fast: 2, slow: 4}}
  - {name: reversal, kind: bollinger, bar: 2s, parameters: {window: 4, width: 1.0}}
features: [imbalance, "rsi(3)"]
aggregation: {method: hit_rate}
portfolio: {weight: 0.3}
decide: memory
memory: {horizon: 3b, least: 3.0, against: 0.6}
venue: {kind: paper, fee_bps: 2, latency_ms: 20}
"""

pytestmark = pytest.mark.xdist_group("live")


def arguments(config: Path, session: Path, seconds: int) -> list[str]:
    return [
        sys.executable, "-m", "raysignal.cli", "pipeline", "run", str(config), "--loopback", "--speed", "20",
        "--for", f"{seconds}s", "--record", str(session),
    ]  # fmt: skip


def frames_of(session: Path) -> int:
    return sum(1 for _ in read_frames(session)) if event_files(session) else 0


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.long)])
def test_pipeline_that_is_killed_goes_on_and_all_of_it_plays_again(tmp_path: Path, kills: int) -> None:
    config, session = tmp_path / "pipeline.yaml", tmp_path / "session"
    config.write_text(CONFIG, encoding="utf-8")
    for kill in range(kills):
        before = frames_of(session)
        running = subprocess.Popen(
            arguments(config, session, 60), stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert running.stderr is not None
        while frames_of(session) < before + 1_000:
            line = running.stderr.readline()  # it says how it stands every few seconds
            assert line, running.communicate()
        running.send_signal(signal.SIGKILL)
        running.communicate()
        check = replay_session(session)
        assert check.difference is None, kill
    done = subprocess.run(arguments(config, session, 3), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "play as they were recorded" in done.stdout
    check = replay_session(session)
    assert check.difference is None
    assert check.events > 100
    assert len(event_files(session)) == kills + 1


async def no_model() -> tuple[None, str]:
    """There is none to ask."""
    return None, "no_model"


async def test_candles_that_were_missed_between_two_runs_come_late_and_play_again(tmp_path: Path) -> None:
    config = config_of(
        instruments=[{"symbol": "BTC", "market": "binance:BTCUSDT"}],
        strategies=[{"name": "fast", "kind": "sma", "bar": "1s", "parameters": {"fast": 2, "slow": 4}}],
    )  # fmt: skip
    text = yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True))
    exchange = GeneratedExchange("binance", seed=3, start_us=1_700_000_000_000_000, symbols=["BTCUSDT"])
    codes: list[str] = []
    async with ExchangeServer(exchange, speed=20) as server:
        for run in range(2):
            log = Events()
            async with live_pipeline(
                config, text, tmp_path, log=log, hosts_of=lambda _: server.hosts, clock=server.clock, random=Random(1),
                advise=no_model,
            ) as live:  # fmt: skip
                running = asyncio.create_task(live.run())
                while len(log.of(Candle)) < 20 * (run + 1) or (run and "candles_backfilled" not in codes):
                    assert not running.done(), await running
                    await server.clock.sleep(1.0)
                    codes = [alarm.code for alarm in log.of(Alarm)]
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            await server.clock.sleep(10.0)  # of the market's time: so much is missed
    (backfill,) = (event for event in log.inputs if isinstance(event, CandleBackfill))
    assert len(backfill.candles) >= 10
    check = replay_session(tmp_path)
    assert check.difference is None
    assert check.events > 40


def test_session_of_another_configuration_is_not_gone_on_with(tmp_path: Path) -> None:
    config, session = tmp_path / "pipeline.yaml", tmp_path / "session"
    session.mkdir()
    (session / "pipeline.yaml").write_text("name: other", encoding="utf-8")
    config.write_text(CONFIG, encoding="utf-8")
    done = subprocess.run(arguments(config, session, 3), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "holds a session of another configuration" in done.stderr
