"""Findings of an ingest: what is not as documented is named until no current object has it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import msgspec
import pytest

from ingest.entities import OFFERS, ORDERS, STATUSES, Entity
from ingest.observations import observe, tombstone
from ingest.odd_findings import report_odd_values
from ingest.writer import Writer
from lake.ledgers.findings import HEALED, Finding, read_findings, write_findings
from lake.paths import Lake
from lake.query.session import connect
from lake.settings import LakeSettings
from tests.ingest.test_observations import order
from tests.support.shop_edits import versions

BEGAN = datetime(2026, 3, 4, 12, tzinfo=UTC)
ZERO = "-0001-11-30T00:00:00.000000Z"


class Ingests:
    """Runs that write the given objects, one minute after the other."""

    def __init__(self, lake: Lake, engine: LakeSettings) -> None:
        self.lake = lake
        self._engine = engine
        self._minutes: Iterator[int] = count()

    def run(self, entity: Entity, *values: Any, deleted: int | None = None) -> Writer:
        """Write the objects in a run of their own, and its findings."""
        now = BEGAN + timedelta(minutes=next(self._minutes))
        writer = Writer(self.lake, connect(self._engine), run_id=f"run {now:%H%M}")
        writer.create_tables()
        writer.write(entity, [observe(entity, msgspec.json.encode(value), now) for value in values])
        if deleted:
            writer.write_tombstones(entity, [tombstone(deleted, now)])
        report_odd_values(self.lake, writer.entity_states(), now=now)
        return writer

    @property
    def open(self) -> dict[str, str]:
        """The facts of the open findings."""
        findings = read_findings(self.lake).items()
        return {name: finding.fact for name, finding in findings if finding.state != HEALED}


@pytest.fixture
def ingests(lake: Lake, engine: LakeSettings) -> Ingests:
    """Runs on an empty lake."""
    return Ingests(lake, engine)


def test_a_finding_names_the_field_the_count_and_an_order(ingests: Ingests) -> None:
    """A field that is read by its plain meaning is named too."""
    ingests.run(ORDERS, *(order(id=number, closed_at=ZERO) for number in (1206, 1204, 1205)), order())
    ingests.run(ORDERS, order(id=7, is_gift=0))
    assert ingests.open == {
        "ingest.orders.closed_at": "orders.closed_at is unreadable in 3 orders, such as 1204",
        "ingest.orders.is_gift.is_read": (
            "orders.is_gift is not as documented, but is read, in 1 order, such as 7"
        ),
    }


def test_a_finding_is_healed_once_no_current_order_has_the_field(ingests: Ingests) -> None:
    """One order is corrected, one is deleted and one is refused; its odd observations stay in bronze."""
    ingests.run(ORDERS, *(order(id=number, closed_at=ZERO) for number in (1, 2, 3)))
    ingests.run(ORDERS, order(id=1, closed_at=None))
    assert ingests.open == {
        "ingest.orders.closed_at": "orders.closed_at is unreadable in 2 orders, such as 2"
    }
    ingests.run(ORDERS, order(id=2, grand_total=None))
    ingests.run(ORDERS, deleted=3)
    assert ingests.open == {}


def test_an_unchanged_object_writes_nothing(ingests: Ingests) -> None:
    """Neither bronze nor the findings get a row if the same odd or refused objects come again."""
    values = [order(id=1, closed_at=ZERO), order(id=2, grand_total=None), order(id="x")]
    ingests.run(ORDERS, *values)
    before, findings = versions(ingests.lake), read_findings(ingests.lake)
    writer = ingests.run(ORDERS, *values)
    assert (versions(ingests.lake), read_findings(ingests.lake)) == (before, findings)
    assert writer.rejected == 2


def test_refused_objects_of_a_list_are_a_finding(ingests: Ingests) -> None:
    """The last accepted state serves until the object can be read again."""
    ingests.run(OFFERS, {"id": 5, "quantity": 1}, {"id": 6, "quantity": 1})
    ingests.run(OFFERS, {"id": 5, "quantity": "?"}, {"id": 6, "quantity": 2})
    assert ingests.open == {
        "ingest.offers.refused": "1 offer refused, such as 5: the last accepted state serves"
    }
    ingests.run(OFFERS, {"id": 5, "quantity": 1})
    assert ingests.open == {}


def test_a_run_leaves_the_findings_of_others_alone(ingests: Ingests) -> None:
    """A run examines the entities that it changed; builds and the night examine their own conditions."""
    build = Finding(
        fingerprint="silver.orders.day_has_come",
        state="new",
        severity="warn",
        fact="a fact",
        rows=1,
        amount=None,
        example="id=1",
        first_seen_at=BEGAN,
        seen_at=BEGAN,
    )
    ingests.run(ORDERS, order(closed_at=ZERO))
    ingests.run(STATUSES, {"id": 1, "is_active": 1})
    write_findings(ingests.lake, [build])
    ingests.run(STATUSES, {"id": 1, "is_active": True})
    assert ingests.open.keys() == {"ingest.orders.closed_at", "silver.orders.day_has_come"}
