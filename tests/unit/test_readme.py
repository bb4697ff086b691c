"""What the README says of the program is what the program has."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from engine.history import FIXED
from engine.settings import PREFIX, Settings
from serve.access import Access

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_configuration_table_names_every_setting_with_its_meaning_and_no_other():
    table = dict(re.findall(rf"^\| `{PREFIX}(\w+)` \| [^|]* \| (.*) \|$", README, re.MULTILINE))
    assert table == {name.upper(): field.description for name, field in Settings.model_fields.items()}


def test_configuration_table_shows_the_defaults():
    for name, field in Settings.model_fields.items():
        if isinstance(field.default, int | float | str) and not isinstance(field.default, bool):
            assert f"| `{PREFIX}{name.upper()}` | `{field.default}` |" in README


def test_results_table_names_every_column_of_the_history():
    section = README[README.index("| column | what |") : README.index("## Configuration")]
    named = set(
        re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in section.splitlines() if "|" in line))
    )
    assert named == set(FIXED.names)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the example calls openssl")
def test_the_webhook_example_signs_what_the_service_verifies():
    script = re.search(r"^```sh\n(body=.*?\n)curl (.*?)\n```", README, re.MULTILINE | re.DOTALL)
    shown = subprocess.run(
        ["bash", "-c", script[1] + 'printf "t=%s,sha256=%s\\n%s" "$now" "$hex" "$body"'],
        env={"SECRET": "secret-1", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    header, body = shown.stdout.split("\n")
    access = Access(None, b"secret-1")
    claim = access.admit("POST", "/signal", b"", {b"x-signature-v2": header.encode()})
    access.verify(claim, body.encode())


@pytest.mark.parametrize(
    "document", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=str
)
def test_links_between_documents_lead_somewhere(document):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target
