"""Which figures of a benchmark count, and when it fails."""

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.figures import Figure


def ratio(value: float) -> Figure:
    return Figure("http", "ours / theirs", value, "x", target=1.0)


def measured(*values: float) -> tuple[float, int]:
    """The value that counts where the runs measure these, and how many runs there were."""
    left = list(values)
    (figure,) = benchmarks.measured(lambda: [ratio(left.pop(0))]) or []
    return figure.value, len(values) - len(left)


def test_figure_that_reaches_its_target_is_measured_once():
    assert measured(1.1, 9.0, 9.0) == (1.1, 1)


def test_figure_that_misses_its_target_twice_alike_is_missed():
    assert measured(0.9, 0.8, 9.0) == (pytest.approx(0.85), 2)


def test_noise_is_measured_a_third_time_and_the_median_counts():
    assert measured(0.5, 1.2, 1.1) == (1.1, 3)


def test_benchmark_that_cannot_be_run_has_no_figures():
    assert benchmarks.measured(lambda: None) is None


@pytest.mark.parametrize(("value", "status"), [(1.0, 0), (0.5, 1)])
def test_missed_figure_ends_the_benchmarks_with_1(monkeypatch, capsys, value, status):
    monkeypatch.setattr(benchmarks, "_run", lambda _name: [ratio(value)])
    assert benchmarks.main(["http"]) == status
    assert ("not reached: http: ours / theirs" in capsys.readouterr().out) == bool(status)
