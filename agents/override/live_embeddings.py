"""Embeddings of the free texts of a stream that is followed live: asked for before their rows are decided.

A vector that came is on record with the row it was asked for before anything rests on it, and serves that text from
that row on, for `SERVES` rows. A text without such a vector has none: it is a missing feature of its row. So what a
row has follows from the record alone, and a follower that begins anew finds for every row what the last one had.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence

from raysignal.agents.llm.caller import ModelCaller
from raysignal.agents.llm.calls import Failure
from raysignal.agents.llm.embeddings import AT_ONCE, DIMENSIONS, EmbeddedTexts, EmbeddingRequest
from raysignal.agents.override.text_embeddings import TextVector, key_of, sum_of_fields
from raysignal.agents.override.texts import text_at
from raysignal.engine.core.arrays import Float32Array
from raysignal.engine.core.columns import TextColumn

SERVES = 8_192
"""Rows: older vectors are forgotten, as memory is bounded; where such a text comes again, it is asked for anew."""
EMBEDDED, NOT_ASKED = "embedded", "not_asked"


class LiveEmbeddings:
    """An `agents.override.texts.Embedder`; see the module.

    Args:
        recorded: what is on record, in the order of its rows.
        record: puts vectors on record, durably; blocks.
        caller: of the model; None: nobody can be asked, and new texts have no vectors.

    Attributes:
        counts: texts so far: `embedded`, or the reason why they were not.
        trouble: why the latest texts were not embedded; empty: they were.
    """

    def __init__(
        self,
        recorded: Sequence[TextVector],
        record: Callable[[Sequence[TextVector]], None],
        caller: ModelCaller[EmbeddingRequest, EmbeddedTexts] | None,
    ) -> None:
        self._ahead = deque(recorded)  # of rows that were not embedded yet
        self._held: dict[bytes, TextVector] = {}  # the oldest first
        self._record, self._caller = record, caller
        self.counts: Counter[str] = Counter()
        self.trouble = ""

    @property
    def dimensions(self) -> int:
        """See `Embedder`."""
        return DIMENSIONS

    def embed(
        self, fields: Mapping[str, TextColumn], start: int, stop: int, *, first: int = 0
    ) -> Float32Array:
        """See `Embedder.embed`; rows must come in the order of the stream."""

        def vector_of(row: int, key: bytes) -> Float32Array | None:
            self._advance(first + row)
            held = self._held.get(key)
            return None if held is None else held.vector

        return sum_of_fields(fields, start, stop, vector_of)

    async def fetch(self, fields: Mapping[str, TextColumn], rows: Sequence[int], *, first: int) -> None:
        """Ask for the texts of rows that are decided next, as far as they have no vector; all within the deadline.

        Args:
            fields: columns of free text, by name.
            rows: of the columns, increasing.
            first: the place of the columns' row 0 in the stream.
        """
        wanted = await asyncio.to_thread(self._wanted, fields, rows, first)
        if self._caller is None:
            self.counts[NOT_ASKED] += len(wanted)
            return
        parts = [wanted[start : start + AT_ONCE] for start in range(0, len(wanted), AT_ONCE)]
        requests = [EmbeddingRequest(tuple(text for _, _, text in part)) for part in parts]
        outcomes = await asyncio.gather(*map(self._caller.call, requests))
        for part, outcome in zip(parts, outcomes, strict=True):
            if isinstance(outcome, Failure):
                self.counts[outcome.reason.value] += len(part)
                self.trouble = outcome.detail
                continue
            texts = [
                TextVector(row, key, vector)
                for (row, key, _), vector in zip(part, outcome.vectors, strict=True)
            ]
            await asyncio.to_thread(self._record, texts)
            self._ahead = deque(sorted([*self._ahead, *texts], key=lambda text: text.row))
            self.counts[EMBEDDED] += len(texts)
            self.trouble = ""

    def _wanted(
        self, fields: Mapping[str, TextColumn], rows: Sequence[int], first: int
    ) -> list[tuple[int, bytes, str]]:
        """Texts to ask for: the row of each, its key, and itself."""
        since = {text.key: text.row for text in self._ahead}
        found: dict[bytes, tuple[int, bytes, str]] = {}
        for row in rows:
            for column in fields.values():
                if not (text := text_at(column, row).strip()):
                    continue
                key, place = key_of(text), first + row
                held = self._held.get(key)
                known = since.get(key, -SERVES if held is None else held.row)
                if key not in found and not known <= place < known + SERVES:
                    found[key] = place, key, text
        return list(found.values())

    def _advance(self, row: int) -> None:
        """To a row: what was asked for up to it serves, what was asked for long before does not."""
        while self._ahead and self._ahead[0].row <= row:
            text = self._ahead.popleft()
            self._held.pop(text.key, None)
            self._held[text.key] = text
        while self._held and (oldest := next(iter(self._held.values()))).row + SERVES <= row:
            del self._held[oldest.key]
