"""A pool of reading threads, each with a connection of its own; reads have timeouts and can be cancelled.

A read that times out, or whose client has disconnected, is interrupted in the database. Its thread, and its place in
the organisation's share, are free again once the database has ended it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from headway.clock import Clock
from headway.errors import Overloaded, QueryTooCostly, StorageBusy, StorageUnavailable
from headway.round_robin import RoundRobin
from headway.store.database import DatabaseGone, DatabaseLocked, Interrupted, Reading
from headway.store.query_context import QueryContext

T = TypeVar("T")

TURN_S: Final = 30.0
"""Seconds that a read waits for a thread before it is refused."""
LOOK_S: Final = 0.5
"""Seconds between checks whether a waiting read has begun."""
NOTICED_S: Final = 5.0
"""Seconds in which a database has to end an interrupted statement; after that it counts as unavailable."""
AGAIN_S: Final = 0.02
"""Seconds between interrupts of the same read: an interrupt between two of its statements has no effect."""
GONE_MS: Final = 500
"""Milliseconds after a failed connection attempt in which no other is made."""


class _Read(Generic[T]):
    """One read: its work, and the future of its caller."""

    __slots__ = ("began_s", "ended", "future", "lane", "loop", "over", "timer", "work")

    def __init__(self, work: Callable[[Reading], T], lane: int | None) -> None:
        self.work = work
        self.lane = lane
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[T] = self.loop.create_future()
        self.timer: asyncio.TimerHandle | None = None
        self.began_s = 0.0
        """Start on a thread, by the monotonic clock in seconds; 0 before."""
        self.over = False
        """Whether the read is interrupted: it must not begin another statement."""
        self.ended = False
        """Whether a thread has finished the read."""

    def settle(self, result: T | None, failure: BaseException | None) -> None:
        """Set the future, unless it is done already; on the event loop."""
        if self.future.done():
            return
        if failure is None:
            self.future.set_result(result)  # type: ignore[arg-type]  # work returned a T
        else:
            self.future.set_exception(failure)


class _ReaderThread:
    """A thread's connection, and the read that runs on it.

    The lock is held during an interrupt, so that it cannot hit the next read on the connection.
    """

    __slots__ = ("connection", "lock", "read")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: Reading | None = None
        self.read: _Read[Any] | None = None

    def interrupt(self, read: _Read[Any]) -> None:
        """Interrupt this read, if it runs here."""
        with self.lock:
            if self.read is read and self.connection is not None:
                self.connection.interrupt()


def turns(threads: int) -> RoundRobin[Any]:
    """Return the round robin of reads: one thread is left for the server's own, one for those of other organisations."""
    return RoundRobin(threads, shared=max(1, threads - 1), each=max(1, threads - 2))


class ReaderPool:
    """Reading threads, up to `number`, started as they are needed."""

    def __init__(self, number: int, connect: Callable[[], Reading], clock: Clock) -> None:
        """`connect` opens a thread's connection; it is called on that thread."""
        self._connect = connect
        self._clock = clock
        self._lock = threading.Lock()
        self._turns: RoundRobin[_Read[Any]] = turns(number)
        self._ready: SimpleQueue[_Read[Any] | None] = SimpleQueue()
        """Reads that may begin; there is a thread for each of them."""
        self._seats: list[_ReaderThread] = []
        self._threads: list[threading.Thread] = []
        self._gone_until_ms = 0
        self._closing = False

    @property
    def busy(self) -> int:
        """Number of running reads."""
        return self._turns.busy

    async def read(self, work: Callable[[Reading], T], context: QueryContext | None, *, limited: bool = False) -> T:
        """Call `work` with a connection on one of the threads, and return its result.

        A `limited` read ends with QueryTooCostly after its context's timeout, and with ClientDisconnected when its client
        disconnects; the server's own reads have no timeout. Raises Overloaded if no thread is free within TURN_S, and
        StorageBusy or StorageUnavailable if the database is locked or cannot be reached.
        """
        read = _Read(work, None if context is None else context.organisation)
        if context is not None and limited:
            context.wait_for(read.future)
            if read.future.done():
                return await read.future
            read.timer = read.loop.call_later(context.within_s, self._look, read, context.within_s, monotonic())
        self._submit(read)
        try:
            return await read.future
        finally:
            if read.timer is not None:
                read.timer.cancel()
            if not read.ended:
                self._give_up(read)

    def close(self) -> None:
        """Interrupt running reads, end the threads, and close the connections."""
        self._closing = True
        for seat in self._seats:
            if seat.read is not None:
                self._give_up(seat.read)
            self._ready.put(None)
        for thread in self._threads:
            thread.join()
        for seat in self._seats:
            if seat.connection is not None:
                seat.connection.close()

    def _submit(self, read: _Read[Any]) -> None:
        if self._closing:
            raise StorageUnavailable
        with self._lock:
            if not self._turns.begin(read.lane, read):
                return
            one_more = self._turns.busy > len(self._threads)
        if one_more:
            seat = _ReaderThread()
            thread = threading.Thread(target=self._serve, args=(seat,), name="headway-reader", daemon=True)
            self._seats.append(seat)
            self._threads.append(thread)
            thread.start()
        self._ready.put(read)

    # -- timeouts and cancelling ---------------------------------------------------------------------------------------

    def _look(self, read: _Read[Any], within_s: float, asked_s: float) -> None:
        """Interrupt a read that has timed out. Its timeout begins when it runs; until then TURN_S limits the wait."""
        if read.future.done():
            return
        if read.over:
            read.future.set_exception(StorageUnavailable())
            return
        left_s = (read.began_s + within_s if read.began_s else asked_s + TURN_S) - monotonic()
        if left_s <= 0 and not read.began_s:
            read.future.set_exception(Overloaded())
            return
        if left_s <= 0:
            self._give_up(read)
            left_s = NOTICED_S
        elif not read.began_s:
            left_s = min(left_s, LOOK_S)  # its turn may come soon
        read.timer = read.loop.call_later(left_s, self._look, read, within_s, asked_s)

    def _give_up(self, read: _Read[Any]) -> None:
        with self._lock:
            if self._turns.forget(read.lane, read) or read.over:
                return
            read.over = True
        # On a thread of its own: an interrupt may be a request over the network.
        threading.Thread(target=self._interrupt, args=(read,), name="headway-interrupt", daemon=True).start()

    def _interrupt(self, read: _Read[Any]) -> None:
        pause = threading.Event()
        while not read.ended:
            for seat in self._seats:
                seat.interrupt(read)
            pause.wait(AGAIN_S)

    # -- on a reading thread ---------------------------------------------------------------------------------------------

    def _serve(self, seat: _ReaderThread) -> None:
        while (read := self._ready.get()) is not None:
            following: _Read[Any] | None = read
            while following is not None:
                following = self._carry_out(seat, following)

    def _carry_out(self, seat: _ReaderThread, read: _Read[Any]) -> _Read[Any] | None:
        """Carry out a read, and return the next one, if there is one."""
        result, failure = None, None
        with seat.lock:
            seat.read = read
        read.began_s = monotonic()
        try:
            result = self._on_connection(seat, read)
        except BaseException as error:  # noqa: BLE001 - it is raised in the caller
            failure = error
        with seat.lock:
            seat.read = None
        read.ended = True
        with self._lock:
            following = self._turns.end(read.lane)
        with contextlib.suppress(RuntimeError):  # the loop is closed, and the caller gone
            read.loop.call_soon_threadsafe(read.settle, result, failure)
        return following

    def _on_connection(self, seat: _ReaderThread, read: _Read[T]) -> T:
        if self._clock.monotonic_ms() < self._gone_until_ms:
            raise StorageUnavailable
        try:
            if read.over or self._closing:
                raise Interrupted
            if seat.connection is None:
                seat.connection = self._connect()
            try:
                return read.work(seat.connection)
            except DatabaseGone:  # perhaps only this connection was lost, and a read can be repeated
                if read.over:
                    raise
                seat.connection.reopen()
                return read.work(seat.connection)
        except DatabaseGone:
            self._gone_until_ms = self._clock.monotonic_ms() + GONE_MS
            raise StorageUnavailable from None
        except DatabaseLocked:
            if self._closing:
                raise StorageUnavailable from None
            raise (QueryTooCostly if read.over else StorageBusy) from None
