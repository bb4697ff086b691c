"""The address of a store, read."""

from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit

from raysignal.engine.core.errors import SettingsError


def split_store(url: str) -> SplitResult:
    """The parts of `file:///full/path` or `s3://bucket/prefix`.

    Raises:
        SettingsError: it is neither. A relative path is refused: processes with other working directories would each
            have a store of their own.
    """
    parts = urlsplit(url)
    if parts.query or parts.fragment:
        raise SettingsError(f"the store {url!r} holds a ? or a #; write them as %3F and %23")
    if parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc and ":" not in parts.netloc:
        return parts
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path.startswith("/"):
        return parts
    hint = ""
    if parts.scheme in {"", "file"} and parts.netloc in {"", "."}:
        hint = f"; for this path, file://{quote(str(Path(parts.netloc + parts.path).resolve()))}"
    raise SettingsError(f"the store {url!r} is neither file:///full/path nor s3://bucket/prefix{hint}")
