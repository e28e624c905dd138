"""Damage findings: one in ``ops.findings`` for each damaged file, until it is intact or no longer needed."""

from collections.abc import Sequence, Set
from datetime import datetime

import msgspec

from lake.ledgers.findings import DAMAGE, Finding, new_finding, write_findings
from lake.maintenance.archived import ARCHIVE
from lake.paths import Lake


class Damage(msgspec.Struct, frozen=True):
    """A damaged file, what is wrong with it, and the retained releases that need it.

    ``is_current`` is True if the head or the serving release needs it.
    """

    table: str
    path: str
    reason: str
    releases: tuple[int, ...] = ()
    is_current: bool = True

    @property
    def is_archived(self) -> bool:
        """True if the file belongs to the archive of a month."""
        return self.path.startswith(f"{ARCHIVE}/")

    @property
    def is_of_log(self) -> bool:
        """True if the file is one of a table's log."""
        return "/_delta_log/" in self.path

    @property
    def line(self) -> str:
        """One line for an operator: table, file, what is wrong, and the recipe."""
        return f"{self.table}: {self.path.rpartition('/')[2]} {self.reason}; {self.remedy}"

    @property
    def remedy(self) -> str:
        """The next step."""
        if self.is_archived:
            return "run `just repair --from BACKUP`"
        if self.is_current:
            return "run `just repair`"
        which = ", ".join(map(str, self.releases))
        return f"only older releases need it ({which}), which can't be read: run `just repair --from BACKUP`"


def write_damage(lake: Lake, damages: Sequence[Damage], *, known: Set[str], now: datetime) -> None:
    """Write the findings: one for each damaged file. A known one that is intact, or not needed, is healed."""
    found = {damage.path: finding_of(damage.path, damage.line, 1, now=now) for damage in damages}
    healed = {path: finding_of(path, "", 0, now=now) for path in known if path not in found}
    write_findings(lake, [*found.values(), *healed.values()])


def finding_of(path: str, example: str, rows: int, *, now: datetime) -> Finding:
    """Return the finding of one file; ``rows`` is 0 if it is intact. Pure."""
    fact = "the file is as it was written"
    return new_finding(f"{DAMAGE}.{path}", fact, rows, severity="error", example=example, now=now)
