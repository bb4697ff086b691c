"""Who the arm `model` asks."""

import subprocess
import sys
from pathlib import Path

_MAKES_ADVISER = """
import asyncio, sys
from pathlib import Path
from raysignal.agents.llm.cassette import Mode
from raysignal.agents.llm.models import ModelSettings
from raysignal.experiments.comparison.actors import ModelArmOptions

async def main():
    settings = ModelSettings(base_url="http://127.0.0.1:9")
    await ModelArmOptions(settings, "key", Mode(sys.argv[1]), Path(sys.argv[2]), 1).adviser()
    print("langchain_google_genai" in sys.modules)

asyncio.run(main())
"""


def library_is_imported(mode: str, cassette: Path) -> str:
    cassette.touch()
    command = [sys.executable, "-c", _MAKES_ADVISER, mode, str(cassette)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_the_client_library_is_imported_before_any_question_has_a_deadline(tmp_path: Path) -> None:
    assert library_is_imported("record", tmp_path / "calls.ndjson") == "True\n"


def test_a_replay_does_not_import_the_client_library(tmp_path: Path) -> None:
    assert library_is_imported("replay", tmp_path / "calls.ndjson") == "False\n"
