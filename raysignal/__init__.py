"""raysignal: trading signals in exactly once, portfolios as Ray actors, and proof of what acting on them is worth.

In a notebook: `import raysignal`, then `read`, `replay`, `compare`, `sweep`, `monte_carlo` and `Client`, which take and
give frames, see docs/python.md, and `Stream`, see docs/stream.md. Each is imported at its first use.

The packages lie beside this folder in the repository and are linked into it: `engine/` is `raysignal.engine`.
"""

from importlib import import_module

TYPE_CHECKING = False  # to a type checker it is true; `typing` takes longer to import than all of this

if TYPE_CHECKING:
    from raysignal.engine.core.errors import InvalidField, RaysignalError
    from raysignal.engine.core.policy import Policy
    from raysignal.experiments.notebook.frames import Signals, read
    from raysignal.experiments.notebook.replays import replay
    from raysignal.experiments.notebook.service import AsyncClient, Client
    from raysignal.experiments.notebook.studies import compare, monte_carlo, sweep
    from raysignal.runtime.stream_client import Stream

_NOTEBOOK = "raysignal.experiments.notebook"
_PLACES = {
    "AsyncClient": f"{_NOTEBOOK}.service",
    "Client": f"{_NOTEBOOK}.service",
    "InvalidField": "raysignal.engine.core.errors",
    "Policy": "raysignal.engine.core.policy",
    "RaysignalError": "raysignal.engine.core.errors",
    "Signals": f"{_NOTEBOOK}.frames",
    "Stream": "raysignal.runtime.stream_client",
    "compare": f"{_NOTEBOOK}.studies",
    "monte_carlo": f"{_NOTEBOOK}.studies",
    "read": f"{_NOTEBOOK}.frames",
    "replay": f"{_NOTEBOOK}.replays",
    "sweep": f"{_NOTEBOOK}.studies",
}

__all__ = [
    "AsyncClient", "Client", "InvalidField", "Policy", "RaysignalError", "Signals", "Stream", "compare", "monte_carlo",
    "read", "replay", "sweep",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
