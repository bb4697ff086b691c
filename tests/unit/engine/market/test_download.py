"""Past bars as files: what is on disk, what is asked for, and what is said of bars that are not there."""

import json
from itertools import pairwise
from pathlib import Path
from random import Random

import pandas as pd
import pytest

from raysignal.engine.core.errors import Conflict, InvalidField, StoreUnavailable, UnreadableInput
from raysignal.engine.core.market_events import Instrument
from raysignal.engine.market.clocks import FastClock
from raysignal.engine.market.download import (
    DownloadedBars,
    download_bars,
    download_funding,
    folder_of,
    only_download,
)
from raysignal.engine.market.limits import VenueLimits
from raysignal.engine.market.monitoring.feed_metrics import FeedMetrics
from raysignal.engine.market.period_files import PeriodFiles, TimeSpan
from raysignal.engine.market.rest import RestClient
from raysignal.engine.market.venues.catalogue import VENUES, venue_named
from raysignal.engine.market.venues.protocol import RestRequest
from raysignal.loopback.exchanges.exchange import GeneratedExchange
from raysignal.loopback.exchanges.server import ExchangeServer

MINUTE_US, HOUR_US, DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
NOW_US = 1_714_557_600_000_000  # 2024-05-01T10:00:00Z
MAY_US = NOW_US - 10 * HOUR_US


class Exchange:
    """A made-up exchange as the REST side of a client; what it was asked for is kept."""

    def __init__(self, venue: str = "binance-usdm", symbol: str = "BTCUSDT") -> None:
        self.exchange = GeneratedExchange(venue, seed=3, start_us=NOW_US, symbols=[symbol])
        self.venue, self.instrument = venue_named(venue), self.exchange.instruments[0]
        self.paths: list[str] = []
        self.answers_left = 1_000_000

    async def get(self, request: RestRequest, *, tries: int | None = None) -> bytes:  # noqa: ARG002
        if not self.answers_left:
            raise StoreUnavailable("it went away")
        self.answers_left -= 1
        self.paths.append(request.path)
        answer = self.exchange.get(request.path)
        assert answer.status == 200, answer.body
        return answer.body

    async def bars(self, folder: Path, span: TimeSpan, interval_us: int = MINUTE_US) -> DownloadedBars:
        progress: list[tuple[int, int]] = []
        found = await download_bars(
            self.venue, self.instrument, interval_us, span, folder, self, self.exchange.now_us,
            lambda done, whole: progress.append((done, whole)),
        )  # fmt: skip
        whole = (span.to_us - span.from_us) // interval_us
        assert progress[-1] == (whole, whole)
        assert progress == sorted(progress)
        return found

    def halt(self, from_us: int, to_us: int) -> None:
        self.exchange.market(self.instrument.symbol).halt(from_us, to_us)


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in sorted(folder.rglob("*.parquet"))}


def span(first_h: float, last_h: float) -> TimeSpan:
    """Hours before now, from and to."""
    return TimeSpan(NOW_US - int(first_h * HOUR_US), NOW_US - int(last_h * HOUR_US))


@pytest.mark.parametrize("name", sorted(VENUES))
async def test_bars_are_the_venues_own_and_stamped_when_they_were_known(name: str, tmp_path: Path) -> None:
    symbol = {"okx": "BTC-USDT-SWAP", "binance-coinm": "BTCUSD_PERP"}.get(name, "BTCUSDT")
    exchange = Exchange(name, symbol)
    found = await exchange.bars(tmp_path, span(30, 0))
    assert (found.bars, found.asked, found.files, found.gaps) == (1800, 1800, 2, ())
    assert sorted(contents(tmp_path)) == ["1m/2024-04.parquet", "1m/2024-05.parquet"]
    frame = pd.read_parquet(tmp_path / "1m")
    assert list(frame.columns) == [
        "timestamp", "symbol", "price", "open", "high", "low", "close", "volume",
    ]  # fmt: skip
    assert frame["timestamp"].dt.tz is not None
    assert frame["timestamp"].is_monotonic_increasing
    assert frame["timestamp"].iloc[-1] == pd.Timestamp(NOW_US, unit="us", tz="UTC")
    assert set(frame["symbol"]) == {f"{name}:{symbol}"}
    assert (frame["price"] == frame["close"]).all()
    market = exchange.exchange.market(symbol)
    for row in (0, 839, 840, 1799):
        candle = market.candle(MINUTE_US, NOW_US - (1800 - row) * MINUTE_US)
        said = frame.iloc[row]
        assert said["close"] == exchange.instrument.price(candle.close)
        assert said["high"] == exchange.instrument.price(candle.high)
        assert said["volume"] == exchange.instrument.size(candle.volume)


async def test_bars_below_a_minute_have_a_file_a_day(tmp_path: Path) -> None:
    exchange = Exchange("okx", "BTC-USDT")
    await exchange.bars(tmp_path, TimeSpan(MAY_US - 60_000_000, MAY_US + 60_000_000), 1_000_000)
    assert sorted(contents(tmp_path)) == ["1s/2024-04-30.parquet", "1s/2024-05-01.parquet"]


async def test_what_is_on_disk_is_not_asked_for_again(exchange: Exchange, tmp_path: Path) -> None:
    await exchange.bars(tmp_path, span(30, 20))
    exchange.paths.clear()
    before = contents(tmp_path)
    again = await exchange.bars(tmp_path, span(30, 20))
    assert (again.bars, again.asked, exchange.paths) == (600, 0, [])
    assert contents(tmp_path) == before
    more = await exchange.bars(tmp_path, span(40, 0))
    assert (more.bars, more.asked) == (2400, 1800)


async def test_a_download_in_pieces_has_the_bytes_of_one_at_once(exchange: Exchange, tmp_path: Path) -> None:
    for first, last in ((30, 28), (6, 5), (32, 3), (12, 0), (40, 0)):
        await exchange.bars(tmp_path / "pieces", span(first, last))
    await exchange.bars(tmp_path / "once", span(40, 0))
    assert contents(tmp_path / "pieces") == contents(tmp_path / "once")


@pytest.mark.parametrize("answers", range(3))
async def test_a_download_that_fails_goes_on_where_it_was(
    exchange: Exchange, answers: int, tmp_path: Path
) -> None:
    whole = span(24 * 40, 0)  # a request for each of three months
    once = await exchange.bars(tmp_path / "once", whole, HOUR_US)
    exchange.answers_left = answers
    with pytest.raises(StoreUnavailable, match="it went away"):
        await exchange.bars(tmp_path / "failed", whole, HOUR_US)
    assert len(contents(tmp_path / "failed")) == answers
    exchange.answers_left = 1_000_000
    again = await exchange.bars(tmp_path / "failed", whole, HOUR_US)
    assert contents(tmp_path / "failed") == contents(tmp_path / "once")
    assert (again.asked < once.asked) is (answers > 0)


async def test_a_file_that_was_not_finished_does_not_count(exchange: Exchange, tmp_path: Path) -> None:
    await exchange.bars(tmp_path / "once", span(3, 0))
    (tmp_path / "1m").mkdir()
    unfinished = tmp_path / "1m" / ".2024-05.parquet.tmp"
    unfinished.write_bytes(contents(tmp_path / "once")["1m/2024-05.parquet"][:700])
    found = await exchange.bars(tmp_path, span(3, 0))
    assert (found.asked, found.files) == (180, 1)
    assert not unfinished.exists()


async def test_a_file_of_another_kind_is_left_alone_and_named(exchange: Exchange, tmp_path: Path) -> None:
    (tmp_path / "1m").mkdir()
    strange = tmp_path / "1m" / "2024-05.parquet"
    strange.write_bytes(b"half")
    with pytest.raises(
        UnreadableInput, match=r"2024-05.parquet was not written by a download, or is damaged"
    ):
        await exchange.bars(tmp_path, span(3, 0))
    assert strange.read_bytes() == b"half"


async def test_bars_that_the_venue_does_not_give_are_named(exchange: Exchange, tmp_path: Path) -> None:
    exchange.halt(NOW_US - 12 * HOUR_US, NOW_US - 9 * HOUR_US)  # over the end of April
    exchange.halt(NOW_US - 5 * HOUR_US, NOW_US - 5 * HOUR_US + MINUTE_US)
    found = await exchange.bars(tmp_path, span(20, 0))
    assert found.bars == 20 * 60 - 181
    assert found.gaps == (span(12, 9), TimeSpan(NOW_US - 5 * HOUR_US, NOW_US - 5 * HOUR_US + MINUTE_US))
    await exchange.bars(tmp_path, span(20, 0), HOUR_US)
    said = json.loads((tmp_path / "gaps.json").read_text())
    assert said["1m"] == [
        {"from": "2024-04-30T22:00:00Z", "to": "2024-05-01T01:00:00Z", "bars": 180},
        {"from": "2024-05-01T05:00:00Z", "to": "2024-05-01T05:01:00Z", "bars": 1},
    ]
    assert [each["bars"] for each in said["1h"]] == [3, 1]
    # A later download of another span keeps what is known of this one.
    await exchange.bars(tmp_path, span(1, 0))
    assert json.loads((tmp_path / "gaps.json").read_text())["1m"] == said["1m"]


async def test_time_that_was_never_asked_for_is_no_gap(exchange: Exchange, tmp_path: Path) -> None:
    await exchange.bars(tmp_path, TimeSpan(MAY_US - 80 * DAY_US, MAY_US - 75 * DAY_US), HOUR_US)
    found = await exchange.bars(tmp_path, span(5, 0), HOUR_US)
    assert found.files == 2
    assert json.loads((tmp_path / "gaps.json").read_text()) == {"1h": []}


async def test_a_venue_that_has_no_more_is_not_asked_on(exchange: Exchange, tmp_path: Path) -> None:
    listed_us = MAY_US - 40 * DAY_US
    exchange.halt(0, listed_us)
    whole = TimeSpan(MAY_US - 4_000 * DAY_US, MAY_US)
    found = await exchange.bars(tmp_path, whole, HOUR_US)
    assert found.bars == 40 * 24
    assert found.gaps == (TimeSpan(whole.from_us, listed_us),)
    assert found.files == 2  # of April, and of March, in which it begins
    assert len(exchange.paths) <= 3


async def test_a_bar_that_may_still_come_is_neither_a_gap_nor_done(
    exchange: Exchange, tmp_path: Path
) -> None:
    exchange.halt(NOW_US - 2 * MINUTE_US, NOW_US)
    found = await exchange.bars(tmp_path, span(1, 0))
    assert (found.bars, found.gaps) == (58, ())
    exchange.exchange = GeneratedExchange("binance-usdm", seed=3, start_us=NOW_US)  # it has caught up
    again = await exchange.bars(tmp_path, span(1, 0))
    assert (again.bars, again.asked) == (60, 2)


async def test_a_length_that_the_venue_has_not_is_refused_and_nothing_is_written(
    exchange: Exchange, tmp_path: Path
) -> None:
    with pytest.raises(
        InvalidField, match=r"bar is '7m'; expected a length of binance-usdm's own bars: 1m, 3m"
    ):
        await exchange.bars(tmp_path, span(7, 0), 7 * MINUTE_US)
    assert exchange.paths == []
    assert not contents(tmp_path)


def test_two_downloads_to_one_folder_are_refused(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, Instrument("okx", "A/B"))
    assert folder == tmp_path / "okx" / "A%2FB"
    with (
        only_download(folder),
        pytest.raises(Conflict, match="another download writes to"),
        only_download(folder),
    ):
        pass
    with only_download(folder):
        pass


def test_periods_are_utc_months_or_days(tmp_path: Path) -> None:
    files = PeriodFiles(tmp_path, None)
    year = TimeSpan(MAY_US - 125 * DAY_US, MAY_US + 1)  # from 28 December
    assert [path.stem for path, _ in files.periods(year)] == [
        "2023-12", "2024-01", "2024-02", "2024-03", "2024-04", "2024-05",
    ]  # fmt: skip
    parts = [part for _, part in files.periods(year)]
    assert (parts[0].from_us, parts[-1].to_us) == year
    assert all(one.to_us == other.from_us for one, other in pairwise(parts))


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("binance-usdm", "BTCUSDT"), ("binance-coinm", "BTCUSD_PERP"), ("bybit-linear", "BTCUSDT"),
        ("okx", "BTC-USDT-SWAP"),
    ],
)  # fmt: skip
async def test_funding_rates_are_on_disk_once_each(name: str, symbol: str, tmp_path: Path) -> None:
    exchange = Exchange(name, symbol)
    key = exchange.venue, exchange.instrument
    for first in (24 * 10, 24 * 80):
        found = await download_funding(*key, span(first, 0), tmp_path, exchange, NOW_US)
    assert found.rates == 240
    frame = pd.read_parquet(found.folder)
    assert list(frame.columns) == ["timestamp", "symbol", "funding_rate"]
    assert frame["timestamp"].is_unique
    rates = exchange.exchange.market(symbol).funding(NOW_US - 80 * DAY_US, NOW_US)
    assert frame["funding_rate"].tolist() == [float(rate) for _, rate in rates]
    exchange.paths.clear()
    await download_funding(*key, span(24 * 80, 1), tmp_path, exchange, NOW_US)
    assert exchange.paths == []


async def test_answers_that_fail_are_asked_for_again_as_the_venue_wants_it(
    exchange: Exchange, tmp_path: Path
) -> None:
    faults = ("too_many", "broken", "cut_answer", "unavailable", "cut_answer")
    whole = span(60, 0)
    await exchange.bars(tmp_path / "once", whole)
    for fault in faults:
        exchange.exchange.orders.place(fault)
    observed = FeedMetrics()
    async with ExchangeServer(exchange.exchange) as server:
        rest = RestClient(
            server.hosts.rest, VenueLimits.of(exchange.venue.manners), FastClock(NOW_US, 1000.0), observed, Random(1),
            answer_s=30_000.0,
        )  # fmt: skip
        found = await download_bars(
            exchange.venue, exchange.instrument, MINUTE_US, whole, tmp_path / "faults", rest, NOW_US,
            lambda _done, _whole: None,
        )  # fmt: skip
        await rest.close()
    assert found.bars == 3600
    assert sum(exchange.exchange.orders.done.values()) == observed.rest_errors == len(faults)
    assert observed.rest_limited == 1
    assert contents(tmp_path / "faults") == contents(tmp_path / "once")
