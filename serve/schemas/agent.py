"""How the agent stands and how right it was."""

from typing import Annotated, Literal

from pydantic import Field

from raysignal.serve.schemas.memory import ChromaBody
from raysignal.serve.schemas.shared import Basis, Shown


class CohortBody(Shown):
    """The judged signals of one name in one dimension."""

    dimension: Annotated[
        str, Field(examples=["source", "symbol", "side", "regime", "hour", "category.mood", "range.volume"])
    ]
    name: str
    n: int
    right: int
    accuracy: float
    accuracy_low: Annotated[
        float | None, Field(description="null where too little is known of the dependence")
    ]
    accuracy_high: float | None
    drift: Annotated[
        float,
        Field(
            description="the accuracy of signals about the same symbols with the same sides that know nothing"
        ),
    ]
    effective_n: float
    net_bps: Basis
    net_bps_low: Basis
    net_bps_high: Basis
    p_value: float
    q_value: Annotated[float, Field(description="p_value, corrected for how many cohorts were looked at")]
    flag: Literal["good", "bad"] | None


class AccuracyBody(Shown):
    """How often the latest signals were right."""

    n: Annotated[int, Field(description="judged signals")]
    right: int
    up_share: float | None
    down_share: float | None
    cohorts: list[CohortBody]


class PatternsBody(Shown):
    """Cohorts that differ from the drift by more than chance, the surest first."""

    n: Annotated[int, Field(description="judged signals")]
    patterns: list[CohortBody]


class BreakerBody(Shown):
    """What turns the agent off when overruling costs more than the limit."""

    open: bool
    trip: dict[str, int | float] | None
    judged: int
    mean_bps: Basis
    lower_bps: Basis
    limit_bps: float


class ModelBody(Shown):
    """The model that is asked in unclear cases."""

    name: str
    why_off: Annotated[str | None, Field(description="why it is not asked")]
    trouble: Annotated[str | None, Field(description="what has to be changed before its answers can be used")]
    budget: Annotated[int, Field(description="calls a UTC day")]
    left: int | None
    opinions: Annotated[dict[str, int], Field(description="by reason, since the agent began")]


class EmbeddingsBody(Shown):
    """The model that embeds free texts; its calls count as those of the model do."""

    name: str
    why_off: Annotated[str | None, Field(description="why it is not asked")]
    trouble: Annotated[str | None, Field(description="why the latest texts were not embedded")]
    texts: Annotated[
        dict[str, int], Field(description="since the agent began: `embedded`, or why they were not")
    ]


class EvidenceBody(Shown):
    """Whether there is enough evidence for the gate to speak, as of the latest BUY or SELL signal."""

    effective: Annotated[float, Field(description="independent precedents of that signal")]
    least: Annotated[float, Field(description="so many are asked for")]
    known: Annotated[int, Field(description="outcomes that were known then")]
    speaks_after: Annotated[
        int | None,
        Field(
            description="about so many more BUY and SELL signals; 0: it may speak; null: not known, or never"
        ),
    ]
    sentence: str


class AgentBody(Shown):
    """How the agent stands; with `on` false there is only `why`."""

    on: bool
    why: str | None
    trouble: Annotated[str | None, Field(description="what it is waiting for")] = None
    primary: str | None = None
    portfolio: str | None = None
    mode: Literal["gate", "gate and model", "gate and reviewer"] | None = None
    model: ModelBody | None = None
    embeddings: Annotated[EmbeddingsBody | None, Field(description="null: texts are hashed")] = None
    horizon: str | None = None
    signals: Annotated[int | None, Field(description="of the primary portfolio")] = None
    behind: Annotated[int | None, Field(description="of them, not decided yet")] = None
    settled: Annotated[int | None, Field(description="outcomes that the memory holds")] = None
    evidence: EvidenceBody | None = None
    decisions: Annotated[dict[str, int] | None, Field(description="by reason, since the agent began")] = None
    breaker: BreakerBody | None = None
    chroma: ChromaBody | None = None
    pid: int | None = None


class ResetBody(Shown):
    """What the breaker was before."""

    was_open: bool
