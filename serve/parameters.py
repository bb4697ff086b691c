"""What a request brings: query and path parameters, strictly (none that an operation does not know, and none twice: one
that is misspelt would otherwise be ignored, and the answer be to another question), and bodies that are read by hand,
in bounded memory and time.
"""

import asyncio
import re
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from fastapi import Depends, Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError
from starlette.requests import ClientDisconnect, Request

from raysignal.engine.core.errors import (
    InputTooLarge,
    InputTooSlow,
    InvalidField,
    RaysignalError,
    UnreadableInput,
    UnsupportedMedia,
)
from raysignal.engine.core.policy import check_portfolio_name
from raysignal.engine.intake.single import load_object
from raysignal.engine.intake.templates import TEMPLATES, check_template
from raysignal.serve.problems import JSON

_INSTANT = {"type": "string", "format": "date-time", "pattern": "^(19[7-9][0-9]|20[0-9]{2}|21[0-9]{2})-"}


def _flag(text: Any) -> Any:
    if text not in ("true", "false"):
        raise PydanticCustomError("flag", "true or false")
    return text


def _digits(text: Any) -> Any:
    if not re.fullmatch("[0-9]{1,18}", text):
        raise PydanticCustomError("digits", "a whole number")
    return text


_NAME = WithJsonSchema({"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,62}$"})
Name = Annotated[str, AfterValidator(check_portfolio_name), _NAME]
PipelineName = Annotated[str, AfterValidator(partial(check_portfolio_name, field="pipeline")), _NAME]
Template = Annotated[
    str, AfterValidator(check_template), WithJsonSchema({"type": "string", "enum": list(TEMPLATES)})
]
Flag = Annotated[bool, BeforeValidator(_flag)]
Instant = Annotated[str, WithJsonSchema(_INSTANT)]
PageSize = Annotated[int, Field(ge=1, le=10_000), BeforeValidator(_digits)]


class Parameters(BaseModel):
    """The query parameters of an operation; this one has none."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PortfolioParameters(Parameters):
    """Which portfolio is asked about."""

    portfolio: Annotated[
        Name | SkipJsonSchema[None], Field(description="the portfolio; the primary one if missing")
    ] = None


class PipelineParameters(Parameters):
    """Which pipeline is asked about."""

    pipeline: Annotated[
        PipelineName | SkipJsonSchema[None], Field(description="its name; the only one if missing")
    ] = None


class SignalParameters(PortfolioParameters):
    """How a signal is taken in."""

    template: Annotated[
        Template | SkipJsonSchema[None], Field(description="the sender whose names and words the body has")
    ] = None
    accept_price_jump: Annotated[
        Flag, Field(description="believe prices however far they are from the last one")
    ] = False


class BatchParameters(SignalParameters):
    """How a batch of signals is taken in."""

    on_error: Annotated[Literal["refuse", "skip"], Field(description="all or nothing, or what can be")] = (
        "refuse"
    )
    receipts: Annotated[Flag, Field(description="send every row's receipt along")] = False


class HistoryParameters(PortfolioParameters):
    """Which rows of the history are asked for."""

    start: Annotated[
        Instant | SkipJsonSchema[None], Field(alias="from", description="no earlier than this")
    ] = None
    end: Annotated[Instant | SkipJsonSchema[None], Field(alias="to", description="earlier than this")] = None
    action: Annotated[
        Literal["SELL", "HOLD", "BUY", "CLOSE"] | SkipJsonSchema[None],
        Field(description="these signals only"),
    ] = None
    symbol: Annotated[str | SkipJsonSchema[None], Field(min_length=1, description="this symbol only")] = None
    limit: Annotated[PageSize, Field(description="rows a page")] = 1000
    cursor: Annotated[str | SkipJsonSchema[None], Field(description="from the page before")] = None


class RefusalParameters(Parameters):
    """Which refusals are asked for."""

    reason: Annotated[
        str | SkipJsonSchema[None],
        Field(min_length=1, description="the name of the error, such as LateSignal"),
    ] = None
    source: Annotated[
        str | SkipJsonSchema[None], Field(min_length=1, description="of this source, or through this hook")
    ] = None
    limit: Annotated[int, Field(ge=1, le=1000, description="at most so many"), BeforeValidator(_digits)] = 100


class TradesOfParameters(PortfolioParameters):
    """Whose trades are asked about."""

    symbol: Annotated[str | SkipJsonSchema[None], Field(min_length=1, description="this symbol only")] = None


class TradeParameters(TradesOfParameters):
    """Which trades are asked for."""

    status: Annotated[
        Literal["closed", "open"],
        Field(description="closed ones in the order in which they closed, or open ones"),
    ] = "closed"
    limit: Annotated[PageSize, Field(description="trades a page")] = 1000
    cursor: Annotated[str | SkipJsonSchema[None], Field(description="from the page before")] = None


class SymbolParameters(Parameters):
    """Of which symbol something is asked for."""

    symbol: Annotated[str | SkipJsonSchema[None], Field(min_length=1, description="this symbol only")] = None


class ModelPositionParameters(SymbolParameters):
    """Which closed positions of generated signals are asked for."""

    limit: Annotated[PageSize, Field(description="positions a page")] = 100
    cursor: Annotated[str | SkipJsonSchema[None], Field(description="from the page before")] = None


class ModelHistoryParameters(SymbolParameters):
    """Which generated signals are asked for."""

    start: Annotated[
        Instant | SkipJsonSchema[None], Field(alias="from", description="no earlier than this")
    ] = None
    end: Annotated[Instant | SkipJsonSchema[None], Field(alias="to", description="earlier than this")] = None
    action: Annotated[
        Literal["SELL", "HOLD", "BUY"] | SkipJsonSchema[None], Field(description="these signals only")
    ] = None
    limit: Annotated[PageSize, Field(description="signals a page")] = 100
    cursor: Annotated[str | SkipJsonSchema[None], Field(description="from the page before")] = None


class OutcomeParameters(Parameters):
    """Which past outcomes may be shown."""

    as_of: Annotated[
        Instant | SkipJsonSchema[None],
        Field(
            description="only what was known then; the signal's own instant, or now for a text, if missing"
        ),
    ] = None
    symbol: Annotated[str | SkipJsonSchema[None], Field(min_length=1, description="this symbol only")] = None
    side: Annotated[
        Literal["SELL", "BUY"] | SkipJsonSchema[None], Field(description="these signals only")
    ] = None
    regime: Annotated[
        Literal["unknown", "quiet", "normal", "wild"] | SkipJsonSchema[None],
        Field(description="of these volatilities only"),
    ] = None
    outcome: Annotated[
        Literal["right", "wrong"] | SkipJsonSchema[None], Field(description="whether the price went its way")
    ] = None
    start: Annotated[
        Instant | SkipJsonSchema[None], Field(alias="from", description="decided no earlier than this")
    ] = None
    end: Annotated[
        Instant | SkipJsonSchema[None], Field(alias="to", description="decided earlier than this")
    ] = None
    k: Annotated[int, Field(ge=1, le=100, description="at most so many"), BeforeValidator(_digits)] = 10


class SimilarParameters(OutcomeParameters):
    """Which past outcomes are asked for: those like a signal that was decided."""

    signal_id: Annotated[str, Field(min_length=1, description="of the signal", examples=["alert-0001"])]


class ExportParameters(Parameters):
    """Which settled outcomes are read."""

    first: Annotated[
        int, Field(ge=0, le=10**12, description="from this ordinal on"), BeforeValidator(_digits)
    ] = 0
    limit: Annotated[PageSize, Field(description="outcomes at most")] = 10_000


async def _no_parameters(_: Annotated[Parameters, Query()]) -> None:
    """FastAPI has refused any."""


NO_PARAMETERS = Depends(_no_parameters)


def refuse_repeated(query: bytes) -> None:
    """Raise `InvalidField` where a parameter comes twice: of two, FastAPI takes the last."""
    if b"&" not in query:
        return
    seen = set()
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if name in seen:
            raise InvalidField(name, value, "each parameter once")
        seen.add(name)


def invalid_parameter(error: Any) -> InvalidField:
    """What pydantic says of a parameter, as an error of ours.

    Args:
        error: one of `ValidationError.errors()`, whose place begins with where the parameter stands.
    """
    expected = error["msg"].removeprefix("Input should be ")
    if error["type"] == "missing":
        name, given = error["loc"][1], ", ".join(sorted(error["input"] or ())) or "none"
        return InvalidField(name, None, f"the parameter {name}, which must be given; given were: {given}")
    if error["type"] == "extra_forbidden":
        expected = "no parameter of this name"
    if error["type"].endswith("too_short") and not error["input"]:
        expected = "a value, or no parameter of this name"
    return InvalidField(str(error["loc"][1]), error["input"], expected)


BODY_S = 30.0
"""How long any body may take, beside what its length takes at `SLOWEST_BYTES_S`."""
SLOWEST_BYTES_S = 64 * 1024
MAX_OBJECT_BYTES = 16 * 1024


async def read_body(request: Request, limit: int, *, base_s: float = BODY_S) -> bytes:
    """A request's body of at most `limit` bytes, which comes within `base_s` and the time that its length takes.

    Raises:
        InputTooLarge: it says that it is longer, or is.
        InputTooSlow: it did not come within its time.
        UnsupportedMedia: it is compressed.
        UnreadableInput: the client went away before its end.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise UnsupportedMedia(
            f"the content encoding is {encoding}; expected none", content_encoding=encoding
        )
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > limit:
        raise _too_large(limit)
    length = int(stated) if stated.isdigit() else limit
    allowed_s = base_s + length / SLOWEST_BYTES_S
    chunks, size = [], 0
    try:
        async with asyncio.timeout(allowed_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise _too_large(limit)
                chunks.append(chunk)
    except TimeoutError as error:
        raise InputTooSlow(
            f"the body was not there within {allowed_s:.0f} s; expected its {length} bytes, or less in one request"
        ) from error
    except ClientDisconnect as error:
        raise UnreadableInput("the client went away before the end of the body") from error
    return b"".join(chunks)


async def read_object(request: Request, limit: int = MAX_OBJECT_BYTES) -> dict[str, Any]:
    """The JSON object of a request, strictly: FastAPI's own reader takes keys that stand twice, and any length."""
    body = await read_body(request, limit)
    kind = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if kind != JSON:
        raise UnsupportedMedia(f"the content type is {kind}; expected {JSON}", content_type=kind)
    return load_object(body)


def _too_large(limit: int) -> RaysignalError:
    return InputTooLarge(f"the body is larger than {limit} bytes, the limit here", limit=limit)
