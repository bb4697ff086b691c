"""Outcomes of the past that are like a signal."""

from typing import Annotated, Any, Literal

from pydantic import Field

from raysignal.serve.schemas.shared import Instant, Shown
from raysignal.serve.schemas.signals import SIGNAL_EXAMPLES, SIGNAL_REF


class ChromaBody(Shown):
    """How the vector index stands; no decision waits for it."""

    place: str
    collection: str
    state: Literal["ready", "unavailable", "closed"]
    count: int
    behind: int
    reason: str
    rebuilt: Annotated[str, Field(description="why it was last built from nothing")]


class NetBody(Shown):
    """What each verdict would have earned, in basis points after costs."""

    approve: float
    flip: float
    hold: float


class SimilarOutcomeBody(Shown):
    """A past signal and what became of it."""

    signal_id: str
    symbol: str
    source: str
    side: Literal["SELL", "BUY"]
    regime: Literal["unknown", "quiet", "normal", "wild"]
    right: Annotated[bool, Field(description="the price went its way")]
    net_bps: NetBody
    decided_at: Instant
    known_at: Annotated[Instant, Field(description="when its outcome was known; never after `as_of`")]
    distance: Annotated[
        float | None,
        Field(description="between the numbers of both, standardised; null for a search by text"),
    ]


class SimilarBody(Shown):
    """Past outcomes like a signal, the nearest first; by text, the latest known first."""

    as_of: Annotated[Instant, Field(description="nothing that was known later is shown")]
    by: Literal["signal", "features", "text"]
    hits: list[SimilarOutcomeBody]
    behind: Annotated[int, Field(description="settled outcomes that Chroma does not hold yet")]


class TextBody(Shown):
    """Words that must all be in the texts among a past signal's features; the letters' case is ignored."""

    text: Annotated[str, Field(min_length=1, max_length=1000)]


SIMILAR_CONTENT: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"anyOf": [{"$ref": "#/components/schemas/TextBody"}, SIGNAL_REF]},
            "examples": {
                "signal": {
                    "summary": "Outcomes like a signal",
                    "value": SIGNAL_EXAMPLES["identified"]["value"],
                },
                "text": {"summary": "Outcomes by the words of their texts", "value": {"text": "fear rates"}},
            },
        }
    },
}
