"""What was refused can be seen: by reason, by source, with a sample that holds no secret."""

import json
from pathlib import Path
from typing import Any

import pytest

from raysignal.engine.intake.samples import MOST, sample_of
from raysignal.engine.journal.stores import open_stores
from raysignal.engine.portfolio.refusal_log import KEPT, OF_STRANGERS, RefusalLog, StoredRefusals
from raysignal.runtime.hooks import Hook, HookStore, hashed
from tests.support.one_replica import replica, speaking_to

SIGNAL = {"timestamp": "2025-02-24T00:00:00Z", "signal": 1, "price": 100.0}
SECRET = "hunter2hunter2"


async def test_refusals_of_every_entrance_are_listed_with_their_sentences_and_counted(tmp_path: Path) -> None:
    blobs = open_stores((tmp_path / "store").as_uri()).blobs
    HookStore(blobs).add(
        Hook(
            name="tv",
            token_hash=hashed("token"),
            made_us=1,
            secret_field="passphrase",
            secret_hash=hashed("the right one"),
            source="desk",
        )
    )
    async with replica(tmp_path) as found, speaking_to(found) as http:
        await http.post("/signal", json=SIGNAL | {"source": "model"})
        late = {**SIGNAL, "timestamp": "2025-02-23T00:00:00Z", "source": "model", "secret": SECRET}
        sent = await http.post("/signal", json=late)
        await http.post("/signal", content=b'{"price": {{close}}, "token": "' + SECRET.encode() + b'"}')
        await http.post("/hooks/token", json={**SIGNAL, "passphrase": SECRET})
        await http.post("/hooks/token", json={**SIGNAL, "passphrase": "the right one"})
        await http.post("/hooks/other", json=SIGNAL)
        rows = [{**SIGNAL, "signal": word} for word in ("moon", "mars")]
        await http.post("/signals", json=rows)
        await http.post("/signals", params={"on_error": "skip"}, json=rows)
        await http.post("/portfolios/x/symbols", json={})
        answer = (await http.get("/refusals")).json()
        of_source = (await http.get("/refusals", params={"source": "model"})).json()["refusals"]
        of_hook = (await http.get("/refusals", params={"source": "tv", "limit": 1})).json()["refusals"]
        of_reason = (await http.get("/refusals", params={"reason": "LateSignal"})).json()["refusals"]
        metrics = (await http.get("/metrics")).text
    assert answer["counts"] == {
        "InvalidField": 4, "LateSignal": 1, "NotFound": 1, "StaleSignal": 1, "Unauthorized": 1, "UnreadableInput": 1,
    }  # fmt: skip
    assert answer["kept"] == len(answer["refusals"]) == 9
    assert [entry["row"] for entry in answer["refusals"]][:4] == [1, 0, 1, 0]
    (entry,) = of_source
    assert of_reason == of_source
    assert (entry["detail"], entry["status"], entry["entrance"]) == (sent.json()["detail"], 409, "/signal")
    assert entry["portfolio"] == "baseline"
    assert '"secret": "(not shown)"' in entry["sample"]
    assert [(each["hook"], each["reason"]) for each in of_hook] == [("tv", "StaleSignal")]
    assert SECRET not in json.dumps(answer)
    assert "token" not in json.dumps([each["entrance"] for each in answer["refusals"]])
    assert 'raysignal_refusals_total{reason="InvalidField"} 4.0' in metrics


async def test_half_characters_of_what_was_refused_are_written_out(tmp_path: Path) -> None:
    async with replica(tmp_path) as found, speaking_to(found) as http:
        for body in (
            '{"timestamp": "\\ud800"}',
            '{"\\udfff": 1}',
            '{"timestamp": "2025-02-24", "signal": "\\ud800 1"}',
        ):
            sent = await http.post("/signal", content=body.encode(), params={"portfolio": "baseline"})
            assert sent.status_code == 422
        answer = await http.get("/refusals")
    assert answer.status_code == 200
    assert "\\ud800" in json.dumps(answer.json()["refusals"][-1]["value"])


async def test_the_last_refusals_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    async with replica(tmp_path) as found:
        for number in range(3):
            entries = [{"reason": "LateSignal", "source": None, "hook": None, "row": number}] * 600
            await found.desk.note_refusals(entries, {"LateSignal": 600})
        shown = await found.desk.refusals(None, None, 1000)
    assert (shown["kept"], len(shown["refusals"]), shown["counts"]) == (
        KEPT,
        1000,
        {"LateSignal": 1800},
    )
    assert [shown["refusals"][0]["row"], shown["refusals"][-1]["row"]] == [2, 1]


def test_strangers_push_no_refusal_of_a_sender_out() -> None:
    def refused(reason: str, hook: str | None, entrance: str = "/hooks") -> dict[str, Any]:
        return {"reason": reason, "hook": hook, "entrance": entrance, "source": None}

    senders = [
        refused("StaleSignal", "tv"),
        refused("Unauthorized", "tv"),
        refused("NotFound", None, "/signal"),
    ]
    log = RefusalLog()
    log.note(senders, {})
    for _ in range(2 * KEPT):
        log.note([refused("NotFound", None), refused("Unauthorized", None, "/signal")], {"NotFound": 1})
    log.load(StoredRefusals([refused("PriceJump", "tv")], {}))
    found = log.shown(None, None, KEPT)
    assert found["kept"] == len(senders) + 1 + OF_STRANGERS
    assert found["counts"] == {"NotFound": 2 * KEPT}
    assert [entry["reason"] for entry in found["refusals"][-4:]] == [
        "NotFound", "Unauthorized", "StaleSignal", "PriceJump",
    ]  # fmt: skip


async def test_refusals_outlive_a_restart_without_secrets(tmp_path: Path) -> None:
    body = f'{{"price": {{{{close}}}}, "passphrase": "{SECRET}"}}'
    for life in (1, 2):
        async with replica(tmp_path) as found, speaking_to(found) as http:
            sent = await http.post("/signal", content=body, params={"portfolio": "baseline"})
            answer = (await http.get("/refusals")).json()
            metrics = (await http.get("/metrics")).text
        assert (answer["kept"], answer["counts"]) == (life, {"UnreadableInput": life})
        assert [each["detail"] for each in answer["refusals"]] == [sent.json()["detail"]] * life
        assert 'raysignal_refusals_total{reason="UnreadableInput"} 1.0' in metrics
    (stored,) = (tmp_path / "store" / "refusals").iterdir()
    assert SECRET not in stored.read_text()
    assert stored.stat().st_mode & 0o077 == 0


async def test_refusals_of_another_version_are_no_obstacle(tmp_path: Path) -> None:
    blobs = open_stores((tmp_path / "store").as_uri()).blobs
    blobs.put("refusals/000000000007", b'{"other": 1}')
    async with replica(tmp_path) as found:
        entry = {"reason": "LateSignal", "source": None, "hook": None}
        await found.desk.note_refusals([entry], {"LateSignal": 1})
        assert (await found.desk.refusals(None, None, 10))["refusals"] == [entry]
    assert blobs.list("refusals/") == ["refusals/000000000008"]


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"a": {"apiKey": SECRET}, "b": [{"password": SECRET}]}),
        '{"price": {{close}}, "passphrase": "' + SECRET + '"}',
        "{'secret': '" + SECRET + "', 'price': 1}",
        f"price=1&token={SECRET}&action=buy",
        f"60123456789,buy,EURUSD,secret={SECRET}",
        json.dumps({"code": SECRET, "pointer": SECRET}),
        f"<alert><secret>{SECRET}</secret></alert>",
        f"{SECRET}\nlong BTCUSD q=0.1",
        "ENTER-LONG_" + SECRET * 3,
    ],
)
def test_a_sample_holds_no_secret_and_is_short(body: str) -> None:
    sample = sample_of(body.encode())
    assert SECRET not in sample
    assert "60123456789" not in sample
    assert len(sample) <= MOST


@pytest.mark.parametrize(
    "body",
    [
        '{"pass phrase":"correct-horse","price": {{close}}}',
        "{\u201cpassphrase\u201d:\u201ccorrect-horse\u201d, \u201cprice\u201d: 1}",
        "{\u2018secret\u2019 : \u2018correct-horse\u2019}",
        r'{"secret":"ab\"correct","price": {{close}}}',
        '{"secret":"ab"correct","price": 1}',
        "{'api key':'it\\'s correct','price': 1}",
        '{"strategy.secret": "a, correct", "price": {{close}}}',
        '{"token": ["a", "correct"], "price": {{close}}}',
        '{"token": {"a": "correct"}, "price": {{close}}}',
        r"{\"token\": \"correct\", \"price\": {{close}}}",
        "long BTC note: secret=a token=correct price=1",
        "pass phrase: one correct\nprice: 1",
        "<a><secret>one correct</secret><price>1</price></a>",
        "price=1&api+key=correct&action=buy",
        '{"secret": "correct',
        "<a><secret><![CDATA[a correct]]></secret><price>1</price></a>",
        "<a><secret>a<b>correct</b></secret></a>",
        "<a><ns:secret>correct</ns:secret></a>",
        '<a><param name="secret" value="correct"/></a>',
        '<a><entry key="secret">correct</entry></a>',
        "<a><secret>correct",
        "price=1&pass%70hrase=a%26correct&action=buy",
        "payload=%7B%22secret%22%3A%22a%20correct%22%7D&price=1",
        "secret=a,correct,price=1",
        "secret = a correct horse\nprice = 1",
        "https://x.example/hook?api_key=correct&price=1",
        "secret: |\n  a\n  correct\nprice: 1",
        "secret:\n  a\n  correct\nprice: 1",
        "secret: a, correct\nprice: 1",
        "{secret: a; correct, price: {{close}}}",
        '{"message": "secret=correct price=1"}',
        '{"alert": "{\\"token\\": \\"correct\\"}"}',
        '{"fields": [{"name": "secret", "value": "correct"}]}',
        '{"name": "secret", "value": "correct", "price": {{close}}}',
        '{"value": "correct", "name": "webhook_secret", "price": {{close}}}',
        "<wsse:Password Type='t'>correct</wsse:Password>",
        "<secret value='correct'/>",
        '<input value="correct" name="secret">',
        "price=x&strategy[secret]=correct",
        "%7B%22secret%22%3A%22correct%22%7D",
        "payload=%257B%2522secret%2522%253A%2522correct%2522%257D",
        "https://x.example/hook?t%6Fken=correct",
        "https://user:correct@x.example/hook",
        '{"pass\\u0070hrase":"correct","p":{{close}}}',
        "secret: a\n\n  correct\nprice: 1",
        "correct(BTC) { market(side=foo); }",
        "ENTER-LONG_Binance_BTC/USDT_correct price=x",
        '["secret", "correct"]',
        '{"sec\u200bret": "correct", x}',
        "<s&#101;cret>correct</secret>",
        '{"api": "Bearer correct"}',
    ],
)
def test_a_sample_of_what_is_no_json_holds_no_short_secret(body: str) -> None:
    assert "correct" not in sample_of(body.encode())
    assert "horse" not in sample_of(body.encode())
    for encoding in ("utf-16", "utf-16-be"):
        assert "correct" not in sample_of(body.encode(encoding)).replace("\0", "")


def test_a_sample_of_what_is_no_json_ends_where_a_secret_may_begin() -> None:
    body = '{"price": {{close}}, "note": "calm", "pass phrase": "x", "side": "buy"}'
    assert sample_of(body.encode()) == '{"price": {{close}}, "note": "calm", "pass phrase(not shown)'


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("<a><price>1</price><secret>x</secret></a>", "<a><price>1</price><secret(not shown)"),
        ("price=1&token=x&action=buy", "price=1&token=(not shown)&action=buy"),
        ("price: 1\nsecret: x", "price: 1\nsecret(not shown)"),
        ("strategy[secret]=x&price=1", "strategy[secret]=(not shown)&price=1"),
        (
            '{"time": "2026-11-30T11:00:00Z", "side": "up: long"}',
            '{"time": "2026-11-30T11:00:00Z", "side": "up: long"}',
        ),
        ('{"name": "momentum", "value": 1}', '{"name": "momentum", "value": 1}'),
    ],
)
def test_what_stands_beside_a_secret_is_shown(body: str, shown: str) -> None:
    assert sample_of(body.encode()) == shown


def test_a_sample_of_a_long_or_broken_body_is_its_beginning() -> None:
    assert sample_of(b"a b " * 5000).startswith("a b a b")
    assert len(sample_of(b"a b " * 5000)) == MOST
    assert sample_of(b"\xff\xfe,1") == "��,1"
