"""Files that their owner alone reads: the mode of new ones, and a folder for copies."""

import hashlib
import os
from pathlib import Path

from raysignal.engine.core.errors import SettingsError


def restrict_new_files() -> None:
    """From now on what this process and its children make is their user's alone: folders 0700, files 0600."""
    os.umask(0o077)


def cache_folder(kind: str, store: str) -> Path:
    """The folder of this machine for copies of what lies in a remote store; it may be deleted at any time.

    It lies below `XDG_CACHE_HOME`, or `~/.cache`: a name in a folder that everybody writes to, such as /tmp, could be
    another user's by the time it is made.

    Args:
        kind: what is kept there, as a word.
        store: the store's address.

    Raises:
        SettingsError: the folder cannot be made, or it is another user's.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "raysignal"
    folder = base / f"{kind}-{hashlib.sha256(store.encode()).hexdigest()[:12]}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.stat().st_uid
    except OSError as error:
        raise SettingsError(
            f"the folder {folder} cannot be made ({error.strerror}); expected XDG_CACHE_HOME to name a folder that "
            "this user writes to"
        ) from error
    if owner != os.geteuid():
        raise SettingsError(
            f"the folder {folder} belongs to user {owner}; expected XDG_CACHE_HOME to name a folder of this user's own"
        )
    folder.chmod(0o700)
    return folder
