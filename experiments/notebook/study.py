"""What every result has in a notebook: a frame, a summary, a picture, and a table that a page shows."""

import html
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from raysignal.engine.core.errors import SettingsError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_EXTRA = ("arch", "jinja2", "matplotlib", "scipy")
_NONE = "—"


class Study(ABC):
    """A result: `frame`, `summary`, `plot()`; polars and others read it through the Arrow interface."""

    @property
    @abstractmethod
    def table(self) -> pa.Table:
        """What `frame` is made of."""

    @property
    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """What came out, in plain values that strict JSON holds; None where a figure is not defined."""

    @property
    @abstractmethod
    def sentences(self) -> Sequence[str]:
        """What came out, in words, the first one first."""

    @abstractmethod
    def _draw(self, figure: "Figure") -> None: ...

    @property
    def frame(self) -> "pd.DataFrame":
        """The rows, as a pandas frame; instants are UTC."""
        found: pd.DataFrame = self.table.to_pandas()
        return found

    def _figures(self) -> Sequence[tuple[str, str]]:
        """Names and figures that a page shows below the sentences."""
        return ()

    def _shown(self) -> "pd.DataFrame | None":
        """Rows that a page shows below the figures."""
        return None

    def plot(self, size: tuple[float, float] = (9.0, 4.5)) -> "Figure":
        """The picture: a matplotlib figure that a notebook shows, and `savefig` writes.

        Args:
            size: inches, across and up.
        """
        require_experiments("plot()")
        from raysignal.experiments.notebook.pictures import picture  # noqa: PLC0415 - matplotlib is slow to import

        return picture(size, self._draw)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows for whoever reads the Arrow interface, such as `polars.DataFrame(result)`."""
        stream: object = self.table.__arrow_c_stream__(requested_schema)
        return stream

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {' '.join(self.sentences)}>"

    def _repr_html_(self) -> str:
        first, *others = (html.escape(text) for text in self.sentences)
        parts = [f"<p><b>{first}</b></p>", *(f"<p>{text}</p>" for text in others)]
        if figures := self._figures():
            rows = (
                f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
                for name, value in figures
            )
            parts.append(f"<table>{''.join(rows)}</table>")
        if (shown := self._shown()) is not None:
            parts.append(shown.to_html(index=False, na_rep=_NONE, float_format="{:,.6g}".format))
        return f"<div>{''.join(parts)}</div>"


def figures_of(values: Mapping[str, Any], shown: Mapping[str, Callable[[Any], str]]) -> list[tuple[str, str]]:
    """Figures by their names, each written as told; a dash where one is not defined."""
    return [
        (name.replace("_", " "), _NONE if values[name] is None else write(values[name]))
        for name, write in shown.items()
    ]


def require_experiments(what: str) -> None:
    """Raise `SettingsError` with what to install where a module of the extra `experiments` is missing."""
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"{what} needs {', '.join(missing)}, not installed here; "
            "install it with pip install 'raysignal[experiments]'"
        )
