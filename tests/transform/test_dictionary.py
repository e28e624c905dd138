"""The dictionary: what the headers say, in the release."""

from tests.support.built_lake import MODELS, Shop
from transform.dictionary import dictionary
from transform.header import read_header

HEADED = """/*
grain   = "one row per thing"
key     = ["id"]
rebuild = "whole"

[columns]
id    = "BIGINT"
name  = "VARCHAR?"   # null: nobody named it
price = "DECIMAL(18,2)"     # per unit, in ₴

[checks]
fine = "id > 0"   # no column
*/
select 1
"""


def test_what_is_remarked_behind_a_column_is_its_note() -> None:
    """And nothing else is: not the remarks of checks."""
    header, _ = read_header(HEADED, "gold.things")
    assert header.notes == {"name": "null: nobody named it", "price": "per unit, in ₴"}


def test_every_table_and_column_of_a_release_is_in_it(first_release: Shop) -> None:
    """In the order of the columns, with what its file says."""
    shown = first_release.read()
    tables = {row[0] for row in shown["rules.tables"]}
    assert tables == {model.name for model in MODELS}
    for model in MODELS:
        rows = sorted((int(row[1]), row[2]) for row in shown["rules.columns"] if row[0] == model.name)
        assert [name for _, name in rows] == list(model.header.columns)
    notes = {(row[0], row[2]): row[6] for row in shown["rules.columns"]}
    assert notes["silver.orders", "order_date"] == "shop day of ordered_at (Europe/Kyiv)"


def test_a_table_names_what_it_reads() -> None:
    """Which is its lineage."""
    tables, _ = dictionary(MODELS)
    reads = {row[0]: row[4] for row in tables.rows}
    assert reads["gold.product_daily"] == "silver.order_lines, silver.products"
