"""Stages whose every answer shows all that they were given before, for tests of the bus."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import msgspec

from raysignal.engine.core.events import Alarm, StrategySignal
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.pipeline.bus import Bus, BusEvent, identity_of
from raysignal.engine.pipeline.durable_stage import DurableStage, PureStage, StageLimits, read_records

_MODULUS = 2**61 - 1


def signal(number: int) -> StrategySignal:
    """The signals of the tests, by number from 0."""
    return StrategySignal(
        at_us=1_700_000_000_000_000 + number,
        symbol="BTC",
        strategy="sma",
        side=number % 3 - 1,
        price=100.0 + number,
    )


def signals(first: int, last: int) -> list[StrategySignal]:
    """From `first` to before `last`."""
    return [signal(number) for number in range(first, last)]


class Chain:
    """A stage that says how many events it was given, and a digest of all of them in their order."""

    def __init__(self, name: str) -> None:
        self.name, self.count, self.digest = name, 0, 7

    def on(self, event: BusEvent) -> Sequence[Alarm]:
        self.count += 1
        for sign in identity_of(event).encode():
            self.digest = (self.digest * 257 + sign) % _MODULUS
        return [
            Alarm(at_us=self.count, symbol="", code=f"{self.name}-{self.count}", message=str(self.digest))
        ]

    def dump(self) -> bytes:
        return msgspec.json.encode([self.count, self.digest])

    def load(self, state: bytes) -> None:
        self.count, self.digest = msgspec.json.decode(state)


class OnlyAnswers:
    """A stage without a state that could be written down."""

    def __init__(self, stage: PureStage) -> None:
        self.on = stage.on


def open_chain(
    bus: Bus,
    folder: Path,
    name: str,
    source: str,
    target: str | None,
    *,
    accept_loss: bool = False,
    limits: StageLimits | None = None,
) -> DurableStage:
    """A `Chain` that reads one stream and speaks to another; its journal is in `folder`, under its name."""
    route: Callable[[BusEvent], str | None] = lambda _: target  # noqa: E731
    return DurableStage.open(
        Chain(name), bus, streams=[source], group=name, consumer="only", route=route,
        stores=open_stores(folder.as_uri()), cache_dir=folder / "cache",
        accept_loss=accept_loss, limits=limits or StageLimits(),
    )  # fmt: skip


def drain(stage: DurableStage) -> None:
    """Until nothing more comes."""
    while stage.step(wait_s=0.0):
        pass


def said(folder: Path, name: str) -> list[BusEvent]:
    """All that a stage has ever said, by its journal."""
    records = read_records(open_stores(folder.as_uri()), name)
    return [word.event for record in records for word in record.said]


def undisturbed(names: Sequence[str], events: Sequence[BusEvent]) -> dict[str, list[BusEvent]]:
    """What stages say that are given every event once, each to what the one before it said."""
    answers: dict[str, list[BusEvent]] = {}
    for name in names:
        chain = Chain(name)
        answers[name] = [word for event in events for word in chain.on(event)]
        events = answers[name]
    return answers


def fresh_names(kind: str) -> Iterator[str]:
    """Names that were not used before."""
    return (f"{kind}-{number}" for number in count(1))
