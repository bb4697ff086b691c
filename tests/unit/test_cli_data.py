"""`raysignal data`: files made by seed, and what a check says about them."""

import json

import pytest
from typer.testing import CliRunner

from cli.main import app
from data.generator import GeneratorSpec, write_csv

HEADER = "timestamp,price,signal\n"


def invoke(*arguments):
    return CliRunner().invoke(app, ["data", *(str(argument) for argument in arguments)])


def checked(path, *arguments, status=0):
    shown = invoke("check", path, "--json", *arguments)
    assert shown.exit_code == status, shown.stderr
    return json.loads(shown.stdout)


def written(tmp_path, text, name="signals.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_generate_writes_what_the_generator_writes(tmp_path):
    made = invoke(
        "generate", tmp_path / "a.csv", "--rows", 60, "--seed", 7, "--texts", "short", "--edge", "0.7,0.3",
        "--hold-share", 0.2, "--symbols", "BTC,ETH", "--bar", "1h",
    )  # fmt: skip
    assert made.exit_code == 0, made.stderr
    spec = GeneratorSpec(
        rows=60, seed=7, texts="short", edge=(0.7, 0.3), hold_share=0.2, symbols=("BTC", "ETH"), bar="1h"
    )
    write_csv(spec, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_null_files_differ_in_the_signals_alone(tmp_path):
    invoke("generate", tmp_path / "effect.csv", "--rows", 40, "--regime-effect")
    invoke("generate", tmp_path / "null.csv", "--rows", 40, "--null")
    effect, null = ((tmp_path / f"{name}.csv").read_text().splitlines() for name in ("effect", "null"))
    assert effect != null
    assert [line.split(",")[:3] for line in effect] == [line.split(",")[:3] for line in null]


@pytest.mark.parametrize("ending", ["csv", "ndjson", "parquet"])
def test_a_plain_file_has_the_format_of_its_ending_and_checks_clean(tmp_path, ending):
    path = tmp_path / f"plain.{ending}"
    made = invoke("generate", path, "--plain", "--rows", 50, "--symbols", "BTC,ETH", "--json")
    assert json.loads(made.stdout) == {
        "path": str(path), "rows": 50, "seed": 0, "bytes": path.stat().st_size, "read_with": [],
    }  # fmt: skip
    found = checked(path)
    assert (found["rows"], found["usable"], found["symbols"], found["spacing"]) == (
        50,
        50,
        {"BTC": 25, "ETH": 25},
        "1s",
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["x.csv", "--edge", "high"], "edge is 'high'"),
        (["x.csv", "--hold-share", "1.5"], "hold_share is 1.5"),
        (["x.txt", "--plain"], "an ending of"),
        (["x.parquet"], "an ending of .csv"),
        (["no/such/folder/x.csv"], "No such file or directory"),
    ],
)
def test_what_cannot_be_generated_is_said_with_status_1(tmp_path, arguments, sentence):
    shown = invoke("generate", tmp_path / arguments[0], *arguments[1:])
    assert shown.exit_code == 1
    assert sentence in shown.stderr


def test_check_says_what_is_in_a_file(tmp_path):
    path = tmp_path / "made.csv"
    invoke("generate", path, "--rows", 200, "--seed", 3, "--hold-share", 0.3)
    found = checked(path, "--bar", "10m", "--label", "open", "--timezone", "America/New_York")
    assert (found["rows"], found["usable"], found["refused"], found["repeated"]) == (200, 200, 0, 0)
    # 2025-01-06 00:00 in New York opens a bar that is known at 05:10 UTC.
    assert found["from"] == "2025-01-06T05:10:00Z"
    assert found["spacing"] == "10m"
    assert found["gaps"]["count"] > 0
    assert sum(found["actions"].values()) == 200
    assert all(found["actions"][name] > 0 for name in ("SELL", "HOLD", "BUY"))
    features = {feature["name"]: feature for feature in found["features"]}
    assert features["sentiment"]["type"] == "text"
    assert features["sentiment"]["missing"] == pytest.approx(1 / 200)
    assert features["intensity"]["type"] == "number"
    assert 0 <= features["intensity"]["least"] <= features["intensity"]["most"] <= 10
    assert found["errors"] == []


def test_check_names_row_field_and_value_and_ends_with_status_1(tmp_path):
    path = written(
        tmp_path,
        HEADER
        + "2025-01-01T00:00:00Z,100,1\n"
        + "2025-01-01T00:10:00Z,-5,1\n"
        + "2025-01-01T00:20:00Z,101,maybe\n"
        + "yesterday,102,1\n",
    )
    found = checked(path, status=1)
    assert (found["rows"], found["usable"], found["refused"]) == (4, 1, 3)
    assert [(each["row"], each["field"], each["value"]) for each in found["errors"]] == [
        (1, "price", "'-5'"),
        (2, "signal", "'maybe'"),
        (3, "timestamp", "'yesterday'"),
    ]
    for_people = invoke("check", path)
    assert for_people.exit_code == 1
    assert all(word in for_people.stdout for word in ("3 refused rows", "'maybe'", "'yesterday'"))


def test_check_finds_what_a_portfolio_would_refuse(tmp_path):
    path = written(
        tmp_path,
        HEADER
        + "2025-01-01T00:00:00Z,100,1\n"
        + "2025-01-01T00:00:00Z,100,1\n"  # the same again: counts once
        + "2025-01-01T00:00:00Z,100,-1\n"  # not after it
        + "2025-01-01T00:10:00Z,100000,1\n"  # a thousand times the price
        + "2025-01-01T00:20:00Z,101,1\n"
        + "2025-01-01T00:20:00Z,102,1\n",  # the same identity, another price
    )
    found = checked(path, status=1)
    assert (found["usable"], found["repeated"], found["refused"]) == (3, 1, 3)
    assert [(each["row"], each["type"]) for each in found["errors"]] == [
        (2, "LateSignal"),
        (3, "PriceJump"),
        (5, "IdentityConflict"),
    ]


def test_check_believes_prices_on_request(tmp_path):
    path = written(tmp_path, HEADER + "2025-01-01T00:00:00Z,100,1\n2025-01-01T00:10:00Z,100000,1\n")
    assert checked(path, status=1)["refused"] == 1
    assert checked(path, "--accept-price-jump")["refused"] == 0


def test_check_takes_rows_in_any_order_and_measures_gaps_per_symbol(tmp_path):
    path = written(
        tmp_path,
        "timestamp,symbol,price,signal\n"
        "2025-01-01T00:40:00Z,BTC,100,1\n"
        "2025-01-01T00:10:00Z,BTC,100,1\n"
        "2025-01-01T00:00:00Z,BTC,100,1\n"
        "2025-01-01T00:05:00Z,ETH,9,0\n"
        "2025-01-01T00:15:00Z,ETH,9,0\n",
    )
    found = checked(path)
    assert found["spacing"] == "10m"
    assert found["gaps"] == {
        "count": 1,
        "largest": {"length": "30m", "symbol": "BTC", "after": "2025-01-01T00:10:00Z"},
    }


def test_a_file_with_a_header_alone_is_empty_and_not_wrong(tmp_path):
    found = checked(written(tmp_path, HEADER))
    assert (found["rows"], found["from"], found["spacing"], found["features"]) == (0, None, None, [])
    assert invoke("check", tmp_path / "signals.csv").exit_code == 0


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("image.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG image"),
        ("other.csv", b"a,b\n1,2\n", "a column named timestamp or datetime or time"),
        ("notes.txt", b"hello", "notes.txt"),
    ],
)
def test_what_is_no_signal_file_is_said_so(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    shown = invoke("check", tmp_path / name)
    assert shown.exit_code == 1
    assert sentence in shown.stderr


def test_a_zone_that_does_not_exist_is_said_so(tmp_path):
    shown = invoke("check", written(tmp_path, HEADER), "--timezone", "Atlantis/Centre")
    assert shown.exit_code == 1
    assert "Atlantis/Centre" in shown.stderr
