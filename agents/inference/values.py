"""What goes into a model and what comes out of it: requests, probabilities, and the signal that is made of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.signals import Action


@dataclass(frozen=True, slots=True)
class SignalRequest:
    """A signal is wanted of a model, at one instant of one symbol.

    Attributes:
        symbol: the portfolios' name of the instrument.
        at_us: UTC microseconds; of a bar: its end. A recurrent model takes one step an instant, in rising order.
        close: price in the quote currency.
        features: values that were known then, under their own names (`rsi`, `macd`, ...).
        signal_id: of the caller's; empty: one that follows from model, symbol and instant.
        episode_start: the model is to forget what came before.
        known_at_us: of each feature that was known before `at_us`: since when; a card says how old one may be.
    """

    symbol: str
    at_us: int
    close: float
    features: Mapping[str, float]
    signal_id: str = ""
    episode_start: bool = False
    known_at_us: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probabilities:
    """What a model gives each action; all three are 1 together."""

    hold: float
    buy: float
    sell: float

    @property
    def best(self) -> tuple[Action, float]:
        """The likeliest action and its probability; HOLD before BUY before SELL where they are equal."""
        ranked = ((self.hold, Action.HOLD), (self.buy, Action.BUY), (self.sell, Action.SELL))
        value, action = max(ranked, key=lambda each: each[0])
        return action, value


class SignalModel(Protocol):
    """What is asked for probabilities: an ONNX policy, or the placeholder where there is none.

    Attributes:
        name, version: of its card.
        placeholder: there is no model; whatever it answers is marked so.
        features: names that it must be given, in its order.
        optional_features: names that it uses where they are given.
    """

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def placeholder(self) -> bool: ...
    @property
    def features(self) -> tuple[str, ...]: ...
    @property
    def optional_features(self) -> tuple[str, ...]: ...

    def step(self, request: SignalRequest, state: bytes | None) -> tuple[Probabilities, bytes | None]:
        """One step: probabilities, and the state after it.

        Args:
            request: whose `features` hold every one of `features`.
            state: after the symbol's step before; None at an episode's start, and of models without memory.

        Raises:
            InvalidField: a feature is missing, NaN or infinite; nothing was computed.
        """
        ...


@dataclass(frozen=True, slots=True)
class ModelSignal:
    """A generated signal, as it is answered, taken in by its portfolio, and broadcast.

    Attributes:
        signal_id: its identity.
        at_us: UTC microseconds of its request.
        symbol: the portfolios' name.
        action: BUY, SELL or HOLD; HOLD where confidence is below the threshold.
        confidence: probability of the model's likeliest action, 0 to 1.
        entry_price, stop_loss, take_profit: in the quote currency; None for HOLD and where there is no ATR.
        position_size: share of equity, 0 to 1; 0 for HOLD.
        risk_reward_ratio: distance of the target over that of the stop; None without both.
        model_version: `name version` of the model, or PLACEHOLDER.
        placeholder: no model said this.
        reasoning: sentences that are true of the very numbers that were used.
        latency_ms: from the request to the answer.
    """

    signal_id: str
    at_us: int
    symbol: str
    action: Action
    confidence: float
    entry_price: float
    stop_loss: float | None
    take_profit: float | None
    position_size: float
    risk_reward_ratio: float | None
    model_version: str
    placeholder: bool
    reasoning: tuple[str, ...]
    latency_ms: float

    def as_dict(self) -> dict[str, Any]:
        """The body of an answer under `/api/signals/`."""
        return {
            "signal_id": self.signal_id,
            "timestamp": format_instant(self.at_us),
            "symbol": self.symbol,
            "action": self.action.name,
            "confidence": self.confidence,
            "entry_price": self.entry_price,
            "stop_loss": self.stop_loss,
            "take_profit": self.take_profit,
            "position_size": self.position_size,
            "risk_reward_ratio": self.risk_reward_ratio,
            "model_version": self.model_version,
            "placeholder": self.placeholder,
            "reasoning": list(self.reasoning),
            "latency_ms": self.latency_ms,
        }


class SignalMaker(Protocol):
    """What makes a signal of a model's answer; nothing but its arguments and its settings may have a say in it."""

    def __call__(
        self, request: SignalRequest, probabilities: Probabilities, model: SignalModel
    ) -> ModelSignal:
        """The signal.

        Args:
            request: whose `signal_id` is filled in, and whose `features` may hold more than the model's own.
            probabilities: the model's answer.
            model: who answered.
        """
        ...
