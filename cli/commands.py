"""How verbs are shown and called: flags without a type in help, and status 2 for options that cannot be."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from typer.core import TyperCommand, TyperGroup

from raysignal.engine.core.errors import InvalidField, RaysignalError


class Verb(TyperCommand):
    """A verb."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, `--help` among them."""
        return without_type(super().get_params(ctx))


class VerbGroup(TyperGroup):
    """A verb with verbs below it; alone it shows them, and ends with status 2."""

    def get_params(self, ctx: Any) -> list[Any]:
        """As of `Verb`."""
        return without_type(super().get_params(ctx))


def without_type(params: list[Any]) -> list[Any]:
    """Parameters of which flags say no type in help: they take no value."""
    for param in params:
        if getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
    return params


class WrongUsage(RaysignalError):
    """An option has a value that cannot be: one sentence, and status 2, as where the parser refuses it."""


@contextmanager
def reading_options() -> Iterator[None]:
    """Within, a value that cannot be is `WrongUsage`."""
    try:
        yield
    except InvalidField as error:
        raise WrongUsage(str(error)) from error
