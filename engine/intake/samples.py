"""A sample of a body that was refused, to be shown: short, and without what may be a secret.

Of JSON and of forms the values of secrets are left out. Any other text ends where a secret may begin.
"""

import json
import re
from urllib.parse import parse_qsl

from raysignal.engine.core.secrets import HIDDEN, hide_secrets, is_secret_name, without_secrets
from raysignal.engine.intake.templates import TEMPLATES

MOST = 300
_LOOKED_AT = 4096
_MASKED = "(…)"
_DEEPEST = 50

# A long run of letters and digits may be a key, and so may a shorter one that mixes them, where it is not known what it
# is; a long number at the beginning is a licence.
_LONG_RUN = re.compile(r"[A-Za-z0-9_\-/+=]{20,}")
_MIXED = re.compile(r"\b(?=[A-Za-z_]*[0-9])(?=[0-9_]*[A-Za-z])\w{10,}\b")
_LICENCE = re.compile(r"\A\s*[0-9]{8,20}(?=\s*,)")
_FORM = re.compile(r"[^\s=&,;:/?{}<>\"']+=[^\s&]*(?:&[^\s=&]+=[^\s&]*)*\s*")
_VARIANTS = [each for variants in TEMPLATES.values() for each in variants]
_TEXTS = [each.text for each in _VARIANTS if each.text is not None]
_DROPPED = frozenset(name for each in _VARIANTS for name in each.dropped)
_DROPPED_IN_TEXT = re.compile(rf"\b(?:{'|'.join(sorted(_DROPPED))})\b[\s\\\"']*[:=>]")


def sample_of(body: bytes) -> str:
    """The beginning of a body as text, at most 300 characters."""
    text = body[:_LOOKED_AT].decode("utf-8", "replace").removeprefix("\ufeff")
    if "\0" in text:  # as text in UTF-16 has it
        text = text.replace("\0", "").lstrip("\ufffd")
    text = _LONG_RUN.sub(_MASKED, _shown(text))
    return text if len(text) <= MOST else text[: MOST - 1] + "…"


def _shown(text: str) -> str:
    try:
        return json.dumps(without_secrets(json.loads(text), _is_hidden, deepest=_DEEPEST), ensure_ascii=False)
    except (ValueError, RecursionError):
        pass
    if _FORM.fullmatch(text):
        pairs = dict(parse_qsl(text.strip(), keep_blank_values=True))
        shown = without_secrets(pairs, _is_hidden)
        assert isinstance(shown, dict)
        return "&".join(f"{name}={value}" for name, value in shown.items())
    return _MIXED.sub(_MASKED, _text(text))


def _text(text: str) -> str:
    """Text up to where a secret may begin, without the keys that a sender's own form has."""
    for pattern in _TEXTS:
        if (match := pattern.match(text.lstrip())) is not None:
            key = next(name for name in pattern.groupindex if _is_hidden(name))
            text = match.string[: match.start(key)] + _MASKED + match.string[match.end(key) :]
    text = hide_secrets(_LICENCE.sub(_MASKED, text))
    found = _DROPPED_IN_TEXT.search(text)
    return text if found is None else text[: found.end()] + HIDDEN


def _is_hidden(name: str) -> bool:
    return name in _DROPPED or is_secret_name(name)
