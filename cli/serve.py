"""`raysignal serve`: the service, in the foreground until Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from raysignal.cli import options
from raysignal.cli.on_ray import NotStarted, last_line, redirect_ray_output
from raysignal.cli.output import Output, escape
from raysignal.engine.core.errors import RaysignalError, StoreUnavailable
from raysignal.serve.shutdown import ShutdownSignal

if TYPE_CHECKING:
    from raysignal.runtime.settings import Settings
    from raysignal.serve.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """Settings of the service, under their names; None: as configured."""

    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Listen on it (RAYSIGNAL_HTTP__HOST); loopback by default."),
    ] = None
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=1, max=65_535, help="Listen on it (RAYSIGNAL_HTTP__PORT); 8000."),
    ] = None
    store: options.Store = None
    shards: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Portfolio actors (RAYSIGNAL_JOURNAL__SHARDS); 1.")
    ] = None
    primary: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where POST /signal goes (RAYSIGNAL_PRIMARY); baseline."),
    ] = None
    ingress_replicas: Annotated[
        int | None,
        typer.Option("--replicas", metavar="N", min=1, help="HTTP replicas (RAYSIGNAL_HTTP__REPLICAS); 2."),
    ] = None
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Join this Ray cluster (RAYSIGNAL_RAY_ADDRESS); default: a new one."
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """How the service is run."""

    service: ServiceOptions
    log: Annotated[
        str | None, typer.Option(metavar="FILE", help="Append the request log to this file; default: stderr.")
    ] = None
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over", help="Where another service works on the store, wait until it has ended."
        ),
    ] = False


def serve(config: ServeConfig) -> None:
    """Run the service until Ctrl-C or SIGTERM; what was acknowledged is on disk before it ends.

    Every setting is a variable RAYSIGNAL_<NAME>; an option goes before its variable.
    """
    settings = options.configured(**asdict(config.service))
    with ShutdownSignal() as stop:
        _serve_until_told(settings, config, stop)


def _serve_until_told(settings: Settings, config: ServeConfig, stop: ShutdownSignal) -> None:
    """Serve until SIGINT or SIGTERM, then flush and leave nothing behind.

    Told once the service is ready, this returns. Told before, it puts away what has started, and exits with
    the status of a process that the signal ended: 128 and its number.

    Raises:
        SettingsError, StoreError, NotStarted: the service cannot start.
    """
    from raysignal.runtime.settings import aliased_variables

    output = Output()
    # Processes of the service inherit the environment, and refuse what is no setting.
    os.environ.pop(options.URL_VARIABLE, None)
    aliases = aliased_variables(os.environ, options.given(**asdict(config.service)))
    output.err.print(f"starting on {settings.http.host}:{settings.http.port} ...")
    served = False

    def wait(holder: str) -> None:
        output.err.print(f"the store is held by {escape(holder)}; waiting for its end ...")

    try:
        with hosted(settings, config.log, stop, take_over=wait if config.take_over else None) as (
            service,
            ending,
        ):
            # From here on a signal is the way to end, and no failure.
            served = True
            try:
                _say_where(output, service, aliases)
                stop.wait()
            finally:
                ending()
                with suppress(OSError):
                    output.err.print("stopping: writing results, ending the cluster's processes ...")
    except KeyboardInterrupt:
        if served:
            raise
    except RaysignalError:
        # A start that was cut off may fail in words of its own.
        if served or stop.number is None:
            raise
    stop.stay()
    if stop.failure:
        raise StoreUnavailable(
            f"{stop.failure}; everything acknowledged is in {settings.store}: start the service again"
        )
    if not served and stop.number is not None:
        with suppress(OSError):
            output.err.print("stopped while it was starting")
        raise typer.Exit(128 + stop.number)
    with suppress(OSError):
        output.say(f"stopped; everything acknowledged is in {settings.store}")


def _say_where(output: Output, service: Service, aliases: list[str]) -> None:
    from raysignal.runtime.agent_settings import announcement

    settings = service.settings
    secured = settings.http.api_key is not None or settings.http.webhook_secret is not None
    output.say(f"listening on   {service.url}")
    output.say(f"documentation  {service.url}/docs")
    if aliases:
        output.say(f"settings       {'; '.join(aliases)}")
    output.say(f"store          {settings.store}")
    output.say(f"portfolios     {', '.join(settings.portfolios)}; POST /signal goes to {settings.primary}")
    output.say(f"agent          {announcement(settings, os.environ)}")
    output.say(
        f"cluster        {settings.ray_address or 'its own, on this machine'}; shards {settings.journal.shards}"
    )
    output.say(
        f"credentials    {'asked for' if secured else 'none: loopback only (RAYSIGNAL_HTTP__API_KEY sets one)'}"
    )
    output.say("stop it with Ctrl-C")
    output.out.file.flush()


@contextmanager
def hosted(
    settings: Settings,
    log_path: str | None,
    stop: ShutdownSignal | None = None,
    *,
    take_over: Callable[[str], None] | None = None,
) -> Iterator[tuple[Service, Callable[[], None]]]:
    """A running service, as `local_service` gives it, and what to call when its end begins, see `redirect_ray_output`.

    Raises:
        KeyboardInterrupt: told to end before it was ready, see `local_service`.
        NotStarted: what Ray said when it could not start it; with whatever had started put away.
        RaysignalError: as `local_service`.
    """
    from raysignal.serve.service import local_service

    with redirect_ray_output() as ending, ExitStack() as stack:
        try:
            service = stack.enter_context(
                local_service(settings, log_path=log_path, stop=stop, take_over=take_over)
            )
        except RaysignalError:
            raise
        except Exception as error:
            raise NotStarted(
                f"the service could not be started: {last_line(error)}; `raysignal doctor` shows what works here"
            ) from error
        yield service, ending
