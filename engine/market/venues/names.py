"""The names of the venues, for settings: reading an exchange's messages needs compiled code, naming it does not."""

VENUE_NAMES = ("binance", "binance-coinm", "binance-usdm", "bybit", "bybit-linear", "okx")


def is_spot(venue: str, symbol: str) -> bool:
    """Whether it is the asset itself that is traded, of which less than nothing cannot be held, and no contract."""
    return venue in {"binance", "bybit"} or (venue == "okx" and symbol.count("-") < 2)
