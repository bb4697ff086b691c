"""The notebook and the page on Python, against the service: what they show is what happens."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import raysignal

pytestmark = [pytest.mark.cluster]

DOCS = Path(__file__).parents[2] / "docs"
HOST = "http://127.0.0.1:8000"
EXECUTE = "from nbclient.cli import main; main()"


NOTEBOOK = DOCS / "notebooks" / "first_hour.ipynb"
STUDIES = ("compare(", "compared", "sweep(", "swept", "monte_carlo(", "paths", ".plot(")


def test_the_cells_about_the_service_run_and_its_figures_are_those_of_the_replay(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the cells of the studies, which the whole notebook runs and `tests/unit/experiments` proves."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYSIGNAL_URL", url)
    values: dict = {}
    cells = [cell.source for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == "code"]
    ran = [source for source in cells if not any(study in source for study in STUDIES)]
    for source in ran:
        exec(source, values)
    assert "assert figures" in ran[-1]
    assert len(values["rows"]) == len(values["signals"])
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_the_notebook_runs_in_an_empty_folder(url: str, tmp_path: Path) -> None:
    """As `jupyter execute` does it, in a kernel of its own."""
    empty = tmp_path / "empty"
    empty.mkdir()
    ran = tmp_path / "ran.ipynb"
    ran.write_bytes(NOTEBOOK.read_bytes())
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAYSIGNAL_")}
    folders = {
        name: str(tmp_path / name) for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")
    }
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, "--inplace", "--timeout=200", str(ran)],
        cwd=empty, env=own | folders | {"RAYSIGNAL_URL": url}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    cells = [cell for cell in nbformat.read(ran, as_version=4).cells if cell.cell_type == "code"]
    kinds = [kind for cell in cells for output in cell.outputs for kind in output.get("data", {})]
    assert kinds.count("image/png") == 5
    assert kinds.count("text/html") >= 6
    assert [output.output_type for output in cells[-1].outputs] == []
    assert not list(empty.iterdir())


def test_the_service_of_the_page_is_this_one(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "python.md").read_text()
    first, *_ = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    (example,) = re.findall(r"^```python service\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    values: dict = {}
    exec(first, values)
    exec(example.replace(HOST, url), values)
    assert values["sent"]["accepted"] == len(values["signals"])
    assert values["receipt"]["outcome"] == "opened"
    assert len(values["rows"]) == len(values["signals"]) + 1
    assert values["figures"].loc["notebook", "signals"] == len(values["rows"])
    with raysignal.Client(url) as client:
        assert client.send_all(values["signals"], "notebook")["replayed"] == len(values["signals"])
        assert "notebook" in client.performance().index
