"""What Chroma is fed with, and how much of the processor it is given."""

import io
from contextlib import closing

import pyarrow.parquet as pq
import pytest

from raysignal.agents.override.outcome_vectors import EVERY_S, Feeder, may_put, outcomes_parquet
from raysignal.agents.override.similar import OutcomeFilter, SimilarQuery, find_similar
from raysignal.agents.override.situation_vectors import SLOTS
from raysignal.agents.vectors import VectorIndex
from raysignal.engine.core.errors import ChromaUnavailable
from tests.cluster.waiting import wait_for
from tests.support.similar_queries import remembered


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


def test_outcomes_are_found_under_the_new_name_of_their_symbol(tmp_path):
    pytest.importorskip("chromadb_rust_bindings")
    known = remembered(tmp_path / "world", 120)
    feeder = Feeder(str(tmp_path / "chroma"), known.rows, name="outcomes-enhanced", every_s=0.05)
    with pytest.raises(ChromaUnavailable, match="not open yet: no outcome is settled yet; try again in 3 s"):
        feeder.index()
    feeder.start()
    wait_for(lambda: feeder.status()["behind"] == 0, "all outcomes are in Chroma")
    known.follower.decider.rename("ETH", "venue:ETH")
    feeder.close(60.0)
    state = feeder.status()
    assert (state["state"], state["rebuilt"], state["behind"]) == ("closed", "a symbol has another name", 0)
    place = str(tmp_path / "chroma")
    query = SimilarQuery(text="fear", as_of_us=10**15, fits=OutcomeFilter(symbol="venue:ETH"), k=100)
    index = VectorIndex.open(place, known.rows, dimensions=SLOTS, name="outcomes-enhanced")
    with closing(index):
        assert len(find_similar(known.rows, index, query)["hits"]) > 10
        assert index.status().rebuilt == ""
