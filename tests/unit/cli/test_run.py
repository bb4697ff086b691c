"""The parts of `raysignal run` that need no service."""

import json

import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.cli.output import Output, performance_table
from raysignal.cli.run import SourceFile, differences, fresh_folder
from raysignal.engine.core.errors import RaysignalError
from raysignal.engine.core.policy import Policy
from raysignal.engine.portfolio.account import ACCOUNT_SIZE
from raysignal.engine.portfolio.ledger import Ledger
from raysignal.engine.portfolio.receipts import PortfolioStatus


def standing():
    policy = Policy()
    account = Ledger(policy).account
    assert len(account) == ACCOUNT_SIZE
    return PortfolioStatus("baseline", policy, (), 0, None, 1, account).as_dict()


def test_the_results_go_to_the_first_number_that_is_free(tmp_path):
    (tmp_path / "run" / "2").mkdir(parents=True)
    assert [fresh_folder(tmp_path / "run").name for _ in range(3)] == ["1", "3", "4"]


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(RaysignalError, match="cannot be written"):
        fresh_folder(tmp_path / "run")


def test_equal_performances_have_no_differences():
    assert differences(standing()["performance"], standing()["performance"]) == []


def test_a_difference_in_the_last_bit_is_found_wherever_it_is():
    one, other = standing()["performance"], standing()["performance"]
    other["equity"] = one["equity"] * (1.0 + 2e-16)
    other["buy_and_hold"]["sharpe"] = 0.5
    assert [name for name, _, _ in differences(one, other)] == ["equity", "buy_and_hold.sharpe"]


def test_a_figure_that_one_of_them_lacks_is_a_difference():
    one, other = standing()["performance"], standing()["performance"]
    del other["fees"]
    assert differences(one, other) == [("fees", one["fees"], None)]


def test_the_sample_is_read_as_it_was_made():
    sample = SourceFile.sample()
    checked = CliRunner().invoke(
        app,
        [
            "data",
            "check",
            str(sample.path),
            "--bar",
            sample.reading.bar,
            "--label",
            sample.reading.label,
            "--json",
        ],
    )
    found = json.loads(checked.stdout)
    assert (checked.exit_code, found["refused"]) == (0, 0)
    assert found["spacing"] == sample.reading.bar


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("timestamp,price,signal\n2025-01-01T00:00:00Z,0,1\n", "1 of 1 rows"),
        ("timestamp,price,signal\n", "holds no signal"),
        ("when,what\n1,2\n", "a column named"),
    ],
)
def test_a_bad_file_is_refused_before_anything_starts(monkeypatch, tmp_path, content, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv").write_text(content)
    shown = CliRunner().invoke(app, ["run", "mine.csv"])
    assert shown.exit_code == 1
    assert sentence in shown.stderr
    assert not (tmp_path / "run").exists()


def test_a_portfolio_without_signals_is_shown_with_dashes(capsys):
    Output().table(performance_table([standing()]))
    shown = capsys.readouterr().out
    assert "10,000.00" in shown
    assert "—" in shown


def test_a_ruined_portfolio_is_marked_above_its_figures(capsys):
    one, other = standing(), standing()
    other["performance"]["ruined"] = True
    Output().table(performance_table([one, other]))
    assert capsys.readouterr().out.count("RUINED") == 1
    Output().table(performance_table([one]))
    assert "RUINED" not in capsys.readouterr().out
