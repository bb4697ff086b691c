"""From an address to the stores behind it: the one place that knows which kinds there are.

file:///var/lib/raysignal      a directory, by its full path
s3://bucket/prefix             a bucket, or a part of one

<store>/journal/<shard>/…      the journals
<store>/…                      the blobs
"""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from raysignal.engine.journal.addresses import split_store
from raysignal.engine.journal.blobs import JOURNAL_FOLDER, BlobStore, DiskBlobs, S3Blobs, check_blob_name
from raysignal.engine.journal.bucket import Bucket, S3Client, s3_client
from raysignal.engine.journal.disk import Disk, RealDisk
from raysignal.engine.journal.journal import JournalStore
from raysignal.engine.journal.local import LocalStore, disk_errors
from raysignal.engine.journal.s3 import S3Store

__all__ = ["BlobStore", "DiskBlobs", "S3Blobs", "Stores", "open_stores"]

Kind = Literal["file", "s3"]

_SHARD = re.compile(r"shard=(\d{4,})")


@dataclass(frozen=True, slots=True)
class Stores:
    """Everything under one address.

    Attributes:
        url: the address.
        kind: `file` (one machine, unless the directory is said to be shared) or `s3`.
        blobs: what lies beside the journals.
        journal: gives the store of one shard's journal; see `journal_store`.
        folders: lists what there is in the folder of the journals.
    """

    url: str
    kind: Kind
    blobs: BlobStore
    journal: Callable[[str], JournalStore]
    folders: Callable[[], list[str]]

    def journal_store(self, shard: str) -> JournalStore:
        """The store of one journal; `shard` is a relative path such as `shard-0`."""
        return self.journal(check_blob_name(shard))

    def journal_numbers(self) -> list[int]:
        """The numbers of the shards that have a journal, by what lies there."""
        return [int(match[1]) for name in self.folders() if (match := _SHARD.fullmatch(name))]

    def probe(self) -> None:
        """Find out at start-up what would be found out too late.

        Raises:
            UnsafeStore: the store does not enforce conditional writes.
            StoreUnavailable: it cannot be reached, or refuses.
        """
        self.journal("probe").probe()


def open_stores(url: str, *, client: S3Client | None = None, disk: Disk | None = None) -> Stores:
    """The stores behind an address. Nothing is read or written yet.

    Args:
        url: `file:///dir` or `s3://bucket/prefix`, see `split_store`.
        client: what to reach S3 with; None makes one from the environment, which honours
            `AWS_ENDPOINT_URL_S3`.
        disk: what to reach files with; None is the real one.

    Raises:
        SettingsError: the address is none of these.
    """
    parts = split_store(url)
    if parts.scheme == "s3":
        return _in_bucket(url, parts.netloc, parts.path.strip("/"), s3_client() if client is None else client)
    return _in_directory(url, Path(unquote(parts.path)), disk)


def _in_directory(url: str, root: Path, disk: Disk | None) -> Stores:
    place, journals = RealDisk() if disk is None else disk, root / JOURNAL_FOLDER

    def folders() -> list[str]:
        with disk_errors():
            return [
                name[:-1] for name in place.list(journals) if name[-1] == "/" and place.list(journals / name)
            ]

    return Stores(
        url, "file", DiskBlobs(root, disk), lambda shard: LocalStore(journals / shard, disk), folders
    )


def _in_bucket(url: str, name: str, prefix: str, client: S3Client) -> Stores:
    bucket = Bucket(client, name, f"{prefix}/" if prefix else "")
    token = partial(secrets.token_bytes, 16)
    journals = bucket.under(f"{JOURNAL_FOLDER}/")

    def folders() -> list[str]:
        found: list[str] = []
        # Not object by object: behind the first one of a folder the next folder is asked for. "0" comes after "/".
        while (entry := next(journals.list(after=f"{found[-1]}0" if found else ""), None)) is not None:
            found.append(entry.key.split("/", 1)[0])
        return found

    return Stores(
        url,
        "s3",
        S3Blobs(bucket),
        lambda shard: S3Store(journals.under(f"{shard}/"), token=token),
        folders,
    )
