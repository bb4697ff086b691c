"""Models that embed texts: what is asked and what comes back. How they are reached is `chat_wire`'s."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from raysignal.agents.llm.calls import Failure, Usage
from raysignal.agents.llm.models import DEFAULT_PROVIDER, ModelSettings, RemoteModel
from raysignal.engine.core.arrays import Float32Array
from raysignal.engine.core.errors import InvalidField

if TYPE_CHECKING:
    from raysignal.agents.llm.chat_wire import EmbeddingConnection

DIMENSIONS = 768
"""Of a vector: what models of the Gemini API shorten theirs to."""
AT_ONCE = 32
"""Texts of a call."""


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Some texts, at most `AT_ONCE`, and how many components their vectors are to have."""

    texts: tuple[str, ...]
    dimensions: int = DIMENSIONS


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedTexts:
    """The vectors of texts, float32[texts, dimensions], each of length 1; `usage`: such answers count no tokens."""

    vectors: Float32Array
    usage: Usage | None = None


EmbeddingOutcome = EmbeddedTexts | Failure


class EmbeddingModel(RemoteModel[EmbeddingRequest, EmbeddedTexts]):
    """A model of the Gemini API that embeds texts. See `RemoteModel`."""

    def _connect(self, wire: Any) -> "EmbeddingConnection":
        connection: EmbeddingConnection = wire.EmbeddingConnection(self.settings, self._api_key)
        return connection


def embedding_settings(model: str, base_url: str | None) -> ModelSettings:
    """A model that embeds texts, as it is asked for.

    Args:
        model: its name at the Gemini API, such as gemini-embedding-001.
        base_url: another host that speaks it; None: Google.

    Raises:
        InvalidField: a name or an address that cannot be.
    """
    settings = ModelSettings(model=model, base_url=base_url)
    if settings.provider.name != DEFAULT_PROVIDER:
        raise InvalidField("embeddings", model, "a model of the Gemini API such as gemini-embedding-001")
    return settings


def unit_vectors(
    found: Sequence[Sequence[float] | Float32Array], texts: int, dimensions: int
) -> Float32Array:
    """Vectors of length 1, float32[texts, dimensions]; `ValueError` where there are others than were asked for."""
    if len(found) != texts:
        raise ValueError(f"{len(found)} texts were embedded; expected {texts}")
    if any(len(each) != dimensions for each in found):
        sizes = sorted({len(each) for each in found})
        raise ValueError(f"vectors of {sizes} components; expected {dimensions}")
    vectors = np.array(found, np.float64).reshape(texts, dimensions)
    lengths = np.linalg.norm(vectors, axis=1)
    if not ((lengths > 0.0) & (lengths < np.inf)).all():
        raise ValueError(
            f"a vector of {dimensions} components that are 0 or no numbers; expected finite ones"
        )
    unit: Float32Array = (vectors / lengths[:, None]).astype(np.float32)
    return unit
