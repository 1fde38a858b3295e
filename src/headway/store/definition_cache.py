"""What every decision needs at hand: task definitions, queues, and the counters, mirrored from the store.

Writers alone change it, after the commit that made the change durable.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, TypeVar

import msgspec

from headway.kernel.organisation import Organisation
from headway.kernel.query import RunFilter
from headway.kernel.run import State
from headway.kernel.space import Space
from headway.kernel.task import Task
from headway.kernel.worker import Queue
from headway.store.database import Database
from headway.store.meters import Meters

T = TypeVar("T")

log = logging.getLogger("headway.catalog")

decode_task = msgspec.json.Decoder(Task).decode

QUEUED: Final = State.QUEUED  # a member is looked up through its class's descriptor: too slow for every commit
LOOKS_MAX: Final = 20
"""How often the store is read anew because the server's other writer has committed meanwhile."""

Lane = tuple[str, str]
"""(queue, task): what a claim probes."""

Counts = dict[tuple[str, str, str], int]
"""(task, queue, state) → how many runs."""


class DefinitionCache:
    """Definitions and counters in memory.

    Where several servers share a database, each reads all of it again now and then, and whenever another says that it
    has changed: its own part is exact, the others' is a moment old.
    """

    def __init__(self, *, shared: bool = False, shard: int = 0) -> None:
        """`shard` says which rows of the counters are this server's."""
        self.shared = shared
        self.shard = shard
        self.tasks: dict[str, Task] = {}
        self.queues: dict[str, Queue] = {}
        self.organisations: dict[int, Organisation] = {}
        self.counts: Counts = {}
        """(task, queue, state) → number of runs; the queue's name says which organisation's."""
        self.lanes_with_work: frozenset[Lane] = frozenset()
        """Lanes that have queued runs."""
        self.served: dict[int, int] = {}
        """Organisation → at which turn it was served last, since several have had runs ready at once."""
        self.turns = 0
        self.finished: Counts = {}
        """(task, queue, final state) → how many runs ended so since this server began; retention does not lower it."""
        self.meters = Meters()
        self.started: dict[tuple[str, str], int] = {}
        """(task, queue) → how many runs were started since this server began."""
        self._lock = threading.Lock()
        """Held for a moment by whoever changes what is above: a server may have two writers."""
        self._committing = 0
        """Transactions that may be in the store already, and are not in what is above yet."""
        self._commits = 0

    def load(self, database: Database) -> None:
        """Read everything from the store."""

        def read() -> tuple[list[Task], list[Queue], list[Organisation], Counts]:
            return (
                _tasks_in(database),
                [Queue(*row) for row in database.rows("read_queues")],
                [Organisation(*row) for row in database.rows("read_organisations")],
                _counts_in(database),
            )

        def take(found: tuple[list[Task], list[Queue], list[Organisation], Counts]) -> None:
            tasks, queues, organisations, counts = found
            self._take_counts(counts)
            self.tasks = {task.name: task for task in tasks}
            self.queues = {queue.name: queue for queue in queues}
            self.organisations = {organisation.id: organisation for organisation in organisations}

        self._between_commits(read, take)

    def recount(self, database: Database) -> None:
        """Read the counters from the store."""

        def take(counts: Counts) -> None:
            self._take_counts(counts)

        self._between_commits(lambda: _counts_in(database), take)

    def _between_commits(self, read: Callable[[], T], take: Callable[[T], None]) -> None:
        """Take over what the store says, read at a moment at which nothing is in one of the two only.

        What the server's other writer commits meanwhile would be counted twice, or not at all, until the next look.
        """
        for _ in range(LOOKS_MAX):
            with self._lock:
                before = None if self._committing else self._commits
            found = read()
            with self._lock:
                if self._commits == before and not self._committing:
                    take(found)
                    return
        with self._lock:  # it commits all the time: what is off by one commit is right after the next look
            take(found)

    def _take_counts(self, counts: Counts) -> None:
        """Replace the counters."""
        self.counts = counts
        self.lanes_with_work = frozenset(
            (queue, task) for (task, queue, state), n in counts.items() if n > 0 and state == State.QUEUED
        )

    def expect(self, lanes: Iterable[Lane]) -> None:
        """Take in that another server has put runs into these lanes; the next `load` tells how many."""
        expected = {(task, queue, str(State.QUEUED)): 1 for queue, task in lanes}
        with self._lock:
            self._take_counts(self.counts | {place: max(n, self.counts.get(place, 0)) for place, n in expected.items()})

    def task(self, name: str) -> Task:
        """Return the definition; a run whose task was never declared here is judged by the defaults."""
        return self.tasks.get(name) or Task(name=name)

    @contextlib.contextmanager
    def committing(self) -> Iterator[None]:
        """Say that a transaction commits; what it has changed is to be applied before this is left."""
        with self._lock:
            self._committing += 1
        try:
            yield
        finally:
            with self._lock:
                self._committing -= 1
                self._commits += 1

    def add(self, counts: Counts, finished: Counts, started: dict[tuple[str, str], int]) -> None:
        """Apply the counter changes of a committed transaction."""
        with self._lock:
            # Others read them while they change: what gets a new place is a new dictionary.
            if counts.keys() - self.counts.keys():
                self.counts = dict.fromkeys(counts, 0) | self.counts
            if finished.keys() - self.finished.keys():
                self.finished = dict.fromkeys(finished, 0) | self.finished
            for mine, changes in ((self.counts, counts), (self.finished, finished)):
                for place, delta in changes.items():
                    mine[place] += delta
            for place in counts:
                if place[2] == QUEUED and ((place[1], place[0]) in self.lanes_with_work) != (self.counts[place] > 0):
                    self.lanes_with_work ^= {(place[1], place[0])}
            for lane, number in started.items():
                self.started[lane] = self.started.get(lane, 0) + number

    def learn(self, tasks: dict[str, Task], queues: dict[str, Queue], organisations: dict[int, Organisation]) -> None:
        """Take over the definitions that a committed transaction has changed."""
        with self._lock:  # others read these too
            if tasks:
                self.tasks = self.tasks | tasks
            if queues:
                self.queues = self.queues | queues
            if organisations:
                self.organisations = self.organisations | organisations

    def serve(self, organisations: Iterable[int]) -> None:
        """Note who had a turn, one after the other. What is undone later has had its turn all the same."""
        for organisation in organisations:
            self.turns += 1
            self.served[organisation] = self.turns

    def count(self, *, task: str | None = None, queue: str | None = None, state: State | None = None) -> int:
        """Return how many runs there are of a task, in a queue, in a state."""
        return sum(
            n
            for (of_task, in_queue, in_state), n in self.counts.items()
            if task in (None, of_task) and queue in (None, in_queue) and state in (None, in_state)
        )

    def count_wanted(self, wanted: RunFilter) -> int:
        """Return how many runs there are of the tasks, queues and states wanted, whatever else is wanted of them."""
        owns = Space(wanted.organisation).owns
        return sum(
            n
            for (task, queue, state), n in self.counts.items()
            if owns(queue)
            and (not wanted.task or task in wanted.task)
            and (not wanted.queue or queue in wanted.queue)
            and (not wanted.state or state in wanted.state)
        )

    def shown(self) -> list[tuple[tuple[str, str, str], int]]:
        """Return the counters as people see them: those above zero.

        That a run of another server is taken here is counted at once, that it was put there at the next `recount`: between
        the two there are fewer than none.
        """
        return [(place, n) for place, n in self.counts.items() if n > 0]

    def by_state(self, space: Space, *, tasks: Collection[str] = (), queue: str | None = None) -> dict[str, int]:
        """Return an organisation's counts by state, in the order of states, of some tasks or of a queue or of everything."""
        totals: dict[str, int] = {}
        for (of_task, in_queue, state), n in self.shown():
            if (not tasks or of_task in tasks) and queue in (None, in_queue) and space.owns(in_queue):
                totals[state] = totals.get(state, 0) + n
        return {str(state): totals[state] for state in State if state in totals}

    def lanes_of(self, task: str) -> list[Lane]:
        """Return the lanes of a task that may have queued runs: where others may have put some, all that there can be."""
        if self.shared:
            return [(queue, task) for queue in self.queues]
        return [lane for lane in self.lanes_with_work if lane[1] == task]

    def lanes_in(self, queue: str) -> list[Lane]:
        """Return the lanes of a queue that may have queued runs."""
        if self.shared:
            return [(queue, task) for task in self.tasks]
        return [lane for lane in self.lanes_with_work if lane[0] == queue]


def _tasks_in(database: Database) -> list[Task]:
    """Return the tasks; one that was damaged on disk counts as not declared until a worker declares it."""
    found = []
    for (text,) in database.rows("read_tasks"):
        try:
            found.append(decode_task(text))
        except msgspec.DecodeError:
            log.error("catalog.damaged definition=%r", text[:200])  # noqa: TRY400 - where it was read says nothing
    return found


def _counts_in(database: Database) -> Counts:
    return {(task, queue, state): n for task, queue, state, n in database.rows("read_counters")}
