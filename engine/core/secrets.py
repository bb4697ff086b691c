"""Names of fields whose values are never stored, logged, returned or put into a prompt.

Senders that can set no header put a password beside the signal. It is dropped where the signal is read; what is shown
of a signal that was refused ends where a secret may begin.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import lru_cache
from urllib.parse import unquote

HIDDEN = "(not shown)"
_ALONE = frozenset({"key", "pass"})
"""Names of secrets where nothing else belongs to the name: `key_level` and `high_pass` are features."""
_ENDINGS = (
    "secret", "token", "passphrase", "password", "passwd", "passcode", "pwd", "auth", "authorization", "authorisation",
    "credential", "credentials", "license", "licence", "bearer", "jwt", "apikey", "accesskey", "secretkey",
    "privatekey", "signingkey", "licensekey", "authkey", "clientkey", "hookkey", "hookpass", "userpass",
)  # fmt: skip
"""How names of secrets end, in lower case and without what stands between their words."""
_MARKETS = frozenset({"basetoken", "quotetoken"})
"""Names of what is traded, which end as those of secrets do."""
_WORDS = frozenset({"secret", "secrets", "passphrase", "password", "passwords", "passwd", "authorization"})
"""Words that make any name that of a secret, wherever they stand in it."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PARTS = re.compile(r"[.\[\]]")
_PAIR_NAMES = frozenset({"name", "key", "field", "id", "header", "k"})
_DEEPEST = 4
_LOOKED_AT = 4096

_BETWEEN = r"[\W_]{0,3}"
_IN_TEXT = re.compile(
    "|".join([
        *(_BETWEEN.join(ending) for ending in sorted(_ENDINGS, key=len, reverse=True) if ending != "auth"),
        r"auth(?!ors?\b)",
        r"(?<![^\W_])(?:key|pass)(?![^\W_])",
    ]),
    re.IGNORECASE,
)  # fmt: skip
# A name of a secret that is itself a value, as in name="secret": the secret may stand before it.
_AS_VALUE = re.compile(r"[=:>][\s\\\"'\u2018\u201c]*[\w -]*\Z")
_USER = re.compile(r"://[^/\s@]*@")  # and password, in an address
_ESCAPED = re.compile(r"\\+u([0-9a-fA-F]{4})")
_MOST_ENCODED = 4


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds a secret: `api_key`, `apiKey`, `API-Key` and `api key` are the same name.

    So is one in other forms of the same letters, with signs between them that nobody sees, or with a number behind it;
    and one of which a part between dots or brackets is, such as `strategy[passphrase]`.
    """
    plain = unicodedata.normalize("NFKC", name)
    parts = [_compact(part) for part in _PARTS.split(plain)]
    whole = "" if parts[-1] in _MARKETS else _compact(plain)
    for part in (whole, *(part for part in parts if part not in _MARKETS)):
        if part in _ALONE or part.endswith(_ENDINGS):
            return True
    return not _WORDS.isdisjoint(word.lower() for word in _WORD.findall(plain))


def _compact(name: str) -> str:
    return "".join(sign for sign in name.lower() if sign.isalnum()).rstrip("0123456789")


def names_secret(values: Mapping[str, object], hidden: Callable[[str], bool] = is_secret_name) -> bool:
    """Whether an object says in one field that another one is a secret: `{"name": "secret", "value": …}`."""
    return any(
        isinstance(held, str) and str(name).lower() in _PAIR_NAMES and hidden(held)
        for name, held in values.items()
    )


def without_secrets(
    value: object, hidden: Callable[[str], bool] = is_secret_name, *, deepest: int = _DEEPEST
) -> object:
    """The value with what may be a secret in it hidden, to be shown; `hidden` knows the names of secrets."""
    if isinstance(value, str):
        return hide_secrets(value[:_LOOKED_AT])  # far more than is shown
    if isinstance(value, (dict, list, tuple)) and deepest == 0:
        return "…"
    if isinstance(value, dict):
        named = names_secret(value, hidden)
        return {
            name: HIDDEN if named or hidden(str(name)) else without_secrets(held, hidden, deepest=deepest - 1)
            for name, held in value.items()
        }
    if isinstance(value, (list, tuple)):
        if any(isinstance(held, str) and hidden(held) for held in value):
            return [HIDDEN]
        return [without_secrets(held, hidden, deepest=deepest - 1) for held in value]
    return value


def hide_secrets(text: str) -> str:
    """The text up to the first word that names a secret; nothing of it where the secret may stand before that."""
    plain = text
    for _ in range(_MOST_ENCODED):
        before, plain = plain, _decoded(plain)
        if plain == before:
            break
    else:
        return HIDDEN
    found = _IN_TEXT.search(plain)
    if found is None:
        return _USER.sub(f"://{HIDDEN}@", text)
    return HIDDEN if _AS_VALUE.search(plain, 0, found.start()) else plain[: found.end()] + HIDDEN


def _decoded(text: str) -> str:
    """The text with one layer of its encodings taken away: of addresses, of HTML and of JSON; without unseen signs."""
    text = html.unescape(unquote(_ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)))
    return "".join(
        sign
        for sign in unicodedata.normalize("NFKC", text)
        if sign != "\0" and unicodedata.category(sign) != "Cf"
    )
