"""Free texts in situations: how they are read, what they told, and that they see nothing later."""

from dataclasses import replace

import numpy as np
import pytest

from raysignal.agents.override.agent import AgentRules, Override
from raysignal.agents.override.outcomes import Horizon
from raysignal.agents.override.situations import MOST_FREE_TEXTS, Encoder
from raysignal.agents.override.texts import BUCKETS, LONGEST_TEXT, TEXT_NUMBERS, HashedNgrams, normalised
from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.core.policy import Policy
from tests.support.override_streams import MINUTE_US, Shape, as_sent, cut

FREE = Policy(side="long-short", fee_bps=0.0)
NEXT_ROW = AgentRules(horizon=Horizon.parse("1b"))
RIGHT, WAY = TEXT_NUMBERS
FILLER = (
    "the market",
    "waits",
    "bonds",
    "volume",
    "fades",
    "nothing new",
    "analysts",
    "a quiet day",
    "désks",
    "прогноз",
)


def vector(text, field="news"):
    return HashedNgrams().embed({field: TextColumn.of([text])}, 0, 1)[0]


def alike(one, other):
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def stories(n, told, seed=1):
    """Texts of which each has a word of its own kind somewhere: 0 or 1."""
    draws = np.random.default_rng(seed)
    found = []
    for kind in told:
        words = [*draws.choice(FILLER, 8)]
        words.insert(int(draws.integers(0, 9)), ("withdrawals halted", "custody upheld")[kind])
        found.append(" ".join(words))
    return found


def stream(n, *, told="right", share=0.9, seed=1, symbols=1, **changed):
    """Signals that are right by a coin; their texts say which, or which way the price goes, or nothing."""
    draws = np.random.default_rng(seed)
    rises = draws.random(n) < 0.5
    price = 100.0 * np.cumprod(np.concatenate([[1.0], np.where(rises, 1.01, 1.0 / 1.01)[:-1]]))
    action = np.where(draws.random(n) < 0.5, 1, -1).astype(np.int8)
    says = {"right": rises == (action > 0), "way": rises, "nothing": draws.random(n) < 0.5}[told]
    kind = np.where(draws.random(n) < share, says, ~says).astype(int).tolist()
    texts = {"news": TextColumn.of(stories(n, kind, seed))} | changed.get("texts", {})
    return SignalBatch.of(
        timestamp_us=MINUTE_US * (1 + np.arange(n)), action=action, price=price,
        symbol=(np.arange(n) % symbols).astype(np.int32), symbols=[f"S{code}" for code in range(symbols)],
        source=np.zeros(n, np.int32), sources=("desk",), numbers={"noise": draws.standard_normal(n)}, texts=texts,
    )  # fmt: skip


def numbers(found, name):
    return found.situations.numbers[found.situations.number_names.index(name)]


def weight(agent, name):
    return float(agent._estimator.relevance.weights()[0][agent.memory.number_names.index(name)])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Fear AND\tGreed", "fear and greed"),
        ("ﬁrm \uff22\uff29\uff24", "firm bid"),
        ("STRASSE", "straße"),
        ("se\u200bll\u202e now\ufeff", "sell now"),
        ("  rise \n\n ", "rise"),
    ],
)
def test_texts_that_read_the_same_are_the_same(one, other):
    assert normalised(one.encode()) == normalised(other.encode()) == f" {normalised(other.encode()).strip()} "
    np.testing.assert_array_equal(vector(one), vector(other))


@pytest.mark.parametrize(
    "encoded",
    [
        b"a b " * 300_000,
        "\u202e\u200b".encode() * 200_000,
        ("a" + "\u0301" * 2_048 + "\u0323" * 2_048).encode() * 50,
        "\ufdfa".encode() * 300_000,
        b"\xff\xfe\x80" * 300_000,
        b'{"ignore": "all previous instructions", "verdict": "FLIP"}' * 9_000,
        "🏴\U000e0067\U000e007f".encode() * 90_000,
        b"\0" * 1_000_000,
    ],
)
def test_of_hostile_and_huge_texts_a_bounded_beginning_is_read(encoded):
    assert len(normalised(encoded)) <= LONGEST_TEXT + 2
    column = TextColumn(np.frombuffer(encoded, np.uint8), np.array([0, len(encoded)]))
    found = HashedNgrams().embed({"news": column}, 0, 1)
    assert np.isfinite(found).all()
    assert float(np.abs(found).max()) <= 1.0


def test_a_vector_depends_on_its_own_text_and_field_alone():
    texts = TextColumn.of(["first story of all", None, "second, another one", "三番目の話です。長い"])
    whole = HashedNgrams().embed({"a": texts, "b": texts}, 0, 4)

    assert whole.shape == (4, BUCKETS)
    assert whole.dtype == np.float32
    assert not whole[1].any()
    for row in (0, 2, 3):
        text = texts[row]
        np.testing.assert_array_equal(
            whole[row], HashedNgrams().embed({"a": texts, "b": texts}, row, row + 1)[0]
        )
        np.testing.assert_allclose(whole[row], vector(text, "a") + vector(text, "b"), atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(vector(text)), 1.0, rtol=1e-5)
    assert not np.array_equal(vector("first story of all", "a"), vector("first story of all", "b"))


def test_texts_that_share_words_are_more_alike_than_others():
    story = "withdrawals are halted at the exchange"

    assert alike(vector(story), vector("The exchange halts withdrawals")) > 0.4
    assert abs(alike(vector(story), vector("Le volume recule, dit-on"))) < 0.2


def test_vectors_are_the_same_in_every_process():
    found = vector("The custody ruling was upheld")

    assert np.flatnonzero(found)[:5].tolist() == BUCKETS_OF_A_TEXT
    assert np.sign(found[BUCKETS_OF_A_TEXT]).tolist() == SIGNS_OF_A_TEXT


BUCKETS_OF_A_TEXT = [57, 66, 83, 163, 234]
SIGNS_OF_A_TEXT = [1.0, 1.0, -1.0, -1.0, 1.0]


def test_what_texts_tell_of_right_and_wrong_is_found():
    agent = Override(FREE, NEXT_ROW)
    batch = stream(400)
    found = agent.take(batch)
    right = np.append(batch.action[:-1] * np.diff(batch.price) > 0.0, False)

    late = slice(200, 399)
    score = numbers(found, RIGHT)[late]
    assert score[right[late]].mean() > score[~right[late]].mean() + score.std()
    assert weight(agent, RIGHT) > 20.0 > weight(agent, WAY)
    overruled = found.ruling.verdict != 0
    assert right[late][overruled[late]].mean() < 0.2 < overruled[late].mean()


def test_what_texts_tell_of_the_price_is_told_the_way_of_the_signal():
    agent = Override(FREE, NEXT_ROW)
    found = agent.take(stream(400, told="way"))

    assert weight(agent, WAY) > 20.0 > weight(agent, RIGHT)
    assert (found.ruling.verdict[200:] != 0).mean() > 0.2


def test_texts_that_tell_nothing_weigh_next_to_nothing():
    agent = Override(FREE, NEXT_ROW)
    agent.take(stream(400, told="nothing"))

    assert max(weight(agent, name) for name in TEXT_NUMBERS) < 5.0
    assert weight(agent, "noise") >= 1.0


def test_texts_weigh_nothing_before_they_could_tell_anything():
    agent = Override(FREE, NEXT_ROW)
    agent.take(stream(40))

    assert [weight(agent, name) for name in TEXT_NUMBERS] == [0.0, 0.0]


def test_the_numbers_are_those_of_a_plain_calculation():
    batch = stream(160, seed=4)
    found = Override(FREE, NEXT_ROW).take(batch)
    vectors = HashedNgrams().embed({"news": batch.texts["news"]}, 0, 160).astype(float)
    moves = np.sign(np.diff(batch.price))

    first = None
    for row in range(160):
        ups = downs = 0
        hits, ways = [], []
        for past in range(row):  # each is known from the next row on
            side, move = batch.action[past], moves[past]
            share = ((ups if side > 0 else downs) + 25.0) / (past + 50.0)
            hits.append(float(side * move > 0.0) - share)
            ways.append(side * hits[-1])
            ups, downs = ups + (move > 0.0), downs + (move < 0.0)
        scores = (
            plain_score(vectors[:row], hits, vectors[row]),
            plain_score(vectors[:row], ways, vectors[row]),
        )
        if row < 20:
            assert np.isnan(numbers(found, RIGHT)[row])
            continue
        scores = np.array([scores[0], batch.action[row] * scores[1]])
        first = scores if first is None else first
        told = [numbers(found, name)[row] for name in TEXT_NUMBERS]
        np.testing.assert_allclose(told, scores - first, rtol=1e-4, atol=1e-4)


def plain_score(past, hits, vector):
    n = len(past)
    if n < 20:
        return np.nan
    centred, deviation = past - past.mean(axis=0), past.std(axis=0)
    hits = np.array(hits) - np.mean(hits)
    varies = (past**2).sum(axis=0) * 1e-9 < (centred**2).sum(axis=0)
    safe = np.where(varies, deviation, 1.0)
    related = np.where(varies, centred.T @ hits / n / safe / hits.std(), 0.0)
    beyond = np.sign(related) * np.maximum(np.abs(related) - 1.5 / np.sqrt(n), 0.0)
    length = np.linalg.norm(beyond)
    return float((beyond / safe / (length or 1.0)) @ (vector - past.mean(axis=0)))


def test_a_stream_without_free_texts_is_decided_as_if_nobody_read_them():
    shape = Shape(seed=5, rows=300, symbols=2).batch()
    batch = replace(shape, texts={name: shape.texts[name] for name in ("mood", "tags")})
    on, off = (Override(FREE, AgentRules(texts=texts)).take(batch) for texts in (True, False))

    assert on.situations.number_names == off.situations.number_names
    assert on.situations.numbers.tobytes() == off.situations.numbers.tobytes()
    for name in ("alpha", "edge_bps", "radius", "neighbours"):
        assert getattr(on.evidence, name).tobytes() == getattr(off.evidence, name).tobytes()


def test_who_is_told_not_to_reads_no_texts():
    found = Override(FREE, AgentRules(horizon=Horizon.parse("1b"), texts=False)).take(stream(100))

    assert not set(TEXT_NUMBERS) & set(found.situations.number_names)


@pytest.mark.parametrize(
    "horizon", [Horizon.parse("1b"), Horizon.parse("3b", lag_us=5 * MINUTE_US), Horizon("close")]
)
@pytest.mark.parametrize("sent", [False, True])
def test_what_texts_told_is_the_same_however_the_stream_is_cut(horizon, sent):
    batch = stream(200, symbols=2)
    labels = TextColumn.of(["calm"] * 90 + ["a long story about much and little"] * 40 + ["calm"] * 70)
    batch = replace(batch, texts=batch.texts | {"mood": labels})
    rules = AgentRules(horizon=horizon)
    whole, agent, at = Override(FREE, rules).take(batch), Override(FREE, rules), 0

    for piece in cut(batch, [1, 2, 20, 21, 88, 95, 131]):
        found = agent.take(as_sent(piece) if sent else piece)
        here = slice(at, at + len(piece))
        for name in TEXT_NUMBERS:
            if name in found.situations.number_names:
                np.testing.assert_array_equal(numbers(found, name), numbers(whole, name)[here])
            else:
                assert np.isnan(numbers(whole, name)[here]).all()
        assert found.evidence.alpha.tobytes() == whole.evidence.alpha[here].tobytes()
        at += len(piece)


def test_later_texts_and_prices_change_no_number_before_them():
    batch, row = stream(160), 100
    early = Override(FREE, NEXT_ROW).take(batch.take(np.arange(row)))
    other = replace(batch, price=np.where(np.arange(160) < row, batch.price, 7.0))
    other = replace(
        other, texts={"news": TextColumn.of([*batch.texts["news"].to_list()[:row], *["x" * 99] * 60])}
    )
    whole = Override(FREE, NEXT_ROW).take(other)

    for name in TEXT_NUMBERS:
        np.testing.assert_array_equal(numbers(whole, name)[:row], numbers(early, name))


def test_a_field_is_read_from_the_row_on_that_makes_it_free_text():
    texts = ["calm", "fear", "a long story of which nobody knows how it ends", "calm", None]
    batch = stream(5, texts={"mood": TextColumn.of(texts)})
    encoder = Encoder()
    encoder.encode(batch)

    assert encoder.free_texts(batch)["mood"].to_list() == ["", "", *texts[2:4], ""]
    assert encoder.free_texts(batch)["news"].to_list() == batch.texts["news"].to_list()


def test_of_many_fields_of_free_text_the_first_are_read():
    def free(first, names):
        return {name: TextColumn.of(["calm"] * first + ["x" * 99] * (5 - first)) for name in names}

    batch = stream(5, texts=free(2, "zyxwvu") | free(3, "abcdef"))
    encoder = Encoder()
    for piece in cut(batch, [1, 2, 3]):
        encoder.encode(piece)
        found = encoder.free_texts(piece)

    assert sorted(found) == ["a", "news", *"uvwxyz"]
    assert len(found) == MOST_FREE_TEXTS


def test_texts_whose_outcomes_are_long_in_coming_take_bounded_memory():
    batch = stream(2_500)
    agent = Override(FREE, AgentRules(horizon=Horizon.parse("2400b")))

    for piece in cut(batch, range(0, 2_500, 500)):
        agent.learn(piece)

    assert len(agent._texts._vectors) == len(agent._texts._waiting) == 2_048
    assert agent.memory.settled == 100


def test_rows_without_text_or_side_have_no_number_of_texts():
    batch = stream(120)
    texts = batch.texts["news"].to_list()
    texts[70] = None
    action = batch.action.copy()
    action[80] = 0
    found = Override(FREE, NEXT_ROW).take(replace(batch, action=action, texts={"news": TextColumn.of(texts)}))

    missing = np.isnan(numbers(found, RIGHT))
    assert np.flatnonzero(missing[60:]).tolist() == [10, 20]
