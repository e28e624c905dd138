"""Staging: what is written before it is known to be right is gone where it was not."""

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

from lake.delta.table import open_table
from lake.errors import CheckFailed, LakeError, ModelError
from lake.paths import Lake
from tests.support.built_lake import ENGINE, FEW, MODELS, Shop, changed, columns_of, look, opened
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
    """Return the rows in pieces, as a query gives them."""
    return pa.concat_tables([rows.slice(at, size) for at in range(0, rows.num_rows, size)] or [rows])


@given(
    ROWS, st.sampled_from([("order_id",), ("order_id", "position"), ("order_id", "name")]), st.integers(1, 9)
)
def test_a_key_that_is_seen_to_name_each_row_does(
    rows: list[dict[str, object]], key: tuple[str, ...], size: int
) -> None:
    """Whatever comes in which month; and what names each is seen to, where ids are there."""
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    keys = [tuple(row[name] for name in key) for row in rows]
    is_each = len(set(keys)) == len(keys)
    by_month = in_chunks(table.sort_by([(name, "ascending") for name in ("month", *key)]), size)
    by_key = in_chunks(table.sort_by([(name, "ascending") for name in key]), size)
    assert is_key_unique(by_key, key, None) == is_each
    found = is_key_unique(by_month, key, "month")
    assert is_each or not found
    ids = {(row["month"], row["order_id"]) for row in rows}
    if (
        is_each
        and len({number for _, number in ids}) == len(ids)
        and None not in {number for _, number in ids}
    ):
        assert found


@given(st.lists(st.integers(-5, 60), min_size=1), st.integers(1, 9))
def test_ids_are_distinct_where_none_comes_twice(ids: list[int], size: int) -> None:
    """In whatever order."""
    parts = [ids[at : at + size] for at in range(0, len(ids), size)]
    assert is_distinct(pa.chunked_array(parts, pa.int64())) == (len(set(ids)) == len(ids))


def test_a_key_in_two_months_is_seen_though_another_lies_between() -> None:
    """Two lines of an order in one month, and one of them again in the next."""
    rows = [(5, 1, MONTHS[0]), (5, 2, MONTHS[0]), (5, 1, MONTHS[1])]
    found = [dict(zip(("order_id", "position", "month"), row, strict=True)) for row in rows]
    assert not is_key_unique(pa.Table.from_pylist(found, SCHEMA), ("order_id", "position"), "month")


def test_a_key_that_cannot_be_told_is_not_said_to_name_each() -> None:
    """Names in several months, numbers that may be none, lists, or no key: the check itself is asked."""
    rows = pa.table({"name": ["а", "б"], "month": pa.array(MONTHS[:2])})
    assert not is_key_unique(rows, ["name"], "month")
    assert not is_key_unique(rows, [], None)
    assert not is_key_unique(pa.table({"phones": [["1"], ["2"]]}), ["phones"], None)
    assert not is_key_unique(pa.table({"share": [float("nan")] * 2}), ["share"], None)
    assert is_key_unique(rows, ["name"], None)


def grow(shop: Shop) -> None:
    """Sell one order more."""
    shop.see(
        "bronze.orders",
        "id | ordered_at | source_id | status_id | grand_total | fetched_at\n"
        f"9 | 2026-07-04 10:00 | 1 | 12 | 900.00 | {look(1)}",
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
def test_a_key_that_comes_twice_is_found_in_a_full_build(
    few: Shop, tmp_path: Path, twice: str, is_first: bool
) -> None:
    """Wherever its two rows lie, also where a release has one of them; no file is left, and no new table."""
    shop = few.copy(tmp_path / "anew", "bronze") if is_first else few
    before = shop.heads()
    with pytest.raises(CheckFailed, match=r"silver\.orders\.key_is_unique: .* the first is id="):
        shop.build(models=changed("silver.orders", twice))
    assert not shop.strays()
    assert before == {name: at for name, at in shop.heads().items() if name != "ops.findings"}


@pytest.mark.parametrize("is_first", [True, False])
def test_a_value_that_is_missing_is_its_checks_to_say(few: Shop, tmp_path: Path, is_first: bool) -> None:
    """Though no file can be written of it: which column, in how many rows, and the exit code of checks."""
    shop = few.copy(tmp_path / "anew", "bronze") if is_first else few
    models = changed(
        "silver.orders", "select * replace (nullif(sales_type, 'retail') as sales_type) from ({sql})"
    )
    with pytest.raises(CheckFailed, match=r"silver\.orders\.sales_type_is_there: 3 rows") as refused:
        shop.build(models=models)
    assert refused.value.exit_code == 3
    assert not shop.strays()


def test_of_a_first_build_staging_knows_every_key(tmp_path: Path) -> None:
    """Of tables whose rows are in one order; that is what a full build need not ask again."""
    shop = opened(tmp_path / "lake")
    build = Build(shop.lake, ENGINE, RulesSettings(), shop.models)
    with build.queue as queue:
        candidates = build.build_candidates(queue)
        told = {name for name in candidates.models if queue.is_unique(name)}
    assert told == {model.name for model in MODELS}
    assert not shop.strays()


def test_rows_lie_in_the_order_of_their_key(first_release: Shop) -> None:
    """In every file: by it they are found, and seen to be unique."""
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
    """What was written of the tables before it is deleted; what releases show is not."""
    shop = few.copy(tmp_path / "anew", "bronze") if is_first else few
    grow(shop)
    shown = {} if is_first else shop.read()
    with pytest.raises(error):
        shop.build(models=changed(model, sql))
    assert not shop.strays()
    assert is_first or shop.read() == shown
    assert shop.published().rows["silver.orders"] == 6
    assert not shop.strays()


def end(build: Build, shop: Shop) -> NoReturn:
    """End a build that has written its files; a folder lies where one of them was."""
    with build.queue as queue:
        candidates = build.build_candidates(queue)
        assert [queue.is_unique(name) for name in candidates.tables]  # which waits until they are written
        first, *others = sorted(shop.strays())
        assert others
        os.remove(first)
        os.makedirs(f"{first}/stays")
        raise LakeError("nobody wants it")


def test_a_file_that_cannot_be_deleted_does_not_hide_why_a_build_ends(few: Shop) -> None:
    """And the others are gone."""
    grow(few)
    with pytest.raises(LakeError, match="nobody wants it"):
        end(Build(few.lake, ENGINE, RulesSettings(), FEW), few)
    (left,) = few.strays()
    assert Path(left).is_dir()


@contextmanager
def interrupted() -> Iterator[list[str]]:
    """Press Ctrl-C once a table is committed until who waits has heard it; give what is committed."""
    committed: list[str] = []
    heard, main = threading.Event(), threading.main_thread().ident
    assert main

    def press(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        while event["event"] == "transform.committed" and not heard.wait(0.01):
            signal.pthread_kill(main, signal.SIGINT)
        committed.append(event["table"])
        return event

    def hear(number: int, frame: FrameType | None) -> None:
        names = []
        while frame:
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        # Not while tables are still handed over: then nothing says that it waits.
        if names[0] == "wait" and "submit" not in names and not heard.is_set():
            heard.set()
            raise KeyboardInterrupt

    before, how = signal.signal(signal.SIGINT, hear), structlog.get_config()
    structlog.configure(processors=[press, structlog.processors.KeyValueRenderer()])
    try:
        yield committed
    finally:
        structlog.configure(**how)
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_waits_for_the_commits_that_are_under_way(few: Shop) -> None:
    """Nobody else may build meanwhile: what is begun is committed when the builders' lock is free."""
    grow(few)
    build = Build(few.lake, ENGINE, RulesSettings(), FEW)
    with interrupted() as committed, build.queue as queue:
        candidates = build.build_candidates(queue)
        with pytest.raises(KeyboardInterrupt):
            build.publish(candidates, [], kind=None, reconciled=None)
        found = set(committed)
    assert found == {name for name, candidate in candidates.tables.items() if candidate.differs}
    assert few.releases() == [1]


def test_a_dry_run_writes_nothing(few: Shop) -> None:
    """Not even what it would delete again."""
    grow(few)
    folder = Path(few.lake.place) / "silver"
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    assert few.build(dry_run=True) is None
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == before


MORE = changed(
    "gold.source_daily",
    "select *, 1::bigint as more from ({sql})",
    columns={**columns_of("gold.source_daily"), "more": "BIGINT"},
)


def test_a_table_that_no_release_names_is_built_with_other_columns(few: Shop, tmp_path: Path) -> None:
    """Its model was taken away, and came back changed."""
    few.published(models=[one for one in FEW if one.name != "gold.source_daily"])
    release = few.published(models=MORE)
    rows = open_table(few.lake, "gold.source_daily", release.tables["gold.source_daily"]).read()
    assert set(rows["more"].to_pylist()) == {1}
    assert few.published().tables.keys() == few.built_anew(tmp_path / "anew").read().keys()
    assert few.read() == Shop(Lake(root=str(tmp_path / "anew")), FEW).read()


def test_what_a_killed_first_build_committed_is_built_with_other_columns(few: Shop, tmp_path: Path) -> None:
    """It published nothing, and its tables are there."""
    shop = few.copy(tmp_path / "killed", "bronze")
    build = Build(shop.lake, ENGINE, RulesSettings(), FEW)
    with build.queue as queue:
        queue.commit(build.build_candidates(queue))
    release = shop.published(models=MORE)
    assert release.release == 1
    assert shop.published().release == 2
    assert shop.read() == few.read()


def test_what_was_not_staged_is_committed_all_the_same(few: Shop, tmp_path: Path) -> None:
    """A release never says more than its tables show."""
    grow(few)
    build = Build(few.lake, ENGINE, RulesSettings(), FEW)
    with build.queue:
        release = build.publish(build.build_candidates(), [], kind=None, reconciled=None)
    assert release.rows["silver.orders"] == len(few.read()["silver.orders"]) == 6


def test_a_model_with_other_columns_is_checked_and_written_as_any_other(few: Shop) -> None:
    """Its rows wait in memory, as its table has to change first."""
    release = few.published(models=MORE)
    rows = open_table(few.lake, "gold.source_daily", release.tables["gold.source_daily"]).read()
    assert set(rows["more"].to_pylist()) == {1}
    assert not few.strays()
