"""Guards: limits on how a release may differ from the one that serves, whichever model is at fault.

They compare the rows that moved, and use bronze as the reason for a change. If the rules or
models changed, or the build is a full one, any month may change, but rows may not be dropped
without a stated reason. If the set of excluded runs changed, the guards do not run.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal

import msgspec

from lake.query.session import fetch
from lake.releases.release import Move, Release
from transform.candidate import EVERYTHING
from transform.checks import Outcome
from transform.models import Check
from transform.next_release import Candidates
from transform.settings import TransformSettings
from transform.workspace import ADDED, KEYS, REMOVED, scratch

ORDERS = "silver.orders"
SET_ASIDE = "silver.set_aside_orders"
# Tables whose money is the money of orders alone, so that only a change of an order changes it.
ORDER_TABLES = (ORDERS, "gold.revenue_daily")
# Rows that a table must have before a decrease of its totals is checked: one of three orders is no alarm.
MIN_ROWS = 100
OLDEST_MONTH = """
select min(date_trunc('month', (ordered_at at time zone 'Europe/Kyiv')::date))::date from ({observations})
"""
LOST_ORDERS = """
select id, order_date
from {removed}
where
    order_date > coalesce((select max(order_date) from silver.orders), date '1970-01-01')
    and id not in (select key from {observed})
    and id not in (select id from {added})
order by order_date desc, id
"""


class Decrease(msgspec.Struct, frozen=True):
    """A total of a table before and after; ``measure`` is "rows" or "money"."""

    table: str
    measure: str
    before: Decimal
    after: Decimal

    def exceeds(self, share: Decimal) -> bool:
        """Return True if more than the share is lost. A total of zero or less can't lose a share."""
        return self.before > 0 and self.before - self.after > self.before * share


def guards(settings: TransformSettings) -> tuple[Check, Check, Check]:
    """Return the guards as checks."""
    decrease = f"no total decreases by more than {settings.largest_fall:.0%}"
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

    If there is a ``reason`` for a decrease, it is recorded and does not block the release.
    """
    serving = candidates.serving
    if serving is None or ORDERS not in candidates.tables:
        return []
    older, newest, totals = guards(settings)
    if has_other_currency(candidates):
        reason = reason or "the currency of a source changed"
    total = totals_hold(totals, decreases(candidates, serving, settings.largest_fall), reason=reason)
    if candidates.parent is None or has_other_currency(candidates):  # any earlier month may move
        return [Outcome(older, 0), Outcome(newest, 0), total]
    return [no_older_month_moved(older, candidates), newest_day_stays(newest, candidates), total]


def has_other_currency(candidates: Candidates) -> bool:
    """Return True if the currency of a source changed, which decides about its orders of all months."""
    aside = candidates.tables.get(SET_ASIDE)
    return candidates.parent is not None and aside is not None and aside.scope == EVERYTHING


def no_older_month_moved(check: Check, candidates: Candidates) -> Outcome:
    """Find order totals that moved in a month before the months of all newly observed orders."""
    observations = candidates.workspace.rows_of_keys("bronze.orders", "id", observed_ids(candidates))
    (oldest,) = candidates.workspace.first_row(OLDEST_MONTH.format(observations=observations))
    moves = [
        move
        for move in candidates.moved()
        if move.table in ORDER_TABLES
        and move.month
        and (oldest is None or move.month < oldest)
        and changes_totals(move)
    ]
    if not moves:
        return Outcome(check, 0)
    nothing = Decimal()
    amounts = [abs((move.money_after or nothing) - (move.money_before or nothing)) for move in moves]
    example = f"table={moves[0].table}, month={moves[0].month}"
    return Outcome(check, len(moves), example, sum(amounts, nothing))


def newest_day_stays(check: Check, candidates: Candidates) -> Outcome:
    """Find orders of the last days that are missing although they were not observed again."""
    if not candidates.tables[ORDERS].differs:
        return Outcome(check, 0)
    query = LOST_ORDERS.format(
        removed=scratch(REMOVED, ORDERS), added=scratch(ADDED, ORDERS), observed=observed_ids(candidates)
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
    for name, candidate in candidates.tables.items():
        has_history = candidate.partition_column and serving.rows.get(name, 0) >= MIN_ROWS
        if not has_history or not candidate.differs:
            continue
        totals = [Decrease(name, "rows", Decimal(serving.rows[name]), Decimal(rows[name]))]
        if name in serving.money and name in money:
            totals.append(Decrease(name, "money", serving.money[name], money[name]))
        yield from (total for total in totals if total.exceeds(Decimal(str(share))))


def changes_totals(move: Move) -> bool:
    """Return True if the row count or the money differ, and not only names. Pure."""
    return (move.rows_before, move.money_before) != (move.rows_after, move.money_after)


def observed_ids(candidates: Candidates) -> str:
    """Return the relation of the orders that were observed since the release, by id."""
    candidates.workspace.create_keys("observed", candidates.changes.observed_ids("bronze.orders", "id"))
    return scratch(KEYS, "observed")
