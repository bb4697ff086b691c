"""`raysignal replay`: a signal file into a portfolio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysignal.cli import options
from raysignal.cli.on_ray import direct_gateway
from raysignal.cli.output import Output, errors_table, escape, performance_table
from raysignal.cli.portfolios import sentence_of
from raysignal.cli.signal_files import check_bar, reading_of, reading_sentences
from raysignal.cli.trades import say_trades
from raysignal.cli.verbs import reading_options
from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.core.policy import Policy

if TYPE_CHECKING:
    from raysignal.engine.intake.checked_file import CheckedSignalFile
    from raysignal.runtime.portfolio_gateway import PortfolioGateway
    from raysignal.runtime.replay import ReplayCounts
    from raysignal.runtime.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig:
    """Which file is replayed, into which portfolio, and how."""

    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="CSV, NDJSON, JSON or Parquet; see data/README.md.")
    ]
    portfolio: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Into which; created if absent. Default: the primary one."),
    ] = None
    one_by_one: Annotated[
        bool,
        typer.Option(
            "--one-by-one/--batch", help="A request a signal, or a request a batch.", show_default="batch"
        ),
    ] = False
    batch_rows: Annotated[
        int, typer.Option(min=1, max=1_000_000, metavar="ROWS", help="Rows of a batch.")
    ] = 10_000
    speed: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Send each signal when it is due, X times as fast as it happened; default: at once.",
        ),
    ] = None
    on_error: options.OnRefusal = "refuse"
    accept_price_jump: options.AcceptPriceJump = False
    url: options.Url = None
    direct: Annotated[
        bool,
        typer.Option(
            "--direct",
            rich_help_panel=options.PLACE,
            help="Straight to the actors: those of --ray-address, else of a Ray that is started for it.",
        ),
    ] = False
    take_over: Annotated[
        bool,
        typer.Option(
            "--take-over",
            rich_help_panel=options.PLACE,
            help="With --direct: even from a process that is writing the store's journal.",
        ),
    ] = False
    ray_address: options.RayAddress = None
    store: options.Store = None
    reading: options.ReadingOptions
    policy: options.PolicyOptions
    json: options.Json = False

    def __post_init__(self) -> None:
        if self.speed is not None and not self.speed > 0.0:
            raise typer.BadParameter("--speed is a factor above 0; expected such as 60 for a minute a second")
        if self.store is not None and not self.is_direct:
            raise typer.BadParameter("--store belongs to --direct; a running service has its own")
        if self.take_over and not self.is_direct:
            raise typer.BadParameter(
                "--take-over belongs to --direct; a running service writes its own journal"
            )
        if self.policy.given() and self.portfolio is None:
            raise typer.BadParameter("a policy belongs to a portfolio: --portfolio NAME")

    @property
    def is_direct(self) -> bool:
        """Whether signals go to the actors and not to a service."""
        return self.direct or self.ray_address is not None


def replay(config: ReplayConfig) -> None:
    """Send the signals of a file to a portfolio, and show what came of it.

    A file may be sent again: signals that were taken in before are replayed and count once.
    """
    from raysignal.engine.intake.checked_file import CheckedSignalFile
    from raysignal.engine.intake.line_numbers import with_lines
    from raysignal.runtime.replay import ReplayCounts

    options.existing_file(config.file)
    settings, output = (
        options.configured(ray_address=config.ray_address, store=config.store),
        Output(config.json),
    )
    given = config.policy.given()
    with reading_options():
        policy = Policy.from_dict(given) if given else None
    reading = reading_of(config.reading, settings)
    output.say(f"reading {escape(str(config.file))}: {reading_sentences(config.reading, reading)}")
    file = CheckedSignalFile.survey(config.file, reading)
    check_bar(config.reading, file.step_us)
    if not file.rows:
        raise RaysignalError(f"{config.file} holds no signal; expected at least one row")
    if file.refused and config.on_error == "refuse":
        _refused(
            config.file,
            ReplayCounts(file.rows, refused=file.refused, errors=file.errors, complete=False),
            None,
            output,
        )
    counts, standing, trades = asyncio.run(_replay(config, file, settings, policy, output))
    if not counts.complete:
        _refused(config.file, counts, standing, output)
    if config.json:
        output.json({"replay": counts.as_dict(), "standing": standing, "trades": trades})
        return
    output.say(summary(counts))
    if counts.refused:
        output.table(errors_table(with_lines(config.file, counts.errors), counts.refused))
    output.say(sentence_of(standing))
    output.table(performance_table([standing]))
    say_trades(trades, output)


async def _replay(
    config: ReplayConfig, file: CheckedSignalFile, settings: Settings, policy: Policy | None, output: Output
) -> tuple[ReplayCounts, dict[str, Any], dict[str, Any]]:
    from raysignal.runtime.replay import ReplayOptions, ReplayPace, replay_file

    async with _gateway(config, settings, output) as gateway:
        if config.portfolio is None:
            name = (await gateway.standing(None))["portfolio"]
        else:
            standing, new = await gateway.ensure(config.portfolio, policy)
            name = standing["portfolio"]
            if new:
                output.say(f"created {sentence_of(standing)}")
        plan = ReplayOptions(
            name,
            file.rows if config.one_by_one or config.speed is not None else 0,
            config.batch_rows,
            config.on_error == "skip",
            config.accept_price_jump,
        )
        pace = ReplayPace(config.speed, time.monotonic, asyncio.sleep)
        with sending(f"into {name}", file.rows - file.refused, output) as advanced:
            counts = await replay_file(file, gateway, plan, pace, advanced=advanced)
        return counts, await gateway.standing(name), await gateway.trade_summary(name)


@asynccontextmanager
async def _gateway(
    config: ReplayConfig, settings: Settings, output: Output
) -> AsyncIterator[PortfolioGateway]:
    if not config.is_direct:
        from raysignal.runtime.service_client import service_at

        async with service_at(config.url, settings) as client:
            yield client
        return
    output.err.print(
        f"starting Ray for {settings.store} ..." if settings.ray_address is None else "joining Ray ..."
    )
    if settings.store.startswith("s3:"):
        # Nothing in a bucket tells whether its writer lives.
        output.err.print("a service elsewhere that writes this store cannot write it from now on")
    async with direct_gateway(settings, take_over=config.take_over) as direct:
        yield direct


@contextmanager
def sending(what: str, rows: int, output: Output) -> Iterator[Callable[[int], None]]:
    """Within, progress is shown; the function is to be told of rows that are done."""
    with output.progress() as progress:
        task = progress.add_task(what, total=rows)
        yield lambda done: progress.advance(task, done)


def summary(counts: ReplayCounts) -> str:
    """What became of the rows, in a sentence."""
    parts = [f"{counts.accepted:,d} accepted"]
    if counts.replayed:
        parts.append(f"{counts.replayed:,d} known before")
    if counts.refused:
        parts.append(f"{counts.refused:,d} refused")
    rate = counts.as_dict()["signals_per_second"]
    took = f" in {counts.seconds:.1f} s" + (f", {rate:,d} signals/s" if rate else "")
    return f"{counts.rows:,d} rows: {', '.join(parts)}{took if counts.seconds else ''}"


def _refused(path: Path, counts: ReplayCounts, standing: dict[str, Any] | None, output: Output) -> None:
    """Say what was refused and what that means, and exit with status 1."""
    from raysignal.engine.intake.line_numbers import with_lines

    if output.as_json:
        output.json({"replay": counts.as_dict(), "standing": standing})
    else:
        output.err.print(errors_table(with_lines(path, counts.errors), counts.refused), soft_wrap=False)
    taken = counts.accepted + counts.replayed
    if standing is None:
        said = f"{counts.refused:,d} of {counts.rows:,d} rows cannot be used, and nothing was sent"
    elif taken:
        said = f"a row was refused after {taken:,d} of {counts.rows:,d} rows, which stay taken in"
    else:
        said = "a row was refused, and nothing was taken in"
    output.err.print(f"[red]error:[/red] {said}; leave refused rows out with --on-error skip")
    raise typer.Exit(1)
