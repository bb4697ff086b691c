"""What another user of this machine can do: a function runs as `nobody`, in a process of its own. Root is needed."""

import os
from collections.abc import Callable

import pytest

NOBODY = 65_534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="acts as another user, which only root can")


class Stranger:
    """A function that runs as `nobody`; what it returns, or the name of what it raised, is read with `said`."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._reading, writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._reading)
            try:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                said = repr(act())
            except BaseException as error:  # noqa: BLE001 - it is told, whatever it is
                said = type(error).__name__
            os.write(writing, said.encode())
            os._exit(0)
        os.close(writing)

    def said(self) -> str:
        """Wait for its end."""
        with os.fdopen(self._reading) as pipe:
            text = pipe.read()
        os.waitpid(self._pid, 0)
        return text
