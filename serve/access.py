"""Who may come in: a bearer token, or for webhooks an HMAC-SHA256 signature; without either, this machine alone.

Without any secret configured nobody is asked for one: the settings allow that on loopback alone. A browser on this
machine could then be made to act by any page that it shows, so the request must name this machine as its host, and
one that changes something must not come from a page of somebody else.

With a secret, every route but the health check and the documentation asks for credentials. A signature opens only
the two routes that webhooks post to; a service that has a webhook secret and no API key therefore takes signals
in, and shows nothing.

`POST /hooks/<token>` asks for its token alone, on every service: no page and no program knows it.

| header | signs |
|---|---|
| `X-Signature: sha256=<hex>` | the body; taken until `webhook_strict` is set |
| `X-Signature-V2: t=<unix seconds>,sha256=<hex>` | time, method, path, query, `Idempotency-Key`, body: `signed_text` |
"""

import base64
import hashlib
import hmac
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from raysignal.engine.core.errors import Forbidden, SettingsError, Unauthorized, UnreadableInput, shorten
from raysignal.engine.core.hosts import is_loopback
from raysignal.runtime.settings import PREFIX, Settings

OPEN_PATHS = frozenset({"/healthz", "/health", "/", "/docs", "/openapi.json"})
HOOKS = "/hooks/"
"""Before a token, which is all that a hook asks for."""
SIGNED_PATHS = frozenset({"/signal", "/signals"})
MOST_SIGNED_BYTES = 1024 * 1024
"""Of a body that is signed instead of carrying the key, at most: it is held until its signature can be verified."""
SIGNATURE_HEADER = "X-Signature"
SIGNATURE_V2_HEADER = "X-Signature-V2"
SIGNATURE_FORM = {
    SIGNATURE_HEADER: "sha256= and the hex HMAC-SHA256 of the raw body",
    SIGNATURE_V2_HEADER: (
        "t=<unix seconds>,sha256=<hex HMAC-SHA256 of time, method, path, query and Idempotency-Key, each with a "
        "newline after it, and the raw body>"
    ),
}
"""What each header holds, as the end of a sentence."""
WINDOW_S = 300.0
KEY_PROTOCOL = "raysignal.key."
"""Before the key in base64url, among the subprotocols that a WebSocket offers: a page can set no header."""
_ONCE = frozenset(
    {
        b"authorization", b"content-encoding", b"content-type", b"host", b"idempotency-key", b"origin",
        SIGNATURE_HEADER.lower().encode(), SIGNATURE_V2_HEADER.lower().encode(),
    }
)  # fmt: skip
"""Headers that something is decided by: of two, one part of a service could believe the first, and another the last."""
_READ_ONLY = frozenset({"GET", "HEAD", "OPTIONS"})
_V1 = re.compile(rb"sha256=([0-9a-f]{64})")
_V2 = re.compile(rb"t=([0-9]{1,12}),sha256=([0-9a-f]{64})")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\s:@/\[\]]+)(?::[0-9]{1,5})?")


def headers_by_name(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers of a request by their names, which are in lower case.

    Raises:
        UnreadableInput: one of those that decide something comes more than once.
    """
    found = dict(headers)
    if len(found) < len(headers):
        counts = Counter(name for name, _ in headers)
        for name in sorted(_ONCE):
            if counts[name] > 1:
                raise UnreadableInput(
                    f"the header {name.decode()} comes {counts[name]} times; expected it once"
                )
    return found


@dataclass(frozen=True, slots=True)
class Claim:
    """A signature that is still to be verified, because the body that it signs has not been read.

    Attributes:
        header: which one it came in.
        digest: hexadecimal, lower case.
        before: what is signed before the body.
    """

    header: str
    digest: bytes
    before: bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """The secrets of one service; comparisons take the same time whatever is wrong.

    Attributes:
        api_key: what a bearer token is compared with; None: there is none.
        webhook_secret: what signatures are made with; None: there is none.
        allowed_hosts: names under which a service without a secret is reached, beside those of loopback.
        webhook_strict: only `X-Signature-V2` is taken.
        webhook_window_s: how far its time may be from this machine's.
        now_s: the present, Unix seconds.
    """

    api_key: bytes | None
    webhook_secret: bytes | None
    allowed_hosts: frozenset[str] = frozenset()
    webhook_strict: bool = False
    webhook_window_s: float = WINDOW_S
    now_s: Callable[[], float] = time.time

    @classmethod
    def of(cls, settings: Settings) -> "Credentials":
        key, secret = settings.http.api_key, settings.http.webhook_secret
        return cls(
            key.get_secret_value().encode() if key else None,
            secret.get_secret_value().encode() if secret else None,
            frozenset(settings.http.allowed_hosts),
            settings.http.webhook_strict,
            settings.http.webhook_window_s,
        )

    @property
    def open(self) -> bool:
        """Whether nobody is asked for a secret."""
        return self.api_key is None and self.webhook_secret is None

    def admit(self, method: str, path: str, query: bytes, headers: Mapping[bytes, bytes]) -> Claim | None:
        """None if the request may go on; a claim if it may once `verify` has seen its body.

        Args:
            method: in upper case.
            path: without the query.
            query: as it came.
            headers: by name, in lower case.

        Raises:
            Unauthorized: neither key nor signature, or one that cannot be right.
            Forbidden: no secret is asked for, and the request is for another host or from another's page.
        """
        if method == "POST" and path.startswith(HOOKS):
            return None
        if self.open:
            self._check_local(method, headers)
            return None
        if path in OPEN_PATHS and method in _READ_ONLY:
            return None
        authorization = headers.get(b"authorization")
        if authorization is not None:
            self._check_bearer(authorization)
            return None
        signable = self.webhook_secret is not None and method == "POST" and path in SIGNED_PATHS
        claim = self._claim(method, path, query, headers) if signable else None
        if claim is None:
            raise Unauthorized(self._expectation(signable=signable))
        return claim

    def admit_listener(self, headers: Mapping[bytes, bytes], protocols: Sequence[str] = ()) -> bool:
        """Whether a client that wants to listen may; False: it has to say the key first.

        Without a secret, pages of other programs may not, though a request for a page they could make.

        Args:
            headers: as in `admit`.
            protocols: the subprotocols of a WebSocket that it offers, one of which may carry the key.

        Raises:
            Unauthorized, Forbidden: see `admit`.
        """
        if self.open:
            self._check_local("POST", headers)
            return True
        if (authorization := headers.get(b"authorization")) is not None:
            self._check_bearer(authorization)
            return True
        for protocol in protocols:
            if protocol.startswith(KEY_PROTOCOL):
                padded = protocol.removeprefix(KEY_PROTOCOL) + "==="
                with suppress(ValueError):
                    self.check_key(base64.urlsafe_b64decode(padded).decode())
                    return True
                raise Unauthorized(
                    f"a subprotocol begins with {KEY_PROTOCOL}; expected the key in base64url behind it"
                )
        return False

    def check_key(self, key: str) -> None:
        """Raise `Unauthorized` where that is not the key."""
        if self.api_key is None:
            raise Unauthorized(self._expectation(signable=False))
        if not hmac.compare_digest(self.api_key, key.encode()):
            raise Unauthorized("the key is not the one of this service")

    def verify(self, claim: Claim, body: bytes | memoryview) -> None:
        """Check the signature of a body; `Unauthorized` if it is another's."""
        assert self.webhook_secret is not None
        made = hmac.new(self.webhook_secret, claim.before, hashlib.sha256)
        made.update(body)
        if not hmac.compare_digest(made.hexdigest().encode(), claim.digest):
            signed = "body" if claim.header == SIGNATURE_HEADER else "request"
            raise Unauthorized(
                f"{claim.header} does not sign this {signed}; expected {SIGNATURE_FORM[claim.header]}"
            )

    def _check_local(self, method: str, headers: Mapping[bytes, bytes]) -> None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self._is_own(host):
            raise Forbidden(
                f"Host is {shorten(host)}; expected localhost, an address of loopback, or a name that "
                f"{PREFIX}HTTP__ALLOWED_HOSTS has: this service has no key, and a page elsewhere could reach it by a "
                "name of its own",
                field="Host", value=shorten(host), expected="a name of this machine",
            )  # fmt: skip
        origin = headers.get(b"origin")
        if origin is None or method in _READ_ONLY:
            return
        scheme, _, authority = origin.decode("latin-1").lower().partition("://")
        if scheme in {"http", "https"} and (authority == host or host_name(authority) in self.allowed_hosts):
            return
        raise Forbidden(
            f"Origin is {shorten(origin.decode('latin-1'))}, a page of another program; expected none, this "
            f"service's own, or one whose host {PREFIX}HTTP__ALLOWED_HOSTS has: this service has no key, and a browser "
            "sends what any page tells it to",
            field="Origin", value=shorten(origin.decode("latin-1")), expected=f"http://{host}",
        )  # fmt: skip

    def _is_own(self, host: str) -> bool:
        name = host_name(host)
        return name is not None and (name in self.allowed_hosts or is_loopback(name))

    def _check_bearer(self, authorization: bytes) -> None:
        scheme, _, token = authorization.partition(b" ")
        right = self.api_key is not None and hmac.compare_digest(self.api_key, token.strip())
        if scheme.lower() != b"bearer" or not right:
            raise Unauthorized("the bearer token is not the one of this service")

    def _claim(self, method: str, path: str, query: bytes, headers: Mapping[bytes, bytes]) -> Claim | None:
        """What the headers claim to have signed; None: they hold no signature."""
        second, first = headers.get(b"x-signature-v2"), headers.get(b"x-signature")
        if second is not None:
            match = _V2.fullmatch(second.strip().lower())
            if match is None:
                raise Unauthorized(
                    f"{SIGNATURE_V2_HEADER} is no signature; expected {SIGNATURE_FORM[SIGNATURE_V2_HEADER]}"
                )
            signed_at = int(match[1])
            if abs(self.now_s() - signed_at) > self.webhook_window_s:
                raise Unauthorized(
                    f"{SIGNATURE_V2_HEADER} was made at {signed_at}; expected a time within "
                    f"{self.webhook_window_s:g} s of this service's clock: sign the request anew, and set the clock"
                )
            key = headers.get(b"idempotency-key", b"")
            return Claim(SIGNATURE_V2_HEADER, match[2], signed_text(signed_at, method, path, query, key))
        if first is None:
            return None
        if self.webhook_strict:
            raise Unauthorized(
                f"{SIGNATURE_HEADER} signs the body alone, and {PREFIX}HTTP__WEBHOOK_STRICT is set; expected "
                f"{SIGNATURE_V2_HEADER}: {SIGNATURE_FORM[SIGNATURE_V2_HEADER]}"
            )
        match = _V1.fullmatch(first.strip().lower())
        if match is None:
            raise Unauthorized(
                f"{SIGNATURE_HEADER} is no signature; expected {SIGNATURE_FORM[SIGNATURE_HEADER]}"
            )
        return Claim(SIGNATURE_HEADER, match[1], b"")

    def _expectation(self, *, signable: bool) -> str:
        ways = []
        if self.api_key is not None:
            ways.append("the header Authorization: Bearer with the API key")
        if signable:
            ways.append(f"the header {SIGNATURE_V2_HEADER}: {SIGNATURE_FORM[SIGNATURE_V2_HEADER]}")
        if not ways:
            return f"this service takes signed signals only; set {PREFIX}HTTP__API_KEY to read from it"
        return f"no credentials; expected {' or '.join(ways)}"


def check_host(configured: str, listening: str | None) -> None:
    """Raise `SettingsError` where Ray Serve is known to listen elsewhere than the settings say."""
    if listening is not None and configured != listening:
        raise SettingsError(
            f"{PREFIX}HTTP__HOST is {configured!r}, but Ray Serve listens on {listening!r}, as the `http_options` say "
            "it was started with; expected the same address in both"
        )


def signed_text(signed_at: int, method: str, path: str, query: bytes, idempotency_key: bytes) -> bytes:
    """What `X-Signature-V2` signs before the body: five lines, none of which can hold a line's end."""
    return b"%d\n%s\n%s\n%s\n%s\n" % (
        signed_at, method.encode("latin-1"), path.encode("latin-1", "replace"), query, idempotency_key.strip(),
    )  # fmt: skip


@lru_cache(maxsize=256)
def host_name(host: str) -> str | None:
    """The name in a `Host` header or an origin, in lower case and without port; None: it is none."""
    match = _HOST.fullmatch(host)
    return None if match is None else match[1].strip("[]").removesuffix(".")


def refuse_open_door(host: str | None, access: Credentials) -> None:
    """Raise `SettingsError` where others could reach the service and nobody would ask them who they are.

    Args:
        host: the address that Ray Serve listens on; None: nobody says, so it counts as one that others reach.
        access: of the service.
    """
    if access.open and host is None:
        raise SettingsError(
            f"which address Ray Serve listens on is not known, since the cluster's dashboard does not answer; expected "
            f"{PREFIX}HTTP__API_KEY or {PREFIX}HTTP__WEBHOOK_SECRET to be set, or a cluster with a dashboard"
        )
    if access.open and host is not None and not is_loopback(host):
        raise SettingsError(
            f"Ray Serve listens on {host!r}, which others can reach; expected {PREFIX}HTTP__API_KEY or "
            f"{PREFIX}HTTP__WEBHOOK_SECRET to be set, or http_options.host to be a loopback address"
        )
