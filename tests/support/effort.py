"""How much a run of the tests tries: everything in `make long`, a part of it in `make test` and `make unit`."""

from hypothesis import settings

WHOLE, USUAL, QUICK = 100, 15, 10
"""Examples of a property that says no number of its own, in `make long`, `make test` and `make unit`."""


def examples(whole: int) -> int:
    """How many examples are tried of a property that is tried on `whole` in `make long`."""
    return max(min(whole, 5), whole * settings().max_examples // WHOLE)
