"""A sample of a body that was refused, to be shown: short, and without what may be a secret."""

import json
import re
from urllib.parse import parse_qsl

from raysignal.engine.core.secrets import HIDDEN, is_secret_name
from raysignal.engine.intake.templates import TEMPLATES

MOST = 300
_LOOKED_AT = 4096
_MASKED = "(…)"

# A long run of letters and digits may be a key, and so may a shorter one that mixes them, where it is not known what it
# is; a long number at the beginning is a licence.
_LONG_RUN = re.compile(r"[A-Za-z0-9_\-/+=]{20,}")
_MIXED = re.compile(r"\b(?=[A-Za-z_]*[0-9])(?=[0-9_]*[A-Za-z])\w{10,}\b")
_LICENCE = re.compile(r"^\s*[0-9]{8,20}(?=\s*,)")
# A name and what stands between it and its value, in quotes of any kind or in none; a name may have blanks within.
_QUOTES = "\"'\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb"
_NAME = re.compile(rf"(\w[^{_QUOTES}\\,;&{{}}()\[\]<>:=\n]{{0,63}})[\\{_QUOTES}]*\s*([:=>]+)\s*")
_ENDS = r"(?=\s*[,;&})\]>]|\s*$|\s+[\w.-]+\s*=)"
_QUOTED = re.compile(
    rf"""".*?(?<!\\)"{_ENDS}|'.*?(?<!\\)'{_ENDS}|[{_QUOTES[2:]}].*?[{_QUOTES}]{_ENDS}|[{_QUOTES}\[{{(].*""",
    re.DOTALL,
)
_NEXT = rf"\s*[{_QUOTES}]*[\w.][^{_QUOTES}\\,;&:=\n]{{0,63}}[{_QUOTES}]*\s*[:=]"  # another name and its sign
_UNQUOTED = {
    "=": re.compile(rf"(?:(?!\s+[\w.-]+\s*=)(?:[^,;&\n]|[,;&](?!{_NEXT})))*"),
    # With the lines of a YAML block or of what goes on further in.
    ":": re.compile(rf"(?:[|>][-+\d]*[ \t]*\n)?(?:[^,;&\n]|[,;&](?!{_NEXT}))*(?:\n[ \t]+[^\n]*)*"),
}
"""By the sign before a value: how far it goes where it has no quotes."""
_FORM = re.compile(r"[^\s=&,;:/?{}<>\"']+=[^\s&]*(?:&[^\s=&]+=[^\s&]*)*\s*")
_WORD = re.compile(rf"[\\{_QUOTES}\s]*([^{_QUOTES}\\,;&<>={{}}:\n]{{1,64}})")
_CLOSING = re.compile(r"</\s*(?:[\w.-]+:)?\Z")
_PAIR_NAMES = ("name", "key", "field", "id")
_DROPPED = frozenset(name for variants in TEMPLATES.values() for each in variants for name in each.dropped)


def sample_of(body: bytes) -> str:
    """The beginning of a body as text, at most 300 characters."""
    text = body[:_LOOKED_AT].decode("utf-8", "replace")
    text = _shown(text) if len(body) <= _LOOKED_AT else _masked(text)
    text = _LONG_RUN.sub(_MASKED, text)
    return text if len(text) <= MOST else text[: MOST - 1] + "…"


def _shown(text: str) -> str:
    if _FORM.fullmatch(text):
        pairs = parse_qsl(text.strip(), keep_blank_values=True)
        return "&".join(f"{name}={HIDDEN if _is_hidden(name) else _value(held)}" for name, held in pairs)
    return _value(text)


def _value(text: str) -> str:
    try:
        return json.dumps(_cleaned(json.loads(text)), ensure_ascii=False)
    except (ValueError, RecursionError):
        return _masked(text)


def _cleaned(value: object) -> object:
    if isinstance(value, dict):
        # What a field says that another one names: {"name": "secret", "value": …}.
        named = any(_is_hidden(str(held)) for name, held in value.items() if str(name).lower() in _PAIR_NAMES)
        return {
            name: HIDDEN if named or _is_hidden(str(name)) else _cleaned(held) for name, held in value.items()
        }
    if isinstance(value, list):
        return [_cleaned(held) for held in value]
    return _without_secrets(value) if isinstance(value, str) else value


def _masked(text: str) -> str:
    return _MIXED.sub(_MASKED, _without_secrets(_LICENCE.sub(_MASKED, text)))


def _without_secrets(text: str) -> str:
    at = 0
    while (match := _NAME.search(text, at)) is not None:
        at, name, sign = match.end(), match[1].strip(), match[2][-1]
        if sign == ">" and _CLOSING.search(text, max(0, match.start() - 70), match.start()):
            continue
        value = _WORD.match(text, at)
        if value and _is_hidden(value[1].strip()):  # what it names stands somewhere behind it
            return text[:at] + HIDDEN
        if any(_is_hidden(name[word.start() :]) for word in re.finditer(r"\w+", name)):
            text = text[:at] + HIDDEN + text[_end_of_value(text, at, name, sign) :]
            at += len(HIDDEN)
    return text


def _end_of_value(text: str, at: int, name: str, sign: str) -> int:
    if sign == ">":  # an element of XML, with all that is within
        element = re.escape(name.split(maxsplit=1)[0])
        end = re.compile(rf"</\s*(?:[\w.-]+:)?{element}\b", re.IGNORECASE).search(text, at)
        return len(text) if end is None else end.start()
    value = _QUOTED.match(text, at) or _UNQUOTED[sign].match(text, at)
    return at if value is None else value.end()


def _is_hidden(name: str) -> bool:
    return name in _DROPPED or is_secret_name(name)
