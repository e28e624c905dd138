"""The invariant: after any history, an incremental build equals a full build, row for row."""

import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lake.errors import NoRelease, UsageError
from lake.history.rollback import parent_of, run_resume, run_rollback
from lake.ledgers.runs import write_run
from lake.maintenance.compaction import compact
from lake.query.session import fetch
from lake.releases.release import Move, Release, current_release, find_release
from tests.support.built_lake import ENGINE, Shop
from tests.support.receipts import receipt
from tests.support.text_tables import plain
from transform.build import Build
from transform.check_scope import check_candidates
from transform.models import Model
from transform.settings import Rate, RulesSettings, SalesRule

pytestmark = pytest.mark.slow

Rows = list[tuple[str, ...]]
DAYS = [date(2026, 5, 10), date(2026, 5, 31), date(2026, 6, 1), date(2026, 6, 20), date(2026, 8, 15)]
TIMES = ["10:00", "20:59", "21:00", "21:30"]  # around midnight in Kyiv
RULES = (
    RulesSettings(),
    RulesSettings(return_statuses=(19,), excluded_sources=()),
    RulesSettings(
        sales_types=(
            *RulesSettings().sales_types,
            SalesRule(sales_type="b2b", managers=(22,), valid_from=date(2026, 6, 1)),
        ),
        rates=(Rate("USD", Decimal("41.25"), date(2026, 6, 1)),),
    ),
)
ORDER = (
    "id | ordered_at | source_id | manager_id | buyer_id | status_id | status_group_id | promocode"
    " | total_discount | grand_total | payload | fetched_at | run_id"
)
LINES = (
    "order_id | position | offer_id | product_id | name | price | purchased_price | quantity"
    " | fetched_at | run_id"
)
NAMED = [
    *((table, found) for table in ("buyers", "categories", "expense_types") for found in (5, 6, 31, 32)),
    *(("managers", found) for found in (7, 15, 22)),
    *(("sources", found) for found in (1, 3, 4, 77)),
    *(("statuses", found) for found in (12, 19, 22)),
]
# Many a sync brings several changes, which are built together.
MORE = st.booleans()
EXPENSES = "order_id | position | id | amount | expense_type_id | actual_currency | fetched_at | run_id"
CURRENCIES = ("null", "UAH", "USD")


class History(RuleBasedStateMachine):
    """A shop that changes; after one or more changes its lake is built and compared."""

    first_release: Shop

    @initialize()
    def open(self) -> None:
        """Start with some history and a release."""
        self.place = Path(tempfile.mkdtemp())
        self.shop: Shop = self.first_release.copy(self.place / "lake")
        self.in_force = RulesSettings()
        self.now = datetime(2026, 9, 1, tzinfo=UTC)
        self.runs: list[str] = []
        self.waits = self.has_news = False
        self.seen: dict[int, dict[str, Rows]] = {}
        self.compared: tuple[int, RulesSettings] | None = None

    def teardown(self) -> None:
        """Build and compare pending changes, and remove the lake."""
        try:
            if self.has_news:
                self.compare(self.shop.build(rules=self.in_force))
        finally:
            shutil.rmtree(self.place, ignore_errors=True)

    def next_observation(self, *, stale: bool = False, more: bool = False) -> str:
        """Return fetched_at and run_id of the next observation, as the end of a text row.

        If ``more`` is true, the build waits for another change. If ``stale`` is true, the instant
        is an old one.
        """
        self.waits, self.has_news = more, True
        self.now += timedelta(minutes=1)
        self.runs.append(f"run-{len(self.runs)}")
        # A stale observation arrives late, but no two observations of an order have the same instant.
        late = datetime(2026, 6, 25, tzinfo=UTC) + timedelta(minutes=len(self.runs))
        at = late if stale else self.now
        return f"{at:%Y-%m-%d %H:%M} | {self.runs[-1]}"

    @rule(
        order=st.integers(1, 9),
        day=st.sampled_from(DAYS),
        time=st.sampled_from(TIMES),
        source=st.sampled_from([1, 3, 4, 77]),
        manager=st.sampled_from(["null", "22", "15", "7"]),
        buyer=st.sampled_from(["null", "31", "32", "33"]),
        status=st.sampled_from([12, 19, 22]),
        group=st.sampled_from(["null", "6"]),
        promocode=st.sampled_from(["null", "LITO"]),
        cost=st.sampled_from(["null", "4.20"]),
        products=st.lists(st.sampled_from(["7", "8", "9", "null"]), max_size=3),
        expenses=st.integers(0, 2),
        stale=st.sampled_from([False, False, False, True]),
        odd=st.sampled_from(["", "", "", "total", "line"]),
        more=MORE,
    )
    def observe_order(
        self,
        order: int,
        day: date,
        time: str,
        source: int,
        manager: str,
        buyer: str,
        status: int,
        group: str,
        promocode: str,
        cost: str,
        products: Sequence[str],
        expenses: int,
        stale: bool,
        odd: str,
        more: bool,
    ) -> None:
        """Observe a new or edited order, with any status, buyer and day; at times an old
        observation arrives late, or the total or a line is odd.
        """
        seen = self.next_observation(stale=stale, more=more)
        for place, product in enumerate(products, 1):
            price = f"{'-' if odd == 'line' else ''}{10 * place + order}.55"
            self.shop.observe(
                "bronze.order_products",
                f"{LINES}\n{order} | {place} | {69 + place} | {product} | x{product} | {price} | {cost}"
                f" | {place} | {seen}",
            )
        for place in range(1, expenses + 1):
            self.shop.observe(
                "bronze.expenses",
                f"{EXPENSES}\n{order} | {place} | {order}{place} | 5.25 | {4 + place}"
                f" | {CURRENCIES[order % 3]} | {seen}",
            )
        whole = sum(10 * place + order for place in range(1, len(products) + 1))
        total = f"{'-' if odd == 'total' else ''}{whole}.55"
        payload = f'{{"products":{[1] * len(products)}}}'
        self.shop.observe(
            "bronze.orders",
            f"{ORDER}\n{order} | {day} {time} | {source} | {manager} | {buyer} | {status} | {group}"
            f" | {promocode} | {len(products)}.10 | {total} | {payload} | {seen}",
        )

    @rule(order=st.integers(1, 9), more=MORE)
    def delete_order(self, order: int, more: bool) -> None:
        """Observe that an order was deleted."""
        self.shop.observe(
            "bronze.orders",
            f"id | is_deleted | fetched_at | run_id\n{order} | true | {self.next_observation(more=more)}",
        )

    @rule(kept=st.integers(1, 9), other=st.integers(1, 9), day=st.sampled_from(DAYS), more=MORE)
    def merge_orders(self, kept: int, other: int, day: date, more: bool) -> None:
        """Delete one order and give its lines to another."""
        self.delete_order(other, more)
        self.observe_order(
            order=kept, day=day, time=TIMES[2], source=1, manager="22", buyer="31", status=12, group="null",
            promocode="null", cost="null", products=["7", "8"], expenses=1, stale=False, odd="", more=more,
        )  # fmt: skip

    @rule(
        named=st.sampled_from(NAMED),
        gone=st.sampled_from([False, False, True]),
        parent=st.sampled_from(["null", "5", "6"]),
        more=MORE,
    )
    def rename(self, named: tuple[str, int], gone: bool, parent: str, more: bool) -> None:
        """Rename a row of a reference list, add one, or delete one; a category may get another parent."""
        table, found = named
        under = ("parent_id | ", f"{parent} | ") if table == "categories" else ("", "")
        column = "full_name" if table in ("buyers", "managers") else "name"
        name = f"n{len(self.runs)}"
        self.shop.observe(
            f"bronze.{table}",
            f"id | {column} | {under[0]}is_deleted | fetched_at | run_id\n"
            f"{found} | {name} | {under[1]}{str(gone).lower()} | {self.next_observation(more=more)}",
        )

    @rule(order=st.sampled_from(["null", "1", "2", "8", "9"]), more=MORE)
    def refuse_order(self, order: str, more: bool) -> None:
        """Refuse an observation of a known or unknown order, or of one without a readable id."""
        seen = self.next_observation(more=more)
        self.shop.observe(
            "bronze.rejected",
            "entity | id | reason | payload | payload_hash | fetched_at | run_id\n"
            f'orders | {order} | odd | {{"grand_total": 7.00}} | h{len(self.runs) % 3} | {seen}',
        )

    @rule(source=st.sampled_from([1, 4, 77]), currency=st.sampled_from(CURRENCIES), more=MORE)
    def change_currency(self, source: int, currency: str, more: bool) -> None:
        """Give a source another currency, so that its orders of all months count or not."""
        self.shop.observe(
            "bronze.sources",
            "id | name | currency_code | fetched_at | run_id\n"
            f"{source} | n{len(self.runs)} | {currency} | {self.next_observation(more=more)}",
        )

    @rule(
        product=st.sampled_from([7, 8, 9]),
        category=st.sampled_from(["null", "5", "6"]),
        brand=st.sampled_from(["Лелека", "Роса", ""]),
        price=st.integers(1, 3),
        more=MORE,
    )
    def change_product(self, product: int, category: str, brand: str, price: int, more: bool) -> None:
        """Change a product's name, category, brand or price, or add a product."""
        fields = f'[{{"uuid":"CT_1001","value":["{brand}"]}}]' if brand else "[]"
        self.shop.observe(
            "bronze.products",
            "id | name | category_id | price | custom_fields | fetched_at | run_id\n"
            f"{product} | p{len(self.runs) // 3} | {category} | {price}.00 | {fields}"
            f" | {self.next_observation(more=more)}",
        )

    @rule(
        offer=st.sampled_from([70, 71]),
        product=st.sampled_from([7, 7, 8]),
        quantity=st.sampled_from([0, 3, 5, 999999999]),
        cost=st.integers(1, 3),
        more=MORE,
    )
    def change_stock(self, offer: int, product: int, quantity: int, cost: int, more: bool) -> None:
        """Change the stock and cost of an offer, or give it to another product."""
        self.shop.observe(
            "bronze.offers",
            "id | product_id | quantity | purchased_price | fetched_at | run_id\n"
            f"{offer} | {product} | {quantity} | {cost}.00 | {self.next_observation(more=more)}",
        )

    @rule(found=st.sampled_from(RULES))
    def change_rules(self, found: RulesSettings) -> None:
        """Change the rules from a date on, or for all time."""
        self.in_force = found

    @rule()
    def compact_files(self) -> None:
        """Compact all files, which adds no observation."""
        compact(self.shop.lake, now=self.now + timedelta(days=400))

    @rule(back=st.sampled_from([0, 1, 1, 2]))
    def roll_back_and_resume(self, back: int) -> None:
        """Roll back and resume; up to two of the last runs are excluded."""
        current = find_release(self.shop.lake, None)
        try:
            target = parent_of(self.shop.lake, current)
            run_rollback(self.shop.lake, target, current=current, now=datetime.now(UTC), settings=ENGINE)
        except (NoRelease, UsageError):  # no earlier release differs
            return
        exclude = self.runs[len(self.runs) - min(back, len(self.runs)) :]
        for run in exclude:
            at = datetime(2026, 9, 1, tzinfo=UTC)
            named = receipt(at, run_id=run, verdict="incomplete", watermark=None, source_time=None)
            write_run(self.shop.lake, named)
        run_resume(self.shop.lake, exclude=exclude, now=datetime.now(UTC))

    @rule()
    def build_in_full(self) -> None:
        """Build in full, as a resync does; if nothing is new, nothing differs."""
        release = self.shop.build(rules=self.in_force, full=True, kind="resync")
        assert release is None or self.has_news
        self.compare(release)

    @rule()
    def include_run(self) -> None:
        """Include the first excluded run again."""
        left_out = find_release(self.shop.lake, None).excluded_runs
        if left_out:
            run_resume(self.shop.lake, include=left_out[:1], now=datetime.now(UTC))

    @invariant()
    def equals_a_full_build(self) -> None:
        """Compare every table of silver and gold with a full build, and also the release's rows,
        money and moves.
        """
        if not hasattr(self, "shop") or self.waits:
            self.waits = False
            return
        published = self.shop.build(rules=self.in_force)
        # An unchanged release is not compared twice.
        if published or self.has_news or self.compared != (self.shop.releases()[0], self.in_force):
            self.compare(published)

    def compare(self, published: Release | None) -> None:
        """Compare the serving release with a full build, and the published moves with the release before."""
        self.has_news = False
        release = current_release(self.shop.lake)
        assert release
        full = Build(self.shop.lake, ENGINE, self.in_force, self.shop.models, full=True).build_candidates()
        shown = self.shop.read()
        for name in full.tables:
            rows = fetch(full.workspace.duckdb, f"from {name}").to_pylist()
            assert sorted(map(plain, rows)) == shown[name], name
        found = {outcome.name: outcome.failures for outcome in check_candidates(full, {}) if outcome.failures}
        assert release.checks == found
        assert release.rows == full.rows()
        assert release.money == full.money()
        if published:
            before = self.seen.get(published.parent or 0) or self.shop.read(published.parent)
            for model in self.shop.models:
                moved = {move for move in published.moved if move.table == model.name}
                assert moved == moves(model, before[model.name], shown[model.name])
        self.seen = {release.release: shown}
        self.compared = (release.release, self.in_force)


def moves(model: Model, before: Rows, after: Rows) -> set[Move]:
    """Return the moves between two states of a table; by month if it has partitions."""
    names = [*model.header.columns, model.header.partition_column]
    money = names.index(model.header.money) if model.header.money else None

    def of(rows: Rows, month: str | None) -> tuple[Rows, Decimal | None]:
        found = [row for row in rows if month is None or row[-1].startswith(month)]
        if money is None:
            return found, None
        return found, sum((Decimal(row[money]) for row in found if row[money] != "None"), Decimal("0.00"))

    expected: set[Move] = set()
    months = {row[-1][:7] for row in before + after} if model.header.partition_column else {None}
    for month in months:
        (old, spent), (new, earned) = of(before, month), of(after, month)
        if sorted(old) != sorted(new):
            first = date.fromisoformat(f"{month}-01") if month else None
            expected.add(Move(model.name, first, len(old), len(new), spent, earned))
    return expected


@pytest.fixture(scope="module", autouse=True)
def share_first_release(first_release: Shop) -> None:
    """Let every history start with a copy of the same release."""
    History.first_release = first_release


TestHistory = History.TestCase
TestHistory.settings = settings(
    max_examples=4,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
