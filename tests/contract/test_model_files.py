"""A model's files in every kind of store, and by the address of a bucket."""

from pathlib import Path
from typing import Any

import pytest

from raysignal.agents.inference.card import CARD, GRAPH, ModelFiles
from raysignal.agents.inference.model_library import ModelLibrary
from raysignal.engine.core.errors import ModelRefused
from tests.contract.conftest import Backend
from tests.support.onnx_models import recurrent, write_model


def test_a_model_that_was_taken_in_is_had_again_without_its_folder(backend: Backend, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", recurrent())
    version = ModelLibrary(backend.blobs()).take_in(str(folder))
    for _ in range(2):  # the same again is fine
        ModelLibrary(backend.blobs()).take_in(str(folder))
    (folder / GRAPH).unlink()
    again = ModelLibrary(backend.blobs())
    again.have(version)
    assert again.model(version.digest).name == version.name == "policy"
    missing = type(version)("0" * 64, "elsewhere", "policy", "2")
    with pytest.raises(ModelRefused, match=r"the model elsewhere is not used: card.json is not there"):
        again.have(missing)


def test_a_model_is_read_from_a_bucket(s3: Any, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", recurrent())
    for name in (CARD, GRAPH):
        s3.put_object(Bucket="results", Key=f"policies/7/{name}", Body=(folder / name).read_bytes())
    files = ModelFiles.read("s3://results/policies/7", client=s3)
    local = ModelFiles.read(str(folder))
    assert (files.card, files.graph) == (local.card, local.graph)
    with pytest.raises(ModelRefused, match=r"s3://results/policies/8 is not used: card.json is not there"):
        ModelFiles.read("s3://results/policies/8", client=s3)
    s3.put_object(Bucket="results", Key="policies/7/model.onnx", Body=b"")
    with pytest.raises(ModelRefused, match=r"model.onnx has no content"):
        ModelFiles.read("s3://results/policies/7", client=s3)
