"""From a brief to a prompt."""

import hashlib
import math
from importlib import resources

import pytest

from raysignal.agents.llm.prompt_context import Precedent
from raysignal.agents.llm.prompting import (
    FIELDS_LIMIT,
    PRECEDENTS_LIMIT,
    TEXT_LIMIT,
    clean,
    data_in,
    load_prompt,
    read_prompt,
)
from raysignal.agents.verdicts import Verdict
from raysignal.engine.core.errors import InvalidField, UnreadableInput
from tests.support.advising import BRIEF, context

PROMPT = load_prompt()


def test_the_same_brief_gives_the_same_bytes_in_whatever_order_its_fields_came() -> None:
    numbers = dict(reversed(BRIEF.numbers.items()))
    assert PROMPT.render(context(numbers=numbers)) == PROMPT.render(BRIEF)


def test_a_prompt_names_its_version_and_the_hash_of_its_file() -> None:
    content = (resources.files("raysignal.agents.llm") / "prompts" / "override_v1.md").read_bytes()
    prompt = PROMPT.render(BRIEF)
    assert prompt.version == "override/1"
    assert prompt.hash == hashlib.sha256(content).hexdigest()


def test_the_question_shows_features_statistics_and_precedents_as_data() -> None:
    data = data_in(PROMPT.render(BRIEF).user)
    assert data["signal"] == {"action": "buy", "symbol": "BTCUSDT", "weekday": "Monday", "hour_utc": 0}
    assert data["numbers"] == {"rsi": 71.25, "volume": 1_234.5}
    assert data["categories"] == {"regime": "trending"}
    assert data["statistics"] == {"n": 61, "p_right": 0.44}
    assert data["precedents"]["E1"] == {
        "action": "buy", "right": False, "net_bps": {"approve": -12.0, "flip": 2.0, "hold": 0.0},
        "age_hours": 1.0, "distance": 0.2,
    }  # fmt: skip


def test_no_id_of_the_feed_reaches_the_prompt_and_labels_lead_back_to_ids() -> None:
    prompt = PROMPT.render(BRIEF)
    assert prompt.labels == {"E1": "sig-a", "E2": "sig-b", "E3": "sig-c"}
    assert "sig-" not in prompt.user + prompt.system


def test_neither_the_price_nor_the_date_is_told_so_that_the_past_is_not_recognised() -> None:
    prompt = PROMPT.render(context(price=96_123.5))
    assert "96123" not in prompt.user
    assert "2025" not in prompt.user


def test_what_is_allowed_stands_outside_of_the_data() -> None:
    prompt = PROMPT.render(context(allowed=(Verdict.FLIP, Verdict.APPROVE)))
    assert prompt.allowed == ("approve", "flip")
    assert prompt.user.startswith("Allowed verdicts: approve, flip.\nLabels of the precedents: E1, E2, E3.\n")


def test_a_number_that_is_missing_is_null() -> None:
    data = data_in(PROMPT.render(context(numbers={"a": math.nan, "b": math.inf, "c": -0.0})).user)
    assert data["numbers"] == {"a": None, "b": None, "c": 0.0}


def test_no_more_precedents_are_labelled_than_are_shown() -> None:
    many = tuple(
        Precedent(f"p{n}", 1, True, (1.0, -1.0, 0.0), 1.0, float(n)) for n in range(PRECEDENTS_LIMIT + 5)
    )
    prompt = PROMPT.render(context(precedents=many))
    assert len(prompt.labels) == PRECEDENTS_LIMIT
    assert set(data_in(prompt.user)["precedents"]) == set(prompt.labels)


def test_a_feed_with_too_many_fields_is_cut_and_says_so() -> None:
    numbers = {f"n{n:03}": 1.0 for n in range(FIELDS_LIMIT + 3)} | {"fields left out": 0.0}
    shown = data_in(PROMPT.render(context(numbers=numbers)).user)["numbers"]
    assert shown["fields left out (2)"] == 4
    assert len(shown) == FIELDS_LIMIT + 1


def test_names_that_cleaning_makes_the_same_do_not_hide_each_other() -> None:
    numbers = {"x": 1.0, "x (2)": 2.0, "x\u200b": 3.0}
    assert data_in(PROMPT.render(context(numbers=numbers)).user)["numbers"] == {
        "x": 1,
        "x (2)": 2,
        "x (3)": 3,
    }


def test_a_long_text_is_capped_and_marked() -> None:
    note = data_in(PROMPT.render(context(texts={"note": "y" * 100_000})).user)["texts"]["note"]
    assert len(note) == TEXT_LIMIT
    assert note.endswith(" [cut]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("  two\r\n\tlines ", "two lines"),
        ("a\u202eb\u2066c\u200bd\ufefff", "abcdf"),
        ("\u0000\u001b[31mred", "[31mred"),
        ("\uff46\uff55\uff4c\uff4c width \uff1c", "full width <"),
        ("tag\U000e0041\U000e0042", "tag"),
        ("hangul\u3164filler", "hangulfiller"),
        ("e\u200d\u0301", "é"),
        ("private \ue000 unassigned \U000e0fff", "private unassigned"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("für 日本語", "für 日本語"),
    ],
)
def test_cleaning_leaves_one_line_of_what_can_be_seen(text: str, shown: str) -> None:
    assert clean(text, 60) == shown


@pytest.mark.parametrize("name", ["nothing", "../briefs", "override_v1.md"])
def test_a_prompt_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(InvalidField):
        load_prompt(name)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"version: x\n\n## System\n\nsay\n",
        b"version: x\n\n## System\n\nsay\n\n## User\n\n$allowed $labels\n<data>\n$data\n</data> $more\n",
        b"version: x\n\n## System\n\nsay\n\n## User\n\n$allowed $labels $data\n",
    ],
)
def test_a_file_that_is_no_prompt_is_refused(content: bytes) -> None:
    with pytest.raises(UnreadableInput):
        read_prompt(content)
