"""Backup: a copy that is a lake, copies only new files, and is complete at any moment."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner
from deltalake import DeltaTable

from lake.backup.backup import MANIFEST, UnfinishedRestore, back_up, read_manifest, restore
from lake.cli.backups import COMMANDS
from lake.delta.checksum_file import SUFFIX
from lake.delta.files import ASIDE, Files
from lake.delta.properties import CHECKPOINTED
from lake.delta.tables import open_table
from lake.errors import CommitConflict, LakeError, NoRelease, TableDamaged, UsageError
from lake.maintenance.verification import verify
from lake.paths import Lake
from lake.query.catalogue import catalogue_release
from lake.query.session import open_session
from lake.releases.release import current_release, find_release, publish
from lake.releases.restores import RESTORES, UNFINISHED, read_restores, write_restore
from tests.lake.maintenance.test_verification import file_of, rot
from tests.support.built_lake import ENGINE, FEW, Shop, ingested_shop
from tests.support.simulated_lake import renamed
from tests.transform.test_crash import grow

pytestmark = pytest.mark.slow

NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
MONEY = {model.name: model.header.money for model in FEW if model.header.money}
# A program that reads a restored lake with deltalake and duckdb alone, without the code of this project.
DRILL = """
import json, os, sys
import duckdb
from deltalake import DeltaTable

place, columns = sys.argv[1], json.loads(sys.argv[2])
releases = DeltaTable(f"{place}/ops/releases").to_pyarrow_dataset().to_table(use_threads=False).to_pylist()
newest = max(releases, key=lambda row: row["release"])
found = {}
for name, version in newest["tables"]:
    table = DeltaTable(f"{place}/{name.replace('.', '/')}", version=version)
    assert DeltaTable(table.table_uri).version() == version, name
    files = [uri.removeprefix("file://") for uri in table.file_uris()]
    money = f"sum({columns[name]})" if name in columns else "null"
    query = f"select count(*), {money}::varchar from read_parquet(?, union_by_name = true)"
    found[name] = duckdb.execute(query, [files]).fetchone() if files else (0, None)
recorded = {
    name: (rows, str(money) if (money := dict(newest["money"]).get(name)) is not None else None)
    for name, rows in newest["rows"]
}
assert not {"lake", "ingest", "transform", "serve"} & set(sys.modules)
assert found == recorded, (found, recorded)
print(newest["release"], len(found), flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def first_released(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Return a shop with a few models and one release, which no test changes."""
    shop = ingested_shop(tmp_path_factory.mktemp("released") / "lake", models=FEW)
    shop.publish()
    return shop


@pytest.fixture
def few(first_released: Shop, tmp_path: Path) -> Shop:
    """Return a copy of the shop for one test."""
    return first_released.copy(tmp_path / "lake")


def bytes_in(place: Path) -> dict[str, int]:
    """Return ``{path: bytes}`` of the files below the place, without unfinished ones.

    The checksums of checkpoints are left out: a reader of a lake writes them.
    """
    files = (file for file in place.rglob("*") if file.is_file() and ASIDE not in file.parts)
    files = (file for file in files if file.suffix != SUFFIX)
    return {str(file.relative_to(place)): file.stat().st_size for file in files}


def without_restores(place: Path) -> set[str]:
    """Return the paths of the files that a restore copied, without its own ledger."""
    return {path for path in bytes_in(place) if not path.startswith("ops/restores/")}


def backed_up(shop: Shop, place: Path, **options: Any) -> Any:
    """Back up a shop; return the numbers of the copy."""
    return back_up(shop.lake, str(place), now=NOW, **options)


def restored(backup: Path, place: Path) -> Shop:
    """Restore a backup to a new place; return its shop."""
    restore(str(backup), Lake(root=str(place)))
    return Shop(Lake(root=str(place)), FEW)


def heads_of(shop: Shop, layer: str) -> dict[str, Any]:
    """Return the rows of the head version of each table of a layer."""
    return {name: open_table(shop.lake, name).read().to_pylist() for name in shop.lake.tables(layer)}


def test_a_restored_lake_is_read_without_this_code(few: Shop, tmp_path: Path) -> None:
    """DuckDB and deltalake alone read the rows and sums that the release recorded, from a restored lake."""
    grow(few, 1)
    few.publish()
    backed_up(few, tmp_path / "backup")
    shop = restored(tmp_path / "backup", tmp_path / "restored")
    few.lake.remove()
    drill = subprocess.run(
        [sys.executable, "-I", "-c", DRILL, str(tmp_path / "restored"), json.dumps(MONEY)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert drill.returncode == 0, drill.stderr
    release = current_release(shop.lake)
    assert release
    assert drill.stdout.split() == ["2", str(len(release.tables))]


def test_a_checkpoint_after_the_consumed_version_does_not_prevent_a_restore(
    few: Shop, tmp_path: Path
) -> None:
    """The newest checkpoint is not copied, and neither is the file that points to it."""
    for minute in range(1, CHECKPOINTED + 3):
        grow(few, minute)
    backed_up(few, tmp_path / "backup")
    assert (Path(few.lake.uri("bronze.orders")) / "_delta_log" / "_last_checkpoint").exists()
    shop = restored(tmp_path / "backup", tmp_path / "restored")
    assert heads_of(shop, "bronze") == heads_of(few, "bronze")
    assert few.publish()
    assert shop.publish()
    assert shop.read() == few.read()


def test_a_second_backup_copies_only_new_files(few: Shop, tmp_path: Path) -> None:
    """A backup copies nothing if nothing changed, and otherwise exactly the new files."""
    place = tmp_path / "backup"
    first = backed_up(few, place)
    before = bytes_in(place)
    assert first.bytes == sum(before.values()) - before[MANIFEST]
    again = backed_up(few, place)
    assert (again.files, again.bytes, again.held) == (0, 0, first.files)
    grow(few, 1)
    few.publish()
    second = backed_up(few, place)
    after = bytes_in(place)
    new = {path: size for path, size in after.items() if path not in before}
    assert (second.files, second.bytes) == (len(new), sum(new.values()))
    assert {path: after[path] for path in before if path != MANIFEST} == {
        path: size for path, size in before.items() if path != MANIFEST
    }
    assert second.bytes < first.bytes
    assert Shop(Lake(root=str(place)), FEW).read() == few.read()


def test_builds_of_a_restored_lake_equal_those_of_the_original(few: Shop, tmp_path: Path) -> None:
    """The backup has observations that no build has consumed yet; the next builds use them."""
    grow(few, 1)
    backed_up(few, tmp_path / "backup")
    shop = restored(tmp_path / "backup", tmp_path / "restored")
    assert shop.read() == few.read()
    assert {name: at for name, at in shop.heads().items() if name != RESTORES}.items() <= few.heads().items()
    assert heads_of(shop, "bronze") == heads_of(few, "bronze")
    changes = DeltaTable(shop.lake.uri("bronze.orders"))
    since = few.publish().tables and current_release(shop.lake)
    assert since
    feed = changes.load_cdf(starting_version=since.consumed["bronze.orders"] + 1)
    assert sum(batch.num_rows for batch in feed) == 2
    for minute in (2, 3):
        for either in (few, shop):
            grow(either, minute)
            either.build()
    assert shop.read() == few.read() == shop.rebuilt_copy(tmp_path / "rebuilt").read()


def test_a_backup_takes_the_log_from_its_newest_checkpoint_on(few: Shop, tmp_path: Path) -> None:
    """A log without its old commits is backed up; older releases stay readable until a prune."""
    place = tmp_path / "backup"
    backed_up(few, place)
    first = few.read()
    for minute in range(1, 4):
        grow(few, minute)
        few.publish()
    for layer in ("bronze", "silver", "gold", "ops"):
        for name in few.lake.tables(layer):
            table = DeltaTable(few.lake.uri(name))
            table.create_checkpoint()
            log = Path(few.lake.place) / name.replace(".", "/") / "_delta_log"
            for commit in log.glob("*.json"):
                if int(commit.stem) < table.version():
                    commit.unlink()
    backed_up(few, place)
    copy = Shop(Lake(root=str(place)), FEW)
    assert copy.read() == few.read()
    assert copy.read(1) == first
    pruned = backed_up(few, place, prune=True)
    assert pruned.pruned > 0
    assert copy.read() == few.read()
    shop = restored(place, tmp_path / "restored")
    assert shop.read() == few.read()
    assert backed_up(few, place, prune=True).pruned == 0
    assert set(bytes_in(place)) - {MANIFEST} == without_restores(tmp_path / "restored")


def test_older_releases_are_copied_if_they_are_named(few: Shop, tmp_path: Path) -> None:
    """The current release is always copied, and older ones only if they are named."""
    first = few.read()
    grow(few, 1)
    few.publish()
    backed_up(few, tmp_path / "both", releases=[1])
    both = restored(tmp_path / "both", tmp_path / "restored")
    assert (both.read(1), both.read(2)) == (first, few.read())
    with pytest.raises(NoRelease):
        backed_up(few, tmp_path / "both", releases=[7])


def test_a_release_that_was_not_restored_is_not_backed_up(few: Shop, tmp_path: Path) -> None:
    """A restored lake has only the releases of its backup, and the message names a missing release."""
    grow(few, 1)
    few.publish()
    backed_up(few, tmp_path / "newest")
    shop = restored(tmp_path / "newest", tmp_path / "restored")
    with pytest.raises(NoRelease, match="release 1 is not in this lake"):
        backed_up(shop, tmp_path / "again", releases=[1])
    with pytest.raises(NoRelease, match="release 1 is not in this lake: it was restored from a backup"):
        shop.read(1)
    # Its files, which did not come along, are no damage, then and later.
    assert verify(shop.lake, ENGINE, now=NOW).damages == ()
    grow(shop, 2)
    shop.publish()
    assert verify(shop.lake, ENGINE, now=NOW).damages == ()


def test_a_head_ahead_of_its_release_is_not_backed_up(few: Shop, tmp_path: Path) -> None:
    """A version that a crashed build committed and did not publish is no part of a backup."""
    table = open_table(few.lake, "gold.revenue_daily")
    table.replace(table.read().slice(0, 0))
    backed_up(few, tmp_path / "backup")
    shop = restored(tmp_path / "backup", tmp_path / "restored")
    assert open_table(shop.lake, "gold.revenue_daily").version == table.version - 1


def test_unsuitable_places_are_refused(few: Shop, tmp_path: Path) -> None:
    """A place inside or around the lake, of another lake, without a backup or not empty is refused."""
    for place in (few.lake.place, few.lake.place + "/backup", str(tmp_path)):
        with pytest.raises(UsageError, match="outside of the lake"):
            back_up(few.lake, place, now=NOW)
    with pytest.raises(UsageError, match="name a place"):  # a shell variable that is not set
        back_up(few.lake, "", now=NOW)
    with pytest.raises(UsageError, match="'ftp://x/y': no lake can be there"):
        back_up(few.lake, "ftp://x/y", now=NOW)
    with pytest.raises(NoRelease):
        back_up(Lake(root=str(tmp_path / "nothing")), str(tmp_path / "backup"), now=NOW)
    other = few.rebuilt_copy(tmp_path / "other")
    backed_up(other, tmp_path / "backup")
    with pytest.raises(UsageError, match="another lake"):
        backed_up(few, tmp_path / "backup")
    with pytest.raises(UsageError, match="no finished backup"):
        restore(str(tmp_path / "nothing"), Lake(root=str(tmp_path / "restored")))
    with pytest.raises(UsageError, match="not empty"):
        restore(str(tmp_path / "backup"), few.lake)
    with pytest.raises(UsageError, match="in the backup"):
        restore(str(tmp_path / "backup"), Lake(root=str(tmp_path / "backup/lake")))


def test_a_restored_lake_and_its_original_do_not_share_a_backup(few: Shop, tmp_path: Path) -> None:
    """If both publish after the restore, only one of them can use the backup's place."""
    backup = str(tmp_path / "backup")
    back_up(few.lake, backup, now=NOW)
    restored = Lake(root=str(tmp_path / "restored"))
    restore(backup, restored)
    for lake, minute in ((restored, 1), (few.lake, 2)):
        last = find_release(lake, None)
        at = last.published_at + timedelta(minutes=minute)
        publish(lake, renamed(last, release=last.release + 1, parent=last.release, published_at=at))
    back_up(restored, backup, now=NOW)
    with pytest.raises(UsageError, match="another lake"):
        back_up(few.lake, backup, now=NOW)
    back_up(restored, backup, now=NOW)


def test_a_damaged_lake_does_not_spoil_its_backup(few: Shop, tmp_path: Path) -> None:
    """If a file of the lake is truncated or missing, the previous backup can still be restored."""
    place = tmp_path / "backup"
    backed_up(few, place)
    first = few.read()
    grow(few, 1)
    few.publish()
    file = Path(open_table(few.lake, "gold.revenue_daily").files()[0].uri)
    content = file.read_bytes()
    file.write_bytes(content[:-5])
    with pytest.raises(LakeError, match="damaged"):
        backed_up(few, place)
    file.unlink()
    with pytest.raises(LakeError, match="no such file"):
        backed_up(few, place)
    assert restored(place, tmp_path / "restored").read() == first
    file.write_bytes(content)
    backed_up(few, place)
    assert restored(place, tmp_path / "again").read() == few.read()


def test_a_backup_that_stops_after_any_file_is_the_previous_or_the_new_one(few: Shop, tmp_path: Path) -> None:
    """Each state between two backups, as files appear one by one, opens and restores as one of the two."""
    last, place, half = tmp_path / "last", tmp_path / "backup", tmp_path / "half"
    backed_up(few, last)
    shutil.copytree(last, place)
    shutil.copytree(last, half)
    known = {1: few.read()}
    grow(few, 1)
    few.publish()
    known[2] = few.read()
    copied = backed_up(few, place)
    times = {path: (place / path).stat().st_mtime_ns for path in bytes_in(place)}
    since = max((last / path).stat().st_mtime_ns for path in bytes_in(last))
    written = sorted((path for path, at in times.items() if at > since), key=lambda path: times[path])
    assert len(written) == copied.files + 1
    copy = Shop(Lake(root=str(half)), FEW)
    states = set()
    for number, path in enumerate(written):
        (half / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place / path, half / path)
        newest, manifest = copy.releases()[0], read_manifest(str(half)).release
        states.add((newest, manifest))
        assert copy.read() == known[newest]
        if number % 4 == 0 or len(written) - number < 4:
            assert restored(half, tmp_path / f"restored{number}").read() == known[manifest]
    assert states == {(1, 1), (2, 1), (2, 2)}


def test_the_commands_print_their_result(few: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup and a restore print one line with the release, the place, files and bytes."""
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", few.lake.place)
    commands = click.Group("lake", commands=COMMANDS)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(commands, arguments, catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    place, target = tmp_path / "backup", tmp_path / "restored"
    assert f"release 1 is backed up in {place}: " in run("backup", str(place))
    assert run("backup", str(place), "--prune").endswith("were there already, 0 removed\n")
    assert f"release 1 is restored in {target}: " in run("restore", str(place), str(target))
    assert Shop(Lake(root=str(target)), FEW).read() == few.read()
    assert catalogue_release(Lake(root=str(target))) == 1


class Overtaken(datetime):
    """The instant of a backup; when the backup reads it, another backup runs and ends first."""

    overtake: Callable[[], object]

    def astimezone(self, tz: tzinfo | None = None) -> Any:
        """Run the other backup."""
        self.overtake()
        return NOW


def test_a_backup_that_ends_after_a_newer_one_is_refused(few: Shop, tmp_path: Path) -> None:
    """The newer backup stays, because it may have pruned files of the other; a second attempt succeeds."""
    place, restores = tmp_path / "backup", tmp_path / "restored"
    backed_up(few, place)

    def overtake() -> None:
        grow(few, 1)
        few.publish()
        backed_up(few, place, prune=True)

    late = Overtaken(2026, 8, 1, 12, tzinfo=UTC)
    late.overtake = overtake
    with pytest.raises(CommitConflict, match="another backup to this place ended during this one; run it"):
        back_up(few.lake, str(place), now=late, prune=True)
    assert read_manifest(str(place)).release == 2
    assert restored(place, restores / "2").read() == few.read()
    late.overtake = lambda: backed_up(few, tmp_path / "first")
    with pytest.raises(CommitConflict, match="run it again"):
        back_up(few.lake, str(tmp_path / "first"), now=late)
    grow(few, 2)
    few.publish()
    backed_up(few, place, prune=True)
    assert restored(place, restores / "3").read() == few.read()


def test_a_restore_that_stopped_after_any_file_is_continued(few: Shop, tmp_path: Path) -> None:
    """A continued restore equals an uninterrupted one, and is recorded once."""
    place, whole, half = tmp_path / "backup", tmp_path / "whole", tmp_path / "half"
    backed_up(few, place)
    shop = restored(place, whole)
    assert not (whole / UNFINISHED).exists()
    paths = sorted(without_restores(whole), key=lambda path: (whole / path).stat().st_mtime_ns)
    [record] = read_restores(shop.lake)
    unfinished = UnfinishedRestore(read_manifest(str(place)), NOW)
    for number in (0, 1, len(paths) // 2, len(paths) - 1, len(paths)):
        shutil.rmtree(half, ignore_errors=True)
        (half / ASIDE).mkdir(parents=True)
        (half / ASIDE / "1-cut").write_bytes(b"half a fi")
        if number:
            (half / UNFINISHED).write_bytes(msgspec.json.encode(unfinished))
        for path in paths[:number]:
            (half / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(whole / path, half / path)
        if number == len(paths):
            with pytest.raises(LakeError, match="a restore to this place is not finished"):
                Shop(Lake(root=str(half)), FEW).read()
            write_restore(Lake(root=str(half)), msgspec.structs.replace(record, restored_at=NOW))
        assert restored(place, half).read() == shop.read()
        assert without_restores(half) == set(paths)
        assert len(read_restores(Lake(root=str(half)))) == 1


def test_an_unfinished_restore_is_continued_only_from_the_same_backup(few: Shop, tmp_path: Path) -> None:
    """With another backup, or if any other file is in the place, the restore is refused as not empty."""
    place, half = tmp_path / "backup", tmp_path / "half"
    backed_up(few, place)
    (file,) = open_table(Lake(root=str(place)), "gold.revenue_daily").files()[:1]
    content = Path(file.uri).read_bytes()
    Path(file.uri).unlink()
    with pytest.raises(LakeError, match="no such file"):
        restored(place, half)
    with pytest.raises(LakeError, match="a restore to this place is not finished; run `just restore` again"):
        open_session(Lake(root=str(half)), ENGINE, None)
    Path(file.uri).write_bytes(content)
    grow(few, 1)
    few.publish()
    backed_up(few, tmp_path / "other")
    with pytest.raises(UsageError, match="is not empty"):
        restored(tmp_path / "other", half)
    (half / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        restored(place, half)
    (half / "mine.txt").unlink()
    assert restored(place, half).releases() == [1]
    with pytest.raises(UsageError, match="is not empty"):
        restored(place, half)


def test_a_file_that_another_copy_deleted_is_one_line(tmp_path: Path) -> None:
    """A copy that ends first deletes all unfinished files, because they look like those of a killed copy."""
    files = Files(str(tmp_path))

    def chunks() -> Iterator[bytes]:
        yield b"half"
        Files(str(tmp_path)).tidy()

    with pytest.raises(CommitConflict, match="deleted an unfinished file here; run it again"):
        files.write("gold/part", chunks())
    assert files.sizes() == {}


def test_a_damaged_file_is_not_copied_over_a_good_one(few: Shop, tmp_path: Path) -> None:
    """A backup checks every file: it refuses damage, and flips a single bit back on the way."""
    backed_up(few, tmp_path / "backup")
    file = file_of(few.lake, "gold.revenue_daily")
    copy = tmp_path / "backup" / file.relative_to(few.lake.place)
    content = rot(file, bits=3)
    with pytest.raises(TableDamaged, match=r"revenue_daily/.*`just repair`$"):
        backed_up(few, tmp_path / "backup")
    with pytest.raises(TableDamaged):
        backed_up(few, tmp_path / "other")
    assert copy.read_bytes() == content
    file.write_bytes(content)
    rot(file)
    backed_up(few, tmp_path / "third")
    assert (tmp_path / "third" / file.relative_to(few.lake.place)).read_bytes() == content


def test_a_backup_replaces_its_own_damaged_files(few: Shop, tmp_path: Path) -> None:
    """A file in the backup that rots there is copied again."""
    backed_up(few, tmp_path / "backup")
    file = file_of(few.lake, "gold.revenue_daily")
    copy = tmp_path / "backup" / file.relative_to(few.lake.place)
    rot(copy, bits=3)
    backed_up(few, tmp_path / "backup")
    assert copy.read_bytes() == file.read_bytes()


def test_a_restore_refuses_a_damaged_backup(few: Shop, tmp_path: Path) -> None:
    """A restore flips a single bit back, and refuses other damage."""
    backed_up(few, tmp_path / "backup")
    file = file_of(few.lake, "silver.orders")
    copy = tmp_path / "backup" / file.relative_to(few.lake.place)
    content = rot(copy)
    assert restored(tmp_path / "backup", tmp_path / "place").read() == few.read()
    copy.write_bytes(content)
    rot(copy, bits=2)
    with pytest.raises(TableDamaged, match=r"restore another backup$"):
        restored(tmp_path / "backup", tmp_path / "other")
