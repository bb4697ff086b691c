"""Binance, from the exchange's side: combined streams and the REST requests of spot, USD-M and COIN-M.

Shapes as in developers.binance.com. USD-M serves books and best prices under `/public`, trades and klines under
`/market`, and what is asked for at the wrong one never comes, as at the venue.
"""

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

_UNITS_US = {"s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
_INTERVAL = re.compile(r"(\d+)([smhd])")
_STREAM = re.compile(
    r"([a-z0-9_]+)@(depth(?:@100ms|@0ms|@500ms)?|trade|aggTrade|bookTicker|markPrice(?:@1s)?|forceOrder|kline_(\w+))"
)
_PUBLIC = frozenset({Channel.DEPTH, Channel.QUOTES})
_MARKET = frozenset(Channel) - _PUBLIC
_SPOT = frozenset(Channel) - {Channel.CONTRACT, Channel.LIQUIDATIONS}
_KINDS = {
    "depth": Channel.DEPTH, "trade": Channel.TRADES, "aggTrade": Channel.TRADES, "bookTicker": Channel.QUOTES,
    "markPrice": Channel.CONTRACT, "forceOrder": Channel.LIQUIDATIONS,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class BinanceSpeech:
    """See `loopback.exchanges.speech.VenueProtocol`; `futures` says `pu` and instants that spot does not say."""

    api: str
    paths: Mapping[str, frozenset[Channel]]
    futures: bool
    coin: bool = False

    def opened(
        self, path: str, query: Mapping[str, str], symbols: frozenset[str]
    ) -> tuple[SubscribedStream, ...] | None:
        """The names in `streams`; unknown ones are silent, as at the venue."""
        if path not in self.paths:
            return None
        return self._streams(path, query.get("streams", "").split("/"), symbols)

    def _streams(
        self, path: str, names: Sequence[str], symbols: frozenset[str]
    ) -> tuple[SubscribedStream, ...]:
        found = [self._stream(name) for name in names]
        return tuple(
            each for each in found if each and each.symbol in symbols and each.channel in self.paths[path]
        )

    def _stream(self, name: str) -> SubscribedStream | None:
        match = _STREAM.fullmatch(name)
        if match is None:
            return None
        symbol, kind, interval = match[1].upper(), match[2].partition("@")[0], match[3]
        if interval is None:
            return SubscribedStream(name, _KINDS[kind], symbol)
        interval_us = _interval_us(interval)
        return SubscribedStream(name, Channel.KLINES, symbol, interval_us) if interval_us else None

    def heard(self, path: str, text: str, symbols: frozenset[str]) -> ClientRequest:
        """SUBSCRIBE and UNSUBSCRIBE."""
        try:
            message = orjson.loads(text)
            method, names, number = message["method"], message.get("params", []), message["id"]
        except (ValueError, KeyError, TypeError):
            error = {"error": {"code": 2, "msg": "Invalid request: unable to parse"}, "id": None}
            return ClientRequest((dumps(error),))
        streams = self._streams(path, names, symbols)
        done = (dumps({"result": None, "id": number}),)
        return (
            ClientRequest(done, begun=streams)
            if method == "SUBSCRIBE"
            else ClientRequest(done, ended=streams)
        )

    def begin(self, stream: SubscribedStream, market: ShownMarket) -> Sequence[bytes]:  # noqa: ARG002
        """Nothing: books come by request."""
        return ()

    def step(self, stream: SubscribedStream, step: Step, market: ShownMarket) -> Sequence[bytes]:
        """The stream's messages, each in its envelope."""
        if stream.channel is Channel.DEPTH:
            events = [self._depth(step, market)] if step.first <= step.last else []
        elif stream.channel is Channel.QUOTES:
            events = [self._quote(step, market)] if step.touched else []
        elif stream.channel is Channel.TRADES:
            events = self._trades(stream, step, market)
        elif stream.channel is Channel.CONTRACT:
            events = [self._mark_price(step, market)] if second_begins(step, market) else []
        elif stream.channel is Channel.LIQUIDATIONS:
            events = self._forced_orders(step, market) if second_begins(step, market) else []
        else:
            events = [self._kline(stream, *each, step, market) for each in bars_of(stream, step, market)]
        return [dumps({"stream": stream.name, "data": event}) for event in events]

    def _depth(self, step: Step, market: ShownMarket) -> dict[str, object]:
        ms = step.exchange_us // 1000
        event: dict[str, object] = {"e": "depthUpdate", "E": ms}
        if self.futures:
            event["T"] = ms
        event |= {"s": market.instrument.symbol, "U": step.first, "u": step.last}
        if self.futures:
            event["pu"] = step.previous
        return event | {"b": levels(step.bids, market), "a": levels(step.asks, market)}

    def _quote(self, step: Step, market: ShownMarket) -> dict[str, object]:
        bid, bid_size, ask, ask_size = step.best
        prices = prices_of(market, bid, ask)
        event: dict[str, object] = {"e": "bookTicker"} if self.futures else {}
        event |= {
            "u": step.last, "s": market.instrument.symbol,
            "b": prices[0], "B": size_of(market, bid_size), "a": prices[1], "A": size_of(market, ask_size),
        }  # fmt: skip
        ms = step.exchange_us // 1000
        return event | {"T": ms, "E": ms} if self.futures else event

    def _trades(self, stream: SubscribedStream, step: Step, market: ShownMarket) -> list[dict[str, object]]:
        ms, symbol = step.exchange_us // 1000, market.instrument.symbol
        single = stream.name.endswith("@trade")
        events = []
        for each in step.trades:
            event: dict[str, object] = {"e": "trade" if single else "aggTrade", "E": ms, "T": ms, "s": symbol}
            event["t" if single else "a"] = each.number
            event |= {"p": prices_of(market, each.price)[0], "q": size_of(market, each.size)}
            if not single:
                event |= {"f": each.number, "l": each.number}
            events.append(event | {"m": each.side < 0})
        return events

    def _mark_price(self, step: Step, market: ShownMarket) -> dict[str, object]:
        state = market.contract()
        mark, index = prices_of(market, state.mark, state.index)
        dated = is_future(market.instrument.symbol)
        return {
            "e": "markPriceUpdate", "E": step.exchange_us // 1000, "s": market.instrument.symbol, "p": mark,
            "i": index, "P": mark, "r": "" if dated else state.rate,
            "T": 0 if dated else state.next_funding_us // 1000,
        }  # fmt: skip

    def _forced_orders(self, step: Step, market: ShownMarket) -> list[dict[str, object]]:
        forced, ms = market.liquidation(), step.exchange_us // 1000
        if forced is None:
            return []
        price, size = prices_of(market, forced.price)[0], size_of(market, forced.size)
        order = {
            "s": market.instrument.symbol, "S": "BUY" if forced.side > 0 else "SELL", "o": "LIMIT", "f": "IOC",
            "q": size, "p": price, "ap": price, "X": "FILLED", "l": size, "z": size, "T": ms,
        }  # fmt: skip
        return [{"e": "forceOrder", "E": ms, "o": order}]

    def _kline(
        self, stream: SubscribedStream, candle: GeneratedCandle, closed: bool, step: Step, market: ShownMarket
    ) -> dict[str, object]:
        first, high, low, last = prices_of(market, candle.open, candle.high, candle.low, candle.close)
        bar = {
            "t": candle.open_us // 1000, "T": (candle.open_us + stream.interval_us) // 1000 - 1,
            "s": market.instrument.symbol, "i": stream.name.rpartition("_")[2], "f": 0, "L": 0, "o": first,
            "c": last, "h": high, "l": low, "v": size_of(market, candle.volume), "n": candle.trades, "x": closed,
            "q": turnover_of(market, candle), "V": "0", "Q": "0", "B": "0",
        }  # fmt: skip
        return {"e": "kline", "E": step.exchange_us // 1000, "s": market.instrument.symbol, "k": bar}

    def about(self, raw: bytes) -> MessageSubject | None:
        """By the stream's name; the same stream at another speed is the same."""
        try:
            stream = self._stream(orjson.loads(raw)["stream"])
        except (ValueError, KeyError, TypeError):
            return None
        return stream and MessageSubject(stream.channel, stream.symbol, stream.interval_us)

    def depth_of(self, path: str, query: Mapping[str, str]) -> str | None:
        """`/depth`."""
        return query.get("symbol", "") if path == f"{self.api}/depth" else None

    def depth(self, market: ShownMarket, book: GeneratedBook) -> bytes:
        """Best first; an instant on futures only."""
        answer: dict[str, object] = {"lastUpdateId": book.update_id}
        if self.futures:
            answer |= {"E": book.exchange_us // 1000, "T": book.exchange_us // 1000}
        bids, asks = levels(book.bids, market, best_first=-1), levels(book.asks, market, best_first=1)
        return dumps(answer | {"bids": bids, "asks": asks})

    def answer(
        self, path: str, query: Mapping[str, str], markets: Mapping[str, ShownMarket]
    ) -> RestAnswer | None:
        """`exchangeInfo`, `klines`, `fundingRate`, `time`."""
        if path == f"{self.api}/time":
            return RestAnswer(
                200, dumps({"serverTime": max(each.now_us for each in markets.values()) // 1000})
            )
        if path == f"{self.api}/exchangeInfo":
            return self._listing(query, markets)
        if path == f"{self.api}/fundingRate" and self.futures:
            return self._funding(query, markets)
        if path != f"{self.api}/klines":
            return None
        market = markets.get(query.get("symbol", ""))
        interval_us = _interval_us(query.get("interval", ""))
        if market is None or not interval_us:
            return RestAnswer(400, self.refusal(-1121, "Invalid symbol or interval."))
        end_us = 1000 * number_in(query, "endTime", market.now_us // 1000) + 1
        candles = market.candles(interval_us, end_us, min(number_in(query, "limit", 500), 1500))
        return RestAnswer(200, dumps([_row(each, interval_us, market) for each in candles]))

    def _funding(self, query: Mapping[str, str], markets: Mapping[str, ShownMarket]) -> RestAnswer:
        """Oldest first, from the beginning of the span."""
        symbol = query.get("symbol", "")
        if symbol not in markets:
            return RestAnswer(400, self.refusal(-1121, "Invalid symbol."))
        span = 1000 * number_in(query, "startTime", 0), 1000 * number_in(query, "endTime", 0) + 1
        rates = markets[symbol].funding(*span)[: number_in(query, "limit", 100)]
        rows = [{"symbol": symbol, "fundingTime": us // 1000, "fundingRate": rate} for us, rate in rates]
        return RestAnswer(200, dumps(rows))

    def _listing(self, query: Mapping[str, str], markets: Mapping[str, ShownMarket]) -> RestAnswer:
        asked = query.get("symbols") or (f'["{query["symbol"]}"]' if "symbol" in query else "")
        names = orjson.loads(asked) if asked else list(markets)
        if not all(name in markets for name in names):
            return RestAnswer(400, self.refusal(-1121, "Invalid symbol."))
        rows = [self._listed(markets[name]) for name in names]
        return RestAnswer(200, dumps({"timezone": "UTC", "symbols": rows}))

    def _listed(self, market: ShownMarket) -> dict[str, object]:
        instrument = market.instrument
        base, quote = assets_of(instrument.symbol)
        row: dict[str, object] = {
            "symbol": instrument.symbol, "baseAsset": base, "quoteAsset": quote,
            "quotePrecision": instrument.price_decimals,
            "pricePrecision": instrument.price_decimals, "quantityPrecision": instrument.size_decimals,
            "filters": [
                {"filterType": "PRICE_FILTER", "tickSize": prices_of(market, market.tick)[0]},
                {"filterType": "LOT_SIZE", "stepSize": size_of(market, 1), "minQty": size_of(market, 1)},
                {"filterType": "MIN_NOTIONAL", "notional" if self.futures else "minNotional": "5"},
            ],
        }  # fmt: skip
        if self.futures:
            row["marginAsset"] = base if self.coin else quote
            row["contractType"] = "CURRENT_QUARTER" if is_future(instrument.symbol) else "PERPETUAL"
        row["contractStatus" if self.coin else "status"] = "TRADING"
        return row | {"contractSize": int(instrument.contract_size)} if self.coin else row

    def refusal(self, status: int, message: str) -> bytes:
        """`code` and `msg`."""
        return dumps({"code": -1003 if status in {418, 429} else status, "msg": message})


def _interval_us(name: str) -> int:
    match = _INTERVAL.fullmatch(name)
    return int(match[1]) * _UNITS_US[match[2]] if match else 0


def _row(candle: GeneratedCandle, interval_us: int, market: ShownMarket) -> list[object]:
    prices = prices_of(market, candle.open, candle.high, candle.low, candle.close)
    return [
        candle.open_us // 1000, *prices, size_of(market, candle.volume),
        (candle.open_us + interval_us) // 1000 - 1, turnover_of(market, candle), candle.trades, "0", "0", "0",
    ]  # fmt: skip


SPOT = BinanceSpeech("/api/v3", {"/stream": _SPOT}, futures=False)
USDM = BinanceSpeech("/fapi/v1", {"/public/stream": _PUBLIC, "/market/stream": _MARKET}, futures=True)
COINM = BinanceSpeech("/dapi/v1", {"/stream": frozenset(Channel)}, futures=True, coin=True)
