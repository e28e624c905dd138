"""Durability: torn commits are never read, what nothing depends on is set aside, the rest is refused."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from pathlib import Path
from threading import Barrier

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from lake.delta import log_check
from lake.delta.contract import Contract
from lake.delta.log_check import WHOLE
from lake.delta.log_entry import fault, version_of
from lake.delta.properties import CHECKPOINTED
from lake.delta.table import Table
from lake.delta.tables import create_table, list_tables, open_table, table_exists
from lake.errors import TableDamaged, TableMissing
from lake.maintenance.compaction import compact_table
from lake.paths import Lake

NAME = "silver.things"
SCHEMA = Contract.of({"id": "BIGINT", "amount": "DECIMAL(18,2)?", "month": "DATE"}).schema
JUNE, JULY = date(2026, 6, 1), date(2026, 7, 1)
# What a power cut leaves of a file that was not synced.
TEARS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "half": lambda content: content[: len(content) // 2],
    "one_line": lambda content: content.splitlines(keepends=True)[0],
    "no_end": lambda content: content[:-3],
    "zero_block": lambda content: content[:40] + bytes(40) + content[80:],
    "no_first_line": lambda content: b"".join(content.splitlines(keepends=True)[1:]),
}


def rows(*ids: int, month: date = JUNE) -> pa.Table:
    """Return rows of the test's table."""
    items = [{"id": key, "amount": Decimal(key), "month": month} for key in ids]
    return pa.Table.from_pylist(items, schema=SCHEMA)


def ids(lake: Lake, version: int | None = None) -> list[int]:
    """Return the ids in a version."""
    return sorted(open_table(lake, NAME, version).read(["id"])["id"].to_pylist())


def log_file(lake: Lake, name: str) -> Path:
    """Return a file in the table's log; a number is an entry."""
    return Path(lake.uri(NAME)) / "_delta_log" / (f"{int(name):020d}.json" if name.isdigit() else name)


def damage(file: Path, change: Callable[[bytes], bytes], *, is_sealed: bool) -> None:
    """Change a file of the log as a power cut (not sealed yet) or a failing disk (sealed) does."""
    content = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(change(content))
    if is_sealed:
        file.chmod(0o444)
    WHOLE.clear()  # as after a restart


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake whose commits are synced."""
    return Lake(root=str(tmp_path / "lake"))


@pytest.fixture
def table(lake: Lake) -> Table:
    """A table with two commits: order 1 in version 1, orders 2 and 3 in two files in version 2."""
    table = create_table(lake, NAME, SCHEMA, partition_by=["month"])
    table.append(rows(1))
    table.append(pa.concat_tables([rows(2), rows(3, month=JULY)]))
    return table


@pytest.fixture
def after_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine was started after the last change of every file."""
    monkeypatch.setattr(log_check, "booted_at", lambda: time.time() + 60)


def unseal(lake: Lake) -> None:
    """Take the seals from a log, as a copy does that keeps no permissions."""
    for file in log_file(lake, "0").parent.iterdir():
        file.chmod(0o644)


def state_of(lake: Lake) -> dict[str, tuple[int, ...]]:
    """Return what a write to any file or folder of a lake would change."""
    paths = sorted(Path(lake.root).rglob("*"))
    stats = {str(path): path.lstat() for path in paths}
    return {path: (s.st_ino, s.st_size, s.st_mode, s.st_mtime_ns, s.st_ctime_ns) for path, s in stats.items()}


@pytest.mark.usefixtures("after_cut")
@pytest.mark.parametrize("tear", TEARS)
def test_a_torn_commit_that_was_not_synced_is_as_if_never_made(lake: Lake, table: Table, tear: str) -> None:
    """The table opens at the version before, and the next commit takes the number."""
    damage(log_file(lake, "2"), TEARS[tear], is_sealed=False)
    assert ids(lake) == [1]
    opened = open_table(lake, NAME)
    assert (opened.version, opened.append(rows(4))) == (1, 2)
    assert ids(lake) == [1, 4]


@pytest.mark.parametrize("tear", TEARS)
def test_a_torn_commit_that_was_synced_is_refused(lake: Lake, table: Table, tear: str) -> None:
    """Others may depend on it, so the table is refused; older versions are read as ever."""
    damage(log_file(lake, "2"), TEARS[tear], is_sealed=True)
    with pytest.raises(TableDamaged, match=r"^silver\.things: log entry 2 .*run `just repair`$"):
        open_table(lake, NAME)
    with pytest.raises(TableDamaged):
        table.refresh()
    assert ids(lake, 1) == [1]


@pytest.mark.parametrize("tear", TEARS)
def test_a_torn_commit_below_a_synced_one_is_refused(lake: Lake, table: Table, tear: str) -> None:
    """A commit that others were built upon is never dropped, whatever its own permissions are."""
    table.append(rows(5))
    damage(log_file(lake, "2"), TEARS[tear], is_sealed=False)
    with pytest.raises(TableDamaged, match="log entry 2"):
        open_table(lake, NAME)
    assert log_file(lake, "2").exists()


@pytest.mark.usefixtures("after_cut")
def test_commits_upon_a_torn_one_leave_with_it(lake: Lake, table: Table) -> None:
    """Two processes committed when the power was cut, and neither commit was synced."""
    table.append(rows(5))
    damage(log_file(lake, "3"), lambda content: content, is_sealed=False)
    damage(log_file(lake, "2"), TEARS["half"], is_sealed=False)
    assert ids(lake) == [1]


@pytest.mark.parametrize("tear", TEARS)
@pytest.mark.parametrize("number", [1, 2])
def test_a_commit_that_was_torn_since_the_machine_started_is_damage(
    lake: Lake, table: Table, number: int, tear: str
) -> None:
    """No power cut explains it, even if it is not sealed: a program made it writable and emptied it."""
    damage(log_file(lake, str(number)), TEARS[tear], is_sealed=False)
    with pytest.raises(TableDamaged, match=f"log entry {number} .*`just repair`"):
        open_table(lake, NAME)
    assert log_file(lake, str(number)).exists()


@pytest.mark.usefixtures("after_cut")
@pytest.mark.parametrize("number", [0, 1, 3, 7])
def test_a_torn_commit_with_a_long_tail_is_damage(lake: Lake, table: Table, number: int) -> None:
    """In a log that lost its seals, a power cut explains only that the last entry is torn."""
    for key in range(3, 8):
        table.append(rows(key))
    unseal(lake)
    damage(log_file(lake, str(number)), TEARS["empty"], is_sealed=False)
    if number == 7:
        assert open_table(lake, NAME).version == 6
        return
    with pytest.raises(TableDamaged, match=f"log entry {number} is empty"):
        open_table(lake, NAME)
    assert len(list(log_file(lake, "0").parent.glob("torn#*"))) == 0


@pytest.mark.usefixtures("after_cut")
@pytest.mark.parametrize("hours", [0, 1])
def test_a_log_without_seals_that_was_written_over_hours_is_damaged(
    lake: Lake, table: Table, hours: int
) -> None:
    """Where permissions are not kept, the times of the entries tell a long log from one cut."""
    unseal(lake)
    damage(log_file(lake, "2"), TEARS["half"], is_sealed=False)
    now = time.time()
    os.utime(log_file(lake, "0"), (now - 3600 * hours, now - 3600 * hours))
    if hours:
        with pytest.raises(TableDamaged):
            open_table(lake, NAME)
    else:
        assert ids(lake) == [1]


@pytest.mark.usefixtures("after_cut")
def test_a_version_that_others_name_is_never_set_aside(lake: Lake, table: Table) -> None:
    """What opens a version by its number depends on it, so it was synced."""
    damage(log_file(lake, "2"), TEARS["half"], is_sealed=False)
    with pytest.raises(TableDamaged):
        open_table(lake, NAME, 2)
    assert log_file(lake, "2").exists()


@pytest.mark.parametrize("kind", ["entry", "checkpoint_and_entry"])
def test_an_emptied_entry_that_is_still_sealed_is_damage(lake: Lake, table: Table, kind: str) -> None:
    """The system's root empties a read-only file without a change of its permissions."""
    expected = fill(lake, table)
    file = log_file(lake, str(table.version if kind == "entry" else CHECKPOINTED - 1))
    damage(file, TEARS["empty"], is_sealed=True)
    if kind == "entry":
        with pytest.raises(TableDamaged, match="is empty"):
            open_table(lake, NAME)
        return
    assert ids(lake) == expected
    with pytest.raises(TableDamaged, match=f"log entry {CHECKPOINTED - 1} is empty"):
        open_table(lake, NAME).appended("id", after=1)


def test_a_version_that_the_log_lost_is_no_empty_change(lake: Lake, table: Table) -> None:
    """If the last entries were deleted, a build must not take this for no new rows."""
    log_file(lake, "2").unlink()
    with pytest.raises(TableDamaged, match="its log ends before version 2"):
        open_table(lake, NAME).appended("id", after=2)


@pytest.mark.parametrize("has_checkpoint", [False, True])
def test_a_version_without_an_entry_before_it_is_not_blamed_on_a_vacuum(
    lake: Lake, table: Table, has_checkpoint: bool
) -> None:
    """If the head misses the entry too, a repair heals it; after a newer checkpoint nothing does."""
    for key in range(4, 16 if has_checkpoint else 8):
        table.append(rows(key))
    log_file(lake, "3").unlink()
    kind, step = (TableMissing, "a newer release") if has_checkpoint else (TableDamaged, "`just repair`")
    with pytest.raises(kind, match=f"log entry 3 is missing, so version 6 .*{step}"):
        open_table(lake, NAME, 6)
    assert ids(lake, 2) == [1, 2, 3]


@pytest.mark.usefixtures("after_cut")
@pytest.mark.parametrize("how", ["torn", "not_sealed", "torn_hint", "doubtful_checkpoint", "whole"])
def test_a_reader_changes_no_file(lake: Lake, table: Table, how: str) -> None:
    """It reads what a writer would read after it had set the torn commit aside."""
    expected = fill(lake, table)
    reader = Lake(root=lake.root, read_only=True)
    opened = open_table(reader, NAME)
    if how == "torn":
        damage(log_file(lake, str(table.version)), TEARS["half"], is_sealed=False)
        expected.remove(10 + CHECKPOINTED - 1)
    elif how == "torn_hint":
        damage(log_file(lake, "_last_checkpoint"), lambda _: b"{", is_sealed=False)
    elif how != "whole":
        unseal(lake)
    before = state_of(lake)
    assert ids(reader) == expected
    opened.refresh()
    assert sorted(opened.read(["id"])["id"].to_pylist()) == expected
    assert table_exists(reader, NAME)
    assert state_of(lake) == before
    assert ids(lake) == expected


@pytest.mark.usefixtures("after_cut")
def test_a_reader_of_a_torn_first_commit_finds_no_table(lake: Lake) -> None:
    """It leaves the file to the next writer."""
    create_table(lake, NAME, SCHEMA)
    damage(log_file(lake, "0"), TEARS["empty"], is_sealed=False)
    reader, before = Lake(root=lake.root, read_only=True), state_of(lake)
    assert not table_exists(reader, NAME)
    with pytest.raises(TableMissing):
        open_table(reader, NAME)
    assert state_of(lake) == before


@pytest.mark.usefixtures("after_cut")
def test_a_torn_checkpoint_is_left_to_a_writer(lake: Lake, table: Table) -> None:
    """A reader can't read around it, and reports it."""
    expected = fill(lake, table)
    (checkpoint,) = log_file(lake, "0").parent.glob("*.checkpoint.parquet")
    damage(checkpoint, TEARS["half"], is_sealed=False)
    with pytest.raises(TableDamaged, match="checkpoint 9 is torn"):
        open_table(Lake(root=lake.root, read_only=True), NAME)
    assert ids(lake) == expected


@pytest.mark.usefixtures("after_cut")
def test_a_checkpoint_is_not_given_up_for_a_damaged_entry(lake: Lake, table: Table) -> None:
    """A doubtful checkpoint without its seal is better than the entries it replaces if one is empty."""
    expected = fill(lake, table)
    unseal(lake)
    damage(log_file(lake, "3"), TEARS["empty"], is_sealed=False)
    assert ids(lake) == expected


def test_a_disk_without_permissions_is_named_in_the_log(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If a seal does not stick, that is logged once."""
    monkeypatch.setattr(Path, "chmod", lambda *_: None)
    table = create_table(lake, NAME, SCHEMA)
    table.append(rows(1))
    assert capsys.readouterr().out.count("lake.permissions_not_kept") == 1


@pytest.mark.usefixtures("after_cut")
def test_a_torn_first_commit_is_no_table(lake: Lake) -> None:
    """The next writer creates the table."""
    create_table(lake, NAME, SCHEMA)
    damage(log_file(lake, "0"), TEARS["empty"], is_sealed=False)
    assert not table_exists(lake, NAME)
    assert list_tables(lake, "silver") == []
    with pytest.raises(TableMissing):
        open_table(lake, NAME)
    assert create_table(lake, NAME, SCHEMA).append(rows(7)) == 1


@pytest.mark.parametrize(
    "value",
    [
        '"size":',
        r"numRecords\":",
        r"minValues\":{\"id\":",
        "month=2026-0",
        '"partitionValues":{"month":"2026-0',
        '"commitVersion":"',
    ],
)
def test_a_changed_figure_in_a_commit_is_refused(lake: Lake, table: Table, value: str) -> None:
    """A statistic with another digit would let queries skip files; a path would be another file's."""

    def flip(content: bytes) -> bytes:
        at = content.index(value.encode()) + len(value)
        return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]

    damage(log_file(lake, "2"), flip, is_sealed=True)
    with pytest.raises(TableDamaged, match=r"log entry 2 (has changed since|is that of version)"):
        open_table(lake, NAME)


@pytest.mark.parametrize(("number", "other"), [(2, 1), (1, 2), (1, 0)])
def test_a_whole_entry_of_another_version_is_refused(
    lake: Lake, table: Table, number: int, other: int
) -> None:
    """A disk, or a person, put an older or newer entry in its place."""
    content = log_file(lake, str(other)).read_bytes()
    damage(log_file(lake, str(number)), lambda _: content, is_sealed=True)
    with pytest.raises(TableDamaged, match=f"log entry {number} is that of version {other}"):
        open_table(lake, NAME)


@pytest.mark.parametrize("tear", ["empty", "zeros", "half", "no_end"])
@pytest.mark.parametrize("is_sealed", [True, False])
def test_a_torn_checkpoint_is_not_read(lake: Lake, table: Table, tear: str, is_sealed: bool) -> None:
    """The log still has the entries that it replaces, so the table is read from these."""
    expected = fill(lake, table)
    (checkpoint,) = log_file(lake, "0").parent.glob("*.checkpoint.parquet")
    damage(checkpoint, TEARS[tear], is_sealed=is_sealed)
    assert ids(lake) == expected
    assert not checkpoint.exists()


def test_a_checkpoint_that_a_power_cut_may_have_torn_is_not_read(lake: Lake, table: Table) -> None:
    """It was written before the machine started and never synced: some of its pages may be zeros."""
    expected = fill(lake, table)
    (checkpoint,) = log_file(lake, "0").parent.glob("*.checkpoint.parquet")
    damage(checkpoint, TEARS["zero_block"], is_sealed=False)
    os.utime(checkpoint, (0, 0))
    assert ids(lake) == expected
    assert not checkpoint.exists()


def test_an_old_checkpoint_of_a_cleaned_log_is_read(lake: Lake, table: Table) -> None:
    """An older release of this project synced and sealed nothing; its checkpoints still count."""
    expected = fill(lake, table)
    (checkpoint,) = log_file(lake, "0").parent.glob("*.checkpoint.parquet")
    damage(checkpoint, lambda content: content, is_sealed=False)
    os.utime(checkpoint, (0, 0))
    for number in range(CHECKPOINTED - 1):
        log_file(lake, str(number)).unlink()
    assert ids(lake) == expected


def test_a_torn_checkpoint_without_its_entries_is_refused(lake: Lake, table: Table) -> None:
    """If the entries it replaces were cleaned up, the rows can't be known."""
    fill(lake, table)
    (checkpoint,) = log_file(lake, "0").parent.glob("*.checkpoint.parquet")
    for number in range(CHECKPOINTED):
        log_file(lake, str(number)).unlink()
    damage(checkpoint, TEARS["half"], is_sealed=True)
    with pytest.raises(TableDamaged, match="checkpoint 9 is torn"):
        open_table(lake, NAME)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[1]", b'{"version":99}', bytes(60)])
def test_a_torn_hint_to_the_last_checkpoint_is_ignored(lake: Lake, table: Table, content: bytes) -> None:
    """Readers then list the log."""
    expected = fill(lake, table)
    damage(log_file(lake, "_last_checkpoint"), lambda _: content, is_sealed=False)
    assert ids(lake) == expected


def fill(lake: Lake, table: Table) -> list[int]:
    """Append until the table has a checkpoint; return its ids."""
    for number in range(CHECKPOINTED):
        table.append(rows(10 + number))
    return ids(lake)


def test_every_kind_of_commit_is_whole_and_sealed(lake: Lake, table: Table) -> None:
    """Append, replacement of a partition and of all, other columns, deletion, restore, checkpoint."""
    table.replace(rows(4), [JUNE])
    table.replace(rows(5, 6))
    table.append(rows(7))
    table.redefine(rows(8).append_column("name", pa.array(["a"])), partition_by=["month"])
    table.delete("id = 8")
    table.restore(1)
    while table.version <= CHECKPOINTED:
        table.append(rows(9))
    compact_table(lake, NAME, "2026-08-01")
    files = [file for file in log_file(lake, "0").parent.iterdir() if file.name[0].isdigit()]
    assert len(files) > CHECKPOINTED + 1
    assert [file.name for file in files if file.stat().st_mode & 0o222] == []
    written = [file for file in files if file.suffix == ".json"]
    assert [fault(file.read_bytes(), version_of(file.name)) for file in written] == [None] * (len(files) - 2)
    assert [log_file(lake, "0").parent.joinpath(f.name) for f in files if "#" in f.name] == []


def test_a_commit_of_another_program_is_accepted(lake: Lake, table: Table) -> None:
    """Its entry states no files; it is sealed by the first command that opens the table."""
    DeltaTable(lake.uri(NAME)).delete("id = 3")
    assert ids(lake) == [1, 2]
    assert not log_file(lake, "3").stat().st_mode & 0o222


def test_files_are_synced_before_their_commit_and_the_commit_before_the_call_returns(
    lake: Lake, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of syncs: data files and their folder, then the entry and the log's folder."""
    synced: list[tuple[str, bool]] = []
    real = os.fsync

    def spy(handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        synced.append((path.removeprefix(lake.uri(NAME)), log_file(lake, "3").exists()))
        real(handle)

    monkeypatch.setattr(os, "fsync", spy)
    table.append(rows(4))
    before = [path for path, is_committed in synced if not is_committed]
    after = [path for path, is_committed in synced if is_committed]
    assert [path.endswith(".parquet") for path in before] == [True, False, False]
    assert before[1:] == ["/month=2026-06-01", ""]
    assert after == [f"/_delta_log/{3:020d}.json", "/_delta_log"]


def test_concurrent_creations_make_one_commit(lake: Lake) -> None:
    """Delta would make a second one after the first, which states that it is the first."""
    for number in range(5):
        name = f"silver.things_{number}"
        start = Barrier(4)

        def create(name: str = name, start: Barrier = start) -> int:
            start.wait()
            return create_table(lake, name, SCHEMA).version

        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(create) for _ in range(4)]
        assert [future.result() for future in futures] == [0] * 4
        assert [file.name for file in Path(lake.uri(name)).glob("_delta_log/*.json")] == [f"{0:020d}.json"]


def test_folders_that_another_process_created_are_synced(lake: Lake, synced: set[str]) -> None:
    """It was killed before it synced them. All that is written later would be lost with these folders."""
    DeltaTable.create(lake.uri(NAME), SCHEMA)
    create_table(lake, NAME, SCHEMA).append(rows(1))
    table, root = Path(lake.uri(NAME)), Path(lake.place)
    assert {str(path) for path in (table, table.parent, root, root.parent, root.parent.parent)} <= synced


def test_a_scratch_lake_is_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[lake] durable = false: commits do not wait for the disk; torn ones are still refused."""
    monkeypatch.setattr(os, "fsync", lambda handle: pytest.fail("synced"))
    lake = Lake(root=str(tmp_path / "scratch"), durable=False)
    table = create_table(lake, NAME, SCHEMA, partition_by=["month"])
    table.append(rows(1))
    damage(log_file(lake, "1"), TEARS["empty"], is_sealed=True)
    with pytest.raises(TableDamaged):
        open_table(lake, NAME)
