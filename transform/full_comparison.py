"""Full comparison: the release that serves against a full build from the same bronze versions.

Tests check that an incremental build equals a full one for generated histories; this module
checks the shop's real history.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from lake.delta.tables import open_table
from lake.errors import UsageError
from lake.ledgers.findings import NIGHTLY, Finding, new_finding
from lake.paths import Lake
from lake.query.session import connect
from lake.releases.release import Move, Release, hold
from lake.releases.released_table import open_released
from lake.settings import LakeSettings
from transform.dictionary import dictionary
from transform.models import Check, Model, hash_of
from transform.next_release import Candidates
from transform.rules import rule_tables
from transform.settings import RulesSettings

CHECK = Check(
    "equals_full_build", NIGHTLY, "the release equals a full build of what it was built from", "error", sql=""
)


def compare_with_full(
    lake: Lake, release: Release, *, engine: LakeSettings, rules: RulesSettings, models: Sequence[Model]
) -> tuple[Move, ...]:
    """Build a release again in full and return the differences. It commits nothing and takes no lock.

    Raises UsageError if the release was built from other models, rules or runs, and ModelError.
    """
    candidates = Candidates(
        connect(engine),
        bronze={name: open_table(lake, name, at) for name, at in release.consumed.items()},
        released={name: open_released(lake, release, name) for name in release.tables},
        serving=release,
        incremental=False,
        excluded_runs=release.excluded_runs,
    )
    for rule in (*rule_tables(rules), *dictionary(models)):
        candidates.add_rule(rule)
    if release.models_hash != hash_of(models) or candidates.differ:
        resume = f"{hold(release)}, then " if release.is_held else ""
        raise UsageError(
            f"release {release.release} was built from other models, rules or runs; {resume}`just transform`"
            " builds a release from these, then compare again"
        )
    for model in models:
        candidates.add_model(model)
    return candidates.moved()


def finding_of(moved: Sequence[Move], *, now: datetime) -> Finding:
    """Return the result of a comparison as a finding, also if nothing differs. Pure."""
    amounts = [
        abs(move.money_after - move.money_before)
        for move in moved
        if move.money_after is not None and move.money_before is not None
    ]
    return new_finding(
        f"{NIGHTLY}.{CHECK.name}",
        CHECK.fact,
        len(moved),
        severity=CHECK.severity,
        example=f"{moved[0].table}, {moved[0].month or 'all of it'}" if moved else "",
        amount=max(amounts, default=Decimal()) if moved else None,
        now=now,
    )
