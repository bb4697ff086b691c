"""`raysignal trades`: positions from their opening to their close, of a service, a store or a signal file."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysignal.cli import options
from raysignal.cli.output import Output, rows_table
from raysignal.cli.signal_files import read_stream
from raysignal.engine.core.errors import NotFound
from raysignal.engine.core.policy import Policy

if TYPE_CHECKING:
    from raysignal.runtime.settings import Settings

_PAGE = 10_000
_SHOWN = 50
_COLUMNS = (
    "symbol", "side", "entry_time", "entry_price", "exit_time", "exit_price", "quantity", "fees", "pnl", "return",
    "bars", "mfe", "mae", "exit_reason",
)  # fmt: skip

# What goes first where a table has no room.
_LEAST = ("fees", "quantity", "mfe", "mae", "bars", "exit_time", "exit_reason", "exit_price", "entry_price")


@dataclass(frozen=True, slots=True, kw_only=True)
class TradesConfig:
    """Whose trades are shown, and where they are."""

    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="A signal file: its trades under the policy, nothing is sent. Default: those of a service.",
            show_default=False,
        ),
    ] = None
    portfolio: Annotated[
        str | None, typer.Option(metavar="NAME", help="Whose; default: the primary portfolio's.")
    ] = None
    symbol: Annotated[str | None, typer.Option(metavar="NAME", help="Trades of this symbol only.")] = None
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="ROWS",
            help="The last so many; 50 in a table, else all of them.",
            show_default=False,
        ),
    ] = None
    url: options.Url = None
    store: options.Store = None
    reading: options.StampOptions
    policy: options.PolicyOptions
    on_error: options.OnError = "refuse"
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV to stdout, and nothing else.")] = False
    json: options.Json = False

    def __post_init__(self) -> None:
        if self.csv and self.json:
            raise typer.BadParameter("expected --csv or --json, not both")
        if self.file is None and (self.policy.given() or self.reading != options.StampOptions()):
            raise typer.BadParameter("how to read, and a policy, are said of a FILE")
        if self.file is not None and (self.store or self.portfolio):
            raise typer.BadParameter("expected a FILE, or a portfolio of a service or a --store")


def show_trades(config: TradesConfig) -> None:
    """List trades, one row each, with what they come to: closed ones in the order in which they closed, then open ones.

    A running service writes them to its store every 30 s (RAYSIGNAL_JOURNAL__FLUSH_S) and when it ends.
    """
    settings = options.configured(store=config.store)
    output = Output(config.json or config.csv)
    if config.file is not None:
        summary, trades = _of_file(config, config.file, settings, output)
    elif config.store is not None:
        summary, trades = _of_store(config, settings)
    else:
        summary, trades = asyncio.run(_of_service(config, settings))
    limit = config.limit or (None if output.as_json else _SHOWN)
    shown = trades if limit is None else trades[-limit:]
    if config.csv:
        from raysignal.engine.portfolio.trades import TRADES

        writer = csv.DictWriter(output.out.file, ["status", *TRADES.names], lineterminator="\n")
        writer.writeheader()
        writer.writerows(shown)
    elif config.json:
        output.json({"summary": summary, "trades": shown})
    else:
        say_trades(summary, output, lists=False)
        output.table(trades_table(shown, output))
        if len(shown) < len(trades):
            output.say(f"the last {len(shown):,d} of {len(trades):,d}; --limit, --csv and --json write more")


def say_trades(summary: Mapping[str, Any], output: Output, *, lists: bool = True) -> None:
    """What trades come to, in a sentence; and the last, best and worst of them."""
    for sentence in trade_sentences(summary):
        output.say(sentence)
    if not lists:
        return
    for name, title in (("last", "last trades"), ("best", "best"), ("worst", "worst"), ("held", "open")):
        if summary[name]:
            output.say(f"[bold]{title}[/bold]")
            output.table(trades_table(summary[name][:_LISTED], output))


_LISTED = 3


def trade_sentences(summary: Mapping[str, Any]) -> list[str]:
    """What the trades of a portfolio come to, for people."""
    said = [
        f"{summary['trades']:,d} closed trade{'' if summary['trades'] == 1 else 's'}, {summary['open']:,d} open"
    ]
    if summary["trades"]:
        factor = "none lost" if summary["profit_factor"] is None else f"{summary['profit_factor']:.4f}"
        said[0] += (
            f": win rate {summary['win_rate']:.2%}, profit factor {factor}, expectancy {summary['expectancy']:,.2f} "
            f"({summary['mean_return']:+.4%}) a trade, held for {summary['mean_bars']:,.1f} bars on average, longest "
            f"losing streak {summary['longest_losing_streak']:,d}"
        )
        said.append(_distribution_sentence(summary["distribution"]))
    return said


def _distribution_sentence(distribution: Mapping[str, Sequence[float]]) -> str:
    """The bins as a row of bars, between the returns at its ends."""
    counts, edges = [int(count) for count in distribution["counts"]], distribution["edges"]
    bars = "".join(" ▁▂▃▄▅▆▇█"[-(-8 * count // max(counts))] for count in counts)
    return f"returns {edges[0]:+.3%} |{bars}| {edges[-1]:+.3%}"


def trades_table(trades: Sequence[Mapping[str, Any]], output: Output) -> Any:
    """Trades for a person: as many columns as fit."""
    rows = [{name: _shown(name, trade[name]) for name in _COLUMNS} for trade in trades]
    names = output.fitting(_COLUMNS, rows, _LEAST)
    return rows_table(names, [[row[name] for name in names] for row in rows])


def _shown(name: str, value: Any) -> Any:
    if name in {"return", "mfe", "mae"}:
        return f"{value:+.3%}"
    if name in {"fees", "pnl"}:
        return f"{value:,.2f}"
    if name == "exit_reason":
        return "still open" if value is None else value.replace("_", " ")
    return float(f"{value:.8g}") if isinstance(value, float) else value


def _of_file(
    config: TradesConfig, path: Path, settings: Settings, output: Output
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    import pyarrow as pa

    from raysignal.engine.portfolio.trade_summary import only_symbol, trade_rows, trade_summary
    from raysignal.engine.portfolio.trades import trades_of

    options.existing_file(path)
    reading, skip = config.reading.with_names(), config.on_error == "skip"
    stream = read_stream(path, reading, settings, skip=skip, accept_jump=False, output=output)
    output.err.print(stream.sentence)
    policy = Policy.from_dict(settings.portfolios[settings.primary] | config.policy.given())
    batch = stream.batch
    found = trades_of(
        policy,
        batch.timestamp_us,
        batch.symbol,
        batch.symbols,
        batch.action,
        batch.price,
        batch.signal_id,
        batch.order_terms(),
    )
    closed, ended = (only_symbol(trades, config.symbol) for trades in found)
    return trade_summary(closed, ended), trade_rows(pa.concat_tables([closed, ended]))


def _of_store(config: TradesConfig, settings: Settings) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from raysignal.engine.journal.stores import open_stores
    from raysignal.engine.portfolio import trade_files
    from raysignal.engine.portfolio.trade_summary import trade_rows

    blobs, portfolio = open_stores(settings.store).blobs, config.portfolio or settings.primary
    if not trade_files.files(blobs, portfolio):
        raise NotFound(
            f"no trades of {portfolio!r} are written in {settings.store}; expected the name of a portfolio whose "
            "service has written results, which it does every 30 s and when it ends",
            field="portfolio", value=portfolio,
        )  # fmt: skip
    reader = trade_files.TradeReader(blobs, portfolio)
    trades = trade_rows(reader.closed(symbol=config.symbol)) + trade_rows(reader.open(symbol=config.symbol))
    return reader.summary(config.symbol), trades


async def _of_service(
    config: TradesConfig, settings: Settings
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    from raysignal.runtime.service_client import service_at

    whose = {"portfolio": config.portfolio, "symbol": config.symbol}
    trades: list[dict[str, Any]] = []
    async with service_at(config.url, settings) as client:
        for status in ("closed", "open"):
            cursor: str | None = None
            while True:
                page = await client.get("/v1/trades", status=status, cursor=cursor, limit=_PAGE, **whose)
                trades += page["trades"]
                cursor = page["cursor"]
                if cursor is None:
                    break
        summary = await client.get("/v1/trades/summary", **whose)
    return {name: value for name, value in summary.items() if name != "portfolio"}, trades
