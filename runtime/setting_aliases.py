"""Settings under the names that other services of model signals have for them, where the `RAYSIGNAL_` name is unset."""

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote

from raysignal.engine.core.errors import SettingsError, shorten

ALIASES: Mapping[str, tuple[str, ...]] = {
    "MODEL_PATH": ("inference", "model"),
    "CONFIDENCE_THRESHOLD": ("inference", "confidence"),
    "POSITION_SIZE_PCT": ("inference", "position_size"),
    "ATR_MULTIPLIER_SL": ("inference", "stop_atr"),
    "ATR_MULTIPLIER_TP": ("inference", "target_atr"),
    "SIGNAL_SERVICE_PORT": ("http", "port"),
}
"""Variable to area and name; one that is empty is unset."""
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
DATABASE = ("database_url",)
POSTGRES = ("POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD")
"""The parts of a database's address. Without the first none of them is read: images of PostgreSQL set the others for
themselves. `DATABASE_URL` goes before them."""


def aliases_given(
    environ: Mapping[str, str], is_set: Callable[[tuple[str, ...]], bool]
) -> dict[str, tuple[str, ...]]:
    """The aliases that count, each with the path of its setting.

    Args:
        environ: the environment.
        is_set: whether a setting has a value under a name of its own, which goes before.
    """
    given = {
        name: path for name, path in ALIASES.items() if environ.get(name, "").strip() and not is_set(path)
    }
    if environ.get(POSTGRES[0], "").strip() and not (
        environ.get("DATABASE_URL", "").strip() or is_set(DATABASE)
    ):
        given |= {name: DATABASE for name in POSTGRES if environ.get(name, "").strip()}
    return given


def alias_value(name: str, environ: Mapping[str, str]) -> str:
    """What an alias holds, as its setting takes it.

    Raises:
        SettingsError: a share that looks like percent, or a database's address that cannot be.
    """
    if name in POSTGRES:
        return _postgres_address(environ)
    value = environ[name].strip()
    if name == "POSITION_SIZE_PCT":
        _refuse_percent(value)
    return value


def _refuse_percent(value: str) -> None:
    """Raise where a share is all of the equity or more: somebody means percent, and would stake a hundredfold."""
    try:
        share = float(value)
    except ValueError:
        return  # which the setting refuses
    if share >= 1.0:
        raise SettingsError(
            f"POSITION_SIZE_PCT is {shorten(value)}; expected a share of equity below 1, such as 0.02 for two percent. "
            "All of it is RAYSIGNAL_INFERENCE__POSITION_SIZE=1"
        )


def _postgres_address(environ: Mapping[str, str]) -> str:
    host, port, name, user, password = (environ.get(each, "").strip() for each in POSTGRES)
    if not _HOST.fullmatch(host):
        raise SettingsError(f"POSTGRES_HOST is {shorten(host)}; expected the name or address of a host alone")
    if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise SettingsError(f"POSTGRES_PORT is {shorten(port)}; expected a port from 1 to 65535")
    user = user or "postgres"
    secret = f":{quote(password, safe='')}" if password else ""
    place = f"[{host}]" if ":" in host else host
    return (
        f"postgresql://{quote(user, safe='')}{secret}@{place}:{port or 5432}/{quote(name or user, safe='')}"
    )
