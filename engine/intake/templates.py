"""The bodies that desks already send, by the name of their sender: which of its names say what, and its own words.

A template is data. `named` finds a signal's fields in a body by it; what is found is read by the rules of
`engine.intake.fields`, as everything is. A body that is text and no JSON has a pattern, which gives it names.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from raysignal.engine.core.errors import InvalidField, UnreadableInput
from raysignal.engine.core.secrets import is_secret_name, names_secret

MAX_DEPTH = 4
"""Of objects within each other."""
_TRADINGVIEW_HINTS = {
    "timestamp": '"time": "{{timenow}}"',
    "price": '"price": "{{close}}"',
    "signal": '"action": "{{strategy.order.action}}"',
}
_BETWEEN = re.compile(r"(?<=[^ _-])[ _-]+(?=[^ _-])")
_PAIR = re.compile(r'([A-Za-z_][A-Za-z0-9_]{0,63})\s*=\s*("[^"]*"|[^\s,;(){}"]+)')
_SIDES = frozenset({"side", "position"})
_ORDER_TEXT = re.compile(r"(?<![A-Za-z])([A-Za-z]{1,64})\s*\(([^()]*)\)")


@dataclass(frozen=True, slots=True)
class Template:
    """How the alerts of one sender are read.

    Attributes:
        names: by field, where it stands: the first of these names that has a value counts, and then the common ones.
            Names within objects are joined by dots. `a+b`: both, with a blank between; `sign(a)`: which side a size
            is on; `a[2]`: the third of its parts between `_`.
        words: its own words for actions, in capitals, to `BUY`, `SELL`, `HOLD` or `CLOSE`.
        dropped: names beside those of secrets that are never kept: licences and keys of the sender.
        text: of a body that is text: its named groups are values, and so are the `name=value` in its group `rest`, and
            then those of the orders in its group `orders`.
        form: what such a text looks like, for the sentence of a refusal.
        hints: by field, what a user adds to the alert's message where it is missing.
        when: a name, and how its value begins in the bodies that this variant is for; None: all others.
    """

    names: Mapping[str, tuple[str, ...]]
    words: Mapping[str, str] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    text: re.Pattern[str] | None = None
    form: str = ""
    hints: Mapping[str, str] = field(default_factory=lambda: _TRADINGVIEW_HINTS)
    when: tuple[str, str] | None = None

    def with_names(self, names: Mapping[str, str]) -> "Template":
        """The same with names that a user gives to fields: they go first."""
        own = {name: (given, *self.names.get(name, ())) for name, given in names.items()}
        return replace(self, names={**self.names, **own})

    def values_of(self, text: str) -> dict[str, object]:
        """The names and values of a body that is text.

        Raises:
            UnreadableInput: it does not look as such texts do.
        """
        assert self.text is not None
        match = self.text.fullmatch(text.strip())
        if match is None:
            raise UnreadableInput(f"the text is no alert of this sender; expected {self.form}")
        groups = match.groupdict("")
        pairs = [*_PAIR.findall(groups.pop("rest")), *_orders(groups.pop("orders", ""))]
        values: dict[str, object] = {**groups}
        for name, value in pairs:
            values.setdefault(name, value.strip('"'))
        return values

    def named(self, values: Mapping[str, object], fallback: Mapping[str, tuple[str, ...]]) -> "NamedValues":
        """Which of the values are which field's; `fallback` are the common names of fields."""
        found: dict[str, tuple[str, object]] = {}
        for name in fallback:
            # What senders call a size is a quantity, in contracts or coins, and no share of equity.
            common = () if name == "size" else fallback[name]
            for place in (*self.names.get(name, ()), *common):
                if (at := _at(place, values)) is not None:
                    known, value = at
                    if name == "signal" and isinstance(value, str):
                        value = self.words.get(plain_words(value), value)
                    found[name] = known, value
                    break
        used = {known for known, _ in found.values()}
        features = {
            name: value
            for name, value in values.items()
            if name not in used and name.rpartition(".")[2] not in self.dropped
        }
        return NamedValues(found, features)


@dataclass(frozen=True, slots=True)
class NamedValues:
    """A body's values: `fields` by field, with the name that each came under, and the rest."""

    fields: dict[str, tuple[str, object]]
    features: dict[str, object]


class RepeatedKeys(dict[str, Any]):
    """An object in which a key stood twice."""

    name: str


def _orders(text: str) -> list[tuple[str, str]]:
    """What orders such as `stopOrder(side=sell, offset=1%); market(side=buy, amount=1);` say.

    The side, or the position, is that of the last market order, since others protect or enter later; without one, what
    all others agree on.
    """
    orders = [(name.lower(), _PAIR.findall(said)) for name, said in _ORDER_TEXT.findall(text)]
    market = [said for name, said in orders if name == "market"]
    pairs = [pair for _, said in orders for pair in said]
    sides = market[-1] if market else pairs
    if len({pair for pair in sides if pair[0] in _SIDES}) > 1:
        sides = []
    return [
        *(pair for pair in sides if pair[0] in _SIDES),
        *(pair for pair in pairs if pair[0] not in _SIDES),
    ]


def plain_words(text: str) -> str:
    """Words in capitals with one blank between them: `enter_long`, `Enter-Long` and `ENTER LONG` are the same."""
    return _BETWEEN.sub(" ", text.strip(" \t\n\r\v\f").upper())


def flattened(values: Mapping[str, object], row: int | None = None) -> dict[str, object]:
    """Objects and lists within as names joined by dots; what the name of a secret stands for is left out.

    Raises:
        InvalidField: a name that stands twice then, or objects nested more than four deep.
    """
    flat: dict[str, object] = {}
    for name, value in _leaves("", dict(values), 0, row):
        if name in flat:
            raise InvalidField(name, value, "each name once, within objects or with dots", row)
        flat[name] = value
    return flat


def _leaves(prefix: str, value: object, depth: int, row: int | None) -> Iterator[tuple[str, object]]:
    if not isinstance(value, (dict, list)):
        yield prefix, value
        return
    if depth > MAX_DEPTH:
        raise InvalidField(prefix, value, f"objects nested at most {MAX_DEPTH} deep", row)
    if isinstance(value, RepeatedKeys):
        raise InvalidField(f"{prefix}.{value.name}", value[value.name], "each key once", row)
    if isinstance(value, dict) and depth > 0 and names_secret(value):
        return
    for name, held in value.items() if isinstance(value, dict) else enumerate(value):
        if not is_secret_name(str(name)):
            yield from _leaves(f"{prefix}.{name}" if prefix else str(name), held, depth + 1, row)


def has(values: Mapping[str, object], name: str) -> bool:
    """Whether there is a value of this name: not null, and no text of nothing but blanks."""
    value = values.get(name)
    return value is not None and not (isinstance(value, str) and not value.strip())


def _at(place: str, values: Mapping[str, object]) -> tuple[str, object] | None:
    """The name and the value at a place of a template; None: there is none."""
    if place.startswith("sign("):
        name = place[5:-1]
        return (name, _side(values[name])) if has(values, name) else None
    if place.endswith("]"):
        name, _, index = place[:-1].partition("[")
        parts = str(values.get(name) or "").split("_")
        return (name, parts[int(index)]) if int(index) < len(parts) and parts[int(index)] else None
    first, *others = place.split("+")
    if not has(values, first):
        return None
    if not others:
        return first, values[first]
    return first, " ".join(str(values[part]) for part in (first, *others) if has(values, part))


def _side(size: object) -> object:
    """`BUY`, `SELL` or `CLOSE`, by the sign of a size; the size itself where it has none."""
    try:
        number = float(str(size).strip().rstrip("%pb"))
    except ValueError:
        return size
    return "BUY" if number > 0 else "SELL" if number < 0 else "CLOSE" if number == 0 else size


def template_for(name: str, values: Mapping[str, object]) -> Template:
    """The template of that name, in the variant that fits the values."""
    for template in TEMPLATES[name]:
        if template.when is None:
            return template
        told, begins = template.when
        if plain_words(str(values.get(told, ""))).startswith(begins):
            return template
    raise AssertionError(name)


def check_template(name: str) -> str:
    """The name itself; `InvalidField` if there is no such template."""
    if name not in TEMPLATES:
        raise InvalidField("template", name, f"one of {', '.join(TEMPLATES)}")
    return name


def text_template(name: str | None) -> Template | None:
    """The template for bodies that are text; None: it has none."""
    return None if name is None else next((each for each in TEMPLATES[name] if each.text is not None), None)


# The position that a strategy has afterwards says more than the order that led there: a sell can close, or only reduce.
_POSITION = ("strategy.market_position", "market_position", "strategy_info.market_position", "marketPosition")
_ORDER = ("strategy.order.action", "order.action", "order_action", "orderAction")
_EXITS = {
    "CLOSELONG": "CLOSE", "CLOSESHORT": "CLOSE", "CLOSEALL": "CLOSE", "CLOSELONGSHORT": "CLOSE", "EXIT ALL": "CLOSE",
    "CLOSE AT MARKET PRICE": "CLOSE",
}  # fmt: skip
_BULLISH = {"BULLISH": "BUY", "BULL": "BUY", "BEARISH": "SELL", "BEAR": "SELL"}
_FREQTRADE_HINTS = {
    "timestamp": '"open_date": "{open_date}" under entry, and "close_date": "{close_date}" under exit',
    "price": '"open_rate": "{open_rate}" under entry, and "close_rate": "{close_rate}" under exit',
    "signal": '"type": "entry" or "exit", and "direction": "{direction}"',
}
_FREQTRADE_WORDS = {
    f"{kind} {direction}": action
    for kinds, actions in (
        (("ENTRY", "ENTRY FILL", "BUY", "BUY FILL"), {"LONG": "BUY", "SHORT": "SELL"}),
        (("EXIT", "EXIT FILL", "SELL", "SELL FILL"), {"LONG": "CLOSE", "SHORT": "CLOSE"}),
    )
    for kind in kinds
    for direction, action in actions.items()
} | {"ENTRY": "BUY", "ENTRY FILL": "BUY", "EXIT": "CLOSE", "EXIT FILL": "CLOSE"}
_FREQTRADE = Template(
    names={
        "timestamp": ("open_date", "date"), "price": ("open_rate", "order_rate", "current_rate", "limit"),
        "signal": ("type+direction",), "symbol": ("pair",),
    },
    words=_FREQTRADE_WORDS,
    hints=_FREQTRADE_HINTS,
)  # fmt: skip

TEMPLATES: Mapping[str, tuple[Template, ...]] = {
    "tradingview": (
        Template(
            names={
                "timestamp": ("timestamp", "timenow", "time", "strategy.time", "bar.time"),
                "price": ("strategy.order.price", "order.price", "order_price", "price", "close", "bar.close"),
                "signal": (*_POSITION, "sign(strategy.position_size)", *_ORDER, "action", "side", "signal"),
                "symbol": ("symbol", "ticker", "tickerid", "syminfo.ticker"),
                "signal_id": ("signal_id", "alert_id"),
            },
            words=_BULLISH | _EXITS,
        ),
    ),
    "traderspost": (
        Template(
            names={
                "timestamp": ("time", "timestamp"), "price": ("signalPrice", "price", "limitPrice"),
                "signal": ("sentiment", "action"), "symbol": ("ticker",),
                "signal_id": ("signal_id", "extras.signal_id"),
            },
            words=_BULLISH,
        ),
    ),
    "3commas": (
        Template(
            names={
                "timestamp": ("timestamp",), "price": ("trigger_price", "price"), "signal": (*_POSITION, "action"),
                "symbol": ("tv_instrument", "pair"),
            },
            words=_EXITS,
            dropped=frozenset({"bot_uuid", "bot_id"}),
        ),
    ),
    "wundertrading": (
        Template(
            names={
                "signal": ("command", "code[0]", *_POSITION, *_ORDER, "action", "side"),
                "symbol": ("pair", "symbol", "ticker", "code[2]"),
            },
            words=_EXITS,
            dropped=frozenset({"code", "comment", "bot"}),
            text=re.compile(
                r"(?P<command>(?:ENTER|EXIT)-(?:LONG|SHORT|ALL))_(?P<exchange>[A-Z][A-Z-]*)_(?P<pair>[A-Z0-9/.-]{2,32})"
                r"_(?P<bot>\S+)(?P<rest>.*)",
                re.DOTALL | re.IGNORECASE,
            ),
            form="ENTER-LONG_<exchange>_<pair>_<bot>, and behind it time={{timenow}} price={{close}}",
        ),
    ),
    "pineconnector": (
        Template(
            names={"signal": ("command",)},
            words=_BULLISH | _EXITS,
            text=re.compile(
                r"(?P<license>[0-9]{8,20})\s*,\s*(?P<command>[A-Za-z]+)\s*,\s*(?P<symbol>[^,\s]+)\s*(?P<rest>(?:,.*)?)",
                re.DOTALL,
            ),
            form="<licence>,buy,EURUSD,risk=1,time={{timenow}},price={{close}}",
            hints={"timestamp": "time={{timenow}}", "price": "price={{close}}", "signal": "buy, sell or closelong"},
        ),
    ),
    "alertatron": (
        Template(
            names={"signal": ("sign(position)", "side")},
            dropped=frozenset({"keys"}),
            text=re.compile(
                r"(?P<keys>[A-Za-z0-9_-]{1,64})\s*\(\s*(?P<symbol>[^()\s]{1,64})\s*\)\s*\{(?P<orders>[^{}]*)\}?(?P<rest>.*)",
                re.DOTALL,
            ),
            form="<keys>(<symbol>) { market(side=buy, amount=1); } #bot time={{timenow}} price={{close}}",
            hints={
                "timestamp": "time={{timenow}} behind #bot", "price": "price={{close}} behind #bot",
                "signal": "market(side=buy, …) or market(position=0)",
            },
        ),
    ),
    "tickerly": (
        Template(
            names={"signal": (*_POSITION, "action+prev_position"), "symbol": ("ticker",)},
            words={
                "BUY FLAT": "BUY", "BUY LONG": "BUY", "BUY SHORT": "CLOSE",
                "SELL FLAT": "SELL", "SELL SHORT": "SELL", "SELL LONG": "CLOSE",
            },
            dropped=frozenset({"pointer"}),
        ),
    ),
    "freqtrade": (
        replace(
            _FREQTRADE,
            names={
                **_FREQTRADE.names, "timestamp": ("close_date", "date"),
                "price": ("close_rate", "order_rate", "current_rate", "limit"),
            },
            when=("type", "EXIT"),
        ),
        _FREQTRADE,
    ),
}  # fmt: skip
"""By the name of the sender: its variants, of which the last fits every body."""


def strategy_body(values: Mapping[str, object]) -> bool:
    """Whether a body without a template speaks TradingView's own names: a nested or dotted `strategy`."""
    return isinstance(values.get("strategy"), dict) or not STRATEGY_NAMES.isdisjoint(values)


STRATEGY_NAMES = frozenset({"strategy.order.action", "strategy.market_position"})
