"""Lost lines: after a repair of a damaged log, no order in bronze lacks its lines or expenses."""

from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from ingest.lost_lines import restore_lines
from lake.delta.log_check import WHOLE
from lake.delta.tables import open_table
from lake.ledgers.runs import list_runs
from lake.maintenance.log_repair import repair_logs
from lake.paths import Lake
from lake.settings import LakeSettings

ENGINE = LakeSettings(memory_limit="512MB", threads=1)
PARTS = ("bronze.order_products", "bronze.expenses")


def empty_entry(lake: Lake, name: str) -> None:
    """Empty the newest entry of a table's log, with its seal."""
    *_, file = sorted(Path(lake.uri(name)).glob("_delta_log/*.json"))
    file.chmod(0o644)
    file.write_bytes(b"")
    file.chmod(0o444)
    WHOLE.clear()


def content_of(lake: Lake, name: str) -> list[str]:
    """Return a table's rows as sorted text."""
    return sorted(map(str, open_table(lake, name).read().to_pylist()))


def repaired(lake: Lake) -> list[str]:
    """Repair the logs, then the lines, as `just repair` does; return the lines about the latter."""
    repair_logs(lake, ENGINE)
    return list(restore_lines(lake, ENGINE))


@pytest.mark.usefixtures("loaded")
def test_a_lake_without_damage_is_left_alone(lake: Lake) -> None:
    """Orders without products or expenses lack nothing."""
    versions = [open_table(lake, name).version for name in PARTS]
    assert list(restore_lines(lake, ENGINE)) == []
    assert [open_table(lake, name).version for name in PARTS] == versions


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("name", PARTS)
def test_lines_whose_commit_and_files_are_lost_are_written_from_payloads(lake: Lake, name: str) -> None:
    """No ingest would append them: the orders are known, and did not change."""
    before = content_of(lake, name)
    table = open_table(lake, name)
    last = table.uris() - open_table(lake, name, table.version - 1).uris()
    empty_entry(lake, name)
    for file in last:
        Path(file).unlink()
    (line,) = repaired(lake)
    assert line.startswith(f"{name}: ")
    assert content_of(lake, name) == before
    assert repaired(lake) == []


@pytest.mark.usefixtures("loaded")
def test_an_order_whose_lines_were_never_written_gets_them(lake: Lake) -> None:
    """A run failed after it had staged an order and before its lines. The repair recovers the order."""
    table = open_table(lake, "bronze.orders")
    rows = table.read()
    is_sold = pc.match_substring(rows["payload"], '"products":[{')
    row = rows.filter(is_sold).slice(0, 1)
    later = pc.add(row["fetched_at"], pa.scalar(timedelta(seconds=1), pa.duration("us")))
    index = row.column_names.index("fetched_at")
    staged = row.set_column(index, row.schema.field(index), later.cast(row.schema.field(index).type))
    assert staged["run_id"][0].as_py() in {run.run_id for run in list_runs(lake)}
    table.stage(staged)
    parts = {name: open_table(lake, name).read().num_rows for name in PARTS}
    empty_entry(lake, "bronze.orders")
    lines = repaired(lake)
    assert open_table(lake, "bronze.orders").read().num_rows == rows.num_rows + 1
    assert lines[0].startswith("bronze.order_products: ")
    lines_of = open_table(lake, PARTS[0]).read(["order_id"], pc.field("fetched_at") == later[0])
    assert lines_of["order_id"].unique().to_pylist() == row["id"].to_pylist()
    assert all(open_table(lake, name).read().num_rows >= count for name, count in parts.items())
