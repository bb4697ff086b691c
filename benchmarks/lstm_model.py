"""The recurrent model that benchmarks step: an LSTM of ONNX with random weights, the same each time."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

HIDDEN = 64


def write_lstm(folder: Path, features: Sequence[str]) -> Path:
    """A new folder with an LSTM of these features, its weights drawn at random, and its card."""
    random, size = np.random.default_rng(1), 4 * HIDDEN
    weights = {
        "w": random.normal(0, 0.1, (1, size, len(features))), "r": random.normal(0, 0.1, (1, size, HIDDEN)),
        "b": np.zeros((1, 2 * size)), "head": random.normal(0, 0.3, (HIDDEN, 3)),
    }  # fmt: skip
    nodes = [
        helper.make_node("Unsqueeze", ["features", "first"], ["x"]),
        helper.make_node("LSTM", ["x", "w", "r", "b", "", "h", "c"], ["", "h_out", "c_out"], hidden_size=HIDDEN),
        helper.make_node("Squeeze", ["h_out", "first"], ["last"]),
        helper.make_node("MatMul", ["last", "head"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]  # fmt: skip

    def value(name: str, *shape: Any) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    states = [value(name, 1, "n", HIDDEN) for name in ("h", "c")]
    after = [value(f"{name}_out", 1, "n", HIDDEN) for name in ("h", "c")]
    held = [numpy_helper.from_array(np.array([0]), "first")]
    held += [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()]
    graph = helper.make_graph(
        nodes, "lstm", [value("features", "n", len(features)), *states], [value("probabilities", "n", 3), *after], held
    )  # fmt: skip
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    data = built.SerializeToString()
    folder.mkdir()
    (folder / "model.onnx").write_bytes(data)
    card = {
        "name": "lstm", "version": "1", "features": list(features), "normaliser": "graph",
        "training_window": ["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"], "symbols": [],
        "sha256": hashlib.sha256(data).hexdigest(), "bar": "1m",
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card))
    return folder
