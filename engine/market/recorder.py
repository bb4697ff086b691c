"""Keeping what the market did: bars, how far the crossovers are, and their signals, stored and then posted.

    keeper = Keeper(database, watches, history=history, post=post, log=log, now_us=now_us)
    keeper.begin()
    keeper.keep(bars)                # from one thread; see engine.market.recorder_thread for one off the hot path

*In one transaction:* bars, signals and progress. So after a crash at any instant either a bar was seen, with what was
made of it, or it was not: then history (the database, the venue's klines, a file) has it, and it is taken at the
start. Nothing is lost that history has.

*Stored, then posted.* A signal that is not yet posted is posted again until it is answered; its id makes that safe,
also when several instances do it at once. An answer that is an error of the signal (late, a price too far off, ...)
is recorded as its refusal, and that is that. While the portfolios cannot be reached it waits, in order.

*Prices.* Each bar goes to the portfolios as a price with its high and low, so that what happens within a bar meets
brackets, in the order of time with the signals and before the bar's own. It waits in the database as signals do, and is
forgotten once it is answered.

*Its own.* A keeper posts, and acts on, signals of its own watches alone: same strategy, venue, symbol and bars. What
other keepers have stored in the same database is theirs.

*An old name.* Feeds once posted under the venue's own symbol. A position that the portfolio still has under that goes
on under `venue:symbol`: before the first signal under it is posted, the portfolio is asked to rename, which it does
once. Where feeds of several venues had one name, the one that posted last has the position.

*What is missing* before a bar is asked of the history. While the history has it not, the bars behind it wait; after
`patience_us` the crossover starts anew, with a warm-up, and the log says so.

*What is not whole* (bars that have not seen all of their time, and bars that are not there although earlier and later
ones are) is asked of the history as well, ever more seldom, and stored once it is there. Nothing waits for it: a
crossover needs closes, and a close that is not known is missing.

*Last prices* are stored beside them; see `engine.market.last_prices`.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from raysignal.engine.core.errors import Fenced, InvalidField, RaysignalError, StoreUnavailable
from raysignal.engine.core.instants import DAY_US, MICROSECONDS, format_instant
from raysignal.engine.core.market_events import Instrument, Trade
from raysignal.engine.core.signals import Signal
from raysignal.engine.database.database import Database
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.market.bar_backfill import BarBackfill
from raysignal.engine.market.bar_files import write_day
from raysignal.engine.market.bar_rows import read_bars, store_bars
from raysignal.engine.market.bars import Bar, Basis
from raysignal.engine.market.crossover import Gap
from raysignal.engine.market.crossover_watch import MarketSignal, Watch
from raysignal.engine.market.last_prices import LastPriceSampler
from raysignal.engine.market.signal_rows import (
    drop_price,
    last_under_its_own_name,
    mark_posted,
    mark_refused,
    pending_signals,
    read_progress,
    store_progress,
    store_signal,
)

WARM_UP_MORE = 50
GRACE_US = 600 * MICROSECONDS
"""So long after midnight a day's bars are still bettered before they are written as a file."""

ASK_EVERY_US = 5 * MICROSECONDS
"""A history that could not fill a gap is left in peace for so long."""

_POSTED_AT_ONCE = 100
_WAITS = (StoreUnavailable, Fenced, OSError)
_Series = tuple[str, str, Basis, int]


class History(Protocol):
    """Where bars come from that were not seen."""

    def __call__(
        self, instrument: Instrument, interval_us: int, from_us: int, to_us: int, /
    ) -> Sequence[Bar]:
        """The bars of trades that open from `from_us` on and before `to_us`, as many of them as there are, in order.

        `StoreUnavailable` or `OSError`: not now.
        """


class Post(Protocol):
    """The way to the portfolios."""

    def __call__(self, signal: Signal, /) -> str:
        """The id of the receipt.

        `StoreUnavailable`, `Fenced` or `OSError`: unknown, the same again later. Any other `RaysignalError`: it is
        refused for good.
        """


class Rename(Protocol):
    """The way to the names of a portfolio's symbols."""

    def __call__(self, old: str, new: str, /) -> bool:
        """Let an open position go on under another name; whether there was one to rename. Raises what `Post` does."""


def nothing_to_rename(_old: str, _new: str) -> bool:
    """The `Rename` of those whose portfolios know no old name."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderContext:
    """What a recorder works with.

    Attributes:
        history: where bars come from that were not seen.
        post: gives a signal to the portfolios.
        now_us: the market's time, for what is recorded and for how far back history goes.
        blobs: where bars are written as files, a day each; None: nowhere.
        rename: renames a symbol of the portfolio that signals are posted to.
    """

    database: Database
    history: History
    post: Post
    log: FilteringBoundLogger
    now_us: Callable[[], int]
    blobs: BlobStore | None = None
    rename: Rename = nothing_to_rename


class MarketRecorder:
    """See the module. For one thread.

    Args:
        context: what it works with.
        watches: the crossovers; bars of anything else are stored and not watched.
        act: told of each signal once it is stored, and again after a crash; it has to know those that it knows. It
            does not wait for the portfolios. `StoreUnavailable`: the same again later.
        patience_us: how long missing bars are waited for, in the market's time.
        post_bars: whether bars are posted as prices; else signals alone are.
        last_trades: the last trade of each instrument, asked for at every turn; may be of any thread.

    Attributes:
        restarts: crossovers that had to start anew.
        mended: bars that were not whole, or not there, and came from the history.
    """

    def __init__(
        self,
        context: RecorderContext,
        watches: Sequence[Watch],
        *,
        act: Callable[[Signal], None] = lambda _: None,
        patience_us: int = 60 * MICROSECONDS,
        post_bars: bool = True,
        last_trades: Callable[[], Sequence[Trade]] = tuple,
    ) -> None:
        self.restarts = self.mended = 0
        self._database = context.database
        self._watches = tuple(watches)
        self._by_series: dict[_Series, list[Watch]] = {}
        for watch in self._watches:
            held = watch.instrument
            series = held.venue, held.symbol, watch.basis, watch.interval_us
            self._by_series.setdefault(series, []).append(watch)
        self._history = context.history
        self._post = context.post
        self._rename = context.rename
        self._to_rename = set(self._watches)
        self._act = act
        self._log = context.log
        self._now_us = context.now_us
        self._blobs = context.blobs
        self._patience_us = patience_us
        self._post_bars = post_bars
        self._bars: list[Bar] = []  # to be stored
        self._to_take: deque[Bar] = deque()
        self._signals: list[MarketSignal] = []
        self._moved: set[Watch] = set()
        self._untold: list[Signal] = []  # stored, and not acted on
        # Where something is missing: the end of the first bar that waits for it, and the latest one.
        self._waiting: dict[Watch, tuple[int, Bar]] = {}
        self._ask_again_us: dict[Watch, int] = {}
        self._day_us: dict[_Series, int] = {}  # the first day that is not written as a file
        self._said: dict[str, str] = {}  # of what waits, the reason that was logged last
        self._mending = {series: BarBackfill(each[0]) for series, each in self._by_series.items()}
        self._pricing = LastPriceSampler(last_trades)

    def begin(self) -> None:
        """Be where the last one left off, or at the beginning: warmed up by history, with no signal for the past.

        Raises:
            StoreUnavailable, OSError: the database or the history does not answer; call it again.
        """
        for watch in self._watches:
            self._begin(watch)
        # The newest first: it says where the position should be, and of what is older nothing is traded any more.
        with self._database.reading() as connection:
            self._untold = [
                made.signal
                for watch in self._watches
                for made in pending_signals(connection, watch.identity, newest_first=True)
                if not made.is_price
            ]
        if self._untold:
            self._log.info("signals_pending", signals=len(self._untold), newest=self._untold[0].signal_id)
        for watch in self._watches:
            self._go_on(watch)
        self.keep(())
        with self._database.reading() as connection:
            for mending in self._mending.values():
                mending.begin(connection, self._now_us())

    def keep(self, bars: Sequence[Bar]) -> None:
        """Take new bars, store everything that is to be stored, and post what is to be posted.

        Without bars it tries again what could not be done before.

        Raises:
            StoreUnavailable: nothing is lost; call it again with what comes next, or with nothing.
        """
        self._bars.extend(bars)
        self._to_take.extend(bars)
        for bar in bars:
            if (mending := self._mending.get(_series(bar))) is not None:
                mending.note(bar)
        if not bars:
            self._to_take.extend(bar for _, bar in self._waiting.values())
        while self._to_take:
            for watch in self._by_series.get(_series(self._to_take[0]), ()):
                self._take(watch, self._to_take[0])
            # Only now: where the database fails on the way, the bar is taken again, which changes nothing.
            self._to_take.popleft()
        self._store()
        self._tell()
        self._write_days(bars)
        self._deliver()
        self._mend()

    @property
    def to_mend(self) -> int:
        """Bars that are not whole, or not there, and are asked for."""
        return sum(mending.waiting for mending in self._mending.values())

    def _begin(self, watch: Watch) -> None:
        now_us = self._now_us()
        end_us = now_us - now_us % watch.interval_us  # the bar that opens here is not over
        key = watch.instrument, watch.basis, watch.interval_us
        with self._database.reading() as connection:
            progress = read_progress(connection, watch.strategy, *key)
            held = [] if progress is None else read_bars(
                connection, *key, progress.first_us, progress.last_us + watch.interval_us
            )  # fmt: skip
        if progress is not None:
            try:
                watch.crossover.resume(progress, held)
            except InvalidField as error:
                self._log.error(
                    "crossover_starts_anew", watch=watch.strategy, symbol=watch.symbol, reason=str(error)
                )
            else:
                self._catch_up(watch, progress.last_us + watch.interval_us, end_us)
                return
        from_us = end_us - (watch.crossover.slow + WARM_UP_MORE) * watch.interval_us
        for bar in self._known(watch, max(0, from_us), end_us):
            if isinstance(watch.crossover.take(bar), Gap):
                watch.crossover.restart()
                watch.crossover.take(bar)
            self._bars.append(bar)
            self._moved.add(watch)

    def _catch_up(self, watch: Watch, from_us: int, to_us: int) -> None:
        if from_us < to_us:
            for bar in self._known(watch, from_us, to_us):
                self._bars.append(bar)
                self._take(watch, bar)

    def _take(self, watch: Watch, bar: Bar) -> None:
        step = watch.take(bar)
        if isinstance(step, Gap):
            if self._fill(watch, step):
                step = watch.take(bar)
            elif self._is_patient(watch, bar):
                return
            else:
                step = self._start_anew(watch, step, bar)
        self._waiting.pop(watch, None)
        self._moved.add(watch)
        self._made(watch, bar, step)

    def _made(self, watch: Watch, bar: Bar, step: MarketSignal | Gap | None) -> None:
        """What is to be posted of a bar that a crossover took."""
        if self._post_bars:
            self._signals.append(watch.price_of(bar))
        if isinstance(step, MarketSignal):
            self._signals.append(step)

    def _is_patient(self, watch: Watch, bar: Bar) -> bool:
        since_us, held = self._waiting.get(watch, (bar.end_us, bar))
        self._waiting[watch] = since_us, bar if bar.open_us > held.open_us else held
        return bar.end_us - since_us <= max(self._patience_us, 2 * watch.interval_us)

    def _start_anew(self, watch: Watch, gap: Gap, bar: Bar) -> MarketSignal | Gap | None:
        """Begin with the first of the bars that waited from which on none is missing."""
        missing = f"no bars from {format_instant(gap.from_us)} on"
        self._log.warning("crossover_starts_anew", watch=watch.strategy, symbol=watch.symbol, reason=missing)
        waited = self._ours(watch, gap.from_us, bar.open_us)
        self.restarts += 1
        watch.crossover.restart()
        step: MarketSignal | Gap | None = None
        for held in [*waited, bar]:
            step = watch.take(held)
            if isinstance(step, Gap):
                watch.crossover.restart()
                step = watch.take(held)
            if held is not bar:
                self._made(watch, held, step)
        return step

    def _fill(self, watch: Watch, gap: Gap) -> bool:
        """Take what is missing; whether it is there."""
        now_us = self._now_us()
        if now_us < self._ask_again_us.get(watch, now_us):
            return False
        self._ask_again_us[watch] = now_us + ASK_EVERY_US
        try:
            known = self._known(watch, gap.from_us, gap.to_us)
        except _WAITS as error:
            self._waits("history_unavailable", str(error), symbol=watch.symbol)
            return False
        self._said.pop("history_unavailable", None)
        for bar in known:
            step = watch.take(bar)
            if isinstance(step, Gap):
                break
            self._bars.append(bar)
            self._moved.add(watch)
            self._made(watch, bar, step)
        progress = watch.crossover.progress
        if progress is None or progress.last_us + watch.interval_us < gap.to_us:
            return False
        del self._ask_again_us[watch]
        return True

    def _known(self, watch: Watch, from_us: int, to_us: int) -> list[Bar]:
        """Bars of the past: ours, and the history's where ours are missing or have not seen the close."""
        found = {bar.open_us: bar for bar in self._ours(watch, from_us, to_us)}
        if len(found) < (to_us - from_us) // watch.interval_us and watch.basis is Basis.TRADES:
            theirs = self._history(watch.instrument, watch.interval_us, from_us, to_us)
            found = {bar.open_us: bar for bar in theirs} | found
        return [found[open_us] for open_us in sorted(found)]

    def _ours(self, watch: Watch, from_us: int, to_us: int) -> list[Bar]:
        """Bars that are stored, or about to be, whose close is known."""
        with self._database.reading() as connection:
            stored = read_bars(connection, watch.instrument, watch.basis, watch.interval_us, from_us, to_us)
        new = [bar for bar in self._bars if watch.is_about(bar) and from_us <= bar.open_us < to_us]
        found = {bar.open_us: bar for bar in [*new, *stored] if bar.close_known}
        return [found[open_us] for open_us in sorted(found)]

    def _mend(self) -> None:
        """Ask for what is not whole. Last of all, because a history may take its time."""
        now_us = self._now_us()
        for series, mending in self._mending.items():
            if any(watch in self._waiting for watch in self._by_series[series]):
                continue  # the crossover itself asks for what it waits for
            span = mending.due(now_us)
            if span is None:
                continue
            try:
                found = self._history(mending.watch.instrument, mending.watch.interval_us, *span)
            except _WAITS as error:
                self._waits("history_unavailable", str(error), symbol=mending.watch.symbol)
                continue
            self._said.pop("history_unavailable", None)
            self._bars += mending.wanted(found)
        self._store()

    def _store(self) -> None:
        prices = self._pricing.due()
        if not (self._bars or self._signals or self._moved or prices):
            return
        new = []
        with self._database.writing() as connection:
            store_bars(self._database, connection, self._bars)
            self._pricing.store(self._database, connection, prices)
            stored = [made for made in self._signals if store_signal(self._database, connection, made)]
            new = [made for made in stored if not made.is_price]
            for watch in self._moved:
                if (progress := watch.crossover.progress) is not None:
                    key = watch.strategy, watch.instrument, watch.basis, watch.interval_us
                    store_progress(self._database, connection, *key, progress)
        self._pricing.stored(prices)
        for bar in self._bars:
            if bar.complete and (mending := self._mending.get(_series(bar))) is not None:
                self.mended += mending.stored(bar)
        self._bars.clear()
        self._signals.clear()
        self._moved.clear()
        for made in new:
            self._log.info("signal", **_shown(made))
        self._untold += [made.signal for made in new]

    def _tell(self) -> None:
        while self._untold:
            self._act(self._untold[0])
            self._untold.pop(0)

    def _go_on(self, watch: Watch) -> bool:
        """Let a position under the venue's own symbol go on under the watch's; False if nobody answers."""
        if watch not in self._to_rename:
            return True
        old, new = watch.instrument.symbol, watch.symbol
        with self._database.reading() as connection:
            is_its_own = last_under_its_own_name(connection, old) == watch.instrument.venue
        try:
            renamed = is_its_own and self._rename(old, new)
        except _WAITS as error:
            self._waits("position_not_renamed", str(error), was=old, symbol=new)
            return False
        except RaysignalError as error:
            self._log.error("position_not_renamed", was=old, symbol=new, reason=str(error))
            renamed = False
        self._to_rename.discard(watch)
        if renamed:
            self._log.info("position_goes_on", was=old, symbol=new)
        return True

    def _deliver(self) -> None:
        for watch in self._watches:
            while pending := self._pending(watch):
                if not self._go_on(watch):
                    return
                for made in pending:
                    if not self._deliver_one(made):
                        return

    def _pending(self, watch: Watch) -> list[MarketSignal]:
        with self._database.reading() as connection:
            return pending_signals(connection, watch.identity, limit=_POSTED_AT_ONCE)

    def _deliver_one(self, made: MarketSignal) -> bool:
        """Post a signal or a price and record the answer; False if the portfolios do not answer."""
        signal, signal_id = made.signal, made.signal.signal_id
        try:
            receipt_id = self._post(signal)
        except _WAITS as error:
            self._waits("signal_not_posted", str(error), signal_id=signal_id)
            return False
        except RaysignalError as error:
            refusal = f"{type(error).__name__}: {error}"
            with self._database.writing() as connection:
                if made.is_price:
                    drop_price(connection, signal_id)
                else:
                    mark_refused(connection, signal_id, refusal, self._now_us())
            self._log.warning("signal_refused", signal_id=signal_id, reason=refusal)
            return True
        if made.is_price:
            with self._database.writing() as connection:
                drop_price(connection, signal_id)
            self._said.pop("signal_not_posted", None)
            return True
        with self._database.writing() as connection:
            mark_posted(connection, signal_id, receipt_id, self._now_us())
        self._said.pop("signal_not_posted", None)
        self._log.info("signal_posted", signal_id=signal_id, receipt_id=receipt_id)
        return True

    def _write_days(self, bars: Sequence[Bar]) -> None:
        """Write the days that are over as files; what cannot be written now is tried with the next bar."""
        if self._blobs is None:
            return
        for bar in bars:
            series = _series(bar)
            day_us = bar.open_us - bar.open_us % DAY_US
            since_us = self._day_us.setdefault(series, day_us - DAY_US)
            if since_us >= day_us or bar.end_us < day_us + min(GRACE_US, DAY_US):
                continue
            try:
                for start_us in range(since_us, day_us, DAY_US):
                    self._write_day(bar, start_us)
                    self._day_us[series] = start_us + DAY_US
            except _WAITS as error:
                self._waits("day_not_written", str(error), symbol=bar.instrument.name)
            else:
                self._said.pop("day_not_written", None)

    def _waits(self, event: str, reason: str, **about: str) -> None:
        """Log that something waits, once for as long as the reason is the same."""
        if self._said.get(event) != reason:
            self._said[event] = reason
            self._log.warning(event, **about, reason=reason)

    def _write_day(self, bar: Bar, day_us: int) -> None:
        assert self._blobs is not None
        with self._database.reading() as connection:
            held = read_bars(connection, bar.instrument, bar.basis, bar.interval_us, day_us, day_us + DAY_US)
        if held and (name := write_day(self._blobs, held)) is not None:
            self._log.info("day_written", name=name, bars=len(held))


def _series(bar: Bar) -> _Series:
    return bar.instrument.venue, bar.instrument.symbol, bar.basis, bar.interval_us


def _shown(made: MarketSignal) -> dict[str, object]:
    signal = made.signal
    return {
        "signal_id": signal.signal_id,
        "source": signal.source,
        "venue": made.venue,
        "symbol": signal.symbol,
        "action": signal.action.name,
        "price": str(made.price),
        "bar": format_instant(made.bar_open_us),
        "known_at": format_instant(signal.timestamp_us),
        "state": "pending",
        **signal.features,
    }
