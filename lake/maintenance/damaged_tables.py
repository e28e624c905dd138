"""Damaged tables: a table with a damaged log stays as it is, and maintenance goes on with the others.

A damaged log does not tell which files its table needs. `just repair` recovers what the log lost from
these files, so none of them may be deleted, and no checkpoint may hide the loss.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import structlog

from lake.delta.log_check import fault_of
from lake.delta.log_files import list_log
from lake.delta.tables import open_table, table_exists
from lake.errors import TableDamaged
from lake.paths import LAYERS, Lake

log = structlog.get_logger()
Result = TypeVar("Result")


class TablesLeftOut(TableDamaged):
    """Tables with a damaged log were left as they are; ``done`` is what was done with the other tables."""

    def __init__(self, message: str, *, done: list[Any]) -> None:
        super().__init__(message)
        self.done = done


class DamagedTables:
    """The tables that a command leaves as they are, with the reasons."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def unless_damaged(self, name: str, work: Callable[[], Result]) -> Result | None:
        """Return the result of the work on a table; None if its log is damaged, also in an earlier step."""
        if name in self._reasons:
            return None
        try:
            return work()
        except TableDamaged as error:
            if str(error) not in self._reasons.values():
                log.error("maintenance.damaged_table", table=name, reason=str(error))
            self._reasons[name] = str(error)
            return None

    def refuse(self, done: list[Any]) -> None:
        """Raise TablesLeftOut, with what was ``done``, if there is a damaged table."""
        if reasons := list(dict.fromkeys(self._reasons.values())):
            many = f"{len(reasons)} tables are damaged, such as " * (len(reasons) > 1)
            raise TablesLeftOut(many + reasons[0], done=done)


def every_table(lake: Lake) -> list[str]:
    """Return the names of all tables, also of those whose log is damaged."""
    return [name for layer in LAYERS for name in tables_of(lake, layer)]


def tables_of(lake: Lake, layer: str) -> list[str]:
    """Return the names of a layer's tables, also of those whose log is damaged."""

    def exists(name: str) -> bool:
        try:
            return table_exists(lake, name)
        except TableDamaged:
            return True

    return [name for name in lake.tables(layer) if exists(name)]


def refuse_damaged_log(lake: Lake, name: str, *, released: int = -1) -> None:
    """Raise TableDamaged if a table's log is damaged, or ends before the ``released`` version.

    Every entry is read, also those before a checkpoint, of which readers need none.
    """
    head = open_table(lake, name).version
    if head < released:
        raise TableDamaged(f"{name}: its log ends before version {released}; run `just repair`")
    entries = list_log(lake.uri(name)).entries if lake.is_local else {}
    for version, file in sorted(entries.items()):
        if reason := fault_of(file):
            raise TableDamaged(f"{name}: log entry {version} {reason}; run `just repair`")
