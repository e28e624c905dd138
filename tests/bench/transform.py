"""What a build costs: ``python -m tests.bench.transform [--small N] [--large N]``.

Prints, for the mission's tables and for all of them: a full build beside the same SQL as
plain ``create table as`` in a DuckDB file of its own; and a build for 20 changed orders in
a small and in a large shop, by time, CPU and memory, and by the bytes written beside those
of the partitions whose rows differ. Everything is done three times, the two that are compared in
turn; the middle one is told, and the highest peak. Both shops sell 10,000 orders a month; one is ten
times as old: eight years.
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
from lake.delta.table import Table, create_table, open_table
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
MISSION = (
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
# What every order refers to, so that no check has a standing finding.
KNOWN = {
    "bronze.sources": "select i as id, 's' || i as name from range(1, 6) as t(i)",
    "bronze.statuses": "select 12 as id, 'completed' as name",
    "bronze.managers": "select unnest([15, 22]) as id, 'm' as full_name",
    "bronze.buyers": """
        select i as id, 'b' || i as full_name, []::varchar[] as phone, []::varchar[] as email
        from range(1, {buyers}) as t(i)
    """,
}
LOOK = """
select *, md5(id::varchar) as payload_hash, false as is_deleted, timestamptz '2020-01-01' as fetched_at,
    'first' as run_id, date '2020-01-01' as observed_on
from ({rows})
"""


def append(lake: Lake, table: str, query: str) -> None:
    """Append what a query yields to a bronze table; columns it leaves out are null."""
    session = duckdb.connect()
    session.execute("set timezone = 'UTC'")
    schema = SCHEMAS[table]
    session.register("like_it", schema.empty_table())
    rows = fetch(session, f"select * from like_it union all by name ({query})")
    create_table(lake, table, schema, partition_by=["observed_on"]).append(rows.cast(schema))


def make(lake: Lake, orders: int) -> None:
    """Make the bronze of a shop of so many orders, three lines each."""
    for table in SCHEMAS:
        create_table(lake, table, SCHEMAS[table], partition_by=["observed_on"])
    stamp = STAMP.format(orders=orders)
    said = {"stamp": stamp, "first": 1, "last": orders + 1, "run": "first", "which": "true"}
    append(lake, "bronze.products", PRODUCTS)
    for table, rows in KNOWN.items():
        append(lake, table, LOOK.format(rows=rows.format(buyers=min(orders, 400_000) + 1)))
    append(lake, "bronze.order_products", LINES.format(**said))
    append(lake, "bronze.orders", ORDERS.format(**said))


def change(lake: Lake, orders: int, minute: int) -> None:
    """Show 20 orders once more, a week's newest and a few old ones, with another total."""
    which = f"i > {orders} - 15 or i in ({', '.join(str(orders - 1000 * place) for place in range(1, 6))})"
    stamp = f"({STAMP.format(orders=orders)} + interval {minute} minute)"
    said = {"stamp": stamp, "first": 1, "last": orders + 1, "run": "second", "which": which}
    append(lake, "bronze.order_products", LINES.format(**said))
    append(lake, "bronze.orders", ORDERS.format(**said).replace("1000 + i", f"{2000 + minute} + i"))


def wanted(names: Sequence[str]) -> list[Model]:
    """Return the models of these tables and of what they read; all for none."""
    models = read_models()
    needed = set(names or [model.name for model in models])
    while needed != (more := needed.union(*(reads(model) for model in models if model.name in needed))):
        needed = more
    return [model for model in models if model.name in needed]


def reads(model: Model) -> frozenset[str]:
    """Return the tables that a model and its checks read."""
    return model.reads.union(*(check.reads for check in model.checks))


def native(lake: Lake, models: Sequence[Model], file: Path) -> float:
    """Return the seconds that the same SQL takes as tables of a DuckDB file, until it is whole and closed."""
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
        os.sync()  # what was written before is on the disk by now
        began = time.perf_counter()
        for model in models:
            session.execute(f"create table own.{model.name} as (\n{model.sql}\n)")
    return time.perf_counter() - began


def build(lake: Lake, names: Sequence[str], *, full: bool = False) -> list[float]:
    """Build in a process of its own; return what it says of itself, see ``one``."""
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


def one(root: str, names: Sequence[str], *, full: bool) -> None:
    """Build once and print seconds, CPU seconds, those of the whole process with its start, and peak MB."""
    models, lake = wanted(names), Lake(root=root)
    began, used = time.perf_counter(), time.process_time()
    run_build(lake, BuildRequest(engine=ENGINE, rules=RulesSettings(), models=models, full=full))
    took, cpu = time.perf_counter() - began, time.process_time() - used
    peak = peak_of(int(Path("/proc/self").resolve().name)) / 1024
    print(f"{took:.3f} {cpu:.3f} {time.process_time():.3f} {peak:.0f}")


def written(lake: Lake) -> float:
    """Return the bytes that the newest release added, beside those of the partitions whose rows differ."""
    release = current_release(lake)
    assert release
    fresh = touched = 0
    for name in {move.table for move in release.moved}:
        table, before = (open_table(lake, name, release.tables[name] - back) for back in (0, 1))
        held = {file.uri for file in before.files()}
        new = [file for file in table.files() if file.uri not in held]
        parts = {part for part in {file.part for file in new} if differs(before, table, part)}
        touched += sum(file.size for file in table.files() if file.part in parts)
        fresh += sum(file.size for file in new)
    return fresh / max(touched, 1)


def differs(before: Table, after: Table, part: date | None) -> bool:
    """True where a partition has other rows than before."""
    with connect(ENGINE) as session:
        old, new = (
            scan(session, table, [file.uri for file in table.files() if file.part == part])
            for table in (before, after)
        )
        both = f"(({new}) except all ({old})) union all (({old}) except all ({new}))"
        return bool(session.execute(f"select 1 from ({both}) limit 1").fetchall())


def compare(small: int, large: int) -> None:
    """Print the figures of the mission's tables, then of all."""
    # Nothing is deleted before the end: a disk is slow to give out again what it got back a minute ago.
    with tempfile.TemporaryDirectory() as folder:
        for title, names in (("the mission's tables", MISSION), ("all tables", ())):
            print(title)
            seconds = [
                of_shop(Path(folder) / f"{len(names)}-{orders}", orders, names) for orders in (small, large)
            ]
            print(f"  large / small: {seconds[1] / seconds[0]:.2f} x the time")


def set_aside(lake: Lake, place: Path) -> None:
    """Move what was built out of a lake, so that bronze alone is in it."""
    place.mkdir()
    for found in Path(lake.root).iterdir():
        if found.name != "bronze":
            found.rename(place / found.name)


def of_shop(folder: Path, orders: int, names: Sequence[str]) -> float:
    """Print what builds of a shop cost; return the seconds of one for a few changed orders."""
    lake = Lake(root=str(folder / "lake"))
    make(lake, orders)
    rounds: list[tuple[float, float, list[float]]] = []
    for number in range(ROUNDS):
        set_aside(lake, folder / f"built-{number}")
        plain = native(lake, wanted(names), folder / f"own-{number}.duckdb")
        told = build(lake, names)
        rounds.append((told[0] / plain, plain, told))
    ratio, plain, (full, cpu, _, _) = sorted(rounds)[ROUNDS // 2]
    beside = f"plain DuckDB {plain:6.2f} s = {ratio:.2f} x ({', '.join(f'{one[0]:.2f}' for one in rounds)})"
    peak = max(told[-1] for *_, told in rounds)
    print(f"  {orders:9,} orders: full build {full:6.2f} s, {beside}; {cpu:.2f} s of CPU, {peak:.0f} MB")
    found: list[list[float]] = []
    for minute in range(1, ROUNDS + 1):
        change(lake, orders, minute)
        found.append(build(lake, names))
    seconds, cpu, whole, _ = sorted(found)[ROUNDS // 2]
    print(
        f"            {CHANGED} changed: {seconds:.2f} s, {cpu:.2f} s of CPU ({whole:.2f} with the start of"
        f" Python), {max(peak for *_, peak in found):.0f} MB;"
        f" bytes written / of partitions that differ {written(lake):.2f}"
    )
    return seconds


@click.command()
@click.option("--small", default=100_000, show_default=True, help="Orders of the small shop.")
@click.option("--large", default=1_000_000, show_default=True, help="Orders of the large shop.")
@click.option("--one", "root", help="Only build this lake, and say what it took.")
@click.option("--full", is_flag=True)
@click.argument("names", nargs=-1)
def main(small: int, large: int, root: str | None, full: bool, names: tuple[str, ...]) -> None:
    """Print the figures."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if root:
        one(root, names, full=full)
    else:
        compare(small, large)


if __name__ == "__main__":
    main()
