"""What `raysignal data check` does: reads a file as the service would, and shows what is in it."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from raysignal.cli.files import reading_of, reading_sentences
from raysignal.cli.lines import with_lines
from raysignal.cli.options import ReadingOptions
from raysignal.cli.output import Output, errors_table, rows_table
from raysignal.cli.survey import SignalFileReport, remark_sentences, survey_file
from raysignal.cli.texts import escape
from raysignal.engine.core.errors import InvalidField
from raysignal.engine.intake import Reading
from raysignal.runtime.settings import Settings


def check_file(
    path: Path, options: ReadingOptions, settings: Settings, *, accept_jump: bool, output: Output
) -> None:
    """Show what is in a file; exits with status 1 if a fresh portfolio would refuse a row of it."""
    reading = reading_of(options, settings, now_us=time.time_ns() // 1000)
    limit = None if accept_jump else settings.max_price_jump
    survey, prices_only = surveyed(path, reading, limit)
    remarks = remark_sentences(path, survey.remarks())
    found = survey.as_dict() | {"prices_only": prices_only, "remarks": remarks}
    found["errors"] = with_lines(path, found["errors"])
    how = reading_sentences(options, reading)
    if output.as_json:
        output.json({"file": str(path), "read": how} | found)
    else:
        _show(path, how, found, output)
    if found["refused"] or not found["rows"]:
        raise typer.Exit(1)


def surveyed(path: Path, reading: Reading, limit: float | None) -> tuple[SignalFileReport, bool]:
    """What is in a file, and whether it has prices and no signals at all, as for `sweep` and `luck`."""
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
