"""An exchange without sockets: markets, what a client has subscribed to, what its requests are answered.

The server and the runner without sockets are both a way to reach one. Whoever has it can order disturbances
(`orders`), and look up the truth (`market(symbol).at(update_id)`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from urllib.parse import parse_qsl

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.market_events import Instrument
from raysignal.loopback.exchanges import binance, bybit, okx
from raysignal.loopback.exchanges.disturbance import Disturbance, Disturber, Orders
from raysignal.loopback.exchanges.market import GeneratedBook, GeneratedMarket, MarketMoves
from raysignal.loopback.exchanges.speech import (
    Message,
    RestAnswer,
    ShownMarket,
    SubscribedStream,
    VenueProtocol,
    dumps,
)

SPEECHES: Mapping[str, VenueProtocol] = {
    "binance": binance.SPOT,
    "binance-usdm": binance.USDM,
    "binance-coinm": binance.COINM,
    "okx": okx.OKX,
    "bybit": bybit.SPOT,
    "bybit-linear": bybit.LINEAR,
}
SYMBOLS: Mapping[str, tuple[str, ...]] = {
    "binance": ("BTCUSDT", "ETHUSDT"),
    "binance-usdm": ("BTCUSDT", "ETHUSDT"),
    "binance-coinm": ("BTCUSD_PERP", "ETHUSD_PERP"),
    "okx": ("BTC-USDT", "ETH-USDT"),
    "bybit": ("BTCUSDT", "ETHUSDT"),
    "bybit-linear": ("BTCUSDT", "ETHUSDT"),
}
"""What each trades unless told otherwise."""

_FAULTS = {Disturbance.TOO_MANY: 429, Disturbance.UNAVAILABLE: 503, Disturbance.BROKEN: 500}


class ClientConnection:
    """One connection, seen from the exchange: `outbox` is what it is sent, in order."""

    def __init__(self, path: str, exchange: "LoopbackExchange", streams: Sequence[SubscribedStream]) -> None:
        self.path, self._exchange = path, exchange
        self.streams: dict[str, SubscribedStream] = {}
        self.disturber = Disturber(exchange.orders)
        self.outbox: list[Message] = []
        self._begin(streams)

    def hear(self, text: str) -> None:
        """What the client sent."""
        if self.disturber.mute or self.disturber.cut:
            return
        heard = self._exchange.speech.heard(self.path, text, self._exchange.symbols)
        self.outbox += [Message(raw, None, "", self._exchange.now_us) for raw in heard.replies]
        for stream in heard.ended:
            self.streams.pop(stream.name, None)
        self._begin(heard.begun)

    def send(self, message: Message) -> None:
        """A message of a stream, through what disturbs it."""
        self.outbox += self.disturber.pass_on(message)

    def take(self) -> list[Message]:
        """What is to be sent now."""
        outbox, self.outbox = self.outbox, []
        return outbox

    def _begin(self, streams: Sequence[SubscribedStream]) -> None:
        exchange = self._exchange
        for stream in streams:
            self.disturber.resume(stream.channel, stream.symbol)
            self.streams[stream.name] = stream
            self.outbox += [
                Message(raw, stream.channel, stream.symbol, exchange.now_us) for raw in exchange.begin(stream)
            ]


class LoopbackExchange(ABC):
    """What both kinds share: clients, and the answers to requests.

    Attributes:
        now_us: the exchange's own time.
        clients: those that are connected.
    """

    def __init__(self, venue: str, symbols: Iterable[str], *, start_us: int, retry_after_s: int) -> None:
        if venue not in SPEECHES:
            raise InvalidField("venue", venue, f"one of {', '.join(sorted(SPEECHES))}")
        self.venue, self.speech, self.orders = venue, SPEECHES[venue], Orders()
        self.symbols = frozenset(symbols)
        self.now_us, self.retry_after_s = start_us, retry_after_s
        self.clients: list[ClientConnection] = []

    @abstractmethod
    def advance(self, until_us: int) -> bool:
        """Let what is due by then happen, one step at most; whether anything did."""

    @property
    def waiting(self) -> bool:
        """Whether time stands still, since there is nobody to hear it."""
        return False

    @abstractmethod
    def shown(self) -> Mapping[str, ShownMarket]:
        """The markets by their symbols."""

    @abstractmethod
    def begin(self, stream: SubscribedStream) -> Sequence[bytes]:
        """What a stream says first."""

    @abstractmethod
    def book(self, symbol: str, *, old: bool) -> GeneratedBook | None:
        """The book that a request is answered with, a long past one if `old`; None: there is none now."""

    @property
    def instruments(self) -> list[Instrument]:
        """What is traded."""
        return [each.instrument for each in self.shown().values()]

    def connect(self, target: str) -> ClientConnection | None:
        """A client's connection to a path with query; None: there are no streams there."""
        path, _, query = target.partition("?")
        streams = self.speech.opened(path, dict(parse_qsl(query)), self.symbols)
        if streams is None:
            return None
        client = ClientConnection(path, self, streams)
        self.clients.append(client)
        return client

    def disconnect(self, client: ClientConnection) -> None:
        """The client is gone."""
        self.clients.remove(client)

    def get(self, target: str) -> RestAnswer:
        """The answer to a GET of a path with query."""
        fault = self.orders.for_request(*_FAULTS, Disturbance.CUT_ANSWER)
        if fault is not None and fault in _FAULTS:
            return self._busy(_FAULTS[fault])
        answer = self._answer(target)
        return answer if fault is None else answer._replace(cut=True)

    def _answer(self, target: str) -> RestAnswer:
        path, _, text = target.partition("?")
        query = dict(parse_qsl(text))
        symbol = self.speech.depth_of(path, query)
        if symbol is None:
            found = self.speech.answer(path, query, self.shown())
            return found or RestAnswer(404, dumps({"code": 404, "msg": f"{path} is not found"}))
        if symbol not in self.symbols:
            return RestAnswer(400, self.speech.refusal(-1121, "Invalid symbol."))
        old = self.orders.for_request(Disturbance.STALE_SNAPSHOT) is not None
        book = self.book(symbol, old=old)
        if book is None:
            return self._busy(503)
        return RestAnswer(200, self.speech.depth(self.shown()[symbol], book))

    def _busy(self, status: int) -> RestAnswer:
        refusal = self.speech.refusal(status, "Too many requests." if status == 429 else "Busy.")
        asked = () if status == 500 else (("Retry-After", str(self.retry_after_s)),)
        return RestAnswer(status, refusal, asked)


class GeneratedExchange(LoopbackExchange):
    """An exchange whose markets are made up.

    Args:
        symbols: what it trades; None: those of `SYMBOLS`.
        instruments: the same, with how numbers are written; None: as `made_up` says.
        retry_after_s: what 429 and 503 ask for.
        market: how they move; each symbol's price is a twentieth of that before it, and every fifth begins anew.
    """

    def __init__(
        self,
        venue: str,
        *,
        seed: int,
        start_us: int,
        symbols: Sequence[str] | None = None,
        instruments: Sequence[Instrument] | None = None,
        retry_after_s: int = 2,
        market: MarketMoves | None = None,
    ) -> None:
        market = market or MarketMoves()
        traded = instruments or [made_up(venue, each) for each in symbols or SYMBOLS.get(venue, ())]
        names = [each.symbol for each in traded]
        super().__init__(venue, names, start_us=start_us, retry_after_s=retry_after_s)
        self._markets = {
            each.symbol: GeneratedMarket(
                each,
                seed=seed,
                start_us=start_us,
                options=replace(market, price=market.price / 20.0 ** (number % 4)),
            )
            for number, each in enumerate(traded)
        }
        self._step_us = market.step_us

    def market(self, symbol: str) -> GeneratedMarket:
        """The market of a symbol, which knows the truth."""
        return self._markets[symbol]

    def shown(self) -> Mapping[str, ShownMarket]:
        """See `LoopbackExchange`."""
        return self._markets

    def begin(self, stream: SubscribedStream) -> Sequence[bytes]:
        """See `LoopbackExchange`."""
        return self.speech.begin(stream, self._markets[stream.symbol])

    def book(self, symbol: str, *, old: bool) -> GeneratedBook | None:
        """See `LoopbackExchange`."""
        return self._markets[symbol].oldest() if old else self._markets[symbol].newest()

    def advance(self, until_us: int) -> bool:
        """See `LoopbackExchange`: one step of every market."""
        if self.now_us + self._step_us > until_us:
            return False
        self.now_us += self._step_us
        for symbol, market in self._markets.items():
            step = market.step()
            for client in self.clients:
                for stream in [each for each in client.streams.values() if each.symbol == symbol]:
                    for raw in self.speech.step(stream, step, market):
                        client.send(Message(raw, stream.channel, symbol, step.exchange_us))
        return True


def made_up(venue: str, symbol: str) -> Instrument:
    """How a symbol is written here: two decimals of price, and sizes as such venues have them."""
    if venue == "binance-coinm":
        return Instrument(venue, symbol, 1, 0, Decimal(100), inverse=True)
    if venue == "okx" and symbol.endswith("-USD-SWAP"):
        return Instrument(venue, symbol, 1, 0, Decimal(100), inverse=True)
    if venue == "okx" and symbol.endswith("SWAP"):
        return Instrument(venue, symbol, 1, 2, Decimal("0.01"))
    return Instrument(venue, symbol, 2, 5 if venue == "binance" else 3)
