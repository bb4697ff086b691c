"""The names of the venues, for settings: reading an exchange's messages needs compiled code, naming it does not."""

VENUE_NAMES = ("binance", "binance-coinm", "binance-usdm", "bybit", "bybit-linear", "okx")
