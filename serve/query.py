"""Query parameters, strictly: each named at most once, none that a route does not know.

A parameter that is misspelt would otherwise be ignored, and the answer be to another question.
"""

from collections.abc import Sequence
from typing import TypeVar
from urllib.parse import parse_qsl

from raysignal.engine.core.errors import InvalidField

_Choice = TypeVar("_Choice", bound=str)


class Query:
    """The parameters of one request.

    Raises:
        InvalidField: an unknown name, or one given twice; the getters raise it for a value that is not right.
    """

    __slots__ = ("_values",)

    def __init__(self, query: bytes, known: Sequence[str]) -> None:
        self._values: dict[str, str] = {}
        if not query:
            return
        for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace"):
            if name not in known:
                raise InvalidField(
                    name, value, f"one of the parameters {', '.join(known)}" if known else "no parameters"
                )
            if name in self._values:
                raise InvalidField(name, value, "each parameter once")
            self._values[name] = value

    def text(self, name: str) -> str | None:
        """The value as it came, which is not empty; None if it was not given."""
        value = self._values.get(name)
        if value == "":
            raise InvalidField(name, value, "a value, or no such parameter")
        return value

    def flag(self, name: str) -> bool:
        """`true` or `false`; false if it was not given."""
        return self.choice(name, ("false", "true")) == "true"

    def choice(self, name: str, choices: tuple[_Choice, ...]) -> _Choice:
        """One of the choices; the first if it was not given."""
        value = self._values.get(name, choices[0])
        for choice in choices:
            if value == choice:
                return choice
        raise InvalidField(name, value, " or ".join(choices))

    def whole(self, name: str, default: int, *, low: int, high: int) -> int:
        """A whole number from low to high."""
        value = self._values.get(name)
        if value is None:
            return default
        if not value.isascii() or not value.isdigit() or len(value) > 18 or not low <= int(value) <= high:
            raise InvalidField(name, value, f"a whole number from {low} to {high}")
        return int(value)
