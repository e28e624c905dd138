"""Release: one commit makes many versions current, and each stays readable as it was."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from lake.delta.contract import Contract
from lake.delta.tables import create_table, open_table
from lake.errors import CommitConflict, NoRelease
from lake.paths import Lake
from lake.query.session import open_session
from lake.releases.release import Move, Release, current_release, find_release, list_releases, publish, total
from lake.settings import LakeSettings

SCHEMA = Contract.of({"id": "BIGINT"}).schema
MOVED = (Move("silver.things", date(2026, 6, 1), 0, 2, None, Decimal("10.50")),)


def publish_rows(lake: Lake, *ids: int, parent: int | None) -> Release:
    """Commit the rows to one table and publish them."""
    at = create_table(lake, "silver.things", SCHEMA).replace(pa.table({"id": list(ids)}, schema=SCHEMA))
    release = Release(
        release=(parent or 0) + 1,
        published_at=datetime(2026, 6, 1, 12, tzinfo=UTC),
        kind="sync",
        parent=parent,
        tables={"silver.things": at},
        consumed={},
        rows={"silver.things": len(ids)},
        money={"silver.things": Decimal("10.50")},
        moved=MOVED,
        checks={"silver.things.key_is_unique": 1},
    )
    publish(lake, release)
    return release


def test_a_release_is_read_back_as_it_was_published(lake: Lake) -> None:
    """Every field of a release is read from the ledger as it was written."""
    assert current_release(lake) is None
    release = publish_rows(lake, 1, 2, parent=None)
    assert current_release(lake) == release
    assert total(release.moved) == Decimal("10.50")


def test_an_older_release_reads_the_same_after_newer_ones(lake: Lake, engine: LakeSettings) -> None:
    """A reader with release 1 open sees nothing of releases 2 and 3."""
    publish_rows(lake, 1, 2, parent=None)
    session = open_session(lake, engine, find_release(lake, 1))
    publish_rows(lake, 3, parent=1)
    publish_rows(lake, parent=2)
    assert session.sql("select list(id order by id) from silver.things").fetchall() == [([1, 2],)]
    assert open_session(lake, engine, find_release(lake, 2)).sql("from silver.things").fetchall() == [(3,)]
    assert open_session(lake, engine, find_release(lake, None)).sql("from silver.things").fetchall() == []


def test_of_two_publishers_on_one_parent_only_one_wins(lake: Lake) -> None:
    """The second publisher finds that its parent is no longer current and writes nothing."""
    first = publish_rows(lake, 1, parent=None)
    publish_rows(lake, 2, parent=1)
    with pytest.raises(CommitConflict):
        publish(lake, first)
    with pytest.raises(CommitConflict):
        publish_rows(lake, 3, parent=1)
    assert [release.release for release in list_releases(lake)] == [2, 1]


def test_unknown_releases_are_named(lake: Lake) -> None:
    """The message names the newest release and the command that lists all."""
    with pytest.raises(NoRelease, match="just sync"):
        find_release(lake, None)
    publish_rows(lake, 1, parent=None)
    with pytest.raises(NoRelease, match="release 7 was never published, the newest is 1"):
        find_release(lake, 7)
    assert find_release(lake, 1).release == 1


def test_list_is_newest_first_and_bounded(lake: Lake) -> None:
    """The newest release is read from the last file, however long the ledger is."""
    for parent in (None, 1, 2, 3):
        publish_rows(lake, parent or 0, parent=parent)
    assert [release.release for release in list_releases(lake, limit=2)] == [4, 3]
    assert len(list_releases(lake)) == 4


def test_a_head_ahead_of_the_release_is_not_seen(lake: Lake, engine: LakeSettings) -> None:
    """Until the release is committed, readers see the table version of the old one."""
    publish_rows(lake, 1, parent=None)
    open_table(lake, "silver.things").replace(pa.table({"id": [2]}, schema=SCHEMA))
    session = open_session(lake, engine, find_release(lake, None))
    assert session.sql("from silver.things").fetchall() == [(1,)]
