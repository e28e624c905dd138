"""Full comparison: the release that serves against a full build of the same bronze versions."""

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from deltalake import DeltaTable

from lake.errors import UsageError
from lake.ledgers.findings import read_findings, write_findings
from lake.releases.release import Move, Release, find_release, publish
from tests.support.built_lake import ENGINE, Shop, instant
from tests.support.running import environ_of, run, succeed
from tests.transform.test_build import edit_order
from transform.full_comparison import compare_with_full, finding_of
from transform.settings import RulesSettings

pytestmark = pytest.mark.slow

NOW = datetime(2026, 9, 1, tzinfo=UTC)
JUNE = date(2026, 6, 1)


def compared(shop: Shop) -> tuple[Move, ...]:
    """Compare the newest release with a full build."""
    release = find_release(shop.lake, None)
    return compare_with_full(shop.lake, release, engine=ENGINE, rules=RulesSettings(), models=shop.models)


def falsify(shop: Shop) -> Release:
    """Publish a release whose orders of June differ from bronze."""
    table = DeltaTable(shop.lake.uri("silver.orders"))
    table.update(updates={"source_name": "'Etsy'"}, predicate="id = 2")
    served = find_release(shop.lake, None)
    release = msgspec.structs.replace(
        served,
        release=served.release + 1,
        parent=served.release,
        tables={**served.tables, "silver.orders": table.version()},
        digests={},
    )
    publish(shop.lake, release)
    return release


def test_an_incremental_release_equals_a_full_build(shop: Shop) -> None:
    """The comparison uses the versions of the release, even if bronze is newer."""
    edit_order(shop, ordered_at="2026-05-20 10:00", total="250.00")
    shop.publish()
    edit_order(shop, total="300.00", minute=2)
    heads = shop.heads()
    assert compared(shop) == ()
    assert shop.heads() == heads


def test_a_difference_is_reported_by_table_and_month(shop: Shop) -> None:
    """A difference has rows and money of both builds; in this case only a name differs."""
    falsify(shop)
    assert compared(shop) == (Move("silver.orders", JUNE, 2, 2, Decimal("500.00"), Decimal("500.00")),)


def test_other_rules_are_not_compared(shop: Shop) -> None:
    """A release from other rules is not compared, because every difference could follow from the rules."""
    release = find_release(shop.lake, None)
    rules = RulesSettings(excluded_sources=())
    with pytest.raises(UsageError, match=r"other models, rules or runs; `just transform`"):
        compare_with_full(shop.lake, release, engine=ENGINE, rules=rules, models=shop.models)
    on_hold = msgspec.structs.replace(release, is_held=True)
    with pytest.raises(
        UsageError, match=r"; publishing is held .*`just resume` lifts it, then `just transform`"
    ):
        compare_with_full(shop.lake, on_hold, engine=ENGINE, rules=rules, models=shop.models)


def test_the_command_reports_a_difference_until_it_heals(shop: Shop, tmp_path: Path) -> None:
    """A difference has exit code 3 and a finding that stays until a full build."""
    environ = environ_of(shop.lake)
    assert "equals a full build" in succeed(environ, "transform", "compare")
    falsify(shop)
    done = run(environ, "transform", "compare")
    assert done.returncode == 3
    assert "1 partition, the first is silver.orders, 2026-06-01; `just transform --full`" in done.stderr
    assert 'if a model differs again, set rebuild = "whole" in its header' in done.stderr
    assert "500.00" in done.stdout
    shop.observe("bronze.managers", f"id | full_name | fetched_at\n 7 | Ліза Н. | {instant(1)}")
    shop.publish()
    finding = read_findings(shop.lake)["nightly.equals_full_build"]
    assert (finding.state, finding.rows, finding.amount) == ("new", 1, Decimal("0.00"))
    shop.publish(full=True)
    assert "equals a full build" in succeed(environ, "transform", "compare")
    assert read_findings(shop.lake)["nightly.equals_full_build"].state == "healed"


def test_the_comparison_heals_no_finding_of_a_build(shop: Shop) -> None:
    """A finding of a build is healed only by a build."""
    found = msgspec.structs.replace(finding_of([], now=NOW), fingerprint="silver.orders.day_has_come", rows=1)
    write_findings(shop.lake, [found])
    write_findings(shop.lake, [finding_of([], now=NOW)])
    assert read_findings(shop.lake)["silver.orders.day_has_come"].state == "new"
