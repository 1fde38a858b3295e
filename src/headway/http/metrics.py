"""What Prometheus scrapes: the counters that the store keeps anyway, in the text format's own library.

Never a run id or an error's text as a label: the number of series is bounded by the tasks and queues that there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from headway.http.meter import BOUNDS_S

if TYPE_CHECKING:
    from headway.http.asgi import Api

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_PROCESS: Final = CollectorRegistry()
ProcessCollector(registry=_PROCESS)
PlatformCollector(registry=_PROCESS)


async def exposition(api: Api) -> bytes:
    """Return all metrics as they are now."""
    now_ms = api.service.store.clock.now_ms()
    oldest = {}
    for queue in api.service.queues.list():
        since = await api.service.queues.oldest(queue.name)
        oldest[queue.name] = 0.0 if since is None else max(0, now_ms - since) / 1000
    registry = CollectorRegistry()
    registry.register(_Collector(api, oldest))
    return generate_latest(registry) + generate_latest(_PROCESS)


class _Collector(Collector):
    def __init__(self, api: Api, oldest: dict[str, float]) -> None:
        self._api = api
        self._oldest = oldest

    def collect(self) -> Iterator[Metric]:
        yield from self._runs()
        yield from self._queues()
        yield from self._workers()
        yield from self._schedules()
        yield from self._store()
        yield from self._http()

    def _runs(self) -> Iterator[Metric]:
        runs = GaugeMetricFamily("headway_runs", "Runs that are kept.", labels=["state", "task", "queue"])
        finished = CounterMetricFamily(
            "headway_runs_finished", "Runs that ended since this server began.", labels=["task", "queue", "state"]
        )
        started = CounterMetricFamily(
            "headway_runs_started", "Runs that were started since this server began.", labels=["task", "queue"]
        )
        catalog = self._api.service.store.catalog
        for (task, queue, state), count in sorted(catalog.counts.items()):
            runs.add_metric([state, task, queue], count)
        for (task, queue, state), count in sorted(catalog.finished.items()):
            finished.add_metric([task, queue, state], count)
        for (task, queue), count in sorted(catalog.started.items()):
            started.add_metric([task, queue], count)
        yield runs
        yield started
        yield finished

    def _queues(self) -> Iterator[Metric]:
        depth = GaugeMetricFamily("headway_queue_depth", "Runs that wait for a worker.", labels=["queue"])
        age = GaugeMetricFamily("headway_queue_oldest_seconds", "How long the oldest of them waits.", labels=["queue"])
        for name, seconds in self._oldest.items():
            depth.add_metric([name], self._api.service.queues.counts(name).get("queued", 0))
            age.add_metric([name], seconds)
        yield depth
        yield age

    def _workers(self) -> Iterator[Metric]:
        service = self._api.service
        yield GaugeMetricFamily("headway_workers", "Workers that are heard from.", value=len(service.sessions))
        lapsed = service.workers.leases_expired
        yield CounterMetricFamily(
            "headway_leases_expired", "Leases taken from workers that went unheard.", value=lapsed
        )

    def _schedules(self) -> Iterator[Metric]:
        slots = CounterMetricFamily(
            "headway_slots",
            "Slots of schedules that this server decided about since it began.",
            labels=["outcome", "why"],
        )
        for (outcome, why), count in sorted(self._api.service.slots.decided.items()):
            slots.add_metric([outcome, why], count)
        yield slots

    def _store(self) -> Iterator[Metric]:
        writer = self._api.service.store.writer
        yield CounterMetricFamily("headway_db_commits", "Transactions that reached the disk.", value=writer.batches)
        yield CounterMetricFamily("headway_db_commands", "Commands in these transactions.", value=writer.commands)
        yield GaugeMetricFamily("headway_db_full", "Whether the disk is full.", value=int(writer.full))

    def _http(self) -> Iterator[Metric]:
        meters = self._api.meters
        requests = CounterMetricFamily("headway_http_requests", "Answers.", labels=["route", "status"])
        seconds = HistogramMetricFamily("headway_http_request_seconds", "How long answers took.", labels=["route"])
        for slot, name in enumerate(meters.names):
            for status, count in sorted(meters.statuses[slot].items()):
                requests.add_metric([name, str(status)], count)
            if meters.statuses[slot]:
                seconds.add_metric([name], _cumulated(meters.buckets[slot]), sum_value=meters.seconds[slot])
        yield requests
        yield seconds
        yield GaugeMetricFamily("headway_streams_open", "Event streams that are open.", value=self._api.streams)


def _cumulated(buckets: list[int]) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), buckets, strict=True):
        total += count
        found.append((bound, total))
    return found
