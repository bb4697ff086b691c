"""The text columns of a signal file: labels that go with the mood, and made-up news in several languages.

Texts know the mood, the price and nothing of what comes next or of the signal. Labels and free text draw
from streams of their own, so that leaving the free text out changes no label.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from raysignal.data import phrases
from raysignal.data.draws import Draws, position_in_blocks
from raysignal.engine.core.arrays import Int64Array

TextLength = Literal["long", "short", "none"]
FREE_TEXT = ("summary", "next_news_prediction", "key_factors", "psychology_explanation")

_WORDS_A_ROW = 256
_OTHER_LANGUAGE = 0.12
_NO_LEADING_SPACE = 0.03
_CASE_VARIANT = 0.01
_LOWER_EMOTION = 0.08
_FORMULA_EVERY = 40  # rows

Pick = Callable[[Sequence[str]], str]


@dataclass(frozen=True, slots=True)
class SentimentTexts:
    """n values each: `sentiment`, `dominant_sentiment`, `emotions` (three, by commas) and `intensity`."""

    sentiment: list[str]
    dominant: list[str]
    emotions: list[str]
    intensity: Int64Array


def make_labels(mood: Int64Array, *, seed: int, symbol: int) -> SentimentTexts:
    """Labels for every row, a few of them in another case than the rest."""
    n = len(mood)
    draws = Draws(seed, symbol, 6)
    level = np.searchsorted(phrases.SENTIMENT_FROM, mood, side="right") - 1
    which, variant, lower = draws.uniform(n), draws.uniform(n), draws.uniform(n)
    # One row that differs in case, whatever the draw, so that small files show it too.
    variant[int(draws.below(n, 1)[0])] = 0.0
    first, second, third = draws.below(6, n), draws.below(5, n), draws.below(4, n)
    intensity = np.abs(mood - 50) // 12 + 5 + draws.below(2, n)
    dominant, emotions = [], []
    for i, place in enumerate(level.tolist()):
        labels = phrases.DOMINANT[place]
        label = labels[int(which[i] * len(labels))]
        dominant.append(label.capitalize() if variant[i] < _CASE_VARIANT else label)
        left = list(phrases.EMOTIONS[place])
        three = ", ".join(left.pop(int(at)) for at in (first[i], second[i], third[i]))
        emotions.append(three.lower() if lower[i] < _LOWER_EMOTION else three)
    return SentimentTexts(
        [phrases.SENTIMENTS[place] for place in level.tolist()], dominant, emotions, intensity
    )


class NewsDesk:
    """Writes the free text of one symbol's rows, in order."""

    def __init__(self, rows: int, length: TextLength, *, seed: int, symbol: int) -> None:
        self._draws = Draws(seed, symbol, 7)
        self._length = length
        self._row = 0
        at = position_in_blocks(Draws(seed, symbol, 8), rows, _FORMULA_EVERY).tolist()
        signs = phrases.FORMULA_LOOKING
        self._formulas = {row: signs[i % len(signs)] for i, row in enumerate(at)}

    def write(self, mood: int, price: float) -> tuple[str, str, str, str]:
        """The next row's `FREE_TEXT`; all empty if texts are off."""
        formula = self._formulas.get(self._row, "")
        self._row += 1
        if self._length == "none":
            return "", "", "", ""
        long = self._length == "long"
        words = iter(self._draws.words(_WORDS_A_ROW).tolist())
        story = _Story(words, mood, price)
        elsewhere = story.chance(_OTHER_LANGUAGE)
        summary = story.abroad(3) if elsewhere else story.tell(_summaries(long))
        prediction = _prediction(story, long=long, abroad=elsewhere and story.chance(0.5))
        if formula:
            prediction = story.fill(formula) + prediction
        elif not story.chance(_NO_LEADING_SPACE):
            prediction = " " + prediction
        factors = ", ".join(story.tell_each(phrases.FACTORS if long else phrases.SHORT_FACTORS, 3))
        states = story.tell_each(phrases.STATES, 3 if long else 1)
        return summary, prediction, factors, " ".join(states)


def _summaries(long: bool) -> Sequence[str]:
    return phrases.SUMMARIES if long else phrases.SHORT_SUMMARIES


def _prediction(story: "_Story", *, long: bool, abroad: bool) -> str:
    headline = story.abroad(1) if abroad else story.tell(phrases.HEADLINES)
    if not long:
        return f"{headline} | CERTAINTY {story.score}/10 | BECAUSE {story.tell(phrases.REASONS)}."
    report = story.abroad(3) if abroad else " ".join(story.tell_each(phrases.REPORTS, 7))
    reasons = " ".join(f"{i}. {text}." for i, text in enumerate(story.tell_each(phrases.REASONS, 4), 1))
    return (
        f"{headline} | WHAT IS KNOWN: {report} | SEEN BEFORE: "
        f"{' '.join(story.tell_each(phrases.PARALLELS, 2))} | CERTAINTY: {story.score}/10, as "
        f"{story.behind}, while {story.pick(phrases.SLOTS['cause'])} could change it. | "
        f"WHAT DRIVES IT: {reasons}"
    )


class _Story:
    """One row's facts, and the choices that its words make."""

    def __init__(self, words: Iterator[int], mood: int, price: float) -> None:
        self._words = words
        self._price, self._mood = price, mood
        does, behind = phrases.TONES[0 if mood < 42 else 1 if mood < 58 else 2]
        self.percent = f"{self._below(900) / 100 + 0.25:.2f}"
        self.price = f"${round(price, -2):,.0f}"
        self.does = self.fill(self.pick(phrases.SLOTS[does]))
        self.behind = self.pick(phrases.SLOTS[behind])
        self.score = 5 + self._below(5)

    def _below(self, limit: int) -> int:
        return (next(self._words) >> 32) * limit >> 32

    def chance(self, probability: float) -> bool:
        return self._below(1 << 20) < probability * (1 << 20)

    def pick(self, choices: Sequence[str]) -> str:
        return choices[self._below(len(choices))]

    def fill(self, template: str) -> str:
        return template.format_map(_Slots(self))

    def tell(self, templates: Sequence[str]) -> str:
        told = self.fill(self.pick(templates))
        return told[0].upper() + told[1:]

    def tell_each(self, templates: Sequence[str], count: int) -> list[str]:
        """`count` templates, one after the other from a drawn place on, so that none comes twice running."""
        first = self._below(len(templates))
        told = [self.fill(templates[(first + i) % len(templates)]) for i in range(count)]
        return [text[0].upper() + text[1:] for text in told]

    def abroad(self, count: int) -> str:
        sentences = phrases.ELSEWHERE[self.pick(tuple(phrases.ELSEWHERE))]
        first = self._below(len(sentences))
        return " ".join(self.fill(sentences[(first + i) % len(sentences)]) for i in range(count))


class _Slots(dict[str, str]):
    """What stands in a template's slots: the row's facts, else a choice from the word list."""

    def __init__(self, story: _Story) -> None:
        super().__init__()
        self._story = story

    def __missing__(self, slot: str) -> str:
        story = self._story
        if slot == "year":
            return str(2013 + story._below(11))  # noqa: SLF001 - one thing in two classes
        if slot in {"price", "percent", "does", "behind"}:
            return str(getattr(story, slot))
        return story.pick(phrases.SLOTS[slot])
