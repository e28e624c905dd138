"""A small lake for builds: bronze written by hand, the project's models, real releases."""

import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ingest.schemas import SCHEMAS
from lake.delta.tables import create_table, open_table
from lake.paths import Lake
from lake.query.session import open_session
from lake.releases.release import Release, find_release, list_releases
from lake.settings import LakeSettings
from tests.support.text_tables import bronze_rows, plain
from transform.build import BuildRequest, run_build
from transform.header import Header
from transform.models import Model, read_models
from transform.settings import RulesSettings

MODELS = tuple(read_models())
# A small selection of models: keyed and dated tables, one that reads another, checks between two.
FEW = tuple(
    model
    for model in MODELS
    if model.name.split(".")[1]
    in (
        "buyers",
        "managers",
        "sources",
        "statuses",
        "offers",
        "set_aside_orders",
        "refused_orders",
        "orders",
        "unnamed_orders",
        "revenue_daily",
        "source_daily",
    )
)
ENGINE = LakeSettings(memory_limit="512MB", threads=1)
LAYERS = ("bronze", "rules", "silver", "gold", "ops")
# Tables in commit order: an order after its lines and expenses.
HISTORY = {
    "bronze.order_products": """
        order_id | position | product_id | name  | price  | price_sold | quantity
        1        | 1        | 7          | Крем  | 100.00 | 100.00     | 1
        2        | 1        | 7          | Крем  | 100.00 | 90.00      | 2
        2        | 2        | null       | Пакет | 20.00  | null       | 1
        3        | 1        | 8          | Тонік | 300.00 | 300.00     | 1
        4        | 1        | 8          | Тонік | 400.00 | 400.00     | 1
        5        | 1        | 8          | Тонік | 500.00 | 500.00     | 1
    """,
    "bronze.expenses": """
        order_id | position | id | amount | expense_type_id
        2        | 1        | 91 | 27.30  | 5
        2        | 2        | 92 | 60.00  | 5
    """,
    "bronze.orders": """
        id | ordered_at       | source_id | manager_id | buyer_id | status_id | grand_total | payload
        1  | 2026-05-10 10:00 | 4         | null       | 31       | 12        | 100.00 | {"products":[1]}
        2  | 2026-06-10 10:00 | 1         | 22         | 31       | 12        | 200.00 | {"products":[1,2]}
        3  | 2026-06-11 10:00 | 1         | 15         | null     | 12        | 300.00 | {"products":[1]}
        4  | 2026-07-01 10:00 | 1         | 22         | 31       | 19        | 400.00 | {"products":[1]}
        5  | 2026-07-02 10:00 | 1         | 7          | 31       | 12        | 500.00 | {"products":[1]}
        6  | 2026-07-03 10:00 | 3         | null       | 31       | 12        | 600.00 | {"products":[]}
    """,
    "bronze.buyers": "id | full_name\n 31 | Оксана",
    "bronze.products": """
        id | name  | category_id | custom_fields
        7  | Крем  | 5           | [{"uuid":"CT_1001","value":["Лелека"]}]
        8  | Тонік | 5           | []
    """,
    "bronze.categories": "id | name\n 5 | Догляд",
    "bronze.managers": """
        id | full_name
        22 | Марта
        15 | Назар
        7  | Ліза
    """,
    "bronze.sources": "id | name\n 1 | Інста\n 4 | Shopify",
    "bronze.statuses": "id | name\n 12 | Виконано\n 19 | Ні",
    "bronze.expense_types": "id | name\n 5 | Доставка",
    "bronze.offers": "id | product_id\n 70 | 7",
}
Files = dict[str, set[str]]


def change_model(name: str, sql: str, *, models: Sequence[Model] = FEW, **header: object) -> list[Model]:
    """Return the models with other SQL and header fields for one of them.

    ``{sql}`` in the SQL stands for the model's own SQL.
    """

    def other(model: Model) -> Model:
        head: Header = msgspec.structs.replace(model.header, **header)
        return msgspec.structs.replace(model, header=head, sql=sql.replace("{sql}", model.sql))

    return [other(model) if model.name == name else model for model in models]


def columns_of(name: str, *without: str) -> dict[str, str]:
    """Return a model's columns, except some."""
    (model,) = [model for model in MODELS if model.name == name]
    return {column: kind for column, kind in model.header.columns.items() if column not in without}


class Shop(msgspec.Struct, frozen=True):
    """A lake, and the actions of a test on it."""

    lake: Lake
    models: tuple[Model, ...] = MODELS

    def observe(self, table: str, text: str) -> None:
        """Append observations to a bronze table."""
        found = create_table(self.lake, table, SCHEMAS[table], partition_by=["observed_on"])
        found.append(bronze_rows(table, text))

    def build(
        self,
        *,
        full: bool = False,
        rules: RulesSettings | None = None,
        models: Sequence[Model] = (),
        **more: Any,
    ) -> Release | None:
        """Run a build; return its release, or None if it published nothing."""
        request = BuildRequest(
            engine=ENGINE, rules=rules or RulesSettings(), models=models or self.models, full=full, **more
        )
        return run_build(self.lake, request)

    def publish(self, **options: Any) -> Release:
        """Run a build and return its release, which must be published."""
        release = self.build(**options)
        assert release, "nothing was published"
        return release

    def read(self, release: int | None = None) -> dict[str, list[tuple[str, ...]]]:
        """Return the sorted rows of every table of a release."""
        found = find_release(self.lake, release)
        session = open_session(self.lake, ENGINE, found)
        return {
            name: sorted(map(plain, session.sql(f"from {name}").to_arrow_table().to_pylist()))
            for name in found.tables
        }

    def heads(self) -> dict[str, int]:
        """Return the newest version of every table."""
        names = [name for layer in LAYERS for name in self.lake.tables(layer)]
        return {name: open_table(self.lake, name).version for name in names}

    def releases(self) -> list[int]:
        """Return the numbers of the releases, newest first."""
        return [release.release for release in list_releases(self.lake)]

    def files(self, name: str) -> Files:
        """Return the live files of a table by month."""
        months: Files = {}
        for file in open_table(self.lake, name).files():
            months.setdefault(file.uri.split("month=")[1][:7], set()).add(file.uri)
        return months

    def strays(self) -> set[str]:
        """Return the files of built tables, including partial ones, that no release references."""
        shown = {item for release in list_releases(self.lake) for item in release.tables.items()}
        named = {uri for name, at in shown for uri in open_table(self.lake, name, at).uris()}
        folders = [Path(self.lake.place) / layer for layer in ("rules", "silver", "gold")]
        found = [file for folder in folders for file in folder.rglob("*.parquet*")]
        return {str(file) for file in found if "_delta_log" not in file.parts} - named

    def copy(self, place: Path, *layers: str) -> "Shop":
        """Return a copy of the lake, or of some of its layers."""
        for layer in layers or LAYERS:
            if (source := Path(self.lake.place) / layer).exists():
                shutil.copytree(source, place / layer)
        return Shop(Lake(root=str(place), durable=False), self.models)

    def rebuilt_copy(self, place: Path, **options: Any) -> "Shop":
        """Return another lake with the same bronze and a full build."""
        other = self.copy(place, "bronze")
        other.publish(**options)
        return other


def ingested_shop(
    place: Path, history: Mapping[str, str] = HISTORY, models: tuple[Model, ...] = MODELS
) -> Shop:
    """Return a shop with its history in bronze and no release."""
    shop = Shop(Lake(root=str(place), durable=False), models)
    for table in SCHEMAS:
        create_table(shop.lake, table, SCHEMAS[table], partition_by=["observed_on"])
    for table, text in history.items():
        shop.observe(table, text)
    return shop


def instant(minute: int) -> str:
    """Return the instant of an observation after those of ``HISTORY``; ``minute`` counts from 2026-08-01."""
    return f"{datetime(2026, 8, 1, minute // 60, minute % 60, tzinfo=UTC):%Y-%m-%d %H:%M}"
