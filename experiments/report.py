"""What all reports are made with: their templates, and how figures are written in them.

Names, reasons and categories are the user's data: the templates escape them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from raysignal.experiments.formats import FILLED, bp, interval, percent, share_interval, total_return

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """A report in its two forms: `html` for `report.html`, `png` for `report.png`."""

    html: str
    png: bytes


def title_of(manifest: Mapping[str, Any]) -> str:
    """What the report is called: its title, else its run."""
    return str(manifest.get("title") or f"Experiment {manifest.get('run_id', '')}".strip())


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    else:
        yield path, value if isinstance(value, str) else orjson.dumps(value, default=str).decode()


@cache
def template(name: str) -> "Template":
    """A page of this folder's templates."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - slow to import

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        bp=bp,
        size=lambda value: bp(value, sign=False),
        percent=percent,
        interval=interval,
        share_interval=share_interval,
        total_return=total_return,
        filled=lambda fill: FILLED.get(str(fill), str(fill)).removeprefix("at the "),
        figure=_figure,
        words=lambda value: str(value).replace("_", " "),
    )
    return environment.get_template(name)


def _figure(value: Any) -> str:
    """A figure of a performance: counts whole, the rest with enough digits to compare."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.3f}" if abs(value) < 1000 else f"{value:,.0f}"
