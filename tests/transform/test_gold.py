"""Gold: properties of all gold tables."""

import re
from pathlib import Path

from lake.delta.tables import open_table
from lake.query.session import connect, fetch
from tests.support.built_lake import ENGINE, MODELS, Shop, instant
from tests.support.text_tables import make_given
from transform.settings import RulesSettings
from transform.workspace import build_model

GOLD = [model for model in MODELS if model.name.startswith("gold.")]
PERSON = ("Соломія Вишня", "+380671112233", "solomia@example.com", "1990-01-02")
ANOTHER = ("Г. Ґедзь", "+4930901820", "g@example.org", "2001-11-30")
NUMBER = re.compile(r"BIGINT|INTEGER|HUGEINT|DECIMAL|DOUBLE")
# Words by which the comment after a column states whether it may be summed over rows.
ADDS = re.compile(r"\badds? up\b|the same in ")


def show(shop: Shop, person: tuple[str, ...], minute: int) -> None:
    """Observe the card of buyer 31, and an order of this buyer with the card in its payload."""
    name, phone, email, birthday = person
    shop.observe(
        "bronze.buyers",
        "id | full_name | phone | email | birthday | fetched_at\n"
        f'31 | {name} | ["{phone}"] | ["{email}"] | {birthday} | {instant(minute)}',
    )
    payload = f'{{"products":[],"buyer":{{"full_name":"{name}","phone":"{phone}","email":"{email}"}}}}'
    shop.observe(
        "bronze.orders",
        "id | ordered_at | source_id | buyer_id | status_id | grand_total | payload | fetched_at\n"
        f"9 | 2026-07-04 10:00 | 1 | 31 | 12 | 900.00 | {payload} | {instant(minute)}",
    )


def everything(shop: Shop, layer: str) -> str:
    """Return all rows of a layer's tables as text, with the statistics in their logs."""
    rows = [str(open_table(shop.lake, name).read().to_pylist()) for name in shop.lake.tables(layer)]
    logs = [file.read_text("utf-8") for file in (Path(shop.lake.place) / layer).rglob("*.json")]
    return "".join(rows + logs)


def test_no_person_is_in_gold(shop: Shop) -> None:
    """No row and no statistics of gold contain a buyer's name, phone, e-mail or birthday."""
    show(shop, PERSON, 1)
    release = shop.publish()
    assert "gold.customer_rfm" in {move.table for move in release.moved}
    silver, gold = everything(shop, "silver"), everything(shop, "gold")
    assert {value for value in PERSON if value not in silver} == set()
    assert {value for value in PERSON if value in gold} == set()
    names = {column for model in GOLD for column in model.header.columns}
    assert not {name for name in names if re.search("buyer_name|full_name|phone|mail|birthday", name)}


def test_gold_does_not_depend_on_personal_data(shop: Shop) -> None:
    """If a buyer's name, phone, e-mail and birthday change, no gold table changes."""
    show(shop, PERSON, 1)
    shop.publish()
    show(shop, ANOTHER, 2)
    release = shop.publish(full=True)
    assert {move.table for move in release.moved} == {"silver.buyers", "silver.orders"}


def test_every_number_states_whether_it_adds_up() -> None:
    """The comment after every numeric column states whether it may be summed; ids are not numbers."""
    silent = [
        f"{model.name}.{name}"
        for model in GOLD
        for name, kind in model.header.columns.items()
        if NUMBER.match(kind) and not name.endswith("_id") and name not in model.header.key
        if not ADDS.search(model.header.notes.get(name, ""))
    ]
    assert not silent


def test_the_most_frequent_pairs_are_kept() -> None:
    """The 1,000 pairs with the most orders are kept, however many products are sold together."""
    products = 46
    pairs = [(one, two) for one in range(1, products + 1) for two in range(one, products + 1)]
    text = "order_month | product_id | other_product_id | orders_count\n" + "\n".join(
        f"2026-06-01 | {one} | {two} | {one * 100 + two}" for one, two in pairs
    )
    connection = connect(ENGINE)
    given = {
        "silver.product_pairs": text,
        "gold.revenue_daily": "date | orders_count\n2026-06-01 | 9999",
        "silver.products": "id",
    }
    make_given(connection, given, RulesSettings(), MODELS)
    (model,) = [model for model in GOLD if model.name == "gold.basket_pairs"]
    build_model(connection, model)
    rows = fetch(connection, "select product_id, other_product_id from gold.basket_pairs").to_pylist()
    found = {(row["product_id"], row["other_product_id"]) for row in rows}
    among = sorted((one * 100 + two, (one, two)) for one, two in pairs if one != two)
    assert len(among) == 1035
    assert found == {pair for _, pair in among[-1000:]}
