"""Speed of an ingest: ``python -m tests.bench.ingest [--orders N] [--million N]``.

Prints ratios to references measured in the same run: DuckDB reading the same bytes, the
request budget, and the fewest requests whose pages contain every row.
"""

import asyncio
import contextlib
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import click
import duckdb
import msgspec
import structlog

from ingest.budget import Budget
from ingest.client import Client
from ingest.entities import ORDERS
from ingest.fetching import ROWS_PER_COMMIT
from ingest.limiter import Limiter
from ingest.observations import Observation, observe
from ingest.progress import ProgressReporter
from ingest.run import RunRequest, run_sync
from ingest.sandbox.command import TEST_KEY, serving
from ingest.sandbox.settings import Sandbox
from ingest.settings import IngestSettings, SourceSettings
from ingest.writer import Writer
from lake.paths import Lake
from lake.query.session import connect
from lake.settings import LakeSettings
from tests.support.running import environ_of

# Rows per page of the CRM.
PAGE = 50


@contextlib.contextmanager
def shop_apart(*, days: int, per_minute: int) -> Iterator[str]:
    """Run the sandbox shop in its own process; yield its address."""
    environ = environ_of(
        Lake(root="none"),
        KEYLAKE_SANDBOX_PORT="0",
        KEYLAKE_SANDBOX_DAYS=str(days),
        KEYLAKE_SANDBOX_DAY_SECONDS="0",
        KEYLAKE_SANDBOX_REQUESTS_PER_MINUTE=str(per_minute),
    )
    command = [sys.executable, "-m", "ingest", "sandbox"]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as shop:
        assert shop.stdout
        try:
            yield shop.stdout.readline().split(" at ")[1].split()[0]
        finally:
            shop.terminate()


def fetch_payloads(orders: int) -> list[bytes]:
    """Return up to ``orders`` order payloads, as the bytes that the sandbox sends."""
    days = max(orders // 45, 10)
    payloads: list[bytes] = []
    with shop_apart(days=days, per_minute=0) as address:
        page = 1
        while len(payloads) < orders:
            url = f"{address}/order?limit={PAGE}&page={page}&sort=id&include={ORDERS.include}"
            request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TEST_KEY}"})
            with urllib.request.urlopen(request) as answer:
                rows = msgspec.json.decode(answer.read(), type=Rows).data
            if not rows:
                break
            payloads += [bytes(row) for row in rows]
            page += 1
    return payloads[:orders]


class Rows(msgspec.Struct):
    """The rows of a page, as bytes that are not decoded."""

    data: list[msgspec.Raw]


def type_and_append(payloads: Sequence[bytes], lake: Lake) -> float:
    """Return the seconds to hash, type and append the payloads as an ingest does, with concurrent commits."""
    writer = Writer(lake, connect(LakeSettings()), run_id="bench")
    writer.create_tables()
    began = time.perf_counter()
    commit: Future[None] | None = None
    with ThreadPoolExecutor(max_workers=1) as committer:
        for first in range(0, len(payloads), ROWS_PER_COMMIT):
            chunk = payloads[first : first + ROWS_PER_COMMIT]
            rows: list[Observation] = []
            for page in range(0, len(chunk), PAGE):
                rows += [observe(ORDERS, body, datetime.now(UTC)) for body in chunk[page : page + PAGE]]
                time.sleep(0)  # an ingest waits for the next page here, so other threads run
            if commit:
                commit.result()
            commit = committer.submit(writer.write, ORDERS, rows)
        if commit:
            commit.result()
    return time.perf_counter() - began


def read_json(payloads: Sequence[bytes], folder: Path) -> float:
    """Return the seconds that DuckDB takes to read the same bytes into its own table."""
    file = folder / "orders.ndjson"
    file.write_bytes(b"\n".join(payloads))
    session = duckdb.connect(str(folder / "own.duckdb"))
    began = time.perf_counter()
    session.execute(
        f"create table orders as from read_json('{file}', format = 'newline_delimited',"
        " maximum_object_size = 33554432)"
    )
    return time.perf_counter() - began


def typing(orders: int, rounds: int) -> None:
    """Print the times of DuckDB's read_json and of typing, hashing and appending: rounds and median."""
    payloads = fetch_payloads(orders)
    print(f"{len(payloads):,} order payloads, {sum(map(len, payloads)) / 1e6:,.0f} MB")
    timings: list[tuple[float, float, float]] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            theirs = read_json(payloads, Path(folder))
            ours = type_and_append(payloads, Lake(root=folder + "/lake"))
            again = type_and_append(payloads, Lake(root=folder + "/lake"))
        timings.append((theirs, ours, again))
        print(f"  read_json {theirs:.2f} s; ours {ours:.2f} s = {ours / theirs:.2f} x; again {again:.2f} s")
    theirs, ours, again = (statistics.median(seconds) for seconds in zip(*timings, strict=True))
    print("median of the rounds")
    print(f"  DuckDB read_json             {theirs:6.2f} s")
    print(f"  type, hash and append        {ours:6.2f} s = {ours / theirs:.2f} x")
    print(f"  the same rows once more      {again:6.2f} s = {again / theirs:.2f} x")


class RecordingLimiter(Limiter):
    """A limiter that records when each request may start."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(budget)
        self.sent: list[float] = []

    async def acquire(self) -> float:
        """Wait as the limiter does, and record when the wait ended."""
        self.sent.append(await super().acquire())
        return self.sent[-1]


class Counts(msgspec.Struct):
    """The shop's count of requests."""

    most_in_a_minute: int
    refused: int


def budget(per_minute: int) -> None:
    """Print how much of its budget a full load of about five minutes uses, and its number of requests."""
    with (
        shop_apart(days=4 * per_minute, per_minute=per_minute) as url,
        tempfile.TemporaryDirectory() as folder,
    ):
        source = SourceSettings(base_url=url, requests_per_minute=per_minute)
        limiter = RecordingLimiter(Budget(Path(folder) / "budget", requests=per_minute))
        receipt = asyncio.run(
            run_sync(
                RunRequest(kind="full"),
                Lake(root=folder + "/lake"),
                client=Client(source, key=TEST_KEY, limiter=limiter),
                settings=IngestSettings(),
                engine=LakeSettings(),
                progress=ProgressReporter(budget=per_minute, bar=False),
            )
        )
        with urllib.request.urlopen(url.removesuffix("/v1") + "/control/requests") as answer:
            counts = msgspec.json.decode(answer.read(), type=Counts)
    lists = sum(-(-window.seen // PAGE) or 1 for window in receipt.windows if window.by == "list")
    orders = sum(window.seen for window in receipt.windows if window.by == "created")
    # In the steady state, after two minutes, a request starts when the one N before it is a minute old.
    steady = limiter.sent[per_minute:]
    spans = [after - before for before, after in zip(steady, steady[per_minute:], strict=False)]
    seconds = (receipt.finished_at - receipt.started_at).total_seconds()
    print(f"full load at {per_minute} requests a minute: {receipt.verdict}, {seconds:.1f} s")
    print(f"  requests / fewest possible             {receipt.requests / (lists - -orders // PAGE):.4f}")
    if spans:
        print(f"  budget used in the steady state        {60 * len(spans) / sum(spans):.1%}")
    most, refused = counts.most_in_a_minute, counts.refused
    print(f"  most requests in any 60 s              {most} of {per_minute}, {refused} refused")


def million(orders: int) -> None:
    """Print the peak memory of a full load of a very large shop, run in its own process."""
    shop = Sandbox(port=0, start=date(1971, 1, 1), days=orders // 50, day_seconds=0, requests_per_minute=0)
    with serving(shop) as running, tempfile.TemporaryDirectory() as folder:
        environ = environ_of(Lake(root=folder + "/lake"), running.url)
        child = subprocess.Popen(
            [sys.executable, "-m", "ingest", "full"],
            env=environ,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        peak = 0
        while child.poll() is None:
            peak = max(peak, peak_of(child.pid))
            time.sleep(0.2)
        output = child.stdout.read().decode() if child.stdout else ""
    print(output.strip() or f"exit {child.returncode}")
    print(f"  peak memory of the ingest {peak / 1024:,.0f} MB")


def peak_of(process: int) -> int:
    """Return the peak memory of a process in kB since its program started; 0 if it can't be read."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


@click.command()
@click.option("--orders", default=100_000, show_default=True, help="Payloads to type.")
@click.option(
    "--rounds",
    default=5,
    type=click.IntRange(min=1),
    show_default=True,
    help="Rounds of typing; the median counts.",
)
@click.option("--per-minute", default=600, show_default=True, help="Budget of the full load.")
@click.option(
    "--million", "large", type=int, help="Also load a shop of this many orders and print the peak memory."
)
def main(orders: int, rounds: int, per_minute: int, large: int | None) -> None:
    """Print the figures of an ingest."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    typing(orders, rounds)
    budget(per_minute)
    if large:
        million(large)


if __name__ == "__main__":
    main()
