"""A feed and its exchange without sockets, in virtual time and at full speed: a day in a minute, the same every time.

    exchange → messages → disturbances → conversation (tracker, staleness, back-off) → sink

The conduct is the feed's own (`engine.market.conversation`); only what carries the messages is different. Requests are
answered `answer_us` of virtual time after they were made, messages come `latency_us` after they were sent, and
connections that end are opened again by the feed's own back-off.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

from raysignal.engine.core.market_events import Instrument
from raysignal.engine.market.backoff import Backoff, retry_after_s
from raysignal.engine.market.conversation import ConnectionTimeouts, Conversation, Notes, Sink
from raysignal.engine.market.monitoring.feed_metrics import FeedMetrics
from raysignal.engine.market.venues.protocol import RestRequest, Subscription, Tracker, Venue
from raysignal.loopback.exchanges.disturbance import Disturbance, DisturbancePlan
from raysignal.loopback.exchanges.exchange import ClientConnection, GeneratedExchange
from raysignal.loopback.exchanges.speech import Message

_LOOK_US = 1_000_000
_NEVER = (2**62, Disturbance.DROP)


@dataclass(slots=True)
class _Connection:
    conversation: Conversation
    backoff: Backoff
    client: ClientConnection | None = None
    open_at_us: int = 0
    opened_us: int = 0
    last_us: int = 0  # when the last message came: they never overtake each other
    opened: int = 0


class Unplugged:
    """See the module.

    Args:
        plan: the disturbances; None: none.
        latency_us: how long a message is under way.
        answer_us: how long a request takes.
        notes_of: makes the recording of a connection, by its number; None: nothing is recorded.

    Attributes:
        now_us: the time that is reached; the exchange's and the feed's clocks are the same here.
    """

    def __init__(
        self,
        exchange: GeneratedExchange,
        venue: Venue,
        subscriptions: Sequence[Subscription],
        sink: Sink,
        *,
        seed: int,
        plan: DisturbancePlan | None = None,
        terms: ConnectionTimeouts | None = None,
        latency_us: int = 20_000,
        answer_us: int = 150_000,
        notes_of: Callable[[int], Notes] | None = None,
    ) -> None:
        self.exchange, self.observed, self.now_us = exchange, FeedMetrics(), exchange.now_us
        terms = terms or ConnectionTimeouts()
        self._random, self._latency_us, self._answer_us = Random(seed), latency_us, answer_us  # noqa: S311
        self._connections = [
            _Connection(
                Conversation(
                    venue, opening, sink, terms=terms, observed=self.observed, random=self._random,
                    now_s=self.now_us / 1e6, notes=notes_of(number) if notes_of else None,
                ),
                Backoff(
                    self._random, first_s=terms.first_delay_s, most_s=terms.most_delay_s, lasting_s=terms.lasting_s
                ),
                open_at_us=self.now_us,
            )
            for number, opening in enumerate(venue.openings(subscriptions))
        ]  # fmt: skip
        self._requests: list[tuple[int, int, _Connection, int, Instrument, RestRequest]] = []
        self._made = 0
        self._instants: Iterator[tuple[int, Disturbance]] = (
            plan.instants(self.now_us) if plan else iter([_NEVER])
        )
        self._next = next(self._instants)
        self._look_us = self.now_us

    def tracker(self, instrument: Instrument) -> Tracker:
        """The tracker that keeps the book of an instrument."""
        return next(
            each.conversation.tracker
            for each in self._connections
            if instrument.symbol in each.conversation.symbols
        )

    def counts(self) -> dict[str, int]:
        """What the trackers and the connections counted."""
        total = self.observed.counts()
        for each in self._connections:
            for name, count in each.conversation.tracker.counts.items():
                if name not in {"messages", "events"}:
                    total[name] = total.get(name, 0) + count
        return total

    def run(self, until_us: int) -> None:
        """Let everything happen until then. Can be called again for more."""
        exchange = self.exchange
        while self.now_us < until_us:
            if self._next[0] <= self.now_us:
                exchange.orders.place(self._next[1])
                self._next = next(self._instants)
            self._connect()
            if not exchange.advance(until_us):
                return
            self.now_us = exchange.now_us
            self._answer()
            for each in self._connections:
                self._deliver(each)
            if self.now_us >= self._look_us:
                self._look_us = self.now_us + _LOOK_US
                self._look()

    def quiet(self) -> None:
        """No further disturbances, but those that are ordered already."""
        self._instants = iter([_NEVER])
        self._next = next(self._instants)

    def end(self) -> None:
        """Close every connection, as a feed that stops does."""
        for each in self._connections:
            if each.client is not None:
                self._close(each, None)

    def _connect(self) -> None:
        for each in self._connections:
            if each.client is not None or each.open_at_us > self.now_us:
                continue
            if self.exchange.orders.for_request(Disturbance.REFUSED):
                self.observed.connect_errors += 1
                wait_s = max(float(self.exchange.retry_after_s), each.backoff.failed())
                each.open_at_us = self.now_us + int(1e6 * wait_s)
                continue
            each.client = self.exchange.connect(each.conversation.opening.path)
            assert each.client is not None, "venue and exchange agree on their paths"
            each.opened_us = each.last_us = self.now_us
            self.observed.connects += 1
            self.observed.reconnects += each.opened > 0
            each.opened += 1
            for text in each.conversation.opened(self.now_us / 1e6):
                each.client.hear(text)

    def _deliver(self, each: _Connection) -> None:
        client = each.client
        if client is None:
            return
        outbox = client.take()
        for message in outbox:
            self._receive(each, client, message)
        if client.disturber.cut:
            self._close(each, each.backoff.failed((self.now_us - each.opened_us) / 1e6))

    def _receive(self, each: _Connection, client: ClientConnection, message: Message) -> None:
        each.last_us = max(each.last_us, message.us + self._latency_us)
        each.conversation.received(message.raw, 1000 * each.last_us, each.last_us / 1e6)
        self._follow(each, client)

    def _follow(self, each: _Connection, client: ClientConnection) -> None:
        texts, requests = each.conversation.wants()
        for text in texts:
            client.hear(text)
        for delay, instrument, request in requests:
            self._ask(each, int(1e6 * delay), instrument, request)

    def _ask(self, each: _Connection, delay_us: int, instrument: Instrument, request: RestRequest) -> None:
        self._made += 1
        at_us = self.now_us + delay_us + self._answer_us
        heappush(self._requests, (at_us, self._made, each, each.opened, instrument, request))

    def _answer(self) -> None:
        while self._requests and self._requests[0][0] <= self.now_us:
            _, _, each, opened, instrument, request = heappop(self._requests)
            if each.client is None or each.opened != opened:
                continue
            self.observed.rest_requests += 1
            answer = self.exchange.get(request.path)
            if answer.status == 200:
                now_us = each.last_us = max(each.last_us, self.now_us)
                each.conversation.answered(instrument, answer.body, 1000 * now_us, now_us / 1e6)
                self._follow(each, each.client)
                continue
            self.observed.rest_errors += 1
            self.observed.rest_limited += answer.status == 429
            wait_s = retry_after_s(dict(answer.headers).get("Retry-After")) or 1.0
            self._ask(each, int(1e6 * wait_s), instrument, request)

    def _look(self) -> None:
        for each in self._connections:
            if each.client is None:
                continue
            now_s, conversation = self.now_us / 1e6, each.conversation
            text = conversation.text_due(now_s)
            if text is not None:
                each.client.hear(text)
            if conversation.ping.due(now_s) and not each.client.disturber.mute:
                conversation.ponged(now_s)
            reason = conversation.over(now_s)
            if reason == "renewal":
                self._close(each, 0.0)
            elif reason is not None:
                self._close(each, each.backoff.failed((self.now_us - each.opened_us) / 1e6))

    def _close(self, each: _Connection, wait_s: float | None) -> None:
        assert each.client is not None
        self.exchange.disconnect(each.client)
        each.client = None
        each.open_at_us = self.now_us + int(1e6 * (wait_s or 0.0))
        each.last_us = max(each.last_us, self.now_us)
        each.conversation.closed(1000 * each.last_us, each.last_us / 1e6)


def generate(
    exchange: GeneratedExchange, target: str, texts: Sequence[str], until_us: int
) -> Iterator[Message]:
    """The messages of one undisturbed connection, opened at `target` with `texts` sent."""
    client = exchange.connect(target)
    if client is None:
        raise ValueError(f"{exchange.venue} has no streams at {target}")
    for text in texts:
        client.hear(text)
    yield from client.take()
    while exchange.advance(until_us):
        yield from client.take()
    exchange.disconnect(client)
