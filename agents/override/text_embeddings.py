"""Embeddings of free texts by a model: made before any signal is decided, and kept on record.

A record is an NDJSON file that only grows, a line an embedding. What is on record is not asked for again, and a
replay asks for nothing. So the same signals have the same vectors, with a network or without one.
"""

import base64
import fcntl
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from xxhash import xxh64_intdigest

from raysignal.agents.llm.models import DEFAULT_PROVIDER, ModelSettings
from raysignal.agents.override.situations import Encoder
from raysignal.agents.override.texts import text_at
from raysignal.engine.core.arrays import Float32Array
from raysignal.engine.core.columns import SignalBatch, TextColumn
from raysignal.engine.core.errors import (
    CassetteMiss,
    InvalidField,
    NotFound,
    SettingsError,
    UnreadableInput,
)

DIMENSIONS = 768
"""Of a vector: what models of the Gemini API shorten theirs to."""
MOST_TEXTS = 20_000
"""Different texts that are embedded: their vectors lie in the memory of every arm."""
AT_ONCE = 32
"""Texts of a call."""


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
        if self.settings.provider.name != DEFAULT_PROVIDER:
            raise InvalidField(
                "embeddings", self.model, "a model of the Gemini API such as gemini-embedding-001"
            )

    @property
    def settings(self) -> ModelSettings:
        """The same as it is asked for; raises `InvalidField` for a name or an address that cannot be."""
        return ModelSettings(model=self.model, base_url=self.base_url)

    def config(self) -> dict[str, object]:
        """What decides the vectors, in plain values."""
        return {"model": self.model, "dimensions": DIMENSIONS}


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

    def embed(self, fields: Mapping[str, TextColumn], start: int, stop: int) -> Float32Array:
        """See `Embedder.embed`; a text that was not embedded raises `KeyError`."""
        found = np.zeros((stop - start, DIMENSIONS), np.float32)
        for name, column in fields.items():
            signs = _signs_of(name)
            for row in range(start, stop):
                if text := text_at(column, row).strip():
                    found[row - start] += signs * self.vectors[key_of(text)]
        return found

    def content_hash(self) -> str:
        """SHA-256 of all vectors, whatever the order in which they were made."""
        digest = hashlib.sha256()
        for key in sorted(self.vectors):
            digest.update(key + self.vectors[key].tobytes())
        return digest.hexdigest()


def key_of(text: str) -> bytes:
    """Of a text as it is embedded."""
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=16).digest()


def free_texts_of(batch: SignalBatch) -> list[str]:
    """The different free texts of a stream, as they are embedded, in the order of their rows and fields."""
    encoder = Encoder()
    encoder.encode(batch)
    columns = encoder.free_texts(batch).values()
    found = (text_at(column, row).strip() for row in range(len(batch)) for column in columns)
    return list(dict.fromkeys(text for text in found if text))


def embed_texts(texts: Sequence[str], options: EmbeddingOptions) -> RecordedEmbeddings:
    """The vectors of texts: those on record, and those that are asked for and put on record now.

    Raises:
        InvalidField: more than `MOST_TEXTS`.
        NotFound: a replay without its record.
        CassetteMiss: a replay of a text that is not on record.
        UnreadableInput: a line of the record that is damaged, or an answer that cannot be.
        AgentUnavailable: the model did not answer; what it answered before is on record.
        SettingsError: a key or an address that cannot be, or another process is recording on the file.
    """
    if len(texts) > MOST_TEXTS:
        raise InvalidField("embeddings", len(texts), f"at most {MOST_TEXTS} different free texts")
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
        held |= _asked(missing, options, path)
    return RecordedEmbeddings({key: held[key] for key in map(key_of, texts)})


def _asked(texts: list[str], options: EmbeddingOptions, path: Path) -> dict[bytes, Float32Array]:
    from raysignal.agents.llm.embeddings import EmbeddingConnection  # noqa: PLC0415 - LangChain takes a second

    wire = EmbeddingConnection(options.settings, options.api_key)
    found = {}
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with closing(wire), os.fdopen(opened, "r+b") as file:
        _hold(file.fileno(), path)
        for start in range(0, len(texts), AT_ONCE):
            some = texts[start : start + AT_ONCE]
            for text, values in zip(some, wire.embed(some, DIMENSIONS), strict=True):
                vector = _unit(np.array(values, np.float32), options.model)
                found[key_of(text)] = vector
                line = {
                    "model": options.model,
                    "text": key_of(text).hex(),
                    "vector": base64.b64encode(vector.astype("<f4").tobytes()).decode(),
                }
                file.write(json.dumps(line).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    return found


def _unit(vector: Float32Array, model: str) -> Float32Array:
    length = float(np.linalg.norm(vector))
    if vector.shape != (DIMENSIONS,) or not 0.0 < length < np.inf:
        raise UnreadableInput(
            f"{model} answered {vector.size} components of length {length:g}; expected {DIMENSIONS} that are finite"
        )
    return (vector / np.float32(length)).astype(np.float32)


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
                _unit(vector, model)
                found[bytes.fromhex(told["text"])] = vector.astype(np.float32)
        except (ValueError, KeyError, TypeError, UnreadableInput) as error:
            raise UnreadableInput(f"line {number} of {path} is damaged: {error}") from error
    return found


def _signs_of(name: str) -> Float32Array:
    draws = np.random.default_rng(xxh64_intdigest(name.encode()))
    return draws.choice(np.array([-1.0, 1.0], np.float32), DIMENSIONS)
