"""`raysignal hooks`: entrances for senders that can set no header, such as TradingView."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from raysignal.cli import options
from raysignal.cli.output import Output, escape, rows_table
from raysignal.cli.verbs import Verb, VerbGroup, WrongUsage, verb
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import format_instant, parse_length

if TYPE_CHECKING:
    from raysignal.runtime.hooks import HookStore
    from raysignal.runtime.settings import Settings

app = typer.Typer(
    cls=VerbGroup,
    no_args_is_help=True,
    help="Addresses for senders that can set no header: POST /hooks/<token>.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the hook, which is its source.")]


@app.callback()
def _hooks() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class AddConfig:
    """A hook, and how the bodies that come through it are read."""

    name: Name
    template: Annotated[
        str | None,
        typer.Option(
            metavar="SENDER",
            help="Whose bodies: tradingview, traderspost, 3commas, wundertrading, pineconnector, alertatron, tickerly, "
            "freqtrade; default: the common names.",
        ),
    ] = None
    portfolio: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where its signals go; default: the primary portfolio.")
    ] = None
    symbol: options.Symbol = None
    source: Annotated[
        str | None, typer.Option(metavar="NAME", help="The source of bodies that name none; default: NAME.")
    ] = None
    timezone: Annotated[
        str | None,
        typer.Option(metavar="ZONE", help="The zone of stamps that name none; default: the service's."),
    ] = None
    bar: Annotated[
        str | None,
        typer.Option(
            metavar="LENGTH", callback=options.a_length, help="The bar that a stamp labels, such as 1h."
        ),
    ] = None
    label: Annotated[Literal["open", "close"], typer.Option(help="Which end of its bar a stamp names.")] = (
        "close"
    )
    columns: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=NAME", help="The name of a field in its bodies: price=last."),
    ] = None
    max_age: Annotated[
        str, typer.Option(metavar="LENGTH", help="Refuse older signals, such as 1h or 10m; none: any age.")
    ] = "1h"
    body_secret: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD", help="Ask for a secret in the body, too, under this name, such as passphrase."
        ),
    ] = None
    store: options.Store = None
    json: options.Json = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HookListConfig:
    """Whose hooks are shown."""

    store: options.Store = None
    json: options.Json = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RotateConfig:
    """A hook that gets another token."""

    name: Name
    grace: Annotated[
        str | None,
        typer.Option(metavar="LENGTH", callback=options.a_length, help="Take the old token so long still."),
    ] = None
    store: options.Store = None
    json: options.Json = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokeConfig:
    """A hook that ends."""

    name: Name
    store: options.Store = None
    json: options.Json = False


def add_hook(config: AddConfig) -> None:
    """Make a hook, and show its address: this once, for only a hash of the token is kept.

    raysignal hooks add tradingview --template tradingview --symbol BTC
    """
    from raysignal.runtime.hooks import Hook, hashed, new_token

    settings, store = _opened(config.store)
    token, secret = new_token(), "" if config.body_secret is None else new_token()
    hook = Hook(
        name=config.name, token_hash=hashed(token), made_us=_now_us(), secret_field=config.body_secret or "",
        secret_hash=hashed(secret) if secret else "", portfolio=config.portfolio, source=config.source,
        symbol=config.symbol, timezone=config.timezone, template=config.template, bar=config.bar, label=config.label,
        columns=_columns(config.columns or []), max_age_s=_age(config.max_age),
    )  # fmt: skip
    store.add(hook)
    _show(
        Output(config.json),
        settings,
        hook.name,
        token,
        {config.body_secret: secret} if config.body_secret else {},
    )


def list_hooks(config: HookListConfig) -> None:
    """List the hooks of a store; their tokens nobody knows but their senders."""
    output = Output(config.json)
    _, store = _opened(config.store)
    hooks = [hook.shown() for _, hook in sorted(store.load()[1].items())]
    if output.as_json:
        output.json(hooks)
        return
    names = ("name", "template", "portfolio", "symbol", "max_age_s", "secret_field", "made")
    rows = [[{**hook, "made": format_instant(hook["made_us"])}[name] for name in names] for hook in hooks]
    output.table(rows_table(names, rows))
    if not hooks:
        output.say("no hook yet: raysignal hooks add NAME")


def rotate_hook(config: RotateConfig) -> None:
    """Give a hook another token, and show its new address; the old one ends, at once or after a while."""
    from raysignal.runtime.hooks import new_token

    settings, store = _opened(config.store)
    token = new_token()
    store.rotate(
        config.name,
        token,
        _now_us(),
        0.0 if config.grace is None else parse_length(config.grace, "grace") / 1e6,
    )
    _show(Output(config.json), settings, config.name, token, {})


def revoke_hook(config: RevokeConfig) -> None:
    """End a hook: who posts to it is answered with 404, two seconds later at most."""
    output = Output(config.json)
    _, store = _opened(config.store)
    store.revoke(config.name)
    if output.as_json:
        output.json({"name": config.name, "revoked": True})
    else:
        output.say(f"{escape(config.name)} is revoked")


def _opened(store: str | None) -> tuple[Settings, HookStore]:
    from raysignal.engine.journal.stores import open_stores
    from raysignal.runtime.hooks import HookStore

    settings = options.configured(store=store)
    return settings, HookStore(open_stores(settings.store).blobs)


def _show(output: Output, settings: Settings, name: str, token: str, secrets: dict[str, str]) -> None:
    path = f"/hooks/{token}"
    if output.as_json:
        output.json({"name": name, "path": path, "secrets": secrets})
        return
    output.say(f"post to   http://{settings.http.host}:{settings.http.port}{path}")
    for field, secret in secrets.items():
        output.say(f'in the body   "{escape(field)}": "{secret}"')
    output.say("keep the address: it is shown this once, and opens the hook to everyone who knows it")


def _columns(given: list[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for each in given:
        field, found, name = each.partition("=")
        if not (field and found and name) or field in columns:
            raise WrongUsage(f"--map {each!r}; expected FIELD=NAME, each field once, such as price=last")
        columns[field] = name
    return columns


def _age(text: str) -> float | None:
    if text.strip().lower() == "none":
        return None
    try:
        return parse_length(text, "max_age") / 1e6
    except InvalidField as error:
        raise InvalidField("max_age", text, f"{error.fields['expected']}, or none") from error


def _now_us() -> int:
    return time.time_ns() // 1000


_VERBS: tuple[tuple[str, type[Any], Any], ...] = (
    ("add", AddConfig, add_hook),
    ("list", HookListConfig, list_hooks),
    ("rotate", RotateConfig, rotate_hook),
    ("revoke", RevokeConfig, revoke_hook),
)
for _name, _config, _act in _VERBS:
    app.command(_name, cls=Verb)(verb(_config, _act))
