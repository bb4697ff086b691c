"""Words of texts as cohorts."""

import unicodedata

import numpy as np
import pytest

from raysignal.agents.labels import CategoryColumn
from raysignal.agents.override.accuracy import FLAG_FROM, TEXT, accuracy
from raysignal.agents.override.views import accuracy_of, settled_rows
from raysignal.agents.override.words import (
    LATEST_TEXTS,
    MOST_WORDS,
    comparable,
    latest_rows,
    rows_by_word,
    words_in,
)
from tests.support.similar_queries import remembered

N = 4 * FLAG_FROM
FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def looked_at(texts, judged=None, labelled=()):
    rows = latest_rows(np.ones(len(texts), bool) if judged is None else judged)
    return rows_by_word([comparable(texts[row]) for row in rows], rows, labelled)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("The Fed's rate-cut, 2025!", ["the", "fed", "s", "rate", "cut"]),
        ("RATE cut".translate(FULL_WIDTH), ["rate", "cut", "rate cut"]),
        ("ﬁnance", ["finance"]),
        (unicodedata.normalize("NFD", "Élan café"), ["élan", "café", "élan café"]),
        ("Straße", ["strasse"]),
        ("央行降息\uff0c利好", ["央行", "行降", "降息", "利好"]),
        ("金利を下げ", ["金利", "利を", "を下", "下げ"]),
        ("महँगाई बढ़ी", ["महँगाई", comparable("बढ़ी")]),
        ("инфляция растёт", ["инфляция", "растёт", "инфляция растёт"]),
        ("['fear', 'greed']", ["fear", "greed"]),
        ("12 34 5.6", []),
        ("h" * 50, []),
    ],
)
def test_words_of_several_languages_are_looked_at(text, names):
    # Every word beside itself once more, so that no two have the same rows.
    every = sorted({*names})
    rows = [text] * FLAG_FROM + [name for name in every for _ in range(FLAG_FROM)] + ["\n"] * N
    found = looked_at(rows + ["zz"] * 10 * N)
    assert set(names) <= found.keys()
    for name in names:
        assert found[name][:FLAG_FROM].tolist() == [*range(FLAG_FROM)]


def test_a_word_of_too_few_or_of_more_than_half_of_the_judged_texts_is_not_looked_at():
    often = {"often": N // 2 + 1, "half": N // 2, "some": FLAG_FROM, "few": FLAG_FROM - 1, "all": N}
    texts = ["; ".join(word for word, n in often.items() if row < n) for row in range(N)]
    lines = [text.replace("; ", "\n") for text in texts]  # words of several lines are no pairs
    assert set(looked_at(lines)) == {"half", "some"}
    judged = np.arange(N + 2) != 0  # one that is counted for it less, and two more to be half of
    assert set(looked_at([*lines, "all", "all"], judged)) == {"often", "half"}


def test_rows_without_a_text_are_not_what_a_word_is_half_of():
    texts = ["rates up"] * FLAG_FROM + ["rates"] * FLAG_FROM + [""] * 10 * N
    assert set(looked_at(texts)) == {"up"}


def test_a_pair_is_looked_at_where_it_says_more_than_its_words_and_never_across_lines():
    texts = ["rate cut", "rate hike", "job cut", "job\nhike"] * FLAG_FROM
    found = looked_at(texts)
    assert list(found) == ["cut", "hike", "job", "rate", "job cut", "rate cut", "rate hike"]
    assert found["rate cut"].tolist() == list(range(0, len(texts), 4))


def test_what_a_label_says_already_is_not_looked_at_again():
    moods = ["calm", "panic", "greed", ""] * FLAG_FROM
    texts = [f"{mood}\n{'rates' * (row % 5 == 0)}" for row, mood in enumerate(moods)]
    assert set(looked_at(texts, labelled=[CategoryColumn.of(moods)])) == set()
    assert set(looked_at(texts * 2, labelled=[CategoryColumn.of(moods * 2)])) == {"rates"}


def test_words_are_bounded_and_those_of_most_texts_are_taken():
    every = MOST_WORDS + FLAG_FROM + 10  # so many words, the k-th in every text but the k last
    texts = ["\n".join(f"w{word:03d}" for word in range(every - row)) for row in range(every)]
    found = looked_at(texts + [f"x{row}" for row in range(every)])
    assert sorted(found) == [f"w{word:03d}" for word in range(MOST_WORDS)]


def test_words_are_counted_in_the_latest_texts():
    texts = ["old"] * 100 + ["new", "other"] * (LATEST_TEXTS // 2)
    assert set(looked_at(texts)) == {"new", "other"}


def test_the_memory_counts_the_words_of_what_is_settled(tmp_path):
    follower = remembered(tmp_path, 200).follower
    texts = [follower.past.texts[row].split() for row in settled_rows(follower).tolist()]
    told = {one.name: one.n for one in accuracy_of(follower).cohorts if one.dimension == TEXT}
    assert {"halving", "fear and"} <= told.keys()
    assert told["halving"] == sum("halving" in text for text in texts)
    assert told["fear and"] == sum(text[0] == "fear" for text in texts)


def test_letters_of_words_stay_together():
    assert words_in(comparable("naïve e\u0301t\u0301e")) == ["naïve", "ét\u0301e"]


def test_characters_that_are_not_seen_are_left_out():
    assert comparable("Ra\0te\u200b \u00adcut\ufeff") == "rate cut"
    assert comparable("RATE\0") == "rate"


VOCABULARY = tuple(f"word{place}" for place in range(60))


def a_stream_of_texts(seed, n=400, *, horizon=1, repeats=1, planted=0.0):
    """(rows with each word, accuracy): texts of eight words that tell nothing but, if told, the first one.

    Horizons of several rows overlap, and a text is repeated by so many rows.
    """
    draws = np.random.default_rng([seed, 7])
    picks = np.argsort(draws.random((-(-n // repeats), len(VOCABULARY))), axis=1)[:, :8]
    picks = np.repeat(picks, repeats, axis=0)[:n]
    texts = [" ".join(VOCABULARY[word] for word in row) for row in picks]
    side = np.repeat(draws.choice([-1, 1], -(-n // repeats)), repeats)[:n]
    move = 20.0 * np.convolve(draws.standard_normal(n + horizon - 1), np.ones(horizon), "valid")
    wrong = (picks == 0).any(axis=1) & (draws.random(n) < planted)
    side = np.where(wrong, -np.sign(move), side).astype(np.int8)
    judged = np.ones(n, bool)
    words = rows_by_word(texts, np.arange(n), ())
    gross = side * move
    return words, accuracy(side, gross, gross - 6.0, judged, np.zeros(n, np.int32), {}, words)


@pytest.mark.parametrize(("horizon", "repeats"), [(1, 1), (6, 1), (6, 8)])
def test_streams_without_an_effect_name_no_more_patterns_than_the_correction_allows(horizon, repeats):
    named = 0
    for seed in range(40):
        words, found = a_stream_of_texts(seed, horizon=horizon, repeats=repeats)
        assert len(words) > 40
        named += bool(found.patterns())
    assert named <= 5  # 2 are expected at most; more than 5 come once in a hundred times


@pytest.mark.parametrize("seed", range(3))
def test_a_word_under_which_signals_are_wrong_is_a_pattern_and_the_only_one(seed):
    _, found = a_stream_of_texts(seed, n=800, horizon=3, planted=0.8)
    (pattern,) = [one for one in found.patterns() if " " not in one.name]
    assert (pattern.dimension, pattern.name, pattern.flag) == (TEXT, VOCABULARY[0], "bad")


def test_a_word_in_rows_that_are_not_there_is_refused():
    one = np.ones(2)
    with pytest.raises(ValueError, match="word 'up' is in row 2; expected rows up to 1"):
        accuracy(
            np.ones(2, np.int8), one, one, np.ones(2, bool), np.zeros(2, np.int32), {}, {"up": np.array([2])}
        )
