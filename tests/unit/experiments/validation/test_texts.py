"""What sits in free texts alone, in small: a few seeds. `make validate` is the whole."""

import numpy as np
import pytest

from raysignal.experiments.comparison.paired import Judgment
from raysignal.experiments.validation import texts
from raysignal.experiments.validation.texts import PHRASES, TextTrial, text_stream


@pytest.fixture(scope="module")
def tried():
    planned = [TextTrial(policy, 1, effect) for policy in (0, 1) for effect in (True, False)]
    return [(one, texts.run_try(one)) for one in planned]


def test_a_pattern_in_texts_alone_is_found_by_who_reads_them(tried):
    for one, (with_texts, without) in tried:
        assert (with_texts.judgment is Judgment.HELPS) == one.effect
        assert without.judgment is Judgment.NO_DIFFERENCE


def test_the_gate_without_texts_does_not_see_which_texts_there_are():
    with_effect, null = (texts.run_try(TextTrial(0, 2, effect), 200)[1] for effect in (True, False))

    assert with_effect.parts == null.parts
    assert with_effect.overridden == null.overridden


def test_every_summary_has_one_phrase_and_no_kind_says_the_same_of_all_signals():
    batch = text_stream(3, 400, effect=True)
    summaries = batch.texts["summary"].to_list()
    has = np.array([[any(phrase in text for phrase in kind) for kind in PHRASES] for text in summaries])

    assert (has.sum(axis=1) == 1).all()
    assert 0.35 < has[:, 0].mean() < 0.65
    assert all(100 <= len(text) <= 300 for text in summaries)


def test_texts_that_persist_change_once_in_a_dozen_rows():
    summaries = text_stream(3, 120, effect=False, persistent=True).texts["summary"].to_list()

    assert len(set(summaries)) == 10
    assert len(set(summaries[:12])) == 1


def test_every_kind_of_stream_and_every_criterion_is_shown(tried):
    assert len(texts.table(tried)) == 1 + 2 * 4
    assert [one.holds for one in texts.criteria(tried)] == [True] * 4
