"""Pipelines on a cluster: the files on nodes of their own, and one whose node is killed where it was, elsewhere."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from raysignal.loopback.exchanges.exchange import GeneratedExchange
from raysignal.loopback.exchanges.server import ExchangeServer
from raysignal.runtime.pipeline_actors import Pipelines
from raysignal.runtime.settings import Settings
from tests.cluster import processes
from tests.cluster.conftest import Open
from tests.cluster.nodes import Nodes
from tests.cluster.waiting import until_async

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

CONFIG = """
name: {name}
instruments: [{{symbol: BTC, market: "bybit:{symbol}"}}]
strategies: [{{name: cross, kind: sma, bar: 1s, parameters: {{fast: 1, slow: 2}}}}]
venue: {{kind: paper, fee_bps: 2}}
"""


async def test_files_run_on_different_nodes_and_one_whose_node_is_killed_goes_on_elsewhere(
    nodes: Nodes, open_desk: Open, tmp_path: Path
) -> None:
    await open_desk((tmp_path / "store").as_uri())  # whose actors end with the test
    symbols = {"first": "BTCUSDT", "second": "ETHUSDT"}
    for name, symbol in symbols.items():
        (tmp_path / f"{name}.yaml").write_text(CONFIG.format(name=name, symbol=symbol), encoding="utf-8")
    made = GeneratedExchange("bybit", seed=5, start_us=time.time_ns() // 1000, symbols=list(symbols.values()))
    async with ExchangeServer(made) as server:
        settings = Settings(
            store=(tmp_path / "store").as_uri(), store_shared=True,
            feed_hosts={"bybit": {"stream": server.hosts.stream, "rest": server.hosts.rest}},
            pipeline={
                "files": [str(tmp_path / f"{name}.yaml") for name in symbols],
                "folder": str(tmp_path / "sessions"),
            },
        )  # fmt: skip
        pipelines = Pipelines.connect(settings)
        found: dict[str, dict[str, Any]] = {}

        async def both_run() -> bool:
            found.update({each["name"]: each for each in await pipelines.statuses()})
            return not any(each["trouble"] for each in found.values())

        try:
            await until_async(both_run, "both pipelines run")
            assert len({each["node"] for each in found.values()}) == 2
            gone, stays = sorted(found.values(), key=lambda each: each["node"] == nodes.first.id)
            await pipelines.command(gone["name"], "halt", "kim", "a test")
            node = nodes.of(gone["node"])
            for process in (node.raylet, gone["pid"]):  # a machine that is gone takes what runs on it
                processes.send(process, signal.SIGKILL)
            try:

                async def is_elsewhere() -> bool:
                    return await both_run() and found[gone["name"]]["node"] != gone["node"]

                await until_async(is_elsewhere, "the pipeline of the node that is gone runs elsewhere")
                risk = await pipelines.ask(gone["name"], "risk")
                assert (risk["state"], risk["who"]) == ("halted", "kim")
                assert found[stays["name"]]["pid"] == stays["pid"]
            finally:
                nodes.drop(node)
        finally:
            await pipelines.stop()
