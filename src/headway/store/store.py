"""The store: writers, reader, counters, definitions and notifications behind one object.

`write` takes a command, which is applied in a transaction together with the others that wait; its future is done when
that transaction is on stable storage. `read` never waits for a writer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

from headway.clock import Clock
from headway.errors import HeadwayError
from headway.kernel.namespace import Namespace
from headway.kernel.run import Run
from headway.notify.events import CommitEvent, Dispatcher, MessagesMissed, StorageRegained, StorageStopped
from headway.notify.local import LocalNotifier
from headway.notify.message import Message, marks_in
from headway.store.command import Command
from headway.store.counters import Counters
from headway.store.database import Database, Reading
from headway.store.definition_cache import DefinitionCache
from headway.store.disk_reserve import DiskReserve
from headway.store.peers import Peers
from headway.store.reader import Reader
from headway.store.statements import Dialect
from headway.store.unit_of_work import Announcements, HookTable, UnitOfWork
from headway.store.writer import Writer

T = TypeVar("T")


class EmptyCommit(Command[None]):
    """A commit without changes, which fails, and ends the writer, if the store is gone."""

    def apply(self, uow: UnitOfWork) -> None:
        pass


class ReloadDefinitions(Command[None]):
    """Reading of tasks, queues and counters anew."""

    def apply(self, uow: UnitOfWork) -> None:
        uow.definitions.load(uow.database)
        uow.expect(uow.counters.lanes_with_work)


class Store:
    """One database, with the parts that write and read it."""

    def __init__(
        self,
        *,
        clock: Clock,
        dialect: Dialect,
        writing: Database,
        near: Reading | None,
        far: Callable[[], Reading] | None,
        readers: int = 1,
        reporting: Database | None = None,
        peers: Peers | None = None,
        reserve: DiskReserve | None = None,
        threaded: bool = True,
        look: Callable[[], bool] = lambda: True,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        """Connections come opened and migrated; see `store.sqlite.open` and `store.postgres.open`.

        With `peers` the database is shared with other servers. It may then have a second connection that writes: for
        what workers report. `look` tells whether what is written will be found again.
        """
        self.clock = clock
        self.dialect = dialect
        """Spelling of statements that depend on a request."""
        self.counters = Counters()
        self.definitions = DefinitionCache(self.counters, shared=peers is not None)
        self.definitions.load(writing)
        self.notifier = LocalNotifier()
        self.read = Reader(dialect, clock, self.definitions, near, far, readers)
        self.peers = peers
        self.generation = 0
        """Raised by every commit that may have changed a run, here or elsewhere, before anyone is woken."""
        self.events = Dispatcher()
        self._connections = [writing] if reporting is None else [writing, reporting]
        self._reserve = reserve
        self._look = look
        self._on_close = on_close
        self._tasks: set[asyncio.Task[None]] = set()
        cache: dict[str, Run] = {}
        self.writers = tuple(
            Writer(
                database,
                self.definitions,
                clock,
                on_commit=self._reported if second else self._committed,
                on_broken=lambda error: self.events.publish(StorageStopped(error)),
                messages=None if peers is None else peers.messages,
                on_regained=self._back,
                threaded=threaded,
                cache=cache,
                second=bool(second),
            )
            for second, database in enumerate(self._connections)
        )
        self.writer = self.writers[0]
        if reserve is not None:
            self.writer.full = not reserve.hold()

    @property
    def reserve_made(self) -> Path | None:
        """The reserve file, if it was made when this store was opened."""
        return self._reserve.path if self._reserve is not None and self._reserve.made else None

    def install(
        self, hooks: HookTable, relayed: Iterable[type[CommitEvent]] = (), removals: Iterable[str] = ()
    ) -> None:
        """Take the parts of features, once, before `start`: hooks, events that servers relay, statements for removed runs."""
        for writer in self.writers:
            writer.hooks, writer.removals = hooks, tuple(removals)
        if self.peers is not None:
            self.peers.relayed = {kind.relay: kind for kind in relayed}

    def start(self) -> None:
        """Begin writing, and hearing other servers, on the running event loop."""
        for writer in self.writers:
            writer.start()
        if self.peers is not None:
            self.peers.begin(self._heard)

    def write(self, command: Command[T]) -> asyncio.Future[T]:
        """Apply a command in a transaction; the future is done when the transaction is on stable storage.

        Where two writers share the work, commands that trust the copies of runs in memory, which are reports, go to the
        second: while the database executes the statements of one, the other decides, and claims do not wait for reports.
        """
        return (self.writers[-1] if command.trusts else self.writer).write(command)

    async def write_when_ready(
        self,
        command: Command[list[T]],
        wait_s: float,
        undelivered: Callable[[list[T]], Awaitable[None]],
        enough: asyncio.Future[None] | None = None,
    ) -> list[T]:
        """Apply a command with `lanes` now and whenever one of them becomes ready, until it returns something or time is up.

        The wait also ends when `enough` is done. If the caller is cancelled while it waits, a late result goes to `undelivered`.
        """
        future = self.writer.write(command)
        loop = asyncio.get_running_loop()

        def give_up(_: object = None) -> None:
            self.writer.cancel(command)

        # The future is awaited itself, since everything between it and the caller is another turn of the loop.
        timer = loop.call_later(wait_s, give_up) if wait_s > 0 else None
        if timer is None and not future.done():
            give_up()
        if enough is not None:
            enough.add_done_callback(give_up)
        try:
            return await future or []
        except asyncio.CancelledError:
            if not command.settled:  # the future was cancelled with its caller: a new one takes a late result
                command.future = loop.create_future()
                give_up()
                await command.future
            await undelivered(command.result or [])
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if enough is not None:
                enough.remove_done_callback(give_up)

    @property
    def full(self) -> bool:
        """Whether starts are refused because the disk is full."""
        return any(writer.full for writer in self.writers)

    @property
    def down(self) -> bool:
        """Whether the database cannot be reached."""
        return any(writer.down for writer in self.writers)

    @property
    def broken(self) -> bool:
        """Whether nothing can be written any more."""
        return any(writer.broken is not None for writer in self.writers)

    @property
    def busy_ms(self) -> int:
        """Milliseconds for which the current database operation has been running; large if the database hangs."""
        since = [since_ms for writer in self.writers if (since_ms := writer.busy_since_ms) is not None]
        return self.clock.monotonic_ms() - min(since) if since else 0

    @property
    def cached_bytes(self) -> int:
        """Memory of this process that the database's pages take, in bytes."""
        return self._connections[0].cached_bytes()

    def check_space(self) -> None:
        """Release the reserve on a full disk, restore it when there is space again; called by a loop.

        Where nothing is written, it is also what finds out that the store is gone.
        """
        if not self._look():
            self.soon(lambda: self.write(EmptyCommit()))
            return
        if self._reserve is None:
            for writer in self.writers:
                writer.full = False  # the next start finds out
            return
        if self.writer.full:
            if self._reserve.held:
                self._reserve.release()
            elif self._reserve.hold():
                self.writer.full = False
        elif not self._reserve.held:
            self.writer.full = not self._reserve.hold()

    async def know(self, namespace: Namespace, tasks: Iterable[str]) -> None:
        """Refresh the definitions if one of an organisation's tasks is not in them: another server may have just declared it."""
        if self.definitions.shared and any(namespace.find(self.definitions.tasks, name) is None for name in tasks):
            await self.refresh()

    async def refresh(self) -> None:
        """Read tasks, queues and counters anew, since other servers may have changed them."""
        await self.write(ReloadDefinitions())

    def _heard(self, message: Message | None) -> None:
        """Handle a message of another server; None: messages may have been lost."""
        self.generation += 1
        if message is None:
            self._regained()
            return
        self.notifier.publish_marks(marks_in(message))
        if message.lanes:
            self.counters.expect(message.lanes)
            self.writer.expect(message.lanes)
        if message.catalog:
            self.soon(self.refresh)
        for event in message.events:
            self.events.publish(event)

    def _back(self) -> None:
        self.events.publish(StorageRegained())
        self._regained()

    def _regained(self) -> None:
        """Wake all watchers and read the definitions anew, since messages of other servers may have been lost."""
        self.generation += 1
        self.notifier.publish_all()
        self.soon(self.refresh)
        self.events.publish(MessagesMissed())

    def soon(self, work: Callable[[], Awaitable[None]]) -> None:
        """Begin `work` on the event loop; a HeadwayError of it is dropped, since it is repeated when the database is back."""

        async def quietly() -> None:
            with contextlib.suppress(HeadwayError):  # it is down again, or closed: the next look is at the next pulse
                await work()

        task = asyncio.get_running_loop().create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _committed(self, committed: Announcements) -> None:
        self.generation += 1
        if self.notifier.watchers:
            self.notifier.publish(committed.run_ids)
        if committed.timers or committed.events:
            for event in committed.all_events():
                self.events.publish(event)

    def _reported(self, committed: Announcements) -> None:
        """Handle a commit of the second writer: claims that wait for its lanes are with the first."""
        if committed.lanes:
            self.writer.expect(committed.lanes)
        self._committed(committed)

    async def close(self) -> None:
        """Finish the running transactions, end the threads, and close the connections."""
        if self.peers is not None:
            await asyncio.to_thread(self.peers.stop)
        for writer in reversed(self.writers):  # what is reported may be what a claim waits for
            await writer.stop()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self.read.close()
        for connection in self._connections:
            if connection is not self.read.near:
                (connection.abandon if self.broken else connection.close)()
        self._on_close()
