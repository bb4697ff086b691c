"""`raysignal model train` and `export` on a real Ray: the same bytes through a stop, and what cannot be."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.engine.core.errors import Conflict
from raysignal.engine.core.policy import Policy
from raysignal.experiments.training.environment import TrainingData
from raysignal.experiments.training.running import run_training
from raysignal.experiments.training.spec import TrainingSpec
from tests.support.folder_blobs import FolderBlobs
from tests.support.sweep_markets import market

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.usefixtures("shared_ray")]

SPEC = TrainingSpec(
    features=("returns(1)",), hidden=4, episodes=4, episode_bars=16, rounds=14, seeds=2,
    policy=Policy(side="long-short"),
)  # fmt: skip
DATA = TrainingData.of(market(600, trend=0.5), SPEC)


def written(folder):
    return {
        path.name: path.read_bytes() for path in (folder / "experiments" / "r").rglob("*") if path.is_file()
    }


def test_a_training_that_was_stopped_goes_on_and_has_the_bytes_of_one_that_was_not(tmp_path):
    blobs = FolderBlobs(tmp_path / "stopped")

    def stop(_done, _whole):
        if blobs.list("experiments/r/seeds/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(DATA, SPEC, blobs, run_id="r", progress=stop)
    again = run_training(DATA, SPEC, blobs, run_id="r")
    assert again.found == 1
    run_training(DATA, SPEC, FolderBlobs(tmp_path / "whole"), run_id="r")
    assert written(tmp_path / "stopped") == written(tmp_path / "whole")
    assert set(written(tmp_path / "whole")) == {
        "config.json", "manifest.json", "metrics.json", "report.html", "returns.parquet", "0.npz", "1.npz",
    }  # fmt: skip
    assert run_training(DATA, SPEC, blobs, run_id="r").metrics == again.metrics
    with pytest.raises(Conflict, match="hidden was 4 and is 5"):
        run_training(DATA, replace(SPEC, hidden=5), blobs, run_id="r")


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
    assert "out of sample the policy" in raysignal("runs", "show", run, "--store", store).stdout.lower()
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
        (
            ["train", "--episode-bars", "5000"],
            "bars is '1710 to train on'; expected more than an episode of 5000",
        ),
        (["train", "nowhere.csv"], "nowhere.csv is no file"),
        (["export", "x", "model"], "there is no run 'x'"),
    ],
)
def test_what_cannot_be_is_a_sentence(tmp_path, arguments, said):
    shown = raysignal("model", *arguments, "--store", f"file://{tmp_path}/store")
    assert shown.exit_code != 0
    assert said in " ".join(shown.output.replace("│", " ").split())
    assert "Traceback" not in shown.output
