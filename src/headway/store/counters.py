"""Counters of runs: how many there are by task, queue and state, and what happened since this server began.

Those by state are mirrored from the store. Writers alone change them, by the commit that makes the change durable. The
meters of tasks (waits, durations, ends of attempts) and the totals of started and finished runs are in memory alone.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from headway import failpoints
from headway.histogram import Histogram
from headway.kernel.namespace import Namespace
from headway.kernel.query import RunFilter
from headway.kernel.run import State
from headway.store.database import Database

T = TypeVar("T")

QUEUED: Final = State.QUEUED  # a member is looked up through its class's descriptor: too slow for every commit
READS_MAX: Final = 20
"""Reads of the store that another writer's commits may make useless, one after the other."""
TASKS_MAX: Final = 500
"""Tasks with meters of their own, of all organisations."""
OF_ORGANISATION_MAX: Final = 100
"""Tasks of one organisation with meters of their own."""
OTHER: Final = "(other)"
"""Stands for the tasks without meters of their own."""
BOUNDS_S: Final = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
OUTCOMES: Final = (
    "succeeded", "errored", "crashed", "suspended", "slept", "released", "held", "stopped", "abandoned",
)  # fmt: skip
"""Ends of an attempt, in the words of the history."""
CLAIMED: Final = "claimed"
RETRIED: Final = "retried"
POISONED: Final = "poisoned"
ENDED: Final = "ended"

Lane = tuple[str, str]
"""(queue, task): the unit of a claim's search."""
Counts = dict[tuple[str, str, str], int]
"""(task, queue, state) → number of runs."""
Note = tuple[int, str, str, int]
"""Organisation, task, what happened, and milliseconds: of `CLAIMED` the wait, else from the first start to the end of the
run, or -1 if it goes on."""


class CounterChanges(msgspec.Struct, eq=False):
    """Changes of the counters by one transaction."""

    counts: Counts = {}
    finished: Counts = {}
    started: dict[tuple[str, str], int] = {}
    """(task, queue) → number of runs."""
    notes: list[Note] = []
    """Notes for the meters of tasks."""


class TaskMeters:
    """The meters of one task."""

    __slots__ = ("counts", "durations", "waits")

    def __init__(self) -> None:
        self.waits = Histogram(BOUNDS_S)
        """Waits, from the time at which a run may start to its claim."""
        self.durations = Histogram(BOUNDS_S)
        """Durations of ended runs from their first start, with all attempts and waits between them."""
        self.counts = dict.fromkeys((*OUTCOMES, RETRIED, POISONED), 0)


class Counters:
    """Counters in memory, changed by commits.

    Where several servers share a database, each reads the counts again now and then, and when another reports a change:
    its own part is exact, the others' is a moment old.
    """

    def __init__(self, *, shard: int = 0) -> None:
        """`shard` is the number of this server's rows of the counters."""
        self.shard = shard
        self.counts: Counts = {}
        """The queue's name says which organisation's runs they are."""
        self.lanes_with_work: frozenset[Lane] = frozenset()
        """Lanes that have queued runs."""
        self.finished: Counts = {}
        """Runs that ended since this server began, by final state; retention does not lower it."""
        self.started: dict[tuple[str, str], int] = {}
        """(task, queue) → runs that were started since this server began."""
        self._meters: dict[tuple[int, str], TaskMeters] = {}
        """Meters by organisation and task. Their number is bounded, since each is some forty series of Prometheus; the tasks
        beyond it share the meters of `OTHER`."""
        self._meters_of: Counter[int] = Counter()
        self._lock = threading.Lock()
        """Held for each change: a server may have two writers."""
        self._committing = 0
        """Transactions that may be in the store already, and are not counted yet."""
        self._commits = 0

    def commit(
        self,
        database: Database,
        messages: Sequence[str],
        changes: CounterChanges,
        learn: Callable[[], None] | None = None,
    ) -> None:
        """Commit the database's transaction, then count its changes and call `learn`; `read_between_commits` sees both or neither."""
        with self._lock:
            self._committing += 1
        try:
            database.commit(messages)
            if failpoints.ARMED:
                failpoints.point("writer.after_commit")
            with self._lock:
                self._add(changes)
                if learn is not None:
                    learn()
        finally:
            with self._lock:
                self._committing -= 1
                self._commits += 1

    def _add(self, changes: CounterChanges) -> None:
        # Other threads read these dictionaries while they change: new groups come with a new dictionary.
        if changes.counts.keys() - self.counts.keys():
            self.counts = dict.fromkeys(changes.counts, 0) | self.counts
        if changes.finished.keys() - self.finished.keys():
            self.finished = dict.fromkeys(changes.finished, 0) | self.finished
        for mine, deltas in ((self.counts, changes.counts), (self.finished, changes.finished)):
            for group, delta in deltas.items():
                mine[group] += delta
        for group in changes.counts:
            if group[2] == QUEUED and ((group[1], group[0]) in self.lanes_with_work) != (self.counts[group] > 0):
                self.lanes_with_work ^= {(group[1], group[0])}
        for lane, number in changes.started.items():
            self.started[lane] = self.started.get(lane, 0) + number
        if not changes.notes:
            return
        known, name = None, ""
        for organisation, task, what, ms in changes.notes:
            if task is not name or organisation != known:  # most notes of a transaction are of one task
                meters = self._meters.get((organisation, task)) or self._new_meters(organisation, task)
                known, name = organisation, task
            if what is CLAIMED:
                meters.waits.note(max(0, ms) / 1000)
                continue
            if what is not ENDED:
                meters.counts[what] += 1
            if ms >= 0:
                meters.durations.note(ms / 1000)

    def _new_meters(self, organisation: int, task: str) -> TaskMeters:
        if len(self._meters) >= TASKS_MAX or self._meters_of[organisation] >= OF_ORGANISATION_MAX:
            task = OTHER
        found = self._meters.get((organisation, task))
        if found is None:
            self._meters_of[organisation] += 1
            found = self._meters[organisation, task] = TaskMeters()
        return found

    def read_between_commits(self, read: Callable[[], T], take: Callable[[T], None]) -> None:
        """Call `read`, and `take` with what it returned; both again if a commit came in between.

        The changes of a commit in between would be counted twice, or not at all, until the next read.
        """
        for _ in range(READS_MAX):
            with self._lock:
                before = None if self._committing else self._commits
            found = read()
            with self._lock:
                if self._commits == before and not self._committing:
                    take(found)
                    return
        with (
            self._lock
        ):  # commits come without a pause: a count that is off by one commit is corrected by the next read
            take(found)

    def reload(self, database: Database) -> None:
        """Read the counts from the store."""
        self.read_between_commits(lambda: read_counts(database), self.replace)

    def replace(self, counts: Counts) -> None:
        """Replace the counts; called by `read_between_commits`."""
        self.counts = counts
        self.lanes_with_work = frozenset(
            (queue, task) for (task, queue, state), n in counts.items() if n > 0 and state == QUEUED
        )

    def expect(self, lanes: Iterable[Lane]) -> None:
        """Count at least one queued run in each of these lanes, on another server's word; `reload` says how many."""
        expected = {(task, queue, str(QUEUED)): 1 for queue, task in lanes}
        with self._lock:
            self.replace(self.counts | {group: max(n, self.counts.get(group, 0)) for group, n in expected.items()})

    def count(self, *, task: str | None = None, queue: str | None = None, state: State | None = None) -> int:
        """Return the number of runs of a task, in a queue, in a state."""
        return sum(
            n
            for (of_task, in_queue, in_state), n in self.counts.items()
            if task in (None, of_task) and queue in (None, in_queue) and state in (None, in_state)
        )

    def count_wanted(self, wanted: RunFilter) -> int:
        """Return the number of runs of a filter's organisation, tasks, queues and states; its other conditions are ignored."""
        owns = Namespace(wanted.organisation).owns
        return sum(
            n
            for (task, queue, state), n in self.counts.items()
            if owns(queue)
            and (not wanted.task or task in wanted.task)
            and (not wanted.queue or queue in wanted.queue)
            and (not wanted.state or state in wanted.state)
        )

    def above_zero(self) -> list[tuple[tuple[str, str, str], int]]:
        """Return the counts above zero, as people see them.

        A run that another server has queued and this one has claimed makes a count of -1 until the next `reload`: the
        claim is counted at once.
        """
        return [(group, n) for group, n in self.counts.items() if n > 0]

    def by_state(
        self, namespace: Namespace, *, tasks: Collection[str] = (), queue: str | None = None
    ) -> dict[str, int]:
        """Return an organisation's counts by state, in the order of states, of some tasks or of a queue or of everything."""
        totals: dict[str, int] = {}
        for (of_task, in_queue, state), n in self.above_zero():
            if (not tasks or of_task in tasks) and queue in (None, in_queue) and namespace.owns(in_queue):
                totals[state] = totals.get(state, 0) + n
        return {str(state): totals[state] for state in State if state in totals}

    def task_meters(self) -> list[tuple[tuple[int, str], TaskMeters]]:
        """Return the meters by organisation and task, in order."""
        with self._lock:
            found = list(self._meters.items())
        return sorted(found, key=lambda item: item[0])


def read_counts(database: Database) -> Counts:
    """Return the counts that the store has."""
    return {(task, queue, state): n for task, queue, state, n in database.rows("read_counters")}
