"""What a signal's fields are called, and which names in a row, or in the columns of a table, mean them.

Every name that means no field, and is not that of a secret, is a feature's.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache

from raysignal.engine.core.errors import InvalidField
from raysignal.engine.intake.templates import RepeatedKeys

# Each field with the names it may come under; a name that is none of them, nor that of a secret, is a feature.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "timestamp": ("timestamp", "datetime", "time"),
    "price": ("price", "close"),
    "signal": ("signal", "Signal", "action"),
    "symbol": ("symbol", "ticker"),
    "source": ("source",),
    "signal_id": ("signal_id",),
    "size": ("size",),
    "stop_loss": ("stop_loss",),
    "take_profit": ("take_profit",),
    "trailing_stop_bps": ("trailing_stop_bps",),
    "confidence": ("confidence",),
    "expires": ("expires",),
    "price_only": ("price_only",),
}
FIELD_OF: Mapping[str, str] = {name: field for field, names in ALIASES.items() for name in names}
REQUIRED = ("timestamp", "signal", "price")

# Names in any case, with blanks, underscores and the like, as other programs write them. They mean a field where no
# name above does, and are features beside one: a file with `price` and `Close` keeps both.
_UNFOLDED = str.maketrans("", "", " _-/<>")
LOOSE_FIELD_OF: Mapping[str, str] = {
    name.translate(_UNFOLDED).casefold(): field for name, field in FIELD_OF.items()
} | {
    "date": "timestamp", "opentime": "timestamp", "dateandtime": "timestamp", "closeprice": "price", "side": "signal",
}  # fmt: skip

# What a column without a name is kept as, and what it is called where a data frame has named it meanwhile.
UNNAMED = "unnamed"
NAMELESS = frozenset({"", "Unnamed: 0"})
TICKER = "Ticker"
"""What yfinance calls the symbol of its columns."""

MAX_FEATURE_NAME = 128
_FEW = 32
NAMES_FIELDS = frozenset({"timestamp", "symbol", "source", "signal_id", "expires"})
"""Fields that hold no number."""


def check_names(names: Mapping[str, str]) -> dict[str, str]:
    """Field to the name that it has in some input, as `Reading` and settings of a source take it.

    Raises:
        InvalidField: no such field, no name, or one name for two fields.
    """
    for known, name in names.items():
        if known not in ALIASES:
            raise InvalidField("map", f"{known}={name}", f"one of {', '.join(ALIASES)} before the =")
        if not isinstance(name, str) or not name or list(names.values()).count(name) > 1:
            raise InvalidField("map", f"{known}={name}", "the name of a column, each for one field")
    return dict(names)


@dataclass(frozen=True, slots=True)
class NamedFields:
    """What the names of a row, or of the columns of a table, mean.

    Attributes:
        fields: name to field.
        unread: names of fields that `Reading.names` says stand elsewhere.
        not_features: all of these names; every other is that of a feature.
        beside: loose names of fields, which are features because another name means the field.
        clock: the names of a date and of a time that are one stamp where the time is one of day.
    """

    fields: dict[str, str]
    unread: frozenset[str]
    not_features: frozenset[str]
    beside: tuple[tuple[str, str], ...] = ()
    clock: tuple[str, str] | None = None


NO_FIELDS = NamedFields({}, frozenset(), frozenset(FIELD_OF) - {"size"})
"""Of a row from which a template has taken the fields; to senders a size is a quantity."""


def fields_in(names: Collection[str], mapped: Mapping[str, str]) -> NamedFields:
    """What names mean: `mapped` (field to name) first, then the names of `ALIASES`, then those that are like them."""
    if not mapped and len(names) <= _FEW:
        return _fields_of_few(tuple(names))
    return _fields_of(names, mapped)


@lru_cache(maxsize=128)
def _fields_of_few(names: tuple[str, ...]) -> NamedFields:
    # One row after the other has the same names.
    return _fields_of(names, {})


def _fields_of(names: Collection[str], mapped: Mapping[str, str]) -> NamedFields:
    fields = {name: known for name in names if (known := FIELD_OF.get(name)) is not None}
    loose = {
        name: known
        for name in names
        if name not in fields and (known := LOOSE_FIELD_OF.get(_folded(name))) is not None
    }
    said: dict[str, str] = {}
    for known, wanted in mapped.items():
        like = (name for name in names if _folded(name) == _folded(wanted))
        if (found := wanted if wanted in names else next(like, None)) is not None:
            said[found] = known
    free = {name: known for name, known in fields.items() if known not in mapped and name not in said}
    unread = frozenset(fields.keys() - free.keys() - said.keys())
    fields = free | said
    loose = {name: known for name, known in loose.items() if known not in mapped and name not in said}
    taken = set(fields.values())
    beside = tuple((name, known) for name, known in loose.items() if known in taken)
    fields |= {name: known for name, known in loose.items() if known not in taken}
    date = next((name for name in loose if _folded(name) == "date"), None)
    stamps = [name for name, known in fields.items() if known == "timestamp" and name != date]
    clock = None
    if date is not None and len(stamps) == 1 and _folded(stamps[0]) == "time" and stamps[0] not in said:
        clock = (date, stamps[0])
    return NamedFields(fields, unread, unread.union(fields), beside, clock)


def _folded(name: str) -> str:
    return name[:MAX_FEATURE_NAME].translate(_UNFOLDED).casefold()


def check_keys(values: Mapping[str, object], row: int | None) -> None:
    """Refuse an object in which a key stood twice."""
    if isinstance(values, RepeatedKeys):
        raise InvalidField(shown_name(values.name), values[values.name], "each key once", row)


def check_feature_name(name: str, row: int | None) -> str:
    """The name a feature is kept under."""
    if name in NAMELESS or not name.strip():
        return UNNAMED
    if len(name) > MAX_FEATURE_NAME or not is_unicode(name):
        expected = f"a name of at most {MAX_FEATURE_NAME} Unicode characters"
        raise InvalidField(shown_name(name), name, expected, row)
    return name


def shown_name(name: str) -> str:
    """A name as it can be written anywhere: encodable, and not longer than a name may be."""
    return name.encode("utf-8", "backslashreplace").decode()[:MAX_FEATURE_NAME]


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded: it holds no half surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
