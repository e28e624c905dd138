"""Paths: the place of a lake, and who can enter its folder."""

import os
import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake.backup.backup import back_up, restore
from lake.delta.contract import Contract
from lake.delta.tables import create_table
from lake.paths import Lake
from lake.settings import LakeSettings
from tests.support.release_history import publish_ids
from tests.support.running import environ_of, run, succeed

SCHEMA = Contract.of({"id": "BIGINT"}).schema


def mode(folder: Path) -> int:
    """Return the permissions of a folder."""
    return stat.S_IMODE(folder.stat().st_mode)


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
@pytest.mark.parametrize(("group_access", "expected"), [(False, 0o700), (True, 0o750)])
def test_a_new_lake_is_for_its_owner_whatever_the_umask(
    tmp_path: Path, umask: int, group_access: bool, expected: int
) -> None:
    """Only the owner enters a new lake, or the owner's group too if the setting allows it."""
    lake = LakeSettings(root=str(tmp_path / "shops" / "lake"), group_access=group_access).lake
    before = os.umask(umask)
    try:
        create_table(lake, "silver.things", SCHEMA)
    finally:
        os.umask(before)
    assert mode(Path(lake.root)) == expected


def test_the_permissions_of_an_existing_folder_stay(tmp_path: Path) -> None:
    """An owner who opened the folder to others did it on purpose."""
    tmp_path.chmod(0o755)
    create_table(Lake(root=str(tmp_path)), "silver.things", SCHEMA)
    assert mode(tmp_path) == 0o755


@pytest.mark.parametrize(
    ("folder", "below"), [(None, 0o700), (0o700, 0o700), (0o750, 0o750), (0o755, 0o755), (0o777, 0o775)]
)
def test_new_files_are_as_private_as_the_lake(tmp_path: Path, folder: int | None, below: int) -> None:
    """Folders, logs, data files and the catalogue have no more rights than the lake's folder."""
    place = tmp_path / "lake"
    if folder is not None:
        place.mkdir()
        place.chmod(folder)
    lake = Lake(root=str(place), durable=False)
    before = os.umask(0)
    try:
        release = publish_ids(lake, 1)
        publish_ids(lake, 1, 2)
        succeed(environ_of(lake), "lake", "tag", str(release.release), "first")
        succeed(environ_of(lake), "lake", "rollback", "1")
    finally:
        os.umask(before)
    assert mode(place) == (folder or 0o700)
    assert mode(place / "lake.duckdb") == below & 0o666
    assert {mode(path) for path in (place / "ops" / "tags").rglob("*") if path.is_dir()} == {below}
    files = [path for path in (place / "ops" / "tags").rglob("*") if path.is_file()]
    # A data file is read only.
    assert {mode(path) | stat.S_IWUSR | below & stat.S_IWGRP for path in files} == {below & 0o666}


@pytest.mark.parametrize(
    ("folder", "group_access", "is_open"),
    [
        (0o700, False, False),
        (0o750, True, False),
        (0o750, False, True),
        (0o755, True, True),
        (0o777, False, True),
        (0o701, False, True),
    ],
)
def test_a_lake_that_others_can_reach_is_reported(folder: int, group_access: bool, is_open: bool) -> None:
    """The warning has the command that closes the lake."""
    with tempfile.TemporaryDirectory() as name:  # pytest closes its own folders to other users
        around = Path(name)
        around.chmod(0o755)
        place = around / "the lake"
        place.mkdir()
        place.chmod(folder)
        setting = {"KEYLAKE_LAKE_GROUP_ACCESS": str(group_access).lower()}
        environ = environ_of(Lake(root=str(place)), **setting)
        done = run(environ, "lake", "status")
        closing = f"chmod {750 if group_access else 700} '{place}'"
        assert ("event=lake.is_open_to_other_users" in done.stderr) == is_open
        assert (closing in done.stderr) == is_open
        around.chmod(0o700)
        assert "open_to_other_users" not in run(environ, "lake", "status").stderr


def test_backups_and_restored_lakes_are_for_their_owner_too(lake: Lake, tmp_path: Path) -> None:
    """A copy of the lake has the same personal data."""
    publish_ids(lake, 1)
    back_up(lake, str(tmp_path / "backup"), now=datetime.now(UTC))
    restore(str(tmp_path / "backup"), Lake(root=str(tmp_path / "restored")))
    assert mode(tmp_path / "backup") == mode(tmp_path / "restored") == 0o700


@pytest.mark.parametrize("root", ["../lake", "./shop/../lake", "shop/../../here/lake", "lake/"])
def test_a_relative_root_may_step_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    """The place is absolute and plain, so that a catalogue, a backup and a URI name the same folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    lake = Lake(root=root)
    assert ".." not in lake.place
    publish_ids(lake, 1, 2)
    assert lake.catalogue
    back_up(lake, "../backup", now=datetime.now(UTC))
    restore("../backup", Lake(root="../restored"))
    assert (tmp_path / "restored" / "silver").is_dir()
