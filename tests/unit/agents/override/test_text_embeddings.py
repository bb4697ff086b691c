"""Texts that a model embeds: asked for once, on record, replayed without a network."""

from dataclasses import replace

import numpy as np
import pytest

from raysignal.agents.override import text_embeddings
from raysignal.agents.override.agent import AgentRules, Override
from raysignal.agents.override.outcomes import Horizon
from raysignal.agents.override.text_embeddings import (
    AT_ONCE,
    EmbeddingOptions,
    RecordedEmbeddings,
    embed_texts,
    free_texts_of,
    key_of,
)
from raysignal.agents.override.texts import TEXT_NUMBERS
from raysignal.engine.core.columns import TextColumn
from raysignal.engine.core.errors import (
    AgentUnavailable,
    CassetteMiss,
    InvalidField,
    NotFound,
    SettingsError,
    UnreadableInput,
)
from raysignal.engine.core.policy import Policy
from raysignal.loopback.gemini import GeminiServer
from tests.unit.agents.override.test_texts import stream

TEXTS = [f"the {number}th story of the day, and of what came of it" for number in range(AT_ONCE + 3)]
MODEL = "gemini-embedding-001"


@pytest.fixture(scope="module")
def server():
    with GeminiServer() as loopback:
        yield loopback


@pytest.fixture
def options(server, tmp_path):
    server.behave("answer")
    return EmbeddingOptions(MODEL, server.url, "hunter2", tmp_path / "run" / "cassette.embeddings.ndjson")


def test_what_is_on_record_is_not_asked_for_again(server, options):
    before = server.calls
    first = embed_texts(TEXTS[:5], options)
    assert server.calls == before + 1
    second = embed_texts(TEXTS, options)
    assert server.calls == before + 2
    third = embed_texts(TEXTS, options)
    assert server.calls == before + 2

    assert set(first.vectors) == {key_of(text) for text in TEXTS[:5]}
    assert second.content_hash() == third.content_hash() != first.content_hash()
    assert "hunter2" not in options.record.read_text()
    assert options.record.stat().st_mode & 0o077 == 0


def test_a_replay_has_the_same_vectors_and_asks_nobody(server, options):
    recorded = embed_texts(TEXTS, options)
    before = server.calls

    replayed = embed_texts(TEXTS, EmbeddingOptions(MODEL, record=options.record, replays=True))

    assert server.calls == before
    assert replayed.content_hash() == recorded.content_hash()


def test_a_replay_of_what_is_not_on_record_is_refused(options):
    replay = EmbeddingOptions(MODEL, record=options.record, replays=True)
    with pytest.raises(NotFound, match="is no file"):
        embed_texts(TEXTS, replay)
    embed_texts(TEXTS[:2], options)
    with pytest.raises(CassetteMiss, match="the 2th story"):
        embed_texts(TEXTS[:3], replay)
    with pytest.raises(CassetteMiss, match="another-model"):
        embed_texts(TEXTS[:2], replace(replay, model="another-model"))


@pytest.mark.parametrize(
    "behaviour",
    ["quota", "overloaded", "not_json", "reset", "bad_key", "redirect", "empty", "truncated", "huge"],
)
def test_a_model_that_does_not_answer_is_said_so_and_what_it_answered_stays(server, options, behaviour):
    embed_texts(TEXTS[:2], options)
    server.behave(behaviour)

    with pytest.raises(AgentUnavailable, match=f"{MODEL} embedded") as caught:
        embed_texts(TEXTS, options)

    assert "hunter2" not in str(caught.value)
    server.behave("answer")
    assert len(embed_texts(TEXTS, options).vectors) == len(TEXTS)


def test_a_recording_that_was_killed_goes_on(options):
    whole = embed_texts(TEXTS, options)
    content = options.record.read_bytes()
    options.record.write_bytes(content[: len(content) - 700])

    assert embed_texts(TEXTS, options).content_hash() == whole.content_hash()
    assert options.record.read_bytes() == content


@pytest.mark.parametrize(
    "line",
    [b"no json", b"{}", b'{"model": "%s", "text": "00", "vector": "AAAA"}' % MODEL.encode(), b"[1]"],
)
def test_a_damaged_line_is_refused_by_its_number(options, line):
    embed_texts(TEXTS[:2], options)
    with options.record.open("ab") as file:
        file.write(line + b"\n")

    with pytest.raises(UnreadableInput, match="line 3 of"):
        embed_texts(TEXTS, options)


def test_options_that_cannot_be_are_refused_by_name(options):
    with pytest.raises(InvalidField, match="model"):
        EmbeddingOptions("no name")
    with pytest.raises(InvalidField, match="base_url"):
        EmbeddingOptions(MODEL, "http://elsewhere.example")
    with pytest.raises(InvalidField, match="embeddings"):
        embed_texts([""] * (text_embeddings.MOST_TEXTS + 1), options)
    with pytest.raises(InvalidField, match="a model of the Gemini API"):
        EmbeddingOptions("openai:text-embedding-3-small")
    with pytest.raises(SettingsError, match="GOOGLE_API_KEY or GEMINI_API_KEY is not set"):
        embed_texts(TEXTS, replace(options, api_key=None))
    with pytest.raises(SettingsError, match="LOOPBACK_ONLY"):
        embed_texts(TEXTS, replace(options, base_url=None))
    assert "hunter2" not in repr(options)


def test_another_api_of_googles_is_not_asked_with_the_key(options, monkeypatch):
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    with pytest.raises(SettingsError, match="expected it unset"):
        embed_texts(TEXTS, options)


def test_a_compressed_answer_is_read(server, options):
    server.behave("gzipped")
    assert len(embed_texts(TEXTS[:2], options).vectors) == 2


def test_only_one_process_records_on_a_file(options):
    embed_texts(TEXTS[:1], options)
    with options.record.open("ab") as held:
        text_embeddings._hold(held.fileno(), options.record)
        with pytest.raises(SettingsError, match="another process"):
            embed_texts(TEXTS, options)


def test_the_texts_of_a_stream_are_those_that_its_agent_will_embed(options):
    labels = ["calm"] * 60 + ["A Long Story of which nobody knows how it ends"] * 60 + [None] * 80
    batch = stream(200)
    batch = replace(batch, texts=batch.texts | {"mood": TextColumn.of(labels)})
    texts = free_texts_of(batch)
    embedder = embed_texts(texts, options)

    assert len(texts) == len(set(texts)) <= 201
    assert "a long story of which nobody knows how it ends" in texts
    agent = Override(Policy(), AgentRules(horizon=Horizon.parse("1b")), embedder=embedder)
    for start in range(0, 200, 50):
        agent.take(batch.take(np.arange(start, start + 50)))


def test_fields_have_vectors_of_their_own(options):
    column = TextColumn.of([TEXTS[0], None])
    embedder = embed_texts(TEXTS[:1], options)
    one, other = (embedder.embed({name: column}, 0, 2) for name in ("news", "summary"))

    assert abs(float(one[0] @ other[0])) < 0.5
    np.testing.assert_allclose([one[0] @ one[0], other[0] @ other[0]], 1.0, rtol=1e-5)
    assert not one[1].any()
    np.testing.assert_allclose(
        embedder.embed({"news": column, "summary": column}, 0, 1)[0], one[0] + other[0]
    )
    assert isinstance(embedder, RecordedEmbeddings)


def test_a_pattern_in_texts_is_found_by_embeddings_too(options):
    batch = stream(400)
    embedder = embed_texts(free_texts_of(batch), options)
    agent = Override(
        Policy(side="long-short", fee_bps=0.0), AgentRules(horizon=Horizon.parse("1b")), embedder=embedder
    )
    agent.take(batch)

    weights = agent._estimator.relevance.weights()[0]
    assert weights[agent.memory.number_names.index(TEXT_NUMBERS[0])] > 20.0
