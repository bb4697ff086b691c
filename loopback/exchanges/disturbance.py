"""What can go wrong with a feed, on request: ordered once for an exchange, done to whichever message comes next."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.market_events import Channel
from raysignal.loopback.exchanges.speech import Message

_BY = 5  # messages of its stream that overtake a delayed one


class Disturbance(StrEnum):
    """See each."""

    DROP = "drop"  # a message is not sent
    DOUBLE = "double"  # a message is sent twice
    SWAP = "swap"  # a message changes places with the next of its stream
    DELAY = "delay"  # a message comes five messages of its stream later
    MALFORMED = "malformed"  # half a message
    STALL = "stall"  # a stream falls silent, the connection's others go on
    CUT = "cut"  # the connection is reset
    HALF_OPEN = "half_open"  # the connection stays open and says nothing any more, not even to pings
    STALE_SNAPSHOT = "stale_snapshot"  # the answer to a request for a book is an old one
    TOO_MANY = "too_many"  # a request is answered with 429 and Retry-After
    UNAVAILABLE = "unavailable"  # a request is answered with 503
    BROKEN = "broken"  # a request is answered with 500
    CUT_ANSWER = "cut_answer"  # the answer to a request ends in its middle
    REFUSED = "refused"  # a connection is refused with 503


OF_MESSAGES = (
    Disturbance.DROP, Disturbance.DOUBLE, Disturbance.SWAP, Disturbance.DELAY, Disturbance.MALFORMED,
    Disturbance.STALL, Disturbance.CUT, Disturbance.HALF_OPEN,
)  # fmt: skip

OF_A_FEED = tuple(each for each in Disturbance if each not in {Disturbance.BROKEN, Disturbance.CUT_ANSWER})
"""All but what only a client over HTTP meets."""


@dataclass(slots=True)
class _Order:
    what: Disturbance
    channel: Channel
    symbol: str | None
    left: int


class Orders:
    """What is to be done, shared by all connections of an exchange; `done` counts what was."""

    def __init__(self) -> None:
        self._orders: list[_Order] = []
        self.done: Counter[Disturbance] = Counter()

    def place(
        self, what: str, *, channel: str = Channel.DEPTH, symbol: str | None = None, count: int = 1
    ) -> None:
        """Do this to the next `count` messages of a channel (and symbol), requests or connections.

        Raises:
            InvalidField: no such disturbance or channel, or a count below 1.
        """
        if what not in set(Disturbance):
            raise InvalidField("what", what, f"one of {', '.join(Disturbance)}")
        if channel not in set(Channel):
            raise InvalidField("channel", channel, f"one of {', '.join(Channel)}")
        if count < 1:
            raise InvalidField("count", count, "1 or more")
        self._orders.append(_Order(Disturbance(what), Channel(channel), symbol, count))

    def for_message(self, message: Message) -> Disturbance | None:
        """What to do to this message."""
        if not self._orders:
            return None
        for order in self._orders:
            if (
                order.what in OF_MESSAGES
                and order.channel is message.channel
                and order.symbol in {None, message.symbol}
            ):
                return self._take(order)
        return None

    def for_request(self, *whats: Disturbance) -> Disturbance | None:
        """What to do to this request or connection, among these."""
        return next((self._take(order) for order in self._orders if order.what in whats), None)

    def waiting(self) -> int:
        """How many are still to be done."""
        return sum(order.left for order in self._orders)

    def _take(self, order: _Order) -> Disturbance:
        order.left -= 1
        if not order.left:
            self._orders.remove(order)
        self.done[order.what] += 1
        return order.what


class Disturber:
    """One connection's way out.

    Attributes:
        cut: the connection is to be reset; nothing more comes.
        mute: it stays open and says nothing any more.
    """

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._held: list[tuple[int, Message]] = []  # how many of its stream still overtake it
        self._stalled: set[tuple[Channel | None, str]] = set()
        self.cut = self.mute = False

    def pass_on(self, message: Message) -> list[Message]:
        """What is sent when this message is due."""
        stream = (message.channel, message.symbol)
        if self.cut or self.mute or stream in self._stalled:
            return []
        what = self._orders.for_message(message)
        out = self._changed(message, what, stream)
        if not self._held or what in {Disturbance.SWAP, Disturbance.DELAY}:
            return out
        held, self._held = self._held, []
        for left, each in held:
            if (each.channel, each.symbol) != stream:
                self._held.append((left, each))
            elif left > 1:
                self._held.append((left - 1, each))
            else:
                out.append(each)
        return out

    def resume(self, channel: Channel, symbol: str) -> None:
        """A stream was subscribed to anew: it speaks again, and what was held back is gone."""
        self._stalled.discard((channel, symbol))
        self._held = [each for each in self._held if (each[1].channel, each[1].symbol) != (channel, symbol)]

    def _changed(
        self, message: Message, what: Disturbance | None, stream: tuple[Channel | None, str]
    ) -> list[Message]:
        match what:
            case Disturbance.DOUBLE:
                return [message, message]
            case Disturbance.MALFORMED:
                return [message._replace(raw=message.raw[: len(message.raw) // 2])]
            case Disturbance.SWAP:
                self._held.append((1, message))
            case Disturbance.DELAY:
                self._held.append((_BY, message))
            case Disturbance.STALL:
                self._stalled.add(stream)
            case Disturbance.CUT:
                self.cut = True
            case Disturbance.HALF_OPEN:
                self.mute = True
            case Disturbance.DROP:
                pass
            case _:
                return [message]
        return []


@dataclass(frozen=True, slots=True)
class DisturbancePlan:
    """Disturbances at random, the same for the same seed.

    Attributes:
        mean_s: mean time of the exchange between two.
        whats: each of these once a round, in an order drawn anew.
    """

    seed: int
    mean_s: float
    whats: tuple[Disturbance, ...] = OF_A_FEED

    def instants(self, start_us: int) -> Iterator[tuple[int, Disturbance]]:
        """When, and what; without end."""
        random = Random(self.seed)  # noqa: S311 - a simulation
        at, deck = float(start_us), list(self.whats)
        while True:
            random.shuffle(deck)
            for what in deck:
                at += 1e6 * random.expovariate(1 / self.mean_s)
                yield int(at), what


def disturb(messages: Iterable[Message], plan: DisturbancePlan, start_us: int) -> Iterator[Message]:
    """A stream of messages as it comes out of a plan: a pure function, for what needs no answers.

    A cut ends it. Disturbances of requests and connections do nothing here; `Unplugged` has both.
    """
    orders = Orders()
    disturber = Disturber(orders)
    instants = plan.instants(start_us)
    at, what = next(instants)
    for message in messages:
        while at <= message.us:
            if what in OF_MESSAGES:
                orders.place(what)
            at, what = next(instants)
        yield from disturber.pass_on(message)
        if disturber.cut:
            return
