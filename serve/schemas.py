"""What crosses the wire: money and quantities exact, dates the shop's days, instants UTC. Pure."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from msgspec import Struct

from serve.figures import Period


class Problem(Struct, frozen=True):
    """Why there is no answer, in one line."""

    detail: str


class Health(Struct, frozen=True):
    """A release is open."""

    status: str
    release: int


class RunStatus(Struct, frozen=True):
    """The last ingest; ``verdict`` is complete or not."""

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
    """A job of the schedule that failed when it last ended; ``detail`` is its last line."""

    job: str
    at: datetime
    exit_code: int
    detail: str


class Status(Struct, frozen=True):
    """Which release serves, how fresh it is; ``problem`` says why there is no newer one, in one line.

    ``complete_through`` is the CRM's clock up to which all is in it, ``today`` the shop's day then.
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
    failed_jobs: list[FailedJob]
    problem: str | None


class ReleaseLine(Struct, frozen=True):
    """One release: ``revenue`` of all ``gold.revenue_daily``, ``revenue_moved`` since the parent."""

    release: int
    published_at: datetime
    kind: str
    parent: int | None
    revenue: Decimal | None
    revenue_moved: Decimal
    tables_moved: int
    reconciled_through: datetime | None


class Releases(Struct, frozen=True):
    """The newest releases; ``total`` is how many were ever published."""

    release: int
    total: int
    limit: int
    releases: list[ReleaseLine]


class ColumnInfo(Struct, frozen=True):
    """A column and its type in DuckDB's words."""

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
    tables: list[TableInfo]


class TableRows(Struct, frozen=True):
    """Some rows of a table; ``total`` counts all that match, ``next`` asks the same release for more."""

    release: int
    table: str
    total: int
    limit: int
    offset: int
    next: str | None
    rows: list[dict[str, Any]]


class MoneyFigure(Struct, frozen=True):
    """A number of the period, of the one before it, and the difference; null where it can't be computed."""

    value: Decimal | None
    previous: Decimal | None
    change: Decimal | None
    change_percent: Decimal | None


class CountFigure(Struct, frozen=True):
    """A count of the period, of the one before it, and the difference."""

    value: int | None
    previous: int | None
    change: int | None
    change_percent: Decimal | None


class Summary(Struct, frozen=True):
    """The shop in a period against the one before; returns are left out of all but their own figures."""

    release: int
    period: Period
    previous_period: Period | None
    revenue: MoneyFigure
    orders_count: CountFigure
    avg_check: MoneyFigure
    returns_count: CountFigure
    returns_amount: MoneyFigure
    returns_percent: MoneyFigure


class Totals(Struct, frozen=True):
    """Sums over all rows of an answer; the average is their quotient."""

    revenue: Decimal
    orders_count: int
    avg_check: Decimal | None


class RevenueDay(Struct, frozen=True):
    """One day and sales type."""

    date: date
    sales_type: str
    revenue: Decimal
    orders_count: int
    avg_check: Decimal | None


class RevenueDaily(Struct, frozen=True):
    """Revenue by day and sales type, oldest first; days without orders have no row."""

    release: int
    period: Period
    totals: Totals
    rows: list[RevenueDay]


class ProductLine(Struct, frozen=True):
    """One product in the period; a product the CRM does not know has no id and the name it was sold under."""

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
    """The products that sold most; ``rows`` and ``rest`` add up to ``totals``."""

    release: int
    period: Period
    by: str
    limit: int
    totals: ProductSums
    rest: ProductSums
    rows: list[ProductLine]


class SourceLine(Struct, frozen=True):
    """One source in the period."""

    source_id: int | None
    source_name: str | None
    revenue: Decimal
    orders_count: int
    avg_check: Decimal | None


class Sources(Struct, frozen=True):
    """Revenue by source, greatest first."""

    release: int
    period: Period
    totals: Totals
    rows: list[SourceLine]


class ColumnWords(Struct, frozen=True):
    """What one column means; ``type`` is DuckDB's."""

    name: str
    type: str
    is_key: bool
    may_be_null: bool
    note: str


class TableWords(Struct, frozen=True):
    """What one row of a table is, what names it, how it is rebuilt, what it is made of."""

    name: str
    grain: str
    key: list[str]
    rebuild: str
    reads: list[str]
    columns: list[ColumnWords]


class Dictionary(Struct, frozen=True):
    """Every table of silver and gold that the release shows, in the words of the file that built it."""

    release: int
    tables: list[TableWords]
