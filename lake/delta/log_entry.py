"""Log entry: the content of one commit in a table's log, and whether it is whole.

Each line of an entry is an action in JSON; the first one describes the commit. delta-rs reads an
empty entry as a commit without changes, and one that ends between two lines as a smaller commit.
So each commit of this project states its own number, and the number and the digest of the files that it
adds and removes. An entry that stands in place of another one is thereby found too.
"""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec import structs

# Keys of Delta's commitInfo that this project adds.
VERSION, ADDED, REMOVED, DIGEST = "commitVersion", "filesAdded", "filesRemoved", "actionsDigest"
COLUMNS_DIGEST = "columnsDigest"


class Action(msgspec.Struct, frozen=True):
    """A file that a commit adds or removes; ``size`` in bytes, ``stats`` the statistics as JSON text."""

    path: str
    size: int | None = None
    stats: str | None = None
    partitionValues: Mapping[str, str | None] = {}


class Metadata(msgspec.Struct, frozen=True):
    """The columns of a table: their schema as JSON text, the partition columns, and the properties."""

    schemaString: str
    partitionColumns: list[str]
    configuration: dict[str, str]


class Protocol(msgspec.Struct, frozen=True):
    """The versions of Delta's protocol that a reader and a writer need."""

    minReaderVersion: int
    minWriterVersion: int


class Line(msgspec.Struct, frozen=True):
    """One line of an entry, without actions that name no file and no columns."""

    commitInfo: dict[str, Any] | None = None
    add: Action | None = None
    remove: Action | None = None
    metaData: Metadata | None = None
    protocol: Protocol | None = None


class OwnAdd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that a commit of this project adds, with all keys that Delta requires."""

    path: str
    partitionValues: dict[str, str | None]
    size: int
    modificationTime: int
    dataChange: bool
    stats: str | None = None
    tags: dict[str, str | None] | None = None
    deletionVector: None = None
    baseRowId: None = None
    defaultRowCommitVersion: None = None
    clusteringProvider: None = None


class OwnRemove(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that a commit of this project removes, with all keys that Delta requires."""

    path: str
    dataChange: bool
    deletionTimestamp: int | None = None
    extendedFileMetadata: bool | None = None
    partitionValues: dict[str, str | None] | None = None
    size: int | None = None
    stats: str | None = None
    tags: dict[str, str | None] | None = None
    deletionVector: None = None
    baseRowId: None = None
    defaultRowCommitVersion: None = None


class OwnLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of an entry of this project, which has no other action."""

    commitInfo: dict[str, Any] | None = None
    add: OwnAdd | None = None
    remove: OwnRemove | None = None
    metaData: Metadata | None = None
    protocol: Protocol | None = None


decoder = msgspec.json.Decoder(Line)
own_decoder = msgspec.json.Decoder(OwnLine)


def evidence(version: int, added: Iterable[Action], removed: Collection[str]) -> dict[str, str]:
    """Return what the commit of a version states of itself.

    That is its number, the files that it adds, and the paths that it removes. Pure.
    """
    files = list(added)
    return {
        VERSION: str(version),
        ADDED: str(len(files)),
        REMOVED: str(len(removed)),
        DIGEST: digest(files, removed),
    }


def columns_evidence(
    schema: str, partition_by: Iterable[str], configuration: Mapping[str, str]
) -> dict[str, str]:
    """Return what a commit states of the columns that it gives a table; ``schema`` is JSON text. Pure."""
    return {COLUMNS_DIGEST: columns_digest(Metadata(schema, list(partition_by), dict(configuration)))}


def fault(content: bytes, version: int) -> str | None:
    """Return what is wrong with the content of the entry of a version; None if it is whole. Pure.

    An entry of another writer, or of an older release of this project, states no number of files: it
    is whole if each line is, and the first one describes the commit.
    """
    if not content.strip(b"\0 \r\n"):
        return "is empty"
    try:
        lines = decoder.decode_lines(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "is torn"
    info = next((line.commitInfo for line in lines if line.commitInfo), None)
    if info is None:
        return "is torn: it does not describe its commit"
    if VERSION in info and (reason := fault_of_own(content, info[VERSION], version)):
        return reason
    if reason := contradiction(info, lines) if DIGEST in info else None:
        return reason
    columns = next((line.metaData for line in lines if line.metaData), None)
    expected = info.get(COLUMNS_DIGEST)
    if expected and (columns is None or columns_digest(columns) != expected):
        return "has changed since it was written"
    return None


def fault_of_own(content: bytes, stated: str, version: int) -> str | None:
    """Return what is wrong with an entry that states its version; None if nothing is. Pure."""
    if stated != str(version):
        return f"is that of version {stated}"
    try:
        lines = own_decoder.decode_lines(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "has changed since it was written"
    is_described = any(line.protocol for line in lines) and any(line.metaData for line in lines)
    return None if version or is_described else "does not describe its table"


def stated_columns(content: bytes) -> Metadata | None:
    """Return the columns in a damaged entry if they are those that its commit stated; else None. Pure."""
    found: list[Line] = []
    for text in content.splitlines():
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            found.append(decoder.decode(text))
    columns = next((line.metaData for line in found if line.metaData), None)
    expected = next((line.commitInfo.get(COLUMNS_DIGEST) for line in found if line.commitInfo), None)
    return columns if columns and expected == columns_digest(columns) else None


def version_of(path: str) -> int:
    """Return the version that the name of an entry states. Pure."""
    return int(path.rpartition("/")[2].partition(".")[0])


def added_paths(content: bytes) -> list[str]:
    """Return the paths of the files that a whole entry adds. Pure."""
    return [unquote(line.add.path) for line in decoder.decode_lines(content) if line.add]


def named_paths(content: bytes) -> list[str]:
    """Return the paths of the files that a whole entry adds or removes. Pure."""
    lines = decoder.decode_lines(content)
    return [unquote(action.path) for line in lines for action in (line.add, line.remove) if action]


def contradiction(info: Mapping[str, Any], lines: Iterable[Line]) -> str | None:
    """Return how the files of an entry differ from what its commit stated; None if they agree. Pure."""
    files = list(lines)
    added = [structs.replace(line.add, path=unquote(line.add.path)) for line in files if line.add]
    removed = [unquote(line.remove.path) for line in files if line.remove]
    counts = f"{len(added)} added and {len(removed)} removed files"
    if [str(len(added)), str(len(removed))] != [info.get(ADDED), info.get(REMOVED)]:
        return f"is torn: it has {counts} of {info.get(ADDED)} and {info.get(REMOVED)}"
    return None if digest(added, removed) == info[DIGEST] else "has changed since it was written"


def digest(added: Iterable[Action], removed: Iterable[str]) -> str:
    """Return the digest of the files, in any order, as 32 hexadecimal digits. Pure."""
    files = sorted(
        (file.path, file.size, file.stats or "", sorted(file.partitionValues.items())) for file in added
    )
    return blake2b(msgspec.json.encode([files, sorted(removed)]), digest_size=16).hexdigest()


def columns_digest(columns: Metadata) -> str:
    """Return the digest of a table's columns, whatever the order of keys in them. Pure."""
    try:
        schema = msgspec.json.decode(columns.schemaString)
    except msgspec.DecodeError:
        return ""
    parts = [schema, columns.partitionColumns, columns.configuration]
    return blake2b(msgspec.json.encode(parts, order="sorted"), digest_size=16).hexdigest()
