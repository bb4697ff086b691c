"""The journal of model signals: every step of a model, its state after it and the signal made of it, before any answer.

    Versions    which models speak, spoke before, and run in shadow
    Steps       steps of one commit, and how many of all steps the portfolio is known to have been given

It is a `Journal` like that of the portfolios: one writer an epoch, so that a second process takes over exactly where
the first one's answers end. `StepBook` is the state that follows from the records; a snapshot of it bounds the replay.
"""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any, Self

import msgspec

from raysignal.agents.inference.values import ModelSignal, Probabilities, SignalRequest
from raysignal.engine.core.errors import JournalDamaged
from raysignal.engine.journal import snapshots
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.journal.frames import JournalPosition
from raysignal.engine.journal.journal import Journal, JournalStore
from raysignal.engine.journal.snapshots import Snapshot

SNAPSHOT_STEPS = 8_192
KEPT_ANSWERS = 4_096
"""So many of the last signals are answered again from the record; of older ones the portfolio knows the identity."""


class Version(msgspec.Struct, frozen=True, array_like=True):
    """A model that was loaded.

    Attributes:
        digest: of its card, by which its files lie in the store; empty: the placeholder.
        location: where it was loaded from.
        name, version: of its card.
    """

    digest: str = ""
    location: str = ""
    name: str = ""
    version: str = ""


class Versions(msgspec.Struct, frozen=True, array_like=True, tag="versions"):
    """Which models there are.

    Attributes:
        active: speaks; None: nothing has spoken yet.
        before: spoke before it, and speaks again after a roll-back.
        shadow: is stepped beside it.
        configured: what the settings named when they were last followed.
    """

    active: Version | None = None
    before: Version | None = None
    shadow: Version | None = None
    configured: Version | None = None


class ShadowStep(msgspec.Struct, frozen=True, array_like=True):
    """What the model in shadow made of a request; no probabilities: it failed."""

    digest: str
    probabilities: Probabilities | None
    state: bytes | None


class ModelStep(msgspec.Struct, frozen=True, array_like=True):
    """One step: what was asked, and all that followed.

    Attributes:
        request: with its identity.
        digest: of the model; empty: the placeholder.
        probabilities, state: its answer, and its state after it.
        signal: that was made of them.
    """

    request: SignalRequest
    digest: str
    probabilities: Probabilities
    state: bytes | None
    signal: ModelSignal
    shadow: ShadowStep | None = None


class Steps(msgspec.Struct, frozen=True, array_like=True, tag="steps"):
    """Steps of one commit; `submitted` of all steps before had been given to the portfolio."""

    submitted: int
    steps: tuple[ModelStep, ...]


class ShadowDifference(msgspec.Struct, array_like=True):
    """How the model in shadow differs from the one that speaks.

    Attributes:
        steps: that both took.
        differs: of these, where another action was the likeliest.
        total: sum of the largest difference of a probability at each step.
        failed: steps that the one in shadow could not take.
    """

    steps: int = 0
    differs: int = 0
    total: float = 0.0
    failed: int = 0


class SymbolState(msgspec.Struct, frozen=True, array_like=True):
    """The state of a model on a symbol, and the instant of the step that it is after."""

    at_us: int
    state: bytes


class _Dump(msgspec.Struct, array_like=True):
    """A `StepBook` as it lies in a snapshot."""

    versions: Versions
    count: int
    submitted: int
    last_us: dict[str, int]
    states: dict[str, dict[str, SymbolState]]
    recent: list[ModelStep]
    waiting: list[ModelStep]
    shadow: ShadowDifference
    actions: dict[str, int] = {}


class StepBook:
    """What follows from the records so far.

    Attributes:
        versions: see `Versions`.
        count: steps, ever.
        actions: of them, how many signals were BUY, SELL and HOLD.
        submitted: of them, in order, known to have been given to the portfolio.
        waiting: the others, in order.
        last_us: by symbol, the instant of the last step.
        states: by digest of the model and symbol; of models that are named in `versions` alone.
        recent: the last steps by the identity of their signals.
        shadow: since the present model in shadow began beside the present active one.
    """

    def __init__(self) -> None:
        self.versions = Versions()
        self.count = self.submitted = 0
        self.actions: Counter[str] = Counter()
        self.waiting: list[ModelStep] = []
        self.last_us: dict[str, int] = {}
        self.states: dict[str, dict[str, SymbolState]] = {}
        self.recent: OrderedDict[str, ModelStep] = OrderedDict()
        self.shadow = ShadowDifference()

    def state(self, digest: str, request: SignalRequest, gap_us: int) -> bytes | None:
        """The state that a model has for a request; None: an episode begins with it."""
        held = self.states.get(digest, {}).get(request.symbol)
        if held is None or request.episode_start or request.at_us - held.at_us > gap_us:
            return None
        return held.state

    def apply_versions(self, versions: Versions) -> None:
        """Other models; states of those that are named no more are forgotten."""
        before = (self.versions.active, self.versions.shadow)
        self.versions = versions
        named = (versions.active, versions.before, versions.shadow)
        digests = {each.digest for each in named if each is not None}
        self.states = {digest: states for digest, states in self.states.items() if digest in digests}
        if (versions.active, versions.shadow) != before:
            self.shadow = ShadowDifference()

    def apply_step(self, step: ModelStep) -> None:
        """One step more."""
        symbol, at_us = step.request.symbol, step.request.at_us
        self.count += 1
        self.actions[step.signal.action.name] += 1
        self.waiting.append(step)
        self.last_us[symbol] = at_us
        self._remember(step.digest, symbol, at_us, step.state)
        if (shadow := step.shadow) is not None:
            if shadow.probabilities is None:
                self.shadow.failed += 1
            else:
                self._remember(shadow.digest, symbol, at_us, shadow.state)
                self.shadow.steps += 1
                self.shadow.differs += shadow.probabilities.best[0] != step.probabilities.best[0]
                self.shadow.total += _distance(shadow.probabilities, step.probabilities)
        self.recent[step.signal.signal_id] = step
        while len(self.recent) > KEPT_ANSWERS:
            self.recent.popitem(last=False)

    def apply_submitted(self, submitted: int) -> None:
        """So many of all steps have been given to the portfolio."""
        if submitted > self.submitted:
            del self.waiting[: submitted - self.submitted]
            self.submitted = submitted

    def dump(self) -> bytes:
        """All of it."""
        return msgspec.msgpack.encode(
            _Dump(
                self.versions, self.count, self.submitted, self.last_us, self.states, list(self.recent.values()),
                self.waiting, self.shadow, self.actions,
            )
        )  # fmt: skip

    @classmethod
    def load(cls, data: bytes) -> Self:
        """The book that `dump` gave."""
        said, book = msgspec.msgpack.decode(data, type=_Dump), cls()
        book.versions, book.count, book.submitted = said.versions, said.count, said.submitted
        book.last_us, book.states, book.waiting = said.last_us, said.states, said.waiting
        book.recent = OrderedDict((step.signal.signal_id, step) for step in said.recent)
        book.shadow, book.actions = said.shadow, Counter(said.actions)
        return book

    def _remember(self, digest: str, symbol: str, at_us: int, state: bytes | None) -> None:
        if state is not None:
            self.states.setdefault(digest, {})[symbol] = SymbolState(at_us, state)


def _distance(one: Probabilities, other: Probabilities) -> float:
    return max(abs(one.hold - other.hold), abs(one.buy - other.buy), abs(one.sell - other.sell))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Versions | Steps).decode


class StepJournal:
    """The writer of the journal, and the book as of its last record. All methods block.

    Once a write has raised, open it anew.
    """

    def __init__(self, journal: Journal, blobs: BlobStore, prefix: str, snapshot_steps: int) -> None:
        self._journal, self._blobs, self._prefix = journal, blobs, prefix
        self._snapshot_steps, self._since_snapshot = snapshot_steps, 0
        self.book = StepBook()

    @classmethod
    def open(
        cls, store: JournalStore, blobs: BlobStore, prefix: str, *, snapshot_steps: int = SNAPSHOT_STEPS
    ) -> Self:
        """Take the journal over; who wrote to it before is fenced.

        Args:
            store: of the journal.
            blobs: where its snapshots lie.
            prefix: of their names.
            snapshot_steps: after so many steps there is another.

        Raises:
            Fenced, StoreUnavailable, JournalDamaged: see `Journal.open`.
        """
        snapshot = snapshots.latest(blobs, prefix)
        after = None if snapshot is None else snapshot.position
        journal = cls(Journal.open(store, after=after), blobs, prefix, snapshot_steps)
        try:
            journal._rebuild(snapshot, after)
        except BaseException:
            journal.close()
            raise
        return journal

    @property
    def epoch(self) -> int:
        """Of this writer."""
        return self._journal.epoch

    def write_versions(self, versions: Versions) -> None:
        """Put other models on record; they count when it returns."""
        self._write(versions)
        self.book.apply_versions(versions)

    def write_steps(self, steps: Sequence[ModelStep]) -> None:
        """Put steps on record that the book has been told of."""
        self._write(Steps(self.book.submitted, tuple(steps)))
        self._since_snapshot += len(steps)
        if self._since_snapshot >= self._snapshot_steps:
            self._put_snapshot()

    def close(self) -> None:
        """Let go of the journal."""
        self._journal.close()

    def _write(self, record: Versions | Steps) -> None:
        self._journal.write(self._journal.prepare([_encode(record)]))

    def _put_snapshot(self) -> None:
        self._journal.check_current()
        state = {"book": self.book.dump()}
        snapshots.put(
            self._blobs, self._prefix, self._journal.epoch, Snapshot(self._journal.position, (), (state,))
        )
        snapshots.drop_old(self._blobs, self._prefix)
        self._since_snapshot = 0

    def _rebuild(self, snapshot: Snapshot | None, after: JournalPosition | None) -> None:
        if snapshot is not None:
            self.book = StepBook.load(snapshot.portfolios[0]["book"])
        for record in self._journal.replay(after):
            said = _read(record.payload, record.sequence)
            if isinstance(said, Versions):
                self.book.apply_versions(said)
                continue
            self.book.apply_submitted(said.submitted)
            for step in said.steps:
                self.book.apply_step(step)
            self._since_snapshot += len(said.steps)


def _read(payload: Any, sequence: int) -> Versions | Steps:
    try:
        said: Versions | Steps = _decode(payload)
    except msgspec.MsgspecError as error:
        raise JournalDamaged(
            f"record {sequence} of the journal of model signals is unknown to this version: {error}",
            sequence=sequence,
        ) from error
    return said
