"""Past outcomes like a signal: what is shown of them, in which order, and what is refused."""

import asyncio
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from raysignal.agents.override.outcome_vectors import SettledRows
from raysignal.agents.override.signal_columns import LONGEST_ROW, LONGEST_TEXT, texts_of
from raysignal.agents.override.similar import OutcomeFilter, SimilarQuery, find_similar, words_of
from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import AgentUnavailable, InvalidField, NotFound
from raysignal.engine.core.instants import parse_instant
from raysignal.engine.core.signals import Action, Signal
from tests.support.similar_queries import MINUTE, InProcess, Remembered, remembered

pytest.importorskip("chromadb_rust_bindings")
LATE = 10**15


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Remembered:
    return remembered(tmp_path_factory.mktemp("world"), 240)


@pytest.fixture(scope="module")
def index(known: Remembered):
    with closing(InProcess(known.rows)) as opened:
        yield opened


def test_hits_are_the_nearest_that_were_known_with_their_outcomes(known, index):
    signal_id = known.batch.signal_id[200]
    found = find_similar(known.rows, index, SimilarQuery(signal_id=signal_id, k=5))
    as_of_us = int(known.batch.timestamp_us[200])
    assert (found["by"], parse_instant(found["as_of"])) == ("signal", as_of_us)
    truth = known.rows.read(0, known.rows.count())
    asked, _ = known.rows.signal(signal_id)
    distance = np.linalg.norm(truth.vectors - asked, axis=1)
    seen = [at for at, facts in enumerate(truth.facts) if facts["known_at_us"] <= as_of_us]
    expected = sorted(seen, key=lambda at: (distance[at], at))[:5]
    assert [hit["distance"] for hit in found["hits"]] == pytest.approx(distance[expected], abs=1e-5)
    for hit in found["hits"]:
        (facts,) = (facts for facts in truth.facts if facts["signal_id"] == hit["signal_id"])
        assert hit["net_bps"]["approve"] == facts["net_approve_bps"]
        assert hit["right"] == facts["right"]


def test_signal_is_not_shown_itself_when_its_outcome_is_known(known, index):
    signal_id = known.rows.read(20, 21).facts[0]["signal_id"]
    found = find_similar(known.rows, index, SimilarQuery(signal_id=signal_id, as_of_us=LATE, k=100))
    assert len(found["hits"]) == 100
    assert signal_id not in [hit["signal_id"] for hit in found["hits"]]


def test_outcomes_are_found_by_words_the_latest_known_first(known, index):
    fits = OutcomeFilter(symbol="ETH", right=True)
    found = find_similar(known.rows, index, SimilarQuery(text="FEAR, rates!", as_of_us=LATE, fits=fits, k=7))
    truth = known.rows.read(0, known.rows.count())
    expected = [
        facts["signal_id"]
        for facts, text in zip(truth.facts, truth.texts, strict=True)
        if "fear" in text and "rates" in text and facts["symbol"] == "ETH" and facts["right"]
    ]
    assert [hit["signal_id"] for hit in found["hits"]] == expected[::-1][:7]
    assert {hit["distance"] for hit in found["hits"]} == {None}


def test_signal_that_was_not_taken_in_is_placed_behind_those_that_were(known, index):
    signal = Signal(
        "BTC", int(known.batch.timestamp_us[-1]) + MINUTE, Action.BUY, 101.0, features={"mood": -1.0}
    )
    before = known.follower.decider.agent.encoder.symbols()
    vector = asyncio.run(known.follower.preview(SignalBatch.of_signals([signal])))
    assert np.isfinite(vector).all()
    assert vector.any()
    assert known.follower.decider.agent.encoder.symbols() == before
    again = asyncio.run(known.follower.preview(SignalBatch.of_signals([signal])))
    assert np.array_equal(vector, again), "a preview changes nothing"
    query = SimilarQuery(signal_id="new", vector=vector, as_of_us=signal.timestamp_us, k=3)
    assert len(find_similar(known.rows, index, query)["hits"]) == 3


def test_signal_that_nobody_decided_is_not_found(known, index):
    with pytest.raises(NotFound, match="knows no signal 'nobody' among the 240"):
        find_similar(known.rows, index, SimilarQuery(signal_id="nobody"))


@pytest.mark.parametrize("text", ["", "?!", " ".join(f"word{at}" for at in range(17))])
def test_text_without_a_word_or_with_too_many_is_refused(known, index, text):
    with pytest.raises(InvalidField, match="1 to 16 different words"):
        find_similar(known.rows, index, SimilarQuery(text=text, as_of_us=LATE))


def test_long_text_is_refused_before_chroma_is_asked(known, index):
    with pytest.raises(InvalidField, match="at most 1,000 characters, not 50,001"):
        find_similar(known.rows, index, SimilarQuery(text="x" * 50_001, as_of_us=LATE))


def test_span_that_ends_before_it_begins_is_refused():
    with pytest.raises(InvalidField, match=r"from is .*1970-01-01T00:00:00.000002Z"):
        OutcomeFilter(start_us=2, end_us=2)


def test_before_anything_is_settled_there_are_no_hits(known):
    query = SimilarQuery(vector=np.zeros(64, np.float32), as_of_us=LATE)
    assert find_similar(known.rows, None, query)["hits"] == []
    assert find_similar(known.rows, None, replace(query, text="fear"))["hits"] == []


def test_agent_that_learns_what_was_decided_before_says_so():
    with pytest.raises(AgentUnavailable, match="not ready"):
        find_similar(SettledRows(), None, SimilarQuery(signal_id="one"))


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("\uff32\uff21\uff34\uff25 cut", "rate"),
        ("rate cut", "\uff32\uff41\uff54\uff45"),
        ("\ufb01nance", "FINANCE"),
        ("cafe\u0301", "CAF\u00c9"),
        ("caf\u00e9", "Cafe\u0301"),
        ("Stra\u00dfe", "STRASSE"),
        ("old\0 fear", "fear"),
        ("fe\u200bar", "FEAR"),
        ("fear", "fe\u00ad\u2060a\0r"),
        ("\u592e\u884c\u964d\u606f", "\u964d\u606f"),
        ("\u092e\u0939\u0901\u0917\u093e\u0908", "\u092e\u0939\u0901\u0917\u093e\u0908"),
    ],
)
def test_a_word_is_found_however_it_and_the_text_are_written(stored, asked):
    batch = SignalBatch.of_signals(
        [Signal("BTC", 1, Action.BUY, 1.0, features={"note": f"the {stored} news"})]
    )
    (text,) = texts_of(batch)
    words = words_of(asked)
    assert words
    assert all(word in text for word in words)


def test_the_first_characters_of_texts_are_kept_also_where_one_becomes_many():
    long = "\ufdfa" * 2_000  # one character that is eighteen when its form is made comparable
    (text,) = texts_of(SignalBatch.of_signals([Signal("BTC", 1, Action.BUY, 1.0, features={"note": long})]))
    assert len(text) == LONGEST_TEXT


def test_every_field_of_a_signal_is_searched_whatever_its_name():
    features = {"a": "a" * LONGEST_TEXT, "b": "b" * 2 * LONGEST_TEXT, "note": "rate cut"}
    (text,) = texts_of(SignalBatch.of_signals([Signal("BTC", 1, Action.BUY, 1.0, features=features)]))
    assert text.split("\n") == ["a" * LONGEST_TEXT, "b" * LONGEST_TEXT, "rate cut"]


def test_many_long_fields_have_an_equal_share_of_what_is_kept_of_a_row():
    features = {f"note{place:02d}": "x" * LONGEST_TEXT for place in range(16)}
    (text,) = texts_of(SignalBatch.of_signals([Signal("BTC", 1, Action.BUY, 1.0, features=features)]))
    assert [len(line) for line in text.split("\n")] == [LONGEST_ROW // 16] * 16
