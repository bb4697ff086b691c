"""OKX v5, from the exchange's side: public and business streams, and REST. Shapes as in okx.com/docs-v5."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from raysignal.engine.core.market_events import Channel
from raysignal.loopback.exchanges.market import GeneratedBook, GeneratedCandle, Step
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

_UNITS_US = {"s": 1_000_000, "m": 60_000_000, "H": 3_600_000_000, "D": 86_400_000_000}
_BAR = re.compile(r"(\d+)([smHD])(?:utc)?")
_PUBLIC = {"books": Channel.DEPTH, "trades": Channel.TRADES, "bbo-tbt": Channel.QUOTES}
_CONTRACT = frozenset({"mark-price", "index-tickers", "open-interest", "funding-rate"})
_PATHS = {
    "/ws/v5/public": frozenset(Channel) - {Channel.KLINES},
    "/ws/v5/business": frozenset({Channel.KLINES}),
}


@dataclass(frozen=True, slots=True)
class OkxSpeech:
    """See `loopback.exchanges.speech.VenueProtocol`."""

    connection: str = "loopback"

    def opened(
        self,
        path: str,
        query: Mapping[str, str],  # noqa: ARG002 - all three are for venues whose addresses say the streams
        symbols: frozenset[str],  # noqa: ARG002
    ) -> tuple[SubscribedStream, ...] | None:
        """Streams are asked for by texts."""
        return () if path in _PATHS else None

    def heard(self, path: str, text: str, symbols: frozenset[str]) -> ClientRequest:
        """`ping`, subscribe, unsubscribe."""
        if text == "ping":
            return ClientRequest((b"pong",))
        try:
            message = orjson.loads(text)
            operation, arguments = message["op"], message["args"]
            named = [
                (each["channel"], symbol)
                for each in arguments
                for symbol in (
                    [one for one in symbols if _type_of(one) == each["instType"]]
                    if each["channel"] == "liquidation-orders"
                    else [each["instId"]]
                )
            ]
        except (ValueError, KeyError, TypeError):
            return ClientRequest((self._error(60012, f"Invalid request: {text[:100]}"),))
        replies: list[bytes] = []
        streams: list[SubscribedStream] = []
        for channel, symbol in named:
            stream = _stream(channel, symbol)
            if stream is not None and channel == "index-tickers":  # said of the contract on it
                on_it = next((each for each in sorted(symbols) if each.startswith(f"{symbol}-")), symbol)
                stream = stream._replace(symbol=on_it)
            if stream is None or stream.symbol not in symbols or stream.channel not in _PATHS[path]:
                replies.append(self._error(60018, f"channel:{channel},instId:{symbol} doesn't exist."))
                continue
            argument = _argument(stream)
            replies.append(dumps({"event": operation, "arg": argument, "connId": self.connection}))
            streams.append(stream)
        if operation == "subscribe":
            return ClientRequest(tuple(replies), begun=tuple(streams))
        return ClientRequest(tuple(replies), ended=tuple(streams))

    def _error(self, code: int, message: str) -> bytes:
        return dumps({"event": "error", "code": str(code), "msg": message, "connId": self.connection})

    def begin(self, stream: SubscribedStream, market: ShownMarket) -> Sequence[bytes]:
        """The book's snapshot."""
        if stream.channel is not Channel.DEPTH:
            return ()
        book = market.newest()
        sides = _sides(levels(book.bids, market, best_first=-1), levels(book.asks, market, best_first=1))
        row = {**sides, "ts": _ms(book.exchange_us), "checksum": 0, "prevSeqId": -1, "seqId": book.update_id}
        return [dumps({"arg": _argument(stream), "action": "snapshot", "data": [row]})]

    def step(self, stream: SubscribedStream, step: Step, market: ShownMarket) -> Sequence[bytes]:
        """The stream's messages."""
        argument = _argument(stream)
        if stream.channel is Channel.DEPTH:
            if step.first > step.last:
                return ()
            row = {
                **_sides(levels(step.bids, market), levels(step.asks, market)), "ts": _ms(step.exchange_us),
                "checksum": 0, "prevSeqId": step.previous, "seqId": step.last,
            }  # fmt: skip
            return [dumps({"arg": argument, "action": "update", "data": [row]})]
        if stream.channel is Channel.QUOTES:
            return [dumps({"arg": argument, "data": [_best(step, market)]})] if step.touched else ()
        if stream.channel is Channel.TRADES:
            return [dumps({"arg": argument, "data": [row]}) for row in _trades(step, market)]
        if stream.channel in {Channel.CONTRACT, Channel.LIQUIDATIONS}:
            rows = _contract_rows(stream, step, market) if second_begins(step, market) else []
            return [dumps({"arg": argument, "data": [row]}) for row in rows]
        return [
            dumps({"arg": argument, "data": [_row(candle, market, closed=closed)]})
            for candle, closed in bars_of(stream, step, market)
        ]

    def about(self, raw: bytes) -> MessageSubject | None:
        """By the argument of the subscription."""
        try:
            message = orjson.loads(raw)
            if "data" not in message:
                return None
            channel = message["arg"]["channel"]
            of_type = channel == "liquidation-orders"
            stream = _stream(channel, message["data"][0]["instId"] if of_type else message["arg"]["instId"])
            if stream is not None and channel == "index-tickers":
                stream = stream._replace(symbol=f"{stream.symbol}-SWAP")
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return None
        return stream and MessageSubject(stream.channel, stream.symbol, stream.interval_us)

    def depth_of(self, path: str, query: Mapping[str, str]) -> str | None:
        """`market/books`."""
        return query.get("instId", "") if path == "/api/v5/market/books" else None

    def depth(self, market: ShownMarket, book: GeneratedBook) -> bytes:
        """The book as a REST answer."""
        sides = _sides(levels(book.bids, market, best_first=-1), levels(book.asks, market, best_first=1))
        return _good([{**sides, "ts": _ms(book.exchange_us), "seqId": book.update_id}])

    def answer(
        self, path: str, query: Mapping[str, str], markets: Mapping[str, ShownMarket]
    ) -> RestAnswer | None:
        """Instruments, candles, funding, time."""
        if path == "/api/v5/public/time":
            return RestAnswer(200, _good([{"ts": _ms(max(each.now_us for each in markets.values()))}]))
        symbol = query.get("instId", "")
        if path == "/api/v5/public/instruments":
            return self._instruments(query, markets)
        if path == "/api/v5/public/funding-rate-history" and symbol in markets:
            return _funding(query, markets[symbol])
        if path not in {"/api/v5/market/candles", "/api/v5/market/history-candles"}:
            return None
        interval_us = _interval_us(query.get("bar", "1m"))
        if symbol not in markets or not interval_us:
            return RestAnswer(200, self.refusal(51000, "Parameter bar or instId error"))
        market = markets[symbol]
        end_us = 1000 * number_in(query, "after", market.now_us // 1000 + 1)
        candles = market.candles(interval_us, end_us, min(number_in(query, "limit", 100), 100))
        over_us = market.now_us - interval_us
        rows = [_row(each, market, closed=each.open_us <= over_us) for each in reversed(candles)]
        return RestAnswer(200, _good(rows))

    def _instruments(self, query: Mapping[str, str], markets: Mapping[str, ShownMarket]) -> RestAnswer:
        symbol, kind = query.get("instId", ""), query.get("instType", "")
        asked = [symbol] if symbol else [each for each in markets if _type_of(each) == kind]
        if not all(each in markets for each in asked):
            return RestAnswer(200, self.refusal(51001, "Instrument ID doesn't exist."))
        return RestAnswer(200, _good([_listed(markets[each], kind) for each in asked]))

    def refusal(self, status: int, message: str) -> bytes:
        """`code` and `msg`."""
        code = {429: "50011", 503: "50001"}.get(status, str(status))
        return dumps({"code": code, "msg": message, "data": []})


def _stream(channel: str, symbol: str) -> SubscribedStream | None:
    name = f"{channel} {symbol}"
    if channel in _PUBLIC:
        return SubscribedStream(name, _PUBLIC[channel], symbol)
    if channel in _CONTRACT or channel == "liquidation-orders":
        return SubscribedStream(
            name, Channel.CONTRACT if channel in _CONTRACT else Channel.LIQUIDATIONS, symbol
        )
    interval_us = _interval_us(channel.removeprefix("candle")) if channel.startswith("candle") else 0
    return SubscribedStream(name, Channel.KLINES, symbol, interval_us) if interval_us else None


def _interval_us(name: str) -> int:
    match = _BAR.fullmatch(name)
    return int(match[1]) * _UNITS_US[match[2]] if match else 0


def _argument(stream: SubscribedStream) -> dict[str, str]:
    channel, _, named = stream.name.partition(" ")
    if channel == "liquidation-orders":
        return {"channel": channel, "instType": _type_of(stream.symbol)}
    return {"channel": channel, "instId": named}


def _ms(us: int) -> str:
    return str(us // 1000)


def _good(data: Sequence[object]) -> bytes:
    return dumps({"code": "0", "msg": "", "data": data})


def _sides(bids: list[list[str]], asks: list[list[str]]) -> dict[str, list[list[str]]]:
    """Rows have two more columns: a retired one, and the number of orders."""
    return {"asks": [[*row, "0", "1"] for row in asks], "bids": [[*row, "0", "1"] for row in bids]}


def _best(step: Step, market: ShownMarket) -> dict[str, object]:
    bid, bid_size, ask, ask_size = step.best
    sides = _sides(levels({bid: bid_size}, market), levels({ask: ask_size}, market))
    return {**sides, "ts": _ms(step.exchange_us), "seqId": step.last}


def _contract_rows(stream: SubscribedStream, step: Step, market: ShownMarket) -> list[dict[str, object]]:
    """What a stream about a contract says in a second."""
    state, ts, symbol = market.contract(), _ms(step.exchange_us), stream.symbol
    mark, index = prices_of(market, state.mark, state.index)
    kind = stream.name.partition(" ")[0]
    row: dict[str, object] = {"instId": symbol, "instType": _type_of(symbol), "ts": ts}
    if kind == "mark-price":
        return [row | {"markPx": mark}]
    if kind == "index-tickers":
        return [{"instId": stream.name.partition(" ")[2], "idxPx": index, "ts": ts}]
    if kind == "open-interest":
        return [row | {"oi": size_of(market, state.open_interest)}]
    if kind == "funding-rate":
        next_ms = _ms(state.next_funding_us)
        return [row | {"fundingRate": state.rate, "fundingTime": next_ms, "method": "current_period"}]
    forced = market.liquidation()
    if forced is None:
        return []
    detail = {
        "bkPx": prices_of(market, forced.price)[0], "sz": size_of(market, forced.size), "ts": ts,
        "side": "buy" if forced.side > 0 else "sell", "posSide": "short" if forced.side > 0 else "long",
    }  # fmt: skip
    return [{"instId": symbol, "instType": _type_of(symbol), "details": [detail]}]


def _trades(step: Step, market: ShownMarket) -> list[dict[str, object]]:
    return [
        {
            "instId": market.instrument.symbol, "tradeId": str(each.number),
            "px": prices_of(market, each.price)[0], "sz": size_of(market, each.size),
            "side": "buy" if each.side > 0 else "sell", "ts": _ms(step.exchange_us), "count": "1",
            "seqId": step.last,
        }
        for each in step.trades
    ]  # fmt: skip


def _row(candle: GeneratedCandle, market: ShownMarket, *, closed: bool) -> list[str]:
    prices = prices_of(market, candle.open, candle.high, candle.low, candle.close)
    volume, turnover = size_of(market, candle.volume), turnover_of(market, candle)
    return [_ms(candle.open_us), *prices, volume, volume, turnover, "1" if closed else "0"]


def _funding(query: Mapping[str, str], market: ShownMarket) -> RestAnswer:
    """Newest first, of the last three months."""
    end_us = 1000 * number_in(query, "after", market.now_us // 1000 + 1)
    rates = market.funding(market.now_us - 90 * _UNITS_US["D"], end_us)[-number_in(query, "limit", 100) :]
    rows = [
        {
            "instId": market.instrument.symbol,
            "fundingRate": rate,
            "realizedRate": rate,
            "fundingTime": _ms(us),
        }
        for us, rate in reversed(rates)
    ]
    return RestAnswer(200, _good(rows))


def _type_of(symbol: str) -> str:
    return "SWAP" if symbol.endswith("-SWAP") else "FUTURES" if is_future(symbol) else "SPOT"


def _listed(market: ShownMarket, kind: str) -> dict[str, str]:
    instrument = market.instrument
    family = "" if kind == "SPOT" else "-".join(assets_of(instrument.symbol))
    return {
        "instType": kind, "instId": instrument.symbol, "instFamily": family,
        "tickSz": prices_of(market, market.tick)[0],
        "lotSz": size_of(market, 1), "minSz": size_of(market, 1), "ctVal": str(instrument.contract_size),
        "ctMult": "1", "state": "live", "ctType": "inverse" if instrument.inverse else "linear",
    }  # fmt: skip


OKX = OkxSpeech()
