"""Gemini as the model that is asked, through LangChain's `ChatGoogleGenerativeAI`.

Importing this module is cheap; LangChain is imported when the first question is asked. The API key is read
from the environment by whoever builds the model (`api_key_in`), and is never part of a request's hash.
"""

import asyncio
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from raysignal.agents.llm.calls import Failure, ModelRequest, Outcome, Usage, VerdictIn, response_schema
from raysignal.agents.llm.prices import Price, load_prices
from raysignal.agents.llm.prompting import Prompt
from raysignal.agents.verdicts import Reason
from raysignal.engine.core.errors import InvalidField, SettingsError

if TYPE_CHECKING:
    from raysignal.agents.llm.gemini_wire import GeminiConnection

__all__ = ["GeminiModel", "LanguageModel", "ModelSettings", "NoModel", "VerdictIn", "api_key_in"]

GOOGLE = "https://generativelanguage.googleapis.com"
KEY_VARIABLES = ("GOOGLE_API_KEY", "GEMINI_API_KEY")
"""Where the key is looked for; the first that is set counts."""
LOOPBACK_ONLY = "RAYSIGNAL_MODEL_LOOPBACK_ONLY"
"""In the environment, it forbids a model at any address but this machine's own; the tests set it."""

TRACING = "RAYSIGNAL_MODEL_TRACING"
"""In the environment, it lets LangChain send every prompt and answer to LangSmith, as `LANGSMITH_TRACING` asks it to.

Without it nothing is sent, because that variable may be there for another program's sake."""

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_VERSION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which model is asked, and how.

    Attributes:
        model: its name at the API.
        base_url: another host that speaks the Gemini API; None: Google.
        temperature: 0 to 2; None: the model's own. Not sent to models with fixed sampling (from 3.6 Flash).
        thinking_level: minimal, low, medium or high; None: the model's own. Not sent to models before Gemini 3.
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
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,80}", self.model):
            raise InvalidField("model", self.model, "a model's name such as gemini-3.5-flash")
        if self.temperature is not None and not 0 <= self.temperature <= 2:
            raise InvalidField("temperature", self.temperature, "a number from 0 to 2")
        if self.thinking_level not in {None, "minimal", "low", "medium", "high"}:
            raise InvalidField("thinking_level", self.thinking_level, "minimal, low, medium, high or none")
        if self.max_output_tokens < 1:
            raise InvalidField("max_output_tokens", self.max_output_tokens, "at least 1")
        if self.base_url is not None:
            parts = urlsplit(self.base_url)
            if parts.scheme not in {"http", "https"} or not parts.hostname:
                raise InvalidField("base_url", self.base_url, "an address such as https://host:port")
            if parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS:
                raise InvalidField("base_url", self.base_url, "https, because the key goes with each request")

    @property
    def on_loopback(self) -> bool:
        """Whether the model is on this machine."""
        return self.base_url is not None and urlsplit(self.base_url).hostname in LOOPBACK_HOSTS

    def generation(self) -> dict[str, Any]:
        """The generation settings that are really sent, as part of a request's hash."""
        settings: dict[str, Any] = {"max_output_tokens": self.max_output_tokens}
        if self.temperature is not None and not _has_fixed_sampling(self.model):
            settings["temperature"] = self.temperature
        if self.thinking_level is not None and _version_of(self.model) >= (3, 0):
            settings["thinking_level"] = self.thinking_level
        return settings

    def request(self, prompt: Prompt) -> ModelRequest:
        """The request that asks a prompt."""
        return ModelRequest(
            prompt.hash, prompt.system, prompt.user, self.model, self.generation(), response_schema(prompt)
        )

    def usd(self, usage: Usage | None) -> float | None:
        """What a call cost; None: the usage or the price is not known."""
        price = self.prices.get(re.sub(r"-\d{3}$", "", self.model))
        if usage is None:
            return None
        if usage == Usage(0, 0):
            return 0.0
        if price is None:
            return None
        return (usage.tokens_in * price.usd_in + usage.tokens_out * price.usd_out) / 1e6


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


def api_key_in(environment: Mapping[str, str]) -> str | None:
    """The key that an environment holds, by `KEY_VARIABLES`; None: none of them is set."""
    for name in KEY_VARIABLES:
        if key := environment.get(name, "").strip():
            return key
    return None


def check_access(base_url: str | None, api_key: str | None) -> str:
    """The key, if it and the address may be used.

    Raises:
        SettingsError: no key, a key that no header can carry, or an address that the environment forbids.
    """
    on_loopback = base_url is not None and urlsplit(base_url).hostname in LOOPBACK_HOSTS
    if not on_loopback and os.environ.get(LOOPBACK_ONLY):
        raise SettingsError(
            f"base_url is {base_url!r} while {LOOPBACK_ONLY} is set; expected an address of this machine"
        )
    if not api_key or not re.fullmatch(r"[!-~]+", api_key):
        shown = "not set" if not api_key else "not shown here"
        raise SettingsError(
            f"the API key is {shown}; expected GOOGLE_API_KEY or GEMINI_API_KEY, without spaces"
        )
    return api_key


class GeminiModel:
    """Gemini at Google, or at `settings.base_url`. Its calls belong to one event loop at a time.

    Args:
        settings: which model, and how.
        api_key: any text will do for a loopback server.

    Raises:
        SettingsError: no key, a key that no header can carry, or an address that the environment forbids.
    """

    def __init__(self, settings: ModelSettings, api_key: str | None) -> None:
        self.settings = settings
        self._api_key = check_access(settings.base_url, api_key)
        self._wire: GeminiConnection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._abandoned: set[asyncio.Task[Outcome]] = set()

    async def call(self, request: ModelRequest, timeout_s: float) -> Outcome:
        """See `LanguageModel.call`. The deadline is a total: a server that drips bytes does not move it."""
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

    async def _ask(self, request: ModelRequest, timeout_s: float) -> Outcome:
        wire = await self._connected()
        return await wire.ask(request, timeout_s)

    async def _connected(self) -> "GeminiConnection":
        """The wire of the running loop. LangChain takes seconds to import: a thread does it."""
        loop = asyncio.get_running_loop()
        if self._wire is not None and self._loop is loop:
            return self._wire
        module = await asyncio.to_thread(_import_wire)
        if self._wire is None or self._loop is not loop:
            base_url = self.settings.base_url or GOOGLE
            self._wire = module.GeminiConnection(self.settings.model, base_url, self._api_key)
            self._loop = loop
        return self._wire

    def _abandon(self, task: asyncio.Task[Outcome]) -> None:
        """Nobody waits for it any more, not even for its end."""
        self._abandoned.add(task)
        task.add_done_callback(self._forget)
        task.cancel()

    def _forget(self, task: asyncio.Task[Outcome]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()


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
    from raysignal.agents.llm import gemini_wire  # noqa: PLC0415  LangChain takes more than a second

    return gemini_wire


def _version_of(model: str) -> tuple[int, int]:
    match = _VERSION.search(model)
    return (int(match[1]), int(match[2] or 0)) if match else (0, 0)


def _has_fixed_sampling(model: str) -> bool:
    """Google deprecated sampling parameters with 3.6 Flash and 3.5 Flash-Lite, and for what came after."""
    return _version_of(model) >= (3, 6) or model.startswith("gemini-3.5-flash-lite")
