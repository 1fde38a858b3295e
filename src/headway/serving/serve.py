"""Server command: a server from its settings to its end, `headway serve`.

It starts local workers before it imports the HTTP server, so that both come up at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from headway import __version__, config, hangup, logs
from headway.config import Settings
from headway.errors import HeadwayError
from headway.features.access.access import Access
from headway.features.access.digests import local_key
from headway.ids import Signer
from headway.kinds import format_bytes
from headway.networks import in_url, is_wildcard
from headway.notify.events import StorageStopped
from headway.protocol.keytext import KeyText
from headway.server import FEATURES
from headway.serving.opening import known_secret, on_a_file, on_postgres
from headway.serving.reloading import Reloads
from headway.setting import naming_setting
from headway.store.location import check_url, is_postgres, shown
from headway.streams import replace_lost
from headway.surfaces import plugged
from headway.web.listening import listen
from headway.worker.processes.environment import conceal
from headway.worker.processes.reaper import leave_process_1
from headway.worker.processes.stdio import to_stderr
from headway.worker.processes.supervisor import Supervisor, worker_argv

if TYPE_CHECKING:
    from headway.runs.service import Service
    from headway.store.store import Store
    from headway.web.certificate import Certificate
    from headway.web.server import Duties

log = logging.getLogger("headway")

FAILED = 1
USAGE = 2
KEYLESS = (
    "every program and user of this machine is let in without a key although there are keys, and with them whatever forwards "
    "requests to this port, such as a proxy or a tunnel"
)
HAND_BACK_S = 5.0
"""Time after `drain_ms` in which local workers hand back unfinished runs, in seconds; a blocked event loop delays that."""
BROKEN = 74
"""Storage that broke a promise: the process ends, and recovery starts from the files on disk (EX_IOERR)."""


class Notices:
    """Log lines of the supervisor, held back until the banner is printed, so that the last line is the advice."""

    def __init__(self) -> None:
        self._held: list[str] | None = []

    def say(self, text: str) -> None:
        """Log a line, now or after the banner."""
        if self._held is None:
            log.warning("%s", text)
        else:
            self._held.append(text)

    def release(self) -> None:
        """Log the lines held back, and from now on each at once."""
        held, self._held = self._held or [], None
        for text in held:
            self.say(text)


def serve(settings: Settings) -> int:
    """Run a server until a signal stops it; return the process's exit code."""
    leave_process_1()
    hangup.put_off()
    logs.configure(settings.log_level, settings.log_format)
    conceal()  # user code in local workers runs as the same user, and could read this process's secrets
    try:
        with naming_setting(Settings, "store"):
            check_url(settings.store)
        config.check(settings)
        first = _first_key(settings)
        with naming_setting(Settings, "tls_cert"):
            certificate = _certificate(settings)
        endpoint = _listen(settings, certificate, first)
    except ValueError as error:
        return _refuse(str(error), USAGE)
    except OSError as error:
        why = f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}"
        return _refuse(f"{why}; give another --port, or 0 for a free one", USAGE)
    code = _run(_serve(settings, endpoint))
    replace_lost()
    return code


def _run(main: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


class Endpoint(NamedTuple):
    """The sockets of a server, its URL, its certificate and its first key, all checked."""

    sockets: list[socket.socket]
    url: str
    certificate: Certificate | None
    first_key: KeyText | None
    """The first key of a new store, if the settings have one."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The context of its connections, if it speaks TLS."""
        return None if self.certificate is None else self.certificate.context


def _certificate(settings: Settings) -> Certificate | None:
    if not settings.tls_cert:
        return None
    from headway.web.certificate import Certificate  # noqa: PLC0415 - only where it is asked for

    return Certificate(settings.tls_cert, settings.tls_key)


def _first_key(settings: Settings) -> KeyText | None:
    if not (settings.bootstrap_key or settings.bootstrap_key_file):
        return None
    from headway.features.access.bootstrap import given  # noqa: PLC0415 - as for the certificate

    return given(settings)


def _listen(settings: Settings, certificate: Certificate | None, first_key: KeyText | None) -> Endpoint:
    sockets = listen(settings.host, settings.port)
    scheme = "http" if certificate is None else "https"
    return Endpoint(
        sockets, f"{scheme}://{_reached(settings.host)}:{sockets[0].getsockname()[1]}", certificate, first_key
    )


async def _serve(settings: Settings, endpoint: Endpoint) -> int:
    notices = Notices()
    wanted = bool(settings.app and settings.workers)
    known = known_secret(settings) if wanted else None
    supervisor = None if known is None else _supervisor(settings, endpoint.url, notices, known)
    if supervisor is not None:
        await supervisor.start()
    from headway.store.database import (  # noqa: PLC0415 - after the workers are on their way
        StorageBroken,
        StoreRefused,
    )

    try:
        of_postgres = is_postgres(settings.store)
        opened = await on_postgres(settings, endpoint.sockets, endpoint.tls) if of_postgres else on_a_file(settings)
    except (StoreRefused, StorageBroken, ValueError, OSError) as error:
        if supervisor is not None:
            await supervisor.stop(0)
        return _refuse(f"the store cannot be opened: {error}", FAILED)
    if opened is None:  # it was told to stop before there was a store
        if supervisor is not None:
            await supervisor.stop(0)
        return 0
    store, secret = opened
    if wanted and supervisor is None:
        supervisor = _supervisor(settings, endpoint.url, notices, secret)
        await supervisor.start()
    return await _with_store(settings, store, secret, endpoint, supervisor, notices)


async def _with_store(
    settings: Settings,
    store: Store,
    secret: bytes,
    endpoint: Endpoint,
    supervisor: Supervisor | None,
    notices: Notices,
) -> int:
    from headway.runs.service import Service  # noqa: PLC0415 - as in _serve
    from headway.server import NATIVE_SURFACE, begin_loops, begin_workers  # noqa: PLC0415
    from headway.web.asgi import Api  # noqa: PLC0415
    from headway.web.server import serve_http  # noqa: PLC0415

    code = 0

    def broken(error: Exception) -> None:
        nonlocal code
        log.critical("storage.broken error=%s: nothing more is acknowledged, the server ends", error)
        code = BROKEN
        drained.set()

    drained = asyncio.Event()
    store.events.subscribe(StorageStopped, lambda stopped: broken(stopped.error))
    store.start()
    service = Service(store, Signer(secret), settings, features=FEATURES)
    await service.leases.restore()
    await service.servers.join()
    if refusal := await _load_access(service, endpoint.first_key, notices):
        if supervisor is not None:
            await supervisor.stop(0)
        await store.close()
        return _refuse(refusal, USAGE)
    running = begin_loops(service)
    built_in = begin_workers(service)
    checks = _readiness(service, expects_workers=supervisor is not None)
    api = Api(service, (NATIVE_SURFACE, *plugged()), checks=checks, version=__version__)

    logs.say(_banner(settings, endpoint.url, supervisor))
    reloads = Reloads()
    if endpoint.certificate is not None:
        reloads.add("tls_cert", _renewed(endpoint.certificate, notices))
    if (reserve := store.reserve_made) is not None:
        log.info(
            "store.reserve_made %s holds back %s so that runs can finish on a full disk (HEADWAY_RESERVE_BYTES)",
            reserve, format_bytes(settings.reserve_bytes),
        )  # fmt: skip
    for doubt in config.environment_warnings():
        notices.say(doubt)
    for name in config.keyless(settings):
        notices.say(f"{name} is set: {KEYLESS}")
    notices.release()
    gc.freeze()  # modules loaded by now stay: exclude them from garbage collection
    try:
        await serve_http(
            api, settings, endpoint.sockets, _duties(service, supervisor, reloads), stop=drained, tls=endpoint.tls
        )
    finally:
        for each in built_in:
            await each.stop()
        for loop in running:
            await loop.stop()
        if supervisor is not None:
            await supervisor.stop(1)
        await _let_go(service)
    return code


def _renewed(certificate: Certificate, notices: Notices) -> Callable[[], None]:
    """Log the certificate; return a function that reads it again and logs it."""

    def tell() -> None:
        if certificate.shown.ends_soon:
            notices.say(f"the certificate is {certificate.shown}: renew it, and send SIGHUP")
        else:
            log.info("server.certificate %s", certificate.shown)

    def read_again() -> None:
        certificate.read_again()
        tell()

    tell()
    return read_again


def _duties(service: Service, supervisor: Supervisor | None, reloads: Reloads) -> Duties:
    """Return the handlers of the server's signals."""
    from headway.web.server import Duties  # noqa: PLC0415 - as in _serve

    async def drain() -> None:
        service.sessions.draining = True
        if supervisor is not None:
            await supervisor.stop(service.settings.drain_ms / 1000 + HAND_BACK_S)

    return Duties(
        on_drain=drain,
        more_s=0 if supervisor is None else HAND_BACK_S + 1,
        on_hurry=None if supervisor is None else supervisor.hurry,
        on_reload=reloads.run,
    )


async def _let_go(service: Service) -> None:
    """Close everything that the service holds."""
    await service.gateway.close()
    if not service.store.broken:  # a broken store must not be read or written
        with contextlib.suppress(HeadwayError):  # the last seconds of usage are not counted then
            await service.part(Access).close()
        with contextlib.suppress(HeadwayError):  # else the other servers notice its absence
            await service.servers.leave()
    for feature in service.features:
        if feature.close is not None:
            await feature.close(service)
    await service.store.close()


async def _load_access(service: Service, first_key: KeyText | None, notices: Notices) -> str:
    """Load the keys and make the first one, before requests are answered; return why there can be no server, or nothing."""
    await service.part(Access).load()
    try:
        if first_key is not None:
            from headway.features.access.bootstrap import bootstrap  # noqa: PLC0415 - only where it is asked for

            if notice := await bootstrap(service, first_key):
                notices.say(notice)
        config.check(service.settings, locked=service.part(Access).locked)
    except (ValueError, HeadwayError) as error:
        return str(error)
    return ""


def _readiness(service: Service, *, expects_workers: bool) -> dict[str, Callable[[], Awaitable[str | None]]]:
    """Return the checks of /readyz by name: None if well, else the reason."""
    from headway.runs.servers import SILENT_MS  # noqa: PLC0415 - as in _serve

    async def store() -> str | None:
        if service.store.broken:
            return "broken"
        if service.store.down:
            return "the database cannot be reached"
        if service.servers.silent_ms > SILENT_MS:
            return f"there was no sign of life for {service.servers.silent_ms // 1000} s: the database does not answer"
        return "the disk is full" if service.store.full else None

    async def workers() -> str | None:
        return None if service.sessions.remote else "no worker has registered yet"

    return {"store": store, "workers": workers} if expects_workers else {"store": store}


def _supervisor(settings: Settings, url: str, notices: Notices, secret: bytes) -> Supervisor:
    def argv(number: int) -> list[str]:
        name = f"{socket.gethostname()}/local-{number}"
        grace = f"{max(0, settings.drain_ms - 2000)}ms"
        options = (
            "--name", name, "--capacity", str(settings.capacity), "--drain-grace", grace,
            "--log-format", settings.log_format, "--log-level", settings.log_level,
            *(("--pinned", settings.tls_cert) if settings.tls_cert else ()),
            "--loop-blocked", f"{settings.loop_blocked_ms}ms", *(("--reload",) if settings.reload else ()),
        )  # fmt: skip
        return list(worker_argv(url, settings.app, *options))

    key = str(local_key(Signer(secret)))
    shape = logs.line_of_worker if logs.in_json() else None
    return Supervisor(settings.workers, argv, say=notices.say, write=to_stderr, key=key, shape=shape)


def _banner(settings: Settings, url: str, supervisor: Supervisor | None) -> str:
    if supervisor is None:
        workers = f"no local workers: start some with  headway worker --server {url} MODULE:APP"
    else:
        workers = f"{settings.workers} local worker{'s' if settings.workers > 1 else ''} for {settings.app}"
    where = f"{url}, and every other address of this machine" if is_wildcard(settings.host) else url
    return f"Headway {__version__}  {where}  ({shown(settings.store)}; {workers}).  API: {url}/docs  Stop: Ctrl-C"


def _reached(host: str) -> str:
    """Return the host of the URL of a server that listens on `host`: loopback, if it listens on all addresses."""
    if is_wildcard(host):
        host = "127.0.0.1" if ":" not in host else "::1"
    return in_url(host)


def _refuse(message: str, code: int) -> int:
    logs.say(f"headway: {message}", logging.ERROR)
    return code
