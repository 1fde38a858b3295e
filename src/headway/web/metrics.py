"""Prometheus metrics: the counters of the store and the API, written by the library of the text format.

No label is a run id or an error's text, so the number of series is bounded by the number of tasks and queues.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from headway.kernel.namespace import Namespace
from headway.kernel.query import FIRST
from headway.store.counters import OUTCOMES, POISONED, RETRIED
from headway.web.context import ServerContext

_USUAL: Final = frozenset({"succeeded", "errored", "crashed"})
"""Outcomes that are exported from the first attempt on, so that a rate sees the first; others once they occur."""
Place = TypeVar("Place", bound=tuple[str, ...])

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_PROCESS: Final = CollectorRegistry()
ProcessCollector(registry=_PROCESS)
PlatformCollector(registry=_PROCESS)


async def exposition(server: ServerContext, organisation: int) -> bytes:
    """Return the metrics in the text format: all for the first organisation, the operator's, else those of its runs and queues."""
    store = server.service.store
    now_ms = store.clock.now_ms()
    oldest = {}
    for name in sorted(store.definitions.queues):
        if organisation not in (FIRST, Namespace.owner(name)):
            continue
        services = server.service.of(Namespace.owner(name))
        since = await services.queues.oldest(Namespace.unqualify(name))
        oldest[name] = 0.0 if since is None else max(0, now_ms - since) / 1000
    registry = CollectorRegistry()
    registry.register(ServerCollector(server, oldest, organisation))
    return generate_latest(registry) + (generate_latest(_PROCESS) if organisation == FIRST else b"")


class ServerCollector(Collector):
    """Metric families of a server: its store, its API and its features."""

    def __init__(
        self, server: ServerContext, oldest: Mapping[str, float] = MappingProxyType({}), organisation: int = FIRST
    ) -> None:
        """`oldest` has the ages of the oldest ready runs in seconds, by the stored names of queues."""
        self._server = server
        self._oldest = oldest
        self._organisation = organisation

    def collect(self) -> Iterator[Metric]:
        yield from self._runs()
        yield from self._tasks()
        yield from self._queues()
        if self._organisation != FIRST:
            return
        yield from self._workers()
        for feature in self._server.service.features:
            if feature.metrics is not None:
                yield from feature.metrics(self._server.service)
        yield from self._store()
        yield from self._http()

    def _runs(self) -> Iterator[Metric]:
        lane = ["organisation", "task", "queue"]
        runs = GaugeMetricFamily("headway_runs", "Runs in the store.", labels=[*lane, "state"])
        finished = CounterMetricFamily(
            "headway_runs_finished", "Runs that ended since this server began.", labels=[*lane, "state"]
        )
        started = CounterMetricFamily(
            "headway_runs_started", "Runs that were started since this server began.", labels=lane
        )
        counters = self._server.service.store.counters
        for family, counts in ((runs, counters.counts), (finished, counters.finished)):
            for (task, queue, state), count in self._shown(counts):
                family.add_metric([*_lane(task, queue), state], max(0, count))  # see Counters.above_zero
        for (task, queue), count in self._shown(counters.started):
            started.add_metric(_lane(task, queue), count)
        yield runs
        yield started
        yield finished

    def _tasks(self) -> Iterator[Metric]:
        named = ["organisation", "task"]
        waits = HistogramMetricFamily(
            "headway_run_wait_seconds", "Time that ready runs waited for a worker.", labels=named
        )
        durations = HistogramMetricFamily(
            "headway_run_duration_seconds", "Time from the first start of a run to its end.", labels=named
        )
        attempts = CounterMetricFamily(
            "headway_attempts", "Attempts that ended, by outcome.", labels=[*named, "outcome"]
        )
        retries = CounterMetricFamily(
            "headway_retries", "Attempts that ended with an error and are made again.", labels=named
        )
        poisoned = CounterMetricFamily(
            "headway_runs_poisoned", "Runs that failed as poison: too many of their attempts crashed.", labels=named
        )
        for (organisation, task), meters in self._server.service.store.counters.task_meters():
            if self._organisation not in (FIRST, organisation):
                continue
            whose = [str(organisation), Namespace.unqualify(task)]
            for family, times in ((waits, meters.waits), (durations, meters.durations)):
                family.add_metric(whose, times.cumulated(), sum_value=times.seconds)
            for outcome in OUTCOMES:
                if meters.counts[outcome] or outcome in _USUAL:
                    attempts.add_metric([*whose, outcome], meters.counts[outcome])
            retries.add_metric(whose, meters.counts[RETRIED])
            poisoned.add_metric(whose, meters.counts[POISONED])
        yield from (waits, durations, attempts, retries, poisoned)

    def _shown(self, counts: dict[Place, int]) -> list[tuple[Place, int]]:
        """Return the organisation's counts, sorted; the queue's name tells the owner."""
        whom = self._organisation
        return sorted(item for item in counts.items() if whom in (FIRST, Namespace.owner(item[0][1])))

    def _queues(self) -> Iterator[Metric]:
        named = ["organisation", "queue"]
        depth = GaugeMetricFamily("headway_queue_depth", "Runs that wait for a worker.", labels=named)
        age = GaugeMetricFamily(
            "headway_queue_oldest_seconds", "Waiting time of the oldest run that waits for a worker.", labels=named
        )
        for stored, seconds in self._oldest.items():
            organisation, name = Namespace.owner(stored), Namespace.unqualify(stored)
            queues = self._server.service.of(organisation).queues
            depth.add_metric([str(organisation), name], queues.counts(name).get("queued", 0))
            age.add_metric([str(organisation), name], seconds)
        yield depth
        yield age

    def _workers(self) -> Iterator[Metric]:
        service = self._server.service
        yield GaugeMetricFamily(
            "headway_workers",
            "Workers connected to this server, without the server's own for built-in tasks.",
            value=service.sessions.workers,
        )
        lapsed = service.leases.expired
        yield CounterMetricFamily(
            "headway_leases_expired", "Leases that expired because their worker sent no heartbeat.", value=lapsed
        )

    def _store(self) -> Iterator[Metric]:
        store = self._server.service.store
        writers = store.writers
        batches, commands = sum(writer.batches for writer in writers), sum(writer.commands for writer in writers)
        yield CounterMetricFamily("headway_db_commits", "Committed write transactions.", value=batches)
        yield CounterMetricFamily(
            "headway_db_commands", "Commands in the committed write transactions.", value=commands
        )
        writes = HistogramMetricFamily("headway_db_write_seconds", "Duration of write transactions, with the commit.")
        times = writers[0].times.and_of(writer.times for writer in writers[1:])
        writes.add_metric([], times.cumulated(), sum_value=times.seconds)
        yield writes
        yield GaugeMetricFamily("headway_db_full", "Whether the disk is full.", value=int(store.full))
        yield GaugeMetricFamily(
            "headway_db_cache_bytes",
            "Memory of the page caches of SQLite: up to 32 MiB for the writer, 8 MiB for each reader.",
            value=store.cached_bytes,
        )
        silent_s = self._server.service.servers.silent_ms / 1000
        yield GaugeMetricFamily(
            "headway_pulse_age_seconds", "Time since the last heartbeat of this server.", value=silent_s
        )

    def _http(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("headway_http_requests", "HTTP responses.", labels=["route", "status"])
        seconds = HistogramMetricFamily("headway_http_request_seconds", "Duration of HTTP requests.", labels=["route"])
        for meter in self._server.meters:
            for status, count in sorted(meter.statuses.items()):
                requests.add_metric([meter.name, str(status)], count)
            if meter.statuses:
                seconds.add_metric([meter.name], meter.times.cumulated(), sum_value=meter.times.seconds)
        yield requests
        yield seconds
        yield GaugeMetricFamily("headway_streams_open", "Open event streams.", value=self._server.streams.open)


def _lane(task: str, queue: str) -> list[str]:
    return [str(Namespace.owner(queue)), Namespace.unqualify(task), Namespace.unqualify(queue)]
