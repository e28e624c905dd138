"""Contract and checks as queries whose rows are failures, run before anything is committed."""

from collections.abc import Iterable

import duckdb
import msgspec
import structlog

from lake.errors import CheckFailed, ModelError
from lake.session import Connection, fetch
from transform.models import Check, Model

log = structlog.get_logger()


class Outcome(msgspec.Struct, frozen=True):
    """What a check found: how many rows broke the fact, and the first of them."""

    check: Check
    failures: int
    example: str = ""

    @property
    def name(self) -> str:
        """The check's full name: ``silver.orders.key_is_unique``."""
        return f"{self.check.model}.{self.check.name}"


def checks_of(model: Model) -> list[Check]:
    """Return every check of a model: of its key, of its contract, of its header, beside it. Pure."""
    key = ", ".join(model.header.key)
    unique = Check(
        "key_is_unique",
        model.name,
        f"({key}) names one row",
        "error",
        f"select {key}, count(*) as rows from {model.name} group by all having count(*) > 1",
    )
    required = [
        Check(
            f"{column.name}_is_there",
            model.name,
            f"{column.name} is never missing",
            "error",
            f"select {key} from {model.name} where {column.name} is null",
        )
        for column in model.header.contract.columns
        if not column.nullable
    ]
    stated = [
        Check(name, model.name, fact, "error", f"select {key} from {model.name} where ({fact}) is not true")
        for name, fact in model.header.checks.items()
    ]
    return [unique, *required, *stated, *model.checks]


def check_types(connection: Connection, model: Model) -> None:
    """Compare what the SQL gives with what the header promises. Raises ModelError."""
    found = {row[0]: row[1] for row in connection.execute(f"describe {model.name}").fetchall()}
    promised = {column.name: column.type for column in model.header.contract.columns}
    place = f"mend {model.name.replace('.', '/')}.sql"
    for name in [*promised, *found]:
        if alike(found.get(name)) != alike(promised.get(name)):
            raise ModelError(
                f"{model.name}: {name} is {found.get(name, 'missing')}, the contract says"
                f" {promised.get(name, 'no such column')}; {place}"
            )
    if list(found) != list(promised):
        raise ModelError(
            f"{model.name}: the columns come as {', '.join(found)}, the contract says"
            f" {', '.join(promised)}; {place}"
        )


def alike(kind: str | None) -> str | None:
    """Return a type in one spelling."""
    return kind and kind.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ").replace(", ", ",")


def run_checks(connection: Connection, models: Iterable[Model]) -> list[Outcome]:
    """Run every check of the models on the candidates and return what each found."""
    return [run_check(connection, check) for model in models for check in checks_of(model)]


def run_check(connection: Connection, check: Check) -> Outcome:
    """Run one check. Raises ModelError where its SQL can't be run."""
    query = f"select *, count(*) over () as failures from (\n{check.sql}\n) limit 1"
    try:
        # By way of Arrow: DuckDB alone gives no instants without a library more.
        rows = fetch(connection, query).to_pylist()
    except duckdb.Error as error:
        said = " ".join(str(error).split())
        raise ModelError(f"{check.model}.{check.name}: the check can't be run: {said}") from None
    if not rows:
        return Outcome(check, 0)
    *example, (_, failures) = rows[0].items()
    return Outcome(check, failures, ", ".join(f"{name}={value}" for name, value in example))


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
        more = f" ({len(failed) - 1} more checks failed)" if len(failed) > 1 else ""
        raise CheckFailed(
            f"{first.name}: {first.failures} rows break «{first.check.fact}»,"
            f" the first is {first.example}{more}; nothing was committed, the last release serves"
        )
