"""Lookup: what the SQL of a model tells of the rows it looks up, and that a build in part misses none."""

from pathlib import Path

import msgspec
import pytest

from tests.transform.shop import MODELS, Shop, look, opened
from transform.graph import tables_read
from transform.header import read_header
from transform.lookup import Lookup, find_lookup
from transform.models import Model

JOINED = "from silver.lines as l left join silver.products as p on p.id = l.product_id"


def used(*columns: str) -> frozenset[str]:
    """Return the columns of products that are used, with that of the join."""
    return frozenset({"id", *columns})


@pytest.mark.parametrize(
    ("sql", "lookup"),
    [
        (f"select l.product_id, p.name {JOINED}", ("silver.lines", "product_id", used("name"))),
        (f"select l.product_id as bought, p.name {JOINED}", ("silver.lines", "bought", used("name"))),
        (f"select l.day, p.name {JOINED}", ("silver.lines", None, used("name"))),
        (f"select l.product_id + 1 as product_id, p.name {JOINED}", ("silver.lines", None, used("name"))),
        (f"SELECT L.Product_ID, P.NAME {JOINED.upper()}", ("silver.lines", "product_id", used("name"))),
        (
            "with some as (select *, 1 as x from silver.lines) select l.product_id, p.name from some as l"
            " left join silver.products as p on l.product_id = p.id and p.brand = 'x' where l.x = 1",
            (None, "product_id", used("name", "brand")),
        ),
        (
            f"select l.product_id, count(*) as n, max(p.price) as most {JOINED} group by all",
            ("silver.lines", "product_id", used("price")),
        ),
        # What is used of it can't be told.
        (f"select l.product_id, p.* {JOINED}", ("silver.lines", "product_id", None)),
        (f"select l.product_id, * {JOINED}", ("silver.lines", "product_id", None)),
        (f"select l.product_id, p {JOINED}", ("silver.lines", "product_id", None)),
        (f"select l.product_id, columns('na.*') {JOINED}", ("silver.lines", "product_id", None)),
        (f"select l.product_id, hash(*) as h {JOINED}", ("silver.lines", "product_id", None)),
        (f"select l.product_id, p.box.size {JOINED}", ("silver.lines", "product_id", used("box", "size"))),
        (f"select l.product_id, name {JOINED}", ("silver.lines", "product_id", used("name"))),
        # It may decide whether there is a row.
        (f"select l.product_id {JOINED} where p.brand = 'x'", ("silver.lines", None, used("brand"))),
        (f"select l.product_id {JOINED} where brand = 'x'", ("silver.lines", None, used("brand"))),
        (
            f"select l.product_id {JOINED} group by all having max(p.price) > 1",
            ("silver.lines", None, used("price")),
        ),
        (
            f"select l.product_id {JOINED} qualify row_number() over (order by p.name) = 1",
            ("silver.lines", None, used("name")),
        ),
        (
            f"select l.product_id {JOINED} join silver.brands as b on b.name = p.brand",
            ("silver.lines", None, used("brand")),
        ),
        (f"select l.product_id, unnest(p.tags) as tag {JOINED}", ("silver.lines", None, used("tags"))),
        (f"select l.product_id {JOINED}, unnest(p.tags) as t", ("silver.lines", None, used("tags"))),
        (f"select l.product_id, p.name {JOINED} limit 3", ("silver.lines", None, used("name"))),
        (
            f"select distinct on (p.name) l.product_id {JOINED}",
            ("silver.lines", None, used("name")),
        ),
        (
            f"select l.product_id, p.name {JOINED.replace('left join', 'join')}",
            ("silver.lines", None, used("name")),
        ),
    ],
)
def test_a_look_up_is_told_by_the_sql(
    sql: str, lookup: tuple[str | None, str | None, frozenset[str]]
) -> None:
    """In which table the ids are, under which name the model shows them, and which columns it uses."""
    assert find_lookup(sql, "silver.products", "id") == Lookup("product_id", *lookup)


@pytest.mark.parametrize(
    "sql",
    [
        "select p.id from silver.products as p",
        f"select l.product_id, p.name {JOINED} left join silver.products as q on q.id = p.parent_id",
        f"select l.product_id, p.name {JOINED} union all select 1, 'x'",
        f"with a as (select l.product_id, p.name {JOINED}) select * from a",
        "select l.id, (select name from silver.products as p where p.id = l.id) from silver.lines as l",
        "select l.id from silver.lines as l left join silver.products as p on p.sku = l.sku",
        "select l.id from silver.lines as l left join silver.products as p on p.id = l.product_id + 1",
        "select l.id from silver.lines as l left join silver.products as p on p.id = l.a or p.id = l.b",
        "select l.id from silver.lines as l left join silver.products as p on p.id = product_id",
        "select l.id from silver.lines as l left join silver.products as p on p.id = p.parent_id",
        "select l.id from silver.lines as l left join silver.products as p using (id)",
        "select l.id from silver.lines as l natural left join silver.products as p",
        "select l.id from silver.lines as l right join silver.products as p on p.id = l.product_id",
        "select l.id from silver.lines as l full join silver.products as p on p.id = l.product_id",
        "select l.id from silver.lines as l anti join silver.products as p on p.id = l.product_id",
        "select l.id from silver.lines as l, silver.products as p where p.id = l.product_id",
        "select l.id from silver.lines as l where l.product_id in (select id from silver.products)",
        f"from (select l.product_id, p.name {JOINED}) select *",
    ],
)
def test_of_any_other_form_nothing_is_known(sql: str) -> None:
    """Then all of the model is built: slower, and never wrong."""
    assert find_lookup(sql, "silver.products", "id") is None


HEADER = """/*
grain   = "one row per day and product"
key     = ["date", "product_id"]
rebuild = "by month"
month   = "date"
[columns]
date = "DATE"
product_id = "BIGINT?"
name = "VARCHAR?"
sold = "DECIMAL(18,3)"
*/
"""
LINES = "select l.order_date as date, l.product_id, p.name, sum(l.quantity)::decimal(18, 3) as sold"
SEEN = """
with seen as (
    select order_date as date, product_id, quantity from silver.order_lines
    union all
    select date, product_id, 0 from gold.stock_daily
)
select s.date, s.product_id + 0 as product_id, p.name, sum(s.quantity)::decimal(18, 3) as sold
from seen as s
left join silver.products as p on p.id = s.product_id
group by all
"""


@pytest.mark.parametrize(
    "sql",
    [
        f"""{LINES} from silver.order_lines as l join silver.products as p on p.id = l.product_id
        where p.brand = 'Роса' group by all""",
        f"""{LINES} from silver.order_lines as l left join silver.products as p on p.id = l.product_id
        where p.brand = 'Роса' group by all""",
        SEEN,
        f"""{LINES.replace("p.name", "P.Name")} FROM Silver.Order_Lines AS l
        LEFT JOIN Silver.Products AS P ON P.ID = l.product_id GROUP BY ALL""",
        f"""{LINES.replace("p.name", "columns('^name')")} from silver.order_lines as l
        left join silver.products as p on p.id = l.product_id group by all""",
        f"""{LINES.replace("p.name", "(select max(q.name) from silver.products as q where q.id = 8) as name")}
        from silver.order_lines as l group by all""",
    ],
    ids=["inner join", "a condition on it", "of two tables", "in capitals", "columns()", "a subquery"],
)
def test_a_changed_row_reaches_every_row_that_looks_it_up(tmp_path: Path, sql: str) -> None:
    """However it does: also where there was no row before, and in months where none was seen."""
    header, text = read_header(HEADER + sql, "gold.product_names")
    made = Model("gold.product_names", header, text, tables_read(text, "gold.product_names"))
    wanted, models = made.reads, [made]
    for model in reversed(MODELS):
        if model.name in wanted:
            models.insert(0, msgspec.structs.replace(model, checks=()))
            wanted |= model.reads
    shop = opened(tmp_path / "lake", models=tuple(models))
    shop.published()
    before = shop.read()[made.name]
    shop.see(
        "bronze.products",
        "id | name | category_id | custom_fields | fetched_at\n"
        f' 8 | Інший | 5 | [{{"uuid":"CT_1001","value":["Роса"]}}] | {look(1)}',
    )
    shop.published()
    anew = Shop(shop.built_anew(tmp_path / "anew").lake, shop.models)
    assert shop.read()[made.name] == anew.read()[made.name] != before
