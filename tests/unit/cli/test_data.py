"""`raysignal data`: files made by seed, and what a check says about them."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.data.generator import GeneratorSpec, write_csv

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
    ],
)
def test_what_cannot_be_generated_is_wrong_usage(tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    shown = invoke("generate", *arguments)
    assert shown.exit_code == 2
    assert sentence in shown.stderr


def test_a_file_that_cannot_be_written_is_said_with_status_1(tmp_path):
    shown = invoke("generate", tmp_path / "no" / "such" / "x.csv")
    assert shown.exit_code == 1
    assert "No such file or directory" in shown.stderr


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
        + "2025-01-01T00:00:00Z,100,-1\n"  # of its instant, and another signal: counts
        + "2025-01-01T00:10:00Z,100000,1\n"  # a thousand times the price
        + "2025-01-01T00:20:00Z,101,1\n"
        + "2025-01-01T00:20:00Z,102,1\n",  # the same identity, another price
    )
    found = checked(path, status=1)
    assert (found["usable"], found["repeated"], found["refused"]) == (4, 1, 2)
    assert [(each["row"], each["type"]) for each in found["errors"]] == [
        (3, "PriceJump"),
        (5, "IdentityConflict"),
    ]
    (remark,) = found["remarks"]
    assert remark.startswith("line 4: 1 row of BTC has the instant of the one before it")


@pytest.mark.parametrize(
    ("field", "here", "there", "shown"),
    [
        ("size", "0.5", "1", ("0.5", "1.0")),
        ("stop_loss", "90", "", ("90.0", "None")),
        ("confidence", "0.5", "0.25", ("0.5", "0.25")),
        ("expires", "2025-01-03", "2025-01-02", ("'2025-01-03T00:00:00Z'", "'2025-01-02T00:00:00Z'")),
    ],
)
def test_two_rows_of_one_identity_name_the_term_in_which_they_differ(tmp_path, field, here, there, shown):
    row = "2025-01-01T00:00:00Z,100,1"
    path = written(tmp_path, f"timestamp,price,signal,{field}\n{row},{there}\n,,,\n{row},{here}\n")
    (error,) = checked(path, status=1)["errors"]
    assert (error["field"], error["value"], error["line"], error["other_line"]) == (field, shown[0], 4, 2)
    assert error["expected"] == f"{shown[1]}, as in line 2, or another signal_id"


def test_two_rows_of_one_identity_are_both_named_by_their_lines_with_field_and_values(tmp_path):
    path = written(
        tmp_path,
        "timestamp,price,signal,note\n"
        '2025-01-01T00:00:00Z,100,1,"a note\nof two lines"\n'
        "\n"
        "2025-01-01T00:10:00Z,104,1,\n"
        "2025-01-01T00:20:00Z,105,1,\n"
        "2025-01-01T00:10:00Z,77,1,\n",
    )
    (error,) = checked(path, status=1)["errors"]
    assert (error["row"], error["line"], error["other_row"], error["other_line"]) == (3, 7, 1, 5)
    assert (error["type"], error["field"], error["value"]) == ("IdentityConflict", "price", "77.0")
    assert error["expected"] == "104.0, as in line 5, or another signal_id"
    assert error["detail"].startswith(
        "line 7 and line 5 are one signal, with price 77.0 here and 104.0 there"
    )
    table = invoke("check", path).stdout
    assert "104.0, as in line 5" in table
    assert any(line.split()[:3] == ["7", "price", "77.0"] for line in table.splitlines())


@pytest.mark.parametrize(
    ("first", "second", "field", "values"),
    [
        ({"signal_id": "a", "signal": 1}, {"signal_id": "a", "signal": -1}, "signal", ("'SELL'", "'BUY'")),
        ({"mood": "calm"}, {"mood": "wild"}, "mood", ("'wild'", "'calm'")),
        ({"rsi": 30}, {}, "rsi", ("None", "30.0")),
        (
            {"signal_id": "a"},
            {"signal_id": "a", "timestamp": "2025-01-01T00:10:00Z"},
            "timestamp",
            ("'2025-01-01T00:10:00Z'", "'2025-01-01T00:00:00Z'"),
        ),
    ],
)
def test_what_differs_between_two_rows_of_one_identity_is_the_field_that_is_named(
    tmp_path, first, second, field, values
):
    row = {"timestamp": "2025-01-01T00:00:00Z", "price": 100, "signal": 1}
    path = written(
        tmp_path, json.dumps(row | first) + "\n\n" + json.dumps(row | second) + "\n", "signals.ndjson"
    )
    (error,) = checked(path, status=1)["errors"]
    assert (error["field"], error["value"]) == (field, values[0])
    assert error["expected"] == f"{values[1]}, as in line 1, or another signal_id"
    assert error["line"] == 3


def rows_of(prices, start_minutes=None):
    """CSV rows ten minutes apart, or at the minutes that are given."""
    minutes = range(0, 10 * len(prices), 10) if start_minutes is None else start_minutes
    began = datetime(2025, 1, 1, tzinfo=UTC)
    return "".join(
        f"{(began + timedelta(minutes=at)).isoformat()},{price},{(-1) ** number}\n"
        for number, (at, price) in enumerate(zip(minutes, prices, strict=True))
    )


def of_symbols(tmp_path, minutes):
    """A file in the order of time; `minutes` says when each symbol has a row."""
    began = datetime(2025, 1, 1, tzinfo=UTC)
    stamps = sorted((at, symbol) for symbol, each in minutes.items() for at in each)
    lines = [f"{(began + timedelta(minutes=at)).isoformat()},{symbol},100,1\n" for at, symbol in stamps]
    return written(tmp_path, "timestamp,symbol,price,signal\n" + "".join(lines))


def test_a_first_row_that_is_damaged_is_refused_alone(tmp_path):
    found = checked(
        written(tmp_path, HEADER + rows_of([100_000, *[100 + i % 3 for i in range(60)]])), status=1
    )
    assert (found["usable"], found["refused"]) == (60, 1)
    assert [(error["line"], error["field"], error["value"]) for error in found["errors"]] == [
        (2, "price", "100000.0")
    ]
    (remark,) = found["remarks"]
    assert remark.startswith("line 2: the first price of BTC is far from all those after it")


def test_a_first_row_is_believed_where_those_after_it_disagree(tmp_path):
    found = checked(written(tmp_path, HEADER + rows_of([100, 101, 9_000, 102, 103])), status=1)
    assert [error["line"] for error in found["errors"]] == [4]
    assert found["remarks"] == []


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [(1200, 120, "as after a 10-for-1 split"), (3, 90, "as after a 30-for-1 reverse split")],
)
def test_a_split_beyond_the_believable_factor_is_told_at_its_row(tmp_path, before, after, said):
    prices = [before * (1 + i % 5 / 1000) for i in range(50)] + [
        after * (1 + i % 5 / 1000) for i in range(50)
    ]
    path = written(tmp_path, HEADER + rows_of(prices))
    found = checked(path, status=1)
    assert found["refused"] == 50
    (remark,) = found["remarks"]
    assert remark.startswith("line 52: the price of BTC steps from")
    assert said in remark
    assert "50 rows are refused for it" in remark
    believed = checked(path, "--accept-price-jump")
    assert believed["refused"] == 0
    (remark,) = believed["remarks"]
    assert remark.startswith("line 52: the price of BTC steps from")
    assert said in remark


def test_a_split_within_the_believable_factor_is_told(tmp_path):
    prices = [100 + i % 4 / 10 for i in range(50)] + [50 + i % 4 / 20 for i in range(50)]
    (remark,) = checked(written(tmp_path, HEADER + rows_of(prices)))["remarks"]
    assert "as after a 2-for-1 split" in remark
    shown = invoke("check", tmp_path / "signals.csv")
    assert "nothing wrong" not in shown.stdout


def test_prices_that_move_much_all_the_time_have_no_split(tmp_path):
    found = checked(written(tmp_path, HEADER + rows_of([100 * 1.6 ** (i % 2) for i in range(60)])))
    assert found["remarks"] == []


def test_rows_that_are_not_in_the_order_of_time_are_told(tmp_path):
    path = written(tmp_path, HEADER + rows_of([100, 101, 102, 103], [0, 20, 30, 10]))
    found = checked(path)
    assert found["in_order"] is False
    assert found["remarks"][0].startswith("line 5: rows are not in the order of time")
    assert "nothing wrong" not in invoke("check", path).stdout


def test_symbols_one_after_the_other_are_in_order(tmp_path):
    lines = [
        f"2025-01-01T00:{at:02d}:00Z,{symbol},100,1\n" for symbol in ("BTC", "ETH") for at in (0, 10, 20)
    ]
    found = checked(written(tmp_path, "timestamp,symbol,price,signal\n" + "".join(lines)))
    assert (found["in_order"], found["remarks"]) == (True, [])


def test_a_hole_of_29_days_in_rows_of_10_minutes_is_told(tmp_path):
    minutes = [10 * i for i in range(60)] + [29 * 1440 + 10 * i for i in range(60, 120)]
    found = checked(written(tmp_path, HEADER + rows_of([100] * 120, minutes)))
    (remark,) = found["remarks"]
    assert "BTC has no row for 29d 10m after 2025-01-01T09:50:00Z, where one comes every 10m" in remark


def test_a_hole_that_several_symbols_have_is_told_once_and_names_them(tmp_path):
    stamps = [10 * i for i in range(60)] + [29 * 1440 + 10 * i for i in range(60, 120)]
    for symbols, told in (
        ("AB", "A and B have no row for 29d 10m after 2025-01-01T09:50:00Z, where one comes every 10m"),
        ("ABC", "A, B and C have no row for 29d 10m after"),
        ("ABCDEFG", "A, B, C, D, E and 2 more have no row for 29d 10m after"),
    ):
        found = checked(of_symbols(tmp_path, dict.fromkeys(symbols, stamps)))
        (remark,) = found["remarks"]
        assert told in remark
        assert (found["spacing"], found["gaps"]["count"]) == ("10m", len(symbols))


def test_holes_of_different_symbols_have_a_sentence_each(tmp_path):
    early = [10 * i for i in range(30)] + [1440 + 10 * i for i in range(90)]
    late = [10 * i for i in range(90)] + [2870 + 10 * i for i in range(30)]
    found = checked(of_symbols(tmp_path, {"A": early, "B": late}))
    assert [remark[:17] for remark in found["remarks"]] == ["A has no row for ", "B has no row for "]
    assert found["gaps"]["largest"] == {"length": "33h", "symbol": "B", "after": "2025-01-01T14:50:00Z"}


def test_the_rows_of_a_daily_symbol_are_no_gaps_beside_one_of_ten_minutes(tmp_path):
    often = [10 * i for i in range(500)]
    found = checked(of_symbols(tmp_path, {"A": often, "D": [1440 * i for i in range(4)]}))
    assert (found["spacing"], found["gaps"]["count"], found["remarks"]) == ("10m to 1d", 0, [])
    # And its own hole is not hidden by the many short steps of the other.
    days = [1440 * i for i in [*range(20), *range(60, 80)]]
    (remark,) = checked(of_symbols(tmp_path, {"A": often, "D": days}))["remarks"]
    assert "D has no row for 41d after 2025-01-20T00:00:00Z, where one comes every 1d" in remark


def test_a_symbol_without_a_spacing_hides_no_hole_of_another(monkeypatch, tmp_path):
    monkeypatch.setattr("raysignal.engine.portfolio.signal_file_report._MOST_STEPS", 50)
    wild = [i * (i + 1) // 2 for i in range(1, 80)]
    holed = [10 * i for i in range(60)] + [1440 + 10 * i for i in range(60)]
    found = checked(of_symbols(tmp_path, {"WILD": wild, "A": holed}))
    assert found["spacing"] == "irregular"
    (remark,) = found["remarks"]
    assert remark.startswith("A has no row for")


def test_nights_and_weekends_are_no_holes(tmp_path):
    # Five days a week, 40 rows of 10 minutes a day, one holiday.
    days = [day for day in range(60) if day % 7 < 5 and day != 28]
    minutes = [1440 * day + 10 * i for day in days for i in range(40)]
    found = checked(written(tmp_path, HEADER + rows_of([100] * len(minutes), minutes)))
    assert found["gaps"]["count"] == len(days) - 1
    assert found["remarks"] == []


@pytest.mark.parametrize("name", ["prices.csv", "prices.ndjson"])
def test_a_file_with_prices_alone_is_checked(tmp_path, name):
    rows = [{"timestamp": f"2025-01-01T00:{at:02d}:00Z", "price": 100 + at} for at in range(0, 60, 10)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if name.endswith("csv"):
        text = "timestamp,price\n" + "".join(f"{row['timestamp']},{row['price']}\n" for row in rows)
    found = checked(written(tmp_path, text, name))
    assert (found["prices_only"], found["usable"], found["refused"]) == (True, 6, 0)
    assert "prices alone" in invoke("check", tmp_path / name).stdout


def test_a_file_in_which_some_signals_are_missing_is_no_file_of_prices(tmp_path):
    path = written(tmp_path, HEADER + "2025-01-01T00:00:00Z,100,1\n2025-01-01T00:10:00Z,100,\n")
    found = checked(path, status=1)
    assert (found["prices_only"], found["refused"]) == (False, 1)


def test_two_contents_in_autumns_double_hour_name_the_clock_change(tmp_path):
    path = written(
        tmp_path,
        HEADER
        + "2025-11-02 00:30,100,1\n2025-11-02 01:30,101,1\n2025-11-02 01:30,102,1\n2025-11-02 01:30,103,-1\n",
    )
    errors = checked(path, "--timezone", "America/New_York", status=1)["errors"]
    assert [error["type"] for error in errors] == ["IdentityConflict"]
    for error in errors:
        assert (
            "The clocks of America/New_York went back, and showed 2025-11-02 01:30:00 twice"
            in error["detail"]
        )
        assert "2025-11-02T01:30:00-05:00" in error["detail"]
    for error in checked(path, status=1)["errors"]:
        assert "clocks" not in error["detail"]


def in_pieces(monkeypatch, rows):
    """Files are read in pieces of so many rows."""
    monkeypatch.setattr("raysignal.engine.portfolio.signal_file_report.CHUNK_ROWS", rows)
    monkeypatch.setattr("raysignal.engine.intake.csv_rows.BLOCK_ROWS", rows)


def test_one_id_with_two_contents_is_refused_however_far_apart_its_rows_are(monkeypatch, tmp_path):
    in_pieces(monkeypatch, 50)
    began = datetime(2025, 1, 1, tzinfo=UTC)
    rows = [
        f"{(began + timedelta(minutes=at)).isoformat()},{100 + at % 7},1,{'dup' if at in {10, 350} else at}\n"
        for at in range(400)
    ]
    found = checked(written(tmp_path, "timestamp,price,signal,signal_id\n" + "".join(rows)), status=1)
    (error,) = found["errors"]
    assert (found["refused"], found["repeated"]) == (1, 0)
    assert (error["type"], error["line"], error["other_line"]) == ("IdentityConflict", 352, 12)
    assert error["expected"] == "what line 12 says, or another signal_id"
    assert "line 352 and line 12 are one signal, not the same in both" in error["detail"]


def test_a_row_that_repeats_the_last_of_the_piece_before_it_counts_once(monkeypatch, tmp_path):
    in_pieces(monkeypatch, 50)
    minutes = [*range(50), 49, *range(50, 120)]
    lines = rows_of([100] * 120, range(120)).splitlines(keepends=True)
    path = written(tmp_path, HEADER + "".join(lines[at] for at in minutes))
    found = checked(path)
    assert (found["usable"], found["refused"], found["repeated"], found["remarks"]) == (121, 0, 1, [])


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


def test_a_file_with_a_header_alone_has_nothing_to_send_and_says_so(tmp_path):
    path = written(tmp_path, HEADER)
    found = checked(path, status=1)
    assert (found["rows"], found["from"], found["spacing"], found["features"]) == (0, None, None, [])
    shown = invoke("check", path)
    assert "it has no row at all" in shown.stdout
    assert "nothing wrong" not in shown.stdout
    replayed = CliRunner().invoke(app, ["replay", str(path)])
    assert replayed.exit_code == 1
    assert "holds no signal; expected at least one row" in replayed.stderr


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("image.csv", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG image"),
        ("other.csv", b"a,b\n1,2\n", "a column named timestamp or datetime or time"),
        ("notes.md", b"hello", "notes.md"),
    ],
)
def test_what_is_no_signal_file_is_said_so(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    shown = invoke("check", tmp_path / name)
    assert shown.exit_code == 1
    assert sentence in shown.stderr


def test_a_zone_that_does_not_exist_is_said_so(tmp_path):
    shown = invoke("check", written(tmp_path, HEADER), "--timezone", "Atlantis/Centre")
    assert shown.exit_code == 2
    assert "Atlantis/Centre" in shown.stderr


def test_a_bar_longer_than_the_rows_are_apart_is_refused_with_their_spacing(tmp_path):
    rows = [f"2025-01-01T00:{at:02d}:00Z,{100 + at},1" for at in range(0, 60, 10)]
    path = written(tmp_path, "timestamp,price,signal\n" + "\n".join(rows) + "\n")
    refused = invoke("check", path, "--bar", "1h", "--label", "open")
    assert refused.exit_code == 1
    assert "bar is '1h'; expected at most 10m" in refused.stderr
    assert checked(path, "--bar", "1h", "--label", "open", "--force")["from"] == "2025-01-01T01:00:00Z"
    assert checked(path, "--bar", "10m")["usable"] == 6
    assert checked(path, "--bar", "5m")["usable"] == 6


def test_an_order_of_month_and_day_that_no_date_tells_is_said(tmp_path):
    path = written(tmp_path, "Date,Close,Signal\n3/5/2011,1,1\n4/5/2011,1,0\n")
    assert "3/5/2011 say the month or the day first cannot be known" in checked(path)["remarks"][0]
    assert "if it is 2011-05-03, add --day-first" in checked(path)["remarks"][0]
    assert "if it is 2011-03-05, add --month-first" in checked(path, "--day-first")["remarks"][0]
    known = written(tmp_path, "Date,Close,Signal\n3/5/2011,1,1\n4/15/2011,1,0\n", "known.csv")
    assert not checked(known)["remarks"]


def test_a_column_of_dates_of_another_order_is_refused_with_the_remedy(tmp_path):
    path = written(tmp_path, "Date,Close,Signal\n11/03/2011,1,1\n03/05/2011,1,0\n20/10/2011,1,1\n")
    refused = invoke("check", path)
    assert refused.exit_code == 1
    assert "--day-first" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert checked(path, "--day-first")["to"] == "2011-10-20T00:00:00Z"


def test_columns_numbers_and_dates_of_another_program_are_named_by_options(tmp_path):
    path = written(tmp_path, "Datum;Kurs;Signal\n24.02.2025;42.100,50 €;1\n")
    options = ("--map", "timestamp=Datum", "--map", "price=Kurs", "--decimal", ",", "--thousands", ".")
    found = checked(path, *options)
    assert (found["usable"], found["from"]) == (1, "2025-02-24T00:00:00Z")
    assert "'Kurs' is the price" in found["read"]
    for option in (("--map", "price"), ("--map", "prize=Kurs"), ("--thousands", "x"), ("--force",)):
        assert invoke("check", path, *option).exit_code != 0
