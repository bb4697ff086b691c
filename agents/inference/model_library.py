"""The models that a host has at hand, and their files in its store: `models/<digest>/card.json`, `…/model.onnx`.

A model that was loaded once can be loaded again, whatever has become of the folder that it came from.
"""

from collections.abc import Iterable
from typing import Any

from raysignal.agents.inference.card import CARD, GRAPH, ModelFiles
from raysignal.agents.inference.onnx_policy import OnnxPolicy
from raysignal.agents.inference.step_journal import Version
from raysignal.engine.journal.blobs import BlobStore


class ModelLibrary:
    """Checked models by their digests. All methods block but `described`, `keep` and `model`."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._models: dict[str, OnnxPolicy] = {}

    def take_in(self, location: str) -> Version:
        """The model of a folder or a prefix in S3, checked and kept.

        Raises:
            ModelRefused: why it cannot be used.
            StoreUnavailable: its place, or the store, does not answer.
        """
        files = ModelFiles.read(location)
        digest = files.card.digest
        if digest not in self._models:
            self._models[digest] = OnnxPolicy.load(files)
        self._blobs.put(f"models/{digest}/{GRAPH}", files.graph)
        self._blobs.put(f"models/{digest}/{CARD}", files.card.canonical)
        return Version(digest, location, files.card.name, files.card.version)

    def have(self, version: Version | None) -> None:
        """Have a model at hand that was taken in before; raises as `take_in`. Nothing of the placeholder."""
        if version is not None and version.digest and version.digest not in self._models:
            files = ModelFiles.of(version.location, self._blobs, f"models/{version.digest}/")
            self._models[version.digest] = OnnxPolicy.load(files)

    def model(self, digest: str) -> OnnxPolicy:
        """A model at hand."""
        return self._models[digest]

    def keep(self, versions: Iterable[Version | None]) -> None:
        """Let go of all other models; their files stay."""
        digests = {each.digest for each in versions if each is not None}
        self._models = {digest: model for digest, model in self._models.items() if digest in digests}

    def described(self, version: Version | None) -> dict[str, Any] | None:
        """A version in plain values; what its card says where it is at hand."""
        if version is None:
            return None
        said: dict[str, Any] = {
            "placeholder": not version.digest,
            "location": version.location or None,
            "digest": version.digest or None,
            "name": version.name or None,
            "version": version.version or None,
        }
        model = self._models.get(version.digest)
        return said if model is None else said | described(model)


def described(model: OnnxPolicy) -> dict[str, Any]:
    """What a model's card says, and what was seen when it was checked, in plain values."""
    card, timing = model.card, model.timing
    return {
        "name": card.name, "version": card.version, "features": list(card.features), "bar": card.bar,
        "episode_gap_s": card.episode_gap_us / 1e6, "max_age_s": card.max_age_us / 1e6,
        "symbols": list(card.symbols), "training_window": list(card.training_window), "sha256": card.sha256,
        "recurrent": model.has_state, "state_bytes": timing.state_bytes, "step_ms": timing.step_ms,
        "batches": timing.batches,
    }  # fmt: skip
