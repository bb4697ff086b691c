"""`raysignal market download` as its users meet it, against a loopback exchange over HTTP."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import Process
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.loopback.exchanges.exchange import GeneratedExchange
from raysignal.loopback.exchanges.server import ExchangeServer
from raysignal.loopback.exchanges.speech import RestAnswer

START_US = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z
MONTHS = ("--bar", "4h", "--from", "2023-08-01", "--to", "2023-11-01")


class KillingExchange(GeneratedExchange):
    """Kills a process with the third answer of bars."""

    victim: Process | None = None
    answers = 0

    def get(self, target: str) -> RestAnswer:
        self.answers += "/klines" in target
        if self.answers == 3 and self.victim is not None:
            self.victim.kill()
        return super().get(target)


def exchange() -> KillingExchange:
    return KillingExchange("binance-usdm", seed=4, start_us=START_US, symbols=["BTCUSDT"])


def hosts(server: ExchangeServer) -> str:
    return json.dumps({"binance-usdm": {"stream": server.hosts.stream, "rest": server.hosts.rest}})


async def called(server: ExchangeServer, *arguments: str) -> tuple[int, str, str]:
    def invoke() -> tuple[int, str, str]:
        given = ["market", "download", "binance-usdm", *arguments]
        result = CliRunner().invoke(app, given, env={"RAYSIGNAL_FEED__HOSTS": hosts(server)})
        return result.exit_code, result.stdout, " ".join(result.stderr.split())

    return await asyncio.to_thread(invoke)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in sorted(folder.rglob("*.parquet"))}


def nothing_in(folder: Path) -> bool:
    return not list(folder.iterdir())


async def test_a_download_says_what_came_and_which_bars_the_venue_does_not_give(tmp_path: Path) -> None:
    made = exchange()
    made.market("BTCUSDT").halt(1_696_500_000_000_000, 1_696_510_000_000_000)
    async with ExchangeServer(made) as server:
        code, said, error = await called(server, "BTCUSDT", *MONTHS, "--out", str(tmp_path), "--json")
        assert code == 0, error
        found: dict[str, Any] = json.loads(said)
        code, shown, _ = await called(server, "BTCUSDT", *MONTHS, "--out", str(tmp_path))
    assert (found["bars"], found["asked"], found["files"]) == (92 * 6 - 1, 92 * 6, 3)
    assert found["gaps"] == [{"from": "2023-10-05T12:00:00Z", "to": "2023-10-05T16:00:00Z", "bars": 1}]
    assert found["funding"] == {"folder": str(tmp_path / "binance-usdm/BTCUSDT/funding"), "rates": 92 * 3}
    assert json.loads((tmp_path / "binance-usdm/BTCUSDT/gaps.json").read_text()) == {"4h": found["gaps"]}
    assert "551 of 4h, 2023-08-01T00:00:00Z to 2023-11-01T00:00:00Z" in shown
    assert "0 asked for" in shown
    assert "gap       1 bar that binance-usdm does not give, 2023-10-05T12:00:00Z to" in shown


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("NOSUCH", "--from", "2023-11-01"), 1, "symbol is 'NOSUCH'; expected one that binance-usdm trades"),
        (
            ("BTCUSDT", "--bar", "10m", "--from", "2023-11-01"), 1,
            "bar is '10m'; expected a length of binance-usdm's own bars: 1m, 3m, 5m, 15m",
        ),
        (
            ("BTCUSDT", "--from", "2023-12-01"), 1,
            "from is '2023-12-01'; expected an instant before now, 2023-11-14T22:1",
        ),
        (
            ("BTCUSDT", "--bar", "1d", "--from", "2023-11-14"), 1,
            "from is '2023-11-14'; expected at least one bar of 1d before 2023-11-14",
        ),
        (
            ("BTCUSDT", "--from", "2023-10-01", "--to", "2023-10-01"), 2,
            "to is '2023-10-01'; expected an instant after --from 2023-10-01",
        ),
        (("BTCUSDT", "--from", "yesterday"), 1, "from is 'yesterday'; expected a time such as"),
    ],
)  # fmt: skip
async def test_what_cannot_be_downloaded_is_refused_and_leaves_nothing(
    arguments: tuple[str, ...], code: int, sentence: str, tmp_path: Path
) -> None:
    async with ExchangeServer(exchange()) as server:
        found, _, error = await called(server, *arguments, "--out", str(tmp_path))
    assert (found, sentence in error) == (code, True), error
    assert nothing_in(tmp_path)


async def test_a_download_that_is_killed_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    made = exchange()
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    async with ExchangeServer(made) as server:
        environ = {**os.environ, "RAYSIGNAL_FEED__HOSTS": hosts(server)}
        made.victim = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "raysignal.cli", "market", "download", "binance-usdm", "BTCUSDT", *MONTHS,
            "--out", str(killed), env=environ, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert await made.victim.wait() == -9
        left = contents(killed)
        assert sorted(left) == [f"binance-usdm/BTCUSDT/4h/2023-{month}.parquet" for month in ("09", "10")]
        made.victim = None
        for folder in (killed, whole):
            code, _, error = await called(server, "BTCUSDT", *MONTHS, "--out", str(folder))
            assert code == 0, error
    assert contents(killed) == contents(whole)
    assert left.items() <= contents(whole).items()
