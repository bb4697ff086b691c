"""A service of this process's own, for `raysignal serve` and `raysignal run`; failures to start as sentences."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from raysignal.cli.remarks import remarks_aside
from raysignal.engine.core.errors import RaysignalError
from raysignal.runtime.settings import Settings
from raysignal.serve.service import Service, local_service
from raysignal.serve.shutdown import ShutdownSignal


class NotStarted(RaysignalError):
    """The service could not be started."""


@contextmanager
def hosted(
    settings: Settings,
    log_path: str | None,
    stop: ShutdownSignal | None = None,
    *,
    take_over: Callable[[str], None] | None = None,
) -> Iterator[tuple[Service, Callable[[], None]]]:
    """A running service, as `local_service` gives it, and what to call when its end begins, see `remarks_aside`.

    Raises:
        KeyboardInterrupt: told to end before it was ready, see `local_service`.
        NotStarted: what Ray said when it could not start it; with whatever had started put away.
        RaysignalError: as `local_service`.
    """
    with remarks_aside() as ending, ExitStack() as stack:
        try:
            service = stack.enter_context(
                local_service(settings, log_path=log_path, stop=stop, take_over=take_over)
            )
        except RaysignalError:
            raise
        except Exception as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [
                type(error).__name__
            ]
            raise NotStarted(
                f"the service could not be started: {lines[-1]}; `raysignal doctor` shows what works here"
            ) from error
        yield service, ending
