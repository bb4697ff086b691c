"""`raysignal data`: make signal files, and look into them before they are sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from raysignal.cli import options
from raysignal.cli.output import Output, errors_table, escape, rows_table
from raysignal.cli.signal_files import check_bar, reading_of, reading_sentences
from raysignal.cli.verbs import Verb, VerbGroup, reading_options, verb
from raysignal.engine.core.errors import InvalidField

if TYPE_CHECKING:
    from raysignal.engine.intake import Reading
    from raysignal.engine.portfolio.signal_file_report import SignalFileReport

app = typer.Typer(
    cls=VerbGroup, help="Make signal files, and check them before they are sent.", no_args_is_help=True
)

_ENDINGS: dict[str, Literal["csv", "ndjson", "parquet"]] = {
    ".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


# Generate


@dataclass(frozen=True, slots=True, kw_only=True)
class RealisticOptions:
    """What is known of the signals of a realistic file; None: the generator's own default."""

    texts: Annotated[
        Literal["long", "short", "none"] | None, typer.Option(help="Length of the free texts; long.")
    ] = None
    regime_effect: Annotated[
        bool | None,
        typer.Option(
            "--regime-effect/--null",
            help="Signals are better in one regime than in the other, or right half of the time everywhere.",
        ),
    ] = None
    edge: Annotated[
        str | None,
        typer.Option(
            metavar="P[,P]", help="How often a signal is right: everywhere, or calm,storm; 0.6,0.4."
        ),
    ] = None
    hold_share: Annotated[float | None, typer.Option(metavar="SHARE", help="Share of HOLD; 0.")] = None
    buy_share: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Share of BUY among BUY and SELL; 0.5.")
    ] = None
    drift: Annotated[
        float | None,
        typer.Option(metavar="GROWTH", help="Logarithmic, a year: 0.2 is +22 %, -1 is -63 %; 0."),
    ] = None
    tails: Annotated[
        float | None,
        typer.Option(metavar="DEGREES", help="Of the moves' Student t: 4, or 2.5 for fatter tails; 4."),
    ] = None

    def given(self) -> dict[str, Any]:
        """What was given, as the generator names it."""
        return options.given(**asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateConfig:
    """The file that is made."""

    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file to write; replaced if it is there.")]
    rows: Annotated[int, typer.Option(min=1, metavar="N", help="Rows in all.")] = 500
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Same seed and options, same bytes.")] = 0
    bar: Annotated[
        str | None, typer.Option(metavar="LENGTH", help="Spacing of the bars; 10m, plain files 1s.")
    ] = None
    symbols: Annotated[
        str,
        typer.Option("--symbol", "--symbols", metavar="NAMES", help="One or more, with commas between them."),
    ] = "BTC"
    realistic: RealisticOptions
    plain: Annotated[
        bool,
        typer.Option("--plain", help="A large plain file, fast: nothing to find in it, any number of rows."),
    ] = False
    features: Annotated[
        bool, typer.Option("--features", help="With --plain: the dataset's features as well.")
    ] = False
    format: Annotated[
        Literal["csv", "ndjson", "parquet"] | None,
        typer.Option(help="With --plain; default: as the path ends."),
    ] = None
    json: options.Json = False

    def __post_init__(self) -> None:
        misplaced = list(self.realistic.given()) if self.plain else []
        if misplaced:
            option = (
                "regime-effect/--null" if misplaced[0] == "regime_effect" else misplaced[0].replace("_", "-")
            )
            raise typer.BadParameter(f"--{option} does not go with --plain, whose signals are random")
        if not self.plain and (self.features or self.format is not None):
            raise typer.BadParameter("--features and --format go with --plain")


def generate(config: GenerateConfig) -> None:
    """Write a signal file by seed: realistic bars and texts, and signals whose quality is known."""
    output = Output(config.json)
    with options.writing_to(config.path), reading_options():
        hint = _plain(config) if config.plain else _realistic(config)
        size = config.path.stat().st_size
    if config.json:
        output.json(
            {
                "path": str(config.path),
                "rows": config.rows,
                "seed": config.seed,
                "bytes": size,
                "read_with": hint,
            }
        )
        return
    how = f" {' '.join(hint)}" if hint else ""
    output.say(f"wrote {escape(str(config.path))}: {config.rows:,d} rows, {size:,d} bytes")
    output.say(f"read it with: raysignal data check {escape(str(config.path))}{how}")


def _plain(config: GenerateConfig) -> list[str]:
    from raysignal.data.plain import write_plain

    form = config.format or _ENDINGS.get(config.path.suffix.lower())
    if form is None:
        raise InvalidField("path", str(config.path), f"an ending of {', '.join(_ENDINGS)}, or --format")
    write_plain(
        config.path, config.rows, config.seed, format=form, symbols=tuple(config.symbols.split(",")),
        bar=config.bar or "1s", features=config.features,
    )  # fmt: skip
    return []


def _realistic(config: GenerateConfig) -> list[str]:
    from raysignal.data.generator import GeneratorSpec, write_csv

    if config.path.suffix.lower() != ".csv":
        raise InvalidField("path", str(config.path), "an ending of .csv; other formats go with --plain")
    more = options.given(bar=config.bar) | config.realistic.given()
    if config.realistic.edge is not None:
        more["edge"] = _edges(config.realistic.edge)
    spec = GeneratorSpec(rows=config.rows, seed=config.seed, symbols=tuple(config.symbols.split(",")), **more)
    write_csv(spec, config.path)
    return ["--bar", spec.bar, "--label", "open"]


def _edges(text: str) -> float | tuple[float, ...]:
    try:
        edges = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InvalidField("edge", text, "a number, or two with a comma between them") from error
    return edges[0] if len(edges) == 1 else edges


# Check


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckConfig:
    """Which file is looked into, and how it is read."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, NDJSON, JSON or Parquet.")]
    reading: options.ReadingOptions
    accept_price_jump: options.AcceptPriceJump = False
    json: options.Json = False


def check(config: CheckConfig) -> None:
    """Read a file as the service would, and say what is in it and what is wrong with it.

    Exit status 1 if there is a row that a portfolio would refuse, or no row at all.
    """
    from raysignal.engine.intake.files import undecided_date
    from raysignal.engine.intake.line_numbers import with_lines
    from raysignal.engine.portfolio.signal_file_report import remark_sentences

    settings, output = options.configured(), Output(config.json)
    options.existing_file(config.file)
    reading = reading_of(config.reading, settings)
    limit = None if config.accept_price_jump else settings.intake.max_price_jump
    survey, prices_only = surveyed(config.file, reading, limit)
    check_bar(config.reading, survey.usual_step_us)
    remarks = remark_sentences(config.file, survey.remarks())
    if (date := undecided_date(config.file, replace(reading, prices_only=prices_only))) is not None:
        remarks.append(order_sentence(date, reading))
    found = survey.as_dict() | {"prices_only": prices_only, "remarks": remarks}
    found["errors"] = with_lines(config.file, found["errors"])
    how = reading_sentences(config.reading, reading)
    if config.json:
        output.json({"file": str(config.file), "read": how} | found)
    else:
        _show(config.file, how, found, output)
    if found["refused"] or not found["rows"]:
        raise typer.Exit(1)


def order_sentence(date: str, reading: Reading) -> str:
    """What there is to say where no date of a file tells whether its month or its day comes first."""
    from raysignal.engine.core.instants import format_date, parse_instant

    read, other = (
        format_date(parse_instant(date, day_first=first))
        for first in (reading.day_first, not reading.day_first)
    )
    option = "--month-first" if reading.day_first else "--day-first"
    return (
        f"whether dates such as {date} say the month or the day first cannot be known: no day of the file is above 12. "
        f"This one is read as {read}; if it is {other}, add {option}"
    )


def surveyed(path: Path, reading: Reading, limit: float | None) -> tuple[SignalFileReport, bool]:
    """What is in a file, and whether it has prices and no signals at all, as for `sweep` and `luck`."""
    from raysignal.engine.portfolio.signal_file_report import survey_file

    try:
        survey = survey_file(path, reading, max_price_jump=limit)
        if survey.usable or not survey.errors or not all(_lacks_signal(entry) for entry in survey.errors):
            return survey, False
    except InvalidField as error:
        if not _lacks_signal(error.fields):
            raise
    return survey_file(path, replace(reading, prices_only=True), max_price_jump=limit), True


def _lacks_signal(fields: Mapping[str, Any]) -> bool:
    return bool(fields["field"] == "signal" and fields["value"] == repr(None))


def _show(path: Path, how: str, found: dict[str, Any], output: Output) -> None:
    output.say(f"[bold]{escape(str(path))}[/bold]: {how}")
    facts = [
        ("rows", f"{found['rows']:,d}"),
        ("usable", f"{found['usable']:,d}" + _repeats(found["repeated"])),
        ("refused", f"{found['refused']:,d}"),
        ("period", f"{found['from']} to {found['to']}" if found["from"] else "—"),
        ("spacing", found["spacing"] or "—"),
        ("gaps", _gaps(found["gaps"])),
        ("signals", _signals(found)),
        ("symbols", _counts(found["symbols"])),
        ("sources", _counts(found["sources"])),
    ]
    for name, value in facts:
        output.say(f"  {name:<9}{escape(value)}")
    if found["features"]:
        rows = [
            (
                each["name"],
                each["type"],
                f"{each['missing']:.1%}",
                each["least"],
                each["most"],
                each["example"],
            )
            for each in found["features"]
        ]
        output.table(rows_table(("feature", "type", "missing", "least", "most", "example"), rows))
    if found["refused"]:
        output.table(errors_table(found["errors"], found["refused"]))
    for remark in found["remarks"]:
        output.say(f"  note     {escape(remark)}")
    if not found["rows"]:
        output.say("it has no row at all; expected at least one")
    elif not found["refused"]:
        output.say("no row would be refused" if found["remarks"] else "nothing wrong with it")


def _signals(found: dict[str, Any]) -> str:
    if found["prices_only"]:
        return "none: prices alone, for raysignal sweep, luck and check-strategy"
    return ", ".join(f"{name} {count:,d}" for name, count in found["actions"].items())


def _repeats(count: int) -> str:
    return f", {count:,d} of them repeat another row and count once" if count else ""


def _gaps(gaps: dict[str, Any]) -> str:
    if not gaps["count"]:
        return "none"
    largest = gaps["largest"]
    return (
        f"{gaps['count']:,d}; the largest {largest['length']} of {largest['symbol']} after {largest['after']}"
    )


def _counts(counts: dict[str, int]) -> str:
    shown = [f"{name} {count:,d}" for name, count in list(counts.items())[:10]]
    rest = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {rest:,d} more" if rest else "")


app.command("generate", cls=Verb)(verb(GenerateConfig, generate))
app.command("check", cls=Verb)(verb(CheckConfig, check))
