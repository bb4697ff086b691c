"""Who may come in: a bearer token, or for webhooks an HMAC-SHA256 signature of the body.

Without any secret configured everybody may: the settings allow that on loopback alone. With one, every route
but the health check asks for credentials. A signature opens only the two routes that webhooks post to; a
service that has a webhook secret and no API key therefore takes signals in, and shows nothing.
"""

import hashlib
import hmac
from dataclasses import dataclass

from engine.errors import SettingsError, Unauthorized
from engine.settings import PREFIX, Settings, is_loopback

OPEN_PATHS = frozenset({"/healthz"})
SIGNED_PATHS = frozenset({"/signal", "/signals"})
SIGNATURE_HEADER = "X-Signature"
_SCHEME = "sha256="


@dataclass(frozen=True, slots=True)
class Access:
    """The secrets of one service; comparisons take the same time whatever is wrong."""

    api_key: bytes | None
    webhook_secret: bytes | None

    @classmethod
    def of(cls, settings: Settings) -> "Access":
        key, secret = settings.api_key, settings.webhook_secret
        return cls(
            key.get_secret_value().encode() if key else None,
            secret.get_secret_value().encode() if secret else None,
        )

    @property
    def open(self) -> bool:
        """Whether nobody is asked for anything."""
        return self.api_key is None and self.webhook_secret is None

    def admit(self, method: str, path: str, authorization: bytes | None, signature: bytes | None) -> bool:
        """Whether the request may go on; False: only once `verify` has seen its body.

        Raises:
            Unauthorized: neither key nor signature, or one that cannot be right.
        """
        if self.open or path in OPEN_PATHS:
            return True
        if authorization is not None:
            self._check_bearer(authorization)
            return True
        signable = self.webhook_secret is not None and method == "POST" and path in SIGNED_PATHS
        if signable and signature is not None:
            return False
        raise Unauthorized(self._expectation(signable=signable))

    def verify(self, signature: bytes, body: bytes | memoryview) -> None:
        """Check the signature of a body; `Unauthorized` if it is another's."""
        assert self.webhook_secret is not None
        expected = _SCHEME + hmac.new(self.webhook_secret, body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected.encode(), signature.strip().lower()):
            raise Unauthorized(
                f"{SIGNATURE_HEADER} does not sign this body; expected sha256= and the hex HMAC-SHA256 of the "
                "raw body"
            )

    def _check_bearer(self, authorization: bytes) -> None:
        scheme, _, token = authorization.partition(b" ")
        right = self.api_key is not None and hmac.compare_digest(self.api_key, token.strip())
        if scheme.lower() != b"bearer" or not right:
            raise Unauthorized("the bearer token is not the one of this service")

    def _expectation(self, *, signable: bool) -> str:
        ways = []
        if self.api_key is not None:
            ways.append("the header Authorization: Bearer with the API key")
        if signable:
            ways.append(f"the header {SIGNATURE_HEADER}: sha256= with the HMAC of the body")
        if not ways:
            return f"this service takes signed signals only; set {PREFIX}API_KEY to read from it"
        return f"no credentials; expected {' or '.join(ways)}"


def check_host(configured: str, listening: str) -> None:
    """Raise `SettingsError` where Ray Serve listens elsewhere than the settings say."""
    if configured != listening:
        raise SettingsError(
            f"{PREFIX}HOST is {configured!r}, but Ray Serve listens on {listening!r}, as the `http_options` say "
            "it was started with; expected the same address in both"
        )


def refuse_open_door(host: str, access: Access) -> None:
    """Raise `SettingsError` where others could reach the service and nobody would ask them who they are."""
    if access.open and not is_loopback(host):
        raise SettingsError(
            f"Ray Serve listens on {host!r}, which others can reach; expected {PREFIX}API_KEY or "
            f"{PREFIX}WEBHOOK_SECRET to be set, or http_options.host to be a loopback address"
        )
