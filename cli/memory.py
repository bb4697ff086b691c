"""`raysignal memory`: what the agent of a running service remembers: search it, take it along, build its index anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from raysignal.cli import options
from raysignal.cli.model_options import embeddings_beside
from raysignal.cli.output import Output, rows_table
from raysignal.cli.verbs import Verb, VerbGroup, verb

if TYPE_CHECKING:
    from raysignal.runtime.service_client import ServiceClient

_PAGE = 10_000
_LOOK_S = 0.5
_filter = partial(typer.Option, rich_help_panel="Which outcomes may be shown")
_COLUMNS = (
    "distance",
    "signal_id",
    "symbol",
    "side",
    "regime",
    "right",
    "net bp",
    "decided_at",
    "known_at",
    "source",
)
_LEAST = ("source", "regime", "known_at", "symbol")

app = typer.Typer(
    cls=VerbGroup, no_args_is_help=True, help="What the agent of a running service remembers of past signals."
)


@app.callback()
def _memory() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """Which past outcomes are asked for."""

    signal_id: Annotated[
        str | None, typer.Argument(metavar="SIGNAL_ID", help="Outcomes like this signal.", show_default=False)
    ] = None
    text: Annotated[
        str | None,
        typer.Option(metavar="WORDS", help="Outcomes whose signals have all these words in their texts."),
    ] = None
    symbol: Annotated[str | None, _filter(metavar="NAME", help="This symbol only.")] = None
    side: Annotated[
        Literal["SELL", "BUY"] | None, _filter(case_sensitive=False, help="These signals only.")
    ] = None
    regime: Annotated[
        Literal["unknown", "quiet", "normal", "wild"] | None, _filter(help="Of this volatility only.")
    ] = None
    outcome: Annotated[
        Literal["right", "wrong"] | None, _filter(help="Whether the price went the signal's way.")
    ] = None
    as_of: Annotated[
        str | None,
        _filter(
            metavar="INSTANT",
            help="Only what was known then; default: the signal's own instant, for a text now.",
        ),
    ] = None
    start: Annotated[
        str | None, _filter("--from", metavar="INSTANT", help="Decided no earlier than this.")
    ] = None
    end: Annotated[
        str | None, _filter("--until", "--to", metavar="INSTANT", help="Decided earlier than this.")
    ] = None
    k: Annotated[int, typer.Option("-k", "--most", min=1, max=100, metavar="N", help="At most so many.")] = 10
    url: options.Url = None
    json: options.Json = False

    def __post_init__(self) -> None:
        if (self.signal_id is None) == (self.text is None):
            raise typer.BadParameter("expected a signal id or --text, one of the two")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """Where the outcomes are written."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Parquet file, which must not be there yet.")]
    url: options.Url = None
    json: options.Json = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingsConfig:
    """Where the embeddings of texts are written."""

    file: Annotated[
        Path,
        typer.Argument(
            metavar="CASSETTE",
            help="What --replay will name, such as calls.ndjson; they are written beside it.",
        ),
    ]
    store: options.Store = None
    json: options.Json = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildMemoryConfig:
    """Whose index is built anew."""

    url: options.Url = None
    json: options.Json = False


def search(config: SearchConfig) -> None:
    """Show past outcomes like a signal, or by words: what was known then, and what came of it.

    Chroma's search is approximate, so that it may miss some; what it shows is true.
    """
    found = asyncio.run(_search(config))
    output = Output(config.json)
    if config.json:
        output.json(found)
        return
    rows = [
        {**hit, "right": "yes" if hit["right"] else "no", "net bp": hit["net_bps"]["approve"]}
        for hit in found["hits"]
    ]
    shown = output.fitting(_COLUMNS, rows, _LEAST)
    output.say(f"known by {found['as_of']}, {len(rows)} outcomes")
    output.table(rows_table(shown, [[row[name] for name in shown] for row in rows]))
    if found["behind"]:
        output.say(f"{found['behind']:,d} settled outcomes are not in Chroma yet")


async def _search(config: SearchConfig) -> dict[str, Any]:
    from raysignal.runtime.service_client import service_at

    asked = {
        "symbol": config.symbol, "side": config.side, "regime": config.regime, "outcome": config.outcome,
        "as_of": config.as_of, "from": config.start, "to": config.end, "k": config.k,
    }  # fmt: skip
    async with service_at(config.url, options.configured()) as client:
        if config.text is not None:
            return await client.post("/memory/similar", {"text": config.text}, **asked)
        return await client.get("/memory/similar", signal_id=config.signal_id, **asked)


def export(config: ExportConfig) -> None:
    """Write the settled outcomes with their vectors and texts to a Parquet file, from the memory itself."""
    with options.writing_to(config.file):
        outcomes = asyncio.run(_export(config))
    output = Output(config.json)
    if config.json:
        output.json({"file": str(config.file), "outcomes": outcomes})
    else:
        output.say(f"{outcomes:,d} outcomes written to {config.file}")


async def _export(config: ExportConfig) -> int:
    import pyarrow.parquet as pq

    from raysignal.runtime.service_client import service_at

    outcomes = 0
    async with service_at(config.url, options.configured()) as client:
        page = await _page(client, 0)
        with (
            config.file.open("xb") as sink,
            _deleted_on_failure(config.file),
            pq.ParquetWriter(sink, page.schema, compression="zstd") as writer,
        ):
            while True:
                writer.write_table(page)
                outcomes += len(page)
                if len(page) < _PAGE:
                    return outcomes
                page = await _page(client, outcomes)


@contextmanager
def _deleted_on_failure(file: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        file.unlink(missing_ok=True)
        raise


async def _page(client: ServiceClient, first: int) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.read_table(pa.BufferReader(await client.parquet("/memory/outcomes", first=first, limit=_PAGE)))


def embeddings(config: EmbeddingsConfig) -> None:
    """Write the embeddings of texts that the agent has on record to a file, for compare --embeddings NAME --replay."""
    from raysignal.agents.override.log import recorded_texts
    from raysignal.agents.override.text_embeddings import write_record
    from raysignal.engine.journal.stores import open_stores

    settings, output = options.configured(store=config.store), Output(config.json)
    journal = open_stores(settings.store).journal_store(f"agent={settings.agent.portfolio}")
    file = embeddings_beside(config.file)
    with options.writing_to(file):
        texts = write_record(file, recorded_texts(journal))
    if config.json:
        output.json({"file": str(file), "texts": texts})
    else:
        output.say(f"{texts:,d} embeddings written to {file}")


def rebuild(config: RebuildMemoryConfig) -> None:
    """Empty Chroma's collection and fill it again from what the agent remembers; no decision waits for that."""
    output = Output(config.json)
    state = asyncio.run(_rebuild(config))
    if config.json:
        output.json(state)
    else:
        output.say(f"{state['count']:,d} outcomes are in {state['place']} again")


async def _rebuild(config: RebuildMemoryConfig) -> dict[str, Any]:
    from raysignal.runtime.service_client import service_at

    async with service_at(config.url, options.configured()) as client:
        state = await client.post("/memory/rebuild")
        while state["behind"] and state["state"] == "ready":
            await asyncio.sleep(_LOOK_S)
            state = (await client.get("/agent"))["chroma"]
        return state


app.command("search", cls=Verb)(verb(SearchConfig, search))
app.command("export", cls=Verb)(verb(ExportConfig, export))
app.command("embeddings", cls=Verb)(verb(EmbeddingsConfig, embeddings))
app.command("rebuild", cls=Verb)(verb(RebuildMemoryConfig, rebuild))
