"""A secret beside a signal goes nowhere: not into the batch, an error, an answer, a line of the log or a prompt."""

import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from raysignal.agents.llm.prompting import load_prompt
from raysignal.engine.core.errors import InvalidField, RowErrors
from raysignal.engine.core.secrets import HIDDEN, is_secret_name
from raysignal.engine.intake import Reading, read_batch, read_signal
from tests.support.advising import context
from tests.support.one_replica import replica

SECRET = "hunter2-7f3a"
SIGNAL = {"timestamp": "2025-02-24T00:00:00Z", "signal": 1, "price": 100.0}
NAMES = (
    "database_token", "token.base_token", "my_quote_token",
    "secret", "token", "passphrase", "password", "key", "Secret", " KEY ", "API-Key", "webhook_secret", "authToken",
    "accessToken", "secretKey", "api key", "pass-phrase", "pwd", "pass\u200bword", "\uff41\uff50\uff49_key",
    "strategy.secret", "strategy.Pass Phrase", "a.token.b", "api.key", "a\uff0ekey", "email_token", "license",
    "strategy[secret]", "webhook_passphrase", "hook_secret", "api_token", "access_key", "pass", "auth", "authorization",
    "secret1", "secret_value", "webhookSecretOld", "hookpass", "X-Api-Key",
)  # fmt: skip
READING = Reading()


@pytest.mark.parametrize("name", NAMES)
def test_names_of_secrets_are_known_in_any_case(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "key_level",
        "base_token",
        "quoteToken",
        "pair.quote_token",
        "tokens",
        "token_price",
        "secretary",
        "keys",
        "",
        "a.b",
        "key_level.x",
        "note",
        "token_sale",
        "passed",
        "author",
        "token_volume",
        "keltner",
        "high_pass",
        "support_key",
        "signal",
        "authors[0]",
        "monkey",
    ],
)
def test_other_names_are_features(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_beside_a_single_signal_is_dropped(name: str) -> None:
    body = json.dumps(SIGNAL | {name: SECRET, "mood": "calm"}).encode()
    assert read_signal(body, READING, content_type=None).features == {"mood": "calm"}


def batches(name: str) -> list[tuple[str, bytes]]:
    """One row, in each format, with a secret under that name; the last two are read by the reference."""
    row = SIGNAL | {name: SECRET, "mood": "calm"}
    parquet = io.BytesIO()
    pq.write_table(pa.table({column: [value] for column, value in row.items()}), parquet)
    head, cells = ",".join(row), ",".join(str(value) for value in row.values())
    return [
        ("application/json", json.dumps([row]).encode()),
        ("application/x-ndjson", json.dumps(row).encode()),
        ("text/csv", f"{head}\n{cells}\n".encode()),
        ("application/vnd.apache.parquet", parquet.getvalue()),
        ("application/json", json.dumps(row, indent=1).encode()),
        ("application/x-ndjson", json.dumps(row | {"price": "1e2"}).encode()),
    ]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("format_of", range(6))
def test_a_secret_in_a_batch_is_dropped(name: str, format_of: int) -> None:
    kind, body = batches(name)[format_of]
    intake = read_batch(body, kind, READING)
    assert (len(intake.batch), intake.errors) == (1, [])
    assert dict(intake.batch.signal(0).features) == {"mood": "calm"}
    assert SECRET.encode() not in intake.batch.encode()


def test_a_secret_changes_neither_identity_nor_content() -> None:
    read = [
        read_batch(json.dumps([SIGNAL | more]).encode(), "application/json", READING).batch.encode()
        for more in ({}, {"secret": SECRET}, {"secret": "another", "key": 7})
    ]
    assert read[0] == read[1] == read[2]


@pytest.mark.parametrize(
    "value",
    [json.dumps({"secret": SECRET}), f"buy secret={SECRET}", [f"token: {SECRET}"], ["secret", SECRET],
     {"value": SECRET, "name": "secret"}],
)  # fmt: skip
def test_an_error_shows_a_value_up_to_where_a_secret_may_begin(value: object) -> None:
    error = InvalidField("price", value, "a number")
    assert SECRET not in str(error) + str(error.fields)
    assert HIDDEN in str(error)


def test_what_an_object_names_a_secret_is_dropped() -> None:
    params = [{"name": "secret", "value": SECRET}, {"name": "length", "value": 7}]
    read = read_signal(
        json.dumps(SIGNAL | {"params": params}).encode(), Reading(template="tradingview"), content_type=None
    )
    assert read.features == {"params.1.name": "length", "params.1.value": 7.0}


@pytest.mark.parametrize(
    "error",
    [
        InvalidField("password", SECRET, "nothing"),
        InvalidField("meta", {"a": {"Token": SECRET}}, "a text"),
        InvalidField("meta", [{"secret": SECRET}], "a text", row=3),
        RowErrors([InvalidField("meta", {"key": SECRET}, "a text", row=0)], 1),
    ],
)
def test_an_error_does_not_say_a_secret(error: Exception) -> None:
    assert SECRET not in str(error) + str(getattr(error, "fields", ""))
    assert HIDDEN in str(error)


def test_a_value_that_is_nested_without_end_can_be_named() -> None:
    value: Any = SECRET
    for _ in range(500):
        value = [value]
    assert len(InvalidField("meta", value, "a text").fields["value"]) <= 80


async def test_the_service_returns_and_logs_no_secret(tmp_path: Path) -> None:
    async with replica(tmp_path) as found:
        transport = httpx.ASGITransport(found.front)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            posts: list[tuple[str, Any, int]] = [
                ("/signal", SIGNAL | {"signal_id": "a", "secret": SECRET}, 200),
                ("/signal", SIGNAL | {"price": -1, "key": SECRET}, 422),
                ("/signal", SIGNAL | {"meta": {"token": SECRET}}, 422),
                ("/signal", [SIGNAL | {"token": SECRET}], 400),
                ("/signals", [SIGNAL | {"price": -1, "password": SECRET}], 422),
                ("/signals", [[{"password": SECRET}]], 422),
                (f"/signal?token={SECRET}", SIGNAL, 422),
            ]
            said = ""
            for path, body, status in posts:
                answer = await http.post(path, json=body)
                assert answer.status_code == status, answer.text
                said += answer.text
            said += (await http.put("/portfolios/x", json={"secret": SECRET})).text
        said += json.dumps(found.lines, default=str)
    assert SECRET not in said
    assert not any(SECRET.encode() in content for content in stored(tmp_path))


def stored(folder: Path) -> list[bytes]:
    """Every file below a folder."""
    contents = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert contents
    return contents


def test_a_prompt_holds_no_secret() -> None:
    texts = {"password": SECRET, "headline": "calm"}
    told = context(
        texts=texts, categories={"token": SECRET}, numbers={"key": 987_654.0, "rsi": np.float64(1)}
    )
    prompt = load_prompt().render(told)
    assert SECRET not in prompt.user
    assert "987" not in prompt.user
    assert "calm" in prompt.user
