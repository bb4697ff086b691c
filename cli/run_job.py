"""What `raysignal run` does: one service, two portfolios, the same signals by two ways, one result; then the arms
of an experiment on the same signals.
"""

import asyncio
import os
import shlex
import sys
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from raysignal.cli.asking import sentence_of, service_at
from raysignal.cli.client import ServiceClient
from raysignal.cli.compare_job import CompareConfig, make, show
from raysignal.cli.feed_job import (
    FeedConfig,
    FollowedMarket,
    feeds_table,
    follow,
    open_lines,
    without_buckets,
)
from raysignal.cli.files import CheckedSignalFile, reading_of, reading_sentences
from raysignal.cli.hosting import hosted
from raysignal.cli.lines import with_lines
from raysignal.cli.options import URL_VARIABLE, ReadingOptions, writing_to
from raysignal.cli.output import Output, errors_table, performance_table, rows_table
from raysignal.cli.replay_job import sending, summary
from raysignal.cli.replaying import ReplayCounts, ReplayOptions, ReplayPace, replay_file
from raysignal.cli.texts import escape
from raysignal.cli.trials import ArmOptions, ModelOptions, configured_trial
from raysignal.data.generator import SAMPLE as _SAMPLE
from raysignal.data.generator import SAMPLE_SPEC
from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.core.policy import Policy
from raysignal.engine.history.query import query
from raysignal.runtime.ports import free_port
from raysignal.runtime.settings import Settings, load_settings
from raysignal.serve.logs import json_logger

SAMPLE = Path(os.path.relpath(_SAMPLE)) if _SAMPLE.is_relative_to(Path.cwd()) else _SAMPLE
SAMPLE_READING = ReadingOptions(timezone="UTC", bar=SAMPLE_SPEC.bar, label="open")
_BATCH_ROWS = 1_000_000
_BATCH_SUFFIX = "-batch"
_CALLS = 100
_MARKET_S, _MARKET_SPEED = 12.0, 100.0
_MARKET: dict[str, Any] = {
    "feeds": ("binance-usdm:BTCUSDT",), "feed_bar": "10s", "feed_fast": 5, "feed_slow": 20,
    "feed_portfolio": "market",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunConfig:
    """One run as it was asked for.

    Attributes:
        path, reading: the file, and how it is read.
        skip: leave out rows that are refused.
        accept_price_jump: believe every price.
        folder: the results go to the first free number below it.
    """

    path: Path
    reading: ReadingOptions
    skip: bool
    accept_price_jump: bool
    folder: Path


class ResultsDiffer(RaysignalError):
    """The same signals, taken in by two ways, ended differently: a defect of this project."""


def run_job(job: RunConfig, output: Output) -> None:
    """Run it and show it; exits with status 1 if a row was refused or the two ways differ.

    What the comparison of the arms says does not change the status.
    """
    file, how = _read(job, output)
    place = fresh_folder(job.folder)
    settings = _settings(place)
    output.err.print(f"starting the service on {settings.host}:{settings.port} ...")
    log = str((place / "requests.log").resolve())
    with hosted(settings, log) as (service, ending):
        output.say(f"service   {service.url}, with a fresh store in {place}")
        replays, standings = asyncio.run(_both_ways(job, file, settings, service.url, output))
        differing = differences(standings[0]["performance"], standings[1]["performance"])
        if not differing:
            output.say("both ended the same: every figure of the performance is equal")
        market = asyncio.run(_market(settings, service.url, place, output))
        ending()
        output.err.print("writing results, ending the service ...")
    if differing:
        names = [standing["portfolio"] for standing in standings]
        output.err.print(rows_table(("figure", *names), differing), soft_wrap=False)
        raise ResultsDiffer(f"one by one and in one batch ended differently in {len(differing)} figures")
    rows = query(settings.store, "SELECT count(*) AS rows FROM history")["rows"][0].as_py()
    if not output.as_json:
        output.say()
        output.say(sentence_of(standings[0]))
        output.table(performance_table(standings[:1]))
    output.say("[bold]does overruling some of these signals help?[/bold]")
    made = make(_comparison(job, settings), settings, output)
    if output.as_json:
        output.json({
            "file": str(job.path), "read": how, "folder": str(place), "store": settings.store,
            "replays": {"one_by_one": replays[0].as_dict(), "batch": replays[1].as_dict()},
            "same": True, "standings": standings, "market": [without_buckets(status) for status in market],
            "result_rows": rows, "experiment": made.as_dict(),
        })  # fmt: skip
        return
    show(made, output)
    _where(place, settings.store, rows, output)


def _comparison(job: RunConfig, settings: Settings) -> CompareConfig:
    """The standing arms on the same signals, by the rules of the service; with a model if there is a key."""
    return CompareConfig(
        job.path, job.reading, skip=job.skip, accept_price_jump=job.accept_price_jump,
        rules=ArmOptions(base=configured_trial(settings)),
        questions=ModelOptions(settings.model, settings.model_url, budget=_CALLS),
    )  # fmt: skip


def fresh_folder(parent: Path) -> Path:
    """The folder `parent/<n>` with the first number from 1 on that is free, made."""
    with writing_to(parent):
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


def _read(job: RunConfig, output: Output) -> tuple[CheckedSignalFile, str]:
    """The file, read through; exits with status 1 if a row of it cannot be used."""
    reading = reading_of(job.reading, load_settings(_environment()), now_us=time.time_ns() // 1000)
    how = reading_sentences(job.reading, reading)
    output.say(f"file      {escape(str(job.path))}: {how}")
    file = CheckedSignalFile.survey(job.path, reading)
    if file.refused and not job.skip:
        output.err.print(errors_table(with_lines(job.path, file.errors), file.refused), soft_wrap=False)
        raise RaysignalError(
            f"{file.refused:,d} of {file.rows:,d} rows of {job.path} cannot be used; "
            "leave them out with --on-error skip"
        )
    if file.rows == file.refused:
        raise RaysignalError(f"{job.path} holds no signal; expected at least one row")
    return file, how


def _environment() -> dict[str, str]:
    """The environment without what is the command line's own, here and for the processes to come."""
    os.environ.pop(URL_VARIABLE, None)
    return dict(os.environ)


def _settings(place: Path) -> Settings:
    """The configured settings, on this machine alone and with a store of their own."""
    return load_settings(
        _environment(),
        host="127.0.0.1",
        port=free_port(),
        store=(place / "store").resolve().as_uri(),
        ray_address=None,
        enhanced="",  # the arms are compared below, on the whole file and with their controls
    )


async def _both_ways(
    job: RunConfig, file: CheckedSignalFile, settings: Settings, url: str, output: Output
) -> tuple[list[ReplayCounts], list[dict[str, Any]]]:
    """Replay one by one into the primary portfolio, and in one batch into another with the same policy."""
    async with service_at(url, settings) as client:
        first = await client.standing(None)
        second, _ = await client.ensure(first["portfolio"] + _BATCH_SUFFIX, Policy.from_dict(first["policy"]))
        tallies = []
        for standing, one_by_one in ((first, True), (second, False)):
            tallies.append(await _replay(job, file, client, standing["portfolio"], one_by_one, output))
        return tallies, [await client.standing(each["portfolio"]) for each in (first, second)]


async def _replay(
    job: RunConfig,
    file: CheckedSignalFile,
    client: ServiceClient,
    name: str,
    one_by_one: bool,
    output: Output,
) -> ReplayCounts:
    way = "POST /signal, one by one" if one_by_one else "POST /signals, one batch"
    plan = ReplayOptions(name, one_by_one, _BATCH_ROWS, job.skip, job.accept_price_jump)
    pace = ReplayPace(None, time.monotonic, asyncio.sleep)
    with sending(f"{way} into {name}", file.rows - file.refused, output) as advanced:
        tally = await replay_file(file, client, plan, pace, advanced=advanced)
    output.say(f"replayed  {way}, into {name}: {summary(tally)}")
    if not tally.complete:
        output.err.print(errors_table(with_lines(job.path, tally.errors), tally.refused), soft_wrap=False)
        raise RaysignalError(f"a row of {job.path} was refused; leave refused rows out with --on-error skip")
    return tally


async def _market(settings: Settings, url: str, place: Path, output: Output) -> list[dict[str, Any]]:
    """Follow a made-up exchange for a while: its crossings as orders on paper, and as signals in a portfolio."""
    output.say(
        f"market    a made-up one, {_MARKET_SPEED:g} times as fast as a real one, for {_MARKET_S:g} s: crossings of "
        f"{_MARKET['feed_fast']} and {_MARKET['feed_slow']} bars of {_MARKET['feed_bar']}, traded on paper"
    )
    followed = settings.model_copy(
        update=_MARKET | {"database_url": SecretStr(f"sqlite:///{(place / 'market.db').resolve()}")}
    )
    async with service_at(url, settings) as client:
        await client.ensure(_MARKET["feed_portfolio"], Policy())
    job = FeedConfig(
        followed, FollowedMarket(loopback=True, speed=_MARKET_SPEED), _MARKET_S, url, place / "market.log"
    )
    with open_lines(job.log) as stream:
        statuses = await follow(job, json_logger(stream), asyncio.Event(), lambda _: None)
    if not output.as_json:
        output.table(feeds_table(statuses))
    return statuses


def _where(place: Path, store: str, rows: int, output: Output) -> None:
    """Where everything lies, and a query that can be pasted."""
    beside = Path(sys.executable).with_name("raysignal")
    program = os.path.relpath(beside) if beside.exists() else "raysignal"
    sql = "SELECT symbol, executed, count(*) AS signals, sum(fee) AS fees FROM history GROUP BY ALL ORDER BY ALL"
    output.say()
    output.say(f"results   {place / 'store' / 'history'}, {rows:,d} rows of Parquet, one a processed signal")
    output.say(f"journal   {place / 'store' / 'journal'}, from which all else can be rebuilt")
    output.say(f"market    {place / 'market.db'}: bars, crossings, orders and fills; {place / 'market.log'}")
    output.say(f"requests  {place / 'requests.log'}, a line of JSON each")
    output.say(f"ask them  {program} query --store {store} {shlex.quote(sql)}")
