"""What `raysignal serve` does: start the service, say where it is, wait to be told to stop, put all away."""

import os
import signal
import threading
from contextlib import suppress
from types import FrameType

from cli.hosting import hosted
from cli.options import URL_VARIABLE
from cli.output import Output
from engine.settings import PREFIX, Settings


def serve_until_told(settings: Settings, log_path: str | None) -> None:
    """Serve until SIGINT or SIGTERM, then flush and leave nothing behind.

    Raises:
        SettingsError, StoreError, NotStarted: the service cannot start.
    """
    output = Output()
    # Processes of the service inherit the environment, and refuse what is no setting.
    os.environ.pop(URL_VARIABLE, None)
    told = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        told.set()

    output.err.print(f"starting on {settings.host}:{settings.port} ...")
    with hosted(settings, log_path) as (service, ending):
        # From here on a signal is the way to end, and no failure.
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        secured = settings.api_key is not None or settings.webhook_secret is not None
        output.say(f"listening on   {service.url}")
        output.say(f"documentation  {service.url}/docs")
        output.say(f"store          {settings.store}")
        output.say(
            f"portfolios     {', '.join(settings.portfolios)}; POST /signal goes to {settings.primary}"
        )
        output.say(
            f"cluster        {settings.ray_address or 'its own, on this machine'}; shards {settings.shards}"
        )
        output.say(
            f"credentials    {'asked for' if secured else f'none: loopback only ({PREFIX}API_KEY sets one)'}"
        )
        output.say("stop it with Ctrl-C")
        output.out.file.flush()
        try:
            while not told.is_set():
                # Bounded waits: Python runs signal handlers between them.
                told.wait(1.0)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            ending()
            with suppress(OSError):
                output.err.print("stopping: writing results, ending the cluster's processes ...")
    with suppress(OSError):
        output.say(f"stopped; everything acknowledged is in {settings.store}")
