"""`raysignal run`: the main job from end to end; `make run` calls it.

One service, two portfolios, the same signals by two ways, one result; then the arms of an experiment on the same
signals.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from raysignal.cli import options
from raysignal.cli.arms import ArmOptions, configured_trial
from raysignal.cli.backtest import sample_run
from raysignal.cli.compare import CompareConfig, FinishedCompare, make
from raysignal.cli.feed import FollowedMarket, MarketOptions, follow, open_lines, without_buckets
from raysignal.cli.model_options import ModelOptions
from raysignal.cli.output import Output, errors_table, escape, rows_table
from raysignal.cli.replay import sending, summary
from raysignal.cli.runs import files_of
from raysignal.cli.serve import hosted
from raysignal.cli.signal_files import check_bar, read_stream, reading_of, reading_sentences
from raysignal.cli.verbs import require_extras
from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.core.policy import Policy

if TYPE_CHECKING:
    from raysignal.engine.intake.checked_file import CheckedSignalFile
    from raysignal.experiments.comparison.evaluation import Evaluation
    from raysignal.runtime.replay import ReplayCounts
    from raysignal.runtime.service_client import ServiceClient
    from raysignal.runtime.settings import Settings

_ONE_BY_ONE = 500  # signals: enough to see that a request each comes to the same, and done in seconds
_BATCH_ROWS = 1_000_000
_BATCH_SUFFIX = "-batch"
_CALLS, _STAND_IN_CALLS = 100, 1_000
_STAND_IN_NAME = "loopback"
_STAND_IN = (
    "no key is set, so answers come from a stand-in on this machine, raysignal.loopback.gemini: a rule that takes what "
    "was best for the precedents it is shown, and no language model"
)
_MARKET_S, _MARKET_SPEED = 12.0, 100.0
_FEED: dict[str, Any] = {
    "instruments": ("binance-usdm:BTCUSDT",), "bar": "10s", "fast": 5, "slow": 20,
    "portfolio": "market",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """Which file is run, and where the results go."""

    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="A signal file; default: the sample.", show_default=False),
    ] = None
    reading: options.ReadingOptions
    on_error: options.OnRefusal = "refuse"
    accept_price_jump: options.AcceptPriceJump = False
    folder: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Results go to the first number below it that is free.")
    ] = Path("run")
    json: options.Json = False

    def __post_init__(self) -> None:
        if self.file is None and self.reading != options.ReadingOptions():
            raise typer.BadParameter("how to read is said of a FILE; the sample is read as it was made")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A signal file, and how it is read."""

    path: Path
    reading: options.ReadingOptions

    @classmethod
    def sample(cls) -> SourceFile:
        """The sample, read as it was made."""
        from raysignal.data.generator import SAMPLE, SAMPLE_SPEC

        path = SAMPLE.resolve()
        path = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        return cls(path, options.ReadingOptions(timezone="UTC", bar=SAMPLE_SPEC.bar, label="open"))


class ResultsDiffer(RaysignalError):
    """The same signals, taken in by two ways, ended differently: a defect of this project."""


def run(config: RunConfig) -> None:
    """Start a service, replay a file through it in two ways, end it, and ask whether overruling would have helped.

    The first 500 signals are posted on their own into the primary portfolio, the others in a batch, and all of them in
    one batch into a second portfolio; both must end the same, in every figure.
    """
    require_extras("run", "feeds", "experiments")
    from raysignal.cli.run_screen import WIDTH, RunSummary, path_words, run_screen
    from raysignal.engine.history.query import query

    output = Output(config.json)
    aside = Output(out=output.err)  # what is said on the way; the result has stdout to itself
    sample = config.file is None
    source = (
        SourceFile.sample()
        if config.file is None
        else SourceFile(options.existing_file(config.file), config.reading)
    )
    file, how = _read(source, config, aside)
    place = fresh_folder(config.folder)
    settings = _settings(place)
    aside.say(f"starting the service on {settings.http.host}:{settings.http.port} ...")
    log = str((place / "requests.log").resolve())
    with hosted(settings, log) as (service, ending):
        aside.say(f"service   {service.url}, with a fresh store in {place}")
        replays, standings, trades = asyncio.run(_both_ways(config, file, settings, service.url, aside))
        differing = differences(standings[0]["performance"], standings[1]["performance"])
        differing += differences(trades[0] | {"portfolio": ""}, trades[1] | {"portfolio": ""}, "trades.")
        market = asyncio.run(_market(settings, service.url, place, aside))
        ending()
        aside.say("writing results, ending the service ...")
    if differing:
        names = [standing["portfolio"] for standing in standings]
        aside.table(rows_table(("figure", *names), differing))
        raise ResultsDiffer(f"one by one and in one batch ended differently in {len(differing)} figures")
    rows = query(settings.store, "SELECT count(*) AS rows FROM history")["rows"][0].as_py()
    with _model_to_ask() as asked:
        made = make(_comparison(source, config, asked), settings, aside)
    noise = _noise(place, source, settings, aside) if sample else None
    aside.say("a made-up market through the decision path ...")
    path = sample_run(place / "session")
    if config.json:
        output.json({
            "file": str(source.path), "read": how, "folder": str(place), "store": settings.store,
            "replays": {"one_by_one": replays[0].as_dict(), "batch": replays[1].as_dict()},
            "same": True, "standings": standings, "trades": trades[0],
            "market": [without_buckets(status) for status in market], "path": path,
            "result_rows": rows, "truth": _truth() if sample else None, "experiment": made.as_dict(),
            "noise": None if noise is None else noise[0].of("memory").as_dict(),
        })  # fmt: skip
        return
    summary = RunSummary(
        file=Text.from_markup(f"{escape(str(source.path))}: {made.signals}").plain,
        truth=_truth() if sample else "",
        taken=_taken(replays),
        standing=standings[0],
        trades=trades[0],
        market=_followed(market),
        path=path_words(path),
        metrics=made.run.metrics,
        model=made.model if asked is None else _STAND_IN,
        noise=noise,
        places=_places(place, made, rows),
    )
    output.say()
    output.out.print(run_screen(summary), width=min(WIDTH, output.out.width), soft_wrap=False)


@contextmanager
def _model_to_ask() -> Iterator[str | None]:
    """The address of a stand-in for a model, within; None: the model itself can be asked."""
    from raysignal.loopback.gemini import GeminiServer
    from raysignal.runtime.settings import load_settings

    if ModelOptions().configured(load_settings(_environment())).can_be_asked:
        yield None
        return
    with GeminiServer() as server:
        yield server.url


def _comparison(source: SourceFile, config: RunConfig, stand_in: str | None) -> CompareConfig:
    """The experiment: the standing arms on the same signals, by the rules of the service.

    Args:
        source: the signals.
        config: of the run.
        stand_in: the address of what answers in the place of a model; None: the model that is configured.
    """
    budget, name = (_CALLS, None) if stand_in is None else (_STAND_IN_CALLS, _STAND_IN_NAME)
    return CompareConfig(
        file=source.path, reading=source.reading, on_error=config.on_error, accept_price_jump=config.accept_price_jump,
        arm=ArmOptions(), model=ModelOptions(budget=budget, model_url=stand_in, model=name),
        policy=options.PolicyOptions(), title=source.path.name,
    )  # fmt: skip


def _noise(place: Path, source: SourceFile, settings: Settings, output: Output) -> tuple[Evaluation, str]:
    """What the memory makes of the sample's market with signals that know nothing, and the file that holds them."""
    from raysignal.data.generator import SAMPLE_SPEC, write_csv
    from raysignal.experiments.comparison.arms import memory_alone

    output.say("the same with signals that know nothing ...")
    path = place / "noise.csv"
    write_csv(replace(SAMPLE_SPEC, regime_effect=False), path)
    batch = read_stream(path, source.reading, settings, skip=False, accept_jump=False, output=output).batch
    trial = ArmOptions().trial(configured_trial(settings), options.PolicyOptions())
    return memory_alone(batch, trial), str(path)


def _truth() -> str:
    """What is planted in the sample."""
    from raysignal.data.generator import SAMPLE_SPEC

    calm, storm = (f"{edge:.0%}" for edge in SAMPLE_SPEC.edges)
    return (
        f"generated: signals are right {calm} of the time in a calm market and {storm} in a storm. Moods and volume "
        "show which it is, nothing shows where prices go, and nobody tells the agent"
    )


def fresh_folder(parent: Path) -> Path:
    """The folder `parent/<n>` with the first number from 1 on that is free, made."""
    with options.writing_to(parent):
        parent.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            place = parent / str(number)
            try:
                place.mkdir()
            except FileExistsError:
                continue
            return place
    raise AssertionError


def differences(one: dict[str, Any], other: dict[str, Any], within: str = "") -> list[tuple[str, Any, Any]]:
    """The figures that are not equal to the last bit: name, one's, the other's."""
    found: list[tuple[str, Any, Any]] = []
    for name in {**one, **other}:
        left, right = one.get(name), other.get(name)
        if isinstance(left, dict) and isinstance(right, dict):
            found += differences(left, right, f"{within}{name}.")
        elif left != right:
            found.append((f"{within}{name}", left, right))
    return found


def _read(source: SourceFile, config: RunConfig, output: Output) -> tuple[CheckedSignalFile, str]:
    """The file, read through; exits with status 1 if a row of it cannot be used."""
    from raysignal.engine.intake.checked_file import CheckedSignalFile
    from raysignal.engine.intake.line_numbers import with_lines
    from raysignal.runtime.settings import load_settings

    reading = reading_of(source.reading, load_settings(_environment()))
    how = reading_sentences(source.reading, reading)
    output.say(f"file      {escape(str(source.path))}: {how}")
    file = CheckedSignalFile.survey(source.path, reading)
    check_bar(source.reading, file.step_us)
    if file.refused and config.on_error == "refuse":
        output.err.print(errors_table(with_lines(source.path, file.errors), file.refused), soft_wrap=False)
        raise RaysignalError(
            f"{file.refused:,d} of {file.rows:,d} rows of {source.path} cannot be used; "
            "leave them out with --on-error skip"
        )
    if file.rows == file.refused:
        raise RaysignalError(f"{source.path} holds no signal; expected at least one row")
    return file, how


def _environment() -> dict[str, str]:
    """The environment without what is the command line's own, here and for the processes to come."""
    os.environ.pop(options.URL_VARIABLE, None)
    return dict(os.environ)


def _settings(place: Path) -> Settings:
    """The configured settings, on this machine alone and with a store of their own."""
    from raysignal.runtime.ports import free_port
    from raysignal.runtime.settings import load_settings

    return load_settings(
        _environment(),
        host="127.0.0.1",
        port=free_port(),
        store=(place / "store").resolve().as_uri(),
        ray_address=None,
        enhanced="",  # the arms are compared below, on the whole file and with their controls
    )


async def _both_ways(
    config: RunConfig, file: CheckedSignalFile, settings: Settings, url: str, output: Output
) -> tuple[list[ReplayCounts], list[dict[str, Any]], list[dict[str, Any]]]:
    """Replay one by one into the primary portfolio, as far as that is done soon, and in one batch into another with the
    same policy.
    """
    from raysignal.runtime.service_client import service_at

    async with service_at(url, settings) as client:
        first = await client.standing(None)
        second, _ = await client.ensure(first["portfolio"] + _BATCH_SUFFIX, Policy.from_dict(first["policy"]))
        tallies = []
        for standing, one_by_one in ((first, _ONE_BY_ONE), (second, 0)):
            tallies.append(await _replay(config, file, client, standing["portfolio"], one_by_one, output))
        names = [each["portfolio"] for each in (first, second)]
        return (
            tallies,
            [await client.standing(name) for name in names],
            [await client.trade_summary(name) for name in names],
        )


async def _replay(
    config: RunConfig,
    file: CheckedSignalFile,
    client: ServiceClient,
    name: str,
    one_by_one: int,
    output: Output,
) -> ReplayCounts:
    from raysignal.engine.intake.line_numbers import with_lines
    from raysignal.runtime.replay import ReplayOptions, ReplayPace, replay_file

    way = "POST /signals, one batch"
    if one_by_one:
        way = "POST /signal, one by one" + (f" up to {one_by_one:,d}" if file.rows > one_by_one else "")
    plan = ReplayOptions(name, one_by_one, _BATCH_ROWS, config.on_error == "skip", config.accept_price_jump)
    pace = ReplayPace(None, time.monotonic, asyncio.sleep)
    with sending(f"{way} into {name}", file.rows - file.refused, output) as advanced:
        counts = await replay_file(file, client, plan, pace, advanced=advanced)
    output.say(f"replayed  {way}, into {name}: {summary(counts)}")
    if not counts.complete:
        output.err.print(errors_table(with_lines(file.path, counts.errors), counts.refused), soft_wrap=False)
        raise RaysignalError(f"a row of {file.path} was refused; leave refused rows out with --on-error skip")
    return counts


async def _market(settings: Settings, url: str, place: Path, output: Output) -> list[dict[str, Any]]:
    """Follow a made-up exchange for a while: its crossings as orders on paper, and as signals in a portfolio."""
    from pydantic import SecretStr

    from raysignal.runtime.service_client import service_at
    from raysignal.serve.logs import json_logger

    output.say(
        f"market    a made-up one, {_MARKET_SPEED:g} times as fast as a real one, for {_MARKET_S:g} s: crossings of "
        f"{_FEED['fast']} and {_FEED['slow']} bars of {_FEED['bar']}, traded on paper"
    )
    database = SecretStr(f"sqlite:///{(place / 'market.db').resolve()}")
    followed = settings.model_copy(
        update={"feed": settings.feed.model_copy(update=_FEED), "database_url": database}
    )
    async with service_at(url, settings) as client:
        await client.ensure(_FEED["portfolio"], Policy())
    market = FollowedMarket(
        followed, MarketOptions(loopback=True, speed=_MARKET_SPEED), seconds=_MARKET_S, url=url
    )
    with open_lines(place / "market.log") as stream:
        return await follow(market, json_logger(stream), asyncio.Event(), lambda _: None)


def _taken(replays: list[ReplayCounts]) -> str:
    """How the service took the signals in, twice."""
    seconds = sum(each.seconds for each in replays)
    return f"one by one and as a batch into two portfolios ({seconds:.1f} s), equal in every figure"


def _followed(statuses: list[dict[str, Any]]) -> str:
    """What became of the made-up exchange."""
    crossings = sum(status["station"]["signals"] for status in statuses)
    filled = sum((status["station"]["paper"] or {}).get("orders", {}).get("filled", 0) for status in statuses)
    return f"a made-up exchange for {_MARKET_S:g} s: {crossings:,d} crossings became signals, {filled:,d} paper fills"


def _places(place: Path, made: FinishedCompare, rows: int) -> list[tuple[str, str]]:
    """Where everything lies, and a query that can be pasted."""
    beside = Path(sys.executable).with_name("raysignal")
    program = os.path.relpath(beside) if beside.exists() else "raysignal"
    results = (
        f"history as Parquet ({rows:,d} rows: signals, and bars of the made-up exchange as prices), and the journal "
        "that all is rebuilt from"
    )
    sql = "SELECT executed, count(*) AS rows, sum(fee) AS fees FROM history GROUP BY ALL"
    return [
        ("report", f"{files_of(made.store, made.run.run_id)['report']}: the rest, with charts"),
        ("results", f"{place / 'store'}: {results}"),
        ("ask them", f"{program} query --store {place.resolve().as_uri()}/store {shlex.quote(sql)}"),
    ]
