import functools
import hashlib

import numpy as np
import pytest

from raysignal.data.draws import Draws


def test_the_raw_words_of_a_stream_are_pinned():
    words = Draws(2025, 0, 1).words(1_000)
    assert hashlib.sha256(words.astype("<u8").tobytes()).hexdigest()[:16] == "0ae8222caf2fc20c"


def test_fat_tailed_draws_are_pinned_to_the_last_bit():
    values = Draws(2025, 0, 1).fat_tailed(1_000, 8.0)
    assert hashlib.sha256(values.astype("<f8").tobytes()).hexdigest()[:16] == "1ae248324c797751"


@functools.cache
def drawn(n, degrees):
    return Draws(3, 0).fat_tailed(n, 1e9, degrees)


def test_streams_with_different_paths_differ():
    assert not np.isin(Draws(1, 0, 1).words(100), Draws(1, 0, 2).words(100)).any()


@pytest.mark.parametrize(
    # Quantiles of Student's t with 4 degrees of freedom, from printed tables.
    ("probability", "quantile"), [(0.9, 1.533), (0.95, 2.132), (0.975, 2.776), (0.99, 3.747), (0.999, 7.173)],
)  # fmt: skip
def test_fat_tailed_draws_have_the_quantiles_of_students_t(probability, quantile):
    values = drawn(1_000_000, 4.0) * np.sqrt(2.0)
    share = float((values <= quantile).mean())
    assert abs(share - probability) < 5 * (probability * (1 - probability) / 1_000_000) ** 0.5 + 1e-4


@pytest.mark.parametrize(
    # Of Student's t with 2.5 degrees of freedom, by scipy.
    ("probability", "quantile"), [(0.9, 1.7303), (0.975, 3.5747), (0.99, 5.3531), (0.999, 13.8222)],
)  # fmt: skip
def test_fatter_tails_have_the_quantiles_of_students_t(probability, quantile):
    values = drawn(400_000, 2.5) * np.sqrt(5.0)
    for share in (float((values <= quantile).mean()), float((values >= -quantile).mean())):
        assert abs(share - probability) < 5 * (probability * (1 - probability) / 400_000) ** 0.5 + 1e-4


def test_fatter_tails_are_pinned_to_the_last_bit():
    values = Draws(2025, 0, 1).fat_tailed(1_000, 20.0, 2.5)
    assert hashlib.sha256(values.astype("<f8").tobytes()).hexdigest()[:16] == "688c6d71c96885c0"


def test_fat_tailed_draws_are_cut():
    values = Draws(3, 0).fat_tailed(100_000, 2.0)
    assert values.min() == -2.0
    assert values.max() == 2.0


def test_whole_numbers_below_a_limit_are_all_reached_and_even():
    counts = np.bincount(Draws(4, 0).below(7, 70_000))
    assert len(counts) == 7
    assert (abs(counts - 10_000) < 500).all()
