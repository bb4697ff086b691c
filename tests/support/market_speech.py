"""A generated market, and how each venue would say it: what the contract suite and the perturbations speak.

A venue's `VenueProtocol` writes the messages of that venue; a new one joins by a class and a line in `SPEECHES`.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from raysignal.engine.core.market_events import Channel, Instrument
from raysignal.engine.market.venues.catalogue import VENUES
from raysignal.engine.market.venues.protocol import Subscription, Tracker, Venue

Levels = dict[int, int]
START_MS = 1_700_000_000_000


@dataclass(frozen=True)
class Step:
    """A change of the market: its message, and the book and id after it."""

    raw: bytes
    bids: Levels
    asks: Levels
    update_id: int
    ids: dict[str, int]
    changed: bool = True


@dataclass
class Speech:
    """How one venue says things about one instrument."""

    name: ClassVar[str]
    symbol: ClassVar[str] = "BTCUSDT"
    by_request: ClassVar[bool] = True  # snapshots are asked for; else the stream brings them
    price_decimals: ClassVar[int] = 2
    size_decimals: ClassVar[int] = 3
    ids: dict[str, int] = field(default_factory=dict)

    @property
    def venue(self) -> Venue:
        return VENUES[self.name]

    @property
    def instrument(self) -> Instrument:
        return Instrument(self.name, self.symbol, self.price_decimals, self.size_decimals)

    def tracker(self, *channels: Channel) -> Tracker:
        wanted = frozenset(channels or Channel)
        return self.venue.tracker([Subscription(self.instrument, wanted)])

    def price(self, ticks: int) -> str:
        return _decimal(ticks, self.price_decimals)

    def size(self, lots: int) -> str:
        return _decimal(lots, self.size_decimals)

    def levels(self, levels: Levels) -> list[list[str]]:
        return [[self.price(price), self.size(size)] for price, size in levels.items()]

    def step(self, random_: random.Random, *, empty: bool) -> None:
        """The ids of the next change (`empty`: of a heartbeat), into `ids`."""
        raise NotImplementedError

    def change(self, bids: Levels, asks: Levels, ms: int) -> bytes:
        raise NotImplementedError

    def snapshot(self, step: Step) -> list[bytes]:
        """By request: the body alone. By the stream: what comes after a fresh subscription."""
        raise NotImplementedError

    def update_id(self) -> int:
        return self.ids["u"]

    def quote(self, bid: int, bid_size: int, ask: int, ask_size: int, update_id: int, ms: int) -> bytes:
        raise NotImplementedError

    def trade(self, trade_id: str, price: int, size: int, side: int, ms: int) -> bytes:
        raise NotImplementedError

    def kline(self, open_ms: int, prices: tuple[int, int, int, int], volume: int, *, closed: bool) -> bytes:
        raise NotImplementedError

    acknowledgement: ClassVar[bytes]
    refusal: ClassVar[bytes]


def _decimal(number: int, decimals: int) -> str:
    digits = str(number).rjust(decimals + 1, "0")
    return f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits


def _json(message: Any) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


class _Binance(Speech):
    acknowledgement = b'{"result":null,"id":1}'
    refusal = b'{"error":{"code":2,"msg":"Invalid request: unknown stream"},"id":1}'
    depth_stream = "btcusdt@depth@100ms"
    trade_kind = "trade"

    def stream(self, kind: str, data: dict[str, Any]) -> bytes:
        return _json({"stream": f"{self.symbol.lower()}@{kind}", "data": data})

    def snapshot(self, step: Step) -> list[bytes]:
        return [
            _json(
                {
                    "lastUpdateId": step.ids["u"],
                    "bids": self.levels(step.bids),
                    "asks": self.levels(step.asks),
                }
            )
        ]

    def quote(self, bid: int, bid_size: int, ask: int, ask_size: int, update_id: int, ms: int) -> bytes:
        data: dict[str, Any] = {
            "u": update_id, "s": self.symbol, "b": self.price(bid), "B": self.size(bid_size),
            "a": self.price(ask), "A": self.size(ask_size),
        }  # fmt: skip
        if self.name != "binance":
            data = {"e": "bookTicker", **data, "T": ms, "E": ms}
        return self.stream("bookTicker", data)

    def trade(self, trade_id: str, price: int, size: int, side: int, ms: int) -> bytes:
        mark = "t" if self.trade_kind == "trade" else "a"
        data = {
            "e": self.trade_kind, "E": ms + 1, "s": self.symbol, mark: int(trade_id), "p": self.price(price),
            "q": self.size(size), "T": ms, "m": side < 0,
        }  # fmt: skip
        return self.stream(self.trade_kind, data)

    def kline(self, open_ms: int, prices: tuple[int, int, int, int], volume: int, *, closed: bool) -> bytes:
        first, high, low, last = (self.price(price) for price in prices)
        bar = {
            "t": open_ms, "T": open_ms + 59_999, "s": self.symbol, "i": "1m", "f": 1, "L": 9, "o": first,
            "c": last, "h": high, "l": low, "v": self.size(volume), "n": 9, "x": closed, "q": "1", "B": "0",
        }  # fmt: skip
        return self.stream("kline_1m", {"e": "kline", "E": open_ms + 5, "s": self.symbol, "k": bar})


class BinanceSpot(_Binance):
    name = "binance"

    def step(self, random_: random.Random, *, empty: bool) -> None:  # noqa: ARG002
        last = self.ids.get("u", 1000)
        self.ids = {"U": last + 1, "u": last + random_.randint(1, 9)}

    def change(self, bids: Levels, asks: Levels, ms: int) -> bytes:
        data = {
            "e": "depthUpdate", "E": ms, "s": self.symbol, **self.ids, "b": self.levels(bids),
            "a": self.levels(asks),
        }  # fmt: skip
        return self.stream("depth@100ms", data)


class BinanceUsdm(_Binance):
    name = "binance-usdm"
    trade_kind = "aggTrade"

    def step(self, random_: random.Random, *, empty: bool) -> None:  # noqa: ARG002
        last = self.ids.get("u", 1000)
        first = last + random_.randint(1, 50)
        self.ids = {"U": first, "u": first + random_.randint(0, 9), "pu": last}

    def change(self, bids: Levels, asks: Levels, ms: int) -> bytes:
        data = {
            "e": "depthUpdate", "E": ms, "T": ms - 1, "s": self.symbol, **self.ids, "b": self.levels(bids),
            "a": self.levels(asks),
        }  # fmt: skip
        return self.stream("depth@100ms", data)


class BinanceCoinm(BinanceUsdm):
    name = "binance-coinm"
    symbol = "BTCUSD_PERP"
    price_decimals = 1
    size_decimals = 0


class Okx(Speech):
    name = "okx"
    symbol = "BTC-USDT-SWAP"
    by_request = False
    acknowledgement = (
        b'{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT-SWAP"},"connId":"a4d3ae55"}'
    )
    refusal = b'{"event":"error","code":"60018","msg":"Wrong URL or channel","connId":"a4d3ae55"}'

    def step(self, random_: random.Random, *, empty: bool) -> None:
        last = self.ids.get("seqId", 1_000_000)
        if empty:
            self.ids = {"prevSeqId": last, "seqId": last}
        elif random_.random() < 0.03:  # after maintenance
            self.ids = {"prevSeqId": last, "seqId": last - 100_000}
        else:
            self.ids = {"prevSeqId": last, "seqId": last + random_.randint(1, 90)}

    def levels(self, levels: Levels) -> Any:
        return [[self.price(price), self.size(size), "0", "3"] for price, size in levels.items()]

    def update_id(self) -> int:
        return self.ids["seqId"]

    def said(self, channel: str, data: Any, **more: str) -> bytes:
        return _json({"arg": {"channel": channel, "instId": self.symbol}, **more, "data": [data]})

    def _book(self, bids: Levels, asks: Levels, ms: int) -> dict[str, Any]:
        return {"asks": self.levels(asks), "bids": self.levels(bids), "ts": str(ms), "checksum": 0}

    def change(self, bids: Levels, asks: Levels, ms: int) -> bytes:
        return self.said("books", {**self._book(bids, asks, ms), **self.ids}, action="update")

    def snapshot(self, step: Step) -> list[bytes]:
        book = {**self._book(step.bids, step.asks, START_MS), "prevSeqId": -1, "seqId": step.ids["seqId"]}
        return [self.acknowledgement, self.said("books", book, action="snapshot")]

    def requested(self, step: Step) -> bytes:
        book = {**self._book(step.bids, step.asks, START_MS), "seqId": step.ids["seqId"]}
        return _json({"code": "0", "msg": "", "data": [book]})

    def quote(self, bid: int, bid_size: int, ask: int, ask_size: int, update_id: int, ms: int) -> bytes:
        book = {**self._book({bid: bid_size}, {ask: ask_size}, ms), "seqId": update_id}
        del book["checksum"]
        return self.said("bbo-tbt", book)

    def trade(self, trade_id: str, price: int, size: int, side: int, ms: int) -> bytes:
        data = {
            "instId": self.symbol, "tradeId": trade_id, "px": self.price(price), "sz": self.size(size),
            "side": "buy" if side > 0 else "sell", "ts": str(ms), "count": "2",
        }  # fmt: skip
        return self.said("trades", data)

    def kline(self, open_ms: int, prices: tuple[int, int, int, int], volume: int, *, closed: bool) -> bytes:
        row = [str(open_ms), *map(self.price, prices), self.size(volume), "1", "2", "1" if closed else "0"]
        return self.said("candle1m", row)


class Bybit(Speech):
    name = "bybit"
    by_request = False
    acknowledgement = (
        b'{"success":true,"ret_msg":"subscribe","conn_id":"2324d924","req_id":"","op":"subscribe"}'
    )
    refusal = b'{"success":false,"ret_msg":"error:handler not found","conn_id":"2324d924","req_id":"","op":"subscribe"}'

    def step(self, random_: random.Random, *, empty: bool) -> None:  # noqa: ARG002
        self.ids = {
            "u": self.ids.get("u", 500) + 1,
            "seq": self.ids.get("seq", 7_000_000) + random_.randint(1, 40),
        }

    def update_id(self) -> int:
        return self.ids["seq"]

    def said(self, topic: str, kind: str, data: Any, ms: int) -> bytes:
        message = {"topic": f"{topic}.{self.symbol}", "type": kind, "ts": ms, "data": data, "cts": ms - 2}
        return _json(message)

    def _book(self, bids: Levels, asks: Levels, ids: dict[str, int]) -> dict[str, Any]:
        return {"s": self.symbol, "b": self.levels(bids), "a": self.levels(asks), **ids}

    def change(self, bids: Levels, asks: Levels, ms: int) -> bytes:
        return self.said("orderbook.200", "delta", self._book(bids, asks, self.ids), ms)

    def snapshot(self, step: Step) -> list[bytes]:
        book = self._book(step.bids, step.asks, step.ids)
        return [self.acknowledgement, self.said("orderbook.200", "snapshot", book, START_MS)]

    def quote(self, bid: int, bid_size: int, ask: int, ask_size: int, update_id: int, ms: int) -> bytes:
        book = self._book({bid: bid_size}, {ask: ask_size}, {"u": 77, "seq": update_id})
        return self.said("orderbook.1", "snapshot", book, ms)

    def trade(self, trade_id: str, price: int, size: int, side: int, ms: int) -> bytes:
        data = {
            "T": ms, "s": self.symbol, "S": "Buy" if side > 0 else "Sell", "v": self.size(size),
            "p": self.price(price), "L": "PlusTick", "i": trade_id, "BT": False, "seq": 5,
        }  # fmt: skip
        return self.said("publicTrade", "snapshot", [data], ms + 1)

    def kline(self, open_ms: int, prices: tuple[int, int, int, int], volume: int, *, closed: bool) -> bytes:
        names = ("open", "high", "low", "close")
        row = {
            "start": open_ms, "end": open_ms + 59_999, "interval": "1",
            **dict(zip(names, map(self.price, prices), strict=True)), "volume": self.size(volume),
            "turnover": "1", "confirm": closed, "timestamp": open_ms + 5,
        }  # fmt: skip
        return self.said("kline.1", "snapshot", [row], open_ms + 5)


class BybitLinear(Bybit):
    name = "bybit-linear"


SPEECHES: dict[str, type[Speech]] = {
    speech.name: speech for speech in (BinanceSpot, BinanceUsdm, BinanceCoinm, Okx, Bybit, BybitLinear)
}


CLOSES = {
    "binance": b'{"e":"serverShutdown","E":1770123456789}',
    "binance-usdm": b'{"event":{"e":"serverShutdown","E":1770123456789}}',
    "binance-coinm": b'{"stream":"!connection","data":{"e":"serverShutdown","E":1770123456789}}',
    "okx": b'{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. '
    b'Please reconnect.","connId":"a4d3ae55"}',
}
"""How venues announce that they will end a connection."""


def market(speech: Speech, seed: int, steps: int) -> Iterator[Step]:
    """A random market, never crossed; the first step is the book that the market begins with."""
    random_ = random.Random(seed)
    middle = 100_000
    bids = {middle - random_.randint(1, 60): random_.randint(1, 9_000) for _ in range(12)}
    asks = {middle + random_.randint(1, 60): random_.randint(1, 9_000) for _ in range(12)}
    more_bids, more_asks = dict(bids), dict(asks)
    for number in range(steps):
        speech.step(random_, empty=not more_bids and not more_asks)
        ms = START_MS + 100 * number
        raw = speech.change(more_bids, more_asks, ms)
        changed = bool(more_bids or more_asks)
        yield Step(raw, dict(bids), dict(asks), speech.update_id(), dict(speech.ids), changed)
        middle += random_.randint(-8, 8)
        more_bids, more_asks = {}, {}
        if number % 11 == 5 and isinstance(speech, Okx):
            continue  # a heartbeat
        for side, changes, sign in ((bids, more_bids, -1), (asks, more_asks, 1)):
            for price in [price for price in side if sign * (price - middle) <= 0]:
                changes[price] = 0
            for _ in range(random_.randint(1, 4)):
                changes[middle + sign * random_.randint(1, 60)] = random_.choice((0, 1, 500, 9_000))
            changes[middle + sign * random_.randint(1, 60)] = random_.randint(1, 9_000)
            for price, size in changes.items():
                if size:
                    side[price] = size
                else:
                    side.pop(price, None)
