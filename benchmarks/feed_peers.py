"""cryptofeed's and ccxt.pro's own handling of raw messages, driven without a network.

Both are set up as their users would for one USD-M symbol with books, best prices and trades; their snapshot is the
recording's own. They get their messages as text, as their sockets hand them over.
"""

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from benchmarks.feed_input import SYMBOL, FeedMessages

Handler = Callable[[str], None]
Best = tuple[Decimal, Decimal]


class Cryptofeed:
    """`BinanceFutures.message_handler`, with callbacks that do nothing."""

    name = "cryptofeed"

    def __init__(self, stream: FeedMessages) -> None:
        from cryptofeed.defines import L2_BOOK, TICKER, TRADES  # noqa: PLC0415 - a peer, see `measure`
        from cryptofeed.exchanges import BinanceFutures  # noqa: PLC0415
        from cryptofeed.symbols import Symbols  # noqa: PLC0415

        Symbols.set(
            BinanceFutures.id, {"BTC-USDT-PERP": SYMBOL}, {"instrument_type": {"BTC-USDT-PERP": "perpetual"}}
        )

        async def seen(_event: object, _received: float) -> None:
            self.events += 1

        self.events = 0
        self.feed = BinanceFutures(
            symbols=["BTC-USDT-PERP"], channels=[L2_BOOK, TICKER, TRADES],
            callbacks={L2_BOOK: seen, TICKER: seen, TRADES: seen},
        )  # fmt: skip
        self.feed.http_conn = _Answer(stream.snapshot)

    def run(self, texts: Sequence[str], clock: Callable[[], float] | None = None) -> list[float]:
        """Every message in turn; how long each took, with a clock."""

        async def every() -> list[float]:
            handle, times = self.feed.message_handler, []
            if clock is None:
                for text in texts:
                    await handle(text, None, 0.0)
                return []
            for text in texts:
                begin = clock()
                await handle(text, None, 0.0)
                times.append(clock() - begin)
            return times

        return asyncio.run(every())

    def best(self) -> Best:
        """Best bid and ask of its book."""
        book = self.feed._l2_book["BTC-USDT-PERP"].book  # noqa: SLF001 - it has no other way in
        return book.bids.index(0)[0], book.asks.index(0)[0]

    def close(self) -> None:
        """It holds nothing open."""


class _Answer:
    """An HTTP connection that has one answer."""

    def __init__(self, body: bytes) -> None:
        self.body = body.decode()

    async def read(self, _address: str) -> str:
        return self.body


class Ccxt:
    """ccxt.pro's `binanceusdm` behind its own WebSocket client's message handling."""

    name = "ccxt.pro"
    symbol = "BTC/USDT:USDT"

    def __init__(self, stream: FeedMessages) -> None:
        import ccxt.pro as ccxt  # noqa: PLC0415 - a peer, see `measure`

        self.exchange = ccxt.binanceusdm({"newUpdates": True})
        market = {
            "id": SYMBOL, "lowercaseId": SYMBOL.lower(), "symbol": self.symbol, "base": "BTC", "quote": "USDT",
            "settle": "USDT", "baseId": "BTC", "quoteId": "USDT", "settleId": "USDT", "type": "swap", "spot": False,
            "swap": True, "future": False, "option": False, "contract": True, "linear": True, "inverse": False,
            "subType": "linear", "margin": False, "active": True, "precision": {"price": 0.1, "amount": 0.001},
            "limits": {}, "info": {}, "contractSize": 1.0,
        }  # fmt: skip
        self.exchange.set_markets([market])
        self.snapshot = stream.snapshot.decode()
        self.loop = asyncio.new_event_loop()
        self.client = self.loop.run_until_complete(self._begin())

    async def _begin(self) -> Any:
        import orjson  # noqa: PLC0415 - beside the peer

        self.exchange.asyncio_loop = self.loop
        client = self.exchange.client("wss://fstream.binance.com/public/ws")
        book = self.exchange.parse_order_book(orjson.loads(self.snapshot), self.symbol)
        book["nonce"] = orjson.loads(self.snapshot)["lastUpdateId"]
        self.exchange.orderbooks[self.symbol] = self.exchange.order_book({}, 1000)
        self.exchange.orderbooks[self.symbol].reset(book)
        return client

    def run(self, texts: Sequence[str], clock: Callable[[], float] | None = None) -> list[float]:
        """As `Cryptofeed.run`."""

        async def every() -> list[float]:
            handle, times = self.client.handle_text_or_binary_message, []
            if clock is None:
                for text in texts:
                    handle(text)
                return []
            for text in texts:
                begin = clock()
                handle(text)
                times.append(clock() - begin)
            return times

        return self.loop.run_until_complete(every())

    def best(self) -> Best:
        """Best bid and ask of its book."""
        book = self.exchange.orderbooks[self.symbol].limit()
        return Decimal(str(book["bids"][0][0])), Decimal(str(book["asks"][0][0]))

    def close(self) -> None:
        """Let go of the client's sessions."""
        self.loop.run_until_complete(self.exchange.close())
        self.loop.close()
