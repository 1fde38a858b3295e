"""Plug of the schedules: their parts of service, loops, routes, metrics and checks."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import Final

from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily

from headway.feature import Feature
from headway.features.schedules import routes, store
from headway.features.schedules.check import findings
from headway.features.schedules.declaration import ScheduleDeclarations
from headway.features.schedules.loop import SchedulerLoop
from headway.features.schedules.scheduler import Scheduler, let_next
from headway.features.schedules.service import Schedules, kept_ms
from headway.kernel.lifecycle import Event
from headway.kernel.run import FINAL, Run
from headway.runs.hooks import Hook
from headway.runs.service import Service
from headway.store.unit_of_work import UnitOfWork
from headway.store.verify import RowCheck

SLOTS_AT_ONCE: Final = 5_000
"""Slots that one transaction of the pruner removes."""


def _note_end(uow: UnitOfWork, run: Run, after: Run, event: Event) -> None:
    """Have the next run of the schedule that waits for earlier ones considered at the end of the transaction."""
    del after, event
    uow.defer(let_next, run.schedule_id)


def _metrics(service: Service) -> Iterator[Metric]:
    slots = CounterMetricFamily(
        "headway_slots", "Slots of schedules that this server decided about since it began.", labels=["outcome", "why"]
    )
    for (outcome, why), count in sorted(service.part(Scheduler).decided.items()):
        slots.add_metric([outcome, why], count)
    yield slots


async def _prune(service: Service) -> None:
    """Remove the record of old slots, before the tombstones of their runs go."""
    while await service.store.write(store.PruneSlots(kept_ms(service.settings), SLOTS_AT_ONCE)):
        pass


SCHEDULES: Final = Feature(
    name="schedules",
    hooks=(Hook(name="schedule", states=FINAL, concerns=attrgetter("schedule_id"), on_transition=_note_end),),
    relayed=(store.SlotDue,),
    parts={Scheduler: lambda service: Scheduler(service.store, service.run_factory)},
    services={
        Schedules: lambda service, organisation: Schedules(
            service.store, service.part(Scheduler), service.ids, service.settings, organisation
        )
    },
    declarations=lambda service: ScheduleDeclarations(
        service.store, service.part(Scheduler), service.schemas, service.ids, service.settings
    ),
    routes=routes.ROUTES,
    loops=(SchedulerLoop,),
    prune=_prune,
    metrics=_metrics,
    checks=(RowCheck(findings, documents={"schedules": ("definition",)}),),
)
