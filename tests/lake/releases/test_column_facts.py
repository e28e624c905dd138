"""Column facts: releases publish what headers declare about columns; the lake has no list of its own."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from lake.delta.tables import create_table
from lake.errors import LakeError
from lake.paths import Lake
from lake.releases.column_facts import COLUMNS, ColumnFacts, read_column_facts, read_personal_columns
from lake.releases.release import Release, current_release, publish

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
OLD = {"table_name": "gold.days", "column_name": "date"}
DAY = {**OLD, "is_day": True, "is_money": False, "is_personal": False}
MONEY = {**DAY, "column_name": "revenue", "is_day": False, "is_money": True}
NAME = {**DAY, "column_name": "name", "is_day": False, "is_personal": True}
BUYER = {**NAME, "table_name": "silver.buyers"}


def publish_columns(
    lake: Lake, *rows: Mapping[str, object], tables: Sequence[str] = ("gold.days",)
) -> Release:
    """Publish a release whose ``rules.columns`` has the rows; without rows it has no such table."""
    versions = dict.fromkeys(tables, 0)
    if rows:
        content = pa.Table.from_pylist(list(rows))
        table = create_table(lake, COLUMNS, content.schema)
        is_same = table.schema == content.schema
        versions[COLUMNS] = table.replace(content) if is_same else table.redefine(content)
    newest = current_release(lake)
    number = newest.release if newest else 0
    release = Release(
        release=number + 1,
        published_at=NOW,
        kind="sync",
        parent=number or None,
        tables=versions,
        consumed={},
    )
    return publish(lake, release)


def test_a_release_tells_day_money_and_personal_columns(lake: Lake) -> None:
    """The facts of a release are those that it published, whatever later ones publish."""
    first = publish_columns(lake, DAY, MONEY, BUYER)
    publish_columns(lake, DAY)
    assert read_column_facts(lake, first) == ColumnFacts(
        tables=frozenset({"gold.days", "silver.buyers"}),
        day={"gold.days": "date"},
        money={"gold.days": "revenue"},
        personal=frozenset({("silver.buyers", "name")}),
    )


def test_a_release_without_facts_takes_those_of_the_current_one(lake: Lake) -> None:
    """Releases from before the facts, with or without the table, are read by the current declarations."""
    bare, early = publish_columns(lake), publish_columns(lake, OLD)
    assert read_column_facts(lake, bare, early) == ColumnFacts()
    publish_columns(lake, DAY)
    for release in (bare, early):
        assert read_column_facts(lake, release).day == {"gold.days": "date"}


def test_a_column_is_personal_if_then_or_now_it_is_declared_so(lake: Lake) -> None:
    """A declaration that came later, or was removed later, still keeps the column out of an archive."""
    before = publish_columns(lake, DAY, BUYER, tables=("gold.days", "silver.buyers"))
    publish_columns(lake, NAME)
    assert read_personal_columns(lake, before) == {("silver.buyers", "name"), ("gold.days", "name")}


def test_tables_that_no_release_covers_are_refused(lake: Lake) -> None:
    """A table without declarations could have personal columns, so nothing of it is archived."""
    release = publish_columns(lake, OLD)
    with pytest.raises(LakeError, match=r"gold\.days: no release says .* `just transform --full` publishes"):
        read_personal_columns(lake, release)
    publish_columns(lake, DAY)
    assert read_personal_columns(lake, release) == frozenset()
