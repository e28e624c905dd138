"""Archived damage: a damaged archive is found and named, hides no other damage, and is healed by a backup."""

import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from lake.backup.archive import archive, archive_due, archive_lake
from lake.backup.backup import back_up, restore
from lake.cli.maintenance import COMMANDS
from lake.delta import damage, log_check
from lake.delta.tables import open_table
from lake.errors import TableDamaged
from lake.ledgers.findings import read_damage
from lake.maintenance.file_repair import repair_files
from lake.maintenance.verification import Verified, verify
from lake.paths import Lake
from lake.releases.release import list_releases
from tests.lake.backup.test_archive import date_releases
from tests.lake.maintenance.test_verification import file_of, rot
from tests.support.built_lake import ENGINE, FEW, Shop, ingested_shop

MARCH, NOW = date(2026, 3, 1), datetime(2026, 4, 5, tzinfo=UTC)
NAME = "gold.revenue_daily"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Lake]:
    """A shop with the archive of a month, and its backup; no test changes them."""
    folder = tmp_path_factory.mktemp("archived")
    shop = ingested_shop(folder / "lake", models=FEW)
    shop.publish()
    date_releases(shop.lake, datetime(2026, 3, 10, tzinfo=UTC))
    archive(shop.lake, MARCH, now=NOW)
    back_up(shop.lake, str(folder / "backup"), now=NOW)
    return shop, Lake(root=str(folder / "backup"), durable=False)


@pytest.fixture
def lake(first: tuple[Shop, Lake], tmp_path: Path) -> Lake:
    """The lake with its archive, for one test."""
    shutil.copytree(first[0].lake.root, tmp_path / "lake")
    return Lake(root=str(tmp_path / "lake"), durable=False)


@pytest.fixture
def backup(first: tuple[Shop, Lake]) -> Lake:
    """The backup of the lake, which no test changes."""
    return first[1]


def entry_of(lake: Lake, name: str = NAME) -> Path:
    """Return the newest entry of the log of an archived table."""
    return max(Path(archive_lake(lake, MARCH).uri(name)).glob("_delta_log/*.json"))


def write(file: Path, content: bytes) -> None:
    """Replace the content of a file, which may be sealed."""
    file.chmod(0o600)
    file.write_bytes(content)
    file.chmod(0o444)


CHANGES: dict[str, Callable[[Path], object]] = {
    "emptied": lambda file: write(file, b""),
    "torn": lambda file: write(file, file.read_bytes()[: file.stat().st_size // 2]),
    "other_rows": lambda file: write(file, file.read_bytes().replace(b'"size":', b'"size":1', 1)),
    "deleted": Path.unlink,
}


def verified(lake: Lake) -> Verified:
    """Verify a lake like a process that has read nothing yet."""
    damage.INTACT.clear()
    log_check.WHOLE.clear()
    return verify(lake, ENGINE, now=datetime.now(UTC))


# An archive without the last commit of its ops.releases is an unfinished one, which the next build finishes.
@pytest.mark.parametrize(
    ("name", "how"),
    [(name, how) for name in (NAME, "silver.orders") for how in CHANGES]
    + [("ops.releases", "emptied"), ("ops.releases", "torn")],
)
def test_a_damaged_log_of_an_archive_is_a_finding_and_is_healed_by_a_backup(
    lake: Lake, backup: Lake, name: str, how: str
) -> None:
    """It is one line with the recipe, other damage is found too, and the archive opens as before."""
    place = archive_lake(lake, MARCH)
    before = open_table(place, name).read()
    entry = entry_of(lake, name)
    CHANGES[how](entry)
    other = file_of(lake, NAME)
    content = rot(other)
    damages = {each.path: each for each in verified(lake).damages}
    path = str(entry.relative_to(lake.place))
    assert set(damages) == {path, str(other.relative_to(lake.place))} == read_damage(lake)
    assert damages[path].line.startswith(f"archive/2026-03 {name}: {entry.name} ")
    assert damages[path].line.endswith("; run `just repair --from BACKUP`")
    other.write_bytes(content)
    assert [each.how for each in repair_files(lake)] == [None]
    assert [each.how for each in repair_files(lake, backup)] == ["copied from the backup"]
    assert verified(lake).damages == ()
    assert read_damage(lake) == set()
    assert open_table(place, name).read() == before


def test_a_damaged_archive_does_not_stop_a_publish(lake: Lake) -> None:
    """The month counts as archived, with a warning in the log."""
    CHANGES["emptied"](entry_of(lake, "ops.releases"))
    log_check.WHOLE.clear()
    assert archive_due(lake, NOW) == []


@pytest.mark.parametrize("how", ["emptied", "torn"])
def test_a_backup_refuses_a_damaged_log_of_an_archive(
    lake: Lake, backup: Lake, how: str, tmp_path: Path
) -> None:
    """The good copy of an older backup is not replaced by it, and a restore does not bring it back."""
    shutil.copytree(backup.root, tmp_path / "backup")
    good = entry_of(backup).read_bytes()
    CHANGES[how](entry_of(lake))
    with pytest.raises(TableDamaged, match=r"archive/2026-03/gold/revenue_daily/.* is .*`just repair"):
        back_up(lake, str(tmp_path / "backup"), now=NOW)
    copied = entry_of(Lake(root=str(tmp_path / "backup")))
    assert copied.read_bytes() == good
    CHANGES[how](copied)
    with pytest.raises(TableDamaged):
        restore(str(tmp_path / "backup"), Lake(root=str(tmp_path / "restored"), durable=False))


def test_repair_names_what_only_a_backup_heals(
    lake: Lake, backup: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe prints one line for it without a backup, and repairs it with one."""
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", lake.root)
    (repair,) = (command for command in COMMANDS if command.name == "repair")
    CHANGES["emptied"](entry_of(lake))
    output = CliRunner().invoke(repair, [], catch_exceptions=False).output
    assert (
        f"archive/2026-03 {NAME}: {entry_of(lake).name} is empty; run `just repair --from BACKUP`" in output
    )
    output = CliRunner().invoke(repair, ["--from", backup.root], catch_exceptions=False).output
    assert "copied from the backup" in output
    assert verified(lake).damages == ()
    assert len(list_releases(archive_lake(lake, MARCH))) == 1
