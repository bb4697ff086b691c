"""Candles that a pipeline has missed, asked of their venues: at once, and then ever more seldom."""

from collections.abc import Awaitable, Callable
from random import Random

from raysignal.engine.core.errors import StoreUnavailable
from raysignal.engine.core.events import CandleBackfill
from raysignal.engine.market.bar_backfill import FIRST_US, LONGEST_US
from raysignal.engine.market.clocks import Clock
from raysignal.engine.market.monitoring.feed_metrics import FeedMetrics
from raysignal.engine.market.rest import RestClient
from raysignal.engine.market.venues.catalogue import venue_named
from raysignal.engine.market.venues.protocol import Hosts, Venue
from raysignal.engine.pipeline.candles import candle_of
from raysignal.engine.pipeline.strategies import CandleGap, StrategyStage
from raysignal.runtime.feeds import Markets, bars_of_history

_LOOK_S = 1.0


class CandleBackfiller:
    """Asks for what strategies have missed until they have it, or do not wait for it any more.

    Args:
        strategies: who say what they miss.
        markets: what is traded where.
        hosts_of: where a venue is reached.
        clock: the market's.
        random: of back-offs.
    """

    def __init__(
        self, strategies: StrategyStage, markets: Markets, hosts_of: Callable[[Venue], Hosts], clock: Clock,
        random: Random,
    ) -> None:  # fmt: skip
        self._strategies, self._markets, self._hosts_of = strategies, markets, hosts_of
        self._clock, self._random = clock, random
        self._rests: dict[str, RestClient] = {}
        self._due: dict[
            CandleGap, tuple[int, int]
        ] = {}  # when it is asked for again, and how long after that

    async def run(self, give: Callable[[CandleBackfill], Awaitable[None]]) -> None:
        """Until cancelled; `give` takes candles to the path."""
        try:
            while True:
                gaps = self._strategies.gaps
                self._due = {gap: due for gap, due in self._due.items() if gap in gaps}
                for gap in gaps:
                    backfill = await self._asked(gap)
                    if backfill is not None:
                        await give(backfill)
                await self._clock.sleep(_LOOK_S)
        finally:
            for rest in self._rests.values():
                await rest.close()

    async def _asked(self, gap: CandleGap) -> CandleBackfill | None:
        """What the venue says, if it is asked now and has all of it."""
        now_us = self._clock.now_ns() // 1000
        due_us, wait_us = self._due.get(gap, (0, FIRST_US))
        if now_us < due_us:
            return None
        self._due[gap] = now_us + wait_us, min(2 * wait_us, LONGEST_US)
        instrument = self._markets.instruments[gap.symbol]
        venue = venue_named(instrument.venue)
        rest = self._rests.get(venue.name)
        if rest is None:
            limits = self._markets.limits[venue.name]
            rest = RestClient(self._hosts_of(venue).rest, limits, self._clock, FeedMetrics(), self._random)
            self._rests[venue.name] = rest
        try:
            # The candle that ends at `to_us` has ended by the venue's own clock; of what is later nothing is asked.
            bars = await bars_of_history(
                venue, instrument, gap.interval_us, gap.from_us, gap.to_us, rest, gap.to_us
            )
        except StoreUnavailable:
            return None
        if len(bars) != (gap.to_us - gap.from_us) // gap.interval_us:
            return None
        candles = tuple(candle_of(gap.symbol, bar, complete=True) for bar in bars)
        return CandleBackfill(at_us=now_us, symbol=gap.symbol, interval_us=gap.interval_us, candles=candles)
