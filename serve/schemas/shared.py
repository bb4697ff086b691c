"""What the descriptions of all areas share."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Instant = Annotated[
    str, Field(examples=["2025-02-24T00:10:00Z"], description="ISO 8601, UTC, to the microsecond")
]
Share = Annotated[float, Field(description="a share, not percent: 0.01 is one percent")]
PortfolioName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]{0,62}$", examples=["baseline"])]
Basis = Annotated[float | None, Field(description="basis points; null where there is no number")]
Word = Literal["approve", "flip", "hold"]
NAME_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x1f\x7f-\x9f\s][^\x00-\x1f\x7f-\x9f]*$"
"""No control characters, and something that is no blank."""


class Shown(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ProblemBody(BaseModel):
    """RFC 9457; beside the standard members, what the error is about: field, value, expected, row, errors."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str


def object_content(model: type[BaseModel], **example: Any) -> dict[str, Any]:
    """A JSON object of that model."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}
