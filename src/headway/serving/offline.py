"""Operations on a store without its server, and statements about a server, for the command line."""

from __future__ import annotations

import asyncio
import getpass
import platform
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headway import config
from headway.clock import SystemClock
from headway.config import Settings
from headway.kernel.query import FIRST
from headway.store.location import is_postgres, need_driver, need_folder, sqlite_path
from headway.surfaces import plugged
from headway.vault import as_secrets

if TYPE_CHECKING:
    from headway.protocol.access import CreateKey
    from headway.store.store import Store
    from headway.store.transfer.transfer import Report, Step


class Finding(msgspec.Struct, frozen=True):
    """One result of the doctor."""

    name: str
    ok: bool
    message: str


def backup(store: str, destination: str) -> int:
    """Copy a store to a file while it is in use; return the bytes written."""
    from headway.store.sqlite.backup import backup as copy  # noqa: PLC0415 - only where it is asked for

    return copy(_copied_file(store), Path(destination))


def restore(source: str, store: str, *, make_folder: bool = False) -> None:
    """Make a store from a backup."""
    from headway.store.sqlite.backup import restore as copy  # noqa: PLC0415 - only where it is asked for

    path = _copied_file(store)
    need_folder(path, make=make_folder)
    copy(Path(source), path)


def accept_loss(store: str) -> list[str]:
    """Accept the loss of a SQLite store's data or secret, so that it can be served again; return the losses."""
    if is_postgres(store):
        raise ValueError("--accept-loss is for a store in a file; a database is brought back with its own tools")
    from headway.store.sqlite import recovery  # noqa: PLC0415 - only where it is asked for

    settings = config.from_environment(store=store)
    earlier = as_secrets(settings.earlier_secrets)
    path = _file(store, "loses everything")
    return recovery.accept_loss(path, SystemClock(), secret=settings.secret, earlier=earlier)


def doctor(store: str, *, verify: bool = False) -> list[Finding]:
    """Check the machine and the store; `verify` reads every row and compares it with the others."""
    python = platform.python_version()
    findings = [Finding("python", sys.version_info >= (3, 11), f"{platform.python_implementation()} {python}")]
    findings += [Finding(name, ok, message) for name, ok, message in _checkup(store, verify=verify)]
    return findings + _certificate(config.from_environment(store=store))


def _certificate(settings: Settings) -> list[Finding]:
    """Check the certificate of the settings, if any."""
    if not settings.tls_cert:
        return []
    from headway.web.certificate import check  # noqa: PLC0415 - only where it is asked for

    try:
        shown = check(Path(settings.tls_cert), Path(settings.tls_key or settings.tls_cert))
    except ValueError as error:
        return [Finding("certificate", False, str(error))]
    return [Finding("certificate", True, f"{shown}{': renew it' if shown.ends_soon else ''}")]


def _checkup(store: str, *, verify: bool) -> Iterable[tuple[str, bool, str]]:
    from headway.server import CHECKS  # noqa: PLC0415 - only where it is asked for

    settings = config.from_environment(store=store)
    if is_postgres(store):
        need_driver()
        from headway.store.postgres import checkup as of_postgres  # noqa: PLC0415 - only where it is asked for

        return of_postgres.checkup(
            store,
            SystemClock(),
            verify=verify,
            checks=CHECKS,
            secret=settings.secret,
            earlier=as_secrets(settings.earlier_secrets),
        )
    from headway.store.sqlite import checkup as of_sqlite  # noqa: PLC0415

    earlier = as_secrets(settings.earlier_secrets)
    return of_sqlite.checkup(
        _file(store, "has no file"), verify=verify, checks=CHECKS, secret=settings.secret, earlier=earlier
    )


def migrate_store(source: str, target: str, tell: Callable[[Step], None], *, accept_loss: bool = False) -> Report:
    """Move a store from a file into an empty database; see `store.transfer.transfer`."""
    if is_postgres(source) or not is_postgres(target):
        raise ValueError(
            "a store is moved from a file into PostgreSQL: "
            "headway migrate-store sqlite:///headway.db postgresql://USER@HOST/DATABASE"
        )
    path = _file(source, "cannot be moved")
    need_driver()
    from headway.store.transfer.transfer import move  # noqa: PLC0415 - only where it is asked for

    return move(path, target, SystemClock(), tell, accept_loss=accept_loss)


def create_key(store: str, create: CreateKey, *, make_folder: bool = False) -> tuple[str, str, str]:
    """Make a key in a store, as the first one is made. Return its id, its text and its organisation's id.

    A file must not be served meanwhile; servers on a database take the key in at once.
    """
    return asyncio.run(_create_key(config.from_environment(store=store, make_folder=make_folder or None), create))


async def _create_key(settings: Settings, create: CreateKey) -> tuple[str, str, str]:
    from headway.features.access.access import Access  # noqa: PLC0415 - only where it is asked for
    from headway.features.access.keys import Keys  # noqa: PLC0415
    from headway.features.access.organisations import Organisations  # noqa: PLC0415
    from headway.ids import Signer  # noqa: PLC0415
    from headway.kernel.authority import EVERYBODY, Origin  # noqa: PLC0415
    from headway.runs.service import Service  # noqa: PLC0415
    from headway.server import FEATURES  # noqa: PLC0415

    opened, secret = await asyncio.to_thread(_open, settings)
    opened.start()
    try:
        service = Service(opened, Signer(secret), settings, features=FEATURES)
        access, organisations = service.part(Access), service.part(Organisations)
        await access.load()
        number = FIRST if create.organisation is None else organisations.get(create.organisation).id
        origin = Origin(organisation=number, actor=f"{getpass.getuser()}, without a server")
        issued = await service.of(number).get(Keys).create(create, EVERYBODY, origin)
        await access.audit.seal()
        return issued.entry.key.id, str(issued.text), organisations.of(number).public_id
    finally:
        await opened.close()


def _open(settings: Settings) -> tuple[Store, bytes]:
    from headway.serving.opening import on_a_database, on_a_file  # noqa: PLC0415 - only where it is asked for

    if is_postgres(settings.store):
        return on_a_database(settings)
    _file(settings.store, "keeps no keys")
    return on_a_file(settings)


def openapi(surface: str) -> dict[str, Any]:
    """Return the OpenAPI document of a surface, with the default settings; raise ValueError for another name."""
    from headway.errors import NotFound  # noqa: PLC0415 - only where it is asked for
    from headway.server import NATIVE_SURFACE  # noqa: PLC0415
    from headway.web.documents import find  # noqa: PLC0415
    from headway.web.openapi import document  # noqa: PLC0415
    from headway.web.surface import mount  # noqa: PLC0415

    try:
        return document(find(mount((NATIVE_SURFACE, *plugged()), Settings()), surface))
    except NotFound as error:
        raise ValueError(error.detail) from None


def _file(store: str, otherwise: str) -> Path:
    """Return a store's file; `otherwise` is the lack of a store in memory."""
    path = sqlite_path(store)
    if path is None:
        raise ValueError(f"a store in memory {otherwise}")
    return path


def _copied_file(store: str) -> Path:
    """Return a store's file for copying; PostgreSQL's own tools make better copies."""
    if is_postgres(store):
        raise ValueError(
            "backup and restore are for a store in a file; copy a database with pg_dump and pg_restore, "
            "or with pg_basebackup and archived WAL to lose nothing"
        )
    return _file(store, "has no file")
