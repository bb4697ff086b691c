"""Embeddings of free texts by a model: made before any signal is decided, and kept on record.

A record is an NDJSON file that only grows, a line an embedding. What is on record is not asked for again, and a
replay asks for nothing. So the same signals have the same vectors, with a network or without one.
"""

import asyncio
import base64
import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from xxhash import xxh64_intdigest

from raysignal.agents.llm.calls import Failure, Usage
from raysignal.agents.llm.embeddings import (
    AT_ONCE,
    DIMENSIONS,
    EmbeddingModel,
    EmbeddingRequest,
    embedding_settings,
    unit_vectors,
)
from raysignal.agents.llm.models import ModelSettings
from raysignal.agents.override.situations import Encoder
from raysignal.agents.override.texts import text_at
from raysignal.engine.core.arrays import Float32Array
from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.core.errors import (
    AgentUnavailable,
    CassetteMiss,
    InvalidField,
    NotFound,
    SettingsError,
    UnreadableInput,
)

MOST_TEXTS = 20_000
"""Different texts that are embedded: their vectors lie in the memory of every arm."""
KEY_BYTES = 16
TIMEOUT_S = 60.0
"""For a call, from its beginning to the last byte of its answer."""
_TOKEN = 4  # characters, about


@dataclass(frozen=True, slots=True)
class EmbeddingOptions:
    """Which model embeds texts, and where that is on record.

    Attributes:
        model: its name at the Gemini API, such as gemini-embedding-001.
        base_url: another host that speaks it; None: Google.
        api_key: None in a replay. Not shown.
        record: the file.
        replays: nothing is asked.
    """

    model: str
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    record: Path | None = None
    replays: bool = False

    def __post_init__(self) -> None:
        assert self.settings

    @property
    def settings(self) -> ModelSettings:
        """The same as it is asked for; raises `InvalidField` for a name or an address that cannot be."""
        return embedding_settings(self.model, self.base_url)

    def check(self, *, texts: bool) -> None:
        """Refuse them, `InvalidField`, where texts are not compared."""
        if not texts:
            raise InvalidField("embeddings", self.model, "texts that are compared beside it")

    def config(self) -> dict[str, object]:
        """What decides the vectors, in plain values."""
        return {"model": self.model, "dimensions": DIMENSIONS}


@dataclass(frozen=True, slots=True)
class EmbeddingPlan:
    """What it takes to embed texts.

    Attributes:
        model: its name.
        texts: different ones.
        calls: that carry them.
        tokens: roughly, a token for every four characters.
        usd: what they cost, roughly; None: the price is not known.
    """

    model: str
    texts: int
    calls: int
    tokens: int
    usd: float | None


def plan_embeddings(texts: Sequence[str], settings: ModelSettings) -> EmbeddingPlan:
    """What it takes to embed different texts by a model; raises `InvalidField` for more than `MOST_TEXTS`."""
    _check_count(texts)
    tokens = sum(-(-len(text) // _TOKEN) for text in texts)
    usd = 0.0 if settings.on_loopback else settings.usd(Usage(tokens, 0))
    return EmbeddingPlan(settings.name, len(texts), -(-len(texts) // AT_ONCE), tokens, usd)


@dataclass(frozen=True, slots=True, eq=False)
class RecordedEmbeddings:
    """An `agents.override.texts.Embedder`: of each field the vector of its text, of length 1, its components' signs
    turned by the field, so that fields do not add up.

    Attributes:
        vectors: float32[DIMENSIONS] each, by `key_of` the text.
    """

    vectors: Mapping[bytes, Float32Array]

    @property
    def dimensions(self) -> int:
        """See `Embedder`."""
        return DIMENSIONS

    def embed(
        self, fields: Mapping[str, TextColumn], start: int, stop: int, *, first: int = 0
    ) -> Float32Array:
        """See `Embedder.embed`; texts of HOLDs, which tell nothing, may have no vector."""
        del first  # a text has its vector wherever it stands
        return sum_of_fields(fields, start, stop, lambda _row, key: self.vectors.get(key))

    def content_hash(self) -> str:
        """SHA-256 of all vectors, whatever the order in which they were made."""
        digest = hashlib.sha256()
        for key in sorted(self.vectors):
            digest.update(key + self.vectors[key].tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class TextVector:
    """The vector of a text that came with a signal.

    Attributes:
        row: of the signal in its stream.
        key: `key_of` the text.
        vector: float32[DIMENSIONS], of length 1.
    """

    row: int
    key: bytes
    vector: Float32Array


def sum_of_fields(
    fields: Mapping[str, TextColumn],
    start: int,
    stop: int,
    vector_of: Callable[[int, bytes], Float32Array | None],
) -> Float32Array:
    """The vectors of some rows, float32[stop - start, DIMENSIONS]: those of their texts added up.

    Args:
        fields: columns of free text, by name.
        start: the first row.
        stop: the row behind the last.
        vector_of: what a row and the key of a text have; asked row by row. None: nothing.
    """
    found = np.zeros((stop - start, DIMENSIONS), np.float32)
    columns = [(_signs_of(name), column) for name, column in fields.items()]
    for row in range(start, stop):
        for signs, column in columns:
            text = text_at(column, row).strip()
            if text and (vector := vector_of(row, key_of(text))) is not None:
                found[row - start] += signs * vector
    return found


def key_of(text: str) -> bytes:
    """Of a text as it is embedded."""
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=KEY_BYTES).digest()


def free_texts_of(batch: SignalBatch) -> list[str]:
    """The different free texts of a stream's BUYs and SELLs, as they are embedded, in the order of rows and fields."""
    columns = Encoder().coming_free_texts(batch).values()
    sided = np.flatnonzero(batch.action).tolist()
    found = (text_at(column, row).strip() for row in sided for column in columns)
    return list(dict.fromkeys(text for text in found if text))


def embed_texts(texts: Sequence[str], options: EmbeddingOptions) -> RecordedEmbeddings:
    """The vectors of texts: those on record, and those that are asked for and put on record now.

    Raises:
        InvalidField: more than `MOST_TEXTS`.
        NotFound: a replay without its record.
        CassetteMiss: a replay of a text that is not on record.
        UnreadableInput: a line of the record that is damaged.
        AgentUnavailable: the model did not answer, or not what it was asked for; what it answered before is on record.
        SettingsError: a key or an address that cannot be, or another process is recording on the file.
    """
    _check_count(texts)
    path = options.record
    assert path is not None
    if options.replays and not path.is_file():
        raise NotFound(f"{path} is no file; expected the embeddings that were recorded beside the cassette")
    held = _read(path, options.model) if path.is_file() else {}
    missing = [text for text in texts if key_of(text) not in held]
    if missing and options.replays:
        key = key_of(missing[0]).hex()
        raise CassetteMiss(key, str(path), None, f"the embedding of {missing[0][:80]!r} by {options.model}")
    if missing:
        with ThreadPoolExecutor(1) as thread:  # a notebook's cell has an event loop that runs already
            held |= thread.submit(asyncio.run, _ask(missing, options, path)).result()
    return RecordedEmbeddings({key: held[key] for key in map(key_of, texts)})


def _check_count(texts: Sequence[str]) -> None:
    if len(texts) > MOST_TEXTS:
        raise InvalidField("embeddings", len(texts), f"at most {MOST_TEXTS} different free texts")


async def _ask(texts: list[str], options: EmbeddingOptions, path: Path) -> dict[bytes, Float32Array]:
    """The vectors of texts, each call on record before the next."""
    model = EmbeddingModel(options.settings, options.api_key)
    found = {}
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(opened, "r+b") as file:
        _hold(file.fileno(), path)
        async with aclosing(model):
            for start in range(0, len(texts), AT_ONCE):
                request = EmbeddingRequest(tuple(texts[start : start + AT_ONCE]))
                outcome = await model.call(request, TIMEOUT_S)
                if isinstance(outcome, Failure):
                    raise AgentUnavailable(f"{options.model} embedded no texts: {outcome.detail}")
                for text, vector in zip(request.texts, outcome.vectors, strict=True):
                    found[key_of(text)] = vector
                    file.write(_line(options.model, key_of(text), vector))
                file.flush()
                os.fsync(file.fileno())
    return found


def write_record(path: Path, texts: Iterable[tuple[str, TextVector]]) -> int:
    """Write vectors, each with its model's name, as a record to replay; how many. `FileExistsError`: it is there."""
    count = 0
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        try:
            for model, text in texts:
                file.write(_line(model, text.key, text.vector))
                count += 1
        except BaseException:
            path.unlink()
            raise
    return count


def _line(model: str, key: bytes, vector: Float32Array) -> bytes:
    encoded = base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return json.dumps({"model": model, "text": key.hex(), "vector": encoded}).encode() + b"\n"


def _hold(file: int, path: Path) -> None:
    """Keep others from recording there, and cut the line that was being written when the last recording was killed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise SettingsError(f"another process is recording embeddings in {path}") from error
    content = path.read_bytes()
    os.ftruncate(file, content.rfind(b"\n") + 1)


def _read(path: Path, model: str) -> dict[bytes, Float32Array]:
    found = {}
    *lines, _ = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            told = json.loads(line)
            if told["model"] == model:
                vector = np.frombuffer(base64.b64decode(told["vector"], validate=True), "<f4")
                unit_vectors([vector], 1, DIMENSIONS)
                found[bytes.fromhex(told["text"])] = vector.astype(np.float32)
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadableInput(f"line {number} of {path} is damaged: {error}") from error
    return found


@lru_cache(maxsize=256)
def _signs_of(name: str) -> Float32Array:
    """Of a field; drawing them anew for each row would be a third of a decision."""
    draws = np.random.default_rng(xxh64_intdigest(name.encode()))
    return draws.choice(np.array([-1.0, 1.0], np.float32), DIMENSIONS)
