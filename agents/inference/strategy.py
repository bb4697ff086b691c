"""`kind: model` of a pipeline: an ONNX policy that says BUY or SELL with a confidence at each closed bar.

Its features are indicators by name (`engine.strategies.features`) and columns of the bar; until all are known it says
nothing and is not stepped. Rows are stepped one by one, so that the same bars are the same bytes however they are cut.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from raysignal.agents.inference.card import ModelFiles
from raysignal.agents.inference.onnx_policy import OnnxPolicy
from raysignal.engine.core.arrays import Float64Array, Int8Array
from raysignal.engine.core.errors import InvalidField, ModelRefused, RaysignalError, StrategyFailed
from raysignal.engine.core.signals import Action
from raysignal.engine.strategies.features import CandleFeature, FeatureStream
from raysignal.engine.strategies.strategy import Bars

BAR_COLUMNS = ("open", "high", "low", "close", "volume")
_PARAMETERS = ("model", "confidence")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ModelStrategy:
    """A model as a strategy.

    Attributes:
        policy: checked.
        location: where it lies.
        confidence: probability of BUY or SELL below which nothing is said.
    """

    policy: OnnxPolicy
    location: str
    confidence: float = 0.65

    @classmethod
    def of(cls, parameters: Mapping[str, Any], bar: str, bar_us: int) -> "ModelStrategy":
        """The strategy that a pipeline's file describes.

        Args:
            parameters: `model`, a folder or a prefix in S3, and `confidence`.
            bar: length of the bars that it is given, as it is written there.
            bar_us: the same, microseconds.

        Raises:
            InvalidField: a parameter that cannot be, a model that cannot be used, or one of other bars or features.
            StoreUnavailable: the model's place cannot be read now.
        """
        for name in parameters:
            if name not in _PARAMETERS:
                raise InvalidField("model parameter", name, f"one of {', '.join(_PARAMETERS)}")
        location = parameters.get("model")
        if not isinstance(location, str) or not location:
            raise InvalidField(
                "model", location, "a folder, or s3://bucket/prefix, with model.onnx and card.json"
            )
        confidence = parameters.get("confidence", 0.65)
        if (
            isinstance(confidence, bool)
            or not isinstance(confidence, int | float)
            or not 0.0 <= confidence <= 1.0
        ):
            raise InvalidField("confidence", confidence, "a number from 0 to 1")
        try:
            policy = _loaded(ModelFiles.read(location))
        except ModelRefused as error:
            raise InvalidField(
                "model", location, f"one that can be used: {error.fields['reason']}"
            ) from error
        if policy.card.bar_us != bar_us:
            raise InvalidField(
                "bar", bar, f"{policy.card.bar}, as the card of {policy.name} {policy.version} says"
            )
        for name in policy.features:
            if name not in BAR_COLUMNS:
                _feature(location, name)
        return cls(policy, location, float(confidence))

    @property
    def warm_up(self) -> int:
        """Not known beforehand: it says nothing until its features are there."""
        return 0

    def actions(self, bars: Bars) -> Int8Array:
        """See `Strategy`."""
        return self.stream().advance(bars)

    def stream(self) -> "ModelStream":
        """See `Strategy`."""
        return ModelStream(self)

    def __repr__(self) -> str:
        return f"{self.policy.name} {self.policy.version} ({self.location}, confidence {self.confidence:g})"


class ModelStream:
    """A model on its way through the bars of one symbol; see `ConfidentStream`."""

    def __init__(self, strategy: ModelStrategy) -> None:
        self._policy, self._confidence = strategy.policy, strategy.confidence
        self._features: list[str | FeatureStream] = [
            name if name in BAR_COLUMNS else CandleFeature.parse(name).stream()
            for name in self._policy.features
        ]
        self._state: bytes | None = None
        self._last_us: int | None = None

    def advance(self, bars: Bars) -> Int8Array:
        """See `StrategyStream`."""
        return self.advance_with_confidence(bars)[0]

    def advance_with_confidence(self, bars: Bars) -> tuple[Int8Array, Float64Array]:
        """See `ConfidentStream`."""
        columns = [
            getattr(bars, each) if isinstance(each, str) else each.advance(bars) for each in self._features
        ]
        rows = np.stack(columns, axis=1) if len(bars) else np.empty((0, len(columns)))
        known = np.isfinite(rows).all(axis=1)
        actions, confidences = np.zeros(len(bars), np.int8), np.zeros(len(bars))
        for place in np.flatnonzero(known).tolist():
            action, confidence = self._step(rows[place], int(bars.known_at_us[place]))
            if action is not Action.HOLD and confidence >= self._confidence:
                actions[place], confidences[place] = action, confidence
        return actions, confidences

    def _step(self, row: Float64Array, at_us: int) -> tuple[Action, float]:
        if self._last_us is not None and at_us - self._last_us > self._policy.card.episode_gap_us:
            self._state = None
        self._last_us = at_us
        (answer,) = self._policy.run([row], [self._state])
        if isinstance(answer, RaysignalError):
            raise StrategyFailed(str(answer)) from answer
        probabilities, self._state = answer
        return probabilities.best


@lru_cache(maxsize=8)
def _loaded(files: ModelFiles) -> OnnxPolicy:
    """The policy of these very files; a pipeline's file is read more than once."""
    return OnnxPolicy.load(files)


def _feature(location: str, name: str) -> None:
    try:
        CandleFeature.parse(name)
    except InvalidField as error:
        known = f"{error.fields['expected']}, or {', '.join(BAR_COLUMNS)}"
        expected = f"one whose features bars tell: {name} is none ({known})"
        raise InvalidField("model", location, expected) from error
