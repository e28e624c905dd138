"""Commands that only read: the tables and drawings that they print."""

import re
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest

from lake.errors import CheckFailed
from lake.paths import Lake
from lake.releases.release import Release
from tests.support.built_lake import MODELS, Shop, instant
from tests.support.running import environ_of, succeed
from tests.transform.test_build import edit_order
from tests.transform.test_check_scope import lose_lines, sell_unknown
from transform.checks import checks_of
from transform.commands import last_moved_in

SVG = "{http://www.w3.org/2000/svg}"
# Checks that belong to no model.
OTHERS = [
    "release.no_older_month_moved",
    "release.newest_day_stays",
    "release.totals_hold",
    "nightly.equals_full_build",
]


def released(*versions: int, first: int = 1) -> list[Release]:
    """Return releases with a table at these versions, newest first; 0 means that the release lacks
    the table.
    """
    return [
        Release(
            release=number,
            published_at=datetime(2026, 6, 1, tzinfo=UTC),
            kind="sync",
            parent=number - 1 or None,
            tables={"gold.sums": version} if version else {},
            consumed={},
        )
        for number, version in reversed(list(enumerate(versions, first)))
    ]


def test_a_table_moved_in_the_first_release_of_its_version() -> None:
    """After a rollback this is the rollback; if it is older than all listed releases, it is before
    the oldest.
    """
    assert last_moved_in("gold.sums", released(3, 4, 4)) == "2"
    assert last_moved_in("gold.sums", released(3, 4, 3)) == "3"
    assert last_moved_in("gold.sums", released(3, 3)) == "1"
    assert last_moved_in("gold.sums", released(0, 3, 3)) == "2"
    assert last_moved_in("gold.sums", released(3, 3, first=8)) == "before 8"
    assert last_moved_in("gold.sums", released(3, 0)) == ""
    assert last_moved_in("gold.sums", []) == ""


def rows_of(printed: str) -> dict[str, list[str]]:
    """Return the cells of each row of a printed table, by their first cell; only the row's first
    line is read.
    """
    lines = (re.split(r" {2,}", line.strip()) for line in printed.splitlines() if re.match(r" \S", line))
    return {cells[0]: cells for cells in lines if len(cells) > 1}


def test_models_lists_each_model_and_its_last_move(shop: Shop) -> None:
    """The command lists grain, rebuild, rows, last move and inputs of each model."""
    edit_order(shop, ordered_at="2026-06-12 10:00", total="250.00")
    shop.publish()
    shop.observe("bronze.managers", f"id | full_name | fetched_at\n 7 | Ліза Н. | {instant(2)}")
    assert "gold.revenue_daily" not in {move.table for move in shop.publish().moved}
    rows = rows_of(succeed(environ_of(shop.lake), "transform", "models"))
    (grain,) = [model.header.grain for model in MODELS if model.name == "gold.revenue_daily"]
    assert rows["table"] == ["table", "one row per", "rebuilt", "rows", "moved in", "reads"]
    _, grain_shown, *revenue = rows["gold.revenue_daily"]
    assert grain.startswith(f"one row per {grain_shown}")
    assert revenue == ["by month", "4", "2", "silver.orders"]
    assert rows["silver.managers"][2:] == ["by key", "3", "3", "bronze.managers"]
    assert rows["silver.statuses"][2:] == ["by key", "2", "1", "bronze.statuses"]
    assert rows.keys() - {"table"} == {model.name for model in MODELS}


def test_the_drawing_has_every_table_and_its_inputs(lake: Lake, tmp_path: Path) -> None:
    """The drawing has a box with the name of each table, and a curve from each table that it reads."""
    file = tmp_path / "models.svg"
    succeed(environ_of(lake), "transform", "models", "--graph", str(file))
    drawing = ElementTree.fromstring(file.read_text("utf-8"))
    sides: dict[str, tuple[str, str]] = {}
    for group in drawing.iter(f"{SVG}g"):
        (box,), (text,) = group.findall(f"{SVG}rect"), group.findall(f"{SVG}text")
        x, y, wide, high = (int(box.attrib[name]) for name in ("x", "y", "width", "height"))
        middle = y + high // 2
        sides[text.text or ""] = f"{x} {middle}", f"{x + wide} {middle}"
    reads = {(read, model.name) for model in MODELS for read in model.reads}
    assert sides.keys() == {model.name for model in MODELS} | {read for read, _ in reads}
    assert len(drawing.findall(f".//{SVG}text")) == len(sides) == len(set(sides.values()))
    lines = [re.split("[MC]", path.attrib["d"])[1:] for path in drawing.iter(f"{SVG}path")]
    drawn = sorted((start, " ".join(bend.split()[-2:])) for start, bend in lines)
    assert drawn == sorted((sides[read][1], sides[name][0]) for read, name in reads)


def test_checks_lists_findings_with_their_amounts(shop: Shop) -> None:
    """The command lists warnings and failures of a refused build, until they are healed."""
    environ = environ_of(shop.lake)
    lose_lines(shop, 1)
    with pytest.raises(CheckFailed):
        shop.build()
    sell_unknown(shop, 2, 99)
    with pytest.raises(CheckFailed):
        shop.build()
    printed = succeed(environ, "transform", "checks")
    rows = rows_of(printed)
    total, product = "silver.order_lines.are_there", "silver.order_lines.product_is_known"
    assert rows.keys() == {"check", total, product}
    assert [rows[total][at] for at in (1, 2, 3, -1)] == ["error", "1", "300.00", "order_id=3, amount=300.00"]
    assert [rows[product][at] for at in (1, 2, 3, -1)] == ["warn", "1", "·", "product_id=99"]
    assert printed.splitlines()[-1].endswith(" checks, 2 findings open")
    edit_order(shop, minute=3)
    shop.observe(
        "bronze.order_products", f"order_id | position | product_id | fetched_at\n3 | 1 | 8 | {instant(1)}"
    )
    shop.publish()
    printed = succeed(environ, "transform", "checks")
    assert rows_of(printed) == {}
    assert printed.splitlines()[-1].endswith(" checks, 0 findings open")


def test_checks_all_lists_every_check_and_its_state(shop: Shop) -> None:
    """The list has the checks of the models, of the release, and of the nightly comparison."""
    sell_unknown(shop, 1)
    shop.publish()
    printed = succeed(environ_of(shop.lake), "transform", "checks", "--all")
    listed, _ = printed.split(" amount ₴ ")
    rows = rows_of(listed)
    del rows["check"]
    names = [f"{check.model}.{check.name}" for model in MODELS for check in checks_of(model)] + OTHERS
    assert list(rows) == names
    states = {name: cells[-1] for name, cells in rows.items()}
    assert states.pop("silver.order_lines.product_is_known") == "new"
    assert set(states.values()) == {"holds"}
    assert rows["gold.revenue_daily.types_add_up"][1] == rows["release.totals_hold"][1] == "error"
    assert f"\n{len(names)} checks, 1 finding open\n" in printed
