"""Checks: contract and facts as queries whose rows are failures, run before a commit."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import groupby

import duckdb
import msgspec
import structlog

from lake.errors import CheckFailed, ModelError
from lake.ledgers.findings import Finding, new_finding
from lake.messages import counted
from lake.query.session import Connection, fetch
from lake.releases.currency import DEFAULT, sign
from transform.models import Check, Model

log = structlog.get_logger()
# Name of the check that the key identifies each row.
UNIQUE = "key_is_unique"


class Outcome(msgspec.Struct, frozen=True):
    """The result of a check: the number of failing rows, the first of them, and their amount, if any."""

    check: Check
    failures: int
    example: str = ""
    amount: Decimal | None = None

    @property
    def name(self) -> str:
        """The check's full name: ``silver.orders.key_is_unique``."""
        return f"{self.check.model}.{self.check.name}"


def checks_of(model: Model) -> list[Check]:
    """Return every check of a model: of its key, its contract, its header, and its check files. Pure.

    Raises ModelError if two checks have the same name, because their findings would be mixed up.
    """
    key = ", ".join(model.header.key)
    unique = Check(
        UNIQUE,
        model.name,
        f"({key}) names one row",
        "error",
        f"select {key}, count(*) as rows from {model.name} group by all having count(*) > 1",
        reads=frozenset({model.name}),
    )
    required = [
        row_check(
            f"{column.name}_is_there", model, f"{column.name} is never missing", f"{column.name} is not null"
        )
        for column in model.header.contract.columns
        if not column.nullable
    ]
    declared = [row_check(name, model, fact, fact) for name, fact in model.header.checks.items()]
    checks = [unique, *required, *declared, *model.checks]
    names = [check.name for check in checks]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ModelError(f"{model.name}: two checks are named {repeated[0]}; rename yours")
    return checks


def row_check(name: str, model: Model, fact: str, condition: str) -> Check:
    """Return the check that a condition is true for every row of a model."""
    key = ", ".join(model.header.key)
    failures = f"select {key} from {model.name} where ({condition}) is not true"
    money = model.header.money or ""
    reads = frozenset({model.name})
    return Check(name, model.name, fact, "error", failures, reads=reads, condition=condition, money=money)


def check_types(connection: Connection, model: Model, table: str | None = None) -> None:
    """Compare the columns of a built table with the model's contract. Raises ModelError.

    ``table`` is the table's name if it is not the model's.
    """
    described = connection.execute(f"describe {table or model.name}").fetchall()
    actual = {row[0]: row[1] for row in described}
    required = {column.name: column.type for column in model.header.contract.columns}
    remedy = f"correct transform/{model.name.replace('.', '/')}.sql"
    for name in [*required, *actual]:
        if normal_type(actual.get(name)) != normal_type(required.get(name)):
            raise ModelError(f"{model.name}: {difference(name, actual, required)}; {remedy}")
    if list(actual) != list(required):
        raise ModelError(
            f"{model.name}: the select returns the columns in the order {', '.join(actual)},"
            f" the header declares {', '.join(required)}; {remedy}"
        )


def difference(name: str, actual: Mapping[str, str], required: Mapping[str, str]) -> str:
    """Return how a column of the select differs from the header. Pure."""
    if name in actual and name in required:
        return f"the select returns {name} as {actual[name]}, the header declares {required[name]}"
    others = [other for other in actual if other not in required]
    if name not in actual:
        instead = f"; it returns {', '.join(others)}, which the header lacks" if others else ""
        return f"the select lacks {name}, which the header declares{instead}"
    return f"the header lacks {name}, which the select returns"


def normal_type(name: str | None) -> str | None:
    """Return the name of a type in its only spelling here."""
    return name and name.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ").replace(", ", ",")


def run_checks(connection: Connection, checks: Sequence[Check]) -> list[Outcome]:
    """Run checks on the current views and return their outcomes, in the same order.

    The row checks of a table are first run together, in one pass over it.
    """
    passed: set[tuple[str, str]] = set()
    row_checks = (check for check in checks if check.condition)
    for model, group in groupby(row_checks, key=lambda check: check.model):
        passed |= {(model, name) for name in passing_row_checks(connection, model, list(group))}
    return [
        Outcome(check, 0) if (check.model, check.name) in passed else run_check(connection, check)
        for check in checks
    ]


def passing_row_checks(connection: Connection, model: str, checks: Sequence[Check]) -> set[str]:
    """Return the names of a model's row checks that pass; none if the SQL of one of them can't be run."""
    counts = ", ".join(f"count(*) filter (({check.condition}) is not true)" for check in checks)
    try:
        (failures,) = connection.execute(f"select {counts} from {model}").fetchall()
    except duckdb.Error:
        return set()
    return {check.name for check, count in zip(checks, failures, strict=True) if count == 0}


def run_check(connection: Connection, check: Check) -> Outcome:
    """Run one check. Raises ModelError if its SQL can't be run."""
    try:
        ((failures,),) = connection.execute(f"select count(*) from (\n{check.sql}\n)").fetchall()
        if not failures:
            return Outcome(check, 0)
        # Through Arrow: DuckDB alone needs another library to return instants.
        (row,) = fetch(connection, f"from (\n{check.sql}\n) limit 1").to_pylist()
        amount = amount_of(connection, check, row)
    except (duckdb.OutOfMemoryException, duckdb.IOException):
        raise  # not a fault of the check
    except duckdb.Error as error:
        reason = " ".join(str(error).split())
        raise ModelError(f"{check.model}.{check.name}: the check can't be run: {reason}") from None
    return Outcome(check, failures, ", ".join(f"{name}={value}" for name, value in row.items()), amount)


def amount_of(connection: Connection, check: Check, row: Mapping[str, object]) -> Decimal | None:
    """Return the money of the failing rows, or None.

    It is the sum of the check's column ``amount``, or of the differences between its columns
    ``expected`` and ``found``, or of the model's money in the rows that break a condition.
    """
    if check.money:
        query = f"select sum({check.money}) from {check.model} where ({check.condition}) is not true"
    elif "amount" in row:
        query = f"select sum(amount) from (\n{check.sql}\n)"
    elif {"expected", "found"} <= row.keys():
        difference = "abs(coalesce(expected, 0) - coalesce(found, 0))"
        query = f"select sum({difference}) from (\n{check.sql}\n)"
    else:
        return None
    ((amount,),) = connection.execute(f"select ({query})::decimal(38,2)").fetchall()
    return None if amount is None else Decimal(amount)


def findings_of(outcomes: Iterable[Outcome], *, now: datetime) -> list[Finding]:
    """Return the outcomes as findings, including those of passed checks. Pure."""
    return [
        new_finding(
            outcome.name,
            outcome.check.fact,
            outcome.failures,
            severity=outcome.check.severity,
            example=outcome.example,
            amount=outcome.amount,
            now=now,
        )
        for outcome in outcomes
    ]


def refuse_failures(outcomes: Iterable[Outcome], currency: str = DEFAULT) -> None:
    """Raise CheckFailed if a check with severity "error" failed; log each failed check with "warn".

    ``currency`` is the code of the shop's currency.
    """
    failed = []
    for outcome in outcomes:
        if outcome.failures and outcome.check.severity == "error":
            failed.append(outcome)
        elif outcome.failures:
            log.warning("transform.check", check=outcome.name, rows=outcome.failures, example=outcome.example)
    if failed:
        first = failed[0]
        amount = f" of {first.amount:,.2f} {sign(currency)}" if first.amount is not None else ""
        more = f" ({counted(len(failed) - 1, 'more check')} failed)" if len(failed) > 1 else ""
        remedy = f"; {first.check.remedy}" if first.check.remedy else ""
        raise CheckFailed(
            f"{first.name}: {counted(first.failures, 'row')}{amount} break «{first.check.fact}»,"
            f" the first is {first.example}{more}; nothing was committed, the last release serves{remedy}"
        )
