"""How input is understood: zone, defaults, bounds, and the names and numbers of its sender."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, timezone
from typing import Literal
from zoneinfo import ZoneInfo

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.core.instants import DAY_US, end_of_days, is_naive
from raysignal.engine.intake.field_rules import REQUIRED, SEPARATORS, check_names
from raysignal.engine.intake.templates import Template, strategy_body, template_for


@dataclass(frozen=True, slots=True)
class Reading:
    """How input is understood.

    Attributes:
        zone: the zone that stamps without one are read in.
        symbol: the symbol of a row that names none.
        source: the source of a row that names none.
        now_us: the present, UTC microseconds; None: stamps in the future are not looked for.
        max_future_us: how far after `now_us` a signal may be known.
        bar_us: the length of the bar that a stamp labels; 0: a stamp is an instant.
        label: which end of its bar a stamp labels; with `open`, the row is known at stamp + bar.
        max_rows: the most rows that are taken at once; None: no bound.
        prices_only: rows need no action; one that has none is a HOLD.
        symbols: other names of symbols, such as `BINANCE:BTCUSDT.P`, to those that are kept.
        template: the sender whose names and words the rows have, see `engine.intake.templates`; None: the common ones.
        names: field to the name that it has in the input, and no other.
        day_first: dates with slashes say the day before the month.
        decimal: what stands before the decimals of numbers in texts.
        thousands: what stands between the thousands of numbers in texts, which may have a currency sign then; empty:
            nothing does.
    """

    zone: ZoneInfo | timezone = UTC
    symbol: str = "BTC"
    source: str = "default"
    now_us: int | None = None
    max_future_us: int = DAY_US
    bar_us: int = 0
    label: Literal["close", "open"] = "close"
    max_rows: int | None = None
    prices_only: bool = False
    symbols: Mapping[str, str] = field(default_factory=dict)
    template: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    day_first: bool = False
    decimal: str = "."
    thousands: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.bar_us <= 366 * DAY_US:
            raise InvalidField("bar", self.bar_us, "a length between nothing and a year, in microseconds")
        if self.label not in {"close", "open"}:
            raise InvalidField("label", self.label, "open or close")
        if self.decimal not in {".", ","}:
            raise InvalidField("decimal", self.decimal, "a point or a comma")
        if self.thousands not in {"", *SEPARATORS} or self.thousands == self.decimal:
            raise InvalidField(
                "thousands", self.thousands, "one of , . ' or a blank, and not the decimal mark"
            )
        check_names(self.names)

    @property
    def shift_us(self) -> int:
        """From a stamp to the instant at which its row was known."""
        return self.bar_us if self.label == "open" else 0

    @property
    def by_days(self) -> bool:
        """Stamps say where whole days begin, which are as long as the zone's clocks make them."""
        return self.shift_us > 0 and self.shift_us % DAY_US == 0 and self.zone != UTC

    def known_us(self, instant_us: int, value: object) -> int:
        """When the row was known whose stamp, `value`, is of that instant."""
        known_us = instant_us + self.shift_us
        if not self.by_days:
            return known_us
        ended_us = end_of_days(instant_us, self.shift_us, self.zone)
        # A stamp with a zone of its own begins a day of that one.
        own = isinstance(value, date) and getattr(value, "tzinfo", None) is None
        return ended_us if ended_us != known_us and (own or is_naive(value)) else known_us

    @property
    def required(self) -> tuple[str, ...]:
        """The fields that no row may lack."""
        return tuple(name for name in REQUIRED if name != "signal" or not self.prices_only)

    @property
    def latest_us(self) -> int | None:
        """The last instant that is not too far ahead; None: there is none."""
        return None if self.now_us is None else self.now_us + self.max_future_us

    def template_of(self, values: Mapping[str, object]) -> Template | None:
        """By which template these values are read; None: by the common names alone."""
        name = self.template or ("tradingview" if strategy_body(values) else None)
        if name is None:
            return None
        found = template_for(name, values)
        return found.with_names(self.names) if self.names else found
