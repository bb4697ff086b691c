"""`raysignal backtest`, `pipeline` and `parity`, as a person calls them."""

import json
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.engine.core.events import FundingPayment, decode_event
from raysignal.engine.market.download import FUNDING
from raysignal.engine.pipeline.session import read_frames

CONFIG = """
name: trends
instruments: [{symbol: BTC}]
strategies:
  - {name: fast, kind: sma, bar: 1m, parameters: {fast: 2, slow: 5}}
  - {name: slow, kind: sma, bar: 5m, parameters: {fast: 3, slow: 9}}
portfolio: {weight: 0.5}
venue: {kind: paper, fee_bps: 1}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == status, result.output
    return result.output


def test_backtest_is_recorded_and_parity_finds_the_same_and_then_a_difference(
    config: Path, tmp_path: Path
) -> None:
    session = tmp_path / "session"
    said = run("backtest", config, "--candles", 600, "--record", session)
    assert "600 candles" in said
    assert "fast" in said
    assert "slow" in said
    assert "byte for byte" in run("parity", session)
    changed = (session / "pipeline.yaml").read_text().replace("slow: 9", "slow: 8")
    (session / "pipeline.yaml").write_text(changed)
    said = run("parity", session, status=1)
    assert "differs" in said
    assert "recorded" in said
    assert "replayed" in said


def test_backtest_as_json_says_what_the_screen_says(config: Path) -> None:
    figures = json.loads(
        run("backtest", config, "--candles", 600, "--json").split("\n", 1)[1].split("\n", 0)[0]
    )
    assert figures["candles"] == 720
    assert figures["trades"] > 3
    assert figures["total_return"] == pytest.approx(figures["equity"] / 10_000 - 1)
    assert {each["strategy"] for each in figures["strategies"]} <= {"fast", "slow"}


def test_backtest_of_a_file_makes_longer_candles_of_its_rows(config: Path, tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    rows = [f"2024-01-01T{n // 60:02d}:{n % 60:02d}:00Z,BTC,{100 + (n * 7 % 13) - 6}" for n in range(1, 500)]
    prices.write_text("timestamp,symbol,price\n" + "\n".join(rows), encoding="utf-8")
    assert "499 candles" in run("backtest", config, "--data", prices)


def test_backtest_finds_the_rows_of_an_instrument_by_its_market(config: Path, tmp_path: Path) -> None:
    text = config.read_text(encoding="utf-8")
    assert "symbol: BTC}" in text
    config.write_text(text.replace("symbol: BTC}", "symbol: BTC, market: 'okx:BTC-USDT'}"), encoding="utf-8")
    folder = tmp_path / "1m"
    folder.mkdir()
    for hour in (0, 1):
        stamps = pd.date_range(f"2024-01-01T0{hour}:01:00Z", periods=60, freq="1min")
        price = [100.0 + (n * 7 % 13) for n in range(60)]
        frame = pd.DataFrame({"timestamp": stamps, "symbol": "okx:BTC-USDT", "price": price})
        frame.to_parquet(folder / f"2024-0{hour + 1}.parquet")
    assert "120 candles" in run("backtest", config, "--data", folder)


def test_rows_that_do_not_fit_the_strategies_candles_are_refused(config: Path, tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    rows = [f"2024-01-{1 + n // 24:02d}T{n % 24:02d}:00:00Z,BTC,{100 + n % 7}" for n in range(100)]
    prices.write_text("timestamp,symbol,price\n" + "\n".join(rows), encoding="utf-8")
    said = run("backtest", config, "--data", prices, status=1)
    assert "bar is" in said
    assert "expected a multiple of 1 h" in said or "expected a multiple of" in said


@pytest.mark.slow
def test_check_leaks_ends_with_what_it_found(config: Path, tmp_path: Path) -> None:
    few = ("--seeds", 1, "--candles", 300, "--tries", 2)
    passed = run("pipeline", "check-leaks", config, *few)
    assert "FAILED" not in passed
    assert "strategy slow" in passed
    leaking = "raysignal.experiments.validation.strategy_rules.fit_in_module:LeakingFitInModule"
    config.write_text(CONFIG.replace("{name: fast, kind: sma", f"{{name: fast, kind: '{leaking}'").replace(
        ", parameters: {fast: 2, slow: 5}", ""))  # fmt: skip
    found = json.loads(run("pipeline", "check-leaks", config, *few, "--json", status=1))
    assert not found["good"]
    assert [each["check"] for each in found["checks"] if not each["good"]] == ["strategy fast", "path"]
    assert (
        "cut off" in found["checks"][1]["sentence"] or "with prices after" in found["checks"][1]["sentence"]
    )
    run("pipeline", "check-leaks", tmp_path / "none.yaml", status=2)


def test_check_and_explain_say_what_there_is(config: Path) -> None:
    assert "is good: trends, 1 instruments, 2 strategies, fills by the paper exchange" in run(
        "pipeline", "check", config
    )
    said = run("pipeline", "explain", config)
    for stage in ("candles", "strategy fast", "aggregate", "decide", "risk", "execute", "attribute"):
        assert stage in said


def test_run_without_a_market_says_which_instrument_has_none(config: Path) -> None:
    said = run("pipeline", "run", config, "--for", "1s", status=1)
    assert "market of BTC" in said
    assert "binance-usdm:BTCUSDT" in said


def test_session_is_not_written_over(config: Path, tmp_path: Path) -> None:
    run("backtest", config, "--candles", 100, "--record", tmp_path / "s")
    said = run("backtest", config, "--candles", 100, "--record", tmp_path / "s", status=1)
    assert "a new folder" in said


def test_backtest_names_posted_strategies_that_say_nothing_in_it(config: Path) -> None:
    posted = "  - {name: tv, kind: posted, bar: 1m, parameters: {source: tv}}\nportfolio:"
    config.write_text(CONFIG.replace("portfolio:", posted), encoding="utf-8")
    assert "tv says nothing here" in run("backtest", config, "--candles", 100)


def test_backtest_counts_orders_that_were_not_filled_by_their_reason(config: Path) -> None:
    text = CONFIG.replace("weight: 0.5", "weight: 1").replace("fee_bps: 1", "fee_bps: 100, margin_bps: 0")
    config.write_text(text, encoding="utf-8")
    said = run("backtest", config, "--candles", 600)
    assert "not filled:" in said
    assert "insufficient_balance" in said


def test_explain_says_the_limit_of_leverage_that_a_paper_exchange_has_unasked(config: Path) -> None:
    assert "limits: leverage 1.0" in run("pipeline", "explain", config)


def rates(folder: Path, *of: tuple[str, float]) -> Path:
    """Funding rates as `market download` keeps them."""
    folder.mkdir()
    stamps, values = zip(*of, strict=True)
    columns = {
        "timestamp": pa.array([datetime.fromisoformat(each) for each in stamps], pa.timestamp("us", "UTC")),
        "symbol": ["okx:BTC-USDT-SWAP"] * len(of), "funding_rate": list(values),
    }  # fmt: skip
    pq.write_table(pa.table(columns, schema=FUNDING), folder / "2024-01.parquet")
    return folder


def test_backtest_settles_the_funding_of_a_download_and_parity_has_it(config: Path, tmp_path: Path) -> None:
    text = config.read_text(encoding="utf-8")
    config.write_text(
        text.replace("symbol: BTC}", "symbol: BTC, market: 'okx:BTC-USDT-SWAP'}"), encoding="utf-8"
    )
    prices, session = tmp_path / "prices.csv", tmp_path / "session"
    rows = [f"2024-01-01T{n // 60:02d}:{n % 60:02d}:00Z,BTC,{100 + abs(n - 20)}" for n in range(1, 200)]
    prices.write_text("timestamp,symbol,price\n" + "\n".join(rows), encoding="utf-8")
    funding = rates(tmp_path / "funding", ("2024-01-01T01:40:00Z", 0.01), ("2024-01-01T03:00:00Z", -0.001))
    said = run("backtest", config, "--data", prices, "--funding", funding, "--record", session, "--json")
    figures = json.loads(said[said.index("{") :])
    payments = [
        event
        for frame in read_frames(session)
        if frame.kind in {b"I", b"O"} and isinstance(event := decode_event(frame.data), FundingPayment)
    ]
    assert [(each.price, each.rate) for each in payments] == [("180", "0.01"), ("260", "-0.001")]
    assert figures["funding"] == pytest.approx(sum(float(each.amount) for each in payments))
    assert "byte for byte" in run("parity", session)


def test_funding_where_none_can_be_settled_is_refused(config: Path, tmp_path: Path) -> None:
    said = run("backtest", config, "--funding", tmp_path, status=1)
    assert "funding is" in said
    prices = tmp_path / "prices.csv"
    prices.write_text("timestamp,symbol,price\n2024-01-01T00:01:00Z,BTC,1\n2024-01-01T00:02:00Z,BTC,2\n")
    said = run("backtest", config, "--data", prices, "--funding", tmp_path / "none", status=1)
    assert "holds no funding rates" in said
