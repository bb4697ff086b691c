"""The report: whole, safe to open, the same each time, and fine where there is little to show."""

import io
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from raysignal.agents.labels import CategoryColumn
from raysignal.engine.core.policy import Policy
from raysignal.experiments.charts import label, svg, visible
from raysignal.experiments.comparison.arm_trades import trade_summaries, trades_of_arms
from raysignal.experiments.comparison.charts import draw_equity, draw_legend
from raysignal.experiments.comparison.evaluation import evaluate
from raysignal.experiments.comparison.examples import Example
from raysignal.experiments.comparison.patterns import ArmThere, Pattern
from raysignal.experiments.comparison.report import about, html_report, make_report, png_report
from raysignal.experiments.comparison.sentences import headline, scoring, sentence
from raysignal.experiments.report import title_of
from tests.support.experiment_streams import a_stream, an_arm, some_arms

MANIFEST = {
    "run_id": "20250224T000000Z-3f9c2a1b",
    "settings": {"horizon": 24},
    "data": {"sample.csv": "ab12"},
}
HOSTILE = "<script>alert('x')</script>&$\\frac{1}{0}$\x00\u202e_é"


class Page(HTMLParser):
    """What a browser would see: tags, attributes, and text outside of style."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def an_experiment(n=300, **changes):
    stream = replace(a_stream(n), **changes)
    arms = some_arms(stream)
    return stream, arms, evaluate(stream, arms)


def test_a_page_says_what_was_found_where_it_comes_from_and_needs_nothing_else():
    stream, arms, evaluation = an_experiment()
    page = Page(html_report(stream, arms, evaluation, MANIFEST))
    text = page.text
    assert headline(evaluation) in text
    assert all(sentence(evaluation, one) in text for one in evaluation.assessments)
    assert about(stream, evaluation) in text
    assert "Experiment 20250224T000000Z-3f9c2a1b" in text
    assert "data.sample.csv ab12" in text
    assert "0.0412" in text  # what the model cost
    assert "model timeout" in text

    assert not {"script", "link", "img", "iframe", "object", "embed", "base", "form"} & set(page.tags)
    names = {name for name, _ in page.attributes}
    assert not {"src", "srcset", "action"} & names
    assert not [name for name in names if name.startswith("on")]
    assert all(value.startswith("#") for name, value in page.attributes if name in {"href", "xlink:href"})
    assert page.tags.count("svg") == 6
    assert "judged signals; by chance, dotted" in text


@pytest.mark.slow
def test_nothing_of_the_users_data_becomes_markup():
    stream, arms, _ = an_experiment(120)
    stream = replace(
        stream, symbols=(HOSTILE, "ETH"), sources=(HOSTILE, "b"), regime=CategoryColumn.same(HOSTILE, 120),
        category={HOSTILE: CategoryColumn.same(HOSTILE, 120)}, horizon=HOSTILE,
    )  # fmt: skip
    arms = [
        replace(arm, name=f"{arm.name}{HOSTILE}", reason=CategoryColumn.same(HOSTILE, 120)) for arm in arms
    ]
    evaluation = evaluate(stream, arms)
    report = make_report(stream, arms, evaluation, {"title": HOSTILE, HOSTILE: [HOSTILE]})
    page = Page(report.html)
    assert "script" not in page.tags
    assert "<script>alert('x')</script>" in page.text
    assert Image.open(io.BytesIO(report.png)).width == 1100


def test_an_arm_whose_name_begins_with_a_line_is_in_the_legend():
    arms = [replace(arm, name=f"_{arm.name}") for arm in some_arms(a_stream(60))]
    assert ">_memory</text>" in svg((7.0, 2.0), lambda figure: draw_legend(figure, arms))


def test_the_picture_grows_with_what_there_is_to_say():
    stream, arms, evaluation = an_experiment(60)
    few = Image.open(io.BytesIO(png_report(stream, arms[:2], evaluate(stream, arms[:2]), MANIFEST)))
    many = Image.open(io.BytesIO(png_report(stream, arms, evaluation, MANIFEST)))
    assert few.height < many.height


def test_a_page_explains_the_small_p_value_of_a_control():
    stream, arms, evaluation = an_experiment()
    found = [replace(one, p_less=0.0004) if one.arm == "random" else one for one in evaluation.assessments]
    text = Page(html_report(stream, arms, replace(evaluation, assessments=tuple(found)), MANIFEST)).text
    assert "Careful: random, a control without knowledge" in text
    assert "< 0.001*" in text
    assert "* random looks worse than chance (p < 0.001), though its overrides were drawn by lot" in text


def test_a_page_says_how_verdicts_are_scored_and_at_which_fee_arms_break_even():
    stream, arms, evaluation = an_experiment(policy=Policy(fee_bps=10.0))
    text = Page(html_report(stream, arms, evaluation, MANIFEST)).text
    assert scoring(evaluation) in text
    assert "a HOLD of a SELL is worth 0 always" in text
    assert "fee to break even, bp" in text


def test_a_ruined_account_is_called_so_in_the_legend_and_the_tables():
    stream, arms, _ = an_experiment(60)
    ruined = {"next": {"initial_cash": 10_000.0, "total_return": -2.0, "max_drawdown": None}}
    arms = [replace(arm, performance=ruined) if arm.kind == "memory" else arm for arm in arms]
    assert ">memory (ruined)</text>" in svg((7.0, 2.0), lambda figure: draw_legend(figure, arms))
    page = Page(html_report(stream, arms, evaluate(stream, arms), MANIFEST))
    assert "ruined" in page.texts


@pytest.mark.slow
def test_the_same_run_makes_the_same_report():
    stream, arms, evaluation = an_experiment(100)
    assert make_report(stream, arms, evaluation, MANIFEST) == make_report(stream, arms, evaluation, MANIFEST)


def test_a_blind_experiment_has_a_banner_and_no_arm_that_is_called_good():
    stream = a_stream(300)
    arms = [*some_arms(stream)[:3], an_arm(stream, "canary", "control")]
    evaluation = evaluate(stream, arms)
    assert evaluation.blind
    page = Page(html_report(stream, arms, evaluation, MANIFEST))
    assert "This experiment is blind." in page.text
    assert ("class", "good") not in page.attributes
    assert "not to be relied on" in page.text


def test_without_a_canary_the_page_says_that_it_is_not_known():
    stream = a_stream(100)
    arms = some_arms(stream)[:2]
    text = Page(html_report(stream, arms, evaluate(stream, arms), MANIFEST)).text
    assert "No control that looks ahead tells" in text


@pytest.mark.slow
@pytest.mark.parametrize("n", [0, 1, 26])
def test_little_to_show_is_still_a_report(n):
    stream = a_stream(n)
    arms = some_arms(stream) if n else [an_arm(a_stream(5), "baseline", "baseline")]
    if not n:
        empty = a_stream(0)
        arms = [
            replace(
                arms[0], verdict=arms[0].verdict[:0], by=arms[0].by[:0], reason=[], p_right=arms[0].p_right[:0],
                equity={}, signal_return={}, performance={},
            )
        ]  # fmt: skip
        stream = empty
    evaluation = evaluate(stream, arms)
    report = make_report(stream, arms, evaluation, {})
    assert "Experiment" in Page(report.html).text
    assert report.png.startswith(b"\x89PNG")


def test_an_experiment_without_portfolios_is_still_a_report():
    stream, arms, _ = an_experiment(60)
    arms = [replace(arm, equity={}, signal_return={}, performance={}) for arm in arms]
    evaluation = evaluate(stream, arms)
    page = Page(html_report(stream, arms, evaluation, MANIFEST))
    assert page.tags.count("svg") == 3
    assert "The portfolios" not in page.text
    assert png_report(stream, arms, evaluation, MANIFEST).startswith(b"\x89PNG")


def test_long_lines_are_drawn_with_few_points_and_all_their_extremes():
    values = np.cumsum(np.random.default_rng(1).standard_normal(100_000))
    rows = visible(values)
    assert len(rows) <= 1_002
    assert {0, 99_999, int(values.argmin()), int(values.argmax())} <= set(rows.tolist())
    assert (np.diff(rows) > 0).all()
    assert visible(values[:900]).tolist() == list(range(900))


def test_a_title_is_taken_from_the_manifest():
    assert title_of({"title": "Gate on sample.csv", "run_id": "x"}) == "Gate on sample.csv"
    assert title_of({"run_id": "x"}) == "Experiment x"
    assert title_of({}) == "Experiment"


def test_a_label_is_one_short_line():
    assert label("a\nb\x00") == "a?b?"
    assert len(label("x" * 100)) == 28


@pytest.mark.parametrize("fall", [0.9999, 0.998, 0.99])
def test_equity_is_labelled_in_plain_numbers_however_far_it_falls(fall):
    stream = a_stream(1_000)
    arms = [replace(arm, equity={"next": 10_000.0 * fall ** np.arange(1_000)}) for arm in some_arms(stream)]
    chart = svg((7.0, 3.0), lambda figure: draw_equity(figure.subplots(), stream, arms, "next"))
    assert ">10,000</text>" in chart
    assert "mathdefault" not in chart


def test_a_page_tells_patterns_with_what_was_done_there_and_decisions_with_what_was_known():
    stream, arms, evaluation = an_experiment()
    pattern = Pattern(
        "category.mood", HOSTILE, 120, 0.3, 0.2, 0.4, 0.5, "bad", {"memory": ArmThere(60, 12.5)}
    )
    example = Example(
        arm="memory", choice="gained", signal_id="a", symbol="BTC", timestamp_us=1_740_355_200_000_000, price=95_000.0,
        action=-1, decision=1, labels=(("mood", HOSTILE),), verdict="flip", by="gate", reason="evidence_against",
        precedents=300, independent=83.6, p_right=0.233, p_right_without=0.47, move_bps=460.0, followed_bps=0.0,
        decided_bps=435.9,
    )  # fmt: skip
    page = Page(html_report(stream, arms, evaluation, MANIFEST, [pattern], [example]))
    assert "script" not in page.tags
    assert "mood is <script>" in page.text
    assert "memory overruled" in page.text
    assert "50% +12.5" in page.text
    for told in (example.knew, example.did, example.came(evaluation.horizon)):
        assert told in page.text


def test_a_page_tells_the_trades_of_every_arm():
    stream, arms, evaluation = an_experiment()
    summaries = trade_summaries(trades_of_arms(stream, arms))
    page = Page(html_report(stream, arms, evaluation, MANIFEST, trades=summaries))
    assert "The trades" in page.text
    assert "longest losing streak" in page.text
    assert "return of a trade, %" in page.text
    for arm in arms:
        assert f"{arm.name}: the last, the best and the worst" in page.text


def test_a_page_without_patterns_examples_and_trades_has_no_empty_sections():
    text = Page(html_report(*an_experiment(), MANIFEST)).text
    assert "The trades" not in text
    assert "Patterns, and what was done there" not in text
    assert "Decisions, explained" not in text
