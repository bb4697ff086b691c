"""The index of settled outcomes in Chroma, kept equal to the truth, and never fatal to its owner."""

import fcntl
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np

from raysignal.agents.vectors.child import Child, ChromaFailed, Deadlines
from raysignal.agents.vectors.chroma import Where
from raysignal.agents.vectors.rows import OutcomeRows
from raysignal.engine.core.arrays import Float32Array
from raysignal.engine.core.errors import ChromaUnavailable, StoreUnavailable

FORMAT = 3
RETRY_S = 3
"""Seconds after which it is worth while to ask again what could not be answered."""
_BATCH = 512  # outcomes in one write
_STRETCHES, _STRETCH = 8, 32  # that many are compared with the truth when a collection is taken over
_FOUND = 0.9  # of them, at least, a search must find
_DEADLINES = Deadlines()
_OURS = "raysignal"  # the file that marks a directory of Chroma's as made here
_LITTLE = 64_000_000  # bytes of a disk; with less left what fails is not taken for damage


class VectorIndexState(StrEnum):
    """Whether Chroma can be asked."""

    READY = "ready"
    UNAVAILABLE = "unavailable"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Status:
    """How the index stands."""

    place: str
    state: VectorIndexState
    count: int  # outcomes that it holds, as far as is known
    behind: int  # settled outcomes that it does not hold
    reason: str  # why it is unavailable; empty if it is not
    rebuilt: str  # why it was last built from nothing; empty if it was not


class VectorIndex:
    """One collection, in a directory that nobody else has open or in a `chroma run` server.

    Made by `open`. Each call waits for the one before it; `status` never waits.
    """

    def __init__(
        self, place: str, rows: OutcomeRows, dimensions: int, name: str, store: str, deadlines: Deadlines
    ) -> None:
        self._place, self._rows, self._dimensions, self._store = place, rows, dimensions, store
        self._name, self._deadlines, self._turn = name, deadlines, threading.RLock()
        self._files: Path | None = None
        self._lock: int | None = None
        self._child: Child | None = None
        self._state, self._count = VectorIndexState.UNAVAILABLE, 0
        self._reason, self._rebuilt, self._distrust = "not opened yet", "", ""

    @classmethod
    def open(
        cls, place: str, rows: OutcomeRows, *, dimensions: int, name: str = "outcomes",
        store: str = "", deadlines: Deadlines = _DEADLINES,
    ) -> Self:  # fmt: skip
        """An index that holds the first of `rows`, or one that is unavailable and says why.

        What is there is taken over if it holds the first outcomes without a gap, and a sample of them is as the truth
        has it; anything else is built anew. Damage that the sample does not show costs no more than hits: what a hit
        is, the truth says. A collection of another `store` in a server, and files that were not made here in a
        directory, are left alone. Chroma's failures are not raised.

        The place is a directory, made if need be, or the http:// address of a server; the name one that Chroma takes.

        Raises:
            StoreUnavailable: another process owns the directory, or it cannot be made.
        """
        index = cls(place, rows, dimensions, name, store, deadlines)
        if not place.startswith(("http://", "https://")):
            folder = Path(place).absolute()
            try:
                folder.mkdir(parents=True, exist_ok=True)
                index._lock = _locked(folder / "lock")
            except OSError as error:
                raise StoreUnavailable(f"the vector index cannot be kept in {place}: {error}") from error
            index._files = folder / "chroma"
        index.catch_up(0)
        return index

    def status(self) -> Status:
        """How the index stands; answers at once, whatever Chroma does."""
        behind = max(0, self._rows.count() - self._count)
        return Status(self._place, self._state, self._count, behind, self._reason, self._rebuilt)

    def catch_up(self, most: int | None = None) -> bool:
        """Open it again if it is unavailable, and put in at most so many outcomes (None: all); whether it is ready."""
        with self._turn:
            if self._state is VectorIndexState.CLOSED:
                return False
            try:
                if self._state is VectorIndexState.UNAVAILABLE:
                    self._start()
                settled = self._rows.count()
                upto = settled if most is None else min(settled, self._count + most)
                while self._count < upto:
                    rows = self._rows.read(self._count, min(upto, self._count + _BATCH))
                    self._ask("write", rows.start, rows.vectors, rows.texts, rows.facts)
                    self._count += len(rows.vectors)
            except (ChromaFailed, StoreUnavailable, OSError) as error:
                self._give_up(error)
            return self._state is VectorIndexState.READY

    def rebuild(self, reason: str) -> None:
        """Begin anew with an empty collection, which `catch_up` fills.

        Raises:
            ChromaUnavailable: that could not be done now; it will be once Chroma is there.
        """
        with self._asking():
            try:
                self._open()
                self._create(reason)
            except (ChromaFailed, StoreUnavailable, OSError) as error:
                self._distrust = reason
                self._give_up(error)
                raise self._unavailable() from error

    def nearest(self, vector: Float32Array, k: int, where: Where) -> list[int]:
        """Ordinals of up to k outcomes near a vector that fit a filter; the search is approximate.

        Raises:
            ChromaUnavailable: the index is unavailable, or has just become so.
        """
        return [*chain(*self._question("nearest", vector[None, :], k, where))]

    def containing(self, words: list[str], where: Where) -> list[int]:
        """Ordinals of the outcomes that fit a filter and whose texts hold all words; raises as `nearest` does."""
        return [*self._question("containing", words, where)]

    def close(self) -> None:
        """End in order; nothing if it is closed."""
        with self._turn:
            if self._state is VectorIndexState.READY:
                with suppress(ChromaFailed):
                    self._ask("close")
            self._end_child()
            if self._lock is not None:
                os.close(self._lock)
            self._state, self._lock = VectorIndexState.CLOSED, None

    def _question(self, method: str, *arguments: Any) -> Any:
        with self._asking():
            if self._count == 0:
                return []
            try:
                return self._ask(method, *arguments, seconds=self._deadlines.query_s)
            except ChromaFailed as error:
                self._give_up(error)
                raise self._unavailable() from error

    @contextmanager
    def _asking(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=self._deadlines.query_s):
            raise self._unavailable(f"is busy with outcome {self._count} of {self._rows.count()}")
        try:
            if self._state is not VectorIndexState.READY:
                raise self._unavailable()
            yield
        finally:
            self._turn.release()

    def _unavailable(self, why: str = "") -> ChromaUnavailable:
        why = why or f"is {self._state}: {self._reason}"
        return ChromaUnavailable(
            f"Chroma at {self._place} {why}; it is looked after every {RETRY_S} s, try again then",
            retry_after_s=RETRY_S,
        )

    def _start(self) -> None:
        """A collection that is a beginning of the truth."""
        try:
            flaw = self._take_over()
        except ChromaFailed as error:
            if self._is_disk_full():
                raise
            flaw = str(error)
        if flaw := self._distrust or flaw:  # a second look at what crashed may find nothing
            self._create(flaw)
        self._state, self._reason = VectorIndexState.READY, ""

    def _take_over(self) -> str:
        """Open what is there; what is wrong with it, or nothing."""
        mark, settled = self._open(), self._rows.count()
        if mark is None:
            return "there was none"
        if (mark.get("format"), mark.get("dimensions")) != (FORMAT, self._dimensions):
            return f"it has format {mark.get('format')} and {mark.get('dimensions')} dimensions"
        count: int = self._ask("count")
        if not 0 <= count <= settled:
            return f"it holds {count} outcomes where {settled} are settled" if count > 0 else "it has gaps"
        self._count = count
        starts = np.linspace(0, max(0, count - _STRETCH), _STRETCHES).astype(int).tolist()
        flaws = (self._compare(start, min(start + _STRETCH, count)) for start in sorted({*starts}))
        return next(filter(None, flaws), "")

    def _compare(self, start: int, stop: int) -> str:
        """Some outcomes against the truth, and whether a search finds them; the difference, or nothing."""
        if start == stop:
            return ""
        truth = self._rows.read(start, stop)
        vectors, texts, facts = self._ask("read", start, stop)
        # Floats among the facts come back up to their last digit.
        exact = [
            [{k: v for k, v in row.items() if not isinstance(v, float)} for row in each]
            for each in (facts, truth.facts)
        ]
        if not np.array_equal(vectors, truth.vectors) or texts != truth.texts or exact[0] != exact[1]:
            return f"outcomes {start} to {stop - 1} are not what was settled"
        asked = self._ask("nearest", truth.vectors, 1, None)
        hits = sum(  # of several with one vector any will do
            bool(near) and np.array_equal(self._rows.read(near[0], near[0] + 1).vectors[0], vector)
            for near, vector in zip(asked, truth.vectors, strict=True)
        )
        return "" if hits >= _FOUND * (stop - start) else f"a search found {hits} of {stop - start} vectors"

    def _create(self, reason: str) -> None:
        """An empty collection in the place of the present one."""
        if self._files is not None:
            self._end_child()
            if not self._is_ours(self._files):
                raise self._refusal()
            for each in {*self._files.iterdir()} - {self._files / _OURS}:
                shutil.rmtree(each) if each.is_dir() else each.unlink()
        self._open()
        self._ask("create", {"format": FORMAT, "dimensions": self._dimensions, "store": self._store})
        self._count, self._rebuilt, self._distrust = 0, reason, ""

    def _open(self) -> dict[str, Any] | None:
        """The collection, in a new child; what it was created with."""
        self._end_child()
        ours = self._files is None or self._is_ours(self._files)
        self._child = Child(self._lock)
        self._ask("open", self._place if self._files is None else str(self._files), self._name)
        mark: dict[str, Any] | None = self._ask("mark")
        if self._files is None:
            if mark is not None and mark.get("store") != self._store:
                raise StoreUnavailable(
                    f"{self._name} holds the outcomes of another store: name the agent's portfolio otherwise, or "
                    "delete the collection if that store is gone"
                )
        elif (foreign := self._ask("foreign")) or (mark is None and not ours):
            raise self._refusal(foreign)
        else:
            (self._files / _OURS).touch()  # a version before made it
        return mark

    def _is_ours(self, files: Path) -> bool:
        """Whether Chroma's directory is marked as made here; one that is empty is marked now."""
        files.mkdir(parents=True, exist_ok=True)
        if not any(files.iterdir()):
            (files / _OURS).touch()
        return (files / _OURS).exists()

    def _refusal(self, foreign: Sequence[str] = ()) -> StoreUnavailable:
        held = f"the collections {', '.join(foreign)}" if foreign else "files"
        return StoreUnavailable(
            f"{self._files} holds {held} that nothing marks as made here, and is left as it is: give "
            "RAYSIGNAL_AGENT__CHROMA another directory, or move that one away"
        )

    def _is_disk_full(self) -> bool:
        room = None if self._lock is None else os.fstatvfs(self._lock)
        return room is not None and room.f_bavail * room.f_frsize < _LITTLE

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.end()
        self._child = None

    def _ask(self, method: str, *arguments: Any, seconds: float | None = None) -> Any:
        assert self._child is not None
        return self._child.call(method, self._deadlines.call_s if seconds is None else seconds, *arguments)

    def _give_up(self, error: ChromaFailed | StoreUnavailable | OSError) -> None:
        self._end_child()
        self._state, self._reason = VectorIndexState.UNAVAILABLE, str(error)
        if isinstance(error, ChromaFailed) and error.fields.get("crashed") and not self._is_disk_full():
            self._distrust = self._reason


def _locked(path: Path) -> int:
    """The lock of a directory: one owner at a time, for its life and that of its child."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        remedy = "close that one, or give this one another place"
        raise StoreUnavailable(f"{path} is held by another process: {remedy}") from None
    return lock
