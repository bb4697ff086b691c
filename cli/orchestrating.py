"""What verbs share that run an experiment on Ray: the session, and progress where somebody watches."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from raysignal.cli.hosting import NotStarted
from raysignal.cli.output import Output
from raysignal.cli.remarks import remarks_aside
from raysignal.experiments.cluster import ray_session
from raysignal.runtime.settings import Settings
from raysignal.serve.shutdown import ShutdownSignal

MARKS = 4
"""Lines of progress where nobody watches."""


@contextmanager
def on_ray(settings: Settings, workers: int | None, stop: ShutdownSignal, output: Output) -> Iterator[None]:
    where = (
        "starting Ray ..." if settings.ray_address is None else f"joining Ray at {settings.ray_address} ..."
    )
    output.err.print(where)
    with remarks_aside() as ending, ExitStack() as stack:
        try:
            with stop.unchallenged():
                stack.enter_context(ray_session(settings.ray_address, cpus=workers))
        except Exception as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise NotStarted(
                f"Ray could not be reached: {lines[-1]}; `raysignal doctor` shows what works here"
            ) from error
        try:
            yield
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
