"""A server on this machine that speaks Ollama's API: for tests, and for users without a model.

    python -m raysignal.loopback.ollama --port 8900 [--behaviour NAME] [--every K]

It takes `POST /api/chat` as Ollama does; see `chat_server` for what it answers.
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


class OllamaApi(ChatApi):
    """Ollama's chat, as far as one question with a JSON schema goes. It needs no key."""

    title = "Ollama API"
    path = re.compile(r"/api/chat")
    unspoken = frozenset(
        {
            Behaviour.TWO_PARTS, Behaviour.BLOCKED, Behaviour.BLOCKED_OTHER, Behaviour.RECITATION,
            Behaviour.SAFETY,
        }
    )  # fmt: skip

    def key(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("authorization", "").removeprefix("Bearer ") or None

    def fault(self, body: Any, key: str | None) -> Refusal | None:  # noqa: ARG002  it needs none
        if not isinstance(body, dict):
            return Refusal(400, "invalid character in the request")
        return first_fault(
            (
                (lambda: body["model"], "model is required"),
                (lambda: [each["role"] for each in body["messages"]] == ["system", "user"], "messages"),
                (lambda: body["messages"][-1]["content"], "messages must not be empty"),
                (lambda: body["stream"] is False, "stream must be false here"),
                (lambda: body["format"]["type"] == "object", "invalid format"),
                (lambda: body["options"]["num_predict"] > 0, "num_predict must be positive"),
                (lambda: body["options"]["num_ctx"] > body["options"]["num_predict"], "num_ctx is too small"),
            )
        )

    def question(self, body: Any) -> Question:
        return Question(body["messages"][-1]["content"], body["format"], body["options"]["num_predict"])

    def response(self, reply: Reply) -> dict[str, Any]:
        message = {"role": "assistant", "content": reply.text}
        if reply.thoughts:
            message["thinking"] = "Weighing the precedents"
        return {
            "model": "loopback",
            "created_at": "2026-01-01T00:00:00Z",
            "message": message,
            "done": True,
            "done_reason": _FINISHES.get(reply.behaviour, "stop"),
            "prompt_eval_count": reply.tokens_in,
            "eval_count": reply.tokens_out + reply.thoughts,
        }

    def error(self, refusal: Refusal) -> dict[str, Any]:
        return {"error": refusal.message}


_FINISHES = {
    Behaviour.TRUNCATED: "length",
    Behaviour.CLOSED_EARLY: "length",
    Behaviour.THOUGHT_ONLY: "length",
    Behaviour.UNKNOWN_FINISH: "lost_interest",
}


class OllamaServer(ChatServer):
    """A running server of Ollama's API."""

    api = OllamaApi()


if __name__ == "__main__":
    OllamaServer.run()
