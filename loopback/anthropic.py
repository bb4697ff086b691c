"""A server on this machine that speaks Anthropic's API: for tests, and for users without a key.

    python -m raysignal.loopback.anthropic --port 8900 [--behaviour NAME] [--every K]

It takes `POST /v1/messages` as Anthropic does; see `chat_server` for what it answers.
"""

import json
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

_FIELDS = frozenset({"model", "messages", "system", "max_tokens", "output_config", "thinking", "stream"})


class AnthropicApi(ChatApi):
    """Anthropic's messages, as far as one question with a JSON schema goes."""

    title = "Anthropic API"
    path = re.compile(r"/v1/messages")
    overloaded = 529
    unspoken = frozenset({Behaviour.BLOCKED_OTHER, Behaviour.RECITATION})

    def key(self, headers: Mapping[str, str]) -> str | None:
        if "anthropic-version" not in headers:
            return None
        return headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ") or None

    def fault(self, body: Any, key: str | None) -> Refusal | None:
        if not key:
            return Refusal(401, "x-api-key header is required")
        if not isinstance(body, dict):
            return Refusal(400, "The request body is not valid JSON")
        unknown = sorted(set(body) - _FIELDS)
        return first_fault(
            (
                (lambda: not unknown, f"{unknown}: Extra inputs are not permitted"),
                (lambda: body["model"], "model: Field required"),
                (lambda: body["system"], "system: Field required"),
                (lambda: [each["role"] for each in body["messages"]] == ["user"], "messages"),
                (lambda: body["messages"][0]["content"], "messages: text content blocks must be non-empty"),
                (lambda: body["max_tokens"] > 0, "max_tokens: Input should be greater than 0"),
                (lambda: not body.get("stream"), "stream must be false here"),
                (lambda: body["output_config"]["format"]["type"] == "json_schema", "output_config.format"),
                (
                    lambda: _schema(body)["type"] == "object",
                    "output_config.format.schema: expected an object",
                ),
                (
                    lambda: not _unsupported(_schema(body)),
                    "output_config.format.schema: unsupported property",
                ),
            )
        )

    def question(self, body: Any) -> Question:
        return Question(body["messages"][0]["content"], _schema(body), body["max_tokens"])

    def response(self, reply: Reply) -> dict[str, Any]:
        thoughts = [{"type": "thinking", "thinking": "Weighing the precedents", "signature": "s"}]
        middle = 20 if reply.behaviour is Behaviour.TWO_PARTS else len(reply.text)
        texts = [
            {"type": "text", "text": part} for part in (reply.text[:middle], reply.text[middle:]) if part
        ]
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "loopback",
            "content": [*(thoughts if reply.thoughts else []), *texts],
            "stop_reason": _FINISHES.get(reply.behaviour, "end_turn"),
            "stop_sequence": None,
            "usage": {"input_tokens": reply.tokens_in, "output_tokens": reply.tokens_out + reply.thoughts},
        }

    def error(self, refusal: Refusal) -> dict[str, Any]:
        kind = _KINDS.get(refusal.code, "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": refusal.message}}


def _schema(body: Any) -> Any:
    return body["output_config"]["format"]["schema"]


def _unsupported(schema: Any) -> bool:
    """Whether a schema bounds numbers or long arrays, which structured output refuses."""
    return re.search(r'"(minimum|maximum|maxItems)":', json.dumps(schema)) is not None


_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_FINISHES = {
    Behaviour.TRUNCATED: "max_tokens",
    Behaviour.CLOSED_EARLY: "max_tokens",
    Behaviour.THOUGHT_ONLY: "max_tokens",
    Behaviour.BLOCKED: "refusal",
    Behaviour.SAFETY: "refusal",
    Behaviour.UNKNOWN_FINISH: "lost_interest",
}


class AnthropicServer(ChatServer):
    """A running server of Anthropic's API."""

    api = AnthropicApi()


if __name__ == "__main__":
    AnthropicServer.run()
