"""Files in the store: taken in chunk by chunk as they arrive, read where an import stands, removed when their time is over.

A chunk is a transaction, so neither a server nor a client ever holds a whole file; and any server of the store can read it.
"""

from __future__ import annotations

import base64
import builtins
import hashlib
from collections.abc import AsyncIterator
from typing import Final

from msgspec.structs import replace

from headway.errors import StoredFileNotFound
from headway.features.tables.file import StoredFile
from headway.ids import IdSource, canonical_id
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

CHUNK_BYTES: Final = 256 * 1024
KEEP_MS: Final = 7 * 86_400_000
"""How long a file is kept."""
UNFINISHED_MS: Final = 86_400_000
"""How long one is kept of which not all has come."""
LIST_MAX: Final = 1_000
REMOVED: Final = 64
"""Chunks that one transaction removes."""


class Files:
    """Every verb on the files of an organisation."""

    def __init__(self, store: Store, ids: IdSource, organisation: int = 1) -> None:
        self._store = store
        self._ids = ids
        self._organisation = organisation

    async def receive(self, name: str, kind: str, pieces: AsyncIterator[bytes]) -> StoredFile:
        """Take in a file as its bytes come; what breaks off is removed, at once or a day later."""
        made = new_file(
            self._ids.new(self._store.clock.now_ms()), self._organisation, name, kind, self._store.clock.now_ms()
        )
        await self._store.write(lambda uow: add_file(uow, made), grows=True)
        digest, held = hashlib.sha256(), bytearray()
        try:
            async for piece in pieces:
                digest.update(piece)
                held += piece
                while len(held) >= CHUNK_BYTES:
                    made = await self._add(made, bytes(held[:CHUNK_BYTES]))
                    del held[:CHUNK_BYTES]
            if held:
                made = await self._add(made, bytes(held))
        except BaseException:
            await self._store.write(lambda uow: expire(uow, made))
            raise
        await self._store.write(lambda uow: finish(uow, made, digest.hexdigest()))
        return await self.get(made.id)

    async def _add(self, file: StoredFile, content: bytes) -> StoredFile:
        return await self._store.write(lambda uow: add_chunk(uow, file, content), grows=True)

    async def get(self, file_id: str) -> StoredFile:
        """Return a file; raise StoredFileNotFound."""
        wanted = canonical_id(file_id) or ""
        rows = await self._store.read.ask(
            lambda database, _: database.rows("find_file", id=wanted, organisation=self._organisation)
        )
        if not rows or rows[0][9] == 0:
            raise StoredFileNotFound(f"there is no file {file_id[:80]!r}")
        return StoredFile(*rows[0])

    async def list(self) -> builtins.list[StoredFile]:
        """Return the newest files."""
        rows = await self._store.read.ask(
            lambda database, _: database.rows("read_files", organisation=self._organisation, limit=LIST_MAX)
        )
        return [StoredFile(*row) for row in rows if row[9] != 0]

    async def delete(self, file_id: str) -> None:
        """Remove a file; raise StoredFileNotFound."""
        found = await self.get(file_id)
        await self._store.write(lambda uow: expire(uow, found))
        await prune(self._store, 1)

    async def read(self, file: StoredFile, start: int, chunks: int) -> bytes:
        """Return bytes from a position on, of so many chunks; nothing if that is the end."""
        rows = await self._store.read.ask(
            lambda database, _: database.rows("read_file_chunks", file_id=file.id, start=start, limit=chunks), slow=True
        )
        whole = b"".join(base64.b64decode(content) for _, _, content in rows)
        return whole[start - rows[0][1] :] if rows else b""

    async def content(self, file: StoredFile) -> AsyncIterator[bytes]:
        """Yield all bytes of a file."""
        at = 0
        while piece := await self.read(file, at, 1):
            yield piece
            at += len(piece)


async def prune(store: Store, rounds: int = 100) -> None:
    """Remove files whose time is over, of all organisations, some chunks a transaction."""
    for _ in range(rounds):
        if not await store.write(_prune, weight=REMOVED):
            return


def new_file(
    file_id: str, organisation: int, name: str, kind: str, now_ms: int, run_id: str | None = None
) -> StoredFile:
    """Return a file of which nothing has come yet."""
    return StoredFile(file_id, organisation, name, kind, run_id, 0, 0, None, now_ms, now_ms + UNFINISHED_MS)


def add_file(uow: UnitOfWork, file: StoredFile) -> None:
    """Begin a file."""
    uow.changes += 1
    uow.database.run(
        "insert_file", id=file.id, organisation=file.organisation, name=file.name, kind=file.kind, run_id=file.run_id,
        created_at=file.created_at, expires_at=file.expires_at,
    )  # fmt: skip


def add_chunk(uow: UnitOfWork, file: StoredFile, content: bytes) -> StoredFile:
    """Add the next chunk of a file; return the file with it."""
    uow.changes += 1
    place = {"number": file.chunks, "start": file.bytes}
    uow.database.must(1, "grow_file", id=file.id, bytes=len(content), **place)
    uow.database.run("insert_file_chunk", file_id=file.id, content=base64.b64encode(content).decode(), **place)
    return replace(file, bytes=file.bytes + len(content), chunks=file.chunks + 1)


def finish(uow: UnitOfWork, file: StoredFile, sha256: str) -> None:
    """Say that a file is whole."""
    uow.changes += 1
    uow.database.must(1, "finish_file", id=file.id, sha256=sha256, expires_at=uow.now_ms + KEEP_MS)


def expire(uow: UnitOfWork, file: StoredFile) -> None:
    """Let a file go: nobody sees it any more, and the next pruning removes it."""
    uow.changes += 1
    uow.database.run("expire_file", id=file.id, organisation=file.organisation)


def _prune(uow: UnitOfWork) -> bool:
    """Remove some chunks of a file whose time is over; tell whether there may be more."""
    for (file_id,) in uow.database.rows("expired_files", now_ms=uow.now_ms):
        uow.changes += 1
        if len(uow.database.rows("delete_file_chunks", file_id=file_id, limit=REMOVED)) < REMOVED:
            uow.database.run("delete_file", id=file_id)
        return True
    return False
