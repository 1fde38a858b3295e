"""A network of one wire: a TCP proxy whose way can be cut, in both directions or in one, softly, hard, again and again.

What is cut softly is as if packets got lost: nothing moves, nobody is told, and what was sent comes when the way is open
again. That is how TCP sees a partition that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self

PIECE: Final = 65_536
RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: on, for no time. Who closes then says that the connection is broken."""

WAYS: Final = ("full", "there", "back", "reset", "silent", "flapping")
"""Both directions; only requests; only answers; all connections are broken and none is made; connections are taken, and
then nothing is said on them, not even later; open and cut, twice a second each."""


class Wire:
    """Everything that comes to `port` goes to the target, unless it is cut."""

    def __init__(self, target: int, host: str = "127.0.0.1") -> None:
        """Nothing listens yet; `with` begins and ends it."""
        self._target = (host, target)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._there, self._back = asyncio.Event(), asyncio.Event()
        self._refuses = self._mute = False
        self._flaps: asyncio.Task[None] | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.cuts = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """Where a server of HTTP is, by this way."""
        return f"http://127.0.0.1:{self.port}"

    def cut(self, way: str) -> None:
        """Cut it, in one of the `WAYS`."""
        assert way in WAYS
        self.cuts += 1
        self._call(self._cut(way))

    def heal(self) -> None:
        """Let everything through again."""
        self._call(self._heal())

    # -- on the loop of its thread -----------------------------------------------------------------------------------------

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._there.set()
        self._back.set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        await self._heal()
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._break_all()

    async def _cut(self, way: str) -> None:
        if way in {"full", "there"}:
            self._there.clear()
        if way in {"full", "back"}:
            self._back.clear()
        if way == "reset":
            self._refuses = True
            self._break_all()
        if way == "silent":
            self._mute = True
        if way == "flapping":
            self._flaps = self._loop.create_task(self._flap())

    async def _flap(self) -> None:
        while True:
            for change in (asyncio.Event.clear, asyncio.Event.set):
                change(self._there)
                change(self._back)
                await asyncio.sleep(0.5)

    async def _heal(self) -> None:
        if self._flaps is not None:
            self._flaps.cancel()
            self._flaps = None
        if self._mute:  # what was swallowed is missing in the middle: who goes on with that would see nonsense
            self._break_all()
        self._refuses = self._mute = False
        self._there.set()
        self._back.set()

    def _break_all(self) -> None:
        for writer in tuple(self._open):
            self._break(writer)

    def _break(self, writer: asyncio.StreamWriter) -> None:
        opened = writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            if self._refuses:
                self._break(writer)
                return
            await self._there.wait()
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            self._open.add(far_writer)
            try:
                await asyncio.gather(
                    self._carry(reader, far_writer, lambda: self._there),
                    self._carry(far_reader, writer, lambda: self._back),
                )
            finally:
                self._open.discard(far_writer)
                far_writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            self._open.discard(writer)
            writer.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Callable[[], asyncio.Event]
    ) -> None:
        while piece := await reader.read(PIECE):
            await way().wait()
            if self._mute:
                continue
            writer.write(piece)
            await writer.drain()
        await way().wait()
        raise ConnectionResetError  # one end is closed: so is the other
