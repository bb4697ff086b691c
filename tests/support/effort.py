"""How much a run of the tests tries: everything in `make test`, a part of it in `make unit`."""

from hypothesis import settings

WHOLE, QUICK = 100, 10
"""Examples of a property that says no number of its own."""


def examples(whole: int) -> int:
    """How many examples are tried of a property that is tried on `whole` in `make test`."""
    return max(min(whole, 5), whole * settings().max_examples // WHOLE)
