"""A server on this machine that speaks the Gemini API: for tests, and for users without a key.

    python -m raysignal.loopback.gemini --port 8900 [--behaviour NAME] [--every K]

It takes `POST /v1beta/models/{model}:generateContent` as Google does; see `chat_server` for what it answers. It takes
`:batchEmbedContents`, too: its vectors are hashed n-grams, the nearer to each other the more of them texts share.
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

__all__ = ["Behaviour", "GeminiApi", "GeminiServer"]

_MOST_EMBEDDED = 100
_REQUEST_FIELDS = frozenset({"contents", "systemInstruction", "generationConfig", "safetySettings"})
_CONFIG_FIELDS = frozenset(
    {
        "temperature",
        "candidateCount",
        "maxOutputTokens",
        "responseMimeType",
        "responseJsonSchema",
        "thinkingConfig",
    }
)


class GeminiApi(ChatApi):
    """The Gemini API, as far as one question with a JSON schema goes."""

    title = "Gemini API"
    path = re.compile(r"/v1beta/models/([A-Za-z0-9._-]+):generateContent")
    embedding_path = re.compile(r"/v1beta/models/([A-Za-z0-9._-]+):batchEmbedContents")
    bad_key = 400

    def key(self, headers: Mapping[str, str]) -> str | None:
        return headers.get("x-goog-api-key")

    def fault(self, body: Any, key: str | None) -> Refusal | None:
        if (refusal := _common_fault(body, key)) is not None:
            return refusal
        config: Any = body.get("generationConfig")
        unknown = [*(set(body) - _REQUEST_FIELDS), *(set(config or {}) - _CONFIG_FIELDS)]
        return first_fault(
            (
                (lambda: not unknown, f"Invalid JSON payload received. Unknown name {unknown}"),
                (lambda: body["contents"][-1]["role"] == "user", "contents must end with a turn of the user"),
                (lambda: body["contents"][-1]["parts"][0]["text"], "contents must not be empty"),
                (
                    lambda: body["systemInstruction"]["parts"][0]["text"],
                    "systemInstruction must not be empty",
                ),
                (lambda: 0 <= config.get("temperature", 0) <= 2, "temperature is out of range"),
                (lambda: config["maxOutputTokens"] > 0, "maxOutputTokens must be positive"),
                (lambda: config["responseMimeType"] == "application/json", "responseMimeType"),
                (lambda: config["responseJsonSchema"]["type"] == "object", "responseJsonSchema"),
            )
        )

    def embedding_fault(self, body: Any, key: str | None) -> Refusal | None:
        if (refusal := _common_fault(body, key)) is not None:
            return refusal
        return first_fault(
            (
                (lambda: 1 <= len(body["requests"]) <= _MOST_EMBEDDED, f"at most {_MOST_EMBEDDED} requests"),
                (
                    lambda: all(each["content"]["parts"][0]["text"] for each in body["requests"]),
                    "content must not be empty",
                ),
                (
                    lambda: all(each["outputDimensionality"] > 0 for each in body["requests"]),
                    "outputDimensionality must be positive",
                ),
            )
        )

    def embeddings(self, body: Any, behaviour: Behaviour) -> dict[str, Any]:
        if behaviour is Behaviour.EMPTY:
            return {}
        more = 1 if behaviour is Behaviour.EXTRA_FIELD else 0
        vectors = (
            embedding_of(each["content"]["parts"][0]["text"], each["outputDimensionality"] + more)
            for each in body["requests"]
        )
        return {"embeddings": [{"values": vector} for vector in vectors]}

    def question(self, body: Any) -> Question:
        config = body["generationConfig"]
        return Question(
            body["contents"][-1]["parts"][0]["text"], config["responseJsonSchema"], config["maxOutputTokens"]
        )

    def response(self, reply: Reply) -> dict[str, Any]:
        behaviour = reply.behaviour
        counts = {
            "promptTokenCount": reply.tokens_in,
            "candidatesTokenCount": reply.tokens_out,
            "thoughtsTokenCount": reply.thoughts,
        }
        usage = {name: count for name, count in counts.items() if count}
        response: dict[str, Any] = {
            "usageMetadata": usage | {"totalTokenCount": sum(usage.values())}, "modelVersion": "loopback",
        }  # fmt: skip
        if behaviour in _BLOCKS:
            return response | {"promptFeedback": {"blockReason": _BLOCKS[behaviour]}}
        if behaviour is Behaviour.EMPTY:
            return response | {"candidates": []}
        candidate: dict[str, Any] = {"finishReason": _FINISHES.get(behaviour, "STOP"), "index": 0}
        if reply.text:
            candidate["content"] = {"role": "model", "parts": _parts(reply)}
        elif behaviour is Behaviour.THOUGHT_ONLY:
            candidate["content"] = {"role": "model"}
        return response | {"candidates": [candidate]}

    def error(self, refusal: Refusal) -> dict[str, Any]:
        error: dict[str, Any] = {
            "code": refusal.code, "message": refusal.message, "status": _KINDS[refusal.code],
        }  # fmt: skip
        if refusal.code == 429:
            retry_info = "type.googleapis.com/google.rpc.RetryInfo"
            error["details"] = [{"@type": retry_info, "retryDelay": f"{refusal.retry_after_s}s"}]
        return {"error": error}

    def error_headers(self, refusal: Refusal) -> dict[str, str]:
        return {} if refusal.code == 429 else super().error_headers(refusal)


def _common_fault(body: object, key: str | None) -> Refusal | None:
    """Whatever is asked."""
    if not key:
        return Refusal(403, "Method doesn't allow unregistered callers. Please use an API key.")
    if not isinstance(body, dict):
        return Refusal(400, "Invalid JSON payload received.")
    return None


def embedding_of(text: str, dimensions: int) -> list[float]:
    """A vector that is the nearer to another's the more n-grams their texts share."""
    import numpy as np  # noqa: PLC0415 - with what follows half a second, for who embeds texts

    from raysignal.agents.override.texts import HashedNgrams  # noqa: PLC0415
    from raysignal.engine.core.columns import TextColumn  # noqa: PLC0415

    hashed = HashedNgrams().embed({"text": TextColumn.of([text])}, 0, 1)[0]
    folded = np.bincount(np.arange(len(hashed)) % dimensions, hashed, dimensions)
    found: list[float] = folded.round(8).tolist()
    return found


_KINDS = {
    302: "FOUND",
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
}
_FINISHES = {
    Behaviour.TRUNCATED: "MAX_TOKENS",
    Behaviour.CLOSED_EARLY: "MAX_TOKENS",
    Behaviour.THOUGHT_ONLY: "MAX_TOKENS",
    Behaviour.SAFETY: "SAFETY",
    Behaviour.RECITATION: "RECITATION",
    Behaviour.UNKNOWN_FINISH: "LOST_INTEREST",
}
_BLOCKS = {Behaviour.BLOCKED: "PROHIBITED_CONTENT", Behaviour.BLOCKED_OTHER: "OTHER"}


def _parts(reply: Reply) -> list[dict[str, Any]]:
    """An answer as the parts of a candidate."""
    if reply.behaviour is Behaviour.TWO_PARTS:
        return [{"text": reply.text[:20]}, {"text": reply.text[20:]}]
    thoughts = [{"text": "**Weighing the precedents**", "thought": True}] if reply.thoughts else []
    return [*thoughts, {"text": reply.text}]


class GeminiServer(ChatServer):
    """A running server of the Gemini API."""

    api = GeminiApi()


if __name__ == "__main__":
    GeminiServer.run()
