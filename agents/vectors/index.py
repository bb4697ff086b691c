"""The index of settled outcomes in Chroma, kept equal to the truth, and never fatal to its owner."""

import threading
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import numpy as np

from raysignal.agents.vectors.child import Child, ChromaFailed, Deadlines
from raysignal.agents.vectors.folder import Folder
from raysignal.agents.vectors.rows import KNOWN_AT, Facts, OutcomeRows, VectorRows, same_facts
from raysignal.engine.core.arrays import Float32Array
from raysignal.engine.core.errors import InvalidField, StoreUnavailable

FORMAT = 1
_BATCH = 2_000  # outcomes in one write or read, at most
_ASKED = 500  # vectors looked for in the index that they are in
_FOUND = 0.9  # of them, at least
_DEADLINES = Deadlines()


class VectorIndexState(StrEnum):
    """Whether Chroma can be asked."""

    READY = "ready"
    UNAVAILABLE = "unavailable"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Status:
    """How the index stands.

    Attributes:
        count: outcomes that it holds, as far as is known.
        behind: settled outcomes that it does not hold.
        reason: why it is unavailable; empty otherwise.
        rebuilt: why it was last built from nothing; empty if it never was by this owner.
    """

    place: str
    state: VectorIndexState
    count: int
    behind: int
    reason: str
    rebuilt: str


@dataclass(frozen=True, slots=True)
class SimilarOutcome:
    """An outcome near a vector: its ordinal, Euclidean distance and facts."""

    ordinal: int
    distance: float
    facts: Facts


class VectorIndex:
    """One collection, in a directory that nobody else has open or in a `chroma run` server.

    Made by `open`. Each call waits for the one before it; `status` never waits.
    """

    def __init__(
        self, place: str, rows: OutcomeRows, dimensions: int, name: str, deadlines: Deadlines
    ) -> None:
        self._place, self._rows, self._dimensions = place, rows, dimensions
        self._name, self._deadlines = name, deadlines
        self._turn = threading.RLock()
        self._folder: Folder | None = None
        self._child: Child | None = None
        self._batch, self._version = _BATCH, ""
        self._state, self._count, self._reason, self._rebuilt = (
            VectorIndexState.UNAVAILABLE,
            0,
            "not opened yet",
            "",
        )
        self._crashed = ""

    @classmethod
    def open(
        cls, place: str, rows: OutcomeRows, *, dimensions: int, name: str = "outcomes",
        deadlines: Deadlines = _DEADLINES, patience_s: float = 10.0,
    ) -> Self:  # fmt: skip
        """An index that holds what `rows` does, or one that is unavailable and says why.

        What is there is taken over if it is a sound beginning of the truth, and topped up. After a clean close
        of a directory the digests of its files show that; in all other cases every outcome is read and compared
        (about 10 s for 100 000). What is absent, damaged, ahead, or of another history, dimension or format is
        built anew (about a minute for 100 000). Chroma's failures are not raised.

        Args:
            place: a directory (made if need be), or the http:// address of a server.
            rows: the truth.
            dimensions: of every vector.
            name: of the collection: 3 or more of a-z, 0-9, _ and -; a server can hold several.
            deadlines: how long Chroma may take before it counts as failed.
            patience_s: how long to wait for the directory while its last owner is ending.

        Raises:
            StoreUnavailable: another process owns the directory, or it cannot be made.
            InvalidField: dimensions below 1.
        """
        if dimensions < 1:
            raise InvalidField("dimensions", dimensions, "1 or more")
        index = cls(place, rows, dimensions, name, deadlines)
        if not place.startswith(("http://", "https://")):
            try:
                index._folder = Folder(Path(place).absolute(), patience_s)
            except OSError as error:
                raise StoreUnavailable(f"the vector index cannot be kept in {place}: {error}") from error
        index.heal()
        return index

    def status(self) -> Status:
        """How the index stands; answers at once, whatever Chroma does."""
        behind = max(0, self._rows.count() - self._count)
        return Status(self._place, self._state, self._count, behind, self._reason, self._rebuilt)

    def count(self) -> int:
        """Outcomes that the index holds, as far as is known."""
        return self._count

    def heal(self) -> bool:
        """Open it again if it is unavailable, top it up if it is behind; whether it is whole now."""
        with self._turn:
            if self._state is VectorIndexState.CLOSED:
                return False
            try:
                if self._state is VectorIndexState.UNAVAILABLE:
                    self._start()
                self._fill()
            except (ChromaFailed, OSError) as error:
                self._give_up(error)
            return self._state is VectorIndexState.READY

    def append(self, rows: VectorRows) -> bool:
        """Take in outcomes that the truth already holds; what is there stays, and a gap before them is filled.

        Returns:
            Whether the index holds them; if it is unavailable it does not, until it is healed.

        Raises:
            InvalidField: vectors of another dimension, or outcomes that the truth does not hold.
        """
        self._check(rows.vectors)
        if rows.stop > self._rows.count():
            raise InvalidField(
                "rows", f"{rows.start} to {rows.stop}", f"at most {self._rows.count()} outcomes"
            )
        with self._turn:
            if self._state is not VectorIndexState.READY:
                return False
            try:
                self._fill(rows.start)
                if rows.stop > self._count:
                    self._write(rows.part(self._count, rows.stop))
            except (ChromaFailed, OSError) as error:
                self._give_up(error)
            return self._count >= rows.stop

    def similar(self, vector: Float32Array, *, as_of_us: int, k: int) -> list[SimilarOutcome]:
        """The nearest outcomes known at an instant, nearest first; at most k.

        Chroma's search is approximate: what it finds is true, but it may miss some.

        Raises:
            StoreUnavailable: the index is unavailable, or has just become so.
            InvalidField: a vector of another dimension, or k below 1.
        """
        if k < 1:
            raise InvalidField("k", k, "1 or more")
        vector = np.asarray(vector, np.float32).reshape(1, -1)
        self._check(vector)
        with self._turn:
            if self._state is not VectorIndexState.READY:
                raise StoreUnavailable(f"the vector index {self._place} is {self._state}: {self._reason}")
            if self._count == 0:
                return []
            try:
                where = {KNOWN_AT: {"$lte": int(as_of_us)}}
                seconds = self._deadlines.query_s
                (found,) = self._ask("nearest", vector, min(k, self._count), where, seconds=seconds)
                _refuse_later(found, as_of_us)
            except ChromaFailed as error:
                self._give_up(error)
                raise
        return [SimilarOutcome(*entry) for entry in found]

    def close(self) -> None:
        """End in order, so that the next opening need not read everything; nothing if it is closed."""
        with self._turn:
            if self._state is VectorIndexState.READY and self._child is not None:
                try:
                    self._child.finish(self._deadlines.call_s)
                    if self._folder is not None:
                        self._folder.seal()
                except (ChromaFailed, OSError) as error:
                    self._give_up(error)
            if self._child is not None:
                self._child.end()
            if self._folder is not None:
                self._folder.close()
            self._state, self._child, self._folder = VectorIndexState.CLOSED, None, None

    def _start(self) -> None:
        """A child, and a collection in it that equals the truth."""
        as_left = None if self._folder is None else self._folder.unseal()
        self._new_child()
        if self._folder is not None and not self._folder.files.exists():
            self._build("there was none")
        elif self._crashed:  # a second look may find nothing: the crash is the evidence
            self._build(self._crashed)
        elif as_left is False:
            self._build("its files are not as they were left")
        else:
            try:
                flaw = self._take_over(compared=as_left is True)
            except ChromaFailed as error:
                flaw = str(error)
                self._new_child()
            if flaw:
                self._build(flaw)

    def _take_over(self, *, compared: bool) -> str:
        """Open what is there and top it up; what is wrong with it, or nothing."""
        self._ask("open", self._target(), self._name)
        mark = self._ask("mark")
        flaw = "there was none" if mark is None else self._flaw(mark, self._ask("count"))
        if flaw:
            return flaw
        self._count = int(mark["count"])
        self._limit()
        self._fill()
        if self._ask("count") != self._count:
            return f"it does not hold the {self._count} outcomes that were put in"
        return "" if compared else self._compare()

    def _flaw(self, mark: dict[str, Any], held: int) -> str:
        """Why a collection is no beginning of the truth, by its mark and its size; or nothing."""
        marked, settled = mark.get("count", 0), self._rows.count()
        if (mark.get("format"), mark.get("dimensions")) != (FORMAT, self._dimensions):
            return f"it has format {mark.get('format')} and {mark.get('dimensions')} dimensions"
        if max(marked, held) > settled:
            return f"it holds {max(marked, held)} outcomes where {settled} are settled"
        if held < marked:
            return f"it holds {held} outcomes and should hold {marked}"
        return "" if mark.get("digest") == self._rows.digest(marked) else "it is of another history"

    def _compare(self) -> str:
        """Every outcome against the truth, and whether a search finds what is there; the difference, or nothing."""
        for start in range(0, self._count, self._batch):
            stop = min(start + self._batch, self._count)
            truth = self._rows.read(start, stop)
            vectors, facts = self._ask("read", start, stop)
            if not np.array_equal(vectors, truth.vectors) or not same_facts(facts, truth.metadata()):
                return f"outcomes {start} to {stop - 1} are not what was settled"
        step = -(-self._count // _ASKED)
        asked = [self._rows.read(at, at + 1).vectors[0] for at in range(0, self._count, step or 1)]
        found = self._ask("nearest", np.stack(asked), 1, None) if asked else []
        hits = sum(bool(near) and near[0][1] < 1e-3 for near in found)
        return "" if hits >= _FOUND * len(asked) else f"a search found {hits} of {len(asked)} vectors"

    def _build(self, reason: str) -> None:
        """A collection from nothing; in a server, in the place of the present one."""
        if self._folder is not None:
            try:
                self._ask("close")
            except ChromaFailed:
                self._new_child()
            self._folder.set_aside()
        self._ask("open", self._target(), self._name)
        self._ask("create")
        self._count, self._rebuilt, self._crashed = 0, reason, ""
        self._limit()
        self._mark()
        self._fill()

    def _fill(self, upto: int | None = None) -> None:
        """Put in what is missing, from the truth."""
        upto = self._rows.count() if upto is None else upto
        while self._count < upto:
            self._write(self._rows.read(self._count, min(upto, self._count + self._batch)))
        self._state, self._reason = VectorIndexState.READY, ""

    def _write(self, rows: VectorRows) -> None:
        """Outcomes first, then the mark: after a crash between the two they are written once more."""
        for start in range(rows.start, rows.stop, self._batch):
            part = rows.part(start, min(start + self._batch, rows.stop))
            self._check(part.vectors)
            self._ask("write", part.start, part.vectors, part.metadata())
            self._count = part.stop
            self._mark()

    def _mark(self) -> None:
        self._ask(
            "set_mark",
            {
                "format": FORMAT,
                "dimensions": self._dimensions,
                "count": self._count,
                "digest": self._rows.digest(self._count),
                "chroma": self._version,
            },
        )

    def _limit(self) -> None:
        self._batch = min(_BATCH, self._ask("limit"))

    def _new_child(self) -> None:
        if self._child is not None:
            self._child.end()
        self._child = Child(None if self._folder is None else self._folder.lock)
        self._version = self._ask("version", seconds=self._deadlines.start_s)

    def _ask(self, method: str, *arguments: Any, seconds: float | None = None) -> Any:
        assert self._child is not None
        return self._child.call(method, self._deadlines.call_s if seconds is None else seconds, *arguments)

    def _target(self) -> str:
        return self._place if self._folder is None else str(self._folder.files)

    def _check(self, vectors: Float32Array) -> None:
        if vectors.shape[1] != self._dimensions:
            raise InvalidField("vector", f"{vectors.shape[1]} dimensions", f"{self._dimensions}")

    def _give_up(self, error: ChromaFailed | OSError) -> None:
        if self._child is not None:
            with suppress(OSError):
                self._child.end()
        self._state, self._reason = VectorIndexState.UNAVAILABLE, str(error)
        if isinstance(error, ChromaFailed) and error.fields.get("crashed"):
            self._crashed = self._reason


def _refuse_later(found: list[tuple[int, float, Facts]], as_of_us: int) -> None:
    for ordinal, _, facts in found:
        known_at = facts.get(KNOWN_AT)
        if not isinstance(known_at, int) or known_at > as_of_us:
            raise ChromaFailed(
                f"Chroma answered with outcome {ordinal}, known at {known_at}, not by {as_of_us}"
            )
