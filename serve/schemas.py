"""Schemas: the JSON bodies of the API. Pure.

Money and quantities are exact, dates are days of the shop, instants are UTC.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct

from lake.releases.uncounted import Uncounted
from serve.figures import Period


class Problem(Struct, frozen=True):
    """The reason for an error, in one line."""

    detail: str


class Health(Struct, frozen=True):
    """The number of the open release; ``status`` is ``ok``."""

    status: str
    release: int


class RunStatus(Struct, frozen=True):
    """The last ingest; ``verdict`` is ``complete`` or ``incomplete``."""

    run_id: str
    kind: str
    verdict: str
    started_at: datetime
    finished_at: datetime
    age_seconds: int
    rejected: int
    reason: str | None
    last_complete_at: datetime | None


class FailedJob(Struct, frozen=True):
    """A job of the schedule whose last run failed; ``detail`` is the last line of its output."""

    job: str
    at: datetime
    exit_code: int
    detail: str


class Status(Struct, frozen=True):
    """The release that serves and its age; ``problem`` is the reason, in one line, if a newer one is missing.

    ``not_counted`` is what is in no number of the release; null if the release does not record it.

    The release contains every change up to ``complete_through``, an instant on the CRM's clock.
    ``today`` is the shop day of that instant.
    """

    release: int
    kind: str
    published_at: datetime
    age_seconds: int
    now: datetime
    complete_through: datetime | None
    reconciled_through: datetime | None
    today: date
    first_order_date: date | None
    last_order_date: date | None
    last_run: RunStatus | None
    rows: dict[str, int]
    not_counted: Uncounted | None
    failed_jobs: list[FailedJob]
    problem: str | None


class ReleaseLine(Struct, frozen=True):
    """One release.

    ``revenue`` is the sum over ``gold.revenue_daily``, ``revenue_moved`` its change since the parent.
    """

    release: int
    published_at: datetime
    kind: str
    parent: int | None
    revenue: Decimal | None
    revenue_moved: Decimal
    tables_moved: int
    reconciled_through: datetime | None


class Releases(Struct, frozen=True):
    """The newest releases; ``total`` counts all releases ever published.

    ``not_counted`` is of the first one; null if that release can't be opened any more.
    """

    release: int
    not_counted: Uncounted | None
    total: int
    limit: int
    releases: list[ReleaseLine]


class ColumnInfo(Struct, frozen=True):
    """A column and its DuckDB type."""

    name: str
    type: str


class TableInfo(Struct, frozen=True):
    """A gold table of the release."""

    table: str
    columns: list[ColumnInfo]
    rows: int
    first_date: date | None
    last_date: date | None


class Tables(Struct, frozen=True):
    """Every gold table of the release."""

    release: int
    not_counted: Uncounted | None
    tables: list[TableInfo]


class TableRows(Struct, frozen=True):
    """One page of a table's rows.

    ``total`` counts all matching rows. ``next`` is the URL of the next page in the same release.
    """

    release: int
    not_counted: Uncounted | None
    table: str
    total: int
    limit: int
    offset: int
    next: str | None
    rows: list[dict[str, Any]]


class MoneyFigure(Struct, frozen=True):
    """A figure of the period, of the previous one, and the change; null if it can't be computed."""

    value: Decimal | None
    previous: Decimal | None
    change: Decimal | None
    change_percent: Decimal | None


class CountFigure(Struct, frozen=True):
    """A count of the period, of the previous one, and the change; null if it can't be computed."""

    value: int | None
    previous: int | None
    change: int | None
    change_percent: Decimal | None


class Summary(Struct, frozen=True):
    """The shop's figures in a period and in the previous one; revenue and orders exclude returns."""

    release: int
    not_counted: Uncounted | None
    period: Period
    previous_period: Period | None
    revenue: MoneyFigure
    orders_count: CountFigure
    avg_check: MoneyFigure
    returns_count: CountFigure
    returns_amount: MoneyFigure
    returns_percent: MoneyFigure


class Totals(Struct, frozen=True):
    """Sums over all rows of a response; the average check is revenue / orders."""

    revenue: Decimal
    orders_count: int
    avg_check: Decimal | None


class RevenueDay(Struct, frozen=True):
    """Revenue of one day and sales type."""

    date: date
    sales_type: str
    revenue: Decimal
    orders_count: int
    avg_check: Decimal | None


class RevenueDaily(Struct, frozen=True):
    """Revenue by day and sales type, oldest first; days without orders have no row."""

    release: int
    not_counted: Uncounted | None
    period: Period
    totals: Totals
    rows: list[RevenueDay]


class ProductLine(Struct, frozen=True):
    """One product in the period. If the CRM lacks the product, it has no id, only a name."""

    product_id: int | None
    product_name: str | None
    category_id: int | None
    brand: str | None
    quantity: Decimal
    revenue: Decimal


class ProductSums(Struct, frozen=True):
    """Sums over products."""

    products: int
    quantity: Decimal
    revenue: Decimal


class ProductsTop(Struct, frozen=True):
    """The best-selling products; ``rows`` and ``rest`` add up to ``totals``."""

    release: int
    not_counted: Uncounted | None
    period: Period
    by: str
    limit: int
    totals: ProductSums
    rest: ProductSums
    rows: list[ProductLine]


class SourceLine(Struct, frozen=True):
    """Revenue of one source in the period."""

    source_id: int | None
    source_name: str | None
    revenue: Decimal
    orders_count: int
    avg_check: Decimal | None


class Sources(Struct, frozen=True):
    """Revenue by source, largest first."""

    release: int
    not_counted: Uncounted | None
    period: Period
    totals: Totals
    rows: list[SourceLine]


class ColumnWords(Struct, frozen=True):
    """The meaning of one column; ``type`` is its DuckDB type."""

    name: str
    type: str
    is_key: bool
    may_be_null: bool
    note: str


class TableWords(Struct, frozen=True):
    """A table: its grain, its key, how it is rebuilt, and the tables it reads."""

    name: str
    grain: str
    key: list[str]
    rebuild: str
    reads: list[str]
    columns: list[ColumnWords]


class Dictionary(Struct, frozen=True):
    """Every silver and gold table of the release, with the texts of its model's header."""

    release: int
    tables: list[TableWords]
