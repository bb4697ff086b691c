"""Signals on request: bodies read, indicators filled in from stored bars, requests batched for the model.

asked = read_asked(body, reading, idempotency_key)
signal = await replica.generator.generate(asked)
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from raysignal.agents.inference.bar_database import BarDatabase
from raysignal.agents.inference.indicators import USUAL, check_value, full_name, indicator_named
from raysignal.agents.inference.signals import (
    NOT_GIVEN,
    REQUEST_FIELDS,
    generated_signal,
    is_generated,
    numbers_of,
)
from raysignal.agents.inference.values import ModelSignal, SignalRequest
from raysignal.engine.core.errors import (
    IdentityConflict,
    InvalidField,
    LateSignal,
    NotFound,
    RaysignalError,
)
from raysignal.engine.core.instants import check_interval, format_instant, parse_bar, parse_instant
from raysignal.engine.core.secrets import is_secret_name
from raysignal.engine.database.addresses import shown_address
from raysignal.engine.intake.field_rules import MAX_PRICE, MIN_PRICE, as_float, check_feature_name, is_missing
from raysignal.engine.intake.fields import MAX_FEATURES, name_of
from raysignal.engine.intake.reading import Reading

if TYPE_CHECKING:
    from raysignal.agents.inference.stored_bars import BarValues
    from raysignal.runtime.model_signals import ModelSignals
    from raysignal.runtime.portfolio_actors import PortfolioClient
    from raysignal.runtime.settings import Settings

OF_BARS = frozenset({"open", "high", "low", "close", "volume"})
"""Names that are no indicators and may be given all the same: of the bar that the price closed."""
_PRICE = f"a number from {MIN_PRICE:g} to {MAX_PRICE:g}"
_NUMBER = "a finite number, the value of an indicator"
_INFO_KEPT_S = 1.0
_TRIES = 8
_MOST_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class AskedSignal:
    """What a body asks for.

    Attributes:
        symbol: the portfolios' name.
        at_us: UTC microseconds; None: now, or the end of the last bar.
        close: price; None: that of the last bar.
        given: indicators and other numbers under the names of the caller.
        signal_id: the caller's; empty: none.
        episode_start: a model with memory is to forget what came before.
        bar_us: the length of the bars that the rest is taken from; None: the model's, else the shortest.
    """

    symbol: str
    at_us: int | None
    close: float | None
    given: Mapping[str, float] = field(default_factory=dict)
    signal_id: str = ""
    episode_start: bool = False
    bar_us: int | None = None


def read_asked(
    body: Mapping[str, Any], reading: Reading, idempotency_key: str | None, *, from_bars: bool = False
) -> AskedSignal:
    """What a body asks for.

    Args:
        body: names and values of a JSON object.
        reading: zone, other names of symbols, and how late a stamp may be.
        idempotency_key: the identity of a body without `signal_id`.
        from_bars: the price and all indicators come from stored bars, and the body has none.

    Raises:
        InvalidField: a field that is missing, unknown or cannot be, by name.
    """
    symbol = name_of("symbol", "symbol", body.get("symbol"), None)
    signal_id = (
        "" if body.get("signal_id") is None else name_of("signal_id", "signal_id", body["signal_id"], None)
    )
    if not is_missing(idempotency_key):
        key = name_of("signal_id", "Idempotency-Key", idempotency_key, None)
        signal_id = signal_id or key
    episode_start = body.get("episode_start")
    if not (episode_start is None or isinstance(episode_start, bool)):
        raise InvalidField("episode_start", episode_start, "true or false")
    given = {} if from_bars else _numbers(body)
    if from_bars and (unknown := sorted(body.keys() - set(REQUEST_FIELDS) | body.keys() & {"close_price"})):
        name = unknown[0]
        expected = (
            "nothing but symbol, timestamp, signal_id, episode_start and bar: the rest comes from stored bars"
        )
        if not is_secret_name(name):
            raise InvalidField(name[:128], body[name], expected)
    return AskedSignal(
        reading.symbols.get(symbol, symbol), _instant(body.get("timestamp"), reading),
        None if from_bars else _price(body.get("close_price")), given, signal_id, bool(episode_start),
        _length(body.get("bar")),
    )  # fmt: skip


def _numbers(body: Mapping[str, Any]) -> dict[str, float]:
    """The indicators of a body; one that is null is not given."""
    numbers: dict[str, float] = {}
    for name, value in body.items():
        if name in REQUEST_FIELDS or value is None or is_secret_name(name):
            continue
        kept_as = check_feature_name(name, None)
        if kept_as in NOT_GIVEN:
            raise InvalidField(kept_as, value, "none: it is what the answer says")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidField(kept_as, value, _NUMBER)
        numbers[kept_as] = check_value(kept_as, as_float(value))
    if len(numbers) > MAX_FEATURES:
        raise InvalidField("features", len(numbers), f"at most {MAX_FEATURES} numbers beside the price")
    return numbers


def _price(value: object) -> float:
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    if number is None or not MIN_PRICE <= number <= MAX_PRICE:
        raise InvalidField("close_price", value, _PRICE)
    return float(number)


def _instant(value: object, reading: Reading) -> int | None:
    if value is None:
        return None
    at_us = parse_instant(value, reading.zone, day_first=reading.day_first)
    if reading.latest_us is not None and at_us > reading.latest_us:
        raise InvalidField(
            "timestamp", value, f"a time that is not after {format_instant(reading.latest_us)}"
        )
    return at_us


def _length(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidField("bar", value, "a length from 1s to 1d, such as 5m")
    return check_interval(parse_bar(value))


@dataclass(frozen=True, slots=True)
class ModelNeeds:
    """What the model that speaks needs, as `ModelSignals.info` has it.

    Attributes:
        features: that it must be given, in its own spelling.
        optional: that it uses where they are there.
        placeholder: there is no model.
        bar_us: the length of its bars; None: any.
    """

    features: tuple[str, ...]
    optional: tuple[str, ...]
    placeholder: bool
    bar_us: int | None

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> "ModelNeeds":
        """From what the client of the model says."""
        bar = (info.get("active") or {}).get("bar")
        return cls(
            tuple(info["features"]), tuple(info["optional_features"]), info["placeholder"],
            None if bar is None else parse_bar(bar),
        )  # fmt: skip


def completed(
    asked: AskedSignal, needs: ModelNeeds, bars: "BarValues | None"
) -> tuple[dict[str, float], dict[str, int]]:
    """All numbers that a signal is made of, and since when those are known that bars have told.

    What the caller gave goes before what bars tell.

    Raises:
        InvalidField: a name that the model does not know, two names of one indicator, or a feature that is missing.
    """
    own = {full_name(name): name for name in (*needs.features, *needs.optional)}
    features: dict[str, float] = {}
    for name, value in asked.given.items():
        kept_as = name if name in own.values() else own.get(full_name(name), full_name(name))
        known = kept_as in own.values() or indicator_named(name) is not None or name in OF_BARS
        if not (known or needs.placeholder):
            raise InvalidField(name, value, f"an indicator, or one of the model's: {', '.join(own.values())}")
        if kept_as in features:
            raise InvalidField(name, value, f"only one name of {kept_as}")
        features[kept_as] = value
    if asked.close is not None:
        features.setdefault("close", asked.close)
    known_at_us: dict[str, int] = {}
    for full, name in {**{full_name(each): each for each in USUAL}, **own}.items():
        if name in features:
            continue
        if bars is not None and full in bars.values:
            features[name] = bars.values[full]
            known_at_us[name] = bars.end_us
    for name in needs.features:
        if name not in features:
            raise InvalidField(
                name, None, f"{_NUMBER}: the model needs it, and {_why_not(asked.symbol, name, bars)}"
            )
    return features, known_at_us


def _why_not(symbol: str, name: str, bars: "BarValues | None") -> str:
    if name in OF_BARS:
        return "it is of the bar that the price closed, which the caller knows; or POST /api/signals/generate-from-db"
    if indicator_named(name) is None:
        return "it is none of the indicators that stored bars tell"
    if bars is None:
        return f"the database has no bars of {symbol} to take it from"
    return f"the bars of {bars.series.name} up to {format_instant(bars.end_us)} are too few for it"


class SignalGenerator:
    """The way from a body to a signal; for one event loop.

    Args:
        settings: of the service.
        models: gives the client of the model.
        portfolios: the client of the portfolio actors.
        now_us: the present, UTC microseconds.
    """

    def __init__(
        self,
        settings: "Settings",
        models: "Callable[[], ModelSignals]",
        portfolios: "PortfolioClient",
        now_us: "Callable[[], int]",
    ) -> None:
        self._settings, self._models, self._portfolios, self._now_us = settings, models, portfolios, now_us
        self._last_us = 0
        self._needs: tuple[float, ModelNeeds] | None = None
        self._bars = BarDatabase(settings.database_url.get_secret_value())
        self._waiting: deque[tuple[SignalRequest, asyncio.Future[ModelSignal | RaysignalError]]] = deque()
        self._sending: asyncio.Task[None] | None = None

    async def generate(self, asked: AskedSignal) -> ModelSignal:
        """The signal of a body with its price; the one of before, where it has been asked for under its identity.

        Raises:
            InvalidField: what the model needs is missing, or cannot be.
            LateSignal: a stamp before the last one of the symbol.
            IdentityConflict: the identity is that of another signal.
            ModelUnavailable, StoreUnavailable: nothing was generated.
        """
        if asked.signal_id and (before := await self._before(asked)) is not None:
            return before
        if asked.at_us is not None:
            return await self._generated(asked, asked.at_us)
        for attempt in range(_TRIES):
            try:
                return await self._generated(asked, self._stamp())
            except LateSignal as error:
                # Another replica's stamp was later; where the last one is another caller's, it is not for us to pass.
                mark = parse_instant(error.fields["high_water_mark"])
                if attempt + 1 == _TRIES or mark > self._now_us():
                    raise
                self._last_us = max(self._last_us, mark)
            except IdentityConflict:
                # Two replicas gave out the same stamp; or the same identity was asked for twice at once.
                if asked.signal_id and (before := await self._before(asked)) is not None:
                    return before
                if asked.signal_id or attempt + 1 == _TRIES:
                    raise
        raise AssertionError

    async def _generated(self, asked: AskedSignal, at_us: int) -> ModelSignal:
        async def of(needs: ModelNeeds) -> ModelSignal:
            features, known_at_us = completed(asked, needs, await self._bars_of(asked, at_us, needs))
            return await self._sent(_request(asked, at_us, features, known_at_us))

        return await self._of_needs(of)

    async def _of_needs(self, make: Callable[[ModelNeeds], Awaitable[ModelSignal]]) -> ModelSignal:
        """A signal of what the model needs; where that fails and another one speaks by now, of what that needs."""
        needs = await self.needs()
        try:
            return await make(needs)
        except (InvalidField, IdentityConflict):
            self._needs = None
            if (now := await self.needs()) == needs:
                raise
            return await make(now)

    async def generate_from_bars(self, asked: AskedSignal) -> ModelSignal:
        """The signal at the end of the last stored bar, or of the last one before the body's stamp.

        Raises:
            NotFound: the database has no such bar.
            InvalidField, LateSignal, IdentityConflict, ModelUnavailable, StoreUnavailable: as `generate`.
        """
        if asked.signal_id and (before := await self._before(asked)) is not None:
            return before
        return await self._of_needs(partial(self._of_bars, asked))

    async def _of_bars(self, asked: AskedSignal, needs: ModelNeeds) -> ModelSignal:
        at_us = self._now_us() if asked.at_us is None else asked.at_us
        bars = await self._bars_of(asked, at_us, needs)
        if bars is None:
            address = shown_address(self._bars.address)
            raise NotFound(
                f"{address} has no bar of {asked.symbol} that had ended by {format_instant(at_us)}; expected a symbol "
                "that is followed (RAYSIGNAL_FEED__INSTRUMENTS), as venue:symbol",
                field="symbol", value=asked.symbol,
            )  # fmt: skip
        # The kernel meets stops and targets within the bar by its high and low; the rest is for models that ask.
        told = {
            name: value
            for name, value in bars.bar.items()
            if name in {"high", "low", *needs.features, *needs.optional}
        }
        asked = replace(asked, close=bars.bar["close"], given=told)
        features, known_at_us = completed(asked, needs, bars)
        return await self._sent(_request(asked, bars.end_us, features, known_at_us))

    async def needs(self) -> ModelNeeds:
        """What the model needs, as of a second ago at most; `ModelUnavailable` where none speaks."""
        now_s = time.monotonic()
        if self._needs is None or now_s > self._needs[0] + _INFO_KEPT_S:
            self._needs = now_s, ModelNeeds.of(await self._models().info())
        return self._needs[1]

    def _stamp(self) -> int:
        """Now, and later than the last one that was given out."""
        self._last_us = max(self._now_us(), self._last_us + 1)
        return self._last_us

    async def _before(self, asked: AskedSignal) -> ModelSignal | None:
        """The signal that a caller's identity has, if it was asked for with the same content; None: it has none.

        Raises:
            IdentityConflict: it has another one.
        """
        try:
            found = await self._portfolios.find(self._settings.inference.portfolio, asked.signal_id)
        except NotFound:
            return None
        taken = found.batch.signal(0)
        numbers = {full_name(name): value for name, value in numbers_of(taken).items()}
        given = {full_name(name): value for name, value in asked.given.items()}
        same = taken.symbol == asked.symbol and numbers.items() >= given.items()
        same = same and asked.close in {None, taken.price}
        # A signal of bars is at the end of one, before the time that was asked for.
        same = same and (asked.close is None or asked.at_us in {None, taken.timestamp_us})
        if not (is_generated(taken) and same):
            raise IdentityConflict(asked.signal_id)
        return generated_signal(taken)

    async def _bars_of(self, asked: AskedSignal, at_us: int, needs: ModelNeeds) -> "BarValues | None":
        """What stored bars tell at an instant; None: there is no database, or it has no such bar."""
        stored = await self._bars.opened()
        if stored is None:
            return None
        names = tuple(dict.fromkeys([*map(full_name, (*needs.features, *needs.optional)), *USUAL]))
        preferred_us = [
            each for each in (needs.bar_us, parse_bar(self._settings.feed.bar)) if each is not None
        ]
        return await asyncio.to_thread(
            stored.values_at, asked.symbol, at_us, names, asked.bar_us, preferred_us
        )

    async def _sent(self, request: SignalRequest) -> ModelSignal:
        """The model's signal; what waits for it meanwhile shares the next call."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[ModelSignal | RaysignalError] = loop.create_future()
        self._waiting.append((request, answer))
        if self._sending is None or self._sending.done():
            self._sending = loop.create_task(self._send())
        signal = await answer
        if isinstance(signal, RaysignalError):
            raise signal
        return signal

    async def _send(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_AT_ONCE))]
            try:
                signals = await self._models().generate([request for request, _ in batch])
            except Exception as error:  # noqa: BLE001 - everyone who waits raises it
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, answer), signal in zip(batch, signals, strict=True):
                if not answer.done():
                    answer.set_result(signal)


def _request(
    asked: AskedSignal, at_us: int, features: Mapping[str, float], known_at_us: Mapping[str, int]
) -> SignalRequest:
    assert asked.close is not None
    return SignalRequest(
        asked.symbol, at_us, asked.close, features, asked.signal_id, asked.episode_start, known_at_us
    )
