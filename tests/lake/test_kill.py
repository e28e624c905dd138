"""kill -9 at any moment of what changes a lake: the old state or the new one, and nothing between.

A hundred processes and more are killed while another thread reads releases all the time,
as sessions and through the catalogue: what it read of a release once it reads for ever,
and the tables of one release agree. The command that follows finishes, whatever was left.
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
from lake.delta.table import open_table
from lake.history.rollback import parent_of, run_resume, run_rollback
from lake.maintenance.compaction import BEFORE_MIDNIGHT, compact, crowded
from lake.maintenance.erasure import Redaction, erase
from lake.maintenance.vacuum import maintain, vacuum
from lake.paths import Lake
from lake.query.catalogue import catalogue_release, refresh_catalogue
from lake.query.session import Connection, fetch, heads, open_session
from lake.releases.release import COMPACTION, ROLLBACK, Release, current_release, find_release, list_releases
from lake.settings import LakeSettings
from tests.support.built_lake import FEW, Shop, ingested_shop
from tests.support.nursery import Nursery
from tests.support.simulated_lake import BRONZE, GOLD, SILVER, Simulated, at, files
from tests.transform.test_crash import grow

# A hundred and more; most where one is cheap.
KILLS = {"Rollback": 24, "Erase": 26, "Compact": 16, "Backup": 12, "Publish": 10, "Vacuum": 8, "Maintain": 8}
KEEP = LakeSettings(memory_limit="512MB", threads=1, keep_days=5, keep_all_hours=120)
SEEN = timedelta(days=3)
Work = tuple[Callable[..., object], tuple[object, ...]]
Content = dict[str, dict[str, Any]]
# Rows only where the tables are not of one release.
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
    """Return the rows of every table, counted and hashed, but for the texts that are erased."""
    named = {**release.tables, **release.consumed} if GOLD in release.tables else release.tables
    found = {}
    for name in sorted(named):
        without = " exclude (text)" if name in (BRONZE, SILVER) and GOLD in release.tables else ""
        rows = f"(select *{without} from {name}) as r"
        [found[name]] = fetch(connection, f"select count(*) as rows, sum(hash(r)) from {rows}").to_pylist()
    assert {name: found[name]["rows"] for name in release.rows} == release.rows
    assert fetch(connection, LAW if GOLD in release.tables else MONEY).to_pylist() == []
    return found


class Witness:
    """Reads releases of a lake again and again, and knows what each one said."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        # An erasure replaces files: DuckDB, which opens one twice, can meet another one then and says so.
        self.asks_again = False
        self.problems: list[Exception] = []
        self.looks = 0
        self._said: dict[int, Content] = {}
        self._newest = {"ledger": 0, "catalogue": 0}
        self._dice = random.Random(5)
        self._turned = threading.Condition()
        self._over = threading.Event()

    def look(self) -> None:
        """Read the catalogue, or the current release, or one of those before it."""
        if self.looks % 2:
            self.look_at_catalogue()
            return
        found = list_releases(self.lake, limit=8)
        self._advance("ledger", found[0].release)
        kept = [release for release in found if release.published_at > found[0].published_at - SEEN]
        self.read(found[0] if self.looks % 4 else self._dice.choice(kept))

    def look_at_catalogue(self) -> None:
        """Read what an analyst with a DuckDB of his own reads."""
        with duckdb.connect(str(self.lake.catalogue), read_only=True) as connection:
            ((number,),) = connection.execute("select release from ops.current_release").fetchall()
            self._advance("catalogue", number)
            self._hear(number, content(connection, find_release(self.lake, number)))

    def read(self, release: Release) -> Content:
        """Return what a release says; fail where it said anything else before."""
        with open_session(self.lake, KEEP, release) as session:
            return self._hear(release.release, content(session, release))

    def turn(self) -> None:
        """Return when nothing is under way that began before now."""
        with self._turned:
            seen = self.looks
            self._turned.wait_for(lambda: self.looks >= seen + 2 or self.problems, timeout=300)
        assert not self.problems, self.problems

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look all the while."""
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
        assert not self.problems, self.problems

    def _watch(self) -> None:
        while not self._over.is_set():
            try:
                self.look()
            except duckdb.Error as error:
                if not self.asks_again:
                    self.problems.append(error)
                    self._over.set()
            except Exception as error:
                self.problems.append(error)
                self._over.set()
            with self._turned:
                self.looks += 1
                self._turned.notify_all()

    def _advance(self, where: str, number: int) -> None:
        assert number >= self._newest[where], f"the {where} went back from {self._newest[where]} to {number}"
        self._newest[where] = number

    def _hear(self, number: int, found: Content) -> Content:
        assert self._said.setdefault(number, found) == found, f"release {number} says something else"
        return found


class Trial(ABC):
    """A command that is killed: what it finds to do, what may be found after it, and what comes next."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.witness = Witness(lake)

    @abstractmethod
    def work(self) -> Work:
        """Let something come that the command has to do; return the command."""

    @abstractmethod
    def is_new(self) -> bool:
        """True where the killed command's new state is there, False for the old one; fail for any other."""

    @abstractmethod
    def follow(self) -> None:
        """Run the command that follows, to its end; fail where it leaves anything to do."""

    def end(self) -> None:  # noqa: B027  # not every trial has an end of its own
        """Fail where all of it together did not come to what it should."""


class Month(Trial):
    """A trial on a simulated lake, whose clock is behind the real one: what is written now is young."""

    def __init__(self, month: Simulated) -> None:
        super().__init__(month.lake)
        self.month = month
        refresh_catalogue(self.lake)

    def sync(self) -> None:
        """Let a day pass and a release come."""
        self.month.passes(timedelta(days=1))
        self.month.sync()

    def kept(self) -> list[Release]:
        """Return the releases that maintenance keeps."""
        since = self.month.now - timedelta(days=KEEP.keep_days)
        return [release for release in list_releases(self.lake) if release.published_at >= since]


def roll_back(lake: Lake, now: datetime) -> None:
    """Go back as the command does."""
    current = find_release(lake, None)
    run_rollback(lake, parent_of(lake, current), current=current, now=now, settings=KEEP)
    refresh_catalogue(lake)


def resume(lake: Lake, now: datetime) -> None:
    """Lift the hold as the command does."""
    run_resume(lake, now=now)
    refresh_catalogue(lake)


class Rollback(Month):
    """By turns a rollback, and the resume that follows it."""

    def work(self) -> Work:
        """The one or the other."""
        self.before = find_release(self.lake, None)
        return (resume if self.before.is_held else roll_back), (self.lake, self.month.now)

    def is_new(self) -> bool:
        """One release more, held where it was not; it says what its target or its parent said."""
        found = find_release(self.lake, None)
        if found == self.before:
            return False
        shown = self.before if self.before.is_held else parent_of(self.lake, self.before)
        assert (found.release, found.parent) == (self.before.release + 1, self.before.release)
        assert found.is_held != self.before.is_held
        assert self.witness.read(found) == self.witness.read(shown)
        return True

    def follow(self) -> None:
        """Whatever has come of it, the state after it is reached; the catalogue shows it."""
        if find_release(self.lake, None) == self.before:
            work, arguments = self.work()
            work(*arguments)
        refresh_catalogue(self.lake)
        found = find_release(self.lake, None)
        assert found.is_held == (found.kind == ROLLBACK)
        assert catalogue_release(self.lake) == found.release
        self.sync_when_free(found)

    def sync_when_free(self, found: Release) -> None:
        """Publish what another rollback can go back from."""
        if not found.is_held:
            self.sync()
            refresh_catalogue(self.lake)


class Compact(Month):
    """Four runs a day that brought something, to be merged when the day is over."""

    def work(self) -> Work:
        """Merge them."""
        for number in range(4):
            self.month.look([number])
        self.sync()
        self.month.passes(timedelta(days=1))
        self.rows = self.held()
        self.before = find_release(self.lake, None)
        return compact_at, (self.lake, self.month.now)

    def held(self) -> list[dict[str, Any]]:
        """Return all that bronze holds at its head."""
        rows: list[dict[str, Any]] = open_table(self.lake, BRONZE).read().to_pylist()
        return sorted(rows, key=lambda row: (row["fetched_at"], row["id"]))

    def is_new(self) -> bool:
        """The rows are the same either way; at last a release names the merged files."""
        assert self.held() == self.rows
        found = find_release(self.lake, None)
        if found == self.before:
            return False
        assert (found.kind, found.parent) == (COMPACTION, self.before.release)
        assert found.consumed == {BRONZE: open_table(self.lake, BRONZE).version}
        assert self.witness.read(found) == self.witness.read(self.before)
        return True

    def follow(self) -> None:
        """Nothing is left to merge, and a release says so."""
        compact_at(self.lake, self.month.now)
        assert self.is_new()
        files = live_files(open_table(self.lake, BRONZE)._delta)
        assert not crowded(files, shop_day(self.month.now + BEFORE_MIDNIGHT).isoformat())


def compact_at(lake: Lake, now: datetime) -> None:
    """Merge as the command does."""
    compact(lake, now=now)


class Vacuum(Month):
    """Releases that are not kept any more have files of their own."""

    def __init__(self, month: Simulated) -> None:
        super().__init__(month)
        for _ in range(6):
            self.sync()

    def work(self) -> Work:
        """Delete them."""
        self.sync()
        self.month.passes(timedelta(days=1))
        refresh_catalogue(self.lake)
        # Here a day is over in no time; nobody has really been reading for one.
        self.witness.turn()
        return self.command, (self.lake, self.month.now)

    @property
    def command(self) -> Callable[..., object]:
        """What is killed."""
        return vacuum_at

    def is_new(self) -> bool:
        """The oldest release that is kept says what it said; True where nothing is left to delete."""
        self.witness.read(self.kept()[-1])
        return vacuum(self.lake, KEEP, now=self.month.now) == []

    def follow(self) -> None:
        """Nothing is left to delete."""
        work: Any = self.command
        work(self.lake, self.month.now)
        assert vacuum(self.lake, KEEP, now=self.month.now) == []
        self.witness.read(self.kept()[-1])


def vacuum_at(lake: Lake, now: datetime) -> None:
    """Delete as the command does."""
    vacuum(lake, KEEP, now=now, dry_run=False)


class Maintain(Vacuum):
    """Merging, clean-up of logs, checkpoints, vacuum."""

    @property
    def command(self) -> Callable[..., object]:
        """All of it."""
        return maintain_at


def maintain_at(lake: Lake, now: datetime) -> None:
    """Maintain as the command does."""
    maintain(lake, KEEP, now=now)


class Backup(Month):
    """A release more than the last backup has."""

    def __init__(self, month: Simulated) -> None:
        super().__init__(month)
        self.place = f"{self.lake.place}-backup"
        self.count = 0
        back_up(self.lake, self.place, now=self.month.now)

    def work(self) -> Work:
        """Back it up."""
        self.sync()
        self.held = read_manifest(self.place).release
        return back_up_at, (self.lake, self.place, self.month.now)

    def is_new(self) -> bool:
        """The place is a lake that shows a release of ours, and what is restored is the last or this one."""
        held = read_manifest(self.place).release
        newest = find_release(self.lake, None).release
        assert held in (self.held, newest)
        there = current_release(Lake(root=self.place))
        assert there
        assert there.release in (self.held, newest)
        self.says_the_same(self.place, there)
        self.count += 1
        if self.count % 2:
            restore(self.place, restored := Lake(root=f"{self.place}-{self.count}"))
            found = current_release(restored)
            assert found
            assert found.release == held
            self.says_the_same(restored.place, found)
        return held == newest

    def follow(self) -> None:
        """The next one finishes, and nothing half lies about."""
        back_up_at(self.lake, self.place, self.month.now)
        assert read_manifest(self.place).release == find_release(self.lake, None).release
        assert not (Path(self.place) / ASIDE).exists()
        assert (Path(self.place) / MANIFEST).exists()

    def says_the_same(self, place: str, release: Release) -> None:
        """Fail where a copy of a release is not the release."""
        with open_session(Lake(root=place), KEEP, release) as session:
            assert content(session, release) == self.witness.read(find_release(self.lake, release.release))


def back_up_at(lake: Lake, place: str, now: datetime) -> None:
    """Back up as the command does."""
    back_up(lake, place, now=now)


class Erase(Month):
    """A person more is to be forgotten, in every version of bronze and silver."""

    def __init__(self, month: Simulated) -> None:
        super().__init__(month)
        self.witness.asks_again = True
        self.ids: list[int] = []
        self.count = 0

    def work(self) -> Work:
        """Erase the next one."""
        self.ids.append(self.count + len(self.ids))
        self.sizes = self.sizes_now()
        return erase_id, (self.lake, self.ids[-1])

    def sizes_now(self) -> dict[str, int]:
        """Return the bytes of every data file."""
        found = [file for file in files(self.lake, "bronze", "silver") if file.suffix == ".parquet"]
        return {str(file): file.stat().st_size for file in found if "_delta_log" not in file.parts}

    def is_new(self) -> bool:
        """Each file has the size that its table says; True where the person is in none any more."""
        assert self.sizes_now() == self.sizes
        return not self.texts(self.ids[-1])

    def follow(self) -> None:
        """Nobody who was to be forgotten is anywhere."""
        for who in self.ids:
            erase_id(self.lake, who)
        assert not self.texts(*self.ids)
        self.ids, self.count = [], self.count + len(self.ids)
        assert self.sizes_now() == self.sizes
        assert not (Path(self.lake.place) / ASIDE).exists()

    def texts(self, *ids: int) -> int:
        """Return in how many rows, of any version, these persons still have a text."""
        query = "select 1 from read_parquet($1, union_by_name = true) where id in $2 and text <> ''"
        return len(duckdb.execute(query, [sorted(self.sizes_now()), list(ids)]).fetchall())


def erase_id(lake: Lake, who: int) -> None:
    """Erase as the command does."""
    erase(lake, redactions(who))


def redactions(who: int) -> list[Redaction]:
    """Return what to change."""
    return [Redaction(name, "id", frozenset({who}), {"text": forget}) for name in (BRONZE, SILVER)]


def forget(text: object) -> str:
    """Return nothing in place of a text."""
    return ""


class Publish(Trial):
    """A build of the models: commits to four tables, the release, the catalogue."""

    def __init__(self, shop: Shop) -> None:
        super().__init__(shop.lake)
        self.shop = shop
        self.minute = 0
        refresh_catalogue(self.lake)

    def work(self) -> Work:
        """Build what a run brought."""
        self.minute += 1
        grow(self.shop, self.minute)
        self.before = self.shop.releases()[0]
        return build, (self.shop,)

    def is_new(self) -> bool:
        """What is current is the release before, or the one after it."""
        found = find_release(self.lake, None)
        assert found.release in (self.before, self.before + 1)
        self.witness.read(found)
        return found.release > self.before

    def follow(self) -> None:
        """The next build publishes, or finds nothing to do; heads and catalogue are its own."""
        build(self.shop)
        release = find_release(self.lake, None)
        assert release.release in (self.before, self.before + 1)
        assert release.consumed == heads(self.lake)
        for name, version in release.tables.items():
            assert open_table(self.lake, name).files() == open_table(self.lake, name, version).files()
        assert catalogue_release(self.lake) == release.release

    def end(self) -> None:
        """As if nothing had ever been killed."""
        anew = self.shop.rebuilt_copy(Path(f"{self.lake.place}-anew"))
        assert self.shop.read() == anew.read()


def build(shop: Shop) -> None:
    """Build as the command does."""
    shop.build()


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """A process that has imported everything."""
    found = Nursery("tests.lake.test_kill")
    yield found
    found.close()


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """Four days of a small shop; nobody changes it."""
    month = Simulated(Lake(root=str(tmp_path_factory.mktemp("days") / "lake")), now=at(0))
    month.start(orders=20)
    for _ in range(4):
        for _ in range(3):
            month.sync()
        month.passes(timedelta(days=1))
    return month


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A few models and one release; nobody changes it."""
    shop = ingested_shop(tmp_path_factory.mktemp("few") / "lake", models=FEW)
    shop.publish()
    return shop


def killed_again_and_again(trial: Trial, nursery: Nursery, dice: random.Random) -> Counter[bool]:
    """Kill the command at moments drawn from all of its work; return how often the new state was found."""
    found: Counter[bool] = Counter()
    kills = KILLS[type(trial).__name__]
    work, arguments = trial.work()
    whole = nursery.run(work, *arguments).seconds
    assert trial.is_new()
    for number in range(3 * kills):
        work, arguments = trial.work()
        end = nursery.run(work, *arguments, kill_after=dice.uniform(0, whole))
        is_new = trial.is_new()
        if end.is_killed:
            found[is_new] += 1
        else:
            assert is_new
        # The command that comes next is killed too, and the third one ends.
        if number % 3 == 2:
            trial.follow()
        if found.total() == kills:
            break
    trial.follow()
    return found


@pytest.mark.parametrize("kind", [Rollback, Compact, Vacuum, Maintain, Backup, Erase])
def test_whatever_is_killed_leaves_the_old_state_or_the_new(
    days: Simulated, nursery: Nursery, tmp_path: Path, kind: type[Month]
) -> None:
    """Readers see neither; the command after it finishes."""
    trial = kind(days.copy(str(tmp_path / "lake")))
    witnessed(trial, nursery)


def test_a_build_that_is_killed_leaves_the_old_release_or_the_new(
    few: Shop, nursery: Nursery, tmp_path: Path
) -> None:
    """The next one brings the heads back first."""
    witnessed(Publish(few.copy(tmp_path / "lake")), nursery)


def witnessed(trial: Trial, nursery: Nursery) -> None:
    """Kill, while somebody reads all the time."""
    with trial.witness.watching():
        found = killed_again_and_again(trial, nursery, random.Random(type(trial).__name__))
    assert found.total() == KILLS[type(trial).__name__], f"only {found.total()} were killed in their work"
    assert found[False], "none was killed before it was done"
    assert trial.witness.looks > found.total() / 3
    trial.end()
