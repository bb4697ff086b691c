"""The command line as processes: a service is served, fed, asked, stopped and served again; nothing stays behind."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.data.generator import SAMPLE_SPEC, GeneratorSpec, write_csv
from raysignal.engine.journal.journal import verify
from raysignal.engine.journal.stores import open_stores
from raysignal.runtime.ports import free_port
from tests.cluster.processes import titled
from tests.cluster.waiting import wait_for
from tests.support.starting import one_start_at_a_time

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
PRICES = "SELECT count(*) AS prices FROM history WHERE signal_id LIKE '%:PRICE'"
AS_MADE = ("--bar", "10m", "--label", "open")


def environment(**variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAYSIGNAL_")}
    return kept | {"PYTHONPATH": str(ROOT)} | variables


def raysignal(*arguments, **variables):
    """In this process, which has imported it: the service, the direct way and one that fails are processes."""
    shown = CliRunner(env=variables).invoke(app, [str(argument) for argument in arguments])
    return subprocess.CompletedProcess(arguments, shown.exit_code, shown.stdout, shown.stderr)


def as_process(*arguments, cwd=ROOT, **variables):
    return subprocess.run(
        [sys.executable, "-m", "raysignal.cli", *(str(argument) for argument in arguments)],
        check=False, capture_output=True, text=True, cwd=cwd, env=environment(**variables),
    )  # fmt: skip


def answer(*arguments, run=raysignal, **options):
    ended = run(*arguments, "--json", **options)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def family(pid):
    """A process's descendants: pid to the time at which it started, which tells it from a later one."""
    children, started = {}, {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                fields = (place / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(place.name))
            started[int(place.name)] = (fields[19], fields[0])
    found, waiting = {}, [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found[child] = started[child][0]
            waiting.append(child)
    return found


def still_alive(processes):
    alive = []
    for pid, began in processes.items():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[19] == began and fields[0] != "Z":
            alive.append(pid)
    return alive


class Serving:
    """`raysignal serve` as a process."""

    def __init__(self, store, log, **variables):
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.shown = []
        with one_start_at_a_time():
            self._start(port, store, log, variables)

    def _start(self, port, store, log, variables):
        with log.open("a") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "raysignal.cli", "serve", "--port", str(port), "--store", store.as_uri()],
                stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=ROOT, env=environment(**variables),
            )  # fmt: skip
        while not any("Ctrl-C" in line for line in self.shown):
            # Blocks until there is a line or the process has ended; the test's own time-out bounds it.
            line = self.process.stdout.readline()
            if not line:
                self.process.communicate(timeout=60)
                pytest.fail(f"it did not start: {log.read_text()[-3000:]}")
            self.shown.append(line)

    def stopped_by(self, number):
        """The exit status after a signal, and the processes that outlived it."""
        processes = family(self.process.pid)
        assert processes
        self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=60)
        self.shown.append(rest)
        return self.process.returncode, still_alive(processes)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        if self.process.poll() is None:
            self.stopped_by(signal.SIGTERM)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def signals(tmp_path_factory):
    """A file of 500 signals."""
    path = tmp_path_factory.mktemp("signals") / "signals.csv"
    write_csv(GeneratorSpec(rows=500, seed=2025, hold_share=0.1, texts="short"), path)
    return path


def test_a_service_is_served_fed_asked_stopped_and_served_again(tmp_path, signals):
    store, log = tmp_path / "store", tmp_path / "log"
    with Serving(store, log, RAYSIGNAL_HTTP__REPLICAS="1", RAYSIGNAL_AGENT__PRIORITY="normal") as serving:
        assert any(f"{serving.url}/docs" in line for line in serving.shown)
        told = {"RAYSIGNAL_URL": serving.url}

        # By batches, once and again: the second time nothing is new.
        first = answer("replay", signals, *AS_MADE, **told)
        assert (first["replay"]["accepted"], first["replay"]["complete"]) == (500, True)
        again = answer("replay", signals, *AS_MADE, "--one-by-one", **told)
        assert (again["replay"]["accepted"], again["replay"]["replayed"]) == (0, 500)
        assert again["standing"]["performance"] == first["standing"]["performance"]

        # Into a portfolio with a policy of its own, which it then keeps.
        swing = answer("replay", signals, *AS_MADE, "--portfolio", "swing", "--side", "long-short", **told)
        assert swing["standing"]["policy"]["side"] == "long-short"
        other = raysignal("replay", signals, *AS_MADE, "--portfolio", "swing", "--side", "long-flat", **told)
        assert (other.returncode, other.stdout.count("\n")) == (1, 1)
        assert "exists with another policy" in other.stderr

        # The same file read otherwise is late, and the rows are named.
        late = raysignal("replay", signals, *AS_MADE, "--timezone", "Asia/Tokyo", "--json", **told)
        assert late.returncode == 1
        refused = json.loads(late.stdout)["replay"]
        assert (refused["accepted"], refused["complete"]) == (0, False)
        assert refused["errors"][0]["type"] == "LateSignal"

        # Asked for.
        standing = answer("performance", **told)
        assert standing["performance"] == first["standing"]["performance"]
        portfolios = {each["portfolio"] for each in answer("performance", "--all", **told)}
        assert portfolios == {"baseline", "enhanced", "swing"}
        shown = raysignal("performance", "swing", "--url", serving.url)
        assert "buy and hold" in shown.stdout
        unknown = raysignal("performance", "nope", **told)
        assert (unknown.returncode, unknown.stdout) == (1, "")
        assert "there is no portfolio 'nope'" in unknown.stderr
        rows = answer("history", "--action", "BUY", "--from", "2025-01-07", "--limit", "3", **told)
        assert [row["signal"] for row in rows] == ["BUY"] * 3
        assert all(row["timestamp"] >= "2025-01-07" for row in rows)

        # A row a trade, while the service holds them and when they are in its store.
        listed = answer("trades", **told)
        assert listed["summary"] == {
            name: value for name, value in again["trades"].items() if name != "portfolio"
        }
        assert listed["summary"]["trades"] == standing["performance"]["closed_trades"] > 10
        of_file = answer("trades", signals, *AS_MADE)["trades"]
        assert [trade["pnl"] for trade in of_file] == [trade["pnl"] for trade in listed["trades"]]

        # The agent decides behind them, when the processor has time for it.
        wait_for(lambda: httpx.get(f"{serving.url}/agent").json().get("behind") == 0, "all is decided")
        assert serving.stopped_by(signal.SIGINT) == (0, [])
    assert not list(Path("/tmp").glob(f"rs-*/ray/session_*_{serving.process.pid}"))

    # What was acknowledged is there, as Parquet and when it is served again.
    counted = "SELECT portfolio, count(*) AS n FROM history GROUP BY ALL ORDER BY ALL"
    assert answer("query", counted, "--store", store.as_uri()) == [
        {"portfolio": name, "n": 500} for name in ("baseline", "enhanced", "swing")
    ]
    assert answer("trades", "--store", store.as_uri()) == listed
    _is_served_again(store, log, standing)


def _is_served_again(store, log, standing):
    """A second time with the same figures, beside a second service that is refused, until Ray dies under it."""
    with Serving(store, log) as serving:
        # Only the journal is one record longer: the new writer's takeover.
        assert answer("performance", "--url", serving.url) | {"sequence": standing["sequence"]} == standing
        # However busy the machine is, it does not wait behind everybody else's processes.
        replicas = titled(serving.process.pid, "ray::ServeReplica")
        assert {os.getpriority(os.PRIO_PROCESS, replica) for replica in replicas} == {0}
        # It says that it is ready when the proxy knows both replicas; each request has a connection of its own.
        answered = {httpx.get(f"{serving.url}/healthz", timeout=30.0).headers["x-replica"] for _ in range(16)}
        assert len(answered) == 2

        # Another on its store is refused, and this one goes on.
        second = as_process("serve", "--port", free_port(), "--store", store.as_uri())
        assert second.returncode == 1
        assert f"is held by process {serving.process.pid} of " in second.stderr
        assert serving.url in second.stderr
        row = {"timestamp": "2025-06-01T00:00:00Z", "price": 1.0, "signal": 1}
        posted = httpx.post(
            f"{serving.url}/signal", json=row, params={"accept_price_jump": "true"}, timeout=30.0
        )
        assert posted.status_code == 200

        # Without Ray's raylet it says so and leaves no process; what it acknowledged is there.
        started = family(serving.process.pid)
        (raylet,) = (pid for pid in started if Path(f"/proc/{pid}/comm").read_text() == "raylet\n")
        os.kill(raylet, signal.SIGKILL)
        serving.process.communicate(timeout=60)
        assert serving.process.returncode == 1
        assert f"Ray's raylet (pid {raylet}) has ended; everything acknowledged is in" in log.read_text()
        wait_for(lambda: still_alive(started) == [], "what it started ends")
    assert verify(open_stores(store.as_uri()).journal_store("shard=0000")).sequence > standing["sequence"]


@pytest.mark.parametrize("own", [True, pytest.param(False, marks=pytest.mark.long)], ids=["file", "sample"])
def test_run_replays_two_ways_compares_and_leaves_results_and_no_process(tmp_path, own):
    file = tmp_path / "signals.csv"
    arguments, rows = ([str(file), *AS_MADE], 700) if own else ([], SAMPLE_SPEC.rows)
    write_csv(GeneratorSpec(rows=700, seed=2025, hold_share=0.1, texts="short"), file)
    with one_start_at_a_time():
        program = subprocess.Popen(
            [sys.executable, "-m", "raysignal.cli", "run", *arguments, "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment(),
        )  # fmt: skip
        seen = {}
        for line in program.stderr:
            # The first sentence after the start; by then everything that it starts is there.
            if line.startswith("service"):
                seen = family(program.pid)
                break
    with program:
        stdout, stderr = program.communicate(timeout=280)
    assert program.returncode == 0, stderr
    found = json.loads(stdout)
    assert found["same"]
    assert found["folder"] == "run/1"
    assert [each["accepted"] for each in found["replays"].values()] == [rows] * 2
    one, other = (standing["performance"] for standing in found["standings"])
    assert one == other
    assert one["signals"] == rows
    (market,) = found["market"]
    assert market["health"]["state"] == "ready"
    assert market["station"]["signals"] >= 1
    with contextlib.closing(sqlite3.connect(tmp_path / "run/1/market.db")) as database:
        states = dict(database.execute("SELECT state, count(*) FROM signals GROUP BY 1").fetchall())
        (bars,) = database.execute("SELECT count(*) FROM bars").fetchone()
    assert set(states) == {"posted"}
    assert found["trades"]["trades"] == one["closed_trades"]
    # Beside the signals, each bar of the market that was not for warming up is a row, a price alone.
    prices = found["result_rows"] - 2 * rows - states["posted"]
    assert prices == answer("query", PRICES, "--store", found["store"])[0]["prices"]
    assert 0 < prices <= bars
    experiment = found["experiment"]
    assert experiment["signals"] == rows
    if own:
        assert found["noise"] is None
    else:
        # What is planted in the sample is found, and where nothing is planted nothing is.
        memory = next(arm["assessment"] for arm in experiment["arms"] if arm["arm"] == "memory")
        assert (memory["judgment"], found["noise"]["judgment"]) == ("helps", "no difference shown")
        assert experiment["blind"] is False
    assert experiment["store"] == found["store"]
    assert (tmp_path / experiment["files"]["report"]).is_file()
    assert seen
    assert still_alive(seen) == []


def test_a_direct_replay_starts_a_cluster_of_its_own_and_ends_it(tmp_path, signals):
    store = (tmp_path / "store").as_uri()
    found = answer(
        "replay",
        signals,
        *AS_MADE,
        "--direct",
        "--store",
        store,
        "--batch-rows",
        "200",
        cwd=tmp_path,
        run=as_process,
    )
    assert (found["replay"]["accepted"], found["standing"]["signals"]) == (500, 500)
    assert found["trades"]["trades"] == found["standing"]["performance"]["closed_trades"]
    counted = answer("query", "SELECT count(*) AS n, max(ordinal) AS last FROM history", "--store", store)
    assert counted == [{"n": 500, "last": 499}]


def test_nobody_to_ask_is_a_sentence():
    ended = as_process("performance", "--url", f"http://127.0.0.1:{free_port()}")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "raysignal serve" in ended.stderr
    assert "Traceback" not in ended.stderr
