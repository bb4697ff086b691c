"""A trained policy as an ONNX model: its graph, the card beside it, and the proof that it says what JAX says.

The graph takes `features` float32[n, F] as they are and the state `h`, `c` float32[n, H], and answers `probabilities`
float32[n, 3] of HOLD, BUY and SELL, `h_out` and `c_out`; the normaliser is inside. An episode starts with zeros.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from raysignal.agents.inference.card import CARD, GRAPH, read_card
from raysignal.engine.core.errors import InvalidField, RaysignalError, StoreUnavailable
from raysignal.engine.core.instants import check_interval, format_instant
from raysignal.engine.journal.blobs import BlobStore
from raysignal.engine.portfolio.file_observations import length
from raysignal.experiments.result_files import json_bytes
from raysignal.experiments.runs import load_run
from raysignal.experiments.training.environment import NAMES
from raysignal.experiments.training.network import MOST, Parameters, probabilities
from raysignal.experiments.training.running import read_seed
from raysignal.experiments.training.spec import GAP_BARS

STEPS = 10_000
TOLERANCE = 1e-5
_EPISODE = 250  # steps of the proof, on average
_OPSET, _IR = 17, 10


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """What was written: the card, and the largest difference of a probability over how many steps and episodes."""

    card: dict[str, Any]
    difference: float
    steps: int
    episodes: int


def export_model(
    blobs: BlobStore, run_id: str, folder: Path, *, seed: int | None = None, name: str = "ppo-lstm"
) -> ExportedModel:
    """Write the policy of a finished training as `model.onnx` and `card.json`.

    Args:
        blobs: where the run is kept.
        run_id: its name.
        folder: not there yet, or empty.
        seed: which policy; None: the one that earned most where it was trained.
        name: of the model.

    Raises:
        NotFound: no such run, or it is not finished.
        InvalidField: no training, no such seed, a folder that holds something, or bars that no model can be stepped on.
        ModelRefused: the name can be none of a model.
        StoreUnavailable: the folder cannot be written.
        RaysignalError: ONNX Runtime says something else than JAX; nothing was written.
    """
    run = load_run(blobs, run_id)
    if run.kind != "training":
        raise InvalidField("run", run_id, f"a training; this one is a {run.kind}")
    seeds = [one["seed"] for one in run.metrics["seeds"]]
    chosen = run.metrics["exported"] if seed is None else seed
    if chosen not in seeds:
        raise InvalidField("seed", chosen, f"one of {', '.join(map(str, seeds))}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidField("folder", str(folder), "one that is not there yet, or empty")
    check_interval(run.manifest["bar_us"])
    _, parameters = read_seed(blobs, run_id, chosen)
    graph = graph_of(parameters)
    card = card_of(run.manifest, graph, name=name, version=f"{run_id[:48]}.{chosen}")
    read_card(str(folder), json_bytes(card))
    difference, episodes = parity(graph, parameters)
    if not difference < TOLERANCE:
        raise RaysignalError(
            f"ONNX Runtime and JAX differ by {difference:.1e} over {STEPS:,d} steps; expected less than {TOLERANCE:g}"
        )
    _write(folder, {GRAPH: graph, CARD: json_bytes(card)})
    return ExportedModel(card, difference, STEPS, episodes)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make the folder with all of its files at once."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".raysignal-model-", dir=folder.parent) as beside:
            made = Path(beside) / "model"
            made.mkdir()
            for name, content in files.items():
                (made / name).write_bytes(content)
            made.replace(folder)
    except OSError as error:
        raise StoreUnavailable(
            f"the model cannot be written to {folder}: {error}; nothing was left there"
        ) from error


def card_of(manifest: Mapping[str, Any], graph: bytes, *, name: str, version: str) -> dict[str, Any]:
    """What card.json says of the policy of a training with this manifest."""
    config, at_us, bar_us = manifest["config"], manifest["instants_us"], manifest["bar_us"]
    return {
        "name": name,
        "version": version,
        "features": config["features"],
        "normaliser": "graph",
        "actions": list(NAMES),
        "training_window": [format_instant(at_us["first"]), format_instant(at_us["train_end"])],
        "symbols": [config["symbol"]],
        "sha256": hashlib.sha256(graph).hexdigest(),
        "bar": length(bar_us),
        "episode_gap": length(GAP_BARS * bar_us),
    }


def graph_of(parameters: Parameters) -> bytes:
    """The graph, see the module; the same bytes for the same parameters."""
    held = {name: np.asarray(value, np.float32) for name, value in parameters.items()}
    features, hidden = len(held["mean"]), len(held["recurrent"])
    weights = {name: value for name, value in held.items() if not name.startswith("value")}
    weights |= {"lowest": np.array(-MOST, np.float32), "highest": np.array(MOST, np.float32)}
    steps = (
        ("Sub", "features mean", "centred"), ("Div", "centred scale", "scaled"),
        ("Clip", "scaled lowest highest", "normal"),
        ("MatMul", "normal input", "driven"), ("Add", "driven bias", "drive"),
        ("MatMul", "h recurrent", "remembered"), ("Add", "drive remembered", "gates"),
        ("Split", "gates", "enter forget new out"),
        ("Sigmoid", "enter", "entering"), ("Sigmoid", "forget", "kept"), ("Tanh", "new", "candidate"),
        ("Sigmoid", "out", "shown"),
        ("Mul", "kept c", "old"), ("Mul", "entering candidate", "added"), ("Add", "old added", "c_out"),
        ("Tanh", "c_out", "cell"), ("Mul", "shown cell", "h_out"),
        ("MatMul", "h_out policy", "scores"), ("Add", "scores policy_bias", "logits"),
        ("Softmax", "logits", "probabilities"),
    )  # fmt: skip
    options: dict[str, dict[str, int]] = {"Split": {"axis": 1}, "Softmax": {"axis": 1}}
    nodes = [
        helper.make_node(kind, given.split(), made.split(), **options.get(kind, {}))
        for kind, given, made in steps
    ]
    widths = {"features": features, "h": hidden, "c": hidden}
    answers = {"probabilities": len(NAMES), "h_out": hidden, "c_out": hidden}
    graph = helper.make_graph(
        nodes, "policy", _rows(widths), _rows(answers),
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )  # fmt: skip
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR, producer_name="raysignal"
    )
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def parity(graph: bytes, parameters: Parameters, *, steps: int = STEPS) -> tuple[float, int]:
    """The largest difference of a probability between ONNX Runtime, step by step, and JAX; and the episodes there were.

    Features are drawn around the training's, some of them far from it; episodes start where it falls to them.
    """
    draws = np.random.default_rng(0)
    mean, scale = np.asarray(parameters["mean"]), np.asarray(parameters["scale"])
    features = (mean + scale * draws.standard_t(3, (steps, len(mean)))).astype(np.float32)
    starts = draws.random(steps) < 1.0 / _EPISODE
    starts[0] = True
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    empty = np.zeros((1, len(parameters["recurrent"])), np.float32)
    h = c = empty
    said = []
    for row, starting in zip(features[:, None], starts, strict=True):
        h, c = (empty, empty) if starting else (h, c)
        answer, h, c = session.run(["probabilities", "h_out", "c_out"], {"features": row, "h": h, "c": c})
        said.append(answer)
    expected = probabilities(parameters, features, starts)
    return float(np.abs(np.concatenate(said) - expected).max()), int(starts.sum())


def _rows(widths: Mapping[str, int]) -> list[Any]:
    return [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]) for name, width in widths.items()
    ]
