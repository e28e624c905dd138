"""Guards: what a release may not do to the one that serves, whichever model is at fault.

They look at what moved, not at what was computed, and take their reasons from bronze. Where
other rules, models or runs are the reason, they are silent: everything may move then.
"""

from collections.abc import Iterator
from decimal import Decimal

from lake.release import Move, Release
from transform.candidates import Candidates
from transform.checks import Outcome
from transform.models import Check
from transform.settings import TransformSettings
from transform.workspace import COME, GONE, KEYS, in_

ORDERS = "silver.orders"
# Their money is that of orders, and of nothing that a name or another order says.
OF_ORDERS = (ORDERS, "gold.revenue_daily")
# Totals of so few rows may fall as they like: a shop of three orders that loses one is no alarm.
MANY = 100
OLDEST = """
select min(date_trunc('month', (ordered_at at time zone 'Europe/Kyiv')::date))::date
from bronze.orders
where id in (select key from {observed})
"""
LOST = """
select id, order_date
from {gone}
where
    order_date > coalesce((select max(order_date) from silver.orders), date '1970-01-01')
    and id not in (select key from {observed})
    and id not in (select id from {come})
order by order_date desc, id
"""


def guard(candidates: Candidates, settings: TransformSettings, *, because: str | None) -> list[Outcome]:
    """Return what the guards say of the candidates beside the release that serves.

    ``because`` is somebody's reason for a total that falls: it is recorded then, and blocks nothing.
    """
    serving = candidates.serving
    if serving is None or ORDERS not in candidates.built:
        return []
    return [
        no_older_month_moved(candidates),
        newest_day_stays(candidates),
        totals_hold(candidates, serving, settings.largest_fall, because=because),
    ]


def no_older_month_moved(candidates: Candidates) -> Outcome:
    """Look for orders, or their money, that moved in a month before those of every order seen anew."""
    check = check_of(
        "no_older_month_moved", "no month moves that is older than every order seen since", "error"
    )
    oldest = candidates.space.one(OLDEST.format(observed=observed(candidates)))[0]
    found = [
        move
        for move in candidates.moved()
        if move.table in OF_ORDERS
        and move.month
        and (oldest is None or move.month < oldest)
        and is_other(move)
    ]
    if not found:
        return Outcome(check, 0)
    nothing = Decimal()
    amounts = [abs((one.money_after or nothing) - (one.money_before or nothing)) for one in found]
    return Outcome(
        check, len(found), f"table={found[0].table}, month={found[0].month}", sum(amounts, nothing)
    )


def newest_day_stays(candidates: Candidates) -> Outcome:
    """Look for orders of the last days that are gone although the CRM said nothing new of them."""
    check = check_of(
        "newest_day_stays", "the newest day goes back only with orders that were seen anew", "error"
    )
    query = LOST.format(gone=in_(GONE, ORDERS), come=in_(COME, ORDERS), observed=observed(candidates))
    differs = candidates.built[ORDERS].differs
    rows = candidates.space.arrow(query).to_pylist() if differs else []
    if not rows:
        return Outcome(check, 0)
    return Outcome(check, len(rows), f"id={rows[0]['id']}, order_date={rows[0]['order_date']}")


def totals_hold(
    candidates: Candidates, serving: Release, largest_fall: float, *, because: str | None
) -> Outcome:
    """Look for tables of history whose rows or money fall by more than a share of all they had."""
    check = check_of(
        "totals_hold",
        f"no total falls by more than {largest_fall:.0%}",
        "warn" if because else "error",
        mend='if it is right, `just transform --because "…"` publishes it',
    )
    found = list(falls(candidates, serving, largest_fall))
    if not found:
        return Outcome(check, 0)
    table, what, before, after = max(found, key=lambda fall: (fall[2] - fall[3]) / fall[2])
    said = f", because {because}" if because else ""
    return Outcome(check, len(found), f"{table}: {what} {before:,} -> {after:,}{said}", money_lost(found))


def falls(
    candidates: Candidates, serving: Release, largest_fall: float
) -> Iterator[tuple[str, str, Decimal, Decimal]]:
    """Yield table, what of it, before and after of each total that falls too far."""
    rows, money = candidates.rows(), candidates.money()
    for name, candidate in candidates.built.items():
        if not candidate.month or not candidate.differs or serving.rows.get(name, 0) < MANY:
            continue
        totals = {"rows": (Decimal(serving.rows[name]), Decimal(rows[name]))}
        if name in serving.money and name in money:
            totals["money"] = (serving.money[name], money[name])
        for what, (before, after) in totals.items():
            if before - after > before * Decimal(str(largest_fall)):
                yield name, what, before, after


def money_lost(found: list[tuple[str, str, Decimal, Decimal]]) -> Decimal | None:
    """Return the greatest fall of money; of several tables it is mostly the same money. Pure."""
    return max((before - after for _, what, before, after in found if what == "money"), default=None)


def is_other(move: Move) -> bool:
    """True where not only names differ. Pure."""
    return (move.rows_before, move.money_before) != (move.rows_after, move.money_after)


def check_of(name: str, fact: str, severity: str = "error", *, mend: str = "") -> Check:
    """Return a guard as the check that it is."""
    return Check(name, "release", fact, severity, sql="", mend=mend)


def observed(candidates: Candidates) -> str:
    """Return the relation of the ids of the orders that the CRM showed since the release."""
    candidates.space.put_keys("observed", candidates.observed("bronze.orders", "id"))
    return in_(KEYS, "observed")
