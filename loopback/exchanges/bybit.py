"""Bybit v5, from the exchange's side: public streams and REST of one category. Shapes as in the venue's v5 docs.

`orderbook.N` begins with a snapshot and goes on with deltas whose `u` counts up by one; `orderbook.1` only ever sends
snapshots. `seq` is the market's update id, so that both can be compared.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson

from raysignal.engine.core.market_events import Channel
from raysignal.loopback.exchanges.market import FUNDING_EVERY_US, GeneratedBook, GeneratedCandle, Print, Step
from raysignal.loopback.exchanges.speech import (
    ClientRequest,
    MessageSubject,
    RestAnswer,
    ShownMarket,
    SubscribedStream,
    assets_of,
    bars_of,
    dumps,
    is_future,
    levels,
    number_in,
    prices_of,
    second_begins,
    size_of,
    turnover_of,
)

_TOPIC = re.compile(
    r"(orderbook\.(?:1|50|200|1000)|publicTrade|tickers|allLiquidation|kline\.(\w+))\.([\w-]+)"
)
_FIRST_U = 2  # 1 would say that the service has begun anew
_MINUTE_US, _DAY_US = 60_000_000, 86_400_000_000


@dataclass(frozen=True, slots=True)
class BybitSpeech:
    """See `loopback.exchanges.speech.VenueProtocol`."""

    category: str

    def opened(
        self,
        path: str,
        query: Mapping[str, str],  # noqa: ARG002 - all three are for venues whose addresses say the streams
        symbols: frozenset[str],  # noqa: ARG002
    ) -> tuple[SubscribedStream, ...] | None:
        """Streams are asked for by texts."""
        return () if path == f"/v5/public/{self.category}" else None

    def heard(self, path: str, text: str, symbols: frozenset[str]) -> ClientRequest:  # noqa: ARG002
        """ping, subscribe, unsubscribe; a text with one wrong topic subscribes to nothing."""
        try:
            message = orjson.loads(text)
            operation, topics = message["op"], message.get("args", [])
            streams = [_stream(topic) for topic in topics]
        except (ValueError, KeyError, TypeError, AttributeError):
            return ClientRequest((_reply(False, f"Bad Request: {text[:100]}", "", ""),))
        number = str(message.get("req_id", ""))
        if operation == "ping":
            return ClientRequest((_reply(True, "pong", number, "ping"),))
        good = [each for each in streams if each is not None and each.symbol in symbols]
        if self.category == "spot":
            good = [each for each in good if each.channel not in {Channel.CONTRACT, Channel.LIQUIDATIONS}]
        if len(good) < len(topics) or not topics or operation not in {"subscribe", "unsubscribe"}:
            refusal = f"error:handler not found,topic:{topics}"
            return ClientRequest((_reply(False, refusal, number, str(operation)),))
        done = (_reply(True, "", number, operation),)
        return (
            ClientRequest(done, begun=tuple(good))
            if operation == "subscribe"
            else ClientRequest(done, ended=tuple(good))
        )

    def begin(self, stream: SubscribedStream, market: ShownMarket) -> Sequence[bytes]:
        """A snapshot of the book."""
        book = market.newest()
        if stream.channel is Channel.QUOTES:
            bid, bid_size, ask, ask_size = market.best
            return [_book(stream, "snapshot", book, {bid: bid_size}, {ask: ask_size}, market)]
        if stream.channel is Channel.DEPTH:
            return [_book(stream, "snapshot", book, book.bids, book.asks, market)]
        if stream.channel is Channel.CONTRACT:
            return [_ticker(stream, "snapshot", book.exchange_us // 1000, market)]
        return ()

    def step(self, stream: SubscribedStream, step: Step, market: ShownMarket) -> Sequence[bytes]:
        """The stream's messages."""
        if stream.channel in {Channel.CONTRACT, Channel.LIQUIDATIONS}:
            return _of_contract(stream, step, market)
        if stream.channel is Channel.DEPTH:
            if step.first > step.last:
                return ()
            return [_book(stream, "delta", market.newest(), step.bids, step.asks, market)]
        if stream.channel is Channel.QUOTES:
            bid, bid_size, ask, ask_size = step.best
            best = {bid: bid_size}, {ask: ask_size}
            return [_book(stream, "snapshot", market.newest(), *best, market)] if step.touched else ()
        ms = step.exchange_us // 1000
        if stream.channel is Channel.TRADES:
            rows = _trades(step, market)
            message = {"topic": stream.name, "type": "snapshot", "ts": ms, "data": rows}
            return [dumps(message)] if rows else ()
        return [
            dumps({"topic": stream.name, "data": [_bar(stream, candle, closed, ms, market)], "ts": ms,
                   "type": "snapshot"})
            for candle, closed in bars_of(stream, step, market)
        ]  # fmt: skip

    def about(self, raw: bytes) -> MessageSubject | None:
        """By the topic."""
        try:
            message = orjson.loads(raw)
            stream = _stream(message["topic"])
            if stream is None:
                return None
            number = message["data"]["u"] - _FIRST_U if stream.channel is Channel.DEPTH else 0
        except (ValueError, KeyError, TypeError):
            return None
        return MessageSubject(stream.channel, stream.symbol, stream.interval_us, number)

    def depth_of(self, path: str, query: Mapping[str, str]) -> str | None:
        """`orderbook`, which no feed needs."""
        return query.get("symbol", "") if path == "/v5/market/orderbook" else None

    def depth(self, market: ShownMarket, book: GeneratedBook) -> bytes:
        """The book as a REST answer."""
        bids, asks = levels(book.bids, market, best_first=-1), levels(book.asks, market, best_first=1)
        return self._good(
            {"s": market.instrument.symbol, "b": bids, "a": asks, "ts": book.exchange_us // 1000,
             "u": book.number + _FIRST_U, "seq": book.update_id, "cts": book.exchange_us // 1000}
        )  # fmt: skip

    def answer(
        self, path: str, query: Mapping[str, str], markets: Mapping[str, ShownMarket]
    ) -> RestAnswer | None:
        """Instruments, klines, funding, time."""
        if path == "/v5/market/time":
            us = max(each.now_us for each in markets.values())
            return RestAnswer(
                200, self._good({"timeSecond": str(us // 1_000_000), "timeNano": str(us * 1000)})
            )
        if path not in {"/v5/market/instruments-info", "/v5/market/kline", "/v5/market/funding/history"}:
            return None
        symbol = query.get("symbol", "")
        if query.get("category") != self.category:
            return RestAnswer(200, self.refusal(10001, "Illegal category"))
        if path == "/v5/market/instruments-info":
            return self._instruments(query, markets)
        interval_us = _interval_us(query.get("interval", ""))
        funding = path == "/v5/market/funding/history"
        if symbol not in markets or not (interval_us or funding):
            return RestAnswer(200, self.refusal(10001, "Not supported symbols or interval"))
        market = markets[symbol]
        found = self._funding(query, market) if funding else self._klines(query, interval_us, market)
        return RestAnswer(200, self._good({"category": self.category, "symbol": symbol, "list": found}))

    def _klines(self, query: Mapping[str, str], interval_us: int, market: ShownMarket) -> list[list[str]]:
        """Newest first."""
        end_us = 1000 * number_in(query, "end", market.now_us // 1000) + 1
        candles = market.candles(interval_us, end_us, min(number_in(query, "limit", 200), 1000))
        return [_row(each, market) for each in reversed(candles)]

    def _instruments(self, query: Mapping[str, str], markets: Mapping[str, ShownMarket]) -> RestAnswer:
        symbol = query.get("symbol", "")
        chosen = [symbol] if symbol else list(markets)
        rows = [self._listed(markets[each]) for each in chosen if each in markets]
        begin = number_in(query, "cursor", 0)
        end = begin + number_in(query, "limit", 500)
        cursor = str(end) if end < len(rows) else ""
        found = {"category": self.category, "list": rows[begin:end], "nextPageCursor": cursor}
        return RestAnswer(200, self._good(found))

    def _funding(self, query: Mapping[str, str], market: ShownMarket) -> list[dict[str, str]]:
        """Newest first."""
        span = 1000 * number_in(query, "startTime", 0), 1000 * number_in(query, "endTime", 0) + 1
        rates = market.funding(*span)[-number_in(query, "limit", 200) :]
        return [
            {"symbol": market.instrument.symbol, "fundingRate": rate, "fundingRateTimestamp": str(us // 1000)}
            for us, rate in reversed(rates)
        ]

    def _listed(self, market: ShownMarket) -> dict[str, object]:
        spot, symbol = self.category == "spot", market.instrument.symbol
        step, least_value = ("basePrecision", "minOrderAmt") if spot else ("qtyStep", "minNotionalValue")
        base, quote = assets_of(symbol)
        row: dict[str, object] = {
            "symbol": symbol, "status": "Trading", "baseCoin": base, "quoteCoin": quote,
            "priceFilter": {"tickSize": prices_of(market, market.tick)[0]},
            "lotSizeFilter": {step: size_of(market, 1), "minOrderQty": size_of(market, 1), least_value: "5"},
        }  # fmt: skip
        if not spot:
            row["contractType"] = "LinearFutures" if is_future(symbol) else "LinearPerpetual"
        return row

    def _good(self, result: object) -> bytes:
        return dumps({"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}})

    def refusal(self, status: int, message: str) -> bytes:
        """`retCode` and `retMsg`."""
        code = {429: 10006, 503: 10016}.get(status, status)
        return dumps({"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}})


def _reply(success: bool, message: str, number: str, operation: str) -> bytes:
    return dumps(
        {"success": success, "ret_msg": message, "conn_id": "loopback", "req_id": number, "op": operation}
    )


def _stream(topic: str) -> SubscribedStream | None:
    match = _TOPIC.fullmatch(topic)
    if match is None:
        return None
    kind, interval, symbol = match[1], match[2], match[3]
    if kind == "publicTrade":
        return SubscribedStream(topic, Channel.TRADES, symbol)
    if interval is not None:
        interval_us = _interval_us(interval)
        return SubscribedStream(topic, Channel.KLINES, symbol, interval_us) if interval_us else None
    if kind in {"tickers", "allLiquidation"}:
        channel = Channel.CONTRACT if kind == "tickers" else Channel.LIQUIDATIONS
        return SubscribedStream(topic, channel, symbol)
    return SubscribedStream(topic, Channel.QUOTES if kind == "orderbook.1" else Channel.DEPTH, symbol)


def _interval_us(name: str) -> int:
    return int(name) * _MINUTE_US if name.isdecimal() else _DAY_US if name == "D" else 0


def _book(
    stream: SubscribedStream,
    kind: str,
    book: GeneratedBook,
    bids: Mapping[int, int],
    asks: Mapping[int, int],
    market: ShownMarket,
) -> bytes:
    ms = book.exchange_us // 1000
    data = {
        "s": market.instrument.symbol, "b": levels(bids, market, best_first=-1),
        "a": levels(asks, market, best_first=1), "u": book.number + _FIRST_U, "seq": book.update_id,
    }  # fmt: skip
    return dumps({"topic": stream.name, "type": kind, "ts": ms, "data": data, "cts": ms})


def _of_contract(stream: SubscribedStream, step: Step, market: ShownMarket) -> Sequence[bytes]:
    if not second_begins(step, market):
        return ()
    ms = step.exchange_us // 1000
    if stream.channel is Channel.CONTRACT:
        return [_ticker(stream, "delta", ms, market)]
    forced = market.liquidation()
    return [] if forced is None else [_liquidation(stream, forced, ms, market)]


def _ticker(stream: SubscribedStream, kind: str, ms: int, market: ShownMarket) -> bytes:
    """A snapshot says all, a delta neither rate nor instant, which change with the funding."""
    state = market.contract()
    mark, index = prices_of(market, state.mark, state.index)
    data = {"symbol": stream.symbol, "markPrice": mark, "indexPrice": index}
    data["openInterest"] = size_of(market, state.open_interest)
    funding_ms = state.next_funding_us // 1000
    renewed = ms // 1000 * 1000 == (state.next_funding_us - FUNDING_EVERY_US) // 1000
    if kind == "snapshot" or renewed:
        dated = is_future(stream.symbol)
        data |= {
            "fundingRate": "" if dated else state.rate,
            "nextFundingTime": "" if dated else str(funding_ms),
        }
    return dumps({"topic": stream.name, "type": kind, "ts": ms, "data": data, "cs": ms})


def _liquidation(stream: SubscribedStream, forced: Print, ms: int, market: ShownMarket) -> bytes:
    """`S` is the side of the position."""
    row = {
        "T": ms, "s": stream.symbol, "S": "Sell" if forced.side > 0 else "Buy", "v": size_of(market, forced.size),
        "p": prices_of(market, forced.price)[0],
    }  # fmt: skip
    return dumps({"topic": stream.name, "type": "snapshot", "ts": ms, "data": [row]})


def _trades(step: Step, market: ShownMarket) -> list[dict[str, object]]:
    return [
        {
            "T": step.exchange_us // 1000, "s": market.instrument.symbol,
            "S": "Buy" if each.side > 0 else "Sell", "v": size_of(market, each.size),
            "p": prices_of(market, each.price)[0], "L": "ZeroPlusTick",
            "i": str(UUID(int=each.number)), "BT": False, "seq": step.last,
        }
        for each in step.trades
    ]  # fmt: skip


def _bar(
    stream: SubscribedStream, candle: GeneratedCandle, closed: bool, ms: int, market: ShownMarket
) -> dict[str, object]:
    first, high, low, last = prices_of(market, candle.open, candle.high, candle.low, candle.close)
    return {
        "start": candle.open_us // 1000, "end": (candle.open_us + stream.interval_us) // 1000 - 1,
        "interval": stream.name.split(".")[1], "open": first, "close": last, "high": high, "low": low,
        "volume": size_of(market, candle.volume), "turnover": turnover_of(market, candle), "confirm": closed,
        "timestamp": ms,
    }  # fmt: skip


def _row(candle: GeneratedCandle, market: ShownMarket) -> list[str]:
    prices = prices_of(market, candle.open, candle.high, candle.low, candle.close)
    return [str(candle.open_us // 1000), *prices, size_of(market, candle.volume), turnover_of(market, candle)]


SPOT, LINEAR = BybitSpeech("spot"), BybitSpeech("linear")
