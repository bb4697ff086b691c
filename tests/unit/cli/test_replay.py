"""The direct way keeps off a store that somebody writes, before it starts anything."""

import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.engine.journal.journal import Journal
from raysignal.engine.journal.stores import open_stores
from raysignal.runtime.processes import writers_below

WRITER = (
    "import sys\nfrom raysignal.engine.journal.journal import Journal\n"
    "from raysignal.engine.journal.stores import open_stores\n"
    "with Journal.open(open_stores(sys.argv[1]).journal_store('shard=0000')):\n"
    "    print('open', flush=True)\n    sys.stdin.read()"
)


def test_a_replay_into_a_store_that_is_written_is_refused_and_names_the_writer(tmp_path):
    store = (tmp_path / "a store").as_uri()
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, store], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout.readline() == b"open\n"
        before = sorted(path.name for path in tmp_path.rglob("*"))
        shown = CliRunner().invoke(app, ["replay", "data/sample.csv", "--direct", "--store", store])
        assert shown.exit_code == 1
        assert "accepted" not in shown.stdout
        assert f"(pid {writer.pid})" in shown.stderr
        assert "--take-over" in shown.stderr
        assert sorted(path.name for path in tmp_path.rglob("*")) == before
        writer.stdin.close()
    assert writers_below(tmp_path) == []


def test_a_writer_is_found_by_the_journal_it_has_open_and_only_there(tmp_path):
    with Journal.open(open_stores(tmp_path.as_uri()).journal_store("shard=0000")):
        (found,) = writers_below(tmp_path / "journal")
        assert re.fullmatch(rf".+ \(pid {os.getpid()}\)", found)
        assert writers_below(tmp_path / "journal" / "shard=0001") == []
        assert writers_below(tmp_path / "jour") == []
    assert writers_below(tmp_path / "journal") == []


@pytest.mark.parametrize("arguments", [["--take-over"], ["--take-over", "--url", "http://127.0.0.1:1"]])
def test_taking_over_belongs_to_the_direct_way(arguments):
    shown = CliRunner().invoke(app, ["replay", "data/sample.csv", *arguments])
    assert shown.exit_code == 2
