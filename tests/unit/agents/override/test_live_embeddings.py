"""Texts that a model embeds while a stream is followed: on record, the same after a restart, missing when it fails."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import pytest_asyncio

from raysignal.agents.llm.caller import Circuit, ModelCaller
from raysignal.agents.llm.embeddings import EmbeddingModel, embedding_settings
from raysignal.agents.override.decider import Decider
from raysignal.agents.override.live_embeddings import SERVES, LiveEmbeddings
from raysignal.agents.override.log import recorded_texts
from raysignal.agents.override.outcomes import Horizon
from raysignal.agents.override.text_embeddings import (
    EmbeddingOptions,
    TextVector,
    embed_texts,
    free_texts_of,
    write_record,
)
from raysignal.agents.override.texts import TEXT_NUMBERS
from raysignal.agents.verdicts import decided
from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.journal.stores import open_stores
from raysignal.loopback.gemini import GeminiServer
from tests.support.advising import KEY, allowance
from tests.support.enhanced_world import POLICY, RULES, CrashError, World, live, terms
from tests.unit.agents.override.test_texts import stream

MODEL = "gemini-embedding-001"
OWN = replace(terms(), rules=replace(RULES, horizon=Horizon.parse("1b")))


@pytest.fixture(scope="module")
def loopback():
    with GeminiServer() as served:
        yield served


@pytest.fixture
def server(loopback):
    loopback.behave("answer")
    return loopback


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


@pytest.fixture(scope="module")
def batch():
    return stream(160)


@pytest_asyncio.fixture
async def caller(server):
    async for made in called(server, deadline_s=20.0):
        yield made


@pytest_asyncio.fixture
async def hasty(server):
    async for made in called(server, deadline_s=0.3):
        yield made


async def called(server, *, deadline_s):
    model = EmbeddingModel(embedding_settings(MODEL, server.url), KEY)
    await model.warm()
    yield ModelCaller(model, allowance(), deadline_s=deadline_s, concurrency=4, circuit=Circuit(0))
    await model.aclose()


def told_by_texts(decider: Decider) -> bytes:
    """The numbers that the texts of all rows became."""
    memory = decider.agent.memory
    if not set(TEXT_NUMBERS) <= set(memory.number_names):
        return b""
    places = [memory.number_names.index(name) for name in TEXT_NUMBERS]
    return memory.numbers[places, : memory.count].tobytes()


def from_record(world: World, batch: SignalBatch) -> tuple[Decider, list[int]]:
    """What follows from the signals and the record alone: an agent, and its decisions."""
    log = world.log(OWN, MODEL)
    recorded = LiveEmbeddings(log.texts, log.append_texts, None)
    decider = Decider(POLICY, OWN.rules, breaker=OWN.breaker, embedder=recorded)
    judged = decider.finish(decider.begin(batch))
    return decider, decided(batch.action, judged.verdict).tolist()


def without_texts(batch: SignalBatch) -> list[int]:
    decider = Decider(POLICY, replace(OWN.rules, texts=False), breaker=OWN.breaker)
    return decided(batch.action, decider.finish(decider.begin(batch)).verdict).tolist()


async def test_signals_are_decided_as_in_an_experiment_that_embedded_their_texts_before(
    world, batch, server, caller, tmp_path
):
    world.post(batch)
    follower = await world.begin(OWN, embeddings=MODEL, caller=caller)
    await live(follower)

    options = EmbeddingOptions(MODEL, server.url, KEY, tmp_path / "calls.embeddings.ndjson")
    embedder = embed_texts(free_texts_of(batch), options)
    experiment = Decider(POLICY, OWN.rules, breaker=OWN.breaker, embedder=embedder)
    judged = experiment.finish(experiment.begin(batch))
    assert world.decided() == decided(batch.action, judged.verdict).tolist() != without_texts(batch)
    assert told_by_texts(follower.decider) == told_by_texts(experiment) != b""


async def test_a_restart_after_every_pull_changes_nothing_and_asks_for_nothing_again(
    world, batch, server, caller
):
    before = server.calls
    for start in range(0, len(batch), 37):
        world.post(batch.take(np.arange(start, min(start + 37, len(batch)))))
        await live(await world.begin(OWN, embeddings=MODEL, caller=caller))
    asked = server.calls - before

    again = await world.begin(OWN, embeddings=MODEL)
    whole, decisions = from_record(world, batch)
    assert world.decided() == decisions != without_texts(batch)
    assert told_by_texts(again.decider) == told_by_texts(whole) != b""
    assert server.calls - before == asked <= -(-len(batch) // 32) + 5


async def test_what_was_embedded_live_is_replayed_by_an_experiment_without_a_network(
    world, batch, caller, tmp_path
):
    held = replace(batch, action=np.where(np.arange(len(batch)) % 9 == 4, 0, batch.action).astype(np.int8))
    world.post(held)
    await live(await world.begin(OWN, embeddings=MODEL, caller=caller))
    record = tmp_path / "calls.embeddings.ndjson"
    store = open_stores(tmp_path.as_uri()).journal_store("agent=enhanced")
    assert write_record(record, recorded_texts(store)) == np.count_nonzero(held.action)

    embedder = embed_texts(free_texts_of(held), EmbeddingOptions(MODEL, record=record, replays=True))
    experiment = Decider(POLICY, OWN.rules, breaker=OWN.breaker, embedder=embedder)
    judged = experiment.finish(experiment.begin(held))
    assert world.decided() == decided(held.action, judged.verdict).tolist() != without_texts(held)
    with pytest.raises(FileExistsError):
        write_record(record, [])


@pytest.mark.parametrize("when", ["before", "after"])
async def test_decisions_follow_from_the_record_whatever_failed_and_whenever_the_follower_was_killed(
    world, batch, server, caller, when
):
    server.behave("not_json", every=2)
    for start in range(0, len(batch), 20):
        world.post(batch.take(np.arange(start, start + 20)))
        follower = await world.begin(OWN, embeddings=MODEL, caller=caller)
        world.crash = (when, 0)
        with pytest.raises(CrashError):
            await live(follower)
        world.crash = None
    await live(await world.begin(OWN, embeddings=MODEL))
    again = await world.begin(OWN, embeddings=MODEL)

    whole, decisions = from_record(world, batch)
    assert world.decided() == decisions
    assert told_by_texts(again.decider) == told_by_texts(whole) != b""


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("quota", "model_quota"), ("overloaded", "model_unavailable"), ("slow", "model_timeout"),
        ("drip", "model_timeout"), ("huge", "model_unreadable"), ("not_json", "model_unreadable"),
        ("truncated", "model_unreadable"), ("extra_field", "model_unreadable"), ("empty", "model_unreadable"),
        ("reset", "model_unavailable"), ("bad_key", "model_unavailable"),
    ],
)  # fmt: skip
async def test_whatever_the_model_does_signals_are_decided_without_it_and_the_reason_is_counted(
    world, batch, server, hasty, behaviour, reason
):
    server.behave(behaviour)
    few = batch.take(np.arange(80))
    world.post(few)
    follower = await world.begin(OWN, embeddings=MODEL, caller=hasty)
    await live(follower)

    assert world.decided() == without_texts(few)
    embeddings = follower._embeddings
    assert set(embeddings.counts) <= {reason, "model_timeout", "model_quota"}
    assert sum(embeddings.counts.values()) == 80
    assert embeddings.trouble
    assert KEY not in embeddings.trouble


async def test_without_anybody_to_ask_texts_are_missing(world, batch):
    world.post(batch)
    follower = await world.begin(OWN, embeddings=MODEL)
    await live(follower)
    assert world.decided() == without_texts(batch)
    assert follower._embeddings.counts == {"not_asked": len(batch)}


async def test_a_stream_without_texts_asks_nothing(world, batch, server, caller):
    before = server.calls
    plain = replace(batch, texts={})
    world.post(plain)
    follower = await world.begin(OWN, embeddings=MODEL, caller=caller)
    await live(follower)
    assert server.calls == before
    assert world.decided() == without_texts(plain)


async def test_a_budget_that_is_used_up_leaves_the_signals_as_they_are(world, batch, server):
    model = EmbeddingModel(embedding_settings(MODEL, server.url), KEY)
    await model.warm()
    world.post(batch.take(np.arange(70)))
    caller = ModelCaller(model, allowance(1), deadline_s=20.0, concurrency=4)
    follower = await world.begin(OWN, embeddings=MODEL, caller=caller)
    await live(follower)
    await model.aclose()
    assert follower._embeddings.counts == {"embedded": 32, "model_budget": 38}


async def test_vectors_of_another_model_are_none_of_this_one(world, batch, caller):
    world.post(batch)
    await live(await world.begin(OWN, embeddings=MODEL, caller=caller))
    assert world.log(OWN, "gemini-embedding-002").texts == []
    assert world.log(OWN).texts == []
    texts = world.log(OWN, MODEL).texts
    assert [text.row for text in texts] == list(range(len(batch)))


class Recorder:
    """Keeps what is put on record."""

    def __init__(self) -> None:
        self.texts: list[TextVector] = []

    def __call__(self, texts: Sequence[TextVector]) -> None:
        self.texts += texts


async def test_a_text_is_asked_for_once_and_anew_when_its_vector_is_old(server, caller):
    column = {"news": TextColumn.of(["the same story", "the same story", None, "another one"])}
    recorder = Recorder()
    embeddings = LiveEmbeddings([], recorder, caller)
    await embeddings.fetch(column, [0, 1, 2, 3], first=0)
    assert [text.row for text in recorder.texts] == [0, 3]
    found = embeddings.embed(column, 0, 4)
    assert found[0].tobytes() == found[1].tobytes() != found[3].tobytes()
    assert not found[2].any()

    await embeddings.fetch(column, [0, 1], first=SERVES - 1)
    assert [text.row for text in recorder.texts] == [0, 3, SERVES]
    late = embeddings.embed(column, 0, 4, first=SERVES - 1)
    again = LiveEmbeddings(recorder.texts, recorder, None)
    assert again.embed(column, 0, 4).tobytes() == found.tobytes()
    assert again.embed(column, 0, 4, first=SERVES - 1).tobytes() == late.tobytes()
    gone = again.embed(column, 0, 4, first=3 * SERVES)
    assert not gone.any()
