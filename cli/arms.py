"""Options of a comparison: the rules of its arms, and who is asked; checked before anything starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import typer

from raysignal.cli.options import PolicyOptions, given
from raysignal.cli.verbs import require_extras
from raysignal.engine.core.errors import InvalidField, NotFound, SettingsError
from raysignal.engine.core.instants import parse_length
from raysignal.engine.core.policy import Policy

if TYPE_CHECKING:
    from raysignal.agents.llm.models import ModelSettings
    from raysignal.agents.override.text_embeddings import EmbeddingOptions, EmbeddingPlan
    from raysignal.experiments.comparison.actors import ModelArmOptions
    from raysignal.experiments.comparison.arms import Trial
    from raysignal.runtime.settings import Settings

_AGENT = "The agent: memory and gate"
_MODEL = "The model that the arms model and review ask"
_REVIEW = "The reviewer: a model that is asked about what the gate did not decide"
_QUESTION_TOKENS = 4_000  # long ones hold half of it
_LOOPBACK_KEY = "loopback"
_ABOUT = {
    "model": "for the grey zone of the gate, at most {calls} calls,",
    "review": "as a reviewer of what the gate did not decide, at most {calls} calls",
}

ModelUrl = Annotated[
    str | None,
    typer.Option(
        "--model-url",
        "--gemini-url",
        metavar="URL",
        rich_help_panel=_MODEL,
        help="Another host that speaks the API of the model's provider, such as python -m raysignal.loopback.gemini.",
    ),
]
Replay = Annotated[
    Path | None,
    typer.Option(
        metavar="CASSETTE", rich_help_panel=_MODEL, help="Answer from this record; nothing is asked."
    ),
]


Embeddings = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_MODEL,
        help="Embed free texts with this model of the Gemini API, such as gemini-embedding-001, on record beside "
        "the cassette; default: hashed on this machine.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class HorizonOptions:
    """How long a signal is followed; None: as configured."""

    horizon: Annotated[
        str | None,
        typer.Option(
            metavar="6b|90m|1d|close",
            rich_help_panel=_AGENT,
            help="How long a signal is followed: bars, a time, or until the opposite signal "
            "(RAYSIGNAL_AGENT__HORIZON, 6b).",
        ),
    ] = None
    settlement_lag: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH",
            rich_help_panel=_AGENT,
            help="How much later than its end an outcome is known, such as 10m; at once.",
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmOptions(HorizonOptions):
    """The rules of the arms; None: as configured."""

    against: Annotated[
        float | None,
        typer.Option(
            metavar="P", rich_help_panel=_AGENT, help="Overrule from this probability of worse on; 0.9."
        ),
    ] = None
    grey: Annotated[
        float | None,
        typer.Option(metavar="P", rich_help_panel=_AGENT, help="Ask a model from this one on; 0.75."),
    ] = None
    least_evidence: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            rich_help_panel=_AGENT,
            help="Independent precedents without which nothing is overruled; 25.",
        ),
    ] = None
    neighbours: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=10_000,
            metavar="N",
            rich_help_panel=_AGENT,
            help="Past signals that are looked at, at most; 400.",
        ),
    ] = None
    texts: Annotated[
        bool | None,
        typer.Option(
            "--texts/--no-texts",
            rich_help_panel=_AGENT,
            help="Compare free texts, such as news and summaries, by what texts like them told so far "
            "(RAYSIGNAL_AGENT__TEXTS, on).",
        ),
    ] = None

    review_pick: Annotated[
        Literal["uncertain", "spaced"] | None,
        typer.Option(
            rich_help_panel=_REVIEW,
            help="Where calls do not last: the most uncertain signals, or spaced ones.",
        ),
    ] = None
    review_allow: Annotated[
        Literal["hold", "flip"] | None,
        typer.Option(
            rich_help_panel=_REVIEW, help="Whether it may only hold a signal, or flip it, too; flip."
        ),
    ] = None
    review_least: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", rich_help_panel=_REVIEW, help="Precedents from which it is asked; 5."
        ),
    ] = None
    overruled_share: Annotated[
        float | None,
        typer.Option(
            min=0.0, max=1.0, metavar="SHARE", rich_help_panel=_REVIEW,
            help="Of the BUYs and SELLs so far, up to which it may overrule; 0.25.",
        ),
    ] = None  # fmt: skip

    def trial(self, base: Trial, policy: PolicyOptions, *, seed: int = 0) -> Trial:
        """Under which rules the arms run; raises `InvalidField`.

        Args:
            base: the rules that are configured.
            policy: its members that were given.
            seed: of what is drawn by lot.
        """
        from raysignal.agents.override.outcomes import Horizon

        rules = base.rules
        recall, horizon = rules.recall, rules.horizon
        if self.neighbours is not None:
            recall = replace(recall, neighbours=self.neighbours, least=min(recall.least, self.neighbours))
        if self.horizon is not None:
            horizon = Horizon.parse(self.horizon, lag_us=horizon.lag_us)
        if self.settlement_lag is not None:
            horizon = replace(horizon, lag_us=_lag_us(self.settlement_lag))
        gate = given(against=self.against, grey=self.grey, least=self.least_evidence)
        review = given(
            pick=self.review_pick, allow=self.review_allow, least=self.review_least,
            overruled_share=self.overruled_share,
        )  # fmt: skip
        return replace(
            base,
            policy=Policy.from_dict(base.policy.as_dict() | policy.given()),
            rules=replace(
                rules,
                horizon=horizon,
                recall=recall,
                gate=replace(rules.gate, **gate),
                **given(texts=self.texts),
            ),
            review=replace(base.review, **review),
            seed=seed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """How a model is asked."""

    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_MODEL,
            help="A name of Gemini's, or one behind openai:, anthropic: or ollama:; gemini-3.5-flash.",
        ),
    ] = None
    model_url: ModelUrl = None
    model_prices: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", rich_help_panel=_MODEL, help="A TOML file of list prices; the shipped one."
        ),
    ] = None
    max_output_tokens: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="TOKENS", rich_help_panel=_MODEL, help="Of an answer, thinking included; 2048."
        ),
    ] = None
    thinking_level: Annotated[
        Literal["minimal", "low", "medium", "high"] | None,
        typer.Option(rich_help_panel=_MODEL, help="How much it thinks before it answers; low."),
    ] = None
    budget: Annotated[
        int, typer.Option(min=1, metavar="CALLS", rich_help_panel=_MODEL, help="Calls of an arm at most.")
    ] = 500
    per_minute: Annotated[
        float | None,
        typer.Option(metavar="CALLS", rich_help_panel=_MODEL, help="Calls a minute; as they come."),
    ] = None
    deadline: Annotated[
        float,
        typer.Option(metavar="SECONDS", rich_help_panel=_MODEL, help="For the answer about one signal."),
    ] = 8.0
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="CASSETTE",
            rich_help_panel=_MODEL,
            help="Record calls there, and ask nothing twice; default: cassette.ndjson in the run's folder.",
        ),
    ] = None
    replay: Replay = None
    embeddings: Embeddings = None

    def __post_init__(self) -> None:
        if self.record is not None and self.replay is not None:
            raise typer.BadParameter("expected --record or --replay, not both")
        if self.per_minute is not None and not self.per_minute > 0.0:
            raise typer.BadParameter("--per-minute is a number of calls above 0")
        if not self.deadline > 0.0:
            raise typer.BadParameter("--deadline is a number of seconds above 0")

    def configured(self, settings: Settings) -> ModelOptions:
        """With the model of the settings where none was named; what is named as a file is looked for.

        Raises:
            NotFound: the cassette that answers are replayed from is not there.
            InvalidField: the one that calls are recorded in cannot be.
        """
        embedded = (
            self.replay is not None
            and self.embeddings is not None
            and embeddings_beside(self.replay).is_file()
        )
        if self.replay is not None and not embedded and not self.replay.is_file():
            raise NotFound(f"{self.replay} is no file; expected a cassette that was recorded with --record")
        if self.record is not None and self.record.is_dir():
            raise InvalidField("record", str(self.record), "a file, which is made where there is none")
        prices = None if settings.llm.prices is None else Path(settings.llm.prices)
        return replace(
            self,
            model=self.model or settings.llm.model,
            model_url=self.model_url or settings.llm.url,
            model_prices=self.model_prices or prices,
            max_output_tokens=self.max_output_tokens or settings.llm.max_output_tokens,
            thinking_level=self.thinking_level or settings.llm.thinking_level,
        )

    def settings(self) -> ModelSettings:
        """Which model; raises `InvalidField`."""
        from raysignal.agents.llm.models import ModelSettings
        from raysignal.agents.llm.prices import load_prices

        prices = load_prices() if self.model_prices is None else load_prices(self.model_prices)
        said: dict[str, Any] = {
            name: value
            for name in ("model", "max_output_tokens", "thinking_level")
            if (value := getattr(self, name)) is not None
        }
        return ModelSettings(base_url=self.model_url, prices=prices, **said)

    def key(self) -> str | None:
        """The key that is sent; a model on this machine is content with any."""
        return _key_for(self.settings())

    @property
    def can_be_asked(self) -> bool:
        """Whether there is somebody to ask, or a record of the answers."""
        return self.key() is not None if self.replay is None else self.replay.is_file()

    @property
    def wanted(self) -> list[str]:
        """The options that speak of a model beyond doubt."""
        if self.embeddings is not None:
            return []
        said = {"--model-url": self.model_url, "--record": self.record, "--replay": self.replay}
        return [name for name, value in said.items() if value is not None]

    def asking(self) -> ModelArmOptions:
        """How the arms ask; without a cassette where none was named, see `cassette_beside`."""
        from raysignal.agents.llm.cassette import Mode
        from raysignal.agents.llm.models import why_not_asked
        from raysignal.experiments.comparison.actors import ModelArmOptions

        replays, cassette = self.replay is not None, self.replay or self.record
        settings, key = self.settings(), self.key()
        if not replays and (why := why_not_asked(settings, key)) is not None:
            raise SettingsError(f"{settings.model} cannot be asked: {why}")
        return ModelArmOptions(
            settings=settings,
            api_key=None if replays else key,
            mode=Mode.REPLAY if replays else Mode.RECORD,
            cassette=None if cassette is None else cassette.resolve(),
            budget=self.budget,
            per_minute=self.per_minute,
            deadline_s=self.deadline,
        )

    def embedding(self) -> EmbeddingOptions | None:
        """How free texts are embedded; without a record where none was named, see `embeddings_beside`.

        Raises:
            InvalidField: a name of a model that cannot be.
            SettingsError: nobody to ask.
        """
        from raysignal.agents.llm.models import why_not_asked

        options = self.embedding_by()
        if options is None or options.replays:
            return options
        key = _key_for(options.settings)
        if (why := why_not_asked(options.settings, key)) is not None:
            raise SettingsError(f"--embeddings has nobody to ask: {why}")
        return replace(options, api_key=key)

    def embedding_by(self) -> EmbeddingOptions | None:
        """The same without a key, so that it can be said what it would take; raises `InvalidField`."""
        from raysignal.agents.llm.models import DEFAULT_PROVIDER
        from raysignal.agents.override.text_embeddings import EmbeddingOptions

        if self.embeddings is None:
            return None
        cassette = self.replay or self.record
        return EmbeddingOptions(
            model=self.embeddings,
            base_url=self.model_url if self.settings().provider.name == DEFAULT_PROVIDER else None,
            record=None if cassette is None else embeddings_beside(cassette.resolve()),
            replays=self.replay is not None,
        )

    def embedding_plan(self, texts: Sequence[str]) -> EmbeddingPlan | None:
        """What it takes to embed these texts, at the prices of these options; None: they are hashed."""
        from raysignal.agents.override.text_embeddings import plan_embeddings

        if (options := self.embedding_by()) is None:
            return None
        return plan_embeddings(texts, replace(options.settings, prices=self.settings().prices))

    def embedding_sentence(self, plan: EmbeddingPlan) -> str:
        """Who embeds texts, in how many calls, and roughly for how much."""
        options = self.embedding_by()
        assert options is not None
        texts = f"{plan.texts:,d} different free texts"
        if options.replays:
            return f"{texts}, {plan.model}, replayed from {options.record}: nothing is asked, nothing is paid"
        said = f"{texts} in {plan.calls:,d} calls of {plan.model}, what is on record not asked again"
        if options.settings.on_loopback:
            return f"{said}, on this machine"
        cost = "at a price that is not known here" if plan.usd is None else f"roughly {plan.usd:,.4f} USD"
        return f"{said}: about {plan.tokens:,d} tokens, {cost}"

    def sentence(self, *, asked: Sequence[str], signals: int) -> str:
        """Who is asked, and what that costs at most.

        Args:
            asked: the arms that ask.
            signals: those with a side.
        """
        settings = self.settings()
        if not asked:
            why = "left out by --arms" if self.can_be_asked else f"no key ({settings.provider.keys})"
            return f"{why}: no model is asked, the gate decides alone"
        if self.replay is not None:
            return f"{settings.model}, answers replayed from {self.replay}: nothing is asked, nothing is paid"
        calls, at = min(self.budget, signals), settings.base_url or settings.provider.title
        about = " and ".join(_ABOUT[name].format(calls=f"{calls:,d}") for name in asked)
        return f"{settings.name} at {at}, {about}{self._cost(settings, len(asked) * calls)}"

    def _cost(self, settings: ModelSettings, calls: int) -> str:
        if settings.on_loopback:
            return ", on this machine"
        price = settings.price
        if price is None:
            return f", whose price is not known here; expected one of {', '.join(settings.prices)}"
        usd = calls * (_QUESTION_TOKENS * price.usd_in + settings.max_output_tokens * price.usd_out) / 1e6
        return f", roughly {usd:,.2f} USD if all of them were as long as can be"


def chosen_arms(named: str | None, model: ModelOptions) -> tuple[str, ...]:
    """The arms of a comparison.

    Raises:
        InvalidField: an arm that there is not, or an option about a model that no arm asks.
        SettingsError: an arm that asks a model without anybody to ask.
    """
    from raysignal.experiments.comparison.arms import ASKING

    arms = _named_arms(named, with_model=model.can_be_asked)
    asked = [name for name in arms if name in ASKING]
    if not asked and model.wanted:
        option = model.wanted[0]
        if named is None:
            raise SettingsError(
                f"{option} needs somebody to ask; expected {model.settings().provider.keys} to be set"
            )
        raise InvalidField("arms", named, f"{' or '.join(ASKING)} among them, which {option} is about")
    if asked and not model.can_be_asked:
        raise SettingsError(
            f"the arm {asked[0]} has nobody to ask; expected {model.settings().provider.keys}, --model-url or --replay"
        )
    return arms


def _named_arms(named: str | None, *, with_model: bool) -> tuple[str, ...]:
    """Which arms: those that were named, else all that can run; in their standing order."""
    from raysignal.experiments.comparison.arms import ARMS, ASKING, KINDS

    if named is None:
        return tuple(name for name in ARMS if with_model or name not in ASKING)
    names = [name.strip() for name in named.split(",")]
    for name in names:
        if name not in KINDS:
            raise InvalidField("arms", name, f"some of {', '.join(KINDS)}, with commas between them")
    if "chroma" in names:
        require_extras("compare --arms chroma", "agents")
    return tuple(name for name in KINDS if name in names)


def cassette_beside(store: str, run_id: str) -> Path:
    """Where the calls of a run are recorded: in its folder, or on this machine if the store is elsewhere."""
    parts = urlsplit(store)
    if parts.scheme == "file":
        return Path(unquote(parts.path)) / "experiments" / run_id / "cassette.ndjson"
    return Path("raysignal-cassettes").resolve() / f"{run_id}.ndjson"


def embeddings_beside(cassette: Path) -> Path:
    """Where the embeddings of texts are on record that belong to a cassette."""
    return cassette.with_suffix(".embeddings.ndjson")


def _key_for(settings: ModelSettings) -> str | None:
    key = settings.key_in(os.environ)
    return _LOOPBACK_KEY if key is None and settings.on_loopback else key


def configured_trial(settings: Settings) -> Trial:
    """The rules that a service with these settings decides by."""
    from raysignal.experiments.comparison.arms import Trial
    from raysignal.runtime.agent_settings import review_rules, terms_of

    terms = terms_of(settings)
    return Trial(policy=terms.policy, rules=terms.rules, breaker=terms.breaker, review=review_rules(settings))


def _lag_us(text: str) -> int:
    return parse_length(text, "settlement_lag")
