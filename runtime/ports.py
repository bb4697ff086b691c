"""TCP ports of this machine that nobody has."""

import random
import socket

_LOW, _HIGH = 20_000, 32_768
"""Above those of Ray's workers, below those that the system gives to whoever connects: nobody takes one meanwhile."""


def free_port() -> int:
    """A port of the loopback address that nothing listens on."""
    while True:
        port = random.SystemRandom().randrange(_LOW, _HIGH)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
