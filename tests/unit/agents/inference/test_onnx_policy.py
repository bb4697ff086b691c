"""A model is checked before it speaks, and what is wrong with one is said in a sentence."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from raysignal.agents.inference import card as card_module
from raysignal.agents.inference import onnx_policy
from raysignal.agents.inference.card import ModelFiles
from raysignal.agents.inference.onnx_policy import OnnxPolicy, load_model
from raysignal.agents.inference.values import SignalRequest
from raysignal.engine.core.errors import InvalidField, ModelRefused
from tests.support.onnx_models import (
    feed_forward,
    layers_first,
    looping,
    model_of,
    of_numbers,
    recurrent,
    value_info,
    write_model,
)

GOOD = {"rsi(14)": 35.5, "returns(1)": -0.01, "close": 4250.5}
MINUTE = 60_000_000


def request(at_us: int = 1_735_689_600_000_000, **members: Any) -> SignalRequest:
    given: dict[str, Any] = {"symbol": "USDCOP", "close": 4250.5, "features": GOOD} | members
    return SignalRequest(at_us=at_us, **given)


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> OnnxPolicy:
    return load_model(str(write_model(tmp_path_factory.mktemp("lstm"), recurrent())))


def test_probabilities_of_a_feed_forward_model_are_those_of_its_weights(tmp_path: Path) -> None:
    model = feed_forward()
    policy = load_model(str(write_model(tmp_path, model)))
    found, state = policy.step(request(), None)
    weights = numpy_helper.to_array(model.graph.initializer[1])
    scores = np.exp(np.array(list(GOOD.values())) / 100 @ weights)
    assert [found.hold, found.buy, found.sell] == pytest.approx((scores / scores.sum()).tolist(), abs=1e-6)
    assert state is None
    assert not policy.has_state


def test_a_state_is_carried_and_an_episode_begins_with_zeros(lstm: OnnxPolicy) -> None:
    first, state = lstm.step(request(), None)
    second, after = lstm.step(request(), state)
    assert first != second
    assert lstm.timing.state_bytes == len(state or b"") == len(after or b"") == 32
    assert lstm.step(request(), None) == (first, state) == lstm.step(request(), bytes(32))


def test_many_rows_at_once_are_the_same_bytes_as_one_by_one(lstm: OnnxPolicy) -> None:
    random = np.random.default_rng(3)
    rows = list(random.standard_normal((40, 3)))
    states = [None if place % 3 else random.standard_normal(8).astype("<f4").tobytes() for place in range(40)]
    assert lstm.timing.batches
    assert lstm.run(rows, states) == [
        lstm.run([row], [state])[0] for row, state in zip(rows, states, strict=True)
    ]


def test_a_model_of_one_row_is_stepped_row_by_row(tmp_path: Path) -> None:
    policy = load_model(str(write_model(tmp_path, feed_forward(rows=1))))
    assert not policy.timing.batches
    rows = [np.array([35.5, 0.0, 1.0]), np.array([1.0, 2.0, 3.0])]
    assert policy.run(rows, [None, None]) == [policy.run([row], [None])[0] for row in rows]


def test_states_with_layers_before_rows_are_the_same(tmp_path: Path, lstm: OnnxPolicy) -> None:
    layered = load_model(str(write_model(tmp_path, layers_first(recurrent()))))
    random = np.random.default_rng(4)
    rows = list(random.standard_normal((9, 3)))
    states = [random.standard_normal(8).astype("<f4").tobytes() for _ in rows]
    assert layered.timing.batches
    assert layered.run(rows, states) == lstm.run(rows, states)


def test_logits_and_another_order_of_actions_are_the_same_probabilities(tmp_path: Path) -> None:
    plain = load_model(str(write_model(tmp_path / "a", feed_forward())))
    logits = load_model(
        str(
            write_model(
                tmp_path / "b",
                feed_forward(output="logits"),
                output="logits",
                actions=["SELL", "HOLD", "BUY"],
            )
        )
    )
    one, _ = plain.step(request(), None)
    other, _ = logits.step(request(), None)
    assert [other.sell, other.hold, other.buy] == pytest.approx([one.hold, one.buy, one.sell], abs=1e-6)


def test_mean_and_scale_of_the_card_are_applied_before_the_graph(tmp_path: Path) -> None:
    scaled = load_model(
        str(write_model(tmp_path / "a", feed_forward(), normaliser=[{"mean": 5.0, "scale": 2.0}] * 3))
    )
    plain = load_model(str(write_model(tmp_path / "b", feed_forward())))
    moved = {name: (value - 5.0) / 2.0 for name, value in GOOD.items()}
    assert scaled.step(request(), None) == plain.step(request(features=moved), None)


def test_a_classifier_with_a_label_beside_its_probabilities_is_taken(tmp_path: Path) -> None:
    model = feed_forward(output="scores_of_classes")
    model.graph.node.append(helper.make_node("ArgMax", ["scores_of_classes"], ["label"], axis=1, keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]))
    model.graph.node.append(helper.make_node("Softmax", ["scores_of_classes"], ["probabilities"], axis=1))
    model.graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3]))
    model.graph.node[0].input[0] = model.graph.input[0].name = "float_input"
    policy = load_model(str(write_model(tmp_path / "a", model)))
    plain = load_model(str(write_model(tmp_path / "b", feed_forward())))
    assert policy.step(request(), None) == plain.step(request(), None)


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (GOOD | {"rsi(14)": math.nan}, r"feature rsi\(14\) is nan; expected a finite number"),
        (GOOD | {"returns(1)": -math.inf}, r"feature returns\(1\) is -inf"),
        (GOOD | {"returns(1)": 1e39}, r"feature returns\(1\) is 1e\+39; expected a finite number of float32"),
        (
            {"close": 1.0, "returns(1)": 0.0},
            r"feature rsi\(14\) is None; expected a number: the model needs it",
        ),
        (GOOD | {"rsi(14)": True}, r"feature rsi\(14\) is True"),
        (GOOD | {"rsi(14)": "35"}, r"feature rsi\(14\) is '35'"),
    ],
)
def test_a_feature_that_is_none_is_refused_by_name(
    lstm: OnnxPolicy, features: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidField, match=said):
        lstm.step(request(features=features), None)


def test_a_stale_feature_is_refused_and_the_close_of_the_request_is_a_feature(lstm: OnnxPolicy) -> None:
    at_us = request().at_us
    without = {name: value for name, value in GOOD.items() if name != "close"}
    fresh = request(features=without, known_at_us={"rsi(14)": at_us - 10 * MINUTE, "other": 0})
    assert lstm.step(fresh, None) == lstm.step(request(), None)
    for known_us in (at_us - 10 * MINUTE - 1, at_us + 1):
        with pytest.raises(InvalidField, match=r"feature rsi\(14\) is 'known at .* not older than 600 s"):
            lstm.step(request(known_at_us={"rsi(14)": known_us}), None)


def _with_nan() -> ModelProto:
    model = recurrent()
    weights = numpy_helper.to_array(model.graph.initializer[1]).copy()
    weights[0, 0] = np.nan
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(weights, "wx"))
    return model


def _zipmap() -> ModelProto:
    model = feed_forward(output="scores")
    model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    model.graph.node.append(
        helper.make_node("ZipMap", ["scores"], ["zipped"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
    )
    kind = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    value = helper.make_value_info("zipped", helper.make_sequence_type_proto(kind))
    del model.graph.output[:]
    model.graph.output.append(value)
    return model


def _elsewhere() -> ModelProto:
    model = feed_forward()
    weights = model.graph.initializer[1]
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    return model


def _without(output: str) -> ModelProto:
    model = recurrent()
    kept = [each for each in model.graph.output if each.name != output]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    return model


def _changed(change: Callable[[ModelProto], Any], model: ModelProto | None = None) -> ModelProto:
    model = model or feed_forward()
    change(model)
    return model


def _opset(model: ModelProto) -> None:
    model.opset_import[0].version = 99


def _sigmoid(model: ModelProto) -> None:
    model.graph.node[-1].op_type = "Sigmoid"
    del model.graph.node[-1].attribute[:]


def _doubled(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    model.graph.node.insert(0, helper.make_node("Cast", ["features"], ["single"], to=TensorProto.FLOAT))
    model.graph.node[1].input[0] = "single"


def _drawing() -> ModelProto:
    def draw(model: ModelProto) -> None:
        drawn = helper.make_node("RandomNormalLike", ["features"], ["drawn"])
        added = helper.make_node("Add", ["features", "drawn"], ["disturbed"])
        model.graph.node[0].input[0] = "disturbed"
        model.graph.node.insert(0, added)
        model.graph.node.insert(0, drawn)

    return _changed(draw)


def _axis_that_is_no_text() -> bytes:
    """A free axis of the input has bytes that are no UTF-8 for a name."""
    model = feed_forward()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "rows"
    return model.SerializeToString().replace(b"rows", b"ro\xffs")


def _filled(count: int) -> ModelProto:
    """So many numbers are made at each step, of a graph that has none of them."""
    weights = numpy_helper.from_array(np.zeros((3, 3), np.float32), "w")
    shape = numpy_helper.from_array(np.array([count], np.int64), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["many"]),
        helper.make_node("ReduceMax", ["many"], ["most"], keepdims=0),
        helper.make_node("Add", ["features", "most"], ["moved"]),
        helper.make_node("MatMul", ["moved", "w"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"]),
    ]
    return model_of(
        nodes, [value_info("features", "n", 3)], [value_info("probabilities", "n", 3)], [shape, weights]
    )


def _two_inputs(model: ModelProto) -> None:
    for name in ("a", "b"):
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1]))
    model.graph.input[0].name = model.graph.node[0].input[0] = "x_in"


def _large_state(model: ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ["n", 300_000]))
    model.graph.node.append(helper.make_node("Identity", ["h"], ["h_out"]))
    model.graph.output.append(helper.make_tensor_value_info("h_out", TensorProto.FLOAT, ["n", 300_000]))


@pytest.mark.parametrize(
    ("model", "members", "said"),
    [
        pytest.param(
            feed_forward(features=4), {}, r"takes 4 features; its card names 3: rsi\(14\)", id="shape"
        ),
        pytest.param(
            _changed(_opset),
            {},
            "ONNX Runtime refuses it: ONNX Runtime only .*guarantees.*Opset 99",
            id="opset",
        ),
        pytest.param(_with_nan(), {}, "tried with zeros, its probabilities are nan", id="nan weights"),
        pytest.param(
            feed_forward(), {"sha256": "0" * 64}, "SHA-256 of model.onnx is .*; its card says 000", id="hash"
        ),
        pytest.param(b"", {}, "model.onnx has no content", id="empty"),
        pytest.param(b"nonsense", {}, "ONNX Runtime refuses it: .*protobuf", id="no model"),
        pytest.param(_without("c_out"), {}, "its input c has no output c_out", id="no state output"),
        pytest.param(_without("probabilities"), {}, "expected probabilities float32", id="no probabilities"),
        pytest.param(
            _changed(_sigmoid), {}, "expected three from 0 to 1 that sum to 1", id="no distribution"
        ),
        pytest.param(
            _changed(_doubled), {}, r"its input features is double\[n, 3\]; expected float32", id="type"
        ),
        pytest.param(
            _changed(_two_inputs),
            {},
            "its inputs are x_in, a, b; expected one of the name features",
            id="names",
        ),
        pytest.param(_zipmap(), {}, "export with zipmap=False", id="zipmap"),
        pytest.param(_elsewhere(), {}, "ONNX Runtime refuses it", id="weights in another file"),
        pytest.param(_changed(_large_state), {}, "its state has 1200000 bytes a symbol", id="state"),
        pytest.param(
            feed_forward(),
            {"version": None},
            "version is not there; expected one: of these weights",
            id="missing",
        ),
        pytest.param(
            feed_forward(),
            {"colour": "red"},
            "colour is unknown; expected none but name, version",
            id="unknown",
        ),
        pytest.param(
            feed_forward(), {"actions": ["BUY", "BUY", "SELL"]}, "HOLD, BUY and SELL, each once", id="actions"
        ),
        pytest.param(
            feed_forward(), {"features": ["a", "a", "b"]}, "has 'a' more than once", id="features twice"
        ),
        pytest.param(
            feed_forward(),
            {"normaliser": [{"mean": 0.0, "scale": 1.0}]},
            "expected 3, one a feature",
            id="normaliser",
        ),
        pytest.param(
            feed_forward(),
            {"features": ["rsi", "rsi(14)", "close"]},
            "'rsi' and 'rsi.14.' are one indicator",
            id="one indicator twice",
        ),
        pytest.param(
            feed_forward(),
            {"features": ["a", "b", "rsi(0)"]},
            "for its window a whole number of bars from 2",
            id="window of 0",
        ),
        pytest.param(
            feed_forward(),
            {"features": ["a", "b", "close_price"]},
            "'close_price' is no number of a request",
            id="field of a request",
        ),
        pytest.param(
            feed_forward(),
            {"features": ["a", "b", "model_version"]},
            "'model_version' is no number",
            id="member of the answer",
        ),
        pytest.param(
            feed_forward(),
            {"features": ["a", "b", "api_key"]},
            "'api_key' is no number",
            id="a secret's name",
        ),
        pytest.param(
            feed_forward(),
            {"normaliser": [{"mean": 0.0, "std": 1.0}] * 3},
            "normaliser.0.scale is not there; expected a value; normaliser.0.std is unknown; expected none but mean",
            id="member of a normaliser",
        ),
        pytest.param(
            feed_forward(),
            {"normaliser": [{"mean": 0.0, "scale": 0.0}] * 3},
            "card.json: normaliser.0.scale is 0.0; expected greater than 0",
            id="scale of 0",
        ),
        pytest.param(
            feed_forward(),
            {"normaliser": [{"mean": 1e308, "scale": 5e-324}] * 3},
            "tried with zeros",
            id="scale that overflows",
        ),
        pytest.param(
            feed_forward().SerializeToString().replace(b"features", b"feature\xff"),
            {},
            "is no text; expected UTF-8|ONNX Runtime refuses it",
            id="names that are no text",
        ),
        pytest.param(
            _axis_that_is_no_text(),
            {},
            "the name of an input, an output or an axis is no text",
            id="axis that is no text",
        ),
        pytest.param(
            _filled(2_000_000_000),
            {},
            "a step fails: Available memory of [0-9]* is smaller than requested bytes of 8000000000",
            id="8 GB from 500 bytes",
        ),
        pytest.param(_drawing(), {}, "the same numbers give another answer each time", id="random"),
        pytest.param(feed_forward(), {"bar": "7m"}, "bar is '7m'; expected", id="bar"),
        pytest.param(
            feed_forward(),
            {"training_window": ["2025-01-01", "2024-01-01"]},
            "an end after the beginning",
            id="window",
        ),
    ],
)
def test_a_bad_model_is_refused_with_a_sentence(
    tmp_path: Path, model: ModelProto | bytes, members: dict[str, Any], said: str
) -> None:
    folder = write_model(tmp_path / "model", model, **members)
    with pytest.raises(ModelRefused, match=f"^the model {folder} is not used: .*{said}") as caught:
        load_model(str(folder))
    assert len(str(caught.value)) < 900


@pytest.mark.slow
def test_a_model_whose_step_does_not_end_is_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path, looping(1_000_000_000))
    with pytest.raises(ModelRefused, match="did not end within 1 s"):
        load_model(str(folder))


def test_numbers_that_a_graph_fails_on_are_refused_and_those_beside_them_are_not(tmp_path: Path) -> None:
    policy = load_model(str(write_model(tmp_path, of_numbers("fails"))))
    assert policy.timing.batches
    rows = [GOOD, GOOD | {"close": 20_000.0}, GOOD | {"close": 9.0}]
    first, second, third = policy.steps(
        [request(features=row, symbol=str(place)) for place, row in enumerate(rows)], [None] * 3
    )
    assert isinstance(second, ModelRefused)
    assert "a step fails: " in str(second)
    assert isinstance(first, tuple)
    assert first == third


def test_a_step_that_does_not_end_is_ended_and_the_next_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = load_model(str(write_model(tmp_path, of_numbers("does not end"))))
    monkeypatch.setattr(onnx_policy, "_STEP_S", 0.0)
    with pytest.raises(ModelRefused, match="a step did not end within 0 s"):
        policy.step(request(features=GOOD | {"close": 1e15}), None)
    monkeypatch.undo()
    assert policy.step(request(features=GOOD | {"close": 2.0}), None)[1] is None


def test_a_model_whose_steps_take_longer_than_they_may_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_policy, "SLOWEST_S", 0.0)
    with pytest.raises(ModelRefused, match=r"its fastest step takes .*; expected at most 0 s"):
        load_model(str(write_model(tmp_path, looping(2))))


def test_a_file_of_two_gigabytes_is_refused_before_it_is_read(tmp_path: Path) -> None:
    folder = write_model(tmp_path, feed_forward())
    with (folder / "model.onnx").open("r+b") as file:
        file.truncate(2 * 1024**3)  # without a block on disk
    with pytest.raises(ModelRefused, match="has 2147483648 bytes; expected at most 268435456"):
        ModelFiles.read(str(folder))


def test_no_folder_and_no_address_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"card.json is not there"):
        load_model(str(tmp_path / "none"))
    with pytest.raises(ModelRefused, match="expected a folder, file:///folder or s3://"):
        load_model("ftp://elsewhere/model")
    (tmp_path / "card.json").write_text("[" * 100_000)
    with pytest.raises(ModelRefused, match=r"card.json is no JSON"):
        load_model(str(tmp_path))
    assert card_module.MOST_BYTES < 2 * 1024**3


@pytest.mark.parametrize("address", ["{}", "file://{}"])
def test_what_lies_in_the_place_of_a_model_and_is_none_is_said(tmp_path: Path, address: str) -> None:
    folder = write_model(tmp_path / "model", feed_forward())
    graph = folder / "model.onnx"
    with pytest.raises(
        ModelRefused, match=r"it is a file; expected the folder that has card.json and model.onnx"
    ):
        load_model(address.format(graph))
    graph.unlink()
    graph.symlink_to("/dev/zero")
    with pytest.raises(ModelRefused, match=r"model.onnx is no file; expected one, or a link to one"):
        load_model(address.format(folder))
    (folder / "card.json").write_text('{"name": "a", "name": "b"}')
    graph.unlink()
    with pytest.raises(ModelRefused, match=r"card.json is no JSON: 'name' stands there more than once"):
        load_model(address.format(folder))


def test_a_card_is_known_by_what_it_says_not_by_how_it_is_written(tmp_path: Path) -> None:
    one = ModelFiles.read(str(write_model(tmp_path / "a", feed_forward()))).card
    two = ModelFiles.read(str(write_model(tmp_path / "b", feed_forward(), output="probabilities"))).card
    other = ModelFiles.read(str(write_model(tmp_path / "c", feed_forward(), version="2"))).card
    assert one.digest == two.digest != other.digest
    assert (one.episode_gap_us, one.max_age_us) == (10 * MINUTE, 10 * MINUTE)
