"""`raysignal serve`: the service, in the foreground until Ctrl-C or SIGTERM."""

from typing import Annotated

import typer

from raysignal.cli import options
from raysignal.serve.shutdown import ShutdownSignal


def serve(
    host: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Listen on it (RAYSIGNAL_HOST); loopback by default."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=1, max=65_535, help="Listen on it (RAYSIGNAL_PORT); 8000."),
    ] = None,
    store: options.Store = None,
    shards: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Portfolio actors (RAYSIGNAL_SHARDS); 1.")
    ] = None,
    primary: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Where POST /signal goes (RAYSIGNAL_PRIMARY); baseline."),
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="HTTP replicas (RAYSIGNAL_INGRESS_REPLICAS); 2.")
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="Join this Ray cluster (RAYSIGNAL_RAY_ADDRESS); default: a new one."
        ),
    ] = None,
    log: Annotated[
        str | None, typer.Option(metavar="FILE", help="Append the request log to this file; default: stderr.")
    ] = None,
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over", help="Where another service works on the store, wait until it has ended."
        ),
    ] = False,
) -> None:
    """Run the service until Ctrl-C or SIGTERM; what was acknowledged is on disk before it ends.

    Every setting is a variable RAYSIGNAL_<NAME>; an option goes before its variable.
    """
    settings = options.configured(
        host=host, port=port, store=store, shards=shards, primary=primary, ingress_replicas=replicas,
        ray_address=ray_address,
    )  # fmt: skip
    with ShutdownSignal() as stop:
        from raysignal.cli.serving import serve_until_told

        serve_until_told(settings, log, stop, take_over=take_over)
