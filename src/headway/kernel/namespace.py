"""Qualified names: stored names contain the organisation, so that names of two organisations never collide.

Organisation 1 keeps the bare name, organisation N the name behind its number and a mark that no name can contain.
Engine and storage see opaque texts; names are mapped where they come in and go out, and both ways are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from headway.kernel.query import FIRST, RunFilter
from headway.kernel.run import Run
from headway.kernel.task import Task
from headway.kernel.worker import Queue, Worker

MARK: Final = "\x1f"
"""Separator of an organisation's number and a name: a control character that no name or key may have."""

_encode: Final = msgspec.json.Encoder().encode
_decode_names: Final = msgspec.json.Decoder(list[str]).decode


class Namespace:
    """Names of one organisation: of tasks, queues, keys of limits, dedupe keys, idempotency keys and labels."""

    __slots__ = ("_prefix", "organisation")

    def __init__(self, organisation: int) -> None:
        self.organisation = organisation
        self._prefix = "" if organisation == FIRST else f"{organisation}{MARK}"

    def qualify(self, name: str) -> str:
        """Return the stored name; it is different for every pair of organisation and name."""
        if self._prefix:
            return self._prefix + name
        return name if MARK not in name else f"{FIRST}{MARK}{name}"

    @staticmethod
    def unqualify(stored: str) -> str:
        """Return the organisation's name for a stored name."""
        return stored.partition(MARK)[2] if MARK in stored else stored

    @staticmethod
    def owner(stored: str) -> int:
        """Return the organisation of a stored name."""
        return int(stored.partition(MARK)[0]) if MARK in stored else FIRST

    def owns(self, stored: str) -> bool:
        """Return whether a stored name is this organisation's."""
        return stored.startswith(self._prefix) if self._prefix else MARK not in stored

    # -- tasks ---------------------------------------------------------------------------------------------------------

    def tasks(self, name: str, *, shared_first: bool = False) -> tuple[str, ...]:
        """Return the stored names that a task's name may mean: the organisation's own task, or a shared one."""
        if not self._prefix:
            return (self.qualify(name),)
        shared = name if MARK not in name else f"{FIRST}{MARK}{name}"
        return (shared, self._prefix + name) if shared_first else (self._prefix + name, shared)

    def may_start(self, task: Task) -> bool:
        """Return whether the organisation may start runs of the task."""
        return task.shared or self.owns(task.name)

    def find(self, tasks: Mapping[str, Task], name: str, *, shared_first: bool = False) -> Task | None:
        """Return the task that a name means to the organisation, if it may start that task."""
        if not self._prefix:
            return tasks.get(self.qualify(name))
        for stored in self.tasks(name, shared_first=shared_first):
            task = tasks.get(stored)
            if task is not None and self.may_start(task):
                return task
        return None

    # -- objects, as the organisation sees them --------------------------------------------------------------------------

    def run(self, run: Run) -> Run:
        """Return the run with the organisation's own names."""
        if not self._prefix:
            return run
        key = None if run.key is None else self.unqualify(run.key)
        return replace(run, task=self.unqualify(run.task), queue=self.unqualify(run.queue), key=key)

    def task(self, task: Task) -> Task:
        """Return the task with the organisation's own names."""
        return replace(task, name=self.unqualify(task.name), queue=self.unqualify(task.queue)) if self._prefix else task

    def queue(self, queue: Queue) -> Queue:
        """Return the queue with the organisation's own name."""
        return replace(queue, name=self.unqualify(queue.name)) if self._prefix else queue

    def worker(self, worker: Worker) -> Worker:
        """Return the worker with the organisation's own names."""
        if not self._prefix:
            return worker
        return replace(worker, queues=_unqualified(worker.queues), tasks=_unqualified(worker.tasks))

    def wanted(self, wanted: RunFilter) -> RunFilter:
        """Return the filter with stored names."""
        if not self._prefix:
            return wanted if wanted.organisation == FIRST else replace(wanted, organisation=FIRST)
        return replace(
            wanted,
            organisation=self.organisation,
            task=tuple(stored for name in wanted.task for stored in self.tasks(name)),
            queue=tuple(map(self.qualify, wanted.queue)),
            key=None if wanted.key is None else self.qualify(wanted.key),
        )


def _unqualified(names: str) -> str:
    return _encode(list(map(Namespace.unqualify, _decode_names(names)))).decode()
