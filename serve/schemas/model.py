"""The model that generates signals: which one speaks, which spoke before, which runs in shadow."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from raysignal.serve.schemas.shared import NAME_PATTERN, Shown

Location = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        pattern=NAME_PATTERN,
        description="a folder by its full path on the service's machine, or s3://bucket/prefix, with model.onnx and "
        "card.json",
    ),
]


class VersionBody(BaseModel):
    """A model; what its card says where it is at hand, see docs/models.md."""

    model_config = ConfigDict(extra="allow")

    placeholder: bool
    location: str | None
    digest: Annotated[str | None, Field(description="SHA-256 of its card, which holds that of its graph")]
    name: str | None
    version: str | None


class ActiveModelBody(Shown):
    """The model of the service."""

    placeholder: Annotated[bool, Field(description="no model is configured, and every answer is marked so")]
    speaks: Annotated[bool, Field(description="false: no signal is generated, and `trouble` says why")]
    trouble: Annotated[str | None, Field(description="why the configured model does not speak")]
    name: str | None
    version: str | None
    features: Annotated[list[str], Field(description="that a request must give, or stored bars tell")]
    optional_features: Annotated[
        list[str], Field(description="that are used where they are there, or in shadow")
    ]
    configured: Annotated[str | None, Field(description="where the settings say that it lies")]
    active: VersionBody | None
    before: Annotated[VersionBody | None, Field(description="speaks again after a roll-back")]
    shadow: Annotated[dict[str, Any] | None, Field(description="is stepped beside it, and how it differs")]
    steps: Annotated[int, Field(description="that were ever taken")]
    symbols: int
    epoch: Annotated[int, Field(description="of the journal's writer")]
    pid: int


class LoadBody(Shown):
    """Which model is to speak."""

    location: Location


class ShadowBody(Shown):
    """Which model is to run in shadow; null: none."""

    location: Location | None


class DigestBody(Shown):
    """Which model is to speak, as `GET /v1/model` names it; null: the placeholder."""

    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
