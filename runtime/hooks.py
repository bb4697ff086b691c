"""Hooks: entrances for senders that can set no header. Who knows a hook's address may post signals to it, and no more.

`POST /hooks/<token>`. A hook belongs to one source of signals and says how its bodies are read. Of tokens and body
secrets only hashes are kept: they are random and long, so that SHA-256 is enough. All hooks lie in the store as one
file, written once under the next number; who writes the same number second is told so. No file is ever deleted: a
number that is free again could be written by somebody who has read before it was taken.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import msgspec

from raysignal.engine.core.errors import (
    Conflict,
    InvalidField,
    NotFound,
    StoreError,
    StoreUnavailable,
    Unauthorized,
)
from raysignal.engine.core.instants import parse_bar, zone_named
from raysignal.engine.core.policy import check_portfolio_name
from raysignal.engine.core.secrets import HIDDEN, is_secret_name
from raysignal.engine.intake import Reading
from raysignal.engine.intake.field_rules import ALIASES
from raysignal.engine.intake.fields import name_of
from raysignal.engine.intake.templates import check_template
from raysignal.engine.journal.blobs import BlobStore

_FOLDER = "hooks/"
REFRESH_S = 2.0
"""How long a replica goes by what it has read: so late it knows a new hook, or that one is gone."""
MAX_AGE_S = 3600.0
"""How old an alert may be, unless the hook says otherwise."""
MOST_S = 1e9
"""The most that an age or a grace may be: 31 years."""


class Hook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entrance.

    Attributes:
        name: of the source; that of signals that name none, unless `source` says otherwise.
        token_hash: SHA-256 of the token, hexadecimal.
        made_us: when it was made or last rotated, UTC microseconds.
        former_hash, former_until_us: the token before, and until when it is taken still.
        secret_field, secret_hash: the name in the body that a secret comes under, and its hash; empty: none.
        portfolio: what its signals go to; None: the primary one.
        source, symbol, timezone, template: of bodies that name none; None: as the service has them.
        bar, label: of stamps, as `Reading` has them; the length as text, such as `1h`.
        columns: by field, its name in the bodies.
        max_age_s: how old a signal may be; None: any age.
    """

    name: str
    token_hash: str
    made_us: int
    former_hash: str = ""
    former_until_us: int = 0
    secret_field: str = ""
    secret_hash: str = ""
    portfolio: str | None = None
    source: str | None = None
    symbol: str | None = None
    timezone: str | None = None
    template: str | None = None
    bar: str | None = None
    label: Literal["open", "close"] = "close"
    columns: dict[str, str] = {}
    max_age_s: float | None = MAX_AGE_S

    def check(self) -> None:
        """Raise `InvalidField` where something cannot be."""
        name_of("source", "name", self.name, None)
        for field in ("source", "symbol"):
            if (value := getattr(self, field)) is not None:
                name_of(field, field, value, None)
        if self.portfolio is not None:
            check_portfolio_name(self.portfolio)
        if self.template is not None:
            check_template(self.template)
        # By such a name it is hidden wherever the body, or a part of it, is shown.
        if (self.secret_field or self.secret_hash) and (
            "." in self.secret_field or not is_secret_name(self.secret_field)
        ):
            raise InvalidField(
                "body_field",
                self.secret_field,
                "a name of secrets without a dot: secret, passphrase, password",
            )
        for field in self.columns:
            if field not in ALIASES:
                raise InvalidField("map", field, f"a field before the =: one of {', '.join(ALIASES)}")
        if self.max_age_s is not None and not 0.0 < self.max_age_s <= MOST_S:
            expected = f"a number of seconds above 0 and at most {MOST_S:g}, or none"
            raise InvalidField("max_age_s", self.max_age_s, expected)
        if self.label == "open" and self.bar is None:
            raise InvalidField("label", self.label, "the length of the bar beside it, such as --bar 1h")
        self.reading(Reading())

    def reading(self, service: Reading) -> Reading:
        """How its bodies are read, where a service reads others so."""
        return replace(
            service,
            source=self.source or self.name,
            symbol=self.symbol or service.symbol,
            zone=service.zone if self.timezone is None else zone_named(self.timezone),
            template=self.template or service.template,
            bar_us=service.bar_us if self.bar is None else parse_bar(self.bar),
            label=self.label,
            names={**service.names, **self.columns},
        )

    def opened_by(self, token_hash: str, now_us: int) -> bool:
        """Whether a token of this hash opens it."""
        if hmac.compare_digest(self.token_hash, token_hash):
            return True
        return now_us < self.former_until_us and hmac.compare_digest(self.former_hash, token_hash)

    def take_secret(self, values: dict[str, Any]) -> str:
        """Take the secret out of a body's values, wherever it stands.

        Returns:
            The secret; empty if the hook has none.

        Raises:
            Unauthorized: it is missing, or another one.
        """
        if not self.secret_field:
            return ""
        given = values.pop(self.secret_field, "")
        said = given if isinstance(given, str) else ""
        if not hmac.compare_digest(hashed(said), self.secret_hash):
            raise Unauthorized(
                f"{self.secret_field} in the body is not the secret of this hook; expected the one that raysignal "
                "hooks showed when it was made"
            )
        _masked(values, said)
        return said

    def rotated(self, token: str, now_us: int, grace_s: float) -> "Hook":
        """The hook with another token; the present one is taken for so long still.

        Raises:
            InvalidField: for too long.
        """
        if not 0.0 <= grace_s <= MOST_S:
            raise InvalidField("grace", grace_s, f"a number of seconds, at most {MOST_S:g}")
        until_us = now_us + int(grace_s * 1e6)
        return msgspec.structs.replace(
            self, token_hash=hashed(token), made_us=now_us,
            former_hash=self.token_hash if grace_s > 0.0 else "", former_until_us=until_us if grace_s > 0.0 else 0,
        )  # fmt: skip

    def shown(self) -> dict[str, Any]:
        """All but hashes."""
        kept: dict[str, Any] = {
            name: value for name, value in msgspec.structs.asdict(self).items() if not name.endswith("_hash")
        }
        return kept


def _masked(value: object, secret: str) -> object:
    """A value without the secret in its texts and names; objects and lists are changed in place."""
    if isinstance(value, str):
        return value.replace(secret, HIDDEN)
    if isinstance(value, dict):
        for name in [name for name in value if secret in name]:
            del value[name]  # a name cannot be shown without it
        value |= {name: _masked(held, secret) for name, held in value.items()}
    elif isinstance(value, list):
        value[:] = [_masked(held, secret) for held in value]
    return value


def new_token() -> str:
    """A token or a secret: 32 random bytes, as an address can hold them."""
    return secrets.token_urlsafe(32)


def hashed(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class HookStore:
    """The hooks of a store."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def load(self) -> tuple[int, dict[str, Hook]]:
        """The number of the present file (0: there is none), and the hooks by name."""
        names = [name for name in self._blobs.list(_FOLDER) if name.endswith(".json")]
        if not names:
            return 0, {}
        data = self._blobs.get(names[-1])
        if data is None:
            raise StoreUnavailable(f"{names[-1]} is listed in the store and cannot be read")
        return int(names[-1][len(_FOLDER) : -len(".json")]), {
            hook.name: hook for hook in _decode(names[-1], data)
        }

    def change(self, change: Callable[[dict[str, Hook]], Mapping[str, Hook]]) -> None:
        """Write the hooks that a change makes of the present ones.

        Raises:
            Conflict: another one has changed them meanwhile; nothing was written.
        """
        number, hooks = self.load()
        made = change(hooks)
        data = msgspec.json.encode([made[name] for name in sorted(made)])
        name = f"{_FOLDER}{number + 1:08d}.json"
        try:
            self._blobs.put(name, data)
        except StoreUnavailable:
            raise
        except StoreError as error:
            raise Conflict("the hooks were changed by somebody else meanwhile; try again") from error

    def get(self, name: str) -> Hook:
        """The hook of that name; `NotFound` if there is none."""
        return _named(self.load()[1], name)

    def add(self, hook: Hook) -> None:
        """Make a hook.

        Raises:
            InvalidField: something of it cannot be.
            Conflict: there is one of that name.
        """
        hook.check()

        def added(hooks: dict[str, Hook]) -> Mapping[str, Hook]:
            if hook.name in hooks:
                raise Conflict(f"there is a hook {hook.name!r}; rotate or revoke it, or choose another name")
            return {**hooks, hook.name: hook}

        self.change(added)

    def rotate(self, name: str, token: str, now_us: int, grace_s: float) -> None:
        """Give a hook another token; `NotFound` if there is no such hook."""
        self.change(lambda hooks: {**hooks, name: _named(hooks, name).rotated(token, now_us, grace_s)})

    def revoke(self, name: str) -> None:
        """Remove a hook; `NotFound` if there is none of that name."""

        def without(hooks: dict[str, Hook]) -> Mapping[str, Hook]:
            _named(hooks, name)
            return {other: hook for other, hook in hooks.items() if other != name}

        self.change(without)


def _decode(name: str, data: bytes) -> list[Hook]:
    try:
        return msgspec.json.decode(data, type=list[Hook])
    except msgspec.DecodeError as error:
        raise StoreUnavailable(
            f"{name} in the store cannot be read ({error}); expected hooks as this version writes them. Put it aside, "
            "and those of the file before count, which raysignal hooks list shows"
        ) from error


def _named(hooks: Mapping[str, Hook], name: str) -> Hook:
    if name not in hooks:
        there = ", ".join(sorted(hooks)) or "none"
        raise NotFound(f"there is no hook {name!r}; there are: {there}", field="name", value=name)
    return hooks[name]


class KnownHooks:
    """What a replica knows of the hooks: read anew after `REFRESH_S`."""

    def __init__(self, blobs: BlobStore, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = HookStore(blobs)
        self._clock = clock
        self._hooks: tuple[Hook, ...] = ()
        self._until = -1.0
        self._reading = asyncio.Lock()

    async def opened_by(self, token: str, now_us: int) -> Hook:
        """The hook that a token opens.

        Raises:
            NotFound: none.
            StoreUnavailable: the hooks cannot be read.
        """
        if self._clock() >= self._until:
            async with self._reading:
                if self._clock() >= self._until:
                    _, hooks = await asyncio.to_thread(self._store.load)
                    self._hooks, self._until = tuple(hooks.values()), self._clock() + REFRESH_S
        token_hash = hashed(token)
        for hook in self._hooks:
            if hook.opened_by(token_hash, now_us):
                return hook
        raise NotFound(
            "there is no hook at this address; raysignal hooks list shows the hooks that there are"
        )
