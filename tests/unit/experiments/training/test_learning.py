"""A policy that learns: it finds what is planted, claims nothing where nothing is, and is the same as an ONNX model."""

import io
import resource
import signal
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from raysignal.agents.inference.card import ModelCard
from raysignal.agents.inference.onnx_policy import load_model
from raysignal.engine.core.errors import InvalidField, ModelRefused, NotFound, StoreUnavailable
from raysignal.engine.core.policy import Policy
from raysignal.experiments.result_files import MANIFEST, METRICS, blob_name, json_bytes
from raysignal.experiments.training.environment import TrainingData
from raysignal.experiments.training.evaluation import TrainedSeed, decided, evaluate, sentence
from raysignal.experiments.training.report import make_training_report
from raysignal.experiments.training.spec import TrainingSpec
from tests.support.folder_blobs import FolderBlobs
from tests.support.sweep_markets import market

pytestmark = pytest.mark.slow

# Imported at first use: JAX takes seconds, which tests that are not run need not pay.
MEMORY = {"trend": -0.7, "lag": 2}
"""A return follows from that of two bars before, which the policy has to remember: it is shown the last alone."""
SHORT = TrainingSpec(
    features=("returns(1)", "rsi(14)"), policy=Policy(side="long-short", fee_bps=5.0), hidden=8, episodes=16,
    episode_bars=64, rounds=60, seeds=3,
)  # fmt: skip


@dataclass(frozen=True)
class Trained:
    data: TrainingData
    seeds: list[TrainedSeed]
    parameters: list[dict[str, Any]]


def train(where, spec) -> Trained:
    from raysignal.experiments.training.network import probabilities
    from raysignal.experiments.training.ppo import learn, new_learner

    data = TrainingData.of(where, spec)
    states = [
        learn(new_learner(spec, data, seed), spec, data, spec.rounds)
        for seed in range(spec.seed, spec.seed + spec.seeds)
    ]
    seeds = [
        TrainedSeed(
            state.seed, probabilities(state.parameters, data.features[data.first :], data.resets[data.first :]),
            np.array(state.earned),
        )
        for state in states
    ]  # fmt: skip
    return Trained(data, seeds, [state.parameters for state in states])


@pytest.fixture(scope="module")
def planted() -> Trained:
    return train(market(3_000, **MEMORY), SHORT)


@pytest.fixture(scope="module")
def finished(planted, tmp_path_factory) -> FolderBlobs:
    """A run that is done."""
    blobs = FolderBlobs(tmp_path_factory.mktemp("runs"))
    found = evaluate(planted.data, SHORT, planted.seeds)
    config = SHORT.config(planted.data.market)
    manifest = {
        "kind": "training", "config": config, "bar_us": planted.data.bar_us,
        "instants_us": {"first": 1_600_000_000_000_000, "train_end": 1_600_100_000_000_000},
    }  # fmt: skip
    blobs.put(blob_name("r", METRICS), json_bytes(found.metrics))
    blobs.put(blob_name("r", MANIFEST), json_bytes(manifest))
    for one, parameters in zip(planted.seeds, planted.parameters, strict=True):
        out = io.BytesIO()
        np.savez(out, probabilities=one.probabilities, earned=one.earned, **parameters)
        blobs.put(blob_name("r", f"seeds/{one.seed}.npz"), out.getvalue())
    return blobs


def test_a_planted_pattern_is_found_out_of_sample(planted):
    found = evaluate(planted.data, SHORT, planted.seeds)
    assert found.metrics["shown"], found.metrics["controls"]
    assert sentence(found.metrics).startswith(
        "Out of sample the policy earned more than cash, holding, random timing and the best SMA: +"
    )
    assert all(one["test"]["total_return"] > 0.0 for one in found.metrics["seeds"])
    page = make_training_report(
        found, {"title": "prices <b>"}, planted.data.market.bars.known_at_us[planted.data.test_begin :],
        [one.earned for one in planted.seeds],
    )  # fmt: skip
    assert "prices &lt;b&gt;" in page
    assert page.count("<svg") == 2


def test_a_random_walk_gives_nothing_to_claim():
    walked = train(market(3_000, seed=4), SHORT)
    found = evaluate(walked.data, SHORT, walked.seeds)
    assert not found.metrics["shown"]
    assert sentence(found.metrics).startswith(
        "Nothing is shown: out of sample the policy did not earn more than "
    )


def test_however_a_training_is_cut_its_bytes_are_the_same(planted):
    from raysignal.experiments.training.ppo import learn, new_learner

    state = new_learner(SHORT, planted.data, 1)
    for rounds in (1, 29, 30):
        state = learn(state, SHORT, planted.data, rounds)
    for name, value in planted.parameters[1].items():
        assert state.parameters[name].tobytes() == value.tobytes()
    assert state.earned == tuple(planted.seeds[1].earned)


def test_advantages_are_the_discounted_sums_of_errors():
    from raysignal.experiments.training.ppo import DISCOUNT, TRACE, generalised_advantages

    draws = np.random.default_rng(3)
    rewards, values = draws.normal(size=(6, 2)), draws.normal(size=(7, 2))
    advantages, targets = generalised_advantages(rewards, values)
    errors = rewards + DISCOUNT * values[1:] - values[:-1]
    slow = [
        sum((DISCOUNT * TRACE) ** (later - step) * errors[later] for later in range(step, 6))
        for step in range(6)
    ]
    assert advantages == pytest.approx(np.array(slow))
    assert targets == pytest.approx(np.array(slow) + values[:-1])


def test_a_policy_that_does_nothing_is_not_better_than_cash(planted):
    idle = np.full_like(planted.seeds[0].probabilities, 0.1)
    idle[:, 0] = 0.8
    found = evaluate(planted.data, SHORT, [TrainedSeed(seed, idle, np.zeros(1)) for seed in (0, 1)])
    assert not found.metrics["shown"]
    assert found.metrics["controls"]["cash"]["difference_bps"]["low"] is None
    assert "did not earn more than cash" in sentence(found.metrics)


def test_an_unsure_action_counts_as_hold():
    said = np.array([[0.2, 0.5, 0.3], [0.1, 0.2, 0.7], [0.6, 0.4, 0.0]], np.float32)
    assert decided(said, Policy()).tolist() == [1, -1, 0]
    assert decided(said, Policy(min_confidence=0.65)).tolist() == [0, -1, 0]


def test_the_exported_model_says_what_jax_says_over_10_000_steps(finished, planted, tmp_path):
    import onnx

    from raysignal.experiments.training.export import export_model

    made = export_model(finished, "r", tmp_path / "model")
    assert made.steps == 10_000
    assert made.episodes > 10
    assert made.difference < 1e-5
    model = onnx.load(tmp_path / "model" / "model.onnx")
    assert (model.opset_import[0].version, model.ir_version) == (17, 10)
    assert [each.name for each in model.graph.input] == ["features", "h", "c"]
    assert [each.name for each in model.graph.output] == ["probabilities", "h_out", "c_out"]
    card = made.card
    assert (card["features"], card["bar"], card["episode_gap"]) == (["returns(1)", "rsi(14)"], "1h", "10h")
    assert card["normaliser"] == "graph"
    seeds = evaluate(planted.data, SHORT, planted.seeds).metrics["seeds"]
    best = max(seeds, key=lambda one: one["training"]["total_return"])
    assert card["version"] == f"r.{best['seed']}"


def test_a_graph_that_says_something_else_is_not_exported(finished, planted):
    from raysignal.experiments.training.export import graph_of, parity

    other = planted.parameters[0] | {"bias": planted.parameters[0]["bias"] + np.float32(0.01)}
    difference, _ = parity(graph_of(other), planted.parameters[0], steps=100)
    assert difference > 1e-5


@pytest.mark.parametrize(
    ("run", "seed", "said"),
    [
        ("x", None, "there is no run 'x'"),
        ("r", 9, "seed is 9; expected one of 0, 1, 2"),
        ("r", 0, "folder is "),
    ],
)
def test_what_cannot_be_exported_is_a_sentence_and_nothing_is_written(finished, tmp_path, run, seed, said):
    from raysignal.experiments.training.export import export_model

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes").write_text("mine")
    with pytest.raises((InvalidField, NotFound), match=said):
        export_model(finished, run, tmp_path / "full", seed=seed)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes"]


def test_a_name_that_no_model_has_and_a_full_disk_leave_nothing(finished, tmp_path):
    from raysignal.experiments.training import export

    with pytest.raises(ModelRefused, match="name is 'my model'"):
        export.export_model(finished, "r", tmp_path / "model", name="my model")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    taken = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(
            StoreUnavailable, match=r"the model cannot be written to .*; nothing was left there"
        ):
            export.export_model(finished, "r", tmp_path / "model")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, taken)
    assert not list(tmp_path.iterdir())
    (tmp_path / "model").mkdir()
    made = export.export_model(finished, "r", tmp_path / "model")
    assert load_model(str(tmp_path / "model")).digest == ModelCard(**made.card).digest


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_random_walks_give_nothing_to_claim(seed):
    walked = train(market(6_000, seed=100 + seed), TrainingSpec(seeds=3))
    assert not evaluate(walked.data, TrainingSpec(seeds=3), walked.seeds).metrics["shown"]


@pytest.mark.long
@pytest.mark.parametrize("pattern", [MEMORY, {"trend": -0.5, "lag": 2}, {"trend": 0.5}], ids=str)
def test_planted_patterns_are_found_out_of_sample(pattern):
    spec = TrainingSpec(seeds=3)
    planted = train(market(6_000, seed=5, **pattern), spec)
    found = evaluate(planted.data, spec, planted.seeds)
    assert found.metrics["shown"], found.metrics["controls"]
