"""Lineage: the tables that SQL reads, and the build order that follows."""

import pytest

from lake.errors import ModelError
from transform.lineage import build_order, tables_read


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        ("select 1", set()),
        ("select * from bronze.orders", {"bronze.orders"}),
        ("from silver.orders select id", {"silver.orders"}),
        ('select * from "silver"."orders" as o', {"silver.orders"}),
        ("SELECT * FROM Silver.ORDERS", {"silver.orders"}),
        ("with orders as (select * from bronze.orders) select * from orders", {"bronze.orders"}),
        ("select (select max(id) from gold.a) from silver.b", {"gold.a", "silver.b"}),
        ("select * from silver.a where id in (select id from rules.r)", {"silver.a", "rules.r"}),
        ("select * from silver.a as a asof left join rules.r as r on a.d >= r.d", {"silver.a", "rules.r"}),
        ("select * from silver.a as a anti join silver.b as b on b.id = a.id", {"silver.a", "silver.b"}),
        ("select * from silver.a union all select * from silver.b", {"silver.a", "silver.b"}),
        ("select 'bronze.orders' as name -- from silver.a", set()),
        ("select * from read_parquet('x.parquet'), other.thing", set()),
    ],
)
def test_tables_read_are_found_in_the_sql(sql: str, reads: set[str]) -> None:
    """Tables are found in joins, subqueries and set operations; a CTE is not a table."""
    assert tables_read(sql, "silver.x") == reads


@pytest.mark.parametrize("sql", ["from query_table('silver.a')", "select * from query('from silver.a')"])
def test_a_function_that_hides_its_table_is_refused(sql: str) -> None:
    """The build could not know when such a model has to be rebuilt."""
    with pytest.raises(ModelError, match=r"^silver\.x: query(_table)?\(\) hides which table is read; name"):
        tables_read(sql, "silver.x")


@pytest.mark.parametrize("sql", ["select from where", "select (1", ""])
def test_invalid_sql_is_reported_in_one_line(sql: str) -> None:
    """The message names the model and has no coloured excerpt."""
    with pytest.raises(ModelError, match=r"^silver\.x: the SQL can't be read: ") as refused:
        tables_read(sql, "silver.x")
    assert "\n" not in str(refused.value)


def order(**reads: str) -> list[str]:
    """Return the build order of nodes given as ``name="names it reads"``."""
    return build_order(list(reads), name=str, reads=lambda node: frozenset(reads[node].split()))


def test_a_table_comes_before_its_readers() -> None:
    """The order does not depend on the order of the input, and other tables are ignored."""
    found = order(a="c b", b="d bronze", c="d", d="")
    assert sorted(found) == ["a", "b", "c", "d"]
    assert found.index("d") < found.index("b") < found.index("a") > found.index("c")
    assert found == order(d="", c="d", b="d bronze", a="c b")


@pytest.mark.parametrize(
    "reads", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "a", "d": "a"}]
)
def test_a_cycle_is_reported(reads: dict[str, str]) -> None:
    """The message has the whole cycle."""
    with pytest.raises(ModelError, match=r"in a cycle: (\w) -> (.* -> )?\1$"):
        order(**reads)
