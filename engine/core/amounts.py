"""Exact arithmetic: prices, quantities, money and fees as Decimals that are never rounded unasked.

Decimal's own context rounds to 28 digits, which a price with 18 decimals times a size with 18 exceeds. Here 100 digits
are kept, and a result that would need more raises `decimal.Inexact`. Operators (`-x` and `abs(x)` among them) use
Decimal's own context, so none is applied to an amount but to compare.
"""

from collections.abc import Iterable
from decimal import Clamped, Context, Decimal, Inexact, InvalidOperation

from raysignal.engine.core.errors import InvalidField

ZERO = Decimal(0)
BPS = Decimal(10_000)
_DIGITS = 100
_EXACT = Context(prec=_DIGITS, traps=[Inexact, InvalidOperation, Clamped])
_ROUNDED = Context(prec=28, traps=[InvalidOperation])


def product(*factors: Decimal) -> Decimal:
    """All of them multiplied."""
    result = Decimal(1)
    for factor in factors:
        result = _EXACT.multiply(result, factor)
    return result


def total(amounts: Iterable[Decimal]) -> Decimal:
    """All of them added; 0 for none."""
    result = ZERO
    for amount in amounts:
        result = _EXACT.add(result, amount)
    return result


def less(amount: Decimal, other: Decimal) -> Decimal:
    """`amount - other`."""
    return _EXACT.subtract(amount, other)


def minus(amount: Decimal) -> Decimal:
    """The same with the other sign."""
    return ZERO if amount.is_zero() else amount.copy_negate()


def magnitude(amount: Decimal) -> Decimal:
    """The same without its sign."""
    return amount.copy_abs()


def units(amount: Decimal, decimals: int) -> int:
    """An amount in units of 10**-decimals, of which it is a whole number."""
    return int(_EXACT.scaleb(amount, decimals))


def share_bps(amount: Decimal, bps: Decimal) -> Decimal:
    """So many basis points of an amount."""
    return _EXACT.scaleb(product(amount, bps), -4)


def down_to_step(amount: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` that is not above `amount`, which is 0 or more."""
    return product(_EXACT.divide_int(amount, step), step)


def up_to_step(amount: Decimal, step: Decimal) -> Decimal:
    """The smallest multiple of `step` that is not below `amount`, which is 0 or more."""
    whole, rest = _EXACT.divmod(amount, step)
    return product(_EXACT.add(whole, Decimal(1)) if rest else whole, step)


def affordable(money: Decimal, each: Decimal, step: Decimal) -> Decimal:
    """The largest multiple of `step` that `money`, 0 or more, buys at `each` a piece."""
    return product(_EXACT.divide_int(money, product(each, step)), step)


def fits_step(amount: Decimal, step: Decimal) -> bool:
    """Whether it is a multiple of `step`."""
    return down_to_step(amount, step) == amount


def plain(amount: Decimal) -> str:
    """As a person writes it: no exponent, no zeros at the end."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def check_positive(field: str, value: object) -> Decimal:
    """The value, if it is a Decimal above 0; else `InvalidField`."""
    if not isinstance(value, Decimal) or not value.is_finite() or value <= 0:
        raise InvalidField(field, value, "a Decimal above 0")
    return value


def check_not_negative(field: str, value: object) -> Decimal:
    """The value, if it is a Decimal of 0 or more; else `InvalidField`."""
    if not isinstance(value, Decimal) or not value.is_finite() or value < 0:
        raise InvalidField(field, value, "a Decimal of 0 or more")
    return value


def ratio(amount: Decimal, other: Decimal) -> Decimal:
    """`amount / other`, to 28 digits."""
    return _ROUNDED.divide(amount, other)
