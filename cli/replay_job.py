"""What `raysignal replay` does: reads the file, finds the portfolio, sends, and sums up."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from raysignal.cli.asking import sentence_of, service_at
from raysignal.cli.files import CheckedSignalFile, reading_of, reading_sentences
from raysignal.cli.lines import with_lines
from raysignal.cli.options import ReadingOptions
from raysignal.cli.output import Output, errors_table, performance_table
from raysignal.cli.replaying import ReplayCounts, ReplayOptions, ReplayPace, replay_file
from raysignal.cli.texts import escape
from raysignal.cli.verbs import reading_options
from raysignal.cli.ways import PortfolioGateway
from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.core.policy import Policy
from raysignal.runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class ReplayConfig:
    """One replay as it was asked for.

    Attributes:
        path, reading: the file, and how it is read.
        portfolio: into which; None: the primary one.
        policy: the members of the policy that were given; none: whatever it has.
        url, direct: the way.
        take_over: take the journal from a writer that lives, on the direct way.
        The rest as in `ReplayOptions` and `ReplayPace`.
    """

    path: Path
    reading: ReadingOptions
    portfolio: str | None
    policy: dict[str, Any]
    one_by_one: bool
    batch_rows: int
    speed: float | None
    skip: bool
    accept_price_jump: bool
    url: str | None
    direct: bool
    take_over: bool


def run_job(job: ReplayConfig, settings: Settings, output: Output) -> None:
    """Replay, and show the summary; exits with status 1 if a refusal ended it."""
    reading = reading_of(job.reading, settings, now_us=time.time_ns() // 1000)
    with reading_options():
        policy = Policy.from_dict(job.policy) if job.policy else None
    output.say(f"reading {escape(str(job.path))}: {reading_sentences(job.reading, reading)}")
    file = CheckedSignalFile.survey(job.path, reading)
    if not file.rows:
        raise RaysignalError(f"{job.path} holds no signal; expected at least one row")
    if file.refused and not job.skip:
        _refused(
            job.path,
            ReplayCounts(file.rows, refused=file.refused, errors=file.errors, complete=False),
            None,
            output,
        )
    tally, standing = asyncio.run(_replay(job, file, settings, policy, output))
    if not tally.complete:
        _refused(job.path, tally, standing, output)
    if output.as_json:
        output.json({"replay": tally.as_dict(), "standing": standing})
        return
    output.say(summary(tally))
    if tally.refused:
        output.table(errors_table(with_lines(job.path, tally.errors), tally.refused))
    output.say(sentence_of(standing))
    output.table(performance_table([standing]))


async def _replay(
    job: ReplayConfig, file: CheckedSignalFile, settings: Settings, policy: Policy | None, output: Output
) -> tuple[ReplayCounts, dict[str, Any]]:
    async with _way(job, settings, output) as way:
        if job.portfolio is None:
            name = (await way.standing(None))["portfolio"]
        else:
            standing, new = await way.ensure(job.portfolio, policy)
            name = standing["portfolio"]
            if new:
                output.say(f"created {sentence_of(standing)}")
        plan = ReplayOptions(name, job.one_by_one, job.batch_rows, job.skip, job.accept_price_jump)
        pace = ReplayPace(job.speed, time.monotonic, asyncio.sleep)
        with sending(f"into {name}", file.rows - file.refused, output) as advanced:
            tally = await replay_file(file, way, plan, pace, advanced=advanced)
        return tally, await way.standing(name)


@asynccontextmanager
async def _way(job: ReplayConfig, settings: Settings, output: Output) -> AsyncIterator[PortfolioGateway]:
    if not job.direct:
        async with service_at(job.url, settings) as client:
            yield client
        return
    from raysignal.cli.direct import DirectGateway

    output.err.print(
        f"starting Ray for {settings.store} ..." if settings.ray_address is None else "joining Ray ..."
    )
    if settings.store.startswith("s3:"):
        # Nothing in a bucket tells whether its writer lives.
        output.err.print("a service elsewhere that writes this store cannot write it from now on")
    async with DirectGateway.open(settings, take_over=job.take_over) as direct:
        yield direct


@contextmanager
def sending(what: str, rows: int, output: Output) -> Iterator[Callable[[int], None]]:
    """Within, progress is shown; the function is to be told of rows that are done."""
    with output.progress() as progress:
        task = progress.add_task(what, total=rows)
        yield lambda done: progress.advance(task, done)


def summary(tally: ReplayCounts) -> str:
    """What became of the rows, in a sentence."""
    parts = [f"{tally.accepted:,d} accepted"]
    if tally.replayed:
        parts.append(f"{tally.replayed:,d} known before")
    if tally.refused:
        parts.append(f"{tally.refused:,d} refused")
    rate = tally.as_dict()["signals_per_second"]
    took = f" in {tally.seconds:.1f} s" + (f", {rate:,d} signals/s" if rate else "")
    return f"{tally.rows:,d} rows: {', '.join(parts)}{took if tally.seconds else ''}"


def _refused(path: Path, tally: ReplayCounts, standing: dict[str, Any] | None, output: Output) -> None:
    """Say what was refused and what that means, and exit with status 1."""
    if output.as_json:
        output.json({"replay": tally.as_dict(), "standing": standing})
    else:
        output.err.print(errors_table(with_lines(path, tally.errors), tally.refused), soft_wrap=False)
    taken = tally.accepted + tally.replayed
    if standing is None:
        said = f"{tally.refused:,d} of {tally.rows:,d} rows cannot be used, and nothing was sent"
    elif taken:
        said = f"a row was refused after {taken:,d} of {tally.rows:,d} rows, which stay taken in"
    else:
        said = "a row was refused, and nothing was taken in"
    output.err.print(f"[red]error:[/red] {said}; leave refused rows out with --on-error skip")
    raise typer.Exit(1)
