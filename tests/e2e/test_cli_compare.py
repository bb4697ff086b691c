"""`raysignal compare` on a real Ray: the same bytes again, a run that was killed, calls on record, S3, the README.

The comparisons run in this process, on one Ray that they share; one is a process of its own, to be killed.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.data.generator import GeneratorSpec, write_csv
from raysignal.engine.journal.bucket import s3_client
from raysignal.engine.journal.stores import open_stores
from raysignal.experiments.runs import list_runs
from raysignal.loopback.gemini import GeminiServer
from tests.e2e.test_cli_service import ROOT, environment, family, still_alive
from tests.support.servers import CREDENTIALS, moto_server

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300), pytest.mark.usefixtures("shared_ray")]

SAMPLE = ("data/sample.csv", "--bar", "1h", "--label", "open")
SAME = ("decisions.parquet", "equity.parquet", "metrics.json")
EXPERIMENTS = (ROOT / "docs" / "experiments.md").read_text()


def raysignal(*arguments, **variables):
    shown = CliRunner(env=variables).invoke(app, [str(argument) for argument in arguments])
    assert shown.exit_code == 0, shown.stderr
    return shown


def compared(store, *arguments, read=SAMPLE, **variables):
    return json.loads(raysignal("compare", *read, "--store", store, "--json", *arguments, **variables).stdout)


def contents(found, names=SAME):
    folder = Path(found["files"]["metrics"]).parent
    return {name: (folder / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A file of 300 signals, and how it is read: for what does not rest on what is in it."""
    file = tmp_path_factory.mktemp("signals") / "few.csv"
    write_csv(GeneratorSpec(rows=300, seed=1, texts="none"), file)
    return (file, "--bar", "10m", "--label", "open")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return (tmp_path_factory.mktemp("runs") / "store").as_uri()


@pytest.fixture(scope="module")
def reference(store):
    """A comparison of the arms that need no model."""
    return compared(store)


def test_a_comparison_says_whether_it_can_see_an_effect(tmp_path, reference):
    assert reference["blind"] is False
    # One storm carries nearly all that a choice that looks ahead is worth: no interval, no verdict.
    file = tmp_path / "one-storm.csv"
    write_csv(GeneratorSpec(rows=500, seed=2025, hold_share=0.1, texts="short"), file)
    shown = raysignal(
        "compare", file, "--bar", "10m", "--label", "open", "--store", tmp_path.as_uri(), "--json"
    )
    assert json.loads(shown.stdout)["blind"] is None


def test_a_comparison_shows_every_arm_and_says_what_it_read(reference):
    arms = {arm["arm"]: arm["assessment"] for arm in reference["arms"]}
    assert list(arms) == ["baseline", "memory", "random", "shuffled", "canary"]
    assert arms["canary"]["selection"]["low"] > 0.0
    assert arms["memory"]["judgment"] == "helps"
    assert reference["judged"] == reference["plan"]["judged"] > 0
    assert "no model is asked" in reference["model"]
    assert reference["arms_read"] == []
    assert all(Path(place).stat().st_size for place in reference["files"].values())


def test_the_same_configuration_makes_the_same_bytes_under_another_id(tmp_path, reference):
    again = compared(tmp_path.as_uri())
    assert contents(again) == contents(reference)
    assert {name: value for name, value in again["manifest"].items() if name != "run_id"} == {
        name: value for name, value in reference["manifest"].items() if name != "run_id"
    }


def test_a_run_that_was_killed_goes_on_with_what_is_done(tmp_path, reference):
    folder, pause = tmp_path / "store", threading.Event()
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "raysignal.cli", "compare", *SAMPLE, "--store", folder.as_uri()],
            stdout=log, stderr=log, cwd=ROOT, env=environment(),
        )  # fmt: skip
    while not (done := list(folder.glob("experiments/*/arms/*.parquet"))):
        assert process.poll() is None, (tmp_path / "log").read_text()
        pause.wait(0.005)
    started = family(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (state,) = list_runs(open_stores(folder.as_uri()).blobs)
    assert not state.finished
    found = compared(folder.as_uri(), "--run-id", state.run_id)
    assert found["run_id"] == state.run_id
    assert set(found["arms_read"]) == set(state.arms)
    assert {path.stem for path in done} <= set(found["arms_read"])
    assert contents(found) == contents(reference)
    # A third time nothing is left to do, and nothing is done.
    finished = compared(folder.as_uri(), "--run-id", state.run_id)
    assert finished["arms"] == found["arms"]
    leftovers = {
        match for pid in started for match in re.findall(r"/tmp/rs-\w+", text_of(f"/proc/{pid}/cmdline"))
    }
    # Ray's own agents notice only after a minute that their driver is gone.
    for pid in still_alive(started):
        os.kill(pid, signal.SIGKILL)
    for place in leftovers:
        shutil.rmtree(place, ignore_errors=True)


def text_of(path):
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def test_what_a_model_said_is_replayed_to_the_same_bytes_without_it_up_to_its_budget(tmp_path, few):
    arms = ("--arms", "baseline,memory,model,canary", "--overruled-share", "1", "--budget", "5")
    with GeminiServer() as loopback:
        recorded = compared(tmp_path.as_uri(), *arms, "--gemini-url", loopback.url, read=few)
        asked = len(loopback.requests)
    cassette = Path(recorded["cassette"])
    assert cassette.parent == tmp_path / "experiments" / recorded["run_id"]
    assert asked == 5
    elsewhere = shutil.copy(cassette, tmp_path / "calls.ndjson")
    replayed = compared((tmp_path / "other").as_uri(), *arms, "--replay", elsewhere, read=few)
    assert contents(replayed) == contents(recorded)
    assert replayed["manifest"]["cassette"] == recorded["manifest"]["cassette"]
    (model,) = [each for each in replayed["arms"] if each["arm"] == "model"]
    assert model["model_calls"] == asked


def test_a_reviewer_is_asked_about_most_signals_and_both_arms_share_a_record(tmp_path, few):
    asking = ("--arms", "baseline,model,review", "--overruled-share", "1")
    with GeminiServer() as loopback:
        found = compared(tmp_path.as_uri(), *asking, "--gemini-url", loopback.url, read=few)
        asked = len(loopback.requests)
    counts = {arm["arm"]: arm["model_calls"] for arm in found["arms"]}
    assert counts["model"] + counts["review"] == asked
    assert counts["review"] > 0.5 * found["judged"] > counts["model"]
    assert "as a reviewer of what the gate did not decide" in found["model"]
    replayed = compared((tmp_path / "o").as_uri(), *asking, "--replay", found["cassette"], read=few)
    assert contents(replayed) == contents(found)


def test_texts_that_a_model_embeds_are_asked_for_once_and_replayed(tmp_path):
    record, file = tmp_path / "calls.ndjson", write_signals_with_news(tmp_path / "news.csv")

    def decided(store, *arguments, arms="baseline,memory,model"):
        shown = raysignal(
            "compare", file, "--store", (tmp_path / store).as_uri(), "--arms", arms, "--horizon", "1b", "--json",
            *arguments,
        )  # fmt: skip
        return contents(json.loads(shown.stdout))

    embedded = ("--embeddings", "gemini-embedding-001")
    with GeminiServer() as loopback:
        asked = (*embedded, "--gemini-url", loopback.url, "--record", record)
        found = decided("first", *asked)
        kinds = {"requests" in body for body in loopback.requests}
        assert kinds == {True, False}, "texts were embedded, and questions asked"
        calls = loopback.calls
        assert decided("again", *asked) == found
        assert loopback.calls == calls

    assert decided("replayed", *embedded, "--replay", record) == found
    memory = decided("embedded", *embedded, "--replay", record, arms="baseline,memory")
    assert memory != decided("hashed", arms="baseline,memory")


def write_signals_with_news(path):
    """Signals that are right where the news is good."""
    price, rows = 100.0, ["timestamp,symbol,action,price,news"]
    for row in range(240):
        good, rises = row % 3 > 0, row % 7 > 2
        story = (
            f"story {row} of the day: {'inflows continue' if good else 'withdrawals are halted'} as desks say"
        )
        action = "BUY" if rises == good else "SELL"
        rows.append(f"2025-01-01T{row // 60:02d}:{row % 60:02d}:00Z,BTC,{action},{price:.4f},{story}")
        price *= 1.01 if rises else 1.0 / 1.01
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_record_that_does_not_hold_the_answers_is_refused_and_says_what_was_asked(tmp_path, few):
    empty = tmp_path / "calls.ndjson"
    empty.touch()
    asking = (
        "--store",
        tmp_path.as_uri(),
        "--arms",
        "baseline,model",
        "--overruled-share",
        "1",
        "--replay",
        str(empty),
    )
    shown = CliRunner().invoke(app, ["compare", *map(str, few), *asking])
    assert shown.exit_code == 1
    assert "is not on record" in shown.stderr


def test_a_run_in_a_bucket_is_written_listed_shown_and_read(few):
    with moto_server() as server:
        told = CREDENTIALS | {"AWS_ENDPOINT_URL_S3": server.url}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in told.items():
                patch.setenv(name, value)
            client = s3_client(server.url, read_timeout=60.0)
            client.create_bucket(Bucket="results")
            found = compared("s3://results/mine", "--arms", "baseline,canary", read=few)
            assert found["files"]["report"] == f"s3://results/mine/experiments/{found['run_id']}/report.html"
            (state,) = json.loads(raysignal("runs", "list", "--store", "s3://results/mine", "--json").stdout)
            assert (state["run_id"], state["finished"]) == (found["run_id"], True)
            shown = raysignal("runs", "show", found["run_id"], "--store", "s3://results/mine", "--json")
            assert json.loads(shown.stdout)["arms"] == found["arms"]
            client.close()


def test_every_example_about_experiments_works_in_its_order(tmp_path):
    commands = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```", EXPERIMENTS, re.MULTILINE | re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    assert {command.split()[1] for command in commands} == {"compare", "runs"}
    store = (tmp_path / "store").as_uri()
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "raysignal"
        named = iter([run.run_id for run in list_runs(open_stores(store).blobs)] * 2)
        shown = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
        raysignal(
            *(next(named) if shown.fullmatch(each) else each for each in arguments), RAYSIGNAL_STORE=store
        )
