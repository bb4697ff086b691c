"""Whatever goes wrong, the feed notices, mends it, and has the exchange's book at the same update id again."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from raysignal.loopback.exchanges.disturbance import Disturbance
from tests.support.market_worlds import World

# COIN-M and linear differ from these in addresses and names; without sockets they go through the same.
VENUES = ("binance", "binance-usdm", "okx", "bybit")
SNAPSHOTS_BY_REQUEST = VENUES[:2]

# What each disturbance must be noticed as: a count of the trackers, or of the feed.
NOTICED = {
    Disturbance.DROP: "missing",
    Disturbance.DOUBLE: "stale",
    Disturbance.SWAP: "missing",
    Disturbance.DELAY: "missing",
    Disturbance.MALFORMED: "malformed",
    Disturbance.STALL: "stale_books",
    Disturbance.CUT: "reconnects",
    Disturbance.HALF_OPEN: "silences",
    Disturbance.REFUSED: "connect_errors",
    Disturbance.STALE_SNAPSHOT: "stale_snapshots",
    Disturbance.TOO_MANY: "rest_limited",
    Disturbance.UNAVAILABLE: "rest_errors",
}
# Those that only what follows another can meet.
AFTER = {
    Disturbance.REFUSED: Disturbance.CUT,
    Disturbance.STALE_SNAPSHOT: Disturbance.DROP,
    Disturbance.TOO_MANY: Disturbance.DROP,
    Disturbance.UNAVAILABLE: Disturbance.DROP,
}
OF_REQUESTS = (Disturbance.STALE_SNAPSHOT, Disturbance.TOO_MANY, Disturbance.UNAVAILABLE)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=VENUES)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with World(request.param) as world:
        await world.witness.until(lambda: world.feed.health().ready)
        yield world


def _counts(world: World) -> dict[str, int]:
    counts = {**world.feed.counts(), **world.feed.observed.counts()}
    # What is missing right after a snapshot shows as a snapshot that is too old.
    return {**counts, "missing": counts["gaps"] + counts["stale_snapshots"]}


@pytest.mark.parametrize("what", NOTICED)
async def test_a_disturbance_is_noticed_mended_and_leaves_the_right_book(
    world: World, what: Disturbance
) -> None:
    if what in OF_REQUESTS and world.exchange.venue not in SNAPSHOTS_BY_REQUEST:
        pytest.skip("the stream brings the snapshots")
    await world.settled()
    before, orders = _counts(world), world.exchange.orders
    done = orders.done[what]
    orders.place(what)
    if what in AFTER:
        orders.place(AFTER[what])
    await world.witness.until(
        lambda: orders.done[what] > done and _counts(world)[NOTICED[what]] > before[NOTICED[what]]
    )
    await world.settled()
    if what not in {Disturbance.DOUBLE, Disturbance.STALL, Disturbance.CUT, Disturbance.HALF_OPEN}:
        assert _counts(world)["resyncs"] > before["resyncs"]
    assert world.witness.wrong == []
