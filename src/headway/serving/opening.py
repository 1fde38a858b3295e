"""Opening of the store in the settings, with a wait for a database that does not answer yet."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from headway import __version__
from headway.clock import SystemClock
from headway.config import Settings
from headway.private import exposed
from headway.store.location import is_postgres, kept_secret, need_driver, need_folder, secret_of, sqlite_path
from headway.vault import as_secrets

if TYPE_CHECKING:
    import apsw

    from headway.store.store import Store

log = logging.getLogger("headway")

WAITS_S: Final = (0.2, 5.0)
"""The shortest and the longest wait between two attempts to open a store on a database that does not answer yet."""


def known_secret(settings: Settings) -> bytes | None:
    """Return the store's secret if that is known before the store is opened, so that workers can start meanwhile."""
    path = None if is_postgres(settings.store) else sqlite_path(settings.store)
    try:
        return kept_secret(path, settings.secret)
    except ValueError:  # opening the store reports it
        return None


def on_a_file(settings: Settings) -> tuple[Store, bytes]:
    """Open the store in a file or in memory; return it, and the secret for tokens and cursors."""
    from headway.store.sqlite.open import (  # noqa: PLC0415 - after the workers are on their way
        open_file,
        open_memory,
    )
    from headway.store.sqlite.secret import settle  # noqa: PLC0415

    clock = SystemClock()
    path = sqlite_path(settings.store)
    if path is None:
        return open_memory(clock), secret_of(path, settings.secret)
    need_folder(path, make=settings.make_folder)
    kept_secret(path, settings.secret)  # raises for an unusable key file before any file is changed
    earlier = as_secrets(settings.earlier_secrets)
    found: list[bytes] = []

    def claim(connection: apsw.Connection) -> None:
        found.append(settle(connection, path, settings.secret, earlier))

    store = open_file(path, clock, reserve_bytes=settings.reserve_bytes, claim=claim)
    if (mode := exposed(path.stat())) is not None:
        log.warning("store.exposed others may read %s (mode %s): chmod 600 it", path, mode)
    return store, found[0]


def on_a_database(settings: Settings) -> tuple[Store, bytes]:
    """Open the store on PostgreSQL as a server of its own, on the caller's thread; raise DatabaseGone if it does not answer."""
    need_driver()
    from headway.ids import IdSource  # noqa: PLC0415 - as above
    from headway.store.postgres.open import open_postgres, secret_in  # noqa: PLC0415

    clock = SystemClock()
    store = open_postgres(
        settings.store, clock, accept_loss=settings.accept_loss, server_id=IdSource().new(clock.now_ms()),
        host=socket.gethostname(), pid=os.getpid(), version=__version__,
    )  # fmt: skip
    try:
        return store, secret_in(settings.store, settings.secret)
    except BaseException:
        asyncio.run(store.close())
        raise


async def on_postgres(
    settings: Settings, sockets: list[socket.socket], tls: ssl.SSLContext | None
) -> tuple[Store, bytes] | None:
    """Open the store as soon as the database answers. Until then the server is alive, but not ready."""
    from headway.store.database import DatabaseGone, StoreRefused  # noqa: PLC0415 - as above

    need_driver()
    from headway.store.postgres.connection_errors import LoginRefused  # noqa: PLC0415

    def open_it() -> tuple[Store, bytes]:
        return on_a_database(settings)

    try:
        return await asyncio.to_thread(open_it)
    except LoginRefused as error:  # asking again would not help
        raise StoreRefused(str(error)) from error
    except DatabaseGone as error:
        return await _when_reachable(settings, sockets, tls, open_it, str(error))


async def _when_reachable(
    settings: Settings,
    sockets: list[socket.socket],
    tls: ssl.SSLContext | None,
    open_it: Callable[[], tuple[Store, bytes]],
    why: str,
) -> tuple[Store, bytes] | None:
    from headway.store.database import DatabaseGone, StoreRefused  # noqa: PLC0415
    from headway.store.postgres.connection_errors import LoginRefused  # noqa: PLC0415
    from headway.web.server import serve_http  # noqa: PLC0415 - as above
    from headway.web.unavailable import UnavailableApi  # noqa: PLC0415

    log.warning("store.waiting %s: it is asked again until it answers", why)
    stop = asyncio.Event()
    copies = [opened.dup() for opened in sockets]  # a server closes its listening sockets
    waiting = UnavailableApi(access_log=settings.access_log)
    answering = asyncio.create_task(serve_http(waiting, settings, copies, stop=stop, tls=tls))
    try:
        wait_s = WAITS_S[0]
        while not answering.done():
            await asyncio.wait({answering}, timeout=wait_s)
            wait_s = min(wait_s * 2, WAITS_S[1])
            try:
                return await asyncio.to_thread(open_it) if not stop.is_set() else None
            except LoginRefused as error:
                raise StoreRefused(str(error)) from error
            except DatabaseGone as error:
                if str(error) != why:
                    why = str(error)
                    log.warning("store.waiting %s", why)
        return None
    finally:
        stop.set()
        await answering
