"""Files in the store: uploads to import and exports to download, stored in chunks and pruned when they expire.

A chunk is a transaction, so that neither server nor client holds a whole file; and any server of the store can read it.
"""

from __future__ import annotations

import base64
import builtins
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from headway.errors import StoredFileNotFound
from headway.features.tables.model import StoredFile
from headway.ids import IdSource, canonical_id
from headway.store.command import Command
from headway.store.store import Store
from headway.store.unit_of_work import UnitOfWork

CHUNK_BYTES: Final = 256 * 1024
KEEP_MS: Final = 7 * 86_400_000
"""Lifetime of a file."""
UNFINISHED_MS: Final = 86_400_000
"""Lifetime of an unfinished file."""
LIST_MAX: Final = 1_000
PRUNE_CHUNKS: Final = 64
"""Chunks that one transaction deletes."""


@dataclass
class AddFile(Command[None]):
    """Insertion of an empty file."""

    file: StoredFile

    grows = True

    def apply(self, uow: UnitOfWork) -> None:
        """Insert the file."""
        file = self.file
        uow.execute(
            "insert_file", id=file.id, organisation=file.organisation, name=file.name, kind=file.kind,
            run_id=file.run_id, created_at=file.created_at, expires_at=file.expires_at,
        )  # fmt: skip


@dataclass
class AddChunk(Command[StoredFile]):
    """Addition of the next chunk of a file; the result is the file with it."""

    file: StoredFile
    content: bytes

    grows = True

    def apply(self, uow: UnitOfWork) -> StoredFile:
        """Append the chunk."""
        file, content = self.file, self.content
        position = {"number": file.chunks, "start": file.bytes}
        uow.execute("grow_file", expect=1, id=file.id, bytes=len(content), **position)
        text = base64.b64encode(content).decode()
        uow.execute("insert_file_chunk", file_id=file.id, content=text, **position)
        return replace(file, bytes=file.bytes + len(content), chunks=file.chunks + 1)


@dataclass
class FinishFile(Command[None]):
    """End of a file: its digest, and the lifetime of a whole file."""

    file: StoredFile
    sha256: str

    def apply(self, uow: UnitOfWork) -> None:
        """Store digest and expiry."""
        uow.execute("finish_file", expect=1, id=self.file.id, sha256=self.sha256, expires_at=uow.now_ms + KEEP_MS)


@dataclass
class ExpireFile(Command[None]):
    """Expiry of a file: it is hidden at once, and deleted by the next pruning."""

    file: StoredFile

    def apply(self, uow: UnitOfWork) -> None:
        """Set the expiry to the past."""
        uow.execute("expire_file", id=self.file.id, organisation=self.file.organisation)


class PruneFiles(Command[bool]):
    """Deletion of some chunks of an expired file; the result is whether there may be more."""

    weight = PRUNE_CHUNKS

    def apply(self, uow: UnitOfWork) -> bool:
        """Delete the chunks, and the file after its last one."""
        for (file_id,) in uow.database.rows("expired_files", now_ms=uow.now_ms):
            if len(uow.delete_rows("delete_file_chunks", file_id=file_id, limit=PRUNE_CHUNKS)) < PRUNE_CHUNKS:
                uow.execute("delete_file", id=file_id)
            return True
        return False


class Files:
    """Operations on the files of an organisation."""

    def __init__(self, store: Store, ids: IdSource, organisation: int = 1) -> None:
        self._store = store
        self._ids = ids
        self._organisation = organisation

    async def receive(self, name: str, kind: str, pieces: AsyncIterator[bytes]) -> StoredFile:
        """Store a file while its bytes arrive; a broken upload expires at once, or a day later. Raises StorageFull."""
        now_ms = self._store.clock.now_ms()
        file = new_file(self._ids.new(now_ms), self._organisation, name, kind, now_ms)
        await self._store.write(AddFile(file))
        digest, buffer = hashlib.sha256(), bytearray()
        try:
            async for piece in pieces:
                digest.update(piece)
                buffer += piece
                while len(buffer) >= CHUNK_BYTES:
                    file = await self._store.write(AddChunk(file, bytes(buffer[:CHUNK_BYTES])))
                    del buffer[:CHUNK_BYTES]
            if buffer:
                file = await self._store.write(AddChunk(file, bytes(buffer)))
        except BaseException:
            await self._store.write(ExpireFile(file))
            raise
        await self._store.write(FinishFile(file, digest.hexdigest()))
        return await self.get(file.id)

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
        """Return the newest files, up to 1,000."""
        rows = await self._store.read.ask(
            lambda database, _: database.rows("read_files", organisation=self._organisation, limit=LIST_MAX)
        )
        return [StoredFile(*row) for row in rows if row[9] != 0]

    async def delete(self, file_id: str) -> None:
        """Delete a file; raise StoredFileNotFound."""
        await self._store.write(ExpireFile(await self.get(file_id)))
        await prune(self._store, 1)

    async def read(self, file: StoredFile, start: int, chunks: int) -> bytes:
        """Return the bytes from an offset on, of up to `chunks` chunks; none at the end."""
        rows = await self._store.read.ask(
            lambda database, _: database.rows("read_file_chunks", file_id=file.id, start=start, limit=chunks), slow=True
        )
        whole = b"".join(base64.b64decode(content) for _, _, content in rows)
        return whole[start - rows[0][1] :] if rows else b""

    async def content(self, file: StoredFile) -> AsyncIterator[bytes]:
        """Yield all bytes of a file, a chunk at a time."""
        at = 0
        while piece := await self.read(file, at, 1):
            yield piece
            at += len(piece)


def new_file(
    file_id: str, organisation: int, name: str, kind: str, now_ms: int, run_id: str | None = None
) -> StoredFile:
    """Return an empty file."""
    return StoredFile(file_id, organisation, name, kind, run_id, 0, 0, None, now_ms, now_ms + UNFINISHED_MS)


async def prune(store: Store, rounds: int = 100) -> None:
    """Delete expired files of all organisations, some chunks per transaction."""
    for _ in range(rounds):
        if not await store.write(PruneFiles()):
            return
