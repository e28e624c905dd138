"""Models: one SQL file, one table, the file named as the table. Checks lie beside them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from lake.errors import ModelError
from transform.graph import columns_read, in_order, tables_read, times_read
from transform.header import Header, read_check_header, read_header

HERE = Path(__file__).parent
BUILT = ("silver", "gold")


class Check(msgspec.Struct, frozen=True):
    """A query whose rows are failures; ``severity`` error blocks the release, warn is reported.

    ``reads`` are the tables it looks at; ``holds`` is the condition, where it is one on each row,
    and ``money`` the column whose sum over such rows is in question. ``everywhere``: it holds of
    all history or not at all, and part of it tells nothing. ``mend`` says what to do about it.
    """

    name: str
    model: str
    fact: str
    severity: str
    sql: str
    reads: frozenset[str] = frozenset()
    holds: str = ""
    money: str = ""
    everywhere: bool = False
    mend: str = ""


class Model(msgspec.Struct, frozen=True):
    """One table of silver or gold: how it is built and what holds for it."""

    name: str
    header: Header
    sql: str
    reads: frozenset[str]
    checks: tuple[Check, ...] = ()

    def times_read(self, table: str) -> int:
        """Return how often the SQL names a table."""
        return times_read(self.sql, table)

    def columns_read(self, table: str) -> frozenset[str] | None:
        """Return the columns of a table that the SQL uses; None where that can't be told, so all."""
        return columns_read(self.sql, table)


def read_models(folder: Path = HERE) -> list[Model]:
    """Return every model, those that are read before those that read them. Raises ModelError."""
    models = [
        read_model(file, f"{layer}.{file.stem}")
        for layer in BUILT
        for file in sorted((folder / layer).glob("*.sql"))
        if not file.name.endswith(".check.sql")
    ]
    refuse_strangers(models, folder)
    return in_order(models, name=lambda model: model.name, reads=lambda model: model.reads)


def refuse_strangers(models: Iterable[Model], folder: Path) -> None:
    """Raise ModelError for a table read that no model builds, and for a check beside no model."""
    reads = {model.name: model.reads for model in models}
    for name, tables in reads.items():
        for table in sorted(tables - reads.keys()):
            if table.split(".")[0] in BUILT:
                raise ModelError(f"{name}: it reads {table}, which no model builds; is the name right?")
    for layer in BUILT:
        for file in sorted((folder / layer).glob("*.check.sql")):
            if file.name.count(".") != 3 or f"{layer}.{file.name.split('.')[0]}" not in reads:
                raise ModelError(f"{layer}/{file.name}: no such model; a check is <model>.<name>.check.sql")


def read_model(file: Path, name: str) -> Model:
    """Return the model that a file holds, with the checks beside it."""
    header, sql = read_header(file.read_text("utf-8"), name)
    beside = sorted(file.parent.glob(f"{file.stem}.*.check.sql"))
    return Model(
        name, header, sql, tables_read(sql, name), tuple(read_check(check, name) for check in beside)
    )


def read_check(file: Path, model: str) -> Check:
    """Return the check that a file ``<model>.<name>.check.sql`` holds."""
    name = file.name.split(".")[1]
    header, sql = read_check_header(file.read_text("utf-8"), f"{model}.{name}")
    reads = tables_read(sql, f"{model}.{name}")
    return Check(
        name, model, header.fact, header.severity, sql, reads, everywhere=header.looks == "everywhere"
    )


def hash_of(models: Iterable[Model]) -> str:
    """Return one name for all the models' text, their checks' too: another text, another hash."""
    digest = hashlib.blake2b(digest_size=8)
    for model in models:
        digest.update(msgspec.json.encode([model.name, model.sql, model.header]))
        digest.update(
            msgspec.json.encode([[check.name, check.severity, check.sql] for check in model.checks])
        )
    return digest.hexdigest()
