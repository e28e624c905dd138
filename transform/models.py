"""Models: one SQL file, one table, the file named as the table. Checks lie beside them."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from lake.errors import ModelError
from transform.header import Header, read_check_header, read_header
from transform.lineage import in_order, tables_read
from transform.lookup import Lookup, find_lookup

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

    def lookup(self, dimension: "Model") -> Lookup | None:
        """Return how rows of another model are looked up; None where the SQL does not tell."""
        return find_lookup(self.sql, dimension.name, dimension.header.key[0])


def read_models(folder: Path = HERE) -> list[Model]:
    """Return every model, those that are read before those that read them. Raises ModelError."""
    models = [
        read_model(file, f"{layer}.{file.stem}")
        for layer in BUILT
        for file in sql_files(folder / layer)
        if not file.name.endswith(".check.sql")
    ]
    refuse_strangers(models, folder)
    return in_order(models, name=lambda model: model.name, reads=lambda model: model.reads)


def sql_files(folder: Path) -> list[Path]:
    """Return a layer's files of SQL; what an editor keeps beside them begins with a point."""
    return [file for file in sorted(folder.glob("*.sql")) if file.is_file() and file.name[0] != "."]


def text_of(file: Path, name: str) -> str:
    """Return what a file says. Raises ModelError."""
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ModelError(f"{name}: {file.name} is not UTF-8; save it as that") from None


def refuse_strangers(models: Iterable[Model], folder: Path) -> None:
    """Raise ModelError for a table read that no model builds, and for a check beside no model."""
    reads = {model.name: model.reads for model in models}
    for name, tables in reads.items():
        for table in sorted(tables - reads.keys()):
            if table.split(".")[0] in BUILT:
                raise ModelError(f"{name}: it reads {table}, which no model builds; is the name right?")
            if table.startswith("ops."):
                raise ModelError(
                    f"{name}: it reads {table}; models read bronze, rules, silver and gold alone"
                )
    for layer in BUILT:
        for file in sql_files(folder / layer):
            if not file.name.endswith(".check.sql"):
                continue
            if file.name.count(".") != 3 or f"{layer}.{file.name.split('.')[0]}" not in reads:
                raise ModelError(f"{layer}/{file.name}: no such model; a check is <model>.<name>.check.sql")


def read_model(file: Path, name: str) -> Model:
    """Return the model that a file holds, with the checks beside it. Raises ModelError."""
    if not file.stem.isidentifier() or file.stem != file.stem.lower():
        raise ModelError(f"{name}: a table's name is of small letters, digits and _: rename {file.name}")
    header, sql = read_header(text_of(file, name), name)
    beside = [one for one in sql_files(file.parent) if one.match(f"{file.stem}.*.check.sql")]
    return Model(
        name, header, sql, tables_read(sql, name), tuple(read_check(check, name) for check in beside)
    )


def read_check(file: Path, model: str) -> Check:
    """Return the check that a file ``<model>.<name>.check.sql`` holds."""
    name = file.name.split(".")[1]
    header, sql = read_check_header(text_of(file, model), f"{model}.{name}")
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
            msgspec.json.encode(
                [[check.name, check.severity, check.everywhere, check.sql] for check in model.checks]
            )
        )
    return digest.hexdigest()
