"""kill -9 at any moment of a command leaves the lake in its old state or in its new one.

More than a hundred processes are killed while another thread reads releases, as sessions and
through the catalogue. A release always has the same content, and the tables of one release
agree. The next command finishes, whatever the killed one left.
"""

import random
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lake.backup.backup import MANIFEST, back_up, read_manifest, restore
from lake.clock import shop_day
from lake.delta.commits import live_files
from lake.delta.files import ASIDE
from lake.delta.tables import open_table
from lake.history.rollback import parent_of, run_resume, run_rollback
from lake.maintenance.compaction import BEFORE_MIDNIGHT, compact, crowded_partitions
from lake.maintenance.redaction import Redaction, erase
from lake.maintenance.vacuum import maintain, vacuum
from lake.paths import Lake
from lake.query.catalogue import catalogue_release, refresh_catalogue
from lake.query.session import Connection, fetch, heads, open_session
from lake.releases.release import COMPACTION, ROLLBACK, Release, current_release, find_release, list_releases
from lake.settings import LakeSettings
from tests.support.built_lake import FEW, Shop, ingested_shop
from tests.support.forked_worker import ForkedWorker
from tests.support.simulated_lake import BRONZE, GOLD, SILVER, Simulated, at, files
from tests.transform.test_crash import grow

# Kills of each command; a cheap command gets more of them.
KILLS = {"Rollback": 24, "Erase": 26, "Compact": 16, "Backup": 12, "Publish": 10, "Vacuum": 8, "Maintain": 8}
KEEP = LakeSettings(memory_limit="512MB", threads=1, keep_days=5, keep_all_hours=120)
SEEN = timedelta(days=3)
# Seconds between two readings: the killed command needs the cores.
PAUSE = 0.1
Work = tuple[Callable[..., object], tuple[object, ...]]
Content = dict[str, dict[str, Any]]
# Rows that exist only if the tables are not of one release.
LAW = f"""
(select month, count(*) from {SILVER} group by all except select month, orders from {GOLD})
union all
(select month, orders from {GOLD} except select month, count(*) from {SILVER} group by all)
"""
MONEY = """
select *
from (select sum(grand_total) as sold from silver.orders where not is_return)
cross join (select sum(revenue) as revenue from gold.revenue_daily)
where sold <> revenue
"""


def content(connection: Connection, release: Release) -> Content:
    """Return the number and hash of the rows of every table, without the texts that are erased."""
    versions = {**release.tables, **release.consumed} if GOLD in release.tables else release.tables
    tables = {}
    for name in sorted(versions):
        without = " exclude (text)" if name in (BRONZE, SILVER) and GOLD in release.tables else ""
        rows = f"(select *{without} from {name}) as r"
        [tables[name]] = fetch(connection, f"select count(*) as rows, sum(hash(r)) from {rows}").to_pylist()
    assert {name: tables[name]["rows"] for name in release.rows} == release.rows
    assert fetch(connection, LAW if GOLD in release.tables else MONEY).to_pylist() == []
    return tables


class Observer:
    """Reads releases while commands work, and checks that the content of each stays the same."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        # True during erasures: DuckDB opens a file twice, and raises an error if it was replaced in between.
        self.ignores_duckdb_errors = False
        self.problems: list[Exception] = []
        self.reads = 0
        self._contents: dict[int, Content] = {}
        self._newest = {"ledger": 0, "catalogue": 0}
        self._dice = random.Random(5)

    def observe(self) -> None:
        """Read the catalogue, the current release or an older one, in turns."""
        if self.reads % 2:
            self.read_catalogue()
            return
        releases = list_releases(self.lake, limit=8)
        self._advance("ledger", releases[0].release)
        recent = [release for release in releases if release.published_at > releases[0].published_at - SEEN]
        self.read(releases[0] if self.reads % 4 else self._dice.choice(recent))

    def read_catalogue(self) -> None:
        """Read the catalogue, as an analyst with stock DuckDB does."""
        with duckdb.connect(str(self.lake.catalogue), read_only=True) as connection:
            ((number,),) = connection.execute("select release from ops.current_release").fetchall()
            self._advance("catalogue", number)
            self._check(number, content(connection, find_release(self.lake, number)))

    def read(self, release: Release) -> Content:
        """Return the content of a release; fail if it differs from that of an earlier read."""
        with open_session(self.lake, KEEP, release) as session:
            return self._check(release.release, content(session, release))

    @contextmanager
    def observing(self) -> Iterator[None]:
        """Observe in another thread until the end of the context, at least once; fail on a problem."""
        stopped = threading.Event()
        thread = threading.Thread(target=self._observe_until, args=(stopped,))
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()
        assert not self.problems, self.problems

    def _observe_until(self, stopped: threading.Event) -> None:
        while not self.problems:
            try:
                self.observe()
            except duckdb.Error as error:
                if not self.ignores_duckdb_errors:
                    self.problems.append(error)
            except Exception as error:
                self.problems.append(error)
            self.reads += 1
            if stopped.wait(PAUSE):
                break

    def _advance(self, source: str, number: int) -> None:
        newest = self._newest[source]
        assert number >= newest, f"the {source} went back from {newest} to {number}"
        self._newest[source] = number

    def _check(self, number: int, tables: Content) -> Content:
        assert self._contents.setdefault(number, tables) == tables, f"release {number} has other content"
        return tables


class Trial(ABC):
    """A command that is killed repeatedly: its preparation, the check of its result and its successor."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.observer = Observer(lake)

    @abstractmethod
    def work(self) -> Work:
        """Prepare something for the command to do; return the command."""

    @abstractmethod
    def is_new(self) -> bool:
        """Return True for the new state of the killed command, False for the old one; fail for any other."""

    @abstractmethod
    def follow(self) -> None:
        """Run the next command to its end; fail if it leaves anything to do."""

    def end(self) -> None:  # noqa: B027  # not every trial has a check at its end
        """Fail if the result of all commands together is wrong."""


class Month(Trial):
    """A trial on a simulated lake, whose clock is behind the real one, so new files count as recent."""

    def __init__(self, month: Simulated) -> None:
        super().__init__(month.lake)
        self.month = month
        refresh_catalogue(self.lake)

    def sync(self) -> None:
        """Let a day pass, and publish a release."""
        self.month.passes(timedelta(days=1))
        self.month.sync()

    def kept(self) -> list[Release]:
        """Return the releases that maintenance retains."""
        since = self.month.now - timedelta(days=KEEP.keep_days)
        return [release for release in list_releases(self.lake) if release.published_at >= since]


def roll_back(lake: Lake, now: datetime) -> None:
    """Roll back like the command."""
    current = find_release(lake, None)
    run_rollback(lake, parent_of(lake, current), current=current, now=now, settings=KEEP)
    refresh_catalogue(lake)


def resume(lake: Lake, now: datetime) -> None:
    """Lift the hold like the command."""
    run_resume(lake, now=now)
    refresh_catalogue(lake)


class Rollback(Month):
    """A rollback, and the resume after it, in turns."""

    def work(self) -> Work:
        """Return the resume if publishing is on hold, and otherwise the rollback."""
        self.before = find_release(self.lake, None)
        return (resume if self.before.is_held else roll_back), (self.lake, self.month.now)

    def is_new(self) -> bool:
        """Check that a new release starts or lifts the hold, and has the content of its target or parent."""
        current = find_release(self.lake, None)
        if current == self.before:
            return False
        target = self.before if self.before.is_held else parent_of(self.lake, self.before)
        assert (current.release, current.parent) == (self.before.release + 1, self.before.release)
        assert current.is_held != self.before.is_held
        assert self.observer.read(current) == self.observer.read(target)
        return True

    def follow(self) -> None:
        """Reach the state after the command, and check that the catalogue shows it."""
        if find_release(self.lake, None) == self.before:
            work, arguments = self.work()
            work(*arguments)
        refresh_catalogue(self.lake)
        current = find_release(self.lake, None)
        assert current.is_held == (current.kind == ROLLBACK)
        assert catalogue_release(self.lake) == current.release
        self.sync_if_free(current)

    def sync_if_free(self, current: Release) -> None:
        """Publish a release for the next rollback, if publishing is not on hold."""
        if not current.is_held:
            self.sync()
            refresh_catalogue(self.lake)


class Compact(Month):
    """A day with three runs that append files, which are compacted when the day is over."""

    def work(self) -> Work:
        """Append the files of three runs; return their compaction."""
        for number in range(2):
            self.month.look([number])
        self.sync()
        self.month.passes(timedelta(days=1))
        self.rows = self.rows_now()
        self.before = find_release(self.lake, None)
        return compact_at, (self.lake, self.month.now)

    def rows_now(self) -> list[dict[str, Any]]:
        """Return the sorted rows of the head of bronze."""
        rows: list[dict[str, Any]] = open_table(self.lake, BRONZE).read().to_pylist()
        return sorted(rows, key=lambda row: (row["fetched_at"], row["id"]))

    def is_new(self) -> bool:
        """Check that the rows are the same, and that a new release references the compacted files."""
        assert self.rows_now() == self.rows
        current = find_release(self.lake, None)
        if current == self.before:
            return False
        assert (current.kind, current.parent) == (COMPACTION, self.before.release)
        assert current.consumed == {BRONZE: open_table(self.lake, BRONZE).version}
        assert self.observer.read(current) == self.observer.read(self.before)
        return True

    def follow(self) -> None:
        """Compact again; check that a release has the result and that no small files are left."""
        compact_at(self.lake, self.month.now)
        assert self.is_new()
        files = live_files(open_table(self.lake, BRONZE)._delta)
        assert not crowded_partitions(files, shop_day(self.month.now + BEFORE_MIDNIGHT).isoformat())


def compact_at(lake: Lake, now: datetime) -> None:
    """Compact like the command."""
    compact(lake, now=now)


class Vacuum(Month):
    """Releases past their retention, with files that no other release needs."""

    def __init__(self, month: Simulated) -> None:
        super().__init__(month)
        for _ in range(6):
            self.sync()

    def work(self) -> Work:
        """Let a release get past its retention; return the deletion of its files."""
        self.sync()
        self.month.passes(timedelta(days=1))
        refresh_catalogue(self.lake)
        return self.command, (self.lake, self.month.now)

    @property
    def command(self) -> Callable[..., object]:
        """The command to kill."""
        return vacuum_at

    def is_new(self) -> bool:
        """Check the content of the oldest retained release; return True if nothing is left to delete."""
        self.observer.read(self.kept()[-1])
        return vacuum(self.lake, KEEP, now=self.month.now) == []

    def follow(self) -> None:
        """Run the command again; check that nothing is left to delete."""
        work: Any = self.command
        work(self.lake, self.month.now)
        assert vacuum(self.lake, KEEP, now=self.month.now) == []
        self.observer.read(self.kept()[-1])


def vacuum_at(lake: Lake, now: datetime) -> None:
    """Delete unneeded files like the command."""
    vacuum(lake, KEEP, now=now, dry_run=False)


class Maintain(Vacuum):
    """Compaction, clean-up of the logs, checkpoints and vacuum."""

    @property
    def command(self) -> Callable[..., object]:
        """The whole maintenance."""
        return maintain_at


def maintain_at(lake: Lake, now: datetime) -> None:
    """Maintain the lake like the command."""
    maintain(lake, KEEP, now=now)


class Backup(Month):
    """A release that the last backup does not have."""

    def __init__(self, month: Simulated) -> None:
        super().__init__(month)
        self.place = f"{self.lake.place}-backup"
        self.count = 0
        back_up(self.lake, self.place, now=self.month.now)

    def work(self) -> Work:
        """Publish a release; return its backup."""
        self.sync()
        self.before = read_manifest(self.place).release
        return back_up_at, (self.lake, self.place, self.month.now)

    def is_new(self) -> bool:
        """Check that the place opens, and restores, as the previous backup or as the new one."""
        number = read_manifest(self.place).release
        newest = find_release(self.lake, None).release
        assert number in (self.before, newest)
        copy = current_release(Lake(root=self.place))
        assert copy
        # A backup that was killed before may have copied all of a release but the manifest.
        assert self.before <= copy.release <= newest
        self.check_copy(self.place, copy)
        self.count += 1
        if self.count % 2:
            restore(self.place, restored := Lake(root=f"{self.place}-{self.count}"))
            current = current_release(restored)
            assert current
            assert current.release == number
            self.check_copy(restored.place, current)
        return number == newest

    def follow(self) -> None:
        """Back up again; check that the backup is finished and that no unfinished files are left."""
        back_up_at(self.lake, self.place, self.month.now)
        assert read_manifest(self.place).release == find_release(self.lake, None).release
        assert not (Path(self.place) / ASIDE).exists()
        assert (Path(self.place) / MANIFEST).exists()

    def check_copy(self, place: str, release: Release) -> None:
        """Fail if a copy of a release has other content than the release."""
        with open_session(Lake(root=place), KEEP, release) as session:
            assert content(session, release) == self.observer.read(find_release(self.lake, release.release))


def back_up_at(lake: Lake, place: str, now: datetime) -> None:
    """Back up like the command."""
    back_up(lake, place, now=now)


class Erase(Month):
    """A person to erase from every version of bronze and silver."""

    def __init__(self, month: Simulated) -> None:
        super().__init__(month)
        self.observer.ignores_duckdb_errors = True
        self.ids: list[int] = []
        self.count = 0

    def work(self) -> Work:
        """Choose the next person; return the erasure."""
        self.ids.append(self.count + len(self.ids))
        self.sizes = self.sizes_now()
        return erase_id, (self.lake, self.ids[-1])

    def sizes_now(self) -> dict[str, int]:
        """Return ``{path: bytes}`` of every data file."""
        parquet = [file for file in files(self.lake, "bronze", "silver") if file.suffix == ".parquet"]
        return {str(file): file.stat().st_size for file in parquet if "_delta_log" not in file.parts}

    def is_new(self) -> bool:
        """Check that each file has its recorded size; return True if no file has the person's text."""
        assert self.sizes_now() == self.sizes
        return not self.texts(self.ids[-1])

    def follow(self) -> None:
        """Erase all persons again; check that none of their texts, and no unfinished file, is left."""
        for person in self.ids:
            erase_id(self.lake, person)
        assert not self.texts(*self.ids)
        self.ids, self.count = [], self.count + len(self.ids)
        assert self.sizes_now() == self.sizes
        assert not (Path(self.lake.place) / ASIDE).exists()

    def texts(self, *ids: int) -> int:
        """Return the number of rows, in all versions, that still have a text of these persons."""
        query = "select 1 from read_parquet($1, union_by_name = true) where id in $2 and text <> ''"
        return len(duckdb.execute(query, [sorted(self.sizes_now()), list(ids)]).fetchall())


def erase_id(lake: Lake, person: int) -> None:
    """Erase a person like the command."""
    erase(lake, redactions(person))


def redactions(person: int) -> list[Redaction]:
    """Return the changes that erase a person's texts."""
    return [Redaction(name, "id", frozenset({person}), {"text": forget}) for name in (BRONZE, SILVER)]


def forget(text: object) -> str:
    """Return an empty text in place of ``text``."""
    return ""


class Publish(Trial):
    """A build of the models, which commits four tables, the release and the catalogue."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(shop.lake)
        self.shop = shop
        self.minute = 0
        refresh_catalogue(self.lake)

    def work(self) -> Work:
        """Add the observations of a run; return their build."""
        self.minute += 1
        grow(self.shop, self.minute)
        self.before = self.shop.releases()[0]
        return build, (self.shop,)

    def is_new(self) -> bool:
        """Check that the current release is the one before the build, or the one after it."""
        current = find_release(self.lake, None)
        assert current.release in (self.before, self.before + 1)
        self.observer.read(current)
        return current.release > self.before

    def follow(self) -> None:
        """Build again; check that heads and catalogue are those of the release."""
        build(self.shop)
        release = find_release(self.lake, None)
        assert release.release in (self.before, self.before + 1)
        assert release.consumed == heads(self.lake)
        for name, version in release.tables.items():
            assert open_table(self.lake, name).files() == open_table(self.lake, name, version).files()
        assert catalogue_release(self.lake) == release.release

    def end(self) -> None:
        """Check that the tables equal those of a lake without killed builds."""
        rebuilt = self.shop.rebuilt_copy(Path(f"{self.lake.place}-rebuilt"))
        assert self.shop.read() == rebuilt.read()


def build(shop: Shop) -> None:
    """Build like the command."""
    shop.build()


@pytest.fixture(scope="module")
def worker() -> Iterator[ForkedWorker]:
    """Yield a process that has imported all modules."""
    process = ForkedWorker("tests.lake.test_kill")
    yield process
    process.close()


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """Return four days of a small shop, which no test changes."""
    month = Simulated(Lake(root=str(tmp_path_factory.mktemp("days") / "lake")), now=at(0))
    month.start(orders=20, months=4)
    for _ in range(4):
        for _ in range(3):
            month.sync()
        month.passes(timedelta(days=1))
    return month


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Return a shop with a few models and one release, which no test changes."""
    shop = ingested_shop(tmp_path_factory.mktemp("few") / "lake", models=FEW)
    shop.publish()
    return shop


def kill_repeatedly(trial: Trial, worker: ForkedWorker, dice: random.Random) -> Counter[bool]:
    """Kill the command in every part of its work; return how often it left the new state and the old."""
    states: Counter[bool] = Counter()
    kills = KILLS[type(trial).__name__]
    work, arguments = trial.work()
    with trial.observer.observing():
        whole = worker.run(work, *arguments).seconds
    assert trial.is_new()
    # One random moment in each of as many equal parts as there are kills, in random order.
    moments = [whole * (number + dice.random()) / kills for number in range(kills)]
    dice.shuffle(moments)
    for number in range(3 * kills):
        work, arguments = trial.work()
        with trial.observer.observing():
            end = worker.run(work, *arguments, kill_after=moments[number % kills])
        is_new = trial.is_new()
        if end.is_killed:
            states[is_new] += 1
        else:
            assert is_new
        # The next command is killed too, and the third one runs to its end.
        if number % 3 == 2:
            with trial.observer.observing():
                trial.follow()
        if states.total() == kills:
            break
    trial.follow()
    return states


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Rollback, Compact, Vacuum, Maintain, Backup, Erase])
def test_a_killed_command_leaves_the_old_state_or_the_new(
    days: Simulated, worker: ForkedWorker, tmp_path: Path, kind: type[Month]
) -> None:
    """A killed command does not disturb readers, and the next command finishes."""
    trial = kind(days.copy(str(tmp_path / "lake")))
    check_trial(trial, worker)


@pytest.mark.slow
def test_a_killed_build_leaves_the_old_release_or_the_new(
    few: Shop, worker: ForkedWorker, tmp_path: Path
) -> None:
    """The next build restores the heads to the current release first."""
    check_trial(Publish(few.copy(tmp_path / "lake")), worker)


def check_trial(trial: Trial, worker: ForkedWorker) -> None:
    """Kill the command of a trial while another thread reads; check that enough kills and reads happened."""
    states = kill_repeatedly(trial, worker, random.Random(type(trial).__name__))
    assert states.total() == KILLS[type(trial).__name__], f"only {states.total()} were killed in their work"
    assert states[False], "none was killed before it was done"
    assert trial.observer.reads > states.total() / 3
    trial.end()
