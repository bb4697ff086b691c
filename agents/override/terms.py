"""Under which terms the enhanced portfolio is decided for."""

from dataclasses import asdict, dataclass
from typing import Any

from raysignal.agents.override.agent import AgentRules
from raysignal.agents.override.breaker import BreakerRules
from raysignal.engine.core.policy import Policy


@dataclass(frozen=True, slots=True)
class AgentTerms:
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

    def outcomes(self) -> dict[str, Any]:
        """What an outcome depends on, as plain values: under other ones it is another outcome."""
        return {
            "primary": self.primary,
            "horizon": asdict(self.rules.horizon),
            "policy": self.policy.as_dict(),
        }
