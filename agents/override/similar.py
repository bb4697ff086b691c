"""Past outcomes like a signal, or with some words in their texts: for people and programs to read, not for decisions.

Chroma names candidates by its filtered, approximate search. What is shown of them comes from the memory itself, and
every filter is checked there once more, `as_of` first: an answer of Chroma that does not fit is not shown, and its
collection is built anew.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from raysignal.agents.override.outcome_vectors import SettledRows
from raysignal.agents.override.words import comparable, words_in
from raysignal.agents.vectors.rows import Facts
from raysignal.engine.core.arrays import Float32Array
from raysignal.engine.core.errors import ChromaUnavailable, InvalidField
from raysignal.engine.core.instants import format_instant

MOST_WORDS = 16
LONGEST_TEXT = 1_000
"""Characters of a question; Chroma fails on much longer ones."""


@dataclass(frozen=True, slots=True)
class OutcomeFilter:
    """Which outcomes may be shown; None: any.

    Attributes:
        symbol, side, regime: of the past signal.
        right: whether the price went its way.
        start_us: decided no earlier than this.
        end_us: decided earlier than this.
    """

    symbol: str | None = None
    side: str | None = None
    regime: str | None = None
    right: bool | None = None
    start_us: int | None = None
    end_us: int | None = None

    def __post_init__(self) -> None:
        if self.start_us is not None and self.end_us is not None and self.start_us >= self.end_us:
            start, end = format_instant(self.start_us), format_instant(self.end_us)
            raise InvalidField("from", start, f"an instant before to, {end}")

    def where(self, as_of_us: int) -> dict[str, Any]:
        """The same as Chroma is asked."""
        found: list[dict[str, Any]] = [{"known_at_us": {"$lte": as_of_us}}]
        wanted = {"symbol": self.symbol, "side": self.side, "regime": self.regime, "right": self.right}
        found += [{name: {"$eq": value}} for name, value in wanted.items() if value is not None]
        if self.start_us is not None:
            found.append({"decided_at_us": {"$gte": self.start_us}})
        if self.end_us is not None:
            found.append({"decided_at_us": {"$lt": self.end_us}})
        return found[0] if len(found) == 1 else {"$and": found}

    def fits(self, facts: Facts, as_of_us: int) -> bool:
        """Whether an outcome may be shown as of an instant."""
        decided_at_us = int(facts["decided_at_us"])
        return (
            int(facts["known_at_us"]) <= as_of_us
            and (self.symbol is None or facts["symbol"] == self.symbol)
            and (self.side is None or facts["side"] == self.side)
            and (self.regime is None or facts["regime"] == self.regime)
            and (self.right is None or facts["right"] == self.right)
            and (self.start_us is None or decided_at_us >= self.start_us)
            and (self.end_us is None or decided_at_us < self.end_us)
        )


@dataclass(frozen=True, slots=True)
class SimilarQuery:
    """What is asked for: outcomes like a signal, or with some words in their texts.

    Attributes:
        signal_id: of the signal, which is not shown itself.
        vector: of the signal, float32[SLOTS]; None: the signal was decided, and the memory has it.
        text: words that must all be in the texts of an outcome's signal; None: a signal is asked about.
        as_of_us: only what was known then is shown; None: the instant of a decided signal.
        fits: which outcomes may be shown.
        k: at most so many.
    """

    signal_id: str = ""
    vector: Float32Array | None = None
    text: str | None = None
    as_of_us: int | None = None
    fits: OutcomeFilter = OutcomeFilter()
    k: int = 10


class OutcomeIndex(Protocol):
    """What of `agents.vectors.VectorIndex` is needed here."""

    def nearest(self, vector: Float32Array, k: int, where: dict[str, Any]) -> list[int]: ...

    def containing(self, words: list[str], where: dict[str, Any]) -> list[int]: ...

    def rebuild(self, reason: str) -> None: ...


def find_similar(rows: SettledRows, index: OutcomeIndex | None, query: SimilarQuery) -> dict[str, Any]:
    """Past outcomes, the nearest first; of those found by words, the latest known first.

    Args:
        rows: the memory's outcomes.
        index: Chroma's; None: nothing is settled yet.
        query: what is asked for.

    Returns:
        `as_of`, `by` (`signal`, `features` or `text`) and `hits`, as plain JSON values.

    Raises:
        NotFound: no such signal was decided.
        InvalidField: a text without a word, or with too many.
        ChromaUnavailable: Chroma cannot be asked now, or answered what is not true.
        AgentUnavailable: the agent is not ready.
    """
    if query.text is not None:
        return _by_words(rows, index, query, words_of(query.text))
    by, vector, as_of_us = "features", query.vector, query.as_of_us
    if vector is None:
        by, (vector, instant_us) = "signal", rows.signal(query.signal_id)
        as_of_us = instant_us if as_of_us is None else as_of_us
    assert as_of_us is not None
    # One more, because one may be the signal itself.
    found = [] if index is None else index.nearest(vector, query.k + 1, query.fits.where(as_of_us))
    hits = _checked(rows, index, found, query, as_of_us)
    near = sorted(
        (float(np.linalg.norm(held - vector)), place)
        for place, (hit, _, held) in enumerate(hits)
        if hit["signal_id"] != query.signal_id
    )
    shown = [hits[place][0] | {"distance": round(distance, 6)} for distance, place in near]
    return _answer(by, as_of_us, shown[: query.k])


def _by_words(
    rows: SettledRows, index: OutcomeIndex | None, query: SimilarQuery, words: list[str]
) -> dict[str, Any]:
    as_of_us = query.as_of_us
    assert as_of_us is not None
    found = [] if index is None else index.containing(words, query.fits.where(as_of_us))
    hits = _checked(rows, index, found[-query.k :], query, as_of_us)
    shown = [hit | {"distance": None} for hit, text, _ in hits if all(word in text for word in words)]
    return _answer("text", as_of_us, shown[::-1])


def words_of(text: str) -> list[str]:
    """The different words of a text, `comparable`; `InvalidField` if there are none, or too many."""
    if len(text) > LONGEST_TEXT:
        raise InvalidField(
            "text", f"{text[:40]}…", f"at most {LONGEST_TEXT:,d} characters, not {len(text):,d}"
        )
    words = [*dict.fromkeys(words_in(comparable(text)))]
    if not 1 <= len(words) <= MOST_WORDS:
        raise InvalidField("text", text, f"1 to {MOST_WORDS} different words")
    return words


def _checked(
    rows: SettledRows, index: OutcomeIndex | None, found: list[int], query: SimilarQuery, as_of_us: int
) -> list[tuple[dict[str, Any], str, Float32Array]]:
    """What the memory says of outcomes that Chroma named, with their texts and vectors."""
    if index is None or not found:
        return []
    held = rows.select(found)
    if len(held.facts) < len(found) or not all(query.fits.fits(facts, as_of_us) for facts in held.facts):
        reason = "a search of it found what does not fit the question"
        index.rebuild(reason)
        raise ChromaUnavailable(f"Chroma is being built anew: {reason}; try again in 3 s", retry_after_s=3)
    return [*zip(map(_hit, held.facts), held.texts, held.vectors, strict=True)]


def _hit(facts: Facts) -> dict[str, Any]:
    return {
        **{name: facts[name] for name in ("signal_id", "symbol", "source", "side", "regime", "right")},
        "net_bps": {name: facts[f"net_{name}_bps"] for name in ("approve", "flip", "hold")},
        "decided_at": format_instant(int(facts["decided_at_us"])),
        "known_at": format_instant(int(facts["known_at_us"])),
    }


def _answer(by: str, as_of_us: int, hits: list[dict[str, Any]]) -> dict[str, Any]:
    return {"as_of": format_instant(as_of_us), "by": by, "hits": hits}
