"""How the compiled bodies of strategies are compiled: strict IEEE, cached, without the interpreter's lock."""

from collections.abc import Callable
from typing import Any

from numba import njit

OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


def compiled(body: Callable[..., Any]) -> Any:
    """The function as machine code; types are those of its first call, which compiles it where no cache holds it."""
    return njit(**OPTIONS)(body)
