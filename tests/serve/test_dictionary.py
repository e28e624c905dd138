"""The dictionary page and endpoint: the words of the release, and of an older one its own."""

from pathlib import Path

import pyarrow as pa

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


def test_page_and_endpoint_say_what_the_files_say(tmp_path: Path) -> None:
    """Every table, gold first; every column with its note; no personal data, for it has none."""
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
        "₴ per order: revenue / orders_count; does not add up, recompute it for a longer span"
    )
    assert all(f'id="{name}"' in page for name in names)
    assert check["note"] in page
    assert "<script" not in page


def test_a_release_without_words_has_an_empty_dictionary(served: Served) -> None:
    """It was published before there were any."""
    assert ask(served.base, "/api/dictionary").json == {"release": 2, "tables": []}
    assert "has no dictionary" in ask(served.base, "/dictionary").body.decode()


def test_a_release_that_is_not_there_is_one_line(served: Served) -> None:
    """On the page as on every other."""
    answer = ask(served.base, "/dictionary?release=99")
    assert answer.status == 404
    assert "This can&#39;t be shown" in answer.body.decode()


def test_a_session_holds_the_words_of_its_own_release(tmp_path: Path) -> None:
    """They are tables of the release: as immutable as its numbers."""
    shop = shop_of(tmp_path)
    release = current_release(shop.lake)
    assert release
    served = open_served_release(Lake(root=shop.lake.root), LakeSettings(), ServeSettings(), release)
    held = {table.name: [column.name for column in table.columns] for table in served.words}
    for model in shop.models:
        names = pa.schema(model.header.contract.schema).names
        assert held[model.name] == [name for name in names if name in model.header.columns]
    served.retire()
