"""Model: one SQL file that builds one table of the same name, and its checks in files next to it."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from lake.errors import ModelError
from transform.header import Header, read_check_header, read_header
from transform.lineage import build_order, tables_read
from transform.lookup import Lookup, find_lookup

HERE = Path(__file__).parent
MODEL_LAYERS = ("silver", "gold")


class Check(msgspec.Struct, frozen=True):
    """A query whose rows are failures; severity "error" blocks the release, "warn" is reported.

    ``reads`` are the tables that the query reads. ``condition`` is set if the check is one
    condition on each row; then the sum of the column ``money`` over the failing rows is the
    amount in question. ``needs_all_rows`` is True if only all of history decides the check.
    ``remedy`` is the next step after a failure.
    """

    name: str
    model: str
    fact: str
    severity: str
    sql: str
    reads: frozenset[str] = frozenset()
    condition: str = ""
    money: str = ""
    needs_all_rows: bool = False
    remedy: str = ""


class Model(msgspec.Struct, frozen=True):
    """One table of silver or gold: its header, its SQL, the tables it reads, and its own checks."""

    name: str
    header: Header
    sql: str
    reads: frozenset[str]
    checks: tuple[Check, ...] = ()

    def lookup(self, dimension: "Model") -> Lookup | None:
        """Return how the model joins rows of another model; None if its SQL has another form."""
        return find_lookup(self.sql, dimension.name, dimension.header.key[0])


def read_models(folder: Path = HERE) -> list[Model]:
    """Return every model, in the order in which they are built. Raises ModelError."""
    models = [
        read_model(file, f"{layer}.{file.stem}")
        for layer in MODEL_LAYERS
        for file in sql_files(folder / layer)
        if not file.name.endswith(".check.sql")
    ]
    refuse_unknown_tables(models, folder)
    return build_order(models, name=lambda model: model.name, reads=lambda model: model.reads)


def sql_files(folder: Path) -> list[Path]:
    """Return the SQL files of a layer, without the hidden files that editors write."""
    return [file for file in sorted(folder.glob("*.sql")) if file.is_file() and file.name[0] != "."]


def read_text(file: Path, name: str) -> str:
    """Return the text of a file. Raises ModelError."""
    try:
        return file.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise ModelError(f"{name}: {file.name} is not UTF-8; save it as UTF-8") from None


def refuse_unknown_tables(models: Iterable[Model], folder: Path) -> None:
    """Raise ModelError if a model reads a table that no model builds, or if a check has no model."""
    reads = {model.name: model.reads for model in models}
    for name, tables in reads.items():
        for table in sorted(tables - reads.keys()):
            if table.split(".")[0] in MODEL_LAYERS:
                raise ModelError(f"{name}: it reads {table}, which no model builds; check the name")
            if table.startswith("ops."):
                raise ModelError(f"{name}: it reads {table}; models read only bronze, rules, silver and gold")
    for layer in MODEL_LAYERS:
        for file in sql_files(folder / layer):
            if not file.name.endswith(".check.sql"):
                continue
            if file.name.count(".") != 3 or f"{layer}.{file.name.split('.')[0]}" not in reads:
                raise ModelError(f"{layer}/{file.name}: no such model; a check is <model>.<name>.check.sql")


def read_model(file: Path, name: str) -> Model:
    """Return the model in a file, with its checks from the files next to it. Raises ModelError."""
    if not file.stem.isidentifier() or file.stem != file.stem.lower():
        raise ModelError(
            f"{name}: a table's name consists of lower-case letters, digits and _: rename {file.name}"
        )
    header, sql = read_header(read_text(file, name), name)
    check_files = [path for path in sql_files(file.parent) if path.match(f"{file.stem}.*.check.sql")]
    checks = tuple(read_check(path, name) for path in check_files)
    return Model(name, header, sql, tables_read(sql, name), checks)


def read_check(file: Path, model: str) -> Check:
    """Return the check in a file ``<model>.<name>.check.sql``. Raises ModelError."""
    name = file.name.split(".")[1]
    header, sql = read_check_header(read_text(file, model), f"{model}.{name}")
    reads = tables_read(sql, f"{model}.{name}")
    needs_all_rows = header.looks == "everywhere"
    return Check(name, model, header.fact, header.severity, sql, reads, needs_all_rows=needs_all_rows)


def hash_of(models: Iterable[Model]) -> str:
    """Return a hash of the text of all models and of their checks."""
    digest = hashlib.blake2b(digest_size=8)
    for model in models:
        digest.update(msgspec.json.encode([model.name, model.sql, model.header]))
        digest.update(
            msgspec.json.encode(
                [[check.name, check.severity, check.needs_all_rows, check.sql] for check in model.checks]
            )
        )
    return digest.hexdigest()
