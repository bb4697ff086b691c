"""The child process: answers its owner's calls to one Chroma collection until the owner is gone.

    python -m raysignal.agents.vectors FD

FD is an inherited socket. A call is (method, seconds, arguments) and gets (True, result) or (False, reason). A
call that outlasts its seconds ends the process, wherever it is: the alarm keeps its default action.
"""

import signal
import sys
from multiprocessing.connection import Connection

from raysignal.agents.vectors.chroma import Chroma


def serve(connection: Connection) -> None:
    """Answer until the owner closes its end."""
    held: Chroma | None = None
    while True:
        try:
            method, seconds, arguments = connection.recv()
        except (EOFError, OSError):
            return
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            if method == "open":
                held = Chroma(*arguments)
            answer = (True, None if method == "open" else getattr(held, method)(*arguments))
        except Exception as error:  # noqa: BLE001 - whatever Chroma raises goes to the owner as a sentence
            answer = (False, f"{type(error).__name__}: {error}"[:500])
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            connection.send(answer)
        except OSError:
            return


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
