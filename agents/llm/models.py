"""The language models that can be asked: Gemini by default, and whatever else LangChain has a chat model for.

A model is named `provider:name`; a name without a provider is Gemini's. Importing this module is cheap; LangChain is
imported when the first question is asked. The API key is read from the environment by whoever builds the model
(`ModelSettings.key_in`), and is never part of a request's hash.
"""

import asyncio
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from urllib.parse import SplitResult, urlsplit

from raysignal.agents.llm.calls import Failure, ModelAnswer, ModelRequest, Outcome, Usage, response_schema
from raysignal.agents.llm.prices import Price, load_prices
from raysignal.agents.llm.prompting import Prompt
from raysignal.agents.verdicts import Reason
from raysignal.engine.core.errors import InvalidField, SettingsError

if TYPE_CHECKING:
    from raysignal.agents.llm.chat_wire import ChatConnection

__all__ = [
    "PROVIDERS",
    "ChatModel",
    "LanguageModel",
    "ModelSettings",
    "NoModel",
    "Provider",
    "RemoteModel",
    "check_access",
    "why_not_asked",
]

LOOPBACK_ONLY = "RAYSIGNAL_MODEL_LOOPBACK_ONLY"
"""In the environment, it forbids a model at any address but this machine's own; the tests set it."""

TRACING = "RAYSIGNAL_MODEL_TRACING"
"""In the environment, it lets LangChain send every prompt and answer to LangSmith, as `LANGSMITH_TRACING` asks it to.

Without it nothing is sent, because that variable may be there for another program's sake."""

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")
Asked_contra = TypeVar("Asked_contra", contravariant=True)
Answered_co = TypeVar("Answered_co", covariant=True)

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
DEFAULT_PROVIDER = "google"


@dataclass(frozen=True, slots=True)
class Provider:
    """Who serves models, and how its API differs from the others'.

    Attributes:
        name: what stands before a model's name.
        title: its name, for people.
        url: where its API is.
        package: the module of its LangChain chat model.
        extra: what of this project brings that module.
        key_variables: where the key is looked for; the first that is set counts.
        needs_key: whether nothing is asked without one; a provider that needs none is the user's own machine, and free.
        generation: the generation settings that are really sent to a model, by the names that its chat model knows.
    """

    name: str
    title: str
    url: str
    package: str
    extra: str
    key_variables: tuple[str, ...]
    generation: "Callable[[ModelSettings], dict[str, Any]]"
    needs_key: bool = True

    @property
    def keys(self) -> str:
        """The key's variables, for a sentence."""
        return " or ".join(self.key_variables)


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model is asked, and how.

    Attributes:
        model: `provider:name`, or a name of Gemini's.
        base_url: another host that speaks the provider's API; None: the provider.
        temperature: 0 to 2; None: the model's own. Not sent to models with fixed sampling.
        thinking_level: minimal, low, medium or high; None: the model's own. Sent to models that take it: Gemini from 3
            on, OpenAI's that reason, Claude from 5 on.
        max_output_tokens: bound on the answer, thinking included.
        prices: by model name; a model that is not there has an unknown cost.
    """

    model: str = "gemini-3.5-flash"
    base_url: str | None = None
    temperature: float | None = 0.0
    thinking_level: str | None = "low"
    max_output_tokens: int = 2_048
    prices: Mapping[str, Price] = field(default_factory=load_prices)

    def __post_init__(self) -> None:
        provider, name = _parts_of(self.model)
        pattern = r"[A-Za-z0-9._-]{1,80}" if provider == "google" else r"[A-Za-z0-9._:/-]{1,120}"
        if provider not in PROVIDERS or not re.fullmatch(pattern, name):
            known = ", ".join(f"{each}:" for each in PROVIDERS)
            raise InvalidField(
                "model", self.model, f"a model's name such as gemini-3.5-flash, or one behind {known}"
            )
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise InvalidField("temperature", self.temperature, "a number from 0 to 2")
        if self.thinking_level not in {None, "minimal", "low", "medium", "high"}:
            raise InvalidField("thinking_level", self.thinking_level, "minimal, low, medium, high or none")
        if self.max_output_tokens < 1:
            raise InvalidField("max_output_tokens", self.max_output_tokens, "at least 1")
        if self.base_url is not None:
            parts = _address(self.base_url)
            if parts.scheme == "http" and self.provider.needs_key and not self.on_loopback:
                raise InvalidField("base_url", self.base_url, "https, because the key goes with each request")

    @property
    def provider(self) -> Provider:
        """Who serves the model."""
        return PROVIDERS[_parts_of(self.model)[0]]

    @property
    def name(self) -> str:
        """Its name at the provider."""
        return _parts_of(self.model)[1]

    @property
    def full_name(self) -> str:
        """How requests and prices name it: with its provider, but for Gemini."""
        provider, name = _parts_of(self.model)
        return name if provider == DEFAULT_PROVIDER else f"{provider}:{name}"

    @property
    def url(self) -> str:
        """Where it is asked."""
        return self.base_url or self.provider.url

    @property
    def on_loopback(self) -> bool:
        """Whether the model is on this machine."""
        return urlsplit(self.url).hostname in LOOPBACK_HOSTS

    @property
    def price(self) -> Price | None:
        """What its tokens cost, by its name with or without a date or version; None: not known."""
        if not self.provider.needs_key:
            return Price(0.0, 0.0)
        undated = re.sub(r"-(\d{3}|\d{8}|\d{4}-\d\d-\d\d)$", "", self.full_name)
        return self.prices.get(self.full_name, self.prices.get(undated))

    def key_in(self, environ: Mapping[str, str]) -> str | None:
        """The key that an environment holds; empty: none, and none is needed; None: it has none."""
        for variable in self.provider.key_variables:
            if key := environ.get(variable, "").strip():
                return key
        return None if self.provider.needs_key else ""

    def generation(self) -> dict[str, Any]:
        """The generation settings that are really sent, as part of a request's hash."""
        return self.provider.generation(self)

    def request(self, prompt: Prompt) -> ModelRequest:
        """The request that asks a prompt."""
        return ModelRequest(
            prompt.hash,
            prompt.system,
            prompt.user,
            self.full_name,
            self.generation(),
            response_schema(prompt),
        )

    def usd(self, usage: Usage | None) -> float | None:
        """What a call cost; None: the usage or the price is not known."""
        if usage is None:
            return None
        if usage == Usage(0, 0):
            return 0.0
        if (price := self.price) is None:
            return None
        return (usage.tokens_in * price.usd_in + usage.tokens_out * price.usd_out) / 1e6


def why_not_asked(settings: ModelSettings, key: str | None) -> str | None:
    """What stands in the way of asking a model, in a sentence; None: nothing."""
    provider = settings.provider
    if key is None:
        return f"{provider.keys} is not set"
    if find_spec(provider.package) is None:
        return f"{provider.package} is not installed; `pip install raysignal[{provider.extra}]` brings it"
    return None


def check_access(settings: ModelSettings, api_key: str | None) -> str:
    """The key that a model is asked with; empty where none is needed.

    Raises:
        SettingsError: no key, a key that no header can carry, a package that is not installed, or an address that the
            key must not be sent to or that the environment forbids.
    """
    if not settings.on_loopback and os.environ.get(LOOPBACK_ONLY):
        raise SettingsError(
            f"base_url is {settings.base_url!r} while {LOOPBACK_ONLY} is set; expected an address of this machine"
        )
    key = api_key or (None if settings.provider.needs_key else "")
    if key and not re.fullmatch(r"[!-~]+", key):
        raise SettingsError(
            f"the API key is not shown here; expected {settings.provider.keys}, without spaces"
        )
    if (why := why_not_asked(settings, key)) is not None:
        raise SettingsError(f"{settings.model} cannot be asked: {why}")
    if key and not settings.on_loopback and not settings.url.startswith("https:"):
        raise SettingsError(
            f"base_url is {settings.base_url!r}; expected https, because the key goes with each request"
        )
    return key or ""


def _address(base_url: str) -> SplitResult:
    """The parts of an address; `InvalidField` if it is none, or says who asks: keys do that."""
    if "@" in base_url:
        raise InvalidField("base_url", "(not shown)", "an address without a user and a password")
    try:
        parts = urlsplit(base_url)
        known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise InvalidField("base_url", base_url, "an address such as https://host:port")
    return parts


class ModelConnection(Protocol[Asked_contra, Answered_co]):
    """A model at an address, for one event loop: see `chat_wire`."""

    async def ask(self, request: Asked_contra, timeout_s: float, /) -> Answered_co | Failure:
        """One attempt."""
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class LanguageModel(Protocol):
    """Something that can be asked."""

    @property
    def settings(self) -> ModelSettings:
        """Which model, and how."""
        ...

    async def call(self, request: ModelRequest, timeout_s: float) -> Outcome:
        """One call, one attempt; it is over after `timeout_s`, whatever the server does.

        Raises whatever is our own mistake; what a server or a network does is a `Failure`.
        """
        ...

    async def aclose(self) -> None:
        """Let go of connections."""
        ...


class RemoteModel(ABC, Generic[Asked, Answered]):
    """A model of LangChain's at its provider, or at `settings.base_url`. Its calls belong to one event loop at a time.

    Args:
        settings: which model, and how.
        api_key: any text will do for a loopback server; empty where none is needed.

    Raises:
        SettingsError: see `check_access`.
    """

    def __init__(self, settings: ModelSettings, api_key: str | None) -> None:
        self.settings = settings
        self._api_key = check_access(settings, api_key)
        self._wire: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._abandoned: set[asyncio.Task[Answered | Failure]] = set()

    @abstractmethod
    def _connect(self, wire: Any) -> "ModelConnection[Asked, Answered]":
        """Connect by the module `chat_wire`."""

    async def call(self, request: Asked, timeout_s: float) -> Answered | Failure:
        """One call, one attempt. The deadline is a total: a server that drips bytes does not move it.

        Raises whatever is our own mistake; what a server or a network does is a `Failure`.
        """
        task = asyncio.create_task(self._ask(request, timeout_s))
        try:
            done, _ = await asyncio.wait({task}, timeout=timeout_s)
        except asyncio.CancelledError:
            self._abandon(task)
            raise
        if done:
            return task.result()
        self._abandon(task)
        return Failure(Reason.MODEL_TIMEOUT, f"no whole answer within {timeout_s:.3g} s")

    async def warm(self) -> None:
        """Import and connect now what the first question would need; it takes seconds of its deadline otherwise."""
        await self._connected()

    async def aclose(self) -> None:
        """Close the connections of this loop."""
        if self._abandoned:
            await asyncio.wait(set(self._abandoned), timeout=1.0)
        if self._wire is not None and self._loop is asyncio.get_running_loop():
            await self._wire.aclose()
        self._wire = self._loop = None

    async def _ask(self, request: Asked, timeout_s: float) -> Answered | Failure:
        wire = await self._connected()
        return await wire.ask(request, timeout_s)

    async def _connected(self) -> "ModelConnection[Asked, Answered]":
        """The wire of the running loop. LangChain takes seconds to import: a thread does it."""
        loop = asyncio.get_running_loop()
        if self._wire is None or self._loop is not loop:
            module = await asyncio.to_thread(_import_wire)
            if self._wire is None or self._loop is not loop:
                self._wire, self._loop = self._connect(module), loop
        wire: ModelConnection[Asked, Answered] = self._wire
        return wire

    def _abandon(self, task: "asyncio.Task[Answered | Failure]") -> None:
        """Nobody waits for it any more, not even for its end."""
        self._abandoned.add(task)
        task.add_done_callback(self._forget)
        task.cancel()

    def _forget(self, task: "asyncio.Task[Answered | Failure]") -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()


class ChatModel(RemoteModel[ModelRequest, ModelAnswer]):
    """A `LanguageModel` that is a chat model of LangChain's. See `RemoteModel`."""

    def _connect(self, wire: Any) -> "ChatConnection":
        connection: ChatConnection = wire.ChatConnection(self.settings, self._api_key)
        return connection


@dataclass(frozen=True, slots=True)
class NoModel:
    """For a replay: it says what would be asked, and cannot ask."""

    settings: ModelSettings

    async def call(self, request: ModelRequest, timeout_s: float) -> Outcome:
        """Raises `SettingsError`."""
        raise SettingsError(
            f"request {request.hash[:12]} cannot be asked within {timeout_s:g} s: there is no model; "
            "expected a key, or a replay"
        )

    async def aclose(self) -> None:
        """Nothing is open."""


def _import_wire() -> Any:
    from raysignal.agents.llm import chat_wire  # noqa: PLC0415  LangChain takes more than a second

    return chat_wire


def _parts_of(model: str) -> tuple[str, str]:
    """Provider and name."""
    provider, colon, name = model.partition(":")
    return (provider, name) if colon else (DEFAULT_PROVIDER, model)


def _google_generation(settings: ModelSettings) -> dict[str, Any]:
    """Google deprecated sampling parameters with 3.6 Flash and 3.5 Flash-Lite, and for what came after."""
    sent: dict[str, Any] = {"max_output_tokens": settings.max_output_tokens}
    found = re.search(r"gemini-(\d+)(?:\.(\d+))?", settings.name)
    version = (int(found[1]), int(found[2] or 0)) if found else (0, 0)
    fixed = version >= (3, 6) or settings.name.startswith("gemini-3.5-flash-lite")
    if settings.temperature is not None and not fixed:
        sent["temperature"] = settings.temperature
    if settings.thinking_level is not None and version >= (3, 0):
        sent["thinking_level"] = settings.thinking_level
    return sent


def _openai_generation(settings: ModelSettings) -> dict[str, Any]:
    """OpenAI's models that reason, o1 and GPT-5 onwards, take an effort and no temperature."""
    sent: dict[str, Any] = {"max_tokens": settings.max_output_tokens}
    reasons = re.match(r"o\d|gpt-(?!3|4)", settings.name) is not None
    if settings.temperature is not None and not reasons:
        sent["temperature"] = settings.temperature
    if settings.thinking_level is not None and reasons and "chat" not in settings.name:
        sent["reasoning_effort"] = settings.thinking_level
    return sent


def _anthropic_generation(settings: ModelSettings) -> dict[str, Any]:
    """Claude takes no temperature since 4.7, and an effort from 5 on, where it thinks unless told otherwise."""
    sent: dict[str, Any] = {"max_tokens": settings.max_output_tokens}
    found = re.search(r"claude-[a-z]+-(\d+)", settings.name)
    if settings.thinking_level is not None and found and int(found[1]) >= 5:
        sent["reasoning_effort"] = {"minimal": "low"}.get(settings.thinking_level, settings.thinking_level)
    return sent


def _ollama_generation(settings: ModelSettings) -> dict[str, Any]:
    """Ollama silently cuts off what does not fit its context, which is short unless it is told."""
    context = _OLLAMA_QUESTION_TOKENS + settings.max_output_tokens
    sent: dict[str, Any] = {"num_predict": settings.max_output_tokens, "num_ctx": context}
    return sent if settings.temperature is None else sent | {"temperature": settings.temperature}


_OLLAMA_QUESTION_TOKENS = 6_144

PROVIDERS: Mapping[str, Provider] = {
    each.name: each
    for each in (
        Provider(
            "google", "Google", "https://generativelanguage.googleapis.com", "langchain_google_genai", "agents",
            ("GOOGLE_API_KEY", "GEMINI_API_KEY"), _google_generation,
        ),
        Provider(
            "openai", "OpenAI", "https://api.openai.com/v1", "langchain_openai", "openai",
            ("OPENAI_API_KEY",), _openai_generation,
        ),
        Provider(
            "anthropic", "Anthropic", "https://api.anthropic.com", "anthropic", "anthropic",
            ("ANTHROPIC_API_KEY",), _anthropic_generation,
        ),
        Provider(
            "ollama", "Ollama", "http://127.0.0.1:11434", "langchain_ollama", "ollama",
            ("OLLAMA_API_KEY",), _ollama_generation, needs_key=False,
        ),
    )
}  # fmt: skip
"""By the name that stands before a model's; see `chat_wire` for how each is asked."""
