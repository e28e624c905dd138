"""Where things are: ``silver.orders`` to a URI. Nobody else joins the lake's paths.

A root with a scheme is an object store's; it is reached through Delta's own client, so
that one set of credentials, the environment's, serves tables and everything else.
"""

import contextlib
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

import msgspec
import pyarrow.fs as pafs
from deltalake.fs import DeltaStorageHandler

from lake.errors import LakeError, UsageError

LAYERS = ("bronze", "rules", "silver", "gold", "ops")
STORE = re.compile(r"(s3|s3a|gs|az|azure|adl|abfs|abfss)://[^/].*")


class Lake(msgspec.Struct, frozen=True):
    """A lake's place: a folder, or the URI of an object store's prefix (credentials: environment)."""

    root: str

    def __post_init__(self) -> None:
        if found := fault(self.root):
            raise UsageError(f"{self.root!r}: {found}")

    @property
    def is_local(self) -> bool:
        """True where the lake is a folder of this machine."""
        return "://" not in self.root

    def uri(self, table: str) -> str:
        """Return the Delta table's URI; ``table`` is ``layer.name``."""
        layer, name = table.split(".")
        if layer not in LAYERS:
            raise ValueError(f"{table}: {layer} is no layer; the layers are {', '.join(LAYERS)}")
        return f"{self.place}/{layer}/{name}"

    @property
    def place(self) -> str:
        """The root, absolute, without a slash at its end."""
        return str(Path(self.root).absolute()) if self.is_local else self.root.rstrip("/")

    @property
    def catalogue(self) -> Path | None:
        """The file of views for analysts; None in an object store, where DuckDB opens no database."""
        return Path(self.place) / "lake.duckdb" if self.is_local else None

    def remove(self) -> None:
        """Delete the lake: every layer, the catalogue, and the root where nothing else is in it."""
        if self.catalogue is None:
            for layer in LAYERS:
                open_store(self.place).delete_dir(layer)
            return
        for layer in LAYERS:
            shutil.rmtree(Path(self.place) / layer, ignore_errors=True)
        for file in Path(self.place).glob(f"{self.catalogue.name}*"):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            Path(self.place).rmdir()

    def tables(self, layer: str) -> list[str]:
        """Return the names of the tables that the lake has in a layer.

        In a store also of what a first build is writing files of; ``list_tables`` looks for a log.
        """
        if self.is_local:
            logs = (Path(self.place) / layer).glob("*/_delta_log")
            return sorted(f"{layer}.{log.parent.name}" for log in logs)
        # A store has no empty folders.
        found = open_store(self.place).get_file_info(pafs.FileSelector(layer, allow_not_found=True))
        return sorted(f"{layer}.{info.base_name}" for info in found if info.type == pafs.FileType.Directory)


def fault(root: str) -> str | None:
    """Return why no lake can be at a root; None where one can. Pure."""
    if not root.strip():
        return "it is empty; name a folder, or a place in an object store"
    is_store = "://" in root or re.match(r"\w[\w+.-]+:/", root)
    if root.startswith("~") or (is_store and not STORE.fullmatch(root)):
        return "it is no place of a lake; name a folder, or one in an object store: s3://bucket/lake (gs://, az://)"
    return None


def open_store(uri: str) -> pafs.FileSystem:
    """Return the files below an object store's URI, by their paths relative to it."""
    return pafs.PyFileSystem(DeltaStorageHandler(uri))


def private_folder(name: str) -> Path:
    """Return a folder of this user's under the system's temporary one, made at need.

    Raises LakeError where somebody else has taken its name: what lies there could be his.
    """
    base = Path(tempfile.gettempdir()) / f"keylake-{os.getuid()}"
    for folder in (base, base / name):
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise LakeError(
                f"{folder} belongs to somebody else; remove it, or set TMPDIR to a folder of yours"
            )
        folder.chmod(0o700)
    return base / name
