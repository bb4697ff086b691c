"""Addresses of machines."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def reachable(host: str) -> str:
    """The host as a caller on this machine writes it in a URL."""
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - to be reached, not to be bound
        return "127.0.0.1" if host == "0.0.0.0" else "[::1]"  # noqa: S104 - the same
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
