"""Guards: limits on how a release may differ from the one that serves, whichever model is at fault.

They compare the rows that moved, and use bronze as the reason for a change. If the rules or
models changed, or the build is a full one, any month may change, but rows may not be dropped
without a stated reason. If the set of excluded runs changed, the guards do not run.
"""

from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal

import msgspec

from lake.query.session import fetch
from lake.releases.release import Move, Release
from transform.candidate import TIMES
from transform.checks import Outcome
from transform.models import Check
from transform.next_release import Candidates
from transform.settings import TransformSettings
from transform.workspace import ADDED, DIFF, KEYS, REMOVED, scratch

ORDERS = "silver.orders"
SOURCES = "silver.sources"
# Tables whose money is the money of orders alone, so that only a change of an order changes it.
ORDER_TABLES = (ORDERS, "gold.revenue_daily")
STOCK = "gold.stock_daily"
# Tables in which one order has rows, and the column with its id.
ROWS_OF_ORDERS = {ORDERS: "id", "silver.order_lines": "order_id", "silver.order_expenses": "order_id"}
# Rows that a table must have before a decrease of its totals is checked: one of three orders is no alarm.
MIN_ROWS = 100
OLDEST_MONTH = """
select min(date_trunc('month', (ordered_at at time zone 'Europe/Kyiv')::date))::date from ({observations})
"""
# A source without a currency has the shop's.
OTHER_CURRENCY = """
select coalesce(b.id, a.id)
from {removed} as b full join {added} as a on a.id = b.id
cross join rules.currency as shop
where coalesce(b.currency_code, shop.currency) <> coalesce(a.currency_code, shop.currency)
"""
OTHERS_BY_MONTH = """
select
    date_trunc('month', order_date)::date,
    -sum({times})::bigint,
    coalesce(-sum(grand_total * {times}), 0)::decimal(38, 2)
from {difference}
where source_id not in (select unnest({sources}::bigint[]))
group by 1
order by 1
"""
LOST_ORDERS = """
select id, order_date
from {removed}
where
    order_date > coalesce((select max(order_date) from silver.orders), date '1970-01-01')
    and source_id not in (select unnest({sources}::bigint[]))
    and id not in (select key from {observed})
    and id not in (select id from {added})
order by order_date desc, id
"""


class Decrease(msgspec.Struct, frozen=True):
    """A total of a table before and after; ``measure`` is "rows" or "money".

    ``single`` is the most money that one order, or one offer in stock, can have lost.
    """

    table: str
    measure: str
    before: Decimal
    after: Decimal
    single: Decimal = Decimal()

    def exceeds(self, share: Decimal) -> bool:
        """Return True if more than the share is lost, and not by one order or offer alone.

        A total of zero or less can't lose a share.
        """
        return self.before > 0 and self.before - self.after - self.single > self.before * share


def guards(settings: TransformSettings) -> tuple[Check, Check, Check]:
    """Return the guards as checks."""
    decrease = f"no total decreases by more than {settings.largest_fall:.0%}, the largest order left out"
    remedy = 'if the decrease is right, `just transform --because "…"` publishes it with that reason'
    return (
        guard("no_older_month_moved", "no month moves that is older than every order observed since"),
        guard("newest_day_stays", "the newest day goes back only if its orders were observed again"),
        guard("totals_hold", decrease, remedy=remedy),
    )


def guard(name: str, fact: str, remedy: str = "") -> Check:
    """Return one guard as a check."""
    return Check(name, "release", fact, "error", sql="", remedy=remedy)


def run_guards(candidates: Candidates, settings: TransformSettings, *, reason: str | None) -> list[Outcome]:
    """Return the outcomes of the guards on the candidates, compared with the release that serves.

    If there is a ``reason`` for a decrease, it is recorded and does not block the release. If the
    currency of a source changed, its orders of all months may come or go, but no other orders.
    """
    serving = candidates.serving
    if serving is None or ORDERS not in candidates.tables:
        return []
    older, newest, totals = guards(settings)
    if candidates.parent is None:  # any earlier month may move
        total = totals_hold(totals, decreases(candidates, serving, settings.largest_fall), reason=reason)
        return [Outcome(older, 0), Outcome(newest, 0), total]
    converted = sources_of_other_currency(candidates)
    moves = others_by_month(candidates, converted) if converted else order_moves(candidates)
    if converted and not is_large(moves, serving, settings.largest_fall):
        reason = reason or "the currency of a source changed"
    total = totals_hold(totals, decreases(candidates, serving, settings.largest_fall), reason=reason)
    return [
        no_older_month_moved(older, candidates, moves),
        newest_day_stays(newest, candidates, converted),
        total,
    ]


def sources_of_other_currency(candidates: Candidates) -> list[int]:
    """Return the ids of the sources whose currency is not that of the release."""
    if SOURCES not in candidates.tables or not candidates.tables[SOURCES].differs:
        return []
    removed, added = scratch(REMOVED, SOURCES), scratch(ADDED, SOURCES)
    return candidates.workspace.first_column(OTHER_CURRENCY.format(removed=removed, added=added))


def order_moves(candidates: Candidates) -> list[Move]:
    """Return the moves of months of the tables that have only the money of orders."""
    return [move for move in candidates.moved() if move.table in ORDER_TABLES and changes_totals(move)]


def others_by_month(candidates: Candidates, sources: Collection[int]) -> list[Move]:
    """Return what moved by month in orders of other sources, as a fall to zero of what was lost."""
    if not candidates.tables[ORDERS].differs:
        return []
    query = OTHERS_BY_MONTH.format(times=TIMES, difference=scratch(DIFF, ORDERS), sources=list(sources))
    rows = candidates.workspace.duckdb.execute(query).fetchall()
    moves = [Move(ORDERS, month, lost, 0, money, Decimal()) for month, lost, money in rows]
    return [move for move in moves if changes_totals(move)]


def is_large(moves: Iterable[Move], serving: Release, share: float) -> bool:
    """Return True if these moves of orders lose more than a share of the release's rows or money."""
    rows = sum((move.rows_before for move in moves), 0)
    money = sum((move.money_before or Decimal() for move in moves), Decimal())
    return any(
        Decrease(ORDERS, measure, before, before - lost).exceeds(Decimal(str(share)))
        for measure, before, lost in (
            ("rows", Decimal(serving.rows[ORDERS]), Decimal(rows)),
            ("money", serving.money[ORDERS], money),
        )
    )


def no_older_month_moved(check: Check, candidates: Candidates, moves: Iterable[Move]) -> Outcome:
    """Find order totals that moved in a month before the months of all newly observed orders."""
    observations = candidates.workspace.rows_of_keys("bronze.orders", "id", observed_ids(candidates))
    (oldest,) = candidates.workspace.first_row(OLDEST_MONTH.format(observations=observations))
    moves = [move for move in moves if move.month and (oldest is None or move.month < oldest)]
    if not moves:
        return Outcome(check, 0)
    nothing = Decimal()
    amounts = [abs((move.money_after or nothing) - (move.money_before or nothing)) for move in moves]
    example = f"table={moves[0].table}, month={moves[0].month}"
    return Outcome(check, len(moves), example, sum(amounts, nothing))


def newest_day_stays(check: Check, candidates: Candidates, converted: Collection[int]) -> Outcome:
    """Find orders of the last days that are missing although they were not observed again.

    Orders of the sources ``converted``, whose currency changed, are left out.
    """
    if not candidates.tables[ORDERS].differs:
        return Outcome(check, 0)
    query = LOST_ORDERS.format(
        removed=scratch(REMOVED, ORDERS),
        added=scratch(ADDED, ORDERS),
        observed=observed_ids(candidates),
        sources=list(converted),
    )
    candidates.workspace.create_views([ORDERS])
    rows = fetch(candidates.workspace.duckdb, query).to_pylist()
    if not rows:
        return Outcome(check, 0)
    return Outcome(check, len(rows), f"id={rows[0]['id']}, order_date={rows[0]['order_date']}")


def totals_hold(check: Check, found: Iterable[Decrease], *, reason: str | None) -> Outcome:
    """Return the largest decrease as the example; with a reason it is only a warning."""
    check = msgspec.structs.replace(check, severity="warn") if reason else check
    if not (largest_first := sorted(found, key=lambda decrease: decrease.after / decrease.before)):
        return Outcome(check, 0)
    first = largest_first[0]
    because = f", because {reason}" if reason else ""
    # Several tables mostly have the same money, so amounts are not added up.
    lost = [each.before - each.after for each in largest_first if each.measure == "money"]
    example = f"{first.table}: {first.measure} {first.before:,} -> {first.after:,}{because}"
    return Outcome(check, len(largest_first), example, max(lost, default=None))


def decreases(candidates: Candidates, serving: Release, share: float) -> Iterator[Decrease]:
    """Yield the totals that decrease by more than a share, of partitioned tables with many rows."""
    rows, money = candidates.rows(), candidates.money()
    single_order = max(largest_loss(candidates, *table) for table in ROWS_OF_ORDERS.items())
    single_offer = largest_loss(candidates, STOCK, "offer_id")
    for name, candidate in candidates.tables.items():
        has_history = candidate.partition_column and serving.rows.get(name, 0) >= MIN_ROWS
        if not has_history or not candidate.differs:
            continue
        totals = [Decrease(name, "rows", Decimal(serving.rows[name]), Decimal(rows[name]))]
        if name in serving.money and name in money:
            single = single_offer if name == STOCK else single_order
            totals.append(Decrease(name, "money", serving.money[name], money[name], single))
        yield from (total for total in totals if total.exceeds(Decimal(str(share))))


def largest_loss(candidates: Candidates, name: str, column: str) -> Decimal:
    """Return the most money that the rows with one value of ``column`` have lost: all, sales, or returns."""
    candidate = candidates.tables.get(name)
    # There is no difference by rows if the table has other columns.
    if candidate is None or not candidate.differs or [move.month for move in candidate.moved] == [None]:
        return Decimal()
    lost = f"-sum({candidate.money} * {TIMES})"
    sides = ("is_return", "not is_return") if "is_return" in candidate.contract.schema.names else ()
    losses = ", ".join([lost, *(f"{lost} filter ({side})" for side in sides)])
    by_value = f"select greatest({losses}) as lost from {scratch(DIFF, name)} group by {column}"
    (lost,) = candidates.workspace.first_row(
        f"select greatest(max(lost), 0)::decimal(38, 2) from ({by_value})"
    )
    return Decimal(lost)


def changes_totals(move: Move) -> bool:
    """Return True if the row count or the money differ, and not only names. Pure."""
    return (move.rows_before, move.money_before) != (move.rows_after, move.money_after)


def observed_ids(candidates: Candidates) -> str:
    """Return the relation of the orders that were observed since the release, by id."""
    candidates.workspace.create_keys("observed", candidates.changes.observed_ids("bronze.orders", "id"))
    return scratch(KEYS, "observed")
