"""Verbs that work on Ray in this process: the session, progress, and what libraries print of their own accord."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from raysignal.engine.core.errors import RaysignalError

if TYPE_CHECKING:
    from raysignal.cli.output import Output
    from raysignal.runtime.direct_gateway import DirectGateway
    from raysignal.runtime.settings import Settings
    from raysignal.serve.shutdown import ShutdownSignal

MARKS = 4
"""Lines of progress where nobody watches."""


class NotStarted(RaysignalError):
    """Ray, or the service on it, could not be started."""


@contextmanager
def redirect_ray_output() -> Iterator[Callable[[], None]]:
    """Within, what is printed to `sys.stdout`, as Ray's driver does, goes to stderr; `Output` writes to the real one.

    Yields:
        to be called when the end begins: from then on remarks are about processes that are being ended on
        purpose, and go nowhere.
    """
    with ExitStack() as stack:
        nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
        stack.enter_context(redirect_stdout(sys.stderr))

        def ending() -> None:
            stack.enter_context(redirect_stdout(nowhere))

        yield ending


@contextmanager
def experiment_on_ray(
    settings: Settings, stop: ShutdownSignal, output: Output, *, cpus: int | None = None
) -> Iterator[None]:
    """Within, this process is on the Ray of the settings; what Ray remarks does not reach stdout.

    Raises:
        NotStarted: it could not be reached.
    """
    from raysignal.experiments.cluster import ray_session

    at = settings.ray_address
    output.err.print("starting Ray ..." if at is None else f"joining Ray at {at} ...")
    with redirect_ray_output() as ending, ExitStack() as stack:
        try:
            with stop.unchallenged():
                stack.enter_context(ray_session(at, cpus=cpus))
        except Exception as error:
            raise NotStarted(
                f"Ray could not be reached: {last_line(error)}; `raysignal doctor` shows what works here"
            ) from error
        try:
            yield
        finally:
            ending()


@contextmanager
def resumable(run_id: str, failure: str, stop: ShutdownSignal, output: Output) -> Iterator[None]:
    """Within, a signal ends the run; where it or a worker's end cuts the run short, it is said how to go on.

    Raises:
        WorkerFailed: a worker has ended; `failure` says of what.
    """
    from raysignal.experiments.cluster import worker_errors

    try:
        with worker_errors(failure, f"go on with --run-id {run_id}"), stop.interruptible():
            yield
    except KeyboardInterrupt:
        output.err.print(f"interrupted; what is done is kept: go on with --run-id {run_id}")
        raise


@asynccontextmanager
async def direct_gateway(settings: Settings, *, take_over: bool) -> AsyncIterator[DirectGateway]:
    """The way to the portfolios without HTTP: on the cluster of the settings, or on a Ray that is started for it.

    Args:
        settings: the store, and the cluster.
        take_over: whether the journal may be taken from a writer that lives.

    Raises:
        StoreInUse: somebody else writes the journal, and it was not to be taken over.
    """
    from raysignal.experiments.cluster import ray_session
    from raysignal.runtime.direct_gateway import DirectGateway, is_served
    from raysignal.runtime.processes import refuse_store_in_use
    from raysignal.serve.startup import held_store

    with redirect_ray_output() as ending, ExitStack() as stack:
        if settings.ray_address is None and not take_over:
            refuse_store_in_use(settings.store)
            stack.enter_context(held_store(settings.store, doing="raysignal replay --direct"))
        stack.enter_context(ray_session(settings.ray_address, cpus=max(os.cpu_count() or 1, 2)))
        served = is_served()
        if not served and not take_over and settings.ray_address is not None:
            refuse_store_in_use(settings.store)
        async with DirectGateway.open(settings, served=served) as direct:
            try:
                yield direct
            finally:
                ending()


@contextmanager
def watching(what: str, output: Output) -> Iterator[Callable[[int, int], None]]:
    """Within, progress is shown: a bar where somebody watches, else a line now and then."""
    marked = 0
    with output.progress(what) as bars:
        task = bars.add_task(what, total=None)

        def progress(done: int, whole: int) -> None:
            nonlocal marked
            bars.update(task, completed=done, total=whole)
            mark = MARKS * done // max(whole, 1)
            if not output.err.is_terminal and mark > marked:
                marked = mark
                output.err.print(f"{done:,d} of {whole:,d} {what}")

        yield progress


def last_line(error: Exception) -> str:
    """The last line of what an error says, which is where Ray says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
