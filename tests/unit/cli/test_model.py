"""`raysignal model check`: every check that a service makes, and the card; or a sentence and status 1."""

import json
from pathlib import Path

from typer.testing import CliRunner

from raysignal.cli.main import app
from tests.support.onnx_models import feed_forward, recurrent, write_model


def test_a_good_model_is_shown_with_its_card(tmp_path: Path) -> None:
    folder = str(write_model(tmp_path, recurrent(), version="7"))
    shown = CliRunner().invoke(app, ["model", "check", folder])
    assert shown.exit_code == 0
    assert "recurrent       True" in shown.stdout
    card = json.loads(CliRunner().invoke(app, ["model", "check", folder, "--json"]).stdout)
    assert (card["name"], card["version"], card["state_bytes"]) == ("policy", "7", 32)


def test_a_bad_model_is_refused_with_a_sentence_and_status_1(tmp_path: Path) -> None:
    folder = str(write_model(tmp_path, feed_forward(features=5)))
    refused = CliRunner().invoke(app, ["model", "check", folder])
    assert refused.exit_code == 1
    assert "its input features takes 5 features; its card names 3" in refused.stderr
