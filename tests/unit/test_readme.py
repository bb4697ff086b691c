"""What the documents say of the program is what the program has."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raysignal.engine.history import FIXED, write_chunk
from raysignal.engine.journal.blobs import DiskBlobs
from raysignal.engine.portfolio.trades import TRADES
from raysignal.runtime.settings import PREFIX, setting_fields, variable_of
from raysignal.serve.access import Credentials
from tests.support.history_chunks import chunk_of, some_signals

ROOT = Path(__file__).parents[2]
CONFIGURATION, OPERATIONS, RESULTS = (
    (ROOT / "docs" / f"{name}.md").read_text() for name in ("configuration", "operations", "results")
)


def test_configuration_table_names_every_setting_with_its_meaning_and_no_other():
    table = dict(re.findall(rf"^\| `({PREFIX}\w+)` \| [^|]* \| (.*) \|$", CONFIGURATION, re.MULTILINE))
    assert table == {variable_of(path): field.description for path, field in setting_fields()}


def test_configuration_table_shows_the_defaults():
    for path, field in setting_fields():
        if isinstance(field.default, int | float | str) and not isinstance(field.default, bool):
            assert f"| `{variable_of(path)}` | `{field.default}` |" in CONFIGURATION


def test_results_tables_name_every_column_of_history_and_trades():
    named = set(
        re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in RESULTS.splitlines() if "|" in line))
    )
    assert named == {*FIXED.names, *TRADES.names}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the example calls openssl")
def test_the_webhook_example_signs_what_the_service_verifies():
    script = re.search(r"^```sh\n(body=.*?\n)curl (.*?)\n```", OPERATIONS, re.MULTILINE | re.DOTALL)
    shown = subprocess.run(
        ["bash", "-c", script[1] + 'printf "t=%s,sha256=%s\\n%s" "$now" "$hex" "$body"'],
        env={"SECRET": "secret-1", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    header, body = shown.stdout.split("\n")
    access = Credentials(None, b"secret-1")
    claim = access.admit("POST", "/signal", b"", {b"x-signature-v2": header.encode()})
    access.verify(claim, body.encode())


def test_python_example_reads_results_whose_features_change_their_kind(tmp_path, monkeypatch):
    blobs = DiskBlobs(tmp_path / "raysignal-store")
    for portfolio in ("007", "2024", "1e5"):
        for day, rsi in enumerate((30.5, "high", None, 70.0)):
            (signal,) = some_signals(1, first=24 * day)
            signal = replace(signal, features={} if rsi is None else {"rsi": rsi})
            write_chunk(blobs, chunk_of([signal], first=day, portfolio=portfolio))
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", RESULTS, re.DOTALL)

    values: dict[str, Any] = {}
    exec(example, values)

    rows = values["rows"].assign(rsi=values["rsi"]).sort_values(["portfolio", "ordinal"])
    assert rows["portfolio"].tolist() == [name for name in ("007", "1e5", "2024") for _ in range(4)]
    assert rows["ordinal"].tolist() == [0, 1, 2, 3] * 3
    assert rows["rsi"].fillna(-1.0).tolist() == [30.5, -1.0, -1.0, 70.0] * 3


@pytest.mark.parametrize(
    "document", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=str
)
def test_links_between_documents_lead_somewhere(document):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize(
    "document", ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
)
def test_files_and_folders_that_a_document_names_are_there(document):
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    known = [f"/{path}" for path in tracked] + [
        f"/{parent}/" for path in tracked for parent in Path(path).parents
    ]
    named = re.findall(r"`((?:[a-z_]+/)*[a-z_0-9]+\.py|(?:[a-z_]+/)+)`", (ROOT / document).read_text())
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in known)] == []
