"""The agent's own journal: settled outcomes, the resets of its breaker, and the vectors of texts.

    ["terms", {...}]                         what the outcomes behind it depend on
    ["outcomes", number, columns]            outcomes from that number on, in the order in which they became known
    ["reset", ordinal, at_us]                the breaker is closed from that row on
    ["texts", model, rows, keys, vectors]    what a model made of texts, which serves from those rows on

It is a `Journal` like that of the portfolios: one writer an epoch, so that an actor which was cut off can neither
decide on nor record. Outcomes follow from the signals and could be computed again; resets and vectors could not.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec
import numpy as np

from raysignal.agents.llm.embeddings import DIMENSIONS
from raysignal.agents.override.outcomes import Outcomes
from raysignal.agents.override.text_embeddings import KEY_BYTES, TextVector
from raysignal.engine.core.errors import JournalDamaged
from raysignal.engine.journal.journal import Journal, JournalStore

_COLUMNS = (
    ("ordinal", "<i8", 1), ("decided_at_us", "<i8", 1), ("known_at_us", "<i8", 1), ("gross_bps", "<f8", 3),
    ("net_bps", "<f8", 3), ("right", "|b1", 1),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BreakerReset:
    """The breaker was closed.

    Attributes:
        ordinal: the first row for which it is.
        at_us: when somebody did it, by the clock.
    """

    ordinal: int
    at_us: int


class OutcomeLog:
    """The writer of one agent's journal. All methods block.

    Attributes:
        count: outcomes on record under the present terms.
        resets: so far, oldest first.
        origin: the digest of what the journal begins with, in hex: no two journals have the same.
        texts: the vectors that `embeddings` made so far, in the order of their rows.
        embeddings: the model whose vectors are put on record; empty: none.
    """

    def __init__(self, journal: Journal, embeddings: str = "") -> None:
        self._journal = journal
        self.origin = ""
        self.embeddings = embeddings
        self.count = 0
        self.resets: list[BreakerReset] = []
        self.texts: list[TextVector] = []

    @classmethod
    def open(cls, store: JournalStore, terms: Mapping[str, Any], embeddings: str = "") -> Self:
        """Take the journal over. Under other terms than those on record, outcomes begin anew.

        Raises:
            Fenced, StoreUnavailable, JournalDamaged: see `Journal.open`.
        """
        log = cls(Journal.open(store), embeddings)
        known: Any = None
        for record in log._journal.replay():
            log.origin = log.origin or record.previous.hex()
            kind, *rest = _read(record.payload)
            if kind == "terms":
                known, log.count = rest[0], 0
            elif kind == "outcomes":
                log.count = rest[0] + rest[1]
            elif kind == "reset":
                log.resets.append(BreakerReset(*rest))
            elif rest[0] == embeddings:
                log.texts += _texts(*rest[1:])
        log.texts.sort(key=lambda text: text.row)  # after a kill, rows may have been begun again
        log.origin = log.origin or log._journal.position.digest.hex()
        plain = msgspec.to_builtins(dict(terms))
        if known != plain:
            log._write(["terms", plain])
            log.count = 0
        return log

    def append(self, outcomes: Outcomes) -> None:
        """Put the next outcomes on record."""
        columns = [np.asarray(getattr(outcomes, name), kind).tobytes() for name, kind, _ in _COLUMNS]
        self._write(["outcomes", self.count, len(outcomes), columns])
        self.count += len(outcomes)

    def reset(self, ordinal: int, at_us: int) -> None:
        """Put on record that the breaker is closed from a row on."""
        self._write(["reset", ordinal, at_us])
        self.resets.append(BreakerReset(ordinal, at_us))

    def append_texts(self, texts: Sequence[TextVector]) -> None:
        """Put vectors on record."""
        self._write([
            "texts", self.embeddings, [text.row for text in texts], b"".join(text.key for text in texts),
            b"".join(text.vector.astype("<f4").tobytes() for text in texts),
        ])  # fmt: skip

    def close(self) -> None:
        """Let go of the journal."""
        self._journal.close()

    def _write(self, record: Sequence[Any]) -> None:
        self._journal.write(self._journal.prepare([msgspec.msgpack.encode(record)]))


def recorded(store: JournalStore) -> list[dict[str, Any]]:
    """The outcomes on record under the latest terms, as arrays by column, a part a record; takes nothing over."""
    parts: list[dict[str, Any]] = []
    for record in Journal.read(store):
        kind, *rest = _read(record.payload)
        if kind == "terms":
            parts.clear()
        elif kind == "outcomes":
            values = zip(_COLUMNS, rest[2], strict=True)
            parts.append({
                name: np.frombuffer(data, dtype).reshape((-1, width) if width > 1 else -1)
                for (name, dtype, width), data in values
            })  # fmt: skip
    return parts


def recorded_texts(store: JournalStore) -> Iterator[tuple[str, TextVector]]:
    """The vectors on record, each with the model that made it; takes nothing over."""
    for record in Journal.read(store):
        kind, *rest = _read(record.payload)
        if kind == "texts":
            yield from ((rest[0], text) for text in _texts(*rest[1:]))


def _texts(rows: Sequence[int], keys: bytes, vectors: bytes) -> list[TextVector]:
    parts = np.frombuffer(vectors, "<f4").reshape(len(rows), DIMENSIONS).astype(np.float32)
    cut = (keys[at : at + KEY_BYTES] for at in range(0, len(keys), KEY_BYTES))
    return [TextVector(*text) for text in zip(rows, cut, parts, strict=True)]


def _read(payload: Any) -> list[Any]:
    content: list[Any] = msgspec.msgpack.decode(payload)
    if content[0] not in {"terms", "outcomes", "reset", "texts"}:
        raise JournalDamaged(
            f"the agent's journal holds a record of kind {content[0]!r}, unknown to this version"
        )
    return content
