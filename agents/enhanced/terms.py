"""Under which terms the enhanced portfolio is decided for, read from the settings."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

from raysignal.agents.breaker import BreakerRules
from raysignal.agents.evidence import Recall
from raysignal.agents.gate import GateRules
from raysignal.agents.gemini import KEY_VARIABLES, ModelSettings, api_key_in
from raysignal.agents.outcomes import Horizon
from raysignal.agents.override import AgentRules
from raysignal.engine.errors import InvalidField, SettingsError
from raysignal.engine.policy import Policy
from raysignal.engine.settings import PREFIX, Settings


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides about the enhanced portfolio, the model apart.

    Attributes:
        primary: the portfolio that is followed.
        portfolio: the one that follows.
        policy: of both.
        rules: of the agent.
        breaker: when it is turned off.
    """

    primary: str
    portfolio: str
    policy: Policy
    rules: AgentRules
    breaker: BreakerRules

    @classmethod
    def of(cls, settings: Settings) -> "Terms":
        """The terms of a service's settings; `SettingsError` for values that cannot be."""
        try:
            rules = AgentRules(
                horizon=Horizon.parse(settings.horizon, lag_us=round(settings.settlement_lag_s * 1e6)),
                recall=Recall(neighbours=settings.neighbours),
                gate=GateRules(
                    least=settings.gate_least, against=settings.gate_against, grey=settings.gate_grey
                ),
            )
        except InvalidField as error:
            raise SettingsError(f"{PREFIX}{str(error.fields['field']).upper()}: {error}") from error
        return cls(
            settings.primary, settings.enhanced, settings.policies()[settings.primary], rules,
            BreakerRules(limit_bps=settings.breaker_limit_bps),
        )  # fmt: skip

    def outcomes(self) -> dict[str, Any]:
        """What an outcome depends on, as plain values: under other ones it is another outcome."""
        return {
            "primary": self.primary,
            "horizon": asdict(self.rules.horizon),
            "policy": self.policy.as_dict(),
        }


def why_off(settings: Settings) -> str | None:
    """Why a service with these settings has no agent; None: it has one."""
    if not settings.enhanced:
        return f"{PREFIX}ENHANCED is empty"
    if find_spec("scipy") is None:
        return "scipy is not installed; `pip install raysignal[agents]` brings what the agent needs"
    return None


def model_of(settings: Settings) -> ModelSettings:
    """The model of the settings; `SettingsError` for one that cannot be."""
    try:
        return ModelSettings(model=settings.model, base_url=settings.model_url)
    except InvalidField as error:
        raise SettingsError(f"{PREFIX}{_VARIABLE[str(error.fields['field'])]}: {error}") from error


def announcement(settings: Settings, environ: Mapping[str, str]) -> str:
    """What the agent is going to do, in a line for people."""
    if (why := why_off(settings)) is not None:
        return f"off: {why}"
    follows = f"{settings.enhanced} follows {settings.primary}"
    if api_key_in(environ) is None:
        return f"{follows}; the gate decides alone ({' or '.join(KEY_VARIABLES)} is not set)"
    return f"{follows}; the gate decides, and {settings.model} in unclear cases"


_VARIABLE = {"model": "MODEL", "base_url": "MODEL_URL"}
