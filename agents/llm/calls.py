"""One call of a language model: the request, what may come back, and what is made of it.

A model answers with an `ModelAnswer` or a `Failure`; both are values, because a model that fails is an expected
case in which the signal stands. What raises is our own mistake.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from raysignal.agents.llm.prompting import Prompt, clean
from raysignal.agents.verdicts import Reason

RAW_LIMIT = 65_536
DETAIL_LIMIT = 240

Word = Annotated[str, Field(max_length=200)]


class VerdictIn(BaseModel):
    """The model's answer as it must be, to the letter; what is allowed and shown is judged later."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    verdict: Literal["approve", "flip", "hold"]
    confidence: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    evidence: Annotated[list[Word], Field(max_length=64)]
    rationale: Annotated[str, Field(max_length=4_000)]


def response_schema(prompt: Prompt) -> dict[str, Any]:
    """The JSON schema that the model is held to: only what is allowed, only labels that are shown."""
    properties: dict[str, Any] = {
        "verdict": {"type": "string", "enum": list(prompt.allowed)},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "evidence": {
            "type": "array",
            "items": {"type": "string", "enum": list(prompt.labels)},
            "minItems": 1,
            "maxItems": max(1, len(prompt.labels)),
        },
        "rationale": {"type": "string", "description": "at most two short sentences"},
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """All that decides about an answer; two requests with the same hash are the same question.

    Attributes:
        prompt_hash: SHA-256 of the prompt file.
        system: the instruction.
        user: the question.
        model: the model's name.
        settings: generation settings, plain JSON values.
        schema: the response schema.
    """

    prompt_hash: str
    system: str
    user: str
    model: str
    settings: Mapping[str, Any]
    schema: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """SHA-256 over canonical JSON of all fields, hexadecimal."""
        return digest(
            {
                "prompt": self.prompt_hash,
                "system": self.system,
                "user": self.user,
                "model": self.model,
                "settings": dict(self.settings),
                "schema": dict(self.schema),
            }
        )


def digest(value: object) -> str:
    """SHA-256 of a value of plain JSON, in its one canonical form."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces, ASCII only; NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a call took; thinking counts as output."""

    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """A response that is a verdict. `raw` is what the model sent, as plain JSON values."""

    verdict: VerdictIn
    raw: Mapping[str, Any]
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Failure:
    """No verdict, and why.

    Attributes:
        reason: one of the `MODEL_…` reasons.
        detail: a short sentence for people.
        raw: what the model sent; None: nothing came.
        usage: None: unknown, it may have cost something.
        sent: False only when the request certainly did not leave this machine.
        retry_after_s: how long the server asked everyone to wait.
    """

    reason: Reason
    detail: str
    raw: Mapping[str, Any] | None = None
    usage: Usage | None = None
    sent: bool = True
    retry_after_s: float | None = None


Outcome = ModelAnswer | Failure


@dataclass(frozen=True, slots=True)
class ModelResponse:
    """What a model sent, before anything is believed.

    Attributes:
        text: the text of the first candidate; None: there was no candidate.
        finish_reason: why it ended; None: it does not say.
        block_reason: why the prompt was refused; None: it was not.
        model: the version that answered.
        usage: tokens, if the response counts them.
    """

    text: str | None
    finish_reason: str | None
    block_reason: str | None
    model: str
    usage: Usage | None


# How an answer ended, in the words of Google (capitals), OpenAI, Anthropic and Ollama.
_ENDED = frozenset({"STOP", "stop", "end_turn"})
_CUT_OFF = frozenset({"MAX_TOKENS", "length", "max_tokens", "model_context_window_exceeded"})
_BLOCKED = frozenset(
    {
        "SAFETY", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "RECITATION", "LANGUAGE",
        "content_filter", "refusal",
    }
)  # fmt: skip


def judge(response: ModelResponse) -> Outcome:
    """A verdict only from a response that ended by itself and is exactly one; otherwise the reason."""
    raw = {
        "text": None if response.text is None else response.text[:RAW_LIMIT],
        "finish_reason": response.finish_reason,
        "block_reason": response.block_reason,
        "model": response.model,
    }
    if (fault := _fault_of(response)) is not None:
        reason, detail = fault
        return Failure(reason, clean(detail, DETAIL_LIMIT), raw, response.usage)
    try:
        verdict = read_verdict(response.text or "")
    except ValueError as error:
        detail = clean(str(error), DETAIL_LIMIT)
        return Failure(Reason.MODEL_UNREADABLE, detail, raw, response.usage)
    return ModelAnswer(verdict, raw, response.usage)


def _fault_of(response: ModelResponse) -> tuple[Reason, str] | None:
    """What is wrong with a response before its text is read; the first that applies."""
    text, finish = response.text, response.finish_reason
    faults = (
        (
            response.block_reason is not None,
            Reason.MODEL_BLOCKED,
            f"the prompt was refused: {response.block_reason}",
        ),
        (finish in _BLOCKED, Reason.MODEL_BLOCKED, f"the answer was withheld: {finish}"),
        (text is None, Reason.MODEL_EMPTY, "the response has no candidate"),
        (finish is None, Reason.MODEL_UNREADABLE, "the candidate does not say why it ended"),
        (
            finish in _CUT_OFF and not text,
            Reason.MODEL_TRUNCATED,
            "thinking took all tokens that the answer may have",
        ),
        (
            finish in _CUT_OFF,
            Reason.MODEL_TRUNCATED,
            "the answer has no end: it has as many tokens as it may have",
        ),
        (
            finish not in _ENDED,
            Reason.MODEL_UNREADABLE,
            f"the answer did not end by itself: {finish}",
        ),
        (not (text or "").strip(), Reason.MODEL_EMPTY, "the candidate has no text"),
        (len(text or "") > RAW_LIMIT, Reason.MODEL_UNREADABLE, f"the answer has over {RAW_LIMIT} characters"),
    )
    return next(((reason, detail) for applies, reason, detail in faults if applies), None)


def read_verdict(text: str) -> VerdictIn:
    """Exactly one JSON object that is a verdict.

    Raises:
        ValueError: anything else: prose, a fence, two objects, a key twice, NaN, a field too many.
    """
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("the answer is nested too deeply") from error
    try:
        return VerdictIn.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the answer"
        raise ValueError(f"{place}: {first['msg']}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice in the answer")
    return found
