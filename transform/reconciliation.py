"""Reconciliation: the candidates of a resync against the CRM, before any of them is committed.

The completeness evidence of the resync is compared with the candidate ``silver.orders``: the
same ids, the same count and money on every shop day, and each order in the state that the CRM
returned. If bronze has a newer observation of an order, because a sync ran concurrently, this
observation is compared. A rejected order is left out and counted: its last accepted state
serves, as in every build.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from lake.errors import CheckFailed, UsageError
from lake.ledgers.completeness import has_evidence, open_evidence
from lake.ledgers.runs import Run, newest_run
from lake.paths import Lake
from lake.query.session import Connection, fetch, scan
from lake.query.sql_file import read_sql
from lake.releases.currency import DEFAULT, sign
from transform.build import Proposal

# Orders that a message lists.
LISTED_ORDERS = 5


class DayDifference(msgspec.Struct, frozen=True):
    """The first shop day on which the CRM and the build differ, and the number of such days."""

    day: date | None
    orders_in_crm: int
    money_in_crm: Decimal
    orders_built: int
    money_built: Decimal
    days: int


class Comparison(msgspec.Struct, frozen=True):
    """The orders of the CRM in a resync, and the orders that were built from them.

    ``newer`` orders were compared by a later observation of another run; ``rejected`` orders
    were not compared. ``first_orders`` are the first orders that differ: id and difference. ``damaged``
    are those of them whose content is the CRM's.
    """

    orders_in_crm: int
    money_in_crm: Decimal
    days: int
    orders_built: int
    money_built: Decimal
    newer: int
    rejected: int
    first_day: DayDifference | None
    differing_orders: int
    first_orders: tuple[tuple[int, str], ...]
    currency: str = DEFAULT
    damaged: tuple[int, ...] = ()

    @property
    def agrees(self) -> bool:
        """True if nothing differs."""
        return not self.differing_orders and self.first_day is None

    @property
    def line(self) -> str:
        """The compared totals, in one line."""
        newer = f"; {self.newer:,} changed since, compared by their newer observation" if self.newer else ""
        rejected = f"; {self.rejected:,} rejected and left out, see bronze.rejected" if self.rejected else ""
        return (
            f"compared with the CRM: {self.orders_in_crm:,} orders of {self.days:,} days,"
            f" {self.money_in_crm:,.2f} {sign(self.currency)}{newer}{rejected}"
        )

    @property
    def fault(self) -> str:
        """The difference in one line: amounts, the first day, the first orders."""
        day, mark = self.first_day, sign(self.currency)
        days = (
            f"; days that differ: {day.days}, the first {day.day} ({day.orders_in_crm} orders,"
            f" {day.money_in_crm:,.2f} {mark} in the CRM,"
            f" {day.orders_built}, {day.money_built:,.2f} {mark} built)"
            if day
            else ""
        )
        orders = ", ".join(f"{id} {difference}" for id, difference in self.first_orders)
        return (
            f"the CRM has {self.orders_in_crm:,} orders, {self.money_in_crm:,.2f} {mark}; the build has"
            f" {self.orders_built:,}, {self.money_built:,.2f} {mark}{days};"
            f" orders that differ: {self.differing_orders}, {orders}"
            + (", …" if self.differing_orders > len(self.first_orders) else "")
            + (f"; {self.remedy}" if self.damaged else "")
        )

    @property
    def remedy(self) -> str:
        """The command that replaces damaged rows."""
        ids = " ".join(map(str, self.damaged))
        return f"`just ingest order {ids} --again` replaces rows whose columns do not follow from the payload"


def compare(connection: Connection, lake: Lake, run: Run) -> Comparison:
    """Compare the candidates with the run's completeness evidence.

    Raises UsageError if the evidence is no longer retained.
    """
    since, until = created_span(run)
    evidence = open_evidence(lake)
    is_empty = not any(window.seen for window in run.windows if window.entity == "orders")
    if evidence is None or not (is_empty or has_evidence(evidence, run.run_id)):
        raise UsageError(
            f"run {run.run_id}: its completeness evidence is no longer retained; run `just resync`"
        )
    facts = {"run_id": run.run_id, "began_at": run.started_at, "since": since, "until": until}
    connection.execute("create schema reconciliation")
    connection.execute(f"create view reconciliation.evidence as {scan(connection, evidence)}")
    connection.execute(read_sql("transform", "reconciliation_observations"), facts)
    connection.execute(read_sql("transform", "reconciliation_sides"))
    (totals,) = fetch(connection, read_sql("transform", "reconciliation_totals")).to_pylist()
    days = connection.execute(read_sql("transform", "reconciliation_days")).fetchall()
    orders = connection.execute(
        read_sql("transform", "reconciliation_orders"), {"limit": LISTED_ORDERS}
    ).fetchall()
    ((currency,),) = connection.execute("select currency from rules.currency").fetchall()
    return Comparison(
        **totals,
        first_day=DayDifference(*days[0]) if days else None,
        differing_orders=orders[0][2] if orders else 0,
        currency=currency,
        first_orders=tuple((id, difference) for id, difference, *_ in orders),
        damaged=tuple(id for id, *_, is_damaged in orders if is_damaged),
    )


def refuse_difference(comparison: Comparison, proposal: Proposal) -> None:
    """Raise CheckFailed if the build differs from the CRM."""
    if comparison.agrees:
        return
    runs = ", ".join(proposal.excluded_runs)
    without = f"; runs left out: {runs} (`just resume --include-run`)" if runs else ""
    raise CheckFailed(f"{comparison.fault}{without}; nothing was committed, the last release serves")


def resync_run(lake: Lake, run_id: str) -> Run:
    """Return the receipt of a complete resync. Raises UsageError."""
    run = newest_run(lake, lambda each: each.run_id == run_id)
    if run is None or run.kind != "resync" or run.verdict != "complete":
        problem = f"it is {run.kind}, {run.verdict}" if run else "there is no such run"
        raise UsageError(f"run {run_id}: {problem}; name a complete resync, see `just resync`")
    return run


def created_span(run: Run) -> tuple[datetime, datetime]:
    """Return the first and last creation time of the orders that the run covers. Pure."""
    spans = [
        (window.since, window.until)
        for window in run.windows
        if window.entity == "orders" and window.by == "created" and window.since and window.until
    ]
    if not spans:  # a shop without orders
        return run.started_at, run.started_at
    return min(since for since, _ in spans), max(until for _, until in spans)


def reconciled_through(run: Run, comparison: Comparison) -> datetime | None:
    """Return the source's time when the run began, or None if not all of history was compared. Pure."""
    if run.watermark is None or run.source_time is None or comparison.rejected:
        return None
    return run.source_time - (run.finished_at - run.started_at)


def differences(proposal: Proposal) -> list[list[Any]]:
    """Return the moves as rows: table, month, rows and money before and after, and moved money. Pure."""
    return [
        [
            move.table,
            f"{move.month:%Y-%m}" if move.month else None,
            move.rows_before,
            move.rows_after,
            move.money_before,
            move.money_after,
            None if move.money_after is None else move.money_after - (move.money_before or Decimal()),
        ]
        for move in proposal.moved
    ]
