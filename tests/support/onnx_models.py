"""Small ONNX models with their cards: feed-forward, recurrent, and ones that are wrong in one way each."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

FEATURES = ("rsi(14)", "returns(1)", "close")
HIDDEN = 4


def _weights(name: str, shape: Sequence[int], seed: int, scale: float = 0.5) -> TensorProto:
    values = np.random.default_rng(seed).standard_normal(shape) * scale
    return numpy_helper.from_array(values.astype(np.float32), name)


def value_info(name: str, *shape: Any, kind: int = TensorProto.FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(
    nodes: Sequence[NodeProto], inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto],
    weights: Sequence[TensorProto] = (), opset: int = 17,
) -> ModelProto:  # fmt: skip
    graph = helper.make_graph(list(nodes), "policy", list(inputs), list(outputs), list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def feed_forward(
    features: int = len(FEATURES), seed: int = 1, output: str = "probabilities", rows: Any = "n"
) -> ModelProto:
    """One layer; the features are divided by 100 in the graph."""
    nodes = [
        helper.make_node("Div", ["features", "hundred"], ["x"]),
        helper.make_node("MatMul", ["x", "w"], ["scores" if output == "probabilities" else output]),
    ]
    if output == "probabilities":
        nodes.append(helper.make_node("Softmax", ["scores"], [output], axis=1))
    hundred = numpy_helper.from_array(np.array(100.0, np.float32), "hundred")
    return model_of(
        nodes, [value_info("features", rows, features)], [value_info(output, rows, 3)],
        [hundred, _weights("w", (features, 3), seed, 3.0)],
    )  # fmt: skip


def recurrent(features: int = len(FEATURES), hidden: int = HIDDEN, seed: int = 1) -> ModelProto:
    """An LSTM cell, with `h` and `c` as inputs and outputs."""
    nodes = [
        helper.make_node("Div", ["features", "hundred"], ["x"]),
        helper.make_node("MatMul", ["x", "wx"], ["gx"]),
        helper.make_node("MatMul", ["h", "wh"], ["gh"]),
        helper.make_node("Add", ["gx", "gh"], ["gates"]),
        helper.make_node("Split", ["gates"], ["a", "b", "d", "e"], axis=1),
        *(helper.make_node("Sigmoid", [name], [f"{name}s"]) for name in "abd"),
        helper.make_node("Tanh", ["e"], ["et"]),
        helper.make_node("Mul", ["bs", "c"], ["kept"]),
        helper.make_node("Mul", ["as", "et"], ["new"]),
        helper.make_node("Add", ["kept", "new"], ["c_out"]),
        helper.make_node("Tanh", ["c_out"], ["ct"]),
        helper.make_node("Mul", ["ds", "ct"], ["h_out"]),
        helper.make_node("MatMul", ["h_out", "wp"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    states = [value_info(name, "n", hidden) for name in ("h", "c")]
    out = [
        value_info(name, "n", size)
        for name, size in (("probabilities", 3), ("h_out", hidden), ("c_out", hidden))
    ]
    hundred = numpy_helper.from_array(np.array(100.0, np.float32), "hundred")
    weights = [
        hundred, _weights("wx", (features, 4 * hidden), seed), _weights("wh", (hidden, 4 * hidden), seed + 1),
        _weights("wp", (hidden, 3), seed + 2, 4.0),
    ]  # fmt: skip
    return model_of(nodes, [value_info("features", "n", features), *states], out, weights)


def layers_first(model: ModelProto) -> ModelProto:
    """The model of `recurrent` with states `[1, n, H]`, as exporters of torch write them."""
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
    for state in ("h", "c"):
        for node in graph.node:
            node.input[:] = [f"{state}_rows" if name == state else name for name in node.input]
            node.input[:] = [f"{state}_after" if name == f"{state}_out" else name for name in node.input]
            node.output[:] = [f"{state}_after" if name == f"{state}_out" else name for name in node.output]
        graph.node.insert(0, helper.make_node("Squeeze", [state, "first"], [f"{state}_rows"]))
        graph.node.append(helper.make_node("Unsqueeze", [f"{state}_after", "first"], [f"{state}_out"]))
    for each in [*graph.input, *graph.output]:
        if each.name[0] in "hc":
            each.CopyFrom(value_info(each.name, 1, "n", HIDDEN))
    return model


def looping(times: int) -> ModelProto:
    """A feed-forward model that multiplies a matrix so many times first."""
    size = 64
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["m", "k"], ["mm"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "body",
        [
            value_info("i", kind=TensorProto.INT64),
            value_info("go", kind=TensorProto.BOOL),
            value_info("m", size, size),
        ],
        [value_info("go_on", kind=TensorProto.BOOL), value_info("mm", size, size)],
    )
    nodes = [
        helper.make_node("Loop", ["times", "", "k"], ["m_end"], body=body),
        helper.make_node("ReduceSum", ["m_end"], ["nothing"], keepdims=0),
        helper.make_node("MatMul", ["features", "w"], ["y"]),
        helper.make_node("Add", ["y", "nothing"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    weights = [
        numpy_helper.from_array(np.array(times, np.int64), "times"),
        numpy_helper.from_array(np.zeros((size, size), np.float32), "k"),
        _weights("w", (len(FEATURES), 3), 1),
    ]
    return model_of(
        nodes, [value_info("features", "n", len(FEATURES))], [value_info("probabilities", "n", 3)], weights
    )


def of_numbers(kind: str) -> ModelProto:
    """A feed-forward model whose step depends on its last feature beyond what a check can try.

    Args:
        kind: `fails` where the feature is above 10 000; `does not end`: it repeats itself so many times.
    """
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Sin", ["m"], ["mm"])],
        "body",
        [
            value_info("i", kind=TensorProto.INT64),
            value_info("go", kind=TensorProto.BOOL),
            value_info("m", "n", 1),
        ],
        [value_info("go_on", kind=TensorProto.BOOL), value_info("mm", "n", 1)],
    )
    used = {
        "fails": [
            helper.make_node("Cast", ["size"], ["place"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "place"], ["nothing"]),
        ],
        "does not end": [
            helper.make_node("ReduceMax", ["size"], ["most"], keepdims=0),
            helper.make_node("Cast", ["most"], ["times"], to=TensorProto.INT64),
            helper.make_node("Loop", ["times", "", "last"], ["m_end"], body=body),
            helper.make_node("Sub", ["m_end", "m_end"], ["nothing"]),
        ],
    }
    nodes = [
        helper.make_node("Split", ["features"], ["rest", "last"], axis=1),
        helper.make_node("Abs", ["last"], ["size"]),
        *used[kind],
        helper.make_node("MatMul", ["rest", "w"], ["y"]),
        helper.make_node("Add", ["y", "nothing"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    split = numpy_helper.from_array(np.array([len(FEATURES) - 1, 1]), "split")
    nodes[0].input.append("split")
    table = numpy_helper.from_array(np.zeros(10_001, np.float32), "table")
    weights = [split, *([table] if kind == "fails" else []), _weights("w", (len(FEATURES) - 1, 3), 1)]
    return model_of(
        nodes, [value_info("features", "n", len(FEATURES))], [value_info("probabilities", "n", 3)], weights
    )


def card_of(graph: bytes, **members: Any) -> dict[str, Any]:
    return {
        "name": "policy", "version": "1", "features": list(FEATURES), "normaliser": "graph",
        "actions": ["HOLD", "BUY", "SELL"], "training_window": ["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"],
        "symbols": ["USDCOP"], "sha256": hashlib.sha256(graph).hexdigest(), "bar": "5m",
    } | members  # fmt: skip


def write_model(folder: Path, model: ModelProto | bytes, **members: Any) -> Path:
    """A model's folder; `members` go before those of the usual card, None leaves one out."""
    graph = model if isinstance(model, bytes) else model.SerializeToString()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(graph)
    card = {name: value for name, value in card_of(graph, **members).items() if value is not None}
    (folder / "card.json").write_text(json.dumps(card))
    return folder
