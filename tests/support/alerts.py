"""Bodies that senders of alerts really send, with what each says, written by hand."""

import json
from dataclasses import dataclass
from typing import Any

JSON_TYPE, TEXT, FORM = "application/json", "text/plain; charset=utf-8", "application/x-www-form-urlencoded"
NOON = "2026-11-30T12:00:00Z"
TOKEN = "hunter2hunter2"
CLOSE_TEXT = "executed"
"""Of the sentence that refuses words for closing, as long as nothing executes them."""


@dataclass(frozen=True)
class Alert:
    """One body.

    Attributes:
        name: of the case.
        body: as it is sent.
        template: how it is read.
        action: what it asks for: BUY, SELL, HOLD or CLOSE; empty: it is refused.
        price, symbol: what else it says.
        refusal: a part of the sentence of its refusal.
        features: some of those that are kept.
        stamp: when it was known.
    """

    name: str
    body: str
    template: str | None = None
    action: str = ""
    price: float = 0.0
    symbol: str = "BTC"
    refusal: str = ""
    features: tuple[tuple[str, Any], ...] = ()
    content_type: str = JSON_TYPE
    stamp: str = NOON


def _json(**values: Any) -> str:
    return json.dumps(values)


def _taken(
    name: str, template: str | None, action: str, price: float, symbol: str, /, **values: Any
) -> Alert:
    return Alert(name, json.dumps(values), template, action, price, symbol)


_TV: dict[str, Any] = {"time": NOON, "ticker": "BTCUSDT", "close": "84250.5"}
_POST: dict[str, Any] = {"ticker": "AMD", "time": NOON, "price": "143.12"}
_3C: dict[str, Any] = {
    "secret": TOKEN, "max_lag": "300", "timestamp": NOON, "trigger_price": "84250.5", "tv_exchange": "BINANCE",
    "tv_instrument": "BTCUSDT", "bot_uuid": "b7b1d7c0-0000-4000-8000-000000000000",
}  # fmt: skip
_TICK: dict[str, Any] = {
    "ticker": "EURUSD",
    "quantity": "1000",
    "pointer": "m1k3y",
    "time": NOON,
    "close": "1.0921",
}
_FREQ: dict[str, Any] = {
    "trade_id": "1", "exchange": "Binance", "pair": "BTC/USDT", "leverage": "1.0", "amount": "0.1",
    "open_date": "2026-11-30 12:00:00+00:00", "open_rate": "84250.5", "stake_currency": "USDT",
}  # fmt: skip
_LEFT: dict[str, Any] = {**_FREQ, "open_date": "2026-11-30 09:00:00+00:00", "open_rate": "80000",
                         "close_date": "2026-11-30 12:00:00+00:00", "close_rate": "84250.5"}  # fmt: skip
_WUNDER = "Binance_BTC/USDT_mybot_1H_d0c0ffee00d0c0ffee"

ALERTS = (
    # The common names, and words for actions.
    _taken("plain", None, "BUY", 84250.5, "BTC", timestamp=NOON, price=84250.5, signal="BUY", symbol="BTC"),
    _taken("long", None, "BUY", 84250.5, "BTCUSDT", **_TV, action="LONG"),
    _taken("short", None, "SELL", 84250.5, "BTCUSDT", **_TV, action="short"),
    _taken("entry long", None, "BUY", 84250.5, "BTCUSDT", **_TV, action="ENTRY LONG"),
    _taken("enter_short", None, "SELL", 84250.5, "BTCUSDT", **_TV, action="enter_short"),
    _taken("exit", None, "CLOSE", 84250.5, "BTCUSDT", **_TV, action="EXIT"),
    _taken("close", None, "CLOSE", 84250.5, "BTCUSDT", **_TV, action="close"),
    _taken("flat", None, "CLOSE", 84250.5, "BTCUSDT", **_TV, action="Flat"),
    _taken("close long", None, "CLOSE", 84250.5, "BTCUSDT", **_TV, action="close_long"),
    _taken("price and close alike", None, "BUY", 84250.5, "BTCUSDT", **_TV, price=84250.50, action="buy"),
    Alert("price and close apart", _json(**_TV, price=84251, action="buy"), refusal="only one of close and price"),
    Alert("an unknown word", _json(**_TV, action="moon"), refusal="action is 'moon'; expected -1, 0 or 1"),
    Alert("a minus before a word", _json(**_TV, action="-BUY"), refusal="action is '-BUY'"),
    Alert("text before the JSON", "Signal: " + _json(**_TV, action="buy"), None, "BUY", 84250.5, "BTCUSDT",
          content_type=TEXT),
    Alert("words before the JSON", "BTC 15m breakout " + _json(**_TV, action="sell"), None, "SELL", 84250.5,
          "BTCUSDT", content_type=TEXT),
    Alert("a placeholder in quotes", _json(**{**_TV, "close": "{{close}}"}, action="buy"),
          refusal="close is '{{close}}'; expected a value: the sender did not replace {{close}}"),
    Alert("a bare placeholder", '{"time": "' + NOON + '", "close": {{close}}, "action": "buy"}',
          refusal="the sender did not replace {{close}}", content_type=TEXT),
    Alert("a placeholder as action", _json(**_TV, action="{{strategy.order.action}}"),
          refusal="did not replace {{strategy.order.action}}"),
    Alert("a placeholder in a symbol", _json(time=NOON, close=1, action="buy", ticker="BINANCE:{{ticker}}"),
          refusal="did not replace {{ticker}}"),
    Alert("a placeholder as feature", _json(**_TV, action="buy", rsi="{{plot_0}}"),
          refusal="did not replace {{plot_0}}"),
    Alert("a symbol by the table", _json(**{**_TV, "ticker": "BINANCE:BTCUSDT.P"}, action="buy"), None, "BUY",
          84250.5, "BTC"),
    Alert("curly quotes", "{“time”: “" + NOON + "”, “close”: 1, “action”: “buy”}",
          refusal="quotation marks are those of a text processor", content_type=TEXT),
    Alert("a default alert", "BTCUSDT, 60 Crossing 84250.5", refusal='"price": "{{close}}"', content_type=TEXT),
    Alert("a strategy's default alert", "Cross: order buy @ 1 filled on BTC. New strategy position is 1", "tradingview",
          refusal='the message of an alert: {"time": "{{timenow}}"', content_type=TEXT),
    Alert("nothing", " ", refusal="it is empty", content_type=TEXT),
    Alert("single quotes", "{'price': 1}", refusal='marks are single: write them as "'),
    Alert("a comma too many", '{"price": 1,}', refusal="expected no comma before it"),
    Alert("text behind", '{"price": 1} sent by me', refusal="expected nothing behind the JSON", content_type=TEXT),
    # TradingView.
    _taken("tv order", "tradingview", "BUY", 84250.5, "BTCUSDT", **_TV, action="buy"),
    _taken("tv long", "tradingview", "BUY", 84250.5, "BTCUSDT", **_TV, action="sell", market_position="long"),
    _taken("tv ends long", "tradingview", "CLOSE", 84250.5, "BTCUSDT", **_TV, action="sell", market_position="flat"),
    _taken("tv ends short", "tradingview", "CLOSE", 84250.5, "BTCUSDT", **_TV, action="buy", market_position="flat"),
    _taken("tv turns", "tradingview", "SELL", 84250.5, "BTCUSDT", **_TV, action="sell", market_position="short"),
    _taken("tv dotted", None, "SELL", 84250.5, "BTCUSDT", **_TV,
           **{"strategy.order.action": "sell", "strategy.market_position": "short"}),
    Alert("tv nested", _json(**_TV, strategy={"order": {"action": "buy", "price": 84260, "contracts": 0.5},
                                              "market_position": "long"}), None, "BUY", 84260.0, "BTCUSDT",
          features=(("strategy.order.contracts", 0.5),)),
    Alert("tv nested flat", _json(**_TV, strategy={"order": {"action": "sell"}, "market_position": "flat"}),
          None, "CLOSE", 84250.5, "BTCUSDT"),
    _taken("tv size", "tradingview", "SELL", 84250.5, "BTCUSDT", **_TV, strategy={"position_size": "-3"}),
    # Contracts, which are no share of equity however few they are.
    Alert("tv contracts", _json(**_TV, action="buy", size=0.5), "tradingview", "BUY", 84250.5, "BTCUSDT",
          features=(("size", 0.5),)),
    Alert("tv many contracts", _json(**_TV, action="buy", size=25), "tradingview", "BUY", 84250.5, "BTCUSDT",
          features=(("size", 25.0),)),
    Alert("tv closes contracts", _json(**_TV, action="close", size=0.5), "tradingview", "CLOSE", 84250.5, "BTCUSDT",
          features=(("size", 0.5),)),
    Alert("tv timenow goes before time", _json(**{**_TV, "time": "2026-11-30T11:00:00Z"}, timenow=NOON, side="buy"),
          "tradingview", "BUY", 84250.5, "BTCUSDT"),
    Alert("tv order price", _json(**_TV, order={"price": "84260.5"}, action="buy", passphrase=TOKEN), "tradingview",
          "BUY", 84260.5, "BTCUSDT"),
    Alert("tv without a time", _json(ticker="BTCUSDT", close=1, action="buy"), "tradingview",
          refusal='add "time": "{{timenow}}" to the alert\'s message'),
    Alert("tv without a price", _json(ticker="BTCUSDT", time=NOON, action="buy"), "tradingview",
          refusal='add "price": "{{close}}"'),
    Alert("tv without an action", _json(**_TV), "tradingview", refusal='add "action": "{{strategy.order.action}}"'),
    # TradersPost.
    _taken("tp buy", "traderspost", "BUY", 143.12, "AMD", **_POST, action="buy"),
    _taken("tp bullish", "traderspost", "BUY", 143.12, "AMD", **_POST, action="buy", sentiment="bullish"),
    _taken("tp flat", "traderspost", "CLOSE", 143.12, "AMD", **_POST, action="sell", sentiment="flat"),
    _taken("tp exit", "traderspost", "CLOSE", 143.12, "AMD", **_POST, action="exit"),
    Alert("tp brackets", _json(ticker="AMD", time=NOON, signalPrice=143.12, action="buy", takeProfit={"percent": 10},
                               stopLoss={"type": "stop", "percent": 5}), "traderspost", "BUY", 143.12, "AMD",
          features=(("takeProfit.percent", 10.0), ("stopLoss.type", "stop"))),
    Alert("tp cancel", _json(**_POST, action="cancel"), "traderspost", refusal="action is 'cancel'"),
    Alert("tp without a time", _json(ticker="MNQ", action="buy"), "traderspost", refusal='"time": "{{timenow}}"'),
    # 3Commas.
    _taken("3c enter_long", "3commas", "BUY", 84250.5, "BTCUSDT", **_3C, action="enter_long"),
    _taken("3c exit_short", "3commas", "CLOSE", 84250.5, "BTCUSDT", **_3C, action="exit_short"),
    Alert("3c strategy", _json(**_3C, action="sell", strategy_info={"market_position": "flat"},
                               order={"amount": "0.5", "currency_type": "base"}), "3commas", "CLOSE", 84250.5,
          "BTCUSDT", features=(("order.amount", 0.5),)),
    Alert("3c disable", _json(**_3C, action="disable"), "3commas", refusal="action is 'disable'"),
    Alert("3c deal", _json(message_type="bot", bot_id=1, email_token=TOKEN, pair="USDT_BTC"), "3commas",
          refusal="timestamp is None"),
    # WunderTrading.
    Alert("wt text", f"ENTER-LONG_{_WUNDER} time={NOON} price=84250.5", "wundertrading", "BUY", 84250.5, "BTC/USDT",
          content_type=TEXT),
    Alert("wt short", f"ENTER-SHORT_{_WUNDER} time={NOON} price=84250.5", "wundertrading", "SELL", 84250.5,
          "BTC/USDT", content_type=TEXT),
    Alert("wt exit", f"EXIT-ALL_{_WUNDER} time={NOON} price=84250.5", "wundertrading", "CLOSE", 84250.5, "BTC/USDT",
          content_type=TEXT),
    Alert("wt JSON", _json(code=f"ENTER-LONG_{_WUNDER}", orderType="market", amountPerTrade=0.1, time=NOON,
                           price="84250.5", takeProfits=[{"priceDeviation": 0.02}]), "wundertrading", "BUY", 84250.5,
          "BTC/USDT", features=(("takeProfits.0.priceDeviation", 0.02),)),
    Alert("wt as it comes", f"ENTER-LONG_{_WUNDER}", "wundertrading", refusal="timestamp is None", content_type=TEXT),
    # PineConnector.
    Alert("pc buy", f"60123456789,buy,EURUSD,risk=0.1,time={NOON},price=1.0921", "pineconnector", "BUY", 1.0921,
          "EURUSD", features=(("risk", 0.1),), content_type=TEXT),
    Alert("pc sell", f"60123456789 , bear , GBPJPY , sl=50, price=190.5, time={NOON}, secret={TOKEN}",
          "pineconnector", "SELL", 190.5, "GBPJPY", content_type=TEXT),
    Alert("pc close", f"60123456789,closelong,GBPUSD,time={NOON},price=1.25", "pineconnector", "CLOSE", 1.25,
          "GBPUSD", content_type=TEXT),
    Alert("pc as it comes", "60123456789,buy,AUDUSD,risk=0.1", "pineconnector", refusal="time={{timenow}}",
          content_type=TEXT),
    Alert("pc pending", f"60123456789,buystop,AUDUSD,time={NOON},price=1", "pineconnector",
          refusal="command is 'buystop'", content_type=TEXT),
    Alert("pc in another order", "buy,60123456789,AUDUSD", "pineconnector", refusal="expected <licence>,buy,EURUSD",
          content_type=TEXT),
    # Alertatron.
    Alert("al buy", f"MyKeys(XBTUSD) {{ market(side=buy, amount=100); }} #bot time={NOON} price=84250.5",
          "alertatron", "BUY", 84250.5, "XBTUSD", features=(("amount", 100.0),), content_type=TEXT),
    Alert("al flat", f"MyKeys(XBTUSD) {{ market(position=0); }} #bot time={NOON} price=84250.5", "alertatron",
          "CLOSE", 84250.5, "XBTUSD", content_type=TEXT),
    Alert("al short", f"MyKeys(XBTUSD) {{ market(position=-50%p); }} #bot time={NOON} price=84250.5", "alertatron",
          "SELL", 84250.5, "XBTUSD", content_type=TEXT),
    Alert("al protects first", "MyKeys(XBTUSD) { stopOrder(side=sell, price=80000); market(side=buy, amount=1); } "
          f"#bot time={NOON} price=84250.5", "alertatron", "BUY", 84250.5, "XBTUSD", features=(("amount", 1.0),),
          content_type=TEXT),
    Alert("al protects then", "MyKeys(XBTUSD) { market(side=buy, amount=1); stopOrder(position=0, offset=1%); } "
          f"#bot time={NOON} price=84250.5", "alertatron", "BUY", 84250.5, "XBTUSD",
          features=(("amount", 1.0), ("offset", "1%")), content_type=TEXT),
    Alert("al turns", "MyKeys(XBTUSD) { market(position=0); market(side=sell, amount=1); } "
          f"#bot time={NOON} price=84250.5", "alertatron", "SELL", 84250.5, "XBTUSD", features=(("amount", 1.0),),
          content_type=TEXT),
    Alert("al waits on both sides", "MyKeys(XBTUSD) { limit(side=buy, offset=1%); limit(side=sell, offset=1%); } "
          f"#bot time={NOON} price=84250.5", "alertatron", refusal="add market", content_type=TEXT),
    Alert("al as it comes", "MyKeys(XBTUSD) { market(side=buy, amount=100); } #bot", "alertatron",
          refusal="time={{timenow}} behind #bot", content_type=TEXT),
    # Tickerly.
    _taken("ti enters", "tickerly", "BUY", 1.0921, "EURUSD", **_TICK, action="buy", prev_position="flat"),
    _taken("ti leaves a long", "tickerly", "CLOSE", 1.0921, "EURUSD", **_TICK, action="sell", prev_position="long"),
    _taken("ti enters short", "tickerly", "SELL", 1.0921, "EURUSD", **_TICK, action="sell", prev_position="flat"),
    _taken("ti leaves a short", "tickerly", "CLOSE", 1.0921, "EURUSD", **_TICK, action="buy", prev_position="short"),
    # freqtrade.
    _taken("fq entry", "freqtrade", "BUY", 84250.5, "BTC/USDT", **_FREQ, type="entry", direction="Long"),
    _taken("fq entry short", "freqtrade", "SELL", 84250.5, "BTC/USDT", **_FREQ, type="entry_fill", direction="Short"),
    _taken("fq exit", "freqtrade", "CLOSE", 84250.5, "BTC/USDT", **_LEFT, type="exit_fill", direction="Long"),
    Alert("fq exit without its price", _json(**{**_FREQ, "close_date": NOON}, type="exit", direction="Long"),
          "freqtrade", refusal="close_rate"),
    Alert("fq cancel", _json(**_FREQ, type="entry_cancel", direction="Long"), "freqtrade",
          refusal="type is 'entry_cancel Long'"),
    Alert("fq status", _json(type="status", status="running"), "freqtrade", refusal="timestamp is None"),
    Alert("fq form", "type=entry&direction=Long&pair=BTC%2FUSDT&open_rate=84250.5"
          "&open_date=2026-11-30+12%3A00%3A00%2B00%3A00", "freqtrade", "BUY", 84250.5, "BTC/USDT", content_type=FORM),
    # Forms.
    Alert("form", f"time={NOON}&close=84250.5&action=buy&ticker=BTCUSDT&token={TOKEN}", None, "BUY", 84250.5,
          "BTCUSDT", content_type=FORM),
    Alert("JSON as a form, as curl sends it", _json(**_TV, action="buy"), None, "BUY", 84250.5, "BTCUSDT",
          content_type=FORM),
    Alert("form with a name twice", f"time={NOON}&close=1&close=2&action=buy",
          refusal="close is '2'; expected each name", content_type=FORM),
    Alert("no form", "hello there", refusal="expected name=value&name=value", content_type=FORM),
)  # fmt: skip
SYMBOLS = {"BINANCE:BTCUSDT.P": "BTC"}
