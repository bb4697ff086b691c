"""`raysignal runs` over a store, without a Ray."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.cli.runs import files_of
from raysignal.engine.core.policy import Policy
from raysignal.engine.journal.stores import open_stores
from raysignal.experiments.comparison.arm_trades import trades_of_arms
from raysignal.experiments.comparison.evaluation import evaluate
from raysignal.experiments.comparison.files import write_arm, write_results
from raysignal.experiments.runs import open_run
from tests.support.experiment_streams import a_stream, some_arms

CONFIG = {
    "arms": ["baseline", "memory"], "data": "d" * 64, "seed": 0,
    "gate": {"against": 0.9, "grey": 0.75, "least": 25.0, "sure": 1.6},
    "horizon": "6b", "model": {"budget": 500, "name": "gemini-3.5-flash"}, "policy": Policy().as_dict(),
    "settlement_lag_us": 60_000_000,
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Three runs: two finished with different seeds, one with an arm that is done."""
    url = (tmp_path_factory.mktemp("runs") / "store").as_uri()
    blobs, stream = open_stores(url).blobs, a_stream(200)
    arms = some_arms(stream)
    for run_id, seed in (("first", 0), ("second", 1)):
        config = CONFIG | {"seed": seed}
        open_run(blobs, run_id, config)
        write_results(
            blobs, run_id, stream=stream, arms=arms, trades=trades_of_arms(stream, arms),
            metrics=evaluate(stream, arms, alpha=0.1 if seed else 0.05).as_dict(),
            manifest={
                "run_id": run_id, "title": "Look [here]", "config": config, "cassette": "c" * 64, "python": "3.11",
                "provenance": {"file": "mine.csv", "sha256": "a" * 64, "read": "in UTC"}, "packages": {"ray": "2.60"},
            },
            report="", picture=b"",
        )  # fmt: skip
    open_run(blobs, "third", CONFIG)
    write_arm(blobs, "third", arms[0])
    return url


def runs(*arguments):
    return CliRunner().invoke(app, ["runs", *arguments])


def test_runs_are_listed_with_how_far_they_are(store):
    found = json.loads(runs("list", "--store", store, "--json").stdout)
    assert found == [
        {"run_id": "first", "finished": True, "arms": [], "kind": "compare"},
        {"run_id": "second", "finished": True, "arms": [], "kind": "compare"},
        {"run_id": "third", "finished": False, "arms": ["baseline"], "kind": "compare"},
    ]
    shown = runs("list", "--store", store).stdout
    assert "begun" in shown


def test_a_store_without_runs_says_so(tmp_path):
    assert "no runs in" in runs("list", "--store", tmp_path.as_uri()).stdout
    assert json.loads(runs("list", "--store", tmp_path.as_uri(), "--json").stdout) == []


def test_a_run_is_shown_with_how_it_was_made_and_where_it_lies(store):
    shown = runs("show", "first", "--store", store)
    assert shown.exit_code == 0
    for part in (
        "Look [here]",
        "mine.csv",
        "long-flat",
        "memory + Gemini",
        "known 60 s later",
        "report.html",
    ):
        assert part in shown.stdout
    found = json.loads(runs("show", "first", "--store", store, "--json").stdout)
    assert found["run_id"] == found["manifest"]["run_id"] == "first"
    assert [arm["arm"] for arm in found["arms"]][:2] == ["baseline", "memory"]
    assert Path(found["files"]["metrics"]).is_file()


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        ("nobody", "there is no run 'nobody'"),
        ("third", "is not finished; 1 arms are done"),
        ("..", "run_id is '..'"),
    ],
)
def test_a_run_that_cannot_be_shown_is_a_sentence(store, run, sentence):
    shown = runs("show", run, "--store", store)
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert sentence in shown.stderr


def test_differences_are_those_of_making_and_of_result(store):
    found = json.loads(runs("diff", "first", "second", "--store", store, "--json").stdout)
    assert found["manifest"] == [{"path": "config.seed", "left": 0, "right": 1}]
    assert {"path": "alpha", "left": 0.05, "right": 0.1} in found["metrics"]
    shown = runs("diff", "first", "second", "--store", store).stdout
    assert "manifest: 1 difference\n" in shown
    assert "--json writes all" in shown


def test_a_run_does_not_differ_from_itself(store):
    assert runs("diff", "first", "first", "--store", store).stdout == (
        "manifest: no difference\nmetrics: no difference\n"
    )


def test_files_lie_at_paths_here_and_at_addresses_elsewhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert files_of((tmp_path / "a store").as_uri(), "x")["report"] == "a store/experiments/x/report.html"
    assert files_of("file:///elsewhere", "x")["report"] == "/elsewhere/experiments/x/report.html"
    assert files_of("s3://bucket/prefix/", "x")["metrics"] == "s3://bucket/prefix/experiments/x/metrics.json"
