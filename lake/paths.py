"""Paths: the location of a lake and its tables (``silver.orders`` to a URI), and a user's temporary folders.

No other module joins the paths of a lake. If its root has a scheme, the lake is in an object
store. It is read through Delta's own client, so that the credentials of the environment serve
tables and all other files.
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

from lake.errors import LakeError, UsageError, is_disk_full
from lake.messages import has_secret

LAYERS = ("bronze", "rules", "silver", "gold", "ops")
# The folder of a lake's locks.
LOCKS = ".locks"
# Seconds that a process waits for another one that has a lock of the lake.
LOCK_SECONDS = 900.0
# Permissions of a lake's folder: of its owner alone, or of the owner's group to read as well.
OWNER_ONLY, GROUP_READS = 0o700, 0o750
# Permissions of the group and of other users, and those to enter a folder.
OTHERS, EXECUTE_BY_OTHERS = 0o077, 0o011
STORE = re.compile(r"(s3|s3a|gs|az|azure|adl|abfs|abfss)://[^/].*", re.DOTALL)
# Characters of a path that Delta or DuckDB reads as a pattern, a separator or a part of an address.
SPECIAL = "[]*?|^\\"
# A character that is written by its number; Delta would use the character itself.
ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")
# Parts of a prefix in an object store that are lost in its address.
ODD_KEY = re.compile(r"#|//|/\.\.?(?=/|$)")
# The next step after a root is refused.
OTHER = "name another folder, or a prefix in an object store"
# Limits in bytes: of the system for one name, and for a path with room for what a lake adds.
LONGEST_NAME, LONGEST_PATH = 255, 3_500


class Lake(msgspec.Struct, frozen=True):
    """The location of a lake: a folder, or the URI of a prefix in an object store.

    Credentials come from the environment. ``mode`` are the permissions of the folder when it is created.
    If ``durable``, commits on a disk are synced. ``lock_seconds`` limits the wait for a lock. If
    ``read_only``, opening a table changes no file. Raises UsageError if no lake can be at the root.
    """

    root: str
    mode: int = OWNER_ONLY
    durable: bool = True
    lock_seconds: float = LOCK_SECONDS
    read_only: bool = False

    def __post_init__(self) -> None:
        if reason := fault(self.root):
            raise UsageError(f"{shown_root(self.root)}: {reason}")

    @property
    def is_local(self) -> bool:
        """True if the lake is a folder of this machine."""
        return "://" not in self.root

    def uri(self, table: str) -> str:
        """Return the URI of a Delta table; ``table`` is ``layer.name``. Raises ValueError for no layer."""
        layer, name = table.split(".")
        if layer not in LAYERS:
            raise ValueError(f"{table}: {layer} is not a layer; the layers are {', '.join(LAYERS)}")
        return f"{self.place}/{layer}/{name}"

    @property
    def place(self) -> str:
        """The absolute root, without links, and without a slash at its end."""
        return os.path.realpath(self.root) if self.is_local else self.root.rstrip("/")

    @property
    def catalogue(self) -> Path | None:
        """The DuckDB file with views for analysts; None in an object store: DuckDB can't open one there."""
        return Path(self.place) / "lake.duckdb" if self.is_local else None

    @property
    def locks(self) -> Path | None:
        """The folder of the locks; None in an object store, which has none."""
        return Path(self.place) / LOCKS if self.is_local else None

    def refuse_unusable(self) -> None:
        """Raise UsageError if something that is no folder, or a folder of other users, is at a local root."""
        if not self.is_local:
            return
        try:
            is_folder = stat.S_ISDIR(os.stat(self.place).st_mode)
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(
                f"{shown_root(self.root)}: no lake can be there ({error.strerror}); {OTHER}"
            ) from None
        if not is_folder:
            raise UsageError(f"{shown_root(self.root)}: it is no folder; {OTHER}")
        if not can(self.place, os.R_OK | os.X_OK):
            raise UsageError(f"{shown_root(self.root)}: this user can't read it; {OTHER}")

    def open_to(self) -> int:
        """Return the permissions by which more users than ``mode`` allows can reach a local lake; 0 for none.

        A lake of another user counts as closed, because only its owner can close it.
        """
        if not self.is_local:
            return 0
        folder = Path(self.place)
        try:
            status = folder.stat()
            is_reachable = all(parent.stat().st_mode & EXECUTE_BY_OTHERS for parent in folder.parents)
        except OSError:
            return 0
        is_own = os.geteuid() in (0, status.st_uid)
        return status.st_mode & OTHERS & ~self.mode if is_own and is_reachable else 0

    @property
    def mode_below(self) -> int:
        """The widest permissions of what is created in the lake: those of its folder, and all never write."""
        try:
            mode = stat.S_IMODE(os.stat(self.place).st_mode) if self.is_local else self.mode
        except OSError:
            mode = self.mode
        return mode & ~stat.S_IWOTH

    def create(self) -> None:
        """Create the folder of a local lake with ``mode`` if it is missing, and its parents as usual.

        Raises UsageError if this user can't create it, or can't write in it.
        """
        self.refuse_unusable()
        folder = Path(self.place)
        try:
            if self.is_local and not folder.exists():
                folder.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileExistsError):
                    folder.mkdir(mode=OWNER_ONLY)
                    folder.chmod(self.mode)
        except OSError as error:
            if is_disk_full(error):
                raise
            problem = f"no lake can be created there ({error.strerror})"
            raise UsageError(f"{shown_root(self.root)}: {problem}; {OTHER}") from None
        if self.is_local and not can(self.place, os.W_OK | os.X_OK):
            raise UsageError(f"{shown_root(self.root)}: this user can't write in it; {OTHER}")

    def remove(self) -> None:
        """Delete every layer and the catalogue; delete the root too if nothing else is in it."""
        if self.catalogue is None:
            for layer in LAYERS:
                open_store(self.place).delete_dir(layer)
            return
        for folder in (*LAYERS, LOCKS):
            shutil.rmtree(Path(self.place) / folder, ignore_errors=True)
        for file in Path(self.place).glob(f"{self.catalogue.name}*"):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            Path(self.place).rmdir()

    def tables(self, layer: str) -> list[str]:
        """Return the names of a layer's tables.

        In an object store this includes a table whose first files are written but not committed;
        ``list_tables`` checks for a log.
        """
        if self.is_local:
            logs = (Path(self.place) / layer).glob("*/_delta_log")
            return sorted(f"{layer}.{log.parent.name}" for log in logs)
        # An object store has no empty folders.
        infos = open_store(self.place).get_file_info(pafs.FileSelector(layer, allow_not_found=True))
        return sorted(f"{layer}.{info.base_name}" for info in infos if info.type == pafs.FileType.Directory)


def fault(root: str) -> str | None:
    """Return why no lake can be at a root, whatever is there; None if one can.

    A folder is judged by its absolute path, with and without links.
    """
    if not root.strip():
        return "it is empty; name a folder, or a prefix in an object store"
    is_store = "://" in root or re.match(r"\w[\w+.-]+:/", root)
    if root.startswith("~") or (is_store and not STORE.fullmatch(root)):
        return f"no lake can be there; {OTHER}: s3://bucket/lake (gs://, az://)"
    if "\0" in root:
        return f"it contains {shown(chr(0))}; {OTHER}"
    if is_store and re.match(r"\w+://[^/]*:[^/]*@", root):
        return "it has a key in it, which would be recorded; give credentials in the environment only"
    if is_store and (part := ODD_KEY.search(root.partition("://")[2].rstrip("/"))):
        return f"it contains {part[0]!r}, which an address can't; {OTHER}"
    paths = [root.partition("://")[2]] if is_store else [os.path.abspath(root), os.path.realpath(root)]
    for path in paths:
        if problem := misread(path):
            return f"{'it' if path in root else shown(path)} {problem}; {OTHER}"
    return None


def misread(path: str) -> str | None:
    """Return why a library would take a path for another one; None if none would. Pure."""
    names = path.strip("/").split("/")
    wrong = next((character for character in path if character in SPECIAL or not character.isprintable()), "")
    if found := wrong or next(iter(ESCAPED.findall(path)), ""):
        return f"contains {shown(found)}"
    if name := next((name for name in names if "=" in name or name == "_delta_log"), None):
        return f"contains a folder {name!r}, which is read as part of a table"
    if any(len(name.encode()) > LONGEST_NAME for name in names) or len(path.encode()) > LONGEST_PATH:
        return "is too long"
    return None


def shown_root(root: str) -> str:
    """Return a root in quotes, for a message; without it if it may have a key in it. Pure."""
    return "the root" if has_secret(root) else shown(root)


def can(path: str, access: int) -> bool:
    """Return True if this process, with the rights that it has now, can access a path."""
    return os.access(path, access, effective_ids=os.access in os.supports_effective_ids)


def shown(text: str) -> str:
    """Return a text in quotes, with a code for each character that can't be printed. Pure."""
    return ascii(text) if not text.isprintable() else repr(text)


def open_store(uri: str) -> pafs.FileSystem:
    """Return the file system below an object store's URI; paths are relative to the URI."""
    return pafs.PyFileSystem(DeltaStorageHandler(uri))


def private_folder(name: str) -> Path:
    """Return this user's folder ``name`` below the system's temporary folder; create it if needed.

    Raises LakeError if another user owns a folder of this name: its files could be another user's.
    """
    base = Path(tempfile.gettempdir()) / f"keylake-{os.getuid()}"
    for folder in (base, base / name):
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise LakeError(
                f"{folder} belongs to another user; remove it, or set TMPDIR to a folder of your own"
            )
        folder.chmod(0o700)
    return base / name
