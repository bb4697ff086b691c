"""The address of a database: what a person writes, checked, and what may be shown of it.

    sqlite:///relative.db   sqlite:////absolute.db
    postgresql://user:password@host:5432/name?sslmode=require    (postgres:// is the same)

Nothing here imports SQLAlchemy, because settings are read by programs that use no database.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from raysignal.engine.core.errors import SettingsError

SQLITE = "sqlite"
POSTGRESQL = "postgresql"

EXPECTED_ADDRESS = "sqlite:///file or postgresql://user:password@host:port/name"

_FILE = "raysignal-market.db"
_SCHEMES = {SQLITE: SQLITE, POSTGRESQL: POSTGRESQL, "postgres": POSTGRESQL}
_SECRET_OPTION = re.compile(r"(?i)(password|passfile|sslpassword)=[^&]*")


def default_address(environ: Mapping[str, str] | None = None) -> str:
    """`DATABASE_URL`, else a file in the working directory."""
    given = (os.environ if environ is None else environ).get("DATABASE_URL", "").strip()
    return given or f"sqlite:///{Path.cwd() / _FILE}"


def kind_of(address: str) -> str:
    """`sqlite` or `postgresql`; `SettingsError` for anything that is no address of either.

    A driver may be named (`postgresql+psycopg`), but it is always psycopg.
    """
    scheme, found, rest = address.strip().partition("://")
    kind = _SCHEMES.get(scheme.lower().removesuffix("+psycopg"))
    if not found or kind is None:
        # What is not understood may hold a password anywhere.
        shown = repr(scheme + "://…") if found else "not an address"
        raise SettingsError(f"the database address is {shown}; expected {EXPECTED_ADDRESS}")
    if kind == SQLITE:
        sqlite_path(address)
        return kind
    try:
        _ = urlsplit(f"{POSTGRESQL}://{rest}").port
    except ValueError:
        # A password with a bare / or @ looks like a port that is no number, and would be in the error.
        raise SettingsError(
            f"the database address cannot be taken apart; expected {EXPECTED_ADDRESS}, with special characters of "
            "the password percent-encoded"
        ) from None
    return kind


def sqlite_path(address: str) -> Path:
    """The file of a SQLite address; `SettingsError` if it names none, as for a database in memory."""
    path = address.strip().partition("://")[2]
    if not path.startswith("/") or path in {"/", "/:memory:"} or "\x00" in path or "?" in path:
        raise SettingsError(
            f"the database address is {address.strip()!r}; expected sqlite:///file, a file on disk without options"
        )
    return Path(path[1:])


def shown_address(address: str) -> str:
    """The address without its password, for logs and errors."""
    if kind_of(address) == SQLITE:
        return address.strip()
    parts = urlsplit(address.strip())
    place = parts.hostname or ""
    if parts.port is not None:
        place += f":{parts.port}"
    if parts.username:
        place = f"{unquote(parts.username)}@{place}"
    query = _SECRET_OPTION.sub(r"\1=…", parts.query)
    return f"{POSTGRESQL}://{place}{parts.path}{'?' + query if query else ''}"
