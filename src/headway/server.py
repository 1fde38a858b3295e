"""Composition root: the features in the order of their hooks, the native API with their routes, loops and workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headway.feature import Feature
from headway.features.access.feature import ACCESS
from headway.features.record_tasks.feature import RECORD_TASKS
from headway.features.schedules.feature import SCHEDULES
from headway.features.tables.feature import TABLES
from headway.runs.built_in import bulk
from headway.runs.built_in.task import BuiltInTask
from headway.runs.built_in.worker import BuiltInWorker
from headway.runs.loops.loop import Loop
from headway.runs.loops.pruner import EVERY_MS, Pruner
from headway.runs.loops.rescuer import Rescuer
from headway.runs.loops.server_heartbeat import ServerHeartbeat
from headway.runs.loops.stager import Stager
from headway.runs.loops.timekeeper import Timekeeper
from headway.runs.servers import SERVER_HEARTBEAT_MS
from headway.runs.service import Service
from headway.web import routes
from headway.web.route import Route

FEATURES: Final[tuple[Feature, ...]] = (SCHEDULES, TABLES, RECORD_TASKS, ACCESS)
_ROUTES: Final[tuple[Route, ...]] = tuple(route for feature in FEATURES for route in feature.routes)
ROUTES: Final = (*routes.ROUTES, *_ROUTES)
NATIVE_SURFACE: Final = routes.native(_ROUTES)
CHECKS: Final = tuple(check for feature in FEATURES for check in feature.checks)
"""Checks of the rows of features, for `headway doctor`."""
_BUILT_IN: Final = (bulk.TASK, *(task for feature in FEATURES for task in feature.built_in_tasks))
BUILT_IN: Final[Mapping[str, BuiltInTask]] = {task.declaration.name: task for task in _BUILT_IN}
"""Built-in tasks of the core and of features, by name."""
EXECUTORS: Final = tuple(executor for feature in FEATURES for executor in feature.executors)
"""Executors of tasks that users define and the server executes."""


def begin_workers(service: Service) -> list[BuiltInWorker]:
    """Start the workers inside the server: one of the built-in tasks, and one of each executor."""
    workers = [
        BuiltInWorker.of_tasks(service, BUILT_IN),
        *(BuiltInWorker.of_executor(service, executor) for executor in EXECUTORS),
    ]
    for worker in workers:
        worker.start()
    return workers


def begin_loops(service: Service) -> list[Loop]:
    """Start the loops of a server; each is woken by the events that it names in `wakes_on`."""
    running = [
        Loop(Stager(service)),
        Loop(Rescuer(service)),
        Loop(Pruner(service), longest_s=EVERY_MS / 1000),
        *(Loop(make(service)) for feature in FEATURES for make in feature.loops),
    ]
    if service.store.peers is not None:
        # Others take it for gone before a longer wait is over.
        running.append(Loop(ServerHeartbeat(service), back_off_max_s=SERVER_HEARTBEAT_MS / 1000))

    def look_again() -> None:
        for loop in running:
            loop.wake()

    running.append(Loop(Timekeeper(service, look_again)))
    for loop in running:
        loop.subscribe(service.store.events, service.store.clock)
        loop.start()
    return running
