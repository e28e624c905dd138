"""Cost of a build: ``python -m tests.bench.transform [--small N] [--large N]``.

Prints figures for the main tables, then for all tables:

- a full build, and its ratio to the same SQL as plain ``create table as`` in a DuckDB file;
- a build for 20 changed orders: its time, CPU time and memory, and the ratio of the bytes
  written to the bytes of the partitions whose rows differ;
- the ratio of the large shop to the small one. Both sell 10,000 orders per month, and the
  large one is ten times as old: eight years.

Each measurement is repeated three times, and the two that are compared alternate. The
median counts, and the highest peak of memory.
"""

import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import click
import duckdb
import structlog

from ingest.schemas import SCHEMAS
from lake.delta.table import Table
from lake.delta.tables import create_table, open_table
from lake.paths import Lake
from lake.query.session import connect, create_view, fetch, scan
from lake.releases.release import current_release
from lake.settings import LakeSettings
from tests.bench.ingest import peak_of
from transform.build import BuildRequest, run_build
from transform.models import Model, read_models
from transform.rules import rule_tables
from transform.settings import RulesSettings

ENGINE = LakeSettings()
MAIN = (
    "silver.orders",
    "silver.order_lines",
    "silver.products",
    "gold.revenue_daily",
    "gold.product_daily",
)
CHANGED = 20
ROUNDS = 3
STAMP = "(timestamptz '2025-12-28 09:00:00+00' - to_seconds(({orders} - i) * 260))"
ORDERS = """
select
    i as id, 1 + i % 5 as source_id, 12 as status_id, 5 as status_group_id, 1 + i % 400000 as buyer_id,
    case when i % 3 = 0 then 22 when i % 7 = 0 then 15 end as manager_id,
    (1000 + i % 90000)::decimal(18, 2) as grand_total,
    {stamp} as ordered_at, {stamp} as created_at, {stamp} as updated_at, {stamp} as status_changed_at,
    '{{"products":[1,2,3]}}' as payload, md5(i::varchar) as payload_hash, false as is_deleted,
    {stamp} + interval 1 minute as fetched_at, '{run}' as run_id,
    date_trunc('month', {stamp})::date as observed_on
from range({first}, {last}) as t(i)
where {which}
"""
LINES = """
select
    i as order_id, p as position, i * 3 + p as id, 1 + (i + p) % 1000 as offer_id,
    1 + (i * p) % 1000 as product_id, 'x' as name,
    (100 + i % 900)::decimal(18, 4) as price, (90 + i % 900)::decimal(18, 4) as price_sold,
    (50 + i % 400)::decimal(18, 4) as purchased_price, 1::decimal(18, 3) as quantity,
    md5(i::varchar) as payload_hash, false as is_deleted,
    {stamp} + interval 1 minute as fetched_at, '{run}' as run_id,
    date_trunc('month', {stamp})::date as observed_on
from range({first}, {last}) as t(i), range(1, 4) as l(p)
where {which}
"""
PRODUCTS = """
select i as id, 'p' || i as name, '[]' as custom_fields, md5(i::varchar) as payload_hash, false as is_deleted,
    timestamptz '2020-01-01' as fetched_at, 'first' as run_id, date '2020-01-01' as observed_on
from range(1, 1001) as t(i)
"""
# Rows that every order references, so that no check has an open finding.
KNOWN = {
    "bronze.sources": "select i as id, 's' || i as name from range(1, 6) as t(i)",
    "bronze.statuses": "select 12 as id, 'completed' as name",
    "bronze.managers": "select unnest([15, 22]) as id, 'm' as full_name",
    "bronze.buyers": """
        select i as id, 'b' || i as full_name, []::varchar[] as phone, []::varchar[] as email
        from range(1, {buyers}) as t(i)
    """,
}
OBSERVATION = """
select *, md5(id::varchar) as payload_hash, false as is_deleted, timestamptz '2020-01-01' as fetched_at,
    'first' as run_id, date '2020-01-01' as observed_on
from ({rows})
"""


def append(lake: Lake, table: str, query: str) -> None:
    """Append the rows of a query to a bronze table; a column that the query omits is null."""
    session = duckdb.connect()
    session.execute("set timezone = 'UTC'")
    schema = SCHEMAS[table]
    session.register("template", schema.empty_table())
    rows = fetch(session, f"select * from template union all by name ({query})")
    create_table(lake, table, schema, partition_by=["observed_on"]).append(rows.cast(schema))


def make(lake: Lake, orders: int) -> None:
    """Create the bronze tables of a shop with this many orders, three lines each."""
    for table in SCHEMAS:
        create_table(lake, table, SCHEMAS[table], partition_by=["observed_on"])
    stamp = STAMP.format(orders=orders)
    values = {"stamp": stamp, "first": 1, "last": orders + 1, "run": "first", "which": "true"}
    append(lake, "bronze.products", PRODUCTS)
    for table, rows in KNOWN.items():
        append(lake, table, OBSERVATION.format(rows=rows.format(buyers=min(orders, 400_000) + 1)))
    append(lake, "bronze.order_products", LINES.format(**values))
    append(lake, "bronze.orders", ORDERS.format(**values))


def change(lake: Lake, orders: int, minute: int) -> None:
    """Append observations of 20 orders with another total: the 15 newest, and five older ones."""
    which = f"i > {orders} - 15 or i in ({', '.join(str(orders - 1000 * number) for number in range(1, 6))})"
    stamp = f"({STAMP.format(orders=orders)} + interval {minute} minute)"
    values = {"stamp": stamp, "first": 1, "last": orders + 1, "run": "second", "which": which}
    append(lake, "bronze.order_products", LINES.format(**values))
    append(lake, "bronze.orders", ORDERS.format(**values).replace("1000 + i", f"{2000 + minute} + i"))


def models_for(names: Sequence[str]) -> list[Model]:
    """Return the models of these tables and of the tables that they read; all if no name is given."""
    models = read_models()
    needed = set(names or [model.name for model in models])
    while needed != (more := needed.union(*(reads(model) for model in models if model.name in needed))):
        needed = more
    return [model for model in models if model.name in needed]


def reads(model: Model) -> frozenset[str]:
    """Return the tables that a model and its checks read."""
    return model.reads.union(*(check.reads for check in model.checks))


def build_natively(lake: Lake, models: Sequence[Model], file: Path) -> float:
    """Return the seconds to build the models in a DuckDB file with the same SQL, until the file is closed."""
    with connect(ENGINE) as session:
        session.execute(f"attach '{file}' as own; use own")
        for schema in ("bronze", "rules", "silver", "gold"):
            session.execute(f"create schema own.{schema}")
        for name in lake.tables("bronze"):
            create_view(session, f"own.{name}", open_table(lake, name))
        for rule in rule_tables(RulesSettings()):
            session.register("rule", rule.table)
            session.execute(f"create table own.{rule.name} as from rule")
            session.unregister("rule")
        os.sync()  # so that no earlier write is still under way
        began = time.perf_counter()
        for model in models:
            session.execute(f"create table own.{model.name} as (\n{model.sql}\n)")
    return time.perf_counter() - began


def build(lake: Lake, names: Sequence[str], *, full: bool = False) -> list[float]:
    """Build in its own process; return the figures that ``build_once`` prints."""
    command = [
        sys.executable,
        "-m",
        "tests.bench.transform",
        "--one",
        lake.root,
        *(["--full"] if full else []),
    ]
    os.sync()
    done = subprocess.run([*command, *names], capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def build_once(root: str, names: Sequence[str], *, full: bool) -> None:
    """Build once; print its seconds and CPU seconds, the CPU seconds of the process, and its peak in MB."""
    models, lake = models_for(names), Lake(root=root)
    began, used = time.perf_counter(), time.process_time()
    run_build(lake, BuildRequest(engine=ENGINE, rules=RulesSettings(), models=models, full=full))
    took, cpu = time.perf_counter() - began, time.process_time() - used
    peak = peak_of(int(Path("/proc/self").resolve().name)) / 1024
    print(f"{took:.3f} {cpu:.3f} {time.process_time():.3f} {peak:.0f}")


def write_ratio(lake: Lake) -> float:
    """Return the bytes that the newest release added, per byte of the partitions whose rows differ."""
    release = current_release(lake)
    assert release
    fresh = touched = 0
    for name in {move.table for move in release.moved}:
        table, before = (open_table(lake, name, release.tables[name] - back) for back in (0, 1))
        known = {file.uri for file in before.files()}
        new = [file for file in table.files() if file.uri not in known]
        parts = {part for part in {file.part for file in new} if differs(before, table, part)}
        touched += sum(file.size for file in table.files() if file.part in parts)
        fresh += sum(file.size for file in new)
    return fresh / max(touched, 1)


def differs(before: Table, after: Table, part: date | None) -> bool:
    """True if a partition's rows differ between two versions of a table."""
    with connect(ENGINE) as session:
        old, new = (
            scan(session, table, [file.uri for file in table.files() if file.part == part])
            for table in (before, after)
        )
        both = f"(({new}) except all ({old})) union all (({old}) except all ({new}))"
        return bool(session.execute(f"select 1 from ({both}) limit 1").fetchall())


def compare(small: int, large: int) -> None:
    """Print the figures of the main tables, then those of all tables."""
    # Nothing is deleted before the end: a disk is slow to reuse space that was freed a minute ago.
    with tempfile.TemporaryDirectory() as folder:
        for title, names in (("the main tables", MAIN), ("all tables", ())):
            print(title)
            seconds = [
                measure_shop(Path(folder) / f"{len(names)}-{orders}", orders, names)
                for orders in (small, large)
            ]
            print(f"  large / small: {seconds[1] / seconds[0]:.2f} x the time")


def set_aside(lake: Lake, target: Path) -> None:
    """Move everything but bronze out of a lake."""
    target.mkdir()
    for folder in Path(lake.root).iterdir():
        if folder.name != "bronze":
            folder.rename(target / folder.name)


def measure_shop(folder: Path, orders: int, names: Sequence[str]) -> float:
    """Print the cost of builds of a shop; return the seconds of a build for 20 changed orders."""
    lake = Lake(root=str(folder / "lake"))
    make(lake, orders)
    rounds: list[tuple[float, float, list[float]]] = []
    for number in range(ROUNDS):
        set_aside(lake, folder / f"built-{number}")
        plain = build_natively(lake, models_for(names), folder / f"own-{number}.duckdb")
        figures = build(lake, names)
        rounds.append((figures[0] / plain, plain, figures))
    ratio, plain, (full, cpu, _, _) = sorted(rounds)[ROUNDS // 2]
    comparison = (
        f"plain DuckDB {plain:6.2f} s = {ratio:.2f} x ({', '.join(f'{each[0]:.2f}' for each in rounds)})"
    )
    peak = max(figures[-1] for *_, figures in rounds)
    print(f"  {orders:9,} orders: full build {full:6.2f} s, {comparison}; {cpu:.2f} s of CPU, {peak:.0f} MB")
    changes: list[list[float]] = []
    for minute in range(1, ROUNDS + 1):
        change(lake, orders, minute)
        changes.append(build(lake, names))
    seconds, cpu, whole, _ = sorted(changes)[ROUNDS // 2]
    print(
        f"            {CHANGED} changed: {seconds:.2f} s, {cpu:.2f} s of CPU ({whole:.2f} with the start of"
        f" Python), {max(peak for *_, peak in changes):.0f} MB;"
        f" bytes written / of partitions that differ {write_ratio(lake):.2f}"
    )
    return seconds


@click.command()
@click.option("--small", default=100_000, show_default=True, help="Orders of the small shop.")
@click.option("--large", default=1_000_000, show_default=True, help="Orders of the large shop.")
@click.option("--one", "root", help="Only build this lake once, and print the figures.")
@click.option("--full", is_flag=True)
@click.argument("names", nargs=-1)
def main(small: int, large: int, root: str | None, full: bool, names: tuple[str, ...]) -> None:
    """Print the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if root:
        build_once(root, names, full=full)
    else:
        compare(small, large)


if __name__ == "__main__":
    main()
