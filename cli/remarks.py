"""What libraries print of their own accord: Ray's driver writes remarks of the cluster to stdout, which is ours."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path


@contextmanager
def remarks_aside() -> Iterator[Callable[[], None]]:
    """Within, what is printed to `sys.stdout` goes to stderr; `Output` writes to the real one all the same.

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
