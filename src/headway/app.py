"""The composition root: the one place where concrete stores, loops, surfaces and workers meet.

`serve` starts local workers before it imports the HTTP server, so that both come up at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headway import __version__, logs
from headway.clock import SystemClock
from headway.config import Settings
from headway.errors import HeadwayError
from headway.http.listening import UnsafeBind, listen
from headway.storage.location import check_url, is_postgres, need_driver, secret_of, shown, sqlite_path
from headway.worker.supervisor import Supervisor, worker_argv

if TYPE_CHECKING:
    from headway.loops.loop import Loop
    from headway.service.service import Service
    from headway.storage.moving.move import Report, Step
    from headway.storage.store import Store

log = logging.getLogger("headway")

FAILED = 1
USAGE = 2
WAITS_S = (0.2, 5.0)
"""The shortest and the longest wait between two attempts to open a store on a database that does not answer yet."""
BROKEN = 74
"""Storage that broke a promise: the process ends, and recovery starts from what is on disk (EX_IOERR)."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that the doctor looked at."""

    name: str
    ok: bool
    message: str


class Notices:
    """What the supervisor has to say; kept back until the banner is printed, so that the last line is what to do."""

    def __init__(self) -> None:
        """Keep it back."""
        self._held: list[str] | None = []

    def say(self, text: str) -> None:
        """Log it, now or after the banner."""
        if self._held is None:
            log.warning("%s", text)
        else:
            self._held.append(text)

    def release(self) -> None:
        """Log what was kept back, and from now on everything at once."""
        held, self._held = self._held or [], None
        for text in held:
            self.say(text)


def serve(settings: Settings) -> int:
    """Run a server until it is told to stop; return the process's exit code."""
    logs.configure()
    try:
        check_url(settings.store)
        sockets = listen(settings.host, settings.port)
    except (ValueError, UnsafeBind) as error:
        return _refuse(str(error), USAGE)
    except OSError as error:
        why = f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}"
        return _refuse(f"{why}; give another --port, or 0 for a free one", USAGE)
    return _run(_serve(settings, sockets))


def _run(main: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


async def _serve(settings: Settings, sockets: list[socket.socket]) -> int:
    url = f"http://{_shown(settings.host)}:{sockets[0].getsockname()[1]}"
    notices = Notices()
    supervisor = _supervisor(settings, url, notices) if settings.app and settings.workers else None
    if supervisor is not None:
        await supervisor.start()
    from headway.storage.database import StorageBroken, StoreRefused  # noqa: PLC0415 - after the workers are on their way

    try:
        opened = await _on_postgres(settings, sockets) if is_postgres(settings.store) else _on_a_file(settings)
    except (StoreRefused, StorageBroken, ValueError, OSError) as error:
        if supervisor is not None:
            await supervisor.stop(0)
        return _refuse(f"the store cannot be opened: {error}", FAILED)
    if opened is None:  # it was told to stop before there was a store
        if supervisor is not None:
            await supervisor.stop(0)
        return 0
    store, secret = opened
    return await _with_store(settings, store, secret, sockets, url, supervisor, notices)


def _on_a_file(settings: Settings) -> tuple[Store, bytes]:
    from headway.storage.sqlite.open import open_file, open_memory  # noqa: PLC0415 - as in _serve

    clock = SystemClock()
    path = sqlite_path(settings.store)
    secret = secret_of(path, settings.secret)
    store = open_memory(clock) if path is None else open_file(path, clock, reserve_bytes=settings.reserve_bytes)
    return store, secret


async def _on_postgres(settings: Settings, sockets: list[socket.socket]) -> tuple[Store, bytes] | None:
    """Open the store as soon as the database answers. Until then the server is alive, but not ready."""
    from headway.storage.database import DatabaseGone, StoreRefused  # noqa: PLC0415 - as in _serve

    need_driver()
    from headway.ids import IdSource  # noqa: PLC0415
    from headway.storage.postgres.open import open_postgres, secret_in  # noqa: PLC0415
    from headway.storage.postgres.trouble import NotLetIn  # noqa: PLC0415

    clock = SystemClock()
    server_id = IdSource().new(clock.now_ms())

    def open_it() -> tuple[Store, bytes]:
        store = open_postgres(
            settings.store, clock, accept_loss=settings.accept_loss, server_id=server_id,
            host=socket.gethostname(), pid=os.getpid(), version=__version__,
        )  # fmt: skip
        return store, secret_in(settings.store, settings.secret)

    try:
        return await asyncio.to_thread(open_it)
    except NotLetIn as error:  # asking again would not help
        raise StoreRefused(str(error)) from error
    except DatabaseGone as error:
        return await _when_reachable(settings, sockets, open_it, str(error))


async def _when_reachable(
    settings: Settings, sockets: list[socket.socket], open_it: Callable[[], tuple[Store, bytes]], why: str
) -> tuple[Store, bytes] | None:
    from headway.http.server import serve_http  # noqa: PLC0415 - as in _serve
    from headway.http.waiting import Waiting  # noqa: PLC0415
    from headway.storage.database import DatabaseGone  # noqa: PLC0415

    log.warning("store.waiting %s: it is asked again until it answers", why)
    stop = asyncio.Event()
    copies = [opened.dup() for opened in sockets]  # a server closes what it listens on
    answering = asyncio.create_task(serve_http(Waiting(), settings, copies, stop=stop))
    try:
        wait_s = WAITS_S[0]
        while not answering.done():
            await asyncio.wait({answering}, timeout=wait_s)
            wait_s = min(wait_s * 2, WAITS_S[1])
            try:
                return await asyncio.to_thread(open_it) if not stop.is_set() else None
            except DatabaseGone as error:
                if str(error) != why:
                    why = str(error)
                    log.warning("store.waiting %s", why)
        return None
    finally:
        stop.set()
        await answering


async def _with_store(
    settings: Settings,
    store: Store,
    secret: bytes,
    sockets: list[socket.socket],
    url: str,
    supervisor: Supervisor | None,
    notices: Notices,
) -> int:
    from headway.actions.executor import BuiltInWorker  # noqa: PLC0415 - as in _serve
    from headway.http.asgi import Api  # noqa: PLC0415
    from headway.http.routes import ROUTES  # noqa: PLC0415
    from headway.http.server import serve_http  # noqa: PLC0415
    from headway.ids import Signer  # noqa: PLC0415
    from headway.service.service import Service  # noqa: PLC0415

    code = 0

    def broken(error: Exception) -> None:
        nonlocal code
        log.critical("storage.broken error=%s: nothing more is acknowledged, the server ends", error)
        code = BROKEN
        drained.set()

    drained = asyncio.Event()
    store.on_broken = broken
    store.start()
    service = Service(store, Signer(secret), settings)
    await service.workers.restore()
    await service.servers.join()
    running = _loops(service)
    built_in = BuiltInWorker(service)
    built_in.start()
    checks = _readiness(service, expects_workers=supervisor is not None)
    api = Api(service, ROUTES, checks=checks, version=__version__)

    async def drain() -> None:
        service.workers.draining = True
        if supervisor is not None:
            await supervisor.stop(settings.drain_ms / 1000)

    print(_banner(settings, url, supervisor), file=sys.stderr, flush=True)  # noqa: T201 - what a person sees
    notices.release()
    try:
        await serve_http(api, settings, sockets, on_drain=drain, stop=drained)
    finally:
        await built_in.stop()
        for loop in running:
            await loop.stop()
        if supervisor is not None:
            await supervisor.stop(1)
        with contextlib.suppress(HeadwayError):  # then the others find out by themselves
            await service.servers.leave()
        await store.close()
    return code


def _loops(service: Service) -> list[Loop]:
    from headway.loops.loop import Loop  # noqa: PLC0415 - as in _serve
    from headway.loops.pruner import Pruner  # noqa: PLC0415
    from headway.loops.pulse import Pulse  # noqa: PLC0415
    from headway.loops.rescuer import Rescuer  # noqa: PLC0415
    from headway.loops.stager import Stager  # noqa: PLC0415

    store, clock = service.store, service.store.clock
    rescuing = Rescuer(service)
    stager, rescuer, pruner = Loop(Stager(service)), Loop(rescuing), Loop(Pruner(service))

    def deadline(at_ms: int) -> None:
        rescuing.note(at_ms)
        rescuer.wake(at_ms - clock.now_ms())

    store.on_due = lambda at_ms: stager.wake(at_ms - clock.now_ms())
    store.on_deadline = deadline
    service.sessions.on_change = lambda: rescuer.wake(service.settings.disconnect_ms)
    service.on_alarm = lambda at_ms: stager.wake(at_ms - clock.now_ms())
    running = [stager, rescuer, pruner]
    if store.peers is not None:

        def heard() -> None:
            """Look again: another server may have set a time, or be gone with those that it had to keep."""
            stager.wake()
            deadline(clock.now_ms())

        store.on_heard = heard
        running.append(Loop(Pulse(service)))
    for loop in running:
        loop.start()
    return running


def _readiness(service: Service, *, expects_workers: bool) -> dict[str, Callable[[], Awaitable[str | None]]]:
    """Return what /readyz asks: None is well, a text says what is not."""

    async def store() -> str | None:
        if service.store.writer.broken:
            return "broken"
        if service.store.writer.down:
            return "the database cannot be reached"
        return "the disk is full" if service.store.full else None

    async def workers() -> str | None:
        return None if service.sessions.remote else "no worker has registered yet"

    return {"store": store, "workers": workers} if expects_workers else {"store": store}


def _supervisor(settings: Settings, url: str, notices: Notices) -> Supervisor:
    def argv(number: int) -> list[str]:
        name = f"{socket.gethostname()}/local-{number}"
        grace = f"{max(0, settings.drain_ms - 2000)}ms"
        options = ("--name", name, "--capacity", str(settings.capacity), "--drain-grace", grace)
        return list(worker_argv(url, settings.app, *options))

    def write(output: bytes) -> None:
        sys.stderr.buffer.write(output)
        sys.stderr.buffer.flush()

    return Supervisor(settings.workers, argv, say=notices.say, write=write)


def _banner(settings: Settings, url: str, supervisor: Supervisor | None) -> str:
    if supervisor is None:
        workers = f"no local workers: start some with  headway worker --server {url} MODULE:APP"
    else:
        workers = f"{settings.workers} local worker{'s' if settings.workers > 1 else ''} for {settings.app}"
    return f"Headway {__version__}  {url}  ({shown(settings.store)}; {workers}).  API: {url}/docs  Stop: Ctrl-C"


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _refuse(message: str, code: int) -> int:
    print(f"headway: {message}", file=sys.stderr, flush=True)  # noqa: T201 - what a person sees
    return code


def backup(store: str, destination: str) -> int:
    """Copy a store to a file while it is in use; return the bytes written."""
    from headway.storage.sqlite.backup import backup as copy  # noqa: PLC0415 - only where it is asked for

    return copy(_copied_file(store), Path(destination))


def restore(source: str, store: str) -> None:
    """Make a store from a backup."""
    from headway.storage.sqlite.backup import restore as copy  # noqa: PLC0415 - only where it is asked for

    copy(Path(source), _copied_file(store))


def doctor(store: str, *, verify: bool = False) -> list[Finding]:
    """Look at the machine and the store; `verify` reads every row and holds it against the others."""
    python = platform.python_version()
    findings = [Finding("python", sys.version_info >= (3, 11), f"{platform.python_implementation()} {python}")]
    findings += [Finding(name, ok, message) for name, ok, message in _checkup(store, verify=verify)]
    return findings


def _checkup(store: str, *, verify: bool) -> Iterable[tuple[str, bool, str]]:
    if is_postgres(store):
        need_driver()
        from headway.storage.postgres import checkup as of_postgres  # noqa: PLC0415 - only where it is asked for

        return of_postgres.checkup(store, SystemClock(), verify=verify)
    from headway.storage.sqlite import checkup as of_sqlite  # noqa: PLC0415

    return of_sqlite.checkup(_file(store, "has no file"), verify=verify)


def migrate_store(source: str, target: str, tell: Callable[[Step], None], *, accept_loss: bool = False) -> Report:
    """Move a store from a file into an empty database; see `storage.moving.move`."""
    if is_postgres(source) or not is_postgres(target):
        raise ValueError(
            "a store is moved from a file into PostgreSQL: "
            "headway migrate-store sqlite:///headway.db postgresql://USER@HOST/DATABASE"
        )
    path = _file(source, "cannot be moved")
    need_driver()
    from headway.storage.moving.move import move  # noqa: PLC0415 - only where it is asked for

    return move(path, target, SystemClock(), tell, accept_loss=accept_loss)


def openapi() -> dict[str, Any]:
    """Return the OpenAPI document of the native API."""
    from headway.http.openapi import document  # noqa: PLC0415 - only where it is asked for

    return document()


def _file(store: str, otherwise: str) -> Path:
    """Return a store's file; `otherwise` says what one in memory lacks."""
    path = sqlite_path(store)
    if path is None:
        raise ValueError(f"a store in memory {otherwise}")
    return path


def _copied_file(store: str) -> Path:
    """Return a store's file, to be copied; of PostgreSQL its own tools make better copies."""
    if is_postgres(store):
        raise ValueError(
            "backup and restore are for a store in a file; copy a database with pg_dump and pg_restore, "
            "or with pg_basebackup and archived WAL to lose nothing"
        )
    return _file(store, "has no file")
