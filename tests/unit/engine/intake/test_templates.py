"""Bodies that senders of alerts really send: taken with the right values, or refused with the sentence."""

import json
from collections.abc import Callable

import pytest

from raysignal.engine.core.columns import SignalBatch
from raysignal.engine.core.errors import InputError, InvalidField
from raysignal.engine.core.instants import parse_instant
from raysignal.engine.core.signals import Action, Signal
from raysignal.engine.intake import Reading, read_batch, read_signal
from raysignal.engine.intake.templates import check_template
from tests.support.alerts import ALERTS, CLOSE_TEXT, NOON, SYMBOLS, TEXT, TOKEN, Alert

BY_NAME = {alert.name: alert for alert in ALERTS}
EXECUTED = {action.name for action in Action}


def reading_of(alert: Alert) -> Reading:
    return Reading(template=alert.template, symbols=SYMBOLS)


def read(alert: Alert) -> Signal:
    return read_signal(alert.body.encode(), reading_of(alert), content_type=alert.content_type)


def test_there_are_as_many_bodies_as_were_asked_for() -> None:
    assert len(BY_NAME) == len(ALERTS) >= 56


@pytest.mark.parametrize("name", BY_NAME)
def test_an_alert_says_what_it_means_or_is_refused_with_the_sentence(name: str) -> None:
    alert = BY_NAME[name]
    if alert.action not in EXECUTED:
        with pytest.raises(InputError) as caught:
            read(alert)
        assert (alert.refusal or CLOSE_TEXT) in str(caught.value)
        assert TOKEN not in str(caught.value)
        return
    said = read(alert)
    assert (said.action.name, said.price, said.symbol) == (alert.action, alert.price, alert.symbol)
    assert said.timestamp_us == parse_instant(alert.stamp)
    assert dict(alert.features).items() <= said.features.items()
    assert TOKEN not in repr(said)
    assert not {"code", "pointer", "bot_uuid", "license", "keys", "bot"} & said.features.keys()


@pytest.mark.parametrize("name", BY_NAME)
def test_an_alert_is_the_same_signal_in_a_batch(name: str) -> None:
    alert = BY_NAME[name]
    single, batch = outcome(lambda: SignalBatch.of_signals([read(alert)])), outcome(lambda: in_batch(alert))
    assert batch == single or (isinstance(single, str) and isinstance(batch, str))


def in_batch(alert: Alert) -> SignalBatch:
    result = read_batch(alert.body.encode(), alert.content_type, reading_of(alert))
    if result.refused:
        raise result.errors[0]
    return result.batch


def outcome(read: Callable[[], SignalBatch]) -> object:
    """Identity and content of the one signal, or the sentence without its row."""
    try:
        batch = read()
    except InputError as error:
        return str(error).removeprefix("row 0: ")
    return batch.key.tolist(), batch.content.tolist()


def test_a_name_that_a_user_gives_a_field_goes_before_the_template() -> None:
    body = b'{"when": "2026-11-30T12:00:00Z", "px": 5, "close": 6, "action": "buy", "id": "a"}'
    reading = Reading(names={"timestamp": "when", "price": "px", "signal_id": "id"})
    said = read_signal(body, reading, content_type=None)
    assert (said.price, said.signal_id, said.timestamp_us) == (5.0, "a", parse_instant(NOON))
    (row,) = read_batch(body, "application/x-ndjson", reading).batch.signal_id.to_list()
    assert row == "a"


def test_symbols_by_the_table_are_one_symbol_in_a_batch() -> None:
    rows = b"timestamp,price,signal,symbol\n2025-01-01,1,1,BTC\n2025-01-02,1,1,BINANCE:BTCUSDT.P\n"
    batch = read_batch(rows, "text/csv", Reading(symbols=SYMBOLS)).batch
    assert batch.symbols == ("BTC",)
    assert batch.symbol.tolist() == [0, 0]


def test_objects_that_are_nested_too_deeply_or_say_a_thing_twice_are_refused() -> None:
    reading = Reading(template="tradingview")
    for body in (
        b'{"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}, "close": 1}',
        b'{"strategy": {"order": {"action": "buy", "action": "sell"}}, "close": 1}',
        b'{"strategy.order.action": "buy", "strategy": {"order": {"action": "sell"}}}',
    ):
        with pytest.raises(InvalidField, match=r"nested at most|each key once|each name once"):
            read_signal(body, reading, content_type=None)


def test_a_template_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(InvalidField, match="tradingview, traderspost, 3commas"):
        check_template("metatrader")


def test_text_of_another_form_names_the_form() -> None:
    with pytest.raises(InputError, match=r"expected <keys>\(<symbol>\)"):
        read_signal(b"buy it", Reading(template="alertatron"), content_type=TEXT)


@pytest.mark.parametrize(
    "held", [["{{close}}"], ["a", ["{{close}}"]], [{"b": "{{close}}"}], {"b": ["{{close}}"]}]
)
def test_a_placeholder_in_a_list_is_named(held: object) -> None:
    body = {
        "time": "2025-02-24T00:00:00Z",
        "close": 1,
        "strategy": {"order": {"action": "buy"}},
        "tags": held,
    }
    with pytest.raises(InvalidField, match=r"the sender did not replace \{\{close\}\}"):
        read_signal(json.dumps(body).encode(), Reading(), content_type=None)


@pytest.mark.parametrize("column", ["symbol", "source", "signal_id", "mood", "timestamp", "price", "signal"])
def test_a_placeholder_in_any_column_of_a_batch_is_named(column: str) -> None:
    good = {
        "timestamp": "2025-01-01", "price": "1", "signal": "1", "symbol": "BTC", "source": "a", "signal_id": "i",
        "mood": "calm",
    }  # fmt: skip
    rows = [good | {"signal_id": "j"}, good | {column: "{{plot_0}}"}]
    body = "\n".join([",".join(good), *(",".join(row.values()) for row in rows)]).encode()
    result = read_batch(body, "text/csv", Reading())
    assert (len(result.batch), result.refused) == (1, 1)
    assert "the sender did not replace {{plot_0}}" in str(result.errors[0])
