"""What a verb needs beyond the base package: said before anything is read, started or waited for."""

from importlib.util import find_spec

from raysignal.engine.core.errors import SettingsError

EXTRAS = {
    "agents": ("chromadb", "langchain_google_genai", "scipy"),
    "feeds": ("alembic", "psutil", "psycopg", "sqlalchemy", "websockets"),
    "experiments": ("arch", "jinja2", "matplotlib", "optuna", "scipy"),
}
"""The modules that each extra of the package brings."""


def require_extras(verb: str, *extras: str) -> None:
    """Raise `SettingsError` with what to install if a module of these extras is missing."""
    missing = {name: [module for module in EXTRAS[name] if find_spec(module) is None] for name in extras}
    lacking = [name for name, modules in missing.items() if modules]
    if lacking:
        modules = sorted({module for modules in missing.values() for module in modules})
        raise SettingsError(
            f"raysignal {verb} needs {', '.join(modules)}, not installed here; {_remedy(lacking)}"
        )


def missing_module(error: ModuleNotFoundError) -> SettingsError | None:
    """What to say where a module of an extra turns out to be missing; None: it is of none, and a defect."""
    module = (error.name or "").partition(".")[0]
    extra = next((name for name, modules in EXTRAS.items() if module in modules), None)
    if extra is None:
        return None
    return SettingsError(f"{module} is not installed here; {_remedy([extra])}")


def _remedy(extras: list[str]) -> str:
    return f"install it with pip install 'raysignal[{','.join(extras)}]'"
