"""Uncounted: the orders and expenses that are in no number of a release, with their amounts."""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from lake.messages import counted
from lake.paths import Lake
from lake.releases.currency import read_currency, sign
from lake.releases.release import Release
from lake.releases.released_table import open_released

UNCOUNTED = "gold.uncounted_records"


# A function that formats an amount in a currency.
Format = Callable[[Decimal, str], str]


def plain_money(amount: Decimal, currency: str) -> str:
    """Return an amount with the sign of its currency: ``₴ 1,234.50``."""
    return f"{sign(currency)} {amount:,.2f}"


class UncountedLine(msgspec.Struct, frozen=True):
    """The records of one kind ("order" or "expense") that break one rule, in one currency.

    ``amount`` leaves out the ``unread_count`` records whose amount can't be read.
    """

    kind: str
    rule: str
    currency: str
    records_count: int
    amount: Decimal
    unread_count: int = 0


class Uncounted(msgspec.Struct, frozen=True):
    """What is in no number: ``amount`` is the sum of the orders in the shop's ``currency``.

    Orders in another currency count in ``orders_count``; their amounts are in ``rows``.
    """

    orders_count: int
    expenses_count: int
    amount: Decimal
    currency: str
    rows: list[UncountedLine]

    def line(self, money: Format = plain_money) -> str:
        """Return one line: "3 orders, ₴ 1,234.50 + $ 10.00 are not in these numbers"; empty for none."""
        named = " and ".join(filter(None, [self._part("order", money), self._part("expense", money)]))
        verb = "is" if self.orders_count + self.expenses_count == 1 else "are"
        return f"{named} {verb} not in these numbers" if named else ""

    def _part(self, kind: str, money: Format) -> str:
        sums: dict[str, Decimal] = {}
        rows = [row for row in self.rows if row.kind == kind]
        for row in rows:
            sums[row.currency] = sums.get(row.currency, Decimal("0.00")) + row.amount
        ours_first = sorted(sums, key=lambda code: (code != self.currency, code))
        amounts = " + ".join(money(sums[code], code) for code in ours_first)
        unread = sum(row.unread_count for row in rows)
        but = f" ({unread} unreadable)" if unread else ""
        return f"{counted(sum(row.records_count for row in rows), kind)}, {amounts}{but}" if rows else ""


def uncounted(rows: Iterable[Mapping[str, Any]], currency: str) -> Uncounted:
    """Return the rows of the table with their sums. Pure."""
    lines = sorted(
        (UncountedLine(**row) for row in rows), key=lambda line: (line.kind, line.rule, line.currency)
    )
    orders = [line for line in lines if line.kind == "order"]
    ours = [line.amount for line in orders if line.currency == currency]
    return Uncounted(
        orders_count=sum(line.records_count for line in orders),
        expenses_count=sum(line.records_count for line in lines) - sum(line.records_count for line in orders),
        amount=sum(ours, Decimal("0.00")),
        currency=currency,
        rows=lines,
    )


def read_uncounted(lake: Lake, release: Release) -> Uncounted | None:
    """Return what is in no number of a release; None if the release does not record it."""
    if UNCOUNTED not in release.tables:
        return None
    table = open_released(lake, release, UNCOUNTED)
    return uncounted(table.read().to_pylist(), read_currency(lake, release))
