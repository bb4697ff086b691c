"""Names of fields whose values are never stored, logged, returned or put into a prompt.

Senders that can set no header put a password beside the signal. It is dropped where the signal is read.
"""

from functools import lru_cache

SECRET_NAMES = frozenset({
    "secret", "token", "passphrase", "password", "key",
    "api_key", "apikey", "api_secret", "apisecret", "access_token", "auth_token", "client_secret", "private_key",
    "webhook_secret",
})  # fmt: skip
HIDDEN = "(not shown)"
_DEEPEST = 4


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret; case, blanks around it, and `-` for `_` do not matter."""
    return name.strip().lower().replace("-", "_") in SECRET_NAMES


def without_secrets(value: object, depth: int = 0) -> object:
    """The value with what stands under a secret name in it hidden, to be shown in an error."""
    if depth == _DEEPEST and isinstance(value, (dict, list, tuple)):
        return "…"
    if isinstance(value, dict):
        return {
            name: HIDDEN if is_secret_name(str(name)) else without_secrets(held, depth + 1)
            for name, held in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [without_secrets(held, depth + 1) for held in value]
    return value
