"""Every venue by its name; a sixth joins by its module, a line here, and the contract suite."""

from collections.abc import Mapping

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.market.venues import binance, bybit, okx
from raysignal.engine.market.venues.protocol import Venue

_ALL: tuple[Venue, ...] = (binance.SPOT, binance.USDM, binance.COINM, okx.OKX, bybit.SPOT, bybit.LINEAR)
VENUES: Mapping[str, Venue] = {venue.name: venue for venue in _ALL}


def is_inverse(venue: str, symbol: str) -> bool:
    """Whether a contract is inverse, as its name shows: for recordings that do not say so."""
    parts = symbol.split("-")
    return venue == binance.COINM.name or (venue == okx.OKX.name and len(parts) > 2 and parts[1] == "USD")


def venue_named(name: str) -> Venue:
    """The venue; `InvalidField` if there is none of that name."""
    if name not in VENUES:
        raise InvalidField("venue", name, f"one of {', '.join(sorted(VENUES))}")
    return VENUES[name]
