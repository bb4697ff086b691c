"""What Chroma is fed with, and how much of the processor it is given."""

import asyncio
import io
import re
from contextlib import closing

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raysignal.agents.override.outcome_vectors import (
    EVERY_S,
    Feeder,
    SettledRows,
    collection_of,
    may_put,
    outcomes_parquet,
)
from raysignal.agents.override.similar import OutcomeFilter, SimilarQuery, find_similar
from raysignal.agents.override.situation_vectors import SLOTS
from raysignal.agents.vectors import VectorIndex
from raysignal.engine.core.errors import ChromaUnavailable
from raysignal.engine.core.policy import check_portfolio_name
from tests.cluster.waiting import wait_for
from tests.support.enhanced_world import World, live, terms
from tests.support.similar_queries import remembered
from tests.support.tiny_disk import tiny_disk

PORTFOLIO = r"[a-z0-9][a-z0-9_-]{0,62}"


@pytest.mark.parametrize(("rested_s", "may"), [(0.0, False), (9.4, False), (9.6, True)])
def test_while_signals_come_in_chroma_works_a_twentieth_of_the_time(rested_s, may):
    assert may_put(0.5, rested_s=rested_s, quiet_s=0.1) is may


def test_what_it_fell_behind_is_made_good_as_soon_as_nothing_comes_in():
    assert may_put(60.0, rested_s=EVERY_S, quiet_s=EVERY_S)


def test_outcomes_as_parquet_have_their_facts_texts_and_vectors(tmp_path):
    rows = remembered(tmp_path, 120).rows.read(10, 20)
    table = pq.read_table(io.BytesIO(outcomes_parquet(rows)))
    assert table["ordinal"].to_pylist() == list(range(10, 20))
    assert table["texts"].to_pylist() == rows.texts
    for name in rows.facts[0]:
        assert table[name].to_pylist() == [facts[name] for facts in rows.facts]
    assert table["vector"].to_pylist() == rows.vectors.tolist()


@pytest.mark.parametrize(
    ("portfolio", "name"),
    [
        ("enhanced", "outcomes-enhanced"),
        ("0", "outcomes-0"),
        ("a" * 54, f"outcomes-{'a' * 54}"),
        ("a" * 55, "outcomes.8d390b429fdc5982c7284f9a2dc2b925"),
        ("a-", "outcomes.227611a6ec0e8aa864d01b6ba8a12b57"),
        ("a_", "outcomes.5ec01dbf64f864a0a3dd8badaa5e3c89"),
    ],
)
def test_the_collection_is_called_as_the_portfolio_where_chroma_allows_it(portfolio, name):
    assert collection_of(portfolio) == name


@given(st.lists(st.from_regex(PORTFOLIO, fullmatch=True), min_size=2, max_size=20, unique=True))
def test_every_portfolio_has_a_collection_of_its_own_that_chroma_takes(portfolios):
    names = [collection_of(check_portfolio_name(portfolio)) for portfolio in portfolios]
    assert len(set(names)) == len(portfolios)
    assert all(re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,61}[a-zA-Z0-9]", name) for name in names)


@pytest.mark.slow
def test_outcomes_are_found_under_the_new_name_of_their_symbol(tmp_path):
    pytest.importorskip("chromadb_rust_bindings")
    known = remembered(tmp_path / "world", 120)
    feeder = Feeder(str(tmp_path / "chroma"), known.rows, name="outcomes-enhanced", every_s=0.05)
    with pytest.raises(ChromaUnavailable, match="not open yet: it is being opened; try again in 3 s"):
        feeder.index()
    nothing = Feeder(str(tmp_path / "chroma"), SettledRows(), name="outcomes-enhanced")
    assert nothing.status()["reason"] == "no outcome is settled yet"
    feeder.start()
    wait_for(lambda: feeder.status()["behind"] == 0, "all outcomes are in Chroma")
    known.follower.decider.rename("ETH", "venue:ETH")
    feeder.close(60.0)
    state = feeder.status()
    assert (state["state"], state["rebuilt"], state["behind"]) == ("closed", "a symbol has another name", 0)
    place = str(tmp_path / "chroma")
    query = SimilarQuery(text="fear", as_of_us=10**15, fits=OutcomeFilter(symbol="venue:ETH"), k=100)
    index = VectorIndex.open(
        place, known.rows, dimensions=SLOTS, name="outcomes-enhanced", store=known.rows.origin()
    )
    with closing(index):
        assert len(find_similar(known.rows, index, query)["hits"]) > 10
        assert index.status().rebuilt == ""


@pytest.mark.slow
def test_a_full_disk_under_chroma_is_told_and_changes_no_decision(tmp_path):
    pytest.importorskip("chromadb_rust_bindings")
    undisturbed = remembered(tmp_path / "undisturbed", 240)
    batch, world, rows = undisturbed.batch, World(tmp_path / "world"), SettledRows()
    with tiny_disk(tmp_path / "disk", 64) as disk:
        feeder = Feeder(str(disk / "chroma"), rows, name="outcomes-enhanced", every_s=0.02)

        async def follow():
            follower = await world.begin(terms())
            for start in (0, 120):
                world.post(batch.take(np.arange(start, start + 120)))
                await live(follower)
                rows.follow(follower)
                if not start:
                    feeder.start()
                    wait_for(lambda: "Chroma's" in feeder.status()["reason"], "Chroma has failed")
            return follower

        follower = asyncio.run(follow())
        state = feeder.status()
        feeder.close(60.0)

    verdicts = [each.past.verdict.values for each in (follower, undisturbed.follower)]
    assert verdicts[0].tolist() == verdicts[1].tolist()
    assert (state["state"], state["count"]) == ("unavailable", 0)
    assert state["behind"] == undisturbed.rows.count()
    assert re.search(r"; 0\.\d MB are left on its disk$", state["reason"])
