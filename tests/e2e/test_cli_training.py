"""`raysignal model train` and `export` on a real Ray: the same bytes as without it, through a stop."""

import io
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.engine.core.errors import Conflict
from raysignal.engine.core.policy import Policy
from raysignal.experiments.result_files import read_bytes
from raysignal.experiments.training.environment import TrainingData
from raysignal.experiments.training.running import run_training
from raysignal.experiments.training.spec import TrainingSpec
from tests.support.folder_blobs import FolderBlobs
from tests.support.sweep_markets import market

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.usefixtures("shared_ray")]

MARKET = market(600, trend=0.5)
SPEC = TrainingSpec(
    features=("returns(1)",), hidden=4, episodes=4, episode_bars=16, iterations=14, seeds=2,
    policy=Policy(side="long-short"),
)  # fmt: skip


def test_a_training_that_was_stopped_goes_on_and_has_the_bytes_of_one_process(tmp_path):
    from raysignal.experiments.training.ppo import learn, new_learner

    blobs = FolderBlobs(tmp_path)

    def stop(_done, _whole):
        if blobs.list("experiments/r/seeds/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(MARKET, SPEC, blobs, run_id="r", progress=stop)
    done = len(blobs.list("experiments/r/seeds/"))
    again = run_training(MARKET, SPEC, blobs, run_id="r")
    assert (again.found, done) == (1, 1)
    data = TrainingData.of(MARKET, SPEC)
    for seed in (0, 1):
        alone = learn(new_learner(SPEC, data, seed), SPEC, data, SPEC.iterations)
        with np.load(io.BytesIO(read_bytes(blobs, "r", f"seeds/{seed}.npz"))) as held:
            for name, value in alone.parameters.items():
                assert held[name].tobytes() == value.tobytes()
    written = {path.name for path in (tmp_path / "experiments" / "r").iterdir()}
    assert written == {"config.json", "manifest.json", "metrics.json", "report.html", "returns.parquet", "seeds"}
    assert run_training(MARKET, SPEC, blobs, run_id="r").metrics == again.metrics
    with pytest.raises(Conflict, match="hidden was 4 and is 5"):
        run_training(MARKET, TrainingSpec(hidden=5), blobs, run_id="r")


def raysignal(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_sample_is_trained_on_and_exported_from_the_command_line(tmp_path):
    store = f"file://{tmp_path}/store"
    shown = raysignal(
        "model", "train", "--feature", "returns(1)", "--hidden", 4, "--episodes", 4, "--episode-bars", 16, "--rounds",
        4, "--seeds", 2, "--fee-bps", 2, "--store", store, "--json",
    )  # fmt: skip
    assert shown.exit_code == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert (found["kind"], found["symbol"], len(found["seeds"])) == ("training", "BTC", 2)
    run = found["run_id"]
    assert "20 bars" not in raysignal("runs", "show", run, "--store", store).stdout
    shown = raysignal("model", "export", run, tmp_path / "model", "--store", store)
    assert shown.exit_code == 0, shown.stderr
    assert f"model     ppo-lstm {run}.{found['exported']} in {tmp_path}/model" in shown.stdout
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    assert (card["bar"], card["symbols"], card["features"]) == ("1h", ["BTC"], ["returns(1)"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--bar", "1h"], "the sample is read as it was made"),
        (["train", "--feature", "mood"], "feature is 'mood'; expected one of returns,"),
        (["train", "--test", "2"], "test is 2.0; expected a share above 0 and below 1"),
        (["train", "--episode-bars", "5000"], "bars is '1710 to train on'; expected more than an episode of 5000"),
        (["train", "nowhere.csv"], "nowhere.csv is no file"),
        (["train", "--symbol", "ETH", "data/sample.csv"], "timestamp"),
        (["export", "x", "model"], "there is no run 'x'"),
    ],
)
def test_what_cannot_be_is_a_sentence(tmp_path, arguments, said):
    shown = raysignal("model", *arguments, "--store", f"file://{tmp_path}/store")
    assert shown.exit_code != 0
    assert said in " ".join(shown.output.replace("│", " ").split())
    assert "Traceback" not in shown.output
