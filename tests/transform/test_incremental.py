"""The one law: whatever happened, built from what changed equals built from nothing, row for row."""

import shutil
import tempfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from lake.compaction import compact
from lake.errors import NoRelease, UsageError
from lake.release import current_release, find_release
from lake.rollback import parent_of, run_resume, run_rollback
from lake.runs import write_run
from lake.session import fetch
from tests.models.tables import plain
from tests.receipts import receipt
from tests.transform.shop import ENGINE, HISTORY, Shop, opened
from transform.build import Build
from transform.inspection import inspect
from transform.settings import RulesSettings, SalesRule

DAYS = [date(2026, 5, 10), date(2026, 5, 31), date(2026, 6, 1), date(2026, 6, 20), date(2026, 8, 15)]
TIMES = ["10:00", "20:59", "21:00", "21:30"]  # around midnight in Kyiv
RULES = (
    RulesSettings(),
    RulesSettings(return_statuses=(19,), excluded_sources=()),
    RulesSettings(
        sales_types=(
            *RulesSettings().sales_types,
            SalesRule(sales_type="b2b", managers=(22,), valid_from=date(2026, 6, 1)),
        )
    ),
)
ORDER = (
    "id | ordered_at | source_id | manager_id | buyer_id | status_id | grand_total | payload"
    " | fetched_at | run_id"
)
LINES = "order_id | position | product_id | name | price | quantity | fetched_at | run_id"
EXPENSES = "order_id | position | id | amount | expense_type_id | fetched_at | run_id"


class History(RuleBasedStateMachine):
    """A shop to which things happen; after each of them its lake is built, and compared."""

    @initialize()
    def open(self) -> None:
        """Begin with some history and a release."""
        self.place = Path(tempfile.mkdtemp())
        self.shop: Shop = opened(self.place / "lake", HISTORY)
        self.in_force = RulesSettings()
        self.now = datetime(2026, 9, 1, tzinfo=UTC)
        self.runs: list[str] = []
        self.shop.published()

    def teardown(self) -> None:
        """Remove the lake."""
        shutil.rmtree(self.place, ignore_errors=True)

    def look(self, *, stale: bool = False) -> str:
        """Return the next look's stamp and run, as the ends of a row."""
        self.now += timedelta(minutes=1)
        self.runs.append(f"run-{len(self.runs)}")
        # Late in coming, but no two looks at an order are of one moment.
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
        products=st.lists(st.sampled_from(["7", "8", "9", "null"]), max_size=3),
        expenses=st.integers(0, 2),
        stale=st.sampled_from([False, False, False, True]),
    )
    def an_order_is_seen(
        self,
        order: int,
        day: date,
        time: str,
        source: int,
        manager: str,
        buyer: str,
        status: int,
        products: Sequence[str],
        expenses: int,
        stale: bool,
    ) -> None:
        """New, edited, moved, returned or not any more, of another buyer; now and then an old look late."""
        seen = self.look(stale=stale)
        for place, product in enumerate(products, 1):
            price = f"{10 * place + order}.55"
            self.shop.see(
                "bronze.order_products",
                f"{LINES}\n{order} | {place} | {product} | x{product} | {price} | {place} | {seen}",
            )
        for place in range(1, expenses + 1):
            self.shop.see(
                "bronze.expenses",
                f"{EXPENSES}\n{order} | {place} | {order}{place} | 5.25 | {4 + place} | {seen}",
            )
        total = f"{sum(10 * place + order for place in range(1, len(products) + 1))}.55"
        payload = f'{{"products":{[1] * len(products)}}}'
        self.shop.see(
            "bronze.orders",
            f"{ORDER}\n{order} | {day} {time} | {source} | {manager} | {buyer} | {status}"
            f" | {total} | {payload} | {seen}",
        )

    @rule(order=st.integers(1, 9))
    def an_order_is_gone(self, order: int) -> None:
        """The CRM has it no longer."""
        self.shop.see(
            "bronze.orders", f"id | is_deleted | fetched_at | run_id\n{order} | true | {self.look()}"
        )

    @rule(
        table=st.sampled_from(["buyers", "managers", "sources", "statuses", "expense_types", "categories"]),
        found=st.sampled_from([1, 3, 4, 5, 6, 7, 12, 15, 19, 22, 31, 32, 77]),
        gone=st.sampled_from([False, False, True]),
    )
    def something_is_renamed(self, table: str, found: int, gone: bool) -> None:
        """Or listed for the first time, or gone from the list."""
        column = "full_name" if table in ("buyers", "managers") else "name"
        name = f"n{len(self.runs)}"
        self.shop.see(
            f"bronze.{table}",
            f"id | {column} | is_deleted | fetched_at | run_id\n"
            f"{found} | {name} | {str(gone).lower()} | {self.look()}",
        )

    @rule(
        product=st.sampled_from([7, 8, 9]),
        category=st.sampled_from(["null", "5", "6"]),
        brand=st.sampled_from(["Лелека", "Роса", ""]),
        price=st.integers(1, 3),
    )
    def a_product_changes(self, product: int, category: str, brand: str, price: int) -> None:
        """Its name, category, brand or price; it may be new."""
        fields = f'[{{"uuid":"CT_1001","value":["{brand}"]}}]' if brand else "[]"
        self.shop.see(
            "bronze.products",
            "id | name | category_id | price | custom_fields | fetched_at | run_id\n"
            f"{product} | p{len(self.runs) // 3} | {category} | {price}.00 | {fields} | {self.look()}",
        )

    @rule(offer=st.sampled_from([70, 71]), quantity=st.integers(0, 5), cost=st.integers(1, 3))
    def stock_moves(self, offer: int, quantity: int, cost: int) -> None:
        """As it does all day."""
        self.shop.see(
            "bronze.offers",
            "id | product_id | quantity | purchased_price | fetched_at | run_id\n"
            f"{offer} | 7 | {quantity} | {cost}.00 | {self.look()}",
        )

    @rule(found=st.sampled_from(RULES))
    def a_rule_changes(self, found: RulesSettings) -> None:
        """From a date on, or for all time."""
        self.in_force = found

    @rule()
    def files_are_merged(self) -> None:
        """Compaction brings no news."""
        compact(self.shop.lake, now=self.now + timedelta(days=400))

    @rule(back=st.integers(0, 3))
    def readers_go_back_and_builds_go_on(self, back: int) -> None:
        """A rollback, and the hold lifted: the last run left out, or nothing."""
        current = find_release(self.shop.lake, None)
        try:
            target = parent_of(self.shop.lake, current)
            run_rollback(self.shop.lake, target, current=current, now=datetime.now(UTC), settings=ENGINE)
        except (NoRelease, UsageError):  # none before it shows anything else
            return
        exclude = self.runs[-1:] if back else []
        if exclude:
            named = receipt(
                datetime(2026, 9, 1, tzinfo=UTC),
                run_id=exclude[0],
                verdict="incomplete",
                watermark=None,
                source_time=None,
            )
            write_run(self.shop.lake, named)
        run_resume(self.shop.lake, exclude=exclude, now=datetime.now(UTC))

    @rule()
    def all_is_built_anew(self) -> None:
        """As a resync does: nothing differs from what the changes alone have made."""
        assert self.shop.build(rules=self.in_force, full=True, kind="resync") is None

    @rule()
    def a_run_is_included_again(self) -> None:
        """What was left out is part of it once more."""
        left_out = find_release(self.shop.lake, None).excluded_runs
        if left_out:
            run_resume(self.shop.lake, include=left_out[:1], now=datetime.now(UTC))

    @invariant()
    def the_lake_is_what_a_full_build_makes(self) -> None:
        """Every table of silver and gold, and what the release says of their rows and money."""
        if not hasattr(self, "shop"):
            return
        self.shop.build(rules=self.in_force)
        release = current_release(self.shop.lake)
        assert release
        full = Build(self.shop.lake, ENGINE, self.in_force, self.shop.models, full=True).candidates()
        shown = self.shop.read()
        for name in full.built:
            rows = fetch(full.space.duckdb, f"from {name}").to_pylist()
            assert sorted(map(plain, rows)) == shown[name], name
        found = {outcome.name: outcome.failures for outcome in inspect(full, {}) if outcome.failures}
        assert release.checks == found
        assert release.rows == full.rows()
        assert release.money == full.money()


TestHistory = History.TestCase
TestHistory.settings = settings(
    max_examples=5,
    stateful_step_count=10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
