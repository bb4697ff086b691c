"""`import raysignal` costs next to nothing, and docs/python.md says what works."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import raysignal

ROOT = Path(__file__).parents[4]
PAGE, README = (ROOT / "docs" / "python.md").read_text(), (ROOT / "README.md").read_text()
HEAVY = ("numpy", "pandas", "pyarrow", "ray", "numba", "scipy", "matplotlib", "httpx", "pydantic")


def test_importing_it_imports_nothing_heavy():
    script = f"import sys, raysignal; print([name for name in {HEAVY} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_every_public_name_is_there_and_no_other():
    assert set(raysignal.__all__) <= set(dir(raysignal))
    for name in raysignal.__all__:
        assert getattr(raysignal, name).__doc__, name
    with pytest.raises(AttributeError, match="reed"):
        raysignal.reed  # noqa: B018 - it raises


def test_the_examples_of_the_page_run_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values: dict = {}
    examples = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for example in examples:
        exec(example, values)
    assert (tmp_path / "replay.png").read_bytes().startswith(b"\x89PNG")
    assert len(examples) == 5


def test_the_example_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("signals.csv").write_text("timestamp,signal,price\n2024-01-01,BUY,100\n2024-01-02,HOLD,110\n")
    values: dict = {}
    (example,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    exec(example, values)
    assert len(values["result"].frame) == 2
