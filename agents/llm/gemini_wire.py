"""The wire to Gemini: one LangChain call, one attempt, and a name for whatever comes of it.

This is the only module that imports LangChain. It asks through a transport of its own, which knows whether
a response has begun: what fails before that is the network's doing or ours, what fails after it the model's.
"""

import os
import re
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
from google.genai.errors import APIError
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_google_genai import ChatGoogleGenerativeAI, GoogleGenerativeAIEmbeddings
from langsmith import tracing_context
from pydantic import SecretStr

from raysignal.agents.llm.calls import (
    DETAIL_LIMIT,
    Failure,
    ModelRequest,
    ModelResponse,
    Outcome,
    Usage,
    judge,
)
from raysignal.agents.llm.gemini import LOOPBACK_HOSTS, TRACING
from raysignal.agents.llm.prompting import clean
from raysignal.agents.verdicts import Reason
from raysignal.engine.core.errors import AgentUnavailable, SettingsError

EMBEDDING_TIMEOUT_S = 60.0
MAX_ANSWER_BYTES = 1024 * 1024
"""Of a response as it comes over the wire, and again after it was decompressed; answers have some thousand."""

_NOTHING = Usage(0, 0)
_OLD_TRACING = ("LANGCHAIN_TRACING", "LANGCHAIN_HANDLER")
"""LangChain refuses every call while one of these is set and newer tracing is off."""
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


@dataclass(slots=True)
class _Exchange:
    """How far the request of the current task has come."""

    status: int | None = None


_exchange: ContextVar[_Exchange] = ContextVar("exchange")


class _Transport(httpx.AsyncBaseTransport, httpx.BaseTransport):
    """httpx's own, which notes when a response begins, and gives up what is longer than an answer can be.

    It decompresses by itself, because httpx does so without a bound. It is handed to a blocking client, too, that
    is never used.

    With aiohttp, the SDK's other way, an answer 503 that is no JSON looks like an unreadable answer 200.
    """

    def __init__(self, base_url: str) -> None:
        self._inner = httpx.AsyncHTTPTransport(proxy=_proxy_for(base_url))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.headers["accept-encoding"] = "gzip"
        response = await self._inner.handle_async_request(request)
        _exchange.get().status = response.status_code
        encoding = response.headers.pop("content-encoding", "identity").strip().lower()
        response.headers.pop("content-length", None)  # of the compressed bytes
        assert isinstance(response.stream, httpx.AsyncByteStream)
        bounded = _BoundedStream(response.stream, encoding)
        return httpx.Response(
            response.status_code, headers=response.headers, stream=bounded, extensions=response.extensions
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedStream(httpx.AsyncByteStream):
    """The body of a response, decompressed; `_UnusableBody` as soon as it is over a limit."""

    def __init__(self, stream: httpx.AsyncByteStream, encoding: str) -> None:
        self._stream = stream
        self._encoding = encoding

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._encoding not in {"identity", "gzip"}:
            raise _UnusableBody(
                f"the answer's content encoding is {self._encoding[:40]!r}; expected gzip or none"
            )
        decoder = zlib.decompressobj(wbits=31) if self._encoding == "gzip" else None
        received = decoded = 0
        async for chunk in self._stream:
            received += len(chunk)
            if received > MAX_ANSWER_BYTES:
                raise _UnusableBody(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
            plain = chunk if decoder is None else decoder.decompress(chunk, MAX_ANSWER_BYTES - decoded + 1)
            decoded += len(plain)
            if decoded > MAX_ANSWER_BYTES:
                raise _UnusableBody(f"the answer, decompressed, is longer than {MAX_ANSWER_BYTES} bytes")
            yield plain

    async def aclose(self) -> None:
        await self._stream.aclose()


class _UnusableBody(Exception):
    """A response whose body is not read to its end."""


class GeminiConnection:
    """A model at an address, for one event loop.

    Raises:
        SettingsError: the environment makes the SDK speak to Vertex AI.
    """

    def __init__(self, model: str, base_url: str, api_key: str) -> None:
        self._api_key = api_key
        self._traced = bool(os.environ.get(TRACING))
        if not self._traced:
            for name in _OLD_TRACING:
                os.environ.pop(name, None)
        self._chat = ChatGoogleGenerativeAI(
            model=model,
            api_key=SecretStr(api_key),
            # Always said: otherwise the environment could lead the key to another host.
            base_url=base_url,
            vertexai=False,
            # One attempt: a retry inside would not count against the budget.
            max_retries=1,
            temperature=None,
            cache=False,
            client_args={"transport": _Transport(base_url), "follow_redirects": False},
        )
        if self._chat.client is None or self._chat.client.vertexai:
            raise SettingsError(
                "GOOGLE_GENAI_USE_VERTEXAI is set, but the key is for the Gemini API; expected it unset"
            )

    async def ask(self, request: ModelRequest, timeout_s: float) -> Outcome:
        """One attempt; `timeout_s` bounds each read, the caller bounds the whole."""
        exchange = _Exchange()
        token = _exchange.set(exchange)
        try:
            # None: as the environment says.
            with tracing_context(enabled=None if self._traced else False):
                message = await self._chat.ainvoke(
                    [SystemMessage(request.system), HumanMessage(request.user)],
                    response_mime_type="application/json",
                    response_json_schema=dict(request.schema),
                    timeout=timeout_s,
                    **request.settings,
                )
        except httpx.TransportError as error:
            return self._lost(error)
        except Exception as error:
            if (refusal := _refusal_of(error)) is not None:
                return self._refused(refusal)
            if exchange.status is None:
                raise  # Nothing was received, so nothing received can be blamed.
            return self._failure(Reason.MODEL_UNREADABLE, error)
        finally:
            _exchange.reset(token)
        return judge(_response_of(message))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._chat.aclose()

    def _lost(self, error: httpx.TransportError) -> Failure:
        """The connection failed, or did not come about."""
        late = isinstance(error, httpx.TimeoutException)
        reason = Reason.MODEL_TIMEOUT if late else Reason.MODEL_UNAVAILABLE
        return self._failure(reason, error, sent=not isinstance(error, _NOT_SENT))

    def _refused(self, refusal: APIError) -> Failure:
        """An HTTP status that is no 200; Google does not charge for it."""
        reason = Reason.MODEL_QUOTA if refusal.code == 429 else Reason.MODEL_UNAVAILABLE
        said = f"{refusal.code} {refusal.status}: {refusal.message}"
        return Failure(reason, self._detail(said), usage=_NOTHING, retry_after_s=_retry_after_s(refusal))

    def _failure(self, reason: Reason, error: Exception, *, sent: bool = True) -> Failure:
        detail = self._detail(f"{type(error).__name__}: {error}")
        return Failure(reason, detail, usage=None if sent else _NOTHING, sent=sent)

    def _detail(self, text: str) -> str:
        return clean(text.replace(self._api_key, "(key)"), DETAIL_LIMIT)


class EmbeddingConnection:
    """A model that embeds texts, at an address."""

    def __init__(self, model: str, base_url: str, api_key: str) -> None:
        self._model, self._api_key = model, api_key
        self._traced = bool(os.environ.get(TRACING))
        self._embeddings = GoogleGenerativeAIEmbeddings(
            model=model,
            api_key=SecretStr(api_key),
            base_url=base_url,
            vertexai=False,
            client_args={
                "transport": httpx.HTTPTransport(proxy=_proxy_for(base_url)),
                "follow_redirects": False,
                "timeout": EMBEDDING_TIMEOUT_S,
            },
        )

    def embed(self, texts: Sequence[str], dimensions: int) -> list[list[float]]:
        """The vectors of some texts, in their order; one call, one attempt.

        Raises:
            AgentUnavailable: no answer, or none that can be read.
        """
        try:
            with tracing_context(enabled=None if self._traced else False):
                found = self._embeddings.embed_documents(
                    list(texts),
                    batch_size=len(texts),
                    task_type="CLASSIFICATION",
                    output_dimensionality=dimensions,
                )
        except Exception as error:  # noqa: BLE001 - LangChain wraps whatever a server or a network does
            said = clean(str(error).replace(self._api_key, "(key)"), DETAIL_LIMIT)
            raise AgentUnavailable(f"{self._model} embedded no texts: {said}") from None
        if len(found) != len(texts):
            raise AgentUnavailable(f"{self._model} embedded {len(found)} texts; expected {len(texts)}")
        return found


def _proxy_for(base_url: str) -> str | None:
    """The proxy that the environment names for an address; none for this machine itself."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if host in LOOPBACK_HOSTS or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)


def _response_of(message: AIMessage) -> ModelResponse:
    about = message.response_metadata
    finish, feedback = about.get("finish_reason"), about.get("prompt_feedback") or {}
    block = feedback.get("block_reason")
    usage = message.usage_metadata
    # LangChain makes an empty message when there is no candidate; only a candidate has ratings.
    return ModelResponse(
        text=str(message.text) if "safety_ratings" in about else None,
        finish_reason=None if finish is None else str(finish),
        block_reason=None if block is None else str(getattr(block, "value", block)),
        model=str(about.get("model_name", "")),
        usage=None if usage is None else Usage(usage["input_tokens"], usage["output_tokens"]),
    )


def _refusal_of(error: BaseException) -> APIError | None:
    """The SDK's error behind LangChain's, if a status was the matter."""
    return next((each for each in (error, error.__cause__) if isinstance(each, APIError)), None)


def _retry_after_s(refusal: APIError) -> float | None:
    """Google's RetryInfo (`"retryDelay": "38s"`), else the Retry-After header in seconds."""
    details = refusal.details if isinstance(refusal.details, Mapping) else {}
    inner = details.get("error")
    entries: Any = inner.get("details") if isinstance(inner, Mapping) else None
    hints = [each.get("retryDelay") for each in entries or () if isinstance(each, Mapping)]
    response = refusal.response
    if isinstance(response, httpx.Response):
        hints.append(response.headers.get("retry-after"))
    for hint in hints:
        if match := re.fullmatch(r"(\d{1,6}(?:\.\d{1,9})?)s?", str(hint)):
            return float(match[1])
    return None
