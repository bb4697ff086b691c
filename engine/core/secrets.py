"""Names of fields whose values are never stored, logged, returned or put into a prompt.

Senders that can set no header put a password beside the signal. It is dropped where the signal is read.
"""

import unicodedata
from functools import lru_cache

SECRET_NAMES = frozenset({
    "secret", "token", "passphrase", "password", "passwd", "pwd", "key",
    "apikey", "apisecret", "accesstoken", "authtoken", "bearertoken", "refreshtoken", "clientsecret", "privatekey",
    "secretkey", "webhooksecret", "emailtoken", "license", "licence",
})  # fmt: skip
"""In lower case, without what stands between their words."""
HIDDEN = "(not shown)"
_DEEPEST = 4


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret: `api_key`, `apiKey`, `API-Key` and `api key` are the same name.

    So is one in other forms of the same letters, or with signs between them that nobody sees; and one within dots, such
    as `strategy.passphrase`.
    """
    plain = unicodedata.normalize("NFKC", name).lower()
    parts = (plain, *plain.split("."))
    return any("".join(sign for sign in part if sign.isalnum()) in SECRET_NAMES for part in parts)


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
