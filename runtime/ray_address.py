"""The address of a Ray cluster that is joined, checked before Ray tries for half a minute."""

import re
import socket

from raysignal.engine.core.errors import SettingsError

EXPECTED_RAY_ADDRESS = "host:port of the cluster's head, such as 10.0.0.1:6379, or auto"
_PLACE = re.compile(r"(?:ray://)?(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:/\[\]@]+):(?P<port>\d{1,5})")
_PATIENCE_S = 2.0


def check_ray_address(address: str) -> str:
    """The address; `SettingsError` if it cannot be one."""
    if address not in {"auto", "local"} and not _PLACE.fullmatch(address):
        raise SettingsError(f"the Ray address is {address!r}; expected {EXPECTED_RAY_ADDRESS}")
    return address


def refuse_silent_head(address: str) -> None:
    """Raise `SettingsError` if nobody listens at the address; `auto` is left to Ray."""
    place = _PLACE.fullmatch(check_ray_address(address))
    if place is None:
        return
    try:
        socket.create_connection((place["host"].strip("[]"), int(place["port"])), _PATIENCE_S).close()
    except (OSError, OverflowError) as error:
        said = getattr(error, "strerror", None) or error
        raise SettingsError(
            f"no Ray cluster answers at {address} ({said}); expected {EXPECTED_RAY_ADDRESS}"
        ) from error
