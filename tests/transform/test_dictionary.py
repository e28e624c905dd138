"""Dictionary: the descriptions of the headers, as tables of the release."""

from lake.releases.column_facts import read_column_facts
from lake.releases.release import find_release
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


def test_the_comment_after_a_column_is_its_note() -> None:
    """Only comments after columns are notes; comments after checks are not."""
    header, _ = read_header(HEADED, "gold.things")
    assert header.notes == {"name": "null: nobody named it", "price": "per unit, in ₴"}


def test_the_dictionary_has_every_table_and_column(first_release: Shop) -> None:
    """The columns have the order and the notes of their files."""
    shown = first_release.read()
    tables = {row[0] for row in shown["rules.tables"]}
    assert tables == {model.name for model in MODELS}
    for model in MODELS:
        rows = sorted((int(row[1]), row[2]) for row in shown["rules.columns"] if row[0] == model.name)
        assert [name for _, name in rows] == list(model.header.columns)
    notes = {(row[0], row[2]): row[6] for row in shown["rules.columns"]}
    assert notes["silver.orders", "order_date"] == "shop day of ordered_at (Europe/Kyiv)"


def test_a_table_lists_its_inputs() -> None:
    """The dictionary lists the tables that a model reads."""
    tables, _ = dictionary(MODELS)
    reads = {row[0]: row[4] for row in tables.rows}
    assert reads["gold.product_daily"] == "silver.order_lines, silver.products"


def test_the_dictionary_declares_day_money_and_personal_columns(first_release: Shop) -> None:
    """The lake reads these facts of each model from the release; contacts are personal by their name."""
    facts = read_column_facts(first_release.lake, find_release(first_release.lake, 1))
    headers = {model.name: model.header for model in MODELS}
    assert facts.tables == headers.keys()
    assert facts.day == {name: header.month for name, header in headers.items() if header.month}
    assert facts.money == {name: header.money for name, header in headers.items() if header.money}
    assert facts.personal == {
        ("silver.buyers", "name"),
        ("silver.buyers", "birthday"),
        ("silver.buyers", "phones"),
        ("silver.buyers", "emails"),
        ("silver.orders", "buyer_name"),
    }
    header, _ = read_header(HEADED.replace('price = "DECIMAL(18,2)"', 'comment = "VARCHAR"'), "gold.things")
    assert header.personal_columns == {"comment"}
