"""Options of a comparison: its arms, and the rules by which they decide; checked before anything starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from raysignal.cli.model_options import ModelOptions
from raysignal.cli.options import PolicyOptions, given
from raysignal.cli.verbs import require_extras
from raysignal.engine.core.errors import InvalidField, SettingsError
from raysignal.engine.core.instants import parse_length
from raysignal.engine.core.policy import Policy

if TYPE_CHECKING:
    from raysignal.experiments.comparison.arms import Trial
    from raysignal.runtime.settings import Settings

_agent = partial(typer.Option, rich_help_panel="The agent: memory and gate")
_review = partial(
    typer.Option, rich_help_panel="The reviewer: a model that is asked about what the gate did not decide"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HorizonOptions:
    """How long a signal is followed; None: as configured."""

    horizon: Annotated[
        str | None,
        _agent(
            metavar="6b|90m|1d|close",
            help="How long a signal is followed: bars, a time, or until the opposite signal "
            "(RAYSIGNAL_AGENT__HORIZON, 6b).",
        ),
    ] = None
    settlement_lag: Annotated[
        str | None,
        _agent(
            metavar="LENGTH", help="How much later than its end an outcome is known, such as 10m; at once."
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmOptions(HorizonOptions):
    """The rules of the arms; None: as configured."""

    against: Annotated[
        float | None, _agent(metavar="P", help="Overrule from this probability of worse on; 0.9.")
    ] = None
    grey: Annotated[float | None, _agent(metavar="P", help="Ask a model from this one on; 0.75.")] = None
    least_evidence: Annotated[
        float | None,
        _agent(metavar="N", help="Independent precedents without which nothing is overruled; 25."),
    ] = None
    neighbours: Annotated[
        int | None,
        _agent(min=1, max=10_000, metavar="N", help="Past signals that are looked at, at most; 400."),
    ] = None
    texts: Annotated[
        bool | None,
        _agent(
            "--texts/--no-texts",
            help="Compare free texts, such as news and summaries, by what texts like them told so far "
            "(RAYSIGNAL_AGENT__TEXTS, on).",
        ),
    ] = None

    review_pick: Annotated[
        Literal["uncertain", "spaced"] | None,
        _review(help="Where calls do not last: the most uncertain signals, or spaced ones."),
    ] = None
    review_allow: Annotated[
        Literal["hold", "flip"] | None,
        _review(help="Whether it may only hold a signal, or flip it, too; flip."),
    ] = None
    review_least: Annotated[
        int | None, _review(min=1, metavar="N", help="Precedents from which it is asked; 5.")
    ] = None
    overruled_share: Annotated[
        float | None,
        _review(
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="Of the BUYs and SELLs so far, up to which it may overrule; 0.25.",
        ),
    ] = None

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


def configured_trial(settings: Settings) -> Trial:
    """The rules that a service with these settings decides by."""
    from raysignal.experiments.comparison.arms import Trial
    from raysignal.runtime.agent_settings import review_rules, terms_of

    terms = terms_of(settings)
    return Trial(policy=terms.policy, rules=terms.rules, breaker=terms.breaker, review=review_rules(settings))


def _lag_us(text: str) -> int:
    return parse_length(text, "settlement_lag")
