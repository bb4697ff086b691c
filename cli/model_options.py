"""How a model is asked: which one, within what, and where its answers are on record."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

import typer

from raysignal.engine.core.errors import InvalidField, NotFound, SettingsError

if TYPE_CHECKING:
    from raysignal.agents.llm.models import ModelSettings
    from raysignal.agents.override.text_embeddings import EmbeddingOptions, EmbeddingPlan
    from raysignal.experiments.comparison.actors import ModelArmOptions
    from raysignal.runtime.settings import Settings

_model = partial(typer.Option, rich_help_panel="The model that the arms model and review ask")
_QUESTION_TOKENS = 4_000  # long ones hold half of it  # long ones hold half of it
_LOOPBACK_KEY = "loopback"
_ABOUT = {
    "model": "for the grey zone of the gate, at most {calls} calls,",
    "review": "as a reviewer of what the gate did not decide, at most {calls} calls",
}
ModelUrl = Annotated[
    str | None,
    _model(
        "--model-url",
        "--gemini-url",
        metavar="URL",
        help="Another host that speaks the API of the model's provider, such as python -m raysignal.loopback.gemini.",
    ),
]
Replay = Annotated[Path | None, _model(metavar="CASSETTE", help="Answer from this record; nothing is asked.")]
Embeddings = Annotated[
    str | None,
    _model(
        metavar="NAME",
        help="Embed free texts with this model of the Gemini API, such as gemini-embedding-001, on record beside "
        "the cassette; default: hashed on this machine.",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """How a model is asked."""

    model: Annotated[
        str | None,
        _model(
            metavar="NAME",
            help="A name of Gemini's, or one behind openai:, anthropic: or ollama:; gemini-3.5-flash.",
        ),
    ] = None
    model_url: ModelUrl = None
    model_prices: Annotated[
        Path | None, _model(metavar="FILE", help="A TOML file of list prices; the shipped one.")
    ] = None
    max_output_tokens: Annotated[
        int | None, _model(min=1, metavar="TOKENS", help="Of an answer, thinking included; 2048.")
    ] = None
    thinking_level: Annotated[
        Literal["minimal", "low", "medium", "high"] | None,
        _model(help="How much it thinks before it answers; low."),
    ] = None
    budget: Annotated[int, _model(min=1, metavar="CALLS", help="Calls of an arm at most.")] = 500
    per_minute: Annotated[float | None, _model(metavar="CALLS", help="Calls a minute; as they come.")] = None
    deadline: Annotated[float, _model(metavar="SECONDS", help="For the answer about one signal.")] = 8.0
    record: Annotated[
        Path | None,
        _model(
            metavar="CASSETTE",
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
