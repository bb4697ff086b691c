"""Processed signals and decisions, in pages."""

from typing import Annotated, Any, Literal

from pydantic import Field

from raysignal.serve.schemas.portfolios import PolicyBody
from raysignal.serve.schemas.shared import PortfolioName, Shown, Word
from raysignal.serve.schemas.signals import ReceiptBody


class HistoryBody(Shown):
    """A page of processed signals, oldest first."""

    portfolio: PortfolioName
    rows: list[dict[str, Any]]
    cursor: Annotated[str | None, Field(description="for the next page; null when there is none now")]


class NeighbourBody(Shown):
    """A past signal that the decision rests on, and what became of it."""

    signal_id: str
    signal: Literal["SELL", "BUY"]
    right: Annotated[bool, Field(description="the price went its way")]
    net_bps: Annotated[
        dict[Word, float], Field(description="what each verdict would have earned, after costs")
    ]
    age_s: float
    distance: Annotated[float, Field(description="in standard deviations")]


class OpinionBody(Shown):
    """What a model said, or why it did not."""

    verdict: Word
    reason: str
    confidence: float | None
    cited: Annotated[list[str], Field(description="ids of neighbours")]
    rationale: str
    request_hash: str
    usd: float | None
    tokens_in: int | None
    tokens_out: int | None


class ExplanationBody(Shown):
    """What a decision of the agent rests on; of a HOLD signal only verdict, by and reason."""

    verdict: Word
    by: Literal["signal", "gate", "model"]
    reason: str
    inputs: Annotated[
        dict[str, dict[str, float | str]] | None,
        Field(description="numbers in standard deviations, and categories, as they were compared"),
    ] = None
    statistics: dict[str, float | None] | None = None
    neighbours: Annotated[list[NeighbourBody] | None, Field(description="the nearest, nearest first")] = None
    allowed: Annotated[list[Word] | None, Field(description="what a model could have answered")] = None
    opinion: OpinionBody | None = None
    similar: Annotated[str | None, Field(description="where past outcomes like this signal are")] = None


class DecisionPage(Shown):
    """Why a signal was traded, or not."""

    receipt: ReceiptBody
    features: dict[str, float | str]
    explanation: Annotated[
        ExplanationBody | None,
        Field(description="what an agent's decision rests on; null where the signal was left to itself"),
    ]
    policy: PolicyBody
    sequence: Annotated[int, Field(description="the journal record that holds it")]
    record_row: Annotated[int, Field(description="its row in that record")]
