"""What is made of a model's response."""

import json
from typing import Any

import pytest

from raysignal.agents.llm.calls import (
    RAW_LIMIT,
    Failure,
    ModelAnswer,
    ModelResponse,
    Usage,
    judge,
    read_verdict,
    response_schema,
)
from raysignal.agents.llm.prompting import load_prompt
from raysignal.agents.verdicts import Reason, Verdict
from tests.support.advising import context, request_of

GOOD = {"verdict": "hold", "confidence": 0.7, "evidence": ["E1"], "rationale": "losses"}


def response(text: str | None, finish: str | None = "STOP", block: str | None = None) -> ModelResponse:
    return ModelResponse(text, finish, block, "m", Usage(10, 5))


def test_a_response_that_ended_by_itself_and_is_a_verdict_is_an_answer() -> None:
    answer = judge(response(json.dumps(GOOD)))
    assert isinstance(answer, ModelAnswer)
    assert answer.verdict.model_dump() == GOOD
    assert answer.raw["text"] == json.dumps(GOOD)
    assert answer.usage == Usage(10, 5)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (response(None), Reason.MODEL_EMPTY),
        (response(None, None), Reason.MODEL_EMPTY),
        (response("  "), Reason.MODEL_EMPTY),
        (response(None, None, "SAFETY"), Reason.MODEL_BLOCKED),
        (response(json.dumps(GOOD), "STOP", "OTHER"), Reason.MODEL_BLOCKED),
        (response("", "SAFETY"), Reason.MODEL_BLOCKED),
        (response(json.dumps(GOOD), "RECITATION"), Reason.MODEL_BLOCKED),
        (response(json.dumps(GOOD), "MAX_TOKENS"), Reason.MODEL_TRUNCATED),
        (response(json.dumps(GOOD), "OTHER"), Reason.MODEL_UNREADABLE),
        (response("", "MAX_TOKENS"), Reason.MODEL_TRUNCATED),
        (response(json.dumps(GOOD), None), Reason.MODEL_UNREADABLE),
        (response("I would hold."), Reason.MODEL_UNREADABLE),
        (response(" " * RAW_LIMIT + json.dumps(GOOD)), Reason.MODEL_UNREADABLE),
        (response("[" * 100_000), Reason.MODEL_UNREADABLE),
        (response("[" * 50_000), Reason.MODEL_UNREADABLE),
    ],
)
def test_any_other_response_is_a_failure_with_its_reason_and_keeps_what_was_sent(
    given: ModelResponse, reason: Reason
) -> None:
    failure = judge(given)
    assert isinstance(failure, Failure)
    assert failure.reason == reason
    assert failure.detail
    assert failure.raw is not None
    assert len(failure.raw["text"] or "") <= RAW_LIMIT
    assert failure.usage == Usage(10, 5)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"hold"',
        json.dumps(GOOD) + json.dumps(GOOD),
        f"```json\n{json.dumps(GOOD)}\n```",
        json.dumps(GOOD)[:-1],
        json.dumps(GOOD | {"verdict": "FLIP"}),
        json.dumps(GOOD | {"verdict": "buy"}),
        json.dumps(GOOD | {"verdict": 1}),
        json.dumps(GOOD | {"confidence": "0.7"}),
        json.dumps(GOOD | {"confidence": True}),
        json.dumps(GOOD | {"confidence": 1.01}),
        json.dumps(GOOD | {"confidence": -0.01}),
        json.dumps(GOOD | {"confidence": float("nan")}),
        json.dumps(GOOD | {"evidence": "E1"}),
        json.dumps(GOOD | {"evidence": [1]}),
        json.dumps(GOOD | {"evidence": ["E1"] * 65}),
        json.dumps(GOOD | {"rationale": None}),
        json.dumps(GOOD | {"action": "sell"}),
        json.dumps({name: value for name, value in GOOD.items() if name != "evidence"}),
        '{"verdict": "approve", ' + json.dumps(GOOD)[1:],
    ],
)
def test_only_one_json_object_that_is_exactly_a_verdict_is_read(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_verdict(text)


def test_whole_numbers_and_white_space_are_json_too() -> None:
    assert read_verdict("\n " + json.dumps(GOOD | {"confidence": 1}) + "\n").confidence == 1.0


def test_the_schema_offers_only_what_is_allowed_and_shown() -> None:
    prompt = load_prompt().render(context(allowed=(Verdict.HOLD, Verdict.APPROVE)))
    properties = response_schema(prompt)["properties"]
    assert properties["verdict"]["enum"] == ["approve", "hold"]
    assert properties["evidence"]["items"]["enum"] == ["E1", "E2", "E3"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt_hash", "x"), ("system", "x"), ("user", "x"), ("model", "x"),
        ("settings", {"temperature": 1.0}), ("schema", {}),
    ],
)  # fmt: skip
def test_whatever_decides_about_an_answer_changes_the_hash_of_its_request(field: str, value: Any) -> None:
    from dataclasses import replace

    assert replace(request_of(), **{field: value}).hash != request_of().hash


def test_the_hash_does_not_depend_on_the_order_of_settings() -> None:
    from dataclasses import replace

    request = request_of()
    turned = dict(reversed(request.settings.items()))
    assert replace(request, settings=turned).hash == request.hash
