"""Cache of definitions that every decision needs at hand: tasks, queues and organisations, mirrored from the store.

Writers alone change it, by the commit that makes the change durable.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

import msgspec

from headway.kernel.organisation import Organisation
from headway.kernel.task import Task
from headway.kernel.worker import Queue
from headway.store.counters import Counters, Counts, Lane, read_counts
from headway.store.database import Database

log: Final = logging.getLogger("headway.catalog")

decode_task: Final = msgspec.json.Decoder(Task).decode


class Definitions(msgspec.Struct, eq=False):
    """Definitions by name, and organisations by number."""

    tasks: dict[str, Task] = {}
    queues: dict[str, Queue] = {}
    organisations: dict[int, Organisation] = {}


class DefinitionCache:
    """Definitions in memory, and the counters, which are read together with them.

    Where several servers share a database, each reads all of it again now and then, and when another reports a change.
    """

    def __init__(self, counters: Counters | None = None, *, shared: bool = False) -> None:
        """`shared` says whether other servers change the database too."""
        self.shared = shared
        self.counters = Counters() if counters is None else counters
        self.tasks: dict[str, Task] = {}
        self.queues: dict[str, Queue] = {}
        self.organisations: dict[int, Organisation] = {}
        self.served: dict[int, int] = {}
        """Organisation → number of the last turn it had, since several have had runs ready at once."""
        self.turns = 0

    def load(self, database: Database) -> None:
        """Read everything from the store."""

        def read() -> tuple[Definitions, Counts]:
            return Definitions(
                {task.name: task for task in _tasks_in(database)},
                {row[0]: Queue(*row) for row in database.rows("read_queues")},
                {row[0]: Organisation(*row) for row in database.rows("read_organisations")},
            ), read_counts(database)

        def take(found: tuple[Definitions, Counts]) -> None:
            definitions, counts = found
            self.counters.replace(counts)
            self.tasks, self.queues = definitions.tasks, definitions.queues
            self.organisations = definitions.organisations

        self.counters.read_between_commits(read, take)

    def learn(self, changed: Definitions) -> None:
        """Take over the definitions that a committed transaction has changed, within `Counters.commit`."""
        if changed.tasks:  # other threads read these: they are replaced, not changed
            self.tasks = self.tasks | changed.tasks
        if changed.queues:
            self.queues = self.queues | changed.queues
        if changed.organisations:
            self.organisations = self.organisations | changed.organisations

    def task(self, name: str) -> Task:
        """Return the definition; a run whose task was never declared here is judged by the defaults."""
        return self.tasks.get(name) or Task(name=name)

    def serve(self, organisations: Iterable[int]) -> None:
        """Give organisations their turns, one after the other; a transaction that is undone does not take them back."""
        for organisation in organisations:
            self.turns += 1
            self.served[organisation] = self.turns

    def lanes_of(self, task: str) -> list[Lane]:
        """Return the lanes of a task that may have queued runs; all possible ones if other servers may have queued some."""
        if self.shared:
            return [(queue, task) for queue in self.queues]
        return [lane for lane in self.counters.lanes_with_work if lane[1] == task]

    def lanes_in(self, queue: str) -> list[Lane]:
        """Return the lanes of a queue that may have queued runs."""
        if self.shared:
            return [(queue, task) for task in self.tasks]
        return [lane for lane in self.counters.lanes_with_work if lane[0] == queue]


def _tasks_in(database: Database) -> list[Task]:
    """Return the tasks; a definition that was damaged on disk is left out until a worker declares the task again."""
    found = []
    for (text,) in database.rows("read_tasks"):
        try:
            found.append(decode_task(text))
        except msgspec.DecodeError:
            log.error("catalog.damaged definition=%r", text[:200])  # noqa: TRY400 - where it was read says nothing
    return found
