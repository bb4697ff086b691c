"""How a verb is made of its config: options, help, checks of what was given, and the extras that it needs.

A verb has one frozen dataclass, whose fields are its arguments and options, and one function that is given it:

    @dataclass(frozen=True, slots=True, kw_only=True)
    class QueryConfig:
        sql: Annotated[str | None, typer.Argument(metavar="SQL", help="...")] = None
        json: options.Json = False

    app.command("query", cls=Verb)(verb(QueryConfig, query))
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from importlib.util import find_spec
from inspect import Parameter, Signature
from typing import Any, TypeVar, get_type_hints

from typer import Context
from typer.core import TyperCommand, TyperGroup

from raysignal.engine.core.errors import InvalidField, RaysignalError, SettingsError

Config = TypeVar("Config")


def verb(config: type[Config], act: Callable[[Config], None], *, group: bool = False) -> Callable[..., None]:
    """The command of a verb, for Typer: its options are the fields of `config`, its help is the docstring of `act`.

    Args:
        config: a dataclass. A field is `Annotated` with a `typer.Option` or `typer.Argument`; one whose type is a
            dataclass is a group of options, which are given beside the others. What `__post_init__` refuses ends
            with status 2.
        act: what the verb does.
        group: it is the callback of a group, and acts where no verb below it is named.
    """

    def command(**values: Any) -> None:
        context = values.pop(_CONTEXT, None)
        if context is None or context.invoked_subcommand is None:
            with reading_options():
                built = _built(config, values)
            act(built)

    parameters = [Parameter(_CONTEXT, Parameter.KEYWORD_ONLY, annotation=Context)] if group else []
    parameters += _parameters(config)
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__doc__ = act.__doc__
    return command


_CONTEXT = "context"


def _parameters(config: Any) -> Iterator[Parameter]:
    types = get_type_hints(config, include_extras=True)
    for field in fields(config):
        if is_dataclass(types[field.name]):
            yield from _parameters(types[field.name])
        else:
            default = Parameter.empty if field.default is MISSING else field.default
            yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=types[field.name])


def _built(config: Any, values: dict[str, Any]) -> Any:
    types = get_type_hints(config)
    members = {
        field.name: _built(types[field.name], values)
        if is_dataclass(types[field.name])
        else values[field.name]
        for field in fields(config)
    }
    return config(**members)


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


EXTRAS = {
    "agents": ("chromadb", "httpx2", "langchain_google_genai", "scipy"),
    "feeds": ("alembic", "psutil", "psycopg", "redis", "sqlalchemy"),
    "experiments": ("arch", "jinja2", "matplotlib", "optuna", "scipy"),
    "inference": ("onnxruntime",),
    "training": ("jax", "onnx", "optax"),
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
    here = " (make training, where the sources are)" if "training" in extras else ""
    return f"install it with pip install 'raysignal[{','.join(extras)}]'{here}"
