"""Limits of a portfolio or an account: every one is off until it is set. `docs/risk.md` has them by name.

An account is what several portfolios share; its limits are a `RiskLimits` of its own, held against their sums.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Self

from raysignal.engine.core.errors import InvalidField


class _Bounds(NamedTuple):
    """What a limit may be set to: from `low` (if `above`: more than that) to `high`."""

    low: float = 0.0
    high: float = sys.float_info.max
    above: bool = False
    whole: bool = False


_MOST_ORDERS = 1_000_000
_BOUNDS = {
    "position_quantity": _Bounds(),
    "position_notional": _Bounds(),
    "gross_notional": _Bounds(),
    "leverage": _Bounds(),
    "concentration": _Bounds(high=1.0, above=True),
    "orders_per_minute": _Bounds(low=1, high=_MOST_ORDERS, whole=True),
    "daily_loss_share": _Bounds(high=1.0, above=True),
    "daily_loss_money": _Bounds(above=True),
    "drawdown_share": _Bounds(high=1.0, above=True),
    "reduce_from_share": _Bounds(high=1.0, above=True),
    "price_collar_bps": _Bounds(),
    "stale_market_s": _Bounds(above=True),
    "stale_model_s": _Bounds(above=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionLimits:
    """Limits that can be set for a portfolio, for a symbol and for a strategy. None: off.

    Attributes:
        position_quantity: largest position in the symbol, either side, in its base currency.
        position_notional: the same at the last market price, in the quote currency.
        concentration: largest share of the symbol in the gross notional, or in the equity where that is larger.
        orders_per_minute: orders within 60 s.
        price_collar_bps: largest distance of the decision's price from the last market price, in basis points of that.
        stale_market_s: largest age of the last market price.
        stale_model_s: largest age of what a model last said.
    """

    position_quantity: float | None = None
    position_notional: float | None = None
    concentration: float | None = None
    orders_per_minute: int | None = None
    price_collar_bps: float | None = None
    stale_market_s: float | None = None
    stale_model_s: float | None = None

    def __post_init__(self) -> None:
        for name in (each.name for each in fields(self) if each.name in _BOUNDS):
            object.__setattr__(self, name, _checked(name, getattr(self, name), name))

    @classmethod
    def from_mapping(cls, values: object, within: str = "") -> Self:
        """From plain values under the names of the fields, as a YAML file has them.

        Args:
            values: one a limit that is set; None: off.
            within: what stands before a name in an error, such as `symbols.BTC-USDT.`.

        Raises:
            InvalidField: a name that there is not, or a value out of its bounds.
        """
        known = [each.name for each in fields(cls)]
        if not isinstance(values, Mapping):
            raise InvalidField(within.removesuffix(".") or "risk", values, f"a mapping of {', '.join(known)}")
        given: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise InvalidField(f"{within}{name}", value, f"one of {', '.join(known)}")
            given[name] = _checked(name, value, f"{within}{name}") if name in _BOUNDS else value
        return cls(**given)


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskLimits(DecisionLimits):
    """All limits of a portfolio, or of an account. None: off.

    Attributes:
        gross_notional: largest sum of all positions' notionals, long and short, in the quote currency.
        leverage: largest gross notional as a multiple of the equity.
        daily_loss_share, daily_loss_money: loss since the opening of the UTC day that halts, as a share of the equity
            then, and in the quote currency.
        drawdown_share: loss since the highest equity that halts, as a share of that.
        reduce_from_share: share of one of these three losses from which on positions are only made smaller.
        flatten: what is held is closed when one of them halts.
        symbols: by symbol; what is set there counts instead of the portfolio's.
        strategies: by strategy, for the decisions that it leads (`leading_strategies`); counts beside the others.
    """

    gross_notional: float | None = None
    leverage: float | None = None
    daily_loss_share: float | None = None
    daily_loss_money: float | None = None
    drawdown_share: float | None = None
    reduce_from_share: float | None = None
    flatten: bool = False
    symbols: Mapping[str, DecisionLimits] = field(default_factory=dict)
    strategies: Mapping[str, DecisionLimits] = field(default_factory=dict)

    def __post_init__(self) -> None:
        DecisionLimits.__post_init__(self)
        watched = (self.daily_loss_share, self.daily_loss_money, self.drawdown_share)
        if all(each is None for each in watched):
            for name in ("reduce_from_share", "flatten"):
                if getattr(self, name):
                    raise InvalidField(
                        name,
                        getattr(self, name),
                        "daily_loss_share, daily_loss_money or drawdown_share beside it",
                    )

    @classmethod
    def from_mapping(cls, values: object, within: str = "") -> Self:
        """See `DecisionLimits.from_mapping`; `symbols` and `strategies` are mappings of names to such mappings."""
        if not isinstance(values, Mapping):
            return super(RiskLimits, cls).from_mapping(values, within)
        read = dict(values)
        if not isinstance(read.get("flatten", False), bool):
            raise InvalidField(f"{within}flatten", read["flatten"], "true or false")
        for name in ("symbols", "strategies"):
            scoped = read.get(name)
            scoped = {} if scoped is None else scoped
            if not isinstance(scoped, Mapping) or not all(isinstance(each, str) for each in scoped):
                raise InvalidField(f"{within}{name}", scoped, "a mapping of names to limits")
            read[name] = {
                each: DecisionLimits.from_mapping(limits, f"{within}{name}.{each}.")
                for each, limits in scoped.items()
            }
        return super(RiskLimits, cls).from_mapping(read, within)

    def of_symbol(self, symbol: str) -> DecisionLimits:
        """The limits of a position in it: its own where they are set, else those of all symbols.

        `orders_per_minute` is the portfolio's: a symbol's own counts its own orders, beside that.
        """
        own = self.symbols.get(symbol)
        both = {each.name: getattr(self, each.name) for each in fields(DecisionLimits)}
        if own is not None:
            both |= {
                name: getattr(own, name)
                for name in both
                if name != "orders_per_minute" and getattr(own, name) is not None
            }
        return DecisionLimits(**both)


def _checked(name: str, value: object, shown: str) -> float | int | None:
    """The value of a limit as a number, or None; `InvalidField` of `shown` if it is out of its bounds."""
    if value is None:
        return None
    low, high, above, whole = _BOUNDS[name]
    kind = "a whole number" if whole else "a number"
    start = f"above {low:g}" if above else f"from {low:g}"
    expected = f"{kind} {start}" + ("" if high == sys.float_info.max else f" to {high:g}") + ", or null: off"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise InvalidField(shown, value, expected)
    if not low <= value <= high or (above and value == low):
        raise InvalidField(shown, value, expected)
    return value if whole else float(value)
