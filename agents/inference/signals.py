"""From a model's answer to a signal: threshold, stop and target, size, and reasons; and to the portfolio and back.

Nothing here knows the time or the market: what is not in the request is not used, so that the same request and answer
are the same signal, live, in a replay and when a portfolio's history is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from raysignal.agents.inference.indicators import ATR, facts_of, full_name, shown_apart
from raysignal.agents.inference.placeholder import PLACEHOLDER
from raysignal.agents.inference.values import ModelSignal, Probabilities, SignalModel, SignalRequest
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.intake.field_rules import MAX_PRICE, MIN_PRICE

SOURCE = "model"
VERSION_FEATURE, REASONING_FEATURE, LATENCY_FEATURE = "model_version", "reasoning", "latency_ms"
REQUEST_FIELDS = ("symbol", "close_price", "timestamp", "signal_id", "episode_start", "bar")
"""What a request for a signal has beside its numbers."""
NOT_GIVEN = frozenset({VERSION_FEATURE, REASONING_FEATURE, LATENCY_FEATURE})
"""Features of a portfolio's row that say how the signal came about, and are no numbers of its request."""


@dataclass(frozen=True, slots=True)
class SignalRules:
    """What is made of probabilities; a `SignalMaker`.

    Attributes:
        confidence: probability of the likeliest action below which nothing is done.
        position_size: share of equity of a BUY or SELL.
        stop_atr, target_atr: how far stop and target are from the price, in average true ranges.
    """

    confidence: float = 0.65
    position_size: float = 0.02
    stop_atr: float = 2.0
    target_atr: float = 3.0

    def __call__(
        self, request: SignalRequest, probabilities: Probabilities, model: SignalModel
    ) -> ModelSignal:
        """See `SignalMaker`; its latency is not known here, and 0."""
        likeliest, confidence = probabilities.best
        action = likeliest if confidence >= self.confidence else Action.HOLD
        stop, target, bracket = self._bracket(action, request)
        version = PLACEHOLDER if model.placeholder else f"{model.name} {model.version}"
        reasoning = (
            _said(likeliest, confidence, self.confidence, placeholder=model.placeholder),
            *(fact.sentence for fact in facts_of(request.close, request.features)),
            bracket,
        )
        return ModelSignal(
            signal_id=request.signal_id, at_us=request.at_us, symbol=request.symbol, action=action,
            confidence=confidence, entry_price=request.close, stop_loss=stop, take_profit=target,
            position_size=0.0 if action is Action.HOLD else self.position_size,
            risk_reward_ratio=_ratio(request.close, stop, target), model_version=version,
            placeholder=model.placeholder, reasoning=reasoning, latency_ms=0.0,
        )  # fmt: skip

    def _bracket(self, action: Action, request: SignalRequest) -> tuple[float | None, float | None, str]:
        """Stop, target, and a sentence about them."""
        atr = next((value for name, value in request.features.items() if full_name(name) == ATR), None)
        if atr is None:
            return None, None, (
                f"There is no {ATR.upper()}, since none was given and no bars tell it: stop_loss, take_profit and "
                "risk_reward_ratio are null."
            )  # fmt: skip
        if action is Action.HOLD:
            held = "HOLD opens no position: stop_loss, take_profit and risk_reward_ratio are null."
            return None, None, held
        close, side = request.close, int(action)
        stop, target = close - side * self.stop_atr * atr, close + side * self.target_atr * atr
        # Of a range that is 0, or wider than the price, there is no level on that side.
        within = min(stop, target) >= MIN_PRICE and max(stop, target) <= MAX_PRICE
        if not (within and side * (close - stop) > 0.0 and side * (target - close) > 0.0):
            return None, None, (
                f"{ATR.upper()} of {atr!r} leaves no stop and target around the price of {close!r}: stop_loss, "
                "take_profit and risk_reward_ratio are null."
            )  # fmt: skip
        lower, price, upper = shown_apart(min(stop, target), close, max(stop, target))
        below, above = (lower, upper) if side > 0 else (upper, lower)
        return stop, target, (
            f"Stop loss {below} and take profit {above} are {self.stop_atr:g} and {self.target_atr:g} times "
            f"{ATR.upper()} of {atr:.6g} from the price of {price}."
        )  # fmt: skip


def _said(likeliest: Action, confidence: float, threshold: float, *, placeholder: bool) -> str:
    """The sentence about the model's confidence."""
    who = (
        f"{PLACEHOLDER}: no model is configured; a fixed rule over the given indicators"
        if placeholder
        else "The model"
    )
    shown, against = shown_apart(confidence, threshold)
    if likeliest is Action.HOLD:
        return f"{who} gives HOLD the highest probability, {shown}."
    if confidence >= threshold:
        return f"{who} gives {likeliest.name} a probability of {shown}, not below the threshold of {against}."
    return f"{who} gives {likeliest.name} a probability of {shown}, below the threshold of {against}: HOLD."


def _ratio(close: float, stop: float | None, target: float | None) -> float | None:
    return None if stop is None or target is None else abs(target - close) / abs(close - stop)


def portfolio_signal(signal: ModelSignal, features: Mapping[str, float]) -> Signal:
    """The signal as its portfolio takes it in: all that `generated_signal` needs stands in it.

    Args:
        signal: as it was generated.
        features: the numbers that it was made of.
    """
    opens = signal.action is not Action.HOLD
    said: dict[str, float | str] = {
        **{name: value for name, value in features.items() if name not in NOT_GIVEN},
        VERSION_FEATURE: signal.model_version,
        REASONING_FEATURE: "\n".join(signal.reasoning),
        LATENCY_FEATURE: signal.latency_ms,
    }
    return Signal(
        signal.symbol, signal.at_us, signal.action, signal.entry_price, SOURCE, signal.signal_id, said,
        size=signal.position_size if opens else None, stop_loss=signal.stop_loss, take_profit=signal.take_profit,
        confidence=signal.confidence,
    )  # fmt: skip


def is_generated(signal: Signal) -> bool:
    """Whether a signal of a portfolio's history was generated here: anybody may post one that says so."""
    said = signal.features
    return (
        signal.source == SOURCE
        and signal.confidence is not None
        and isinstance(said.get(VERSION_FEATURE), str)
        and isinstance(said.get(REASONING_FEATURE), str)
        and isinstance(said.get(LATENCY_FEATURE), float)
    )


def generated_signal(taken: Signal) -> ModelSignal:
    """What `portfolio_signal` made a signal of, for which `is_generated`."""
    version, reasons = str(taken.features[VERSION_FEATURE]), str(taken.features.get(REASONING_FEATURE, ""))
    return ModelSignal(
        signal_id=taken.signal_id, at_us=taken.timestamp_us, symbol=taken.symbol, action=taken.action,
        confidence=taken.confidence or 0.0, entry_price=taken.price, stop_loss=taken.stop_loss,
        take_profit=taken.take_profit, position_size=taken.size or 0.0,
        risk_reward_ratio=_ratio(taken.price, taken.stop_loss, taken.take_profit), model_version=version,
        placeholder=version == PLACEHOLDER, reasoning=tuple(reasons.split("\n")),
        latency_ms=float(taken.features.get(LATENCY_FEATURE, 0.0)),
    )  # fmt: skip


def numbers_of(taken: Signal) -> dict[str, float]:
    """The numbers that a generated signal was made of."""
    return {
        name: value
        for name, value in taken.features.items()
        if name not in NOT_GIVEN and not isinstance(value, str)
    }
