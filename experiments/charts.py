"""The charts of a report, drawn on axes that are handed in: the same for the page and for the picture.

Ink is one colour that stands for "whatever text is written in": in a page it becomes the text's colour, so that
a chart is readable on light and on dark. Labels from the data are plain text, never markup.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from raysignal.engine.core.arrays import Float64Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#70757d"
"""Readable on white and on black; replaced by the text's own colour in a page."""

_POINTS = 500  # of a line, at most twice as many; more cannot be seen
_SHORT = 28
_STYLE: dict[str, Any] = {
    "font.size": 9.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "text.parse_math": False,
    "grid.color": INK,
    "grid.alpha": 0.25,
    "svg.fonttype": "none",
    "svg.hashsalt": "raysignal",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "path.simplify": True,
    "figure.constrained_layout.h_pad": 0.09,
}


@contextmanager
def style(ink: str = INK) -> Iterator[None]:
    """The look of every chart, with another ink if told; figures are made, drawn and saved inside."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import

    own: Any = {key: ink if value == INK else value for key, value in _STYLE.items()}
    with mpl.rc_context(own), warnings.catch_warnings():
        # A name in another script; a time so short that its dates are few.
        for message in ("Glyph", "AutoDateLocator was unable"):
            warnings.filterwarnings("ignore", message=message, category=UserWarning)
        yield


def svg(size: tuple[float, float], draw: Callable[["Figure"], None]) -> str:
    """A chart as an `<svg>` element that takes the width it is given and the text's colour."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    with style():
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    head, _, rest = text.partition(">")
    head = " ".join(part for part in head.split() if not part.startswith(("width=", "height=")))
    return f"{head}>{rest}"


def in_time(axes: Any) -> None:
    """Write the instants across short, and only as many as there is room for."""
    from matplotlib import dates  # noqa: PLC0415 - slow to import

    untyped: Any = dates
    locator = untyped.AutoDateLocator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(untyped.ConciseDateFormatter(locator))


def label(text: str) -> str:
    """A name as it is drawn: without control characters, and cut to what fits."""
    clean = plain(text)
    return clean if len(clean) <= _SHORT else clean[: _SHORT - 1] + "…"


def plain(text: str) -> str:
    """A text without control characters, which an SVG cannot hold."""
    return "".join(char if char.isprintable() else "?" for char in text)


def visible(values: Float64Array) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Rows that show all of a line: lowest and highest of every stretch, the first and the last."""
    n = len(values)
    if n <= 2 * _POINTS:
        return np.arange(n)
    kept = [0, n - 1]
    for rows in np.array_split(np.arange(n), _POINTS):
        kept += [int(rows[values[rows].argmin()]), int(rows[values[rows].argmax()])]
    return np.unique(kept)
