"""What a model that embeds texts keeps to, through LangChain, against a loopback of its API: see `test_chat_models`."""

from collections.abc import AsyncIterator, Iterator

import numpy as np
import pytest
import pytest_asyncio

from raysignal.agents.llm.calls import Failure, Usage
from raysignal.agents.llm.embeddings import (
    AT_ONCE,
    DIMENSIONS,
    EmbeddedTexts,
    EmbeddingModel,
    EmbeddingRequest,
    embedding_settings,
    unit_vectors,
)
from raysignal.agents.verdicts import Reason
from raysignal.engine.core.errors import InvalidField, SettingsError
from raysignal.loopback.chat_server import Behaviour
from raysignal.loopback.gemini import GeminiServer
from tests.support.advising import KEY

MODEL = "gemini-embedding-001"
TEXTS = EmbeddingRequest(("withdrawals are halted", "they halted withdrawals", "un marché calme"))
REASONS = {
    Behaviour.QUOTA: Reason.MODEL_QUOTA,
    Behaviour.OVERLOADED: Reason.MODEL_UNAVAILABLE,
    Behaviour.UNAUTHENTICATED: Reason.MODEL_UNAVAILABLE,
    Behaviour.FORBIDDEN: Reason.MODEL_UNAVAILABLE,
    Behaviour.BAD_KEY: Reason.MODEL_UNAVAILABLE,
    Behaviour.REDIRECT: Reason.MODEL_UNAVAILABLE,
    Behaviour.RESET: Reason.MODEL_UNAVAILABLE,
    Behaviour.NOT_JSON: Reason.MODEL_UNREADABLE,
    Behaviour.HUGE: Reason.MODEL_UNREADABLE,
    Behaviour.BOMB: Reason.MODEL_UNREADABLE,
    Behaviour.BROTLI: Reason.MODEL_UNREADABLE,
    Behaviour.TRUNCATED: Reason.MODEL_UNREADABLE,
    Behaviour.EXTRA_FIELD: Reason.MODEL_UNREADABLE,
    Behaviour.EMPTY: Reason.MODEL_UNREADABLE,
    Behaviour.SLOW: Reason.MODEL_TIMEOUT,
    Behaviour.DRIP: Reason.MODEL_TIMEOUT,
}
SAID = {
    Behaviour.EXTRA_FIELD: f"vectors of [{DIMENSIONS + 1}] components; expected {DIMENSIONS}",
    Behaviour.HUGE: "the answer is longer than 1048576 bytes",
    Behaviour.BOMB: "the answer, decompressed, is longer than 1048576 bytes",
}


@pytest.fixture(scope="module")
def loopback() -> Iterator[GeminiServer]:
    with GeminiServer() as served:
        yield served


@pytest.fixture
def server(loopback: GeminiServer) -> GeminiServer:
    loopback.behave(Behaviour.ANSWER)
    return loopback


@pytest_asyncio.fixture
async def model(server: GeminiServer) -> AsyncIterator[EmbeddingModel]:
    embeds = EmbeddingModel(embedding_settings(MODEL, server.url), KEY)
    await embeds.warm()
    yield embeds
    await embeds.aclose()


async def test_texts_have_vectors_of_length_1_in_their_order(model: EmbeddingModel) -> None:
    answer = await model.call(TEXTS, 60.0)
    assert isinstance(answer, EmbeddedTexts)
    one, other, third = answer.vectors
    assert answer.vectors.shape == (3, DIMENSIONS)
    np.testing.assert_allclose(np.linalg.norm(answer.vectors, axis=1), 1.0, rtol=1e-6)
    assert one @ other > one @ third


async def test_the_longest_answer_is_within_the_bound_of_bytes(
    server: GeminiServer, model: EmbeddingModel
) -> None:
    server.behave(Behaviour.GZIPPED)
    longest = EmbeddingRequest(tuple(f"text {number} " + "word " * 800 for number in range(AT_ONCE)))
    assert isinstance(await model.call(longest, 60.0), EmbeddedTexts)


@pytest.mark.parametrize("behaviour", REASONS)
async def test_each_way_to_fail_has_its_reason_after_one_attempt(
    server: GeminiServer, model: EmbeddingModel, behaviour: Behaviour
) -> None:
    server.behave(behaviour)
    before = server.calls
    hangs = REASONS[behaviour] is Reason.MODEL_TIMEOUT
    failure = await model.call(TEXTS, 0.3 if hangs else 60.0)
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.sent) == (REASONS[behaviour], True)
    assert SAID.get(behaviour, "") in failure.detail.lower()
    assert KEY not in failure.detail
    assert server.calls == before + 1


async def test_a_server_that_asks_to_wait_is_heard_and_nothing_is_charged(
    server: GeminiServer, model: EmbeddingModel
) -> None:
    server.behave(Behaviour.QUOTA)
    failure = await model.call(TEXTS, 60.0)
    assert isinstance(failure, Failure)
    assert (failure.retry_after_s, failure.usage) == (server.retry_after_s, Usage(0, 0))


def test_a_vector_that_cannot_be_is_refused() -> None:
    good = [3.0] + [0.0] * (DIMENSIONS - 1)
    assert unit_vectors([good], 1, DIMENSIONS)[0, 0] == 1.0
    for bad in ([0.0] * DIMENSIONS, [float("nan")] * DIMENSIONS, [float("inf")] * DIMENSIONS, [1.0] * 5):
        with pytest.raises(ValueError, match="components"):
            unit_vectors([good, bad], 2, DIMENSIONS)
    with pytest.raises(ValueError, match="1 texts were embedded; expected 2"):
        unit_vectors([good], 2, DIMENSIONS)


def test_only_an_address_of_this_machine_is_asked_in_tests_and_only_googles_model() -> None:
    with pytest.raises(SettingsError, match="LOOPBACK_ONLY"):
        EmbeddingModel(embedding_settings(MODEL, None), KEY)
    with pytest.raises(SettingsError, match="is not set"):
        EmbeddingModel(embedding_settings(MODEL, "http://127.0.0.1:9"), None)
    with pytest.raises(InvalidField, match="a model of the Gemini API"):
        embedding_settings("openai:text-embedding-3-small", None)
