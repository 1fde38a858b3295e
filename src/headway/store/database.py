"""The port to a database: named statements in a transaction, on one connection, from one thread."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol


class Database(Protocol):
    """One connection. Every bind is a keyword; JSON arrays are passed as text in `rows` and `ids`."""

    def begin(self) -> None:
        """Open a transaction that may write."""
        ...

    def settle(self) -> None:
        """Return when every statement was carried out, so that nothing but the commit is left; raise as that does."""
        ...

    def commit(self, messages: Sequence[str] = ()) -> None:
        """Return when the transaction is on stable storage; raise DiskFull, Outdated or StorageBroken if it is not.

        `messages` are for the other servers that share the database; they may be lost.
        """
        ...

    def rollback(self) -> None:
        """Undo the transaction, if one is open."""
        ...

    def rows(self, name: str, /, **binds: Any) -> list[tuple[Any, ...]]:
        """Return all rows of the statement."""
        ...

    def run(self, name: str, /, **binds: Any) -> None:
        """Carry out the statement."""
        ...

    def must(self, count: int, name: str, /, **binds: Any) -> None:
        """Carry out the statement; raise Outdated, at the commit at the latest, if it does not change `count` rows."""
        ...

    def select(self, sql: str, binds: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Return all rows of a statement that `lists` put together."""
        ...

    def reopen(self) -> None:
        """Connect again after DatabaseGone, or raise it again."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...

    def abandon(self) -> None:
        """Close the connection after StorageBroken without changing any file."""
        ...

    def cached_bytes(self) -> int:
        """Return how much of this process's memory the database's pages take, over all its connections; from any thread."""
        ...


class Reading(Database, Protocol):
    """A connection that lists are read on.

    The first row is always in; what comes before the one that would not fit is a page, and the rest is not fetched.
    """

    def interrupt(self) -> None:
        """End the running statement with Interrupted, if there is one; callable from any thread."""
        ...

    def rows_within(self, bytes_max: int, name: str, /, **binds: Any) -> tuple[list[tuple[Any, ...]], bool]:
        """Return the first rows of the statement, up to so much text, and whether that has cut them off."""
        ...

    def select_within(self, bytes_max: int, sql: str, binds: dict[str, Any]) -> tuple[list[tuple[Any, ...]], bool]:
        """Return the first rows of a statement that `lists` put together, and whether the text has cut them off."""
        ...


def bytes_of(row: tuple[Any, ...]) -> int:
    """Return how much text is in a row."""
    return sum([len(cell) if cell.isascii() else len(cell.encode()) for cell in row if cell.__class__ is str])


def first_of(bytes_max: int, rows: Iterable[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], bool]:
    """Return the first rows, up to a total length of text, and whether rows were left out."""
    found: list[tuple[Any, ...]] = []
    left = bytes_max
    for row in rows:
        left -= bytes_of(row)
        if left < 0 and found:
            return found, True
        found.append(row)
    return found, False


class DiskFull(Exception):
    """The disk has no space for a write; the transaction is undone.

    This is no HeadwayError, so that no verb takes it for a refusal of its own and goes on in a transaction that is gone.
    """


class Outdated(Exception):
    """The version of a row has changed since it was read: the transaction is undone, and its commands are applied again.

    Every statement that saves a row which was read before names the version that was read. On an embedded file nobody else
    writes, so this never happens; servers that share a database rely on it.
    """


class DatabaseLocked(Exception):
    """Another process held the database beyond the busy timeout; nothing was changed, and a retry may succeed."""


class Interrupted(DatabaseLocked):
    """The statement was cancelled, or ended by its timeout."""


class DatabaseGone(Exception):
    """The database cannot be reached, or the connection was lost: the last transaction may or may not be committed."""


class StoreRefused(Exception):
    """The store cannot be used as it is; the text says why, and what to do."""


class SchemaTooNew(StoreRefused):
    """The store was written by a newer Headway."""

    def __init__(self, found: int, known: int) -> None:
        super().__init__(f"the store has migration {found}, this Headway knows up to {known}: install a newer Headway")


class StorageBroken(Exception):
    """The disk refused a write that was promised (fsync, I/O error), or the file is damaged.

    After this nothing may be acknowledged any more: the process ends, and recovery starts from the files on disk.
    """
