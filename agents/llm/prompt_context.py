"""What the model is told about one signal: the signal, its features, the statistics, the precedents.

A prompt context is made from data of a feed, which is hostile until proven otherwise. It keeps that data as it came;
`agents/llm/prompting.py` is the only way from it to a prompt, and cleans it there.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.secrets import is_secret_name


@dataclass(frozen=True, slots=True)
class Precedent:
    """One settled outcome of a similar signal.

    Attributes:
        id: the signal it was; never shown to the model.
        action: 1 buy, -1 sell.
        right: whether the price went the signal's way over the horizon.
        net_bps: what each verdict would have made of it, in basis points after costs, by `Verdict`.
        age_s: seconds between its decision and the one of this signal.
        distance: from this signal's situation, in standardised units.
    """

    id: str
    action: int
    right: bool
    net_bps: tuple[float, float, float]
    age_s: float
    distance: float

    def __post_init__(self) -> None:
        if not self.id:
            raise InvalidField("precedent.id", self.id, "an id that is not empty")
        _check_side("precedent.action", self.action)
        if len(self.net_bps) != len(Verdict) or not all(map(math.isfinite, self.net_bps)):
            raise InvalidField(
                "precedent.net_bps", self.net_bps, "a finite number for each of the 3 verdicts"
            )
        for name, value in (("age_s", self.age_s), ("distance", self.distance)):
            if not (math.isfinite(value) and value >= 0):
                raise InvalidField(f"precedent.{name}", value, "a finite number of at least 0")


@dataclass(frozen=True, slots=True)
class ConditionCount:
    """How often settled signals were right that share one thing with the signal.

    Attributes:
        field: what they share, such as `source` or a feature's name.
        value: of it, such as a label or `low third`.
        signals: how many they are.
        right: how many of them the market followed.
        usual: the share of them that would be right without knowing anything.
        net_bps: the mean of what approving them made, in basis points after costs.
    """

    field: str
    value: str
    signals: int
    right: int
    usual: float
    net_bps: float


@dataclass(frozen=True, slots=True)
class ReviewContext:
    """What the reviewer is told about a signal beside its precedents.

    Attributes:
        standings: by number, the share of earlier values that are lower, 0 to 1.
        patterns: the most telling first.
        counted: conditions that were looked at; these are the most telling of them.
        enough: independent precedents with which the gate would decide by itself.
    """

    standings: Mapping[str, float]
    patterns: tuple[ConditionCount, ...]
    counted: int
    enough: float


@dataclass(frozen=True, slots=True)
class PromptContext:
    """One question to the model.

    Attributes:
        signal_id: the signal; never shown to the model.
        symbol: as the feed names it.
        timestamp_us: the instant of the decision.
        action: 1 buy, -1 sell; a HOLD is never asked about.
        price: the signal's price.
        numbers: numeric features known at the decision; NaN is missing.
        categories: enumerated features.
        texts: free text of the feed.
        statistics: what the evidence says, by name.
        precedents: similar settled signals, nearest first; each id once.
        allowed: the verdicts that may be answered; APPROVE is always one of them.
        review: what a reviewer is told, too; None: the question is about the gate's grey zone.
    """

    signal_id: str
    symbol: str
    timestamp_us: int
    action: int
    price: float
    numbers: Mapping[str, float]
    categories: Mapping[str, str]
    texts: Mapping[str, str]
    statistics: Mapping[str, float]
    precedents: tuple[Precedent, ...]
    allowed: tuple[Verdict, ...]
    review: ReviewContext | None = None

    def __post_init__(self) -> None:
        _check_side("action", self.action)
        if not (math.isfinite(self.price) and self.price > 0):
            raise InvalidField("price", self.price, "a finite number above 0")
        if Verdict.APPROVE not in self.allowed or len(set(self.allowed)) != len(self.allowed):
            raise InvalidField("allowed", self.allowed, "each verdict at most once, APPROVE among them")
        ids = [precedent.id for precedent in self.precedents]
        if len(set(ids)) != len(ids):
            raise InvalidField("precedents", ids, "each precedent once")
        for name in ("numbers", "categories", "texts", "statistics"):
            told = {key: value for key, value in getattr(self, name).items() if not is_secret_name(key)}
            object.__setattr__(self, name, told)
        if self.review is not None:
            standings = {
                key: value for key, value in self.review.standings.items() if not is_secret_name(key)
            }
            patterns = tuple(each for each in self.review.patterns if not is_secret_name(each.field))
            object.__setattr__(self, "review", replace(self.review, standings=standings, patterns=patterns))


def _check_side(field: str, action: int) -> None:
    if action not in {1, -1}:
        raise InvalidField(field, action, "1 (buy) or -1 (sell)")
