"""HTTP server: the API on an embedded uvicorn, with a drain that loses no request.

The first signal begins the drain: readiness fails, event streams send `reconnect`, long polls answer with the present
state, claims return nothing, and `on_drain` lets the application's own work end. Workers can report all the while, and
each answer closes its connection, so that clients move to other servers. After that, or when its time is up, the server
accepts the connections in the kernel's queue, closes its sockets, finishes its answers, and ends; requests that it cannot
finish in time are answered with `cut_off`, and are safe to repeat. The second signal ends the server at once: `on_hurry`
hands back the application's work, and no request is waited for; the third signal does not wait for `on_hurry` either.

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
from headway.web.connection import Connection
from headway.web.disconnect import Receive
from headway.web.listening import BACKLOG
from headway.web.reply import Send
from headway.web.shedder import LoadShedder

log = logging.getLogger("headway.server")

KEEP_ALIVE_S: Final = 75
LAST_ANSWERS_S: Final = 5.0
"""Seconds for answers that are under way when the drain is over."""
LAST_WORDS_S: Final = 1.0
"""Seconds for sending `cut_off` to the requests that are unanswered by then."""
LOOK_S: Final = 0.05
"""Seconds between two checks for unanswered requests."""
TAKING_TURNS: Final = 4
"""Turns of the event loop for accepting the connections in the kernel's queue and reading their requests; closing the
socket resets the connections that are left in the queue."""


class DrainableApp(Protocol):
    """ASGI application that can end its long-lasting requests."""

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
        """Whether the drain has begun."""
        ...

    def drain(self) -> None:
        """End streams and long polls, and begin no new ones."""
        ...

    def close(self) -> None:
        """End workers' signals streams too, right before the server stops."""
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
    """Called at the second signal; ends the work for which `on_drain` waits. None: the server does not wait at all."""
    on_reload: Callable[[], None] = lambda: None
    """Called on SIGHUP."""


class EmbeddedServer(uvicorn.Server):
    """uvicorn, with signals and shutdown as a service needs them."""

    def __init__(self, api: DrainableApp, duties: Duties, tls: ssl.SSLContext | None) -> None:
        """`tls` is the context of HTTPS connections; None: the server speaks HTTP. It does not listen before `serve`."""
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
        """Answer all requests that clients have sent, and close every connection.

        Replaces uvicorn's method, which resets connections that it has not accepted yet, closes connections whose request
        it has not read, answers slow requests with an error, and leaves connections that arrive meanwhile open.
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
        """Close each connection as soon as no request on it is unanswered; return whether all are closed in time."""
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


def _config(api: DrainableApp) -> uvicorn.Config:
    return uvicorn.Config(
        api,
        http=Connection,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # it misses answers that are sent in one piece; `accesslog` has all
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        server_header=False,
        proxy_headers=False,
    )


async def serve_http(
    api: DrainableApp,
    settings: Settings,
    sockets: Sequence[socket.socket],
    duties: Duties | None = None,
    stop: asyncio.Event | None = None,
    tls: ssl.SSLContext | None = None,
) -> None:
    """Serve until a signal or `stop`, then drain; return when the last answer is sent.

    With `tls` the server speaks HTTPS only.
    """
    duties = duties or Duties()
    server = EmbeddedServer(api, duties, tls)
    if stop is not None:
        server.asked_to_stop = stop
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve(list(sockets)))
        draining = group.create_task(_drain(server, api, settings, duties))
        serving.add_done_callback(lambda _: draining.cancel())


async def _drain(server: EmbeddedServer, api: DrainableApp, settings: Settings, duties: Duties) -> None:
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
