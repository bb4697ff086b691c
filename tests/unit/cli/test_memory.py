"""`raysignal memory` without a service: what is refused, and what is said where nobody answers."""

import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
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
