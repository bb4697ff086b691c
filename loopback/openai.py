"""A server on this machine that speaks OpenAI's chat API: for tests, and for users without a key.

    python -m raysignal.loopback.openai --port 8900 [--behaviour NAME] [--every K]

It takes `POST /v1/chat/completions` as OpenAI does; see `chat_server` for what it answers.
"""

import re
from collections.abc import Mapping
from typing import Any

from raysignal.loopback.chat_server import (
    Behaviour,
    ChatApi,
    ChatServer,
    Question,
    Refusal,
    Reply,
    first_fault,
)

_FIELDS = frozenset(
    {
        "model",
        "messages",
        "response_format",
        "max_completion_tokens",
        "temperature",
        "reasoning_effort",
        "stream",
    }
)
_REASONS = re.compile(r"(o\d|gpt-[5-9])(?!.*chat)")


class OpenAiApi(ChatApi):
    """OpenAI's chat completions, as far as one question with a strict JSON schema goes."""

    title = "OpenAI API"
    path = re.compile(r"/v1/chat/completions")
    base = "/v1"
    unspoken = frozenset({Behaviour.TWO_PARTS, Behaviour.BLOCKED_OTHER, Behaviour.RECITATION})

    def key(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("authorization", "").removeprefix("Bearer ") or None

    def fault(self, body: Any, key: str | None) -> Refusal | None:
        if not key:
            return Refusal(401, "You didn't provide an API key.")
        if not isinstance(body, dict):
            return Refusal(400, "We could not parse the JSON body of your request.")
        unknown = sorted(set(body) - _FIELDS)
        reasons = _REASONS.match(str(body.get("model"))) is not None
        return first_fault(
            (
                (lambda: not unknown, f"Unrecognized request argument supplied: {unknown}"),
                (lambda: body["model"], "you must provide a model parameter"),
                (lambda: body["messages"][0]["role"] == "system", "messages must begin with the system's"),
                (lambda: body["messages"][-1]["role"] == "user", "messages must end with the user's"),
                (lambda: body["messages"][-1]["content"], "messages must not be empty"),
                (lambda: body["max_completion_tokens"] > 0, "max_completion_tokens must be positive"),
                (lambda: not (reasons and "temperature" in body), "Unsupported value: 'temperature'"),
                (lambda: 0 <= body.get("temperature", 0) <= 2, "temperature is out of range"),
                (
                    lambda: reasons or "reasoning_effort" not in body,
                    "Unsupported parameter: 'reasoning_effort'",
                ),
                (lambda: not body.get("stream"), "stream must be false here"),
                (lambda: body["response_format"]["type"] == "json_schema", "response_format"),
                (
                    lambda: _is_strict(body["response_format"]["json_schema"]),
                    "Invalid schema for response_format",
                ),
            )
        )

    def question(self, body: Any) -> Question:
        schema = body["response_format"]["json_schema"]["schema"]
        return Question(body["messages"][-1]["content"], schema, body["max_completion_tokens"])

    def response(self, reply: Reply) -> dict[str, Any]:
        blocked = reply.behaviour is Behaviour.BLOCKED
        refusal = "I'm sorry, I can't help with that." if blocked else None
        message = {"role": "assistant", "content": reply.text or None, "refusal": refusal}
        finish = _FINISHES.get(reply.behaviour, "stop")
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": "loopback",
            "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
            "usage": {
                "prompt_tokens": reply.tokens_in,
                "completion_tokens": reply.tokens_out + reply.thoughts,
                "total_tokens": reply.tokens_in + reply.tokens_out + reply.thoughts,
                "completion_tokens_details": {"reasoning_tokens": reply.thoughts},
            },
        }

    def error(self, refusal: Refusal) -> dict[str, Any]:
        kind = _KINDS.get(refusal.code, "invalid_request_error")
        return {"error": {"message": refusal.message, "type": kind, "param": None, "code": None}}


def _is_strict(named: Any) -> bool:
    """Whether a schema is one that strict output can be held to."""
    schema = named["schema"]
    whole = set(schema["required"]) == set(schema["properties"])
    closed = schema["type"] == "object" and schema["additionalProperties"] is False
    return bool(named["name"]) and named["strict"] is True and whole and closed


_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    503: "server_error",
}
_FINISHES = {
    Behaviour.TRUNCATED: "length",
    Behaviour.CLOSED_EARLY: "length",
    Behaviour.THOUGHT_ONLY: "length",
    Behaviour.SAFETY: "content_filter",
    Behaviour.UNKNOWN_FINISH: "lost_interest",
}


class OpenAiServer(ChatServer):
    """A running server of OpenAI's chat API."""

    api = OpenAiApi()


if __name__ == "__main__":
    OpenAiServer.run()
