"""What a person sees: tables, sentences and progress, or JSON for a program.

With `--json`, stdout holds one JSON value and nothing else; progress and errors always go to stderr.
"""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import markup
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

_SHOWN_ERRORS = 10
_WIDE = 160
_UNBOUNDED = 10_000
_EXACT = 1e15


@dataclass(frozen=True, slots=True)
class Output:
    """Where a verb writes.

    Attributes:
        as_json: stdout is for a program.
        out, err: the two streams.
    """

    as_json: bool = False
    out: Console = field(default_factory=lambda: _console(to_stderr=False))
    err: Console = field(default_factory=lambda: _console(to_stderr=True))

    def json(self, value: Any) -> None:
        """One JSON value on stdout; floats as they are, None for what is not defined."""
        escaped = (
            "utf" not in self.out.encoding
        )  # what another encoding has no sign for is a sign in JSON still
        print(json.dumps(value, indent=2, ensure_ascii=escaped, allow_nan=False), file=self.out.file)

    def say(self, sentence: str = "") -> None:
        """A sentence for a person: on stdout, or on stderr when stdout is for a program."""
        (self.err if self.as_json else self.out).print(sentence)

    def error(self, error: Exception) -> None:
        """What went wrong, as one sentence on stderr."""
        self.err.print(f"[red]error:[/red] {escape(str(error))}")

    def table(self, table: Table) -> None:
        """A table for a person."""
        (self.err if self.as_json else self.out).print(table, soft_wrap=False)

    def fitting(
        self, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], least: Sequence[str]
    ) -> list[str]:
        """Those of the columns that fit side by side, without folding; those named in `least` go first, in order."""
        console = self.err if self.as_json else self.out
        kept = list(columns)
        unbounded = console.options.update(width=_UNBOUNDED)
        for name in least:
            table = rows_table(kept, [[row.get(column) for column in kept] for row in rows])
            if console.measure(table, options=unbounded).maximum <= console.width:
                break
            kept = [column for column in kept if column != name]
        return kept

    def progress(self, unit: str = "signals") -> Progress:
        """Progress with a rate and the time left; on stderr, and only where somebody watches."""
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(unit),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.err,
            disable=not self.err.is_terminal,
            transient=True,
        )


def _console(*, to_stderr: bool) -> Console:
    # The stream of now: `sys.stdout` may be lent to others later, see `cli.on_ray`.
    console = Console(file=sys.stderr if to_stderr else sys.stdout, highlight=False, soft_wrap=True)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE
    return console


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} {self._unit}/s", style="progress.data.speed")


# Performance

_MONEY = "{:,.2f}".format
_SHARE = "{:+.4%}".format
_RATIO = "{:.4f}".format
_WHOLE = "{:,d}".format
_PART = "{:.2%}".format

# What a person is shown, in this order: the figure, its name, how it is written.
_SHOWN = (
    ("equity", "equity", _MONEY),
    ("total_return", "total return", _SHARE),
    ("realised_pnl", "realised P&L", _MONEY),
    ("unrealised_pnl", "unrealised P&L", _MONEY),
    ("fees", "fees", _MONEY),
    ("sharpe", "Sharpe (annual)", _RATIO),
    ("sortino", "Sortino (annual)", _RATIO),
    ("sharpe_per_period", "Sharpe (a period)", _RATIO),
    ("sortino_per_period", "Sortino (a period)", _RATIO),
    ("max_drawdown", "largest drawdown", _PART),
    ("calmar", "Calmar (annual)", _RATIO),
    ("return_over_drawdown", "return over drawdown", _RATIO),
    ("trades", "trades", _WHOLE),
    ("win_rate", "win rate", _PART),
    ("profit_factor", "profit factor", _RATIO),
    ("exposure", "exposure", _PART),
    ("turnover", "turnover", _RATIO),
    ("signals", "signals", _WHOLE),
    ("periods", "periods", _WHOLE),
    ("period_s", "seconds a period", "{:,.6g}".format),
    ("periods_per_year", "periods a year", "{:,.6g}".format),
    ("calendar", "calendar", str),
)


def performance_table(standings: Sequence[Mapping[str, Any]]) -> Table:
    """Portfolios side by side, and buy-and-hold beside them; a figure that is not defined is a dash. One that is ruined
    says so above its figures.

    Args:
        standings: bodies of `GET /performance/{portfolio}`; buy-and-hold is that of the first.
    """
    table = Table(header_style="bold", pad_edge=False, box=SIMPLE_HEAD)
    table.add_column("")
    for standing in standings:
        table.add_column(escape(standing["portfolio"]), justify="right")
    table.add_column("buy and hold", justify="right")
    held = standings[0]["performance"]["buy_and_hold"]
    held = held | {"equity": standings[0]["performance"]["initial_cash"] * (1.0 + held["total_return"])}
    if any(standing["performance"]["ruined"] for standing in standings):
        table.add_row("", *("RUINED" if each["performance"]["ruined"] else "" for each in standings), "")
    for name, shown, write in _SHOWN:
        cells = [_written(standing["performance"][name], write) for standing in standings]
        table.add_row(shown, *cells, _written(held[name], write) if name in held else "")
    return table


def _written(value: float | None, write: Any) -> str:
    return "—" if value is None else write(value)


_BRACKETS = (
    ("stop_bps", "stop", " bp"), ("take_bps", "target", " bp"), ("trail_bps", "trailing stop", " bp"),
    ("min_confidence", "least confidence", ""),
)  # fmt: skip


def policy_sentence(policy: Mapping[str, Any]) -> str:
    """A policy in words."""
    at = "the signal's own price" if policy["fill"] == "signal" else "the price of the symbol's next signal"
    return (
        f"{policy['side']}, starting from {policy['initial_cash']:,.2f}, weight {policy['weight']:g}, "
        f"fee {policy['fee_bps']:g} bp, slippage {policy['slippage_bps']:g} bp, filled at {at}"
        + "".join(f", {said} {policy[name]:g}{unit}" for name, said, unit in _BRACKETS if policy.get(name))
    )


# Rows and their errors


def errors_table(errors: Sequence[Mapping[str, Any]], total: int) -> Table:
    """The first refused rows: place, field, value, what was expected, where that is not the same as of the row above.

    The place is the line, from 1, where every error has one (`engine.intake.line_numbers`); else the row, from 0, as
    in the errors.
    """
    place = "line" if errors and all(error.get("line") is not None for error in errors) else "row"
    table = Table(
        header_style="bold", pad_edge=False, box=SIMPLE_HEAD, title_justify="left", title_style="bold",
        title=f"{total:,d} refused {'row' if total == 1 else 'rows'}"
        + (f", the first {_SHOWN_ERRORS}" if total > _SHOWN_ERRORS else ""),
    )  # fmt: skip
    for name in (place, "field", "value", "expected"):
        table.add_column(name, justify="right" if name == place else "left", overflow="fold")
    above = ""
    for error in errors[:_SHOWN_ERRORS]:
        said = str(error["detail"]) if error["field"] is None else _text(error["expected"])
        field, value = ("", "") if error["field"] is None else (_text(error["field"]), _text(error["value"]))
        shown = escape(said) if error["field"] is None else said
        table.add_row(_text(error[place]), field, value, "the same" if field + said == above else shown)
        above = field + said
    return table


def rows_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A plain table of values; nulls are empty, numbers stand to the right."""
    kept = [list(row) for row in rows]
    table = Table(header_style="bold", pad_edge=False, box=SIMPLE_HEAD)
    for position, name in enumerate(columns):
        numeric = any(isinstance(row[position], (int, float)) for row in kept)
        table.add_column(escape(name), justify="right" if numeric else "left", overflow="fold")
    for row in kept:
        table.add_row(*(_text(value) for value in row))
    return table


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < _EXACT else f"{value:,.10g}"
    return escape(str(value))


# Texts from files, rules and services, made fit for a terminal

# All but tab and newline: escape sequences would move the cursor, or set the title of the window; marks of direction
# would show a text in another order; half of a surrogate pair cannot be written.
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape(text: str) -> str:
    r"""A text as it is, for `rich`: what looks like markup is none, control characters are written as `\x1b`."""
    return markup.escape(printable(text))


def printable(text: str) -> str:
    """A text for a `rich.text.Text`, which knows no markup: control characters are written out."""
    return _CONTROLS.sub(lambda found: _visible(ord(found[0])), text)


def _visible(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
