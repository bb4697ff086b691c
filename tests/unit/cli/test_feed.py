"""What `raysignal feed` ends with."""

from pathlib import Path
from typing import Any

import pytest
import typer

from raysignal.cli import feed
from raysignal.cli.feed import FollowedMarket, MarketOptions, failure_of, follow_until_told
from raysignal.cli.output import Output
from raysignal.engine.market.monitoring.health import FeedState, Health
from raysignal.runtime.settings import Settings


def status(
    state: FeedState, reason: str = "", trouble: str | None = None, unposted: int = 0
) -> dict[str, Any]:
    return {
        "name": "okx:BTC-USDT",
        "health": Health(state, reason, 0.0).as_dict(),
        "trouble": trouble,
        "latency": {},
        "unposted": unposted,
    }


FULL = "bars and signals are not kept: database or disk is full"


@pytest.mark.parametrize(
    ("shown", "failure"),
    [
        (status(FeedState.READY), ""),
        (status(FeedState.STALE, "not in sync: BTC-USDT"), ""),  # being mended, as always now and then
        (status(FeedState.STALE, FULL, FULL), f"okx:BTC-USDT: {FULL}"),
        (
            status(FeedState.READY, "", "orders wait: [a difference]"),
            "okx:BTC-USDT: orders wait: [a difference]",
        ),
        (
            status(FeedState.STARTING, "not in sync: BTC-USDT"),
            "okx:BTC-USDT is starting: not in sync: BTC-USDT",
        ),
        (status(FeedState.FAILED, "no answer"), "okx:BTC-USDT is failed: no answer"),
        (status(FeedState.DEAD, "no answer"), "okx:BTC-USDT is dead: no answer"),
    ],
)
def test_a_feed_that_did_not_do_what_was_asked_for_ends_with_its_reason_and_status_1(
    shown: dict[str, Any],
    failure: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    async def followed(*_: object) -> list[dict[str, Any]]:
        return [shown]

    monkeypatch.setattr(feed, "_follow_until_told", followed)
    market = FollowedMarket(Settings(store=tmp_path.as_uri(), _env_file=None), MarketOptions())
    assert failure_of(shown) == failure
    if not failure:
        follow_until_told(market, None, Output(as_json=True))
        return
    with pytest.raises(typer.Exit) as ended:
        follow_until_told(market, None, Output(as_json=True))
    assert ended.value.exit_code == 1
    assert f"error: {failure}" in " ".join(capsys.readouterr().err.split())
