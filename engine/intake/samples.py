"""A sample of a body that was refused, to be shown: short, and without what may be a secret."""

import json
import re

from raysignal.engine.core.secrets import HIDDEN, is_secret_name
from raysignal.engine.intake.templates import TEMPLATES

MOST = 300
_LOOKED_AT = 4096
_MASKED = "(…)"

# A long run of letters and digits may be a key; a long number at the beginning is a licence.
_LONG_RUN = re.compile(r"[A-Za-z0-9_\-/+=]{20,}")
_LICENCE = re.compile(r"^\s*[0-9]{8,20}(?=\s*,)")
_NAMED = re.compile(r"""([A-Za-z_][\w.-]{0,63})(["']?\s*[:=]\s*)("[^"]*"?|'[^']*'?|[^\s,;&{}()]+)""")
_DROPPED = frozenset(name for variants in TEMPLATES.values() for each in variants for name in each.dropped)


def sample_of(body: bytes, hidden: frozenset[str] = frozenset()) -> str:
    """The beginning of a body as text, at most 300 characters.

    Args:
        body: as it came.
        hidden: names, beside those of secrets, whose values are not shown.
    """
    text = body[:_LOOKED_AT].decode("utf-8", "replace")
    if len(body) <= _LOOKED_AT:
        try:
            text = json.dumps(_cleaned(json.loads(text), hidden), ensure_ascii=False)
        except (ValueError, RecursionError):
            text = _masked(text, hidden)
    else:
        text = _masked(text, hidden)
    text = _LONG_RUN.sub(_MASKED, text)
    return text if len(text) <= MOST else text[: MOST - 1] + "…"


def _cleaned(value: object, hidden: frozenset[str]) -> object:
    if isinstance(value, dict):
        return {
            name: HIDDEN if _is_hidden(str(name), hidden) else _cleaned(held, hidden)
            for name, held in value.items()
        }
    if isinstance(value, list):
        return [_cleaned(held, hidden) for held in value]
    return value


def _masked(text: str, hidden: frozenset[str]) -> str:
    def kept(match: re.Match[str]) -> str:
        name, between, _ = match.groups()
        return f"{name}{between}{HIDDEN}" if _is_hidden(name, hidden) else match[0]

    return _NAMED.sub(kept, _LICENCE.sub(_MASKED, text))


def _is_hidden(name: str, hidden: frozenset[str]) -> bool:
    return name in hidden or name in _DROPPED or is_secret_name(name)
