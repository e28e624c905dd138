"""Guards: what a release may not do to the one that serves, whichever model is at fault.

They look at what moved, not at what was computed, and take their reasons from bronze. Other
rules, other models and a full build may move any month, and take nothing away without a word.
Where other runs are left out they are silent: everything may move then.
"""

from collections.abc import Iterable, Iterator
from decimal import Decimal

import msgspec

from lake.query.session import fetch
from lake.releases.release import Move, Release
from transform.checks import Outcome
from transform.models import Check
from transform.next_release import Candidates
from transform.settings import TransformSettings
from transform.workspace import COME, GONE, KEYS, in_

ORDERS = "silver.orders"
# Their money is that of orders, and of nothing that a name or another order says.
OF_ORDERS = (ORDERS, "gold.revenue_daily")
# Totals of so few rows may fall as they like: a shop of three orders that loses one is no alarm.
MANY = 100
OLDEST = """
select min(date_trunc('month', (ordered_at at time zone 'Europe/Kyiv')::date))::date from ({looks})
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


class Fall(msgspec.Struct, frozen=True):
    """What of a table may have fallen: its rows or its money, before and after."""

    table: str
    what: str
    before: Decimal
    after: Decimal

    def exceeds(self, share: Decimal) -> bool:
        """True where more than the share is lost; of nothing, or less than nothing, none can be."""
        return self.before > 0 and self.before - self.after > self.before * share


def guards(settings: TransformSettings) -> tuple[Check, Check, Check]:
    """Return the guards as the checks that they are."""
    fall = f"no total falls by more than {settings.largest_fall:.0%}"
    reason = 'if it is right, `just transform --because "…"` publishes it with that reason'
    return (
        guard("no_older_month_moved", "no month moves that is older than every order seen since"),
        guard("newest_day_stays", "the newest day goes back only with orders that were seen anew"),
        guard("totals_hold", fall, mend=reason),
    )


def guard(name: str, fact: str, mend: str = "") -> Check:
    """Return a guard as the check that it is."""
    return Check(name, "release", fact, "error", sql="", mend=mend)


def run_guards(candidates: Candidates, settings: TransformSettings, *, because: str | None) -> list[Outcome]:
    """Return what the guards say of the candidates beside the release that serves.

    ``because`` is somebody's reason for a total that falls: it is recorded then, and blocks nothing.
    """
    serving = candidates.serving
    if serving is None or ORDERS not in candidates.built:
        return []
    older, newest, totals = guards(settings)
    found = [totals_hold(totals, falls(candidates, serving, settings.largest_fall), because=because)]
    if candidates.parent is None:  # a full build is how a fault of the months before is mended
        return [Outcome(older, 0), Outcome(newest, 0), *found]
    return [no_older_month_moved(older, candidates), newest_day_stays(newest, candidates), *found]


def no_older_month_moved(check: Check, candidates: Candidates) -> Outcome:
    """Look for orders, or their money, that moved in a month before those of every order seen anew."""
    looks = candidates.space.of_keys("bronze.orders", "id", observed(candidates))
    (oldest,) = candidates.space.one(OLDEST.format(looks=looks))
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
    example = f"table={found[0].table}, month={found[0].month}"
    return Outcome(check, len(found), example, sum(amounts, nothing))


def newest_day_stays(check: Check, candidates: Candidates) -> Outcome:
    """Look for orders of the last days that are gone although the CRM said nothing new of them."""
    if not candidates.built[ORDERS].differs:
        return Outcome(check, 0)
    query = LOST.format(gone=in_(GONE, ORDERS), come=in_(COME, ORDERS), observed=observed(candidates))
    candidates.space.show_whole([ORDERS])
    rows = fetch(candidates.space.duckdb, query).to_pylist()
    if not rows:
        return Outcome(check, 0)
    return Outcome(check, len(rows), f"id={rows[0]['id']}, order_date={rows[0]['order_date']}")


def totals_hold(check: Check, found: Iterable[Fall], *, because: str | None) -> Outcome:
    """Say which total falls furthest; with a reason that is no error."""
    check = msgspec.structs.replace(check, severity="warn") if because else check
    if not (falling := sorted(found, key=lambda fall: fall.after / fall.before)):
        return Outcome(check, 0)
    first = falling[0]
    said = f", because {because}" if because else ""
    # Of several tables it is mostly the same money.
    amount = max((fall.before - fall.after for fall in falling if fall.what == "money"), default=None)
    example = f"{first.table}: {first.what} {first.before:,} -> {first.after:,}{said}"
    return Outcome(check, len(falling), example, amount)


def falls(candidates: Candidates, serving: Release, largest_fall: float) -> Iterator[Fall]:
    """Yield what falls by more than a share, of the tables of history that have many rows."""
    rows, money = candidates.rows(), candidates.money()
    for name, candidate in candidates.built.items():
        if not candidate.part or not candidate.differs or serving.rows.get(name, 0) < MANY:
            continue
        found = [Fall(name, "rows", Decimal(serving.rows[name]), Decimal(rows[name]))]
        if name in serving.money and name in money:
            found.append(Fall(name, "money", serving.money[name], money[name]))
        yield from (fall for fall in found if fall.exceeds(Decimal(str(largest_fall))))


def is_other(move: Move) -> bool:
    """True where not only names differ. Pure."""
    return (move.rows_before, move.money_before) != (move.rows_after, move.money_after)


def observed(candidates: Candidates) -> str:
    """Return the relation of the ids of the orders that the CRM showed since the release."""
    candidates.space.put_keys("observed", candidates.changes.observed("bronze.orders", "id"))
    return in_(KEYS, "observed")
