"""Texts from files, rules and services, made fit for a terminal."""

import re

from rich import markup

# All but tab and newline: escape sequences would move the cursor, or set the title of the window.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def escape(text: str) -> str:
    r"""A text as it is, for `rich`: what looks like markup is none, and control characters stand as `\x1b`."""
    return markup.escape(_CONTROLS.sub(lambda found: f"\\x{ord(found[0]):02x}", text))
