"""What is compared, from what was said on the command line: the rules of the arms, and who is asked.

Everything that can be wrong with it is said here, before a file is read or anything starts.
"""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from raysignal.agents.llm.cassette import Mode
from raysignal.agents.llm.gemini import KEY_VARIABLES, LIST_PRICES, ModelSettings, api_key_in
from raysignal.agents.override.outcomes import Horizon
from raysignal.engine.core.errors import InvalidField, NotFound, SettingsError
from raysignal.engine.core.instants import parse_bar
from raysignal.engine.core.policy import Policy
from raysignal.experiments.arms import ARMS, Trial
from raysignal.runtime.agent_settings import terms_of
from raysignal.runtime.settings import Settings

if TYPE_CHECKING:
    from raysignal.experiments.actors import ModelArmOptions

BUDGET = 500
_QUESTION_TOKENS = 4_000  # long ones hold half of it
_LOOPBACK_KEY = "loopback"


@dataclass(frozen=True, slots=True)
class ArmOptions:
    """The rules as they were said; what was not said is as in `base`.

    Attributes:
        policy: the members of the policy that were given.
        horizon, settlement_lag: lengths as texts.
        arms: names with commas between them.
        gate: the members of the gate's rules that were given.
        neighbours: past signals that the memory is asked for.
        seed: of what is drawn by lot.
        base: the rules that are configured.
    """

    policy: dict[str, Any] = field(default_factory=dict)
    horizon: str | None = None
    settlement_lag: str | None = None
    arms: str | None = None
    gate: dict[str, float] = field(default_factory=dict)
    neighbours: int | None = None
    seed: int = 0
    base: Trial = field(default_factory=Trial)

    def trial(self) -> Trial:
        """Under which rules the arms run; raises `InvalidField`."""
        rules = self.base.rules
        recall, horizon = rules.recall, rules.horizon
        if self.neighbours is not None:
            recall = replace(recall, neighbours=self.neighbours, least=min(recall.least, self.neighbours))
        if self.horizon is not None:
            horizon = Horizon.parse(self.horizon, lag_us=horizon.lag_us)
        if self.settlement_lag is not None:
            horizon = replace(horizon, lag_us=_lag_us(self.settlement_lag))
        return replace(
            self.base,
            policy=Policy.from_dict(self.base.policy.as_dict() | self.policy),
            rules=replace(rules, horizon=horizon, recall=recall, gate=replace(rules.gate, **self.gate)),
            seed=self.seed,
        )

    def named_arms(self, *, with_model: bool) -> tuple[str, ...]:
        """Which arms: those that were named, else all that can run; in their standing order."""
        if self.arms is None:
            return tuple(name for name in ARMS if with_model or name != "model")
        named = [name.strip() for name in self.arms.split(",")]
        for name in named:
            if name not in ARMS:
                raise InvalidField("arms", name, f"some of {', '.join(ARMS)}, with commas between them")
        return tuple(name for name in ARMS if name in named)


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How a model is asked, as it was said.

    Attributes:
        model: its name; None: the default.
        url: another host than Google's.
        budget: calls at most.
        per_minute: calls a minute; None: as they come.
        deadline_s: seconds for one signal.
        record, replay: a cassette; None for both: recorded beside the run.
    """

    model: str | None = None
    url: str | None = None
    budget: int = BUDGET
    per_minute: float | None = None
    deadline_s: float = 8.0
    record: Path | None = None
    replay: Path | None = None

    def __post_init__(self) -> None:
        if self.replay is not None and not self.replay.is_file():
            raise NotFound(f"{self.replay} is no file; expected a cassette that was recorded with --record")
        if self.record is not None and self.record.is_dir():
            raise InvalidField("record", str(self.record), "a file, which is made where there is none")

    def settings(self) -> ModelSettings:
        """Which model; raises `InvalidField`."""
        settings = ModelSettings(base_url=self.url)
        return settings if self.model is None else replace(settings, model=self.model)

    def key(self) -> str | None:
        """The key that is sent; a model on this machine is content with any."""
        key = api_key_in(os.environ)
        return _LOOPBACK_KEY if key is None and self.settings().on_loopback else key

    @property
    def can_be_asked(self) -> bool:
        """Whether there is somebody to ask, or a record of the answers."""
        return self.replay is not None or self.key() is not None

    @property
    def wanted(self) -> list[str]:
        """The options that speak of a model beyond doubt."""
        said = {"--gemini-url": self.url, "--record": self.record, "--replay": self.replay}
        return [name for name, value in said.items() if value is not None]

    def asking(self) -> "ModelArmOptions":
        """How the arm `model` asks; without a cassette where none was named, see `cassette_beside`."""
        from raysignal.experiments.actors import ModelArmOptions

        replays, cassette = self.replay is not None, self.replay or self.record
        return ModelArmOptions(
            settings=self.settings(),
            api_key=None if replays else self.key(),
            mode=Mode.REPLAY if replays else Mode.RECORD,
            cassette=None if cassette is None else cassette.resolve(),
            budget=self.budget,
            per_minute=self.per_minute,
            deadline_s=self.deadline_s,
        )

    def sentence(self, *, asked: bool, signals: int) -> str:
        """Who decides the grey zone, and what that costs at most; `signals` are those with a side."""
        settings = self.settings()
        if not asked:
            why = "left out by --arms" if self.can_be_asked else f"no key ({' or '.join(KEY_VARIABLES)})"
            return f"{why}: no model is asked, the gate decides alone"
        if self.replay is not None:
            return f"{settings.model}, answers replayed from {self.replay}: nothing is asked, nothing is paid"
        calls = min(self.budget, signals)
        return (
            f"{settings.model} at {settings.base_url or 'Google'}, for the grey zone of the gate: at most "
            f"{calls:,d} calls{self._cost(settings, calls)}"
        )

    def _cost(self, settings: ModelSettings, calls: int) -> str:
        if settings.on_loopback:
            return ", on this machine"
        price = LIST_PRICES.get(settings.model)
        if price is None:
            return f", whose price is not known here; expected one of {', '.join(LIST_PRICES)}"
        usd = calls * (_QUESTION_TOKENS * price.usd_in + settings.max_output_tokens * price.usd_out) / 1e6
        return f", roughly {usd:,.2f} USD if all of them were as long as can be"


def chosen_arms(rules: ArmOptions, questions: ModelOptions) -> tuple[str, ...]:
    """The arms of a comparison.

    Raises:
        InvalidField: an arm that there is not, or an option about a model that no arm asks.
        SettingsError: the arm `model` without anybody to ask.
    """
    arms = rules.named_arms(with_model=questions.can_be_asked)
    if "model" not in arms and questions.wanted:
        option = questions.wanted[0]
        if rules.arms is None:
            raise SettingsError(
                f"{option} needs somebody to ask; expected {' or '.join(KEY_VARIABLES)} to be set"
            )
        raise InvalidField("arms", rules.arms, f"model among them, which {option} is about")
    if "model" in arms and not questions.can_be_asked:
        raise SettingsError(
            f"the arm model has nobody to ask; expected {' or '.join(KEY_VARIABLES)}, --gemini-url or --replay"
        )
    return arms


def cassette_beside(store: str, run_id: str) -> Path:
    """Where the calls of a run are recorded: in its folder, or on this machine if the store is elsewhere."""
    parts = urlsplit(store)
    if parts.scheme == "file":
        return Path(unquote(parts.path)) / "experiments" / run_id / "cassette.ndjson"
    return Path("raysignal-cassettes").resolve() / f"{run_id}.ndjson"


def configured_trial(settings: Settings) -> Trial:
    """The rules that a service with these settings decides by."""
    terms = terms_of(settings)
    return Trial(policy=terms.policy, rules=terms.rules, breaker=terms.breaker)


def _lag_us(text: str) -> int:
    try:
        return parse_bar(text)
    except InvalidField as error:
        raise InvalidField("settlement_lag", text, "a length such as 1s, 10m, 1h or 1d") from error
