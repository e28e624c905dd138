"""Damaged logs: maintenance deletes nothing that a repair may need, and does its work on all other tables."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from lake.cli.maintenance import COMMANDS
from lake.delta.log_check import WHOLE
from lake.delta.tables import open_table
from lake.errors import TableDamaged
from lake.maintenance.compaction import MANY, compact
from lake.maintenance.log_repair import repair_logs
from lake.maintenance.vacuum import maintain, vacuum
from lake.paths import Lake
from lake.releases.tags import write_tag
from lake.settings import LakeSettings
from tests.support.simulated_lake import BRONZE, GOLD, Simulated, at, files, newest

SETTINGS = LakeSettings(keep_days=1, keep_all_hours=1)
RUNS, RELEASES, TAGS = "ops.runs", "ops.releases", "ops.tags"
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda content: b"",
    "torn": lambda content: content[: len(content) // 2],
    "shorter": lambda content: b"".join(content.splitlines(keepends=True)[:-1]),
}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """A lake of a day with more small files than maintenance leaves; no test changes it."""
    folder = tmp_path_factory.mktemp("damaged-log")
    simulated = Simulated(Lake(root=str(folder / "lake"), durable=False), now=at(0, 6))
    simulated.start(months=2, orders=20)
    for _ in range(MANY + 4):
        simulated.sync()
        simulated.passes(timedelta(minutes=5))
    write_tag(simulated.lake, newest(simulated.lake), "kept", now=simulated.now)
    return simulated


@pytest.fixture
def simulated(first: Simulated, tmp_path: Path) -> Simulated:
    """The lake, for one test."""
    return first.copy(str(tmp_path / "lake"))


def entry_of(lake: Lake, name: str, back: int = 0) -> Path:
    """Return the newest entry of a table's log, or one so many before it."""
    return sorted(Path(lake.uri(name)).glob("_delta_log/*.json"))[-1 - back]


def change(file: Path, how: str) -> None:
    """Damage a sealed file, which keeps its time and mode, or delete it."""
    if how == "deleted":
        file.unlink()
    else:
        status = file.stat()
        content = CHANGES[how](file.read_bytes())
        file.chmod(0o600)
        file.write_bytes(content)
        file.chmod(status.st_mode)
        os.utime(file, (status.st_atime, status.st_mtime))
    WHOLE.clear()  # as in another process


def contents(lake: Lake, name: str) -> dict[str, bytes]:
    """Return the content of each file of a table, log included, by path."""
    return {str(file): file.read_bytes() for file in files(lake, name.replace(".", "/"))}


def rows_of(lake: Lake, name: str) -> list[str]:
    """Return the rows of a table as sorted text."""
    return sorted(map(str, open_table(lake, name).read().to_pylist()))


# The entries are the newest one, one after the last checkpoint, and one before it.
@pytest.mark.parametrize(
    ("name", "how", "back"),
    [
        (BRONZE, "emptied", 0),
        (BRONZE, "torn", 3),
        (BRONZE, "emptied", 25),
        (BRONZE, "deleted", 0),
        (RUNS, "emptied", 0),
        (RUNS, "shorter", 25),
        (RUNS, "deleted", 3),
        (GOLD, "shorter", 0),
        (GOLD, "emptied", 3),
    ],
)
def test_nothing_of_a_table_with_a_damaged_log_is_deleted_or_written(
    simulated: Simulated, name: str, how: str, back: int
) -> None:
    """The table is named with the recipe; the others are maintained; after a repair no row is missing."""
    lake = simulated.lake
    rows = rows_of(lake, name)
    change(entry_of(lake, name, back), how)
    before = contents(lake, name)
    others = [other for other in (BRONZE, RUNS, GOLD) if other != name]
    sizes = {other: len(contents(lake, other)) for other in others}
    simulated.passes(timedelta(days=10))
    with capture_logs() as logs, pytest.raises(TableDamaged, match=rf"^{name}: .*`just repair`$"):
        maintain(lake, SETTINGS, now=simulated.now)
    (line,) = [line for line in logs if line["event"] == "maintenance.damaged_table"]
    assert (line["table"], "`just repair`" in line["reason"]) == (name, True)
    assert contents(lake, name) == before
    assert all(len(contents(lake, other)) < sizes[other] for other in others)
    repair_logs(lake, SETTINGS)
    if name != GOLD:
        assert rows_of(lake, name) == rows


def test_hourly_maintenance_waits_for_the_repair(simulated: Simulated) -> None:
    """However often it runs before the repair and after it, every row is there, and the log gets shorter."""
    lake = simulated.lake
    rows, count = rows_of(lake, BRONZE), len(contents(lake, BRONZE))
    change(entry_of(lake, BRONZE, 3), "emptied")
    for hours in (0, 1, 24):
        simulated.passes(timedelta(hours=hours))
        with pytest.raises(TableDamaged):
            maintain(lake, SETTINGS, now=simulated.now)
    repair_logs(lake, SETTINGS)
    for days in (0, 1, 10):
        simulated.passes(timedelta(days=days))
        maintain(lake, SETTINGS, now=simulated.now)
    assert rows_of(lake, BRONZE) == rows
    assert len(contents(lake, BRONZE)) < count


@pytest.mark.parametrize(("name", "how"), [(RELEASES, "emptied"), (RELEASES, "torn"), (TAGS, "emptied")])
def test_nothing_is_deleted_if_the_retained_releases_are_unknown(
    simulated: Simulated, name: str, how: str
) -> None:
    """Releases and their tags tell which versions stay: without one of them no table is vacuumed."""
    lake = simulated.lake
    change(entry_of(lake, name), how)
    before = contents(lake, "")
    simulated.passes(timedelta(days=10))
    for run in (lambda: maintain(lake, SETTINGS, now=simulated.now), lambda: delete(simulated)):
        with pytest.raises(TableDamaged, match=rf"^{name}: .*`just repair`$"):
            run()
    assert before.items() <= contents(lake, "").items()


def delete(simulated: Simulated) -> None:
    """Vacuum the lake."""
    vacuum(simulated.lake, SETTINGS, now=simulated.now, dry_run=False)


def test_commands_do_the_other_tables_and_name_the_damaged_ones(
    simulated: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They print what they did, and fail with one line; a compaction publishes nothing of a damaged table."""
    lake = simulated.lake
    monkeypatch.setenv("KEYLAKE_LAKE_ROOT", lake.root)
    commands = {command.name: command for command in COMMANDS}
    change(entry_of(lake, BRONZE), "emptied")
    change(entry_of(lake, GOLD), "torn")
    published, before = newest(lake), contents(lake, BRONZE)
    expected = {
        "vacuum": (rf"2 tables are damaged, such as {BRONZE}: log entry 37 is empty", "can be deleted"),
        "compact": (rf"{BRONZE}: log entry 37 is empty", f"{RUNS}: 37 files compacted into 1"),
        "maintain": (rf"2 tables are damaged, such as {BRONZE}", "deleted"),
    }
    for name, (message, output) in expected.items():
        result = CliRunner().invoke(commands[name], [])
        assert isinstance(result.exception, TableDamaged)
        assert str(result.exception).startswith(message)
        assert str(result.exception).endswith("run `just repair`")
        assert output in result.output
    assert (newest(lake), contents(lake, BRONZE)) == (published, before)


@pytest.mark.parametrize("how", ["emptied", "torn"])
def test_a_table_of_one_commit_is_left_alone(simulated: Simulated, how: str) -> None:
    """Without its only entry nothing is known of it: it is still one of the lake's tables."""
    lake = simulated.lake
    change(Path(lake.uri(TAGS)) / "_delta_log" / f"{1:020d}.json", "deleted")
    change(entry_of(lake, TAGS), how)
    before = contents(lake, TAGS)
    with pytest.raises(TableDamaged, match=rf"^{TAGS}: "):
        compact(lake, now=simulated.now)
    assert contents(lake, TAGS) == before
