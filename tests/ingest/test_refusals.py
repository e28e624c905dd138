"""Refused orders: the check is about the newest observation of each order, and names the money."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from ingest.entities import ORDERS
from ingest.observations import observe
from ingest.schemas import REJECTED
from lake.delta.tables import create_table, open_table
from lake.paths import Lake
from lake.query.session import open_session
from lake.settings import LakeSettings
from tests.ingest.test_observations import order
from tests.ingest.test_odd_findings import BEGAN, Ingests
from tests.support.shop_edits import versions
from transform.checks import Outcome, run_check
from transform.models import Check, read_models
from transform.workspace import build_model


@pytest.fixture
def ingests(lake: Lake, engine: LakeSettings) -> Ingests:
    """Runs on an empty lake."""
    return Ingests(lake, engine)


@pytest.fixture(scope="module")
def check() -> Check:
    """The check that no order is refused."""
    (orders,) = [model for model in read_models() if model.name == "silver.orders"]
    (found,) = [check for check in orders.checks if check.name == "none_is_refused"]
    return found


def outcome(lake: Lake, engine: LakeSettings, check: Check) -> Outcome:
    """Return the outcome of the check on what bronze has now."""
    with open_session(lake, engine, None) as session:
        session.execute("create view silver.orders as from bronze.orders where not is_deleted")
        for model in read_models():
            if model.name in check.reads:
                build_model(session, model)
        return run_check(session, check)


def total(lake: Lake, engine: LakeSettings) -> Decimal:
    """Return the total of order 5 in its newest accepted state."""
    query = "select arg_max(grand_total, fetched_at) from bronze.orders where id = 5"
    ((amount,),) = open_session(lake, engine, None).execute(query).fetchall()
    return Decimal(amount)


@pytest.mark.parametrize("odd", [{"grand_total": None}, {"status_id": "?"}, {"products": None}])
def test_a_refusal_is_over_when_the_order_is_as_before(
    ingests: Ingests, engine: LakeSettings, check: Check, odd: dict[str, Any]
) -> None:
    """The same content as before the refusal is a new state, once."""
    for change in ({}, odd, odd, {}):
        ingests.run(ORDERS, order(**change))
        assert outcome(ingests.lake, engine, check).failures == (change == odd)
    before = versions(ingests.lake)
    assert ingests.run(ORDERS, order()).appended.total() == 0
    assert versions(ingests.lake) == before


def test_an_old_refusal_that_comes_again_is_new(ingests: Ingests, engine: LakeSettings, check: Check) -> None:
    """The total goes from 10.005 to 20.00 and back, and the first payload comes again."""
    failures = []
    for amount in (10.005, 20.00, 10.005, 10.005, 20.00):
        writer = ingests.run(ORDERS, order(grand_total=amount))
        assert writer.rejected == (amount == 10.005)
        failures.append(outcome(ingests.lake, engine, check).failures)
    assert failures == [1, 0, 1, 1, 0]
    assert open_table(ingests.lake, "bronze.rejected").read().num_rows == 2
    assert total(ingests.lake, engine) == Decimal("20.00")


def test_the_finding_has_the_money_that_is_readable(
    ingests: Ingests, engine: LakeSettings, check: Check
) -> None:
    """An amount that can't be read counts as 0, and the example states in how many orders."""
    odd = [
        order(id=1, status_id=None, grand_total=100.25),
        order(id=2, status_id=None, grand_total="59065.23"),
        order(id=3, grand_total=2.555),
        order(id=4, grand_total="12 грн"),
        order(id=5, grand_total=10**20),
    ]
    ingests.run(ORDERS, *odd, order(id=6))
    found = outcome(ingests.lake, engine, check)
    assert (found.failures, found.amount) == (5, Decimal("59168.04"))
    assert "amounts_unreadable=2" in found.example


def test_an_order_that_the_crm_deleted_is_no_longer_refused(
    ingests: Ingests, engine: LakeSettings, check: Check
) -> None:
    """A tombstone is the newest observation."""
    ingests.run(ORDERS, order(grand_total=None))
    ingests.run(ORDERS, deleted=5)
    assert outcome(ingests.lake, engine, check).failures == 0


def test_an_order_without_an_id_is_over_when_it_is_known_with_one(
    ingests: Ingests, engine: LakeSettings, check: Check
) -> None:
    """An unreadable id names no order; the time of its creation does."""
    ingests.run(ORDERS, order(id={"unexpected": True}), order(id=2**63, created_at="2026-01-01 00:00:00"))
    assert outcome(ingests.lake, engine, check).failures == 2
    ingests.run(ORDERS, order())
    assert outcome(ingests.lake, engine, check).failures == 1


@pytest.mark.parametrize("created_at", [None, "soon", {"at": 1}])
def test_an_order_without_an_id_and_a_creation_time_is_refused(
    ingests: Ingests, engine: LakeSettings, check: Check, created_at: object
) -> None:
    """Nothing names the order, so it stays refused whatever else is known."""
    ingests.run(ORDERS, order(id=None, created_at=created_at), order(id=6))
    assert outcome(ingests.lake, engine, check).failures == 1


def test_a_broken_payload_still_has_its_amount(ingests: Ingests, engine: LakeSettings, check: Check) -> None:
    """The text of a payload with bytes that are no UTF-8 is no JSON."""
    writer = ingests.run(ORDERS)
    body = msgspec.json.encode(order(ordered_at="?")).replace(b'"?"', b'"\xff"')
    writer.write(ORDERS, [observe(ORDERS, body, BEGAN)])
    found = outcome(ingests.lake, engine, check)
    assert (found.failures, found.amount) == (1, Decimal("19.00"))


def test_an_order_that_an_older_version_refused_is_read_again(
    ingests: Ingests, engine: LakeSettings, check: Check
) -> None:
    """Its content is the same, and is accepted now."""
    old = observe(ORDERS, msgspec.json.encode(order(is_gift=0)), BEGAN - timedelta(days=1))
    row = {
        "entity": "orders",
        "id": 5,
        "reason": "is_gift",
        "payload": old.payload.decode(),
        "payload_hash": old.hash,
        "fetched_at": old.fetched_at,
        "run_id": "old",
        "observed_on": old.fetched_at.date(),
    }
    rejected = create_table(ingests.lake, "bronze.rejected", REJECTED, partition_by=["observed_on"])
    rejected.append(pa.Table.from_pylist([row], schema=REJECTED))
    ingests.run(ORDERS, order(is_gift=0))
    assert outcome(ingests.lake, engine, check).failures == 0
    assert total(ingests.lake, engine) == Decimal("19.00")
