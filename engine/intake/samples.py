"""A sample of a body that was refused, to be shown: short, and without what may be a secret."""

import json
import re

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
_UNQUOTED = {"=": re.compile(r"[^\s,;&]*"), ":": re.compile(r"[^,;&\n]*"), ">": re.compile(r"[^<]*")}
"""By the sign before a value: how far it goes where it has no quotes."""
_DROPPED = frozenset(name for variants in TEMPLATES.values() for each in variants for name in each.dropped)


def sample_of(body: bytes) -> str:
    """The beginning of a body as text, at most 300 characters."""
    text = body[:_LOOKED_AT].decode("utf-8", "replace")
    if len(body) <= _LOOKED_AT:
        try:
            text = json.dumps(_cleaned(json.loads(text)), ensure_ascii=False)
        except (ValueError, RecursionError):
            text = _masked(text)
    else:
        text = _masked(text)
    text = _LONG_RUN.sub(_MASKED, text)
    return text if len(text) <= MOST else text[: MOST - 1] + "…"


def _cleaned(value: object) -> object:
    if isinstance(value, dict):
        return {name: HIDDEN if _is_hidden(str(name)) else _cleaned(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_cleaned(held) for held in value]
    return value


def _masked(text: str) -> str:
    text, at = _LICENCE.sub(_MASKED, text), 0
    while (match := _NAME.search(text, at)) is not None:
        at = match.end()
        if any(_is_hidden(match[1][word.start() :].strip()) for word in re.finditer(r"\w+", match[1])):
            value = _QUOTED.match(text, at) or _UNQUOTED[match[2][-1]].match(text, at)
            text = text[:at] + HIDDEN + text[value.end() if value else at :]
            at += len(HIDDEN)
    return _MIXED.sub(_MASKED, text)


def _is_hidden(name: str) -> bool:
    return name in _DROPPED or is_secret_name(name)
