"""`raysignal sweep` on a real Ray: the same bytes on any number of workers, through a death and a stop."""

import json
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import raysignal as door
from raysignal.cli.main import app
from raysignal.engine.core.errors import Conflict
from raysignal.experiments.sweeps.pace import SweepSpeed
from raysignal.experiments.sweeps.running import run_sweep
from raysignal.experiments.sweeps.space import Space
from raysignal.experiments.sweeps.sweep import CrossValidation, SweepSpec, WalkForward
from tests.support.folder_blobs import FolderBlobs
from tests.support.sweep_markets import market

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.usefixtures("shared_ray")]

SPACE = Space.of(None, ["sma_fast=2:16:2", "sma_slow=20:100:10"], ["side=long-short"])
SPEC = SweepSpec(SPACE, validation=WalkForward(600, 200))
MARKETS = (market(2_000, symbol="BTC"), market(1_500, seed=7, symbol="ETH", start=100))
SMALL = SweepSpeed(1e-5)  # so slow that chunks are small
RUN = "a-sweep"


def results(folder):
    """The files of the run, but for how it was cut."""
    found = {
        path.name: path.read_bytes() for path in (folder / "experiments" / RUN).iterdir() if path.is_file()
    }
    del found["chunks.json"]
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The sweep on one worker, in as few pieces as can be."""
    folder = tmp_path_factory.mktemp("alone")
    run_sweep(MARKETS, SPEC, FolderBlobs(folder), run_id=RUN, workers=1, pace=SweepSpeed(1e-9))
    return results(folder)


def workers_of_this_process():
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.name().startswith("ray::SweepWorker")
    ]


def test_three_workers_make_the_same_bytes_as_one_with_one_killed_on_the_way(tmp_path, alone):
    """Eight in `make long`: tests/e2e/test_sweep_workers.py."""
    assert set(alone) == {
        "config.json", "curves.parquet", "folds.parquet", "manifest.json", "metrics.json", "periods.parquet",
        "report.html", "report.png", "sweep.parquet",
    }  # fmt: skip
    killed = []

    def progress(done, whole):
        if 0 < done < whole and not killed:
            victim = workers_of_this_process()[0]
            os.kill(victim.pid, signal.SIGKILL)
            killed.append(victim.pid)

    run_sweep(MARKETS, SPEC, FolderBlobs(tmp_path), run_id=RUN, workers=3, pace=SMALL, progress=progress)
    assert killed
    assert results(tmp_path) == alone


def test_a_sweep_that_was_stopped_goes_on_with_what_is_done(tmp_path, alone):
    blobs = FolderBlobs(tmp_path)

    def stop(done, whole):
        if done > whole / 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_sweep(MARKETS, SPEC, blobs, run_id=RUN, workers=2, pace=SMALL, progress=stop)
    done = set(blobs.list(f"experiments/{RUN}/chunks/"))
    assert done
    again = run_sweep(MARKETS, SPEC, blobs, run_id=RUN, workers=1)
    assert again.found == len(done)
    assert results(tmp_path) == alone
    finished = run_sweep(MARKETS, SPEC, blobs, run_id=RUN, workers=2)
    assert finished.metrics == json.loads(alone["metrics.json"])
    with pytest.raises(Conflict, match="validation"):
        run_sweep(MARKETS, SweepSpec(SPACE, validation=CrossValidation(5)), blobs, run_id=RUN)


def test_a_search_tries_what_optuna_proposes_and_is_judged_by_all_it_tried(tmp_path):
    found = []
    for store in ("one", "other"):
        shown = raysignal(
            "sweep", "data/sample.csv", "--bar", "1h", "--label", "open", "--grid", "sma_fast=2:100:1", "--grid",
            "sma_slow=3:200:1", "--grid", "weight=0.01:1:0.01", "--grid", "fee_bps=0:100:1", "--search", 6,
            "--workers", 1, "--seed", 3, "--store", f"file://{tmp_path}/{store}", "--json",
        )  # fmt: skip
        assert shown.exit_code == 0, shown.stderr
        found.append(json.loads(shown.stdout)["symbols"])
    assert found[0] == found[1]  # one worker, one seed
    (own,) = found[0].values()
    assert 1 <= own["configurations"] <= 6
    assert all(one["parameters"]["sma_fast"] < one["parameters"]["sma_slow"] for one in own["best"])


def raysignal(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_file_is_swept_from_the_command_line(tmp_path):
    prices = tmp_path / "prices.csv"
    bars = MARKETS[0].bars
    stamps = bars.known_at_us.view("datetime64[us]")
    rows = (f"{stamp}Z,{close}" for stamp, close in zip(stamps, bars.close, strict=True))
    prices.write_text("\n".join(["timestamp,close", *rows]))
    shown = raysignal(
        "sweep", prices, "--grid", "sma_fast=2:8:2", "--grid", "sma_slow=5,10,20", "--walk-forward", "600,200",
        "--workers", 2, "--store", f"file://{tmp_path}/store", "--json",
    )  # fmt: skip
    assert shown.exit_code == 0, shown.stderr
    found = json.loads(shown.stdout)
    assert found["senseless"] == 2
    own = found["symbols"]["BTC"]
    assert own["configurations"] == 10
    assert own["validation"]["folds"] == 7
    folder = tmp_path / "store" / "experiments" / found["run_id"]
    table = pq.read_table(folder / "sweep.parquet").to_pandas()
    best = table.set_index("rank").loc[1]
    assert (best.sma_fast, best.sma_slow) == tuple(own["best"][0]["parameters"].values())
    assert best.sharpe == own["best"][0]["figures"]["sharpe"] == table.sharpe.max()
    curves = pq.read_table(folder / "curves.parquet").to_pandas()
    assert curves[curves.configuration == best.configuration].equity.iloc[-1] == best.equity
    plain = raysignal(
        "sweep",
        prices,
        "--grid",
        "sma_fast=2,4",
        "--set",
        "sma_slow=10",
        "--workers",
        2,
        "--store",
        f"file://{tmp_path}/store",
    )
    assert plain.exit_code == 0, plain.stderr
    assert "best by sharpe of 2" in plain.stdout
    report = next(
        line.split(maxsplit=1)[1] for line in plain.stdout.splitlines() if line.startswith("report")
    )
    assert Path(report).is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "at least one axis"),
        (("--grid", "sma_fast=50", "--grid", "sma_slow=20"), "fast is 50"),
        (("--grid", "sma_fast="), "name=start:stop:step"),
        (("--grid", "weight=0:1:0.5"), "weight is 0"),
        (("--grid", "fee_bps=0:1000:0.001", "--grid", "slippage_bps=0:999:1"), "at most"),
        (("--grid", "fee_bps=0,1", "--walk-forward", "600"), "two numbers of bars"),
        (("--grid", "fee_bps=0,1", "--walk-forward", "600,200", "--cross-validation", "5"), "not both"),
        (
            ("--grid", "fee_bps=0,1", "--walk-forward", "600000,200"),
            "600200; expected at most the 2,500 bars",
        ),
        (("--grid", "fee_bps=0,1", "--symbols", "BTC,DOGE"), "DOGE"),
        (("--grid", "fee_bps=0,1", "--run-id", "nobody"), "no run 'nobody'"),
        (("--grid", "fee_bps=0,1", "--objective", "luck"), "luck"),
        (("--grid", "fee_bps=0,1", "--search", "5", "--run-id", "x"), "a search begins anew"),
        (("--grid", "gate_against=0.2"), "against is 0.2"),
    ],
)
def test_nonsense_is_refused_before_anything_starts(tmp_path, arguments, said):
    store = tmp_path / "store"
    shown = raysignal("sweep", "data/sample.csv", *arguments, "--store", f"file://{store}")
    assert shown.exit_code == (1 if said in {"DOGE", "no run 'nobody'"} or "the 2,500 bars" in said else 2)
    assert said in shown.stderr
    assert not store.exists() or not [path for path in store.rglob("*") if "experiments" in str(path)]


def test_paths_are_drawn_kept_and_the_same_on_any_number_of_workers(tmp_path):
    found = []
    for workers in (1, 3):
        store = tmp_path / str(workers)
        shown = raysignal(
            "luck", "data/sample.csv", "--bar", "1h", "--label", "open", "--method", "bootstrap", "--paths", 600,
            "--workers", workers, "--store", f"file://{store}", "--json",
        )  # fmt: skip
        assert shown.exit_code == 0, shown.stderr
        found.append(json.loads(shown.stdout))
    one, other = (
        {name: value for name, value in each.items() if name not in {"run_id", "store"}} for each in found
    )
    assert one == other
    assert one["paths"] == 600
    folder = tmp_path / "1" / "experiments" / found[0]["run_id"]
    assert len(pq.read_table(folder / "paths.parquet")) == 600
    assert "nine in ten end between" in (folder / "report.html").read_text()
    again = raysignal(
        "luck", "data/sample.csv", "--bar", "1h", "--label", "open", "--paths", 600, "--run-id", found[0]["run_id"],
        "--store", f"file://{tmp_path}/1",
    )  # fmt: skip
    assert again.exit_code == 0, again.stderr
    assert "of the paths are better" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--paths", "0"), "paths is 0"),
        (("--ruin", "1.5"), "ruin is 1.5"),
        (("--method", "magic"), "one of order, trades"),
        (("--method", "gbm"), "run on other prices"),
        (("--param", "fast=3"), "--strategy NAME"),
        (("--strategy", "sma", "--param", "fast=9", "--param", "slow=3"), "fewer bars than slow"),
    ],
)
def test_luck_that_cannot_be_is_refused_before_anything_starts(tmp_path, arguments, said):
    shown = raysignal("luck", "data/sample.csv", *arguments, "--store", f"file://{tmp_path}/store")
    assert shown.exit_code == (1 if said == "run on other prices" else 2)
    assert said in shown.stderr
    assert not (tmp_path / "store" / "experiments").exists()


@pytest.mark.parametrize("option", ["--symbol", "--of"])
def test_a_symbol_that_the_file_does_not_have_is_refused(tmp_path, option):
    path = tmp_path / "named.csv"
    rows = [
        f"2025-01-01T00:{minute:02d}:00Z,{symbol},100,1" for minute in range(9) for symbol in ("BTC", "ETH")
    ]
    path.write_text("\n".join(["timestamp,symbol,price,signal", *rows]) + "\n")
    shown = raysignal("luck", path, option, "DOGE", "--store", f"file://{tmp_path}/store")
    assert shown.exit_code == 1
    assert "symbol is 'DOGE'; expected one of BTC, ETH" in shown.stderr
    assert not (tmp_path / "store").exists()


def test_what_a_notebook_runs_on_a_cluster_is_what_it_runs_alone():
    close = np.exp(np.cumsum(np.random.default_rng(5).normal(0.0, 0.01, 400)))
    rows = pd.DataFrame({"timestamp": pd.date_range("2024-01-01", periods=400, freq="h"), "price": close})
    signals = door.read(rows.assign(signal=np.resize([1, 0, -1, 0], 400)))
    for study in (
        partial(door.sweep, rows, {"sma_fast": range(2, 8), "sma_slow": [10, 20]}, walk_forward=(100, 50)),
        partial(door.monte_carlo, signals, paths=600),
        partial(door.compare, signals, ("baseline", "memory", "random")),
    ):
        here, there = study(), study(ray_address="auto")
        assert there.summary == here.summary
        assert there.frame.equals(here.frame)
