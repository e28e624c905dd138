"""Metrics: the figures that Prometheus reads at ``/metrics``."""

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lake.releases.uncounted import Uncounted
from serve.reader import Reader


class Metrics(Collector):
    """The registry of one app. Ages are computed when the metrics are read."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "keylake_requests_total",
            "Responses by route and status",
            ["route", "status"],
            registry=self.registry,
        )
        self.query_seconds = Histogram(
            "keylake_query_seconds",
            "Seconds to compute one answer that was not cached",
            registry=self.registry,
        )
        self.registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Yield the gauges of the reader: its release, the last ingest and failed jobs."""
        now = time.time()
        run, current = self._reader.last_run, self._reader.current
        if current:
            published = current.release.published_at.timestamp()
            yield gauge("keylake_release", "Number of the release that serves", current.number)
            yield gauge(
                "keylake_release_age_seconds",
                "Seconds since a build or a compaction published it",
                max(0.0, now - published),
            )
        if run:
            yield gauge(
                "keylake_last_run_age_seconds",
                "Seconds since the last ingest ended",
                now - run.finished_at.timestamp(),
            )
            yield gauge(
                "keylake_last_run_complete", "1 if the last ingest was complete", run.verdict == "complete"
            )
        yield gauge("keylake_release_problem", "1 if a newer release can't be opened", self._reader.is_behind)
        if current and current.uncounted:
            yield from missing(current.uncounted)
        yield gauge(
            "keylake_failed_jobs",
            "Number of jobs of the schedule that failed when they last ended",
            len(self._reader.failed_jobs),
        )

    def text(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return bytes(generate_latest(self.registry))


def missing(uncounted: Uncounted) -> Iterable[GaugeMetricFamily]:
    """Yield the number of orders and expenses that are in no number, and their money by currency."""
    records = GaugeMetricFamily(
        "keylake_not_counted_records", "Orders and expenses that are in no number", labels=["kind"]
    )
    records.add_metric(["order"], uncounted.orders_count)
    records.add_metric(["expense"], uncounted.expenses_count)
    yield records
    money = GaugeMetricFamily(
        "keylake_not_counted_amount",
        "Money of the orders and expenses that are in no number",
        labels=["kind", "rule", "currency"],
    )
    for row in uncounted.rows:
        money.add_metric([row.kind, row.rule, row.currency], float(row.amount))
    yield money


def gauge(name: str, about: str, value: float) -> GaugeMetricFamily:
    """Return a gauge with one value and no labels."""
    return GaugeMetricFamily(name, about, value=float(value))
