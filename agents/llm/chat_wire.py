"""The wire to a model that chats or embeds texts: one LangChain call, one attempt, and a name for whatever comes of it.

This module is the only one that imports LangChain. It asks through a transport of its own, which knows whether a
response has begun: what fails before that is the network's doing or ours, what fails after it the model's. It also
keeps what a server says when it refuses, because each SDK makes other exceptions of it.
"""

import json
import os
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx
import httpx2
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
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
from raysignal.agents.llm.embeddings import EmbeddedTexts, EmbeddingOutcome, EmbeddingRequest, unit_vectors
from raysignal.agents.llm.models import LOOPBACK_HOSTS, TRACING, ModelSettings
from raysignal.agents.llm.prompting import clean
from raysignal.agents.verdicts import Reason
from raysignal.engine.core.errors import SettingsError

if TYPE_CHECKING:
    from google.genai import Client

MAX_ANSWER_BYTES = 1024 * 1024
"""Of a response as it comes over the wire, and again after it was decompressed; answers have some thousand, those of
vectors some hundred thousand."""

T = TypeVar("T")

_NOTHING = Usage(0, 0)
_OLD_TRACING = ("LANGCHAIN_TRACING", "LANGCHAIN_HANDLER")
"""LangChain refuses every call while one of these is set and newer tracing is off."""

# httpx2 is httpx under another name, with classes of its own; the SDKs are divided between the two.
_LOST = (httpx.TransportError, httpx2.TransportError)
_LATE = (httpx.TimeoutException, httpx2.TimeoutException)
_NOT_SENT = (
    httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError,
    httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError,
)  # fmt: skip


@dataclass(slots=True)
class _Exchange:
    """How far the request of the current task has come.

    Attributes:
        status: of the response; None: none has begun.
        retry_after: its header.
        refusal: its body, as far as it was read, if the status is not 200.
        lost: how the connection failed.
        unusable: why the body was not read to its end.
    """

    status: int | None = None
    retry_after: str | None = None
    refusal: bytes = b""
    lost: Exception | None = None
    unusable: Exception | None = None


_exchange: ContextVar[_Exchange] = ContextVar("exchange")


class _Transport(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport, httpx.BaseTransport):
    """httpx's own, which notes how a response begins and fails, and gives up what is longer than an answer can be.

    It decompresses by itself, because httpx does so without a bound. It is handed to a blocking client, too, that
    is never used.

    With aiohttp, another way of Google's SDK, an answer 503 that is no JSON looks like an unreadable answer 200.
    """

    def __init__(self, module: ModuleType, base_url: str) -> None:
        self._inner = module.AsyncHTTPTransport(proxy=proxy_for(base_url))

    async def handle_async_request(self, request: Any) -> Any:
        request.headers["accept-encoding"] = "gzip"
        exchange = _exchange.get()
        try:
            response = await self._inner.handle_async_request(request)
        except _LOST as error:
            exchange.lost = error
            raise
        exchange.status, exchange.retry_after = response.status_code, response.headers.get("retry-after")
        encoding = response.headers.pop("content-encoding", "identity").strip().lower()
        response.headers.pop("content-length", None)  # of the compressed bytes
        bounded = _BoundedStream(response.stream, encoding, exchange)
        return type(response)(
            response.status_code, headers=response.headers, stream=bounded, extensions=response.extensions
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


class _BoundedStream(httpx.AsyncByteStream, httpx2.AsyncByteStream):
    """The body of a response, decompressed; `_UnusableBody` as soon as it is over a limit."""

    def __init__(self, stream: Any, encoding: str, exchange: _Exchange) -> None:
        self._stream = stream
        self._encoding = encoding
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for plain in self._decoded():
                if self._exchange.status != 200:
                    self._exchange.refusal += plain
                yield plain
        except _LOST as error:
            self._exchange.lost = error
            raise
        except _UnusableBody as error:
            self._exchange.unusable = error
            raise

    async def _decoded(self) -> AsyncIterator[bytes]:
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


class _Connection:
    """A model at an address, for one event loop.

    Args:
        module: of the HTTP client that the model's SDK uses: httpx, or httpx2.
        settings: which model, and where.
        api_key: not shown in what is said of failures.
    """

    def __init__(self, module: ModuleType, settings: ModelSettings, api_key: str) -> None:
        self._api_key = api_key
        self._traced = bool(os.environ.get(TRACING))
        if not self._traced:
            for name in _OLD_TRACING:
                os.environ.pop(name, None)
        self._transport = _Transport(module, settings.url)

    async def _attempt(self, call: Callable[[], Awaitable[T]]) -> T | Failure:
        """What one call of LangChain's gives, or how it failed."""
        exchange = _Exchange()
        token = _exchange.set(exchange)
        try:
            # None: as the environment says.
            with tracing_context(enabled=None if self._traced else False):
                answer = await call()
        except Exception as error:
            if exchange.lost is not None:
                return self._lost(exchange.lost)
            if exchange.status is None:
                raise  # Nothing was received, so nothing received can be blamed.
            if exchange.status != 200:
                return self._refused(exchange)
            return self._failure(Reason.MODEL_UNREADABLE, exchange.unusable or error)
        finally:
            _exchange.reset(token)
        assert exchange.status is not None, "the SDK asked past the transport that bounds its answers"
        return answer

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    def _lost(self, error: Exception) -> Failure:
        """The connection failed, or did not come about."""
        reason = Reason.MODEL_TIMEOUT if isinstance(error, _LATE) else Reason.MODEL_UNAVAILABLE
        return self._failure(reason, error, sent=not isinstance(error, _NOT_SENT))

    def _refused(self, exchange: _Exchange) -> Failure:
        """An HTTP status that is no 200; nobody charges for it."""
        reason = Reason.MODEL_QUOTA if exchange.status == 429 else Reason.MODEL_UNAVAILABLE
        refusal = _Refusal.read(exchange.refusal)
        return Failure(
            reason, self._detail(f"{exchange.status} {refusal.kind}: {refusal.message}"), usage=_NOTHING,
            retry_after_s=_seconds(refusal.retry_delay) or _seconds(exchange.retry_after),
        )  # fmt: skip

    def _failure(self, reason: Reason, error: Exception, *, sent: bool = True) -> Failure:
        detail = self._detail(f"{type(error).__name__}: {error}")
        return Failure(reason, detail, usage=None if sent else _NOTHING, sent=sent)

    def _detail(self, text: str) -> str:
        hidden = text.replace(self._api_key, "(key)") if self._api_key else text
        return clean(hidden, DETAIL_LIMIT)


class ChatConnection(_Connection):
    """A chat model at an address, for one event loop.

    Raises:
        SettingsError: the environment makes an SDK speak to somebody else.
    """

    def __init__(self, settings: ModelSettings, api_key: str) -> None:
        module, made, self._options = _CHATS[settings.provider.name]
        super().__init__(module, settings, api_key)
        self._chat = made(settings, api_key, self._transport)

    async def ask(self, request: ModelRequest, timeout_s: float) -> Outcome:
        """One attempt; `timeout_s` may bound each read, the caller bounds the whole."""
        message = await self._attempt(
            lambda: self._chat.ainvoke(
                [SystemMessage(request.system), HumanMessage(request.user)],
                **self._options(request, timeout_s),
            )
        )
        return message if isinstance(message, Failure) else judge(_response_of(message))


class EmbeddingConnection(_Connection):
    """A model of the Gemini API that embeds texts, for one event loop.

    Raises:
        SettingsError: the environment makes the SDK speak to somebody else.
    """

    def __init__(self, settings: ModelSettings, api_key: str) -> None:
        from langchain_google_genai import GoogleGenerativeAIEmbeddings  # noqa: PLC0415  an extra of its own

        super().__init__(httpx, settings, api_key)
        self._embeddings = GoogleGenerativeAIEmbeddings(
            model=settings.name,
            api_key=SecretStr(api_key),
            base_url=settings.url,
            vertexai=False,
            client_args={"transport": self._transport, "follow_redirects": False},
        )
        check_not_vertex(self._embeddings.client)

    async def ask(self, request: EmbeddingRequest, _timeout_s: float) -> EmbeddingOutcome:
        """One attempt; the caller bounds its time."""
        found = await self._attempt(
            lambda: self._embeddings.aembed_documents(
                list(request.texts),
                batch_size=len(request.texts),
                task_type="CLASSIFICATION",
                output_dimensionality=request.dimensions,
            )
        )
        if isinstance(found, Failure):
            return found
        try:
            return EmbeddedTexts(unit_vectors(found, len(request.texts), request.dimensions))
        except ValueError as error:
            return self._failure(Reason.MODEL_UNREADABLE, error)


def proxy_for(base_url: str) -> str | None:
    """The proxy that the environment names for an address; none for this machine itself."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if host in LOOPBACK_HOSTS or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)


# What comes back


def _response_of(message: AIMessage) -> ModelResponse:
    """What a model sent, wherever its chat model puts it."""
    about = message.response_metadata
    finish = next((about[name] for name in _FINISHES if about.get(name)), None)
    feedback = about.get("prompt_feedback") or {}
    block = feedback.get("block_reason") or message.additional_kwargs.get("refusal")
    text, usage = str(message.text), message.usage_metadata
    return ModelResponse(
        # LangChain makes an empty message where Google sends no candidate.
        text=text if text or finish is not None else None,
        finish_reason=None if finish is None else str(finish),
        block_reason=None if block is None else str(getattr(block, "value", block)),
        model=str(about.get("model_name", "")),
        usage=None if usage is None else Usage(usage["input_tokens"], usage["output_tokens"]),
    )


_FINISHES = ("finish_reason", "stop_reason", "done_reason")


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What the body of a refusal says, in any provider's format; empty: nothing that can be read."""

    kind: str = ""
    message: str = ""
    retry_delay: object = None

    @classmethod
    def read(cls, body: bytes) -> "_Refusal":
        try:
            error = json.loads(body)["error"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return cls(message=body.decode(errors="replace"))  # it is cut when the key is out of it
        if not isinstance(error, Mapping):  # Ollama's is a text
            return cls(message=str(error))
        details = error.get("details")
        delays = [
            each["retryDelay"]  # Google's RetryInfo, such as "38s"
            for each in (details if isinstance(details, list) else ())
            if isinstance(each, Mapping) and "retryDelay" in each
        ]
        return cls(
            str(error.get("status") or error.get("type") or ""), str(error.get("message", "")),
            delays[0] if delays else None,
        )  # fmt: skip


def _seconds(hint: object) -> float | None:
    """A number of seconds, with or without its unit."""
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,9})?)s?", str(hint))
    return float(match[1]) if match else None


# How each is asked: one attempt, because a retry inside would not count against the budget, and at an address that is
# always said, because otherwise the environment could lead the key to another host.


def _google_chat(settings: ModelSettings, api_key: str, transport: _Transport) -> BaseChatModel:
    from langchain_google_genai import ChatGoogleGenerativeAI  # noqa: PLC0415  an extra of its own

    chat = ChatGoogleGenerativeAI(
        model=settings.name,
        api_key=SecretStr(api_key),
        base_url=settings.url,
        vertexai=False,
        max_retries=1,
        temperature=None,
        cache=False,
        client_args={"transport": transport, "follow_redirects": False},
    )
    check_not_vertex(chat.client)
    return chat


def check_not_vertex(client: "Client | None") -> None:
    """Raises `SettingsError` if Google's SDK would ask another API than the key is for."""
    if client is None or client.vertexai:
        raise SettingsError(
            "GOOGLE_GENAI_USE_VERTEXAI is set, but the key is for the Gemini API; expected it unset"
        )


def _google_options(request: ModelRequest, timeout_s: float) -> dict[str, Any]:
    return {
        "response_mime_type": "application/json", "response_json_schema": dict(request.schema),
        "timeout": timeout_s, **request.settings,
    }  # fmt: skip


def _openai_chat(settings: ModelSettings, api_key: str, transport: _Transport) -> BaseChatModel:
    from langchain_openai import ChatOpenAI  # noqa: PLC0415  an extra of its own

    return ChatOpenAI(
        model=settings.name,
        api_key=SecretStr(api_key),
        base_url=settings.url,
        use_responses_api=False,
        max_retries=0,
        cache=False,
        openai_proxy=None,
        http_async_client=httpx2.AsyncClient(transport=transport, trust_env=False),
    )


def _openai_options(request: ModelRequest, _timeout_s: float) -> dict[str, Any]:
    schema = {"name": "verdict", "strict": True, "schema": dict(request.schema)}
    # As a part of the body, because LangChain makes exceptions of answers to the argument of that name.
    return {
        "extra_body": {"response_format": {"type": "json_schema", "json_schema": schema}}, **request.settings
    }  # fmt: skip


def _anthropic_chat(settings: ModelSettings, api_key: str, transport: _Transport) -> BaseChatModel:
    from anthropic import AsyncAnthropic  # noqa: PLC0415  an extra of its own

    client = AsyncAnthropic(
        api_key=api_key,
        base_url=settings.url,
        max_retries=0,
        http_client=httpx2.AsyncClient(transport=transport, trust_env=False),
    )
    return _AnthropicChat(model=settings.name, client=client, cache=False)


class _AnthropicChat(BaseChatModel):
    """Anthropic's SDK as a chat model: LangChain's own has no setting for its HTTP client, which follows redirects."""

    model: str
    client: Any

    @property
    def _llm_type(self) -> str:
        return "anthropic"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        raise NotImplementedError("it is asked from an event loop")

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - it is passed by its name
        run_manager: Any = None,  # noqa: ARG002 - as above
        **kwargs: Any,
    ) -> ChatResult:
        system, user = messages
        answer = await self.client.messages.create(
            model=self.model,
            system=str(system.text),
            messages=[{"role": "user", "content": str(user.text)}],
            **kwargs,
        )
        tokens_in = sum(
            getattr(answer.usage, name) or 0
            for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        )
        message = AIMessage(
            "".join(block.text for block in answer.content if block.type == "text"),
            response_metadata={"model_name": answer.model, "stop_reason": answer.stop_reason},
            usage_metadata=UsageMetadata(
                input_tokens=tokens_in,
                output_tokens=answer.usage.output_tokens,
                total_tokens=tokens_in + answer.usage.output_tokens,
            ),
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


def _anthropic_options(request: ModelRequest, _timeout_s: float) -> dict[str, Any]:
    from anthropic import transform_schema  # noqa: PLC0415  an extra of its own

    # Bounds that structured output refuses become descriptions.
    form = {"type": "json_schema", "schema": transform_schema(dict(request.schema))}
    settings = dict(request.settings)
    effort = settings.pop("reasoning_effort", None)
    config = {"format": form} if effort is None else {"format": form, "effort": effort}
    return {"output_config": config, **settings}


def _ollama_chat(settings: ModelSettings, api_key: str, transport: _Transport) -> BaseChatModel:
    from langchain_ollama import ChatOllama  # noqa: PLC0415  an extra of its own

    return ChatOllama(
        model=settings.name,
        base_url=settings.url,
        cache=False,
        async_client_kwargs={
            "transport": transport, "follow_redirects": False, "trust_env": False,
            "headers": {"authorization": f"Bearer {api_key}"} if api_key else {},
        },
    )  # fmt: skip


def _ollama_options(request: ModelRequest, _timeout_s: float) -> dict[str, Any]:
    return {"format": dict(request.schema), "options": dict(request.settings), "stream": False}


_Chat = Callable[[ModelSettings, str, _Transport], BaseChatModel]
_Options = Callable[[ModelRequest, float], dict[str, Any]]
_CHATS: Mapping[str, tuple[ModuleType, _Chat, _Options]] = {
    "google": (httpx, _google_chat, _google_options),
    "openai": (httpx2, _openai_chat, _openai_options),
    "anthropic": (httpx2, _anthropic_chat, _anthropic_options),
    "ollama": (httpx, _ollama_chat, _ollama_options),
}
