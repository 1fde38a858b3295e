"""A writer: all waiting commands go into one transaction, and each caller is answered after its commit.

This is group commit. Under load a batch has hundreds of commands and costs one fdatasync; an idle server commits one
command at a time with no delay added. Commands run in the order in which they came; a command that raises a
HeadwayError changes nothing and fails alone; if the transaction itself fails, so does every command in it.

Claims can wait: they run after the other commands of a batch, so that a run that was just started is claimed in the
same transaction, and a claim that finds nothing stays until a lane that it wants becomes ready.

An embedded file has one writer. Where the database takes several, a server has two, so that it does not stand still while
the one decides: what workers report is written beside everything else, as if by another server (see `Store.write`).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from headway import failpoints
from headway.clock import Clock
from headway.errors import (
    Draining,
    HeadwayError,
    Overloaded,
    StorageBusy,
    StorageFailed,
    StorageFull,
    StorageUnavailable,
)
from headway.histogram import Histogram
from headway.kernel.run import Run
from headway.store.command import Command
from headway.store.counters import Lane
from headway.store.database import Database, DatabaseGone, DatabaseLocked, DiskFull, Outdated, StorageBroken
from headway.store.definition_cache import DefinitionCache
from headway.store.unit_of_work import NO_HOOKS, Announcements, HookTable, UnitOfWork

T = TypeVar("T")

BATCH_MAX: Final = 2_000
"""Maximum weight of one transaction, in runs that its commands touch; it bounds the wait of later commands."""
SPOILED_MAX: Final = 3
"""Commands of one batch that may fail halfway before the rest is carried out one by one."""
TRIES_MAX: Final = 10
"""Maximum number of attempts of a transaction whose rows another server changes meanwhile."""
WAITING_MAX: Final = 20_000
"""Commands that may wait; more are refused, so that an overload stays short."""
REGAIN_S: Final = (0.05, 1.0)
"""The shortest and the longest wait between two attempts to reach a database that is gone."""
STORAGE_FAILURES: Final = (DatabaseGone, DatabaseLocked, DiskFull, Outdated, StorageBroken)
"""Errors of the database, which end the whole transaction and not one command."""

log = logging.getLogger("headway.writer")


def _fail(commands: list[Command[Any]], error: Exception) -> list[Command[Any]]:
    for command in commands:
        command.failure = error
    return commands


class _SpoiledError(Exception):
    """A command raised an unexpected exception; its writes must be rolled back."""

    def __init__(self, command: Command[Any]) -> None:
        super().__init__()
        self.command = command


@dataclass(eq=False)
class ExpectLanes(Command[None]):
    """Opening of lanes that another writer or server has filled."""

    opened: Iterable[Lane]

    def apply(self, uow: UnitOfWork) -> None:
        uow.expect(self.opened)


class Writer:
    """Owner of a connection that writes."""

    def __init__(
        self,
        database: Database,
        definitions: DefinitionCache,
        clock: Clock,
        *,
        on_commit: Callable[[Announcements], None],
        on_broken: Callable[[Exception], None],
        messages: Callable[[Announcements], Sequence[str]] | None = None,
        on_regained: Callable[[], None] = lambda: None,
        threaded: bool = True,
        cache: dict[str, Run] | None = None,
        second: bool = False,
    ) -> None:
        """`on_…` are called on the event loop; `messages` returns the messages to other servers about a commit.

        Not threaded, `write` does all at once (for tests). The `second` writer of a server has rows of the counters for
        itself, or each would wait for the other's disk; the `cache` of leased runs is that of both.
        """
        self._database = database
        self._definitions = definitions
        self._clock = clock
        self._on_commit = on_commit
        self._on_broken = on_broken
        self._messages = messages
        self._on_regained = on_regained
        self._cache = {} if cache is None else cache
        self._second = second
        self.hooks: HookTable = NO_HOOKS
        self.removals: tuple[str, ...] = ()
        self._todo: deque[Command[Any]] = deque()
        self._taken: list[Command[Any]] = []
        """Commands of the current transaction."""
        self._waiting: list[Command[Any]] = []
        """Commands that wait for lanes: long polls of claims."""
        self._opened: deque[Lane] = deque()
        """Lanes into which other writers have put runs."""
        self._cancelled = False
        """Whether some waiting command was cancelled since the writer last looked."""
        self._wake = threading.Semaphore(0)
        self._asleep = False
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = (
            threading.Thread(target=self._run, name=f"headway-writer-{2 if second else 1}", daemon=True)
            if threaded
            else None
        )
        self.full = False
        """Set when the disk is full: commands that grow the store are refused until it is cleared."""
        self.down = False
        """Set while the database cannot be reached: everything is refused, and the writer tries to connect again."""
        self.broken: Exception | None = None
        self.busy_since_ms: int | None = None
        """Start of the current database operation, by the monotonic clock."""
        self.batches = 0
        self.commands = 0
        self.times = Histogram()
        """Durations of committed transactions."""

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        if self._thread is not None:
            self._thread.start()

    def write(self, command: Command[T]) -> asyncio.Future[T]:
        """Queue a command; the future is done when its transaction is on disk."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        command.future = future
        refusal = self._refusal(command)
        if refusal is not None:
            future.set_exception(refusal)
            return future
        self._todo.append(command)
        if self._thread is None:
            self._once()
        elif self._asleep:
            self._asleep = False
            self._wake.release()
        elif self.broken is not None:  # the writer's thread broke since `_refusal`, and will not answer
            self._settle(_fail([command], StorageFailed()), None)
        return future

    def _refusal(self, command: Command[Any]) -> HeadwayError | None:
        if self.broken is not None:
            return StorageFailed()
        if self._stopping:
            return Draining()
        if self.down and self._thread is not None:
            return StorageUnavailable()
        if command.grows and self.full:
            return StorageFull()
        if command.grows and len(self._todo) > WAITING_MAX:
            return Overloaded()
        return None

    def cancel(self, command: Command[Any]) -> None:
        """Cancel a waiting command: its future is done soon, with what it got or with None."""
        command.cancelled = True
        self._cancelled = True
        self._look()

    def expect(self, lanes: Collection[Lane]) -> None:
        """Let the waiting commands try these lanes, in which another writer may have queued runs."""
        self._opened.extend(lanes)
        if self._wanted(lanes):
            self._look()

    def _look(self) -> None:
        if self._thread is None:
            self._once()
        elif self._asleep:
            self._asleep = False
            self._wake.release()

    async def stop(self) -> None:
        """Finish the queued commands, then end the thread. Waiting commands are answered with None."""
        self._stopping = True
        if self._thread is not None and self._thread.is_alive():
            self._wake.release()
            await asyncio.to_thread(self._thread.join)
        elif self._thread is None:
            self._settle([*self._waiting], None)
        self._waiting.clear()

    # -- on the writer's thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # answer the waiting callers, then end the server, so that it is started again
            log.exception("the writer has failed")
            self._answer(_fail(self._taken, StorageUnavailable()), None)
            self._break(error)
        self._answer([*self._waiting], None)

    def _work(self) -> None:
        while True:
            if not self._due():
                if self._stopping:
                    break
                self._asleep = True
                # A command that arrived between the test and the flag has not woken the thread.
                if not self._due() and not self._stopping:
                    self._wake.acquire()
                self._asleep = False
            self._once()
            if self.down:
                self._regain()
            if self.broken is not None:
                break

    def _due(self) -> bool:
        return bool(self._todo or self._cancelled or self._opened)

    def _once(self) -> None:
        if self.down and self._thread is None:
            self._reconnect()
        batch: list[Command[Any]] = []
        todo = self._todo
        weight = 0
        while todo and weight < BATCH_MAX:
            batch.append(todo.popleft())
            weight += batch[-1].weight
        self._taken = batch
        gone = self._drop_cancelled() if self._cancelled else []
        if self._opened:
            batch += self._take_in()
        if self._only_wait(batch):
            self._waiting += batch
            batch = []
        self.busy_since_ms = self._clock.monotonic_ms() if batch else None
        done, committed = self._commit(batch)
        self.busy_since_ms = None
        if gone or done or committed is not None:  # a claim that goes on waiting may have parked what it has found
            self._answer(gone + done, committed)
        self._taken = []

    def _only_wait(self, batch: list[Command[Any]]) -> bool:
        """Find the lanes that waiting commands can try; return True if there are none, and no command has to be applied now."""
        ready = self._definitions.counters.lanes_with_work
        wait = True
        for command in batch:
            if command.lanes is None:
                wait = False
                continue
            command.lanes_found = list(filter(command.lanes, ready))
            wait = wait and not command.lanes_found and not command.cancelled
        return wait and bool(batch)

    def _take_in(self) -> list[Command[Any]]:
        """Return a command that opens lanes filled by other writers, if a long poll waits for one of them."""
        opened = dict.fromkeys(self._opened.popleft() for _ in range(len(self._opened)))
        if self._wanted(opened):
            return [ExpectLanes(opened)]
        return []

    def _wanted(self, lanes: Iterable[Lane]) -> bool:
        return any(command.lanes is not None and any(map(command.lanes, lanes)) for command in tuple(self._waiting))

    def _drop_cancelled(self) -> list[Command[Any]]:
        self._cancelled = False
        gone: list[Command[Any]] = []
        waiting: list[Command[Any]] = []
        for command in self._waiting:  # test each once: a command may be cancelled between two tests
            (gone if command.cancelled else waiting).append(command)
        self._waiting = waiting
        return gone

    def _commit(self, batch: list[Command[Any]]) -> tuple[list[Command[Any]], Announcements | None]:
        """Carry out a batch; return the commands that are answered, and what changed."""
        failed: list[Command[Any]] = []
        committed: Announcements | None
        tries = 0
        while batch:
            try:
                done, committed = self._transact(batch)
            except DiskFull:
                self.full = True
                # Commands that start runs are refused, others go on; if there is no space for these either, all fail.
                refused = [command for command in batch if command.grows] or batch
                failed += _fail(refused, StorageFull())
                batch = [command for command in batch if not command.grows] if refused is not batch else []
                continue
            except Outdated as error:  # another server changed the rows: decide again on the current ones
                tries += 1
                self._cache.clear()
                log.debug("storage.outdated try=%d error=%s", tries, error)
                if tries < TRIES_MAX:
                    continue
                if len(batch) == 1:
                    return failed + _fail(batch, StorageBusy()), None
                done, committed = self._one_by_one(batch)
            except DatabaseLocked as error:
                # The wait for the lock timed out: fail this batch; later commands get a wait of their own.
                log.warning("storage.busy commands=%d error=%s", len(batch), error)
                return failed + _fail(batch, StorageBusy()), None
            except DatabaseGone as error:
                log.warning("storage.lost commands=%d error=%s", len(batch), error)
                self.down = True
                return failed + _fail(batch, StorageUnavailable()), None
            except StorageBroken as error:
                self._break(error)
                return failed + _fail(batch, StorageFailed()), None
            except _SpoiledError as error:  # it fails alone, the others are carried out again, from the start
                failed.append(error.command)
                if error.command in self._waiting:
                    self._waiting.remove(error.command)
                batch = [command for command in batch if command is not error.command]
                if len(failed) < SPOILED_MAX:
                    continue
                done, committed = self._one_by_one(batch)
            except Exception as error:
                log.exception("transaction failed")
                if len(batch) == 1:
                    return failed + _fail(batch, error), None
                done, committed = self._one_by_one(batch)  # one command caused the error: only that one fails
            return failed + done, committed
        return failed, None

    def _one_by_one(self, batch: list[Command[Any]]) -> tuple[list[Command[Any]], Announcements | None]:
        done: list[Command[Any]] = []
        together = Announcements()
        for index, command in enumerate(batch):
            answered, committed = self._commit([command])
            done += answered
            if self.broken is not None:
                return done + _fail(batch[index + 1 :], StorageFailed()), together
            if isinstance(
                command.failure, StorageBusy
            ):  # each of the others would wait for the lock as long as this one
                return done + _fail(batch[index + 1 :], StorageBusy()), together
            if committed is not None:
                together.include(committed)
        return done, together

    def _transact(self, batch: list[Command[Any]]) -> tuple[list[Command[Any]], Announcements]:
        database = self._database
        shard = -self._definitions.counters.shard if self._second else None
        tried = [*self._waiting]
        now_ms = self._clock.now_ms()
        began = time.perf_counter()
        if failpoints.ARMED:
            failpoints.point("writer.before_begin")
        database.begin()
        try:
            uow = UnitOfWork(database, self._definitions, self._cache, now_ms, shard, self.hooks, self.removals)
            run_ids: list[str] = []
            trusted: list[str] = []
            keys: list[str] = []
            for command in batch:
                (trusted if command.trusts else run_ids).extend(command.run_ids)
                keys.extend(command.keys)
            if run_ids or trusted or keys:
                uow.prefetch(run_ids, keys, trusted)
            done = []
            for command in batch:
                if command.lanes is not None:
                    tried.append(command)
                    uow.expect(command.lanes_found)
                    continue
                self._do(command, uow)
                done.append(command)
            uow.carry_out_deferred()
            served, waiting = self._serve(tried, uow) if tried else ([], tried)
            if failpoints.ARMED:
                failpoints.point("writer.after_work")
            uow.commit(self._messages)
        except BaseException:
            for command in tried:  # it may be cancelled before another try
                command.result = None  # the result belongs to a transaction that was rolled back
            database.rollback()
            raise
        self._waiting = waiting
        self.times.note(time.perf_counter() - began)
        self.batches += 1
        self.commands += len(batch)
        return served + done, uow.announced

    def _serve(self, tried: list[Command[Any]], uow: UnitOfWork) -> tuple[list[Command[Any]], list[Command[Any]]]:
        """Let the waiting commands try, first come first served; return the served and the waiting ones.

        They are answered before the commands that queued their runs, since their answers have the longer way.
        """
        served, waiting = [], []
        for command in tried:
            assert command.lanes is not None
            ready = uow.ready
            if any(map(ready.__contains__, command.lanes_found)) or any(map(command.lanes, ready)):
                self._do(command, uow)
            if command.result or command.failure is not None or command.cancelled:
                served.append(command)
            else:
                waiting.append(command)
        return served, waiting

    @staticmethod
    def _do(command: Command[Any], uow: UnitOfWork) -> None:
        """Carry out a command. If it raises after it has changed something, the unit is spoiled."""
        command.failure = None
        before = uow.changes
        try:
            command.result = command.apply(uow)
        except STORAGE_FAILURES:
            raise
        except HeadwayError as error:
            command.failure = error
            if uow.changes != before:
                raise _SpoiledError(command) from error
        except Exception as error:
            log.exception("command failed")
            command.failure = error
            raise _SpoiledError(command) from error

    def _regain(self) -> None:
        """Connect again, however long that takes. Meanwhile commands are refused; waiting commands go on waiting."""
        wait_s = REGAIN_S[0]
        while not self._stopping and self.broken is None:
            self._answer(_fail(self._take_all(), StorageUnavailable()) + self._drop_cancelled(), None)
            if self._reconnect():
                return
            self._asleep = True
            self._wake.acquire(timeout=wait_s)
            self._asleep = False
            wait_s = min(wait_s * 2, REGAIN_S[1])

    def _reconnect(self) -> bool:
        """Connect, and read again what is kept in memory; tell whether that worked."""
        self._cache.clear()
        try:
            self._database.reopen()
            self._definitions.load(self._database)
        except (DatabaseGone, DatabaseLocked):
            return False
        except StorageBroken as error:
            self._break(error)
            return False
        except Exception:  # this thread is the only one that can connect again: whatever it was, it tries on
            log.exception("storage.not_regained")
            return False
        self.down = False
        log.warning("storage.regained")
        self._opened.extend(self._definitions.counters.lanes_with_work)
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_regained)
        return True

    def _break(self, error: Exception) -> None:
        """Storage that broke a promise is not asked again: nothing is acknowledged from here on."""
        self.broken = error
        log.critical("storage is broken: %s", error)
        self._answer(_fail([*self._take_all(), *self._waiting], StorageFailed()), None)
        self._waiting.clear()
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._on_broken, error)

    def _take_all(self) -> list[Command[Any]]:
        """Take all waiting commands. Later ones stay for the next time: another queue instead would lose them."""
        return [self._todo.popleft() for _ in range(len(self._todo))]

    def _answer(self, done: list[Command[Any]], committed: Announcements | None) -> None:
        if failpoints.ARMED and committed is not None:
            failpoints.point("writer.before_answer")
        if self._thread is None:
            self._settle(done, committed)
        elif self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._settle, done, committed)

    # -- on the event loop ---------------------------------------------------------------------------------------------

    def _settle(self, done: list[Command[Any]], committed: Announcements | None) -> None:
        for command in done:
            command.settled = True
            future, failure = command.future, command.failure
            if future is None or future.done():  # its caller has gone
                continue
            if failure is None:
                future.set_result(command.result)
            elif isinstance(failure, StopIteration):  # a future takes none: this and all after it would go unanswered
                future.set_exception(RuntimeError(repr(failure)))
            else:
                future.set_exception(failure)
        if committed is not None:
            self._on_commit(committed)
