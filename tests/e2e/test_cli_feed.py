"""`raysignal feed` against a made-up exchange on this machine, and the feed actors of a service."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.runtime.ports import free_port
from tests.cluster.waiting import until_async
from tests.e2e.conftest import ended, started

NOBODY = "http://127.0.0.1:1"


def feed(*options: str, database: Path) -> Any:
    return CliRunner().invoke(
        app,
        ["feed", *options, "--database", f"sqlite:///{database}", "--url", NOBODY, "--json"],
        env={name: "" for name in os.environ if name.startswith("RAYSIGNAL_")},
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "nothing to follow"),
        (("-i", "binance:BTCUSDT", "--speed", "2"), "--loopback"),
        (("-i", "BTCUSDT"), "venue:symbol"),
        (("-i", "bitmex:XBTUSD", "--loopback"), "bitmex"),
        (("-i", "binance:BTCUSDT", "--loopback", "--fast", "20", "--slow", "5"), "feed.fast is 20"),
        (("-i", "binance:BTCUSDT", "--loopback", "--bar", "7s"), "divides a day"),
        (("-i", "binance:BTCUSDT", "--loopback", "--for", "soon"), "soon"),
        (("-i", "binance:BTCUSDT", "--loopback", "--portfolio", "no/name"), "no/name"),
    ],
)
def test_what_cannot_be_followed_is_a_sentence(tmp_path, options, said):
    answer = feed(*options, database=tmp_path / "market.db")
    assert answer.exit_code != 0
    assert said in " ".join(answer.output.replace("│", " ").split())
    assert "Traceback" not in answer.output


def test_crossings_of_a_made_up_market_are_stored_and_traded_once_each(tmp_path):
    database = tmp_path / "market.db"
    answer = feed(
        "-i", "okx:BTC-USDT", "--loopback", "--speed", "100", "--bar", "5s", "--fast", "2", "--slow", "5",
        "--for", "6s", "--portfolio", "theirs", database=database,  # of the service at the URL, not of settings here
    )  # fmt: skip
    assert answer.exit_code == 0, answer.output
    (seen,) = json.loads(answer.stdout)["feeds"]
    assert seen["health"]["state"] == "ready"
    assert seen["books"]["gaps"] == seen["books"]["malformed"] == 0
    crossings = seen["station"]["signals"]
    assert crossings >= 1
    with sqlite3.connect(database) as connection:
        ids = connection.execute("SELECT signal_id, state FROM signals").fetchall()
        orders = connection.execute("SELECT client_id, state, filled FROM orders ORDER BY 1").fetchall()
        paper = connection.execute("SELECT client_id, state, filled FROM paper_orders ORDER BY 1").fetchall()
        prices = connection.execute("SELECT count(*) FROM prices").fetchone()[0]
    connection.close()
    assert prices >= 1
    assert len(ids) >= crossings
    assert {state for _, state in ids} == {"pending"}  # nobody answers at that address
    assert seen["unposted"] == len(ids)
    assert f"{len(ids)} bars and crossings are not posted" in " ".join(answer.stderr.split())
    assert orders
    assert [row[0] for row in orders] == [row[0] for row in paper]


@pytest.mark.cluster
@pytest.mark.timeout(400)
@pytest.mark.xdist_group("feed-actors")
@pytest.mark.parametrize("kills", [1, pytest.param(2, marks=pytest.mark.long)])
async def test_a_killed_feed_actor_comes_back_and_doubles_nothing(tmp_path, kills):
    port, database = free_port(), tmp_path / "market.db"
    exchange = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs yet
        [sys.executable, "-m", "raysignal.loopback.exchanges", "--venue", "binance", "--port", str(port)],
        stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        assert exchange.stdout is not None
        exchange.stdout.readline()
        hosts = {"stream": f"ws://127.0.0.1:{port}", "rest": f"http://127.0.0.1:{port}"}
        process, url = started(
            tmp_path / "log",
            {
                "store": (tmp_path / "store").as_uri(), "port": free_port(), "ingress_replicas": 1, "enhanced": "",
                "database_url": f"sqlite:///{database}", "feeds": ["binance:BTCUSDT"], "feed_bar": "1s",
                "feed_fast": 2, "feed_slow": 4, "feed_hosts": {"binance": hosts},
            },
        )  # fmt: skip
        try:
            await _killed(url, kills)
        finally:
            assert ended(process) == 0
    finally:
        exchange.terminate()
        exchange.wait(60)
        exchange.stdout.close()
    with sqlite3.connect(database) as connection:
        posted = connection.execute("SELECT count(*) FROM signals WHERE state = 'posted'").fetchone()[0]
        orders = dict(connection.execute("SELECT client_id, state FROM orders").fetchall())
        paper = {client_id for (client_id,) in connection.execute("SELECT client_id FROM paper_orders")}
        followed = connection.execute("SELECT count(*), count(DISTINCT signal_id) FROM orders").fetchone()
    connection.close()
    assert posted > kills
    assert paper <= orders.keys()
    # An order is stored before it is sent: one may have been on its way as the service ended.
    on_its_way = [state for client_id, state in orders.items() if client_id not in paper]
    assert on_its_way in ([], ["created"], ["sent"])
    assert followed[0] == followed[1]


async def _killed(url: str, kills: int) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=30.0) as http:
        killed = 0
        for life in range(kills + 1):
            seen: dict[str, Any] = {}

            async def at_work(before: int = killed, seen: dict[str, Any] = seen) -> bool:
                try:
                    (found,) = (await http.get("/feed")).json()["feeds"]
                except httpx.HTTPError:
                    return False
                seen.update(found)
                station = found.get("station") or {}
                return (
                    found["health"]["state"] == "ready"
                    and found.get("pid") != before
                    and station.get("signals", 0) > 0
                )

            await until_async(at_work, "the feed has crossed", deadline_s=90.0)
            killed = seen["pid"]
            if life < kills:
                os.kill(killed, signal.SIGKILL)
        counted = (await http.get("/performance")).json()["signals"]
        assert counted > kills

        async def is_on_the_page() -> bool:
            return (
                'raysignal_feed_state{feed="binance:BTCUSDT",state="ready"} 1.0'
                in (await http.get("/metrics")).text
            )

        await until_async(is_on_the_page, "the page says that the feed is ready")
