"""One Chroma collection, as the child process holds it; nothing else in this tree imports chromadb.

No embedding function is ever configured, so nothing is downloaded; telemetry is off.
"""

from typing import Any
from urllib.parse import urlsplit

import numpy as np

from raysignal.agents.vectors.rows import Facts
from raysignal.engine.core.arrays import Float32Array

Found = list[tuple[int, float, Facts]]
_CONFIGURATION = {"hnsw": {"space": "l2", "ef_construction": 100, "ef_search": 200, "max_neighbors": 16}}


def version() -> str:
    """Of the installed chromadb; the first call takes as long as its import."""
    import chromadb  # noqa: PLC0415 - half a second that only the child spends

    return str(chromadb.__version__)


class Chroma:
    """A collection in a directory, or in a server.

    Args:
        place: a directory, or http://host:port.
        name: of the collection.
    """

    def __init__(self, place: str, name: str) -> None:
        self._client = _client(place)
        self._name = name
        self._collection: Any = None
        if name in {collection.name for collection in self._client.list_collections()}:
            self._collection = self._client.get_collection(name, embedding_function=None)

    def limit(self) -> int:
        """How many outcomes one write takes."""
        return int(self._client.get_max_batch_size())

    def mark(self) -> dict[str, Any] | None:
        """What was last written by `set_mark`; None without a collection."""
        return None if self._collection is None else dict(self._collection.metadata or {})

    def count(self) -> int:
        """Outcomes in the collection."""
        return int(self._collection.count())

    def create(self) -> None:
        """An empty collection in the place of the present one."""
        if self._collection is not None:
            self._client.delete_collection(self._name)
        self._collection = self._client.create_collection(
            self._name, embedding_function=None, configuration=_CONFIGURATION
        )

    def write(self, start: int, vectors: Float32Array, facts: list[Facts]) -> None:
        """Put in outcomes from an ordinal on; those that are there are written over."""
        ids = [_id(ordinal) for ordinal in range(start, start + len(facts))]
        self._collection.upsert(ids=ids, embeddings=vectors, metadatas=facts)

    def set_mark(self, mark: dict[str, Any]) -> None:
        """Say what the collection holds."""
        self._collection.modify(metadata=mark)

    def read(self, start: int, stop: int) -> tuple[Float32Array, list[Facts]]:
        """The outcomes of a stretch that are there, by ordinal."""
        ids = [_id(ordinal) for ordinal in range(start, stop)]
        got = self._collection.get(ids=ids, include=["embeddings", "metadatas"])
        order = np.argsort(np.array(got["ids"], dtype=np.str_))
        vectors = np.asarray(got["embeddings"], np.float32)[order] if ids else np.empty((0, 0), np.float32)
        return vectors, [got["metadatas"][at] for at in order]

    def nearest(self, vectors: Float32Array, k: int, where: dict[str, Any] | None) -> list[Found]:
        """For each vector up to k outcomes: ordinal, Euclidean distance, facts; nearest first."""
        got = self._collection.query(
            query_embeddings=vectors, n_results=k, where=where, include=["distances", "metadatas"]
        )
        columns = zip(got["ids"], got["distances"], got["metadatas"], strict=True)
        return [
            sorted(
                (
                    (int(id_), max(squared, 0.0) ** 0.5, facts)
                    for id_, squared, facts in zip(*column, strict=True)
                ),
                key=lambda found: (found[1], found[0]),
            )
            for column in columns
        ]

    def close(self) -> None:
        """Write out what is in memory, and let go."""
        self._client.close()


def _client(place: str) -> Any:
    import chromadb  # noqa: PLC0415
    from chromadb.config import Settings  # noqa: PLC0415

    settings = Settings(anonymized_telemetry=False)
    address = urlsplit(place)
    if address.scheme in {"http", "https"}:
        port = address.port or (443 if address.scheme == "https" else 80)
        return chromadb.HttpClient(
            str(address.hostname), port, ssl=address.scheme == "https", settings=settings
        )
    return chromadb.PersistentClient(place, settings=settings)


def _id(ordinal: int) -> str:
    return f"{ordinal:012d}"
