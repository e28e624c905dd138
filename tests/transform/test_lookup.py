"""Lookup: the joins that a model's SQL reveals; an incremental build follows all of them."""

from pathlib import Path

import msgspec
import pytest

from lake.releases.release import current_release
from tests.support.built_lake import MODELS, Shop, ingested_shop, instant
from transform.header import read_header
from transform.lineage import tables_read
from transform.lookup import Lookup, find_lookup
from transform.models import Check, Model

pytestmark = pytest.mark.slow

JOINED = "from silver.lines as l left join silver.products as p on p.id = l.product_id"


def used_columns(*columns: str) -> frozenset[str]:
    """Return the used columns of products, which include the id of the join."""
    return frozenset({"id", *columns})


@pytest.mark.parametrize(
    ("sql", "lookup"),
    [
        (f"select l.product_id, p.name {JOINED}", ("silver.lines", "product_id", used_columns("name"))),
        (f"select l.product_id as bought, p.name {JOINED}", ("silver.lines", "bought", used_columns("name"))),
        (f"select l.day, p.name {JOINED}", ("silver.lines", None, used_columns("name"))),
        (
            f"select l.product_id + 1 as product_id, p.name {JOINED}",
            ("silver.lines", None, used_columns("name")),
        ),
        (
            f"SELECT L.Product_ID, P.NAME {JOINED.upper()}",
            ("silver.lines", "product_id", used_columns("name")),
        ),
        (
            "with some as (select *, 1 as x from silver.lines) select l.product_id, p.name from some as l"
            " left join silver.products as p on l.product_id = p.id and p.brand = 'x' where l.x = 1",
            (None, "product_id", used_columns("name", "brand")),
        ),
        (
            f"select l.product_id, count(*) as n, max(p.price) as most {JOINED} group by all",
            ("silver.lines", "product_id", used_columns("price")),
        ),
        # The used columns are unknown.
        (f"select l.product_id, p.* {JOINED}", ("silver.lines", None, None)),
        (f"select l.product_id, * {JOINED}", ("silver.lines", None, None)),
        (f"select l.product_id, p {JOINED}", ("silver.lines", "product_id", None)),
        (f"select l.product_id, columns('na.*') {JOINED}", ("silver.lines", None, None)),
        (f"select l.product_id, hash(*) as h {JOINED}", ("silver.lines", None, None)),
        (
            f"select l.product_id, p.box.size {JOINED}",
            ("silver.lines", "product_id", used_columns("box", "size")),
        ),
        (f"select l.product_id, name {JOINED}", ("silver.lines", "product_id", used_columns("name"))),
        (f"select l.product_id, count(columns('^x$')) as n {JOINED}", ("silver.lines", None, None)),
        (f"select l.product_id, #5 as x {JOINED}", ("silver.lines", None, None)),
        # The joined row may decide whether the result has a row.
        (f"select l.product_id {JOINED} where p.brand = 'x'", ("silver.lines", None, used_columns("brand"))),
        (f"select l.product_id {JOINED} where brand = 'x'", ("silver.lines", None, used_columns("brand"))),
        (
            f"select l.product_id {JOINED} group by all having max(p.price) > 1",
            ("silver.lines", None, used_columns("price")),
        ),
        (
            f"select l.product_id {JOINED} qualify row_number() over (order by p.name) = 1",
            ("silver.lines", None, used_columns("name")),
        ),
        (
            f"select l.product_id {JOINED} join silver.brands as b on b.name = p.brand",
            ("silver.lines", None, used_columns("brand")),
        ),
        (
            f"select l.product_id, unnest(p.tags) as tag {JOINED}",
            ("silver.lines", None, used_columns("tags")),
        ),
        (f"select l.product_id {JOINED}, unnest(p.tags) as t", ("silver.lines", None, used_columns("tags"))),
        (f"select l.product_id, p.name {JOINED} limit 3", ("silver.lines", None, used_columns("name"))),
        (f"select l.product_id, mine(p.name) as x {JOINED}", ("silver.lines", None, used_columns("name"))),
        (
            f"select l.product_id {JOINED} left join silver.makers as m on m.id = p.of where m.city = 'x'",
            ("silver.lines", None, used_columns("of")),
        ),
        (
            f"select l.product_id, p.name {JOINED} group by rollup(l.product_id), p.name",
            ("silver.lines", None, used_columns("name")),
        ),
        (
            f"select distinct on (p.name) l.product_id {JOINED}",
            ("silver.lines", None, used_columns("name")),
        ),
        (
            f"select l.product_id, p.name {JOINED.replace('left join', 'join')}",
            ("silver.lines", None, used_columns("name")),
        ),
        (
            f"select l.product_id {JOINED.replace('left join', 'anti join')}",
            ("silver.lines", None, used_columns()),
        ),
    ],
)
def test_a_lookup_follows_from_the_sql(
    sql: str, lookup: tuple[str | None, str | None, frozenset[str]]
) -> None:
    """A lookup has the table of the ids, their column in the result, and the columns that the query uses."""
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
        "select l.id from silver.lines as l left join silver.products as x(id, a) on x.id = l.product_id",
        "select l.id from silver.lines as l cross join silver.products as p",
        "select l.id from silver.lines as l, silver.products as p where p.id = l.product_id",
        "select l.id from silver.lines as l where l.product_id in (select id from silver.products)",
        f"from (select l.product_id, p.name {JOINED}) select *",
    ],
)
def test_any_other_form_is_no_lookup(sql: str) -> None:
    """If the form is not recognized, the whole model is rebuilt: slower, and always right."""
    assert find_lookup(sql, "silver.products", "id") is None


OURS = "gold.product_names"
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
BY_KEY = """/*
grain   = "one row per order"
key     = ["order_id"]
rebuild = "by key"
[columns]
order_id = "BIGINT"
product_id = "BIGINT?"
name = "VARCHAR?"
sold = "DECIMAL(18,3)"
*/
"""
SOLD = "sum(l.quantity)::decimal(18, 3) as sold"
FROM = "from silver.order_lines as l left join silver.products as p on p.id = l.product_id"
UNDER = "left join silver.categories as c on c.id = p.category_id"
# Sales by day and product, with a value of a joined table.
BY_MONTH = {
    "a name": f"p.name, {SOLD} {FROM} group by all",
    "an inner join": f"""p.name, {SOLD} {FROM.replace("left join", "join")}
        where p.brand = 'Роса' group by all""",
    "a condition on it": f"p.name, {SOLD} {FROM} where p.brand = 'Роса' group by all",
    "a condition on what it leads to": f"p.name, {SOLD} {FROM} {UNDER} where c.name = 'Догляд' group by all",
    "a join with what it leads to": f"""p.name, {SOLD} {FROM} {UNDER}
        join (values ('Догляд')) as v(n) on v.n = c.name group by all""",
    "having": f"p.name, {SOLD} {FROM} {UNDER} group by all having max(c.name) = 'Догляд'",
    "rollup": f"""max(p.name) as name, {SOLD} {FROM} group by l.order_date, rollup(l.product_id)
        having grouping(l.product_id) = 1""",
    "a list": f"regexp_split_to_table(p.brand, ',') as name, l.quantity::decimal(18, 3) as sold {FROM}",
    "capitals": f"P.Name, {SOLD} {FROM.upper()} GROUP BY ALL",
    "columns()": f"columns('^name$'), {SOLD} {FROM} group by all",
    "a condition on columns()": f"p.name, {SOLD} {FROM} where columns('^brand$') = 'Роса' group by all",
    "columns() counted": f"count(columns('^brand$'))::varchar as name, {SOLD} {FROM} group by all",
    "names of its own": f"""x.n as name, {SOLD} from silver.order_lines as l
        left join silver.products as x(id, sku, n) on x.id = l.product_id group by all""",
    "a subquery": f"""(select max(q.name) from silver.products as q where q.id = 8) as name, {SOLD}
        from silver.order_lines as l group by all""",
    "one of a day": f"""p.name, l.quantity::decimal(18, 3) as sold {FROM}
        qualify row_number() over (
            partition by l.order_date order by p.price desc nulls last, l.position
        ) = 1""",
}
# Some days of the looked-up table have no sales.
OF_TWO = """
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
QUANTITY = f"l.quantity::decimal(18, 3) as sold {FROM}"
CASES = {
    **{name: (HEADER, f"select l.order_date as date, l.product_id, {sql}") for name, sql in BY_MONTH.items()},
    "two tables": (HEADER, OF_TWO),
    "ids that are texts": (
        HEADER.replace('product_id = "BIGINT?"', 'product_id = "VARCHAR?"'),
        f"""select l.order_date as date, l.product_id, {BY_MONTH["a name"]}""".replace(
            "silver.order_lines as l",
            "(select * replace (product_id::varchar as product_id) from silver.order_lines) as l",
        ),
    ),
    "the dearest of an order": (
        BY_KEY,
        f"select distinct on (l.order_id) l.order_id, l.product_id, p.name, {QUANTITY}"
        " order by l.order_id, p.price desc nulls last, l.position",
    ),
    "a window over an order": (
        BY_KEY,
        "select l.order_id, l.product_id, (max(p.price) over (partition by l.order_id))::varchar as name,"
        f" {QUANTITY} qualify row_number() over (partition by l.order_id order by l.position) = 1",
    ),
    "a window with a name": (
        BY_KEY,
        f"select l.order_id, l.product_id, p.name, {QUANTITY} window w as"
        " (partition by l.order_id order by p.price desc nulls last, l.position)"
        " qualify row_number() over w = 1",
    ),
}


def shop_with(place: Path, header: str, sql: str, *checks: Check) -> Shop:
    """Return a shop with a test model and the models it reads; an order has two products, one
    without details.
    """
    head, text = read_header(header + sql, OURS)
    ours = Model(OURS, head, text, tables_read(text, OURS), checks)
    wanted, models = ours.reads, [ours]
    for model in reversed(MODELS):
        if model.name in wanted:
            models.insert(0, msgspec.structs.replace(model, checks=()))
            wanted |= model.reads
    shop = ingested_shop(place, models=tuple(models))
    shop.observe(
        "bronze.products",
        f"id | name | price | custom_fields | fetched_at\n 8 | Тонік | 1.00 | [] | {instant(0)}",
    )
    sell(shop, 2, "2026-06-10 10:00", minute=0)
    shop.publish()
    return shop


def sell(shop: Shop, order: int, at: str, *, minute: int, second: int = 8, promocode: str = "null") -> None:
    """Observe an order of two products."""
    seen = instant(minute)
    shop.observe(
        "bronze.order_products",
        "order_id | position | product_id | name | price | quantity | fetched_at\n"
        f"{order} | 1 | 7 | a | 1.00 | 1 | {seen}\n{order} | 2 | {second} | b | 1.00 | 1 | {seen}",
    )
    shop.observe(
        "bronze.orders",
        "id | ordered_at | source_id | manager_id | status_id | grand_total | promocode | payload"
        " | fetched_at\n"
        f'{order} | {at} | 1 | 22 | 12 | 2.00 | {promocode} | {{"products":[1,2]}} | {seen}',
    )


def add_details(shop: Shop, *, minute: int) -> None:
    """Give the product without details another name, a brand, a category and a price."""
    shop.observe(
        "bronze.products",
        "id | name | category_id | price | custom_fields | fetched_at\n"
        f' 8 | Інший | 5 | 900.00 | [{{"uuid":"CT_1001","value":["Роса"]}}] | {instant(minute)}',
    )


@pytest.mark.parametrize("case", CASES)
def test_a_changed_row_reaches_every_row_that_looks_it_up(tmp_path: Path, case: str) -> None:
    """A changed row also reaches results that had no row before, and months in which it was not observed."""
    shop = shop_with(tmp_path / "lake", *CASES[case])
    before = shop.read()[OURS]
    add_details(shop, minute=1)
    shop.publish()
    rebuilt = Shop(shop.rebuilt_copy(tmp_path / "rebuilt").lake, shop.models)
    assert shop.read()[OURS] == rebuilt.read()[OURS] != before


@pytest.mark.parametrize(
    "source",
    [
        f"from {OURS} as n join silver.products as p on p.id = n.product_id where p.brand = 'Роса'",
        f"from {OURS} as n where n.product_id in (select id from silver.products where brand = 'Роса')",
    ],
)
def test_a_check_sees_columns_that_its_model_does_not_use(tmp_path: Path, source: str) -> None:
    """The check finds the fault even if only another month is rebuilt."""
    sql = f"select n.date, n.product_id {source}"
    check = Check("none_of_it", OURS, "none is of that brand", "warn", sql, tables_read(sql, OURS))
    shop = shop_with(tmp_path / "lake", *CASES["a name"], check)
    shop.observe(
        "bronze.products",
        "id | name | price | custom_fields | fetched_at\n"
        f' 8 | Тонік | 1.00 | [{{"uuid":"CT_1001","value":["Роса"]}}] | {instant(1)}',
    )
    sell(shop, 20, "2026-08-01 10:00", minute=1, second=9)
    found = shop.publish().checks
    rebuilt = current_release(shop.rebuilt_copy(tmp_path / "rebuilt").lake)
    assert rebuilt
    assert found == rebuilt.checks
    assert found[f"{OURS}.none_of_it"] > 1


def test_a_check_sees_columns_that_an_input_drops(tmp_path: Path) -> None:
    """The check finds an order whose change is not in its lines, so that its key is not rebuilt."""
    source = f"from {OURS} as n join silver.orders as o on o.id = n.order_id where o.promocode = 'X'"
    sql = f"select n.order_id {source}"
    check = Check("none_of_it", OURS, "none has that code", "warn", sql, tables_read(sql, OURS))
    one = "select l.order_id, min(l.product_id) as product_id, null::varchar as name"
    model = f"{one}, {SOLD} from silver.order_lines as l group by all"
    shop = shop_with(tmp_path / "lake", BY_KEY, model, check)
    sell(shop, 2, "2026-06-10 10:00", minute=1, promocode="X")
    sell(shop, 20, "2026-08-01 10:00", minute=1)
    assert shop.publish().checks == {f"{OURS}.none_of_it": 1}
