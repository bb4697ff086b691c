"""The frame of the command line: help, version, usage, and errors as one sentence."""

import os
import subprocess
import sys

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from raysignal.cli.main import app, joins_cluster

VERBS = ("run", "serve", "replay", "performance", "history", "query", "compare", "runs", "data", "doctor")


def test_help_lists_every_verb():
    shown = CliRunner().invoke(app, ["--help"])
    assert shown.exit_code == 0
    assert all(verb in shown.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb):
    assert CliRunner().invoke(app, [verb, "--help"]).exit_code == 0


def test_version_is_one_line():
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.stdout.split()[0]) == (0, "raysignal")
    assert shown.stdout.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["replay"],
        ["replay", "file.csv", "--speed", "0"],
        ["replay", "file.csv", "--store", "file:///tmp/x"],
        ["replay", "file.csv", "--fee-bps", "4"],
        ["replay", "file.csv", "--label", "open"],
        ["replay", "file.csv", "--on-error", "ignore"],
        ["run", "--bar", "10m"],
        ["query"],
        ["query", "SELECT 1", "--schema"],
        ["query", "SELECT 1", "--csv", "--json"],
        ["history", "--limit", "0"],
        ["performance", "baseline", "--all"],
        ["data", "generate", "x.csv", "--plain", "--edge", "0.5"],
        ["data", "generate", "x.csv", "--format", "parquet"],
        ["compare", "file.csv", "--record", "a", "--replay", "b"],
        ["compare", "file.csv", "--budget", "0"],
        ["compare", "file.csv", "--per-minute", "0"],
        ["compare", "file.csv", "--deadline", "-1"],
        ["compare", "file.csv", "--neighbours", "0"],
        ["compare", "file.csv", "--seed", "-1"],
        ["compare", "FILE", "--against", "2"],
        ["compare", "FILE", "--horizon", "soon"],
        ["compare", "FILE", "--settlement-lag", "soon"],
        ["compare", "plan", "FILE", "--arms", "nobody"],
        ["replay", "FILE", "--portfolio", "p", "--fee-bps", "-1"],
        ["replay", "FILE", "--portfolio", "p", "--slippage-bps", "1001"],
        ["replay", "FILE", "--portfolio", "p", "--weight", "0"],
        ["replay", "FILE", "--portfolio", "p", "--weight", "1.5"],
        ["replay", "FILE", "--portfolio", "p", "--initial-cash", "5e-324"],
        ["replay", "FILE", "--portfolio", "p", "--initial-cash", "nan"],
        ["sweep", "FILE"],
        ["sweep", "FILE", "--grid", "sma_fast=5:1:1"],
        ["sweep", "FILE", "--grid", "fee_bps=-5:20:5"],
        ["sweep", "FILE", "--grid", "sma_fast=2:5:1", "--walk-forward", "600"],
        ["sweep", "FILE", "--grid", "sma_fast=2:5:1", "--purge", "5"],
        ["sweep", "FILE", "--grid", "sma_fast=2:5:1", "--objective", "luck"],
        ["luck", "FILE", "--paths", "0"],
        ["luck", "FILE", "--ruin", "2"],
        ["luck", "FILE", "--method", "magic"],
        ["luck", "FILE", "--strategy", "nobody"],
        ["luck", "FILE", "--param", "fast=1"],
        ["data", "generate", "x.csv", "--hold-share", "1.5"],
        ["data", "generate", "x.csv", "--edge", "high"],
        ["serve", "--port", "0"],
        ["feed", "--speed", "2"],
        ["feed", "-i", "binance:BTCUSDT", "--for", "abc"],
        ["feed", "-i", "binance:BTCUSDT", "--bar", "7s"],
        ["feed", "-i", "binance:BTCUSDT", "--fast", "0"],
        ["feed", "-i", "binance:BTCUSDT", "--latency-ms", "inf"],
        ["feed", "replay", "FILE", "-i", "binance:BTCUSDT", "--bar", "2d"],
        ["data", "check", "FILE", "--bar", "0m"],
        ["data", "check", "FILE", "--timezone", "Mars"],
        ["replay", "FILE", "--bar", "soon"],
        ["compare", "file.csv", "--label", "open"],
        ["compare", "file.csv", "--fill", "later"],
        ["compare", "plan"],
        ["compare", "plan", "file.csv", "--budget", "5"],
        ["runs", "show"],
        ["runs", "diff", "one"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_status_2_and_nothing_on_stdout(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYSIGNAL_STORE", (tmp_path / "store").as_uri())
    (tmp_path / "FILE").with_suffix(".csv").write_text("timestamp,price,signal\n2025-01-01T00:00:00Z,100,1\n")
    shown = CliRunner().invoke(app, [one.replace("FILE", "FILE.csv") for one in arguments])
    assert shown.exit_code == 2
    assert "Traceback" not in shown.stderr
    assert shown.stderr
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("group", [[], ["compare"], ["data"], ["runs"], ["feed"]], ids=" ".join)
def test_without_arguments_a_group_shows_what_there_is_and_ends_with_status_2(group, monkeypatch):
    monkeypatch.delenv("RAYSIGNAL_FEED__INSTRUMENTS", raising=False)
    shown = CliRunner().invoke(app, group)
    assert shown.exit_code == 2
    assert shown.output


def verbs_below(command, path=()):
    """Every command with its path."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from verbs_below(below, (*path, name))


def test_help_shows_no_type_for_flags():
    for path, _ in verbs_below(get_command(app)):
        shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0
        assert "<bool>" not in shown.stdout, path
        assert "--help" in shown.stdout


def test_one_thing_has_one_name_and_the_names_of_before_are_taken():
    found = {
        path: {tuple(param.opts) for param in verb.params} for path, verb in verbs_below(get_command(app))
    }
    assert ("--until", "--to") in found["history",]
    assert ("--until",) in found["sweep",]
    assert ("--param", "--set") in found["sweep",]
    assert ("--param",) in found["luck",] & found["check-strategy",]
    assert ("--symbol", "--symbols") in found["sweep",] & found["data", "generate"]
    assert ("--symbol", "--of") in found["luck",]
    for path, names in found.items():
        every = [name for opts in names for name in opts]
        assert len(every) == len(set(every)), path


@pytest.mark.parametrize(
    "arguments",
    [
        ["sweep", "absent.csv", "--grid", "nonsense"],
        ["sweep", "absent.csv"],
        ["luck", "absent.csv", "--method", "magic"],
        ["compare", "absent.csv", "--arms", "nobody"],
        ["replay", "absent.csv"],
    ],
    ids=" ".join,
)
def test_a_file_that_is_missing_is_named_before_anything_else(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 1
    assert "absent.csv is no file" in shown.stderr
    assert "nonsense" not in shown.stderr


def test_an_error_of_the_project_is_one_sentence_on_stderr_with_status_1(tmp_path):
    shown = CliRunner().invoke(app, ["data", "check", str(tmp_path / "absent.csv")])
    assert (shown.exit_code, shown.stdout) == (1, "")
    assert shown.stderr.startswith("error: ")
    assert "absent.csv is no file" in shown.stderr
    assert shown.stderr.count("\n") == 1


def test_a_variable_that_is_no_setting_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("RAYSIGNAL_PROT", "8000")
    shown = CliRunner().invoke(app, ["query", "--store", tmp_path.as_uri(), "SELECT 1"])
    assert shown.exit_code == 1
    assert "RAYSIGNAL_PROT is no setting" in shown.stderr


def test_the_address_of_a_service_is_no_setting_and_is_no_error(monkeypatch, tmp_path):
    monkeypatch.setenv("RAYSIGNAL_URL", "http://127.0.0.1:1")
    shown = CliRunner().invoke(app, ["query", "--store", tmp_path.as_uri(), "--json", "SELECT 1 AS one"])
    assert (shown.exit_code, shown.stdout.split()) == (0, ["[", "{", '"one":', "1", "}", "]"])


@pytest.mark.slow
def test_what_needs_no_ray_does_not_wait_for_it():
    """In a process of its own, where nothing has imported it yet."""
    program = """
import sys
from raysignal.cli.main import app
for line in sys.stdin:
    try:
        app(line.split())
    except SystemExit:
        pass
    if 'ray' in sys.modules:
        sys.exit(line + 'imported ray')
"""
    lines = ("--help", "data check data/sample.csv", "query --help", "compare --help",
             "compare plan data/sample.csv", "runs list")  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, input="\n".join(lines)
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("arguments", "environ", "joins"),
    [
        (["serve"], {}, False),
        (["serve"], {"RAYSIGNAL_RAY_ADDRESS": ""}, False),
        (["serve"], {"raysignal_ray_address": "head:6379"}, True),
        (["compare", "f.csv", "--ray-address", "auto"], {}, True),
        (["compare", "f.csv", "--ray-address=auto"], {}, True),
    ],
)
def test_a_command_joins_a_cluster_where_it_or_its_environment_names_one(arguments, environ, joins):
    assert joins_cluster(arguments, environ) is joins


def test_a_terminal_without_a_sign_for_it_ends_no_verb(tmp_path):
    (tmp_path / "a.csv").write_text("Date,Close,Signal,Symbol\n2025-02-24,1,1,₿\n2025-02-25,2,-1,₿\n")
    words = [
        sys.executable,
        "-c",
        "from raysignal.cli.main import main; main()",
        "trades",
        tmp_path / "a.csv",
    ]
    done = subprocess.run(
        words,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        encoding="latin-1",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1 closed trade" in done.stdout
    assert "?" in done.stdout
