"""Raw messages kept as they came, and played again through the same code.

A recording is a series of gzip files, one connection a series; a line is `<received_ns> <raw message>`. REST snapshots
stand among the messages where they came. Lines of our own begin with `{"recording":`: the first of a file says of what
it is (`RecordingHeader`), one says that the connection ended, one which symbol the snapshot on the next line is of.
Recordings without such lines are read, too: a line that begins with `{"lastUpdateId":` is then a snapshot of the only
symbol (or of every symbol that waits for one).

Writing is done in a thread, so that a slow disk does not hold up the feed. When more than `most_waiting` bytes wait,
messages are left out of the recording, never out of the feed, and counted; on replay the gap is noticed like any
other. A file whose end is missing, as after a crash, is read up to its last whole line.
"""

import gzip
import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, Self

import orjson

from raysignal.engine.core.errors import InvalidField, NotFound, UnreadableInput
from raysignal.engine.core.market_events import Channel, Instrument
from raysignal.engine.market.conversation import Sink
from raysignal.engine.market.monitoring.feed_metrics import FeedMetrics
from raysignal.engine.market.venues.catalogue import is_inverse
from raysignal.engine.market.venues.protocol import Subscription, Tracker

DISCONNECTED = b'{"recording":"disconnected"}'
_OWN, _OF, _SNAPSHOT, _BINANCE_SNAPSHOT = (
    b'{"recording":',
    b'{"recording":"of"',
    b'{"recording":"snapshot","symbol":',
    b'{"lastUpdateId":',
)
_FLUSH_S = 1.0
_NAME_SECONDS = "%Y%m%dT%H%M%S"


@dataclass(frozen=True, slots=True)
class RecordingHeader:
    """Of what a recording is.

    Attributes:
        venue: its name.
        connection: which of the feed's connections; each has a series of files, and a tracker, of its own.
        subscriptions: what the connection brought.
    """

    venue: str
    connection: int
    subscriptions: tuple[Subscription, ...]

    def line(self) -> bytes:
        """As it stands in a file."""
        return orjson.dumps(
            {
                "recording": "of",
                "venue": self.venue,
                "connection": self.connection,
                "subscriptions": [
                    {
                        "symbol": each.instrument.symbol,
                        "price_decimals": each.instrument.price_decimals,
                        "size_decimals": each.instrument.size_decimals,
                        "contract_size": str(each.instrument.contract_size),
                        "inverse": each.instrument.inverse,
                        "channels": sorted(each.channels),
                        "kline_us": each.kline_us,
                    }
                    for each in self.subscriptions
                ],
            }
        )

    @classmethod
    def read(cls, raw: bytes) -> "RecordingHeader | None":
        """Of such a line; None: it is another one. `UnreadableInput` if it is one that cannot be read."""
        if not raw.startswith(_OF):
            return None
        try:
            said = orjson.loads(raw)
            venue = said["venue"]
            subscriptions = tuple(
                Subscription(
                    Instrument(
                        venue, each["symbol"], each["price_decimals"], each["size_decimals"],
                        Decimal(each["contract_size"]), each.get("inverse", is_inverse(venue, each["symbol"])),
                    ),
                    frozenset(Channel(name) for name in each["channels"]),
                    each["kline_us"],
                )
                for each in said["subscriptions"]
            )  # fmt: skip
            return cls(venue, said["connection"], subscriptions)
        except (ValueError, KeyError, TypeError, ArithmeticError) as error:
            raise UnreadableInput(
                f"a recording's first line does not say of what it is: {error!r}"
            ) from error


class RecordingLine(NamedTuple):
    """One line of a recording."""

    received_ns: int
    raw: bytes


def snapshot_line(symbol: str) -> bytes:
    """The line that says that the next one is a snapshot of this symbol."""
    return _SNAPSHOT + orjson.dumps(symbol) + b"}"


class Recorder:
    """Writes one connection's recording; see `engine.market.conversation.Notes`. A context manager.

    Args:
        folder: where the files go; it is made.
        name: what they begin with, such as `binance-usdm-0`.
        about: of what it is, for the first line of every file; None: it is not said.
        most_bytes, most_s: a file is closed and the next begun when it holds so much, or for so long.
        most_waiting: bytes that may wait to be written.
        observed: counts what had to be left out.

    Raises:
        InvalidField: a name that is no part of a file's name.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        observed: FeedMetrics,
        about: RecordingHeader | None = None,
        most_bytes: int = 256 << 20,
        most_s: float = 3600.0,
        most_waiting: int = 64 << 20,
        level: int = 4,
    ) -> None:
        if not name or name != Path(name).name or name.startswith("."):
            raise InvalidField("name", name, "a part of a file's name")
        folder.mkdir(parents=True, exist_ok=True)
        self.paths: list[Path] = []
        self.failure: OSError | None = None
        self._folder, self._name, self._observed, self._level = folder, name, observed, level
        self._most_bytes, self._most_ns, self._most_waiting = most_bytes, int(most_s * 1e9), most_waiting
        self._about = None if about is None else about.line()
        self._waiting: deque[RecordingLine] = deque()
        self._waiting_bytes = 0
        self._wake, self._ending = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name=f"recorder {name}", daemon=True)
        self._thread.start()

    def message(self, received_ns: int, raw: bytes) -> None:
        """A message of the stream."""
        self._put(received_ns, raw)

    def answer(self, received_ns: int, symbol: str, body: bytes) -> None:
        """A REST snapshot; both of its lines or none."""
        self._put(received_ns, snapshot_line(symbol) + b"\n%d " % received_ns + _one_line(body))

    def disconnected(self, received_ns: int) -> None:
        """The connection ended."""
        self._put(received_ns, DISCONNECTED)

    def close(self) -> None:
        """Write what waits and close the file; raises the OSError that ended the writing, if one did."""
        self._ending = True
        self._wake.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, received_ns: int, raw: bytes) -> None:
        size = len(raw)
        if self._waiting_bytes + size > self._most_waiting or self.failure is not None:
            self._observed.unrecorded += 1
            return
        self._waiting_bytes += size
        self._waiting.append(RecordingLine(received_ns, raw))

    def _run(self) -> None:
        try:
            self._write()
        except OSError as error:
            self.failure = error

    def _write(self) -> None:
        file: gzip.GzipFile | None = None
        size, begun_ns = 0, 0
        try:
            while True:
                # The end is looked at before the queue, so that what was put before it is written.
                ending = self._ending
                while self._waiting:
                    line = self._waiting.popleft()
                    if file is not None and (
                        size >= self._most_bytes or line.received_ns - begun_ns >= self._most_ns
                    ):
                        file.close()
                        file = None
                    if file is None:
                        file, size, begun_ns = self._begin(line.received_ns), 0, line.received_ns
                    raw = line.raw if line.raw.startswith(_SNAPSHOT) else _one_line(line.raw)
                    size += file.write(b"%d %b\n" % (line.received_ns, raw))
                    self._waiting_bytes -= len(line.raw)
                if ending:
                    return
                if file is not None:
                    file.flush()
                self._wake.wait(_FLUSH_S)
        finally:
            if file is not None:
                file.close()

    def _begin(self, received_ns: int) -> gzip.GzipFile:
        stamp = time.strftime(_NAME_SECONDS, time.gmtime(received_ns // 10**9))
        path = self._folder / f"{self._name}-{stamp}-{len(self.paths):04d}-{os.getpid()}.gz"
        self.paths.append(path)
        file = gzip.open(path, "xb", compresslevel=self._level)  # noqa: SIM115 - the writer closes it
        if self._about is not None:
            file.write(b"%d %b\n" % (received_ns, self._about))
        return file


def _one_line(raw: bytes) -> bytes:
    # Outside of texts a line break is as good as a space in JSON, and inside it is not allowed.
    return raw.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in raw or b"\r" in raw else raw


def read_recording(paths: Iterable[Path]) -> Iterator[RecordingLine]:
    """The lines of these files, one after the other; a torn end is left out.

    Raises:
        NotFound: a file is not there.
        UnreadableInput: a file that is no gzip, is damaged, or has a line without an instant; names file and line.
    """
    for path in paths:
        number = 0
        try:
            with gzip.open(path, "rb") as file:
                for text in file:
                    number += 1
                    if not text.endswith(b"\n"):
                        break
                    stamp, _, raw = text[:-1].partition(b" ")
                    if not stamp.isdigit():
                        raise UnreadableInput(f"{path}: line {number} begins with no instant in nanoseconds")
                    yield RecordingLine(int(stamp), raw)
        except FileNotFoundError:
            raise NotFound(f"{path} is not there") from None
        except EOFError:
            continue  # written to until a crash: all whole lines have been read
        except (gzip.BadGzipFile, zlib.error) as error:
            raise UnreadableInput(f"{path}: damaged after line {number}: {error}") from None


class RecordingPlayer:
    """Plays lines into a tracker, as the feed plays messages; `take` returns once the sink has."""

    def __init__(self, tracker: Tracker, subscriptions: Sequence[Subscription], sink: Sink) -> None:
        self._tracker, self._sink = tracker, sink
        self._instruments = {each.instrument.symbol: each.instrument for each in subscriptions}
        self._next_is_of: str | None = None

    def take(self, line: RecordingLine) -> None:
        """One line."""
        received_us, raw = line.received_ns // 1000, line.raw
        if self._next_is_of is not None:
            symbol, self._next_is_of = self._next_is_of, None
            if symbol in self._instruments:
                self._answer([self._instruments[symbol]], raw, received_us)
        elif raw.startswith(_BINANCE_SNAPSHOT):
            self._answer(self._waiting(), raw, received_us)
        elif not raw.startswith(_OWN):
            self._pass_on(self._tracker.receive(raw, received_us))
        elif raw.startswith(_SNAPSHOT):
            self._next_is_of = orjson.loads(raw)["symbol"]
        elif raw.startswith(DISCONNECTED):
            self._pass_on(self._tracker.disconnected(received_us))

    def _waiting(self) -> list[Instrument]:
        """Whom a snapshot may be of that does not say so: the only one, or the only one without a book."""
        out = [each for each in self._instruments.values() if not self._tracker.in_sync(each)]
        return (
            out
            if len(out) == 1
            else list(self._instruments.values())[:1]
            if len(self._instruments) == 1
            else []
        )

    def _answer(self, instruments: Sequence[Instrument], body: bytes, received_us: int) -> None:
        for each in instruments:
            self._pass_on(self._tracker.snapshot(each, body, received_us))

    def _pass_on(self, events: Sequence[object]) -> None:
        self._tracker.wants()  # answered by what follows in the recording, or not at all
        if events:
            self._sink(events)  # type: ignore[arg-type]
