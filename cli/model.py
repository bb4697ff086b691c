"""`raysignal model`: a model checked, and the one of a running service loaded, compared, promoted and rolled back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from raysignal.cli import options
from raysignal.cli.output import Output, escape
from raysignal.cli.verbs import Verb, VerbGroup, require_extras, verb
from raysignal.engine.core.errors import Conflict

app = typer.Typer(
    cls=VerbGroup,
    no_args_is_help=True,
    help="Models that generate signals: ONNX policies with a card; see docs/models.md.",
)

Location = Annotated[
    str,
    typer.Argument(metavar="FOLDER", help="With model.onnx and card.json; or s3://bucket/prefix."),
]


@app.callback()
def _model() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckModelConfig:
    """Which model is checked."""

    location: Location
    json: options.Json = False


def check(config: CheckModelConfig) -> None:
    """Make every check that a service makes of a model before it speaks, and show its card; status 1 if one fails."""
    from raysignal.agents.inference.model_library import described
    from raysignal.agents.inference.onnx_policy import load_model

    require_extras("model check", "inference")
    _show_card(described(load_model(config.location)), Output(config.json))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfoConfig:
    """Of which service."""

    url: options.Url = None
    json: options.Json = False


def show_info(config: ModelInfoConfig) -> None:
    """Show which model of a service speaks, which spoke before, and how the one in shadow differs."""
    _show(asyncio.run(_asked(config.url, "GET", "")), Output(config.json))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadModelConfig:
    """Which model is to speak, at which service."""

    location: Location
    url: options.Url = None
    json: options.Json = False


def load(config: LoadModelConfig) -> None:
    """Let another model speak, once it has passed every check; one that fails changes nothing."""
    body = {"location": _full(config.location)}
    _show(asyncio.run(_asked(config.url, "POST", "/load", body)), Output(config.json))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowModelConfig:
    """Which model is to run in shadow, at which service."""

    location: Annotated[
        str | None,
        typer.Argument(
            metavar="FOLDER", help="With model.onnx and card.json; or s3://bucket/prefix; none: end it."
        ),
    ] = None
    url: options.Url = None
    json: options.Json = False


def shadow(config: ShadowModelConfig) -> None:
    """Step another model beside the one that speaks, and count where it differs; without FOLDER, end that."""
    body = {"location": None if config.location is None else _full(config.location)}
    _show(asyncio.run(_asked(config.url, "POST", "/shadow", body)), Output(config.json))


def promote(config: ModelInfoConfig) -> None:
    """Let the model in shadow speak, with the state that it has."""
    _show(asyncio.run(_let_speak(config.url, "/promote", "shadow")), Output(config.json))


def roll_back(config: ModelInfoConfig) -> None:
    """Let the model speak again that spoke before."""
    _show(asyncio.run(_let_speak(config.url, "/roll-back", "before")), Output(config.json))


async def _let_speak(url: str | None, path: str, place: str) -> dict[str, Any]:
    """Let the model of a place speak, named by its digest: a request that is repeated changes nothing more."""
    held = (await _asked(url, "GET", ""))[place]
    if held is None:
        first = "run one with raysignal model shadow FOLDER" if place == "shadow" else "load a second one"
        raise Conflict(
            f"the service has no model {'in shadow' if place == 'shadow' else 'that spoke before'}; {first}"
        )
    return await _asked(url, "POST", path, {"digest": held["digest"]})


async def _asked(
    url: str | None, method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    from raysignal.runtime.service_client import service_at

    async with service_at(url, options.configured()) as client:
        if method == "GET":
            return await client.get(f"/v1/model{path}")
        return await client.post(f"/v1/model{path}", body)


def _full(location: str) -> str:
    """A folder by its full path, as the service's processes need it."""
    return location if "://" in location else str(Path(location).absolute())


def _show(info: dict[str, Any], output: Output) -> None:
    if output.as_json:
        output.json(info)
        return
    for place in ("active", "before", "shadow"):
        held = info[place]
        if held is not None:
            name = "PLACEHOLDER" if held["placeholder"] else f"{held['name']} {held['version']}"
            output.say(
                f"{place:<10}{escape(name)}  {escape(held['location'] or '')}  {(held['digest'] or '')[:16]}"
            )
    if (held := info["shadow"]) is not None:
        mean = held["mean_difference"]
        apart = "" if mean is None else f", probabilities {mean:.3g} apart on average"
        output.say(
            f"differs   at {held['differs']} of {held['steps']} steps{apart}; {held['failed']} could not be taken"
        )
    output.say(f"steps     {info['steps']} of {info['symbols']} symbols")
    if info["trouble"]:
        output.say(f"trouble   {escape(info['trouble'])}")
    if not info["speaks"]:
        output.say("no signal is generated until a model is loaded that can be used")


def _show_card(card: dict[str, Any], output: Output) -> None:
    if output.as_json:
        output.json(card)
        return
    for name, value in card.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        output.say(f"{name:<16}{escape(f'{shown:.4g}' if isinstance(shown, float) else str(shown))}")


app.command("check", cls=Verb)(verb(CheckModelConfig, check))
app.command("info", cls=Verb)(verb(ModelInfoConfig, show_info))
app.command("load", cls=Verb)(verb(LoadModelConfig, load))
app.command("shadow", cls=Verb)(verb(ShadowModelConfig, shadow))
app.command("promote", cls=Verb)(verb(ModelInfoConfig, promote))
app.command("roll-back", cls=Verb)(verb(ModelInfoConfig, roll_back))
