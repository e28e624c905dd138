"""Contract and checks as queries whose rows are failures, run before anything is committed."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import groupby

import duckdb
import msgspec
import structlog

from lake.errors import CheckFailed, ModelError
from lake.ledgers.findings import Finding
from lake.messages import counted
from lake.query.session import Connection, fetch
from transform.models import Check, Model

log = structlog.get_logger()
# That the key names each row.
UNIQUE = "key_is_unique"


class Outcome(msgspec.Struct, frozen=True):
    """What a check found: how many rows broke the fact, their amount where it has one, the first of them."""

    check: Check
    failures: int
    example: str = ""
    amount: Decimal | None = None

    @property
    def name(self) -> str:
        """The check's full name: ``silver.orders.key_is_unique``."""
        return f"{self.check.model}.{self.check.name}"


def checks_of(model: Model) -> list[Check]:
    """Return every check of a model: of its key, of its contract, of its header, beside it. Pure.

    Raises ModelError where two of them have one name: one would be taken for the other.
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
    stated = [row_check(name, model, fact, fact) for name, fact in model.header.checks.items()]
    every = [unique, *required, *stated, *model.checks]
    names = [check.name for check in every]
    if twins := [name for name in names if names.count(name) > 1]:
        raise ModelError(f"{model.name}: two checks are named {twins[0]}; rename yours")
    return every


def row_check(name: str, model: Model, fact: str, holds: str) -> Check:
    """Return the check that something holds for every row of a model."""
    key = ", ".join(model.header.key)
    failures = f"select {key} from {model.name} where ({holds}) is not true"
    money = model.header.money or ""
    reads = frozenset({model.name})
    return Check(name, model.name, fact, "error", failures, reads=reads, holds=holds, money=money)


def check_types(connection: Connection, model: Model, place: str | None = None) -> None:
    """Compare what the SQL gives, in a table at a place, with what the header promises. Raises ModelError."""
    described = connection.execute(f"describe {place or model.name}").fetchall()
    found = {row[0]: row[1] for row in described}
    promised = {column.name: column.type for column in model.header.contract.columns}
    mend = f"mend {model.name.replace('.', '/')}.sql"
    for name in [*promised, *found]:
        if alike(found.get(name)) != alike(promised.get(name)):
            raise ModelError(
                f"{model.name}: {name} is {found.get(name, 'missing')}, the contract says"
                f" {promised.get(name, 'no such column')}; {mend}"
            )
    if list(found) != list(promised):
        raise ModelError(
            f"{model.name}: the columns come as {', '.join(found)}, the contract says"
            f" {', '.join(promised)}; {mend}"
        )


def alike(kind: str | None) -> str | None:
    """Return a type in one spelling."""
    return kind and kind.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ").replace(", ", ",")


def run_checks(connection: Connection, checks: Sequence[Check]) -> list[Outcome]:
    """Run checks on what the connection shows and return what each found, in their order.

    What has to hold for every row of a table is looked at in one pass over it.
    """
    held: set[tuple[str, str]] = set()
    for model, some in groupby((check for check in checks if check.holds), key=lambda check: check.model):
        held |= {(model, name) for name in holding(connection, model, list(some))}
    return [
        Outcome(check, 0) if (check.model, check.name) in held else run_check(connection, check)
        for check in checks
    ]


def holding(connection: Connection, model: str, checks: Sequence[Check]) -> set[str]:
    """Return which of the row checks of one model hold; one whose SQL can't be run is left to itself."""
    counts = ", ".join(f"count(*) filter (({check.holds}) is not true)" for check in checks)
    try:
        (failures,) = connection.execute(f"select {counts} from {model}").fetchall()
    except duckdb.Error:
        return set()
    return {check.name for check, count in zip(checks, failures, strict=True) if count == 0}


def run_check(connection: Connection, check: Check) -> Outcome:
    """Run one check. Raises ModelError where its SQL can't be run."""
    try:
        ((failures,),) = connection.execute(f"select count(*) from (\n{check.sql}\n)").fetchall()
        if not failures:
            return Outcome(check, 0)
        # By way of Arrow: DuckDB alone gives no instants without a library more.
        (row,) = fetch(connection, f"from (\n{check.sql}\n) limit 1").to_pylist()
        amount = amount_of(connection, check, row)
    except (duckdb.OutOfMemoryException, duckdb.IOException):
        raise  # no fault of the check's
    except duckdb.Error as error:
        said = " ".join(str(error).split())
        raise ModelError(f"{check.model}.{check.name}: the check can't be run: {said}") from None
    return Outcome(check, failures, ", ".join(f"{name}={value}" for name, value in row.items()), amount)


def amount_of(connection: Connection, check: Check, row: Mapping[str, object]) -> Decimal | None:
    """Return how much money is in question: of the rows, or between what was expected and what was found."""
    if check.money:
        query = f"select sum({check.money}) from {check.model} where ({check.holds}) is not true"
    elif {"expected", "found"} <= row.keys():
        apart = "abs(coalesce(expected, 0) - coalesce(found, 0))"
        query = f"select sum({apart}) from (\n{check.sql}\n)"
    else:
        return None
    ((amount,),) = connection.execute(f"select ({query})::decimal(38,2)").fetchall()
    return None if amount is None else Decimal(amount)


def findings_of(outcomes: Iterable[Outcome], *, now: datetime) -> list[Finding]:
    """Return what the checks found, or found no more, as findings. Pure."""
    return [
        Finding(
            fingerprint=outcome.name,
            state="new",
            severity=outcome.check.severity,
            fact=outcome.check.fact,
            rows=outcome.failures,
            amount=outcome.amount,
            example=outcome.example,
            first_seen_at=now,
            seen_at=now,
        )
        for outcome in outcomes
    ]


def refuse(outcomes: Iterable[Outcome]) -> None:
    """Raise CheckFailed if a check of severity error found something; log what only warns."""
    failed = []
    for outcome in outcomes:
        if outcome.failures and outcome.check.severity == "error":
            failed.append(outcome)
        elif outcome.failures:
            log.warning("transform.check", check=outcome.name, rows=outcome.failures, example=outcome.example)
    if failed:
        first = failed[0]
        amount = f" of {first.amount:,.2f} ₴" if first.amount is not None else ""
        more = f" ({counted(len(failed) - 1, 'more check')} failed)" if len(failed) > 1 else ""
        mend = f"; {first.check.mend}" if first.check.mend else ""
        raise CheckFailed(
            f"{first.name}: {counted(first.failures, 'row')}{amount} break «{first.check.fact}»,"
            f" the first is {first.example}{more}; nothing was committed, the last release serves{mend}"
        )
