"""What `raysignal data generate` does."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from raysignal.cli.options import given, writing_to
from raysignal.cli.output import Output
from raysignal.cli.texts import escape
from raysignal.cli.verbs import reading_options
from raysignal.data.generator import GeneratorSpec, write_csv
from raysignal.data.plain import PlainFormat, write_plain
from raysignal.engine.core.errors import InvalidField

_ENDINGS: dict[str, PlainFormat] = {
    ".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GeneratorOptions:
    """The file that was asked for; None: the generator's own default."""

    path: Path
    rows: int
    seed: int
    bar: str | None
    symbols: tuple[str, ...]
    texts: Literal["long", "short", "none"] | None
    regime_effect: bool | None
    edge: str | None
    hold_share: float | None
    buy_share: float | None
    drift: float | None
    tails: float | None
    plain: bool
    features: bool
    format: PlainFormat | None


def write_file(wanted: GeneratorOptions, output: Output) -> None:
    """Write the file and say how it is read.

    Raises:
        InvalidField: something that the generator does not do.
    """
    with writing_to(wanted.path), reading_options():
        hint = _plain(wanted) if wanted.plain else _realistic(wanted)
        size = wanted.path.stat().st_size
    if output.as_json:
        output.json(
            {
                "path": str(wanted.path),
                "rows": wanted.rows,
                "seed": wanted.seed,
                "bytes": size,
                "read_with": hint,
            }
        )
        return
    options = f" {' '.join(hint)}" if hint else ""
    output.say(f"wrote {escape(str(wanted.path))}: {wanted.rows:,d} rows, {size:,d} bytes")
    output.say(f"read it with: raysignal data check {escape(str(wanted.path))}{options}")


def _plain(wanted: GeneratorOptions) -> list[str]:
    form = wanted.format or _ENDINGS.get(wanted.path.suffix.lower())
    if form is None:
        raise InvalidField("path", str(wanted.path), f"an ending of {', '.join(_ENDINGS)}, or --format")
    write_plain(
        wanted.path, wanted.rows, wanted.seed, format=form, symbols=wanted.symbols, bar=wanted.bar or "1s",
        features=wanted.features,
    )  # fmt: skip
    return []


def _realistic(wanted: GeneratorOptions) -> list[str]:
    if wanted.path.suffix.lower() != ".csv":
        raise InvalidField("path", str(wanted.path), "an ending of .csv; other formats go with --plain")
    more: dict[str, Any] = given(
        bar=wanted.bar, texts=wanted.texts, regime_effect=wanted.regime_effect, edge=_edges(wanted.edge),
        hold_share=wanted.hold_share, buy_share=wanted.buy_share, drift=wanted.drift, tails=wanted.tails,
    )  # fmt: skip
    spec = GeneratorSpec(rows=wanted.rows, seed=wanted.seed, symbols=wanted.symbols, **more)
    write_csv(spec, wanted.path)
    return ["--bar", spec.bar, "--label", "open"]


def _edges(text: str | None) -> float | tuple[float, ...] | None:
    if text is None:
        return None
    try:
        edges = tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise InvalidField("edge", text, "a number, or two with a comma between them") from error
    return edges[0] if len(edges) == 1 else edges
