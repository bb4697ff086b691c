"""What speaks where no model is configured: a fixed rule over whatever indicators are given, marked in every answer."""

from collections.abc import Mapping

from raysignal.agents.inference.indicators import facts_of
from raysignal.agents.inference.values import Probabilities, SignalRequest

PLACEHOLDER = "PLACEHOLDER"
"""The version of the model that is none."""


class PlaceholderModel:
    """A `SignalModel` without a model. Each indicator votes for a side or for none, and probabilities are the shares of
    the votes, with one for each action beforehand (Laplace). Deterministic and without memory: it knows nothing.
    """

    name = PLACEHOLDER
    version = ""
    placeholder = True
    features: tuple[str, ...] = ()
    optional_features: tuple[str, ...] = ()

    def step(self, request: SignalRequest, state: bytes | None) -> tuple[Probabilities, bytes | None]:
        """The votes on a request; the state is left as it is."""
        return probabilities_of_votes(request.close, request.features), state


def probabilities_of_votes(close: float, features: Mapping[str, float]) -> Probabilities:
    """Of n indicators `(1 + votes) / (3 + n)` for each action; without any a third each, which is HOLD."""
    sides = [fact.side for fact in facts_of(close, features)]
    total = 3 + len(sides)
    buy, sell = (1 + sides.count(1)) / total, (1 + sides.count(-1)) / total
    return Probabilities((1 + sides.count(0)) / total, buy, sell)
