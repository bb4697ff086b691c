"""Options that several verbs share, so that they are called and explained the same everywhere.

Everything imported here is light: `raysignal --help` reads it.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from raysignal.engine.core.errors import InvalidField, NotFound, RaysignalError
from raysignal.engine.core.instants import check_interval, parse_bar, zone_named
from raysignal.engine.core.policy import MAX_CASH, MAX_LEVEL_BPS, MAX_PERIODS_PER_YEAR, MIN_CASH

if TYPE_CHECKING:
    from raysignal.runtime.settings import Settings

URL_VARIABLE = "RAYSIGNAL_URL"
_reading = partial(typer.Option, rich_help_panel="How the file is read")
_policy = partial(typer.Option, rich_help_panel="The portfolio's policy")
PLACE = "Where the portfolios are"

PipelineFile = Annotated[
    Path, typer.Argument(metavar="PIPELINE.YAML", help="The configuration; see docs/pipeline.md.")
]
SessionFolder = Annotated[
    Path | None,
    typer.Option(
        "--record", metavar="FOLDER", help="Keep the session there, for raysignal parity; a new folder."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.")]
Url = Annotated[
    str | None,
    typer.Option(
        envvar=URL_VARIABLE,
        show_envvar=False,
        metavar="URL",
        rich_help_panel=PLACE,
        help=f"A running service ({URL_VARIABLE}); default: the configured host and port of this machine.",
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        rich_help_panel=PLACE,
        help="A Ray cluster that runs raysignal (RAYSIGNAL_RAY_ADDRESS), such as host:6379 or auto.",
    ),
]
Store = Annotated[
    str | None, typer.Option(metavar="STORE", help="file:///dir or s3://bucket/prefix (RAYSIGNAL_STORE).")
]


def a_length(value: str | None) -> str | None:
    """The length itself, such as `10m`; wrong usage if it is none."""
    return _checked(value, parse_bar)


def a_bar(value: str | None) -> str | None:
    """The length itself, if bars of it can be made; wrong usage if not."""
    return _checked(value, lambda text: check_interval(parse_bar(text)))


def _a_zone(value: str | None) -> str | None:
    return _checked(value, zone_named)


def _checked(value: str | None, read: Callable[[str], object]) -> str | None:
    if value is not None:
        try:
            read(value)
        except InvalidField as error:
            raise typer.BadParameter(f"{value!r}; expected {error.fields['expected']}") from error
    return value


AcceptPriceJump = Annotated[
    bool, typer.Option("--accept-price-jump", help="Believe prices however far they are from the last one.")
]


Symbol = Annotated[
    str | None, _reading(metavar="NAME", help="The symbol of rows that name none (RAYSIGNAL_INTAKE__SYMBOL).")
]
Source = Annotated[
    str | None, _reading(metavar="NAME", help="The source of rows that name none (RAYSIGNAL_INTAKE__SOURCE).")
]
OnRefusal = Annotated[
    Literal["refuse", "skip"], typer.Option(help="On a row that is refused: stop, or leave it out and go on.")
]
OnError = Annotated[
    Literal["refuse", "skip"],
    typer.Option(help="On a row that cannot be used: stop, or leave it out and go on."),
]


def _above_zero(value: float | None) -> float | None:
    if value is not None and not value > 0.0:
        raise typer.BadParameter(f"{value:g} is not above 0")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class StampOptions:
    """How the stamps of a file are to be read; None: as configured."""

    timezone: Annotated[
        str | None,
        _reading(
            metavar="ZONE",
            callback=_a_zone,
            help="The zone of stamps that name none, such as America/New_York (RAYSIGNAL_INTAKE__TIMEZONE, else UTC).",
        ),
    ] = None
    bar: Annotated[
        str | None,
        _reading(metavar="LENGTH", callback=a_length, help="The bar that a stamp labels, such as 10m or 1d."),
    ] = None
    label: Annotated[
        Literal["open", "close"],
        _reading(help="Which end of its bar a stamp names; with open, a row is known one bar later."),
    ] = "close"

    force: Annotated[bool, _reading("--force", help="Take --bar though rows are closer together.")] = False
    day_first: Annotated[
        bool | None,
        _reading(
            "--day-first/--month-first",
            help="Dates with slashes are D/M/YYYY (RAYSIGNAL_INTAKE__DAY_FIRST); default: M/D/YYYY.",
        ),
    ] = None
    columns: Annotated[
        list[str] | None,
        _reading(
            "--map",
            metavar="FIELD=NAME",
            help="The column of a field, such as price=Last; may be given more than once.",
        ),
    ] = None
    decimal: Annotated[Literal[".", ","], _reading(help="What stands before decimals.")] = "."
    thousands: Annotated[
        str,
        _reading(
            metavar="MARK",
            help="What stands between thousands: , . ' or a blank. Currency signs are left out then.",
        ),
    ] = ""

    def __post_init__(self) -> None:
        if self.label == "open" and self.bar is None:
            raise typer.BadParameter("--label open needs the length of the bar: --bar 10m")
        if self.force and self.bar is None:
            raise typer.BadParameter("--force is about --bar")
        _ = self.names

    @property
    def names(self) -> dict[str, str]:
        """Field to the column that it is in."""
        pairs = [text.partition("=") for text in self.columns or []]
        if wrong := next((pair for pair in pairs if not pair[0] or not pair[2]), None):
            raise typer.BadParameter(f"--map {''.join(wrong)!r}; expected FIELD=NAME, such as price=Close")
        return {field.strip(): name for field, _, name in pairs}

    def with_names(self, symbol: str | None = None, source: str | None = None) -> "ReadingOptions":
        """With the names of rows that name none."""
        members = {each.name: getattr(self, each.name) for each in fields(StampOptions)}
        return ReadingOptions(**members, symbol=symbol, source=source)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingOptions(StampOptions):
    """How a file is to be read; None: as configured."""

    symbol: Symbol = None
    source: Source = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOptions:
    """Members of a portfolio's policy; None: as it has it, or as configured."""

    initial_cash: Annotated[
        float | None, _policy(metavar="MONEY", min=MIN_CASH, max=MAX_CASH, help="Money at the start; 10000.")
    ] = None
    fee_bps: Annotated[
        float | None, _policy(metavar="BP", min=0.0, max=1000.0, help="Fee on every fill; 10.")
    ] = None
    slippage_bps: Annotated[
        float | None,
        _policy(metavar="BP", min=0.0, max=1000.0, help="How much worse a fill is than the price; 0."),
    ] = None
    side: Annotated[
        Literal["long-flat", "long-short"] | None, _policy(help="What SELL means; long-flat.")
    ] = None
    weight: Annotated[
        float | None,
        _policy(metavar="SHARE", callback=_above_zero, max=1.0, help="Share of equity in a position; 1."),
    ] = None
    fill: Annotated[
        Literal["signal", "next"] | None,
        _policy(help="Fill at the signal's own price or at that of the next; signal."),
    ] = None
    min_confidence: Annotated[
        float | None,
        _policy(metavar="SHARE", min=0.0, max=1.0, help="Signals of a lower confidence are not followed; 0."),
    ] = None
    stop_bps: Annotated[
        float | None,
        _policy(
            metavar="BP",
            min=0.0,
            max=MAX_LEVEL_BPS,
            help="Close a position at such a loss from its opening price; 0, never.",
        ),
    ] = None
    take_bps: Annotated[
        float | None,
        _policy(
            metavar="BP", min=0.0, max=MAX_LEVEL_BPS, help="Close a position at such a profit; 0, never."
        ),
    ] = None
    trail_bps: Annotated[
        float | None,
        _policy(
            metavar="BP",
            min=0.0,
            max=MAX_LEVEL_BPS,
            help="Close a position so far behind its best price; 0, never.",
        ),
    ] = None

    calendar: Annotated[
        Literal["observed", "365x24", "252-sessions"] | None,
        _policy(help="What says how many periods a year of annual figures has; observed."),
    ] = None
    periods_per_year: Annotated[
        float | None,
        _policy(
            metavar="N",
            callback=_above_zero,
            max=MAX_PERIODS_PER_YEAR,
            help="That number itself, such as 8760 or 252, whatever the calendar.",
        ),
    ] = None

    def given(self) -> dict[str, Any]:
        """The members that were given."""
        return given(**asdict(self))


def given(**values: Any) -> dict[str, Any]:
    """The options that were given; those left out are None and stay with the settings."""
    return {name: value for name, value in values.items() if value is not None}


def configured(**overrides: Any) -> "Settings":
    """The settings of the environment, with the options that were given in their place.

    `RAYSIGNAL_URL` is the command line's own and no setting of a service.
    """
    from raysignal.runtime.settings import load_settings

    return load_settings({name: "" for name in os.environ if name != URL_VARIABLE}, **given(**overrides))


def existing_file(path: Path) -> Path:
    """The path, if a file is there; else `NotFound`."""
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no file"
        raise NotFound(f"{path} is {kind}; expected a signal file", field="file", value=str(path))
    return path


def existing_prices(path: Path) -> Path:
    """The path, if a file or a folder is there; else `NotFound`."""
    return path if path.is_dir() else existing_file(path)


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Within, what the file system says about `path` becomes a sentence."""
    try:
        yield
    except OSError as error:
        raise RaysignalError(f"{path} cannot be written: {error.strerror or error}") from error
