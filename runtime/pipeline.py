"""A decision path put together from its configuration."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Any

import msgspec

from raysignal.engine.core.listings import Costs, Listing
from raysignal.engine.core.market_events import Channel, Instrument
from raysignal.engine.execution.paper import PaperExchange
from raysignal.engine.execution.paper_state import MemoryPaperStore, PaperRecords, PaperState
from raysignal.engine.market.bars import BarBuilder
from raysignal.engine.market.venues.catalogue import venue_named
from raysignal.engine.market.venues.names import VENUE_NAMES
from raysignal.engine.market.venues.protocol import Subscription, told_by_books
from raysignal.engine.pipeline.aggregation import Aggregator
from raysignal.engine.pipeline.attribute import AttributeStage
from raysignal.engine.pipeline.candles import CandleStage
from raysignal.engine.pipeline.decide import DecideStage
from raysignal.engine.pipeline.execute import ExecuteStage
from raysignal.engine.pipeline.paper_venue import PaperVenue
from raysignal.engine.pipeline.path import DecisionPath
from raysignal.engine.pipeline.portfolio import KernelPortfolio, VenuePortfolio
from raysignal.engine.pipeline.risk import RiskGate
from raysignal.engine.pipeline.strategies import StrategySpec, StrategyStage
from raysignal.engine.portfolio.receipts import PortfolioStatus
from raysignal.engine.risk.stage import RiskStage
from raysignal.engine.strategies.features import parse_features
from raysignal.runtime.pipeline_answers import MemoryAnswers, answers_of
from raysignal.runtime.pipeline_config import PipelineConfig

CURRENCY = "quote"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A path with its stages, by their names, and the paper venue, if it has one."""

    config: PipelineConfig
    path: DecisionPath
    candles: CandleStage
    strategies: StrategyStage
    aggregate: Aggregator
    answers: MemoryAnswers | None
    risk: RiskGate
    portfolio: KernelPortfolio | VenuePortfolio
    attribute: AttributeStage
    venue: PaperVenue | None

    def status(self) -> PortfolioStatus:
        """How the portfolio stands, as the service's portfolios do."""
        return self.portfolio.record.status(self.config.name)

    def weights(self) -> list[dict[str, Any]]:
        """How strategies are weighed on each symbol, in plain values."""
        return [msgspec.to_builtins(each) for each in self.aggregate.reports()]

    def earnings(self) -> list[dict[str, Any]]:
        """What each strategy earned, in plain values."""
        return [msgspec.to_builtins(each) for each in self.attribute.attributor.records()]


def build(
    config: PipelineConfig, instruments: Mapping[str, Instrument], *,
    listings: Mapping[str, Listing] | None = None, gapless: bool = False,
    records_of: Callable[[str, PaperState], PaperRecords] | None = None,
) -> Pipeline:  # fmt: skip
    """The path of a configuration.

    Args:
        config: what `pipeline.yaml` says.
        instruments: of each symbol.
        listings: what the venue asks of orders; none: what the instruments' decimals allow.
        gapless: see `StrategyStage`.
        records_of: where the paper account of a venue is kept, and what it begins with; None: in memory.
    """
    policy = config.policy
    mark_us = {symbol: config.intervals_us(symbol)[0] for symbol in config.symbols}
    strategies = StrategyStage(
        (
            StrategySpec(each.name, each.strategy(), each.interval_us, config.symbols_of(each))
            for each in config.strategies
            if each.posted is None
        ),
        parse_features(config.features),
        gapless=gapless,
    )
    venue, execute = None, None
    portfolio: KernelPortfolio | VenuePortfolio
    fee_bps, slippage_bps = policy.fee_bps, policy.slippage_bps
    if config.venue.kind == "paper":
        shorts = policy.side == "long-short"
        traded = {
            symbol: (listings or {}).get(symbol) or Listing.of(instrument, shorts=shorts)
            for symbol, instrument in instruments.items()
        }
        portfolio = VenuePortfolio(replace(policy, fee_bps=config.venue.fee_bps), mark_us=mark_us)
        offset = config.venue.limit_offset_bps
        execute = ExecuteStage(
            config.name, traded, limit_offset_bps=None if offset is None else Decimal(repr(offset))
        )
        venue = PaperVenue(
            partial(_exchange, config, traded, records_of),
            Decimal(repr(policy.initial_cash)),
            traded,
            execute.request,
        )
        fee_bps, slippage_bps = config.venue.margin_bps + max(offset or 0.0, 0.0), 0.0
    else:
        portfolio = KernelPortfolio(policy, config.symbols, mark_us=mark_us)
    decide = DecideStage(policy, wait_us=_wait_us(config))
    stage = RiskStage(config.limits, fee_bps=fee_bps, slippage_bps=slippage_bps)
    risk = RiskGate(stage, portfolio, decide.in_time, fills_itself=venue is None)
    aggregate = Aggregator([each.name for each in config.strategies], config.weighing)
    attribute = AttributeStage()
    candles = CandleStage(
        {instrument: symbol for symbol, instrument in instruments.items()},
        {symbol: config.intervals_us(symbol) for symbol in config.symbols},
        partial(_builder, told_by_books_of(instruments.values())),
        books=bool(config.book_features),
        contracts=bool(config.contract_features),
    )
    answers = answers_of(config, decide, stage.breaker)
    path = DecisionPath(
        candles=candles,
        strategies=strategies, aggregate=aggregate, decide=decide, answers=answers, risk=risk, execute=execute,
        portfolio=portfolio, attribute=attribute,
    )  # fmt: skip
    return Pipeline(config, path, candles, strategies, aggregate, answers, risk, portfolio, attribute, venue)


def _wait_us(config: PipelineConfig) -> int | None:
    """How long who answers may take; None: nobody is asked."""
    return {"none": None, "memory": 0, "review": round(config.memory.wait_s * 1e6)}[config.decide]


def subscriptions_of(instruments: Iterable[Instrument]) -> dict[str, list[Subscription]]:
    """What a path wants of each venue: trades, books to fill orders from, and what is said of contracts."""
    wanted: dict[str, list[Subscription]] = {}
    for instrument in instruments:
        channels = frozenset({Channel.DEPTH, Channel.TRADES, Channel.CONTRACT, Channel.LIQUIDATIONS})
        wanted.setdefault(instrument.venue, []).append(Subscription(instrument, channels))
    return wanted


def told_by_books_of(instruments: Iterable[Instrument]) -> dict[Instrument, bool]:
    """Whether the books of a live instrument tell that trades are seen; see `BarBuilder`. Files have no entry."""
    told: dict[Instrument, bool] = {}
    for name, wanted in subscriptions_of(instruments).items():
        if name in VENUE_NAMES:
            openings = venue_named(name).openings(wanted)
            told |= {each.instrument: told_by_books(each.instrument, openings) for each in wanted}
    return told


def _builder(told: Mapping[Instrument, bool], instrument: Instrument, interval_us: int) -> BarBuilder:
    if instrument not in told:
        return BarBuilder(instrument, interval_us)
    numbered = venue_named(instrument.venue).numbers_trades
    return BarBuilder(instrument, interval_us, numbered=numbered, told_by_books=told[instrument])


def _exchange(
    config: PipelineConfig, listings: Mapping[str, Listing],
    records_of: Callable[[str, PaperState], PaperRecords] | None, venue: str, state: PaperState,
) -> PaperExchange:  # fmt: skip
    """The paper exchange of a venue, whose account begins with `state`."""
    fee = Decimal(repr(config.venue.fee_bps))
    own = [listing for listing in listings.values() if listing.instrument.venue == venue]
    records = MemoryPaperStore(config.name, state) if records_of is None else records_of(venue, state)
    return PaperExchange(
        records, venue, CURRENCY, state.holdings.cash, own, costs=Costs(fee, fee),
        latency_us=round(config.venue.latency_ms * 1000),
    )  # fmt: skip
