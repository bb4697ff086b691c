import base64
import hashlib
import hmac
from typing import Any

import pytest

from raysignal.engine.core.errors import Forbidden, SettingsError, Unauthorized, UnreadableInput
from raysignal.runtime.settings import Settings
from raysignal.serve.access import (
    Claim,
    Credentials,
    check_host,
    headers_by_name,
    refuse_open_door,
    signed_text,
)

KEY, SECRET, NOW_S = b"key-1", b"secret-1", 1_764_000_000
BOTH = Credentials(KEY, SECRET, now_s=lambda: NOW_S)
KEYLESS = Credentials(None, None)


def digest(text: bytes, secret: bytes = SECRET) -> bytes:
    return hmac.new(secret, text, hashlib.sha256).hexdigest().encode()


def signature(body: bytes, secret: bytes = SECRET) -> bytes:
    return b"sha256=" + digest(body, secret)


def signature_v2(
    body: bytes, *, query: bytes = b"", key: bytes = b"", signed_at: int = NOW_S, path: str = "/signal"
) -> bytes:
    signed = signed_text(signed_at, "POST", path, query, key) + body
    return b"t=%d,sha256=%s" % (signed_at, digest(signed))


def admit(
    access: Credentials, method: str = "POST", path: str = "/signal", query: bytes = b"", **headers: Any
) -> Claim | None:
    named = {name.replace("_", "-").encode(): value for name, value in headers.items() if value is not None}
    return access.admit(method, path, query, named)


def take(access: Credentials, body: bytes, query: bytes = b"", path: str = "/signal", **headers: Any) -> None:
    claim = admit(access, path=path, query=query, **headers)
    assert claim is not None
    access.verify(claim, body)


# Without a key


@pytest.mark.parametrize(
    "host",
    [
        b"127.0.0.1:8000",
        b"127.0.0.1",
        b"localhost:9000",
        b"LOCALHOST",
        b"localhost.",
        b"[::1]:8000",
        b"127.9.9.9",
    ],
)
def test_a_service_without_a_key_answers_for_every_name_of_loopback(host: bytes) -> None:
    assert admit(KEYLESS, host=host) is None
    assert admit(KEYLESS, "GET", "/performance", host=host) is None


@pytest.mark.parametrize(
    "host",
    [
        None, b"", b"evil.example", b"evil.example:8000", b"127.0.0.1.evil.example", b"127.0.0.1@evil.example",
        b"localhost.evil.example", b"10.0.0.1", b"0.0.0.0", b"[::1", b"localhost:8000:1", b"\xff", b"localhost/x",
    ],
)  # fmt: skip
@pytest.mark.parametrize(("method", "path"), [("POST", "/signal"), ("GET", "/performance"), ("GET", "/docs")])
def test_another_host_is_refused_whatever_is_asked(host: bytes | None, method: str, path: str) -> None:
    with pytest.raises(Forbidden, match="Host"):
        admit(KEYLESS, method, path, host=host)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "origin",
    [
        b"https://evil.example",
        b"null",
        b"",
        b"http://127.0.0.1:3000",
        b"http://localhost:8000",
        b"file://127.0.0.1:8000",
    ],
)
def test_a_page_of_another_program_changes_nothing(method: str, origin: bytes) -> None:
    with pytest.raises(Forbidden, match="Origin"):
        admit(KEYLESS, method, "/signal", host=b"127.0.0.1:8000", origin=origin)


def test_a_page_of_the_service_may_post_and_any_may_read() -> None:
    assert admit(KEYLESS, host=b"127.0.0.1:8000", origin=b"http://127.0.0.1:8000") is None
    assert admit(KEYLESS, host=b"localhost:9000", origin=b"http://LOCALHOST:9000") is None
    # What a page of another program reads, the browser does not give to it.
    assert (
        admit(KEYLESS, "GET", "/performance", host=b"127.0.0.1:8000", origin=b"https://evil.example") is None
    )


def test_configured_names_are_taken_as_host_and_as_origin() -> None:
    access = Credentials.of(Settings(allowed_hosts=["trading.local"]))
    assert admit(access, host=b"trading.local:8000", origin=b"https://trading.local") is None
    assert admit(access, host=b"127.0.0.1:8000", origin=b"http://trading.local:3000") is None
    with pytest.raises(Forbidden):
        admit(access, host=b"other.local:8000")


@pytest.mark.parametrize("name", ["", "Trading.local", "http://a", "a:8000", "a/b", "*"])
def test_an_allowed_host_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="ALLOWED_HOSTS"):
        Settings(allowed_hosts=[name])


def test_with_a_key_host_and_origin_do_not_matter() -> None:
    asked: dict[str, Any] = {
        "authorization": b"Bearer key-1",
        "host": b"evil.example",
        "origin": b"https://evil.example",
    }
    assert admit(BOTH, **asked) is None


# With a key


def test_the_right_bearer_opens_every_route() -> None:
    assert admit(BOTH, "GET", "/performance", authorization=b"Bearer key-1") is None
    assert admit(BOTH, authorization=b"bearer key-1") is None


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer key-2",
        b"Bearer key-1x",
        b"Basic key-1",
        b"key-1",
        b"Bearer \xff",
    ],
)
def test_anything_but_the_right_bearer_is_refused(authorization: bytes | None) -> None:
    with pytest.raises(Unauthorized):
        admit(BOTH, "GET", "/performance", authorization=authorization)


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/openapi.json", "/"])
def test_the_health_check_and_the_documentation_are_open(path: str) -> None:
    assert admit(BOTH, "GET", path) is None
    assert admit(BOTH, "HEAD", path) is None
    with pytest.raises(Unauthorized):
        admit(BOTH, "POST", path)


# Signatures


@pytest.mark.parametrize("path", ["/signal", "/signals"])
def test_a_signed_post_waits_for_its_body(path: str) -> None:
    assert admit(BOTH, path=path, x_signature=signature(b"{}")) is not None
    assert admit(BOTH, path=path, x_signature_v2=signature_v2(b"{}", path=path)) is not None


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/portfolios/x"), ("GET", "/signal"), ("POST", "/other")]
)
def test_a_signature_opens_no_other_route(method: str, path: str) -> None:
    with pytest.raises(Unauthorized):
        admit(BOTH, method, path, x_signature=signature(b"{}"), x_signature_v2=signature_v2(b"{}"))


def test_a_signature_is_worth_nothing_without_a_webhook_secret() -> None:
    with pytest.raises(Unauthorized):
        admit(Credentials(KEY, None), x_signature=signature(b"{}"))


def test_with_a_webhook_secret_alone_nothing_can_be_read() -> None:
    with pytest.raises(Unauthorized, match="API_KEY"):
        admit(Credentials(None, SECRET), "GET", "/performance")


def test_a_bearer_cannot_be_right_when_there_is_no_key() -> None:
    with pytest.raises(Unauthorized):
        admit(Credentials(None, SECRET), "GET", "/performance", authorization=b"Bearer ")


def test_the_signature_of_the_body_is_taken_in_either_case() -> None:
    take(BOTH, b"{}", x_signature=signature(b"{}"))
    take(BOTH, b"{}", x_signature=signature(b"{}").upper())


@pytest.mark.parametrize(
    "wrong",
    [signature(b"{} "), signature(b"{}", b"secret-2"), signature(b"{}")[7:], b"", b"sha256=", b"sha256=\xff"],
)
def test_another_signature_is_refused(wrong: bytes) -> None:
    with pytest.raises(Unauthorized):
        take(BOTH, b"{}", x_signature=wrong)


def test_the_second_signature_covers_time_path_query_key_and_body() -> None:
    query, key = b"portfolio=swing&accept_price_jump=true", b"alert-77"
    signed = signature_v2(b"{}", query=query, key=key)
    take(BOTH, b"{}", query, x_signature_v2=signed, idempotency_key=key)
    take(BOTH, b"{}", query, x_signature_v2=signed.upper(), idempotency_key=b" alert-77 ")
    moved = signed.replace(b"t=%d" % NOW_S, b"t=%d" % (NOW_S + 1))
    for body, asked, named, header, path in (
        (b"{} ", query, key, signed, "/signal"),
        (b"{}", b"portfolio=other", key, signed, "/signal"),
        (b"{}", b"", key, signed, "/signal"),
        (b"{}", query, b"alert-78", signed, "/signal"),
        (b"{}", query, b"", signed, "/signal"),
        (b"{}", query, key, moved, "/signal"),
        (b"{}", query, key, signed, "/signals"),
    ):
        with pytest.raises(Unauthorized, match="X-Signature-V2 does not sign"):
            take(BOTH, body, asked, path, x_signature_v2=header, idempotency_key=named)


def test_a_byte_cannot_move_from_one_signed_part_to_the_next() -> None:
    assert signed_text(1, "POST", "/signal", b"ab", b"c") != signed_text(1, "POST", "/signal", b"a", b"bc")
    assert signed_text(1, "POST", "/signal", b"a", b"") + b"b\n" != signed_text(
        1, "POST", "/signal", b"a", b"b\n"
    )


@pytest.mark.parametrize("late_s", [-301, 301, 86_400])
def test_a_second_signature_of_another_time_is_refused(late_s: int) -> None:
    with pytest.raises(Unauthorized, match="300 s"):
        take(BOTH, b"{}", x_signature_v2=signature_v2(b"{}", signed_at=NOW_S + late_s))
    take(BOTH, b"{}", x_signature_v2=signature_v2(b"{}", signed_at=NOW_S + (300 if late_s > 0 else -300)))


@pytest.mark.parametrize("wrong", [b"", b"t=1", b"sha256=" + b"0" * 64, b"t=-1,sha256=" + b"0" * 64, b"\xff"])
def test_a_second_signature_that_is_none_is_refused_even_beside_a_right_first(wrong: bytes) -> None:
    with pytest.raises(Unauthorized, match="X-Signature-V2 is no signature"):
        admit(BOTH, x_signature_v2=wrong, x_signature=signature(b"{}"))


def test_a_strict_service_takes_the_second_signature_alone() -> None:
    strict = Credentials(KEY, SECRET, webhook_strict=True, now_s=lambda: NOW_S)
    with pytest.raises(Unauthorized, match="WEBHOOK_STRICT"):
        admit(strict, x_signature=signature(b"{}"))
    take(strict, b"{}", x_signature_v2=signature_v2(b"{}"))


def test_secrets_come_from_the_settings() -> None:
    access = Credentials.of(
        Settings(api_key="a", webhook_secret="b", webhook_strict=True, webhook_window_s=60)
    )
    assert (access.api_key, access.webhook_secret) == (b"a", b"b")
    assert (access.webhook_strict, access.webhook_window_s) == (True, 60.0)
    assert Credentials.of(Settings()).open


def test_an_open_door_to_others_is_refused_whatever_the_settings_say() -> None:
    refuse_open_door("127.0.0.1", KEYLESS)
    refuse_open_door("0.0.0.0", BOTH)
    with pytest.raises(SettingsError, match="API_KEY"):
        refuse_open_door("0.0.0.0", KEYLESS)


def test_where_the_address_is_not_known_a_key_is_needed() -> None:
    refuse_open_door(None, BOTH)
    check_host("127.0.0.1", None)
    with pytest.raises(SettingsError, match=r"API_KEY or .* a cluster with a dashboard"):
        refuse_open_door(None, KEYLESS)


def test_an_address_that_ray_serve_does_not_listen_on_is_refused() -> None:
    check_host("0.0.0.0", "0.0.0.0")
    with pytest.raises(SettingsError, match=r"HOST is '0\.0\.0\.0', but Ray Serve listens on '127\.0\.0\.1'"):
        check_host("0.0.0.0", "127.0.0.1")


@pytest.mark.parametrize("value", ["", "  "])
@pytest.mark.parametrize("name", ["api_key", "webhook_secret"])
def test_an_empty_secret_is_no_secret_and_refused(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"(?i){name}: expected a secret"):
        Settings(**{name: value})


@pytest.mark.parametrize(
    "name", [b"idempotency-key", b"x-signature", b"x-signature-v2", b"authorization", b"host", b"origin"]
)
def test_a_header_that_decides_something_is_given_once(name: bytes) -> None:
    given = [(b"accept", b"a"), (name, b"1"), (b"accept", b"b")]
    assert headers_by_name(given) == {b"accept": b"b", name: b"1"}
    with pytest.raises(UnreadableInput, match=f"{name.decode()} comes 2 times"):
        headers_by_name([*given, (name, b"1")])


def test_who_listens_says_the_key_by_header_or_subprotocol_or_later() -> None:
    access = Credentials(b"key", None)
    encoded = base64.urlsafe_b64encode(b"key").decode().rstrip("=")
    assert access.admit_listener({b"authorization": b"Bearer key"})
    assert access.admit_listener({}, ["raysignal", f"raysignal.key.{encoded}"])
    assert not access.admit_listener({}, ["raysignal"])
    access.check_key("key")
    for refused in ("", "keys", "é"):
        with pytest.raises(Unauthorized):
            access.check_key(refused)
    for protocol in ("raysignal.key.", "raysignal.key.!", "raysignal.key.c2VjcmV0"):
        with pytest.raises(Unauthorized):
            access.admit_listener({}, [protocol])
    with pytest.raises(Unauthorized, match="takes signed signals only"):
        Credentials(None, b"secret").check_key("secret")


def test_without_a_secret_pages_of_other_programs_may_not_listen() -> None:
    access = Credentials(None, None)
    own = {b"host": b"localhost:8000"}
    assert access.admit_listener(own)
    assert access.admit_listener(own | {b"origin": b"http://localhost:8000"})
    with pytest.raises(Forbidden, match="Origin is"):
        access.admit_listener(own | {b"origin": b"https://elsewhere.example"})
    with pytest.raises(Forbidden, match="Host is"):
        access.admit_listener({b"host": b"elsewhere.example"})
