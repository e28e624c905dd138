"""Lost lines: lines and expenses that an order in bronze lacks are appended again from its payload.

An order is appended after its lines, so it never lacks them, unless the log of one of these tables was
damaged and then repaired. Lines have the key and the time of their order's observation.
"""

from collections.abc import Iterator

import pyarrow as pa
from msgspec import structs

from ingest.entities import ORDERS
from ingest.observations import Observation, observe
from ingest.schemas import EXPENSES, LINES
from ingest.typed_rows import type_rows
from lake.delta.damage import damaged_files
from lake.delta.tables import open_table, table_exists
from lake.messages import counted
from lake.paths import Lake
from lake.query.session import connect, scan
from lake.settings import LakeSettings

# The tables of an order's parts, and the list of the payload that they are from.
PARTS = {LINES.table: "products", EXPENSES.table: "expenses"}
LAYOUTS = {LINES.table: LINES, EXPENSES.table: EXPENSES}
# Observations without their parts; a list may also be an object with numbers as its keys.
LACKING = """
with lacking as materialized (
    select orders.id, orders.fetched_at, orders.run_id
    from ({orders}) as orders
    anti join ({parts}) as parts
        on parts.order_id = orders.id
        and parts.fetched_at = orders.fetched_at
        and parts.run_id = orders.run_id
    where orders.payload is not null
)

select orders.payload, orders.payload_hash, orders.fetched_at, orders.run_id
from ({orders}) as orders
semi join lacking using (id, fetched_at, run_id)
where
    orders.payload is not null
    and json_extract_string(orders.payload, '$.{field}') not in ('[]', '{{}}', '')
"""
# Observations in one batch.
BATCH = 10_000


def restore_lines(lake: Lake, settings: LakeSettings) -> Iterator[str]:
    """Append the lines and expenses that orders lack; yield one line for each table that lacked some."""
    if not table_exists(lake, ORDERS.table):
        return
    for name, field in PARTS.items():
        if table_exists(lake, name) and (rows := restore_table(lake, settings, name, field)):
            yield f"{name}: {counted(rows, 'lost row')} appended again from the payloads of their orders"


def restore_table(lake: Lake, settings: LakeSettings, name: str, field: str) -> int:
    """Append the parts that orders lack to one table; return how many."""
    orders, parts = open_table(lake, ORDERS.table), open_table(lake, name)
    if damaged_files([*orders.uris(), *parts.uris()]):
        return 0  # the lines may be in these files; another repair comes first
    appended = 0
    with connect(settings) as connection:
        query = LACKING.format(orders=scan(connection, orders), parts=scan(connection, parts), field=field)
        for batch in connection.sql(query).to_arrow_reader(BATCH):
            rows = parts_of(pa.table(batch), name)
            if rows.num_rows:
                parts.append(rows)
            appended += rows.num_rows
    return appended


def parts_of(orders: pa.Table, name: str) -> pa.Table:
    """Return the lines or expenses in the payloads of observations. Pure."""
    groups: dict[str, list[Observation]] = {}
    for row in orders.to_pylist():
        observation = observe(ORDERS, row["payload"].encode(), row["fetched_at"])
        # An erasure changes a payload and not its hash.
        observation = structs.replace(observation, hash=row["payload_hash"])
        groups.setdefault(row["run_id"], []).append(observation)
    typed = [type_rows(ORDERS, rows, run_id=run).tables[name] for run, rows in groups.items()]
    return pa.concat_tables([LAYOUTS[name].schema.empty_table(), *typed]).combine_chunks()
