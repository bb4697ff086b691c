"""From a prompt context to a prompt: deterministic, and with every byte of the feed cleaned, capped and quoted.

The data of a context stands as JSON in one block. All of it is ASCII, and `<`, `>`, `&` and backticks are
escaped in it, so neither the block's end nor a fence can occur inside. What is allowed stands outside, made
from enums. Ids are replaced by labels (E1, E2, ...). Dates and price levels are left out: a model has read
about the past, and must not recognise it.
"""

import hashlib
import itertools
import json
import math
import re
import unicodedata
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from string import Template
from typing import Any

from raysignal.agents.llm.prompt_context import Precedent, PromptContext, ReviewContext
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.errors import InvalidField, UnreadableInput

NAME_LIMIT = 40
CATEGORY_LIMIT = 60
TEXT_LIMIT = 280
FIELDS_LIMIT = 32
"""Names of one kind of field that are shown; the rest, in the order of the names, is left out and counted."""
PRECEDENTS_LIMIT = 16

OPENING, CLOSING = "<data>", "</data>"
_CUT = "[cut]"
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
# Letters and marks that show nothing (Default_Ignorable_Code_Point of Unicode), beyond the categories above.
_HIDDEN = frozenset(
    chr(code)
    for codes in ((0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0), range(0x180B, 0x1810),
                  range(0xFE00, 0xFE10), range(0xE0000, 0xE1000))
    for code in codes
)  # fmt: skip
_SPACES = re.compile(r"\s+")
_ESCAPED = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&`\x7f"}
_SIDES = {1: "buy", -1: "sell"}


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt context.

    Attributes:
        version: of the prompt file.
        hash: SHA-256 of the prompt file.
        system: the instruction; the same for every context.
        user: the question.
        labels: the real id of each label that is shown.
        allowed: the verdicts, as words, that may be answered.
    """

    version: str
    hash: str
    system: str
    user: str
    labels: Mapping[str, str]
    allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PromptFile:
    """A prompt file that was read: its version, its hash, its two parts."""

    version: str
    hash: str
    system: str
    user: str

    def render(self, context: PromptContext) -> Prompt:
        """The prompt of a context: the same bytes for the same context, on every machine."""
        shown = context.precedents[:PRECEDENTS_LIMIT]
        labels = {f"E{number}": precedent.id for number, precedent in enumerate(shown, start=1)}
        allowed = tuple(verdict.name.lower() for verdict in sorted(context.allowed))
        user = Template(self.user).substitute(
            allowed=", ".join(allowed), labels=", ".join(labels) or "none", data=_data_of(context, shown)
        )
        return Prompt(self.version, self.hash, self.system, user, labels, allowed)


OVERRIDE, REVIEW = "override_v1", "review_v1"


@cache
def load_prompt(name: str = OVERRIDE) -> PromptFile:
    """Read a prompt file of this package; `InvalidField` if there is none, `UnreadableInput` if it is no prompt."""
    path = resources.files("raysignal.agents.llm") / "prompts" / f"{name}.md"
    if not re.fullmatch(r"\w+", name) or not path.is_file():
        raise InvalidField("prompt", name, "a file of agents/llm/prompts, such as override_v1")
    return read_prompt(path.read_bytes())


def prompt_for(context: PromptContext) -> PromptFile:
    """The prompt file for a question about the grey zone, or for a reviewer's."""
    return load_prompt(OVERRIDE if context.review is None else REVIEW)


def read_prompt(content: bytes) -> PromptFile:
    """A prompt file from its bytes: a line `version: ...`, then the parts `## System` and `## User`."""
    match = re.fullmatch(
        r"version: (\S+)\n+## System\n+(.+?)\n+## User\n+(.+?)\n*", content.decode(), re.DOTALL
    )
    if match is None:
        raise UnreadableInput(
            "the prompt file expected `version: ...`, `## System` and `## User`, in this order"
        )
    version, system, user = match.groups()
    if (names := set(Template(user).get_identifiers())) != {"allowed", "labels", "data"}:
        raise UnreadableInput(f"the prompt file names {sorted(names)}; expected $allowed, $labels and $data")
    if f"{OPENING}\n$data\n{CLOSING}" not in user:
        raise UnreadableInput(f"the prompt file expected $data alone between {OPENING} and {CLOSING}")
    return PromptFile(version, hashlib.sha256(content).hexdigest(), system, user)


def clean(text: str, limit: int) -> str:
    """One line of visible characters, NFKC-normalised, at most `limit` of them.

    Control, formatting (bidirectional, zero-width), private and unassigned characters are removed, and so
    are letters and marks that show nothing; white space becomes one space. Cleaning twice changes nothing.
    """
    # One character becomes at most 18 by NFKC; more of the text than this cannot matter.
    text = _visible(text[: 64 * limit])
    return text if len(text) <= limit else text[: limit - len(_CUT) - 1].rstrip() + " " + _CUT


def data_in(user: str) -> dict[str, Any]:
    """The data block of a rendered question, as a reader of the prompt sees it."""
    block = user.partition(f"{OPENING}\n")[2].partition(f"\n{CLOSING}")[0]
    data: dict[str, Any] = json.loads(block)
    return data


def _visible(text: str) -> str:
    spaced = _SPACES.sub(" ", unicodedata.normalize("NFKC", text))
    kept = "".join(sign for sign in spaced if not _is_hidden(sign))
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", kept)).strip()


def _is_hidden(sign: str) -> bool:
    return unicodedata.category(sign) in _HIDDEN_CATEGORIES or sign in _HIDDEN


def _data_of(context: PromptContext, shown: tuple[Precedent, ...]) -> str:
    second = context.timestamp_us // 1_000_000
    block = {
        "signal": {
            "action": _SIDES[context.action],
            "symbol": clean(context.symbol, NAME_LIMIT),
            "weekday": _WEEKDAYS[(second // 86_400 + 3) % 7],
            "hour_utc": second // 3_600 % 24,
        },
        "numbers": _numbers(context),
        "categories": _fields(context.categories, lambda text: clean(text, CATEGORY_LIMIT)),
        "texts": _fields(context.texts, lambda text: clean(text, TEXT_LIMIT)),
        "statistics": _fields(context.statistics, _number),
        "precedents": {f"E{number}": _precedent(each) for number, each in enumerate(shown, start=1)},
    }
    if context.review is not None:
        block["statistics"] |= _strength(context)
        block["patterns"] = _patterns(context.review)
    return quoted(block)


def _numbers(context: PromptContext) -> dict[str, Any]:
    """Numbers in standard deviations; for a reviewer with their place in the history so far."""
    if context.review is None:
        return _fields(context.numbers, _number)
    standings = context.review.standings
    told = {
        name: {"z": _number(value), "lower_so_far": _number(round(standings.get(name, math.nan), 3))}
        for name, value in context.numbers.items()
    }
    return _fields(told, lambda each: each)


def _strength(context: PromptContext) -> dict[str, Any]:
    """How much the statistics can be relied on, in words."""
    assert context.review is not None
    effective, enough = context.statistics.get("precedents_effective", 0.0), context.review.enough
    word = next(word for share, word in _STRENGTHS if effective < share * enough)
    return {"strength_of_the_evidence": word}


def _patterns(review: ReviewContext) -> dict[str, Any]:
    """How often signals like this one were right, each with what a plain count of so many can be off by."""
    told: dict[str, Any] = {"conditions_looked_at": review.counted}
    for number, each in enumerate(review.patterns, start=1):
        share, usual = each.right / each.signals, each.usual
        told[f"P{number}"] = {
            "field": clean(each.field, NAME_LIMIT),
            "value": clean(each.value, CATEGORY_LIMIT),
            "signals": each.signals,
            "right": _number(round(share, 3)),
            "right_without_knowledge": _number(round(usual, 3)),
            "standard_error": _number(round(math.sqrt(usual * (1.0 - usual) / each.signals), 3)),
            "mean_net_bps_approve": _number(round(each.net_bps, 2)),
        }
    return told


def quoted(block: Mapping[str, Mapping[str, Any]]) -> str:
    """JSON, a field a line, of printable ASCII without `<`, `>`, `&` and backticks.

    These signs have no place in JSON outside of strings, where they are escaped.
    """
    parts = (f" {_quoted(part)}: {_quoted_fields(fields)}" for part, fields in block.items())
    return "{\n" + ",\n".join(parts) + "\n}"


def _quoted_fields(fields: Mapping[str, Any]) -> str:
    lines = ",\n".join(f"  {_quoted(name)}: {_quoted(value)}" for name, value in fields.items())
    return f"{{\n{lines}\n }}" if lines else "{}"


def _quoted(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False).translate(_ESCAPED)


def _precedent(precedent: Precedent) -> dict[str, Any]:
    return {
        "action": _SIDES[precedent.action],
        "right": precedent.right,
        "net_bps": {
            verdict.name.lower(): round(float(precedent.net_bps[verdict]), 2) + 0.0 for verdict in Verdict
        },
        "age_hours": _number(precedent.age_s / 3_600),
        "distance": _number(precedent.distance),
    }


def _fields(fields: Mapping[str, Any], show: Callable[[Any], Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in sorted(fields)[:FIELDS_LIMIT]:
        shown[_free_name(clean(name, NAME_LIMIT), shown)] = show(fields[name])
    if len(fields) > FIELDS_LIMIT:
        shown[_free_name("fields left out", shown)] = len(fields) - FIELDS_LIMIT
    return shown


def _free_name(name: str, taken: Container[str]) -> str:
    """The name, or one with a number: names that cleaning made the same must not hide each other."""
    numbered = (f"{name} ({number})" for number in itertools.count(2))
    return name if name not in taken else next(each for each in numbered if each not in taken)


def _number(value: float) -> float | None:
    """Six significant digits; what is not finite is missing."""
    return float(f"{value:.6g}") + 0.0 if math.isfinite(value) else None


_STRENGTHS = ((0.4, "very weak"), (1.0, "weak"), (math.inf, "fair"))
"""Below which share of the independent precedents that the gate needs; it decides the strong cases itself."""
_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
