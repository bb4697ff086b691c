"""A feed of an inverse contract with the settings as they are: signals, and no order on paper."""

from io import BytesIO
from pathlib import Path
from random import Random

import orjson
import pytest

from raysignal.engine.core.market_events import Trade
from raysignal.engine.core.signals import Signal
from raysignal.engine.database.database import open_database
from raysignal.engine.execution.store import OrderStore
from raysignal.loopback.exchanges.exchange import GeneratedExchange
from raysignal.loopback.exchanges.server import ExchangeServer
from raysignal.runtime.feeds import FeedContext, following
from raysignal.runtime.settings import Settings
from raysignal.serve.logs import json_logger
from tests.cluster.waiting import until

SECOND = 1_000_000


@pytest.mark.parametrize(("venue", "symbol"), [("binance-coinm", "BTCUSD_PERP"), ("okx", "BTC-USD-SWAP")])
async def test_an_inverse_contract_makes_signals_and_no_orders(
    venue: str, symbol: str, tmp_path: Path
) -> None:
    name = f"{venue}:{symbol}"
    database, lines = open_database(f"sqlite:///{tmp_path / 'market.db'}"), BytesIO()
    posted: list[Signal] = []

    def post(signal: Signal) -> str:
        posted.append(signal)
        return signal.signal_id

    exchange = GeneratedExchange(venue, seed=3, start_us=1_700_000_000 * SECOND, symbols=[symbol])
    async with ExchangeServer(exchange) as loopback:
        settings = Settings(
            feeds=(name,), feed_bar="5s", feed_fast=2, feed_slow=4,
            feed_hosts={venue: {"stream": loopback.hosts.stream, "rest": loopback.hosts.rest}},
        )  # fmt: skip
        context = FeedContext(database, post, json_logger(lines), loopback.clock, Random(1), None, {})
        async with following(name, settings, context) as followed:
            await until(lambda: followed.station.begun, "it has begun")
            assert followed.status()["station"]["paper"] is None
            instrument = followed.station.subscriptions[0].instrument
            assert instrument.inverse
            # A trade a bar, up and down.
            start_us = context.now_us() // SECOND * SECOND
            for number, price in enumerate([10, 11, 12, 13, 14, 9, 7, 5, 8, 12, 16, 9, 4, 3]):
                at_us = start_us + 5 * SECOND * number
                followed.station.take([Trade(instrument, str(number), 1000 * price, 1, 1, at_us, at_us)])
            await until(lambda: len(posted) >= 2, "it has crossed")
    assert {signal.symbol for signal in posted} == {name}
    assert OrderStore(database, f"paper:{name}").opened() is None
    said = [orjson.loads(line) for line in lines.getvalue().splitlines()]
    reasons = [line["reason"] for line in said if line["event"] == "no_paper_orders"]
    assert reasons == ["it is an inverse contract"]
    database.close()
