"""A verb made of its config; and what it lacks on the base package alone, said before anything starts."""

import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.cli.verbs import EXTRAS, WrongUsage, require_extras, verb
from raysignal.engine.core.errors import InvalidField, SettingsError
from raysignal.runtime.ports import free_port

ROOT = Path(__file__).parents[3]
MODULES = {"langchain-google-genai": "langchain_google_genai", "psycopg[binary]": "psycopg"}


@pytest.fixture
def base(monkeypatch):
    """As if no extra were installed, and nobody could start Ray."""
    for module in {module for modules in EXTRAS.values() for module in modules} | {"ray"}:
        monkeypatch.setitem(sys.modules, module, None)


@pytest.fixture
def prices(tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text("timestamp,price\n2025-01-01T00:00:00Z,100\n2025-01-01T00:10:00Z,101\n")
    return path


def test_the_modules_of_an_extra_are_those_that_it_installs():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, modules in EXTRAS.items():
        distributions = {re.split(r"[>=<~]", each)[0] for each in project[name]}
        # Ray is there without an extra; this one adds to it.
        assert {MODULES.get(each, each) for each in distributions} - {"ray[tune]"} == set(modules)


@pytest.mark.usefixtures("base")
@pytest.mark.parametrize(
    ("arguments", "extra", "status"),
    [
        (["sweep", "FILE", "--grid", "sma_fast=5:50:5"], "experiments", 1),
        (["luck", "FILE"], "experiments", 1),
        (["compare", "FILE"], "experiments", 1),
        (["model", "train", "FILE"], "experiments,training", 1),
        (["model", "export", "RUN", "model"], "experiments,training,inference", 1),
        (["compare", "plan", "FILE"], "experiments", 1),
        (["check-strategy", "sma", "--data", "FILE"], "experiments", 2),
        (["run", "FILE"], "feeds,experiments", 1),
        (["feed", "-i", "binance:BTCUSDT"], "feeds", 1),
        (["feed", "record", "FOLDER", "-i", "binance:BTCUSDT"], "feeds", 1),
        (["feed", "replay", "FILE", "-i", "binance:BTCUSDT"], "feeds", 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_verb_without_its_extra_says_what_to_install(
    prices, tmp_path, monkeypatch, arguments, extra, status
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAYSIGNAL_STORE", (tmp_path / "store").as_uri())
    places = {"FILE": str(prices), "FOLDER": str(tmp_path / "folder")}
    shown = CliRunner().invoke(app, [places.get(one, one) for one in arguments])
    assert (shown.exit_code, shown.stdout) == (status, "")
    assert f"pip install 'raysignal[{extra}]'" in shown.stderr
    assert shown.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prices.csv"]


@pytest.mark.usefixtures("base")
def test_feeds_of_a_service_without_their_extra_are_a_sentence(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("raysignal.engine.database.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setenv("RAYSIGNAL_FEED__INSTRUMENTS", '["binance:BTCUSDT"]')
    shown = CliRunner().invoke(
        app, ["serve", "--store", (tmp_path / "store").as_uri(), "--port", str(free_port())]
    )
    assert shown.exit_code == 1
    assert "pip install 'raysignal[feeds]'" in shown.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hooks", "add", "x", "--max-age", "soon"], "max_age is 'soon'; expected a length such as 1s, 10m, 1h"),
        (["feed", "-i", "binance:X", "--loopback", "--for", "long"], "--for"),
        (["hooks", "rotate", "x", "--grace", "long"], "--grace"),
    ],
)  # fmt: skip
def test_a_length_that_is_none_is_said_of_the_option_that_has_it(tmp_path, arguments, said):
    shown = CliRunner().invoke(
        app, [*arguments, *(("--store", (tmp_path / "s").as_uri()) if "hooks" in arguments else ())]
    )
    assert shown.exit_code != 0
    assert said in " ".join(shown.output.replace("│", " ").split())
    assert "bar is" not in shown.output


def test_what_is_installed_is_not_asked_for():
    require_extras("sweep", *EXTRAS)


def test_several_extras_are_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "arch", None)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(
        SettingsError, match=r"raysignal run needs arch, sqlalchemy, .*raysignal\[feeds,experiments\]"
    ):
        require_extras("run", "feeds", "experiments")


@pytest.mark.parametrize(
    ("address", "said"),
    [("x", "the Ray address is 'x'; expected host:port"), (None, "no Ray cluster answers at 127.0.0.1:")],
)
@pytest.mark.parametrize("verb", ["performance", "serve", "replay"])
def test_a_ray_cluster_that_is_none_is_a_sentence(tmp_path, prices, verb, address, said):
    address = address or f"127.0.0.1:{free_port()}"
    arguments = {"performance": [], "serve": ["--store", (tmp_path / "s").as_uri()], "replay": [str(prices)]}[
        verb
    ]
    prices.write_text("timestamp,price,signal\n2025-01-01T00:00:00Z,100,1\n")
    shown = CliRunner().invoke(app, [verb, *arguments, "--ray-address", address])
    assert shown.exit_code == 1
    assert said in shown.stderr
    assert "Traceback" not in shown.stderr


# The command of a config


@dataclass(frozen=True, slots=True, kw_only=True)
class Seasoning:
    salt: Annotated[int, typer.Option(min=0, help="Of it.")] = 1
    pepper: Annotated[str | None, typer.Option("--pepper", "-p")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Meal:
    dish: Annotated[str, typer.Argument()]
    seasoning: Seasoning
    hot: Annotated[bool, typer.Option("--hot")] = False

    def __post_init__(self) -> None:
        if self.dish == "stone":
            raise InvalidField("dish", self.dish, "something to eat")


def served(*arguments):
    """What the verb was given, and how it ended."""
    meals, kitchen = [], typer.Typer()
    kitchen.command()(verb(Meal, meals.append))
    return meals, CliRunner().invoke(kitchen, arguments)


def test_the_options_of_a_verb_are_the_fields_of_its_config_and_of_its_groups():
    assert served("soup")[0] == [Meal(dish="soup", seasoning=Seasoning())]
    meals, _ = served("soup", "--salt", "3", "-p", "black", "--hot")
    assert meals == [Meal(dish="soup", seasoning=Seasoning(salt=3, pepper="black"), hot=True)]


def test_a_value_that_typer_refuses_makes_no_config():
    meals, ended = served("soup", "--salt", "-1")
    assert (meals, ended.exit_code) == ([], 2)


def test_what_a_config_refuses_is_wrong_usage():
    meals, ended = served("stone")
    assert meals == []
    assert isinstance(ended.exception, WrongUsage)
    assert "dish is 'stone'; expected something to eat" in str(ended.exception)


def test_the_verb_of_a_group_acts_where_no_verb_below_it_is_named():
    meals, said = [], []
    kitchen = typer.Typer()
    kitchen.callback(invoke_without_command=True)(verb(Seasoning, meals.append, group=True))
    kitchen.command("clean")(lambda: said.append("clean"))
    CliRunner().invoke(kitchen, ["--salt", "2"])
    CliRunner().invoke(kitchen, ["clean"])
    assert (meals, said) == ([Seasoning(salt=2)], ["clean"])
