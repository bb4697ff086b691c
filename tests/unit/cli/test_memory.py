"""`raysignal memory` without a service: what is refused, and what is said where nobody answers."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from raysignal.agents.llm.embeddings import DIMENSIONS
from raysignal.agents.override.log import OutcomeLog
from raysignal.agents.override.text_embeddings import TextVector
from raysignal.cli.main import app
from raysignal.engine.journal.stores import open_stores
from raysignal.runtime.ports import free_port


def memory(*arguments):
    return CliRunner().invoke(app, ["memory", *arguments])


@pytest.mark.parametrize("arguments", [(), ("a", "--text", "fear")])
def test_search_is_by_a_signal_or_by_a_text(arguments):
    shown = memory("search", *arguments)
    assert shown.exit_code == 2
    assert "expected a signal id or --text" in shown.stderr


@pytest.mark.parametrize("arguments", [("search", "a"), ("rebuild",)])
def test_without_a_service_it_says_so(arguments):
    shown = memory(*arguments, "--url", f"http://127.0.0.1:{free_port()}")
    assert shown.exit_code == 1
    assert "no service answers" in shown.stderr


def test_export_without_a_service_leaves_no_file(tmp_path):
    file = tmp_path / "outcomes.parquet"
    shown = memory("export", str(file), "--url", f"http://127.0.0.1:{free_port()}")
    assert shown.exit_code == 1
    assert not file.exists()


def test_the_embeddings_on_record_are_written_beside_a_cassette(tmp_path):
    store = tmp_path / "store"
    log = OutcomeLog.open(
        open_stores(store.as_uri()).journal_store("agent=enhanced"), {}, "gemini-embedding-001"
    )
    log.append_texts([TextVector(3, bytes(16), np.eye(1, DIMENSIONS, dtype=np.float32)[0])])
    log.close()
    shown = memory("embeddings", str(tmp_path / "calls.ndjson"), "--store", store.as_uri(), "--json")
    file = tmp_path / "calls.embeddings.ndjson"
    assert json.loads(shown.stdout) == {"file": str(file), "texts": 1}
    assert json.loads(file.read_text())["model"] == "gemini-embedding-001"
    again = memory("embeddings", str(tmp_path / "calls.ndjson"), "--store", store.as_uri())
    assert (again.exit_code, "File exists" in again.stderr) == (1, True)
