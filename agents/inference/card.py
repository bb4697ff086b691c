"""A model's card, and the files of a model: a folder or a prefix in S3 with `card.json` and `model.onnx`.

The card says what the graph cannot: what its features are called and in which order, which of its three outputs is
which action, how long a symbol may be without a bar until the model forgets. See docs/models.md.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from raysignal.agents.inference.indicators import full_name, indicator_named
from raysignal.agents.inference.signals import NOT_GIVEN, REQUEST_FIELDS
from raysignal.engine.core.errors import InvalidField, ModelRefused, SettingsError, StoreUnavailable, shorten
from raysignal.engine.core.instants import check_interval, parse_bar, parse_instant, parse_length
from raysignal.engine.core.secrets import is_secret_name
from raysignal.engine.journal.addresses import split_store
from raysignal.engine.journal.blobs import BlobStore, DiskBlobs
from raysignal.engine.journal.bucket import S3Client
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.strategies.features import FEATURES, CandleFeature

CARD, GRAPH = "card.json", "model.onnx"
MOST_BYTES = 256 * 1024 * 1024
"""Of a model; a policy has some kilobytes."""
_MOST_CARD_BYTES = 1024 * 1024
_MOST_FEATURES = 4096

ActionName = Literal["HOLD", "BUY", "SELL"]
_Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
_FeatureName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z_][A-Za-z0-9_(), .:-]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Scaling(_Part):
    """What a feature is made of before the graph sees it: `(value - mean) / scale`."""

    mean: float
    scale: Annotated[float, Field(gt=0.0)]


class ModelCard(_Part):
    """What stands in `card.json`."""

    name: _Name = Field(description="of the model")
    version: _Name = Field(description="of these weights; no two have the same")
    features: Annotated[tuple[_FeatureName, ...], Field(min_length=1, max_length=_MOST_FEATURES)] = Field(
        description="in the order of the graph's input; names of indicators such as rsi(14), of a bar's columns "
        "(close), or names that requests give values for"
    )
    normaliser: Literal["graph"] | tuple[Scaling, ...] = Field(
        description="graph: it is inside the graph; else mean and scale of each feature, in their order"
    )
    actions: tuple[ActionName, ActionName, ActionName] = Field(
        default=("HOLD", "BUY", "SELL"), description="which of the three outputs is which"
    )
    output: Literal["probabilities", "logits"] = Field(
        default="probabilities", description="what the graph answers"
    )
    training_window: tuple[str, str] = Field(description="instants that it was trained between")
    symbols: tuple[str, ...] = Field(description="that it was trained on")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = Field(description="of model.onnx")
    bar: str = Field(description="length of the bars that it steps on, such as 5m")
    episode_gap: str | None = Field(
        default=None,
        description="a symbol that is longer without a step begins anew; none: twice the bar",
    )
    max_age: str | None = Field(
        default=None, description="how old a feature may be when a signal is wanted; none: twice the bar"
    )

    @field_validator("features")
    @classmethod
    def _that_can_be_given(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        kept: dict[str, str] = {}
        for name in names:
            if name in REQUEST_FIELDS or name in NOT_GIVEN or is_secret_name(name):
                raise ValueError(
                    f"{name!r} is no number of a request; expected another name (a price is close)"
                )
            if "(" in name and name.partition("(")[0] in FEATURES and indicator_named(name) is None:
                _said(CandleFeature.parse, name)
            if (other := kept.setdefault(full_name(name), name)) != name:
                raise ValueError(f"{other!r} and {name!r} are one indicator; expected each once")
        return names

    @field_validator("training_window")
    @classmethod
    def _in_order(cls, window: tuple[str, str]) -> tuple[str, str]:
        begin_us, end_us = (_said(parse_instant, each) for each in window)
        if begin_us >= end_us:
            raise ValueError("expected an end after the beginning")
        return window

    @field_validator("bar")
    @classmethod
    def _a_bar(cls, bar: str) -> str:
        _said(lambda text: check_interval(parse_bar(text)), bar)
        return bar

    @field_validator("episode_gap", "max_age")
    @classmethod
    def _a_length(cls, length: str | None, info: Any) -> str | None:
        if length is not None:
            _said(lambda text: parse_length(text, info.field_name), length)
        return length

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if len(set(self.features)) != len(self.features):
            twice = next(name for name in self.features if self.features.count(name) > 1)
            raise ValueError(f"features has {twice!r} more than once; expected each once")
        if set(self.actions) != {"HOLD", "BUY", "SELL"}:
            raise ValueError(f"actions is {list(self.actions)}; expected HOLD, BUY and SELL, each once")
        if self.normaliser != "graph" and len(self.normaliser) != len(self.features):
            raise ValueError(
                f"normaliser has {len(self.normaliser)} entries; expected {len(self.features)}, one a feature, or "
                '"graph"'
            )
        return self

    @property
    def bar_us(self) -> int:
        """Length of its bars, microseconds."""
        return parse_bar(self.bar)

    @property
    def episode_gap_us(self) -> int:
        """How long a symbol may be without a step, microseconds."""
        return 2 * self.bar_us if self.episode_gap is None else parse_length(self.episode_gap, "episode_gap")

    @property
    def max_age_us(self) -> int:
        """How old a feature may be, microseconds."""
        return 2 * self.bar_us if self.max_age is None else parse_length(self.max_age, "max_age")

    @property
    def canonical(self) -> bytes:
        """All that it says, however its file is written."""
        said = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()

    @property
    def digest(self) -> str:
        """SHA-256 of all that it says, the hash of the graph included: what a model is known by."""
        return hashlib.sha256(self.canonical).hexdigest()


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A card and its graph, whose hash is the one that the card names; nothing else of them has been checked.

    Attributes:
        location: where they were read, for sentences.
        graph: all of `model.onnx`.
    """

    location: str
    card: ModelCard
    graph: bytes

    @classmethod
    def read(cls, location: str, *, client: S3Client | None = None) -> Self:
        """The files of a model.

        Args:
            location: a folder, `file:///folder` or `s3://bucket/prefix`.
            client: what to reach S3 with; None: made from the environment.

        Raises:
            ModelRefused: a file is missing, too large or not what the card says; a field of the card cannot be.
            StoreUnavailable: the folder or the bucket cannot be read now.
        """
        if "://" not in location:
            return cls._of_folder(location, Path(location))
        try:
            place = split_store(location)
        except SettingsError as error:
            raise ModelRefused(location, "expected a folder, file:///folder or s3://bucket/prefix") from error
        if place.scheme == "file":
            return cls._of_folder(location, Path(unquote(place.path)))
        return cls.of(location, open_stores(location, client=client).blobs, "")

    @classmethod
    def _of_folder(cls, location: str, folder: Path) -> Self:
        """Of a folder of this machine: what does not lie there will not do so at the next try."""
        try:
            if folder.is_file():
                raise ModelRefused(location, f"it is a file; expected the folder that has {CARD} and {GRAPH}")
            for name in (CARD, GRAPH):
                if os.path.lexists(folder / name) and not (folder / name).is_file():
                    raise ModelRefused(location, f"{name} is no file; expected one, or a link to one")
            return cls.of(location, DiskBlobs(folder), "")
        except (OSError, StoreUnavailable) as error:
            raise ModelRefused(location, f"it cannot be read: {error}") from error

    @classmethod
    def of(cls, location: str, blobs: BlobStore, prefix: str) -> Self:
        """The same of a blob store, whose names begin with a prefix."""
        text = _read(location, blobs, prefix + CARD, CARD, _MOST_CARD_BYTES)
        card = read_card(location, text)
        graph = _read(location, blobs, prefix + GRAPH, GRAPH, MOST_BYTES)
        found = hashlib.sha256(graph).hexdigest()
        if found != card.sha256:
            raise ModelRefused(
                location, f"the SHA-256 of {GRAPH} is {found}; its card says {card.sha256}. One was changed"
            )
        return cls(location, card, graph)


def read_card(location: str, text: bytes) -> ModelCard:
    """The card that a text says.

    Raises:
        ModelRefused: each field that cannot be, with its value and what was expected.
    """
    try:
        said = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ModelRefused(location, f"{CARD} is no JSON: {error}") from error
    if not isinstance(said, dict):
        raise ModelRefused(location, f"{CARD} holds {type(said).__name__}; expected an object")
    try:
        return ModelCard(**said)
    except ValidationError as error:
        sentences = "; ".join(map(_sentence, _told_of(error.errors())))
        raise ModelRefused(location, f"{CARD}: {sentences}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in values if names.count(name) > 1)
        raise ValueError(f"{shorten(twice)} stands there more than once; expected each key once")
    return values


_KINDS_OF_NORMALISER = ("literal['graph']", "tuple[Scaling, ...]")


def _told_of(errors: Sequence[Any]) -> list[Any]:
    """Of a normaliser, what is wrong with it as the kind that it is: the other kind refuses it as well."""
    return [
        each
        for each in errors
        if _KINDS_OF_NORMALISER[0] not in each["loc"] or not isinstance(each["input"], list)
        if _KINDS_OF_NORMALISER[1] not in each["loc"][-1:] or isinstance(each["input"], list)
    ]


def _sentence(error: Any) -> str:
    parts = [str(each) for each in error["loc"] if each not in _KINDS_OF_NORMALISER]
    place = ".".join(parts) or CARD
    known = (Scaling if parts[:1] == ["normaliser"] else ModelCard).model_fields
    if error["type"] == "missing":
        described = known[parts[-1]].description if parts[-1] in known else None
        return f"{place} is not there; expected {f'one: {described}' if described else 'a value'}"
    if error["type"] == "extra_forbidden":
        return f"{place} is unknown; expected none but {', '.join(known)}"
    said = re.sub("^(Value error, |Input )", "", str(error["msg"])).replace("should be", "expected", 1)
    return said if place == CARD else f"{place} is {shorten(error['input'])}; {said}"


def _said(read: Any, text: str) -> Any:
    """What a text says; within pydantic."""
    try:
        return read(text)
    except InvalidField as error:
        raise ValueError(f"expected {error.fields['expected']}") from None


def _missing(name: str) -> str:
    return f"{name} is not there; expected it beside the other of {CARD}, {GRAPH}"


def _read(location: str, blobs: BlobStore, name: str, shown: str, most: int) -> bytes:
    size = blobs.size(name)
    if size is None:
        raise ModelRefused(location, _missing(shown))
    if size > most:
        raise ModelRefused(location, f"{shown} has {size} bytes; expected at most {most}")
    data = blobs.get(name) if size else b""
    if data is None or not 0 < len(data) <= most:
        raise ModelRefused(location, f"{shown} has no content; expected all of the file")
    return data
