"""What the settings say of the agent: its terms, its model, and whether there is one."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from raysignal.agents.llm.embeddings import embedding_settings
from raysignal.agents.llm.models import DEFAULT_PROVIDER, ModelSettings, why_not_asked
from raysignal.agents.llm.prices import load_prices
from raysignal.agents.override.agent import AgentRules
from raysignal.agents.override.breaker import BreakerRules
from raysignal.agents.override.evidence import RecallOptions
from raysignal.agents.override.gate import GateRules
from raysignal.agents.override.outcomes import Horizon
from raysignal.agents.override.reviewer import ReviewRules
from raysignal.agents.override.terms import AgentTerms
from raysignal.engine.core.errors import InvalidField, SettingsError
from raysignal.engine.core.private_files import cache_folder
from raysignal.runtime.settings import Settings, variable_given, variable_of


def check_agent_settings(settings: Settings) -> None:
    """Raise `SettingsError` where the settings of an agent that is wanted cannot be."""
    if why_off(settings) is None:
        terms_of(settings)
        model_of(settings)
        embeddings_of(settings)


def terms_of(settings: Settings) -> AgentTerms:
    """The terms of a service's settings; `SettingsError` for values that cannot be."""
    try:
        rules = AgentRules(
            horizon=Horizon.parse(
                settings.agent.horizon, lag_us=round(settings.agent.settlement_lag_s * 1e6)
            ),
            recall=RecallOptions(neighbours=settings.agent.neighbours),
            gate=GateRules(
                least=settings.agent.gate_least,
                against=settings.agent.gate_against,
                grey=settings.agent.gate_grey,
            ),
            review=review_rules(settings) if settings.agent.policy == "review" else None,
            texts=settings.agent.texts,
        )
    except InvalidField as error:
        raise SettingsError(f"{variable_given(('agent', str(error.fields['field'])))}: {error}") from error
    return AgentTerms(
        settings.primary, settings.agent.portfolio, settings.policies()[settings.primary], rules,
        BreakerRules(limit_bps=settings.agent.breaker_limit_bps),
    )  # fmt: skip


def review_rules(settings: Settings) -> ReviewRules:
    """How a reviewer is asked, whether or not the service has one."""
    agent = settings.agent
    return ReviewRules(
        agent.review_least, agent.review_share, agent.review_pick, agent.review_allow, agent.overruled_share
    )


def why_off(settings: Settings) -> str | None:
    """Why a service with these settings has no agent; None: it has one."""
    if not settings.agent.portfolio:
        return f"{variable_of(('agent', 'portfolio'))} is empty"
    if find_spec("scipy") is None:
        return "scipy is not installed; `pip install raysignal[agents]` brings what the agent needs"
    return None


def model_of(settings: Settings) -> ModelSettings:
    """The model of the settings; `SettingsError` for one that cannot be."""
    try:
        prices = load_prices() if settings.llm.prices is None else load_prices(Path(settings.llm.prices))
        return ModelSettings(
            model=settings.llm.model, base_url=settings.llm.url, thinking_level=settings.llm.thinking_level,
            max_output_tokens=settings.llm.max_output_tokens, prices=prices,
        )  # fmt: skip
    except InvalidField as error:
        raise SettingsError(
            f"{variable_given(('llm', _NAMES[str(error.fields['field'])]))}: {error}"
        ) from error


def embeddings_of(settings: Settings) -> ModelSettings | None:
    """The model that embeds free texts; None: they are hashed; `SettingsError` for one that cannot be."""
    if not settings.agent.embeddings:
        return None
    # The address is of the model's provider, which need not be the one that embeds.
    theirs = model_of(settings).provider.name == DEFAULT_PROVIDER
    try:
        return embedding_settings(settings.agent.embeddings, settings.llm.url if theirs else None)
    except InvalidField as error:
        raise SettingsError(f"{variable_given(('agent', 'embeddings'))}: {error}") from error


def announcement(settings: Settings, environ: Mapping[str, str]) -> str:
    """What the agent is going to do, in a line for people."""
    if (why := why_off(settings)) is not None:
        return f"off: {why}"
    follows = f"{settings.agent.portfolio} follows {settings.primary}{_embedding_words(settings, environ)}"
    model = model_of(settings)
    if (why := why_not_asked(model, model.key_in(environ))) is not None:
        return f"{follows}; the gate decides alone ({why})"
    does = "reviews what it leaves open" if settings.agent.policy == "review" else "in unclear cases"
    return f"{follows}; the gate decides, and {model.name} of {model.provider.title} {does}"


def _embedding_words(settings: Settings, environ: Mapping[str, str]) -> str:
    if (model := embeddings_of(settings)) is None:
        return ""
    if (why := why_not_asked(model, model.key_in(environ))) is not None:
        return f"; texts are not embedded ({why})"
    return f"; texts are embedded by {model.name}"


_NAMES = {"model": "model", "base_url": "url", "model_prices": "prices"}


def chroma_place(settings: Settings) -> str:
    """Where the vectors lie."""
    if settings.agent.chroma:
        return settings.agent.chroma
    if (folder := _store_folder(settings.store)) is not None:
        return str(folder.with_name(f"{folder.name}-chroma"))
    return str(cache_folder("vectors", settings.store))


def budget_file(settings: Settings) -> str | None:
    """Where the calls of the day are counted over restarts; None: nowhere, and a restart allows none that day."""
    folder = _store_folder(settings.store)
    return None if folder is None else str(folder / "state" / "model-budget.json")


def _store_folder(store: str) -> Path | None:
    parts = urlsplit(store)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None
