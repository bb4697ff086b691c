"""Recordings played into what follows a live feed, in the order in which their messages came.

    series = series_of(paths, told)
    player = Together(series, sink_of)
    for line in player.lines():
        player.take(line)

Each connection has a series of files, and a tracker, of its own, as it had in the feed.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from raysignal.engine.core.errors import InvalidField, NotFound, UnreadableInput
from raysignal.engine.core.market_events import Channel, Instrument
from raysignal.engine.market.conversation import Sink
from raysignal.engine.market.recordings import RecordingHeader, RecordingLine, RecordingPlayer, read_recording
from raysignal.engine.market.venues.catalogue import venue_named
from raysignal.engine.market.venues.protocol import Subscription, Tracker
from raysignal.engine.market.venues.tracker import COUNTS

_ENDINGS = (".gz",)


@dataclass(frozen=True, slots=True)
class Series:
    """One connection's files, the oldest first."""

    about: RecordingHeader
    paths: tuple[Path, ...]


class DueLine(NamedTuple):
    """A line, and the place of its series; sorts by when it came."""

    received_ns: int
    place: int
    line: RecordingLine


def series_of(places: Sequence[Path], told: Subscription | None = None) -> list[Series]:
    """The series that these files, or the folders that hold them, make up.

    Args:
        places: files, and folders of which every `*.gz` is taken.
        told: of what recordings are that do not say so themselves.

    Raises:
        NotFound: a place that is not there, or a folder without a recording.
        UnreadableInput: a file that holds no line, or cannot be read.
        InvalidField: a recording that does not say of what it is, and nobody did.
    """
    found: dict[RecordingHeader, list[tuple[int, Path]]] = {}
    for path in _files(places):
        first = next(iter(read_recording([path])), None)
        if first is None:
            raise UnreadableInput(f"{path}: a recording without a line")
        about = _about(path, first, told)
        found.setdefault(about, []).append((first.received_ns, path))
    series = [Series(about, tuple(path for _, path in sorted(paths))) for about, paths in found.items()]
    return sorted(series, key=lambda each: (each.about.venue, each.about.connection, each.paths))


class MergedReplay:
    """Plays series side by side; see the module.

    Args:
        sink_of: who takes the events of a venue, by its name.

    Attributes:
        instruments: what they are of.
        now_us: when the last line came.
        taken: lines so far.
    """

    def __init__(self, series: Sequence[Series], sink_of: Callable[[str], Sink]) -> None:
        self.now_us = self.taken = 0
        self._series = series
        self._trackers = [venue_named(each.about.venue).tracker(each.about.subscriptions) for each in series]
        self._players = [
            RecordingPlayer(tracker, each.about.subscriptions, sink_of(each.about.venue))
            for tracker, each in zip(self._trackers, series, strict=True)
        ]
        self.instruments = list(
            dict.fromkeys(one.instrument for each in series for one in each.about.subscriptions)
        )

    def lines(self) -> Iterator[DueLine]:
        """All of them as they came; raises as `read_recording`."""
        return heapq.merge(*(_dues(place, each.paths) for place, each in enumerate(self._series)))

    def take(self, due: DueLine) -> None:
        """Play one."""
        self.now_us = due.received_ns // 1000
        self.taken += 1
        self._players[due.place].take(due.line)

    def tracker(self, instrument: Instrument) -> Tracker:
        """Who keeps its book; KeyError if no recording has it."""
        for tracker, each in zip(self._trackers, self._series, strict=True):
            for one in each.about.subscriptions:
                if one.instrument == instrument and Channel.DEPTH in one.channels:
                    return tracker
        raise KeyError(instrument.symbol)

    def counts(self) -> Mapping[str, int]:
        """What the trackers count, of all series; see `Tracker.counts`."""
        total: Counter[str] = Counter(dict.fromkeys((*COUNTS, "messages"), 0))
        for tracker in self._trackers:
            total.update({name: tracker.counts[name] for name in (*COUNTS, "messages")})
        return dict(total)


def _dues(place: int, paths: Sequence[Path]) -> Iterator[DueLine]:
    for line in read_recording(paths):
        yield DueLine(line.received_ns, place, line)


def _files(places: Sequence[Path]) -> Iterator[Path]:
    for place in places:
        if not place.is_dir():
            yield place
            continue
        inside = sorted(path for path in place.iterdir() if path.suffix in _ENDINGS)
        if not inside:
            raise NotFound(f"{place} holds no recording; expected files that end in .gz")
        yield from inside


def _about(path: Path, first: RecordingLine, told: Subscription | None) -> RecordingHeader:
    try:
        said = RecordingHeader.read(first.raw)
    except UnreadableInput as error:
        raise UnreadableInput(f"{path}: {error}") from error
    if said is not None:
        venue_named(said.venue)
        if told is not None and told.instrument.symbol not in {
            one.instrument.symbol for one in said.subscriptions
        }:
            symbols = ", ".join(one.instrument.symbol for one in said.subscriptions)
            asked = f"{told.instrument.venue}:{told.instrument.symbol}"
            raise InvalidField("instrument", asked, f"{said.venue}:{symbols}, as {path} says")
        return said
    if told is None:
        raise InvalidField(
            "instrument",
            "not given",
            f"the venue and symbol of {path}, which does not say them: --instrument venue:symbol",
        )
    return RecordingHeader(told.instrument.venue, 0, (told,))
