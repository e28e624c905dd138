"""Commit queue: files that are written before the checks are deleted if the build fails."""

import os
import signal
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from lake.delta.tables import open_table
from lake.errors import CheckFailed, LakeError, ModelError
from lake.paths import Lake
from tests.support.built_lake import (
    ENGINE,
    FEW,
    MODELS,
    Shop,
    change_model,
    columns_of,
    ingested_shop,
    instant,
)
from transform.build import Build
from transform.commit_queue import is_distinct, is_key_unique
from transform.settings import RulesSettings

SCHEMA = pa.schema(
    [
        pa.field("order_id", pa.int64()),
        pa.field("position", pa.int64()),
        pa.field("name", pa.string()),
        pa.field("month", pa.date32()),
    ]
)
MONTHS = [date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "order_id": st.none() | st.integers(-3, 12),
            "position": st.none() | st.integers(1, 2),
            "name": st.none() | st.sampled_from(["Крем", "Тонік"]),
            "month": st.sampled_from(MONTHS),
        }
    ),
    max_size=25,
)


def in_chunks(rows: pa.Table, size: int) -> pa.Table:
    """Return the rows in chunks, as a query returns them."""
    return pa.concat_tables([rows.slice(at, size) for at in range(0, rows.num_rows, size)] or [rows])


@given(
    ROWS, st.sampled_from([("order_id",), ("order_id", "position"), ("order_id", "name")]), st.integers(1, 9)
)
def test_a_key_that_is_proven_unique_is_unique(
    rows: list[dict[str, object]], key: tuple[str, ...], size: int
) -> None:
    """The order of rows never proves a repeated key unique, and proves a unique one if ids
    determine the month.
    """
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    keys = [tuple(row[name] for name in key) for row in rows]
    is_each = len(set(keys)) == len(keys)
    by_month = in_chunks(table.sort_by([(name, "ascending") for name in ("month", *key)]), size)
    by_key = in_chunks(table.sort_by([(name, "ascending") for name in key]), size)
    assert is_key_unique(by_key, key, None) == is_each
    is_proven = is_key_unique(by_month, key, "month")
    assert is_each or not is_proven
    ids = {(row["month"], row["order_id"]) for row in rows}
    if (
        is_each
        and len({number for _, number in ids}) == len(ids)
        and None not in {number for _, number in ids}
    ):
        assert is_proven


@given(st.lists(st.integers(-5, 60), min_size=1), st.integers(1, 9))
def test_ids_are_distinct_if_none_repeats(ids: list[int], size: int) -> None:
    """The result is right for ids in any order."""
    parts = [ids[at : at + size] for at in range(0, len(ids), size)]
    assert is_distinct(pa.chunked_array(parts, pa.int64())) == (len(set(ids)) == len(ids))


def test_a_key_that_repeats_in_another_month_is_found() -> None:
    """A key in two months is found even if another row is between the two rows."""
    rows = [(5, 1, MONTHS[0]), (5, 2, MONTHS[0]), (5, 1, MONTHS[1])]
    records = [dict(zip(("order_id", "position", "month"), row, strict=True)) for row in rows]
    assert not is_key_unique(pa.Table.from_pylist(records, SCHEMA), ("order_id", "position"), "month")


def test_an_uncomparable_key_is_not_proven_unique() -> None:
    """Names in several months, floats, lists and an empty key are not proven unique, so the check
    itself runs.
    """
    rows = pa.table({"name": ["а", "б"], "month": pa.array(MONTHS[:2])})
    assert not is_key_unique(rows, ["name"], "month")
    assert not is_key_unique(rows, [], None)
    assert not is_key_unique(pa.table({"phones": [["1"], ["2"]]}), ["phones"], None)
    assert not is_key_unique(pa.table({"share": [float("nan")] * 2}), ["share"], None)
    assert is_key_unique(rows, ["name"], None)


def grow(shop: Shop) -> None:
    """Add one order."""
    shop.observe(
        "bronze.orders",
        "id | ordered_at | source_id | status_id | grand_total | fetched_at\n"
        f"9 | 2026-07-04 10:00 | 1 | 12 | 900.00 | {instant(1)}",
    )


@pytest.mark.parametrize(
    "twice",
    [
        "from ({sql}) union all from ({sql})",
        "from ({sql}) union all select * replace (order_date + 31 as order_date) from ({sql}) where id = 1",
        "from ({sql}) union all select * replace (order_date - 31 as order_date) from ({sql}) where id = 5",
    ],
    ids=["in one month", "in a later month", "in an earlier month"],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_repeated_key_is_found_in_a_full_build(
    few: Shop, tmp_path: Path, twice: str, is_first: bool
) -> None:
    """A repeated key is found in any month; no file and no new table is left."""
    shop = few.copy(tmp_path / "rebuilt", "bronze") if is_first else few
    before = shop.heads()
    with pytest.raises(CheckFailed, match=r"silver\.orders\.key_is_unique: .* the first is id="):
        shop.build(models=change_model("silver.orders", twice))
    assert not shop.strays()
    assert before == {name: at for name, at in shop.heads().items() if name != "ops.findings"}


@pytest.mark.parametrize("is_first", [True, False])
def test_a_missing_value_is_reported_by_its_check(few: Shop, tmp_path: Path, is_first: bool) -> None:
    """A missing value is reported by its check with exit code 3, although no file can be written with it."""
    shop = few.copy(tmp_path / "rebuilt", "bronze") if is_first else few
    models = change_model(
        "silver.orders", "select * replace (nullif(sales_type, 'retail') as sales_type) from ({sql})"
    )
    with pytest.raises(CheckFailed, match=r"silver\.orders\.sales_type_is_there: 3 rows") as refused:
        shop.build(models=models)
    assert refused.value.exit_code == 3
    assert not shop.strays()


def test_the_queue_proves_every_key_of_a_first_build(tmp_path: Path) -> None:
    """A full build does not run the key check on tables that the queue has sorted."""
    shop = ingested_shop(tmp_path / "lake")
    build = Build(shop.lake, ENGINE, RulesSettings(), shop.models)
    with build.queue as queue:
        candidates = build.build_candidates(queue)
        unique = {name for name in candidates.models if queue.is_unique(name)}
    assert unique == {model.name for model in MODELS}
    assert not shop.strays()


def test_rows_are_sorted_by_their_key(first_release: Shop) -> None:
    """Rows are sorted by the key in every file, so that lookups skip files and keys are proven unique."""
    for model in MODELS:
        for file in open_table(first_release.lake, model.name).files():
            rows = pq.read_table(file.uri, columns=list(model.header.key), partitioning=None)
            by = [(name, "ascending") for name in model.header.key]
            assert rows == rows.sort_by(by), file.uri


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    ("model", "sql", "error"),
    [
        (
            "gold.source_daily",
            "select * replace ((revenue + 1)::decimal(18, 2) as revenue) from ({sql})",
            CheckFailed,
        ),
        ("gold.source_daily", "select 1 / from silver.orders", ModelError),
    ],
)
def test_a_build_that_fails_late_leaves_no_file(
    few: Shop, tmp_path: Path, is_first: bool, model: str, sql: str, error: type[LakeError]
) -> None:
    """If a later table fails, the files of earlier tables are deleted, and those of releases are kept."""
    shop = few.copy(tmp_path / "rebuilt", "bronze") if is_first else few
    grow(shop)
    shown = {} if is_first else shop.read()
    with pytest.raises(error):
        shop.build(models=change_model(model, sql))
    assert not shop.strays()
    assert is_first or shop.read() == shown
    assert shop.publish().rows["silver.orders"] == 6
    assert not shop.strays()


def abort(build: Build, shop: Shop) -> NoReturn:
    """Abort a build that has written its files, after a folder has replaced one of them."""
    with build.queue as queue:
        candidates = build.build_candidates(queue)
        assert [queue.is_unique(name) for name in candidates.tables]  # waits until they are written
        first, *others = sorted(shop.strays())
        assert others
        os.remove(first)
        os.makedirs(f"{first}/stays")
        raise LakeError("the build is aborted")


def test_a_file_that_cannot_be_deleted_does_not_hide_the_error(few: Shop) -> None:
    """If a file can't be deleted, the build's own error is raised and the other files are deleted."""
    grow(few)
    with pytest.raises(LakeError, match="the build is aborted"):
        abort(Build(few.lake, ENGINE, RulesSettings(), FEW), few)
    (left,) = few.strays()
    assert Path(left).is_dir()


@contextmanager
def interrupted() -> Iterator[list[str]]:
    """Press Ctrl-C when a table is committed, until the waiting build has received it; yield the commits."""
    committed: list[str] = []
    is_received, main = threading.Event(), threading.main_thread().ident
    assert main

    def press(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        while event["event"] == "transform.committed" and not is_received.wait(0.01):
            signal.pthread_kill(main, signal.SIGINT)
        committed.append(event["table"])
        return event

    def receive(number: int, frame: FrameType | None) -> None:
        names = []
        while frame:
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        # Not while tables are still submitted: the build does not wait yet.
        if names[0] == "wait" and "submit" not in names and not is_received.is_set():
            is_received.set()
            raise KeyboardInterrupt

    before, how = signal.signal(signal.SIGINT, receive), structlog.get_config()
    structlog.configure(processors=[press, structlog.processors.KeyValueRenderer()])
    try:
        yield committed
    finally:
        structlog.configure(**how)
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_waits_for_running_commits(few: Shop) -> None:
    """The build lock is released only after the running commits, so that no other build sees half of them."""
    grow(few)
    build = Build(few.lake, ENGINE, RulesSettings(), FEW)
    with interrupted() as committed, build.queue as queue:
        candidates = build.build_candidates(queue)
        with pytest.raises(KeyboardInterrupt):
            build.publish(candidates, [], kind=None, reconciled=None)
        committed_now = set(committed)
    assert committed_now == {name for name, candidate in candidates.tables.items() if candidate.differs}
    assert few.releases() == [1]


def test_a_dry_run_writes_nothing(few: Shop) -> None:
    """A dry run writes no file, not even one that it would delete."""
    grow(few)
    folder = Path(few.lake.place) / "silver"
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    assert few.build(dry_run=True) is None
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


MORE = change_model(
    "gold.source_daily",
    "select *, 1::bigint as more from ({sql})",
    columns={**columns_of("gold.source_daily"), "more": "BIGINT"},
)


def test_a_table_outside_all_releases_is_built_with_new_columns(few: Shop, tmp_path: Path) -> None:
    """A model that was removed and added again may have other columns."""
    few.publish(models=[one for one in FEW if one.name != "gold.source_daily"])
    release = few.publish(models=MORE)
    rows = open_table(few.lake, "gold.source_daily", release.tables["gold.source_daily"]).read()
    assert set(rows["more"].to_pylist()) == {1}
    assert few.publish().tables.keys() == few.rebuilt_copy(tmp_path / "rebuilt").read().keys()
    assert few.read() == Shop(Lake(root=str(tmp_path / "rebuilt")), FEW).read()


def test_tables_of_a_killed_first_build_are_built_with_new_columns(few: Shop, tmp_path: Path) -> None:
    """A killed first build leaves tables without a release, and the next build may change their columns."""
    shop = few.copy(tmp_path / "killed", "bronze")
    build = Build(shop.lake, ENGINE, RulesSettings(), FEW)
    with build.queue as queue:
        queue.commit(build.build_candidates(queue))
    release = shop.publish(models=MORE)
    assert release.release == 1
    assert shop.publish().release == 2
    assert shop.read() == few.read()


def test_a_table_that_was_not_queued_is_committed(few: Shop, tmp_path: Path) -> None:
    """A release has the rows of its tables, even if the build did not queue them before the commit."""
    grow(few)
    build = Build(few.lake, ENGINE, RulesSettings(), FEW)
    with build.queue:
        release = build.publish(build.build_candidates(), [], kind=None, reconciled=None)
    assert release.rows["silver.orders"] == len(few.read()["silver.orders"]) == 6


def test_a_model_with_new_columns_is_checked_and_written(few: Shop) -> None:
    """Rows of a table whose schema changes stay in memory until the commit, and no file is left."""
    release = few.publish(models=MORE)
    rows = open_table(few.lake, "gold.source_daily", release.tables["gold.source_daily"]).read()
    assert set(rows["more"].to_pylist()) == {1}
    assert not few.strays()
