"""What `raysignal serve` does: start the service, say where it is, wait to be told to stop, put all away."""

import os
from contextlib import suppress

import typer

from raysignal.cli.hosting import hosted
from raysignal.cli.options import URL_VARIABLE
from raysignal.cli.output import Output
from raysignal.cli.texts import escape
from raysignal.engine.core.errors import RaysignalError
from raysignal.runtime.agent_settings import announcement
from raysignal.runtime.settings import PREFIX, Settings
from raysignal.serve.service import Service
from raysignal.serve.shutdown import ShutdownSignal


def serve_until_told(
    settings: Settings, log_path: str | None, stop: ShutdownSignal, *, take_over: bool = False
) -> None:
    """Serve until SIGINT or SIGTERM, then flush and leave nothing behind.

    Told once the service is ready, this returns. Told before, it puts away what has started, and exits with
    the status of a process that the signal ended: 128 and its number.

    Args:
        settings: of the service.
        log_path: where the request log goes; None: stderr.
        stop: notes the signals, from before this is called until the process ends.
        take_over: wait for the end of a service that works on the store; else it is refused.

    Raises:
        SettingsError, StoreError, NotStarted: the service cannot start.
    """
    output = Output()
    # Processes of the service inherit the environment, and refuse what is no setting.
    os.environ.pop(URL_VARIABLE, None)
    output.err.print(f"starting on {settings.host}:{settings.port} ...")
    served = False

    def wait(holder: str) -> None:
        output.err.print(f"the store is held by {escape(holder)}; waiting for its end ...")

    try:
        with hosted(settings, log_path, stop, take_over=wait if take_over else None) as (service, ending):
            # From here on a signal is the way to end, and no failure.
            served = True
            try:
                _say_where(output, service)
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
    if not served and stop.number is not None:
        with suppress(OSError):
            output.err.print("stopped while it was starting")
        raise typer.Exit(128 + stop.number)
    with suppress(OSError):
        output.say(f"stopped; everything acknowledged is in {settings.store}")


def _say_where(output: Output, service: Service) -> None:
    settings = service.settings
    secured = settings.api_key is not None or settings.webhook_secret is not None
    output.say(f"listening on   {service.url}")
    output.say(f"documentation  {service.url}/docs")
    output.say(f"store          {settings.store}")
    output.say(f"portfolios     {', '.join(settings.portfolios)}; POST /signal goes to {settings.primary}")
    output.say(f"agent          {announcement(settings, os.environ)}")
    output.say(
        f"cluster        {settings.ray_address or 'its own, on this machine'}; shards {settings.shards}"
    )
    output.say(
        f"credentials    {'asked for' if secured else f'none: loopback only ({PREFIX}API_KEY sets one)'}"
    )
    output.say("stop it with Ctrl-C")
    output.out.file.flush()
