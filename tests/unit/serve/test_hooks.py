"""Entrances for senders that can set no header."""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from raysignal.cli.main import app
from raysignal.engine.core.errors import Conflict, InputError, NotFound
from raysignal.engine.core.instants import format_instant
from raysignal.engine.core.signals import Action
from raysignal.engine.journal.stores import open_stores
from raysignal.runtime.hooks import REFRESH_S, Hook, HookStore, KnownHooks, hashed
from tests.support.alerts import ALERTS, SYMBOLS, TOKEN
from tests.support.one_replica import replica, speaking_to

KEY, NOW_US = "key-1", 1_764_500_000_000_000
PATH = "/hooks/" + "t" * 43
REPEATED = {"here": "one key twice"}
BODY = {"time": "2025-02-24T00:00:00Z", "ticker": "BTC", "action": "buy", "close": 100.0}


def a_hook(token: str = "t" * 43, **values: Any) -> Hook:
    return Hook(name="desk", token_hash=hashed(token), made_us=NOW_US, **({"max_age_s": None} | values))


def hooks_of(folder: Path) -> HookStore:
    return HookStore(open_stores((folder / "store").as_uri()).blobs)


async def posted(
    folder: Path, hook: Hook, body: bytes, content_type: str = "application/json"
) -> httpx.Response:
    hooks_of(folder).add(hook)
    async with replica(folder, api_key=KEY) as found, speaking_to(found) as http:
        return await http.post(PATH, content=body, headers={"content-type": content_type})


async def test_a_hook_takes_a_signal_without_a_key_and_its_token_is_nowhere(tmp_path: Path) -> None:
    hooks_of(tmp_path).add(a_hook(symbol="ETH"))
    async with replica(tmp_path, api_key=KEY) as found, speaking_to(found) as http:
        answer = await http.post(PATH, json={**BODY, "ticker": None}, headers={"Host": "hooks.example"})
        again = await http.post(PATH, json={**BODY, "ticker": None})
        wrong = await http.post(PATH, json={"action": "buy"})
        unknown = await http.post("/hooks/" + "x" * 43, json=BODY)
        deeper = await http.post(PATH + "/more", json=BODY)
        misspelt = await http.post("/Hook/" + "t" * 43, json=BODY)
        parameter = await http.post(PATH, params={"portfolio": "other"}, json=BODY)
        shown = await http.get(PATH)
        metrics = await http.get("/metrics", headers={"Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200
    assert answer.json()["symbol"] == "ETH"
    assert again.json()["replayed"]
    assert [each.status_code for each in (wrong, unknown, deeper, misspelt, parameter, shown)] == [
        422, 404, 404, 401, 422, 401,
    ]  # fmt: skip
    told = "".join(
        each.text for each in (answer, wrong, unknown, deeper, misspelt, parameter, shown, metrics)
    )
    assert "tttt" not in told + json.dumps(found.lines)
    assert "xxxx" not in told + json.dumps(found.lines)
    assert found.lines[0]["path"] == "/hooks/(not shown)"
    assert found.lines[0]["hook"] == "desk"


async def test_a_secret_in_the_body_is_asked_for_and_kept_nowhere(tmp_path: Path) -> None:
    hooks_of(tmp_path).add(a_hook(secret_field="passphrase", secret_hash=hashed(TOKEN)))
    async with replica(tmp_path, api_key=KEY) as found, speaking_to(found) as http:
        right = await http.post(PATH, json={**BODY, "passphrase": TOKEN})
        answers = [
            await http.post(PATH, json={**BODY, **given})
            for given in ({}, {"passphrase": "0"}, {"passphrase": 7})
        ]
        broken = [
            await http.post(PATH, content=text.encode())
            for text in (
                f'{{"passphrase": "{TOKEN}", "passphrase": "{TOKEN}"}}', f'[{{"passphrase": "{TOKEN}"}}]',
                f'{{"price": {{{{close}}}}, "passphrase": "{TOKEN}"}}', f"passphrase={TOKEN}",
            )
        ]  # fmt: skip
        refusals = await http.get("/refusals", headers={"Authorization": f"Bearer {KEY}"})
        signal_id = right.json()["signal_id"]
        kept = await http.get(f"/decisions/{signal_id}", headers={"Authorization": f"Bearer {KEY}"})
    assert right.status_code == 200
    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert TOKEN not in "".join(answer.text for answer in (*answers, *broken, refusals))
    assert refusals.json()["kept"] == 7
    assert "passphrase" in answers[0].json()["detail"]
    assert "passphrase" not in kept.json()["features"]
    everything = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file())
    assert TOKEN.encode() not in everything
    assert TOKEN not in json.dumps(found.lines) + right.text + kept.text


async def test_the_own_secret_of_a_hook_is_hidden_wherever_the_body_holds_it(tmp_path: Path) -> None:
    hooks_of(tmp_path).add(a_hook(secret_field="passphrase", secret_hash=hashed(TOKEN)))
    async with replica(tmp_path, api_key=KEY) as found, speaking_to(found) as http:
        refused = await http.post(PATH, json={**BODY, "passphrase": TOKEN, "action": f"buy {TOKEN}"})
        taken = await http.post(
            PATH, json={**BODY, "passphrase": TOKEN, "note": f"by {TOKEN}", f"x{TOKEN}": {TOKEN: 1}}
        )
        refusals = await http.get("/refusals", headers={"Authorization": f"Bearer {KEY}"})
    assert (refused.status_code, taken.status_code) == (422, 200)
    assert "action is 'buy (not shown)'" in refused.json()["detail"]
    assert TOKEN not in refused.text + taken.text + refusals.text + json.dumps(found.lines)
    everything = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file())
    assert TOKEN.encode() not in everything


async def test_what_was_taken_in_is_answered_at_any_age(tmp_path: Path) -> None:
    """An old signal is refused; an identity that is known gets its first receipt."""
    new = {"timestamp": "2025-02-25T00:00:00Z", "price": 100.0, "signal": "BUY", "signal_id": "new"}
    known = {**new, "timestamp": "2025-02-24T00:00:00Z", "signal_id": "known"}
    hooks_of(tmp_path).add(a_hook(max_age_s=3600.0, source="default"))
    async with replica(tmp_path) as found, speaking_to(found) as http:
        first = await http.post("/signal", json=known)
    async with replica(tmp_path, intake={"max_age_s": 3600.0}) as found, speaking_to(found) as http:
        for path in ("/signal", PATH):
            again = await http.post(path, json=known)
            assert (again.status_code, again.json()["replayed"]) == (200, True)
            assert again.json() | {"replayed": False} == first.json()
            other = await http.post(path, json={**known, "price": 101.0})
            assert (other.status_code, other.json()["type"]) == (
                409,
                "urn:raysignal:problem:identity-conflict",
            )
            refused = await http.post(path, json=new)
            assert (refused.status_code, refused.json()["field"]) == (422, "timestamp")
            assert refused.json()["type"] == "urn:raysignal:problem:stale-signal"
        whole = await http.post("/signals", json=[known, new])
        skipped = await http.post("/signals", params={"on_error": "skip"}, json=[known, new])
        replayed = await http.post("/signals", json=[known])
    assert (whole.status_code, whole.json()["errors"][0]["type"]) == (422, "StaleSignal")
    assert whole.json()["errors"][0]["row"] == 1
    assert [skipped.json()[name] for name in ("replayed", "refused", "accepted")] == [1, 1, 0]
    assert replayed.json()["replayed"] == 1


async def test_an_alert_of_three_days_ago_is_refused_on_a_fresh_portfolio(tmp_path: Path) -> None:
    answer = await posted(tmp_path, a_hook(max_age_s=3600.0), json.dumps(BODY).encode())
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:raysignal:problem:stale-signal")
    assert "--max-age of a hook" in answer.json()["detail"]


async def test_a_price_that_a_hook_does_not_believe_says_where_it_is_taken(tmp_path: Path) -> None:
    hooks_of(tmp_path).add(a_hook(TOKEN))
    async with replica(tmp_path) as found, speaking_to(found) as http:
        await http.post(f"/hooks/{TOKEN}", json=BODY)
        answer = await http.post(f"/hooks/{TOKEN}", json={**BODY, "action": "sell", "close": 1.0})
    assert answer.status_code == 422
    assert "an alert of a hook to POST /signal" in answer.json()["detail"]


async def test_hooks_that_cannot_be_read_are_named_and_open_nothing(tmp_path: Path) -> None:
    hooks_of(tmp_path).add(a_hook(TOKEN))
    (tmp_path / "store/hooks/00000002.json").write_text("{bad")
    async with replica(tmp_path) as found, speaking_to(found) as http:
        answer = await http.post(f"/hooks/{TOKEN}", json=BODY)
    assert answer.status_code == 503
    assert "hooks/00000002.json in the store cannot be read" in answer.json()["detail"]


async def test_a_hook_has_its_own_portfolio_zone_bar_and_names(tmp_path: Path) -> None:
    hook = a_hook(
        portfolio="baseline", timezone="America/New_York", bar="1h", label="open", columns={"price": "last"}
    )
    body = {"time": "2025-02-24 00:00", "action": "SHORT", "last": "100", "close": 5}
    answer = await posted(tmp_path, hook, json.dumps(body).encode())
    assert answer.status_code == 200
    assert (answer.json()["timestamp"], answer.json()["price"]) == ("2025-02-24T06:00:00Z", 100.0)


async def test_nobody_posts_to_the_agents_portfolio_through_a_hook(tmp_path: Path) -> None:
    assert (await posted(tmp_path, a_hook(portfolio="enhanced"), b"{}")).status_code == 409


async def test_every_alert_is_one_signal_through_single_post_batch_and_hook(tmp_path: Path) -> None:
    """Sent three times, it is taken once and replayed twice; or refused, by single post and hook in the same words."""
    bearer = {"Authorization": f"Bearer {KEY}"}
    hooks = [
        Hook(
            name=f"h{number}", token_hash=hashed(f"token-{number}"), made_us=NOW_US, template=alert.template,
            max_age_s=None, source="default", portfolio=f"p{number}",
        )
        for number, alert in enumerate(ALERTS)
    ]  # fmt: skip
    hooks_of(tmp_path).change(lambda _: {hook.name: hook for hook in hooks})
    taken, executed = 0, {action.name for action in Action}
    settings: dict[str, Any] = {"symbols": SYMBOLS, "max_future_s": 1e9}
    async with replica(tmp_path, intake=settings, api_key=KEY) as found, speaking_to(found) as http:
        for number, alert in enumerate(ALERTS):
            await http.put(f"/portfolios/p{number}", json={}, headers=bearer)
            asked = {"portfolio": f"p{number}"} | ({"template": alert.template} if alert.template else {})
            headers = {"content-type": alert.content_type}
            body = alert.body.encode()
            single = await http.post("/signal", params=asked, content=body, headers=headers | bearer)
            batch = await http.post("/signals", params=asked, content=body, headers=headers | bearer)
            hook = await http.post(f"/hooks/token-{number}", content=body, headers=headers)
            if alert.action in executed:
                taken += 1
                assert (single.status_code, batch.json()["replayed"], hook.json()["replayed"]) == (
                    200,
                    1,
                    True,
                ), alert
                assert hook.json()["signal_id"] == single.json()["signal_id"]
                assert (hook.json()["price"], hook.json()["symbol"]) == (alert.price, alert.symbol)
            else:
                assert {single.status_code, batch.status_code, hook.status_code} <= {400, 422}, alert
                assert single.json()["detail"] == hook.json()["detail"]
    assert taken > 30


# The hooks of a store


def test_a_hook_is_made_listed_rotated_and_revoked_by_command(tmp_path: Path) -> None:
    store = ["--store", (tmp_path / "store").as_uri(), "--json"]

    def run(*words: str) -> Any:
        result = CliRunner().invoke(app, ["hooks", *words, *store])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    made = run("add", "tv", "--template", "tradingview", "--map", "price=last", "--body-secret", "passphrase")
    token, secret = made["path"].removeprefix("/hooks/"), made["secrets"]["passphrase"]
    assert min(len(token), len(secret)) == 43
    (shown,) = run("list")
    assert (shown["name"], shown["max_age_s"], shown["columns"]) == ("tv", 3600.0, {"price": "last"})
    hook = hooks_of(tmp_path).get("tv")
    assert hook.opened_by(hashed(token), NOW_US)
    other = run("rotate", "tv", "--grace", "10m")["path"].removeprefix("/hooks/")
    hook = hooks_of(tmp_path).get("tv")
    assert hook.opened_by(hashed(other), hook.made_us)
    assert hook.opened_by(hashed(token), hook.made_us + 599_000_000)
    assert not hook.opened_by(hashed(token), hook.made_us + 601_000_000)
    everything = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file())
    assert not any(each.encode() in everything for each in (token, other, secret))
    assert run("revoke", "tv")["revoked"]
    assert run("list") == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["add", "tv", "--template", "metatrader"], "template is 'metatrader'; expected one of tradingview"),
        (["add", "tv", "--map", "cost=last"], "expected a field before the =: one of timestamp"),
        (
            ["add", "tv", "--body-secret", "pin"],
            "body_field is 'pin'; expected a name of secrets without a dot",
        ),
        (["add", "tv", "--body-secret", ""], "body_field is ''; expected a name of secrets"),
        (
            ["add", "tv", "--body-secret", "strategy.secret"],
            "body_field is 'strategy.secret(not shown)'; expected",
        ),
        (
            ["add", "tv", "--max-age", "99999999999w"],
            "expected a number of seconds above 0 and at most 1e+09",
        ),
        (["add", "tv", "--max-age", "9" * 5000 + "w"], "expected a length such as 1s"),
        (["add", "tv", "--map", "price"], "expected FIELD=NAME"),
        (["add", "tv", "--label", "open"], "label is 'open'; expected the length of the bar beside it"),
        (["add", "tv", "--max-age", "1M"], "'1M'; expected a length such as 10m"),
        (["add", "tv", "--timezone", "Berlin"], "Berlin"),
        (["add", "tv", "--portfolio", "Big One"], "Big One"),
        (["rotate", "tv"], "there is no hook 'tv'; there are: none"),
        (["revoke", "tv"], "there is no hook 'tv'"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_made(tmp_path: Path, words: list[str], sentence: str) -> None:
    result = CliRunner().invoke(app, ["hooks", *words, "--store", (tmp_path / "store").as_uri()])
    assert result.exit_code in {1, 2}
    assert sentence in " ".join(result.output.split())
    assert hooks_of(tmp_path).load() == (0, {})


def test_two_who_change_the_hooks_at_once_do_not_lose_one(tmp_path: Path) -> None:
    store = hooks_of(tmp_path)
    store.add(a_hook())
    with pytest.raises(Conflict, match="there is a hook 'desk'"):
        store.add(a_hook())

    def changed_meanwhile(hooks: dict[str, Hook]) -> dict[str, Hook]:
        hooks_of(tmp_path).revoke("desk")
        return hooks

    with pytest.raises(Conflict, match="changed by somebody else meanwhile"):
        store.change(changed_meanwhile)
    assert store.load() == (2, {})


@pytest.mark.parametrize("others", [1, 3, 20])
def test_a_change_made_of_older_hooks_is_refused_however_many_came_between(
    tmp_path: Path, others: int
) -> None:
    store = hooks_of(tmp_path)
    store.add(a_hook())

    def late(hooks: dict[str, Hook]) -> dict[str, Hook]:
        for number in range(others):
            hooks_of(tmp_path).add(Hook(name=f"h{number}", token_hash=hashed(f"{number}"), made_us=NOW_US))
        return {name: hook for name, hook in hooks.items() if name != "desk"}

    with pytest.raises(Conflict, match="changed by somebody else meanwhile"):
        store.change(late)
    number, hooks = store.load()
    assert (number, len(hooks), "desk" in hooks) == (1 + others, 1 + others, True)
    store.revoke("desk")
    assert "desk" not in store.load()[1]


def test_the_folder_of_hooks_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    former = os.umask(0o022)
    try:
        hooks_of(tmp_path).add(a_hook())
    finally:
        os.umask(former)
    (folder,) = tmp_path.rglob("hooks")
    assert [path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())] == [0o700, 0o600]


def test_a_grace_beyond_all_bounds_is_refused(tmp_path: Path) -> None:
    hooks_of(tmp_path).add(a_hook())
    store = ["--store", (tmp_path / "store").as_uri()]
    result = CliRunner().invoke(app, ["hooks", "rotate", "desk", "--grace", "99999999999w", *store])
    assert result.exit_code in {1, 2}
    assert "grace is" in result.output
    assert hooks_of(tmp_path).load()[0] == 1


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"strategy.order.action": "buy", "strategy.passphrase": TOKEN}, 200),
        ({"strategy": {"order": {"action": "buy"}, "passphrase": TOKEN}}, 200),
        ({"signal": "buy", "strategy.passphrase": TOKEN}, 200),
        ({"strategy": {"order": {"action": "buy"}, "a": REPEATED}}, 422),
        ({"strategy.order.action": "buy", "a.token": TOKEN, "a": {"b": REPEATED}}, 422),
    ],
)
async def test_a_secret_under_a_name_with_dots_is_kept_and_shown_nowhere(
    tmp_path: Path, given: dict[str, Any], status: int
) -> None:
    hooks_of(tmp_path).add(a_hook(secret_field="passphrase", secret_hash=hashed(TOKEN)))
    body = {"time": BODY["time"], "close": 100.0, "passphrase": TOKEN, **given}
    text = json.dumps(body).replace(json.dumps(REPEATED), f'{{"token": "{TOKEN}", "token": "{TOKEN}"}}')
    async with replica(tmp_path, api_key=KEY) as found, speaking_to(found) as http:
        answer = await http.post(PATH, content=text.encode())
        refusals = await http.get("/refusals", headers={"Authorization": f"Bearer {KEY}"})
        history = await http.get("/history", headers={"Authorization": f"Bearer {KEY}"})
    assert (answer.status_code, refusals.json()["kept"]) == (status, int(status != 200)), answer.text
    assert TOKEN not in answer.text + refusals.text + history.text + json.dumps(found.lines)
    everything = b"".join(file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file())
    assert TOKEN.encode() not in everything


async def test_a_token_in_a_misspelt_address_is_in_no_line_of_the_log(tmp_path: Path) -> None:
    token = "aB3_-" * 8
    async with replica(tmp_path, api_key=KEY) as found, speaking_to(found) as http:
        for path in (f"/hoks/{token}", f"/{token}/x", "/decisions/" + "a" * 32):
            await http.post(path, json=BODY)
    assert [line["path"] for line in found.lines] == [
        "/hoks/(not shown)", "/(not shown)/x", "/decisions/" + "a" * 32,
    ]  # fmt: skip


async def test_a_replica_knows_of_a_change_after_a_moment(tmp_path: Path) -> None:
    store, now = hooks_of(tmp_path), [0.0]
    known = KnownHooks(open_stores((tmp_path / "store").as_uri()).blobs, clock=lambda: now[0])
    with pytest.raises(NotFound):
        await known.opened_by("t" * 43, NOW_US)
    store.add(a_hook())
    now[0] = REFRESH_S
    assert (await known.opened_by("t" * 43, NOW_US)).name == "desk"
    store.revoke("desk")
    now[0] = 2 * REFRESH_S
    with pytest.raises(NotFound):
        await known.opened_by("t" * 43, NOW_US)


def test_the_shown_form_of_a_hook_has_no_hash() -> None:
    shown = a_hook(secret_field="passphrase", secret_hash=hashed("x")).shown()
    assert hashed("x") not in json.dumps(shown)
    assert format_instant(shown["made_us"])
    with pytest.raises(InputError):
        a_hook(max_age_s=0.0).check()
