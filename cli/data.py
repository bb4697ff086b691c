"""`raysignal data`: make signal files, and look into them before they are sent."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from raysignal.cli import options
from raysignal.cli.output import Output
from raysignal.cli.verbs import Verb, VerbGroup

app = typer.Typer(
    cls=VerbGroup, help="Make signal files, and check them before they are sent.", no_args_is_help=True
)


@app.command("generate", cls=Verb)
def generate(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file to write; replaced if it is there.")],
    rows: Annotated[int, typer.Option(min=1, metavar="N", help="Rows in all.")] = 500,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Same seed and options, same bytes.")] = 0,
    bar: Annotated[
        str | None, typer.Option(metavar="LENGTH", help="Spacing of the bars; 10m, plain files 1s.")
    ] = None,
    symbols: Annotated[
        str,
        typer.Option("--symbol", "--symbols", metavar="NAMES", help="One or more, with commas between them."),
    ] = "BTC",
    texts: Annotated[
        Literal["long", "short", "none"] | None, typer.Option(help="Length of the free texts; long.")
    ] = None,
    regime_effect: Annotated[
        bool | None,
        typer.Option(
            "--regime-effect/--null",
            help="Signals are better in one regime than in the other, or right half of the time everywhere.",
        ),
    ] = None,
    edge: Annotated[
        str | None,
        typer.Option(
            metavar="P[,P]", help="How often a signal is right: everywhere, or calm,storm; 0.6,0.4."
        ),
    ] = None,
    hold_share: Annotated[float | None, typer.Option(metavar="SHARE", help="Share of HOLD; 0.")] = None,
    buy_share: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Share of BUY among BUY and SELL; 0.5.")
    ] = None,
    drift: Annotated[
        float | None,
        typer.Option(metavar="GROWTH", help="Logarithmic, a year: 0.2 is +22 %, -1 is -63 %; 0."),
    ] = None,
    tails: Annotated[
        float | None,
        typer.Option(metavar="DEGREES", help="Of the moves' Student t: 4, or 2.5 for fatter tails; 4."),
    ] = None,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="A large plain file, fast: nothing to find in it, any number of rows."),
    ] = False,
    features: Annotated[
        bool, typer.Option("--features", help="With --plain: the dataset's features as well.")
    ] = False,
    format: Annotated[  # noqa: A002 - the word that people know
        Literal["csv", "ndjson", "parquet"] | None,
        typer.Option(help="With --plain; default: as the path ends."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Write a signal file by seed: realistic bars and texts, and signals whose quality is known."""
    realistic = {
        "--texts": texts, "--regime-effect/--null": regime_effect, "--edge": edge, "--hold-share": hold_share,
        "--buy-share": buy_share, "--drift": drift, "--tails": tails,
    }  # fmt: skip
    misplaced = [name for name, value in realistic.items() if plain and value is not None]
    if misplaced:
        raise typer.BadParameter(f"{misplaced[0]} does not go with --plain, whose signals are random")
    if not plain and (features or format is not None):
        raise typer.BadParameter("--features and --format go with --plain")
    from raysignal.cli.generating import GeneratorOptions, write_file

    wanted = GeneratorOptions(
        path=path, rows=rows, seed=seed, bar=bar, symbols=tuple(symbols.split(",")), texts=texts,
        regime_effect=regime_effect, edge=edge, hold_share=hold_share, buy_share=buy_share, drift=drift, tails=tails,
        plain=plain, features=features, format=format,
    )  # fmt: skip
    write_file(wanted, Output(json))


@app.command("check", cls=Verb)
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, NDJSON, JSON or Parquet.")],
    timezone: options.Timezone = None,
    bar: options.Bar = None,
    label: options.Label = "close",
    symbol: options.Symbol = None,
    source: options.Source = None,
    accept_price_jump: options.AcceptPriceJump = False,
    json: options.Json = False,
) -> None:
    """Read a file as the service would, and say what is in it and what is wrong with it.

    Exit status 1 if there is a row that a portfolio would refuse, or no row at all.
    """
    reading = options.ReadingOptions(timezone, bar, label, symbol, source)
    from raysignal.cli.checking import check_file

    settings = options.configured()
    check_file(
        options.existing_file(file), reading, settings, accept_jump=accept_price_jump, output=Output(json)
    )
