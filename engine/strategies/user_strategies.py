"""Strategies that are classes of a user's own, `module:Class`."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raysignal.engine.core.errors import InvalidField


def import_strategy(name: str, parameters: Mapping[str, Any]) -> Any:
    """The object of the class, made with these parameters; modules are found in the current folder as well.

    Raises:
        InvalidField: a module that cannot be imported, a class that is none or no strategy, or parameters that it does
            not take.
    """
    module_name, _, class_name = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except BaseException as error:  # a module of somebody else's may raise anything
        hint = "; its name is without .py" if module_name.endswith(".py") else ""
        raise InvalidField(
            "strategy", name, f"a module that can be imported ({type(error).__name__}: {error}{hint})"
        ) from error
    kind: Any = module
    for part in class_name.split("."):
        kind = getattr(kind, part, None)
    if not isinstance(kind, type):
        raise InvalidField("strategy", name, f"a class of {module_name}")
    if not callable(getattr(kind, "actions", None)):
        raise InvalidField("strategy", name, "a class with a method actions(bars)")
    try:
        return kind(**parameters)
    except InvalidField:
        raise
    except BaseException as error:  # as above
        given = ", ".join(parameters) or "none"
        raise InvalidField(
            "param", given, f"what {class_name} takes ({type(error).__name__}: {error})"
        ) from error
