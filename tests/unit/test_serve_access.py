import hashlib
import hmac

import pytest

from engine.errors import SettingsError, Unauthorized
from engine.settings import Settings
from serve.access import Access, check_host, refuse_open_door

KEY, SECRET = b"key-1", b"secret-1"
BOTH = Access(KEY, SECRET)


def signature(body: bytes, secret: bytes = SECRET) -> bytes:
    return b"sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest().encode()


def test_without_secrets_everybody_may() -> None:
    assert Access(None, None).admit("POST", "/signal", None, None)


def test_the_right_bearer_opens_every_route() -> None:
    assert BOTH.admit("GET", "/performance", b"Bearer key-1", None)
    assert BOTH.admit("POST", "/signal", b"bearer key-1", None)


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
        BOTH.admit("GET", "/performance", authorization, None)


def test_the_health_check_is_open() -> None:
    assert BOTH.admit("GET", "/healthz", None, None)


@pytest.mark.parametrize("path", ["/signal", "/signals"])
def test_a_signed_post_waits_for_its_body(path: str) -> None:
    assert not BOTH.admit("POST", path, None, b"sha256=00")


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/portfolios/x"), ("GET", "/signal"), ("POST", "/other")]
)
def test_a_signature_opens_no_other_route(method: str, path: str) -> None:
    with pytest.raises(Unauthorized):
        BOTH.admit(method, path, None, b"sha256=00")


def test_a_signature_is_worth_nothing_without_a_webhook_secret() -> None:
    with pytest.raises(Unauthorized):
        Access(KEY, None).admit("POST", "/signal", None, b"sha256=00")


def test_with_a_webhook_secret_alone_nothing_can_be_read() -> None:
    with pytest.raises(Unauthorized, match="API_KEY"):
        Access(None, SECRET).admit("GET", "/performance", None, None)


def test_a_bearer_cannot_be_right_when_there_is_no_key() -> None:
    with pytest.raises(Unauthorized):
        Access(None, SECRET).admit("GET", "/performance", b"Bearer ", None)


def test_the_signature_of_the_body_is_taken_in_either_case() -> None:
    BOTH.verify(signature(b"{}"), b"{}")
    BOTH.verify(signature(b"{}").upper().replace(b"SHA256", b"sha256"), b"{}")


@pytest.mark.parametrize(
    "wrong",
    [signature(b"{} "), signature(b"{}", b"secret-2"), signature(b"{}")[7:], b"", b"sha256=", b"sha256=\xff"],
)
def test_another_signature_is_refused(wrong: bytes) -> None:
    with pytest.raises(Unauthorized):
        BOTH.verify(wrong, b"{}")


def test_secrets_come_from_the_settings() -> None:
    access = Access.of(Settings(api_key="a", webhook_secret="b"))
    assert (access.api_key, access.webhook_secret) == (b"a", b"b")
    assert Access.of(Settings()).open


def test_an_open_door_to_others_is_refused_whatever_the_settings_say() -> None:
    refuse_open_door("127.0.0.1", Access(None, None))
    refuse_open_door("0.0.0.0", BOTH)
    with pytest.raises(SettingsError, match="API_KEY"):
        refuse_open_door("0.0.0.0", Access(None, None))


def test_an_address_that_ray_serve_does_not_listen_on_is_refused():
    check_host("0.0.0.0", "0.0.0.0")
    with pytest.raises(SettingsError, match=r"HOST is '0\.0\.0\.0', but Ray Serve listens on '127\.0\.0\.1'"):
        check_host("0.0.0.0", "127.0.0.1")
