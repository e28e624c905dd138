"""The dictionary's page and endpoint have the texts of the release that they answer from."""

from pathlib import Path

import pyarrow as pa
from markupsafe import escape

from lake.paths import Lake
from lake.releases.release import current_release
from lake.settings import LakeSettings
from serve.served_release import open_served_release
from serve.settings import ServeSettings
from tests.serve.client import ask
from tests.serve.conftest import Served
from tests.support.built_lake import Shop, ingested_shop
from tests.support.running import environ_of, server


def shop_of(place: Path) -> Shop:
    """Return a small shop with a release of the real models."""
    shop = ingested_shop(place / "lake")
    shop.publish()
    return shop


def test_page_and_endpoint_have_the_texts_of_the_models(tmp_path: Path) -> None:
    """The dictionary has each table, gold first, with its grain and the note of each column."""
    shop = shop_of(tmp_path)
    with server(environ_of(shop.lake)) as base:
        answer = ask(base, "/api/dictionary").json
        page = ask(base, "/dictionary").body.decode()
    names = [table["name"] for table in answer["tables"]]
    assert set(names) == {model.name for model in shop.models}
    assert names[0].startswith("gold.")
    revenue = next(table for table in answer["tables"] if table["name"] == "gold.revenue_daily")
    assert revenue["reads"] == ["silver.orders"]
    check = next(column for column in revenue["columns"] if column["name"] == "avg_check")
    assert check["note"] == (
        "money per order: revenue / orders_count; does not add up, recompute it for a longer span"
    )
    assert all(f'id="{name}"' in page for name in names)
    assert check["note"] in page
    assert all(escape(table["grain"][1:]) in page for table in answer["tables"])
    assert "<script" not in page


def test_a_release_without_texts_has_an_empty_dictionary(served: Served) -> None:
    """If a release has no tables of rules, its dictionary is empty and the page has a line about it."""
    assert ask(served.base, "/api/dictionary").json == {"release": 2, "tables": []}
    assert "has no dictionary" in ask(served.base, "/dictionary").body.decode()


def test_an_unknown_release_is_a_page_with_the_reason(served: Served) -> None:
    """If the release does not exist, the answer is 404 and a page with the reason."""
    answer = ask(served.base, "/dictionary?release=99")
    assert answer.status == 404
    assert "This can&#39;t be shown" in answer.body.decode()


def test_a_served_release_has_its_own_dictionary(tmp_path: Path) -> None:
    """The dictionary comes from tables of the release, and has the columns that its models declare."""
    shop = shop_of(tmp_path)
    release = current_release(shop.lake)
    assert release
    served = open_served_release(Lake(root=shop.lake.root), LakeSettings(), ServeSettings(), release)
    columns = {table.name: [column.name for column in table.columns] for table in served.words}
    for model in shop.models:
        names = pa.schema(model.header.contract.schema).names
        assert columns[model.name] == [name for name in names if name in model.header.columns]
    served.retire()
