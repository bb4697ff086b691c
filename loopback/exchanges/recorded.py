"""An exchange that plays a recording: its own messages in their own time, disturbed like any other.

Books are followed with the venue's own tracker, so that clients that come late, or come again, get a snapshot of what
the recording had come to; before its first snapshot a request is told to come again. Nothing is known but what was
recorded: there are no klines of before, and channels that were not recorded are silent.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from raysignal.engine.core.errors import UnreadableInput
from raysignal.engine.core.market_events import BookChange, BookLost, Channel, Event, Instrument
from raysignal.engine.market.recordings import RecordingPlayer, read_recording
from raysignal.engine.market.venues.catalogue import venue_named
from raysignal.engine.market.venues.protocol import Subscription, Tracker
from raysignal.loopback.exchanges.exchange import ClientConnection, LoopbackExchange
from raysignal.loopback.exchanges.market import GeneratedBook, GeneratedCandle, GeneratedContract
from raysignal.loopback.exchanges.speech import Message, MessageSubject, ShownMarket, SubscribedStream

_FOLLOWED = frozenset({Channel.DEPTH})


class RecordedMarket:
    """What a recording shows of one instrument; see `ShownMarket`."""

    tick, step_us = 1, 1_000_000

    def __init__(self, instrument: Instrument, tracker: Tracker) -> None:
        self.instrument, self._tracker = instrument, tracker
        self.now_us = self.number = 0
        self.change: BookChange | None = None

    @property
    def best(self) -> tuple[int, int, int, int]:
        """Best bid, its size, best ask, its size."""
        book = self._tracker.book(self.instrument)
        return book.best

    def newest(self) -> GeneratedBook:
        """The book as it is."""
        book, sides = self._tracker.book(self.instrument), []
        for side in range(2):
            prices, sizes = book.levels(side)
            sides.append(dict(zip(prices.tolist(), sizes.tolist(), strict=True)))
        update_id = 0 if self.change is None else self.change.update_id
        return GeneratedBook(update_id, self.now_us, self.number, sides[0], sides[1])

    def candle(self, interval_us: int, open_us: int) -> GeneratedCandle:  # noqa: ARG002 - there are none
        """Nothing."""
        return GeneratedCandle(open_us, 0, 0, 0, 0)

    def candles(self, interval_us: int, end_us: int, limit: int) -> list[GeneratedCandle]:  # noqa: ARG002
        """None."""
        return []

    def funding(self, from_us: int, to_us: int) -> list[tuple[int, str]]:  # noqa: ARG002
        """None."""
        return []

    def contract(self) -> GeneratedContract:
        """Nothing: it is in the recording."""
        return GeneratedContract(0, 0, "0", 0, 0)

    def liquidation(self) -> None:
        """None: they are in the recording."""


class RecordedExchange(LoopbackExchange):
    """See the module.

    Args:
        instruments: how the recorded symbols' numbers are written; digits that a price or size has beyond
            them lose its book.

    Raises:
        UnreadableInput: a recording without a line; and, when it is played, what `read_recording` raises.
    """

    def __init__(
        self, venue: str, paths: Iterable[Path], instruments: Sequence[Instrument], *, retry_after_s: int = 1
    ) -> None:
        self._lines = read_recording(paths)
        first = next(self._lines, None)
        if first is None:
            raise UnreadableInput("a recording without a line")
        self._next = first
        self.ended = False
        start_us = first.received_ns // 1000
        names = [each.symbol for each in instruments]
        super().__init__(venue, names, start_us=start_us, retry_after_s=retry_after_s)
        subscriptions = [Subscription(each, _FOLLOWED) for each in instruments]
        tracker = venue_named(venue).tracker(subscriptions)
        self._tracker = tracker
        self._markets = {each.symbol: RecordedMarket(each, tracker) for each in instruments}
        self._player = RecordingPlayer(tracker, subscriptions, self._follow)

    @property
    def waiting(self) -> bool:
        """See `LoopbackExchange`: a recording begins with its first client."""
        return not self.clients

    def shown(self) -> Mapping[str, ShownMarket]:
        """See `LoopbackExchange`."""
        return self._markets

    def begin(self, stream: SubscribedStream) -> Sequence[bytes]:
        """See `LoopbackExchange`: nothing before the recording's own snapshot."""
        market = self._markets[stream.symbol]
        known = stream.channel is Channel.DEPTH and self._tracker.in_sync(market.instrument)
        return self.speech.begin(stream, market) if known else ()

    def book(self, symbol: str, *, old: bool) -> GeneratedBook | None:  # noqa: ARG002 - old ones are not kept
        """See `LoopbackExchange`."""
        market = self._markets[symbol]
        return market.newest() if self._tracker.in_sync(market.instrument) else None

    def advance(self, until_us: int) -> bool:
        """See `LoopbackExchange`: one line."""
        line = self._next
        if self.ended or self.waiting or line.received_ns // 1000 > until_us:
            return False
        self.now_us = max(self.now_us, line.received_ns // 1000)
        about = self.speech.about(line.raw)
        self._player.take(line)
        if about is not None and about.symbol in self._markets:
            market = self._markets[about.symbol]
            market.now_us = self.now_us
            if about.channel is Channel.DEPTH:
                market.number = about.number
            self._relay(Message(line.raw, about.channel, about.symbol, self.now_us), about)
        following = next(self._lines, None)
        if following is None:
            self.ended = True
        else:
            self._next = following
        return True

    def _relay(self, message: Message, about: MessageSubject) -> None:
        for client in self.clients:
            if _wants(client, about):
                client.send(message)

    def _follow(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, BookChange):
                self._markets[event.instrument.symbol].change = event
            elif isinstance(event, BookLost):
                self._markets[event.instrument.symbol].change = None


def _wants(client: ClientConnection, about: MessageSubject) -> bool:
    return any((each.channel, each.symbol, each.interval_us) == about[:3] for each in client.streams.values())
