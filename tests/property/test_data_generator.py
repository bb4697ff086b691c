from dataclasses import replace

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from raysignal.data.generator import GeneratorSpec, generate, generate_with_truth, write_csv
from raysignal.data.texts import FREE_TEXT
from tests.support.effort import examples

specs = st.builds(
    GeneratorSpec,
    rows=st.integers(3, 120),
    seed=st.integers(0, 2**63 - 1),
    bar=st.sampled_from(["1m", "10m", "1h", "1d"]),
    gaps=st.floats(0, 0.5),
    edge=st.one_of(st.floats(0, 1), st.tuples(st.floats(0, 1), st.floats(0, 1))),
    regime_effect=st.booleans(),
    horizon_bars=st.integers(1, 200),
    hold_share=st.floats(0, 1),
    texts=st.sampled_from(["long", "short", "none"]),
    symbols=st.sampled_from([("BTC",), ("BTC", "ETH"), ("a", "b", "c")]),
)


@settings(max_examples=examples(25))
@given(specs)
def test_every_spec_makes_a_valid_file(spec):
    frame, truth = generate_with_truth(spec)
    assert len(frame) == spec.rows == len(truth.regime)
    assert (frame["close"] > 0).all()
    assert np.isfinite(frame["mvrv_btc_momentum"]).all()
    assert frame["Signal"].isin([-1, 0, 1]).all()
    assert not (truth.right & ~truth.judged).any()
    assert not frame.assign(symbol=frame.get("symbol", "")).duplicated(["datetime", "symbol"]).any()


@settings(max_examples=examples(15))
@given(specs)
def test_the_same_spec_gives_the_same_frame_and_texts_change_no_number(spec):
    frame = generate(spec)
    pd.testing.assert_frame_equal(frame, generate(spec), check_exact=True)
    without = generate(replace(spec, texts="none"))
    lacking_text = list(FREE_TEXT)
    pd.testing.assert_frame_equal(frame.drop(columns=lacking_text), without.drop(columns=lacking_text))


@settings(max_examples=examples(10))
@given(specs)
def test_the_same_spec_writes_the_same_bytes(tmp_path_factory, spec):
    folder = tmp_path_factory.mktemp("files")
    write_csv(spec, folder / "one.csv")
    write_csv(spec, folder / "other.csv")
    assert (folder / "one.csv").read_bytes() == (folder / "other.csv").read_bytes()


@settings(max_examples=examples(15))
@given(specs, st.sampled_from([0.0, 1.0]))
def test_an_edge_of_one_is_always_right_and_of_zero_never(spec, edge):
    _, truth = generate_with_truth(replace(spec, regime_effect=True, edge=edge, texts="none"))
    assert (truth.right[truth.judged] == (edge == 1.0)).all()
