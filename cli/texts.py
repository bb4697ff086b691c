"""Texts from files, rules and services, made fit for a terminal."""

import re

from rich import markup

# All but tab and newline: escape sequences would move the cursor, or set the title of the window; marks of direction
# would show a text in another order; half of a surrogate pair cannot be written.
_CONTROLS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escape(text: str) -> str:
    r"""A text as it is, for `rich`: what looks like markup is none, control characters are written as `\x1b`."""
    return markup.escape(_CONTROLS.sub(lambda found: _written(ord(found[0])), text))


def _written(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
