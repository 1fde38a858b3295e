"""Runs the API on uvicorn, embedded, and stops it without losing what is under way.

The first signal begins the drain: readiness says no, event streams send `reconnect`, long polls answer with what they
have, nothing more is claimed, and `on_drain` lets the application's own work end. Workers can report all the while, and
each answer closes its connection, so that clients are elsewhere by the end. When that is done, or its time is up, the
server takes who has connected already, then no more connections, finishes what it is answering, and ends: what it cannot
finish in time is told so, and is safe to ask again. The second signal ends it at once: `on_hurry` lets the application's
work be handed back, which takes a moment, and nothing is waited for after that; the third does not wait for that either.

SIGHUP reloads (`on_reload`), or begins the drain if the server's terminal was closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import signal
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from time import monotonic
from types import FrameType
from typing import Any, Final, Protocol

import msgspec
import uvicorn

from headway import hangup
from headway.config import Settings
from headway.streams import replace_lost
from headway.web.disconnect import Receive
from headway.web.listening import BACKLOG
from headway.web.protocol import Connection
from headway.web.reply import Send
from headway.web.shedder import LoadShedder

log = logging.getLogger("headway.server")

KEEP_ALIVE_S: Final = 75
LAST_ANSWERS_S: Final = 5.0
"""How long answers may take that are still on their way when the drain is over."""
LAST_WORDS_S: Final = 1.0
"""How long those may take to be told so who are not answered by then."""
LOOK_S: Final = 0.05
"""How often is looked whether all are answered."""
TAKING_TURNS: Final = 4
"""Turns of the event loop in which connections that wait in the kernel's queue are taken and what they ask is read; closing
the socket resets whatever is in the queue."""


class Served(Protocol):
    """An ASGI application that can be told to end what lasts."""

    @property
    def shedder(self) -> LoadShedder | None:
        """The load shedder; None: all requests are admitted."""
        ...

    @property
    def access_log(self) -> bool:
        """Whether each request is logged."""
        ...

    @property
    def draining(self) -> bool:
        """Whether the end has begun."""
        ...

    def drain(self) -> None:
        """Begin nothing new that lasts, and end what does."""
        ...

    def close(self) -> None:
        """End everything that lasts: the server goes now."""
        ...

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        ...


OnDrain = Callable[[], Awaitable[None] | None]


class Duties(msgspec.Struct, frozen=True, kw_only=True):
    """Callbacks for the signals of the server, called on the event loop."""

    on_drain: OnDrain = lambda: None
    """Called when the drain begins, and awaited for `settings.drain_ms` and `more_s`."""
    more_s: float = 0.0
    """Seconds on top of `settings.drain_ms`."""
    on_hurry: Callable[[], None] | None = None
    """Has what `on_drain` waits for end at once; it must end then. None: nothing is waited for."""
    on_reload: Callable[[], None] = lambda: None
    """Called on SIGHUP."""


class EmbeddedServer(uvicorn.Server):
    """uvicorn, with signals and shutdown as a service needs them."""

    def __init__(self, api: Served, duties: Duties, tls: ssl.SSLContext | None) -> None:
        """Made for one application; nothing listens yet. `tls` is the context of connections by https."""
        super().__init__(_config(api))
        self.config.load()
        self.config.ssl = tls
        self._api = api
        self._duties = duties
        self._terminal = hangup.Terminal()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.asked_to_stop = asyncio.Event()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to exit."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer whoever has asked, and leave nobody with a connection behind which there is nothing any more.

        In place of uvicorn's, which resets connections that it has not taken yet, closes those whose request it has not
        read, tells what takes too long that there was an error, and forgets about connections that come meanwhile.
        """
        self._api.close()
        for _ in range(TAKING_TURNS):
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        for listening in sockets or ():
            listening.close()
        if not await self._answered(LAST_ANSWERS_S):
            tasks = tuple(self.server_state.tasks)
            log.warning("server.cut_off requests=%d after_s=%g", len(tasks), LAST_ANSWERS_S)
            for task in tasks:
                task.cancel()
            await self._answered(LAST_WORDS_S)
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()

    async def _answered(self, within_s: float) -> bool:
        """Close each connection as soon as nobody waits for an answer on it; return whether all are in time."""
        state, until_s = self.server_state, monotonic() + within_s
        while state.connections or state.tasks:
            for connection in tuple(state.connections):
                connection.shutdown()
            if self.force_exit or monotonic() >= until_s:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take signals while serving; unlike uvicorn's, an orderly end is not turned into a death by signal."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers: dict[signal.Signals, Callable[..., None]] = dict.fromkeys(
            (signal.SIGTERM, signal.SIGINT), self.handle_exit
        )
        if not hangup.ignored():
            handlers[signal.SIGHUP] = self._terminal.handler(self._hung_up, self._reload)
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the drain, at the second signal hand back what runs and end, and at the third end as it is."""
        del frame
        if not self.asked_to_stop.is_set():
            self._stop(sig)
            return
        third, self.force_exit = self.force_exit, True
        if third or self._duties.on_hurry is None:
            self.should_exit = True
        else:
            self._soon(self._duties.on_hurry)

    def _stop(self, number: int) -> None:
        log.info("server.draining signal=%s: a second one ends it at once", signal.Signals(number).name)
        self._soon(self.asked_to_stop.set)

    def _hung_up(self) -> None:
        if not self.asked_to_stop.is_set():
            self._stop(signal.SIGHUP)

    def _reload(self) -> None:
        self._soon(self._duties.on_reload)

    def _soon(self, call: Callable[[], object]) -> None:
        assert self._loop is not None, "signals are taken while it serves"
        self._loop.call_soon_threadsafe(call)


def _config(api: Served) -> uvicorn.Config:
    return uvicorn.Config(
        api,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # it does not see answers that leave in one piece; `accesslog` sees all
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        server_header=False,
        proxy_headers=False,
    )


async def serve_http(
    api: Served,
    settings: Settings,
    sockets: Sequence[socket.socket],
    duties: Duties | None = None,
    stop: asyncio.Event | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve until a signal (or `stop`) asks for the end, then drain; return when the last answer is out.

    With `tls` it speaks https alone.
    """
    duties = duties or Duties()
    server = EmbeddedServer(api, duties, tls)
    if stop is not None:
        server.asked_to_stop = stop
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(list(sockets)))
        draining = group.create_task(_drain(server, api, settings, duties))
        serving.add_done_callback(lambda _: draining.cancel())


async def _drain(server: EmbeddedServer, api: Served, settings: Settings, duties: Duties) -> None:
    await server.asked_to_stop.wait()
    replace_lost()
    try:
        api.drain()
        async with asyncio.timeout(settings.drain_ms / 1000 + duties.more_s):
            waiting = duties.on_drain()
            if inspect.isawaitable(waiting):
                await waiting
    except TimeoutError:
        log.warning("server.drain_timed_out after_ms=%d", settings.drain_ms)
    finally:
        server.should_exit = True
