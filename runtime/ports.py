"""TCP ports of this machine: one that nobody has, and whether a service could listen."""

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


def listening_error(host: str, port: int) -> OSError | None:
    """Why nobody can listen there now; None: somebody can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            return error
    return None
