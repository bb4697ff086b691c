"""The stream that the feed's benchmark hands to everybody: a recording, or one that is made up in its shape."""

import gzip
import json
import random
from dataclasses import dataclass
from pathlib import Path

SYMBOL = "BTCUSDT"
GENERATED = 60_000
RATE = 270.0  # messages a second, as BTCUSDT on a busy afternoon
START_NS = 1_723_161_255_000_000_000


@dataclass(frozen=True, slots=True)
class FeedMessages:
    """Binance USD-M messages of one symbol, in the order they came.

    Attributes:
        before: what came before the snapshot's answer.
        snapshot: the REST answer.
        messages: (received in µs, raw) after it; these are timed.
        source: where they are from, as the report says it.
    """

    before: list[tuple[int, bytes]]
    snapshot: bytes
    messages: list[tuple[int, bytes]]
    source: str

    @property
    def seconds(self) -> float:
        """How long it took to come."""
        return (self.messages[-1][0] - self.messages[0][0]) / 1e6


def recorded(path: Path) -> FeedMessages:
    """A gzip file of `<received_ns> <raw json>` lines with one snapshot among them.

    Single trades are spelled as the aggregated ones that peers know (`aggTrade`), for everybody alike.
    """
    before: list[tuple[int, bytes]] = []
    messages: list[tuple[int, bytes]] = []
    snapshot = b""
    with gzip.open(path) as lines:
        for line in lines:
            stamp, _, raw = line.rstrip(b"\n").partition(b" ")
            if raw.startswith(b'{"lastUpdateId"'):
                snapshot = raw
                continue
            if b'@trade"' in raw:
                raw = raw.replace(b'@trade"', b'@aggTrade"').replace(b'"e":"trade"', b'"e":"aggTrade"')
                raw = raw.replace(b'"t":', b'"a":')
            (messages if snapshot else before).append((int(stamp) // 1000, raw))
    if not snapshot or not messages:
        raise ValueError(f"{path} holds no snapshot with messages after it")
    return FeedMessages(before, snapshot, messages, f"recording {path.name}")


def generated() -> FeedMessages:
    """In the shape of the recording: 70 % quotes, 23 % trades, 7 % changes of 60 levels on a deep book."""
    random_ = random.Random(1)
    middle, update = 618_000, 5_123_107_852_948
    bids = {middle - step: random_.randint(1, 9_000) for step in range(1, 3_000)}
    asks = {middle + step: random_.randint(1, 9_000) for step in range(1, 3_000)}
    snapshot = _json(
        {"lastUpdateId": update, "E": START_NS // 10**6, "T": START_NS // 10**6,
         "bids": _levels(sorted(bids.items(), reverse=True)[:1000]), "asks": _levels(sorted(asks.items())[:1000])}
    )  # fmt: skip
    messages = []
    for number in range(GENERATED):
        received_us = START_NS // 1000 + int(number * 1e6 / RATE)
        ms, kind = received_us // 1000, random_.random()
        if kind < 0.7:
            data = {"e": "bookTicker", "u": update, "s": SYMBOL, "b": _price(middle - 1), "B": "2.507",
                    "a": _price(middle + 1), "A": _size(random_.randint(1, 9_000)), "T": ms, "E": ms}  # fmt: skip
            name = "bookTicker"
        elif kind < 0.93:
            size = _size(random_.randint(1, 900))
            data = {"e": "aggTrade", "E": ms, "a": 5_266_583_935 + number, "s": SYMBOL, "p": _price(middle),
                    "q": size, "f": number, "l": number, "T": ms, "m": kind < 0.8}  # fmt: skip
            name = "aggTrade"
        else:
            last, update = update, update + random_.randint(1_000, 9_000)
            sides = {}
            for side, sign in (("b", -1), ("a", 1)):
                steps = sorted({2 + int(random_.expovariate(0.004)) for _ in range(30)})
                sides[side] = [
                    [_price(middle + sign * step), _size(random_.choice((0, random_.randint(1, 9_000))))]
                    for step in steps
                ]
            data = {
                "e": "depthUpdate",
                "E": ms,
                "T": ms,
                "s": SYMBOL,
                "U": last + 69,
                "u": update,
                "pu": last,
                **sides,
            }
            name = "depth@0ms"
        messages.append((received_us, _json({"stream": f"{SYMBOL.lower()}@{name}", "data": data})))
    return FeedMessages([], snapshot, messages, f"{GENERATED} generated messages")


def _json(message: object) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def _price(ticks: int) -> str:
    return f"{ticks // 10}.{ticks % 10}0"


def _size(lots: int) -> str:
    return f"{lots // 1000}.{lots % 1000:03d}"


def _levels(levels: list[tuple[int, int]]) -> list[list[str]]:
    return [[_price(price), _size(size)] for price, size in levels]
