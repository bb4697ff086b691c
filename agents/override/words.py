"""Words of the texts that came with signals, and pairs of neighbouring ones, as cohorts.

Which words are looked at follows from how often they occur, and never from what became of the signals: so the
correction for how many were looked at (`agents.override.accuracy`) holds for them as for every other cohort.

A word is letters, digits and marks up to the next blank or punctuation. Chinese characters and kana, which are written
without blanks, are taken two by two. Other scripts without blanks, such as Thai, are not divided.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise

import numpy as np

from raysignal.agents.labels import CategoryColumn
from raysignal.agents.override.accuracy import FLAG_FROM
from raysignal.agents.override.texts import UNSEEN
from raysignal.engine.core.arrays import BoolArray, Int64Array

MOST_WORDS = 200
"""Words and pairs that are looked at; each more makes it harder for all to stand out."""
LATEST_TEXTS = 2_000
"""Words are counted in the texts of so many of the latest signals."""
LONGEST_WORD = 40
"""Characters; what is longer, such as an address, is no word."""
# Marks that belong to the letter before: accents, Hebrew, Arabic, then the scripts of South and South-East Asia.
_WORD = re.compile(
    r"[\w\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0963\u0966-\u109f\u1780-\u17d3]+"
)
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")


def comparable(text: str) -> str:
    """A text as its words are compared and searched: NFKC, letters' case ignored, what is not seen left out.

    Nor has it a NUL, where Chroma's search would end.
    """
    text = UNSEEN.sub("", text.replace("\0", ""))
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def words_in(text: str) -> list[str]:
    """The words of a comparable text, in their order."""
    return _WORD.findall(text)


def latest_rows(judged: BoolArray) -> Int64Array:
    """The rows whose texts are looked at, in their order."""
    return np.flatnonzero(judged)[-LATEST_TEXTS:]


def rows_by_word(
    texts: Sequence[str], rows: Int64Array, labelled: Iterable[CategoryColumn]
) -> dict[str, Int64Array]:
    """The most frequent words and pairs of the texts of some rows, each with the rows whose text has it.

    A word is left out that fewer than `FLAG_FROM` of the rows have, or more than half of those with a text, or exactly
    the rows of a label or of another word.

    Args:
        texts: comparable ones, one a row, fields divided by line ends.
        rows: int64[m], as of `latest_rows`.
        labelled: cohorts of all rows.
    """
    ids: dict[str, int] = {}
    codes: list[Int64Array] = []  # of each text, -1 behind every line
    for text in texts:
        lines = (
            [*(ids.setdefault(word, len(ids)) for word in _words(line)), -1] for line in text.split("\n")
        )
        codes.append(np.fromiter(chain.from_iterable(lines), np.int64))
    spelt, code = list(ids), np.concatenate([*codes, np.zeros(0, np.int64)])
    place = np.repeat(np.arange(len(codes)), [len(own) for own in codes])
    is_word = code >= 0
    held = len(np.unique(place[is_word]))
    found = {spelt[word]: rows[own] for word, own in _frequent(code[is_word], place[is_word])}
    frequent = np.zeros(len(ids) + 1, np.bool_)  # the last one is for -1
    frequent[np.array([ids[word] for word in found], np.int64)] = True
    pair = np.flatnonzero(frequent[code[:-1]] & frequent[code[1:]])
    for key, own in _frequent(code[pair] * len(ids) + code[pair + 1], place[pair]):
        one, other = divmod(key, len(ids))
        found[f"{spelt[one]} {spelt[other]}"] = rows[own]
    names = [name for name, own in found.items() if len(own) <= held / 2]
    names.sort(key=lambda name: (-len(found[name]), " " in name, name))
    known = {own.tobytes() for labels in labelled for own in _rows_of(labels, rows)}
    told: dict[str, Int64Array] = {}
    for name in names:
        own = found[name]
        if len(told) < MOST_WORDS and own.tobytes() not in known:
            known.add(own.tobytes())
            told[name] = own
    return told


def _frequent(key: Int64Array, place: Int64Array) -> Iterator[tuple[int, Int64Array]]:
    """The keys that at least `FLAG_FROM` places have, each with these, in their order."""
    texts = int(place.max(initial=0)) + 1
    key, place = np.divmod(np.unique(key * texts + place), texts)
    first = np.flatnonzero(np.diff(key, prepend=-1))
    count = np.diff(first, append=len(key))
    often = count >= FLAG_FROM
    for start, n in zip(first[often].tolist(), count[often].tolist(), strict=True):
        yield int(key[start]), place[start : start + n]


def _words(line: str) -> Iterator[str]:
    """The words of a line that have a letter, characters of scripts without blanks two by two."""
    unspaced = _UNSPACED.search(line) is not None
    for word in words_in(line):
        if unspaced and _UNSPACED.search(word):
            for run in _UNSPACED.findall(word):
                yield from map("".join, pairwise(run))
        elif len(word) <= LONGEST_WORD and not word.isdecimal():
            yield word


def _rows_of(labels: CategoryColumn, rows: Int64Array) -> Iterator[Int64Array]:
    """The rows of each label, of those that are counted."""
    codes = labels.codes[rows]
    return (rows[codes == code] for code in range(len(labels.names)))
